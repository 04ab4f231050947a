"""What the built deck also has to read, without a script: read.html, the deck in one column, and notebooks/*.html.
Below ja/ the same in Japanese.

python tools/read.py [dist]
"""

import argparse
from pathlib import Path

from reading import deck, notebooks
from reading.page import Edition, page, styles
from sdscope import files
from sdscope.errors import in_one_line


def write(dist):
    for edition in map(Edition, ("en", "ja")):
        made = {**pages(edition), "read.css": styles(dist, edition)}
        for name, text in made.items():
            files.write(dist / edition.folder / name, text, parents=True)


def pages(edition):
    """{path from the deck's folder: HTML}"""
    settings = deck.settings_of(edition)
    cover, *slides = deck.slides(edition)
    shown = notebooks.shown_on(edition)
    read = [notebooks.read(path, shown, edition) for path in notebooks.paths(edition)]
    told = dict(settings=settings, cover=cover, slides=slides, styles=edition.parts.draw())
    made = {"read.html": page("deck.html.j2", edition, "read.html", **told)}
    names = [notebook["name"] for notebook in read]
    for notebook in read:
        path = f"notebooks/{notebook['name']}.html"
        made[path] = page("notebook.html.j2", edition, path, **notebook, names=names, deck=settings["title"])
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", nargs="?", type=Path, default=Path("dist"))
    write(parser.parse_args().dist)


if __name__ == "__main__":
    with in_one_line("tools/read.py"):
        main()
