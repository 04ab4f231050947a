"""Execute the notebooks once more and compare what they make with public/ and embed/."""

from __future__ import annotations

import json
import os
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageSequence

from ..errors import SdscopeError
from ..pixels import psnr, to_tensor
from . import facts, manifest
from .execute import execute_all
from .make import find, working

LEAST = 40  # dB, of the frame that differs most


class Difference(NamedTuple):
    """One thing that is not as it was; None: it is not there."""

    file: str
    what: str
    kept: str | None  # in public/ or embed/
    again: str | None

    def short(self) -> list[str]:
        """All four, the last two from shortly before the place where they part."""
        both = [text or "-" for text in (self.kept, self.again)]
        start = max(0, len(os.path.commonprefix(both)) - 20)
        return [self.file, self.what, *("…" * bool(start) + text[start : start + 40] for text in both)]


def check(
    root: Path, only=(), out: Path | None = None, parameters: dict | None = None, jobs=None, say=print
) -> list[Difference]:
    """Execute notebooks, with nothing kept from earlier runs; see `make` in make.py."""
    out = out or root
    if not manifest.read(out / "public"):
        raise SdscopeError(f"nothing to check in {out / 'public'}: make the figures first (sdscope figures)")
    paths = find(root, only)
    with working(out) as build:
        execute_all(dict.fromkeys(paths, "check"), build / "check", parameters, jobs, None, say)
        found = list(standing(out))
        for path in paths:
            found += made_again(build / "check" / path.stem, out)
        return found


def standing(out: Path):
    """What can be told without executing: is every file in public/figures the one that the manifest knows, and is
    facts.json what is counted now?"""
    yield from against_manifest(out / "public")
    kept, now = json.loads((out / "public" / "facts.json").read_text()), json.loads(json.dumps(facts.facts()))
    yield from (Difference("facts.json", *row) for row in changed(kept, now))


def made_again(stage: Path, out: Path):
    """Between what was published of a notebook and what it has made once more, in a folder of its name.

    Text is the same, and so is all that the manifest says of a figure but the file's hash. Frames of pictures have
    at least LEAST dB (peak signal to noise). Files that the manifest does not know are left to `standing`.
    """
    entries = {k: e for k, e in manifest.read(out / "public").items() if e["notebook"] == stage.name}
    again, damaged = manifest.read(stage), {difference.file for difference in against_manifest(out / "public")}
    for name in sorted(entries.keys() | again.keys()):
        yield from compare_figure(name, entries.get(name), again.get(name), damaged, out / "public", stage)
    yield from compare_texts(out / "embed" / stage.name, stage / "embed")


def against_manifest(public: Path):
    told = manifest.paths(manifest.read(public))
    files = {str(p.relative_to(public)): p for folder in ("", "ja/") for p in public.glob(f"{folder}figures/*")}
    for name in sorted(told.keys() | files.keys()):
        kept, read = told.get(name), manifest.sha256(files[name].read_bytes()) if name in files else None
        if kept != read:
            what = "sha256, in the manifest and of the file"
            yield Difference(short(name), what, kept and kept[:12], read and read[:12])


def short(path):
    """figures/ship.webp -> ship.webp; in Japanese it is ja/figures/ship.webp"""
    return path.removeprefix("figures/")


def compare_figure(name, entry, again, damaged, public, stage):
    kept, now = (manifest.paths({name: told}) if told else {} for told in (entry, again))
    if entry and again:
        same = dict.fromkeys(("sha256", "sha256_ja"))
        for what, *both in changed(entry | same, again | same):
            if name not in damaged:
                yield Difference(name, what, *both)
    for path in sorted(kept.keys() | now.keys()):
        if kept.get(path) != now.get(path) and short(path) not in damaged:
            yield from compare_file(path, kept.get(path), now.get(path), public, stage)


def compare_file(path, kept, now, public, stage):
    name = short(path)
    if not kept or not now:
        yield Difference(name, "figure", "there" if kept else None, "there" if now else None)
    elif name.endswith(".json"):
        yield Difference(name, "data", kept[:12], now[:12])
    else:
        (a, times), (b, times_again) = frames(public / path), frames(stage / path)
        if (a.shape, times) != (b.shape, times_again):
            yield Difference(
                name, "frames, height, width, ms", f"{a.shape} {sum(times)}", f"{b.shape} {sum(times_again)}"
            )
        elif (worst := psnr(to_tensor(a), to_tensor(b)).min()) < LEAST:
            yield Difference(name, "picture", f"at least {LEAST} dB", f"{worst:.1f} dB")


def frames(path) -> tuple[np.ndarray, list[int]]:
    """(frames, height, width, 3), and for how many milliseconds each is shown."""
    with Image.open(path) as image:
        pairs = [(np.asarray(f.convert("RGB")), f.info.get("duration", 0)) for f in ImageSequence.Iterator(image)]
    return np.stack([picture for picture, _ in pairs]), [ms for _, ms in pairs]


def compare_texts(embed: Path, again: Path):
    """The first line that differs, of each file."""
    for name in sorted({p.name for folder in (embed, again) for p in folder.glob("*")}):
        texts = [(folder / name).read_text() if (folder / name).exists() else None for folder in (embed, again)]
        if texts[0] == texts[1]:
            continue
        lines = zip_longest(*((text or "").splitlines() for text in texts))
        number, pair = next(((i, pair) for i, pair in enumerate(lines, start=1) if pair[0] != pair[1]), (0, texts))
        yield Difference(f"{embed.name}/{name}", f"line {number}", *pair)


def changed(kept: dict, now: dict):
    for key in sorted(kept.keys() | now.keys()):
        if kept.get(key) != now.get(key):
            yield key, *(None if d.get(key) is None else json.dumps(d[key], ensure_ascii=False) for d in (kept, now))
