"""Walks through the built deck, on which several tests look: every slide at every click, and in Japanese after its
last."""

import io
from pathlib import Path
from types import SimpleNamespace

from PIL import Image

from deck import HEIGHT, WIDTH, open_deck

ROOT = Path(__file__).parents[2]
LOOK, LINES = ((Path(__file__).parent / name).read_text() for name in ("look.js", "lines.js"))
AXE = (ROOT / "node_modules/axe-core/axe.min.js").read_text()
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RUN_AXE = f"axe.run(document, {{ runOnly: {LEVELS} }}).then(found => found.violations)"
# What never stands still of its own accord: pictures are known by their files, the rest by what it does.
STIRS = """() => {
    const all = selector => [...document.querySelectorAll(`#slide-content ${selector}`)]
    const running = document.getAnimations().filter(a => a.playState === 'running')
    return [
        ...all('img').filter(e => e.checkVisibility()).map(e => e.currentSrc.split('/').at(-1)),
        ...running.map(a => `an animation of ${a.effect.target?.className}`),
        ...all(':is(video, animate, animateTransform, [aria-label=Pause])').map(e => e.outerHTML.slice(0, 60)),
    ]
}"""
# Where the notebooks' pictures are on the slide
PAINTED = """() => [...document.querySelectorAll('#slide-content img')].filter(e => e.checkVisibility())
    .map(e => e.getBoundingClientRect()).map(box => [box.x, box.y, box.width, box.height])"""
SMALLEST_TEXT = 14  # px on the canvas; formulas have smaller parts of their own


def looked(page):
    """What is wrong with the slide as it stands: sentences"""
    return page.evaluate(LOOK, [WIDTH, HEIGHT, SMALLEST_TEXT])


def stirs(page):
    """What moves on the slide: names of files with several frames, animations of CSS, videos, a slider that plays"""
    figures = ROOT / "dist/figures"
    still = lambda name: (figures / name).is_file() and getattr(Image.open(figures / name), "n_frames", 1) == 1
    return [what for what in page.evaluate(STIRS) if not what.startswith("data:") and not still(what)]


def violations(page):
    """What axe-core says against the page: sentences"""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    return [
        f"{v['id']}: {node['target'][0]}: {node['failureSummary']}"
        for v in page.evaluate(RUN_AXE)
        for node in v["nodes"]
    ]


def open_built(language="en"):
    """A fresh browser on the deck, served under a sub path as a static host would"""
    return open_deck(ROOT / "dist", prefix="/some/sub/path/", language=language)


def picture(page):
    """The slide, without the one word that is in the machine's own letters"""
    png = page.screenshot(style=".language { visibility: hidden }")
    return Image.open(io.BytesIO(png)).convert("RGB")


def walk():
    """faults: {(slide, what is wrong): click where it was first seen}; barriers: {what axe says: slide};
    pictures: {title: the slide after its last click}, painted: {title: where on it pictures of notebooks are};
    titles, notes, said (below the slide, on a phone), short, stirs: of each slide"""
    seen = SimpleNamespace(faults={}, barriers={}, pictures={}, painted={})
    seen.titles, seen.notes, seen.said, seen.short, seen.stirs = [], [], [], [], []
    with open_built() as deck:
        for no, click in deck.walk():
            for what in [*looked(deck.page), *deck.take_problems()]:
                seen.faults.setdefault((no, what), click)
            if click == deck.nav("clicksTotal"):
                slide = deck.nav("currentSlideRoute.meta.slide")
                seen.titles.append(slide["title"])
                seen.notes.append(slide["noteHTML"])
                seen.said.append(deck.page.text_content(".upright .said"))
                seen.stirs.append(stirs(deck.page))
                seen.short.append(bool(slide["frontmatter"].get("short")))
                seen.pictures[slide["title"]] = shown = picture(deck.page)
                seen.painted[slide["title"]] = deck.page.evaluate(PAINTED)
                if shown.getcolors(100):
                    seen.faults.setdefault((no, "is blank"), click)
                for what in violations(deck.page):
                    seen.barriers.setdefault(what, no)
    return seen


def walk_japanese():
    """faults: [slide: what is wrong]; titles, notes: of each slide"""
    seen = SimpleNamespace(faults=[], titles=[], notes=[])
    with open_built("ja") as deck:
        for no in deck.walk_last():
            slide = deck.nav("currentSlideRoute.meta.slide")
            seen.titles.append(slide["title"])
            seen.notes.append(slide["noteHTML"])
            wrong = [*looked(deck.page), *deck.page.evaluate(LINES), *deck.take_problems()]
            seen.faults += [f"slide {no}, {slide['title']}: {what}" for what in wrong]
    return seen
