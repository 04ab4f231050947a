"""The words of figures in Japanese. ja.po has an entry for each; where a number stands, it has a name in braces."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from babel.messages.pofile import read_po
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

with matplotlib.rc_context():  # what it imports would be the font of all figures
    import matplotlib_fontja

CATALOGUE = Path(__file__).with_name("ja.po")
FONT = matplotlib_fontja.matplotlib_fontja.FONT_NAME
BOLD = 0.05  # of the size of a letter
NUMBER = r"[-−]?\d[\d.,]*(?:e[-+]\d+)?%?(?: × \d+)*"
TEXTS = ("model", "prompt", "word", "words")  # names in braces for what is no number


@functools.cache
def catalogue() -> list[tuple[str | None, re.Pattern[str], str]]:
    """[(the figure that an entry is for, or None for all of them; in English; in Japanese)], the closest first"""
    with CATALOGUE.open("rb") as file:
        entries = [message for message in read_po(file, locale="ja") if message.id]
    entries.sort(key=lambda entry: (entry.context is None, "{" in entry.id))
    return [(entry.context, pattern(str(entry.id)), str(entry.string)) for entry in entries]


def pattern(english: str) -> re.Pattern[str]:
    """ "{n} steps" -> what "25 steps" matches, with 25 as n"""
    parts = re.split(r"\{(\w+)\}", english)
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = [f"(?P<{name}>{'.+' if name in TEXTS else NUMBER})" for name in parts[1::2]]
    return re.compile("".join(parts), re.S)


def japanese(english: str, figure: str) -> str | None:
    """None: the catalogue has no entry. figure: its name, without suffix"""
    for of, entry, said in catalogue():
        if of in (None, figure) and (match := entry.fullmatch(english)):
            return said.format(**match.groupdict())
    return None


def translate(texts: list[Text], figure: str, prompt: str) -> dict[str, str | None]:
    """{English: Japanese} of a figure; what belongs to its prompt, code and numbers say the same in both."""
    code = {text.get_text() for text in texts if "Mono" in " ".join(text.get_fontfamily())}
    english = {text.get_text() for text in texts}
    return {text: text if text in code or stays(text, prompt) else say(text, figure, prompt) for text in english}


def stays(text: str, prompt: str) -> bool:
    """Has it no word but code and what was asked for?"""
    asked = re.findall("[a-z]+", prompt.lower())
    words = re.findall(r"[A-Za-z][\w.]*", text)
    return all(len(word) == 1 or re.search(r"[\d_.]", word) or word.lower() in asked for word in words)


def say(text: str, figure: str, prompt: str) -> str | None:
    piece = text.strip("“”").lower() in prompt.lower()  # a token may be a part of a word
    return japanese(text, figure) or (text if piece else None)


@contextmanager
def in_japanese(texts: list[Text], said: dict[str, str | None]) -> Iterator[bool]:
    """They are in Japanese as long as it lasts; -> is anything otherwise? Letters of both keep a font of their own."""
    changed = [text for text in texts if said[text.get_text()] not in (text.get_text(), None)]
    look = ("text", "fontfamily", "fontweight", "path_effects")
    before = [{what: getattr(text, f"get_{what}")() for what in look} for text in changed]
    for text in changed:
        if text.get_fontweight() == "bold":  # the font has no such letters: they are drawn thicker
            stroke = withStroke(linewidth=BOLD * float(text.get_fontsize()), foreground=text.get_color())
            text.set(fontweight="normal", path_effects=[stroke])
        text.set(text=said[text.get_text()], fontfamily=[*text.get_fontfamily(), FONT])
    try:
        yield bool(changed)
    finally:
        for text, was in zip(changed, before):
            text.set(**was)
