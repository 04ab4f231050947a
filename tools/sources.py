"""Where everything on the slides comes from: code, figures, numbers and formulas, slide by slide. .build/sources.md

python tools/sources.py
"""

import json
import re
import sys
from pathlib import Path

from sdscope import files

ROOT = Path(__file__).parents[1]
ENTRY = ROOT / "slides.en.md"
COMPONENTS = ROOT / "slides/components"

# Slidev's own pattern: @slidev/cli, node/syntax/snippet.ts
INCLUDE = re.compile(r"^[ \t]*<<<[ \t]*(\S.*?)(#[\w-]+)?[ \t]*(?:[ \t](\S+?))?[ \t]*(\{.*)?$", re.M)
FIGURE = re.compile(r"(?<!favicon: /)\b[\w-]+\.(?:webp|png|svg|jpg)\b|(?<=data\[')\w+\.json")
FACT = re.compile(r"""<Fact\b[^>]*\bid="([^"]+)"|\bfacts\['([^']+)'\]|\bshape\('([^']+)'\)""")
FORMULA = re.compile(r"^\$\$[^\n]*\n(.*?)\n\$\$", re.M | re.S)
FENCE = re.compile(r"^```(?!`)(\w+)", re.M)  # code typed on the slide: there is none
SLIDE = re.compile(r"^---\n(?:(?=\S)(.*?)\n---\n)?(.*?)(?=^---\n|\Z)", re.M | re.S)  # its headmatter, and the rest


def pages(entry=ENTRY):
    """Every page of the deck, in order: those the entry names."""
    return [ROOT / name for name in re.findall(r"^src:\s*(\S+)", entry.read_text(), re.M)]


def slides(entry=ENTRY):
    """[(title, the text of the slide), ...] in the order of the deck"""
    texts = [
        f"{head}\n{body.partition('<!--')[0]}"
        for page in pages(entry)
        for head, body in SLIDE.findall(page.read_text())
    ]
    return [(re.search(r"^# (.*)", text, re.M)[1], text) for text in texts]


def with_components(text):
    """The slide and what its components say, and theirs"""
    seen, todo = {}, [text]
    while todo:
        for name in re.findall(r"<([A-Z]\w+)", todo.pop()):
            path = COMPONENTS / f"{name}.vue"
            if path.exists() and name not in seen:
                seen[name] = re.sub(r"^\s*//.*", "", path.read_text(), flags=re.M)
                todo.append(seen[name])
    return "\n".join([text, *seen.values()])


def rows(manifest, test_of):
    """(no, title, [code], [figure: notebook], [numbers], [the test of a formula]) of each slide"""
    for no, (title, text) in enumerate(slides(), 1):
        everything = with_components(text)
        figures = dict.fromkeys(FIGURE.findall(everything))
        numbers = dict.fromkeys(next(filter(None, groups)) for groups in FACT.findall(everything))
        yield (
            no,
            title,
            [path.removeprefix("@/") + anchor for path, anchor, *_ in INCLUDE.findall(text)],
            [f"{name}: {manifest[name]['notebook']}" if name in manifest else f"{name}: MISSING" for name in figures],
            list(numbers),
            [test_of(latex) for latex in FORMULA.findall(text)],
        )


def main():
    sys.path.insert(0, str(ROOT / "tests"))
    from test_formulas import FORMULAS, plain

    def test_of(latex):
        check = FORMULAS.get(plain(latex))
        return f"tests/test_formulas.py: {check.__name__}" if check else "MISSING"

    manifest = json.loads((ROOT / "public/manifest.json").read_text())["figures"]
    table = list(rows(manifest, test_of))
    cell = lambda items: "<br>".join(items)
    lines = ["| | slide | code | figures | numbers | formulas |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [f"| {no} | {title} | {' | '.join(cell(column) for column in columns)} |" for no, title, *columns in table]
    output = ROOT / ".build/sources.md"
    files.write(output, "\n".join(lines) + "\n", parents=True)
    code, figures, numbers, formulas = ([item for row in table for item in row[i]] for i in range(2, 6))
    print(
        f"{len(table)} slides: {len(code)} code blocks of {len(set(code))} sources, {len(set(figures))} figures of "
        f"{len({f.split(': ')[1] for f in figures})} notebooks, {len(set(numbers))} numbers, {len(formulas)} formulas; "
        f"{sum('MISSING' in item for row in table for column in row[2:] for item in column)} without a source"
    )
    print(output.relative_to(ROOT))


if __name__ == "__main__":
    main()
