"""The deck on paper: `make pdf`."""
import re

import pytest
from pypdf import PdfReader
from walk import ROOT

import pdf


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    output = tmp_path_factory.mktemp("pdf") / "slides.pdf"
    pdf.export(ROOT / "dist", output)
    return PdfReader(output)


def letters(text):
    return re.sub(r"[^a-z0-9]", "", text.lower())


def test_a_page_for_each_slide_and_none_blank(printed, walked):
    titles = [item.title for item in printed.outline]
    assert titles == walked.titles and len(printed.pages) == len(titles)
    for title, page in zip(titles, printed.pages):
        text = letters(page.extract_text())
        assert letters(title.split(": ")[-1]) in text and len(text) > len(letters(title)), title
        assert [round(float(side)) for side in page.mediabox[2:]] == [735, 414]  # 980 x 552 px, in points


def test_the_fonts_are_in_it(printed):
    """Every font is embedded: a program, or the drawing of each of its letters"""
    objects = [printed.get_object(i) for i in range(1, len(printed.xref[0]) + 1)]
    fonts = [o for o in objects if isinstance(o, dict) and o.get("/Type") == "/Font"]
    drawn = [font for font in fonts if font["/Subtype"] == "/Type3"]
    for font in drawn:
        assert font["/CharProcs"]
    for font in fonts:
        if font not in drawn and font["/Subtype"] != "/Type0":  # a Type 0 font is made of others, which are seen here too
            assert {"/FontFile", "/FontFile2", "/FontFile3"} & set(font["/FontDescriptor"].get_object())
    assert fonts


def test_slides_show_their_final_state(printed, walked):
    """What a click brings is on the paper: the last of the three notes under the losses"""
    page = printed.pages[walked.titles.index("Two losses: spot the difference")]
    assert letters("are one more input") in letters(page.extract_text())
