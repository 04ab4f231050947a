"""The autoencoder: pictures to latents to pictures, and the latents of all pictures once it can."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from ... import files
from ...pixels import psnr, to_bytes, to_tensor
from ...unet import Attention
from ...vae import AutoencoderKL, Downsample2D, ResnetBlock2D, Upsample2D
from ..world.scene import ATTRIBUTES, STYLES
from .data import MASKER, PAINTER, TRAINING, labelled, masked, one_process, painted, version
from .run import Length, Run, accelerator, finished, loaded

VAE_CONFIG = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "sample_size": 128,
    "block_out_channels": [16, 32, 64, 128],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
HELD_OUT = 12  # the first pictures of a folder are never trained on
THIN = ("pencil", "ukiyo-e", "stained glass", "cyberpunk")  # styles of thin lines, which are lost first


class AutoencoderLoss(nn.Module):
    """How far a picture comes back changed: in its values and in its edges, at two sizes."""

    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, pictures, noise):
        """pictures (B, 3, H, W), -1 .. 1; noise (B, 4, H / 8, W / 8)"""
        mean, logvar = self.vae.encode(pictures)
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
        decoded = self.vae.decode(mean + torch.exp(0.5 * logvar) * noise)
        return closeness(decoded, pictures) + 1e-5 * kl


def closeness(a, b):
    loss = F.l1_loss(a, b) + 2 * F.mse_loss(a, b)
    for size in (1, 2):
        a, b = (a, b) if size == 1 else (F.avg_pool2d(a, 2), F.avg_pool2d(b, 2))
        for dim in (2, 3):
            loss = loss + 0.5 * F.l1_loss(a.diff(dim=dim), b.diff(dim=dim))
    return loss


def train_vae(folder: Path, pictures: int, length: Length, progress=None):
    torch.manual_seed(0)
    train_autoencoder(
        folder, "vae", start_simple(AutoencoderKL(VAE_CONFIG)), (pictures, 128, TRAINING), length, progress
    )


def train_autoencoder(folder, name, vae, world, length, progress):
    """world: how many square pictures, their side, the seed of the first. The first 70% of the time on quarters of
    pictures, four for one: they cost the same and are less alike. Styles of thin lines come twice as often."""
    count, side, first = world
    with accelerator().local_main_process_first():  # it paints, the others wait and find everything there
        data: np.ndarray | torch.Tensor = painted(folder / "data", count, (side, side), first, progress)
        styles = labelled(folder / "data", count, first, progress)[HELD_OUT:, list(ATTRIBUTES).index("style")]
    if torch.cuda.is_available():
        data = torch.from_numpy(np.ascontiguousarray(data)).cuda()
    run = Run(folder / name, AutoencoderLoss(vae.train()), length)
    held_out = to_tensor(data[:HELD_OUT]).to(run.accelerator.device)
    often = np.flatnonzero(np.isin(styles, [STYLES.index(style) for style in THIN])) + HELD_OUT
    numbers = np.concatenate([np.arange(HELD_OUT, count), often])

    def batch(rng, done):
        many, part = (4 * length.batch_size, side // 2) if done < 0.7 else (length.batch_size, side)
        corners = np.stack([rng.choice(numbers, many), *rng.integers(0, (side - part) // 8 + 1, (2, many)) * 8], axis=1)
        batch = torch.cat([to_tensor(data[i : i + 1, y : y + part, x : x + part]) for i, y, x in corners])
        return [batch, torch.randn(many, 4, part // 8, part // 8)]

    run.go(batch, sheet=lambda losses: reconstructions(losses.vae, held_out))


def trained_vae(folder, name="vae"):
    return finished(folder / name, AutoencoderLoss(AutoencoderKL(VAE_CONFIG))).vae


def start_simple(vae):
    """Begin as a nearly linear map: every residual branch adds nothing yet, sizes change by averaging and repeating.

    From there colours are right within a few hundred pictures; from the usual random start it takes thousands.
    """
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(module.conv2.weight)
            if isinstance(module.conv_shortcut, nn.Conv2d):
                nn.init.orthogonal_(module.conv_shortcut.weight)
        elif isinstance(module, Attention):
            nn.init.zeros_(module.get_parameter("to_out.0.weight"))
        elif isinstance(module, (Downsample2D, Upsample2D)):
            down, each = isinstance(module, Downsample2D), range(module.conv.in_channels)
            nn.init.zeros_(module.conv.weight)
            with torch.no_grad():
                module.conv.weight[each, each, slice(0, 2) if down else 1, slice(0, 2) if down else 1] = (
                    0.25 if down else 1.0
                )
    with torch.no_grad():  # and hardly any noise on the latents
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -6
    return vae


@torch.no_grad()
def reconstructions(vae, pictures):
    """Pictures above, what the autoencoder makes of them below."""
    decoded = vae.decode(vae.encode(pictures)[0]).clamp(-1, 1)
    print(f"autoencoder: {psnr(decoded, pictures).mean():.2f} dB", flush=True)
    rows = [torch.cat(list(batch), dim=2) for batch in (pictures, decoded)]
    return Image.fromarray(to_bytes(torch.cat(rows, dim=1)[None])[0])


@torch.no_grad()
def encoded(folder, vae, count, size, first, progress=None, left=False):
    """The latents of painted pictures, (count, 4, h / 8, w / 8), made once for an encoder; or of what their masks leave
    of them."""
    key = f"{sum(p.double().abs().sum() for p in vae.encoder.parameters()):.6f}"
    name = f"{'left' if left else 'latents'}-{size[0]}x{size[1]}-{first}"
    file = folder / "data" / f"{name}-{count}-{key}.{version(MASKER if left else PAINTER)}.pt"
    with one_process(folder / "data" / f"{name}.lock"):
        if not file.exists():
            data = painted(folder / "data", count, size, first, progress)
            masks = masked(folder / "data", count, size, first, progress) if left else None
            device = "cuda" if torch.cuda.is_available() else "cpu"
            starts = range(0, count, 10)  # on a CPU half again as fast as fifty at a time
            parts = []
            for start in progress(starts, len(starts), "encoding") if progress else starts:
                some = slice(start, start + 10)
                x = to_tensor(data[some])
                if masks is not None:
                    x = x * (1 - torch.from_numpy(np.unpackbits(masks[some], axis=-1))[:, None])
                parts.append(vae.to(device).encode(x.to(device))[0].cpu())
            with files.writing(file) as part, open(part, "wb") as out:
                torch.save(torch.cat(parts), out)
            vae.cpu()
    return loaded(file, "remove it, and it is made again")


@torch.no_grad()
def centre(vae, latents):
    """Shift and stretch the latents so that each channel has mean 0 and all have the same spread, and pictures stay
    what they were: the two 1x1 convolutions between encoder and decoder take it up. One number, the scaling
    factor, then makes the spread 1, as in Stable Diffusion.

    latents (B, 4, h, w), as they are before -> the mean and the spread of each channel
    """
    mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    spread = std.mean()
    stretch = spread / std
    vae.quant_conv.weight[:4] *= stretch[:, None, None, None]
    vae.quant_conv.bias[:4] = (vae.quant_conv.bias[:4] - mean) * stretch
    vae.quant_conv.bias[4:] += 2 * stretch.log()
    vae.post_quant_conv.bias += vae.post_quant_conv.weight[:, :, 0, 0] @ mean
    vae.post_quant_conv.weight /= stretch[None, :, None, None]
    vae.config["scaling_factor"] = float(1 / spread)
    return mean, std
