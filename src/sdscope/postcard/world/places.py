"""The sky with its weather, and the places under it.

Each place paints its ground and returns where things stand: a function of x that gives y.
A `stage` is what they are painted on (world.py): its brush, width and height in units, scene,
horizon, and random numbers by name.
"""

import numpy as np
from PIL import Image, ImageDraw
from PIL.Image import Resampling

from .canvas import mix, wave

FLAT = ("vector", "pixel", "stained glass")  # styles whose skies are bands, not gradients


# ---------------------------------------------------------------------------- sky


def paint_sky(stage):
    b, p, rng = stage.brush, stage.brush.palette, stage.rng("sky")
    x, y = {"sunrise": (0.22, 0.78), "day": (0.78, 0.27), "sunset": (0.77, 0.8), "night": (0.22, 0.28)}[
        stage.scene.time
    ]
    stage.sun = (x + rng.uniform(-0.07, 0.07)) * stage.width, (y + rng.uniform(-0.04, 0.04)) * stage.horizon
    how = Resampling.NEAREST if stage.scene.style in FLAT else Resampling.BILINEAR
    b.image.paste(sky(stage).resize(b.image.size, how))
    if p.night and stage.scene.weather in ("clear", "clouds"):
        paint_stars(stage, rng)
    if stage.scene.weather in ("clear", "clouds", "fog"):
        paint_orb(stage, rng)
    if stage.scene.weather == "clear":
        for _ in range(2):
            paint_cloud(
                b, rng.uniform(0.05, 0.95) * stage.width, rng.uniform(0.2, 0.6) * stage.horizon, rng.uniform(0.06, 0.09)
            )
    elif stage.scene.weather == "clouds":
        n = round(4 * stage.width) + 1
        for i in rng.permutation(n):
            far = (i % 3) / 2  # lower clouds are farther and smaller
            paint_cloud(
                b,
                (i + rng.uniform(0.1, 0.9)) / n * stage.width,
                (0.25 + 0.42 * far + rng.uniform(-0.04, 0.04)) * stage.horizon,
                (0.19 - 0.09 * far) * rng.uniform(0.9, 1.15),
            )
    elif stage.scene.weather in ("rain", "storm"):
        paint_deck(stage, rng)


def sky(stage):
    """The sky's colours from the top to the horizon, brighter round the sun; small, to be enlarged."""
    p, rows, columns = stage.brush.palette, 60, round(60 * stage.width / stage.height)
    y, x = np.mgrid[0:rows, 0:columns] / rows * stage.height
    t = np.clip(y / stage.horizon, 0, 1)
    if stage.scene.style in FLAT:
        t = np.floor(t * 5) / 4.5
    colours = np.stack([np.interp(t, [0, 0.55, 1], [stop[c] for stop in p.sky]) for c in range(3)], -1)
    if stage.scene.style not in FLAT:
        distance = np.hypot(x - stage.sun[0], y - stage.sun[1])
        glow = p.glow * np.exp(-distance / 0.22)[..., None]
        colours += (np.array(p.orb) - colours) * glow
    return Image.fromarray(colours.clip(0, 255).astype("uint8"))


def paint_orb(stage, rng):
    b, (x, y) = stage.brush, stage.sun
    p, time = b.palette, stage.scene.time
    radius = {"sunrise": 0.085, "day": 0.07, "sunset": 0.095, "night": 0.075}[time]
    colour = tuple(map(int, mix(p.orb, p.haze, 0.45 if stage.scene.weather == "fog" else 0)))
    if p.night and rng.random() < 0.5:  # a crescent: the dark part is the sky's colour
        b.ellipse(x, y, radius, radius, colour)
        dark = b.image.getpixel(tuple(int(v) for v in b.points([(x - 1.5 * radius, y)])[0]))
        b.ellipse(x + 0.55 * radius, y - 0.25 * radius, 0.85 * radius, 0.85 * radius, dark)
        return
    b.ellipse(x, y, radius, radius, colour)
    if p.night:
        for dx, dy, r in ((-0.3, -0.25, 0.24), (0.3, 0.2, 0.28), (-0.15, 0.45, 0.15)):
            b.ellipse(x + dx * radius, y + dy * radius, r * radius, r * radius, tuple(int(0.89 * c) for c in colour))


