"""The variational autoencoder: a picture to latents an eighth of its size, and back.

Kingma and Welling, arXiv:1312.6114; Rombach et al., arXiv:2112.10752. Parameter names, structure
and order of operations are those of diffusers' models/autoencoders/autoencoder_kl.py.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .loading.config import Config
from .loading.settings import VAE, checked, factor, sides
from .tiling import tiled_decode
from .unet import Attention, MidBlock2D, ResnetBlock2D, Upsample2D

DEFAULTS = dict(  # Stable Diffusion 1.5; a model's vae/config.json says what is different
    in_channels=3,
    out_channels=3,
    latent_channels=4,
    block_out_channels=[128, 256, 512, 512],
    layers_per_block=2,
    norm_num_groups=32,
    scaling_factor=0.18215,
    sample_size=512,
)


class AutoencoderKL(nn.Module):
    """Pictures (values from -1 to 1) to latents and back."""

    tiling = False  # True: pictures larger than those it was trained for are decoded in tiles

    def __init__(self, config: dict):
        super().__init__()
        c = self.config = checked(VAE, DEFAULTS | config)
        self.encoder, self.decoder = Encoder(c), Decoder(c)
        self.quant_conv = nn.Conv2d(2 * c.latent_channels, 2 * c.latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(c.latent_channels, c.latent_channels, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, 3, 8h, 8w) -> mean and log variance of the unscaled latents, (B, 4, h, w) each"""
        mean, logvar = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return mean, logvar.clamp(-30.0, 20.0)

    # region decode
    def decode(self, z: Tensor) -> Tensor:
        """z (B, 4, h, w): latents / scaling factor -> pictures (B, 3, 8h, 8w)"""
        tile = sides(self.config.sample_size)[0] // factor(self.config)
        if self.tiling and max(z.shape[2:]) > tile:
            return tiled_decode(self.decode_tile, z, tile)
        return self.decode_tile(z)

    def decode_tile(self, z: Tensor) -> Tensor:
        """As decode, all of z at once"""
        return self.decoder(self.post_quant_conv(z))
        # endregion decode


class Encoder(nn.Module):
    """Levels of ResNet blocks, each half the size of the one before."""

    def __init__(self, c: Config):
        super().__init__()
        widths = c.block_out_channels
        self.conv_in = nn.Conv2d(c.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            EncoderBlock(c, before, width, downsample=i < len(widths) - 1)
            for i, (before, width) in enumerate(zip([widths[0], *widths], widths))
        )
        self.mid_block = mid_block(c)
        self.conv_norm_out = nn.GroupNorm(c.norm_num_groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 2 * c.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, 8h, 8w) -> (B, 8, h, w)"""
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        x = self.mid_block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class Decoder(nn.Module):
    """The encoder's mirror: levels of ResNet blocks, each twice the size of the one before."""

    def __init__(self, c: Config):
        super().__init__()
        widths = c.block_out_channels[::-1]
        self.conv_in = nn.Conv2d(c.latent_channels, widths[0], 3, padding=1)
        self.mid_block = mid_block(c)
        self.up_blocks = nn.ModuleList(
            DecoderBlock(c, before, width, upsample=i < len(widths) - 1)
            for i, (before, width) in enumerate(zip([widths[0], *widths], widths))
        )
        self.conv_norm_out = nn.GroupNorm(c.norm_num_groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], c.out_channels, 3, padding=1)

    # region decoder
    def forward(self, z: Tensor) -> Tensor:
        """z (B, 4, h, w) -> (B, 3, 8h, 8w)"""
        x = self.conv_in(z)
        x = self.mid_block(x)
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))
        # endregion decoder


class EncoderBlock(nn.Module):
    """ResNet blocks, then half the size (not at the bottom)."""

    def __init__(self, c: Config, c_in: int, c_out: int, downsample: bool):
        super().__init__()
        inputs = [c_in] + [c_out] * (c.layers_per_block - 1)
        self.resnets = nn.ModuleList(ResnetBlock2D(n, c_out, c.norm_num_groups) for n in inputs)
        self.downsamplers = nn.ModuleList([Downsample2D(c_out)] if downsample else [])

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C_in, H, W) -> (B, C_out, H/2, W/2)"""
        for layer in [*self.resnets, *self.downsamplers]:
            x = layer(x)
        return x


class DecoderBlock(nn.Module):
    """ResNet blocks, one more than the encoder has, then twice the size (not at the top)."""

    def __init__(self, c: Config, c_in: int, c_out: int, upsample: bool):
        super().__init__()
        inputs = [c_in] + [c_out] * c.layers_per_block
        self.resnets = nn.ModuleList(ResnetBlock2D(n, c_out, c.norm_num_groups) for n in inputs)
        self.upsamplers = nn.ModuleList([Upsample2D(c_out)] if upsample else [])

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C_in, H, W) -> (B, C_out, 2H, 2W)"""
        for layer in [*self.resnets, *self.upsamplers]:
            x = layer(x)
        return x


class Downsample2D(nn.Module):
    """Half the size. Unlike the UNet's, it pads on the right and below only."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H/2, W/2)"""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


def mid_block(c: Config) -> MidBlock2D:
    """The lowest part of the encoder, and of the decoder: the only one with attention"""
    dim, groups = c.block_out_channels[-1], c.norm_num_groups
    resnets = [ResnetBlock2D(dim, dim, groups), ResnetBlock2D(dim, dim, groups)]
    return MidBlock2D(resnets, SpatialAttention(dim, groups))


class SpatialAttention(Attention):
    """Self-attention with one head over the positions of a picture, beside a shortcut."""

    def __init__(self, dim: int, groups: int):
        super().__init__(dim, dim, heads=1, bias=True)
        self.group_norm = nn.GroupNorm(groups, dim, eps=1e-6)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W)"""
        h = self.group_norm(x.flatten(2)).transpose(1, 2)  # (B, N, C)
        h = super().forward(h)
        return h.transpose(1, 2).reshape(x.shape) + x
