"""Code of the slides on the speaker's machine, with torch behind the deck (tools/live.py), and where it is gone."""

import re

from deck import open_deck
from live import Live
from test_code import CHANGED, SWAPPED, TWO_STEPS, changed, go_to, open_editor, run
from test_lab import WAIT, pixels
from walk import ROOT, looked, open_built, violations

SHOWN = "[...document.querySelectorAll('#slide-content img')].filter(img => img.checkVisibility())"


def test_cells_have_a_button_where_torch_is_behind_the_deck():
    with open_built() as deck:
        page = deck.page
        page.goto(deck.address)
        port = page.evaluate("location.port")
        page.context.add_cookies([{"name": f"kernel-{port}", "value": "yes", "url": deck.address}])
        page.reload()
        go_to(deck, "One line of code, one picture")
        page.click("#slide-content .change-it >> visible=true")
        page.wait_for_selector(".sheet .cm-line")
        assert page.inner_text(".sheet figcaption") == "run here" and page.locator(".sheet figcaption").count() == 1
        page.keyboard.press("End")
        page.keyboard.type("  # 1")
        assert page.inner_text(".sheet figcaption") == "changed"
        page.click(".sheet .close")
        assert page.inner_text("#slide-content .change-it >> visible=true") == "changed e"
        pages = [path.read_text() for path in (ROOT / "slides/pages/en").glob("*.md")]
        slides = [slide for page in pages for slide in page.split("\n---\n")]
        cells = [slide for slide in slides if re.search(r"^<<< @/embed/\S+\.py", slide, re.M)]
        for title in [re.search(r"^# (.*)", slide, re.M)[1] for slide in cells]:
            go_to(deck, title)
            page.wait_for_selector("#slide-content .change-it.cells >> visible=true")
            page.wait_for_function(f"() => {SHOWN}.every(img => img.naturalWidth)")
            assert looked(page) == [], title


def test_torch_on_the_machine_and_the_page_where_it_is_gone():
    live = Live()
    try:
        with open_deck(ROOT / "dist", live=live) as deck:
            page = deck.page
            go_to(deck, "The loop")
            open_editor(page)
            assert run(page, changed(TWO_STEPS)).startswith("Painted in ")
            assert re.fullmatch(r"Python torch [\d.]+ on this machine", page.inner_text(".sheet .badge"))
            plain = pixels(page, CHANGED)
            dies = "__import__('sys').platform == 'emscripten' or __import__('os')._exit(1)"
            dying = changed(TWO_STEPS, ("return latents", f"{dies}\n    return latents"))
            assert run(page, dying).startswith("Painted in ")
            assert page.inner_text(".sheet .badge") == "Python in this page"
            told = page.inner_text(".sheet .printed")
            assert told.startswith("Python is gone") and told.strip().endswith("the page's own Python goes on.")
            assert run(page, changed(TWO_STEPS, SWAPPED)).startswith("Painted in ")  # another kernel has started
            assert "torch" in page.inner_text(".sheet .badge") and pixels(page, CHANGED) != plain

            assert deck.take_problems() == []
            page.context.grant_permissions(["clipboard-read", "clipboard-write"])
            page.click(".sheet >> text=Link")
            page.wait_for_function("() => document.querySelector('.sheet .seen .says').innerText.startsWith('Copied')")
            link = page.evaluate("navigator.clipboard.readText()")
            page.goto("about:blank")
            page.goto(link)
            page.wait_for_selector(".sheet .cm-changed")
            page.keyboard.press("Control+Enter")  # somebody else's code: never on the machine
            page.wait_for_selector(".sheet .seen .says:has-text('Painted in')", timeout=WAIT)
            assert page.inner_text(".sheet .badge") == "Python in this page"
            page.click(".sheet .close")

            go_to(deck, "One line of code, one picture")
            open_editor(page)
            run(page, "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nprint('plotted')")
            assert page.get_attribute(".sheet .wide img", "src").startswith("data:image/png")
            assert page.inner_text(".sheet .printed").strip() == "plotted" and violations(page) == []
            run(page, "x = 0\n1 / x")
            assert page.inner_text(".sheet .cm-told").startswith("ZeroDivisionError")
            assert page.inner_text(".sheet .cm-wrong") == "1 / x"
    finally:
        live.close()