def paint_stars(stage, rng):
    """A few, each in a field of its own so that they are spread; one in four twinkles."""
    b, columns = stage.brush, round(5 * stage.width)
    for row in range(round(4 * stage.height) - 1):
        for column in range(columns):
            x = (column + rng.uniform(0.15, 0.85)) / columns * stage.width
            y = (row + rng.uniform(0.15, 0.85)) * 0.18
            size, twinkles, shines = rng.uniform(0.0075, 0.011), rng.random() < 0.25, rng.random() < 0.75
            if not shines or y > 0.8 * stage.horizon:
                continue
            b.ellipse(x, y, size, size, (238, 238, 224))
            if twinkles:
                points = [(0, -3), (0.6, -0.6), (3, 0), (0.6, 0.6), (0, 3), (-0.6, 0.6), (-3, 0), (-0.6, -0.6)]
                b.draw.polygon(b.points([(x + size * dx, y + size * dy) for dx, dy in points]), fill=(246, 246, 232))


CLOUD = ((-0.95, 0.55, 0.42), (-0.38, 0.62, 0.85), (0.28, 0.7, 0.68), (0.92, 0.5, 0.36))


def paint_cloud(b, x, y, r):
    """Flat below and round above: half ovals side by side, lit from above."""
    lit, shaded = (tuple(map(int, c)) for c in b.palette.cloud)
    for colour, lift, size in ((shaded, 0, 1), (lit, 0.14, 0.92)):
        for dx, rx, ry in CLOUD:
            (x0, y0), (x1, y1) = b.points(
                [
                    (x + r * (size * dx - size * rx), y - r * size * (ry + lift)),
                    (x + r * (size * dx + size * rx), y + r * size * (ry - lift)),
                ]
            )
            b.draw.chord((x0, y0, x1, y1), 180, 360, fill=colour)


def paint_deck(stage, rng):
    """Heavy clouds from edge to edge; in a storm darker, with lightning."""
    b, storm = stage.brush, stage.scene.weather == "storm"
    for layer, (depth, dark) in enumerate(((0.5, 0.92), (0.3, 0.8))):
        colour = tuple(int(c * dark * (0.82 if storm else 1)) for c in b.palette.cloud[1])
        n = round(5 * stage.width) + layer
        b.draw.rectangle(b.points([(0, 0), (stage.width, depth * 0.62 * stage.horizon)]), fill=colour)
        for i in range(n + 1):
            r = rng.uniform(0.14, 0.2)
            b.ellipse((i + rng.uniform(-0.2, 0.2)) / n * stage.width, depth * 0.62 * stage.horizon, r, 0.5 * r, colour)
        if storm and layer == 0:
            paint_lightning(stage, rng)


def paint_lightning(stage, rng):
    """Beside the middle, where things stand."""
    b, top, bottom = stage.brush, 0.1 * stage.horizon, stage.horizon
    x = stage.width * (rng.uniform(0.1, 0.24) if rng.random() < 0.5 else rng.uniform(0.76, 0.9))
    b.glow(x, 0.5 * stage.horizon, 0.42, (226, 228, 255), 0.5)
    right = [(0.03, 0.0), (0.012, 0.3), (0.05, 0.27), (0.012, 0.62), (0.04, 0.6), (-0.02, 1.0)]
    left = [(-0.005, 0.68), (-0.035, 0.7), (-0.005, 0.38), (-0.045, 0.41), (-0.01, 0.0)]
    b.draw.polygon(
        b.points([(x + 1.2 * dx, top + dy * (bottom - top)) for dx, dy in right + left]), fill=(255, 252, 226)
    )


