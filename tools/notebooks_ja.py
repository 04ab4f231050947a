"""The Japanese notebooks: the code of the English ones, the prose of notebooks/ja/NAME.md.

python tools/notebooks_ja.py [--check]

A section of NAME.md is the text of a markdown cell. The line above it names the cell and has the hash of the English
that was translated: when that changes, the translation is to follow.
"""

import argparse
import hashlib
import re
import sys
from pathlib import Path

import nbformat

from sdscope import files

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SECTION = re.compile(r"^(<!-- (\S+) [0-9a-f]{8} -->)\n", re.M)


def heading(cell):
    """The line above its translation. Without the targets of links, which `make address` changes"""
    words = re.sub(r"\]\([^)]*\)", "]", cell.source)
    return f"<!-- {cell.id} {hashlib.sha256(words.encode()).hexdigest()[:8]} -->"


def japanese(path):
    """The Japanese notebook that goes with the English one at `path`, as text"""
    notebook, prose = nbformat.read(path, as_version=4), path.parent / "ja" / f"{path.stem}.md"
    left = {cell.id: cell for cell in notebook.cells if cell.cell_type == "markdown"}
    _, *parts = SECTION.split(prose.read_text()) if prose.exists() else [""]
    for line, name, text in zip(parts[::3], parts[1::3], parts[2::3]):
        if name not in left:
            sys.exit(f"notebooks/ja/{prose.name}: there is no cell for section {name}, or one above it: remove it")
        if line != heading(left[name]):
            sys.exit(f"notebooks/ja/{prose.name}: cell {name} has changed: translate it, under {heading(left[name])}")
        left.pop(name).source = text.strip()
    for name, cell in left.items():
        sys.exit(f"notebooks/ja/{prose.name}: there is no section for cell {name}: write it, under {heading(cell)}")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(notebook) + "\n"


def main(arguments=None, notebooks=NOTEBOOKS):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if there is something to do")
    check = parser.parse_args(arguments).check
    made = {path.parent / "ja" / path.name: japanese(path) for path in sorted(notebooks.glob("*.ipynb"))}
    for path, text in made.items():
        if not check:
            files.write(path, text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"notebooks/ja/{path.name} is not made of what is here: run `python tools/notebooks_ja.py`")


if __name__ == "__main__":
    main()
