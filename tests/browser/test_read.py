"""The pages to read in a real browser: for everybody, on any screen and on paper, and on the way from the slides."""

import re

from pypdf import PdfReader
from test_reading import EDITIONS, IN_BOTH, NAMES

import handout
from sources import slides
from walk import LINES, ROOT, open_built, violations


def test_for_everybody_on_a_phone(deck):
    """Nothing of level A or AA is against it, nothing is wider than the screen, and all that it asks for is there"""
    deck.page.set_viewport_size({"width": 390, "height": 844})
    for name in NAMES:
        deck.page.goto(deck.address + name, wait_until="networkidle")
        deck.page.evaluate(handout.ALL_THERE)
        assert deck.take_problems() == [], name
        assert deck.page.evaluate("document.scrollingElement.scrollWidth") <= 390, name
        assert violations(deck.page) == [], name


def test_no_line_of_japanese_begins_where_none_may(deck):
    for name in NAMES:
        if name.startswith("ja/"):
            deck.page.goto(deck.address + name)
            assert deck.page.evaluate(LINES) == [], name


@IN_BOTH
def test_a_slide_leads_to_its_place_and_its_notebook_and_they_lead_back(edition):
    no = next(no for no, (_, text) in enumerate(slides(edition.entry), 1) if 'notebook="04_denoise"' in text)
    with open_built(edition.language) as deck:
        next(deck.walk([no]))
        title = deck.nav("currentSlideRoute.meta.slide.title")
        links = "links => links.map(link => link.href)"
        ways = deck.page.eval_on_selector_all("#slide-content a:is(.page, .source a)", links)
        assert f"{deck.address}read.html#{no}" in ways and f"{deck.address}notebooks/04_denoise.html" in ways
        deck.page.goto(f"{deck.address}read.html#{no}")
        assert deck.page.inner_text(":target h3").replace("\N{NO-BREAK SPACE}", " ") == title
        deck.page.click(":target .no")
        deck.settle(no, 0)
        deck.page.goto(f"{deck.address}notebooks/04_denoise.html")
        deck.page.locator("header a", has_text=re.compile(rf"^{no}$")).click()
        deck.settle(no, 0)


def test_what_was_read_once_can_be_read_without_a_network(deck):
    next(deck.walk())
    deck.page.wait_for_function("navigator.serviceWorker.controller !== null")
    for edition in EDITIONS:
        deck.page.goto(f"{deck.address}{edition.folder}read.html")
    deck.page.context.set_offline(True)
    for edition in EDITIONS:
        deck.page.goto("about:blank")
        deck.page.goto(f"{deck.address}{edition.folder}read.html#7")
        assert deck.page.inner_text(":target h3").replace("\N{NO-BREAK SPACE}", " ") == slides(edition.entry)[6][0]


@IN_BOTH
def test_on_paper(edition, tmp_path):
    """A4, with an outline, every slide in order, and none of its pages blank"""
    handout.export(ROOT / "dist", tmp_path / "handout.pdf", edition.language)
    printed = PdfReader(tmp_path / "handout.pdf")
    letters = lambda text: re.sub(r"\W", "", text.lower())
    texts = [letters(page.extract_text()) for page in printed.pages]
    assert [round(float(side)) for side in printed.pages[0].mediabox[2:]] == [595, 842]  # in points
    assert min(map(len, texts)) > 40 and len(printed.outline) > 0
    everything, at = "".join(texts), 0
    for title, _ in slides(edition.entry):
        at = everything.find(letters(title), at)
        assert at >= 0, title
