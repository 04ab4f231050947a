"""The painter: an endless world of small scenes, drawn by rules.

Everything in a picture is decided by its scene, its size and its seed. So a picture can be painted again, its
caption is true, and quality can be measured: we know what should be there. Each part of a picture has random
numbers of its own: with another style or thing, the place stays as it was.
"""

from dataclasses import replace
from zlib import crc32

import numpy as np
from PIL import Image, ImageChops, ImageFilter
from PIL.Image import Resampling, Transpose

from .canvas import PAINTS, Brush, mix, palette
from .places import PAINT_PLACE, paint_flakes, paint_sky, paint_weather
from .scene import Scene
from .styles import PAINT_STYLE
from .things import THINGS

FINER = 3  # drawn so many times larger than it will be


def paint(scene: Scene, width: int = 128, height: int = 128) -> Image.Image:
    """The picture of a scene, RGB, width x height pixels."""
    stage, things = staged(scene, width, height)
    paint_weather(stage, front=False)
    if scene.style == "photograph" and scene.things:  # what is far is out of focus
        stage.blur(0.012)
    for thing in things:
        paint_thing(stage, *thing)
    if scene.place == "snow" and scene.weather not in ("rain", "storm"):
        paint_flakes(stage)
    paint_weather(stage, front=True)
    return PAINT_STYLE[scene.style](stage.brush.image, (width, height), scene)


def staged(scene, width, height):
    """A stage with its sky and its place, and who stands there, as Stage.cast has it."""
    stage = Stage(scene, width, height)
    paint_sky(stage)
    stand = PAINT_PLACE[scene.place](stage)
    return stage, stage.cast(stand)


class Stage:
    """A picture while it is painted. Lengths are in units of its shorter side."""

    def __init__(self, scene, width, height):
        unit = min(width, height)
        self.scene, self.width, self.height = scene, width / unit, height / unit
        self.horizon = 0.58 * self.height + (0.04 if height > width else 0)
        image = Image.new("RGB", (FINER * width, FINER * height))
        sun = 1 if scene.time in ("day", "sunset") else -1
        self.brush = Brush(image, palette(scene.time, scene.weather), FINER * unit, sun=sun)

    def rng(self, part):
        return np.random.default_rng([self.scene.seed, crc32(part.encode())])

    def blur(self, radius):
        self.brush.image.paste(self.brush.image.filter(ImageFilter.GaussianBlur(radius * self.brush.scale)))

    def cast(self, stand):
        """Who stands where, the farthest first: (thing, x, y, height), x in the middle of the feet."""
        rng, things, w = self.rng("cast"), self.scene.things, self.width
        people = sum(thing.count for thing in things)
        size = {0: 1, 1: 1, 2: 0.76, 3: 0.62}[people] * min(max(w, self.height), 1.12 if people == 1 else 1.3)
        places = []
        for thing in things:
            kind = THINGS[thing.subject]
            at = {"left": 0.27, "middle": 0.5, "right": 0.73}[thing.side]
            spots = {1: [at], 2: [0.29, 0.71], 3: list(rng.permutation([0.2, 0.5, 0.8]))}[thing.count]
            for i, spot in enumerate(spots):
                near = (i - (thing.count - 1) / 2) * 0.06 + rng.uniform(-0.012, 0.012)
                x = (spot + rng.uniform(-0.025, 0.025)) * w
                room = min(
                    2 * min(x, w - x), 1.15 * w / people if people > 1 else w
                )  # nothing is cut off, nobody hides another
                height = min(kind.height * size * rng.uniform(0.92, 1.08), room / kind.width) * (1 + 1.5 * near)
                if kind.where == "air":
                    y = max(self.horizon * rng.uniform(0.82, 0.92) - 2.5 * near, height + 0.03)
                else:
                    y = stand(x) + near + {"near": 0.08, "track": 0.01}.get(kind.where, 0.05)
                places.append((thing, x, y, height))
        return sorted(places, key=lambda place: place[2])


def paint_thing(stage, thing, x, y, height):
    """One thing where it stands, with its shadow or its reflection."""
    b, kind, scene = stage.brush, THINGS[thing.subject], stage.scene
    at_sea = scene.place == "sea"
    layer, (left, top) = layer_of(stage, thing, x, y, height)
    if at_sea and kind.where in ("land", "near"):
        paint_island(stage, x, y, 0.62 * kind.width * height + 0.06)
    elif kind.where == "water" and not at_sea:
        paint_pond(stage, x, y, 0.68 * kind.width * height)
    elif kind.where == "track":
        paint_track(stage, y, at_sea)
    if kind.where in ("land", "near"):
        paint_shadow(stage, x, y, 0.5 * kind.foot * height)
    if at_sea and kind.where == "water":
        reflect(b, layer, left, top, y)
    if scene.style in ("photograph", "oil", "charcoal", "pencil"):
        model(layer, -b.shadow)
    b.image.paste(layer, (left, top), layer)
    if kind.where == "water":
        paint_wake(stage, x, y, 0.5 * kind.foot * height, at_sea)


