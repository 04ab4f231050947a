"""Figures of the UNet: the U as it was measured, its blocks line by line, what its levels see, what can be left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image

from ..trace import Step, Tokens, Trace
from .base import COND, HEAT, INK, LATENTS, MUTED, NOISE, WIDTH, Board, coloured, crowded, plot
from .pictures import principal

KINDS = {"resnets": LATENTS, "attentions": COND, "samplers": NOISE, "conv": INK}
LEGEND = {"ResNet block": LATENTS, "transformer": COND, "half or twice the size": NOISE, "convolution": INK}


def skips(t: Trace) -> list[tuple[str, str, int]]:
    """[(part on the way down, ResNet block on the way up that sees its output, channels)], the top one first.

    A ResNet block's own output is not among them where a transformer follows: then that one's is.
    """
    down = [name for name in t.unet.shapes if name.startswith(("conv_in", "down_blocks"))]
    outputs = [name for name, after in zip(down, [*down[1:], ""]) if "attentions" not in after]
    up = [name for name in t.unet.shapes if name.startswith("up_blocks") and "resnets" in name]
    return [(name, user, t.unet.shapes[name][1]) for name, user in zip(outputs, reversed(up))]


@plot
def unet_ledger(t: Trace) -> Board:
    """Every block of the UNet in the order in which it ran: as high as its picture, a level lower for each halving."""
    sides = sorted({shape[-2] for shape in t.unet.shapes.values()}, reverse=True)
    margin, unit, drop = 118, 92, 84
    board = Board(WIDTH, 44 + drop * (len(sides) - 1) + unit)
    axes = board.axes(0, 0, WIDTH, board.height, frame=False)
    axes.set(xlim=(0, WIDTH), ylim=(board.height, 0))
    step = (WIDTH - 2 * margin) / len(t.unet.shapes)
    ends: dict[tuple[int, bool], list] = {}  # (level, down or up) -> [left, right, shape]
    for i, (name, shape) in enumerate(t.unet.shapes.items()):
        level = sides.index(shape[-2])
        x, high = margin + i * step, max(unit * shape[-2] / sides[0], 8)
        y = 40 + level * drop + unit / 2
        colour = next(colour for kind, colour in KINDS.items() if kind in name)
        axes.add_patch(Rectangle((x + 1, y - high / 2), step - 2, high, color=colour, lw=0))
        end = ends.setdefault((level, name.startswith(("conv_out", "up"))), [x, x, shape])
        end[1:] = [x + step, shape if name != "conv_out" else end[2]]
    remembered = [sides.index(t.unet.shapes[name][-2]) for name, *_ in skips(t)]
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
            board.text((start + left) / 2, y - 13, f"{remembered.count(level)} skips", color=MUTED, ha="center")
    for x, (label, colour) in zip((118, 290, 446, 680), LEGEND.items()):
        axes.add_patch(Rectangle((x, 6), 14, 14, color=colour, lw=0))
        board.text(x + 21, 13, label)
    return board


@plot
def line_by_line(lines: dict[str, torch.Tensor], size: tuple[int, int]) -> Board:
    """A block's lines of code and what each gives: its shape, its size (rms), and some of its channels as pictures.

    lines: {code: (1, C, h, w), or (1, h * w, C)}; size: (h, w). Shown are the channels that vary most in
    what the last line gives; where there are more or fewer than those C, the ones that vary most at the start.
    """
    cell, gap, columns, code = 45, 4, 9, 322
    left = WIDTH - columns * (cell + gap) + gap
    maps = {line: as_maps(value, size) for line, value in lines.items()}
    first, *_, last = maps.values()
    chosen = {len(value): liveliest(value, columns) for value in (first, last)}
    board = Board(WIDTH, 26 + len(lines) * (cell + gap))
    board.text(code, 11, "shape, size", color=MUTED)
    board.text(left, 11, f"{columns} of the channels, each line on its own scale", color=MUTED)
    for j, (line, value) in enumerate(maps.items()):
        y = 26 + j * (cell + gap)
        board.text(0, y + cell / 2, line, 14.5, family="DejaVu Sans Mono")
        board.text(code, y + 12, " × ".join(map(str, lines[line].shape[1:])))
        board.text(code, y + 33, f"about ±{value.square().mean().sqrt():.1f}", color=MUTED)
        shown = value[chosen[len(value)]]
        limit = float(shown.abs().quantile(0.99))
        for i, channel in enumerate(shown):
            picture = coloured(channel, limit)
            board.picture(left + i * (cell + gap), y, cell, cell, picture, smooth=crowded(picture, cell))
    return board


def as_maps(value: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(1, C, h, w), or (1, h * w, C) -> (C, h, w)"""
    value = value[0].float().cpu()
    return value if value.ndim == 3 else value.T.unflatten(1, size)


def liveliest(maps: torch.Tensor, n: int) -> torch.Tensor:
    """The n of the channels of (C, h, w) that vary most from place to place, in their order."""
    return maps.flatten(1).std(1).topk(n).indices.sort().values


