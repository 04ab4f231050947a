"""The Japanese notebooks: the cells of the English ones, with prose that is up to date and whole."""

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from notebooks_ja import NOTEBOOKS, SECTION, heading, main

ENGLISH = {path.stem: nbformat.read(path, as_version=4).cells for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
LINK, FORMULA, HEADING = re.compile(r"\]\(([^)\s]+)\)"), re.compile(r"\$\$?[^$]+\$"), re.compile(r"^#+ ", re.M)

notebooks = pytest.mark.parametrize("name", ENGLISH)


def cells(name):
    """[(English, Japanese), ...] of the markdown cells"""
    japanese = nbformat.read(NOTEBOOKS / "ja" / f"{name}.ipynb", as_version=4).cells
    return [(e.source, j.source) for e, j in zip(ENGLISH[name], japanese) if e.cell_type == "markdown"]


def test_they_are_what_is_made_of_the_english_ones_and_their_prose():
    main(["--check"])
    assert {path.name for path in (NOTEBOOKS / "ja").iterdir() if path.is_file()} == {
        name + suffix for name in ENGLISH for suffix in (".md", ".ipynb")
    }


@notebooks
def test_the_code_is_that_of_the_english_one(name):
    japanese = nbformat.read(NOTEBOOKS / "ja" / f"{name}.ipynb", as_version=4)
    nbformat.validate(japanese)
    assert [cell.id for cell in japanese.cells] == [cell.id for cell in ENGLISH[name]]
    code = lambda cells: [cell for cell in cells if cell.cell_type == "code"]
    assert code(japanese.cells) == code(ENGLISH[name])


@notebooks
def test_the_prose_can_be_read_from_the_top_down(name):
    order = [section for _, section in SECTION.findall((NOTEBOOKS / "ja" / f"{name}.md").read_text())]
    assert order == [cell.id for cell in ENGLISH[name] if cell.cell_type == "markdown"]


@notebooks
def test_links_formulas_and_headings_are_those_of_the_english_cell(name):
    """In any order: a sentence may begin with what another ends with. The badges open the Japanese notebook."""
    for english, japanese in cells(name):
        here = english.replace(f"/notebooks/{name}.ipynb", f"/notebooks/ja/{name}.ipynb")
        assert sorted(LINK.findall(japanese)) == sorted(LINK.findall(here))
        assert sorted(FORMULA.findall(japanese)) == sorted(FORMULA.findall(english))
        assert HEADING.findall(japanese) == HEADING.findall(english)
        assert re.search("[ぁ-んァ-ヶ]", japanese)


@notebooks
def test_bold_is_seen_by_markdown(name):
    """`**…。**次` is not: beside a letter, the stars need a letter on their other side, too."""
    for _, japanese in cells(name):
        parts = japanese.split("**")
        assert len(parts) % 2
        for before, bold, after in zip(parts[::2], parts[1::2], parts[2::2]):
            assert re.match(r"\w", bold) or not re.search(r"\w$", before), bold
            assert re.search(r"\w$", bold) or not re.match(r"\w", after), bold


@pytest.fixture
def folder(tmp_path):
    """notebooks/ with one notebook, run by somebody, and its prose"""
    run = dict(outputs=[nbformat.v4.new_output("stream", text="1\n")], execution_count=1)
    text, code, end = new_markdown_cell("# One", id="a"), new_code_cell("print(1)", id="b", **run), "The end."
    end = new_markdown_cell(end, id="c")
    nbformat.write(new_notebook(cells=[text, code, end]), tmp_path / "01_one.ipynb")
    (tmp_path / "ja").mkdir()
    (tmp_path / "ja" / "01_one.md").write_text(f"{heading(text)}\n\n# 一\n\n{heading(end)}\n\n終わり。\n")
    return tmp_path


def change(path, old, new):
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_it_is_made_without_outputs_and_ids_stay(folder):
    main([], folder)
    made = nbformat.read(folder / "ja" / "01_one.ipynb", as_version=4)
    assert [(cell.id, cell.source) for cell in made.cells] == [("a", "# 一"), ("b", "print(1)"), ("c", "終わり。")]
    assert made.cells[1].outputs == [] and made.cells[1].execution_count is None
    main(["--check"], folder)


@pytest.mark.parametrize("old, new, line", [
    ("# 一\n\n<!-- c", "# 一\n\n<!-- d", "there is no cell for section d, or one above it: remove it"),
    ("終わり。\n", "終わり。\n<!-- c 01234567 -->\n", "there is no cell for section c, or one above it: remove it"),
    ("<!-- c", "<!--c", "there is no section for cell c: write it, under <!-- c "),
    ("<!-- a", "<!-- a 01234567 -->\n<!-- a", "cell a has changed: translate it, under <!-- a "),
])  # fmt: skip
def test_prose_that_does_not_fit(folder, old, new, line):
    main([], folder)
    before = (folder / "ja" / "01_one.ipynb").read_text()
    change(folder / "ja" / "01_one.md", old, new)
    for arguments in ([], ["--check"]):
        with pytest.raises(SystemExit, match="^" + re.escape(f"notebooks/ja/01_one.md: {line}")):
            main(arguments, folder)
    assert (folder / "ja" / "01_one.ipynb").read_text() == before


def test_a_change_of_the_english_asks_for_its_translation(folder):
    change(folder / "01_one.ipynb", "The end.", "An end.")
    with pytest.raises(SystemExit, match="01_one.md: cell c has changed: translate it, under <!-- c [0-9a-f]{8} -->$"):
        main([], folder)


def test_a_notebook_without_prose(folder):
    (folder / "ja" / "01_one.md").unlink()
    with pytest.raises(SystemExit, match="01_one.md: there is no section for cell a: write it, under <!-- a "):
        main([], folder)


@pytest.mark.parametrize("spoil", [
    lambda folder: None,
    lambda folder: (main([], folder), change(folder / "01_one.ipynb", "print(1)", "print(2)")),
    lambda folder: (main([], folder), change(folder / "ja" / "01_one.md", "終わり", "おしまい")),
    lambda folder: (main([], folder), change(folder / "ja" / "01_one.ipynb", "終わり", "おしまい")),
], ids=["not made", "code", "prose", "by hand"])  # fmt: skip
def test_check_tells_and_writes_nothing(folder, spoil):
    spoil(folder)
    files = lambda: {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    before = files()
    with pytest.raises(SystemExit, match="^notebooks/ja/01_one.ipynb is not made of what is here: run `python tools"):
        main(["--check"], folder)
    assert files() == before
