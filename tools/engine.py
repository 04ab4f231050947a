"""The engine and nothing else on a page of its own, tests/browser/engine, for its tests and for `make bench`;
and tests/browser/python, on which the page's Python is with it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build(folder, page="engine"):
    """The page into a folder, built as the deck is"""
    vite = [ROOT / "node_modules/.bin/vite", "build", f"tests/browser/{page}", "--config", "vite.config.ts"]
    options = ["--base", "./", "--outDir", folder, "--logLevel", "error"]
    subprocess.run([ROOT / ".venv/bin/node", *vite, *options], cwd=ROOT, check=True, stdout=sys.stderr)


def visit(chromium, address):
    """A page of a reader who was never here"""
    page = chromium.new_context().new_page()
    page.goto(address)
    ready(page)
    return page


def ready(page):
    page.wait_for_function("() => 'openEngine' in window")
