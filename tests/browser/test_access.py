"""The deck for everybody: by keyboard, by screen reader, without motion, on a phone held upright."""

import re
from pathlib import Path

import pytest

from notes import labels
from walk import stirs, violations

PAGES = sorted((Path(__file__).parents[2] / "slides/pages/en").glob("*.md"))


def open_slide(deck, component):
    """Goes to the first slide that holds `component`; -> what its slider tells a screen reader"""
    before = next(text for page in PAGES if f"<{component}" in (text := page.read_text())).partition(f"<{component}")[0]
    title = re.findall(r"^# (.*)", before, re.M)[-1]
    next(deck.walk())
    titles = deck.nav("slides.map(slide => slide.meta.slide.title)")
    next(deck.walk([titles.index(title) + 1]))
    return lambda: deck.page.get_attribute("#slide-content input[type=range]", "aria-valuetext")


def test_no_violation_of_level_a_or_aa(walked):
    assert not walked.barriers, "\n".join(f"slide {no}: {what}" for what, no in walked.barriers.items())


def test_axe_finds_what_is_wrong(deck):
    deck.page.set_content(
        "<html lang=en><title>t</title><p style='color: #aaa; background: #fff'>pale</p><img src='data:,'></html>"
    )
    found = violations(deck.page)
    assert {what.partition(":")[0] for what in found} == {"color-contrast", "image-alt"}


@pytest.mark.parametrize("component", ["Scrubber", "WordAttention", "GuidanceSlider", "SchedulerRace"])
def test_a_slider_by_keyboard(deck, component):
    """With the focus on it the arrows move it and turn no slide; without, comma and full stop do."""
    told, press = open_slide(deck, component), deck.page.keyboard.press
    no, first = deck.nav("currentSlideNo"), told()
    press(",")
    before = told()
    assert before != first
    press(".")
    assert told() == first
    deck.page.focus("#slide-content input[type=range]")
    press("ArrowLeft")
    assert told() == before and deck.nav("currentSlideNo") == no
    press("Home")
    press("ArrowLeft")
    assert deck.nav("currentSlideNo") == no  # at its end, too
    press("Escape")
    press("ArrowRight")
    deck.page.wait_for_function(f"() => location.hash.startsWith('#/{no + 1}')")


@pytest.mark.parametrize("component", ["Scrubber", "WordAttention", "SchedulerRace"])
def test_play_and_pause_by_keyboard(deck, component):
    told = open_slide(deck, component)
    first = told()
    deck.page.wait_for_timeout(700)
    assert told() == first  # who asked for stillness gets it
    deck.page.keyboard.press("p")
    deck.page.wait_for_selector("#slide-content button[aria-label=Pause]")
    deck.page.wait_for_function(
        "was => document.querySelector('#slide-content input[type=range]').ariaValueText !== was", arg=first
    )
    deck.page.keyboard.press("p")
    deck.page.wait_for_selector("#slide-content button[aria-label=Play]")


def test_words_by_keyboard(deck):
    open_slide(deck, "WordAttention")
    words = deck.page.locator("#slide-content [role=radio]")
    words.first.focus()
    deck.page.keyboard.press("Enter")
    assert words.first.get_attribute("aria-checked") == "true"
    assert words.first.inner_text() in deck.page.get_attribute("#slide-content .heat", "aria-label")


def test_pieces_by_keyboard(deck):
    open_slide(deck, "TokenStrip")
    deck.page.locator("#slide-content .strip li").nth(1).focus()
    assert "is a word of the vocabulary" in deck.page.inner_text("#slide-content .told")


def test_who_asked_for_stillness_gets_it(walked):
    assert {title: what for title, what in zip(walked.titles, walked.stirs) if what} == {}


def test_what_moves_is_found(deck):
    deck.page.emulate_media(reduced_motion="no-preference")
    open_slide(deck, 'Figure name="forward_process.webp"')
    assert stirs(deck.page) == ["forward_process.webp"]
    deck.page.emulate_media(media="print")
    deck.page.wait_for_function(
        "() => document.querySelector('img[src$=\"process.webp\"]').currentSrc.endsWith('forward_process_still.webp')"
    )
    deck.page.emulate_media(media="screen")
    open_slide(deck, "Scrubber")
    deck.page.wait_for_selector("#slide-content button[aria-label=Pause]")  # it plays once
    assert any("Pause" in what for what in stirs(deck.page))


def test_on_a_phone_every_slide_has_something_to_read_below_it(walked):
    """A sentence at least beside what each click brings, and nothing that is for the speaker alone."""
    sentence = re.compile(r"^(?!Step by step)(?:.*[.!?] )?[A-Z][^.!?]{12,}[.!?]", re.M)
    assert [title for title, said in zip(walked.titles, walked.said) if not sentence.search(said)] == []
    assert [title for title, said in zip(walked.titles, walked.said) if labels(said)] == []


def test_a_phone_held_upright(deck):
    """The slide fits the width, and what the speaker says stands below it in a size to read."""
    deck.page.set_viewport_size({"width": 390, "height": 844})
    deck.page.goto(f"{deck.address}#/2")
    deck.page.wait_for_selector(".upright .said p")
    slide = deck.page.locator("#slide-content").bounding_box()
    assert slide["x"] >= 0 and slide["x"] + slide["width"] <= 391
    said = deck.page.locator(".upright .said p").first
    assert said.bounding_box()["y"] > slide["y"] + slide["height"]
    assert float(said.evaluate("p => parseFloat(getComputedStyle(p).fontSize)")) >= 16
    assert labels(deck.page.inner_text(".upright .said")) == []
    deck.page.click(".upright [aria-label=On]")
    deck.page.wait_for_function("() => location.hash.startsWith('#/3')")
