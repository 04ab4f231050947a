"""The deck in Japanese, in a real browser: its slides, its letters and lines, and the way to English and back."""

import re

import pytest

from test_offline import KEPT, SHOWN, leads_its_own_alone
from walk import LINES, ROOT, open_built

FONT = "Noto Sans JP Variable"
# Both in the page
LOADED = f"() => [...document.fonts].filter(face => face.family.includes('{FONT}') && face.status === 'loaded').length"
NO_PHRASES = """const { supports } = CSS
    CSS.supports = (...asked) => !asked.includes('auto-phrase') && supports.apply(CSS, asked)"""


def test_every_slide(walked_ja):
    """Nothing overflows, nothing comes from elsewhere, no stars of bold text, no line begins where none may begin."""
    if walked_ja.faults:
        pytest.fail("\n".join(walked_ja.faults), pytrace=False)


def test_the_slides_are_those_of_the_english_deck(walked, walked_ja):
    assert len(set(walked_ja.titles)) == len(walked_ja.titles) == len(walked.titles)
    assert all(re.search(r"[ぁ-んァ-ヶ一-龠]", note) for note in walked_ja.notes)
    assert [title for title, note in zip(walked_ja.titles, walked_ja.notes) if "**" in note] == []


def test_readings_for_the_speaker(walked_ja):
    assert "<ruby>空のプロンプト<rt>からのプロンプト</rt></ruby>" in "".join(walked_ja.notes)


def test_lines_are_looked_at(deck):
    """A comma and a particle at the beginning of a line are found, a word that begins like a particle is none."""
    deck.page.set_content("""
        <style>p { width: 4em; font-size: 20px; line-break: anywhere }</style>
        <div id="slide-content"><p>最後まで、追う</p> <p>コードを読む</p> <p>コードはじめに</p>
        <p>最後まで<br>、追う</p> <p>最後<b>です</b>、次は</p></div>""")
    assert deck.page.evaluate(LINES) == ['a line begins with "、追う"', 'a line begins with "、次は"']
    deck.page.add_style_tag(content="p { width: 3em }")
    assert 'a line begins with "を読む"' in deck.page.evaluate(LINES)


def test_the_page_says_its_language_before_any_script_runs():
    pages = {"en": ROOT / "dist/index.html", "ja": ROOT / "dist/ja/index.html"}
    alternates = {"en": {"en": "./", "ja": "./ja/"}, "ja": {"en": "../", "ja": "./"}}
    for language, page in pages.items():
        text = page.read_text()
        assert f'<html lang="{language}">' in text
        assert dict(re.findall(r'<link rel="alternate" hreflang="(\w+)" href="(.*?)">', text)) == alternates[language]


def test_letters_are_those_that_come_with_the_deck():
    with open_built("ja") as deck:
        next(deck.walk())
        assert 0 < deck.page.evaluate(LOADED) < 20  # of 120
        families = "getComputedStyle(document.querySelector('#slide-content h1')).fontFamily"
        assert FONT in deck.page.evaluate(families)
        deck.page.goto(f"{deck.site}#/1")
        deck.settle(1, 0)
        assert deck.page.evaluate(LOADED) == 0


def test_a_browser_that_knows_no_phrases_gets_them_from_budoux():
    with open_built("ja") as deck:
        deck.page.add_init_script(NO_PHRASES)
        deck.page.goto(f"{deck.address}#/2")
        deck.settle(2, 0)
        title = deck.page.inner_text("#slide-content h1 >> visible=true")
        assert title == "1\xa0行の\u200bコード、\u200b1\xa0枚の\u200b画像"
        assert "\u200b" not in deck.page.inner_text("#slide-content pre >> visible=true")
        deck.page.keyboard.press("ArrowDown")
        deck.settle(3, 0)
        assert "\u200b" in deck.page.inner_text("#slide-content .slidev-layout >> visible=true")
        assert deck.take_problems() == []


@pytest.mark.parametrize("page", ["", "presenter/"])
def test_the_other_language_shows_the_same_slide_at_the_same_click(page):
    with open_built() as deck:
        there, back = f"{deck.site}ja/#/{page}", f"{deck.site}#/{page}"
        no = next(no for no in range(5, 40) if go(deck, back, no) > 1)
        deck.page.keyboard.press("ArrowRight")
        deck.settle(no, 1)
        link = deck.page.locator(".language.in-foot")
        assert link.get_attribute("hreflang") == link.get_attribute("lang") == "ja" and link.inner_text() == "日本語"
        link.click()
        deck.page.wait_for_url(lambda url: url == f"{there}{no}?clicks=1")
        deck.settle(no, 1)
        assert deck.page.evaluate("document.documentElement.lang") == "ja"
        deck.page.keyboard.press("l")
        deck.page.wait_for_url(lambda url: url == f"{back}{no}?clicks=1")
        deck.settle(no, 1)
        assert deck.page.evaluate("document.documentElement.lang") == "en"
        assert [
            problem for problem in deck.take_problems() if "ERR_ABORTED" not in problem
        ] == []  # what was left behind


def go(deck, address, no):
    """To slide `no`; -> its clicks"""
    deck.page.goto(f"{address}{no}")
    deck.settle(no, 0)
    return deck.nav("clicksTotal")


def test_a_presenter_leads_the_audience_of_this_language_alone(deck):
    leads_its_own_alone(deck, f"{deck.site}ja/", deck.site)


def test_a_second_visit_needs_no_network_and_the_model_is_the_one_of_both():
    """The Lab in Japanese, whose model and runtime come from beside the English deck"""
    with open_built("ja") as deck:
        page, fetched = deck.page, []
        page.on("request", lambda request: request.url.endswith((".onnx", ".wasm")) and fetched.append(request.url))
        page.goto(f"{deck.address}#/lab?prompt=a+red+boat&steps=1")
        page.wait_for_selector(".lab .save", timeout=120_000)
        assert fetched and [url for url in fetched if url.startswith(deck.address)] == []
        page.goto(f"{deck.address}#/2")
        deck.settle(2, 0)
        page.wait_for_function(SHOWN)
        page.wait_for_function(KEPT, arg=deck.site)
        page.context.set_offline(True)
        page.goto("about:blank")
        page.goto(f"{deck.address}#/2")
        deck.settle(2, 0)
        assert "行のコード" in page.inner_text("#slide-content .slidev-layout >> visible=true")
        page.wait_for_function(SHOWN)
        page.goto("about:blank")
        page.goto(f"{deck.address}#/lab?prompt=a+blue+boat&steps=1")
        page.wait_for_selector(".lab .save", timeout=120_000)
