"""What the deck's interactive figures are fed with: pictures to scrub through, and data.

No model runs on a slide: each sheet holds one traced run, picture by picture.
"""

from __future__ import annotations

import json

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from .base import Shown, to_bytes

SIDE, WIDEST = 256, 16383  # pixels: of a picture, as large as slides show one; and of a WebP, which can be no wider


class Sheet(Shown):
    """Equally large pictures in rows and columns with nothing between them, in one file; large ones are made smaller.

    rows: {name: [a picture for each column]}; columns: what to call them. The names go into the manifest.
    lossless keeps every pixel, for latents; paintings are smaller without.
    """

    def __init__(self, rows: dict[str, list[Image.Image]], columns: list, lossless: bool = False):
        picture = next(iter(rows.values()))[0]
        width = min(picture.width, SIDE, WIDEST // len(columns))
        height = width * picture.height // picture.width
        self.about = {"rows": list(rows), "columns": [str(c) for c in columns]}
        self.lossless, self.image = lossless, Image.new("RGB", (width * len(columns), height * len(rows)))
        for y, pictures in enumerate(rows.values()):
            if len(pictures) != len(columns):
                raise ValueError(f"{len(columns)} columns, but {len(pictures)} pictures in a row")
            for x, picture in enumerate(pictures):
                if picture.width != width:
                    picture = picture.resize((width, height), Resampling.LANCZOS)
                self.image.paste(picture, (x * width, y * height))

    def render(self, suffix: str) -> bytes:
        if suffix != ".webp":
            raise ValueError(f"a sheet is saved as .webp, not {suffix}")
        return to_bytes(np.asarray(self.image), suffix, lossless=self.lossless, quality=75, method=4)


class Data(Shown):
    """Numbers and words for a slide, as JSON."""

    suffix = ".json"

    def __init__(self, value: object):
        self.value = value

    def render(self, suffix: str) -> bytes:
        return json.dumps(self.value, ensure_ascii=False, separators=(",", ":")).encode()

    def _repr_html_(self) -> str:
        return f"<pre>{json.dumps(self.value, ensure_ascii=False, indent=1)[:2000]}</pre>"
