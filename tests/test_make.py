"""What `make` takes away, and what it leaves; the slides while they are edited."""

import os
import pty
import shutil
import signal
import socket
import subprocess
import time
from urllib.request import urlopen

import pytest
from conftest import ROOT, needs_deck

BY_HAND = {"Makefile", "public/README.md", "public/favicon.svg", "embed/README.md"}
MADE = {
    "dist/index.html",
    ".build/figures",
    "public/figures/ship.webp",
    "public/model/model.json",
    "public/manifest.json",
    "public/facts.json",
    "embed/01_tour/ship.py",
}


@pytest.fixture(autouse=True)
def no_make_above(monkeypatch):
    """A make that `make test` starts would also name the folders that it enters and leaves."""
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        monkeypatch.delenv(name, raising=False)


def test_clean_takes_away_what_was_made_and_nothing_else(tmp_path):
    for name in BY_HAND | MADE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name) if name in BY_HAND else (tmp_path / name).touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == BY_HAND


def test_what_is_made_is_ignored_and_what_is_made_by_hand_is_not(tmp_path):
    shutil.copy(ROOT / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    told = subprocess.run(["git", "check-ignore", *BY_HAND, *MADE], cwd=tmp_path, capture_output=True, text=True)
    assert set(told.stdout.split()) == MADE


@needs_deck
def test_the_deck_ships_its_icon_and_no_readme():
    for page, icon in ("index.html", "./favicon.svg"), ("ja/index.html", "../favicon.svg"):
        assert f'rel="icon" href="{icon}"' in (ROOT / "dist" / page).read_text()
    assert (ROOT / "dist/favicon.svg").is_file() and not [*(ROOT / "dist").rglob("*.md")]


# What is installed here is taken as it is: whether that is up to date is not asked.
SLIDES = [
    "make",
    *(f"-o{name}" for name in (".venv/.installed", ".venv/bin/node", "node_modules/.package-lock.json")),
    "slides",
]


@pytest.fixture
def editing(tmp_path):
    """A folder where somebody edits slides: a deck of one slide, with the components and the code of this one."""
    for name in ("Makefile", "vite.config.ts"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "slides", tmp_path / "slides")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("weights"))
    for name in (".venv", "node_modules"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("public", "embed/01_tour"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "public/manifest.json").write_text("{}")
    code = "<<< @/src/sdscope/pipeline.py#encode_prompt python {all|/def encode(/}"
    (tmp_path / "slides.en.md").write_text(f"---\ntheme: none\naddons: ['@/slides']\n---\n\n# A title\n\n{code}\n")
    return tmp_path


@needs_deck
def test_what_is_saved_is_served(editing):
    """A page, and then the code that it shows: Slidev by itself no longer looks at that once a page has been saved."""
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    keyboard, terminal = pty.openpty()  # as on a terminal, where Ctrl-C is a key that Slidev reads
    running = subprocess.Popen(
        [*SLIDES, f"PORT={port}"], cwd=editing, stdin=terminal, stdout=subprocess.DEVNULL, start_new_session=True
    )

    def served(text, seconds=120):
        end, address = time.monotonic() + seconds, f"http://localhost:{port}/slides.en.md__slidev_1.md?import"
        while time.monotonic() < end and running.poll() is None:
            try:
                if text in urlopen(address).read().decode():
                    return True
            except OSError:  # not yet
                pass
            time.sleep(0.1)
        return False

    def save(name, old, new):
        text = (editing / name).read_text()
        assert old in text
        (editing / name).write_text(text.replace(old, new))

    try:
        assert served("A title") and served("prompt_embeds")
        save("slides.en.md", "A title", "Another title")
        time.sleep(1)  # Slidev has read it
        save("src/sdscope/pipeline.py", "prompt_embeds", "vectors_of_words")
        assert served("vectors_of_words")
        os.write(keyboard, b"\x03")
        assert running.wait(60) == 0
    finally:
        os.killpg(running.pid, signal.SIGKILL) if running.poll() is None else None
        os.close(keyboard), os.close(terminal)


def test_slides_without_figures(tmp_path):
    """One line, and nothing is installed first."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    told = subprocess.run(["make", "slides"], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 2 and told.stdout.count("\n") == 1 and "`make figures`" in told.stdout, told.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"Makefile"}


def test_slides_where_the_port_is_taken(editing):
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        told = subprocess.run([*SLIDES, f"PORT={port}"], cwd=editing, capture_output=True, text=True)
    assert told.returncode == 2 and f"Port {port} is in use" in told.stdout and f"PORT={port + 1}" in told.stdout
