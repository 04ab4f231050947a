"""The package as others install it: what is in its wheel."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from setuptools import build_meta

import sdscope
from sdscope.loading.models import VARIANTS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Homepage"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built by setuptools from what is here, copied: it leaves traces beside what it builds."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return zipfile.ZipFile(folder / build_meta.build_wheel(str(folder)))


@pytest.fixture(scope="module")
def metadata(wheel):
    return Parser().parsestr(next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith("/METADATA")))


def test_the_version(metadata):
    """It stands in sdscope/version.py, and not in pyproject.toml once more. What else names it: test_address.py"""
    assert metadata["Version"] == sdscope.__version__ and PROJECT["dynamic"] == ["version"]


def test_the_wheel_holds_all_that_is_in_the_package(wheel):
    """The code, the weights, the variants, the model card, the style of the figures, and that there are types."""
    here = [path.relative_to(ROOT / "src") for path in (ROOT / "src" / "sdscope").rglob("*") if path.is_file()]
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {path.as_posix() for path in here if "__pycache__" not in path.parts}
    assert {
        "sdscope/py.typed",
        "sdscope/postcard/MODEL_CARD.md",
        "sdscope/figures/style.mplstyle",
        "sdscope/figures/ja.po",
    } <= names
    assert {f"sdscope/postcard/variants/{model.removeprefix('postcard-')}.safetensors" for model in VARIANTS} <= names
    assert wheel.read("sdscope/postcard/MODEL_CARD.md") == (ROOT / "src/sdscope/postcard/MODEL_CARD.md").read_bytes()


def test_what_a_registry_shows(metadata):
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text().strip()
    assert metadata["Description-Content-Type"] == "text/markdown" and metadata["Author"] and metadata["Keywords"]
    assert dict(url.split(", ") for url in metadata.get_all("Project-URL")) == PROJECT["urls"]
    assert all(url.startswith(REPOSITORY) for url in PROJECT["urls"].values())
    pythons = [
        name.rpartition(" ")[2] for name in metadata.get_all("Classifier") if name.startswith("Programming Language")
    ]
    assert pythons == ["3.11", "3.12", "3.13"] and set(metadata["Requires-Python"].split(",")) == {">=3.11", "<3.14"}


def test_every_dependency_has_a_lowest_version(metadata):
    """One that ran: see pyproject.toml. What this repository's own machines run is not below it."""
    pins = dict(
        line.split("==") for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"
    )
    number = lambda version: [int(part) for part in version.split(".")]
    for line in metadata.get_all("Requires-Dist"):
        name, _, lowest = line.partition(";")[0].strip().partition(">=")
        if not name.startswith("sdscope["):
            assert lowest and number(pins[name]) >= number(lowest), line


def test_installed_it_paints(wheel, tmp_path):
    """From the folder that it was unpacked to, away from this repository."""
    wheel.extractall(tmp_path / "site")
    code = "import sdscope; pipe = sdscope.StableDiffusion.from_pretrained('postcard', device='cpu')\n"
    code += "print(sdscope.__file__, pipe('a ship', seed=1, num_inference_steps=2).size == (pipe.size, pipe.size))"
    env = {"PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout == f"{tmp_path / 'site' / 'sdscope' / '__init__.py'} True\n", done.stderr[-2000:]
