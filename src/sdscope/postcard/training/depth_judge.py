"""A judge of depth: a small network that sees in a picture how near everything is.

It learns from the painter's pictures and from what the painter knows of them, a little blurred and noisy, of scenes
that only judges are trained on.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ...pixels import to_tensor
from ...preprocess import to_depth
from .data import JUDGE, painted, surveyed
from .judge import SIZE, as_if_decoded, halving
from .run import Length, Run, accelerator, finished

WIDTHS = (16, 32, 64, 128, 128)


class DepthJudge(nn.Module):
    """Convolutions, each level half the size; then twice as large again, twice, looking back."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList(nn.Sequential(*halving(*widths)) for widths in zip((3, *WIDTHS), WIDTHS))
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c_in + c_out, c_out, 3, padding=1), nn.GroupNorm(8, c_out), nn.SiLU())
            for c_in, c_out in zip(WIDTHS[:2:-1], WIDTHS[-2:1:-1])
        )
        self.conv_out = nn.Conv2d(WIDTHS[2], 1, 3, padding=1)

    def forward(self, pictures):
        """pictures (B, 3, H, W), -1 .. 1 -> (B, 1, H / 8, W / 8), as to_depth has it: -1 far, 1 near"""
        x, levels = pictures, []
        for level in self.down:
            x = level(x)
            levels.append(x)
        for level, before in zip(self.up, levels[-2:1:-1]):
            x = level(torch.cat([F.interpolate(x, before.shape[2:]), before], dim=1))
        return self.conv_out(x)


class DepthJudgeLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.judge = DepthJudge()

    def forward(self, pictures, near):
        """pictures (B, 3, H, W), near (B, 1, H / 8, W / 8)"""
        return F.mse_loss(self.judge(pictures).float(), near)


def train_depth_judge(folder: Path, pictures: int, length: Length, progress=None):
    with accelerator().local_main_process_first():
        data = painted(folder / "data", pictures, SIZE, JUDGE, progress)
        maps = surveyed(folder / "data", pictures, SIZE, JUDGE, progress)
    torch.manual_seed(6)
    run = Run(folder / "depth-judge", DepthJudgeLoss(), length)

    def batch(rng, done):
        chosen = rng.integers(0, len(data), length.batch_size)
        return [as_if_decoded(to_tensor(data[chosen])), latent_sized(maps[chosen])]

    run.go(batch)


def latent_sized(maps):
    """Depths (B, H, W) -> (B, 1, H / 8, W / 8), as the UNet is given them"""
    return to_depth(maps, len(maps), [side // 8 for side in np.shape(maps)[1:]], torch.empty(0))


def trained_depth_judge(folder: Path) -> DepthJudge:
    return finished(folder / "depth-judge", DepthJudgeLoss()).judge
