"""What is in the picture? A guess at each attribute of a scene, and how wrong the guesses are."""

import torch
import torch.nn.functional as F
from torch import nn

from ..world.scene import ATTRIBUTES


def guesses(width):
    """A layer for each attribute: (B, width) -> (B, how many words there are for it)"""
    return nn.ModuleDict({name: nn.Linear(width, len(words)) for name, words in ATTRIBUTES.items()})


def attribute_loss(heads, state, labels):
    """Cross entropy, mean over the attributes; a batch may hold none of one."""
    losses = [
        F.cross_entropy(head(state).float(), label, reduction="sum") / (label >= 0).sum().clamp(min=1)
        for head, label in zip(heads.values(), labels.unbind(1))
    ]
    return torch.stack(losses).mean()