def paint_weather(stage, front):
    """What is in the air, behind the things and again in front of them."""
    b, weather = stage.brush, stage.scene.weather
    if weather == "fog":
        heights = [0, 0.6 * stage.horizon, stage.horizon, stage.height]
        thick = np.interp(np.linspace(0, stage.height, 48), heights, [0, 20, 96, 40] if front else [40, 110, 172, 60])
        b.veil(Image.fromarray(thick[:, None].astype("uint8")), b.palette.haze)
    elif weather in ("rain", "storm") and front:
        b.veil(streaks(stage), mix(b.palette.haze, (240, 244, 255), 0.5))


def streaks(stage):
    """Rain: slanted lines, evenly spread, none alike in place."""
    mask, rng = Image.new("L", stage.brush.image.size), stage.rng("rain")
    draw, s, rows, columns = ImageDraw.Draw(mask), stage.brush.scale, round(5 * stage.height), round(6 * stage.width)
    for row in range(rows):
        for column in range(columns):
            x = (column + (row % 2) / 2 + rng.uniform(-0.2, 0.2)) / columns * stage.width
            y = (row + rng.uniform(0, 0.7)) / rows * stage.height
            draw.line((x * s, y * s, (x - 0.035) * s, (y + 0.1) * s), fill=130, width=max(1, round(0.013 * s)))
    return mask


# ---------------------------------------------------------------------------- places


def ground(stage, y, height, waves, colour, rng, shade=1.0, depth=0.0):
    """Land with a softly waved top edge, down to the bottom of the picture; returns its top."""
    line = wave(rng, height, waves)
    top = lambda x: y + line(x)
    xs = np.linspace(0, stage.width, 40).tolist()
    stage.brush.shape(
        [(0, stage.height), *((x, top(x)) for x in xs), (stage.width, stage.height)], colour, shade, depth
    )
    return top


def paint_sea(stage):
    b, rng, w, h, y0 = stage.brush, stage.rng("place"), stage.width, stage.height, stage.horizon
    p, deep, storm = b.palette, h - stage.horizon, stage.scene.weather == "storm"
    rows = np.linspace(0, 1, 8 if stage.scene.style in FLAT else 48)[:, None]
    water = Image.fromarray(
        (np.array(p.water[0]) + (np.array(p.water[1]) - p.water[0]) * rows**0.7)[:, None].astype("uint8")
    )
    left, top, right, bottom = (round(v * b.scale) for v in (0, y0, w, h))
    b.image.paste(
        water.resize((right - left, bottom - top), Resampling.NEAREST if len(rows) == 8 else Resampling.BILINEAR),
        (left, top),
    )
    if rng.random() < 0.4:  # a headland far away
        x, side = rng.uniform(0.1, 0.9) * w, rng.uniform(0.18, 0.3)
        b.smooth(
            [
                (x - side, y0 + 0.02),
                (x - 0.5 * side, y0 - 0.03),
                (x, y0 - 0.06),
                (x + 0.6 * side, y0 - 0.03),
                (x + side, y0 + 0.02),
            ],
            (96, 124, 128),
            1,
            0.5,
        )
        b.draw.rectangle(b.points([(0, y0), (w, y0 + 0.022)]), fill=tuple(map(int, p.water[0])))
    if stage.scene.weather in ("clear", "clouds"):  # the sun's or moon's road on the water
        for i in range(7):
            y, reach = y0 + 0.012 + deep * (0.03 + 0.13 * i), 0.05 + 0.012 * i + rng.uniform(0, 0.035)
            b.ellipse(
                stage.sun[0] + rng.uniform(-0.02, 0.02),
                y,
                reach,
                0.006 + 0.0012 * i,
                tuple(map(int, mix(p.orb, p.water[1], 0.12 + 0.05 * i))),
            )
    crest, trough = mix(p.water[0], (255, 255, 255), 0.25), mix(p.water[1], p.water[0], 0.18)
    for i in range(4):  # rows of waves, nearer and larger
        y, size = y0 + deep * (0.2 + 0.24 * i), (0.026 + 0.02 * i) * (1.7 if storm else 1)
        n = round(w / (5.2 * size))
        for k in range(n + 1):
            x = (k + (i % 2) / 2 + rng.uniform(-0.25, 0.25)) / n * w
            if rng.random() < (1 if storm else 0.6):
                paint_wave(b, x, y + rng.uniform(-0.2, 0.2) * size, size, crest if (k + i) % 3 else trough, storm)
    return lambda x: y0 + 0.4 * deep


