"""How much a reader's browser fetches, and when. How long it takes depends on the machine: tools/load.py."""

import json
import re

import pytest

from deck import FOLDER
from load import first_load
from walk import ROOT, open_built

HEAVY = ("monaco", "mermaid", "typescript", "katex.min")


@pytest.mark.parametrize("language", FOLDER)
def test_little_comes_before_the_first_slide_and_pictures_when_they_are_near(language):
    with open_built(language) as deck:
        _, before, after = first_load(ROOT / "dist", deck)
        # a picture of the next slide may come early; it keeps nobody waiting
        waited = {path: size for path, size in before.items() if not re.match("(ja/)?figures/(?!cover)", path)}
        assert f"{FOLDER[language]}index.html" in waited and sum(waited.values()) < 600e3
        pictures = [path for path in after if re.match("(ja/)?figures/", path)]
        assert (
            sum(path.startswith(f"{FOLDER[language]}assets/md-") for path in after) > 40
        )  # the other slides are there, their pictures are not
        assert len(pictures) < 10, pictures


def test_what_the_deck_does_not_use_of_slidev_is_not_shipped():
    assert [p.name for p in (ROOT / "dist").rglob("*") if any(word in p.name.lower() for word in HEAVY)] == []
    assert max(p.stat().st_size for p in (ROOT / "dist/assets").rglob("*.js")) < 520e3


def test_what_both_languages_need_is_there_once():
    """Japanese adds its words and its font; and of what it takes from beside English, nothing is missing."""
    ours = [path for path in (ROOT / "dist/ja").rglob("*") if path.is_file()]
    assert [path.name for path in ours if path.suffix in {".wasm", ".onnx", ".zip", ".md"}] == []
    figures = json.loads((ROOT / "public/manifest.json").read_text())["figures"]
    drawn = {path.name for path in ours if path.parent.name == "figures"}
    assert drawn == {name for name, figure in figures.items() if "sha256_ja" in figure}
    assert sum(path.stat().st_size for path in ours) < 20e6
    scripts = "".join(path.read_text() for path in ours if path.suffix == ".js")
    asked = {*re.findall(r"\.\./\.\./(assets/[\w.-]+)", scripts), *re.findall(r"assets/pyodide-[\d.]+/", scripts)}
    assert len(asked) > 2 and [path for path in asked if not (ROOT / "dist" / path).exists()] == []
