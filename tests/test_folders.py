"""Where things are: every folder has a sentence that says what lives there, and what READMEs point at exists."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
MODEL = Path("src/sdscope/postcard/weights")  # one sentence for all of it: the folders in it are diffusers'


@pytest.fixture(scope="module")
def tracked():
    """Paths, as git has them"""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: which files are made by hand is not known")
    told = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for path in map(Path, told.splitlines()) if (ROOT / path).exists()]


def links(page):
    """What a page of Markdown points at in this repository, seen from its root"""
    targets = (target for target in LINK.findall((ROOT / page).read_text()) if "://" not in target)
    return {(ROOT / page.parent / target).resolve().relative_to(ROOT) for target in targets}


def test_every_folder_has_its_sentence(tracked):
    """A row in a table of a README, in it or above it, that begins with a link to the folder or to its README"""
    told = set()
    for page in (path for path in tracked if path.name == "README.md"):
        for row in re.findall(r"^\| (\[.*?) \|", (ROOT / page).read_text(), re.M):
            told |= {page.parent / target.removesuffix("README.md") for target in LINK.findall(row)}
    folders = {path.parent for path in tracked if MODEL not in path.parent.parents} - {Path()}
    assert sorted(map(str, folders - told)) == []


def test_what_is_pointed_at_exists(tracked):
    pages = [path for path in tracked if path.suffix == ".md" and "pages" not in path.parts]
    gone = [f"{page}: {target}" for page in pages for target in links(page) if not (ROOT / target).exists()]
    assert gone == [] and len(pages) > 8
