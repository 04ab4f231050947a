"""From notebooks/ to public/ and embed/: figures, manifest, excerpts, facts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from .. import files
from ..errors import SdscopeError
from ..figures import runs
from . import facts, manifest
from .execute import execute_all

VERSIONS = ("torch", "transformers", "diffusers", "matplotlib", "numpy", "pillow")
MADE = ("public", "embed")


def make(root: Path, only=(), out: Path | None = None, parameters: dict | None = None, jobs=None, say=print) -> None:
    """Execute root/notebooks/*.ipynb and fill public/ and embed/ of `out` (None: of root).

    only: numbers or names of notebooks; parameters: {name: value}, for their cell `parameters`.
    A notebook that has been executed is not executed again while nothing that it depends on changes.
    When all are finished, public/ and embed/ are replaced; a command that is stopped before leaves them as they were,
    and the next goes on with what is finished, which lies in .build/notebooks.
    """
    out = out or root
    paths = find(root, only)
    with working(out) as build:
        stages, common = build / "notebooks", unchanging(parameters or {})
        stamps = {path: hashlib.sha256(path.read_bytes() + common).hexdigest() for path in paths}
        todo = {path: stamp for path, stamp in stamps.items() if finished(stages / path.stem) != stamp}
        if len(todo) < len(paths):
            say(f"{len(paths) - len(todo)} of {len(paths)} notebooks have been executed, and nothing has changed since")
        runs.tidy(build / "runs")
        execute_all(todo, stages, parameters, jobs, build / "runs", say)
        publish([stages / path.stem for path in paths], {path.stem for path in find(root)}, facts.facts(), out)
    say(f"{len(manifest.read(out / 'public'))} figures in {out / 'public'}")


def find(root: Path, only=()) -> list[Path]:
    """["05", "07_vae"] -> notebooks/05_scheduler.ipynb, notebooks/07_vae.ipynb; all, when none is named."""
    paths = sorted((root / "notebooks").glob("*.ipynb"))
    if not paths:
        raise SdscopeError(f"no notebooks in {root / 'notebooks'}: run this in the repository's folder")
    names = {name: path for path in paths for name in (path.stem, path.stem.partition("_")[0])}
    for name in only:
        if name not in names:
            raise SdscopeError(f"no notebook {name!r}; there are {', '.join(path.stem for path in paths)}")
    return [names[name] for name in sorted(set(only))] if only else paths


def unchanging(parameters: dict) -> bytes:
    """What every notebook depends on: the package, Postcard in it, another model, parameters, versions."""
    package = Path(__file__).parents[1]
    files = [p for p in sorted(package.rglob("*")) if p.is_file() and p.suffix not in (".pyc", ".md")]
    weights = manifest.find_weights(parameters["model"])[1] if "model" in parameters else ""
    told = json.dumps([parameters, weights, [version(name) for name in VERSIONS], sys.version])
    return b"".join(hashlib.sha256(p.read_bytes()).digest() for p in files) + told.encode()


def finished(stage: Path) -> str | None:
    path = stage / "done.json"
    return json.loads(path.read_text())["stamp"] if path.exists() else None


@contextmanager
def working(out: Path):
    """out/.build, for one command at a time."""
    build = out / ".build"
    try:
        build.mkdir(parents=True, exist_ok=True)
        with FileLock(build / "lock", timeout=0):
            for name in MADE:
                files.check_folder(out / name, os.listdir)
            yield build
    except Timeout:
        raise SdscopeError(f"another command makes or checks the figures in {out}: wait for it") from None
    except OSError as error:
        raise SdscopeError(f"cannot write {error.filename or out}: {error.strerror}") from error


def publish(stages: list[Path], names: set[str], numbers: dict, out: Path) -> None:
    """public/ and embed/ with what the stages hold; of other notebooks, out of `names`, with what was there.

    Both are made whole beside their place, and then put there. What no notebook has made stays as it is; where it
    is in the way: SdscopeError.
    """
    others = names - {stage.name for stage in stages}
    entries = {figure: entry for figure, entry in manifest.read(out / "public").items() if entry["notebook"] in others}
    excerpts = {name: texts for name, texts in manifest.read(out / "public", "excerpts").items() if name in others}
    new: dict[str, Path] = {}
    for stage in stages:
        excerpts[stage.name] = sorted(path.name for path in (stage / "embed").iterdir())
        new |= {f"embed/{stage.name}/{text}": stage / "embed" / text for text in excerpts[stage.name]}
        for figure, entry in manifest.read(stage).items():
            if figure in entries:
                raise SdscopeError(f"{figure} is saved by two notebooks: {entries[figure]['notebook']}, {stage.name}")
            entries[figure] = entry
        new |= {f"public/{path}": stage / path for path in manifest.paths(manifest.read(stage))}
    old, before = published(out), {entry["notebook"] for entry in manifest.read(out / "public").values()}
    for name, path in new.items():
        ours = name in old or name.split("/")[1] in before
        if not ours and os.path.lexists(out / name) and (out / name).read_bytes() != path.read_bytes():
            raise SdscopeError(f"cannot write {out / name}: it was not made by this command; move it away")
    kept = {
        *(f"public/{path}" for path in manifest.paths(entries)),
        *(f"embed/{name}/{text}" for name in excerpts for text in excerpts[name]),
    }
    with files.making(out / "public", os.listdir) as public, files.making(out / "embed", os.listdir) as embed:
        place = {"public": public, "embed": embed}
        for name in MADE:
            if (out / name).exists():
                shutil.copytree(out / name, place[name], symlinks=True, dirs_exist_ok=True)
        at = lambda name: place[name.partition("/")[0]] / name.partition("/")[2]
        for name in old - kept:
            at(name).unlink(missing_ok=True)
            with suppress(OSError):  # of a notebook that is gone, unless something else is in it
                at(name).parent.rmdir()
        for name, path in new.items():
            at(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, at(name))
        manifest.write_manifest(public, entries, excerpts)
        manifest.write_json(public / "facts.json", numbers)


def published(out: Path) -> set[str]:
    """The files below public/ and embed/ that this command has made"""
    figures, excerpts = (manifest.read(out / "public", what) for what in ("figures", "excerpts"))
    return {
        *(f"public/{path}" for path in manifest.paths(figures)),
        *(f"embed/{name}/{text}" for name in excerpts for text in excerpts[name]),
    }
