"""Figures of the third step: the loop, its predictions, its words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling

from ..trace import Step, Trace
from .base import (
    COND,
    GUIDED,
    HEAT,
    INK,
    LATENTS,
    MUTED,
    PAPER,
    UNCOND,
    WIDTH,
    X0,
    Animation,
    Board,
    coloured,
    plot,
)
from .latents import LatentRGB
from .pictures import movie
from .text import SPECIAL

ROWS = {"latents": LATENTS, "noise_uncond": UNCOND, "noise_cond": COND, "noise": GUIDED, "pred_x0": X0}


def times(t: Trace) -> list[str]:
    return [f"step {s.i + 1} of {len(t.steps)}, t = {s.t}" for s in t.steps] + ["after the last step"]


def all_latents(t: Trace) -> list[torch.Tensor]:
    """The first picture's latents before every step, and after the last: [(4, h, w)]"""
    return [s.latents[0] for s in t.steps] + ([] if t.latents is None else [t.latents[0]])


def latents_movie(t: Trace, rgb: LatentRGB) -> Animation:
    return movie([rgb(z) for z in all_latents(t)], times(t), smooth=False)


def decoded_movie(images: list[Image.Image], t: Trace) -> Animation:
    """`images`: the decoded latents, one for each entry of `all_latents`."""
    return movie(images, times(t), quality=30)


def x0_movie(images: list[Image.Image], t: Trace) -> Animation:
    """`images`: the decoded pred_x0, one for each step."""
    return movie(images, times(t)[:-1])


def evenly(steps: Sequence, n: int) -> list:
    """At most n of the steps, evenly spaced, the first and the last among them."""
    return [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, n).round().astype(int))]


@plot
def strip(steps: list[Step], rgb: LatentRGB, decoded: list[Image.Image]) -> Board:
    """What there is at these steps: a row for each quantity, and one for the decoded pred_x0."""
    margin, cell, gap = 134, 64, 4
    board = Board(margin + len(steps) * (cell + gap) - gap, 30 + 6 * (cell + gap))
    for x, s in enumerate(steps):
        left = margin + x * (cell + gap)
        board.text(left + cell / 2, 14, f"t = {s.t}", ha="center")
        for y, name in enumerate(ROWS):
            board.picture(left, 30 + y * (cell + gap), cell, cell, rgb(getattr(s, name)[0]), smooth=False)
        board.picture(left, 30 + 5 * (cell + gap), cell, cell, decoded[x])
    for y, (name, colour) in enumerate([*ROWS.items(), ("pred_x0\ndecoded", X0)]):
        board.text(margin - 12, 30 + y * (cell + gap) + cell / 2, name, color=colour, ha="right", weight="bold")
    return board


def panels(rows: list[dict], captions: list[str]) -> Animation:
    """Several animations in step. rows: [{(label, colour): [a picture for each caption]}, ...]

    Pictures smaller than a panel, as latents are, keep their values as squares.
    """
    size, gap = 128, 12
    columns, high = max(map(len, rows)), size + 30
    width, frames = columns * (size + gap) - gap, []
    for i in evenly(range(len(captions)), 16):  # several pictures a frame: more frames would make large files
        board = Board(width, len(rows) * high + 26)
        board.text(width / 2, len(rows) * high + 10, captions[i], color=MUTED, ha="center")
        for y, row in enumerate(rows):
            for x, (label, colour) in enumerate(row):
                board.text(x * (size + gap) + size / 2, y * high + 13, label, 16, colour, ha="center", weight="bold")
        board.figure.set_facecolor(PAPER)
        for y, row in enumerate(rows):
            for x, pictures in enumerate(row.values()):
                smooth = pictures[i].width >= size
                board.picture(x * (size + gap), y * high + 26, size, size, pictures[i], smooth)
        frames.append(board.figure)
    return Animation(frames, quality=25)


def predictions(t: Trace, rgb: LatentRGB, decoded: dict[str, list[Image.Image]]) -> Animation:
    """The three predictions at every step, and below each, decoded, the x_0 that it stands for: {name: pictures}"""
    names = {"noise_uncond": ("uncond", UNCOND), "noise_cond": ("cond", COND), "noise": ("guided", GUIDED)}
    raw = {label: [rgb(getattr(s, name)[0]) for s in t.steps] for name, label in names.items()}
    x0 = {(f"x0 of {label}", colour): decoded[name] for name, (label, colour) in names.items()}
    return panels([raw, x0], times(t)[:-1])


