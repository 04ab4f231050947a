"""What is written is there as a whole or not at all, and nothing of the user's is lost."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sdscope import SdscopeError, cli, figures, files
from sdscope.postcard.training import data, train
from sdscope.postcard.training.run import Run
from sdscope.postcard.training.tokenizer import train_tokenizer
from sdscope.publish import facts, manifest
from sdscope.publish import make as notebooks
from sdscope.trace import Trace

MINE = ["thesis.tex", "sub/notes.txt", "a.png.part", "a.part", ".a.part"]


@pytest.fixture
def mine(tmp_path):
    """A folder with files of the user's; called, it says whether they are all there as they were"""
    folder = tmp_path / "mine"
    for name in MINE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"mine: {name}")
    return folder


def as_it_was(folder):
    return all((folder / name).read_text() == f"mine: {name}" for name in MINE) and not rooms(folder)


def rooms(folder):
    return [path.name for path in folder.rglob(".sdscope-*")]


# ---------------------------------------------------------------------------- files


def test_a_file_is_there_as_a_whole(mine):
    with files.writing(mine / "a.png") as part:
        assert part.name == "a.png"
        part.write_text("half")
        assert not (mine / "a.png").exists()
        part.write_text("whole")
    assert (mine / "a.png").read_text() == "whole" and as_it_was(mine)


