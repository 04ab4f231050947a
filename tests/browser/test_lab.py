"""The Lab in a real browser: a prompt of one's own, painted in the page. tests/browser/test_engine.py looks at the
numbers."""

import io
import math
import re

import numpy as np
import pytest
from conftest import decibels
from PIL import Image

from sdscope import ImageToImage, Inpaint
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


def shown(page, selector):
    """What a canvas shows, (side, side, 4) bytes"""
    data = np.array(pixels(page, selector), np.uint8)
    side = math.isqrt(len(data) // 4)
    return data.reshape(side, side, 4)


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


SHEET, VEIL, PICTURE = ".lab .easel canvas", ".lab .easel .veil", ".lab .picture canvas"


def drag(page, *points):
    """The pointer over the canvas, pressed; points in its own pixels"""
    box = page.locator(SHEET).first.bounding_box()
    (x, y), *rest = [(box["x"] + x * box["width"] / 256, box["y"] + y * box["height"] / 256) for x, y in points]
    page.mouse.move(x, y)
    page.mouse.down()
    for x, y in rest:
        page.mouse.move(x, y)
    page.mouse.up()


def test_a_picture_to_begin_with_and_a_part_to_repaint(lab, postcard):
    """Opened, drawn by pointer and by keyboard; what is painted is what Python paints of the same picture and mask"""
    page, no = lab.page, lab.nav("currentSlideNo")
    parts = postcard.tokenizer, postcard.text_encoder, postcard.unet, postcard.vae, postcard.scheduler
    fetched = []
    page.on("request", lambda request: fetched.append(request.url.rpartition("/")[2]))
    tool = lambda name: page.locator(".lab .easel").get_by_label(name, exact=True)
    page.get_by_role("button", name="From a picture").click()
    assert looked(page) == [] and violations(page) == []

    page.set_input_files(".lab [type=file]", dict(name="a.png", mimeType="image/png", buffer=b"no picture"))
    page.wait_for_selector(".lab .says:has-text('no picture that this browser can open')")
    assert page.locator(".lab .begins").count() == 0
    opened = Image.new("RGBA", (300, 200), "#c2562d00")  # of its middle the upper half is transparent
    opened.paste("#c2562d", (0, 100, 300, 200))
    opened.save(png := io.BytesIO(), "png")
    page.set_input_files(".lab [type=file]", dict(name="b.png", mimeType="image/png", buffer=png.getvalue()))
    page.wait_for_selector(".lab .begins")
    assert shown(page, SHEET)[[40, 210], 128].tolist() == [[255] * 4, [194, 86, 45, 255]]
    assert page.locator(".lab .warn").count() == 0

    tool("blue").click()
    drag(page, (60, 40), (200, 40))
    page.locator(SHEET).first.focus()  # the brush is where the pointer left it
    for key in ["ArrowDown"] * 5 + ["Space"] + ["ArrowLeft"] * 9 + ["Space"]:
        page.keyboard.press(key)
    assert page.inner_text(".lab .easel [aria-live]") == "Brush up, 128 across, 80 down"
    drawn = shown(page, SHEET)
    assert (drawn[[40, 40, 80, 80], [100, 230, 160, 100], 0] < 100).tolist() == [True, False, True, False]
    page.keyboard.press("Control+z")
    assert shown(page, SHEET)[80, 160, 0] == 255
    assert lab.nav("currentSlideNo") == no

    page.get_by_role("slider", name="Strength").fill("0.5")
    page.keyboard.press("Escape")
    assert "vae_encoder.onnx" not in fetched and lab.take_problems() == []
    page.route("**/vae_encoder.onnx", lambda route: route.abort())
    page.press(".lab textarea", "Enter")
    page.wait_for_selector(".lab .says:has-text('vae_encoder.onnx could not be fetched')", timeout=WAIT)
    page.unroute("**/vae_encoder.onnx")
    assert all("vae_encoder.onnx" in problem for problem in lab.take_problems())  # told by the browser, too
    paint(page, PROMPT)
    assert page.get_by_label("Fast: 4 steps").is_checked()
    assert "From your picture: 2 of 4 steps." in page.inner_text(".lab .says")
    assert page.get_attribute(".lab .steps input", "max") == "2"  # and the picture
    call = dict(num_inference_steps=4, seed=42)
    image = Image.fromarray(shown(page, SHEET)[..., :3])
    expected = ImageToImage(*parts)(PROMPT, image, strength=0.5, **call)
    assert decibels(shown(page, PICTURE)[..., :3], expected) >= 40

    page.get_by_role("button", name="Repaint").click()
    assert (shown(page, SHEET) == shown(page, PICTURE)).all()
    tool("thin").click()
    drag(page, (12, 12))  # between the places of the latents
    page.press(".lab textarea", "Enter")
    page.wait_for_selector(".lab .says:has-text('The mask is empty')", timeout=WAIT)
    tool("Undo").click()
    tool("thick").click()
    drag(page, (60, 200), (200, 200), (200, 120))
    tool("eraser").click()
    drag(page, (200, 120))
    veil = shown(page, VEIL)[..., 3]
    assert veil[200, 100] == 255 and veil[[120, 30], [200, 30]].tolist() == [0, 0]
    paint(page, "a red boat")
    assert "Only under the mask: 4 of 4 steps." in page.inner_text(".lab .says")
    image, mask = Image.fromarray(shown(page, SHEET)[..., :3]), Image.fromarray(veil)
    expected = Inpaint(*parts)("a red boat", image, mask, **call)
    assert decibels(shown(page, PICTURE)[..., :3], expected) >= 40
    assert fetched.count("vae_encoder.onnx") == 2  # in vain, and once

    tool("mask: what is to be painted again").click()
    drag(page, *[(x, y) for y in range(4, 256, 31) for x in [(4, 252), (252, 4)][y // 31 % 2]])
    assert "The mask covers everything" in page.inner_text(".lab .warn")
    tool("Clear").click()
    assert page.locator(".lab .begins, .lab .warn").count() == 0
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
    deck.page.set_viewport_size({"width": 360, "height": 740})
    deck.page.goto(f"{deck.address}#/lab")
    deck.page.wait_for_selector(".lab .mark")
    deck.page.get_by_role("button", name="From a picture").click()
    assert deck.page.evaluate("document.querySelector('main').scrollWidth") <= 360
    parts = (".ask", ".picture", ".small", ".easel canvas", ".easel .tools")
    boxes = [deck.page.locator(f".lab {part}").first.bounding_box() for part in parts]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 360 for box in boxes)
    assert boxes[0]["y"] < boxes[3]["y"] < boxes[1]["y"]  # what is drawn on stands above what is painted
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
        ("Lab", [(".also button", "click"), (".easel canvas", "click")], ".begins"),
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
