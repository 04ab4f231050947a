"""The built deck in a real browser, served under a sub path as a static host would."""

import pytest

from notes import seconds
from walk import looked


def test_every_slide_at_every_click(walked):
    """Nothing overflows, nothing is too small, every picture is there and described, nothing is fetched elsewhere."""
    if walked.faults:
        lines = (f"slide {no}, click {click}: {what}" for (no, what), click in walked.faults.items())
        pytest.fail("\n".join(lines), pytrace=False)


def test_every_slide_has_a_title_of_its_own_and_notes(walked):
    assert len(set(walked.titles)) == len(walked.titles) > 30
    assert [title for title, note in zip(walked.titles, walked.notes) if not note.strip()] == []


def test_the_talk_fits_its_time(walked):
    """The minutes in the notes: of all slides, five less than the 40 of the talk, and of those of the short talk"""
    assert 30 <= sum(map(seconds, walked.notes)) / 60 <= 35
    assert 12 <= sum(seconds(note) for note, short in zip(walked.notes, walked.short) if short) / 60 <= 15


def test_the_look_finds_what_is_wrong(deck):
    """Each fault planted on an empty page is found, and what is right is not called wrong."""
    deck.page.set_content("""
        <style>body { margin: 0 } p { position: absolute; margin: 0; font-size: 16px; white-space: nowrap }</style>
        <div id="slide-content" style="position: relative; width: 980px; height: 552px">
        <p style="left: 50px; top: 10px">all is well</p> <p style="left: 950px; top: 50px">far too far</p>
        <p style="left: 50px; top: 100px; font-size: 12px">tiny</p>
        <p style="left: 50px; top: 150px; scale: 0.5">shrunk</p>
        <p style="left: 50px; top: 200px">over</p> <p style="left: 52px; top: 201px">and under</p>
        <p style="left: 50px; top: 250px; width: 50px; overflow: hidden">cut off at its edge</p>
        <p style="left: 50px; top: 300px"><img src="data:," alt="gone"></p>
        <p style="left: 50px; top: 350px"><img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="></p>
        <p style="left: 40px; top: 480px">
          <img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=" alt="low" width="60" height="60"></p>
        <footer class="foot"><p class="page" style="left: 50px; top: 500px">7</p></footer>
        <p style="left: 50px; top: 350px">**stars** <code>**kwargs</code></p>
        <p style="left: 50px; top: 400px; display: none; font-size: 1px">not shown</p></div>""")
    found = "\n".join(looked(deck.page))
    faults = (
        'too far" leaves',
        'tiny" is 12.0',
        'shrunk" is 8.0',
        "lie over",
        "is cut off",
        "did not load",
        "no alt text",
        "over the foot",
        "shows the stars",
    )
    assert [fault for fault in faults if fault not in found] == [] and len(found.splitlines()) == len(faults), found


def test_presenter_view_shows_notes_and_leads_the_audience(deck):
    """Two windows of a built deck, as on a stage: a key in the presenter's moves the audience's."""
    deck.page.set_viewport_size({"width": 1400, "height": 800})
    deck.page.goto(f"{deck.address}#/presenter/1")
    deck.page.wait_for_selector(".slidev-note")
    notes = deck.page.inner_text(".slidev-note").strip()
    audience = deck.page.context.new_page()
    audience.goto(f"{deck.address}#/1")
    audience.wait_for_selector("#slide-content")
    deck.page.bring_to_front()
    deck.page.keyboard.press("Shift+ArrowRight")
    audience.wait_for_url("**/#/2*")
    assert notes and deck.take_problems() == []
