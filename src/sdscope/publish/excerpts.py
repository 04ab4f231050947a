"""Cut tagged cells out of an executed notebook, for the slides: what ran, and what it printed."""

from __future__ import annotations

import re
from pathlib import Path

from nbconvert import HTMLExporter
from nbformat.v4 import new_notebook
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

ANSI = re.compile(r"\x1b\[[0-9;]*m")
# Pygments' class names (k: keyword, s2: string ...), no style of its own. Figures are left out: the manifest
# knows which file a cell has saved.
TEMPLATE = """\
<div class="cell">
<pre class="source">{{ nb.cells[0].source | python }}</pre>
{%- if nb.cells[0] | text_output %}
<pre class="output">{{ nb.cells[0] | text_output | escape }}</pre>
{%- endif %}
</div>"""


def write(notebook, folder: Path) -> None:
    """Of each tagged cell: TAG.py, its source; TAG.txt, its text output, where there is one; TAG.html, both."""
    filters = {"python": python, "text_output": text_output}
    html = HTMLExporter(raw_template=TEMPLATE, filters=filters)
    folder.mkdir(parents=True)
    for cell in notebook.cells:
        for tag in cell.metadata.get("tags", []) if cell.cell_type == "code" else ():
            (folder / f"{tag}.py").write_text(cell.source.rstrip() + "\n")
            if output := text_output(cell):
                (folder / f"{tag}.txt").write_text(output + "\n")
            (folder / f"{tag}.html").write_text(html.from_notebook_node(new_notebook(cells=[cell]))[0] + "\n")


def python(source: str) -> str:
    return highlight(source, PythonLexer(), HtmlFormatter(nowrap=True)).rstrip()


def text_output(cell) -> str:
    """What the cell printed and the value of its last line; warnings, errors and figures are left out."""
    parts = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            parts.append(output.text)
        elif output.output_type == "execute_result" and set(output.data) == {"text/plain"}:
            parts.append(output.data["text/plain"] + "\n")
    return ANSI.sub("", "".join(parts)).rstrip()
