"""Cut tagged cells out of an executed notebook, for the slides: what ran, and what it printed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def write(name: str, notebook, embed: Path) -> None:
    """embed/NAME/TAG.py is a tagged cell's source, embed/NAME/TAG.txt its text output (where there is one)."""
    folder, part = embed / name, embed / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for cell in notebook.cells:
        for tag in cell.metadata.get("tags", []) if cell.cell_type == "code" else ():
            (part / f"{tag}.py").write_text(cell.source.rstrip() + "\n")
            output = text_output(cell)
            if output:
                (part / f"{tag}.txt").write_text(output + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def text_output(cell) -> str:
    """What the cell printed and the value of its last line; warnings, errors and figures are left out."""
    parts = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            parts.append(output.text)
        elif output.output_type == "execute_result" and set(output.data) == {"text/plain"}:
            parts.append(output.data["text/plain"] + "\n")
    return ANSI.sub("", "".join(parts)).rstrip()
