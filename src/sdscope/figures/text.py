"""Figures of the first step: words become ids, ids become vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
import torch
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import TextPath
from PIL import Image

from ..pipeline import StableDiffusion
from ..trace import Tokens
from ..vocabulary import END, LETTERS, START
from .base import COND, INK, LATENTS, MUTED, SIGNED, WIDTH, Board, plot

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

SPECIAL = {START: "start", END: "end"}
# the byte that each letter of a vocabulary stands for: its own number, or those that are no letters in their order
OTHERS = [byte for byte in range(256) if chr(byte) not in LETTERS]
BYTES = {letter: ord(letter) if ord(letter) < 256 else OTHERS[ord(letter) - 256] for letter in LETTERS}


def readable(string: str) -> str:
    """A vocabulary's string as people know it: without the mark of a word's end, `</w>`."""
    return SPECIAL.get(string, decoded(string).removesuffix("</w>"))


def decoded(string: str) -> str:
    """A vocabulary's string in real letters, `Ã©</w>` as `é</w>`. What cannot be shown, as a byte that is but a part of
    a letter, is written as in Python: `\\xc3`."""
    if BYTES.keys() >= set(string):  # if not, it was added to the vocabulary as it is
        string = bytes(BYTES[letter] for letter in string).decode(errors="backslashreplace")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in string)


def used(tokens: Tokens) -> int:
    """How many tokens there are up to the one that ends the prompt, itself included."""
    return min(tokens.end + 1, len(tokens.strings))


def token_examples(tokenizer: CLIPTokenizer, prompts: list[str]) -> dict:
    """{"limit": 77, "examples": [{prompt, pieces: [(string, id), ...], dropped: what is cut off}, ...]}"""
    limit, examples = tokenizer.model_max_length, []
    for prompt in prompts:
        ids = tokenizer(prompt, verbose=False).input_ids
        dropped = tokenizer.decode(ids[limit - 1 : -1]) if len(ids) > limit else ""
        kept = ids if len(ids) <= limit else ids[: limit - 1] + ids[-1:]
        pieces = [(decoded(string), i) for string, i in zip(tokenizer.convert_ids_to_tokens(kept), kept)]
        examples.append({"prompt": prompt, "pieces": pieces, "dropped": dropped})
    return {"limit": limit, "examples": examples}


@plot
def token_strip(tokens: Tokens) -> Board:
    """Each token in a box, its id below; the padding as one last box."""
    n = used(tokens)
    boxes = [(readable(s), str(i), MUTED if s in SPECIAL else LATENTS) for s, i in zip(tokens.strings[:n], tokens.ids)]
    if n < len(tokens.ids):
        boxes.append((f"padding × {len(tokens.ids) - n}", str(tokens.ids[-1]), MUTED))
    placed = lines([max(text_width(string, 16), 30) + 24 for string, *_ in boxes], WIDTH, gap=8)
    board = Board(WIDTH, (placed[-1][1] + 1) * 88)
    axes = board.axes(0, 0, WIDTH, board.height, frame=False)
    axes.set(xlim=(0, WIDTH), ylim=(board.height, 0))
    for (x, line, w), (string, number, colour) in zip(placed, boxes):
        y = line * 88 + 4
        axes.add_patch(FancyBboxPatch((x + 4, y + 4), w - 8, 36, "round,pad=4", fc="white", ec=colour, lw=1.6))
        board.text(x + w / 2, y + 22, string, 16, colour if colour == MUTED else INK, ha="center")
        board.text(x + w / 2, y + 62, number, 15, colour, ha="center", family="DejaVu Sans Mono")
    return board


@plot
def cut_off(tokenizer: CLIPTokenizer, text: str) -> Board:
    """All tokens of a text: those that the text encoder reads, and those for which there is no room."""
    ids, room = tokenizer(text, verbose=False).input_ids, tokenizer.model_max_length
    strings = list(tokenizer.convert_ids_to_tokens(ids))
    if len(ids) > room:  # the end token takes the last place
        strings = strings[: room - 1] + strings[-1:] + strings[room - 1 : -1]
    placed = lines([max(text_width(readable(string), 15), 8) + 16 for string in strings], WIDTH, gap=4)
    board = Board(WIDTH, 34 + (placed[-1][1] + 1) * 38)
    axes = board.axes(0, 0, WIDTH, board.height, frame=False)
    axes.set(xlim=(0, WIDTH), ylim=(board.height, 0))
    board.text(2, 15, f"{min(len(ids), room)} tokens are read", weight="bold", color=LATENTS)
    if len(ids) > room:
        board.text(WIDTH - 2, 15, f"{len(ids) - room} are cut off", weight="bold", color=COND, ha="right")
    for i, ((x, line, w), string) in enumerate(zip(placed, strings)):
        y, special = 34 + line * 38, string in SPECIAL
        colour = COND if i >= room else MUTED if special else LATENTS
        face, line_style = ("#f6e3dc", "--") if i >= room else ("white", "-")
        box = FancyBboxPatch((x + 3, y + 3), w - 6, 26, "round,pad=3", fc=face, ec=colour, lw=1.4, ls=line_style)
        axes.add_patch(box)
        board.text(x + w / 2, y + 16, readable(string), 15, MUTED if special else INK, ha="center")
    return board


def lines(widths: list[float], width: float, gap: float) -> list[tuple[float, int, float]]:
    """Boxes set like words: (x, line, its width) of each."""
    x, line, placed = 2.0, 0, []
    for w in widths:
        if x + w > width and x > 2:
            x, line = 2.0, line + 1
        placed.append((x, line, w))
        x += w + gap
    return placed


def text_width(string: str, size: float) -> float:
    """In CSS pixels."""
    with matplotlib.rc_context({"text.parse_math": False}):  # as on the board
        path = (
            TextPath((0, 0), string, size=size, prop=FontProperties(family="DejaVu Sans")) if string.strip() else None
        )
    return path.get_extents().width if path else 0


@plot
def embedding(tokens: Tokens, values: torch.Tensor) -> Board:
    """(77, D) as a picture: a row for each token, the padding squeezed together below."""
    n, values = min(used(tokens), 12), values.float()
    high, margin, width = 25, 110, 450
    board = Board(margin + width, 34 + n * high + 56)
    limit = float(values.abs().quantile(0.995))
    look: dict[str, Any] = dict(cmap=SIGNED, vmin=-limit, vmax=limit, aspect="auto", interpolation="none")
    board.text(margin, 16, f"{values.shape[0]} tokens, {values.shape[1]} numbers each")
    axes = board.axes(margin, 34, width, n * high, frame=False)
    drawn = axes.imshow(values[:n], **look)
    for i, string in enumerate(tokens.strings[:n]):
        board.text(margin - 10, 34 + (i + 0.5) * high, readable(string), ha="right")
    rest = board.axes(margin, 34 + n * high + 8, width, 46, frame=False)
    rest.imshow(values[n:], **look)
    board.text(margin - 10, 34 + n * high + 31, f"{len(values) - n} more", color=MUTED, ha="right")
    bar = board.figure.colorbar(drawn, cax=board.axes(margin + width - 120, 10, 80, 12), orientation="horizontal")
    bar.set_ticks([])
    board.text(margin + width - 126, 16, f"{-limit:.1f}", ha="right")
    board.text(margin + width - 34, 16, f"{limit:.1f}")
    return board


def last_tokens(pipe: StableDiffusion, texts: list[str]) -> torch.Tensor:
    """(n, D): for each text the vector of its end token, the one that has seen all of it."""
    ids = pipe.tokenizer(texts).input_ids
    return torch.stack(
        [embeds[len(i) - 1] for i, embeds in zip(ids, pipe.encode_prompt(texts, [], False).cpu().float())]
    )


@plot
def similarity(texts: list[str], vectors: torch.Tensor) -> Board:
    """Cosine of the angle between every two of the vectors (n, D)."""
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    cosine = (unit @ unit.T).numpy()
    n, cell, margin = len(texts), 31, 130
    board = Board(margin + n * cell + 70, 90 + n * cell)
    axes = board.axes(margin, 88, n * cell, n * cell, frame=False)
    axes.imshow(cosine, cmap=SIGNED, vmin=-1, vmax=1)
    for i, text in enumerate(texts):
        board.text(margin - 10, 88 + (i + 0.5) * cell, text, ha="right")
        board.text(margin + (i + 0.4) * cell, 80, text, ha="left", va="bottom", rotation=40, rotation_mode="anchor")
        for j in range(n):
            dark = abs(cosine[i, j]) > 0.75
            value = f"{cosine[i, j]:.1f}".replace("-0.0", "0.0")
            axes.text(j, i, value, ha="center", va="center", color="white" if dark else INK, size=10.1)
    return board


@plot
def equations(rows: list[list[Image.Image]], labels: list[list[str]]) -> Board:
    """Sums of embeddings, painted: in each row what is added and subtracted, and what is painted from the sum."""
    cell, between, high = 98, 50, 134
    board = Board(4 * cell + 3 * between, len(rows) * high - 4)
    for j, (pictures, names) in enumerate(zip(rows, labels)):
        for i, (picture, name) in enumerate(zip(pictures, names)):
            x, y = i * (cell + between), j * high
            board.picture(x, y, cell, cell, picture)
            board.text(x + cell / 2, y + cell + 16, name, ha="center")
            if i:
                board.text(x - between / 2, y + cell / 2, "−+="[i - 1], 30, ha="center")
    return board
