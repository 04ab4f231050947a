"""The words of figures in Japanese, src/sdscope/figures/ja.po: all of them, nothing beside them, and on the board."""

import ast
import json
import re
from pathlib import Path

import pytest
from conftest import needs_build
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from PIL import Image

from sdscope import figures
from sdscope.figures import words
from sdscope.figures.base import STYLE, Plot
from sdscope.postcard.world.scene import STYLES
from sdscope.publish import manifest, saver

ROOT = Path(__file__).parents[1]
COMPUTED = {*STYLES, "down {n}", "mid", "up {n}"}  # said by no string of the code: names of parts, cut short


def strings(source):
    """What the strings of a program may say, as patterns: f"{n} steps" may say all that ends in " steps"."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.escape(node.value)
        elif isinstance(node, ast.keyword) and node.arg:
            yield re.escape(node.arg)
        elif isinstance(node, ast.JoinedStr):
            parts = [re.escape(part.value) if isinstance(part, ast.Constant) else ".+" for part in node.values]
            if re.search("[A-Za-z]", "".join(parts)):
                yield "".join(parts)


def sources():
    for path in (ROOT / "src/sdscope/figures").glob("*.py"):
        yield path.read_text()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        yield "\n".join(re.sub(r"^( *)%.*", r"\1pass", cell, flags=re.M) for cell in code)


@pytest.fixture(scope="module")
def entries():
    with words.CATALOGUE.open("rb") as file:
        return [message for message in words.read_po(file, locale="ja") if message.id]


def test_every_entry_is_said_somewhere(entries):
    said = re.compile("|".join({pattern for source in sources() for pattern in strings(source)}))
    assert [entry.id for entry in entries if not said.fullmatch(entry.id) and entry.id not in COMPUTED] == []


def test_every_entry_is_translated_with_its_numbers(entries):
    names = lambda text: set(re.findall(r"\{(\w+)\}", text))
    assert len(entries) > 200 and [entry.id for entry in entries if not entry.string] == []
    wrong = [entry.id for entry in entries if not names(entry.string) <= names(entry.id)]
    assert wrong == [] and len({(entry.context, entry.id) for entry in entries}) == len(entries)


def test_every_letter_is_in_a_font(entries):
    fonts = [FT2Font(font_manager.findfont(name)) for name in ("DejaVu Sans", words.FONT)]
    known = {chr(code) for font in fonts for code in font.get_charmap()} | {"\n"}
    assert {letter for entry in entries for letter in entry.string} - known == set()


@pytest.mark.parametrize(
    "text, figure, prompt, said",
    [
        ("step 3 of 25, t = 961", "", "", "ステップ 3/25、t = 961"),
        ("seed 42: 4 × 32 × 32 random numbers", "", "", "シード 42: 4 × 32 × 32 個の乱数"),
        ("before", "strengths", "", "元の画像"),
        ("before", "mixtures", "", "1 つ前"),
        ("ship", "childhood", "null", "船"),
        ("ship", "attention_words", "the sea, ship", "ship"),
        ("“ship”", "places", "the sea, ship", "“ship”"),
        ("17% castle", "text_walk", "a castle", "17% castle"),
        ("zep", "cut_off", "a zeppelin", "zep"),
        ("up_blocks.3.resnets.0", "", "", "up_blocks.3.resnets.0"),
        ("x = 0.5, −1.25", "", "", "x = 0.5, −1.25"),
        ("no steps", "", "a ship", None),
        ("many steps", "", "", None),
    ],
)
def test_what_is_said(text, figure, prompt, said):
    assert words.translate([Text(text=text)], figure, prompt) == {text: said}
    assert words.translate([Text(text=text, family="DejaVu Sans Mono")], figure, prompt) == {text: text}


@pytest.fixture
def save(tmp_path, monkeypatch, tiny_folder):
    monkeypatch.setenv("SDSCOPE_OUT", str(tmp_path))
    settings = dict(prompt="a ship", negative_prompt="", seed=42, steps=25, guidance=5.0, size=None)
    return saver("01_test", **settings, model=str(tiny_folder))


def test_a_figure_with_words_is_saved_twice_and_stays_as_it_was(save, tmp_path):
    figure = figures.gallery([[Image.new("RGB", (64, 64), "red")] * 2], top=["a ship", "25 steps"])
    before = figure.render(".png")
    save(figure, "words.png", alt="Three prompts, three pictures")
    entry, files = (
        manifest.read()["words.png"],
        [tmp_path / folder / "words.png" for folder in ("figures", "ja/figures")],
    )
    english, japanese = (path.read_bytes() for path in files)
    assert (entry["sha256"], entry["sha256_ja"]) == (manifest.sha256(english), manifest.sha256(japanese))
    assert (entry["alt_ja"], entry.get("untranslated")) == ("3 つのプロンプトと 3 枚の画像", None)
    assert english == before == figure.render(".png") != japanese
    assert [text.get_text() for text in figure.texts() if text.get_text()] == ["a ship", "25 steps"]


def test_an_animation_with_words_is_saved_twice(save, tmp_path):
    red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    save(figures.movie([red, blue], ["after 10 steps", "after 20 steps"]), "moving.webp", alt="")
    shown = [Image.open(tmp_path / folder / "moving.webp") for folder in ("figures", "ja/figures")]
    assert shown[0].n_frames == shown[1].n_frames == 2 and shown[0].size == shown[1].size
    assert shown[0].convert("RGB").tobytes() != shown[1].convert("RGB").tobytes()


def test_what_has_no_translation_is_told_and_a_figure_without_words_is_there_once(save, tmp_path):
    save(figures.gallery([[Image.new("RGB", (64, 64))] * 2], top=["a red ship", "a ship"]), "one.png", alt="Two ships")
    save(figures.Picture(Image.new("RGB", (64, 64))), "two.png", alt="Three prompts, three pictures")
    one, two = manifest.read()["one.png"], manifest.read()["two.png"]
    assert one["untranslated"] == ["Two ships", "a red ship"] and one["alt_ja"] == "Two ships"
    assert "untranslated" not in two and not {"sha256_ja"} & {*one, *two} and not (tmp_path / "ja").exists()


def test_the_font_of_other_figures_is_as_it_was():
    import matplotlib

    assert words.FONT not in matplotlib.rcParams["font.family"]
    assert Plot(Figure()).texts() == [] and words.FONT not in STYLE.read_text()


@needs_build
def test_every_word_of_every_figure_is_translated():
    entries = manifest.read(ROOT / "public")
    assert {name: entry["untranslated"] for name, entry in entries.items() if "untranslated" in entry} == {}
    assert sum("sha256_ja" in entry for entry in entries.values()) > 30
