"""The second visit, with the network off: the deck from its service worker, the model from the engine's store."""

import re

import pytest

from deck import open_deck
from test_code import DENOISE, TWO_STEPS, changed, go_to, open_editor, run, written
from walk import ROOT, open_built, violations

# Slidev fetches the other slides when there is nothing else to do.
KEPT = """async address => {
    const name = (await caches.keys()).find(name => name.startsWith(`deck ${address} `))
    return name && (await (await caches.open(name)).keys()).length > 60
}"""

# A slide's pictures
SHOWN = """() => {
    const shown = [...document.querySelectorAll('#slide-content img')].filter(img => img.checkVisibility())
    return shown.length && shown.every(img => img.naturalWidth)
}"""


def test_a_second_visit_needs_no_network():
    with open_built() as deck:
        page = deck.page
        page.goto(f"{deck.address}#/lab?prompt=a+red+boat&steps=2")
        page.wait_for_selector(".lab .save", timeout=120_000)
        begin_with_a_picture(page)
        page.goto(f"{deck.address}#/2")
        deck.settle(2, 0)
        page.wait_for_function(SHOWN)
        page.wait_for_function(KEPT, arg=deck.address)
        slide = "#slide-content .slidev-layout >> visible=true"  # what is announced beside it comes and goes
        first = page.inner_text(slide)
        page.context.set_offline(True)
        page.goto("about:blank")
        page.goto(f"{deck.address}#/2")
        deck.settle(2, 0)
        assert page.inner_text(slide) == first and "One line of code" in first
        page.wait_for_function(SHOWN)
        page.goto("about:blank")
        page.goto(f"{deck.address}#/lab?prompt=a+blue+boat&steps=2")
        page.wait_for_selector(".lab .save", timeout=120_000)
        begin_with_a_picture(page)


def begin_with_a_picture(page):
    page.get_by_role("button", name="From a picture").click()
    page.locator(".lab .easel canvas").first.click()
    page.press(".lab textarea", "Enter")
    page.wait_for_selector(".lab .save", timeout=120_000)
    assert "1 of 2 steps" in page.inner_text(".lab .begins")


def test_code_that_has_run_once_runs_without_a_network():
    with open_built() as deck:
        page = deck.page
        next(deck.walk())
        page.wait_for_function("navigator.serviceWorker.controller !== null")  # what comes from now on is kept
        for offline in (False, True):
            page.context.set_offline(offline)
            page.goto("about:blank")
            go_to(deck, "The loop")
            open_editor(page)
            assert run(page, changed(TWO_STEPS)).startswith("Painted in ")


def test_an_editor_that_cannot_be_fetched():
    with open_built() as deck:
        page, no = deck.page, go_to(deck, "The loop")
        page.context.set_offline(True)
        page.keyboard.press("e")
        told = page.get_by_role("alert").inner_text()
        assert told == "The editor could not be fetched: is there a network? Then load the page again."
        assert violations(page) == []
        page.keyboard.press("ArrowRight")
        deck.settle(no, 1)
        assert page.get_by_role("alert").count() == 0
        page.context.set_offline(False)
        page.reload()
        deck.settle(no, 1)
        open_editor(page)
        assert written(page).strip() == DENOISE.strip()


@pytest.fixture
def two(tmp_path):
    """Two versions of the deck on one host, as translations and previews are; the addresses of both"""
    for name in "en", "ja":
        (tmp_path / name).mkdir()
        for path in (ROOT / "dist").iterdir():
            (tmp_path / name / path.name).symlink_to(path)
        worker = (tmp_path / name / "sw.js").read_text()
        (tmp_path / name / "sw.js").unlink()
        (tmp_path / name / "sw.js").write_text(re.sub(r"(KEPT = `.*)[0-9a-f]{16}`", rf"\g<1>{name}`", worker))
    with open_deck(tmp_path) as deck:
        yield deck, f"{deck.address}en/", f"{deck.address}ja/"


def test_two_decks_on_one_host_keep_their_copies_and_share_the_model(two):
    deck, *decks = two
    page, fetched = deck.page, []
    page.on("request", lambda request: request.url.endswith((".onnx", ".wasm")) and fetched.append(request.url))
    for address in decks:
        page.goto(f"{address}#/lab?prompt=a+red+boat&steps=1")
        page.wait_for_selector(".lab .save", timeout=120_000)
        page.goto(f"{address}#/2")
        deck.settle(2, 0)
        page.wait_for_function(KEPT, arg=address)
    assert len(fetched) == 4 and all(url.startswith(decks[0]) for url in fetched), fetched
    page.context.set_offline(True)
    for address in decks:
        page.goto("about:blank")
        page.goto(f"{address}#/2")
        deck.settle(2, 0)


def test_a_presenter_leads_the_audience_of_this_deck_alone(two):
    leads_its_own_alone(*two)


def leads_its_own_alone(deck, here, there):
    """The presenter of the deck at one address turns the slides of its audience, and not those of the other"""
    deck.page.set_viewport_size({"width": 1400, "height": 800})
    deck.page.goto(f"{here}#/presenter/1")
    deck.page.wait_for_selector(".slidev-note")
    audience, others = deck.page.context.new_page(), deck.page.context.new_page()
    for page, address in (audience, here), (others, there):
        page.goto(f"{address}#/1")
        page.wait_for_selector("#slide-content")
    deck.page.bring_to_front()
    deck.page.keyboard.press("Shift+ArrowRight")
    audience.wait_for_url(f"{here}#/2*")
    others.wait_for_timeout(300)
    assert others.url.partition("?")[0] == f"{there}#/1"
