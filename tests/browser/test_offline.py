"""The second visit, with the network off: the deck from its service worker, the model from the engine's store."""

import re

import pytest

from deck import open_deck
from walk import ROOT, open_built

# Slidev fetches the other slides when there is nothing else to do.
KEPT = """async address => {
    const name = (await caches.keys()).find(name => name.startsWith(`deck ${address} `))
    return name && (await (await caches.open(name)).keys()).length > 60
}"""


def test_a_second_visit_needs_no_network():
    with open_built() as deck:
        page = deck.page
        page.goto(f"{deck.address}#/lab?prompt=a+red+boat&steps=2")
        page.wait_for_selector(".lab .save", timeout=120_000)
        page.goto(f"{deck.address}#/2")
        deck.settle(2, 0)
        page.wait_for_function(KEPT, arg=deck.address)
        first = page.inner_text("#slide-content")
        page.context.set_offline(True)
        page.goto("about:blank")
        page.goto(f"{deck.address}#/2")
        deck.settle(2, 0)
        assert page.inner_text("#slide-content") == first
        shown = "[...document.querySelectorAll('#slide-content img')].filter(img => img.checkVisibility())"
        page.wait_for_function(f"() => {shown}.every(img => img.naturalWidth)")
        page.goto("about:blank")
        page.goto(f"{deck.address}#/lab?prompt=a+blue+boat&steps=2")
        page.wait_for_selector(".lab .save", timeout=120_000)


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
    deck, here, there = two
    deck.page.set_viewport_size({"width": 1400, "height": 800})
    deck.page.goto(f"{here}#/presenter/1")
    deck.page.wait_for_selector(".slidev-note")
    audience, others = deck.page.context.new_page(), deck.page.context.new_page()
    for page, address in (audience, here), (others, there):
        page.goto(f"{address}#/1")
        page.wait_for_selector("#slide-content")
    deck.page.bring_to_front()
    deck.page.keyboard.press("Shift+ArrowRight")
    audience.wait_for_url("**/#/2*")
    others.wait_for_timeout(300)
    assert others.url.partition("?")[0] == f"{there}#/1"