def test_or_not_at_all(mine):
    (mine / "a").write_text("before")
    for error, seen in (
        (OSError(28, "No space left on device"), SdscopeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ):
        with pytest.raises(seen), files.writing(mine / "a") as part:
            part.write_text("half")
            raise error
    assert (mine / "a").read_text() == "before" and as_it_was(mine)


def test_links_are_followed(mine):
    (mine / "there").mkdir()
    (mine / "there/a").write_text("before")
    for link, target in ("link", "there/a"), ("dangling", "there/b"):
        (mine / link).symlink_to(target)
        files.write(mine / link, "new")
        assert (mine / link).is_symlink() and not (mine / target).is_symlink() and (mine / target).read_text() == "new"
    assert as_it_was(mine)


def test_permissions_stay(mine):
    (mine / "a").touch()
    (mine / "a").chmod(0o640)
    files.write(mine / "a", "new")
    assert stat.S_IMODE((mine / "a").stat().st_mode) == 0o640
    mask = os.umask(0o027)
    files.write(mine / "b", "new")
    os.umask(mask)
    assert stat.S_IMODE((mine / "b").stat().st_mode) == 0o640


def a_pipe(path):
    os.mkfifo(path)


def protected(path):
    path.write_text("keep this")
    path.chmod(0o444)


REFUSED = {
    "it is a folder": lambda path: path.mkdir(),
    "it is no ordinary file": a_pipe,
    "it is write-protected": protected,
    "it is a link that leads nowhere": lambda path: path.symlink_to(path),
    "No such file or directory": lambda path: path.symlink_to(path.parent / "nowhere/file"),
    "Not a directory": lambda path: path.symlink_to(path.parent / "thesis.tex/file"),
    "no ordinary file": lambda path: path.symlink_to("/dev/null"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_refused(mine, reason):
    path = mine / "a.png"
    REFUSED[reason](path)
    before = os.lstat(path)
    for attempt in files.check, lambda path: files.write(path, "new"):
        with pytest.raises(SdscopeError, match=f"cannot write .*a.png: .*{reason}") as told:
            attempt(path)
        assert "\n" not in str(told.value)
    assert os.lstat(path)[:2] == before[:2] and as_it_was(mine)


def test_a_name_that_is_too_long(mine):
    with pytest.raises(SdscopeError, match="File name too long"):
        files.check(mine / ("x" * 300))
    files.write(mine / ("x" * 255), "fits")


KILLED = """
import os, signal, sys
from sdscope import files
with files.{what} as new:
    (new / "half" if new.is_dir() else new).write_text("half")
    {then}
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(what, then="pass"):
    done = subprocess.run([sys.executable, "-c", KILLED.format(what=what, then=then)])
    assert done.returncode == -signal.SIGKILL


def test_what_a_killed_process_leaves_goes_the_next_time(mine):
    for what in f"making({str(mine / 'new')!r}, lambda folder: ())", f"writing({str(mine / 'a')!r})":
        killed(what)
        assert len(rooms(mine)) == 1
    with files.writing(mine / "b") as part:
        assert rooms(mine) == [part.parent.name]  # its own
        files.check(mine / "c")
        part.write_text("another process is at work here")
    assert (mine / "b").exists() and not (mine / "a").exists() and as_it_was(mine)


def test_where_there_is_no_room(tmp_path):
    """Python's own files, numpy's, safetensors', tokenizers', and a folder of many that is copied"""
    code = """
import os, pathlib, resource, shutil, sys
import numpy as np
from safetensors.numpy import save_file
from sdscope import SdscopeError, files
from tokenizers import Tokenizer, models
words = Tokenizer(models.WordLevel({str(i): i for i in range(500)}, "0"))
os.mkdir("many")
for i in range(50):
    pathlib.Path(f"many/{i}").write_bytes(bytes(2000))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for save in (lambda part: part.write_bytes(bytes(5000)), lambda part: np.save(part, np.zeros(5000)),
             lambda part: save_file({"a": np.zeros(5000)}, part), lambda part: words.save(str(part)),
             lambda part: shutil.copytree("many", part)):
    try:
        with files.writing("a.npy") as part:
            save(part)
    except SdscopeError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 5 and all(line.startswith("cannot write a.npy: ") for line in lines), done.stderr
    assert "large" in lines[0] and all(("full" in line or "large" in line) and len(line) < 500 for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["many"]


@pytest.mark.parametrize("name", ["pdf", "handout"])
def test_what_prints_says_in_one_line_that_it_cannot(tmp_path, name):
    for output in "slides.pdf", "handout.pdf":
        (tmp_path / ".build" / output).mkdir(parents=True)
    tool = Path(__file__).parents[1] / f"tools/{name}.py"
    done = subprocess.run([sys.executable, tool], cwd=tmp_path, capture_output=True, text=True)
    told = rf"tools/{name}.py: cannot write .build/\w+.pdf: it is a folder\n"
    assert done.returncode == 2 and re.fullmatch(told, done.stderr), done.stderr


# ---------------------------------------------------------------------------- folders


def ours(folder):
    return ["ours.txt"]


def make(folder, text="new"):
    with files.making(folder, ours) as new:
        (new / "ours.txt").write_text(text)


def test_a_folder_that_is_absent_empty_or_our_own_is_made(tmp_path):
    (tmp_path / "empty").mkdir(0o750)
    (tmp_path / "link").symlink_to("empty")
    for name, text in ("deep/in/here", "1"), ("deep/in/here", "2"), ("empty", "3"), ("link", "4"):
        make(tmp_path / name, text)
        assert [path.read_text() for path in (tmp_path / name).iterdir()] == [text]
    assert (tmp_path / "link").is_symlink() and stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o750
    assert not rooms(tmp_path)


def test_a_folder_with_anything_else_is_refused(mine):
    (mine / "ours.txt").write_text("before")
    for attempt in lambda: files.check_folder(mine, ours), lambda: make(mine):
        with pytest.raises(SdscopeError, match=r"\.a\.part in it was not made by this command"):
            attempt()
    with pytest.raises(SdscopeError, match="no folder"):
        make(mine / "thesis.tex")
    with pytest.raises(SdscopeError, match="Not a directory"):
        make(mine / "thesis.tex/below")
    assert as_it_was(mine) and (mine / "ours.txt").read_text() == "before"


def test_what_comes_while_it_is_made_stays_too(tmp_path):
    with pytest.raises(SdscopeError, match="thesis.tex"), files.making(tmp_path / "new", ours):
        (tmp_path / "new").mkdir()
        (tmp_path / "new/thesis.tex").write_text("mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "thesis.tex"]


def test_where_one_is_cannot_be_replaced(tmp_path, monkeypatch):
    (tmp_path / "here/below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here/below")
    for name in ".", "..", "/":
        with pytest.raises(SdscopeError, match="name a folder in it"):
            make(name)


def test_killed_between_the_old_and_the_new(tmp_path):
    make(tmp_path / "folder", "old")
    move = "(new.parent.parent / 'old').mkdir(); os.rename('folder', new.parent.parent / 'old/folder')"
    here = os.getcwd()
    os.chdir(tmp_path)
    killed("making('folder', lambda folder: ['ours.txt'])", move)
    os.chdir(here)
    assert not (tmp_path / "folder").exists()
    files.check(tmp_path / "other")
    assert (tmp_path / "folder/ours.txt").read_text() == "old" and not rooms(tmp_path)


# ---------------------------------------------------------------------------- every command that takes a place

# its words, then the option that the place is given to: a folder of the user's
COMMANDS = {
    "generate output": "generate x --model {tiny} --steps 1 -o",
    "dreambooth output": "dreambooth pictures x --model {tiny} --steps 1 -o",
    "export-web output": "export-web --model {tiny} -o",
    "figures out": "figures --out",
    "check out": "check --out",
    "evaluate out": "evaluate -o",
    "evaluate folder": "evaluate --folder",
    "evaluate-variants out": "evaluate-variants -o",
    "evaluate-variants folder": "evaluate-variants --folder",
    **{f"{name} folder": f"{name} --pictures 100 --folder" for name in ("all", "paint", *train.STAGES)},
}

READ = {"generate image", "generate mask", "generate lora", "dreambooth pictures"}  # nothing is written there


def places():
    """Of every command, the arguments that are paths"""
    for app in cli.app, cli.train:
        for command in app.registered_commands:
            for name, kind in get_type_hints(command.callback).items():
                if Path in (kind, *get_args(kind)):
                    yield f"{command.name or command.callback.__name__.replace('_', '-')} {name}"


def test_every_place_is_tried():
    assert set(places()) - READ == set(COMMANDS)


@pytest.fixture
def quick(monkeypatch):
    """The commands as they are, but that their pictures, runs and notebooks take no time"""

    class Fit(nn.Linear):
        def forward(self, x):
            return super().forward(x).mean()

    def stage(name):
        def train_it(folder, pictures, length, progress):
            data.painted(folder / "data", 4)
            trained = Run(folder / name, Fit(1, 1), length._replace(steps=1))
            trained.go(lambda rng, done: [torch.ones(length.batch_size, 1)], lambda average: Image.new("RGB", (1, 1)))

        return train_it

    def execute(stamps, folder, *args):
        for path, stamp in stamps.items():
            for name in "figures/a.png", "embed/a.py":
                files.write(folder / path.stem / name, "made", parents=True)
            manifest.update({"a.png": {"notebook": path.stem}}, folder / path.stem)
            manifest.write_json(folder / path.stem / "done.json", {"stamp": stamp})

    monkeypatch.setattr(train, "STAGES", {name: stage(name) for name in train.STAGES})
    monkeypatch.setattr(data, "paint_chunk", lambda start, size, first: np.zeros((data.CHUNK, 2, 2, 3), np.uint8))
    monkeypatch.setattr(data, "depth_chunk", lambda start, size, first: np.zeros((data.CHUNK, 2, 2), np.uint8))
    monkeypatch.setattr(data, "mask_chunk", lambda start, size, first: np.zeros((data.CHUNK, 2, 1), np.uint8))
    monkeypatch.setattr(data, "CHUNK", 50)
    monkeypatch.setattr(data, "workers", lambda jobs: nullcontext())
    monkeypatch.setattr(data, "train_tokenizer", partial(train_tokenizer, captions=300))
    monkeypatch.setattr(notebooks, "execute_all", execute)
    monkeypatch.setattr(notebooks, "unchanging", lambda parameters: b"")
    monkeypatch.setattr(facts, "facts", dict)


@pytest.mark.parametrize("place", COMMANDS)
def test_what_is_the_users_survives(run, mine, quick, place):  # noqa: F811
    words = COMMANDS[place].split()
    words = ["train", *words] if " --pictures" in COMMANDS[place] else words
    (Path("notebooks")).mkdir()
    Path("notebooks/01_a.ipynb").write_text(
        json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    for _ in range(2):
        status, out, err = run(*words, str(mine))
        assert as_it_was(mine) and (status == 0 or status == 2 and err.startswith("sdscope: ") and err.count("\n") == 1)
    status, _, err = run(*words, str(mine / "thesis.tex" / "below"))
    assert status == 2 and err.splitlines()[-1].startswith("sdscope: ") and as_it_was(mine)


def test_what_is_saved_from_python(mine):
    picture = figures.Picture(Image.new("RGB", (8, 8)))
    (mine / "there").mkdir()
    for name, save in ("a.png", picture.save), ("a", Trace().save):
        (mine / name).symlink_to(f"there/{name}")
        save(mine / name)
        save(mine / name)
        assert (mine / name).is_symlink() and as_it_was(mine)
    for save in picture.save, Trace().save:
        with pytest.raises(SdscopeError, match="cannot write|a picture is saved as"):
            save(mine)
    assert as_it_was(mine)
