"""What a trace holds: the prompt as tokens, attention maps, every step; and its file.

    tokens.find("ship")          # [9]: its positions among the 77
    attention["ship"]            # (h, w): how much each place of the picture looks at it
    attention[0]                 # the same of a position; 0 is the start token
    attention.word("ship", picture=1, layer="16x16")

hooks.py fills it. Reading attention maps as pictures is the idea of Hertz et al., arXiv:2208.01626, and of
Tang et al. (DAAM), arXiv:2210.04885.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass, field
from os import PathLike
from types import SimpleNamespace
from typing import Any, NoReturn, SupportsIndex, overload

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models

from .. import files
from ..errors import SdscopeError
from ..pixels import to_bytes
from ..vocabulary import END, SINGLE, START

PER_STEP = ("latents", "model_input", "noise_uncond", "noise_cond", "noise", "pred_x0")


def cutter(tokenizer: Any) -> str:
    """How transformers' `tokenizer` cuts a text into words, as JSON: all of it but the vocabulary, in whose place
    there are single letters. "" where it cannot be known, of a tokenizer that is written in Python."""
    whole = getattr(tokenizer, "backend_tokenizer", None)
    if whole is None:
        return ""
    vocabulary = {piece: i for i, piece in enumerate(SINGLE)}
    cuts = Tokenizer(models.BPE(vocabulary, [], end_of_word_suffix="</w>"))
    cuts.normalizer, cuts.pre_tokenizer = whole.normalizer, whole.pre_tokenizer
    cuts.add_tokens(list(whole.get_added_tokens_decoder().values()))  # START, END, and what people have taught it
    return cuts.to_str()


read_cutter = functools.cache(Tokenizer.from_str)


@dataclass
class Tokens:
    """One prompt as the text encoder saw it: 77 ids, and the vocabulary's string for each.

    cutter: how its tokenizer cuts a text, so that words are found however they are typed.
    """

    ids: list[int]
    strings: list[str]
    cutter: str = field(default="", repr=False)

    @property
    def end(self) -> int:
        """The position of the token that ends the prompt; what comes after it is padding."""
        end = len(self.strings) - 1
        while end and (self.strings[end] != END or self.strings[end - 1] == END):
            end -= 1
        return end or len(self.strings)

    def words(self) -> list[tuple[str, list[int]]]:
        """[(word, its positions)]: pieces are glued up to `</w>`; start, end and padding are left out."""
        return self.glue(self.strings[: self.end])

    def glue(self, strings: list[str]) -> list[tuple[str, list[int]]]:
        """Tokens that people have added to a tokenizer are words without a `</w>`."""
        added = read_cutter(self.cutter).get_added_tokens_decoder().values() if self.cutter else ()
        whole, pieces = {START, END, *(token.content for token in added)}, ""
        words: list[tuple[str, list[int]]] = []
        positions: list[int] = []
        for position, string in enumerate(strings):
            pieces, positions = pieces + string, [*positions, position]
            if string in whole or string.endswith("</w>"):
                word = string if string in whole else decoders.ByteLevel().decode([pieces.removesuffix("</w>")])
                words.append((word, positions))
                pieces, positions = "", []
        return [(word, positions) for word, positions in words if word not in (START, END)]

    def find(self, which: str | int) -> list[int]:
        """The positions of a word, wherever it stands, or of words in a row ("hot-air balloon"); of START; of
        the END that ends the prompt; or of the position itself. What is not there: SdscopeError."""
        if which in (START, END) and which in self.strings:
            return [self.strings.index(START) if which == START else self.end]
        if not isinstance(which, str):
            return position(which, len(self.ids))
        if not self.cutter:
            raise SdscopeError("how the tokenizer cuts a text into words is not known: ask for a position")
        words, wanted = self.words(), [word for word, _ in self.glue(read_cutter(self.cutter).encode(which).tokens)]
        rows = [words[i : i + len(wanted)] for i in range(len(words))]
        found = {p for row in rows if [w for w, _ in row] == wanted for _, positions in row for p in positions}
        if not found:
            names = ", ".join(word for word, _ in words if word not in ".,;:-")
            raise SdscopeError(f"{which!r} is not in the prompt; its words: {names or 'none'}")
        return sorted(found)


def position(which: int, length: int) -> list[int]:
    if which not in range(length):
        raise SdscopeError(f"no position {which}: the prompt has {length}, 0 to {length - 1}")
    return [int(which)]


class Attention(dict[Any, torch.Tensor]):
    """Cross-attention of one step (or the mean over the steps), of the prompt's half of the batch.

    "mean":  {"16x16": (B, h, w, 77), ...}, the mean over the heads and layers of that resolution
    "heads": {"down_blocks.0.attentions.0": (B, heads, h, w, 77), ...}, named as in Trace.unet.shapes
    Probabilities: over the 77, those of one place add up to 1. Whatever is no such name is a word or a
    position: `attention["ship"]` is attention.word("ship").
    """

    def __init__(self, maps: dict[str, torch.Tensor], layers: dict[str, int], tokens: list[Tokens | None]):
        super().__init__(maps)
        self.layers, self.tokens = layers, tokens  # layers: {name: how many went into that map}

    def __missing__(self, which: str | int) -> torch.Tensor:
        return self.word(which)

    def word(self, which: str | int, picture: int = 0, layer: str | None = None) -> torch.Tensor:
        """How much each place of `picture` looks at what Tokens.find finds: the sum over those positions.

        (h, w), the mean over heads and layers at the finest resolution; of one `layer`, a key of this
        dictionary, (h, w) or (heads, h, w). Not there, or attention not recorded: SdscopeError.
        """
        if not self:
            raise SdscopeError('this trace was taken without attention: take it with trace(pipe, attention="mean")')
        if layer is not None and layer not in self:
            raise SdscopeError(f"no attention of {layer!r}; there is {', '.join(self)}")
        pictures = len(self.tokens)
        if picture not in range(-pictures, pictures):
            raise SdscopeError(f"no picture {picture}: the trace has {pictures}, counted from 0")
        tokens = self.tokens[picture]
        if tokens is not None:
            positions = tokens.find(which)
        elif isinstance(which, str):
            why = "the prompt was encoded outside of the trace, or its embeddings were changed"
            raise SdscopeError(f"{why}: ask for a position, not for a word")
        else:
            positions = position(which, next(iter(self.values())).shape[-1])
        maps = {k: m[picture][..., positions].float().sum(-1) for k, m in self.items() if layer in (None, k)}
        if layer is not None:
            return maps[layer]
        size = max((m.shape[-2:] for m in maps.values()), key=lambda size: size[0] * size[1])
        total = torch.zeros(size)
        for name, m in maps.items():
            m = m.mean(0) if m.ndim == 3 else m
            m = F.interpolate(m[None, None], size, mode="bilinear", align_corners=False)[0, 0]
            total = total + m * self.layers[name]
        return total / sum(self.layers.values())


class Stages(dict):
    """{part of the decoder: what it gave}. Empty where the picture was decoded in tiles: no part saw the whole of
    it."""

    def __missing__(self, name: str) -> NoReturn:
        what = f"there is {', '.join(self)}" if self else "nothing was decoded, or only in tiles"
        raise SdscopeError(f"no part {name!r} of the decoder: {what}")


class Features(dict[str, torch.Tensor]):
    """{part of the UNet: (h, w)}: the mean over its output's channels, of the first picture, with the prompt."""

    def __missing__(self, name: str) -> NoReturn:
        if not self:
            raise SdscopeError("this trace was taken without features: take it with trace(pipe, features=True)")
        raise SdscopeError(f"no part {name!r} of the UNet: the keys of Trace.unet.shapes are its parts")


