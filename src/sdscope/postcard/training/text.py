"""The text encoder's head start: what is in the picture that this caption describes?

Stable Diffusion's text encoder comes from CLIP, which learned what captions mean before any diffusion;
this is ours. What a caption leaves out cannot be known, only guessed.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from .attributes import attribute_loss, guesses
from .data import CAPTIONS, captioned, labelled, tokenizer_in
from .run import Length, Run, accelerator, finished

TEXT_CONFIG: dict[str, Any] = dict(
    hidden_size=160,
    intermediate_size=640,
    num_hidden_layers=4,
    num_attention_heads=4,
    max_position_embeddings=77,
    projection_dim=160,
    hidden_act="gelu",
    pad_token_id=None,
)


class CaptionLoss(nn.Module):
    """Asked at the end of the text and of its padding."""

    def __init__(self, text_encoder):
        super().__init__()
        self.text_encoder = text_encoder
        self.heads = guesses(text_encoder.config.hidden_size)

    def forward(self, input_ids, labels):
        """input_ids (B, 77), labels (B, 10)"""
        states = self.text_encoder(input_ids)[0]
        rows = torch.arange(len(input_ids), device=states.device)
        ends = states[rows, input_ids.argmax(dim=-1)]  # the end token has the highest id
        return torch.stack([attribute_loss(self.heads, state, labels) for state in (ends, states[:, -1])]).mean()


def train_text(folder: Path, pictures: int, length: Length, progress=None):
    with accelerator().local_main_process_first():
        ids, labels = (
            captioned(folder / "data", pictures, progress=progress),
            labelled(folder / "data", pictures, progress=progress),
        )
    torch.manual_seed(1)
    run = Run(folder / "text", CaptionLoss(new_text_encoder(tokenizer_in(folder / "data"))), length)

    def batch(rng, done):
        chosen = rng.integers(0, len(ids), length.batch_size)
        which = rng.integers(0, CAPTIONS, length.batch_size)
        return [torch.from_numpy(array).long() for array in (ids[chosen, which], labels[chosen])]

    run.go(batch)


def new_text_encoder(tokenizer):
    ends = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    return CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer), **ends, **TEXT_CONFIG))


def trained_text_encoder(folder):
    return finished(folder / "text", CaptionLoss(new_text_encoder(tokenizer_in(folder / "data")))).text_encoder
