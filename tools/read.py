"""What the built deck also has to read, without a script: read.html, the deck in one column, and notebooks/*.html.

python tools/read.py [dist]
"""

import argparse
from pathlib import Path

from reading import deck, notebooks
from reading.page import Parts, page, styles
from sdscope import files
from sdscope.errors import in_one_line
from sources import ENTRY


def write(dist):
    parts = Parts()
    settings = deck.settings_of(ENTRY)
    cover, *slides = deck.slides(ENTRY, parts)
    shown = notebooks.shown_on(ENTRY)
    read = [notebooks.read(path, shown, parts) for path in notebooks.paths()]
    told = dict(settings=settings, cover=cover, slides=slides, lang=settings["lang"], up="")
    made = {"read.html": page("deck.html.j2", **told, styles=parts.draw())}
    names = [notebook["name"] for notebook in read]
    for notebook in read:
        told = dict(notebook, names=names, lang="en", up="../")
        made[f"notebooks/{notebook['name']}.html"] = page("notebook.html.j2", **told)
    for name, text in made.items():
        files.write(dist / name, parts.fill(text), parents=True)
    files.write(dist / "read.css", styles(dist))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", nargs="?", type=Path, default=Path("dist"))
    write(parser.parse_args().dist)


if __name__ == "__main__":
    with in_one_line("tools/read.py"):
        main()
