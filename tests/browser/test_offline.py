"""The second visit, with the network off: the deck from its service worker, the model from the engine's store."""
from walk import open_built


def test_a_second_visit_needs_no_network():
    with open_built() as deck:
        page = deck.page
        page.goto(f"{deck.address}#/lab?prompt=a+red+boat&steps=2")
        page.wait_for_selector(".lab .save", timeout=120_000)
        page.goto(f"{deck.address}#/2")
        deck.settle(2, 0)
        page.wait_for_function("async () => (await (await caches.open((await caches.keys()).find(name => name.startsWith('deck ')))).keys()).length > 60")
        first = page.inner_text("#slide-content")
        page.context.set_offline(True)
        page.goto("about:blank")
        page.goto(f"{deck.address}#/2")
        deck.settle(2, 0)
        assert page.inner_text("#slide-content") == first
        assert page.evaluate("[...document.querySelectorAll('#slide-content img')].every(img => !img.checkVisibility() || img.naturalWidth)")
        page.goto("about:blank")
        page.goto(f"{deck.address}#/lab?prompt=a+blue+boat&steps=2")
        page.wait_for_selector(".lab .save", timeout=120_000)
