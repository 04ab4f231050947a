"""The deck at work, as animations for the README: docs/lab.webp, a prompt typed into the Lab, painted, looked at;
docs/canvas.webp, a few triangles drawn there, and painted; docs/code.webp, a line of the loop changed on its slide, and
what becomes of the picture.

python tools/recording.py [lab | canvas | code]        of dist/
"""

import argparse
import io
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from PIL import Image

from deck import open_deck
from sdscope import files
from sdscope.loading.checkpoint import find_model
from sdscope.loading.weights import weights_sha256

DOCS = Path("docs")
PROMPT = "watercolor of a lighthouse by the sea at night"
PLUS = "noise = noise_uncond +"  # of guidance: it will be a minus, away from the words
MOUNTAINS = "oil painting of mountains, sunset"
STROKES = [  # colour, width, and where the pointer goes, in pixels of the canvas
    ("sky blue", "thick", [[(256 * ((i + 1) // 2 % 2), 20 + 36 * (i // 2)) for i in range(11)]]),
    ("yellow", "thick", [[(190, 60)]]),
    ("grey", "thick", [[(30, 190), (80, 100), (130, 190), (80, 145)]]),
    ("grey", "thick", [[(120, 200), (180, 130), (240, 200), (180, 170)]]),
    ("white", "medium", [[(66, 112), (80, 86), (94, 112)]]),
    ("green", "thick", [[(0, 215), (256, 215), (256, 245), (0, 245)]]),
]
WIDTH, QUALITY = 784, 45
LARGEST = 400_000  # bytes
LONG = 300_000  # ms: a busy machine may take its time
ABOUT = 0x010E  # where a picture says what it is: Exif's ImageDescription


def weights_of(path):
    """The hash of the weights that a recording was made with"""
    return Image.open(path).getexif().get(ABOUT)


def record_lab(deck, shoot):
    page = deck.page
    go_to(deck, "Try it: a prompt of your own", ".lab .mark")
    shoot(900)
    page.keyboard.press("/")
    for end in range(0, len(PROMPT) + 1, 4):
        page.fill(".lab textarea", PROMPT[:end])
        shoot(90)
    page.fill(".lab textarea", PROMPT)
    shoot(500)
    page.keyboard.press("Enter")
    shoot_steps(page, shoot, ".lab .says", until=".lab .save")
    shoot(1500)
    page.locator(".lab .words button", has_text="lighthouse").hover()
    shoot(1800)
    page.locator(".lab .words button", has_text="night").hover()
    shoot(1800)
    page.mouse.move(0, 0)
    page.get_by_role("radio", name="UNet", exact=True).click()
    page.locator(".lab rect[aria-label^='up_blocks.3.resnets.0']").click()
    shoot(2500)


def record_canvas(deck, shoot):
    page = deck.page
    go_to(deck, "Try it: a prompt of your own", ".lab .mark")
    page.fill(".lab textarea", MOUNTAINS)
    page.locator(".lab textarea").blur()
    page.get_by_role("button", name="From a picture").click()
    shoot(900)
    box = page.locator(".lab .easel canvas").first.bounding_box()
    for colour, width, strokes in STROKES:
        for tool in (colour, width):
            page.locator(".lab .easel").get_by_label(tool, exact=True).click()
        for stroke in strokes:
            for i, (x, y) in enumerate(stroke):
                page.mouse.move(box["x"] + x * box["width"] / 256, box["y"] + y * box["height"] / 256)
                if not i:
                    page.mouse.down()
                shoot(90)
            page.mouse.up()
    shoot(1200)
    page.keyboard.press("Escape")
    page.locator(".lab .go").click()
    shoot_steps(page, shoot, ".lab .says", until=".lab .save")
    shoot(4000)


def record_code(deck, shoot):
    page = deck.page
    go_to(deck, "The loop", ".change-it")
    shoot(1500)
    page.keyboard.press("e")
    line = page.locator(".sheet .cm-line", has_text=PLUS)
    line.evaluate("line => line.scrollIntoView({ block: 'center' })")
    line.click(position={"x": 90, "y": 8})
    page.keyboard.press("Home")
    for _ in PLUS:
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(500)
    shoot(1500)
    page.keyboard.press("Backspace")
    shoot(300)
    page.keyboard.type("-")
    shoot(1200)
    page.keyboard.press("Control+Enter")
    shoot_steps(page, shoot, ".sheet .seen .says >> nth=0", until=".sheet .go:not(.stop)")
    shoot(3000)


def go_to(deck, title, ready):
    deck.page.goto(f"{deck.address}#/1")
    deck.page.wait_for_selector("h1")
    titles = deck.nav("slides.map(slide => slide.meta.slide.title)")
    deck.page.goto(f"{deck.address}#/{titles.index(title) + 1}")
    deck.page.wait_for_selector(f"#slide-content {ready} >> visible=true")
    deck.page.wait_for_timeout(500)


def shoot_steps(page, shoot, says, until):
    """A frame for each step that the page tells of, as long as there is no `until`"""
    page.wait_for_function("says => /step/i.test(document.querySelector(says).innerText)", arg=says.split(" >> ")[0])
    seen = ""
    while not page.locator(until).count():
        page.wait_for_timeout(20)
        told = page.locator(says).inner_text()
        if "step" in told.lower() and told != seen:
            shoot(130)
        seen = told


def record(record_scene, output):
    frames, times = [], []
    with open_deck("dist") as deck:
        deck.page.set_default_timeout(LONG)

        def shoot(ms):
            image = Image.open(io.BytesIO(deck.page.screenshot())).convert("RGB")
            frames.append(np.asarray(image.resize((WIDTH, round(WIDTH * image.height / image.width)), Image.LANCZOS)))
            times.append(ms)

        record_scene(deck, shoot)
    about = Image.Exif()
    about[ABOUT] = weights_sha256(find_model("postcard"))
    options = dict(duration=times, loop=0, quality=QUALITY, method=6, exif=about)
    data = imageio.imwrite("<bytes>", frames, extension=".webp", plugin="pillow", **options)
    if len(data) > LARGEST:
        raise SystemExit(
            f"{len(data) / 1e6:.2f} MB: more than {LARGEST / 1e6} MB, so it is not written; lower QUALITY."
        )
    files.write(output, data)
    print(f"{output}: {len(frames)} frames, {len(data) / 1e3:.0f} kB")


SCENES = {"lab": record_lab, "canvas": record_canvas, "code": record_code}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scene", nargs="?", choices=SCENES, help="all, if none is named")
    asked = parser.parse_args().scene
    for scene in [asked] if asked else SCENES:
        files.check(output := DOCS / f"{scene}.webp")
        record(SCENES[scene], output)


if __name__ == "__main__":
    main()
