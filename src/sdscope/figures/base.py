"""What every figure is made with: a board measured in CSS pixels, and objects that show and save themselves."""

from __future__ import annotations

import base64
import functools
import io
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

STYLE = Path(__file__).with_name("style.mplstyle")
WIDTH = 884  # CSS pixels: as wide as a slide has room for
SCALE = 2  # pixels of the file for each CSS pixel: sharp on a projector
PAPER, INK, MUTED = "#fbfaf7", "#22303c", "#5f6b76"
# one colour for one thing, in the figures as in the deck
LATENTS, NOISE, UNCOND, COND, GUIDED, X0 = "#3b6fb6", "#8a8f98", "#b08a2e", "#c2562d", "#2a7f62", "#7a4ea3"
SIGNED = LinearSegmentedColormap.from_list("signed", [LATENTS, PAPER, COND], N=255)  # negative, zero, positive
HEAT = LinearSegmentedColormap.from_list("heat", [PAPER, "#e8c9a0", COND, "#5c1f14"])


class Shown:
    """A figure that shows itself in Jupyter and saves itself. Each file is made once and remembered."""

    suffix = ".png"

    def render(self, suffix: str) -> bytes:
        raise NotImplementedError

    def data(self, suffix: str) -> bytes:
        """The bytes of the file. A suffix that cannot be: ValueError."""
        files = self.__dict__.setdefault("files", {})
        if suffix not in files:
            files[suffix] = self.render(suffix)
        return files[suffix]

    def save(self, path) -> None:
        path = Path(path)
        path.write_bytes(self.data(path.suffix))

    def _repr_html_(self) -> str:
        suffix = next(iter(self.__dict__.get("files", ())), self.suffix)
        code = base64.b64encode(self.data(suffix)).decode()
        return f'<img style="max-width: {WIDTH}px; width: 100%" src="data:image/{suffix[1:]};base64,{code}">'


class Picture(Shown):
    """One PIL image. `times` makes it larger: smoothly (Lanczos), as fits a painting."""

    def __init__(self, image: Image.Image, times: int = 1):
        self.image = image if times == 1 else image.resize([times * n for n in image.size], Image.LANCZOS)

    def render(self, suffix):
        return encode(self.image, suffix)


class Plot(Shown):
    """A matplotlib figure."""

    def __init__(self, figure: Figure):
        self.figure = figure

    def render(self, suffix):
        return encode(rasterize(self.figure), suffix)


class Animation(Shown):
    """Frames in a loop, as animated WebP; the last one is held for `hold` milliseconds."""

    suffix = ".webp"

    def __init__(self, frames: list[Image.Image], ms=160, hold=2400, lossless=False, quality=50):
        self.frames, self.options = frames, dict(lossless=lossless, quality=quality, method=4)
        self.durations = [ms] * (len(frames) - 1) + [hold]

    def render(self, suffix):
        if suffix != ".webp":
            raise ValueError(f"an animation is saved as .webp, not {suffix}")
        buffer, (first, *rest) = io.BytesIO(), self.frames
        timing = dict(duration=self.durations, loop=0)
        first.save(buffer, "webp", save_all=True, append_images=rest, **timing, **self.options)
        return buffer.getvalue()


def encode(image: Image.Image, suffix: str) -> bytes:
    options = {".png": dict(optimize=True), ".webp": dict(quality=88, method=4)}
    if suffix not in options:
        raise ValueError(f"cannot save a picture as {suffix!r}: use .png or .webp")
    buffer = io.BytesIO()
    image.save(buffer, suffix[1:], **options[suffix])
    return buffer.getvalue()


def rasterize(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    with matplotlib.style.context(STYLE):
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def plot(draw):
    """Decorator: `draw` returns a Board or a matplotlib figure; callers get a Plot in the project's style."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs) -> Plot:
        with matplotlib.style.context(STYLE):
            figure = draw(*args, **kwargs)
        return Plot(getattr(figure, "figure", figure))

    return drawn


class Board:
    """A blank figure of `width` x `height` CSS pixels; x to the right, y down, text sizes in the same pixels."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / 100, height / 100), dpi=100 * SCALE)

    def axes(self, x, y, w, h, frame=True):
        box = (x / self.width, 1 - (y + h) / self.height, w / self.width, h / self.height)
        axes = self.figure.add_axes(box)
        if not frame:
            axes.set_axis_off()
        return axes

    def text(self, x, y, string, size=15, color=INK, ha="left", va="center", **kwargs):
        at = (x / self.width, 1 - y / self.height)
        # parse_math=False: a "$" in somebody's prompt is a dollar
        kwargs.setdefault("parse_math", False)
        return self.figure.text(*at, string, size=0.72 * size, color=color, ha=ha, va=va, **kwargs)

    def picture(self, x, y, w, h, image, smooth=True, edge=None):
        """A PIL image or array. smooth: Lanczos, for paintings; otherwise every value stays a square."""
        image = image if isinstance(image, Image.Image) else to_image(image)
        size = (round(w * SCALE), round(h * SCALE))
        image = image.convert("RGB").resize(size, Image.LANCZOS if smooth else Image.NEAREST)
        axes = self.axes(x, y, w, h, frame=edge is not None)
        axes.imshow(np.asarray(image), interpolation="none", aspect="auto")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(visible=True, color=edge, linewidth=2)
        return axes


def to_image(array) -> Image.Image:
    """(h, w, 3) in 0..1, a tensor or an array -> PIL image"""
    return Image.fromarray((np.asarray(array).clip(0, 1) * 255).round().astype("uint8"))


def coloured(values, limit=None, cmap=SIGNED) -> Image.Image:
    """(h, w) numbers -> PIL image: `-limit` blue, 0 paper, `limit` vermilion (for HEAT: 0 to limit)"""
    values = np.asarray(values, dtype="float64")
    limit = limit or np.abs(values).max() or 1.0
    scaled = values / limit if cmap is HEAT else 0.5 + values / (2 * limit)
    return to_image(cmap(scaled.clip(0, 1))[..., :3])
