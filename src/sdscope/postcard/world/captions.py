"""Captions: what a scene is called, in the many ways people ask for a picture."""

from itertools import islice

import numpy as np

from .scene import GREY_STYLES, USUAL, Scene, Thing

# how each attribute is named: as an item of a list, and inside a sentence
PLACE_LIST = {
    "sea": ("the sea", "sea", "ocean", "the ocean", "seaside"),
    "mountains": ("mountains", "the mountains", "mountain landscape"),
    "desert": ("desert", "the desert", "sand dunes"),
    "field": ("green field", "a green field", "meadow", "countryside", "green hills"),
    "city": ("city", "the city", "city skyline", "a town", "street"),
    "snow": ("snow", "the snow", "winter landscape", "snowy landscape"),
    "forest": ("forest", "the forest", "woods", "a forest clearing"),
}
PLACE_PHRASE = {
    "sea": ("by the sea", "on the sea", "at sea", "in the ocean", "over the sea"),
    "mountains": ("in the mountains", "in front of mountains", "near the mountains"),
    "desert": ("in the desert", "in a sandy desert", "among sand dunes"),
    "field": ("in a green field", "on a meadow", "in the countryside", "among green hills"),
    "city": ("in the city", "in a town", "on a street"),
    "snow": ("in the snow", "in winter", "in a snowy landscape"),
    "forest": ("in the forest", "in the woods", "in a forest clearing"),
}
TIME_LIST = {
    "sunrise": ("sunrise", "dawn", "early morning"),
    "day": ("day", "daylight", "noon", "daytime"),
    "sunset": ("sunset", "dusk", "evening"),
    "night": ("night", "nighttime", "late at night"),
}
TIME_PHRASE = {
    "sunrise": ("at sunrise", "at dawn", "in the early morning"),
    "day": ("during the day", "at noon", "in daylight"),
    "sunset": ("at sunset", "at dusk", "in the evening"),
    "night": ("at night", "by night", "late at night"),
}
# only true under a clear sky, so they say that as well
CLEAR_TIME_LIST = {"sunrise": (), "day": ("sunny day",), "sunset": (), "night": ("starry night", "moonlight")}
CLEAR_TIME_PHRASE = {
    "sunrise": (),
    "day": ("on a sunny day",),
    "sunset": (),
    "night": ("under the stars", "in the moonlight"),
}
WEATHER_LIST = {
    "clear": ("clear sky", "clear weather"),
    "clouds": ("clouds", "cloudy sky", "cloudy"),
    "rain": ("rain", "rainy weather", "raining"),
    "fog": ("fog", "mist", "foggy"),
    "storm": ("storm", "thunderstorm", "lightning"),
}
WEATHER_PHRASE = {
    "clear": ("under a clear sky", "in clear weather"),
    "clouds": ("under a cloudy sky", "under the clouds", "with clouds in the sky"),
    "rain": ("in the rain", "in rainy weather", "while it rains"),
    "fog": ("in the fog", "in the mist", "in dense fog"),
    "storm": ("in a storm", "in a thunderstorm", "in stormy weather"),
}
# one of them, several of them
SUBJECT = {
    "ship": (("ship", "ships"), ("sailing ship", "sailing ships"), ("boat", "boats"), ("sailboat", "sailboats")),
    "lighthouse": (("lighthouse", "lighthouses"),),
    "house": (("house", "houses"), ("cottage", "cottages")),
    "tree": (("tree", "trees"),),
    "balloon": (("hot air balloon", "hot air balloons"), ("balloon", "balloons")),
    "rocket": (("rocket", "rockets"), ("spaceship", "spaceships")),
    "castle": (("castle", "castles"),),
    "windmill": (("windmill", "windmills"),),
    "astronaut": (("astronaut", "astronauts"), ("spaceman", "spacemen")),
    "horse": (("horse", "horses"),),
    "rider": (
        ("astronaut riding a {}horse", "astronauts riding {}horses"),
        ("astronaut on a {}horse", "astronauts on {}horses"),
    ),
    "bird": (("bird", "birds"), ("flying bird", "flying birds")),
    "whale": (("whale", "whales"),),
    "train": (("train", "trains"), ("steam train", "steam trains"), ("locomotive", "locomotives")),
    "cat": (("cat", "cats"),),
}
COUNT = {2: ("two", "two", "2", "a pair of", "a couple of"), 3: ("three", "three", "3")}
COLOUR = {"yellow": ("yellow", "yellow", "golden"), "purple": ("purple", "purple", "violet")}
SIDE = {
    "left": ("on the left", "on the left side"),
    "middle": ("in the middle", "in the centre", "in the center"),
    "right": ("on the right", "on the right side"),
}
# what something can be, as in "a watercolor of ..."; the first of each is what Postcard is asked for
STYLE = {
    "oil": ("oil painting", "painting", "painting", "oil on canvas painting"),
    "watercolor": ("watercolor", "watercolor painting", "watercolour", "watercolour painting"),
    "vector": ("flat vector illustration", "vector illustration", "flat illustration", "illustration", "vector art"),
    "pixel": ("pixel art", "8-bit pixel art", "pixel art picture"),
    "pencil": ("pencil sketch", "pencil drawing", "sketch", "drawing"),
    "charcoal": ("charcoal drawing", "charcoal sketch"),
    "ukiyo-e": ("ukiyo-e print", "japanese woodblock print", "woodblock print"),
    "stained glass": ("stained glass window", "stained glass picture"),
    "cyberpunk": ("cyberpunk picture", "cyberpunk scene", "cyberpunk art"),
    "photograph": ("photograph", "photo", "color photograph"),
}
# what can be said of it at the end
STYLE_TAG = {
    "oil": ("oil on canvas", "in oils"),
    "watercolor": ("in watercolor", "aquarelle"),
    "vector": ("flat design", "vector graphics"),
    "pixel": ("in pixel art style", "8-bit"),
    "pencil": ("in pencil",),
    "charcoal": ("charcoal", "in charcoal"),
    "ukiyo-e": ("ukiyo-e", "in the style of ukiyo-e", "in ukiyo-e style"),
    "stained glass": ("stained glass", "in stained glass"),
    "cyberpunk": ("cyberpunk", "cyberpunk style", "neon lights", "in cyberpunk style"),
    "photograph": ("photography", "photorealistic"),
}
# what a picture is when nobody says in which style
UNNAMED = ("oil", "vector", "photograph")
PRAISE = ("best quality", "highly detailed", "beautiful", "masterpiece", "trending on artstation", "award winning")


