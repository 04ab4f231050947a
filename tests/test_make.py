"""What `make` takes away, and what it leaves."""

import shutil
import subprocess

from walk import ROOT

BY_HAND = {"Makefile", "public/README.md", "public/favicon.svg", "embed/README.md"}
MADE = {
    "dist/index.html",
    ".build/figures",
    "public/figures/ship.webp",
    "public/model/model.json",
    "public/manifest.json",
    "public/facts.json",
    "embed/01_tour/ship.py",
}


def test_clean_takes_away_what_was_made_and_nothing_else(tmp_path):
    for name in BY_HAND | MADE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name) if name in BY_HAND else (tmp_path / name).touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == BY_HAND


def test_what_is_made_is_ignored_and_what_is_made_by_hand_is_not(tmp_path):
    shutil.copy(ROOT / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    told = subprocess.run(["git", "check-ignore", *BY_HAND, *MADE], cwd=tmp_path, capture_output=True, text=True)
    assert set(told.stdout.split()) == MADE


def test_the_deck_ships_its_icon_and_no_readme():
    assert 'rel="icon" href="./favicon.svg"' in (ROOT / "dist/index.html").read_text()
    assert (ROOT / "dist/favicon.svg").is_file() and not [*(ROOT / "dist").glob("*.md")]
