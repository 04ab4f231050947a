"""Captions: what a scene is called, in the many ways people ask for a picture."""
import numpy as np

from .painter import USUAL, Scene

# how each attribute is named: as an item of a list, and inside a sentence
PLACE_LIST = {
    "sea": ("the sea", "sea", "ocean", "the ocean", "seaside"),
    "mountains": ("mountains", "the mountains", "mountain landscape"),
    "desert": ("desert", "the desert", "sand dunes"),
    "field": ("green field", "a green field", "meadow", "countryside"),
    "city": ("city", "the city", "city skyline", "a town"),
    "snow": ("snow", "the snow", "winter landscape", "snowy landscape"),
}
PLACE_PHRASE = {
    "sea": ("by the sea", "on the sea", "at sea", "in the ocean", "over the sea"),
    "mountains": ("in the mountains", "over the mountains", "in front of mountains"),
    "desert": ("in the desert", "in a sandy desert", "over the desert"),
    "field": ("in a green field", "on a meadow", "in the countryside", "over green hills"),
    "city": ("in the city", "in a town", "over the city"),
    "snow": ("in the snow", "in winter", "in a snowy landscape"),
}
TIME_LIST = {
    "sunrise": ("sunrise", "dawn", "early morning"),
    "day": ("day", "daylight", "noon", "sunny day"),
    "sunset": ("sunset", "dusk", "evening"),
    "night": ("night", "moonlight", "starry night"),
}
TIME_PHRASE = {
    "sunrise": ("at sunrise", "at dawn", "in the early morning"),
    "day": ("during the day", "at noon", "on a sunny day"),
    "sunset": ("at sunset", "at dusk", "in the evening"),
    "night": ("at night", "in the moonlight", "under the stars"),
}
SUBJECT = {
    "ship": ("ship", "sailing ship", "boat", "sailboat"), "lighthouse": ("lighthouse",), "house": ("house", "cottage"), "tree": ("tree",),
    "balloon": ("hot air balloon", "balloon"), "rocket": ("rocket", "spaceship"), "castle": ("castle",), "windmill": ("windmill",),
}
STYLE = {
    "oil": ("painting", "oil painting"),
    "watercolor": ("watercolor", "watercolor painting", "watercolour"),
    "vector": ("flat vector illustration", "vector art", "flat illustration"),
    "pixel": ("pixel art", "8-bit pixel art"),
    "pencil": ("pencil sketch", "pencil drawing", "sketch"),
}
PRAISE = ("best quality", "highly detailed", "beautiful", "masterpiece", "trending on artstation")


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One of many true captions of a scene.

    The style, the place and the time are each left out now and then; an unusual colour of the
    subject is always named (except in pencil, which has none), the usual one half of the time.
    """
    pick = lambda words: str(words[rng.integers(len(words))])
    keep = lambda: rng.random() < 0.92
    style = pick(STYLE[scene.style]) if keep() else ""
    subject = ""
    if scene.subject != "nothing":
        unusual = scene.colour != USUAL[scene.subject]
        named = scene.style != "pencil" and (unusual or rng.random() < 0.5)
        subject = (scene.colour + " " if named else "") + pick(SUBJECT[scene.subject])
    listed = rng.random() < 0.5
    place = pick((PLACE_LIST if listed else PLACE_PHRASE)[scene.place]) if keep() else ""
    time = pick((TIME_LIST if listed else TIME_PHRASE)[scene.time]) if keep() else ""
    text = listing(style, subject, place, time, rng) if listed else sentence(style, subject, place, time, rng)
    if rng.random() < 0.15:
        text += "".join(f", {word}" for word in rng.choice(PRAISE, 2, replace=False))
    return text.lstrip(", ") or style


def listing(style, subject, place, time, rng):
    """painting depicting the sea, sunrise, ship"""
    items = [item for item in (subject, place, time) if item]
    rng.shuffle(items)
    if style and rng.random() < 0.5:
        link = " depicting " if rng.random() < 0.5 else (" of " if rng.random() < 0.5 else ", ")
        return style + link + ", ".join(items) if items else style
    return ", ".join(items + [style] if style else items)


def sentence(style, subject, place, time, rng):
    """a watercolor of a red boat on the sea at night"""
    what = " ".join(word for word in (with_article(subject) if subject else "a landscape", place, time) if word)
    if not style:
        return what
    if rng.random() < 0.5:
        return f"{what}, {style}"
    return (f"{style} of {what}") if rng.random() < 0.5 else f"{with_article(style)} of {what}"


def with_article(words):
    return ("an " if words[0] in "aeiou8" else "a ") + words
