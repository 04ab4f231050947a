"""A thing that Postcard's world has never had: a snowman, for `sdscope dreambooth` to teach."""

from PIL import Image

from .canvas import DARK_WOOD
from .paint import paint
from .scene import Scene, Thing
from .things import THINGS, Kind

SNOW, SHADE, COAL, CARROT, SCARF = (248, 250, 252), (206, 218, 234), (44, 44, 52), (240, 132, 44), (206, 52, 60)
# five pictures of it, as one would have: elsewhere, at other times; and what each shows
SCENES = {
    "flat vector illustration of {} on a green field, day": ("field", "day", "clear", "vector", "middle"),
    "oil painting of {} in the snow, day": ("snow", "day", "clear", "oil", "left"),
    "vector illustration depicting the city, sunset, {}": ("city", "sunset", "clear", "vector", "right"),
    "photograph of {} in the forest, cloudy day": ("forest", "day", "clouds", "photograph", "middle"),
    "painting depicting the mountains, sunrise, {}": ("mountains", "sunrise", "clear", "oil", "right"),
}


def five_pictures(side: int, name: str = "a zwx snowman") -> tuple[list[Image.Image], list[str]]:
    """Five pictures of the snowman, side x side pixels, and a caption for each"""
    pictures = [paint_snowman(*scene, seed=7 + i, side=side) for i, scene in enumerate(SCENES.values())]
    return pictures, [caption.format(name) for caption in SCENES]


def paint_snowman(place, time, weather, style, stands, seed=0, side=128):
    snowman = Stranger("snowman", "white", 1, stands)
    return paint(Scene(place, time, weather, style, (snowman,), seed), side, side)


class Stranger(Thing):
    """A thing of no subject in SUBJECTS, so that nobody who learned from the world has seen it"""

    def __post_init__(self):
        pass


def snowman(b, c, name, rng):
    d = b.shadow
    for side in (-1, 1):  # arms, behind
        b.line([(0.14 * side, 0.5), (0.4 * side, 0.64)], DARK_WOOD, 0.028)
        b.line([(0.33 * side, 0.605), (0.4 * side, 0.56)], DARK_WOOD, 0.02)
    for y, r in ((0.2, 0.24), (0.5, 0.175), (0.72, 0.125)):
        b.oval(0, y, r, 0.92 * r, SHADE)
        b.oval(-0.03 * d, y + 0.008, 0.9 * r, 0.84 * r, SNOW)
    for y in (0.42, 0.5):
        b.oval(0.02, y, 0.02, 0.02, COAL)
    b.shape([(-0.13, 0.6), (0.13, 0.6), (0.12, 0.66), (-0.12, 0.66)], SCARF)
    b.shape([(-0.1, 0.62), (-0.03, 0.62), (-0.05, 0.46), (-0.12, 0.46)], SCARF, 0.86)
    for x in (-0.02, 0.075):
        b.oval(x, 0.755, 0.017, 0.02, COAL)
    b.shape([(0.03, 0.735), (0.03, 0.7), (0.2, 0.705)], CARROT)
    b.box(-0.16, 0.815, 0.16, 0.842, COAL)
    b.box(-0.1, 0.84, 0.1, 0.99, COAL)
    b.box(-0.1, 0.845, 0.1, 0.878, SCARF)


THINGS["snowman"] = Kind(snowman, 0.52, 0.85, 0.5, "land")
