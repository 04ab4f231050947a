"""The built deck in the three engines that browsers are made of, on this machine: `make engines`.

In Chromium, Firefox and WebKitGTK: every slide of both languages after its last click, a prompt painted as Python
paints it, a block of code changed and run, and all but the slides once more when the server is gone. The slides as each
shows them: .build/engines/.
"""

import multiprocessing
import re
import shutil
import signal
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

import browser
import serve
import webdriver
from deck import HEIGHT, WIDTH, Deck
from sdscope import StableDiffusion
from sdscope.pixels import psnr, to_tensor
from shots import sheet

OUT = Path(".build/engines")
LOOK = Path("tests/browser/look.js").read_text()  # what is wrong with a slide as it stands
SMALLEST, LEAST = 14, 40  # px of a letter, as the tests have it; dB between a picture and Python's
WAIT = 300_000  # ms, for a picture on a busy machine
PROMPT, STEPS = "a lighthouse by the sea at night, watercolor", 4
PICTURE = """() => {
    const canvas = document.querySelector('.lab .picture canvas')
    return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]
}"""
KEPT = """async address => {
    const kept = (await caches.keys()).find(name => name.startsWith(`deck ${address} `))
    return navigator.serviceWorker.controller && kept && (await (await caches.open(kept)).keys()).length > 60
}"""
REGION = re.search(r" *# region denoise\n(.*?) *# endregion", Path("src/sdscope/pipeline.py").read_text(), re.S)[1]
CHANGED = textwrap.dedent(REGION).replace("int(num_inference_steps)", "2")
OPEN = """() => {
    const button = [...document.querySelectorAll('#slide-content .change-it')].find(button => button.checkVisibility())
    button?.click()
    return Boolean(button)
}"""
SAYS = """['.cm-told', '.failed', '.seen .says'].map(part => document.querySelector(`.sheet ${part}`))
    .find(Boolean).innerText"""


@contextmanager
def chromium(width, height):
    with sync_playwright() as playwright:
        found = browser.launch(playwright)
        page = found.new_context(viewport=dict(width=width, height=height), reduced_motion="reduce").new_page()
        page.version = found.version
        yield page
        found.close()


ENGINES = {  # how it is opened, the programs it needs, Debian's packages of these
    "Chromium": (chromium, [browser.NAMES], "chromium"),
    "Firefox": (webdriver.firefox, [webdriver.FIREFOX], "firefox-esr"),
    "WebKitGTK": (webdriver.webkit, [["WebKitWebDriver"], ["xvfb-run"]], "webkit2gtk-driver xvfb"),
}


@contextmanager
def serving(folder):
    """-> its address, and what ends the server: a process of its own, so that no connection outlives it"""
    server = serve.make_server(folder)
    process = multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True)
    process.start()
    server.server_close()
    yield f"http://localhost:{server.server_port}/", lambda: (process.kill(), process.join())
    process.kill()


def slides(deck, folder):
    faults = {}
    folder.mkdir(parents=True)
    for no in deck.walk_last():
        deck.page.screenshot(path=folder / f"{no:03}.png")
        faults[no] = [*deck.page.evaluate(LOOK, [WIDTH, HEIGHT, SMALLEST]), *deck.take_problems()]
    sheet(sorted(folder.glob("*.png")), folder.with_suffix(".png"))
    right = sum(not found for found in faults.values())
    return f"{right} of {no}", [f"slide {no}: {wrong}" for no, found in faults.items() for wrong in found]


def lab(deck, expected):
    deck.page.goto(f"{deck.address}#/lab?prompt={PROMPT.replace(' ', '+')}&steps={STEPS}")
    deck.page.wait_for_function("() => document.querySelector('.lab .save')", timeout=WAIT)
    painted = np.array(deck.page.evaluate(PICTURE), np.uint8).reshape(*expected.size, 4)[..., :3]
    like = psnr(to_tensor(painted), to_tensor(expected)).item()
    return f"{like:.1f} dB", deck.take_problems() + [f"the picture is like Python's by {like:.1f} dB only"] * (
        like < LEAST
    )


def code(deck):
    page = deck.page
    page.goto(f"{deck.address}#/1")
    deck.settle(1, 0)
    no = deck.nav("slides.findIndex(slide => slide.meta.slide.title === 'The loop')") + 1
    page.goto(f"{deck.address}#/{no}")
    deck.settle(no, 0)
    page.wait_for_function(OPEN)
    page.wait_for_function("() => document.activeElement.closest('.cm-editor')")
    page.keyboard.press("Control+a")
    page.evaluate("text => document.execCommand('insertText', false, text)", CHANGED)
    page.keyboard.press("Control+Enter")
    page.wait_for_function("() => document.querySelector('.sheet .stop')")
    page.wait_for_function("() => document.querySelector('.sheet .go:not(.stop)')", timeout=WAIT)
    said = page.evaluate(SAYS)
    return said, deck.take_problems() + [f"the code said: {said}"] * (not said.startswith("Painted in "))


def second_visit(deck, stop, expected):
    deck.page.goto(f"{deck.address}#/2")
    deck.page.wait_for_function(KEPT, arg=deck.address, timeout=WAIT)
    stop()
    deck.page.goto("about:blank")
    deck.page.goto(f"{deck.address}#/2")
    deck.settle(2, 0)
    wrong = deck.page.evaluate(LOOK, [WIDTH, HEIGHT, SMALLEST])
    faults = [*wrong, *lab(deck, expected)[1], *code(deck)[1]]
    return "slide, Lab and code", [
        fault for fault in faults if "ERR_CONNECTION_REFUSED" not in fault
    ]  # as it should be


def row(name, expected):
    """Its cells, and what is wrong"""
    cells, faults = [], []
    with ENGINES[name][0](WIDTH, HEIGHT) as page, serving("dist") as (site, stop):
        english, japanese = Deck(page, site), Deck(page, site, "ja")
        checks = {
            "en": lambda: slides(english, OUT / name / "en"),
            "ja": lambda: slides(japanese, OUT / name / "ja"),
            "lab": lambda: lab(english, expected),
            "code": lambda: code(english),
            "second visit": lambda: second_visit(english, stop, expected),
        }
        for what, check in checks.items():
            try:
                said, found = check()
            except Exception as error:  # whatever a browser says: the next check may work all the same
                said, found = "no", [str(error).splitlines()[0]]
            print(f"{name}, {what}: {said}", *found, sep="\n    ", file=sys.stderr, flush=True)
            cells.append(said if not found else f"{said}: {len(found)} faults")
            faults += [f"{name}, {what}: {fault}" for fault in found]
        return [f"{name} {page.version}", *cells], faults


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # no browser is left behind
    names = sys.argv[1:] or list(ENGINES)
    missing = [name for name in names if not all(any(map(shutil.which, either)) for either in ENGINES[name][1])]
    shutil.rmtree(OUT, ignore_errors=True)
    expected = StableDiffusion.from_pretrained("postcard")(PROMPT, num_inference_steps=STEPS, seed=42)
    print(
        "| engine | slides | in Japanese | Lab, beside Python | changed code | without a server |",
        "| --- " * 6 + "|",
        sep="\n",
    )
    wrong = []
    for name in [name for name in names if name not in missing]:
        cells, faults = row(name, expected)
        print("|", " | ".join(cells), "|", flush=True)
        wrong += faults
    print(*wrong, sep="\n")
    for name in missing:
        print(f"{name} is not here: apt-get install {ENGINES[name][2]}", file=sys.stderr)
    sys.exit(2 if missing else bool(wrong))


if __name__ == "__main__":
    main()
