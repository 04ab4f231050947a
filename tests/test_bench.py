"""The arithmetic of tools/bench.py, on made-up times. Speed itself is not a matter of tests."""

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tools"))

from bench import compare, flat, take_turns

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
    assert flat("step", rows)["step.ours.difference"] == 0.25
    assert flat("step", rows)["step.theirs.difference"] == 0.0


def test_turns():
    calls = []
    runners = {name: lambda name=name: calls.append(name) or len(calls) for name in "AB"}
    times, results = take_turns(runners, rounds=3)
    assert calls == list("ABABAB")
    assert {name: np.shape(pairs) for name, pairs in times.items()} == {"A": (3, 2), "B": (3, 2)}
    assert results == {"A": 5, "B": 6}
