"""What needs no torch, on this machine's other Pythons: the painter, the page's small torch, notebooks' cells."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSIONS = {"3.11", "3.12", "3.13"}
THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"
NEEDED = ("numpy", "pillow")


def find(version):
    """Its path, or None. What pyenv has is often on no path."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for path in [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]:
        asked = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
        if path and subprocess.run([path, "-c", asked], capture_output=True, text=True).stdout.strip() == version:
            return path
    return None


def has_all(python):
    return subprocess.run([python, "-c", "import numpy, PIL"], capture_output=True).returncode == 0


@pytest.fixture
def python(version):
    """A virtual environment with what the painter needs, in .build/: the network is asked once"""
    path, folder = find(version), ROOT / f".build/python{version}"
    if not path:
        pytest.skip(f"there is no Python {version} on this machine")
    python, lock = folder / "bin/python", (ROOT / "requirements.lock").read_text()
    pins = "".join(re.search(rf"^{name}==.*\n(?:    .*\n)+", lock, re.M)[0] for name in NEEDED)
    kept = folder / "pins.txt"
    if not (kept.exists() and kept.read_text() == pins and has_all(python)):
        subprocess.run([path, "-m", "venv", "--clear", "--without-pip", folder], check=True)
        kept.write_text(pins)
        install = ["install", "--quiet", "--retries", "0", "--timeout", "20", "--require-hashes", "--no-deps"]
        subprocess.run([sys.executable, "-m", "pip", "--python", python, *install, "-r", kept], capture_output=True)
        if not has_all(python):
            pytest.skip(f"numpy and pillow for Python {version} could not be installed: is there a network?")
    return python


def told(python):
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([python, ROOT / "tests/elsewhere.py"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("version", sorted(VERSIONS - {THIS}))
def test_the_same_on_every_python(python):
    here, there = told(sys.executable), told(python)
    assert all(len(found) > 1 for found in here.values())
    assert {name: found for name, found in there.items() if found != here[name]} == {}
