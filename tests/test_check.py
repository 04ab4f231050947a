"""Whatever of the figures, the excerpts and the manifest is not what the notebooks make, is told."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_regen import notebook

from sdscope import SdscopeError
from sdscope.publish import check as module
from sdscope.publish import facts, manifest
from sdscope.publish import make as notebooks

PICTURE = """# noise
from PIL import ImageFilter
gradient = Image.linear_gradient("L").resize((32, 32)).convert("RGB")
save("noise.png", "red"); gradient.save(out / "figures" / "noise.png")
entries["noise.png"]["sha256"] = hashlib.sha256((out / "figures" / "noise.png").read_bytes()).hexdigest()
(out / "manifest.json").write_text(json.dumps({"figures": entries}))"""


@pytest.fixture(autouse=True)
def quick_facts(monkeypatch):
    monkeypatch.setattr(facts, "facts", lambda: {"n": 1, "shape": (2, 3)})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a notebook, its figures and excerpts."""
    root = tmp_path_factory.mktemp("made")
    notebook(
        root,
        "01_a",
        PICTURE,
        '# moving\nsave("moving.webp", "red", "blue")',
        "# ids\nprint([49406, 7], (2, 77, 64), 0.83)",
    )
    notebook(root, "02_b", '# other\nsave("other.png", "green")')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts, "facts", lambda: {"n": 1, "shape": (2, 3)})
        notebooks.make(root, say=lambda line: None)
    return root


@pytest.fixture
def root(made, tmp_path):
    shutil.copytree(made, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def check(root, run, monkeypatch):
    """sdscope check -> (exit status, stdout)"""
    monkeypatch.chdir(root)
    return lambda *words: run("check", *words)[:2]


def flip(path, at=-20):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def edit(path, before, after):
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))


def entries(root, name, **changes):
    """Change a manifest's entry."""
    figures = manifest.read(root / "public")
    manifest.update({name: figures[name] | changes}, root / "public")


def test_green_then_red_after_one_byte_one_number_and_one_seed(check, root):
    """The command itself: it executes the notebooks again."""
    status, out = check()
    assert status == 0 and out.endswith("the same as in public/ and embed/\n")
    flip(root / "public" / "figures" / "noise.png")
    edit(root / "embed" / "01_a" / "ids.txt", "0.83", "0.84")
    entries(root, "moving.webp", seed=43)
    status, out = check("--only", "01")
    assert status == 1 and "differences: 3" in out
    for words in (
        ["noise.png", "sha256"],
        ["01_a/ids.txt", "line 1", "0.84", "0.83"],
        ["moving.webp", "seed", "43", "42"],
    ):
        assert any(all(word in line for word in words) for line in out.splitlines()), words
    assert sorted(p.name for p in (root / ".build" / "check").iterdir()) == ["01_a", "02_b"]


def test_nbmake_says_the_same_and_writes_nothing_here(root, monkeypatch):
    """pytest --nbmake notebooks/, with the conftest.py that lies there: one notebook of two makes another number."""
    shutil.copy(Path(__file__).parents[1] / "notebooks" / "conftest.py", root / "notebooks")
    edit(root / "embed" / "01_a" / "ids.txt", "0.83", "0.84")
    files = lambda: {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "log"}
    before = files()
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbmake", "notebooks"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 1 and "1 failed, 1 passed" in done.stdout, done.stdout
    assert "01_a/ids.txt: line 1: …" in done.stdout and "0.84: …" in done.stdout and "other.png" not in done.stdout
    assert files() == before


def differences(root):
    """As `check` does, with what the notebooks made the first time in the place of a second."""
    stages = [root / ".build" / "notebooks" / name for name in ("01_a", "02_b")]
    return [
        tuple(row)
        for rows in (module.standing(root), *(module.made_again(stage, root) for stage in stages))
        for row in rows
    ]


def test_nothing(root):
    assert differences(root) == []


@pytest.mark.parametrize("at", [0, 50, -1])
@pytest.mark.parametrize("name", ["noise.png", "moving.webp", "other.png"])
def test_one_byte_of_one_figure(root, name, at):
    flip(root / "public" / "figures" / name, at)
    ((file, what, kept, again),) = differences(root)
    assert (file, what) == (name, "sha256, in the manifest and of the file") and kept != again


