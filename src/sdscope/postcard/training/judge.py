"""The judge: a small network that reads from a picture what is in it.

It learns from the painter's pictures, of scenes that no other part is trained on, a little blurred and noisy,
as pictures are that come out of an autoencoder.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ...pixels import to_tensor
from ..world.scene import ATTRIBUTES, Scene, attributes
from .attributes import attribute_loss, guesses
from .data import JUDGE, labelled, painted
from .run import Length, Run, accelerator, finished

SIZE = (256, 256)  # of the pictures it learns from
WIDTHS = (16, 32, 64, 128, 192, 256)


class Judge(nn.Module):
    """Convolutions, each level half the size; then 256 features that keep where things are; then a guess for each
    attribute."""

    def __init__(self):
        super().__init__()
        levels = [layer for widths in zip((3, *WIDTHS), WIDTHS) for layer in halving(*widths)]
        self.levels = nn.Sequential(*levels, nn.AdaptiveAvgPool2d((3, 4)), nn.Flatten())
        self.features = nn.Sequential(nn.Linear(WIDTHS[-1] * 12, 256), nn.LayerNorm(256), nn.SiLU())
        self.heads = guesses(256)

    def forward(self, pictures):
        """pictures (B, 3, H, W), -1 .. 1, of any size -> features (B, 256). Of a smaller model they are enlarged."""
        scale = SIZE[1] / min(pictures.shape[2:])
        if scale > 1:
            pictures = F.interpolate(pictures, scale_factor=scale, mode="bilinear")
        return self.features(self.levels(pictures))

    @torch.no_grad()
    def read(self, pictures):
        """-> a dictionary for each picture: what it shows, by the names of ATTRIBUTES"""
        features = self(pictures)
        read = {name: head(features).argmax(-1).tolist() for name, head in self.heads.items()}
        return [{name: ATTRIBUTES[name][read[name][i]] for name in read} for i in range(len(pictures))]


def halving(c_in, c_out):
    return nn.Conv2d(c_in, c_out, 3, stride=2, padding=1), nn.GroupNorm(8, c_out), nn.SiLU(), Residual(c_out)


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(8, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x):
        return x + self.conv2(F.silu(self.norm(self.conv1(x))))


class JudgeLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.judge = Judge()

    def forward(self, pictures, labels):
        """pictures (B, 3, H, W), labels (B, 10)"""
        return attribute_loss(self.judge.heads, self.judge(pictures), labels)


def train_judge(folder: Path, pictures: int, length: Length, progress=None):
    with accelerator().local_main_process_first():
        data: np.ndarray | torch.Tensor = painted(folder / "data", pictures, SIZE, JUDGE, progress)
        labels = torch.from_numpy(labelled(folder / "data", pictures, first=JUDGE, progress=progress).astype(np.int64))
    if torch.cuda.is_available():
        data = torch.from_numpy(np.ascontiguousarray(data)).cuda()
    torch.manual_seed(4)
    run = Run(folder / "judge", JudgeLoss(), length)

    def batch(rng, done):
        chosen = rng.integers(0, len(data), length.batch_size)
        return [as_if_decoded(to_tensor(data[chosen])), labels[chosen]]

    run.go(batch)


def as_if_decoded(pictures):
    """A little blur and noise, of each picture another amount."""
    half = F.interpolate(F.avg_pool2d(pictures, 2), scale_factor=2, mode="bilinear")
    blur, noise = (torch.rand(len(pictures), 1, 1, 1, device=pictures.device) for _ in range(2))
    return pictures + blur**2 * (half - pictures) + 0.08 * noise**2 * torch.randn_like(pictures)


def trained_judge(folder: Path) -> Judge:
    return finished(folder / "judge", JudgeLoss()).judge


def verdict(scene: Scene, read: dict) -> dict[str, bool]:
    """Question by question, whether a picture shows what it should; only what can be asked about this scene.

    With two things: `pair` if both are there, `left and right` if in their places as well,
    `binding` if each also has its own colour, wherever it stands.
    """
    asked = attributes(scene)
    answers = {name: read[name] == asked[name] for name in ("place", "time", "weather", "style")}
    if len(scene.things) < 2:
        answers["subject"] = (read["first"], read["second"]) == (asked["first"], asked["second"])
        if asked["first colour"]:
            answers["colour"] = read["first colour"] == asked["first colour"]
    else:
        both = lambda what: [(what["first"], what["first colour"]), (what["second"], what["second colour"])]
        answers["pair"] = {read["first"], read["second"]} == {asked["first"], asked["second"]}
        answers["left and right"] = (read["first"], read["second"]) == (asked["first"], asked["second"])
        if asked["first colour"]:
            answers["binding"] = set(both(read)) == set(both(asked))
    for name in ("count", "side"):
        if asked[name] is not None:
            answers[name] = read[name] == asked[name]
    return answers
