"""The UNet of Stable Diffusion 1.x and 2.x: what, in these latents at this time, is noise?

Parameter names, structure and order of operations are those of diffusers'
models/unets/unet_2d_condition.py: a checkpoint loads strict, the output is equal bit for bit.
Shapes: B pictures, C channels, H x W positions, N = H * W of them in a row; 77 tokens of D numbers.
"""

import math
from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .loading.config import Config
from .loading.settings import UNET, checked

DEFAULTS = dict(  # Stable Diffusion 1.5; a model's unet/config.json says what is different
    sample_size=64,
    in_channels=4,
    out_channels=4,
    block_out_channels=[320, 640, 1280, 1280],
    down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    layers_per_block=2,
    attention_head_dim=8,
    cross_attention_dim=768,
    norm_num_groups=32,
    norm_eps=1e-5,
    use_linear_projection=False,
    only_cross_attention=False,
    num_class_embeds=None,
)


class UNet2DConditionModel(nn.Module):
    """Down, across, up."""

    def __init__(self, config: dict):
        super().__init__()
        c = self.config = checked(UNET, DEFAULTS | config)
        channels, levels = c.block_out_channels, range(len(c.block_out_channels))
        self.conv_in = nn.Conv2d(c.in_channels, channels[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(channels[0])
        if c.num_class_embeds:
            self.class_embedding = nn.Embedding(c.num_class_embeds, 4 * channels[0])
        self.down_blocks = nn.ModuleList(DownBlock2D(c, level) for level in levels)
        resnets = [resnet(c, channels[-1], channels[-1]), resnet(c, channels[-1], channels[-1])]
        self.mid_block = MidBlock2D(resnets, transformer(c, -1))
        self.up_blocks = nn.ModuleList(UpBlock2D(c, level) for level in reversed(levels))
        self.conv_norm_out = nn.GroupNorm(c.norm_num_groups, channels[0], c.norm_eps)
        self.conv_out = nn.Conv2d(channels[0], c.out_channels, 3, padding=1)

    # region forward
    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor,
                class_labels: Tensor | None = None) -> Tensor:  # fmt: skip
        """sample (B, 4, H, W), timestep: one or (B,), words (B, 77, D) -> (B, 4, H, W)"""
        temb = self.time_embedding(timestep, sample)
        if self.config.num_class_embeds:  # an upscaler: how noisy is the small picture? (B,)
            temb = temb + self.class_embedding(class_labels)
        x = self.conv_in(sample)

        skips = [x]
        for block in self.down_blocks:  # smaller and smaller, remembering everything
            x, outputs = block(x, temb, encoder_hidden_states)
            skips += outputs

        x = self.mid_block(x, temb, encoder_hidden_states)

        for block in self.up_blocks:  # larger and larger, looking back
            x = block(x, skips, temb, encoder_hidden_states)

        return self.conv_out(F.silu(self.conv_norm_out(x)))
        # endregion forward


class TimestepEmbedding(nn.Module):
    """A time as a vector: waves of many lengths (as in arXiv:1706.03762), then two layers."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.linear_1 = nn.Linear(dim, 4 * dim)
        self.linear_2 = nn.Linear(4 * dim, 4 * dim)

    # region time_embedding
    def forward(self, timestep: Tensor, sample: Tensor) -> Tensor:
        """timestep: one or (B,), sample (B, ...) for its dtype and device -> (B, 4 * dim)"""
        half = self.dim // 2
        timestep = torch.as_tensor(timestep, device=sample.device).expand(sample.shape[0])
        exponents = torch.arange(half, dtype=torch.float32, device=sample.device)
        frequencies = (-math.log(10000) * exponents / half).exp()  # from 1 down to 1 / 10000
        angles = timestep[:, None].float() * frequencies[None, :]
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1).to(sample.dtype)
        return self.linear_2(F.silu(self.linear_1(waves)))
        # endregion time_embedding


class DownBlock2D(nn.Module):
    """ResNet blocks, each followed by a transformer (not at the bottom), then half the size."""

    def __init__(self, c: Config, level: int):
        super().__init__()
        channels, above = c.block_out_channels[level], c.block_out_channels[max(level - 1, 0)]
        inputs = [above] + [channels] * (c.layers_per_block - 1)
        attends = "CrossAttn" in c.down_block_types[level]
        bottom = level == len(c.block_out_channels) - 1
        self.resnets = nn.ModuleList(resnet(c, n, channels) for n in inputs)
        self.attentions = nn.ModuleList(transformer(c, level) for _ in inputs if attends)
        self.downsamplers = nn.ModuleList([] if bottom else [Downsample2D(channels)])

    # region down_block
    def forward(self, x: Tensor, temb: Tensor, context: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x (B, C_above, H, W) -> (B, C, H/2, W/2), and every output: the way up needs them"""
        outputs = []
        for resnet, attention in zip_longest(self.resnets, self.attentions):
            x = resnet(x, temb)
            if attention is not None:
                x = attention(x, context)
            outputs.append(x)
        for downsample in self.downsamplers:
            x = downsample(x)
            outputs.append(x)
        return x, outputs
        # endregion down_block


class MidBlock2D(nn.Module):
    """ResNet block, attention, ResNet block. The VAE has one too, without time and text."""

    def __init__(self, resnets: list, attention: nn.Module):
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList([attention])

    def forward(self, x: Tensor, temb: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W)"""
        x = self.resnets[0](x, temb)
        x = self.attentions[0](x, context)
        return self.resnets[1](x, temb)


class UpBlock2D(nn.Module):
    """As DownBlock2D, but a ResNet block also sees an output of the way down; then twice as big."""

    def __init__(self, c: Config, level: int):
        super().__init__()
        channels, above = c.block_out_channels[level], c.block_out_channels[max(level - 1, 0)]
        below = [*c.block_out_channels, c.block_out_channels[-1]][level + 1]
        inputs = [below] + [channels] * c.layers_per_block
        skips = [channels] * c.layers_per_block + [above]
        attends = "CrossAttn" in c.up_block_types[::-1][level]
        self.resnets = nn.ModuleList(resnet(c, n + m, channels) for n, m in zip(inputs, skips))
        self.attentions = nn.ModuleList(transformer(c, level) for _ in inputs if attends)
        self.upsamplers = nn.ModuleList([Upsample2D(channels)] if level > 0 else [])

    # region up_block
    def forward(self, x: Tensor, skips: list[Tensor], temb: Tensor, context: Tensor) -> Tensor:
        """x (B, C_below, H, W) -> (B, C, 2H, 2W). Takes its share off the end of the list skips."""
        for resnet, attention in zip_longest(self.resnets, self.attentions):
            x = resnet(torch.cat([x, skips.pop()], dim=1), temb)
            if attention is not None:
                x = attention(x, context)
        for upsample in self.upsamplers:
            x = upsample(x, size=skips[-1].shape[-2:])  # not always twice: 9 was halved to 5
        return x
        # endregion up_block


def resnet(c: Config, c_in: int, c_out: int) -> "ResnetBlock2D":
    """A ResNet block as the configuration c has them"""
    return ResnetBlock2D(c_in, c_out, c.norm_num_groups, c.norm_eps, 4 * c.block_out_channels[0])


def transformer(c: Config, level: int) -> "Transformer2DModel":
    """The transformer of a level, as the configuration c has it"""
    heads = c.attention_head_dim  # in spite of its name: diffusers calls the number of heads so
    heads = heads if isinstance(heads, int) else heads[level]
    dim, groups = c.block_out_channels[level], c.norm_num_groups
    only = c.only_cross_attention  # in the middle never
    only = level >= 0 and (only if isinstance(only, bool) else only[level])
    block = BasicTransformerBlock(dim, heads, c.cross_attention_dim, only)
    return Transformer2DModel(dim, block, groups, c.use_linear_projection)


# region resnet_block
class ResnetBlock2D(nn.Module):
    """Two convolutions beside a shortcut. Time goes in here: a number per channel."""

    def __init__(self, c_in: int, c_out: int, groups: int, eps: float = 1e-6, temb_dim: int = 0):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, c_in, eps)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        if temb_dim:
            self.time_emb_proj = nn.Linear(temb_dim, c_out)
        self.norm2 = nn.GroupNorm(groups, c_out, eps)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, temb: Tensor | None = None) -> Tensor:
        """x (B, C_in, H, W), temb (B, T) -> (B, C_out, H, W)"""
        h = self.conv1(F.silu(self.norm1(x)))
        if temb is not None:
            h = h + self.time_emb_proj(F.silu(temb))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return self.conv_shortcut(x) + h
        # endregion resnet_block


class Downsample2D(nn.Module):
    """Half the size: a convolution at every other position."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H/2, W/2), rounded up"""
        return self.conv(x)


class Upsample2D(nn.Module):
    """Twice the size, or the size asked for: every value repeated, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
        """x (B, C, H, W) -> (B, C, 2H, 2W), or (B, C, *size)"""
        size = size or (2 * x.shape[-2], 2 * x.shape[-1])
        return self.conv(F.interpolate(x, size, mode="nearest"))


class Transformer2DModel(nn.Module):
    """The picture laid out as a row of N positions, through a transformer block, and back."""

    def __init__(self, dim: int, block: nn.Module, groups: int, use_linear_projection: bool):
        super().__init__()
        self.linear = use_linear_projection  # SD 2; SD 1: a 1x1 convolution, the same sum
        self.norm = nn.GroupNorm(groups, dim, eps=1e-6)
        self.proj_in = nn.Linear(dim, dim) if self.linear else nn.Conv2d(dim, dim, 1)
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = nn.Linear(dim, dim) if self.linear else nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, C, H, W), context (B, 77, D) -> (B, C, H, W)"""
        residual, size = x, x.shape[-2:]
        x = self.norm(x)
        x = x if self.linear else self.proj_in(x)
        x = x.flatten(2).transpose(1, 2)  # (B, N, C)
        x = self.proj_in(x) if self.linear else x
        x = self.transformer_blocks[0](x, context)
        x = self.proj_out(x) if self.linear else x
        x = x.transpose(1, 2).unflatten(2, size).contiguous()  # (B, C, H, W)
        x = x if self.linear else self.proj_out(x)
        return x + residual


# region transformer_block
class BasicTransformerBlock(nn.Module):
    """Positions look at each other, then at the words, then each thinks for itself."""

    def __init__(self, dim: int, heads: int, context_dim: int, only_cross: bool = False):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.only_cross = only_cross  # an upscaler: at the words twice
        self.attn1 = Attention(dim, context_dim if only_cross else dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, context_dim, heads)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, N, C), context (B, 77, D) -> (B, N, C)"""
        x = self.attn1(self.norm1(x), context if self.only_cross else None) + x
        x = self.attn2(self.norm2(x), context) + x
        return self.ff(self.norm3(x)) + x
        # endregion transformer_block


# region cross_attention
class Attention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V: Q asks from the picture, K and V answer from the words."""

    def __init__(self, dim: int, context_dim: int, heads: int, bias: bool = False):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias)
        self.to_k = nn.Linear(context_dim, dim, bias)
        self.to_v = nn.Linear(context_dim, dim, bias)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    # region attend
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (B, N, C), context (B, 77, D) or None: self-attention -> (B, N, C)"""
        context = x if context is None else context
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))
        x = F.scaled_dot_product_attention(q, k, v)  # (B, heads, N, C / heads)
        return self.to_out[0](x.transpose(1, 2).flatten(2))
        # endregion attend
        # endregion cross_attention


class FeedForward(nn.Module):
    """Four times as wide and back. GEGLU: half the numbers gate the others (arXiv:2002.05202)."""

    def __init__(self, dim: int):
        super().__init__()
        geglu = nn.ModuleDict({"proj": nn.Linear(dim, 8 * dim)})
        self.net = nn.ModuleList([geglu, nn.Identity(), nn.Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, C) -> (B, N, C)"""
        h, gate = self.net.get_submodule("0.proj")(x).chunk(2, dim=-1)
        return self.net[2](h * F.gelu(gate))