def test_one_number_of_one_embed(root):
    embed = root / "embed"
    edit(embed / "01_a" / "ids.txt", "49406", "49407")
    edit(embed / "01_a" / "ids.html", "[49406, 7] (2", "[49406, 8] (2")
    edit(embed / "02_b" / "other.py", "green", "red")
    (embed / "01_a" / "noise.py").unlink()
    shutil.copy(embed / "01_a" / "ids.txt", embed / "02_b" / "ids.txt")
    numbers = "[49406, 7] (2, 77, 64) 0.83"
    rows = differences(root)
    assert ("01_a/ids.txt", "line 1", "[49407, 7] (2, 77, 64) 0.83", numbers) in rows
    assert [row[:2] for row in rows] == [
        ("01_a/ids.html", "line 4"), ("01_a/ids.txt", "line 1"), ("01_a/noise.py", "line 1"),
        ("02_b/ids.txt", "line 1"), ("02_b/other.py", "line 2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "field, value", [("seed", 43), ("cell", "another"), ("width", 9), ("prompt", "a ship"), ("sha256", "0" * 64)]
)
def test_one_field_of_the_manifest(root, field, value):
    was = manifest.read(root / "public")["other.png"].get(field)
    entries(root, "other.png", **{field: value})
    ((file, what, kept, again),) = differences(root)
    assert file == "other.png" and what.startswith(field)
    if field != "sha256":
        assert (kept, again) == (json.dumps(value), was and json.dumps(was))


def test_a_figure_too_many_and_one_too_few(root):
    shutil.copy(root / "public" / "figures" / "noise.png", root / "public" / "figures" / "stray.png")
    (root / "public" / "figures" / "other.png").unlink()
    (missing, _, told, none), (stray, _, unknown, read) = differences(root)
    assert (missing, none, stray, unknown) == ("other.png", None, "stray.png", None) and told and read


def test_a_figure_that_is_not_made_any_more_and_a_new_one(root):
    figures = manifest.read(root / "public")
    figures["new.png"] = figures.pop("other.png") | dict(cell="new")
    (root / "public" / "figures" / "other.png").rename(root / "public" / "figures" / "new.png")
    manifest.write_json(root / "public" / "manifest.json", {"figures": figures})
    assert differences(root) == [("new.png", "figure", "there", None), ("other.png", "figure", None, "there")]


def again(root, name, change):
    """The notebook makes another picture than it did."""
    path = root / ".build" / "notebooks" / "01_a" / "figures" / name
    frames, times = module.frames(path)
    first, *rest = [Image.fromarray(np.clip(frame, 0, 255).astype("uint8")) for frame in change(frames.astype(int))]
    options = dict(save_all=True, append_images=rest, duration=times[0], lossless=True) if rest else {}
    first.save(path, **options)
    figures = manifest.read(path.parents[1])
    manifest.update({name: figures[name] | {"sha256": "another"}}, path.parents[1])


def test_pictures_may_differ_by_40_db(root):
    """255 / 100 is 40 dB: a mean difference of 2 grey levels passes, of 3 does not."""
    again(root, "noise.png", lambda frames: frames + 2 * (frames < 128) - 2 * (frames >= 128))
    assert differences(root) == []
    again(root, "noise.png", lambda frames: frames + 1 * (frames < 128) - 1 * (frames >= 128))
    assert differences(root) == [("noise.png", "picture", "at least 40 dB", "38.6 dB")]


def test_every_frame_counts(root):
    again(root, "moving.webp", lambda frames: [frames[0], frames[1] - 5])
    ((file, what, _, measured),) = differences(root)
    assert (file, what) == ("moving.webp", "picture") and float(measured.split()[0]) < 40
    again(root, "moving.webp", lambda frames: [*frames, frames[1] + 30])
    ((file, what, kept, measured),) = differences(root)
    assert (file, what) == ("moving.webp", "frames, height, width, ms") and kept == "(2, 4, 8, 3) 200"


def test_the_table_shows_the_place_where_long_texts_part():
    row = module.Difference("a.txt", "line 1", "x" * 100 + "1" + "y" * 100, "x" * 100 + "2" + "y" * 100)
    assert row.short() == ["a.txt", "line 1", "…" + "x" * 20 + "1" + "y" * 19, "…" + "x" * 20 + "2" + "y" * 19]
    assert module.Difference("a.png", "figure", None, "there").short()[2:] == ["-", "there"]


def test_a_figure_in_japanese_is_compared_too(root):
    stage = root / ".build" / "notebooks" / "02_b"

    def in_japanese(folder, colour):
        path = folder / "ja" / "figures" / "other.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 4), colour).save(path)
        entry = manifest.read(folder)["other.png"]
        manifest.update({"other.png": entry | {"sha256_ja": manifest.sha256(path.read_bytes())}}, folder)
        return path

    kept = in_japanese(root / "public", "green")
    assert differences(root) == [("ja/figures/other.png", "figure", "there", None)]
    in_japanese(stage, "green")
    assert differences(root) == []
    in_japanese(stage, "red")
    ((file, what, *_),) = differences(root)
    assert (file, what) == ("ja/figures/other.png", "picture")
    flip(kept)
    ((file, what, *_),) = differences(root)
    assert (file, what) == ("ja/figures/other.png", "sha256, in the manifest and of the file")


def test_facts(root, monkeypatch):
    monkeypatch.setattr(facts, "facts", lambda: {"n": 2, "shape": (2, 3), "new": "x"})
    assert differences(root) == [("facts.json", "n", "1", "2"), ("facts.json", "new", None, '"x"')]


def test_nothing_to_check(tmp_path):
    notebook(tmp_path, "01_a")
    with pytest.raises(SdscopeError, match="nothing to check in .*public: make the figures first"):
        module.check(tmp_path)
