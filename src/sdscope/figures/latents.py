"""Latents as pictures. A latent has 4 channels and none of them is red, green or blue."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from .base import Board, coloured, plot, to_image


class LatentRGB:
    """The best linear guess at the colour of each latent position: 4 numbers in, 3 out, no network.

    Fitted by least squares to what the VAE makes of `latents` (n, 4, h, w), shrunk to h x w.
    """

    def __init__(self, pipe, latents: torch.Tensor):
        n, channels, h, w = latents.shape
        pixels = [np.asarray(image.resize((w, h), Image.BOX)) / 255 for image in pipe.decode(latents)]
        z = latents.float().movedim(1, -1).reshape(-1, channels).numpy().astype("float64")
        self.map = np.linalg.lstsq(with_one(z), np.reshape(pixels, (-1, 3)), rcond=None)[0]

    def __call__(self, latent: torch.Tensor) -> Image.Image:
        """(4, h, w) -> h x w picture"""
        return to_image(with_one(latent.float().movedim(0, -1).numpy()) @ self.map)


def to_tensor(image: Image.Image) -> torch.Tensor:
    """A picture -> (1, 3, H, W), from -1 to 1, as the VAE's encoder wants it"""
    return torch.from_numpy(np.array(image)).movedim(-1, 0)[None].float() / 127.5 - 1


def to_picture(x: torch.Tensor) -> Image.Image:
    """(1, 3, H, W) from -1 to 1 -> a picture; what is beyond is cut off"""
    return to_image(x[0].movedim(0, -1) / 2 + 0.5)


def with_one(z):
    return np.concatenate([z, np.ones_like(z[..., :1])], axis=-1)


@plot
def channels(latent: torch.Tensor, rgb: LatentRGB, title=""):
    """The channels of one latent (4, h, w) beside each other, and the five-number guess at its colours."""
    n, cell, gap = len(latent), 126, 16
    board = Board((n + 1) * (cell + gap) - gap, 164 + 36)
    limit = float(latent.abs().max())
    board.text(0, 14, title)
    for i, channel in enumerate(latent):
        board.picture(i * (cell + gap), 34, cell, cell, coloured(channel, limit), smooth=False)
        board.text(i * (cell + gap) + cell / 2, 180, f"channel {i}", ha="center")
    board.picture(n * (cell + gap), 34, cell, cell, rgb(latent), smooth=False)
    board.text(n * (cell + gap) + cell / 2, 180, "as colours", ha="center")
    return board
