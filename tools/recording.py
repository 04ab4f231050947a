"""The Lab at work, as an animation for the README: a prompt is typed, painted, looked at. docs/lab.webp

python tools/recording.py [dist]
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

PROMPT = "watercolor of a lighthouse by the sea at night"
WIDTH, QUALITY = 784, 45
LARGEST = 1_000_000  # bytes
ABOUT = 0x010E  # where a picture says what it is: Exif's ImageDescription


def weights_of(path):
    """The hash of the weights that a recording was made with"""
    return Image.open(path).getexif().get(ABOUT)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", nargs="?", default="dist")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/lab.webp"))
    args = parser.parse_args()
    files.check(args.output)
    frames, times = [], []
    with open_deck(args.dist) as deck:
        page = deck.page

        def shoot(ms):
            image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            frames.append(np.asarray(image.resize((WIDTH, round(WIDTH * image.height / image.width)), Image.LANCZOS)))
            times.append(ms)

        page.goto(f"{deck.address}#/1")
        page.wait_for_selector("h1")
        titles = deck.nav("slides.map(slide => slide.meta.slide.title)")
        page.goto(f"{deck.address}#/{titles.index('Try it: a prompt of your own') + 1}")
        page.wait_for_selector("#slide-content .lab .mark")
        page.wait_for_timeout(500)
        shoot(900)
        page.keyboard.press("/")
        for end in range(0, len(PROMPT) + 1, 4):
            page.fill(".lab textarea", PROMPT[:end])
            shoot(90)
        page.fill(".lab textarea", PROMPT)
        shoot(500)
        page.keyboard.press("Enter")
        seen = ""
        while not page.locator(".lab .save").count():
            page.wait_for_timeout(20)
            told = page.locator(".lab .says").inner_text()
            if told.startswith("Step") and told != seen:
                shoot(130)
            seen = told
        shoot(1500)
        page.locator(".lab .words button", has_text="lighthouse").hover()
        shoot(1800)
        page.locator(".lab .words button", has_text="night").hover()
        shoot(1800)
        page.mouse.move(0, 0)
        page.get_by_role("radio", name="UNet", exact=True).click()
        page.locator(".lab rect[aria-label^='up_blocks.3.resnets.0']").click()
        shoot(2500)
    about = Image.Exif()
    about[ABOUT] = weights_sha256(find_model("postcard"))
    options = dict(duration=times, loop=0, quality=QUALITY, method=6, exif=about)
    data = imageio.imwrite("<bytes>", frames, extension=".webp", plugin="pillow", **options)
    if len(data) > LARGEST:
        raise SystemExit(
            f"{len(data) / 1e6:.2f} MB: more than {LARGEST / 1e6:.0f} MB, so it is not written; lower QUALITY."
        )
    files.write(args.output, data)
    print(f"{args.output}: {len(frames)} frames, {len(data) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
