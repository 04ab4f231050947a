"""One run for each prompt and setting: figures that show the same run share it, notebooks too.

    run = figures.Runs(pipe)
    t = run(prompt, seed=seed, steps=steps, guidance=guidance)      # the pipeline paints, under trace(pipe)
    again = run(prompt, seed=seed, steps=steps, guidance=guidance)  # the same trace, without painting

Runs are kept in memory, and where SDSCOPE_RUNS names a folder, there too: `sdscope figures` does so for the
notebooks that it executes at the same time. Kept under all that a run depends on: see `fingerprint`.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from .. import files
from ..errors import SdscopeError
from ..pipeline import StableDiffusion
from ..steps import Scheduler
from ..trace import Trace, trace

ROOM = 4e9  # bytes of runs that are kept on disk


class Runs:
    """run(prompt, ...) -> Trace, kept.

    run.made: how often the UNet was called, here or outside of `run`. run.asked: how often, had nothing been kept.

    A scheduler is known by its class and its config, a pipe by its weights when Runs is made. Whoever puts
    hooks or other weights into the UNet calls the pipe itself, not `run`.
    """

    every: list[Runs] = []  # of this process

    def __init__(self, pipe: StableDiffusion):
        self.pipe, self.made, self.asked = pipe, 0, 0
        self.kept: dict[str, Trace] = {}
        self.folder = Path(os.environ["SDSCOPE_RUNS"]) if os.environ.get("SDSCOPE_RUNS") else None
        self.fingerprint = fingerprint(pipe) if self.folder else ""
        pipe.unet.register_forward_hook(self.count)
        self.every.append(self)

    def count(self, *_: object) -> None:
        self.made, self.asked = self.made + 1, self.asked + 1

    def __call__(
        self,
        prompt: str | list[str],
        seed: int | list[int],
        steps: int,
        guidance: float,
        negative_prompt: str | list[str] = "",
        width: int | None = None,
        height: int | None = None,
        scheduler: Scheduler | None = None,
        attention: bool | str = False,
        features: bool = False,
    ) -> Trace:
        """prompt, negative_prompt and seed: one, or lists, as the pipeline takes them.

        scheduler: in place of the pipe's own; attention, features: as trace takes them.
        """
        if seed is None:
            raise SdscopeError("a run that is kept needs a seed")
        scheduler = scheduler or self.pipe.scheduler
        height, width = height or self.pipe.sides[0], width or self.pipe.sides[1]
        setting = [prompt, negative_prompt, height, width, steps, float(guidance), seed]
        kind = type(scheduler)
        name = f"{kind.__module__}.{kind.__name__}"
        all_of_it = [*setting, attention, features, name, config_of(scheduler), self.fingerprint]
        key = sha256(json.dumps(all_of_it).encode())
        if kind.__module__ == "__main__":  # a class of the notebook: its source may be another next time
            return self.paint(setting, scheduler, attention, features)
        if key not in self.kept:
            self.kept[key] = self.on_disk(key, setting, scheduler, attention, features)
        else:
            self.asked += len(self.kept[key].steps)
        return self.kept[key]

    def on_disk(self, key: str, *what: Any) -> Trace:
        """Loaded, or painted and saved. Who comes while another process paints it waits for that."""
        if not self.folder:
            return self.paint(*what)
        files.make_folder(self.folder)
        path = self.folder / f"{key}.safetensors"
        with FileLock(path.with_suffix(".lock")):
            try:
                t = Trace.load(path)
                path.touch()
                self.asked += len(t.steps)
            except SdscopeError:  # not there, or damaged
                t = self.paint(*what)
                t.save(path)
        return t

    def paint(self, setting: list, scheduler: Scheduler, attention: bool | str, features: bool) -> Trace:
        own, self.pipe.scheduler = self.pipe.scheduler, scheduler
        try:
            with trace(self.pipe, attention, features) as t:
                self.pipe(*setting)
        finally:
            self.pipe.scheduler = own
        return t


def fingerprint(pipe: StableDiffusion) -> str:
    """Of what is the same for all runs of a pipe: weights, code, versions, and what rounds as it does."""
    total = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(path for room in (".", "loading", "trace") for path in (package / room).glob("*.py")):
        total.update(path.read_bytes())
    for part in (pipe.text_encoder, pipe.unet, pipe.vae):
        total.update(config_of(part).encode())
        for name, weight in part.state_dict().items():
            total.update(name.encode() + str(weight.dtype).encode())
            total.update(weight.cpu().reshape(-1).view(torch.uint8).numpy())
    versions = [version(name) for name in ("torch", "transformers")]
    total.update(repr([versions, pipe.unet.conv_in.weight.device.type, torch.get_num_threads()]).encode())
    return total.hexdigest()


def config_of(part: Any) -> str:
    """The config of a scheduler or a model, ours, diffusers' or transformers'."""
    config = part.config
    config = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    return json.dumps(config, sort_keys=True, default=repr)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def tidy(folder: Path) -> None:
    """Runs that nobody asked for longest go, until the others have ROOM."""
    room = ROOM
    for path in sorted(folder.glob("*.safetensors"), key=lambda p: p.stat().st_mtime, reverse=True):
        room -= path.stat().st_size
        if room < 0:
            path.unlink()
            path.with_suffix(".lock").unlink(missing_ok=True)
