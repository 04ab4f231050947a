"""What the painter paints with: the light of an hour, and a brush.

Pictures are drawn with Pillow at three times their size and scaled down. One unit is the shorter side of
the picture, so a square reaches from 0 to 1 and a picture of 192 x 128 pixels 1.5 units to the right.
"""

from dataclasses import dataclass, replace
from functools import cache, lru_cache
from math import pi, sin

import numpy as np
from PIL import Image, ImageDraw
from PIL.Image import Resampling

PAINTS = {
    "red": (214, 58, 48),
    "orange": (238, 132, 40),
    "yellow": (246, 204, 62),
    "green": (58, 146, 76),
    "blue": (44, 98, 196),
    "purple": (136, 72, 168),
    "white": (244, 240, 230),
    "black": (46, 46, 54),
    "brown": (138, 88, 54),
}
WOOD, DARK_WOOD, CREAM, STONE = (140, 98, 66), (94, 66, 50), (252, 246, 230), (176, 172, 170)


def mix(a, b, t):
    """From colour a (t = 0) to colour b (t = 1)."""
    return tuple(x + (y - x) * t for x, y in zip(a, b))


@dataclass(frozen=True)
class Palette:
    """The colours of an hour."""

    sky: tuple  # from the top to the horizon
    light: tuple  # what falls on things, 1 = white
    haze: tuple  # what far things fade into
    water: tuple  # from the horizon to our feet
    orb: tuple  # sun or moon
    glow: float  # how far it shines
    cloud: tuple  # lit and shaded
    night: bool = False
    dim: bool = False  # lamps are on


HOURS = {
    "sunrise": Palette(
        sky=((116, 160, 212), (240, 196, 196), (255, 228, 176)),
        light=(1.02, 0.92, 0.86),
        haze=(246, 214, 196),
        water=((244, 206, 180), (84, 128, 164)),
        orb=(255, 244, 196),
        glow=0.7,
        cloud=((255, 240, 228), (240, 190, 188)),
    ),
    "day": Palette(
        sky=((58, 132, 214), (122, 184, 236), (206, 234, 246)),
        light=(1.0, 1.0, 1.0),
        haze=(196, 222, 238),
        water=((110, 182, 216), (24, 94, 160)),
        orb=(255, 246, 190),
        glow=0.45,
        cloud=((255, 255, 255), (214, 228, 242)),
    ),
    "sunset": Palette(
        sky=((76, 50, 116), (216, 84, 84), (255, 178, 78)),
        light=(1.0, 0.80, 0.70),
        haze=(232, 132, 100),
        water=((240, 150, 92), (72, 48, 100)),
        orb=(255, 226, 130),
        glow=0.75,
        cloud=((255, 166, 116), (164, 80, 110)),
    ),
    "night": Palette(
        sky=((10, 16, 48), (24, 40, 92), (58, 80, 138)),
        light=(0.62, 0.66, 0.84),
        haze=(46, 64, 116),
        water=((58, 80, 136), (12, 22, 56)),
        orb=(250, 246, 220),
        glow=0.4,
        cloud=((82, 98, 150), (50, 64, 112)),
        night=True,
        dim=True,
    ),
}


@cache
def palette(time, weather) -> Palette:
    """The hour's colours under this weather's sky."""
    p = HOURS[time]
    if weather == "clear":
        return p
    grey, veil, dark = {
        "clouds": (196, 0.12, 0.97),
        "rain": (138, 0.55, 0.84),
        "fog": (206, 0.55, 0.94),
        "storm": (84, 0.66, 0.72),
    }[weather]
    overcast = tuple(grey * (0.42 if p.night else 1) * tint for tint in (0.94, 1.0, 1.1))
    shade = lambda c: mix(c, overcast, veil)
    mean = sum(p.light) / 3
    return replace(
        p,
        sky=tuple(map(shade, p.sky)),
        haze=shade(p.haze),
        water=tuple(map(shade, p.water)),
        cloud=tuple(map(shade, p.cloud)),
        light=tuple(dark * (c + (mean - c) * veil * 0.6) for c in p.light),
        glow=p.glow * (1 - veil),
        dim=p.night or weather in ("rain", "storm", "fog"),
    )