def paint_wave(b, x, y, size, colour, high):
    colour = tuple(map(int, colour))
    if high:
        b.draw.polygon(
            b.points(
                [
                    (x - 2 * size, y + 0.3 * size),
                    (x - 0.8 * size, y - 0.2 * size),
                    (x + 0.3 * size, y - 0.9 * size),
                    (x + 0.2 * size, y - 0.35 * size),
                    (x + 2 * size, y + 0.3 * size),
                ]
            ),
            fill=colour,
        )
    else:
        b.ellipse(x, y, 1.7 * size, 0.12 * size + 0.002, colour)


def paint_mountains(stage):
    b, rng, w, y0 = stage.brush, stage.rng("place"), stage.width, stage.horizon
    for base, tall, depth, n in ((y0 + 0.02, 0.3, 0.55, 3), (y0 + 0.08, 0.23, 0.25, 2)):
        n = round(n * w) + 1
        for x in (np.arange(n) + rng.uniform(-0.25, 0.25, n)) / (n - 1) * w:
            paint_peak(
                b,
                x,
                base,
                tall * rng.uniform(0.85, 1.2) * min(1.15, stage.height),
                0.29 * rng.uniform(0.85, 1.15),
                depth,
            )
    far = ground(stage, y0 + 0.07, 0.015, 2, (88, 134, 104), rng, 1, 0.2)
    for x in np.arange(0.03, w, 0.11):
        if rng.random() < 0.6:
            paint_pine(
                b, x + rng.uniform(-0.03, 0.03), far(x) + 0.02, 0.085 * rng.uniform(0.8, 1.2), (66, 112, 92), 0.15
            )
    top = ground(stage, y0 + 0.13, 0.02, 1.3, (112, 168, 92), rng)
    ground(stage, y0 + 0.27, 0.02, 1.1, (92, 150, 80), rng)
    return lambda x: top(x) + 0.03


def paint_peak(b, x, base, h, w, depth):
    top, sun = base - h, -b.shadow
    b.shape([(x - w, base + 0.1), (x, top), (x + w, base + 0.1)], (124, 132, 158), 1.12, depth)
    b.shape(
        [(x, top), (x - sun * w, base + 0.1), (x + sun * 0.05, base + 0.1), (x + sun * 0.02, base - 0.4 * h)],
        (124, 132, 158),
        0.76,
        depth,
    )
    slope, snow = w / (h + 0.1), 0.36 * h
    edge = [
        (x - slope * snow, top + snow),
        (x - 0.45 * slope * snow, top + 0.75 * snow),
        (x - 0.1 * slope * snow, top + 1.1 * snow),
        (x + 0.3 * slope * snow, top + 0.72 * snow),
        (x + slope * snow, top + snow),
    ]
    b.shape([(x, top), *edge], (252, 252, 255), 1, depth * 0.6)
    b.shape([(x, top), *(edge[:3] if sun > 0 else edge[2:])], (252, 252, 255), 0.84, depth * 0.6)


