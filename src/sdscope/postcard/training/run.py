"""A training run: the loop, its average, its checkpoints, its log.

A run can be killed at any time and goes on from its last checkpoint. Batches and noise are drawn by step number,
so a resumed run does what an unbroken one would have done, and several processes do together what one would
have done with a batch as large as theirs together.
"""

import copy
import json
import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from math import cos, pi
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from filelock import FileLock, Timeout
from torch import nn

from ... import files
from ...errors import SdscopeError, first_line
from ...loading.devices import fast_in_bfloat16
from .muon import Muon

SAVE_EVERY = 120  # seconds
AVERAGE = 17  # the average leans on the last 5% of the run, however long it is
ENDS = ("conv_in", "conv_out", "quant_conv", "embedding", "heads", "lora")

Losses = TypeVar("Losses", bound=nn.Module)


class Length(NamedTuple):
    """How long a run is, and how large a batch is (in all processes together). With `minutes`, steps only say when
    pictures are kept."""

    steps: int
    batch_size: int
    lr: float
    minutes: float | None = None
    compile: bool = False


class Run:
    """What is trained, its folder, and where it goes on from. `losses` takes the parts of a batch and gives the
    loss."""

    def __init__(self, folder: Path, losses: nn.Module, length: Length):
        self.folder, self.length = folder, length
        files.make_folder(folder)
        self.accelerator = accelerator()
        self.step, self.samples, self.seconds = 0, 0, 0.0
        optimizers = optimizers_of(losses, length.lr)
        state = last_checkpoint(folder)
        if state:
            restore(losses, state["losses"], folder)
            self.step, self.samples, self.seconds = state["step"], state["samples"], state["seconds"]
        self.before = {name: state[name] for name in ("batch_size", "lr") if state and name in state}
        self.plain = losses.to(self.accelerator.device)
        self.average = copy.deepcopy(losses).requires_grad_(False)
        if state:
            self.average.load_state_dict(state["average"])
        self.losses, *self.optimizers = self.accelerator.prepare(losses, *optimizers)
        for optimizer, kept in zip(self.optimizers, state["optimizers"] if state else ()):
            optimizer.load_state_dict(kept)
        if length.compile:
            self.losses.compile()

    def save(self):
        if self.accelerator.is_main_process:
            state = dict(
                losses=self.plain.state_dict(),
                average=self.average.state_dict(),
                step=self.step,
                samples=self.samples,
                seconds=self.seconds,
                optimizers=[optimizer.state_dict() for optimizer in self.optimizers],
                batch_size=self.length.batch_size,
                lr=self.length.lr,
            )
            with files.writing(self.folder / "last.pt") as part, open(part, "wb") as file:
                torch.save(state, file)
            device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
            cost = dict(
                device=device,
                processes=self.accelerator.num_processes,
                steps=self.step,
                samples=self.samples,
                seconds=round(self.seconds),
            )
            files.write(self.folder / "cost.json", json.dumps(cost) + "\n")

    def done(self):
        """The part of the run that is gone, 0 .. 1: of its steps, or of its minutes as the first process counts
        them."""
        if self.length.minutes is None:
            return self.step / self.length.steps
        done = torch.tensor(min(1.0, self.seconds / 60 / self.length.minutes), device=self.accelerator.device)
        return broadcast(done).item() if self.accelerator.num_processes > 1 else done.item()

    def go(self, batch: Callable, sheet: Callable | None = None):
        """Train to the end.

        `batch(rng, done)` draws a list of tensors, a batch of all processes together; everything random is drawn there.
        `sheet(average)` paints what to look at: at steps 0, 25, 50, 100, 200 ... and at the end, a childhood in
        pictures.
        """
        with alone(self.folder) if self.accelerator.is_main_process else nullcontext():
            self.train(batch, sheet)

    def train(self, batch, sheet):
        saved = time.monotonic()
        recent = []
        if self.step == 0:
            self.draw(sheet)
        elif self.done() < 1 and self.accelerator.is_main_process:
            self.tell_what_is_new()
        while (done := self.done()) < 1:
            begun = time.monotonic()
            for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
                group["lr"] = self.length.lr * learning_rate(self.step, done)
            rng = np.random.default_rng(self.step)
            torch.manual_seed(int(rng.integers(2**62)))
            mine = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
            loss = self.losses(
                *(part[mine].to(self.accelerator.device, non_blocking=True) for part in batch(rng, done))
            )
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(self.losses.parameters(), 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad()
            self.step += 1
            self.samples += self.length.batch_size
            self.keep_average()
            recent.append(loss.detach())
            if self.step % 50 == 0:
                self.tell(torch.stack(recent).mean(), done)
                recent = []
            self.seconds += time.monotonic() - begun
            if self.step in [25 * 2**k for k in range(20)]:
                self.draw(sheet)
            if time.monotonic() - saved > SAVE_EVERY:
                self.save()
                saved = time.monotonic()
        self.save()
        self.draw(sheet)

    def tell_what_is_new(self):
        """A run may go on with other settings; that it does should not go unseen."""
        for name, before in self.before.items():
            now = getattr(self.length, name)
            if now != before:
                print(
                    f"{self.folder} goes on from step {self.step} with {name} {now:g}, where it was {before:g}",
                    flush=True,
                )

    def keep_average(self):
        """An average that forgets its beginning at the pace of the run (Karras et al., arXiv:2312.02696, equation
        12)."""
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.plain.parameters()), 1 - (1 - 1 / self.step) ** AVERAGE
            )

    def draw(self, sheet):
        if sheet and self.accelerator.is_main_process:
            image = sheet(self.average)
            with files.writing(self.folder / f"sheet-{self.step:06d}.png") as part:
                image.save(part)

    def tell(self, loss, done):
        """The mean of the last 50 losses, of all processes."""
        loss = self.accelerator.reduce(loss, "mean").item()
        if self.accelerator.is_main_process:
            print(
                f"step {self.step}  {100 * done:.0f}%  loss {loss:.5f}  {self.seconds / self.step:.3f} s a step",
                flush=True,
            )
            with open(self.folder / "log.jsonl", "a") as log:
                log.write(json.dumps(dict(step=self.step, loss=round(loss, 6), seconds=round(self.seconds, 2))) + "\n")