class Brush:
    """Paints on an image in the light of the hour. A thing's brush looks upwards from where it stands, and may be
    turned round."""

    def __init__(self, image, palette, scale, origin=(0, 0), up=1, turned=1, sun=-1):
        self.image, self.palette, self.scale, self.origin = image, palette, scale, origin
        self.up, self.turned = up, turned
        self.shadow = -sun * turned  # +1: the shaded side of things is on their right
        self.draw = ImageDraw.Draw(image)

    def smaller(self, factor):
        """A brush that paints the same smaller, standing in the same place."""
        return Brush(
            self.image, self.palette, factor * self.scale, self.origin, self.up, self.turned, -self.shadow * self.turned
        )

    def lit(self, colour, shade=1.0, depth=0.0):
        """A colour as this hour's light shows it, from so far away (1: as far as one can see)."""
        seen = mix([c * light * shade for c, light in zip(colour, self.palette.light)], self.palette.haze, depth)
        return tuple(min(255, int(c)) for c in seen)

    def points(self, points):
        x0, y0 = self.origin
        across, down = self.scale * self.turned, self.scale * self.up
        return [(x0 + x * across, y0 + y * down) for x, y in points]

    def shape(self, points, colour, shade=1.0, depth=0.0):
        self.draw.polygon(self.points(points), fill=self.lit(colour, shade, depth))

    def smooth(self, points, colour, shade=1.0, depth=0.0):
        """A shape with a soft outline through these points."""
        self.shape(rounded(tuple(points)), colour, shade, depth)

    def box(self, x0, y0, x1, y1, colour, shade=1.0, depth=0.0):
        self.shape([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, shade, depth)

    def oval(self, x, y, rx, ry, colour, shade=1.0, depth=0.0):
        self.ellipse(x, y, rx, ry, self.lit(colour, shade, depth))

    def ellipse(self, x, y, rx, ry, fill):
        """An oval of a colour that no light changes."""
        ((x, y),) = self.points([(x, y)])
        rx, ry = rx * self.scale, ry * self.scale
        self.draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=fill)

    def line(self, points, colour, width, shade=1.0, depth=0.0):
        """A line with round ends and corners."""
        width = max(1, round(width * self.scale))
        fill, points = self.lit(colour, shade, depth), self.points(points)
        self.draw.line(points, fill=fill, width=width, joint="curve")
        for x, y in (points[0], points[-1]):
            self.draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=fill)

    def window(self, x, y, rx, ry, depth=0.0):
        """A window: dark by day, lamplight when it is dim."""
        fill = (
            tuple(map(int, mix((255, 214, 112), self.palette.haze, depth / 2)))
            if self.palette.dim
            else self.lit((78, 96, 124), 1, depth)
        )
        self.draw.polygon(
            self.points([(x - rx, y - ry), (x + rx, y - ry), (x + rx, y + ry), (x - rx, y + ry)]), fill=fill
        )

    def veil(self, mask, colour):
        """Lay a colour over the picture, as thick as the mask says; the mask may be smaller."""
        if mask.size != self.image.size:
            mask = mask.resize(self.image.size, Resampling.BILINEAR)
        self.image.paste(tuple(map(int, colour)), (0, 0, *self.image.size), mask)

    def glow(self, x, y, radius, colour, strength):
        """Add a soft round light."""
        ((left, top),) = self.points([(x - radius, y - radius)])
        side = round(2 * radius * self.scale)
        self.image.paste(
            tuple(map(int, colour)),
            (round(left), round(top), round(left) + side, round(top) + side),
            soft_disc(side, round(255 * strength)),
        )


@lru_cache(maxsize=4096)
def rounded(points):
    """A closed curve through points (Catmull and Rom's spline), as a polygon."""
    p = np.array(points)
    t = np.arange(0, 1, 0.125)[:, None, None]
    before, after, later = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    curve = p + t / 2 * (
        after - before + t * (2 * before - 5 * p + 4 * after - later + t * (3 * (p - after) + later - before))
    )
    return [tuple(point) for point in curve.transpose(1, 0, 2).reshape(-1, 2).tolist()]


@lru_cache(maxsize=256)
def soft_disc(side, strength):
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    disc = np.clip(1 - np.hypot(x, y), 0, 1) ** 2
    return Image.fromarray((strength * disc).astype("uint8")).resize((side, side), Resampling.BILINEAR)


def wave(rng, height, waves):
    """A gentle random line: a function of x, from -height to height."""
    a, b = rng.uniform(0, 2 * pi, 2)
    return lambda x: height * (0.65 * sin(waves * pi * x + a) + 0.35 * sin(2.3 * waves * pi * x + b))
