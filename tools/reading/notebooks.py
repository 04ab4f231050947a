"""A notebook as a page: its cells with what came of them, which is in embed/ and public/, and where slides show it."""

import html
import json
import re

import nbformat

from sources import FIGURE, INCLUDE, ROOT, slides, with_components

from .page import GITHUB, code, figure, figures

# One cell ends with the picture itself: the one that this figure shows (the tour compares them).
PICTURES = {("01_tour", "bit_for_bit"): "ship.webp"}
BADGE = re.compile(r"\[!\[[^]]*\]\([^)]*\)\]\(([^)]*)\)\n?")
LONGEST = 2000  # letters of data, as a notebook itself shows them


def paths(edition):
    return sorted((ROOT / "notebooks" / edition.folder).glob("*.ipynb"))


def shown_on(edition):
    """{(notebook, cell): {number of a slide: its title}}; cell "": of all that lead to the notebook"""
    found = {}
    for no, (title, text) in enumerate(slides(edition.entry), 1):
        everything = with_components(text)
        cells = {re.fullmatch(r"@/embed/(\w+)/(\w+)\.\w+", path) for path, *_ in INCLUDE.findall(text)} - {None}
        cells = {cell.groups() for cell in cells}
        made = [figures()[name] for name in FIGURE.findall(everything)]
        cells |= {(figure["notebook"], figure["cell"]) for figure in made}
        cells |= {(notebook, "") for notebook in re.findall(r'<Source\b[^>]*\bnotebook="([^"]+)"', text)}
        for notebook, cell in cells:
            for place in (notebook, cell), (notebook, ""):
                found.setdefault(place, {})[no] = title
    return found


def read(path, shown, edition):
    """What tools/reading/notebook.html.j2 asks for"""
    cells = nbformat.read(path, as_version=4).cells
    first = cells[0].source
    title = re.match(r"# (.*)", first)[1]
    made = []
    for cell in cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"^# .*", "", BADGE.sub("", cell.source)).replace(".ipynb)", ".html)")
            made.append({"text": edition.parts.text(text)})
        else:
            tag = next(iter(cell.metadata.get("tags", [])), "")
            slides = shown.get((path.stem, tag), {}) if tag else {}
            out = outputs(path.stem, tag, edition)
            made.append({"tag": tag, "code": code(cell.source, "python"), "out": out, "slides": slides})
    colab, kaggle = BADGE.findall(first)
    return dict(
        name=path.stem, title=title, cells=made, colab=colab, kaggle=kaggle,
        source=f"{GITHUB}/blob/main/notebooks/{edition.folder}{path.name}", slides=shown.get((path.stem, ""), {}),
    )  # fmt: skip


def outputs(notebook, tag, edition):
    """What a cell printed, and the figures that it saved"""
    printed = ROOT / "embed" / notebook / f"{tag}.txt"
    texts = [f'<pre class="out" tabindex="0">{html.escape(printed.read_text())}</pre>'] if printed.exists() else []
    made = [name for name, entry in figures().items() if (entry["notebook"], entry["cell"]) == (notebook, tag)]
    made += [PICTURES[notebook, tag]] if (notebook, tag) in PICTURES else []
    return "".join(
        texts
        + [data(name) if name.endswith(".json") else figure(name, edition, up="../", caption=False) for name in made]
    )


def data(name):
    value = json.dumps(json.loads((ROOT / "public/figures" / name).read_text()), ensure_ascii=False, indent=1)
    return f'<pre class="out" tabindex="0">{html.escape(value[:LONGEST])}</pre>'