@dataclass
class Step:
    """One call of the UNet: Heun takes 2n - 1 for n steps, PNDM n + 1. Tensors are (B, 4, h, w), on the CPU.

    `latents` are what the scheduler was given. LMS, Heun and Euler, whose latents are x_0 + sigma noise,
    scale them for the UNet: `model_input` is what that saw, or None where it saw the latents.
    `noise*` is what the UNet predicted: the noise, or v where the scheduler's prediction_type says so.
    Without guidance (scale <= 1) `noise_uncond` is None and `noise` is `noise_cond`.
    `pred_x0` is the scheduler's, or computed where it tells none (trace.predicted_x0), or None where its schedule
    is not known.
    """

    i: int
    t: int | float
    latents: torch.Tensor
    model_input: torch.Tensor | None
    noise_uncond: torch.Tensor | None
    noise_cond: torch.Tensor
    noise: torch.Tensor
    pred_x0: torch.Tensor | None
    attention: Attention
    features: Features


class Steps(list[Step]):
    @overload
    def __getitem__(self, i: SupportsIndex) -> Step: ...

    @overload
    def __getitem__(self, i: slice) -> list[Step]: ...

    def __getitem__(self, i: SupportsIndex | slice) -> Step | list[Step]:
        try:
            return super().__getitem__(i)
        except IndexError:
            raise SdscopeError(f"no step {i}: the trace has {len(self)}, counted from 0") from None


