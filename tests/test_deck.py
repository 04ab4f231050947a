"""What the slides name exists: code regions and their lines, excerpts, figures, numbers. Needs what `make build`
made."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_build
from PIL import Image

from sources import ENTRY, FACT, FENCE, FIGURE, INCLUDE, pages, slides

ROOT = Path(__file__).parents[1]
PUBLIC = ROOT / "public"

# Slidev's own patterns: @slidev/cli, node/syntax/snippet.ts
START = re.compile(r"^\s*#\s*#?region\b\s*(.*?)\s*$")
END = re.compile(r"^\s*#\s*#?endregion\b\s*(.*?)\s*$")

ELSEWHERE = re.compile(
    r"""\b(?:src|srcset|poster|data)\s*=\s*["'](?:https?:)?//|url\(\s*["']?(?:https?:)?//|!\[[^]]*\]\(\s*(?:https?:)?//
    |^\s*(?:background|image|url|favicon)\s*:\s*["']?https?://|@import\s+["'](?:https?:)?//|<link\b[^>]*https?://""",
    re.M | re.X,
)


def sources():
    """All that is the deck: the entry, its pages, components, layouts, styles."""
    return [ENTRY, *pages(), *(p for p in (ROOT / "slides").rglob("*") if p.suffix in {".vue", ".ts", ".css"})]


def region(path, name):
    """The lines of a region as Slidev cuts them, or None. Slidev itself inlines the whole file when it finds none."""
    lines, depth, kept = path.read_text().splitlines(), 0, []
    for line in lines:
        start, end = START.match(line), END.match(line)
        if start and start[1] == name:
            depth += 1
        elif depth and end and end[1] in (name, ""):
            depth -= 1
            if depth == 0:
                return kept
        elif depth and not start and not end:
            kept.append(line)
    return None


def dark(lines, meta):
    """What `{1|2-3|/text/}` wants to light and `lines` do not hold: numbers and texts
    (slides/setup/transformers.ts)."""
    lights = re.match(r"\{(?!\w+:)([^}]*)\}", meta or "")
    texts = re.findall(r"/([^/|]+)/", lights[1]) if lights else []
    numbers = re.findall(r"\d+", re.sub(r"/[^/|]+/", "", lights[1])) if lights else []
    return [t for t in texts if not any(t in line for line in lines)] + [n for n in numbers if int(n) > len(lines)]


def includes():
    for page in pages():
        for match in INCLUDE.finditer(page.read_text()):
            yield page, match


def name_of(include):
    page, match = include
    return f"{page.name}:{match.string.count(chr(10), 0, match.start()) + 1} {match[1]}{match[2] or ''}"


def test_every_page_of_the_entry_exists_and_every_page_is_in_the_entry():
    assert sorted(pages()) == sorted((ROOT / "slides/pages/en").glob("*.md"))


@pytest.mark.parametrize("include", list(includes()), ids=name_of)
def test_code_on_a_slide_is_there_with_the_lines_it_lights(include):
    page, (path, anchor, meta) = include[0], include[1].group(1, 2, 4)
    path = ROOT / path.removeprefix("@/") if path.startswith("@/") else page.parent / path
    assert path.is_file(), "no such file"
    lines = region(path, anchor[1:]) if anchor else path.read_text().splitlines()
    assert lines is not None, f"no `# region {anchor[1:]}` with its end"
    assert lines and dark(lines, meta) == []


def test_no_code_is_typed_on_a_slide():
    assert [f"{title}: {language}" for title, text in slides() for language in FENCE.findall(text)] == []


def test_the_line_below_a_code_block_names_what_is_there():
    for page in pages():
        for at in re.findall(r'<Source\b[^>]*\bat="([^"]+)"', page.read_text()):
            file, _, name = at.partition("#")
            path = ROOT / "src/sdscope" / file
            assert path.is_file() and (not name or region(path, name)), f"{page.name}: {at}"


@needs_build
def test_every_figure_on_a_slide_was_made_by_a_notebook():
    made = json.loads((PUBLIC / "manifest.json").read_text())["figures"]
    named = {(name, source.name) for source in sources() for name in FIGURE.findall(source.read_text())}
    assert named and [f"{source}: {name}" for name, source in sorted(named) if name not in made] == []


@needs_build
def test_at_most_a_third_of_the_figures_show_the_ship():
    """It is the deck's example; the chapters have prompts of their own."""
    made = json.loads((PUBLIC / "manifest.json").read_text())["figures"]
    named = {name for source in sources() for name in FIGURE.findall(source.read_text())}
    told = {
        name: f"{made[name]['prompt']} {made[name]['alt']}"
        for name in named & made.keys()
        if not name.endswith((".json", ".svg"))
    }
    ships = sorted(name for name, text in told.items() if re.search(r"\bships?\b", text, re.I))
    assert "ship.webp" in ships and len(ships) <= len(told) / 3, f"{len(ships)} of {len(told)}: {ships}"


@needs_build
def test_every_figure_that_moves_has_a_still():
    """A NAME_still beside it: slides/components/Figure.vue"""
    count = lambda path: getattr(Image.open(path), "n_frames", 1) if path.exists() else 0
    named = {
        name
        for source in sources()
        for name in FIGURE.findall(source.read_text())
        if not name.endswith((".json", ".svg"))
    }
    paths = {name: PUBLIC / "figures" / name for name in named}
    moving = {name for name, path in paths.items() if count(path) > 1}
    assert (
        moving
        and [name for name in sorted(moving) if count(PUBLIC / "figures" / name.replace(".", "_still.")) != 1] == []
    )


@needs_build
def test_every_number_on_a_slide_was_counted():
    facts = json.loads((PUBLIC / "facts.json").read_text())
    named = {next(filter(None, m)) for source in sources() for m in FACT.findall(source.read_text())}
    assert named and sorted(named - set(facts)) == []


def test_nothing_on_a_slide_comes_from_elsewhere():
    assert [f"{s.name}: {m[0]}" for s in sources() for m in ELSEWHERE.finditer(s.read_text())] == []


@needs_build
@pytest.mark.parametrize("name", ["world.webp", "sheet.webp", "failures.webp"])
def test_a_picture_of_the_readme_or_the_model_card_is_the_one_a_notebook_made(name):
    ours, made = (
        np.asarray(Image.open(folder / name).convert("RGB"), dtype=float)
        for folder in (ROOT / "docs", PUBLIC / "figures")
    )
    assert ours.shape == made.shape
    assert abs(ours - made).mean() < 3  # another machine may round otherwise
