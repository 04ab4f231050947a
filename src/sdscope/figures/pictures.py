"""Pictures side by side, and pictures in time."""

from __future__ import annotations

from PIL import Image

from .base import WIDTH, Animation, Board, plot, rasterize


@plot
def gallery(rows, top=(), left=(), width=WIDTH, gap=8, smooth=True, scale=1.0):
    """Rows of pictures, with a label above each column and left of each row.

    smooth, scale: one value or one per row. smooth=False keeps every value a square (latents);
    a row of scale 0.5 is drawn half as large.
    """
    margin, head, columns = (130 if left else 0), (30 if top else 0), len(rows[0])
    smooth, scale = (x if isinstance(x, list) else [x] * len(rows) for x in (smooth, scale))
    cell = (width - margin - gap * (columns - 1)) / columns
    heights = [cell * k * row[0].height / row[0].width for row, k in zip(rows, scale)]
    board = Board(width, head + sum(heights) + gap * (len(rows) - 1))
    for i, label in enumerate(top):
        board.text(margin + i * (cell + gap) + cell / 2, 13, label, ha="center")
    y = head
    for j, row in enumerate(rows):
        if left:
            board.text(margin - 14, y + heights[j] / 2, left[j], ha="right")
        for i, image in enumerate(row):
            x = margin + i * (cell + gap) + cell * (1 - scale[j]) / 2
            board.picture(x, y, cell * scale[j], heights[j], image, smooth=smooth[j])
        y += heights[j] + gap
    return board


@plot
def sizes(images, labels, height=280, gap=20):
    """Pictures of different sizes on one scale, side by side, each with its label below."""
    scale = min(height / max(i.height for i in images), (WIDTH - gap * (len(images) - 1)) / sum(i.width for i in images))
    board = Board(sum(i.width for i in images) * scale + gap * (len(images) - 1), height + 34)
    x = 0
    for image, label in zip(images, labels):
        w, h = image.width * scale, image.height * scale
        board.picture(x, height - h, w, h, image)
        board.text(x + w / 2, height + 20, label, ha="center")
        x += w + gap
    return board


def movie(images, captions, size=220, smooth=True, **options) -> Animation:
    """An animation of equally large pictures, each with its caption below. Squares are kept without loss."""
    frames = []
    for image, caption in zip(images, captions):
        high = round(size * image.height / image.width)
        board = Board(size, high + 34)
        board.picture(0, 0, size, high, image, smooth=smooth)
        board.text(size / 2, high + 18, caption, ha="center")
        frames.append(rasterize(board.figure))
    return Animation(frames, lossless=not smooth, **options)
