"""Styles: from the drawing to the picture.

Texture is faint and the same in every picture: random grain cannot be compressed and would eat the autoencoder.
"""

from functools import lru_cache
from math import pi

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps
from PIL.Image import Resampling


def smaller(image, size):
    return image.resize(size, Resampling.BOX)


def style_vector(image, size, scene):
    return smaller(image, size)


def style_oil(image, size, scene):
    """Dabs of thick paint: edges wander a little, shapes break into blobs, richer colour, a soft relief of strokes."""
    image = smaller(image, size)
    rows, columns = dabs(size)
    wandering = Image.fromarray(np.asarray(image)[rows, columns])
    blobs = Image.blend(wandering.filter(ImageFilter.ModeFilter(5)), wandering.filter(ImageFilter.MedianFilter(3)), 0.5)
    rich = Image.blend(image.convert("L").convert("RGB"), blobs, 1.2)
    return ImageChops.overlay(rich, strokes(size))


@lru_cache(maxsize=8)
def dabs(size):
    """From where each pixel is taken: a pixel or two beside itself, in small swirls."""
    w, h = size
    y, x = np.mgrid[0:h, 0:w]
    u, v = x * 256 / min(size), y * 256 / min(size)
    shift = min(size) / 128
    dy = 0.62 * shift * (np.sin(u / 5.1 + 1.7 * np.sin(v / 17)) + 0.6 * np.sin(v / 4.3))
    dx = 0.62 * shift * (np.sin(v / 4.7 + 1.3 * np.sin(u / 19)) + 0.6 * np.sin(u / 5.7))
    return np.clip(np.rint(y + dy), 0, h - 1).astype(int), np.clip(np.rint(x + dx), 0, w - 1).astype(int)


@lru_cache(maxsize=8)
def strokes(size):
    y, x = np.mgrid[0 : size[1], 0 : size[0]] * 128 / min(size)
    relief = np.sin((y + 5 * np.sin(x / 13) + 3 * np.sin(x / 29 + y / 23)) * 2 * pi / 7) * np.sin(
        x / 9 + 2 * np.sin(y / 11)
    )
    return Image.fromarray((128 + 4 * relief).astype("uint8")).convert("RGB")


def style_watercolor(image, size, scene):
    """Thin paint on white paper: pale, with darker rims where a wash ends, and a ragged white margin."""
    image = smaller(image, size)
    rims = ImageChops.subtract(image.filter(ImageFilter.GaussianBlur(2.5)), image)
    washed = Image.blend(image.filter(ImageFilter.GaussianBlur(0.8)), Image.new("RGB", size, (255, 252, 244)), 0.3)
    return Image.composite(ImageChops.subtract(washed, rims), Image.new("RGB", size, (252, 250, 244)), paper_edge(size))


@lru_cache(maxsize=8)
def paper_edge(size):
    unit = min(size)
    wave = lambda n, phase: (
        unit
        * (
            0.05
            + 0.010 * np.sin(np.arange(n) / unit * 13 + phase)
            + 0.006 * np.sin(np.arange(n) / unit * 31 + 2 * phase)
        )
    )
    w, h = size
    y, x = np.mgrid[0:h, 0:w]
    inside = np.minimum.reduce(
        [x - wave(h, 0)[:, None], w - 1 - x - wave(h, 1)[:, None], y - wave(w, 2)[None], h - 1 - y - wave(w, 3)[None]]
    )
    return Image.fromarray((255 * np.clip(inside / 4 + 0.5, 0, 1)).astype("uint8"))


