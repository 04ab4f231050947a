"""The labels in the speaker's notes, in each language of the deck: slides/notes.json has them."""

import json
import re
from pathlib import Path

LANGUAGES = json.loads((Path(__file__).parents[1] / "slides/notes.json").read_text()).values()
SAY = r"{say} ?\((?:(\d+) {minutes})? ?(?:(\d+) {seconds})?\):"
LABEL = (
    r"(?P<say>{say})(?: ?\([^)]*\))?:|(?P<each>{each}):|(?P<clicks>{click}):|{click} (?P<click>\d):|(?P<keys>{keys}):"
)


def seconds(note):
    """How long the speaker talks; 0 where the note does not say it"""
    for words in LANGUAGES:
        if said := re.search(SAY.format(**words), note):
            return 60 * int(said[1] or 0) + int(said[2] or 0)
    return 0


def labels(note):
    """["say", "click 1", "click 2", "keys"]: the labels in the order in which they stand, whatever the language"""
    found = [match for words in LANGUAGES for match in re.finditer(LABEL.format(**words), note)]
    return [f"click {match['click']}" if match["click"] else match.lastgroup for match in found]
