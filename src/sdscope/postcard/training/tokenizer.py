"""Postcard's tokenizer: CLIP's format (lower case, byte pairs, `</w>`), learned from the captions."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from ...vocabulary import END, LETTERS, SINGLE, START
from ..world.captions import caption
from ..world.scene import Scene

# CLIP's own rule for where a word ends (openai/CLIP, simple_tokenizer.py)
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def train_tokenizer(folder: Path, captions: int = 20_000, size: int = 1024):
    """Learn at most `size` pieces from captions of random scenes; save what CLIPTokenizer.from_pretrained reads.

    Every single byte is a piece, alone and at the end of a word, so any text at all can be written.
    """
    rng = np.random.default_rng(0)
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=LETTERS, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator((caption(Scene.random(seed), rng) for seed in range(captions)), trainer)
    merges: list = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    pieces = [*SINGLE, *("".join(pair) for pair in merges), START, END]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77).save_pretrained(folder)
