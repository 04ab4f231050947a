"""Pictures side by side, and pictures in time."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.patches import Rectangle
from PIL import Image
from PIL.Image import Resampling

from .base import COND, MUTED, PAPER, WIDTH, Animation, Board, plot, to_image


@plot
def gallery(
    rows: Sequence[Sequence[Image.Image]],
    top: Sequence[str] = (),
    left: Sequence[str] = (),
    width: float = WIDTH,
    gap: float = 8,
    smooth: bool | list[bool] = True,
    scale: float | list[float] = 1.0,
) -> Board:
    """Rows of pictures, with a label above each column and left of each row.

    smooth, scale: one value or one per row. smooth=False keeps every value a square (latents);
    a row of scale 0.5 is drawn half as large.
    """
    margin, head, columns = (130 if left else 0), (30 if top else 0), len(rows[0])
    smooths = smooth if isinstance(smooth, list) else [smooth] * len(rows)
    scales = scale if isinstance(scale, list) else [scale] * len(rows)
    cell = (width - margin - gap * (columns - 1)) / columns
    heights = [cell * k * row[0].height / row[0].width for row, k in zip(rows, scales)]
    board = Board(width, head + sum(heights) + gap * (len(rows) - 1))
    for i, label in enumerate(top):
        board.text(margin + i * (cell + gap) + cell / 2, 13, label, ha="center")
    y = float(head)
    for j, row in enumerate(rows):
        if left:
            board.text(margin - 14, y + heights[j] / 2, left[j], ha="right")
        for i, image in enumerate(row):
            x = margin + i * (cell + gap) + cell * (1 - scales[j]) / 2
            board.picture(x, y, cell * scales[j], heights[j], image, smooth=smooths[j])
        y += heights[j] + gap
    return board


@plot
def album(
    images: Sequence[Image.Image],
    titles: Sequence[str],
    notes: Sequence[str],
    off: Sequence[float] | None = None,
    columns: int = 5,
    width: float = WIDTH,
) -> Board:
    """Pictures in rows, each with its title and a note below; off: how far each is from the first, drawn as a bar."""
    gap = 16
    cell = (width - gap * (columns - 1)) / columns
    high = cell * images[0].height / images[0].width
    bar, pitch = (20 if off else 0), high + (76 if off else 56)
    board = Board(width, -(-len(images) // columns) * pitch - 10)
    axes = board.axes(0, 0, width, board.height, frame=False)
    axes.set(xlim=(0, width), ylim=(board.height, 0))
    for i, (image, title, note) in enumerate(zip(images, titles, notes)):
        x, y = i % columns * (cell + gap), i // columns * pitch
        board.picture(x, y, cell, high, image)
        if off:
            long = (cell - 84) * off[i] / max(off)
            axes.add_patch(Rectangle((x, y + high + 8), long, 8, color=COND, lw=0))
            board.text(x + long + (6 if long else 0), y + high + 12, f"off by {off[i]:.2g}", 14)
        board.text(x, y + high + bar + 13, title, weight="bold")
        board.text(x, y + high + bar + 33, note, 14, MUTED)
    return board


@plot
def captioned(rows: Sequence[Sequence[Image.Image]], captions: Sequence[str], left: Sequence[str] = ()) -> Board:
    """Rows of square pictures, left of each row its name; below each column its prompt, on as many lines as it takes"""
    margin, gap, line = (116 if left else 0), 10, 18
    cell = (WIDTH - margin - gap * (len(captions) - 1)) / len(captions)
    texts = [textwrap.wrap(caption, int(cell / 7.8)) for caption in captions]
    foot = len(rows) * (cell + gap)
    board = Board(WIDTH, foot + line * max(map(len, texts)) + 2)
    for j, row in enumerate(rows):
        if left:
            board.text(margin - 12, j * (cell + gap) + cell / 2, left[j], 14, ha="right", linespacing=1.3)
        for i, image in enumerate(row):
            board.picture(margin + i * (cell + gap), j * (cell + gap), cell, cell, image)
    for i, text in enumerate(texts):
        for j, words in enumerate(text):
            board.text(margin + i * (cell + gap) + cell / 2, foot + line * (j + 0.5), words, 14, ha="center")
    return board


@plot
def social(image: Image.Image, lines: Sequence[str], below: str) -> Board:
    """1200 x 630 pixels, for the preview of a link: a title in `lines` beside a picture."""
    board = Board(600, 315)
    for i, line in enumerate(lines):
        board.text(30, 102 + 38 * i, line, 30, weight="bold")
    board.text(30, 102 + 38 * len(lines) + 10, below, 14.5, MUTED)
    high = 204
    wide = high * image.width / image.height
    board.picture(600 - wide - 24, (315 - high) / 2, wide, high, image, edge="white")
    return board


@plot
def sizes(images: Sequence[Image.Image], labels: Sequence[str]) -> Board:
    """Pictures of different sizes on one scale, side by side, each with its label below."""
    height, gap = 280, 20
    scale = min(
        height / max(i.height for i in images), (WIDTH - gap * (len(images) - 1)) / sum(i.width for i in images)
    )
    board = Board(sum(i.width for i in images) * scale + gap * (len(images) - 1), height + 34)
    x = 0.0
    for image, label in zip(images, labels):
        w, h = image.width * scale, image.height * scale
        board.picture(x, height - h, w, h, image)
        board.text(x + w / 2, height + 20, label, ha="center")
        x += w + gap
    return board


def tiles(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """One picture of several equally large ones, so many in a row"""
    gap, (w, h) = 8, images[0].size
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (w + gap) - gap, rows * (h + gap) - gap), PAPER)
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * (w + gap), i // columns * (h + gap)))
    return sheet


def movie(
    images: Iterable[Image.Image], captions: Iterable[str], size: int = 192, smooth: bool = True, **options: Any
) -> Animation:
    """An animation of equally large pictures, each with its caption below. Squares are kept without loss."""
    frames = []
    for image, caption in zip(images, captions):
        high = round(size * image.height / image.width)
        board = Board(size, high + 34)
        board.picture(0, 0, size, high, image, smooth=smooth)
        board.text(size / 2, high + 18, caption, ha="center")
        frames.append(board.figure)
    return Animation(frames, lossless=not smooth, **options)


def principal(stages: torch.Tensor, pictures: list[Image.Image]) -> list[Image.Image]:
    """(n, C, h, w) -> n pictures of h x w. The direction in which the channels vary most is lightness, the
    second goes from green to red, the third from blue to yellow: the same directions for all n.

    Which way along a direction is left open; each goes the way that agrees with `pictures`, n of them.
    """
    n, _, h, w = stages.shape
    flat = stages.movedim(1, -1).flatten(0, 2).double().numpy()
    flat = flat - flat.mean(0)
    parts = flat @ np.linalg.eigh(flat.T @ flat)[1][:, :-4:-1]
    rgb = np.reshape([np.asarray(picture.resize((w, h), Resampling.BOX)) / 255 for picture in pictures], (-1, 3))
    wanted = rgb @ [[1, 1, 0.5], [1, -1, 0.5], [1, 0, -1]]  # lightness, red - green, yellow - blue
    parts = parts * np.where(((wanted - wanted.mean(0)) * parts).sum(0) < 0, -1, 1)
    low, high = np.percentile(parts, [2, 98], axis=0)
    parts = ((parts - low) / (high - low + 1e-9)).clip(0, 1)
    lab = np.stack([0.35 + 0.6 * parts[:, 0], *(0.28 * parts[:, 1:].T - 0.14)], axis=-1)
    return [to_image(picture) for picture in oklab(lab).reshape(n, h, w, 3)]


def oklab(lab: np.ndarray) -> np.ndarray:
    """(..., 3) lightness, green to red, blue to yellow -> (..., 3) sRGB. https://bottosson.github.io/posts/oklab"""
    to_cones = [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
    to_rgb = [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
    linear = ((lab @ np.transpose(to_cones)) ** 3 @ np.transpose(to_rgb)).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
