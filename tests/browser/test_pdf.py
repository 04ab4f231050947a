"""The deck on paper, in both languages: `make pdf`."""

import html
import re
import unicodedata

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader
from pypdf.generic import DictionaryObject

import pdf
from sources import FIGURE, slides
from walk import ROOT


def export(tmp_path_factory, language):
    output = tmp_path_factory.mktemp("pdf") / "slides.pdf"
    pdf.export(ROOT / "dist", output, language)
    return PdfReader(output)


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    return export(tmp_path_factory, "en")


@pytest.fixture(scope="module")
def printed_ja(tmp_path_factory):
    return export(tmp_path_factory, "ja")


@pytest.fixture(params=["en", "ja"])
def both(request):
    """(the PDF, what a walk saw) in each language"""
    names = {"en": ("printed", "walked"), "ja": ("printed_ja", "walked_ja")}[request.param]
    return tuple(map(request.getfixturevalue, names))


def letters(text):
    """Of any language, and only these"""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", text).lower())


def test_a_page_for_each_slide_and_none_blank(both):
    printed, walked = both
    titles = [item.title for item in printed.outline]
    assert titles == walked.titles and len(printed.pages) == len(titles)
    for title, page in zip(titles, printed.pages):
        text = letters(page.extract_text())
        assert letters(title.split(": ")[-1]) in text and len(text) > len(letters(title)), title
        assert [round(float(side)) for side in page.mediabox[2:]] == [735, 414]  # 980 x 552 px, in points


def fonts(resources):
    """Of a page, and of what is drawn on it"""
    yield from (font.get_object() for font in resources.get("/Font", DictionaryObject()).get_object().values())
    for drawn in resources.get("/XObject", DictionaryObject()).get_object().values():
        if "/Resources" in drawn.get_object():
            yield from fonts(drawn.get_object()["/Resources"].get_object())


def test_the_fonts_are_in_it(both):
    """Every font is embedded: a program, or the drawing of each of its letters"""
    printed, count = both[0], 0
    for page in printed.pages:
        for font in fonts(page["/Resources"].get_object()):
            count += 1
            if font["/Subtype"] == "/Type3":
                assert font["/CharProcs"]
            else:
                font = font["/DescendantFonts"][0].get_object() if "/DescendantFonts" in font else font
                assert {"/FontFile", "/FontFile2", "/FontFile3"} & set(font["/FontDescriptor"].get_object())
    assert count > len(printed.pages)


def test_slides_show_their_final_state(printed, walked):
    """What a click brings is on the paper: the last of the three notes under the losses"""
    page = printed.pages[walked.titles.index("Three losses: spot the differences")]
    assert letters("are one more input") in letters(page.extract_text())


def test_what_the_speaker_says_has_a_page_of_its_own(deck):
    """And the slide is as it was before"""
    next(deck.walk([3]))
    slide = deck.nav("currentSlideRoute.meta.slide")
    deck.page.add_style_tag(content=pdf.PAGE + pdf.NOTE)
    made = [pdf.printed(deck.page), pdf.spoken(deck.page, 3, slide)]
    deck.settle(3, 0)
    made.append(pdf.printed(deck.page))
    before, note, after = ("".join(letters(page.extract_text()) for page in PdfReader(data).pages) for data in made)
    assert letters(html.unescape(re.sub("<[^>]*>", "", slide["noteHTML"]))) in note and letters(slide["title"]) in note
    assert before == after and note not in before


def test_what_moves_stands_still_on_paper(printed, walked):
    """Its still is on the page, pixel by pixel, but for what a JPEG loses, most of it where noise has colours"""
    pixels = lambda image: np.asarray(image.convert("RGB"), dtype=float)
    still = lambda name: ROOT / "dist/figures" / name.replace(".", "_still.")
    stills = [
        (title, still(name)) for title, text in slides() for name in set(FIGURE.findall(text)) if still(name).exists()
    ]
    assert len(stills) > 1
    for title, path in stills:
        drawn = [image.image for image in printed.pages[walked.titles.index(title)].images]
        expected = Image.open(path)
        assert any(d.size == expected.size and abs(pixels(d) - pixels(expected)).mean() < 8 for d in drawn), title
