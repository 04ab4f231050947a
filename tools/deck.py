"""The built deck in a real browser: every slide at every click, for the tests and the screenshots.

with open_deck("dist") as deck:
    for no, click in deck.walk():
        deck.page.screenshot(path=...)
"""

import itertools
import sys
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
import browser
import serve

WIDTH, HEIGHT = 980, 552  # Slidev's canvas: the window has its size, so a CSS pixel is a pixel of the slide

# Slidev's own navigation object, in a built deck too (there is no public handle on it there).
NAV = "document.querySelector('#app')?.__vue_app__?._context.provides['$$slidev-context']?.nav"

# Fonts and pictures are there, and nothing moves but what moves for ever.
SETTLED = """() => {
    const still = a => a.playState !== 'running' || a.effect.getComputedTiming().endTime === Infinity
    return document.fonts.status === 'loaded'
        && [...document.querySelectorAll('#slide-content img')].every(img => img.complete || !img.checkVisibility())
        && document.getAnimations().every(still)
}"""


FOLDER = {"en": "", "ja": "ja/"}  # of the built deck in each language


class Deck:
    """`page` (a playwright page), addresses of the `site` and of the deck in one language (`address`), and what went
    wrong so far in `problems`."""

    def __init__(self, page, site, language="en"):
        self.page, self.site, self.address, self.problems = page, site, site + FOLDER[language], []
        page.on("console", lambda m: m.type == "error" and self.problems.append(f"console: {m.text}"))
        page.on("pageerror", lambda e: self.problems.append(f"exception: {e}"))
        page.on("requestfailed", lambda r: self.problems.append(f"request failed: {r.url} ({r.failure})"))
        page.on("response", lambda r: r.status >= 400 and self.problems.append(f"answer {r.status}: {r.url}"))
        page.on("request", self._only_here)

    def _only_here(self, request):
        if not request.url.startswith((self.site, "data:", "blob:")):
            self.problems.append(f"request to somewhere else: {request.url}")

    def nav(self, expression):
        """A field of Slidev's navigation: `clicksTotal` of this slide, `total` slides."""
        return self.page.evaluate(f"{NAV}.{expression}")

    def take_problems(self):
        """What went wrong since the last call."""
        taken, self.problems = self.problems, []
        return taken

    def settle(self, no, click):
        """Waits until slide `no` stands still at `click`."""
        there = f"document.querySelector('[data-slidev-no=\"{no}\"] .slidev-layout')"  # a jump fetches it first
        self.page.wait_for_function(f"() => {NAV}?.currentSlideNo === {no} && {NAV}.clicks === {click} && {there}")
        self.page.wait_for_timeout(50)  # what a click sets off has begun, and two frames later so have its fonts
        self.page.evaluate("() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
        self.page.wait_for_function(SETTLED)

    def walk(self, slides=None):
        """Every slide at every click by the right arrow key alone, or only the given `slides`; yields (slide,
        click)."""
        for no in slides or itertools.count(1):
            if slides or no == 1:
                self.page.goto(f"{self.address}#/{no}")
            else:
                self.page.keyboard.press("ArrowRight")
            self.settle(no, 0)
            yield no, 0
            for click in range(1, self.nav("clicksTotal") + 1):
                self.page.keyboard.press("ArrowRight")
                self.settle(no, click)
                yield no, click
            if no == self.nav("total"):
                return

    def walk_last(self):
        """Every slide as it stands after its last click; yields its number."""
        for no in itertools.count(1):
            self.page.goto(f"{self.address}#/{no}?clicks=99")  # more than any slide has
            self.page.wait_for_function(f"() => {NAV}?.currentSlideNo === {no} && {NAV}.clicksContext.isMounted")
            self.settle(no, self.nav("clicksTotal"))
            yield no
            if no == self.nav("total"):
                return


@contextmanager
def open_deck(folder, prefix="/", language="en", scale=1, reduced_motion="reduce", live=None):
    """Serves `folder` under `prefix` at a free port and opens a browser of the canvas' size on it."""
    with serve.serving(folder, prefix, live=live) as address, sync_playwright() as playwright:
        chromium = browser.launch(playwright)
        context = chromium.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=scale, reduced_motion=reduced_motion
        )
        yield Deck(context.new_page(), address, language)
        chromium.close()
