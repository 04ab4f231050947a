"""The code blocks that can be changed and run on their slides: the editor, what it paints, links, two windows.

tests/browser/test_python.py looks at the numbers. One browser for most of it, because Python takes its time to come.
"""

import inspect
import re
import textwrap

import pytest

from sdscope import StableDiffusion
from test_lab import WAIT, pixels
from walk import ROOT, open_built, violations

TWO_STEPS = ("int(num_inference_steps)", "2")
SWAPPED = ("noise_uncond, noise_cond = both", "noise_cond, noise_uncond = both")
CHANGED = ".sheet .changed canvas"
OFFSET = "document.activeElement.closest('.cm-editor') !== null"


def source(file, region):
    """A region as the slides show it"""
    lines = (ROOT / f"src/sdscope/{file}").read_text().split("\n")
    start, end = (
        lines.index(next(x for x in lines if x.strip() == f"# {word} {region}")) for word in ("region", "endregion")
    )
    return textwrap.dedent("\n".join(x for x in lines[start + 1 : end] if not re.match(r"\s*# (end)?region", x)))


DENOISE = source("pipeline.py", "denoise")


def changed(*pairs):
    text = DENOISE
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


def go_to(deck, title):
    next(deck.walk())
    titles = deck.nav("slides.map(slide => slide.meta.slide.title)")
    no = titles.index(title) + 1
    next(deck.walk([no]))
    return no


def open_editor(page):
    page.keyboard.press("e")
    page.wait_for_function("() => document.activeElement.closest('.cm-editor')")


def write(page, text):
    page.focus(".sheet .cm-content")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text)


def written(page):
    return "\n".join(page.locator(".sheet .cm-line").all_inner_texts())


def run(page, text):
    """-> what is said when it has ended"""
    write(page, text)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".sheet .stop")
    page.wait_for_selector(".sheet .go:not(.stop)", timeout=WAIT)
    return page.inner_text(".sheet .seen .says >> nth=0")


@pytest.fixture(scope="module")
def talk():
    """(a deck on the slide of the loop, its number); tests open the editor, change, run and close again"""
    with open_built() as deck:
        yield deck, go_to(deck, "The loop")


@pytest.fixture
def loop(talk):
    deck, no = talk
    deck.page.goto(f"{deck.address}#/{no}")
    deck.settle(no, 0)
    yield deck
    deck.page.evaluate("document.querySelector('.sheet .close')?.click()")  # it may be closing, with another window
    deck.page.wait_for_selector(".sheet", state="hidden")
    assert deck.take_problems() == []


def fetched(page):
    names = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name.split('/').at(-1))")
    return [name for name in names if re.match(r"Sheet|pyodide|python|unet|ort-", name)]


def test_keys_of_the_slide_do_not_land_in_the_editor_and_what_is_typed_turns_no_slide(loop):
    page, no = loop.page, loop.nav("currentSlideNo")
    assert fetched(page) == []  # before the first e
    page.keyboard.down("e")
    page.wait_for_selector(".sheet .cm-line")
    for _ in range(3):
        page.keyboard.down("e")  # it is held, and repeats
    page.keyboard.up("e")
    page.wait_for_function("() => document.activeElement.closest('.cm-editor')")
    assert written(page).strip() == DENOISE.strip()
    assert {name.split("-")[0] for name in fetched(page)} == {"Sheet"}  # Python comes with the first run

    page.keyboard.press("Control+Home")
    page.keyboard.type("# go, s. ")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert written(page).startswith("# go, s. @ torch") and loop.nav("currentSlideNo") == no and loop.nav("clicks") == 0
    assert page.locator(".sheet .cm-changed").count() == 1
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#slide-content .slidev-code-dishonored')")
    loop.settle(no, 1)
    page.wait_for_selector(".sheet", state="hidden")
    assert page.inner_text("#slide-content .change-it >> visible=true") == "changed e"
    page.keyboard.press("ArrowLeft")
    loop.settle(no, 0)
    open_editor(page)
    page.click(".sheet >> text=As it was")
    assert written(page).strip() == DENOISE.strip() and page.locator(".sheet .cm-changed").count() == 0
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.wait_for_selector(".sheet", state="hidden")
    assert "change it" in page.inner_text("#slide-content .change-it >> visible=true")