@dataclass(repr=False)
class Trace:
    """What `trace(pipe)` recorded: one run (when the block holds several, the last)."""

    tokens: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(cond=None, uncond=None))
    embeddings: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(cond=None, uncond=None, layers={}))
    steps: Steps = field(default_factory=Steps)
    latents: torch.Tensor | None = None  # (B, 4, h, w) after the last step
    image: torch.Tensor | None = None  # (B, 3, H, W), the VAE's output, about -1..1
    unet: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(shapes={}))
    vae: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(shapes=Stages(), stages=Stages()))

    @property
    def pictures(self) -> list[Image.Image]:
        """What the pipeline returned, the same bits (but not what a safety checker made black)"""
        if self.image is None:
            raise SdscopeError("no pictures: what the last step gave was not decoded in the block")
        return [Image.fromarray(picture) for picture in to_bytes(self.image)]

    @property
    def attention(self) -> Attention:
        """The mean over the steps"""
        first, *others = [s.attention for s in self.steps] or [Attention({}, {}, [])]
        maps = {k: sum((a[k] for a in others), m.float()) / len(self.steps) for k, m in first.items()}
        return Attention(maps, first.layers, first.tokens)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every recorded tensor by its path: "latents", "steps/3/noise", "steps/3/attention/16x16", ..."""
        named: dict[str, torch.Tensor | None] = {"latents": self.latents, "image": self.image}
        named |= {f"embeddings/{half}": getattr(self.embeddings, half) for half in ("cond", "uncond")}
        named |= {f"embeddings/layers/{i}": v for i, v in self.embeddings.layers.items()}
        named |= {f"vae/stages/{k}": v for k, v in self.vae.stages.items()}
        for s in self.steps:
            named |= {f"steps/{s.i}/{k}": getattr(s, k) for k in PER_STEP}
            named |= {f"steps/{s.i}/attention/{k}": v for k, v in s.attention.items()}
            named |= {f"steps/{s.i}/features/{k}": v for k, v in s.features.items()}
        return {k: v for k, v in named.items() if v is not None}

    def __repr__(self) -> str:
        pictures = 0 if self.latents is None else len(self.latents)
        return f"Trace of {len(self.steps)} steps, {pictures} picture(s), {self.nbytes / 1e6:.1f} MB"

    @property
    def nbytes(self) -> int:
        return sum(v.nbytes for v in self.tensors().values())

    def metadata(self) -> dict[str, str]:
        """What no tensor holds, as JSON, after a hash of it and of the tensors' names, types and shapes."""
        tokens = {k: v and [x and [x.ids, x.strings] for x in v] for k, v in vars(self.tokens).items()}
        cutters = {x.cutter for v in vars(self.tokens).values() for x in v or () if x}
        layers, features = {}, []
        if self.steps:
            layers, features = self.steps[0].attention.layers, list(self.steps[0].features)
        meta = {"t": [s.t for s in self.steps], "tokens": tokens, "attention": layers, "features": features}
        meta |= {"unet": self.unet.shapes, "vae": self.vae.shapes, "stages": list(self.vae.stages)}
        text = json.dumps(meta | {"cutter": max(cutters, default="")})
        return {"trace": f"{sha256(text, self.tensors())} {text}"}

    def save(self, path: str | PathLike[str]) -> None:
        """One safetensors file: the tensors, and as JSON metadata tokens, timesteps and shapes. All of
        it or nothing; where that cannot be: SdscopeError."""
        with files.writing(path) as part:
            save_file(self.tensors(), part, metadata=self.metadata())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Trace:
        """The trace that `save` wrote, equal in every bit. A file that is not one, or cut short: SdscopeError."""
        try:
            with safe_open(path, "pt") as f:
                metadata, named = f.metadata() or {}, {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise SdscopeError(f"{path} cannot be read, or was cut short ({error}): save the trace again") from error
        if "trace" not in metadata:
            raise SdscopeError(f"{path} is not a saved trace")
        written, _, text = metadata["trace"].partition(" ")
        if written != sha256(text, named):
            raise SdscopeError(
                f"{path} is not as this version saves a trace, or was changed: take it and save it again"
            )
        return cls.from_tensors(json.loads(text), named)

    @classmethod
    def from_tensors(cls, meta: dict, named: dict[str, torch.Tensor]) -> Trace:
        """The inverse of `metadata` and `tensors`"""
        tree: dict[str, Any] = {"embeddings": {}}
        for name, tensor in named.items():
            *folders, leaf = name.split("/")
            node = tree
            for folder in folders:
                node = node.setdefault(folder, {})
            node[leaf] = tensor
        t = cls(latents=tree.get("latents"), image=tree.get("image"))
        for half, tokens in meta["tokens"].items():
            setattr(t.embeddings, half, tree["embeddings"].get(half))
            setattr(t.tokens, half, tokens and [x and Tokens(x[0], x[1], meta["cutter"]) for x in tokens])
        layers = tree["embeddings"].get("layers", {})
        t.embeddings.layers = {i: layers[str(i)] for i in range(len(layers))}
        t.unet.shapes = {k: tuple(v) for k, v in meta["unet"].items()}
        t.vae.shapes = Stages((k, tuple(v)) for k, v in meta["vae"].items())
        t.vae.stages = Stages((k, tree["vae"]["stages"][k]) for k in meta["stages"])
        for i, timestep in enumerate(meta["t"]):
            row = tree["steps"][str(i)]
            maps, features = ({k: row[kind][k] for k in meta[kind]} for kind in ("attention", "features"))
            attention = Attention(maps, meta["attention"], t.tokens.cond)
            kept = {k: row.get(k) for k in PER_STEP}
            t.steps.append(Step(i, timestep, **kept, attention=attention, features=Features(features)))
        return t


def sha256(text: str, tensors: dict[str, torch.Tensor]) -> str:
    """Of a trace's metadata and of what tensors it has: a file that was edited, or has lost some, is known by it."""
    has = [(name, str(x.dtype), *x.shape) for name, x in sorted(tensors.items())]
    return hashlib.sha256(f"{text} {has}".encode()).hexdigest()
