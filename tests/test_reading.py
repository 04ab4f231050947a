"""The pages to read beside the built deck: all slides in one column, and every notebook as it ran."""

import html
import json
import re
from html.parser import HTMLParser

import nbformat
import pytest
from conftest import ROOT, needs_deck
from test_deck import region

from notes import LANGUAGES, for_readers, labels
from reading.notebooks import PICTURES
from sources import INCLUDE, pages, slides

DIST = ROOT / "dist"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = ["read.html", *(f"notebooks/{path.stem}.html" for path in NOTEBOOKS)]
EVERY = pytest.mark.parametrize("name", NAMES)
NOTES = [
    note
    for language in ("en", "ja")
    for page in sorted((ROOT / "slides/pages" / language).glob("*.md"))
    for note in re.findall(r"<!--(.*?)-->", page.read_text(), re.S)
]


class Page(HTMLParser):
    """tags: [(name, attributes), ...]; headings: [(level, text), ...]"""

    def __init__(self, name):
        super().__init__()
        self.tags, self.headings, self.inside = [], [], None
        self.text = (DIST / name).read_text()
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if re.fullmatch(r"h\d", tag):
            self.inside = int(tag[1])
            self.headings.append((self.inside, ""))

    def handle_endtag(self, tag):
        self.inside = None if re.fullmatch(r"h\d", tag) else self.inside

    def handle_data(self, text):
        if self.inside:
            self.headings[-1] = (self.inside, self.headings[-1][1] + text)

    def ids(self):
        return [attrs["id"] for _, attrs in self.tags if "id" in attrs]


def sections():
    """{number: HTML of a slide}, in the order of the page"""
    parts = re.split(r'<(?:section|header)[^>]* id="(\d+)"', (DIST / "read.html").read_text())
    return dict(zip(map(int, parts[1::2]), parts[2::2], strict=True))


def plain(markup):
    return html.unescape(re.sub(r"<[^>]+>", "", markup))


def test_notes_are_edited_for_readers():
    """Something is left of each, and nothing that is for the speaker alone"""
    for note in NOTES:
        for told in (False, True):
            found = [
                text for part in for_readers(note, told=told) for text in ([part] if isinstance(part, str) else part)
            ]
            assert found and all(found) and labels("\n".join(found)) == [], note
            assert not any(words["questions"] in text for words in LANGUAGES for text in found)


def test_clicks_become_a_list_and_the_last_one_which_shows_all_goes():
    note = "Say (20 seconds): First. Two.\n\nClick 1: one. More.\n\nClick 2: two. Click 3: both.\n\nKeys: p plays."
    assert for_readers(note, clicks=3) == ["First. Two.", ["one. More.", "two."]]
    assert for_readers(note, told=True) == ["First. Two.", "More."]
    assert for_readers("Say: For questions. It is so.\n\nClick on: a; b, c; d. And e.") == [
        "It is so.",
        ["a", "b, c", "d"],
        "And e.",
    ]


@needs_deck
def test_every_slide_is_there_once_and_in_order():
    page = Page("read.html")
    titles = [title for title, _ in slides()]
    assert [id for id in page.ids() if id.isdigit()] == [str(no) for no in range(1, len(titles) + 1)]
    headings = [re.search(r"<h([123])>(.*?)</h\1>", text)[2] for text in sections().values()]
    assert [heading for heading, title in zip(headings, titles) if not html.unescape(heading).endswith(title)] == []


@needs_deck
def test_what_a_slide_shows_and_what_is_said_is_there():
    """Its code, letter by letter, its figures, and the words of its notes"""
    texts = [text for page in pages() for text in re.findall(r"<!--(.*?)-->", page.read_text(), re.S)]
    for (title, text), note, made in zip(slides(), texts, sections().values(), strict=True):
        blocks = [plain(re.sub(r'<b class="mark".*?</b>', "", pre)) for pre in re.findall(r"<pre.*?</pre>", made, re.S)]
        for path, anchor, *_ in INCLUDE.findall(text):
            file = ROOT / path.removeprefix("@/")
            lines = region(file, anchor[1:]) if anchor else file.read_text().splitlines()
            margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
            assert "\n".join(line[margin:] for line in lines).rstrip() in blocks, (title, path)
        for figure in re.findall(r'<Figure\b[^>]* name="([^"]+)"', text):
            assert f'src="figures/{figure}"' in made, title
        said = plain(made.partition('class="said"')[2])
        words = re.sub(r"[`*]", "", next(part for part in for_readers(note) if isinstance(part, str)))
        assert words.split(".")[0] in said, title


