"""Pictures of every slide at every click, .build/shots/NN-CC.png, to look at.

    python tools/shots.py [dist] [--slides 3 4 7] [--last]
"""
import argparse
import shutil
from pathlib import Path

from deck import open_deck

OUT = Path(".build/shots")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", nargs="?", default="dist")
    parser.add_argument("--slides", type=int, nargs="+", help="only these")
    parser.add_argument("--last", action="store_true", help="only the last click of each slide")
    args = parser.parse_args()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with open_deck(args.dist, scale=1.5) as deck:
        for no, click in deck.walk(args.slides):
            if not args.last or click == deck.nav("clicksTotal"):
                deck.page.screenshot(path=OUT / f"{no:02}-{click:02}.png")
                print(f"\r{OUT}/{no:02}-{click:02}.png", end="", flush=True)
    print()
    for problem in dict.fromkeys(deck.take_problems()):
        print(problem)


if __name__ == "__main__":
    main()
