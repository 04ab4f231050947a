"""The pages to read in a real browser: for everybody, on any screen and on paper, and on the way from the slides."""

import re

import pytest
from pypdf import PdfReader
from test_reading import NAMES

import handout
from sources import slides
from walk import ROOT, open_built, violations


@pytest.fixture(scope="module")
def opened():
    with open_built() as deck:
        yield deck


@pytest.mark.parametrize("name", NAMES)
def test_for_everybody_on_a_phone(opened, name):
    """Nothing of level A or AA is against it, nothing is wider than the screen, and all that it asks for is there."""
    opened.page.set_viewport_size({"width": 390, "height": 844})
    opened.page.goto(opened.address + name)
    opened.page.evaluate(handout.ALL_THERE)
    assert opened.take_problems() == []
    assert opened.page.evaluate("document.scrollingElement.scrollWidth") <= 390
    assert violations(opened.page) == []


def test_a_slide_leads_to_its_place_and_its_notebook_and_they_lead_back(opened):
    page = opened.page
    page.set_viewport_size({"width": 980, "height": 552})
    no = [title for title, _ in slides()].index("The loop") + 1
    page.goto(f"{opened.address}#/{no}")
    page.wait_for_selector("#slide-content .page >> visible=true")
    ways = page.eval_on_selector_all("#slide-content a:is(.page, .source a)", "links => links.map(link => link.href)")
    assert f"{opened.address}read.html#{no}" in ways and f"{opened.address}notebooks/04_denoise.html" in ways
    page.goto(f"{opened.address}read.html#{no}")
    assert page.inner_text(":target h3") == "The loop"
    page.click(":target .no")
    opened.settle(no, 0)
    page.goto(f"{opened.address}notebooks/04_denoise.html")
    page.locator("header a", has_text=re.compile(rf"^{no}$")).click()
    opened.settle(no, 0)
    assert opened.take_problems() == []


def test_what_was_read_once_can_be_read_without_a_network():
    with open_built() as deck:
        next(deck.walk())
        deck.page.wait_for_function("navigator.serviceWorker.controller !== null")
        deck.page.goto(f"{deck.address}read.html")
        deck.page.context.set_offline(True)
        deck.page.goto("about:blank")
        deck.page.goto(f"{deck.address}read.html#7")
        assert deck.page.inner_text(":target h3") == slides()[6][0]


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    output = tmp_path_factory.mktemp("pdf") / "handout.pdf"
    handout.export(ROOT / "dist", output)
    return PdfReader(output)


def test_on_paper(printed):
    """A4, with an outline, every slide in order, and none of its pages blank"""
    letters = lambda text: re.sub(r"\W", "", text.lower())
    texts = [letters(page.extract_text()) for page in printed.pages]
    assert [round(float(side)) for side in printed.pages[0].mediabox[2:]] in ([595, 842], [594, 842])
    assert min(map(len, texts)) > 40 and len(printed.outline) > 0
    everything, at = "".join(texts), 0
    for title, _ in slides():
        at = everything.find(letters(title), at)
        assert at >= 0, title
