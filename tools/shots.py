"""Pictures of every slide at every click, .build/shots/NN-CC.png, to look at.

python tools/shots.py [dist] [--language ja] [--slides 3 4 7] [--last] [--sheet all.png]
"""

import argparse
import shutil
from pathlib import Path

from PIL import Image

from deck import FOLDER, HEIGHT, WIDTH, open_deck
from sdscope import files

OUT = Path(".build/shots")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", nargs="?", default="dist")
    parser.add_argument("--language", choices=FOLDER, default="en")
    parser.add_argument("--slides", type=int, nargs="+", help="only these")
    parser.add_argument("--last", action="store_true", help="only the last click of each slide")
    parser.add_argument("--sheet", type=Path, help="and all of them on one sheet")
    args = parser.parse_args()
    if args.sheet:
        files.check(args.sheet, parents=True)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with open_deck(args.dist, language=args.language, scale=1.5) as deck:
        for no, click in deck.walk(args.slides):
            if not args.last or click == deck.nav("clicksTotal"):
                deck.page.screenshot(path=OUT / f"{no:02}-{click:02}.png")
                print(f"\r{OUT}/{no:02}-{click:02}.png", end="", flush=True)
    print()
    if args.sheet:
        sheet(sorted(OUT.glob("*.png")), args.sheet)
        print(args.sheet)
    for problem in dict.fromkeys(deck.take_problems()):
        print(problem)


def sheet(paths, output, columns=5, width=WIDTH // 2, gap=8):
    """Small pictures in rows"""
    height, rows = width * HEIGHT // WIDTH, -(-len(paths) // columns)
    board = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), "#22303c")
    for i, path in enumerate(paths):
        small = Image.open(path).convert("RGB").resize((width, height), Image.LANCZOS)
        board.paste(small, (gap + i % columns * (width + gap), gap + i // columns * (height + gap)))
    with files.writing(output, parents=True) as part:
        board.save(part)


if __name__ == "__main__":
    main()
