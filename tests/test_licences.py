"""licences.html beside the deck in each language: everything that it ships of others, with its licence."""

import html
import json
import re

import pytest
from conftest import ROOT, needs_deck

pytestmark = needs_deck
# Licences under which works may be shipped like this: with their text, and whole.
KNOWN = {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "OFL-1.1", "PSF-2.0"}
# What is too long for the page, so that it leads to it
ELSEWHERE = {"what ONNX Runtime is built from"}


IN_JAPANESE = {"@fontsource-variable/noto-sans-jp", "budoux"}


@pytest.fixture(scope="module", params=["", "ja/"])
def folder(request):
    return request.param


@pytest.fixture(scope="module")
def page(folder):
    return (ROOT / "dist" / folder / "licences.html").read_text()


@pytest.fixture(scope="module")
def works(page):
    """{name: (version, licence)}"""
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", page)
    return {html.unescape(re.sub("<.*?>", "", name)): (version, licence) for name, version, licence in rows}


@pytest.fixture(scope="module")
def texts(page):
    return dict(re.findall(r"<h2>(.*?)</h2>\n<pre>(.*?)</pre>", page, re.S))


def test_what_the_deck_asks_for_itself_is_there(works, folder):
    """All that is named in package.json, in the versions that are installed; slidev's own and vue with it."""
    asked = {*json.loads((ROOT / "package.json").read_text())["dependencies"], "@slidev/client", "vue", "katex"}
    installed = {
        name: json.loads((ROOT / "node_modules" / name / "package.json").read_text())["version"]
        for name in asked - {"@slidev/cli"} - (set() if folder else IN_JAPANESE)  # slidev builds, and ships its client
    }
    assert installed == {name: works.get(name, [None])[0] for name in installed}


def test_every_licence_is_known_and_told_in_full(works, texts):
    named = {name: set(re.split(r"[() ]+|OR|AND", licence)) - {""} for name, (_, licence) in works.items()}
    assert {name: licences for name, licences in named.items() if not licences or licences - KNOWN} == {}
    told = {heading.rpartition(" ")[0] for heading, text in texts.items() if len(text) > 400}
    assert set(works) - told == ELSEWHERE


def test_what_lies_inside_of_others(works, texts):
    assert set(works) > ELSEWHERE
    assert "Python Software Foundation" in texts["CPython and its standard library, in Pyodide "]


def test_it_says_whose_the_deck_is(texts):
    ours = html.unescape(texts["Understand Stable Diffusion from Code"])
    assert ours.strip() == (ROOT / "LICENSE").read_text().strip()
