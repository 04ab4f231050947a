"""The command that executes the notebooks: all or nothing, at any moment, and nothing twice."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import nbformat
import pytest
from filelock import FileLock
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from sdscope import SdscopeError, cli
from sdscope.publish import execute, facts, manifest
from sdscope.publish import make as notebooks

# What saver does, without the seconds that importing torch takes. Each kernel leaves a line in ../log.
SAVE = """import hashlib, json, os, pathlib
from PIL import Image
out, entries = pathlib.Path(os.environ["SDSCOPE_OUT"]), {}
with open("../log", "a") as log: print(NAME, os.environ["OMP_NUM_THREADS"], file=log)
def save(name, *colours, **changes):
    path = out / "figures" / name
    path.parent.mkdir(exist_ok=True)
    first, *rest = [Image.new("RGB", (8, 4), colour) for colour in colours]
    first.save(path, **dict(save_all=True, append_images=rest, duration=100, lossless=True) if rest else {})
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    entries[name] = dict(notebook=NAME, cell=path.stem, seed=seed, sha256=sha256, width=8, height=4) | changes
    (out / "manifest.json").write_text(json.dumps({"figures": entries}))
def in_japanese(name):
    path = out / "ja" / "figures" / name
    path.parent.mkdir(parents=True)
    path.write_bytes((out / "figures" / name).read_bytes())
    entries[name]["sha256_ja"] = entries[name]["sha256"]
    (out / "manifest.json").write_text(json.dumps({"figures": entries}))"""
ONE, TWO = (f'save("{name}.png", "{colour}")' for name, colour in (("one", "red"), ("two", "blue")))


UNCHANGING = notebooks.unchanging


@pytest.fixture(autouse=True)
def steady(monkeypatch):
    """Quick facts, and code that does not change while the tests run."""
    monkeypatch.setattr(facts, "facts", lambda: {"n": 1})
    monkeypatch.setattr(notebooks, "unchanging", lambda parameters: repr(parameters).encode())


@pytest.fixture
def lines():
    return []


@pytest.fixture
def make(tmp_path, lines):
    return lambda *only, **options: notebooks.make(tmp_path, only, say=lines.append, **options)


def notebook(root, name, *cells):
    """root/notebooks/NAME.ipynb. cells: sources; the first line of one may be its tag: "# one"."""
    (root / "notebooks").mkdir(exist_ok=True)
    nb = new_notebook(
        cells=[new_code_cell("seed = 42", metadata={"tags": ["parameters"]}), new_code_cell(f'NAME = "{name}"\n{SAVE}')]
    )
    for source in cells:
        tags = [source.partition("\n")[0][2:]] if source.startswith("# ") else []
        nb.cells += [new_markdown_cell("text"), new_code_cell(source, metadata={"tags": tags})]
    nb.metadata.kernelspec = dict(name="python3", language="python", display_name="Python 3")
    for i, cell in enumerate(nb.cells):
        cell.id = str(i)
    nbformat.write(nb, root / "notebooks" / f"{name}.ipynb")


def executed(root):
    """The notebooks that were executed, in order, since the last time."""
    log = root / "log"
    names = [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    return names


def files(root):
    """{path: content} of public/ and embed/"""
    return {
        str(p.relative_to(root)): p.read_bytes()
        for folder in ("public", "embed")
        for p in (root / folder).rglob("*")
        if p.is_file()
    }


def test_it_publishes_and_takes_away_what_is_no_longer_made(tmp_path, make, lines):
    notebook(tmp_path, "01_a", f"# one\n{ONE}; in_japanese('one.png')", f"# two\n{TWO}", "# text\nprint(7)")
    notebook(tmp_path, "02_b", '# three\nsave("three.webp", "red", "blue")')
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "model.onnx").write_text("made by another command")
    make()
    found = files(tmp_path)
    assert set(found) == {
        *(f"public/{name}" for name in ("manifest.json", "facts.json", "model.onnx")),
        *(f"public/{name}" for name in ("figures/one.png", "figures/two.png", "figures/three.webp")),
        "public/ja/figures/one.png",
        *(
            f"embed/01_a/{name}"
            for name in ("one.py", "one.html", "two.py", "two.html", "text.py", "text.txt", "text.html")
        ),
        *(f"embed/{name}/parameters.{suffix}" for name in ("01_a", "02_b") for suffix in ("py", "html")),
        *(f"embed/02_b/{name}" for name in ("three.py", "three.html")),
    }
    for name, entry in manifest.read(tmp_path / "public").items():
        assert entry["sha256"] == hashlib.sha256(found[f"public/figures/{name}"]).hexdigest()
    assert list(manifest.read(tmp_path / "public")) == ["one.png", "three.webp", "two.png"]
    assert found["embed/01_a/text.txt"] == b"7\n" and json.loads(found["public/facts.json"]) == {"n": 1}
    first, second, calls, last = sorted(lines[:2]) + lines[2:]
    assert first.startswith("01_a: 2 figures, 0.0 MB in ") and last == f"3 figures in {tmp_path / 'public'}"
    assert second.startswith("02_b: 1 figures, 0.0 MB (animations in kB: three.webp 0) in ")
    assert calls.startswith("UNet calls: 0 made, 0 in the figures; ")

    notebook(tmp_path, "01_a", f"# two\n{TWO}")
    make("01")  # 02 is as it was
    left = files(tmp_path)
    gone = {
        "public/figures/one.png",
        "public/ja/figures/one.png",
        *(f"embed/01_a/{name}" for name in ("one.py", "one.html", "text.py", "text.txt", "text.html")),
    }
    assert set(left) == set(found) - gone and left["public/figures/three.webp"] == found["public/figures/three.webp"]
    assert set(manifest.read(tmp_path / "public")) == {"two.png", "three.webp"}

    (tmp_path / "notebooks" / "02_b.ipynb").unlink()
    make()
    assert set(manifest.read(tmp_path / "public")) == {"two.png"} and not (tmp_path / "embed" / "02_b").exists()


def test_what_is_unchanged_is_not_executed_again(tmp_path, make, lines, monkeypatch):
    notebook(tmp_path, "01_a", f"# one\n{ONE}")
    notebook(tmp_path, "02_b", f"# two\n{TWO}")
    make()
    assert sorted(executed(tmp_path)) == ["01_a", "02_b"]
    (tmp_path / "public" / "figures" / "one.png").write_bytes(b"damaged")
    make()
    assert executed(tmp_path) == [] and (tmp_path / "public" / "figures" / "one.png").read_bytes() != b"damaged"
    assert lines[-2] == "2 of 2 notebooks have been executed, and nothing has changed since"
    notebook(tmp_path, "02_b", f"# two\n{TWO}  # changed")
    make()
    assert executed(tmp_path) == ["02_b"]
    make("01", parameters={"seed": 7})
    assert executed(tmp_path) == ["01_a"] and manifest.read(tmp_path / "public")["one.png"]["seed"] == 7
    monkeypatch.setattr(notebooks, "unchanging", lambda parameters: b"other code")
    make("02_b")
    assert executed(tmp_path) == ["02_b"]


def test_code_and_weights_and_versions_count(tmp_path, tiny_folder, monkeypatch):
    monkeypatch.setattr(notebooks, "__file__", str(tmp_path / "publish" / "make.py"))
    (tmp_path / "a.py").write_text("1")
    seen = [UNCHANGING({})]
    (tmp_path / "a.py").write_text("2")
    seen += [UNCHANGING({}), UNCHANGING({"seed": 1}), UNCHANGING({"model": str(tiny_folder)})]
    with pytest.raises(SdscopeError, match="no model 'nonsense'"):
        UNCHANGING({"model": "nonsense"})
    monkeypatch.setattr(manifest, "find_weights", lambda model: (None, "other weights"))
    seen += [UNCHANGING({"model": str(tiny_folder)})]
    monkeypatch.setattr(notebooks, "version", lambda name: "0")
    seen += [UNCHANGING({"model": str(tiny_folder)})]
    assert len(set(seen)) == 6
    (tmp_path / "a.md").write_text("not code")
    assert UNCHANGING({"model": str(tiny_folder)}) == seen[-1]


def test_a_failing_cell_is_named_and_what_is_finished_is_kept(tmp_path, make):
    notebook(tmp_path, "01_a", f"# one\n{ONE}")
    make()
    before = files(tmp_path)
    notebook(tmp_path, "01_a", f"# two\n{TWO}")
    notebook(tmp_path, "02_b", '# three\nsave("three.png", "red")', "# bad\nx = 1\nx / 0")
    executed(tmp_path)
    with pytest.raises(SdscopeError) as error:
        make()
    first, *rest = str(error.value).splitlines()
    assert first == "02_b.ipynb, cell 4 [bad]: ZeroDivisionError: division by zero"
    assert any("x / 0" in line for line in rest) and len(rest) <= 12
    assert files(tmp_path) == before
    notebook(tmp_path, "02_b", '# three\nsave("three.png", "red")')
    executed(tmp_path)
    make()
    assert executed(tmp_path) == ["02_b"] and set(manifest.read(tmp_path / "public")) == {"two.png", "three.png"}


@pytest.mark.parametrize(
    "cell, told",
    [
        ("os.kill(os.getpid(), 9)", "the kernel died, most often for want of memory"),
        ('from sdscope import SdscopeError\nraise SdscopeError("cannot write a.png: why")', "cannot write a.png: why"),
    ],
)
def test_what_is_told_in_one_line(tmp_path, make, cell, told):
    notebook(tmp_path, "01_a", f"# one\n{ONE}", f"# bad\n{cell}")
    with pytest.raises(SdscopeError) as error:
        make()
    assert str(error.value) == f"01_a.ipynb, cell 4 [bad]: {told}" and files(tmp_path) == {}


def test_killed_while_what_was_made_is_removed(tmp_path, make, monkeypatch):
    """And then the notebook is as it was before"""
    notebook(tmp_path, "01_a", f"# one\n{ONE}")
    make()
    before, stage = files(tmp_path), tmp_path / ".build/notebooks/01_a"

    def killed(*_, **__):
        (stage / "figures/one.png").unlink()
        raise SdscopeError("killed")

    notebook(tmp_path, "01_a", f"# two\n{TWO}")
    with monkeypatch.context() as patch, pytest.raises(SdscopeError, match="^killed$"):
        patch.setattr(execute, "shutil", SimpleNamespace(rmtree=killed))
        make()
    notebook(tmp_path, "01_a", f"# one\n{ONE}")
    executed(tmp_path)
    make()
    assert executed(tmp_path) == ["01_a"] and files(tmp_path) == before


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stopped_half_way_it_leaves_the_last_state_and_goes_on(tmp_path, make, stop):
    notebook(tmp_path, "01_a", f"# one\n{ONE}")
    make()
    before = files(tmp_path)
    notebook(tmp_path, "01_a", f"# two\n{TWO}")
    until = "while not os.path.exists('../go'):\n    import time; time.sleep(0.1)"
    notebook(tmp_path, "02_b", f"open('../pid', 'w').write(str(os.getpid()))\n{until}")
    code = "from sdscope.publish import make; make.unchanging = lambda parameters: repr(parameters).encode()\n"
    code += "from sdscope.cli import main; main()"
    # a shell's background job ignores Ctrl-C, and so would its children
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    command = subprocess.Popen(
        [sys.executable, "-c", code, "figures", "--jobs", "2"],
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.PIPE,
        preexec_fn=heard,
    )
    wait(
        lambda: (
            "two" in (tmp_path / ".build/notebooks/01_a/manifest.json").read_text()
            and notebooks.finished(tmp_path / ".build/notebooks/01_a")
        )
    )
    wait(lambda: int((tmp_path / "pid").read_text()))
    kernel = int((tmp_path / "pid").read_text())
    os.kill(command.pid, stop)
    assert command.wait(120) == (130 if stop == signal.SIGINT else -signal.SIGKILL)
    wait(lambda: not alive(kernel))
    assert files(tmp_path) == before
    executed(tmp_path)
    (tmp_path / "go").touch()
    make()
    assert executed(tmp_path) == ["02_b"] and set(manifest.read(tmp_path / "public")) == {"two.png"}


def wait(ready, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if ready():
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not os.path.exists(f"/proc/{pid}/stat") or open(f"/proc/{pid}/stat").read().split(")")[1].split()[0] != "Z"


def test_killed_while_the_folders_are_exchanged(tmp_path, make):
    """Between the two renames there is no public/; the next command puts it back, even when a notebook fails."""
    notebook(tmp_path, "01_a", f"# one\n{ONE}")
    make()
    before = files(tmp_path)
    gone = subprocess.check_output(["sh", "-c", "echo $$"], text=True).strip()
    room = tmp_path / f".sdscope-{gone}-12345678-{socket.gethostname()}"
    (room / "old").mkdir(parents=True)
    (tmp_path / "public").rename(room / "old" / "public")
    notebook(tmp_path, "01_a", "1 / 0")
    with pytest.raises(SdscopeError):
        make()
    assert files(tmp_path) == before


def test_what_no_notebook_has_made_stays(tmp_path, make):
    notebook(tmp_path, "01_a", f"# one\n{ONE}", "# gone\n1")
    out = tmp_path / "website"
    make(out=out)
    mine = [
        "thesis.tex",
        "public/logo.svg",
        "public/figures/mine.png",
        "embed/README.md",
        "embed/mine/a.py",
        "embed/01_a/mine.txt",
    ]
    for name in mine:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(f"mine: {name}")
    (out / "public/link").symlink_to("../thesis.tex")
    notebook(tmp_path, "01_a", f"# two\n{TWO}")
    make(out=out)
    assert set(manifest.read(out / "public")) == {"two.png"} and not (out / "embed/01_a/gone.py").exists()
    assert all((out / name).read_text() == f"mine: {name}" for name in mine) and (out / "public/link").is_symlink()

    (tmp_path / "notebooks" / "01_a.ipynb").unlink()
    notebook(tmp_path, "02_b", '# mine\nsave("mine.png", "red")')
    with pytest.raises(
        SdscopeError, match="^cannot write .*public/figures/mine.png: it was not made by this command; move it away$"
    ):
        make(out=out)
    assert all((out / name).read_text() == f"mine: {name}" for name in mine) and set(manifest.read(out / "public")) == {
        "two.png"
    }
    (out / "public/figures/mine.png").unlink()
    make(out=out)
    assert set(manifest.read(out / "public")) == {"mine.png"} and [p.name for p in (out / "embed/01_a").iterdir()] == [
        "mine.txt"
    ]


def test_elsewhere_with_threads_that_do_not_depend_on_the_number_of_notebooks(tmp_path, make, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(4))
    notebook(tmp_path, "01_a", f"# one\n{ONE}")
    make()
    before = files(tmp_path)
    make(out=tmp_path / "other", parameters={"seed": 7}, jobs=2)
    assert (tmp_path / "log").read_text() == "01_a 1\n01_a 2\n"
    assert manifest.read(tmp_path / "other" / "public")["one.png"]["seed"] == 7
    assert files(tmp_path) == before
    assert sorted(p.name for p in (tmp_path / "other").iterdir()) == [".build", "embed", "public"]


def test_a_figure_that_is_not_whose_it_says(tmp_path):
    def verify(source, tag="one", **entry):
        manifest.write_json(
            tmp_path / "manifest.json", {"figures": {"one.png": dict(notebook="01_a", cell="one") | entry}}
        )
        execute.verify("01_a", new_notebook(cells=[new_code_cell(source, metadata={"tags": [tag]})]), tmp_path)

    verify(ONE)
    for wrong in (
        dict(source=ONE, tag="two"),
        dict(source=TWO),
        dict(source=ONE, cell="two"),
        dict(source=ONE, notebook="02_b"),
    ):
        with pytest.raises(SdscopeError, match="^01_a: one.png was not saved by a cell tagged '(one|two)'$"):
            verify(**wrong)


def test_a_figure_that_two_notebooks_save(tmp_path):
    for name in ("01_a", "02_b"):
        (tmp_path / name / "embed").mkdir(parents=True)
        (tmp_path / name / "figures").mkdir()
        (tmp_path / name / "figures" / "one.png").touch()
        manifest.update({"one.png": {"notebook": name}}, tmp_path / name)
    stages = [tmp_path / "01_a", tmp_path / "02_b"]
    with pytest.raises(SdscopeError, match="^one.png is saved by two notebooks: 01_a, 02_b$"):
        notebooks.publish(stages, {"01_a", "02_b"}, {}, tmp_path)
    assert files(tmp_path) == {}


def test_what_cannot_be(tmp_path, make):
    with pytest.raises(SdscopeError, match=r"no notebooks in .*: run this in the repository's folder"):
        make()
    notebook(tmp_path, "01_a", f"# one\n{ONE}")
    with pytest.raises(SdscopeError, match="^no notebook '05'; there are 01_a$"):
        make("05")
    with pytest.raises(SdscopeError, match="^01_a.ipynb has no parameter 'sed'; it has seed$"):
        make(parameters={"sed": 1})
    (tmp_path / "file").touch()
    with pytest.raises(SdscopeError, match="^cannot write .*file/.build: Not a directory$"):
        make(out=tmp_path / "file")
    (tmp_path / ".build").mkdir(exist_ok=True)
    with (
        FileLock(tmp_path / ".build" / "lock"),
        pytest.raises(SdscopeError, match="another command makes or checks the figures in"),
    ):
        make()
    assert executed(tmp_path) == [] and files(tmp_path) == {}


def test_parameters_of_the_command(monkeypatch):
    words = ["steps=20", "prompt=a castle: night=dark", "guidance=7.5", "size=null", "negative_prompt="]
    values = {
        "model": "sd15",
        "steps": 20,
        "prompt": "a castle: night=dark",
        "guidance": 7.5,
        "size": None,
        "negative_prompt": "",
    }
    assert cli.notebook_parameters("sd15", words) == values
    with pytest.raises(SdscopeError, match="write NAME=VALUE"):
        cli.notebook_parameters(None, ["steps"])


def test_a_run_is_shared_by_notebooks_at_the_same_time(tmp_path, make, lines, tiny_folder):
    """With the real saver and the real runs: two notebooks, one prompt, painted once."""
    for name in ("01_a", "02_b"):
        notebook(
            tmp_path, name,
            "from sdscope import StableDiffusion, figures\nfrom sdscope.publish import saver",
            f'model, steps, guidance = "{tiny_folder}", 2, 5.0',
            "settings = dict(seed=seed, steps=steps, guidance=guidance, size=None, model=model)",
            'pipe = StableDiffusion.from_pretrained(model, device="cpu")',
            'run, save = figures.Runs(pipe), saver(NAME, prompt="a", negative_prompt="", **settings)',
            't = run("a", seed, steps, guidance)',
            f'# ship{name}\nfig = figures.Picture(t.pictures[0])\nsave(fig, "ship{name}.png", alt="a")',
        )  # fmt: skip
    make(jobs=2)
    assert lines[2].startswith("UNet calls: 2 made, 4 in the figures; ")
    a, b = manifest.read(tmp_path / "public").values()
    assert a["sha256"] == b["sha256"] and a["size"] == 64 and a["model_sha256"] == manifest.weights_sha256(tiny_folder)
