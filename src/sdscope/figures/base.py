"""What every figure is made with: a board measured in CSS pixels, and objects that show and save themselves."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any, ParamSpec

import imageio.v3 as imageio
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import ArrayLike
from PIL import Image, features
from PIL.Image import Resampling

from .. import files
from ..errors import SdscopeError

STYLE = Path(__file__).with_name("style.mplstyle")
WIDTH = 884  # CSS pixels: as wide as a slide has room for
SCALE = 2  # pixels of the file for each CSS pixel: sharp on a projector
LARGEST = 1024  # pixels of a side, of a picture that is made larger
PAPER, INK, MUTED = "#fbfaf7", "#22303c", "#5f6b76"
# one colour for one thing, in the figures as in the deck; told apart also by who cannot see red, green or blue
LATENTS, NOISE, UNCOND, COND, GUIDED, X0 = "#3b6fb6", "#8a8f98", "#c19c3a", "#c2562d", "#2a7f62", "#5e3488"
TEXT = {NOISE: MUTED, UNCOND: "#846416", COND: "#b04a23"}  # darker where letters have them
SIGNED = LinearSegmentedColormap.from_list("signed", [LATENTS, PAPER, COND], N=255)  # negative, zero, positive
HEAT = LinearSegmentedColormap.from_list("heat", [PAPER, "#e8c9a0", COND, "#5c1f14"])
P = ParamSpec("P")


class Shown:
    """A figure that shows itself in Jupyter and saves itself. Each file is made once and remembered."""

    suffix = ".png"

    def texts(self) -> list[Text]:
        """What is written in it"""
        return []

    def render(self, suffix: str) -> bytes:
        raise NotImplementedError

    def data(self, suffix: str) -> bytes:
        """The bytes of the file. A suffix that cannot be: SdscopeError."""
        files = self.__dict__.setdefault("files", {})
        if suffix not in files:
            files[suffix] = self.render(suffix)
        return files[suffix]

    def save(self, path: str | PathLike[str]) -> None:
        """The suffix says as what. All of the file or nothing."""
        files.check(path, parents=True)
        files.write(path, self.data(Path(path).suffix), parents=True)

    def _repr_html_(self) -> str:
        made = [suffix for suffix in self.__dict__.get("files", ()) if suffix != ".mp4"]  # no <img> shows that
        suffix = made[0] if made else self.suffix
        code = base64.b64encode(self.data(suffix)).decode()
        return f'<img style="max-width: {WIDTH}px; width: 100%" src="data:image/{suffix[1:]};base64,{code}">'


class Picture(Shown):
    """One PIL image. `times` makes it larger, up to LARGEST: smoothly (Lanczos), as fits a painting."""

    def __init__(self, image: Image.Image, times: int = 1):
        times = max(1, min(times, LARGEST // max(image.size)))
        self.image = image if times == 1 else image.resize([times * n for n in image.size], Resampling.LANCZOS)

    def render(self, suffix: str) -> bytes:
        return encode(self.image, suffix)


class Plot(Shown):
    """A matplotlib figure."""

    def __init__(self, figure: Figure):
        self.figure = figure

    def texts(self) -> list[Text]:
        return self.figure.findobj(Text)

    def render(self, suffix: str) -> bytes:
        return encode(rasterize(self.figure), suffix)


class Animation(Shown):
    """Frames in a loop, `ms` milliseconds each; the last one is held for `hold`.

    Those with words are matplotlib figures, the others pictures.
    Saved as animated WebP (what the deck shows), AVIF, GIF or MP4. lossless: every pixel is kept, in a WebP.
    quality: 0 to 100, of the WebP and the AVIF.
    """

    suffix = ".webp"

    def __init__(
        self,
        frames: Sequence[Image.Image | Figure],
        ms: int = 160,
        hold: int = 2400,
        lossless: bool = False,
        quality: int = 40,
    ):
        self.frames, self.ms, self.hold = frames, ms, hold
        self.lossless, self.quality = lossless, quality

    def texts(self) -> list[Text]:
        return [text for frame in self.frames if isinstance(frame, Figure) for text in frame.findobj(Text)]

    def render(self, suffix: str) -> bytes:
        frames = [rasterize(frame) if isinstance(frame, Figure) else frame for frame in self.frames]
        if suffix == ".mp4":
            return mp4(frames + frames[-1:] * round(self.hold / self.ms), self.ms)
        durations = [self.ms] * (len(frames) - 1) + [self.hold]
        if suffix == ".gif":
            return gif(frames, durations)
        # whole frames, where there is loss: differences leave traces of the frame before
        whole = {} if self.lossless else dict(kmin=0, kmax=1)
        options: dict[str, dict[str, Any]] = {
            ".webp": dict(lossless=self.lossless, quality=self.quality, method=4, **whole),
            ".avif": dict(quality=self.quality, subsampling="4:4:4" if self.lossless else "4:2:0", speed=8),
        }
        if suffix not in options:
            raise SdscopeError(f"an animation is saved as .webp, .avif, .gif or .mp4, not {suffix!r}")
        if suffix == ".avif" and not features.check("avif"):
            raise SdscopeError("this Pillow cannot write AVIF: pip install 'pillow>=11.3', or save as .webp")
        pixels = [np.asarray(frame) for frame in frames]
        return to_bytes(pixels, suffix, duration=durations, loop=0, **options[suffix])


def to_bytes(pixels: ArrayLike, suffix: str, **options: Any) -> bytes:
    """The file of one picture, (h, w, 3), or of a list of them; `options` are Pillow's."""
    with too_large(suffix):
        return imageio.imwrite("<bytes>", pixels, extension=suffix, plugin="pillow", **options)


