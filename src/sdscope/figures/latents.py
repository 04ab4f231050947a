"""Latents as pictures. A latent has 4 channels and none of them is red, green or blue."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.patches import Rectangle
from PIL import Image
from PIL.Image import Resampling

from ..pipeline import StableDiffusion
from ..pixels import to_bytes
from .base import INK, LATENTS, MUTED, PAPER, SCALE, WIDTH, Board, coloured, plot, to_image


class LatentRGB:
    """The best linear guess at the colour of each latent position: 4 numbers in, 3 out, no network.

    Fitted by least squares to what the VAE makes of `latents` (n, 4, h, w), shrunk to h x w.
    """

    def __init__(self, pipe: StableDiffusion, latents: torch.Tensor):
        n, channels, h, w = latents.shape
        pixels = [np.asarray(image.resize((w, h), Resampling.BOX)) / 255 for image in decode(pipe, latents)]
        z = latents.cpu().float().movedim(1, -1).reshape(-1, channels).numpy().astype("float64")
        self.map = np.linalg.lstsq(with_one(z), np.reshape(pixels, (-1, 3)), rcond=None)[0]

    def __call__(self, latent: torch.Tensor) -> Image.Image:
        """(4, h, w) -> h x w picture"""
        return to_image(with_one(latent.cpu().float().movedim(0, -1).numpy()) @ self.map)


def decode(pipe: StableDiffusion, latents: torch.Tensor) -> list[Image.Image]:
    """Latents (B, 4, h, w), of a trace and so on the CPU -> B pictures, one by one: all at once may not fit a GPU."""
    where = pipe.unet.conv_in.weight
    return [pipe.decode(z[None].to(where))[0] for z in latents]


def to_picture(x: torch.Tensor) -> Image.Image:
    """(1, 3, H, W) from -1 to 1 -> a picture; what is beyond is cut off"""
    return Image.fromarray(to_bytes(x)[0])


def with_one(z: np.ndarray) -> np.ndarray:
    return np.concatenate([z, np.ones_like(z[..., :1])], axis=-1)


@plot
def channels(latents: dict[str, torch.Tensor], rgb: LatentRGB, difference: bool = False) -> Board:
    """Latents (4, h, w), each below its title: the channels beside each other, and the guess at their colours.

    difference: one row more, the second less the first; that has no colours. All rows have one scale.
    """
    latents = {title: latent.cpu().float() for title, latent in latents.items()}
    colours = [[rgb(latent)] for latent in latents.values()]
    if difference:
        first, second = latents.values()
        latents, colours = latents | {"the difference": second - first}, [*colours, []]
    n, cell, gap = len(next(iter(latents.values()))), 96, 16
    high = 34 + cell + 14
    board = Board((n + 1) * (cell + gap) - gap, len(latents) * high + 18)
    limit = max(float(latent.abs().max()) for latent in latents.values())
    for j, (title, latent) in enumerate(latents.items()):
        board.text(0, j * high + 16, title)
        for i, picture in enumerate([coloured(channel, limit) for channel in latent] + colours[j]):
            board.picture(i * (cell + gap), j * high + 34, cell, cell, picture, smooth=False)
    for i, label in enumerate([*(f"channel {i}" for i in range(n)), "as colours"]):
        bottom = sum(i < n or len(row) > 0 for row in colours) * high + 4
        board.text(i * (cell + gap) + cell / 2, bottom, label, color=MUTED, ha="center")
    return board


def busiest(image: Image.Image, latent: torch.Tensor) -> tuple[int, int, int]:
    """(row, column) of the latent (4, h, w) whose pixels differ most from each other, and how many pixels wide it is"""
    _, h, w = latent.shape
    side = image.width // w
    patches = np.asarray(image, dtype="float64").reshape(h, side, w, side, 3)
    row, column = np.unravel_index(patches.std((1, 3)).sum(-1).argmax(), (h, w))
    return int(row), int(column), side


@plot
def one_place(image: Image.Image, latent: torch.Tensor) -> Board:
    """One place of a latent (4, h, w): the pixels it stands for, and the numbers that stand for them."""
    row, column, side = busiest(image, latent)
    large, cell, square = 264, 200, 76
    left, right, middle = large + 90, WIDTH - 2 * square - 10, large / 2
    board = Board(WIDTH, large + 36)
    axes = board.picture(0, 0, large, large, image)
    unit = large * SCALE / latent.shape[2]
    if latent.shape[2] <= 32:  # more lines would hide the picture
        for k in range(1, latent.shape[2]):
            axes.axvline(k * unit - 0.5, color="white", lw=0.5, alpha=0.5)
            axes.axhline(k * unit - 0.5, color="white", lw=0.5, alpha=0.5)
    corner = (column * unit - 0.5, row * unit - 0.5)
    axes.add_patch(Rectangle(corner, unit, unit, fill=False, ec=INK, lw=2.4))
    patch = image.crop((column * side, row * side, (column + 1) * side, (row + 1) * side))
    board.picture(left, middle - cell / 2, cell, cell, patch, smooth=False, edge=INK)
    numbers = latent[:, row, column].cpu().float()
    limit = float(latent.abs().max())
    for i, number in enumerate(numbers.tolist()):
        x, y = right + i % 2 * (square + 8), middle - square - 4 + i // 2 * (square + 8)
        board.picture(x, y, square, square, coloured([[number]], limit), smooth=False, edge=LATENTS)
        strong = abs(number) > 0.7 * limit
        board.text(x + square / 2, y + square / 2, f"{number:.2f}", 16, PAPER if strong else INK, ha="center")
    across = board.axes(0, 0, WIDTH, board.height, frame=False)
    across.set(xlim=(0, WIDTH), ylim=(board.height, 0))
    for tail, head in ((large, left), (left + cell, right)):
        arrow = dict(arrowstyle="->", color=MUTED, lw=1.6, mutation_scale=18)
        across.annotate("", (head - 14, middle), (tail + 14, middle), arrowprops=arrow)
    size, times = f"{side} × {side} pixels, 3 colours: {side * side * 3} numbers", side * side * 3 / len(numbers)
    board.text(large / 2, large + 20, f"{image.width} × {image.height} pixels", color=MUTED, ha="center")
    board.text(left + cell / 2, large + 20, size, color=MUTED, ha="center")
    board.text(right + square + 4, large + 20, f"{len(numbers)} numbers", 16, LATENTS, ha="center", weight="bold")
    board.text((left + cell + right) / 2, middle - 18, f"{times:g} times fewer", 15, INK, ha="center")
    return board