def optimizers_of(losses, lr):
    """Muon for the layers between, AdamW for those at the ends, which meet pixels, words and times, for the thin
    matrices of a LoRA, and for what is no matrix."""
    parameters = {name: p for name, p in losses.named_parameters() if p.requires_grad}
    inner = {name for name, p in parameters.items() if p.ndim > 1 and not any(end in name for end in ENDS)}
    outer = [p for name, p in parameters.items() if name not in inner]
    adamw = torch.optim.AdamW(outer, lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    return [Muon([parameters[name] for name in sorted(inner)], lr), adamw] if inner else [adamw]


def learning_rate(step, done):
    """Up in a line, level for a third of the run, then down to a hundredth in a cosine."""
    late = max(0, (done - 1 / 3) * 1.5)
    return min(1, (step + 1) / 200) * (0.01 + 0.99 * (1 + cos(pi * late)) / 2)


def accelerator():
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    return Accelerator(mixed_precision="bf16" if fast_in_bfloat16() else "no")


@contextmanager
def alone(folder: Path):
    """No two processes train one run."""
    try:
        with FileLock(folder / "lock", timeout=0):
            yield
    except Timeout:
        raise SdscopeError(f"another process trains {folder}: wait for it, or give another --folder") from None


def last_checkpoint(folder: Path) -> dict | None:
    file = folder / "last.pt"
    if not file.exists():
        return None
    state = loaded(file, "remove it, and the run begins again")
    if (
        not isinstance(state, dict)
        or not {"losses", "average", "optimizers", "step", "samples", "seconds"} <= state.keys()
    ):
        raise SdscopeError(f"{file} is no checkpoint of a run here: remove it, and the run begins again")
    return state


def loaded(file: Path, advice: str):
    """What torch has saved there; SdscopeError where it is damaged."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # EOFError, RuntimeError, UnpicklingError, OSError ...
        reason = first_line(error)
        raise SdscopeError(f"{file} is damaged ({reason}): {advice}") from error


def restore(losses, state, folder):
    try:
        losses.load_state_dict(state)
    except RuntimeError as error:
        raise SdscopeError(f"{folder} holds a run of another network: remove it, or give another --folder") from error


def finished(folder: Path, losses: Losses) -> Losses:
    """The average that a run ended with."""
    state = last_checkpoint(folder)
    if state is None:
        raise SdscopeError(
            f"there is no run in {folder}: give `sdscope train {folder.name} --folder {folder.parent}` first"
        )
    restore(losses, state["average"], folder)
    return losses.eval()
