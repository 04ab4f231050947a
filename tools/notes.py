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


def for_readers(note, clicks=0, told=False):
    """What the speaker says as paragraphs, and as a list where something comes click by click.

    What is for the speaker alone is left out: minutes, keys, where a click does nothing, the last of so many `clicks`,
    which shows all. told: the slide says already what each click brings; of that, only what goes beyond is kept.
    """
    words = next(words for words in LANGUAGES if note.strip().startswith(words["say"]))
    say, click, each, keys, questions = (words[name] for name in ("say", "click", "each", "keys", "questions"))
    found: list = []
    for paragraph in re.split(r"\n\s*\n", note.strip()):
        if re.match(rf"(?:{click}|{keys}):", paragraph):
            continue
        text = re.sub(rf"^{say}(?: ?\([^)]*\))?: ?(?:{questions} ?)?", "", paragraph)
        text, *labelled = re.split(rf"({each}|{click} \d): ?", text)
        items, after = [], []
        for label, said in zip(labelled[::2], labelled[1::2]):
            sentence, rest = re.match(r"(.*?(?:[.!?](?!\S)|。|$))\s*(.*)", said.strip(), re.S).groups()
            if told:
                after.append(rest)
            elif label == each:
                items += re.split(r"; | → ", sentence.rstrip(".。"))
                after.append(rest)
            else:
                items.append(said.strip())
        if items and found and isinstance(found[-1], list) and not text.strip():
            found[-1] += items
        else:
            found += [part for part in (text.strip(), items) if part]
        found += [" ".join(filter(None, after)).replace("。 ", "。")] if any(after) else []
    return [part[:-1] if isinstance(part, list) and len(part) == clicks else part for part in found]
