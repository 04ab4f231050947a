"""Figures of the VAE: the decoder stage by stage, what is lost on the way there and back, a hundred pictures in one."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..trace import Trace
from .base import HEAT, INK, LATENTS, MUTED, WIDTH, X0, Board, coloured, crowded, plot, to_image
from .pictures import principal


@plot
def decoder_stages(t: Trace, latents: Image.Image, image: Image.Image) -> Board:
    """The decoder's stages with their measured shapes; colours stand for directions, not for paint."""
    stages = [("latents", latents, tuple(t.steps[-1].latents.shape[1:]))]
    drawn = {name: principal(stage[None], [image])[0] for name, stage in t.vae.stages.items() if name != "conv_out"}
    stages += [(name, picture, t.vae.shapes[name][1:]) for name, picture in drawn.items()]
    stages += [("conv_out", image, t.vae.shapes["conv_out"][1:])]
    columns, cell, high = (len(stages) + 1) // 2, 146, 198
    gap = (WIDTH - columns * cell) / (columns - 1)
    board = Board(WIDTH, 2 * high)
    for i, (name, picture, shape) in enumerate(stages):
        x, y = (i % columns) * (cell + gap), (i // columns) * high
        board.picture(x, y + 2, cell, cell, picture, smooth=name == "conv_out" or crowded(picture, cell))
        board.text(x + cell / 2, y + cell + 15, name, ha="center", weight="bold")
        board.text(x + cell / 2, y + cell + 37, " × ".join(map(str, shape)), color=MUTED, ha="center")
        if (i + 1) % columns:
            board.text(x + cell + gap / 2, y + cell / 2, "→", 26, MUTED, ha="center")
    return board


@plot
def roundtrip(before: Image.Image, latents: Image.Image, after: Image.Image) -> Board:
    """A picture through the encoder and the decoder, and what was lost, made stronger."""
    times = 4
    cell, gap = 192, 38
    board = Board(WIDTH, cell + 36)
    lost = np.abs(np.asarray(before, dtype="float64") - np.asarray(after, dtype="float64")) / 255
    shown = [(before, "picture", INK), (latents, "latents", LATENTS), (after, "decoded again", X0)]
    shown += [(to_image(lost * times), f"difference × {times}", MUTED)]
    for i, (image, label, colour) in enumerate(shown):
        board.picture(i * (cell + gap), 0, cell, cell, image, smooth=image is not latents)
        board.text(i * (cell + gap) + cell / 2, cell + 19, label, 16, colour, ha="center")
    return board


@plot
def hundred(pictures: list[Image.Image], mean: Image.Image) -> Board:
    """Many pictures as one mosaic; the picture of their mean; how far they are from each other at each place."""
    cell, gap, columns = 276, 28, 10
    board = Board(WIDTH, 30 + cell)
    tile = cell / columns
    for i, picture in enumerate(pictures):
        board.picture(i % columns * tile, 30 + i // columns * tile, tile - 1, tile - 1, picture)
    board.picture(cell + gap, 30, cell, cell, mean)
    board.picture(2 * (cell + gap), 30, cell, cell, coloured(spread(pictures), None, HEAT))
    for i, title in enumerate([f"{len(pictures)} seeds", "the mean of their latents, decoded", "where they differ"]):
        board.text(i * (cell + gap), 13, title)
    return board


def spread(pictures: list[Image.Image]) -> np.ndarray:
    """(H, W): the standard deviation of the pictures at every pixel, 0 to 255, the mean over the colours"""
    return np.stack([np.asarray(picture, dtype="float32") for picture in pictures]).std(0).mean(-1)
