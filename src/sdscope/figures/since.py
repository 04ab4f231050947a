"""Figures of what came after: the path of a flow beside that of diffusion, and what schedulers mix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from ..flow import flow_times
from .base import GUIDED, INK, LATENTS, MUTED, NOISE, SIGNED, WIDTH, Board, plot


@plot
def two_paths(alphas: torch.Tensor, pictures: Sequence[tuple[float, Image.Image, Image.Image]]) -> Board:
    """How diffusion and a flow mix noise and picture, at the times of a run and where it ends.

    alphas: (steps + 1,) of alphas_cumprod; pictures: (t of the flow, latents of diffusion, the same in its units)
    """
    cell, gap, left, side = 84, 8, 400, 296
    board = Board(WIDTH, 356)
    axes = board.axes(62, 8, side, side)
    noise, t = (1 - alphas.double()) ** 0.5, flow_times(alphas.double())
    arc = np.linspace(0, np.pi / 2, 200)
    axes.plot(np.sin(arc), np.cos(arc), color=LATENTS)
    axes.plot([0, 1], [1, 0], color=GUIDED)
    for x, y, time in zip(noise, alphas.double() ** 0.5, t):
        axes.plot([0, x], [0, y], color=NOISE, lw=0.7, zorder=0)
        axes.plot([x], [y], "o", color=LATENTS, markersize=4.5)
        axes.plot([time], [1 - time], "o", color=GUIDED, markersize=4.5)
    axes.set(xlim=(0, 1.06), ylim=(0, 1.06), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set(xlabel="strength of the noise", ylabel="strength of the picture")
    board.text(left + 60, 30, "diffusion: a circle", 18, LATENTS, weight="bold")
    board.text(left + 60, 56, "picture² + noise² = 1", color=MUTED)
    board.text(left + 60, 190, "flow: a straight line", 18, GUIDED, weight="bold")
    board.text(left + 60, 216, "picture + noise = 1", color=MUTED)
    for i, (time, diffusion, flow) in enumerate(pictures):
        x = left + 60 + i * (cell + gap)
        board.picture(x, 74, cell, cell, diffusion, smooth=False)
        board.picture(x, 234, cell, cell, flow, smooth=False)
        board.text(x + cell / 2, 234 + cell + 16, f"t = {time:.2f}", color=GUIDED, ha="center")
    return board


@plot
def mixtures(rows: dict[str, Sequence[float]], columns: Sequence[str]) -> Board:
    """{scheduler: how much of each prediction is in the direction of its step, the newest first}"""
    margin, cell, high, gap = 96, 104, 44, 6
    board = Board(margin + len(columns) * (cell + gap), 34 + len(rows) * (high + gap))
    for i, name in enumerate(columns):
        board.text(margin + i * (cell + gap) + cell / 2, 14, name, color=MUTED, ha="center")
    for j, (name, weights) in enumerate(rows.items()):
        y = 32 + j * (high + gap)
        board.text(margin - 14, y + high / 2, name, 16, ha="right", weight="bold")
        for i, weight in enumerate(weights[: len(columns)]):
            x, none = margin + i * (cell + gap), abs(weight) < 5e-3
            axes = board.axes(x, y, cell, high)
            axes.set(xticks=[], yticks=[], facecolor=SIGNED(0.5 + float(np.clip(weight, -2.5, 2.5)) / 10))
            axes.spines[:].set_visible(False)
            text = "0" if none else f"{round(weight, 4):.2f}".replace("-", "−")
            board.text(x + cell / 2, y + high / 2, text, 17, MUTED if none else INK, ha="center")
    return board
