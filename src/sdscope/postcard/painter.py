"""The painter of the first generation, whose pictures the weights that are kept here learned from. The next one is world.py.

An endless world of small scenes, drawn by rules.

A `Scene` says what is in a picture (place, time of day, subject, its colour, style) and
`paint` draws it. Everything is decided by the scene and its seed, so a picture can be painted
again, its caption is true, and quality can be measured: we know what should be there.

Pictures are drawn at twice their size with Pillow and scaled down; coordinates below are
fractions of the side, x to the right and y downwards.
"""
from dataclasses import dataclass
from functools import lru_cache
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

PLACES = ("sea", "mountains", "desert", "field", "city", "snow")
TIMES = ("sunrise", "day", "sunset", "night")
SUBJECTS = ("ship", "lighthouse", "house", "tree", "balloon", "rocket", "castle", "windmill", "nothing")
STYLES = ("oil", "watercolor", "vector", "pixel", "pencil")
COLOURS = {"red": (206, 62, 52), "blue": (52, 98, 180), "yellow": (240, 190, 60), "green": (62, 142, 82), "white": (238, 234, 224)}

# what a subject is painted in when nobody asks for a colour
USUAL = {"ship": "red", "lighthouse": "red", "house": "white", "tree": "green", "balloon": "red", "rocket": "white",
         "castle": "white", "windmill": "white", "nothing": "white"}

# sky from top to horizon, the light that falls on things, and the sun or moon
SKIES = {
    "sunrise": ((122, 168, 214), (246, 206, 190), (255, 226, 160)),
    "day": ((70, 142, 216), (132, 190, 236), (206, 232, 246)),
    "sunset": ((84, 52, 112), (222, 92, 76), (255, 172, 74)),
    "night": ((10, 16, 46), (22, 36, 84), (48, 66, 122)),
}
LIGHT = {"sunrise": (1.0, 0.90, 0.84), "day": (1.0, 1.0, 1.0), "sunset": (0.98, 0.80, 0.72), "night": (0.46, 0.53, 0.80)}
ORB = {"sunrise": (255, 240, 180), "day": (255, 246, 196), "sunset": (255, 214, 110), "night": (244, 242, 220)}
GLOW = {"sunrise": 0.55, "day": 0.35, "sunset": 0.6, "night": 0.3}


@dataclass(frozen=True)
class Scene:
    place: str
    time: str
    subject: str
    colour: str
    style: str
    seed: int

    @classmethod
    def random(cls, seed: int) -> "Scene":
        """A scene with every attribute drawn evenly; a third of the subjects in their usual colour."""
        rng = np.random.default_rng(seed)
        place, time, style = rng.choice(PLACES), rng.choice(TIMES), rng.choice(STYLES)
        subject = rng.choice(SUBJECTS)
        colour = USUAL[subject] if rng.random() < 1 / 3 else rng.choice(list(COLOURS))
        return cls(str(place), str(time), str(subject), str(colour), str(style), seed)


def paint(scene: Scene, size: int = 128) -> Image.Image:
    """The picture of a scene, RGB, size x size pixels."""
    brush = Brush(scene, 2 * size)
    paint_sky(brush)
    horizon = PAINT_PLACE[scene.place](brush)
    paint_subject(brush, horizon)
    return STYLE[scene.style](brush.image, size, brush.rng)


# ---------------------------------------------------------------------------- tools

