"""The built deck as a PDF in each language: a page for each slide, as it stands after its last click.

python tools/pdf.py [dist]          .build/slides.pdf and .build/slides.ja.pdf
python tools/pdf.py [dist] --notes  with what the speaker says after each slide: slides.notes.pdf, slides.ja.notes.pdf
"""

import argparse
import io
from pathlib import Path

import pikepdf
from PIL import Image
from pypdf import PdfWriter

from deck import HEIGHT, WIDTH, open_deck
from sdscope import files
from sdscope.errors import in_one_line

# Chromium prints what is on the screen, at its size; the deck's own navigation, and what can be pressed, stay away.
PAGE = f"""@page {{ size: {WIDTH}px {HEIGHT}px; margin: 0 }}
    html, body {{ width: {WIDTH}px; height: {HEIGHT}px; overflow: hidden }}
    nav, .slidev-nav, .change-it, .language {{ display: none !important }}"""
# What the speaker says comes on pages of its own, so that no slide is smaller for it.
NOTE = """.noted body > :not(#note) { display: none }
    html.noted, .noted body { height: auto; overflow: visible }
    @page note { margin: 44px 60px }
    #note { page: note; font: 19px/1.55 var(--sans); color: var(--ink) }
    #note h1 { margin: 0 0 14px; font-size: 15px; color: var(--muted) }
    #note p { margin: 0 0 12px }"""
SHOW_NOTE = """([no, title, note]) => {
    document.documentElement.classList.add('noted')
    document.body.insertAdjacentHTML('beforeend', `<section id="note"><h1></h1>${note}</section>`)
    document.querySelector('#note h1').textContent = `${no}  ${title}`
}"""
OUTPUT = {"en": Path(".build/slides.pdf"), "ja": Path(".build/slides.ja.pdf")}


def as_jpeg(route):
    """A picture that is lossy already, its colours halved, goes onto the page as a JPEG of the same kind, which a PDF
    holds as it is; of any other kind Chromium writes every pixel."""
    answer = route.fetch()
    if answer.body()[12:16] != b"VP8 ":
        return route.fulfill(response=answer)
    file = io.BytesIO()
    Image.open(io.BytesIO(answer.body())).save(file, "JPEG", quality=88)
    return route.fulfill(body=file.getvalue(), content_type="image/jpeg")


def export(dist, output, language="en", notes=False):
    """Writes the PDF; -> its pages, bytes"""
    pages = PdfWriter()
    with open_deck(dist, language=language) as deck:
        deck.page.add_init_script("delete Navigator.prototype.serviceWorker")  # what it answers, nobody else does
        deck.page.route("**/*.webp", as_jpeg)
        deck.page.emulate_media(media="screen", reduced_motion="reduce")
        for no in deck.walk_last():
            slide = deck.nav("currentSlideRoute.meta.slide")
            deck.page.add_style_tag(content=PAGE + NOTE)
            pages.append(printed(deck.page, page_ranges="1"), outline_item=slide["title"])
            if notes:
                pages.append(spoken(deck.page, no, slide))
            print(f"\rslide {no}", end="", flush=True)
        title = deck.page.evaluate("document.title")
    pages.add_metadata({"/Title": title})
    for _ in range(3):  # each page came with the fonts; what holds equal parts is equal only when they are one
        pages.compress_identical_objects()
    return written(pages, output)


def spoken(page, no, slide):
    """What the speaker says of the slide that is open, on a page, or two"""
    page.evaluate(SHOW_NOTE, [no, slide["title"], slide["noteHTML"]])
    data = printed(page)
    page.evaluate("document.querySelector('#note').remove(), document.documentElement.classList.remove('noted')")
    return data


def printed(page, **options):
    return io.BytesIO(page.pdf(width=f"{WIDTH}px", height=f"{HEIGHT}px", print_background=True, **options))


def written(pages, output):
    """All of it or nothing, packed as pypdf cannot; -> its pages, bytes"""
    whole = io.BytesIO()
    pages.write(whole)
    with files.writing(output, parents=True) as part, pikepdf.open(whole) as pdf:
        pdf.save(part, object_stream_mode=pikepdf.ObjectStreamMode.generate, recompress_flate=True)
    return len(pages.pages), output.stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", nargs="?", default="dist")
    parser.add_argument("--notes", action="store_true", help="after each slide, what the speaker says")
    args = parser.parse_args()
    outputs = {language: path.with_suffix(".notes.pdf" if args.notes else ".pdf") for language, path in OUTPUT.items()}
    for output in outputs.values():
        files.check(output, parents=True)
    for language, output in outputs.items():
        count, size = export(args.dist, output, language, args.notes)
        print(f"\r{output}: {count} pages, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    with in_one_line("tools/pdf.py"):
        main()