def paint_desert(stage):
    b, rng, w, y0 = stage.brush, stage.rng("place"), stage.width, stage.horizon
    if rng.random() < 0.6:  # table mountains
        x = rng.uniform(0.1, 0.9) * w
        for dx, half, h in ((0.24, 0.09, 0.08), (0.0, 0.15, 0.13)):
            b.shape(
                [
                    (x + dx - 1.25 * half, y0 + 0.05),
                    (x + dx - half, y0 - h),
                    (x + dx + half, y0 - h),
                    (x + dx + 1.25 * half, y0 + 0.05),
                ],
                (196, 116, 84),
                1,
                0.45,
            )
            d = b.shadow
            b.shape(
                [
                    (x + dx + d * 0.3 * half, y0 + 0.05),
                    (x + dx + d * 0.4 * half, y0 - h),
                    (x + dx + d * half, y0 - h),
                    (x + dx + d * 1.25 * half, y0 + 0.05),
                ],
                (196, 116, 84),
                0.8,
                0.45,
            )
    paint_dune(stage, rng, y0 + 0.03, 0.05, (238, 196, 134), 0.2)
    paint_dune(stage, rng, y0 + 0.10, 0.05, (226, 172, 104), 0.05)
    for x in rng.permutation(np.arange(0.08, w, 0.22))[:2]:
        paint_cactus(b, x + rng.uniform(-0.03, 0.03), y0 + 0.15, 0.13 * rng.uniform(0.9, 1.2))
    top = ground(stage, y0 + 0.15, 0.022, 1.2, (244, 202, 132), rng)
    ground(stage, y0 + 0.29, 0.02, 1.0, (230, 182, 112), rng)
    return lambda x: top(x) + 0.03


def paint_dune(stage, rng, y, height, colour, depth):
    """A row of dunes, each with a lit and a shaded side."""
    b, n = stage.brush, round(1.5 * stage.width) + 1
    b.box(0, y + height * 0.8, stage.width, stage.height, colour, 1, depth)
    for x in (np.arange(n) + rng.uniform(-0.3, 0.3, n)) / (n - 1) * stage.width:
        d, r = b.shadow, rng.uniform(0.42, 0.55)
        b.smooth(
            [
                (x - r, y + 1.1 * height),
                (x - 0.45 * r, y + 0.3 * height),
                (x, y - height),
                (x + 0.45 * r, y + 0.3 * height),
                (x + r, y + 1.1 * height),
                (x, y + 3 * height),
            ],
            colour,
            1,
            depth,
        )
        b.smooth(
            [
                (x, y - 0.95 * height),
                (x + d * 0.45 * r, y + 0.33 * height),
                (x + d * r, y + 1.2 * height),
                (x + d * 0.35 * r, y + 2 * height),
                (x + d * 0.06 * r, y + height),
            ],
            colour,
            0.82,
            depth,
        )


def paint_cactus(b, x, y, h):
    for dx, low, high in ((0, 0, 1), (-0.3, 0.38, 0.7), (0.3, 0.5, 0.82)):
        b.line([(x + dx * h, y - low * h), (x + dx * h, y - high * h)], (74, 138, 88), 0.19 * h)
        b.line([(x, y - low * h), (x + dx * h, y - low * h)], (74, 138, 88), 0.17 * h)
    b.line([(x + b.shadow * 0.05 * h, y), (x + b.shadow * 0.05 * h, y - 0.97 * h)], (74, 138, 88), 0.07 * h, 0.78)


def paint_field(stage):
    b, rng, w, h, y0 = stage.brush, stage.rng("place"), stage.width, stage.height, stage.horizon
    far = ground(stage, y0, 0.03, 2.0, (150, 192, 128), rng, 1, 0.35)
    for x in np.arange(0.05, w, 0.16):  # hedges and trees far away
        if rng.random() < 0.7:
            x += rng.uniform(-0.04, 0.04)
            for dx, r in ((-0.03, 0.026), (0.0, 0.034), (0.032, 0.024)):
                b.oval(x + dx, far(x) + 0.004, r, 0.8 * r, (92, 146, 92), 1, 0.3)
    ground(stage, y0 + 0.07, 0.03, 1.6, (124, 178, 92), rng, 1, 0.1)
    top = ground(stage, y0 + 0.14, 0.025, 1.2, (140, 196, 92), rng)
    ground(stage, y0 + 0.28, 0.02, 1.1, (112, 174, 80), rng)
    petals = ((252, 236, 120), (250, 250, 244), (240, 118, 128))
    for row, r in ((0.31, 0.011), (0.37, 0.014)):
        for k in range(round(5 * w)):
            x, y = (k + rng.uniform(0.1, 0.9)) / round(5 * w) * w, y0 + row + rng.uniform(-0.015, 0.015)
            if y < h:
                b.oval(x, y, 1.1 * r, r, petals[int(rng.integers(3))])
    return lambda x: top(x) + 0.03


