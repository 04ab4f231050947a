"""What the Japanese deck still owes the English one, slide by slide.

python tools/parity.py                        # exit status 1 if there is anything
python tools/parity.py --accept 06_denoise 4  # slide 4 of that page says what the English one says now; no number: all

Each Japanese slide has in its headmatter the hash of the English one that it was made from, README.ja.md on its last
line. Beside the words a translation is built like what it translates: the same components, code, formulas, styles.
"""

import argparse
import hashlib
import re
import sys
from collections import Counter
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from notes import labels, seconds
from sdscope import files
from sources import SLIDE

ROOT = Path(__file__).parents[1]
MADE_FROM = re.compile(r"\n?^(?:<!-- )?english: (\w{8})(?: -->)?$", re.M)

# Words in headmatter (`info: |` goes on below), what it has for a language, and words in what is told to components
HEAD_WORDS = re.compile(
    r"^ *(?:kicker|title|info|author|keywords|ogTitle|ogDescription|lang|addons|notesAutoRuby):.*(?:\n  .*)*", re.M
)
TOLD = re.compile(r'( :?(?:title|by|alt|label|say)=")([^"]*)')
STRESS = re.compile(r"</|<(?:b|i|em|strong|code|sub|sup|br|wbr)\b")  # how a sentence stresses is its own affair
BLOCK = re.compile(r"<style>.*?</style>|^\$\$.*?^\$\$", re.M | re.S)
PART = re.compile(
    r"<style>.*|^\$\$.*|^<<<.*|^```.*|^::\w+::|^#+ |^- |<(?:\"[^\"]*\"|[^\">])+>|\]\([^)]*\)|\$[^$]+\$", re.M
)
NOTE = re.compile(r"<!--(.*?)-->", re.S)


class Slide(NamedTuple):
    head: str
    body: str

    @property
    def title(self):
        found = re.search(r"^# (.*)", self.body, re.M)
        return found[1] if found else "no title"

    @property
    def made_from(self):
        found = MADE_FROM.search(self.head)
        return found and found[1]


def slides(path):
    return [Slide(*found) for found in SLIDE.findall(path.read_text())] if path.exists() else []


def digest(text):
    """Without the targets of links: they are compared as they are, and `make address` changes some"""
    return hashlib.sha256(re.sub(r"\]\([^)]*\)", "]", text.strip()).encode()).hexdigest()[:8]


def digests(english):
    return [digest(f"{head}\n{body}") for head, body in english]


def pairs(english, japanese):
    """[(English, Japanese), ...]: which slides belong together, by their places; None where one has no other"""
    matcher = SequenceMatcher(None, digests(english), [slide.made_from for slide in japanese], autojunk=False)
    for _, i, i_end, j, j_end in matcher.get_opcodes():
        yield from zip_longest(range(i, i_end), range(j, j_end))


def parts(slide):
    """All of a slide that is no words. In order; but within a line sorted, because sentences are built otherwise"""
    head = HEAD_WORDS.sub("", MADE_FROM.sub("", slide.head)).replace("/pages/ja/", "/pages/en/")
    found = sorted(line for line in head.splitlines() if line)
    text = BLOCK.sub(lambda block: block[0].replace("\n", " "), NOTE.sub("", slide.body))
    for line in re.sub(r"\\text\{[^}]*\}", "", text).splitlines():
        tags = (part for part in PART.findall(line) if not STRESS.match(part))
        found += sorted(TOLD.sub(lambda told: told[1] + "…" * (told[2].count("', '") + 1), tag) for tag in tags)
    return found + [f"note: {seconds(note)} s, {', '.join(labels(note))}" for note in NOTE.findall(slide.body)]


def differences(english, japanese):
    """How a slide is built otherwise"""
    theirs, ours = parts(english), parts(japanese)
    less, more = Counter(theirs) - Counter(ours), Counter(ours) - Counter(theirs)
    if less:
        yield f"has no {' '.join(less.elements())}"
    if more:
        yield f"has {' '.join(more.elements())}, the English one not"
    if ours != theirs and not less and not more:
        yield "has its parts in another order"


def owed(root=ROOT):
    """What is to be done: a line for each fault"""
    english, japanese = ({path.stem for path in (root / "slides/pages" / of).glob("*.md")} for of in ("en", "ja"))
    for page in sorted(english | japanese):
        theirs, ours = (slides(root / "slides/pages" / of / f"{page}.md") for of in ("en", "ja"))
        hashes = digests(theirs)
        for i, j in pairs(theirs, ours):
            if j is None:
                yield f"{page}: English slide {i + 1} is missing: {theirs[i].title}"
                continue
            where = f"{page} {j + 1}, {ours[j].title}"
            if i is None:
                yield f"{where}: there is no such English slide"
                continue
            if ours[j].made_from != hashes[i]:
                yield f"{where}: out of date, English slide {i + 1} has changed: {theirs[i].title}"
            yield from (f"{where}: {what}" for what in differences(theirs[i], ours[j]))
    for theirs, ours in zip_longest(
        slides(root / "slides.en.md"), slides(root / "slides.ja.md"), fillvalue=Slide("", "")
    ):
        yield from (f"slides.ja.md: {what}" for what in differences(theirs, ours))
    made_from = MADE_FROM.findall((root / "README.ja.md").read_text())
    if made_from != [digest((root / "README.md").read_text())]:
        yield "README.ja.md: out of date, README.md has changed"


def accept(page, numbers=(), root=ROOT):
    """Writes down that these Japanese slides, or all of the page, say what the English ones say now"""
    if page == "README":
        path = root / "README.ja.md"
        text = MADE_FROM.sub("", path.read_text()).rstrip()
        return files.write(path, f"{text}\n\n<!-- english: {digest((root / 'README.md').read_text())} -->\n")
    path = root / f"slides/pages/ja/{page}.md"
    theirs, ours = slides(root / f"slides/pages/en/{page}.md"), slides(path)
    if not ours:
        sys.exit(f"there is no slides/pages/ja/{page}.md: give the name of a page, such as 06_denoise, or README")
    english = {j: i for i, j in pairs(theirs, ours) if i is not None}
    for no in numbers or range(1, len(ours) + 1):
        if no - 1 not in english:
            sys.exit(f"{page}: there is no English slide for slide {no}, see python tools/parity.py")
        head, body = ours[no - 1]
        made_from = f"english: {digests(theirs)[english[no - 1]]}"
        ours[no - 1] = Slide(f"{MADE_FROM.sub('', head)}\n{made_from}".strip(), body)
    return files.write(path, "".join(f"---\n{head}\n---\n{body}" for head, body in ours))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accept", nargs="+", metavar=("PAGE", "NUMBER"), help="06_denoise 4 5, or README")
    given = parser.parse_args().accept
    if given:
        accept(given[0], [int(no) for no in given[1:]])
    lines = list(owed())
    print("\n".join(lines) or "The Japanese deck is up to date.")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
