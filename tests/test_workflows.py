"""What GitHub runs: make, and nothing that could not be run here; and what `make lowest` installs."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from lowest import lowest

ROOT = Path(__file__).parents[1]
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ACTIONS = ("checkout", "setup-python", "setup-node", "upload-pages-artifact", "deploy-pages")


def jobs(name):
    return WORKFLOWS[name]["jobs"]


def steps(name):
    return [step for job in jobs(name).values() for step in job["steps"]]


def starts(name):
    return WORKFLOWS[name][True]  # `on`, which YAML reads as a truth


def test_there_are_three():
    assert set(WORKFLOWS) == {"tests", "deck", "weekly"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_only_make_is_called(name):
    targets = set(re.search(r"^\.PHONY: ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.M)[1].split())
    for step in steps(name):
        if "uses" in step:
            assert re.fullmatch(rf"actions/({'|'.join(ACTIONS)})@[0-9a-f]{{40}}", step["uses"])
        elif not step["run"].startswith(("gh issue create ", "sudo apt-get update ")):
            called = step["run"].replace("${{ matrix.versions }}", "newest lowest")
            assert called.startswith("make ") and set(called.split()[1:]) <= targets


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nothing_may_be_written_but_what_has_to_be(name):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    more = {job: given["permissions"] for job, given in jobs(name).items() if "permissions" in given}
    pages = {"deploy": {"pages": "write", "id-token": "write"}}
    assert more == {"tests": {}, "deck": pages, "weekly": {"tell": {"issues": "write"}}}[name]
    for step in steps(name):
        assert "checkout" not in step.get("uses", "") or step["with"] == {"persist-credentials": False}


def test_what_runs_when():
    """The quick part at every push, all of it on main; the deck from main; the weekly run, whose failure is told."""
    assert starts("tests") == ["push", "pull_request"] and "if" not in jobs("tests")["quick"]
    assert jobs("tests")["everything"]["if"] == "github.ref == 'refs/heads/main'"
    runs = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs("tests").items()}
    assert runs == {"quick": ["make quick"], "everything": ["make test"]}
    assert starts("deck")["push"] == {"branches": ["main"]} and jobs("deck")["deploy"]["needs"] == "build"
    assert [step["with"]["path"] for step in steps("deck") if "upload-pages" in step.get("uses", "")] == ["dist"]
    (when,) = starts("weekly")["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", when["cron"])
    assert set(jobs("weekly")["tell"]["needs"]) == set(jobs("weekly")) - {"tell"}
    assert jobs("weekly")["tell"]["if"] == "${{ !success() }}"


def test_every_python_that_the_package_names():
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python ::" in line]
    assert [job["strategy"]["matrix"]["python"] for job in jobs("tests").values()] == [named] * 2
    weekly = {run["versions"]: run["python"] for run in jobs("weekly")["notebooks"]["strategy"]["matrix"]["include"]}
    assert weekly == {"newest": named[-1], "lowest": named[0]}


def test_the_lowest_versions():
    project = {
        "dependencies": ["torch>=2.6", "pillow>=10"],
        "optional-dependencies": {
            "figures": ["pillow>=9.9", "av>=12"],
            "notebooks": ["sdscope[figures]", "pillow>=11.3.1"],
            "web": ["torch>=2.7"],
        },
    }
    assert lowest(project) == {"torch": "2.6", "pillow": "11.3.1", "av": "12"}
    assert set(lowest(PROJECT)) > {"torch", "transformers", "diffusers", "matplotlib"}
