"""Figures of Postcard's training, and of what the judge reads from its pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from matplotlib.ticker import FixedLocator, NullLocator
from PIL import Image

from .base import COND, GUIDED, LATENTS, MUTED, WIDTH, Board, plot

COLUMNS, GAP = 4, 4  # of a sheet: pictures beside each other, and pixels between them


def childhood(folder: Path) -> tuple[dict, dict[int, list[Image.Image]]]:
    """What a model folder knows of its training: (training.json, {step: the pictures painted after it})."""
    story = json.loads((folder / "training.json").read_text())
    with Image.open(folder / "childhood.webp") as file:
        tall = file.convert("RGB")
    pitch = (tall.width + GAP) // COLUMNS
    side = pitch - GAP
    steps, sheets = next(stage["sheets"] for stage in reversed(story.values()) if "sheets" in stage), {}
    high = tall.height // len(steps)
    for i, step in enumerate(steps):
        corners = [(x * pitch, y) for y in range(i * high, (i + 1) * high, pitch) for x in range(COLUMNS)]
        sheets[step] = [tall.crop((x, y, x + side, y + side)) for x, y in corners]
    return story, sheets


@plot
def growth(curve: list[tuple[int, float]], pictures: dict[int, Image.Image]) -> Board:
    """The loss, and above it what the same prompt and seed became after so many steps; as many pictures as there is
    room for."""
    steps, losses = np.array(curve).T
    cell, gap = 84, 6
    left, wide = 70, WIDTH - 70 - cell / 2
    board = Board(WIDTH, cell + 300)
    axes = board.axes(left, cell + 34, wide, 204)
    first, last = min(step for step in pictures if step), max(pictures)
    place = lambda step: left + wide * np.log(step / first) / np.log(last / first)
    axes.plot(steps, losses, color=LATENTS)
    axes.set(xscale="log", yscale="log", xlim=(first, last), xlabel="steps", ylabel="loss: squared error of v")
    shown: list[int] = []
    for step in sorted(pictures, reverse=True):
        if step and (not shown or place(shown[-1]) - place(step) >= cell + gap):
            shown.append(step)
            board.picture(place(step) - cell / 2, 0, cell, cell, pictures[step])
            axes.axvline(step, color=MUTED, lw=0.8, ls=":")
    axes.xaxis.set(major_locator=FixedLocator(shown), minor_locator=NullLocator(), major_formatter="{x:g}")
    ticks = np.geomspace(losses.min(), losses.max(), 4).tolist()
    axes.yaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
    axes.set_yticklabels([f"{loss:.2f}" for loss in ticks])
    return board


@plot
def scores(evaluation: dict, names: list[str], columns: int = 4) -> Board:
    """How often the judge reads from pictures what was asked for, by guidance, with 95% intervals; dashed: from the
    painter's own pictures after the autoencoder, which is as good as it can get."""
    wide, high, gap = 150, 118, 76
    board = Board(WIDTH, -(-len(names) // columns) * (high + 78) - 14)
    scales = [row["scale"] for row in evaluation["guidance"]]
    for i, name in enumerate(names):
        x, y = 46 + i % columns * (wide + gap), 30 + i // columns * (high + 78)
        part, low, high_end = np.array([row["accuracy"][name][:3] for row in evaluation["guidance"]]).T
        axes = board.axes(x, y, wide, high)
        axes.fill_between(scales, low, high_end, color=LATENTS, alpha=0.2, lw=0)
        axes.plot(scales, part, "o-", color=LATENTS, markersize=4)
        axes.axhline(evaluation["autoencoder"][name][0], color=GUIDED, lw=1.6, ls="--")
        axes.set(xscale="log", ylim=(0, 1.04), yticks=[0, 0.5, 1], xlim=(0.9, 11))
        axes.xaxis.set(major_locator=FixedLocator([1, 2, 5, 10]), minor_locator=NullLocator(), major_formatter="{x:g}")
        board.text(x, y - 16, name, weight="bold")
    return board


@plot
def price(evaluation: dict) -> Board:
    """What guidance costs: how different pictures of one prompt are, and how far all are from the painter's."""
    board = Board(WIDTH, 330)
    scales = [row["scale"] for row in evaluation["guidance"]]
    titles = {
        "diversity": "different from each other, 1: as the painter's",
        "frechet": "far from the painter's (Fréchet distance)",
    }
    for i, (name, title) in enumerate(titles.items()):
        x = 56 + i * 460
        axes = board.axes(x, 40, 360, 220)
        axes.plot(scales, [row[name] for row in evaluation["guidance"]], "o-", color=(LATENTS, COND)[i])
        axes.set(xscale="log", xlabel="guidance_scale", xlim=(0.93, 10.8))
        axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
        axes.xaxis.set(major_locator=FixedLocator(scales), minor_locator=NullLocator(), major_formatter="{x:g}")
        board.text(x, 18, title, weight="bold")
    return board