@needs_deck
@EVERY
def test_links_lead_somewhere_and_nothing_comes_from_elsewhere(name):
    page, here = Page(name), (DIST / name).parent
    ids = {}
    for tag, attrs in page.tags:
        assert tag not in {"script", "iframe", "object", "embed"}
        for attribute in {"href", "src", "srcset", "xlink:href"} & set(attrs):
            target = attrs[attribute]
            if "://" in target:
                assert (tag, attribute) == ("a", "href") and target.startswith("https://"), target
                continue
            path, _, place = target.partition("#")
            file = (here / path).resolve() if path else DIST / name
            file = file / "index.html" if file.is_dir() else file
            assert file.is_relative_to(DIST.resolve()) and file.is_file(), target
            if place.startswith("/"):
                assert place == "/lab" or 1 <= int(place[1:]) <= len(slides()), target
            elif place:
                ids.setdefault(file, re.findall(r'\bid="([^"]+)"', file.read_text()))
                assert place in ids[file], target
    assert not re.findall(r"url\(\s*[\"']?(?:https?:)?//", page.text)


@needs_deck
def test_the_style_sheet_brings_the_fonts_of_the_deck_and_asks_nobody_else():
    text = (DIST / "read.css").read_text()
    urls = [url for url in re.findall(r"url\([\"']?([^)\"']+)", text) if not url.startswith("data:")]
    assert urls and [url for url in urls if not (DIST / url).is_file()] == []
    for family in ("Inter Variable", "JetBrains Mono Variable", "KaTeX_Main"):
        assert re.search(rf"@font-face ?\{{[^}}]*{family}", text), family


@needs_deck
@EVERY
def test_pictures_are_described_and_headings_are_in_order(name):
    page = Page(name)
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert pictures and [p for p in pictures if not p.get("alt") or not {"width", "height"} <= set(p)] == []
    assert [attrs for tag, attrs in page.tags if attrs.get("role") == "img" and not attrs.get("aria-label")] == []
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:]))
    assert len(page.ids()) == len(set(page.ids()))


@needs_deck
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_with_all_that_came_of_it(path):
    page = Page(f"notebooks/{path.stem}.html")
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    blocks = [plain(pre) for pre in re.findall(r'<pre class="python".*?</pre>', page.text, re.S)]
    assert blocks == [cell.source for cell in cells]
    for printed in (ROOT / "embed" / path.stem).glob("*.txt"):
        assert html.escape(printed.read_text()) in page.text, printed
    made = json.loads((ROOT / "public/manifest.json").read_text())["figures"]
    for figure, entry in made.items():
        if entry["notebook"] == path.stem:
            assert entry["cell"] in page.ids() and (
                figure.endswith(".json") or f'src="../figures/{figure}"' in page.text
            )


def test_what_cells_show_is_known():
    """What they print, of those with a tag; figures; and the picture at the end of one cell"""
    pictures = set()
    for path in NOTEBOOKS:
        for cell in (cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"):
            tags, last = cell.metadata.get("tags"), cell.source.splitlines()[-1]
            assert tags or not re.search(r"\b(?:print|save)\(", cell.source), cell.source
            if re.fullmatch(r"[\w.]+(\[\w+\])?", last):
                pictures.add((path.stem, tags[0]))
    assert pictures == set(PICTURES)


@needs_deck
def test_they_are_small():
    size = lambda name: (DIST / name).stat().st_size
    assert size("read.html") < 800e3 and size("read.css") < 100e3
    assert [name for name in NAMES[1:] if size(name) > 200e3] == []


@needs_deck
def test_who_has_no_javascript_is_led_there():
    for page, up in ("index.html", "."), ("ja/index.html", ".."):
        assert re.search(
            rf'<noscript>.*href="{re.escape(up)}/read\.html".*</noscript>', (DIST / page).read_text(), re.S
        )
