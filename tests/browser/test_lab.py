"""The Lab in a real browser: a prompt of one's own, painted in the page. tests/browser/test_engine.py looks at the
numbers."""

import re

import pytest

from test_access import open_slide
from walk import looked, violations

PROMPT = "a lighthouse by the sea at night, watercolor"
WAIT = 300_000  # ms: a busy machine may take its time


def paint(page, prompt, steps=4):
    page.fill(".lab textarea", prompt)
    page.get_by_label("Steps", exact=True).fill(str(steps))
    page.press(".lab textarea", "Enter")
    page.wait_for_selector(".lab .save", timeout=WAIT)


def pixels(page, selector):
    return page.evaluate(
        """selector => {
          const { width, height } = document.querySelector(selector)
          return [...document.querySelector(selector).getContext('2d').getImageData(0, 0, width, height).data]
        }""",
        selector,
    )


@pytest.fixture
def lab(deck):
    open_slide(deck, "Lab")
    return deck


def test_a_recorded_run_is_shown_and_nothing_is_fetched_until_somebody_paints(lab):
    assert lab.page.inner_text("#slide-content .lab .mark") == "recorded"
    names = lab.page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in names if "model/" in name or name.endswith(".wasm")] == []


def test_a_prompt_of_ones_own(lab, postcard):
    page = lab.page
    paint(page, PROMPT + " zeppelin")
    assert re.search(r"Painted in [\d.]+ s, in this page, on \d+ threads?\.", page.inner_text(".lab .says"))
    assert "read in pieces: zeppelin" in page.inner_text(".lab .says")
    words = page.locator(".lab .words button").all_inner_texts()
    assert words == ["a", "lighthouse", "by", "the", "sea", "at", "night", ",", "watercolor", "zeppelin"]

    assert page.locator(".lab .over").count() == 0
    page.locator(".lab .words button", has_text="lighthouse").hover()
    first = pixels(page, ".lab .over")
    page.keyboard.press("Escape")  # the prompt has the focus: comma and full stop belong to it
    page.keyboard.press(",")
    page.keyboard.press(",")
    page.locator(".lab .words button", has_text="lighthouse").hover()
    assert pixels(page, ".lab .over") != first  # another step, another map
    assert page.get_attribute(".lab input[type=range]", "aria-valuetext").startswith("step")

    page.get_by_role("radio", name="UNet", exact=True).click()
    page.locator(".lab rect[aria-label^='down_blocks.1.resnets.0']").click()
    side = postcard.size // 16  # half of what the latents have
    assert f"{side} × {side} places" in page.inner_text(".lab .feature")
    page.get_by_role("radio", name="embeddings", exact=True).click()
    assert f"{postcard.text_encoder.config.hidden_size} numbers each" in page.inner_text(".lab .tabs")
    assert looked(page) == [] and violations(page) == [] and lab.take_problems() == []


def test_every_step_has_its_picture_in_the_end(lab):
    """Those for which there was no time are decoded afterwards; until then the one before it is shown"""
    page, seen = lab.page, []
    paint(page, PROMPT)
    for step in range(4):
        page.locator(".lab input[type=range]").fill(str(step))
        drawn = page.wait_for_function(
            """seen => {
              const drawn = document.querySelector('.lab .picture canvas').toDataURL()
              return seen.includes(drawn) ? null : drawn
            }""",
            arg=seen,
            timeout=WAIT,
        )
        seen.append(drawn.json_value())
    assert lab.take_problems() == []


def test_stop_and_leave(lab):
    page = lab.page
    page.get_by_label("Steps", exact=True).fill("150")
    page.press(".lab textarea", "Enter")
    page.wait_for_function(
        "() => /Step [2-9] of 150/.test(document.querySelector('.lab .says').innerText)", timeout=WAIT
    )
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector(".lab .go:has-text('Paint')")
    page.press(".lab textarea", "Enter")
    page.wait_for_function(
        "() => /Step [2-9] of 150/.test(document.querySelector('.lab .says').innerText)", timeout=WAIT
    )
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#slide-content .lab .go:has-text('Paint')")
    assert "Painted" not in page.inner_text("#slide-content .lab .says")


def test_what_cannot_be_is_said_in_place(lab):
    page = lab.page
    page.route("**/model/unet.onnx", lambda route: route.fulfill(body=b"not a model"))
    page.press(".lab textarea", "Enter")
    page.wait_for_function("() => document.querySelector('.lab .says').innerText.length > 20", timeout=WAIT)
    page.wait_for_selector(".lab .go:has-text('Paint')", timeout=WAIT)
    said = page.inner_text(".lab .says")
    assert "unet.onnx is damaged" in said and page.inner_text(".lab .mark") == "recorded"
    page.unroute("**/model/unet.onnx")
    page.get_by_label("Steps", exact=True).fill("2")
    page.press(".lab textarea", "Enter")  # and it can be tried again
    page.wait_for_selector(".lab .save", timeout=WAIT)


def test_a_link_holds_the_settings_and_asks_for_the_picture(deck):
    page = deck.page
    page.goto(f"{deck.address}#/lab?prompt=a+castle+in+the+snow&seed=7&steps=3&guidance=2&scheduler=euler")
    page.wait_for_selector(".lab .save", timeout=WAIT)
    assert page.input_value(".lab textarea") == "a castle in the snow" and page.input_value(".lab select") == "euler"
    assert [page.get_by_label(name, exact=True).input_value() for name in ("Seed", "Steps", "Guidance")] == [
        "7",
        "3",
        "2",
    ]
    with page.expect_download() as saved:
        page.get_by_role("button", name="animation").click()
    assert (
        saved.value.suggested_filename == "a-castle-in-the-snow.gif"
        and saved.value.path().read_bytes()[:6] == b"GIF89a"
    )
    with page.expect_download() as saved:
        page.get_by_role("button", name="picture", exact=True).click()
    assert saved.value.path().read_bytes()[1:4] == b"PNG"
    assert violations(page) == [] and deck.take_problems() == []


