"""requirements.lock: what is installed here comes with a hash, but for torch and the GPU libraries it brings."""

import re
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
NOT_LOCKED = r"torch|triton|(nvidia|cuda)-.*"  # a build for each kind of machine


def pins(path):
    """[(a requirement, how many hashes it has)]"""
    lines = (ROOT / path).read_text().replace("\\\n", " ").splitlines()
    found = [line.split("--hash=sha256:") for line in lines if line and line[0] != "#"]
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest.strip()) for _, *hashes in found for digest in hashes)
    return [(Requirement(pin), len(hashes)) for pin, *hashes in found]


def here(path):
    """{name: version} of what is installed on this machine"""
    wanted = [pin for pin, _ in pins(path) if not pin.marker or pin.marker.evaluate()]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in wanted}


@pytest.mark.parametrize("name", ["requirements", "tools/node"])
def test_what_is_asked_for_is_locked(name):
    """In the same version; if not: make lock"""
    asked = {name: version for name, version in here(f"{name}.txt").items() if not re.fullmatch(NOT_LOCKED, name)}
    assert asked and asked.items() <= here(f"{name}.lock").items()


@pytest.mark.parametrize("name", ["requirements", "tools/node"])
def test_one_version_and_its_hashes(name):
    for pin, hashes in pins(f"{name}.lock"):
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)) and hashes
        assert not pin.url and not re.fullmatch(NOT_LOCKED, canonicalize_name(pin.name))


def test_what_is_installed_is_what_is_locked():
    # the first one counts: setuptools brings others along, behind it
    installed = {canonicalize_name(found.name): found.version for found in reversed(list(distributions()))}
    locked = here("requirements.lock")
    assert {name: installed.get(name) for name in locked} == locked


def test_whatever_that_needs_is_locked():
    """Walked as pip does: else pip would fetch it without a hash"""
    todo, seen = [pin for pin, _ in pins("requirements.txt")], set()
    while todo:
        pin = todo.pop()
        name = canonicalize_name(pin.name)
        for extra in {"", *pin.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            needs = map(Requirement, distribution(name).requires or [])
            todo += [need for need in needs if not need.marker or need.marker.evaluate({"extra": extra})]
    unlocked = {name for name, _ in seen} - here("requirements.lock").keys()
    assert [name for name in sorted(unlocked) if not re.fullmatch(NOT_LOCKED, name)] == [] and len(seen) > 100