class Brush:
    """A canvas that speaks in fractions of its side and paints in the light of the hour."""

    def __init__(self, scene: Scene, side: int):
        self.scene, self.side = scene, side
        self.rng = np.random.default_rng(scene.seed + 1)
        self.image = Image.new("RGB", (side, side))
        self.draw = ImageDraw.Draw(self.image)
        self.night = scene.time == "night"

    def lit(self, colour, shade=1.0):
        """A colour as this hour's light shows it."""
        return tuple(int(min(255, c * light * shade)) for c, light in zip(colour, LIGHT[self.scene.time]))

    def points(self, points):
        return [(x * self.side, y * self.side) for x, y in points]

    def shape(self, points, colour, shade=1.0):
        self.draw.polygon(self.points(points), fill=self.lit(colour, shade))

    def box(self, x0, y0, x1, y1, colour, shade=1.0):
        self.shape([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, shade)

    def oval(self, x, y, rx, ry, colour, shade=1.0):
        self.draw.ellipse(self.points([(x - rx, y - ry), (x + rx, y + ry)]), fill=self.lit(colour, shade))

    def line(self, points, colour, width=0.006, shade=1.0):
        self.draw.line(self.points(points), fill=self.lit(colour, shade), width=max(1, round(width * self.side)))

    def window(self, x, y, rx, ry):
        """A window: dark by day, lamplight by night."""
        fill = (255, 214, 110) if self.night else self.lit((70, 84, 104))
        self.draw.rectangle(self.points([(x - rx, y - ry), (x + rx, y + ry)]), fill=fill)

    def glow(self, x, y, radius, colour, strength):
        """Add a soft round light."""
        box = self.points([(x - radius, y - radius), (x + radius, y + radius)])
        corner, width = (round(box[0][0]), round(box[0][1])), round(2 * radius * self.side)
        mask = round_mask().resize((width, width)).point(lambda v: int(v * strength))
        self.image.paste(Image.new("RGB", (width, width), colour), corner, mask)

    def jitter(self, amount):
        return float(self.rng.uniform(-amount, amount))


@lru_cache(maxsize=1)
def round_mask(side=64):
    y, x = np.mgrid[-1:1:side * 1j, -1:1:side * 1j]
    return Image.fromarray((255 * np.clip(1 - np.hypot(x, y), 0, 1) ** 2).astype("uint8"))


def ridge(brush, y, height, waves, colour, shade=1.0):
    """Land with a softly waved top edge, down to the bottom of the picture; returns its top as a function of x."""
    phase, phase2 = brush.rng.uniform(0, 2 * pi, 2)
    top = lambda x: y + height * (0.65 * sin(waves * pi * x + phase) + 0.35 * sin(2.3 * waves * pi * x + phase2))
    xs = np.linspace(0, 1, 33)
    brush.shape([(0, 1)] + [(x, top(x)) for x in xs] + [(1, 1)], colour, shade)
    return top


# ---------------------------------------------------------------------------- sky

def paint_sky(brush):
    scene, rng = brush.scene, brush.rng
    stops = np.array(SKIES[scene.time], dtype=float)
    ramp = np.linspace(0, 1, 64)
    if scene.style == "vector":
        ramp = np.floor(ramp * 5) / 4.4                        # flat bands instead of a gradient
    at = np.clip(ramp / 0.66, 0, 1) * 2
    column = np.stack([np.interp(at, [0, 1, 2], stops[:, c]) for c in range(3)], -1)
    sky = Image.fromarray(column[:, None].astype("uint8"))
    brush.image.paste(sky.resize((brush.side, brush.side), Image.NEAREST if scene.style == "vector" else Image.BILINEAR))
    if brush.night:
        for x, y, r in zip(rng.uniform(0, 1, 26), rng.uniform(0, 0.5, 26), rng.choice([0.005, 0.005, 0.009], 26)):
            brush.draw.ellipse(brush.points([(x - r, y - r), (x + r, y + r)]), fill=(248, 246, 226))
    brush.sun_x = {"sunrise": 0.24, "day": 0.8, "sunset": 0.76, "night": 0.22}[scene.time] + brush.jitter(0.08)
    brush.sun_y = {"sunrise": 0.5, "day": 0.17, "sunset": 0.52, "night": 0.18}[scene.time] + brush.jitter(0.03)
    radius = 0.08 if scene.time in ("sunrise", "sunset") else 0.065
    if scene.style != "vector":
        brush.glow(brush.sun_x, brush.sun_y, 4 * radius, ORB[scene.time], GLOW[scene.time])
    orb = brush.points([(brush.sun_x - radius, brush.sun_y - radius), (brush.sun_x + radius, brush.sun_y + radius)])
    brush.draw.ellipse(orb, fill=ORB[scene.time])
    if brush.night:                                            # the moon's seas
        for dx, dy, r in ((-0.02, -0.015, 0.014), (0.02, 0.015, 0.018)):
            x, y = brush.sun_x + dx, brush.sun_y + dy
            brush.draw.ellipse(brush.points([(x - r, y - r), (x + r, y + r)]), fill=(220, 216, 190))
    else:
        for _ in range(3 if scene.time == "day" else 2):
            paint_cloud(brush, rng.uniform(0.05, 0.95), rng.uniform(0.08, 0.34), rng.uniform(0.07, 0.11))


def paint_cloud(brush, x, y, r):
    colour = {"sunrise": (255, 226, 218), "day": (255, 255, 255), "sunset": (236, 128, 104)}[brush.scene.time]
    for dx, dy, scale in ((-1.1, 0.1, 0.55), (-0.4, -0.2, 0.75), (0.4, -0.1, 0.7), (1.1, 0.12, 0.5)):
        rx, ry = r * scale, r * scale * 0.62
        brush.draw.ellipse(brush.points([(x + dx * r - rx, y + dy * r - ry), (x + dx * r + rx, y + dy * r + ry)]), fill=colour)


# ---------------------------------------------------------------------------- places: draw the ground, return where things stand

def paint_sea(brush):
    scene, rng = brush.scene, brush.rng
    horizon = 0.6 + brush.jitter(0.02)
    water = {"sunrise": ((226, 180, 168), (70, 116, 152)), "day": ((94, 168, 208), (28, 98, 164)),
             "sunset": ((214, 106, 76), (74, 48, 94)), "night": ((40, 58, 108), (12, 22, 54))}[scene.time]
    for i in range(10):
        t = i / 9
        band = tuple(int(a + (b - a) * t) for a, b in zip(*water))
        y = horizon + (1 - horizon) * i / 10
        brush.draw.rectangle(brush.points([(0, y), (1, 1)]), fill=band)
    for i in range(8):                                         # the light of sun or moon on the water
        y = horizon + 0.015 + 0.045 * i
        half = 0.03 + 0.012 * i + rng.uniform(0, 0.02)
        x = brush.sun_x + brush.jitter(0.012)
        brush.draw.line(brush.points([(x - half, y), (x + half, y)]), fill=ORB[scene.time], width=max(1, brush.side // 90))
    crest = tuple(min(255, c + 34) for c in water[1])
    for _ in range(9):
        x, y, w = rng.uniform(0, 1), rng.uniform(horizon + 0.08, 0.98), rng.uniform(0.04, 0.08)
        brush.draw.line(brush.points([(x - w, y), (x, y - 0.012), (x + w, y)]), fill=crest, width=max(1, brush.side // 110))
    return lambda x: horizon + 0.14


def paint_mountains(brush):
    rng = brush.rng
    for base, tall, colour, n in ((0.64, 0.30, (134, 150, 180), 3), (0.7, 0.24, (92, 108, 136), 4)):
        xs = np.linspace(-0.1, 1.1, n) + rng.uniform(-0.07, 0.07, n)
        for x in xs:
            h, w = tall * rng.uniform(0.8, 1.15), 0.26 * rng.uniform(0.85, 1.15)
            top = base - h
            brush.shape([(x - w, base + 0.1), (x, top), (x + w, base + 0.1)], colour)
            brush.shape([(x, top), (x + w, base + 0.1), (x + 0.04, base + 0.1)], colour, 0.8)
            cap = 0.3 * w
            brush.shape([(x - cap, top + 0.3 * (h + 0.1)), (x, top), (x + cap, top + 0.3 * (h + 0.1)), (x + cap / 3, top + 0.22 * h),
                         (x - cap / 4, top + 0.34 * h)], (250, 250, 252))
    ridge(brush, 0.72, 0.02, 2, (94, 134, 92))
    return ridge(brush, 0.80, 0.02, 1.4, (70, 112, 74))


def paint_desert(brush):
    ridge(brush, 0.62, 0.035, 2.0, (232, 190, 128))
    ridge(brush, 0.69, 0.04, 1.6, (214, 160, 92))
    top = ridge(brush, 0.78, 0.03, 1.2, (238, 192, 120))
    for x in brush.rng.uniform(0.05, 0.95, 2):                 # a cactus or two, far away
        y = top(x) - 0.03
        brush.line([(x, y), (x, y - 0.11)], (74, 128, 80), 0.022)
        brush.line([(x, y - 0.04), (x + 0.035, y - 0.05), (x + 0.035, y - 0.09)], (74, 128, 80), 0.014)
    return top


def paint_field(brush):
    rng = brush.rng
    ridge(brush, 0.62, 0.03, 2.2, (124, 176, 104))
    ridge(brush, 0.69, 0.03, 1.7, (98, 160, 84))
    top = ridge(brush, 0.77, 0.025, 1.3, (122, 186, 86))
    for x, y in zip(rng.uniform(0, 1, 16), rng.uniform(0.86, 0.99, 16)):
        brush.oval(x, y, 0.011, 0.011, ((250, 238, 140), (246, 246, 240), (232, 112, 122))[int(rng.integers(3))])
    return top


def paint_city(brush):
    rng = brush.rng
    for base, colour, tall in ((0.8, (148, 158, 178), 0.34), (0.8, (98, 108, 132), 0.24)):
        x = -0.03
        while x < 1:
            w, h = rng.uniform(0.09, 0.15), tall * rng.uniform(0.55, 1.15)
            brush.box(x, base - h, x + w - 0.008, base, colour)
            for row in np.arange(base - h + 0.03, base - 0.04, 0.052):
                for column in np.arange(x + 0.022, x + w - 0.03, 0.036):
                    if rng.random() < 0.7:
                        brush.window(column + 0.005, row, 0.008, 0.011)
            x += w
    brush.box(0, 0.78, 1, 1, (122, 124, 132))
    brush.box(0, 0.87, 1, 0.94, (84, 86, 96))
    for x in np.arange(0.04, 1, 0.16):
        brush.box(x, 0.899, x + 0.08, 0.911, (236, 228, 190))
    return lambda x: 0.83


def paint_snow(brush):
    rng = brush.rng
    ridge(brush, 0.63, 0.03, 2.0, (206, 218, 236))
    for x in np.sort(rng.uniform(0.02, 0.98, 5)):
        paint_pine(brush, x, 0.72 + brush.jitter(0.02), 0.14 + brush.jitter(0.03))
    ridge(brush, 0.72, 0.025, 1.6, (224, 232, 244))
    top = ridge(brush, 0.79, 0.02, 1.2, (246, 248, 252))
    for x, y in zip(rng.uniform(0, 1, 22), rng.uniform(0, 1, 22)):
        r = 0.006
        brush.draw.ellipse(brush.points([(x - r, y - r), (x + r, y + r)]), fill=(246, 248, 252))
    return top


def paint_pine(brush, x, y, h):
    for i in range(3):
        w, top = 0.30 * h * (1 + 0.35 * i), y - h + 0.26 * h * i
        brush.shape([(x - w, top + 0.42 * h), (x, top), (x + w, top + 0.42 * h)], (58, 104, 84))
        brush.shape([(x - 0.4 * w, top + 0.16 * h), (x, top), (x + 0.4 * w, top + 0.16 * h)], (244, 248, 252))


PAINT_PLACE = {"sea": paint_sea, "mountains": paint_mountains, "desert": paint_desert, "field": paint_field, "city": paint_city, "snow": paint_snow}


# ---------------------------------------------------------------------------- subjects: stand at (x, y), s is their height

def paint_subject(brush, ground):
    subject = brush.scene.subject
    if subject == "nothing":
        return
    x = 0.5 + brush.jitter(0.16)
    s = {"ship": 0.46, "balloon": 0.5, "house": 0.36, "rocket": 0.54, "castle": 0.44}.get(subject, 0.54) * (1 + brush.jitter(0.1))
    y = ground(x) + 0.05
    colour = COLOURS[brush.scene.colour]
    if subject not in ("ship", "balloon", "rocket") and brush.scene.place == "sea":
        brush.oval(x, y + 0.015, 0.27, 0.06, (146, 126, 98))   # things that need land get an island
        brush.oval(x, y, 0.25, 0.045, (110, 156, 92))
    PAINT_SUBJECT[subject](brush, x, y, s, colour)


def paint_ship(brush, x, y, s, colour):
    if brush.scene.place != "sea":                             # a ship ashore brings its own pond
        brush.oval(x, y + 0.02, 0.33, 0.065, (74, 140, 190))
    brush.line([(x, y - 0.1), (x, y - s)], (92, 66, 48), 0.016)
    brush.shape([(x + 0.015, y - s + 0.01), (x + 0.23, y - 0.15), (x + 0.015, y - 0.13)], (250, 246, 236))
    brush.shape([(x - 0.015, y - s + 0.04), (x - 0.17, y - 0.15), (x - 0.015, y - 0.13)], (250, 246, 236), 0.86)
    brush.shape([(x, y - s), (x + 0.08, y - s + 0.02), (x, y - s + 0.04)], colour)
    brush.shape([(x - 0.25, y - 0.11), (x + 0.27, y - 0.11), (x + 0.19, y + 0.02), (x - 0.17, y + 0.02)], colour)
    brush.shape([(x - 0.195, y - 0.03), (x + 0.22, y - 0.03), (x + 0.19, y + 0.02), (x - 0.17, y + 0.02)], colour, 0.72)
    brush.box(x - 0.25, y - 0.125, x + 0.27, y - 0.1, (250, 240, 214))


def paint_lighthouse(brush, x, y, s, colour):
    top, w = y - s, 0.085
    edge = lambda t: w * (1 - 0.38 * t)                        # half width at height t of the tower
    if brush.night:
        beam = Image.new("L", brush.image.size)
        ImageDraw.Draw(beam).polygon(brush.points([(x, top + 0.05), (1.1, top - 0.14), (1.1, top + 0.2)]), fill=130)
        brush.image.paste(Image.new("RGB", brush.image.size, (255, 236, 160)), mask=beam)
    for i in range(5):
        low, high = i / 5, (i + 1) / 5
        y0, y1 = y - low * 0.84 * s, y - high * 0.84 * s
        body = colour if i % 2 == 0 else ((250, 248, 240) if brush.scene.colour != "white" else (150, 150, 158))
        brush.shape([(x - edge(low), y0), (x + edge(low), y0), (x + edge(high), y1), (x - edge(high), y1)], body)
        brush.shape([(x + 0.3 * edge(low), y0), (x + edge(low), y0), (x + edge(high), y1), (x + 0.3 * edge(high), y1)], body, 0.78)
    brush.box(x - 0.075, y - 0.85 * s, x + 0.075, y - 0.82 * s, (70, 70, 80))
    brush.draw.rectangle(brush.points([(x - 0.04, y - 0.93 * s), (x + 0.04, y - 0.85 * s)]), fill=(255, 226, 130))
    brush.shape([(x - 0.06, y - 0.93 * s), (x, top - 0.02), (x + 0.06, y - 0.93 * s)], (84, 56, 56))


def paint_house(brush, x, y, s, colour):
    w, wall = 0.2, y - 0.58 * s
    brush.box(x - w, wall, x + w, y, colour)
    brush.box(x + 0.3 * w, wall, x + w, y, colour, 0.82)
    roof = (150, 74, 58) if brush.scene.colour != "red" else (92, 74, 70)
    brush.shape([(x - w - 0.04, wall + 0.01), (x - 0.4 * w, y - s), (x + 0.4 * w, y - s), (x + w + 0.04, wall + 0.01)], roof)
    brush.box(x + 0.4 * w, y - 1.12 * s, x + 0.65 * w, y - 0.8 * s, (128, 92, 84))
    brush.box(x - 0.03, y - 0.32 * s, x + 0.04, y, (102, 70, 52))
    for dx in (-0.58, 0.62):
        brush.window(x + dx * w, y - 0.3 * s, 0.034, 0.036)


def paint_tree(brush, x, y, s, colour):
    brush.shape([(x - 0.035, y), (x - 0.018, y - 0.5 * s), (x + 0.018, y - 0.5 * s), (x + 0.035, y)], (108, 76, 54))
    for dx, dy, r in ((-0.12, 0.5, 0.12), (0.12, 0.5, 0.12), (0.0, 0.62, 0.15), (-0.07, 0.78, 0.11), (0.07, 0.78, 0.11)):
        brush.oval(x + dx, y - dy * s, r, 0.9 * r, colour, 0.8)
    for dx, dy, r in ((-0.1, 0.56, 0.09), (-0.02, 0.7, 0.12), (-0.05, 0.82, 0.08)):
        brush.oval(x + dx, y - dy * s, r, 0.9 * r, colour)


def paint_balloon(brush, x, y, s, colour):
    y, r = 0.34 + brush.jitter(0.04), 0.4 * s
    brush.line([(x - 0.6 * r, y + 0.8 * r), (x - 0.05, y + 1.72 * r)], (96, 78, 64), 0.008)
    brush.line([(x + 0.6 * r, y + 0.8 * r), (x + 0.05, y + 1.72 * r)], (96, 78, 64), 0.008)
    brush.shape([(x - 0.86 * r, y + 0.5 * r), (x + 0.86 * r, y + 0.5 * r), (x + 0.22 * r, y + 1.36 * r), (x - 0.22 * r, y + 1.36 * r)], colour)
    brush.oval(x, y, r, r, colour)
    stripe = (252, 244, 226) if brush.scene.colour != "white" else (226, 122, 92)
    brush.oval(x, y, 0.62 * r, r, stripe)
    brush.shape([(x - 0.54 * r, y + 0.5 * r), (x + 0.54 * r, y + 0.5 * r), (x + 0.14 * r, y + 1.36 * r), (x - 0.14 * r, y + 1.36 * r)], stripe)
    brush.oval(x, y, 0.27 * r, r, colour)
    brush.shape([(x - 0.24 * r, y + 0.5 * r), (x + 0.24 * r, y + 0.5 * r), (x + 0.06 * r, y + 1.36 * r), (x - 0.06 * r, y + 1.36 * r)], colour)
    brush.box(x - 0.055, y + 1.7 * r, x + 0.055, y + 2.1 * r, (140, 98, 62))


def paint_rocket(brush, x, y, s, colour):
    y -= 0.12                                                  # it has just left the ground
    for dx, dy, r in ((-0.12, 0.15, 0.07), (0.12, 0.15, 0.07), (0.0, 0.16, 0.09)):
        brush.oval(x + dx, y + dy, r, 0.7 * r, (236, 232, 228))
    w = 0.085
    for half, reach, fill in ((0.055, 0.2, (246, 136, 46)), (0.03, 0.13, (255, 222, 110))):
        brush.draw.polygon(brush.points([(x - half, y), (x + half, y), (x, y + reach)]), fill=fill)
    fin = (206, 62, 52) if brush.scene.colour != "red" else (60, 74, 110)
    for side in (-1, 1):
        brush.shape([(x + side * 0.6 * w, y - 0.3 * s), (x + side * 2.1 * w, y + 0.02), (x + side * 0.6 * w, y)], fin)
    body = [(x - w, y - 0.3 * s), (x - 0.9 * w, y - 0.62 * s), (x, y - s), (x + 0.9 * w, y - 0.62 * s), (x + w, y - 0.3 * s), (x + 0.6 * w, y), (x - 0.6 * w, y)]
    brush.shape(body, colour)
    brush.shape([(x + 0.2 * w, y), (x, y - s)] + body[3:6], colour, 0.82)
    brush.shape([(x - 0.55 * w, y - 0.76 * s), (x, y - s), (x + 0.55 * w, y - 0.76 * s)], fin)
    brush.oval(x, y - 0.52 * s, 0.045, 0.045, (60, 70, 90))
    brush.oval(x, y - 0.52 * s, 0.03, 0.03, (150, 206, 236))


def paint_castle(brush, x, y, s, colour):
    stone = colour if brush.scene.colour != "white" else (206, 198, 190)
    roof = (84, 96, 150) if brush.scene.colour != "blue" else (150, 74, 70)
    for dx, w, h in ((-0.22, 0.06, 0.72), (0.22, 0.06, 0.72), (0.0, 0.075, 0.86)):
        brush.box(x + dx - w, y - h * s, x + dx + w, y, stone, 0.94)
        brush.box(x + dx + 0.3 * w, y - h * s, x + dx + w, y, stone, 0.78)
        brush.shape([(x + dx - 1.3 * w, y - h * s), (x + dx, y - (h + 0.36) * s), (x + dx + 1.3 * w, y - h * s)], roof)
        brush.window(x + dx, y - (h - 0.17) * s, 0.014, 0.026)
    brush.box(x - 0.22, y - 0.42 * s, x + 0.22, y, stone)
    for i in range(6):
        brush.box(x - 0.22 + 0.078 * i, y - 0.5 * s, x - 0.175 + 0.078 * i, y - 0.4 * s, stone)
    brush.oval(x, y - 0.2 * s, 0.05, 0.06, (88, 66, 54))
    brush.box(x - 0.05, y - 0.2 * s, x + 0.05, y, (88, 66, 54))


def paint_windmill(brush, x, y, s, colour):
    top = y - 0.72 * s
    brush.shape([(x - 0.11, y), (x - 0.065, top), (x + 0.065, top), (x + 0.11, y)], colour)
    brush.shape([(x + 0.03, y), (x + 0.02, top), (x + 0.065, top), (x + 0.11, y)], colour, 0.8)
    brush.shape([(x - 0.085, top + 0.01), (x, top - 0.1), (x + 0.085, top + 0.01)], (128, 72, 58))
    brush.box(x - 0.03, y - 0.2 * s, x + 0.03, y, (102, 70, 52))
    brush.window(x, y - 0.4 * s, 0.018, 0.022)
    turn = 0.6 + brush.jitter(0.25)
    hub, reach = (x, top - 0.01), 0.25
    for i in range(4):
        a = turn + i * pi / 2
        along, across = (cos(a), sin(a)), (-sin(a), cos(a))
        at = lambda t, w: (hub[0] + along[0] * t * reach + across[0] * w, hub[1] + along[1] * t * reach + across[1] * w)
        brush.shape([at(0.2, 0.0), at(1.0, 0.0), at(1.0, 0.07), at(0.2, 0.05)], (252, 248, 236))
        brush.line([at(0, 0), at(1.02, 0)], (96, 70, 54), 0.012)


PAINT_SUBJECT = {"ship": paint_ship, "lighthouse": paint_lighthouse, "house": paint_house, "tree": paint_tree, "balloon": paint_balloon,
                 "rocket": paint_rocket, "castle": paint_castle, "windmill": paint_windmill}


# ---------------------------------------------------------------------------- styles: from the drawing to the picture
# Texture is faint and the same in every picture: random grain cannot be compressed and would eat the VAE.

def style_vector(image, size, rng):
    return image.resize((size, size), Image.BOX)


def style_oil(image, size, rng):
    """Dabs of thick paint: edges broken into blobs, a faint weave of strokes, richer colour."""
    image = image.resize((size, size), Image.BOX)
    dabs = Image.blend(image.filter(ImageFilter.ModeFilter(5)), image.filter(ImageFilter.MedianFilter(3)), 0.5)
    rich = Image.blend(image.convert("L").convert("RGB"), dabs, 1.2)
    return ImageChops.overlay(rich, weave(size))


@lru_cache(maxsize=4)
def weave(size):
    y, x = np.mgrid[0:size, 0:size]
    strokes = 128 + 9 * np.sin(2 * pi * (x + 2.5 * y + 3 * np.sin(2 * pi * y / 32)) / 8)
    return Image.fromarray(strokes.astype("uint8")).convert("RGB")


def style_watercolor(image, size, rng):
    """Thin paint on white paper: pale, with darker rims where a wash ends, and a ragged white margin."""
    image = image.resize((size, size), Image.BOX)
    rims = ImageChops.subtract(image.filter(ImageFilter.GaussianBlur(2.5)), image)
    washed = Image.blend(image.filter(ImageFilter.GaussianBlur(1)), Image.new("RGB", (size, size), (255, 252, 244)), 0.36)
    return Image.composite(ImageChops.subtract(washed, rims), Image.new("RGB", (size, size), (252, 250, 244)), paper_edge(size))


@lru_cache(maxsize=4)
def paper_edge(size):
    t = np.arange(size)
    wave = lambda phase: size * (0.055 + 0.010 * np.sin(t / size * 13 + phase) + 0.006 * np.sin(t / size * 31 + 2 * phase))
    y, x = np.mgrid[0:size, 0:size]
    inside = np.minimum.reduce([x - wave(0)[:, None], size - 1 - x - wave(1)[:, None], y - wave(2)[None], size - 1 - y - wave(3)[None]])
    return Image.fromarray((255 * np.clip(inside / 4 + 0.5, 0, 1)).astype("uint8"))


def style_pixel(image, size, rng):
    """Big square pixels and few shades."""
    small = image.resize((size // 4, size // 4), Image.BOX)
    shades = small.point(lambda v: min(255, round(v / 28) * 28))
    return shades.resize((size, size), Image.NEAREST)


def style_pencil(image, size, rng):
    """Dark outlines and light hatched tones on warm paper."""
    grey = image.convert("L").filter(ImageFilter.GaussianBlur(1))
    edges = ImageOps.autocontrast(grey).filter(ImageFilter.FIND_EDGES)
    outline = edges.filter(ImageFilter.GaussianBlur(0.8)).point(lambda v: 255 - min(205, 8 * v))
    tone = Image.composite(Image.new("L", grey.size, 250), grey.point(lambda v: 96 + int(v * 0.62)), hatch(grey.width))
    drawing = ImageChops.multiply(tone, outline)
    # FIND_EDGES leaves the rim of the picture undefined
    drawing = drawing.crop((4, 4, drawing.width - 4, drawing.height - 4)).resize((size, size), Image.BOX)
    return Image.merge("RGB", [drawing.point(lambda v, k=k: int(v * k)) for k in (1.0, 0.985, 0.95)])


@lru_cache(maxsize=4)
def hatch(side):
    y, x = np.mgrid[0:side, 0:side]
    return Image.fromarray((128 + 70 * np.sin((x + y) * 2 * pi / 16)).astype("uint8"))


STYLE = {"oil": style_oil, "watercolor": style_watercolor, "vector": style_vector, "pixel": style_pixel, "pencil": style_pencil}
