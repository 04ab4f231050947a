"""Figures of shapes: the UNet drawn as it was measured, the decoder stage by stage."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.patches import Rectangle
from PIL import Image

from ..trace import Trace
from .base import COND, GUIDED, INK, LATENTS, MUTED, NOISE, WIDTH, X0, Board, coloured, plot, to_image

KINDS = {"resnets": LATENTS, "attentions": COND, "samplers": NOISE, "conv": INK}
LEGEND = {"ResNet block": LATENTS, "transformer": COND, "half or twice the size": NOISE, "convolution": INK}


@plot
def unet_ledger(t: Trace):
    """Every block of the UNet in the order in which it ran: as high as its picture, a level lower for each halving."""
    sides = sorted({shape[-2] for shape in t.unet.shapes.values()}, reverse=True)
    margin, unit, drop = 118, 92, 84
    board = Board(WIDTH, 44 + drop * (len(sides) - 1) + unit)
    axes = board.axes(0, 0, WIDTH, board.height, frame=False)
    axes.set(xlim=(0, WIDTH), ylim=(board.height, 0))
    step = (WIDTH - 2 * margin) / len(t.unet.shapes)
    ends = {}  # (level, down or up) -> [left, right, shape]
    for i, (name, shape) in enumerate(t.unet.shapes.items()):
        level = sides.index(shape[-2])
        x, high = margin + i * step, max(unit * shape[-2] / sides[0], 8)
        y = 40 + level * drop + unit / 2
        colour = next(colour for kind, colour in KINDS.items() if kind in name)
        axes.add_patch(Rectangle((x + 1, y - high / 2), step - 2, high, color=colour, lw=0))
        end = ends.setdefault((level, name.startswith(("conv_out", "up"))), [x, x, shape])
        end[1:] = [x + step, shape if name != "conv_out" else end[2]]
    for (level, up), (left, right, shape) in ends.items():
        label, y = " × ".join(map(str, shape[1:])), 40 + level * drop + unit / 2
        if level == len(sides) - 1:  # the bottom belongs to both sides
            whole = (ends[level, False][0] + ends.get((level, True), ends[level, False])[1]) / 2
            board.text(whole, y + 24, "" if up else label, ha="center")
            continue
        board.text(right + 10 if up else left - 10, y, label, ha="left" if up else "right")
        if up:  # what the way down remembers, the way up sees
            start = ends[level, False][1]
            arrow = dict(arrowstyle="->", color=MUTED, ls=(0, (4, 3)), lw=1.2)
            axes.annotate("", (left - 3, y), (start + 3, y), arrowprops=arrow)
    for x, (label, colour) in zip((118, 290, 446, 680), LEGEND.items()):
        axes.add_patch(Rectangle((x, 6), 14, 14, color=colour, lw=0))
        board.text(x + 21, 13, label)
    return board


def principal(stage: torch.Tensor) -> Image.Image:
    """(C, h, w) -> h x w picture: the three directions in which the channels vary most, as red, green, blue."""
    flat = stage.flatten(1).T.double().numpy()
    flat = flat - flat.mean(0)
    _, _, directions = np.linalg.svd(flat, full_matrices=False)
    directions = directions[:3] * np.sign(directions[:3].sum(1, keepdims=True))  # svd leaves the sign open
    parts = flat @ directions.T
    low, high = np.percentile(parts, [2, 98], axis=0)
    return to_image(((parts - low) / (high - low + 1e-9)).reshape(*stage.shape[1:], -1))


@plot
def decoder_stages(t: Trace, latents: Image.Image, image: Image.Image):
    """The decoder's stages with their measured shapes; colours stand for directions, not for paint."""
    stages = [("latents", latents, tuple(t.latents.shape[1:]))]
    stages += [(k, principal(v), t.vae.shapes[k][1:]) for k, v in t.vae.stages.items() if k != "conv_out"]
    stages += [("conv_out", image, t.vae.shapes["conv_out"][1:])]
    columns, cell, high = (len(stages) + 1) // 2, 146, 198
    gap = (WIDTH - columns * cell) / (columns - 1)
    board = Board(WIDTH, 2 * high)
    for i, (name, picture, shape) in enumerate(stages):
        x, y = (i % columns) * (cell + gap), (i // columns) * high
        board.picture(x, y + 2, cell, cell, picture, smooth=name == "conv_out")
        board.text(x + cell / 2, y + cell + 15, name, ha="center", weight="bold")
        board.text(x + cell / 2, y + cell + 37, " × ".join(map(str, shape)), color=MUTED, ha="center")
    return board


@plot
def roundtrip(before: Image.Image, latents: Image.Image, after: Image.Image, times=4):
    """A picture through the encoder and the decoder, and what was lost, made `times` stronger."""
    cell, gap = 192, 38  # 192 x SCALE is three times 128: every pixel of Postcard stays a square
    board = Board(WIDTH, cell + 36)
    lost = np.abs(np.asarray(before, dtype="float64") - np.asarray(after, dtype="float64")) / 255
    shown = [(before, "picture", INK), (latents, "latents", LATENTS), (after, "decoded again", X0)]
    shown += [(to_image(lost * times), f"difference × {times}", MUTED)]
    for i, (image, label, colour) in enumerate(shown):
        board.picture(i * (cell + gap), 0, cell, cell, image, smooth=False)
        board.text(i * (cell + gap) + cell / 2, cell + 19, label, 16, colour, ha="center")
    return board
