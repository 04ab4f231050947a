"""pytest --nbmake notebooks/: every notebook is executed, with its parameters as they are, in a temporary folder.

Where public/ and embed/ have been made, it must also make the same again: every text, number and picture.
"""

import tempfile
from pathlib import Path

import pytest
from nbmake import pytest_items
from nbmake.nb_result import NotebookError
from nbmake.nb_run import NotebookRun

from sdscope import SdscopeError
from sdscope.publish import check, excerpts, execute, manifest

collect_ignore = ["ja"]  # the same cells between other prose: see tests/test_notebooks_ja.py
ROOT = Path(__file__).parents[1]
TIMEOUT = 1800  # seconds for a cell: nbmake's own 300 are few for a slow machine that has other things to do


class Run(NotebookRun):
    """nbmake has no place to say where a notebook runs, or to look at what became of it; so this stands for its own."""

    def execute(self):
        self.default_timeout = max(self.default_timeout, TIMEOUT)
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            stage = Path(folder) / self.filename.stem
            stage.mkdir()
            patch.setenv("SDSCOPE_OUT", str(stage))
            patch.setenv("OMP_NUM_THREADS", "1")  # as in `sdscope figures`: how sums are rounded depends on it
            patch.delenv("SDSCOPE_RUNS", raising=False)
            for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
                patch.setenv(name, f"{folder}/{name}")
            result = super().execute()
            if not result.error:
                result.error = found(result.nb, stage)
        return result


def found(notebook, stage):
    """What is wrong with what a notebook has made, or None"""
    try:
        execute.verify(stage.name, notebook, stage)
    except SdscopeError as error:
        return NotebookError(str(error), str(error), -1)
    if not manifest.read(ROOT / "public"):
        return None
    excerpts.write(notebook, stage / "embed")
    rows = [": ".join(row.short()) for row in check.made_again(stage, ROOT)]
    summary = f"{len(rows)} things are not as in public/ and embed/ (`make figures` makes those anew)"
    return NotebookError(summary, "\n".join([summary, *rows]), -1) if rows else None


pytest_items.NotebookRun = Run