@plot
def features(
    steps: Sequence[Step],
    latents: list[Image.Image],
    levels: dict[str, torch.Tensor],
    decoded: list[Image.Image],
) -> Board:
    """What the levels of the UNet see at some steps: a row for each step, from the latents to the decoded pred_x0.

    latents, decoded: a picture for each step. levels: {name: (steps, C, h, w)}, as directions in which the
    channels of this level vary most, the same for all steps.
    """
    margin, gap, head = 62, 6, 46
    columns = len(levels) + 2
    cell = (WIDTH - margin - gap * (columns - 1)) / columns
    board = Board(WIDTH, head + len(steps) * (cell + gap) - gap)
    top = {"latents": (latents, f"{latents[0].height} × {latents[0].width}")}
    top |= {name: (principal(value, decoded), " × ".join(map(str, value.shape[2:]))) for name, value in levels.items()}
    top |= {"pred_x0": (decoded, "decoded")}
    for i, (name, (pictures, size)) in enumerate(top.items()):
        x = margin + i * (cell + gap)
        board.text(x + cell / 2, 11, name, 14, ha="center", weight="bold")
        board.text(x + cell / 2, 31, size, 14, MUTED, ha="center")
        for j, picture in enumerate(pictures):
            smooth = name == "pred_x0" or crowded(picture, cell)
            board.picture(x, head + j * (cell + gap), cell, cell, picture, smooth=smooth)
    for j, s in enumerate(steps):
        y = head + j * (cell + gap) + cell / 2
        board.text(margin - 8, y - 9, f"step {s.i + 1}", 14, ha="right")
        board.text(margin - 8, y + 10, f"t = {s.t:.0f}", 14, MUTED, ha="right")
    return board


@plot
def places(
    image: Image.Image,
    marked: list[tuple[int, int]],
    looks: torch.Tensor,
    listens: torch.Tensor,
    tokens: Tokens,
) -> Board:
    """A few places of a picture: at which places each of them looks, and to which tokens it listens.

    marked: [(row, column)] on a grid of h x w; looks (n, h, w), listens (n, 77): shares of attention.
    """
    gap, rows, high = 21, 4, 24
    cell = (WIDTH - gap * len(marked)) / (len(marked) + 1)
    top, below = 30, 30 + cell + 14
    board = Board(WIDTH, below + rows * high)
    axes = board.axes(0, 0, WIDTH, board.height, frame=False)
    axes.set(xlim=(0, WIDTH), ylim=(board.height, 0))
    whole = board.picture(0, top, cell, cell, image)
    board.text(0, 13, "the picture so far", 15)
    board.text(0, below + 12, "listens to", 15)
    board.text(0, below + 36, "1 × is an even share", 14, MUTED)
    words = [by_word(listen, tokens) for listen in listens]
    most = max(max(shares.values()) for shares in words)
    for i, (place, look) in enumerate(zip(marked, looks)):
        x = (i + 1) * (cell + gap)
        board.text(x, 13, f"place {i + 1} looks at", 15)
        heat = coloured(look, None, HEAT)
        mark(board.picture(x, top, cell, cell, heat, smooth=crowded(heat, cell)), place, look.shape)
        mark(whole, place, look.shape, str(i + 1))
        for j, (word, share) in enumerate(sorted(words[i].items(), key=lambda item: -item[1])[:rows]):
            y, long = below + j * high, cell * share / most
            axes.add_patch(Rectangle((x, y + 1), long, high - 2, color=COND, alpha=0.25, lw=0))
            board.text(x + 6, y + high / 2, word, 14)
            board.text(x + cell - 6, y + high / 2, f"{share:.1f} ×", 14, ha="right")
    return board


def mark(axes: Axes, place: tuple[int, int], grid: Sequence[int], label: str = "") -> None:
    """A ring around a place (row, column) of a grid of h x w, and its number beside it."""
    (row, column), (h, w) = place, grid
    x, y = (column + 0.5) / w, 1 - (row + 0.5) / h
    look: dict[str, Any] = dict(transform=axes.transAxes, clip_on=False)
    for colour, width in (("white", 3.2), (INK, 1.4)):
        axes.plot(x, y, "o", ms=11, mfc="none", mec=colour, mew=width, **look)
    side, ha = (0.07, "left") if x < 0.5 else (-0.07, "right")  # where there is more room
    halo = [withStroke(linewidth=2.6, foreground="white")]
    axes.text(x + side, y, label, size=0.72 * 15, ha=ha, va="center", weight="bold", path_effects=halo, **look)


def by_word(shares: torch.Tensor, tokens: Tokens) -> dict[str, float]:
    """(77,) shares of attention -> {word in quotation marks: how many times an even share its tokens get, each},
    and so for what is no word. An even share is one of 77: padding has most of the attention by being most of it.
    """
    where = {"start": [0]}
    for word, positions in tokens.words():
        where.setdefault(f"“{word}”", []).extend(positions)
    end = max(map(max, where.values())) + 1
    where["end, padding"] = list(range(end, len(shares)))
    return {name: float(shares[positions].mean() * len(shares)) for name, positions in where.items()}
