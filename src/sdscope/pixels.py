"""Pictures as the networks have them, (B, 3, H, W) from -1 to 1, and in bytes; how alike two are."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


def to_tensor(pictures: ArrayLike | Tensor) -> Tensor:
    """Bytes, (B, H, W, 3), or one picture, (H, W, 3): an array, a PIL image or a tensor -> (B, 3, H, W), -1 .. 1"""
    x = pictures if isinstance(pictures, Tensor) else torch.from_numpy(np.array(pictures))
    x = x.movedim(-1, -3).float() / 127.5 - 1
    return x if x.ndim == 4 else x[None]


def to_bytes(x: Tensor) -> np.ndarray:
    """(B, 3, H, W), -1 .. 1, what is beyond is cut off -> (B, H, W, 3) bytes, an array"""
    x = (x * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    return (x.cpu().float() * 255).round().byte().numpy()


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each of B pictures, (B, 3, H, W), -1 .. 1, in decibels: (B,)"""
    return -10 * torch.log10((a - b).square().mean(dim=(1, 2, 3)) / 4)
