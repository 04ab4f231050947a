"""What a reader waits for: the bytes before the first slide can be read, the time, and what comes after.

python tools/load.py [dist] [--language ja]
"""

import argparse
import gzip
from pathlib import Path
from urllib.parse import unquote, urlparse

from deck import FOLDER, open_deck

TEXT = {".html", ".js", ".css", ".json"}  # what every static host compresses
READABLE = "() => document.querySelector('#slide-content h1')?.checkVisibility() && document.fonts.status === 'loaded'"


def sent(folder, deck, url):
    """(path, bytes as a static host sends them)"""
    path = unquote(url.removeprefix(deck.site).split("?")[0].split("#")[0])
    path += "index.html" if path in FOLDER.values() else ""
    data = (Path(folder) / path).read_bytes()
    return path, len(gzip.compress(data, 6)) if Path(path).suffix in TEXT else len(data)


def first_load(folder, deck, calm=6):
    """(seconds until the first slide can be read, what came before, what came in the `calm` seconds after): {path:
    bytes}"""
    urls = []
    deck.page.on("requestfinished", lambda request: urlparse(request.url).scheme == "http" and urls.append(request.url))
    deck.page.goto(deck.address, wait_until="commit")
    deck.page.wait_for_function(READABLE)
    before, seconds = len(urls), deck.page.evaluate("performance.now() / 1000")
    deck.page.wait_for_timeout(1000 * calm)  # Slidev fetches the other slides when there is nothing else to do
    files = dict(sent(folder, deck, url) for url in urls)
    return seconds, dict(list(files.items())[:before]), dict(list(files.items())[before:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", nargs="?", default="dist")
    parser.add_argument("--language", choices=FOLDER, default="en")
    args = parser.parse_args()
    with open_deck(args.dist, language=args.language) as deck:
        seconds, before, after = first_load(args.dist, deck)
    for name, files in (("before the first slide", before), ("after it", after)):
        print(f"{name}: {len(files)} files, {sum(files.values()) / 1e3:.0f} kB compressed")
        for path, size in sorted(files.items(), key=lambda item: -item[1])[:6]:
            print(f"  {size / 1e3:6.1f} kB  {path}")
    print(f"the first slide can be read after {seconds:.2f} s")


if __name__ == "__main__":
    main()
