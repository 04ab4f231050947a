"""The deck to read, on paper, in each language: what each slide shows, and what the speaker says.

python tools/handout.py [dist]  .build/handout.pdf and .build/handout.ja.pdf
"""

import argparse
import io
from pathlib import Path

from pypdf import PdfReader, PdfWriter

from deck import open_deck
from pdf import as_jpeg, written
from sdscope import files
from sdscope.errors import in_one_line

# Pictures are fetched when they are near, and paper has no near.
ALL_THERE = """async () => {
    document.querySelectorAll('img').forEach(img => (img.loading = 'eager'))
    await Promise.all([document.fonts.ready, ...[...document.images].map(img => img.decode())])
}"""
FOOT = """<p style="width: 100%; margin: 0; font: 8pt Inter, sans-serif; text-align: center; color: #5f6b76">
    <span class="pageNumber"></span></p>"""
OUTPUT = {"en": Path(".build/handout.pdf"), "ja": Path(".build/handout.ja.pdf")}


def export(dist, output, language="en"):
    """Writes the PDF; -> its pages, bytes"""
    with open_deck(dist, language=language) as deck:
        deck.page.route("**/*.webp", as_jpeg)
        deck.page.emulate_media(media="print")
        deck.page.goto(f"{deck.address}read.html")
        deck.page.evaluate(ALL_THERE)
        data = deck.page.pdf(
            prefer_css_page_size=True,
            print_background=True,
            display_header_footer=True,
            header_template="<p></p>",
            footer_template=FOOT,
            outline=True,
            tagged=True,
        )
    return written(PdfWriter(PdfReader(io.BytesIO(data)), full=True), output)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", nargs="?", default="dist")
    dist = parser.parse_args().dist
    for output in OUTPUT.values():
        files.check(output, parents=True)
    for language, output in OUTPUT.items():
        count, size = export(dist, output, language)
        print(f"{output}: {count} pages, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    with in_one_line("tools/handout.py"):
        main()
