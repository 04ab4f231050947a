"""The built deck as a PDF in each language: a page for each slide, as it stands after its last click.

python tools/pdf.py [dist]      .build/slides.pdf and .build/slides.ja.pdf
"""

import argparse
import io
from pathlib import Path

from PIL import Image
from pypdf import PdfWriter

from deck import HEIGHT, WIDTH, open_deck
from sdscope import files

# Chromium prints what is on the screen, at its size; the deck's own navigation, and what can be pressed, stay away.
PAGE = f"""@page {{ size: {WIDTH}px {HEIGHT}px; margin: 0 }}
    html, body {{ width: {WIDTH}px; height: {HEIGHT}px; overflow: hidden }}
    nav, .slidev-nav, .change-it, .language {{ display: none !important }}"""
OUTPUT = {"en": Path(".build/slides.pdf"), "ja": Path(".build/slides.ja.pdf")}


def as_jpeg(route):
    """A picture that is lossy already goes onto the page as a JPEG, which a PDF holds as it is; of any other kind
    Chromium writes every pixel."""
    answer = route.fetch()
    if answer.body()[12:16] != b"VP8 ":
        return route.fulfill(response=answer)
    file = io.BytesIO()
    Image.open(io.BytesIO(answer.body())).save(file, "JPEG", quality=88, subsampling=0)
    return route.fulfill(body=file.getvalue(), content_type="image/jpeg")


def export(dist, output, language="en"):
    """Writes the PDF; -> its pages, bytes"""
    pages = PdfWriter()
    with open_deck(dist, language=language) as deck:
        deck.page.add_init_script("delete Navigator.prototype.serviceWorker")  # what it answers, nobody else does
        deck.page.route("**/*.webp", as_jpeg)
        deck.page.emulate_media(media="screen", reduced_motion="reduce")
        for no in deck.walk_last():
            deck.page.add_style_tag(content=PAGE)
            data = deck.page.pdf(width=f"{WIDTH}px", height=f"{HEIGHT}px", print_background=True, page_ranges="1")
            pages.append(io.BytesIO(data), outline_item=deck.nav("currentSlideRoute.meta.slide.title"))
            print(f"\rslide {no}", end="", flush=True)
        title = deck.page.evaluate("document.title")
    pages.add_metadata({"/Title": title})
    pages.compress_identical_objects()  # each page came with the fonts
    return written(pages, output)


def written(pages, output):
    """All of it or nothing; -> its pages, bytes"""
    with files.writing(output, parents=True) as part:
        pages.write(part)
    return len(pages.pages), output.stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", nargs="?", default="dist")
    args = parser.parse_args()
    for output in OUTPUT.values():
        files.check(output, parents=True)
    for language, output in OUTPUT.items():
        count, size = export(args.dist, output, language)
        print(f"\r{output}: {count} pages, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