def prompt(scene: Scene) -> str:
    """The one caption that leaves nothing out: "oil painting of a red ship on the left at sea at night in the rain"."""
    first = lambda words: words[0]
    words = (
        things_named(scene, first, colour=lambda t: True, side=lambda: True) or "a landscape",
        PLACE_PHRASE[scene.place][0],
        TIME_PHRASE[scene.time][0],
    )
    weather = () if scene.weather == "clear" else (WEATHER_PHRASE[scene.weather][0],)
    return f"{STYLE[scene.style][0]} of {' '.join(words + weather)}"


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One of many true captions of a scene.

    The style, the place, the time and the weather are each left out now and then, the style only of UNNAMED ones: so
    who asks for none gets a picture in colour. An unusual colour is always named (except in pencil and charcoal, which
    have none), the usual one half of the time.
    """
    pick = lambda words: words[rng.integers(len(words))]
    chance = lambda p: rng.random() < p
    style = (
        ""
        if chance(0.25 if scene.style in UNNAMED else 0)
        else pick(STYLE_TAG[scene.style] if chance(0.2) else STYLE[scene.style])
    )
    listed = chance(0.5)
    things = things_named(
        scene, pick, colour=lambda t: t.colour != USUAL[t.subject] or chance(0.5), side=lambda: chance(0.4)
    )
    place = "" if chance(0.08) else pick((PLACE_LIST if listed else PLACE_PHRASE)[scene.place])
    times = (TIME_LIST if listed else TIME_PHRASE)[scene.time]
    if scene.weather == "clear":
        times += (CLEAR_TIME_LIST if listed else CLEAR_TIME_PHRASE)[scene.time]
    time = "" if chance(0.08) else pick(times)
    weather = (
        pick((WEATHER_LIST if listed else WEATHER_PHRASE)[scene.weather])
        if chance(0.12 if scene.weather == "clear" else 0.88)
        else ""
    )
    text = (listing if listed else sentence)(style, things, place, time, weather, rng, of=style in STYLE[scene.style])
    if chance(0.15):
        text += "".join(f", {word}" for word in rng.choice(PRAISE, 2, replace=False))
    return text.lstrip(", ") or "a picture"


def suggestions(tokenizer, count=64, tries=4_000) -> list[str]:
    """Captions in which this tokenizer knows every word: for readers without an idea of their own"""
    texts = (caption(Scene.random(seed), np.random.default_rng(seed)) for seed in range(tries))
    known = (text for text in texts if all(piece.endswith("</w>") for piece in tokenizer.tokenize(text)))
    return list(islice(known, count))


def things_named(scene, pick, colour, side):
    """A phrase for all that stands there, with articles; empty for an empty scene."""
    coloured = scene.style not in GREY_STYLES
    names = [named(thing, pick, coloured and colour(thing)) for thing in scene.things]
    if not names:
        return ""
    if len(names) == 1:
        alone = scene.things[0].count == 1 and side()
        return f"{names[0]} {pick(SIDE[scene.things[0].side])}" if alone else names[0]
    left, right = names
    return pick(
        (
            f"{left} to the left of {right}",
            f"{left} and {right}",
            f"{left} and {right}",
            f"{right} to the right of {left}",
            f"{left} on the left and {right} on the right",
            f"{left} on the left of {right}",
            f"{right} on the right of {left}",
            f"{left} next to {right}",
            f"{right} beside {left}",
        )
    )


def named(thing: Thing, pick, with_colour):
    """a red ship; two blue houses; an astronaut riding a white horse"""
    colour = pick(COLOUR.get(thing.colour, (thing.colour,))) + " " if with_colour else ""
    words = pick(SUBJECT[thing.subject])[thing.count > 1]
    words = (
        words.format(colour).replace(" a orange", " an orange") if "{}" in words else colour + words
    )  # of a rider, the horse's
    return with_article(words) if thing.count == 1 else f"{pick(COUNT[thing.count])} {words}"


def listing(style, things, place, time, weather, rng, of):
    """painting depicting the sea, sunrise, ship"""
    if rng.random() < 0.5:
        for article in ("a ", "an "):
            things = things.removeprefix(article)
    items = [item for item in (things, place, time, weather) if item]
    rng.shuffle(items)
    if of and items and rng.random() < 0.5:
        return style + (" depicting ", " of ", ", ")[rng.integers(3)] + ", ".join(items)
    return ", ".join(items + [style] if style else items)


def sentence(style, things, place, time, weather, rng, of):
    """a watercolor of a red boat on the sea at night in the rain"""
    when = [time, weather] if rng.random() < 0.7 else [weather, time]
    what = " ".join(word for word in (things or "a landscape", place, *when) if word)
    if not style:
        return what
    if not of or rng.random() < 0.4:
        return what + (" " if style.startswith("in ") and rng.random() < 0.5 else ", ") + style
    bare = style.endswith("art") or rng.random() < 0.5
    return f"{style if bare else with_article(style)} of {what}"


def with_article(words):
    return ("an " if words[0] in "aeio8" else "a ") + words
