"""What a trace holds: the prompt as tokens, attention maps, every step; and its file.

    tokens.find("ship")          # [9]: its positions among the 77
    attention["ship"]            # (h, w): how much each place of the picture looks at it
    attention[0]                 # the same of a position; 0 is the start token
    attention.word("ship", picture=1, layer="16x16")

trace.py fills it. Reading attention maps as pictures is the idea of Hertz et al., arXiv:2208.01626, and of
Tang et al. (DAAM), arXiv:2210.04885.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers.decoders import ByteLevel

from . import SdscopeError, files

START, END = "<|startoftext|>", "<|endoftext|>"  # Stable Diffusion 1 pads with END too, 2 with "!"
WORDS = re.compile(r"'(?:s|t|re|ve|m|ll|d)|[^\W\d_]+|\d|(?:[^\w\s]|_)+")  # as CLIP's tokenizer cuts a text
PER_STEP = ("latents", "model_input", "noise_uncond", "noise_cond", "noise", "pred_x0")


@dataclass
class Tokens:
    """One prompt as the text encoder saw it: 77 ids, and the vocabulary's string for each."""

    ids: list[int]
    strings: list[str]

    def words(self) -> list[tuple[str, list[int]]]:
        """[(word, its positions)]: pieces are glued up to `</w>`; start, end and padding are left out."""
        words, pieces, positions = [], "", []
        for position, string in enumerate(self.strings[1:], start=1):
            if string == END:
                break
            pieces, positions = pieces + string, positions + [position]
            if pieces.endswith("</w>"):
                words.append((ByteLevel().decode([pieces.removesuffix("</w>")]), positions))
                pieces, positions = "", []
        return words

    def find(self, which: str | int) -> list[int]:
        """The positions of a word, wherever it stands, or of words in a row ("hot-air balloon"); of START; of
        the first END; or of the position itself. What is not there: SdscopeError."""
        if which in (START, END):
            return [self.strings.index(which)]
        if not isinstance(which, str):
            if which in range(len(self.ids)):
                return [which]
            raise SdscopeError(f"no position {which}: the prompt has {len(self.ids)}, 0 to {len(self.ids) - 1}")
        words, wanted = self.words(), WORDS.findall(which.lower())
        rows = [words[i : i + len(wanted)] for i in range(len(words))]
        found = {p for row in rows if [w for w, _ in row] == wanted for _, positions in row for p in positions}
        if not found:
            names = ", ".join(word for word, _ in words if word not in ".,;:-")
            raise SdscopeError(f"{which!r} is not in the prompt; its words: {names}")
        return sorted(found)


class Attention(dict):
    """Cross-attention of one step (or the mean over the steps), of the prompt's half of the batch.

    "mean":  {"16x16": (B, h, w, 77), ...}, the mean over the heads and layers of that resolution
    "heads": {"down_blocks.0.attentions.0": (B, heads, h, w, 77), ...}, named as in Trace.unet.shapes
    Probabilities: over the 77, those of one place add up to 1. Whatever is no such name is a word or a
    position: `attention["ship"]` is attention.word("ship").
    """

    def __init__(self, maps, layers, tokens):
        super().__init__(maps)
        self.layers, self.tokens = layers, tokens  # layers: {name: how many went into that map}

    def __missing__(self, which):
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
        tokens = self.tokens[picture]
        if tokens is None and isinstance(which, str):
            raise SdscopeError("the prompt was encoded outside of the trace: ask for a position, not for a word")
        positions = tokens.find(which) if tokens else [which]
        maps = {k: m[picture][..., positions].float().sum(-1) for k, m in self.items() if layer in (None, k)}
        if layer is not None:
            return maps[layer]
        size = max((m.shape[-2:] for m in maps.values()), key=lambda size: size[0] * size[1])
        total = 0
        for name, m in maps.items():
            m = m.mean(0) if m.ndim == 3 else m
            m = F.interpolate(m[None, None], size, mode="bilinear", align_corners=False)[0, 0]
            total = total + m * self.layers[name]
        return total / sum(self.layers.values())


class Features(dict):
    """{part of the UNet: (h, w)}: the mean over its output's channels, of the first picture, with the prompt."""

    def __missing__(self, name):
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
    `pred_x0` is the scheduler's, or computed where it tells none (trace.predicted_x0).
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


class Steps(list):
    def __getitem__(self, i):
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
    vae: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(shapes={}, stages={}))

    @property
    def pictures(self) -> list[Image.Image]:
        """What the pipeline returned, the same bits (but not what a safety checker made black)"""
        if self.image is None:
            raise SdscopeError("no pictures: nothing was decoded in the traced run")
        x = (self.image * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float()
        return [Image.fromarray(picture) for picture in (x * 255).round().byte().numpy()]

    @property
    def attention(self) -> Attention:
        """The mean over the steps"""
        first, *others = [s.attention for s in self.steps] or [Attention({}, {}, None)]
        maps = {k: sum((a[k] for a in others), m.float()) / len(self.steps) for k, m in first.items()}
        return Attention(maps, first.layers, first.tokens)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every recorded tensor by its path: "latents", "steps/3/noise", "steps/3/attention/16x16", ..."""
        named = {"latents": self.latents, "image": self.image}
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

    def save(self, path) -> None:
        """One safetensors file: the tensors, and as JSON metadata tokens, timesteps and shapes. All of
        it or nothing; where that cannot be: SdscopeError."""
        tokens = {k: v and [x and vars(x) for x in v] for k, v in vars(self.tokens).items()}
        layers, features = {}, []
        if self.steps:
            layers, features = self.steps[0].attention.layers, list(self.steps[0].features)
        meta = {"t": [s.t for s in self.steps], "tokens": tokens, "attention": layers, "features": features}
        meta |= {"unet": self.unet.shapes, "vae": self.vae.shapes, "stages": list(self.vae.stages)}
        with files.writing(path) as part:
            save_file(self.tensors(), part, metadata={"trace": json.dumps(meta)})

    @classmethod
    def load(cls, path) -> Trace:
        """The trace that `save` wrote, equal in every bit. A file that is not one, or cut short: SdscopeError."""
        tree = {"embeddings": {}}
        try:
            with safe_open(path, "pt") as f:
                meta = json.loads((f.metadata() or {}).get("trace", "null"))
                if meta is None:
                    raise SdscopeError(f"{path} is not a saved trace")
                for name in f.keys():
                    *folders, leaf = name.split("/")
                    node = tree
                    for folder in folders:
                        node = node.setdefault(folder, {})
                    node[leaf] = f.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise SdscopeError(f"{path} cannot be read, or was cut short ({error}): save the trace again") from error
        t = cls(latents=tree.get("latents"), image=tree.get("image"))
        for half, tokens in meta["tokens"].items():
            setattr(t.embeddings, half, tree["embeddings"].get(half))
            setattr(t.tokens, half, tokens and [x and Tokens(**x) for x in tokens])
        layers = tree["embeddings"].get("layers", {})
        t.embeddings.layers = {i: layers[str(i)] for i in range(len(layers))}
        t.unet.shapes, t.vae.shapes = ({k: tuple(v) for k, v in meta[part].items()} for part in ("unet", "vae"))
        t.vae.stages = {k: tree["vae"]["stages"][k] for k in meta["stages"]}
        for i, timestep in enumerate(meta["t"]):
            row = tree["steps"][str(i)]
            maps, features = ({k: row[kind][k] for k in meta[kind]} for kind in ("attention", "features"))
            attention = Attention(maps, meta["attention"], t.tokens.cond)
            t.steps.append(Step(i, timestep, *map(row.get, PER_STEP), attention, Features(features)))
        return t
