"""One address and one version, everywhere; `make address` sets both everywhere, or changes nothing."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.version import InvalidVersion, Version

import sdscope
from address import REPO, VERSION, pages, repository

ROOT = Path(__file__).parents[1]
OTHER = ("Some-body/a.deck", "2.0rc1")
TEXTS = {".md", ".toml", ".cff", ".ipynb", ".py", ".ts", ".vue", ".js", ".json", ".yml", ""}


@pytest.fixture(scope="module")
def tracked():
    """Paths of all texts, as git has them"""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: which files are made by hand is not known")
    told = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for path in map(Path, told.splitlines()) if path.suffix in TEXTS and (ROOT / path).exists()]


@pytest.fixture
def copy(tracked, tmp_path):
    for path in tracked:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


def address(root, repo="", version=""):
    command = [sys.executable, root / "tools/address.py", repo, version]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def named(root):
    """{place: what it names} of all that others see: addresses, and versions"""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    deck = next(yaml.safe_load_all((root / "slides.en.md").read_text()))
    addresses = {
        **project["urls"],
        "citation": citation["repository-code"],
        "licence": citation["license-url"],
        "changes": re.search(r"^\[Unreleased\]: (.*)", (root / "CHANGELOG.md").read_text(), re.M)[1],
        "deck": deck["themeConfig"]["repository"],
        "picture": deck["seoMeta"]["ogImage"],
    }
    versions = {
        "package": re.search(r'^__version__ = "(.*)"$', (root / "src/sdscope/version.py").read_text(), re.M)[1],
        "citation": citation["version"],
    }
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        cells = "\n".join(cell.source for cell in nbformat.read(path, 4).cells)
        addresses[f"{path.stem}: installs"], versions[path.stem] = re.search(
            r'^    repository = "(.*)"\n    release = "v(.*)"$', cells, re.M
        ).groups()
        for badge in "colab.research.google.com/github/", "kernels/welcome?src=https://github.com/":
            addresses[f"{path.stem}: {badge}"] = "https://github.com/" + cells.partition(badge)[2].partition(")")[0]
    return addresses, versions


def is_right(root, repo, version):
    addresses, versions = named(root)
    right = re.compile(rf"https://(github\.com/{re.escape(repo)}|{re.escape(pages(repo))})(/\S*)?")
    assert {place: found for place, found in addresses.items() if not right.fullmatch(found)} == {}
    assert versions == dict.fromkeys(versions, version) and len(versions) > 10


def test_one_address_and_one_version(tracked):
    """In all places that are known; and nowhere is another owner named."""
    repo = repository()
    is_right(ROOT, repo, sdscope.__version__)
    known = re.compile(rf"(?:github(?:\.com)?/|(?=[\w-]+\.github\.io/))([\w.-]+/{re.escape(repo.split('/')[1])})\b")
    for path in tracked:
        assert set(known.findall((ROOT / path).read_text())) <= {repo, pages(repo)}, path


def test_set_everywhere_and_back(copy, tracked):
    before = {path: (copy / path).read_bytes() for path in tracked}
    repo, version = repository(), named(copy)[1]["package"]
    told = address(copy, *OTHER)
    assert told.returncode == 0, told.stderr
    is_right(copy, *OTHER)
    for old in repo, pages(repo), f"v{version}\\":
        assert [path for path in tracked if old in (copy / path).read_text()] == []
    assert address(copy, repo).returncode == address(copy, "", version).returncode == 0  # one after the other
    assert {path: (copy / path).read_bytes() for path in tracked} == before
    assert address(copy, repo, version).stdout.endswith(f"https://{pages(repo)}/: 0 files changed\n")


WRONG = {
    ("", ""): "Say what the address and the version are",
    ("name", ""): "REPO=name is no repository",
    ("https://github.com/owner/name", ""): "is no repository",
    ("owner/..", "1.0"): "is no repository",
    ("owner/name/", ""): "is no repository",
    ("owner/name", "v1.0"): "VERSION=v1.0 is no version",
    ("", "1.0-beta"): "is no version",
    ("", "latest"): "is no version",
}


@pytest.mark.parametrize("given", WRONG)
def test_what_is_wrong_is_one_line_and_nothing_changes(copy, tracked, given):
    before = {path: (copy / path).read_bytes() for path in tracked}
    told = address(copy, *given)
    assert told.returncode and told.stdout == "" and WRONG[given] in told.stderr
    assert told.stderr.count("\n") == 1
    assert {path: (copy / path).read_bytes() for path in tracked} == before


def protect(root):
    (root / "slides.en.md").chmod(0o444)


def lose(root):
    text = (root / "CITATION.cff").read_text()
    (root / "CITATION.cff").write_text(text.replace("version:", "edition:", 2).replace("cff-edition:", "cff-version:"))


@pytest.mark.parametrize("hinder, line", [(protect, "slides.en.md: it is write-protected"), (lose, "names 0 versions")])
def test_all_or_nothing(copy, tracked, hinder, line):
    hinder(copy)
    before = {path: (copy / path).read_bytes() for path in tracked}
    told = address(copy, *OTHER)
    assert told.returncode and line in told.stderr and told.stderr.count("\n") == 1
    assert {path: (copy / path).read_bytes() for path in tracked} == before
    assert not [*copy.rglob(".sdscope-*")]


def test_by_make(copy, monkeypatch):
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "REPO", "VERSION"):
        monkeypatch.delenv(name, raising=False)
    make = ["make", "-o.venv/.installed", "address"]
    told = subprocess.run(make, cwd=copy, capture_output=True, text=True)
    assert told.returncode == 2 and told.stderr.startswith("Say what the address and the version are")
    subprocess.run([*make, f"REPO={OTHER[0]}", f"VERSION={OTHER[1]}"], cwd=copy, check=True, capture_output=True)
    is_right(copy, *OTHER)


@pytest.mark.parametrize(
    "given",
    ["0.1.0", "1", "10.20", "1!2.0", "1.0a1", "1.0b10", "2.0rc1", "1.0.post1", "1.0.dev3", "1.0rc1.post2.dev3",
     "", "v1.0", "01.0", "1.", ".1", "1.0-1", "1.0.RC1", "1.0alpha", "1.0+local", "0!1.0", "1.0.post", "1 ", "x"],
)  # fmt: skip
def test_versions_are_those_of_pep_440_that_wheels_are_named_by(given):
    try:
        usual = str(Version(given)) == given and not Version(given).local
    except InvalidVersion:
        usual = False
    assert bool(VERSION.fullmatch(given)) is usual


def test_repositories():
    assert all(REPO.fullmatch(repo) for repo in (repository(), *OTHER[:1], "a/b", "a1-b/.github", "a/b_c-d.e"))
    wrong = ("a", "a/", "/b", "-a/b", "a--b/c", "a/b c", "a/b/c", "a/b.git", "a/..", "ä/b")
    assert not any(REPO.fullmatch(repo) for repo in wrong)