def test_a_run_paints_another_picture(loop, postcard):
    page = loop.page
    open_editor(page)
    assert run(page, changed(TWO_STEPS)).startswith("Painted in ")
    assert "in this page" in page.inner_text(".sheet .badge")
    plain = pixels(page, CHANGED)
    report = ("report(callback", 'print(f"step {i} of {t:.0f}")\n        report(callback')
    assert run(page, changed(TWO_STEPS, SWAPPED, report)).startswith("Painted in ")
    assert page.inner_text(".sheet .printed").strip().split("\n") == ["step 0 of 501", "step 1 of 1"]
    assert len(plain) == len(pixels(page, CHANGED)) == postcard.size**2 * 4 and pixels(page, CHANGED) != plain
    assert page.locator(".sheet .cm-changed").count() == 3
    slider = page.locator(".sheet input[type=range]")
    assert (slider.get_attribute("max"), slider.get_attribute("aria-valuetext").split()[1]) == ("1", "2")
    last = pixels(page, CHANGED)
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert pixels(page, CHANGED) != last  # a step before
    assert violations(page) == []
    boxes = page.locator(".sheet :is(button, input, canvas, .place, .note, .printed)").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect()).map(box => [box.left, box.top, box.right, box.bottom])"
    )
    assert all(left >= 0 and top >= 0 and right <= 980 and bottom <= 552 for left, top, right, bottom in boxes)


def test_an_error_is_told_at_its_line(loop):
    page = loop.page
    open_editor(page)
    run(page, changed(("noise_cond - noise_uncond", "noise_cond - nois_uncond")))
    assert page.inner_text(".sheet .cm-told").startswith("NameError: name 'nois_uncond' is not defined")
    assert "nois_uncond)" in page.inner_text(".sheet .cm-wrong") and violations(page) == []
    run(page, changed(("return latents", "return latents)")))
    assert page.inner_text(".sheet .cm-told").startswith("SyntaxError: unmatched ')'")
    assert page.inner_text(".sheet .cm-wrong").strip() == "return latents)"
    page.keyboard.press("End")
    page.keyboard.type(" ")
    assert page.locator(".sheet .cm-told").count() == 0  # who goes on typing has read it
    assert run(page, changed(TWO_STEPS, ("return latents", "return None"))) != ""
    assert page.locator(".sheet :is(.cm-told, .failed)").count() == 1


def test_stop(loop):
    page = loop.page
    open_editor(page)
    write(page, changed(("return latents", "while True: pass")))
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".sheet .stop")
    steps = inspect.signature(StableDiffusion.__call__).parameters["num_inference_steps"].default
    page.wait_for_function(
        f"() => /step {steps}/.test(document.querySelector('.sheet output').innerText)", timeout=WAIT
    )
    page.keyboard.press("Escape")  # the keys are the slide's
    page.keyboard.press("Escape")  # the run is stopped
    page.wait_for_selector(".sheet .go:not(.stop)", timeout=2500)
    assert page.inner_text(".sheet .seen .says >> nth=0") == "Stopped."
    page.keyboard.press("e")
    assert run(page, changed(TWO_STEPS)).startswith("Painted in ")  # and the next one runs
    write(page, changed(("return latents", "while True: pass")))
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".sheet .stop")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")  # who leaves the slide stops it, too
    page.keyboard.press("ArrowLeft")
    loop.settle(loop.nav("currentSlideNo"), 0)
    page.keyboard.press("e")
    page.wait_for_selector(".sheet .seen .says:has-text('Stopped.')", timeout=2500)


def test_an_idea_is_one_click_and_says_what_to_look_for(loop):
    page = loop.page
    open_editor(page)
    page.click(".sheet .ideas >> text=swapped")
    page.wait_for_selector(".sheet .stop")
    assert page.inner_text(".sheet .note").startswith("swapped. ")
    assert page.inner_text(".sheet .cm-changed").strip() == "noise_cond, noise_uncond = both.chunk(2)"
    page.click(".sheet .stop")
    page.wait_for_selector(".sheet .go:not(.stop)", timeout=2500)