def gif(frames: list[Image.Image], durations: list[int]) -> bytes:
    """By Pillow itself: imageio takes pixels, and no palette that all frames share."""
    buffer, (first, *rest) = io.BytesIO(), few_colours(frames)
    with too_large(".gif"):
        first.save(buffer, "gif", save_all=True, append_images=rest, duration=durations, loop=0)
    return buffer.getvalue()


def few_colours(frames: list[Image.Image]) -> list[Image.Image]:
    """The frames in the same 128 colours: a GIF of 256, or of each frame's own, is larger still than this."""
    every = Image.fromarray(np.concatenate([np.asarray(frame.convert("RGB")) for frame in frames]))
    palette = every.quantize(128, Image.Quantize.FASTOCTREE)
    return [frame.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def mp4(frames: list[Image.Image], ms: int) -> bytes:
    """H.264, which every browser, phone and slide program plays. It has no odd sizes: a last row or column goes.

    By PyAV itself: imageio hands no option on to an encoder, and crf says how good the film is.
    """
    try:
        import av
    except ImportError:
        raise SdscopeError("an MP4 needs the package av: pip install av") from None
    buffer, (width, height) = io.BytesIO(), (side // 2 * 2 for side in frames[0].size)
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=Fraction(1000, ms), options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_image(frame.crop((0, 0, width, height)))))
        file.mux(stream.encode())
    return buffer.getvalue()


def encode(image: Image.Image, suffix: str) -> bytes:
    options: dict[str, dict[str, Any]] = {".png": dict(optimize=True), ".webp": dict(quality=88, method=4)}
    if suffix not in options:
        raise SdscopeError(f"a picture is saved as .png or .webp, not {suffix!r}")
    return to_bytes(np.asarray(image), suffix, **options[suffix])


@contextmanager
def too_large(suffix: str) -> Iterator[None]:
    """What Pillow says of a picture for which the format has no room"""
    try:
        yield
    except ValueError as error:
        raise SdscopeError(f"this cannot be saved as {suffix}: {error}") from error


def rasterize(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    with matplotlib.style.context(STYLE):
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def plot(draw: Callable[P, Board | Figure]) -> Callable[P, Plot]:
    """Decorator: `draw` returns a Board or a matplotlib figure; callers get a Plot in the project's style."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Plot:
        with matplotlib.style.context(STYLE):
            made = draw(*args, **kwargs)
        return Plot(made.figure if isinstance(made, Board) else made)

    return drawn


class Board:
    """A blank figure of `width` x `height` CSS pixels; x to the right, y down, text sizes in the same pixels."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / 100, height / 100), dpi=100 * SCALE)

    def axes(self, x: float, y: float, w: float, h: float, frame: bool = True) -> Axes:
        box = (x / self.width, 1 - (y + h) / self.height, w / self.width, h / self.height)
        axes = self.figure.add_axes(box)
        if not frame:
            axes.set_axis_off()
        return axes

    def text(
        self, x: float, y: float, string: str, size: float = 15, color: str = INK, ha: str = "left", va: str = "center",
        **kwargs: Any,
    ) -> Text:  # fmt: skip
        at = (x / self.width, 1 - y / self.height)
        # parse_math=False: a "$" in somebody's prompt is a dollar
        kwargs.setdefault("parse_math", False)
        color = TEXT.get(color, color)
        return self.figure.text(*at, string, size=0.72 * size, color=color, ha=ha, va=va, **kwargs)

    def picture(
        self, x: float, y: float, w: float, h: float, image: Image.Image | ArrayLike, smooth: bool = True,
        edge: str | None = None,
    ) -> Axes:  # fmt: skip
        """A PIL image or array. smooth: Lanczos, for paintings; otherwise every value stays a square."""
        image = image if isinstance(image, Image.Image) else to_image(image)
        size = (round(w * SCALE), round(h * SCALE))
        image = image.convert("RGB").resize(size, Resampling.LANCZOS if smooth else Resampling.NEAREST)
        axes = self.axes(x, y, w, h, frame=edge is not None)
        axes.imshow(np.asarray(image), interpolation="none", aspect="auto")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(visible=True, color=edge, linewidth=2)
        return axes


def to_image(array: ArrayLike) -> Image.Image:
    """(h, w, 3) in 0..1, a tensor or an array -> PIL image"""
    return Image.fromarray((np.asarray(array).clip(0, 1) * 255).round().astype("uint8"))


def coloured(values: ArrayLike, limit: float | None = None, cmap: Colormap = SIGNED) -> Image.Image:
    """(h, w) numbers -> PIL image: `-limit` blue, 0 paper, `limit` vermilion (for HEAT: 0 to limit)"""
    values = np.asarray(values, dtype="float64")
    limit = limit or np.abs(values).max() or 1.0
    scaled = values / limit if cmap is HEAT else 0.5 + values / (2 * limit)
    return to_image(cmap(scaled.clip(0, 1))[..., :3])


def crowded(image: Image.Image, cell: float) -> bool:
    """More values than `cell` CSS pixels can show as squares of two pixels and more."""
    return image.width * 2 > cell * SCALE
