"""The arithmetic of tools/bench.py, on made-up times, and what it recorded last. Speed itself is not a matter of
tests."""

import json
from pathlib import Path

import numpy as np

from bench import compare, section, take_turns
from recording import weights_of
from sdscope.loading.checkpoint import find_model
from sdscope.loading.weights import weights_sha256

ROOT = Path(__file__).parents[1]
ONES = np.ones(3)


def test_ratios_are_taken_within_each_round():
    """A machine that gets ten times slower half way through changes seconds, not ratios."""
    ours = [(0.8, 2.0), (0.9, 2.0), (8.0, 3.0), (7.0, 2.0), (6.0, 2.0)]
    theirs = [(1.0, 4.0), (1.0, 4.0), (10.0, 4.0), (10.0, 2.0), (10.0, 4.0)]
    rows = compare(dict(ours=ours, theirs=theirs), dict(ours=ONES, theirs=ONES), "theirs")
    row = rows["ours"]
    assert (row["seconds"], row["rounds"]) == (6.0, 5)
    assert (row["ratio"], row["quartiles"]) == (0.8, [0.7, 0.8])
    assert (row["cpu_ratio"], row["cpu_quartiles"]) == (0.5, [0.5, 0.75])
    row = rows["theirs"]
    assert (row["seconds"], row["ratio"], row["quartiles"]) == (10.0, 1.0, [1.0, 1.0])


def test_difference_is_the_largest():
    results = dict(ours=ONES + [0.0, -0.25, 0.125], theirs=ONES)
    rows = compare({name: [(1.0, 1.0)] * 2 for name in results}, results, "theirs")
    assert rows["ours"]["difference"] == 0.25 and rows["theirs"]["difference"] == 0.0


def test_turns():
    calls = []
    runners = {name: lambda name=name: calls.append(name) or len(calls) for name in "AB"}
    times, results = take_turns(runners, rounds=3)
    assert calls == list("ABABAB")
    assert {name: np.shape(pairs) for name, pairs in times.items()} == {"A": (3, 2), "B": (3, 2)}
    assert results == {"A": 5, "B": 6}


def test_all_that_was_measured_is_in_the_table():
    rows = compare(dict(ours=[(0.8, 2.0)] * 3, theirs=[(1.0, 4.0)] * 3), dict(ours=ONES, theirs=ONES + 7), "theirs")
    title, _, head, line, ours, theirs, _, note = section("A race", rows, ["A note."]).splitlines()
    assert (title, note) == ("A race", "A note.")
    assert head.count("|") == line.count("|") == theirs.count("|") == 9
    assert ours == "| ours | 0.80 | 0.80 | 0.80 to 0.80 | 0.50 | 0.50 to 0.50 | 7 | 3 |"


def test_what_is_recorded_is_of_these_weights():
    """make bench, make recording, sdscope evaluate"""
    weights = weights_sha256(folder := find_model("postcard"))
    assert json.loads((folder / "evaluation.json").read_text())["weights"] == weights
    tables = (ROOT / "docs/speed.md").read_text().split("\n## ")[1:]
    assert (
        len(tables) == 4
        and [table for table in tables if f"`{weights}`" not in table and "random weights." not in table] == []
    )
    recorded = {path.stem: weights_of(path) for path in (ROOT / "docs").glob("*.webp")}
    assert recorded["lab"] == weights and set(recorded.values()) == {None, weights}


def test_what_is_recorded_is_shown():
    told = "".join((ROOT / name).read_text() for name in ("README.md", "src/sdscope/postcard/MODEL_CARD.md"))
    assert [path.name for path in (ROOT / "docs").iterdir() if f"docs/{path.name})" not in told] == []
