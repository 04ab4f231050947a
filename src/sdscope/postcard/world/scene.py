"""What can be in a picture: a scene, and which scenes are kept out of training.

Everything else follows from here: the painter draws a scene, the captions describe it, the judge
reads it back from a picture.
"""

from dataclasses import dataclass

import numpy as np

from ...errors import SdscopeError

PLACES = ("sea", "mountains", "desert", "field", "city", "snow", "forest")
TIMES = ("sunrise", "day", "sunset", "night")
WEATHERS = ("clear", "clouds", "rain", "fog", "storm")
STYLES = (
    "oil",
    "watercolor",
    "vector",
    "pixel",
    "pencil",
    "charcoal",
    "ukiyo-e",
    "stained glass",
    "cyberpunk",
    "photograph",
)
SUBJECTS = (
    "ship",
    "lighthouse",
    "house",
    "tree",
    "balloon",
    "rocket",
    "castle",
    "windmill",
    "astronaut",
    "horse",
    "rider",
    "bird",
    "whale",
    "train",
    "cat",
)
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black", "brown")
SIDES = ("left", "middle", "right")

# the colour a subject has when nobody asks for one; a rider is an astronaut on a horse, and the colour is the horse's
USUAL = {
    "ship": "red",
    "lighthouse": "red",
    "house": "white",
    "tree": "green",
    "balloon": "red",
    "rocket": "white",
    "castle": "white",
    "windmill": "white",
    "astronaut": "white",
    "horse": "brown",
    "rider": "brown",
    "bird": "white",
    "whale": "blue",
    "train": "red",
    "cat": "orange",
}
GREY_STYLES = ("pencil", "charcoal")  # nobody can see a colour in these

# what can be read from a picture or a caption; of two things, first is the left one
NOTHING = "nothing"
ATTRIBUTES = {
    "place": PLACES,
    "time": TIMES,
    "weather": WEATHERS,
    "style": STYLES,
    "first": (*SUBJECTS, NOTHING),
    "first colour": COLOURS,
    "second": (*SUBJECTS, NOTHING),
    "second colour": COLOURS,
    "count": (1, 2, 3),
    "side": SIDES,
}


@dataclass(frozen=True)
class Thing:
    """So many of a subject, all in one colour; side is where one alone stands, several are spread from left to
    right."""

    subject: str
    colour: str
    count: int = 1
    side: str = "middle"

    def __post_init__(self):
        known("subject", self.subject, SUBJECTS)
        known("colour", self.colour, COLOURS)
        known("count", self.count, (1, 2, 3))
        known("side", self.side, SIDES)


@dataclass(frozen=True)
class Scene:
    """A place, a time, a weather, a style, and no, one or two things: of two, the first is on the left, one of each."""

    place: str
    time: str
    weather: str
    style: str
    things: tuple[Thing, ...] = ()
    seed: int = 0

    def __post_init__(self):
        known("place", self.place, PLACES)
        known("time", self.time, TIMES)
        known("weather", self.weather, WEATHERS)
        known("style", self.style, STYLES)
        if len(self.things) > 2:
            raise SdscopeError(f"a scene has at most two things, not {len(self.things)}")
        if len(self.things) == 2 and [(t.count, t.side) for t in self.things] != [(1, "left"), (1, "right")]:
            raise SdscopeError("of two things, the first must be one on the left, the second one on the right")

    @classmethod
    def random(cls, seed: int) -> "Scene":
        """Attributes drawn evenly, but half of the skies clear; one scene in ten is empty, three in ten hold two
        things."""
        rng = np.random.default_rng(seed)
        pick = lambda words: str(words[rng.integers(len(words))])
        place, time, style = pick(PLACES), pick(TIMES), pick(STYLES)
        weather = "clear" if rng.random() < 0.5 else pick(WEATHERS[1:])
        subjects = [str(s) for s in rng.permutation(SUBJECTS)[:2]]
        colours = [USUAL[s] if rng.random() < 0.3 else pick(COLOURS) for s in subjects]
        kind = rng.random()
        if kind < 0.1:
            things: tuple[Thing, ...] = ()
        elif kind < 0.4:
            things = tuple(Thing(s, c, 1, side) for s, c, side in zip(subjects, colours, ("left", "right")))
        elif kind < 0.6:
            things = (Thing(subjects[0], colours[0], int(rng.integers(2, 4))),)
        else:
            things = (Thing(subjects[0], colours[0], 1, pick(SIDES)),)
        return cls(place, time, weather, style, things, seed)

    @classmethod
    def for_training(cls, seed: int) -> "Scene":
        """The first scene that is not held out, of the endless row that belongs to this seed."""
        while (scene := cls.random(seed)).held_out:
            seed += 2**40
        return scene

    @property
    def held_out(self) -> bool:
        """Kept out of training, so that we can ask for what nobody has ever shown the model.

        One in ten of all (subject, place, style), and one in ten of all (colour, subject, colour, subject);
        of the latter a pair is held out in both orders, and a subject on the left as well as on the right.
        """
        if any(
            tenth(SUBJECTS.index(t.subject), PLACES.index(self.place), STYLES.index(self.style)) for t in self.things
        ):
            return True
        if len(self.things) < 2:
            return False
        (s1, c1), (s2, c2) = sorted((SUBJECTS.index(t.subject), COLOURS.index(t.colour)) for t in self.things)
        return tenth(s1, c1, s2, c2)


def attributes(scene: Scene) -> dict:
    """What is to be read of a scene, by the names of ATTRIBUTES; None where there is nothing to be read.

    Count and side are read where there is one kind of thing, side where it is alone; colours not in grey styles.
    """
    first, second = (*scene.things, None, None)[:2]
    colour = lambda thing: thing.colour if thing and scene.style not in GREY_STYLES else None
    subject = lambda thing: thing.subject if thing else NOTHING
    single = first if first and not second else None
    return {
        "place": scene.place,
        "time": scene.time,
        "weather": scene.weather,
        "style": scene.style,
        "first": subject(first),
        "first colour": colour(first),
        "second": subject(second),
        "second colour": colour(second),
        "count": single.count if single else None,
        "side": single.side if single and single.count == 1 else None,
    }


def labels(scene: Scene) -> list[int]:
    """The same as numbers, in the order of ATTRIBUTES; -100, which cross entropy ignores, where there is nothing."""
    read = attributes(scene)
    return [-100 if read[name] is None else words.index(read[name]) for name, words in ATTRIBUTES.items()]


def tenth(*numbers):
    """True for one in ten of all tuples of small numbers, without a pattern: bits are mixed as in MurmurHash3."""
    h = 0
    for n in numbers:
        h = (h * 31 + n + 1) & 0xFFFFFFFF
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = ((h ^ h >> shift) * factor) & 0xFFFFFFFF
    return (h ^ h >> 16) % 10 == 0


def known(what, value, words):
    if value not in words:
        raise SdscopeError(f"no {what} {value!r}: it must be one of {', '.join(map(str, words))}")
