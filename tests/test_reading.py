"""The pages to read beside the built deck, in both languages: all slides in one column, every notebook as it ran."""

import html
import json
import re
from html.parser import HTMLParser

import nbformat
import pytest
from conftest import ROOT, needs_deck
from test_deck import region

from notes import LANGUAGES, for_readers, labels
from reading.notebooks import PICTURES, paths
from reading.page import Edition, place
from sources import INCLUDE, pages, slides

DIST = ROOT / "dist"
EDITIONS = [Edition("en"), Edition("ja")]
NOTEBOOKS = paths(EDITIONS[0])
NAMES = [
    edition.folder + name
    for edition in EDITIONS
    for name in ("read.html", *(f"notebooks/{path.stem}.html" for path in paths(edition)))
]
EVERY = pytest.mark.parametrize("name", NAMES)
IN_BOTH = pytest.mark.parametrize("edition", EDITIONS, ids=lambda edition: edition.language)
NOTES = {
    edition.language: [
        note for page in pages(edition.entry) for note in re.findall(r"<!--(.*?)-->", page.read_text(), re.S)
    ]
    for edition in EDITIONS
}
CODE = re.compile(r"<(pre|code|style|q)\b.*?</\1>", re.S)  # and what is quoted
ENGLISH = re.compile(r"\b(?:[a-z]+[,:;]? ){3}[a-z]+")  # names have capitals, prompts are known


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


def sections(edition):
    """{number: HTML of a slide}, in the order of the page"""
    text = (DIST / edition.folder / "read.html").read_text()
    parts = re.split(r'<(?:section|header)[^>]* id="(\d+)"', text)
    return dict(zip(map(int, parts[1::2]), parts[2::2], strict=True))


def plain(markup):
    return html.unescape(re.sub(r"<[^>]+>", "", markup)).replace("\N{NO-BREAK SPACE}", " ")


def test_notes_are_edited_for_readers():
    """Something is left of each, and nothing that is for the speaker alone"""
    for note in sum(NOTES.values(), []):
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
@IN_BOTH
def test_every_slide_is_there_once_and_in_order(edition):
    page = Page(f"{edition.folder}read.html")
    titles = [title for title, _ in slides(edition.entry)]
    assert [id for id in page.ids() if id.isdigit()] == [str(no) for no in range(1, len(titles) + 1)]
    headings = [re.search(r"<h([123])>(.*?)</h\1>", text)[2] for text in sections(edition).values()]
    assert [heading for heading, title in zip(headings, titles) if not plain(heading).endswith(title)] == []


@needs_deck
@IN_BOTH
def test_what_a_slide_shows_and_what_is_said_is_there(edition):
    """Its code, letter by letter, its figures, and the words of its notes"""
    parts = zip(slides(edition.entry), NOTES[edition.language], sections(edition).values(), strict=True)
    for (title, text), note, made in parts:
        blocks = [plain(re.sub(r'<b class="mark".*?</b>', "", pre)) for pre in re.findall(r"<pre.*?</pre>", made, re.S)]
        for path, anchor, *_ in INCLUDE.findall(text):
            file = ROOT / path.removeprefix("@/")
            lines = region(file, anchor[1:]) if anchor else file.read_text().splitlines()
            margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
            assert "\n".join(line[margin:] for line in lines).rstrip() in blocks, (title, path)
        for figure in re.findall(r'<Figure\b[^>]* name="([^"]+)"', text):
            assert f'src="{place(figure, edition)}"' in made, title
        said = plain(made.partition('class="said"')[2])
        words = re.sub(r"[`*]", "", next(part for part in for_readers(note) if isinstance(part, str)))
        assert re.split("[.。]", words)[0] in said, title


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
@IN_BOTH
def test_the_style_sheet_brings_the_fonts_of_the_deck_and_asks_nobody_else(edition):
    folder = DIST / edition.folder
    text = (folder / "read.css").read_text()
    urls = [url for url in re.findall(r"url\([\"']?([^)\"']+)", text) if not url.startswith("data:")]
    assert urls and [url for url in urls if not (folder / url).is_file()] == []
    families = ["Inter Variable", "JetBrains Mono Variable", "KaTeX_Main"]
    for family in [*families, "Noto Sans JP Variable"] if edition.language == "ja" else families:
        assert re.search(rf"@font-face ?\{{[^}}]*{family}", text), family


@needs_deck
@EVERY
def test_no_english_is_left_in_japanese_and_no_markdown_anywhere(name):
    """Nor in what a screen reader says, but of figures: test_figure_words.py. Prompts are English in both."""
    page, made = Page(name), json.loads((ROOT / "public/manifest.json").read_text())["figures"].values()
    heard = [attrs[key] for _, attrs in page.tags for key in ("aria-label", "title") if attrs.get(key)]
    said = "\n".join([plain(CODE.sub("", page.text)), *heard])
    prompts = {figure["prompt"] for figure in made if isinstance(figure["prompt"], str)}
    sentences = ENGLISH.findall(re.sub("|".join(["“[^”]*”", *map(re.escape, prompts)]), "", said))
    assert sentences == [] if name.startswith("ja/") else sentences
    assert re.findall(r"\*\*|\]\(", said) == []


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
@IN_BOTH
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_with_all_that_came_of_it(path, edition):
    page = Page(f"{edition.folder}notebooks/{path.stem}.html")
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    blocks = [plain(pre) for pre in re.findall(r'<pre class="python".*?</pre>', page.text, re.S)]
    assert blocks == [cell.source for cell in cells]
    for printed in (ROOT / "embed" / path.stem).glob("*.txt"):
        assert html.escape(printed.read_text()) in page.text, printed
    made = json.loads((ROOT / "public/manifest.json").read_text())["figures"]
    for figure, entry in made.items():
        if entry["notebook"] == path.stem:
            assert entry["cell"] in page.ids() and (
                figure.endswith(".json") or f'src="../{place(figure, edition)}"' in page.text
            )


@needs_deck
@EVERY
def test_the_same_page_in_the_other_language_is_one_click_away(name):
    there = name.removeprefix("ja/") if name.startswith("ja/") else f"ja/{name}"
    ways = [attrs for _, attrs in Page(name).tags if "hreflang" in attrs]
    assert [way["hreflang"] for way in ways] == ["en" if name.startswith("ja/") else "ja"] * 2
    assert {((DIST / name).parent / way["href"]).resolve() for way in ways} == {(DIST / there).resolve()}


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
@IN_BOTH
def test_they_are_small(edition):
    size = lambda name: (DIST / edition.folder / name).stat().st_size
    assert size("read.html") < 800e3 and size("read.css") < 100e3
    assert [path.stem for path in paths(edition) if size(f"notebooks/{path.stem}.html") > 200e3] == []


@needs_deck
@IN_BOTH
def test_who_has_no_javascript_is_led_there(edition):
    text = (DIST / edition.folder / "index.html").read_text()
    assert re.search(r'<noscript>.*href="\./read\.html".*</noscript>', text, re.S)