def heats(t: Trace, word: str) -> np.ndarray:
    """(steps, h, w): how much each place looks at the word at each step, 0 at the least of all and 1 at the most."""
    maps = np.stack([s.attention[word].numpy() for s in t.steps])
    return (maps - maps.min()) / (np.ptp(maps) or 1)


def overlay(image: Image.Image, heat: np.ndarray) -> Image.Image:
    """A picture in grey with `heat` (h, w), 0 to 1, laid over it in colours."""
    large = Image.fromarray(heat.astype("float32")).resize(image.size, Resampling.BICUBIC)
    colour = np.asarray(coloured(np.asarray(large).clip(0, 1), 1.0, HEAT), dtype="float64")
    grey = np.asarray(image.convert("L").convert("RGB"), dtype="float64")
    return Image.fromarray((0.3 * grey + 0.7 * colour).clip(0, 255).astype("uint8"))


def attention_movie(t: Trace, pictures: list[Image.Image], words: list[str]) -> Animation:
    """At every step the picture that the UNet has in mind (`pictures`), and where it looks at each word."""
    heat = {word: heats(t, word) for word in words}
    row = {("x0", X0): pictures}
    row |= {(SPECIAL.get(word, word), INK): [overlay(p, h) for p, h in zip(pictures, heat[word])] for word in words}
    return panels([row], times(t)[:-1])


def attention_rows(t: Trace, words: list[str], size: int = 64) -> dict[str, list[Image.Image]]:
    """{word: its map at each step, and at last the mean over the steps}, for a Sheet."""
    rows = {}
    for word in words:
        heat = heats(t, word)
        maps = [coloured(h, 1.0, HEAT) for h in [*heat, heat.mean(0) / heat.mean(0).max()]]
        rows[SPECIAL.get(word, word)] = [m.resize((size, size * m.height // m.width), Resampling.BICUBIC) for m in maps]
    return rows


@plot
def attention_words(t: Trace, image: Image.Image, words: list[str]) -> Board:
    """Where each word acts: cross-attention, mean over heads, layers and steps, laid over the picture."""
    columns, gap = len(words) + 1, 10
    cell = (WIDTH - gap * (columns - 1)) / columns
    board = Board(WIDTH, cell + 36)
    board.picture(0, 0, cell, cell, image)
    board.text(cell / 2, cell + 18, "picture", color=MUTED, ha="center")
    for i, word in enumerate(words, start=1):
        heat = t.attention[word].numpy()
        # contrast within the word's own map: shares differ between words by an order of magnitude
        heat = (heat - heat.min()) / (np.ptp(heat) or 1)
        board.picture(i * (cell + gap), 0, cell, cell, overlay(image, heat))
        board.text(i * (cell + gap) + cell / 2, cell + 18, SPECIAL.get(word, word), 16, INK, ha="center", weight="bold")
    return board


@plot
def attention_steps(t: Trace, steps: list[Step], pictures: list[Image.Image], words: list[str]) -> Board:
    """The same at each of the `steps`, over the picture that the UNet has in mind there. A word has one scale for
    all steps."""
    margin, gap = 92, 6
    cell = (WIDTH - margin + gap) / len(steps) - gap
    board = Board(WIDTH, 28 + (len(words) + 1) * (cell + gap) - gap)
    heat = {word: heats(t, word) for word in words}
    rows = {"x0": pictures} | {word: [overlay(p, heat[word][s.i]) for s, p in zip(steps, pictures)] for word in words}
    for y, (name, row) in enumerate(rows.items()):
        top = 28 + y * (cell + gap)
        board.text(
            margin - 12, top + cell / 2, SPECIAL.get(name, name), 16, INK if y else X0, ha="right", weight="bold"
        )
        for x, (s, picture) in enumerate(zip(steps, row)):
            board.picture(margin + x * (cell + gap), top, cell, cell, picture)
            if y == 0:
                board.text(margin + x * (cell + gap) + cell / 2, 12, f"t = {s.t:.0f}", color=MUTED, ha="center")
    return board
