"""Execute the notebooks and publish what they make: figures, manifest, excerpts, facts."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from . import excerpts, facts, manifest

REPOSITORY = "https://github.com/understand-stable-diffusion/understand-stable-diffusion-from-code"


class NotebookError(Exception):
    """A notebook failed; the message says which cell and why."""


def run(root: Path, names: list[str] = (), say=print) -> None:
    """Execute notebooks/NAME.ipynb (all, when none is named) and fill public/ and embed/ of `root`.

    A notebook writes into a folder of its own under .build; only when all its cells
    have run is anything moved to public/ and embed/. What it made before and does not make any more goes.
    """
    paths = [root / "notebooks" / f"{name}.ipynb" for name in names] or sorted((root / "notebooks").glob("*.ipynb"))
    missing = [p for p in paths if not p.exists()]
    if missing:
        raise NotebookError(f"no such notebook: {missing[0]}")
    for path in paths:
        began = time.monotonic()
        stage = root / ".build" / "stage" / path.stem
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
        executed = execute(path, stage, say)
        check(path.stem, executed, stage)
        nbformat.write(executed, make(root / ".build" / "notebooks") / path.name)
        publish(path.stem, stage, root / "public")
        excerpts.write(path.stem, executed, root / "embed")
        say(f"{path.stem}: {len(manifest.read(stage))} figures in {time.monotonic() - began:.0f} s")
    manifest.write_json(root / "public" / "facts.json", facts.facts())
    say("public/facts.json")


def execute(path: Path, stage: Path, say=print) -> nbformat.NotebookNode:
    """The notebook with its outputs. Its figures go to `stage`. A cell that fails: NotebookError."""
    notebook = nbformat.read(path, as_version=4)
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    at = {"cell": 0}

    def started(cell, cell_index):
        at["cell"] = cell_index
        if cell_index in code:
            progress(f"{path.stem}: cell {code.index(cell_index) + 1} of {len(code)} {tag(cell)}")

    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3", on_cell_start=started,
        extra_arguments=["--log-level=50"],  # it would warn of its own sockets
        resources={"metadata": {"path": str(path.parent)}},
    )  # fmt: skip
    try:
        client.execute(env={**os.environ, "SDSCOPE_OUT": str(stage.resolve())})
    except CellExecutionError as error:
        cell = notebook.cells[at["cell"]]
        where = f"cell {code.index(at['cell']) + 1} {tag(cell)}".strip()
        raise NotebookError(f"{path.name}, {where}: {error.ename}: {error.evalue}\n\n{cell.source}") from None
    except (DeadKernelError, AssertionError, KeyboardInterrupt):  # nbclient's own answers to Ctrl-C
        raise NotebookError(f"{path.name}: stopped, or out of memory; nothing was changed") from None
    finally:
        progress("")
    return notebook


def check(name: str, notebook, stage: Path) -> None:
    """Each figure must come from the cell that its manifest entry names."""
    cells = {t: cell.source for cell in notebook.cells for t in cell.metadata.get("tags", [])}
    for figure, entry in manifest.read(stage).items():
        if entry["notebook"] != name or f'"{figure}"' not in cells.get(entry["cell"], ""):
            raise NotebookError(f"{name}: {figure} was not saved by a cell tagged {entry['cell']!r}")


def publish(name: str, stage: Path, public: Path) -> None:
    """Move a finished notebook's figures to `public`; its figures of earlier runs that it no longer makes go."""
    new = manifest.read(stage)
    old = [k for k, entry in manifest.read(public).items() if entry["notebook"] == name and k not in new]
    for figure in new:
        manifest.write(public / "figures" / figure, (stage / "figures" / figure).read_bytes())
    manifest.update(new, remove=old, folder=public)
    for figure in old:
        (public / "figures" / figure).unlink(missing_ok=True)


def make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def tag(cell) -> str:
    return " ".join(f"[{t}]" for t in cell.metadata.get("tags", []))


def progress(line: str) -> None:
    """One line that replaces the one before; silent when nobody watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