def paint_city(stage):
    b, rng, w, h, y0 = stage.brush, stage.rng("place"), stage.width, stage.height, stage.horizon
    base = y0 + 0.13
    x = -0.05
    while x < w:  # a skyline in the haze
        width, tall = rng.uniform(0.08, 0.13), rng.uniform(0.22, 0.42) * min(1.2, h)
        b.box(x, base - tall, x + width, base, (132, 146, 176), 1, 0.5)
        if rng.random() < 0.3:
            b.line([(x + width / 2, base - tall), (x + width / 2, base - tall - 0.06)], (132, 146, 176), 0.012, 1, 0.5)
        x += width
    walls = ((196, 142, 120), (176, 164, 158), (142, 152, 176), (214, 188, 152))
    x = -rng.uniform(0.02, 0.1)
    while x < w:  # houses along the street
        columns = int(rng.integers(2, 4))
        width, rows = 0.058 * columns + 0.03, int(rng.integers(2, 5))
        tall, wall = 0.075 * rows + 0.05, walls[int(rng.integers(4))]
        b.box(x, base - tall, x + width - 0.006, base, wall, 0.9, 0.12)
        edge = x + width - 0.006 if b.shadow > 0 else x
        b.box(edge - b.shadow * 0.022, base - tall, edge, base, wall, 0.74, 0.12)
        b.box(x - 0.004, base - tall - 0.016, x + width - 0.002, base - tall + 0.004, wall, 0.66, 0.12)
        for row in range(rows):
            for column in range(columns):
                if not b.palette.dim or rng.random() < 0.7:
                    b.window(x + 0.044 + 0.058 * column - 0.006, base - tall + 0.045 + 0.075 * row, 0.014, 0.019, 0.1)
        x += width
    b.box(0, base - 0.005, w, h, (186, 180, 176))
    b.box(0, base + 0.09, w, h, (104, 108, 122))
    b.box(0, base + 0.085, w, base + 0.1, (220, 214, 206))
    for x in np.arange(0.04, w, 0.2):
        b.box(x, base + 0.19, x + 0.1, base + 0.208, (240, 232, 200))
    return lambda x: base + 0.06


def paint_snow(stage):
    b, rng, w, y0 = stage.brush, stage.rng("place"), stage.width, stage.horizon
    far = ground(stage, y0 + 0.0, 0.035, 1.8, (206, 220, 240), rng, 1, 0.35)
    for x in np.arange(0.04, w, 0.14):
        if rng.random() < 0.6:
            paint_pine(
                b, x + rng.uniform(-0.04, 0.04), far(x) + 0.03, 0.11 * rng.uniform(0.8, 1.2), (80, 124, 116), 0.25
            )
    near = ground(stage, y0 + 0.07, 0.03, 1.5, (224, 234, 248), rng, 1, 0.1)
    for x in rng.permutation([0.06 * w, 0.2 * w, 0.8 * w, 0.94 * w])[:3]:
        paint_pine(b, x, near(x) + 0.05, 0.2 * rng.uniform(0.85, 1.2), (56, 106, 88), 0, True)
    top = ground(stage, y0 + 0.14, 0.022, 1.2, (250, 251, 255), rng)
    ground(stage, y0 + 0.28, 0.02, 1.1, (226, 235, 248), rng)
    return lambda x: top(x) + 0.03