def style_pixel(image, size, scene):
    """Big square pixels, 32 along the shorter side, and few shades. Each latent covers two by two of them."""
    block = round(min(size) / 32)
    columns, rows = (-(-side // block) for side in size)
    small = image.filter(ImageFilter.MedianFilter(5)).resize((columns, rows), Resampling.HAMMING)
    vivid = Image.blend(small.convert("L").convert("RGB"), small, 1.25).point(lambda v: min(255, round(v / 22) * 22))
    return vivid.resize((block * columns, block * rows), Resampling.NEAREST).crop((0, 0, *size))


def style_pencil(image, size, scene):
    """Outlines on warm paper; what is darker is hatched, what is darkest both ways."""
    large = image.convert("L").resize((2 * size[0], 2 * size[1]), Resampling.BOX)
    grey = ImageOps.autocontrast(large, cutoff=1).filter(ImageFilter.GaussianBlur(1.5))
    dark = 1 - np.asarray(grey, dtype=np.float32) / 255
    one, other = hatch(large.size)
    tone = 252 - 84 * dark - 52 * np.clip(1.5 * dark - 0.4, 0, 1) * one - 26 * np.clip(3 * dark - 2, 0, 1) * other
    drawing = smaller(Image.fromarray(tone.astype("uint8")), size)
    drawing.paste(66, (0, 0), outline(image, size, 2.4))
    return tinted(drawing, (255, 251, 242))


def tinted(grey, paper):
    return Image.merge("RGB", [grey.point(lambda v, c=c: v * c // 255) for c in paper])


@lru_cache(maxsize=8)
def hatch(size):
    """Strokes one way and the other, 0 .. 1. Every eight pixels of a picture of 128 they are where they were, as its
    latents are."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]] * 256 / min(size)
    return [(0.5 + 0.5 * np.sin(t * 2 * pi / 16)).astype(np.float32) for t in (x + y, x - y)]


def style_charcoal(image, size, scene):
    """Deep blacks rubbed softly over paper, lights lifted out again."""
    grey = ImageOps.autocontrast(smaller(image, size).convert("L"), cutoff=1)
    rubbed = Image.blend(grey, grey.filter(ImageFilter.GaussianBlur(3)), 0.4)
    tone = rubbed.point([int(36 + 206 * max(0, v / 255 + 0.05 * np.sin(v / 255 * 8 * pi)) ** 1.15) for v in range(256)])
    lines = outline(image, size, 2).filter(ImageFilter.GaussianBlur(0.8))
    tone.paste(22, (0, 0), lines)
    return tinted(Image.composite(tone, Image.new("L", size, 238), rubbed_edge(size)), (255, 252, 246))


@lru_cache(maxsize=8)
def rubbed_edge(size):
    """Where charcoal covers the paper: broad soft strokes that end unevenly."""
    w, h = size
    unit = min(size)
    y, x = np.mgrid[0:h, 0:w] / unit * 128
    ragged = 2.2 * np.sin(x / 7 + 1.5 * np.sin(y / 9)) + 2.2 * np.sin(y / 8 + 1.5 * np.sin(x / 11))
    inside = np.minimum.reduce([x, w / unit * 128 - 1 - x, y, h / unit * 128 - 1 - y]) + ragged
    return Image.fromarray((255 * np.clip((inside - 3) / 8, 0, 1)).astype("uint8"))


PAPER, INK = (250, 238, 212), (40, 44, 68)


def style_ukiyo_e(image, size, scene):
    """A woodblock print: flat muted colours on warm paper, ink outlines, a dark band at the top of the sky, a seal."""
    small = smaller(image.filter(ImageFilter.MedianFilter(3)), size)
    muted = small.point(lambda v: min(255, round(v / 22) * 22))
    printed = ImageChops.multiply(muted, Image.new("RGB", size, PAPER)).point(
        lambda v: int(26 + 229 * (v / 255) ** 0.8)
    )
    printed.paste((20, 30, 74) if scene.time == "night" else (34, 62, 118), (0, 0), bokashi(size))
    printed.paste(INK, (0, 0), outline(image, size, 3))
    return seal(printed)


def outline(image, size, strength):
    """Where shapes meet, on the darker side of it: a soft L mask at the picture's size."""
    edges = [channel.filter(ImageFilter.FIND_EDGES) for channel in image.split()]
    strongest = ImageChops.lighter(ImageChops.lighter(*edges[:2]), edges[2]).filter(ImageFilter.MaxFilter(3))
    grey = image.convert("L")
    lifted = ImageChops.subtract(grey, grey.filter(ImageFilter.BoxBlur(6))).point(
        lambda v: min(255, 12 * max(0, v - 6))
    )
    mask = (
        ImageChops.subtract(strongest, lifted)
        .point(lambda v: min(255, int(max(0, v - 14) * strength)))
        .resize(size, Resampling.BOX)
    )
    frame = Image.new("L", size)  # FIND_EDGES leaves the rim undefined
    frame.paste(mask.crop((2, 2, size[0] - 2, size[1] - 2)), (2, 2))
    return frame


@lru_cache(maxsize=8)
def bokashi(size):
    """The printer wipes the block: dark at the top, gone after a sixth of the height."""
    rows = 200 * np.clip(1 - np.arange(size[1]) / (0.2 * size[1]), 0, 1) ** 1.3
    return Image.fromarray(np.tile(rows[:, None], size[0]).astype("uint8"))


def seal(image):
    side = min(image.size) // 9
    x, y = image.width - side - side // 2, image.height - side - side // 2
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((x, y, x + side, y + side), side // 5, fill=(198, 56, 44))
    draw.ellipse((x + side // 4, y + side // 4, x + side - side // 4, y + side - side // 4), fill=PAPER)
    return image


def style_stained_glass(image, size, scene):
    """Glowing panes between strips of lead: every shape is cut from glass, and the background into many panes."""
    glass = smaller(image.filter(ImageFilter.MedianFilter(3)), size)
    glass = Image.blend(glass.convert("L").convert("RGB"), glass, 1.6)
    glass = ImageChops.overlay(glass, panes(size)[0])
    glass.paste((22, 22, 30), (0, 0), ImageChops.lighter(panes(size)[1], outline(image, size, 4)))
    return glass


@lru_cache(maxsize=8)
def panes(size):
    """A fixed window: how bright each pane is, and the lead between them."""
    w, h = size
    unit = min(size)
    rng = np.random.default_rng(7)
    columns, rows = round(4 * w / unit), round(4 * h / unit)
    seeds = np.array(
        [
            ((c + (r % 2) / 2 + rng.uniform(-0.3, 0.3)) / columns * w, (r + 0.5 + rng.uniform(-0.3, 0.3)) / rows * h)
            for r in range(rows)
            for c in range(-1, columns + 1)
        ]
    )
    y, x = np.mgrid[0:h, 0:w]
    distance = np.hypot(x[..., None] - seeds[:, 0], y[..., None] - seeds[:, 1])
    nearest = np.sort(distance, axis=-1)
    lead = 0.75 * np.clip(1.7 - (nearest[..., 1] - nearest[..., 0]) / (unit / 128), 0, 1)
    border = np.minimum.reduce([x, w - 1 - x, y, h - 1 - y]) < 0.02 * unit
    light = 128 + rng.uniform(-26, 34, len(seeds))[distance.argmin(-1)]
    return Image.fromarray(light.astype("uint8")).convert("RGB"), Image.fromarray(
        (235 * np.maximum(lead, border)).astype("uint8")
    )


def style_cyberpunk(image, size, scene):
    """A dark city's light on everything: indigo shadows, and edges that glow in neon."""
    small = smaller(image, size)
    v = np.asarray(Image.blend(small.convert("L").convert("RGB"), small, 1.7), dtype=np.float32) / 255
    dark = np.array((0.07, 0.03, 0.16)) + v * np.array((0.78, 0.64, 0.86)) * (0.5 + 0.35 * v.mean(-1, keepdims=True))
    edges = np.asarray(outline(image, size, 1.6), dtype=np.float32)[..., None] / 255
    high = np.linspace(1, 0, size[1])[:, None, None]
    neon = high * np.array((0.1, 0.86, 1.0)) + (1 - high) * np.array((1.0, 0.2, 0.78))
    around = np.asarray(small.filter(ImageFilter.MaxFilter(3)), dtype=np.float32) / 255
    hue = around / (around.max(-1, keepdims=True) + 0.05)
    lines = Image.fromarray((255 * edges * (0.4 * neon + 0.6 * hue)).astype("uint8"))
    halo = np.asarray(lines.filter(ImageFilter.GaussianBlur(0.03 * min(size))), dtype=np.float32) / 255
    return Image.fromarray((255 * (dark + 0.8 * np.asarray(lines) / 255 + 0.9 * halo)).clip(0, 255).astype("uint8"))


def style_photograph(image, size, scene):
    """A lens: soft light that spills, deep blacks, dark corners."""
    small = image.resize(size, Resampling.LANCZOS)
    spill = small.filter(ImageFilter.GaussianBlur(0.03 * min(size)))
    soft = Image.blend(small, ImageChops.screen(small, spill), 0.28)
    film = soft.point([int(255 * (t := v / 255) ** 1.15 * (1 - 0.12 * (1 - t))) for v in range(256)] * 3)
    return ImageChops.multiply(film, vignette(size))


@lru_cache(maxsize=8)
def vignette(size):
    y, x = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j]
    fall = 1 - 0.34 * np.clip(np.hypot(x, y) - 0.45, 0, 1) ** 1.5
    return Image.fromarray((255 * fall).astype("uint8")).convert("RGB")


PAINT_STYLE = {
    "oil": style_oil,
    "watercolor": style_watercolor,
    "vector": style_vector,
    "pixel": style_pixel,
    "pencil": style_pencil,
    "charcoal": style_charcoal,
    "ukiyo-e": style_ukiyo_e,
    "stained glass": style_stained_glass,
    "cyberpunk": style_cyberpunk,
    "photograph": style_photograph,
}