def test_the_page_on_a_phone(deck):
    deck.page.set_viewport_size({"width": 390, "height": 844})
    deck.page.goto(f"{deck.address}#/lab")
    deck.page.wait_for_selector(".lab .mark")
    assert deck.page.evaluate("document.querySelector('main').scrollWidth") <= 390
    boxes = [deck.page.locator(f".lab {part}").first.bounding_box() for part in (".ask", ".picture", ".small")]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    assert violations(deck.page) == []


def test_both_windows_of_a_talk_show_the_run_and_other_tabs_do_not(lab):
    page, context = lab.page, lab.page.context
    hash_ = page.evaluate("location.hash").split("?")[0]
    audience, presenter = context.new_page(), context.new_page()
    for window, at in ((audience, hash_), (presenter, hash_.replace("#/", "#/presenter/"))):
        window.goto(f"{lab.address}{at}")
        window.wait_for_selector("#slide-content .lab .mark")
    presenter.bring_to_front()
    presenter.locator(".lab textarea").first.fill("a red boat")
    presenter.get_by_label("Steps", exact=True).first.fill("2")
    presenter.locator(".lab textarea").first.press("Enter")
    audience.wait_for_selector("#slide-content .lab .save", timeout=WAIT)
    assert audience.locator("#slide-content .lab .words button").all_inner_texts() == ["a", "red", "boat"]
    presenter.close()
    reader = context.new_page()
    reader.goto(f"{lab.address}{hash_}")
    reader.wait_for_selector("#slide-content .lab .mark")
    paint(audience, "a blue boat", steps=2)
    reader.wait_for_timeout(300)
    assert reader.inner_text("#slide-content .lab .mark") == "recorded"


@pytest.mark.parametrize(
    "component, button, picture",
    [
        ("GuidanceSlider", "Paint it here", ".guidance canvas"),
        ("SchedulerRace", "Race DDIM and DPM++ here", ".lanes figure:last-child canvas"),
        ("WithoutScheduler", "Subtract here", ".without canvas"),
        ("PromptWalk", "Walk here", ".here figure:last-child canvas:not(.empty)"),
    ],
)
def test_experiments_run_in_the_chapters(deck, component, button, picture):
    open_slide(deck, component)
    assert deck.page.locator(f"#slide-content {picture}").count() == 0
    deck.page.get_by_role("button", name=button).click()
    deck.page.wait_for_selector(f"#slide-content {picture}", timeout=WAIT)
    deck.page.wait_for_selector("#slide-content .live:has-text('Painted in this page')", timeout=WAIT)
    assert looked(deck.page) == [] and violations(deck.page) == [] and deck.take_problems() == []


def windows(deck, component):
    """The presenter's and the audience's, on the slide of this component"""
    open_slide(deck, component)
    at = deck.page.evaluate("location.hash").split("?")[0]
    presenter, audience = deck.page.context.new_page(), deck.page.context.new_page()
    presenter.goto(f"{deck.address}{at.replace('#/', '#/presenter/')}")
    audience.goto(f"{deck.address}{at}")
    for window in (audience, presenter):
        window.wait_for_selector("#slide-content .slidev-layout >> visible=true")
    presenter.bring_to_front()
    return presenter, audience


SHOWN = """selector => {
    const found = [...document.querySelectorAll(`#slide-content ${selector}`)].find(e => e.checkVisibility())
    return found?.value || found?.innerText
}"""


@pytest.mark.parametrize(
    "component, act, seen",
    [
        ("GuidanceSlider", [(".stepper input", "press", "ArrowRight")], ".stepper output"),
        ("GuidanceSlider", [(".own input", "fill", "a red boat")], ".own input"),
        ("SchedulerRace", [(".stepper input", "press", "ArrowRight")], ".stepper output"),
        ("WithoutScheduler", [(".stepper input", "press", "ArrowRight")], ".stepper output"),
        ("PromptWalk", [(".ends input", "fill", "a red boat")], ".ends input"),
        ("WordAttention", [(".words button", "click")], ".words [aria-checked=true]"),
        ("WordAttention", [(".thumbs button", "click")], ".stepper output"),
        ("TokenStrip", [(".choose button >> nth=1", "click"), (".strip li", "hover")], ".told"),
        ("ShapeLedger", [(".models button >> nth=1", "click"), (".ledger rect", "hover")], ".told"),
        ("Lab", [(".tabs [role=radio] >> nth=2", "click")], ".tabs [aria-checked=true]"),
    ],
)
def test_what_the_speaker_does_is_seen_in_the_other_window(deck, component, act, seen):
    presenter, audience = windows(deck, component)
    before = audience.evaluate(SHOWN, seen)
    for selector, does, *what in act:
        getattr(presenter.locator(f"#slide-content {selector} >> visible=true").first, does)(*what)
    now = presenter.evaluate(SHOWN, seen)
    assert now != before
    audience.wait_for_function(f"([selector, text]) => ({SHOWN})(selector) === text", arg=[seen, now])
    assert deck.take_problems() == []


def test_what_the_speaker_paints_is_seen_in_the_other_window_and_painted_once(deck):
    presenter, audience = windows(deck, "GuidanceSlider")
    presenter.get_by_role("button", name="Paint it here").first.click()
    audience.wait_for_selector("#slide-content .live:has-text('Painted in this page')", timeout=WAIT)
    assert pixels(audience, ".guidance canvas") == pixels(presenter, ".guidance canvas")
    names = audience.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in names if name.endswith((".onnx", ".wasm"))] == []