def paint_flakes(stage):
    """Snow falls softly in front of everything, unless it rains."""
    b, rng = stage.brush, stage.rng("flakes")
    rows, columns = round(4 * stage.height), round(4 * stage.width)
    for row in range(rows):
        for column in range(columns):
            x, y = (
                (column + rng.uniform(0.1, 0.9)) / columns * stage.width,
                (row + rng.uniform(0.1, 0.9)) / rows * stage.height,
            )
            r = rng.uniform(0.009, 0.013)
            b.ellipse(x, y, r, r, tuple(map(int, mix((255, 255, 255), b.palette.haze, 0.25))))


def paint_pine(b, x, y, h, colour, depth, snowy=False):
    b.box(x - 0.04 * h, y - 0.2 * h, x + 0.04 * h, y, (98, 74, 60), 1, depth)
    for i in range(3):
        w, top = 0.2 * h * (1 + 0.4 * i), y - h + 0.24 * h * i
        b.shape([(x - w, top + 0.4 * h), (x, top), (x + w, top + 0.4 * h)], colour, 1.08, depth)
        b.shape([(x, top), (x + b.shadow * w, top + 0.4 * h), (x, top + 0.4 * h)], colour, 0.82, depth)
        if snowy:
            b.shape(
                [(x - 0.5 * w, top + 0.2 * h), (x, top), (x + 0.5 * w, top + 0.2 * h), (x + 0.1 * w, top + 0.15 * h)],
                (250, 252, 255),
                1,
                depth,
            )


def paint_forest(stage):
    b, rng, w, h, y0 = stage.brush, stage.rng("place"), stage.width, stage.height, stage.horizon
    for y, tall, depth, gap, colour in (
        (y0 + 0.05, 0.3, 0.6, 0.13, (92, 138, 108)),
        (y0 + 0.09, 0.34, 0.3, 0.17, (74, 126, 90)),
    ):
        for x in np.arange(-0.02, w + 0.1, gap):
            paint_pine(b, x + rng.uniform(-0.03, 0.03), y, tall * rng.uniform(0.8, 1.2) * min(1.2, h), colour, depth)
        b.box(0, y - 0.03, w, h, colour, 0.92, depth)
    top = ground(stage, y0 + 0.12, 0.018, 1.3, (118, 160, 84), rng)
    for side in (0.03, 0.97):  # two old trees frame the clearing
        x, wide = side * w + rng.uniform(-0.02, 0.02), rng.uniform(0.045, 0.06)
        foot = top(x) + 0.08
        b.shape(
            [
                (x - 1.5 * wide, foot),
                (x - 0.8 * wide, foot - 0.1),
                (x - 0.7 * wide, -0.1),
                (x + 0.7 * wide, -0.1),
                (x + 0.8 * wide, foot - 0.1),
                (x + 1.5 * wide, foot),
            ],
            (108, 80, 62),
        )
        d = b.shadow
        b.shape(
            [
                (x + d * 0.2 * wide, foot),
                (x + d * 0.2 * wide, -0.1),
                (x + d * 0.7 * wide, -0.1),
                (x + d * 0.8 * wide, foot - 0.1),
                (x + d * 1.5 * wide, foot),
            ],
            (108, 80, 62),
            0.74,
        )
        inward = 1 if side < 0.5 else -1
        for dx, dy, r in ((0.0, 0.0, 0.15), (0.1, -0.05, 0.13), (0.2, -0.04, 0.09), (0.02, 0.12, 0.1)):
            b.oval(x + inward * dx, dy + 0.02, r, 0.8 * r, (66, 122, 70), 0.86)
        for dx, dy, r in ((-0.02, -0.04, 0.12), (0.1, -0.08, 0.1)):
            b.oval(x + inward * dx, dy + 0.02, r, 0.8 * r, (84, 142, 80))
    ground(stage, y0 + 0.27, 0.02, 1.1, (92, 138, 72), rng)
    return lambda x: top(x) + 0.035


PAINT_PLACE = {
    "sea": paint_sea,
    "mountains": paint_mountains,
    "desert": paint_desert,
    "field": paint_field,
    "city": paint_city,
    "snow": paint_snow,
    "forest": paint_forest,
}