def layer_of(stage, thing, x, y, height):
    """One thing alone, RGBA, and where the upper left corner of that belongs: what of it is to be seen is its alpha."""
    b, kind = stage.brush, THINGS[thing.subject]
    rng = stage.rng(thing.subject)  # several of a kind look the same way
    scale = height * b.scale
    size = (round(1.25 * kind.width * scale), round(1.2 * scale))
    layer = Image.new("RGBA", size)
    seen = replace(b.palette, light=mix(b.palette.light, (1, 1, 1), 0.35))  # what matters stands in a better light
    brush = Brush(
        layer,
        seen,
        scale,
        origin=(size[0] / 2, size[1] - 0.08 * scale),
        up=-1,
        turned=int(rng.choice((-1, 1))),
        sun=-b.shadow,
    )
    kind.paint(brush, PAINTS[thing.colour], thing.colour, rng)
    return layer, (round(x * b.scale - brush.origin[0]), round(y * b.scale - brush.origin[1]))


def model(layer, sun):
    """Round things: brighter towards the light, darker on the other side."""
    ramp = np.linspace(1.0, 0.74, 16) if sun < 0 else np.linspace(0.74, 1.0, 16)
    shade = Image.fromarray((255 * ramp)[None].astype("uint8")).resize(layer.size, Resampling.BILINEAR)
    alpha = layer.getchannel("A")
    layer.paste(ImageChops.multiply(layer.convert("RGB"), Image.merge("RGB", [shade] * 3)))
    layer.putalpha(alpha)


def paint_shadow(stage, x, y, reach):
    b, y = stage.brush, y - 0.06
    mask = Image.new("L", (round(3.2 * reach * b.scale), round(0.12 * b.scale)))
    Brush(mask, b.palette, b.scale).ellipse(1.6 * reach, 0.06, 1.35 * reach, 0.024 + 0.05 * reach, 74)
    b.image.paste((26, 28, 60), (round((x + b.shadow * 0.3 * reach - 1.6 * reach) * b.scale), round(y * b.scale)), mask)


def paint_track(stage, y, at_sea):
    """Rails from edge to edge; over water on a low bridge."""
    b, w = stage.brush, stage.width
    if at_sea:
        b.box(0, y, w, y + 0.085, (196, 172, 150))
        for i in range(round(5 * w) + 1):
            x = i / round(5 * w) * w
            b.oval(x, y + 0.085, 0.075, 0.05, b.palette.water[1], 0.9)
        b.box(0, y, w, y + 0.016, (150, 124, 108))
    else:
        b.box(0, y - 0.012, w, y + 0.03, (158, 138, 120), 0.92)
        for i in range(round(11 * w) + 1):
            b.box(i / round(11 * w) * w - 0.018, y - 0.004, i / round(11 * w) * w + 0.018, y + 0.024, (104, 78, 62))
    b.box(0, y - 0.002, w, y + 0.008, (96, 100, 112))


def reflect(b, layer, left, top, y):
    """The mirror image in the water: upside down, shorter, faint."""
    bottom = round(y * b.scale) - top
    mirror = layer.crop((0, 0, layer.width, bottom)).transpose(Transpose.FLIP_TOP_BOTTOM)
    mirror = mirror.resize((mirror.width, max(1, round(0.5 * mirror.height))))
    fade = Image.fromarray(np.linspace(120, 20, 16)[:, None].astype("uint8")).resize(mirror.size, Resampling.BILINEAR)
    b.image.paste(mirror, (left, top + bottom), ImageChops.multiply(mirror.getchannel("A"), fade))


def paint_wake(stage, x, y, reach, at_sea):
    """Small waves where something swims."""
    b = stage.brush
    foam = tuple(
        map(
            int,
            mix(
                b.palette.water[0] if at_sea else (150, 196, 222),
                (255, 255, 255),
                0.45 if not b.palette.night else 0.12,
            ),
        )
    )
    for dx, r in ((-0.75, 0.4), (0.1, 0.55), (0.8, 0.35)):
        b.ellipse(x + dx * reach, y, r * reach, 0.009, foam)


def paint_island(stage, x, y, reach):
    """Things that need land get an island at sea."""
    b = stage.brush
    b.oval(x, y + 0.022, 1.12 * reach, 0.052, (206, 180, 132), 0.95)
    b.oval(x, y + 0.008, reach, 0.042, (118, 168, 96))
    b.oval(x - b.shadow * 0.2 * reach, y + 0.002, 0.72 * reach, 0.026, (142, 190, 108))


def paint_pond(stage, x, y, reach):
    """What swims brings its own water on land."""
    b = stage.brush
    b.oval(x, y + 0.022, 1.16 * reach, 0.075, (150, 128, 96), 0.9)
    b.oval(x, y + 0.022, 1.1 * reach, 0.066, (70, 142, 196), 0.95)
    b.oval(x, y + 0.016, 0.95 * reach, 0.048, (104, 172, 214))