def test_too_much_is_refused(loop):
    page = loop.page
    open_editor(page)
    page.keyboard.press("Control+Home")
    page.keyboard.insert_text("# as it was\n")
    page.keyboard.insert_text("a" * 1_000_000)
    assert page.inner_text(".sheet .seen .says >> nth=0") == "A block holds at most 20,000 letters."
    assert written(page).startswith("# as it was\n@torch")


def test_a_link_brings_a_change_and_does_not_run_it(loop):
    page, no = loop.page, loop.nav("currentSlideNo")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_editor(page)
    write(page, changed(SWAPPED))
    page.fill(".sheet .ask input >> nth=0", "a castle in the snow")
    page.click(".sheet >> text=Link")
    page.wait_for_function("() => document.querySelector('.sheet .seen .says').innerText.startsWith('Copied')")
    link = page.evaluate("navigator.clipboard.readText()")
    page.fill(".sheet .ask input >> nth=0", "painting depicting the sea, sunrise, ship")
    page.click(".sheet >> text=As it was")
    assert link.startswith(f"{loop.address}#/{no}?change=") and len(link) < 2000

    reader = page.context.new_page()
    reader.goto(link)
    reader.wait_for_selector(".sheet .cm-changed")
    assert "noise_cond, noise_uncond = both.chunk(2)" in reader.inner_text(".sheet .cm-changed")
    assert reader.input_value(".sheet .ask input >> nth=0") == "a castle in the snow"
    assert "It runs only when you press Run" in reader.inner_text(".sheet .note")
    reader.wait_for_timeout(500)
    assert {name.split("-")[0] for name in fetched(reader)} == {"Sheet"} and "change=" not in reader.url
    assert not reader.evaluate("document.activeElement.closest('.cm-editor') !== null")  # keys are the slide's
    reader.keyboard.press("ArrowRight")
    reader.wait_for_selector(".sheet", state="hidden")
    reader.goto(link[:-20] + "x")
    reader.wait_for_function(
        "() => document.querySelector('.sheet .says')?.innerText.startsWith('The link is damaged')"
    )
    reader.close()


def test_presenter_and_audience_see_the_same_and_one_of_them_runs_it(loop):
    page, no = loop.page, loop.nav("currentSlideNo")
    audience, presenter = page.context.new_page(), page.context.new_page()
    for window, at in ((audience, ""), (presenter, "presenter/")):
        window.goto(f"{loop.address}#/{at}{no}")
        window.wait_for_selector("#slide-content .change-it >> visible=true")
    presenter.bring_to_front()
    open_editor(presenter)
    write(presenter, changed(TWO_STEPS))
    audience.wait_for_selector(".sheet .cm-changed")
    audience.wait_for_function(
        "lines => document.querySelectorAll('.sheet .cm-line').length === lines", arg=written(presenter).count("\n") + 1
    )
    assert written(audience) == written(presenter) and not audience.evaluate(OFFSET)
    presenter.keyboard.press("Control+Enter")
    audience.wait_for_function(
        "() => /^Painted/.test(document.querySelector('.sheet .seen .says').innerText)", timeout=WAIT
    )
    assert pixels(audience, CHANGED) == pixels(presenter, CHANGED)
    assert {name.split("-")[0] for name in fetched(audience)} == {"Sheet"}
    presenter.keyboard.press("Escape")
    presenter.keyboard.press("ArrowRight")
    audience.wait_for_selector(".sheet", state="hidden")
    audience.close()
    presenter.close()


def test_on_a_phone(loop):
    page, no = loop.page, loop.nav("currentSlideNo")
    page.set_viewport_size({"width": 360, "height": 740})
    page.click(".upright >> text=change the code")
    page.wait_for_selector(".sheet.upright")
    assert page.evaluate("document.querySelector('.sheet').scrollWidth") <= 360 and loop.nav("currentSlideNo") == no
    boxes = [page.locator(f".sheet {part}").bounding_box() for part in (".go", ".place", ".pictures", ".ideas")]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 360 for box in boxes)
    assert boxes[0]["height"] >= 44 and violations(page) == []
    page.set_viewport_size({"width": 980, "height": 552})


def test_on_paper_the_block_is_as_it_was(loop):
    loop.page.emulate_media(media="print")
    assert not loop.page.is_visible("#slide-content .change-it >> nth=0")
    loop.page.emulate_media(media="screen")
