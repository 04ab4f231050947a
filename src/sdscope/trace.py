"""Record every stage of one run of a pipeline, from outside.

    with trace(pipe, attention="mean") as t:
        image = pipe("painting depicting the sea, sunrise, ship", seed=42)

    t.tokens.cond[0].strings        # ["<|startoftext|>", "painting</w>", ...]
    t.embeddings.cond               # (B, 77, D)
    t.steps[10].noise               # (B, 4, h, w), what the scheduler was given
    t.steps[10].attention["ship"]   # (h, w)

The pipeline, ours or diffusers' with DDIM, does not know that it is watched. Everything is seen
through forward hooks, which only read, and through wrappers of two methods of the scheduler; all of
them are gone when the block ends, also after an exception. A traced run gives the same bits as an
untraced one.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from PIL import Image

PER_STEP = ("latents", "noise_uncond", "noise_cond", "noise", "pred_x0")
UNET_PARTS = re.compile(r"conv_in|conv_out|.*\.(resnets|attentions|downsamplers|upsamplers)\.\d+")
END = "<|endoftext|>"  # of CLIP's vocabulary; Stable Diffusion 1 pads with it too, 2 with "!"
STAGE_CHANNELS = 16  # kept of each decoder stage: all 512 x 512 x 256 of Stable Diffusion's would be 268 MB


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
                words.append((pieces.removesuffix("</w>"), positions))
                pieces, positions = "", []
        return words


class Attention(dict):
    """Cross-attention of one step, of the prompt's half of the batch.

    "mean":  {"16x16": (B, h, w, 77), ...}, the mean over the heads and layers of that resolution
    "heads": {"down_blocks.0.attentions.0...": (B, heads, h, w, 77), ...}
    `attention["ship"]` is (h, w): how much each place looks at that word, mean over heads and layers.
    """

    def __init__(self, maps, layers, tokens):
        super().__init__(maps)
        self.layers, self.tokens = layers, tokens  # layers: how many went into each map

    def __missing__(self, word):
        return self.word(word)

    def word(self, word: str, picture: int = 0) -> torch.Tensor:
        """(h, w): probability that a place of `picture` attends to `word`, summed over the word's tokens."""
        words = self.tokens[picture].words() if self.tokens else []
        positions = [p for name, where in words if name == word for p in where]
        if not positions:
            raise KeyError(f"{word!r} is not in the prompt; its words: {', '.join(w for w, _ in words)}")
        size = max((m.shape[-3:-1] for m in self.values()), key=lambda s: s[0] * s[1])
        total = 0
        for name, m in self.items():
            m = m[picture][..., positions].sum(-1)
            m = m.mean(0) if m.ndim == 3 else m
            m = F.interpolate(m[None, None].float(), size, mode="bilinear", align_corners=False)[0, 0]
            total = total + m * self.layers[name]
        return total / sum(self.layers.values())


@dataclass
class Step:
    """One turn of the loop. Tensors are (B, 4, h, w) on the CPU; `latents` as the UNet got them.

    `noise*` is what the UNet predicted: the noise, or v where the scheduler's prediction_type says so.
    Without guidance (scale <= 1) `noise_uncond` is None and `noise` is `noise_cond`.
    """

    i: int
    t: int
    latents: torch.Tensor
    noise_uncond: torch.Tensor | None
    noise_cond: torch.Tensor
    noise: torch.Tensor
    pred_x0: torch.Tensor
    attention: Attention | None = None


@dataclass(repr=False)
class Trace:
    """What `trace(pipe)` recorded: one run (when the block holds several, the last)."""

    tokens: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(cond=None, uncond=None))
    embeddings: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(cond=None, uncond=None))
    steps: list[Step] = field(default_factory=list)
    latents: torch.Tensor | None = None  # (B, 4, h, w) after the last step
    image: torch.Tensor | None = None  # (B, 3, H, W), the VAE's output, about -1..1
    unet: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(shapes={}))
    vae: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(shapes={}, stages={}))

    @property
    def pictures(self) -> list[Image.Image]:
        """What the pipeline returned, the same bits"""
        x = (self.image * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float()
        return [Image.fromarray(picture) for picture in (x * 255).round().byte().numpy()]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every recorded tensor by name; those of the steps stacked to (steps, B, ...)."""
        named = {"latents": self.latents, "image": self.image}
        named |= {f"embeddings.{k}": v for k, v in vars(self.embeddings).items()}
        named |= {f"vae.stages.{k}": v for k, v in self.vae.stages.items()}
        steps = [vars(s) | {f"attention.{k}": v for k, v in (s.attention or {}).items()} for s in self.steps]
        for key in steps[0] if steps else ():
            if isinstance(steps[0][key], torch.Tensor):
                named[f"steps.{key}"] = torch.stack([s[key] for s in steps])
        return {k: v.contiguous() for k, v in named.items() if v is not None}

    def __repr__(self) -> str:
        pictures = 0 if self.latents is None else len(self.latents)
        return f"Trace of {len(self.steps)} steps, {pictures} picture(s), {self.nbytes / 1e6:.1f} MB"

    @property
    def nbytes(self) -> int:
        return sum(v.nbytes for v in self.tensors().values())

    def save(self, path) -> None:
        """One safetensors file: the tensors, and as JSON metadata tokens, timesteps and shapes."""
        tokens = {k: v and [vars(x) for x in v] for k, v in vars(self.tokens).items()}
        layers = self.steps[0].attention.layers if self.steps and self.steps[0].attention else None
        meta = {"tokens": tokens, "t": [s.t for s in self.steps], "layers": layers}
        meta |= {"unet.shapes": self.unet.shapes, "vae.shapes": self.vae.shapes}
        save_file(self.tensors(), path, metadata={"trace": json.dumps(meta)})

    @classmethod
    def load(cls, path) -> Trace:
        """The trace that `save` wrote. A file that is not one: ValueError."""
        with safe_open(path, "pt") as f:
            meta = json.loads((f.metadata() or {}).get("trace", "null"))
            if meta is None:
                raise ValueError(f"{path} is not a saved trace")
            named = {k: f.get_tensor(k) for k in f.keys()}
        t = cls(latents=named.get("latents"), image=named.get("image"))
        for half in ("cond", "uncond"):
            setattr(t.embeddings, half, named.get(f"embeddings.{half}"))
            tokens = meta["tokens"][half]
            setattr(t.tokens, half, tokens and [Tokens(**x) for x in tokens])
        t.unet.shapes = {k: tuple(v) for k, v in meta["unet.shapes"].items()}
        t.vae.shapes = {k: tuple(v) for k, v in meta["vae.shapes"].items()}
        t.vae.stages = {k: named[f"vae.stages.{k}"] for k in t.vae.shapes if f"vae.stages.{k}" in named}
        for i, timestep in enumerate(meta["t"]):
            row = {k: named[f"steps.{k}"][i] if f"steps.{k}" in named else None for k in PER_STEP}
            maps = {k: named[f"steps.attention.{k}"][i] for k in meta["layers"] or ()}
            attention = Attention(maps, meta["layers"], t.tokens.cond) if maps else None
            t.steps.append(Step(i, timestep, **row, attention=attention))
        return t


@contextmanager
def trace(pipe, attention: bool | str = False):
    """Record what `pipe` does inside the block. attention: False, "mean" or "heads" (large)."""
    if attention not in (False, "mean", "heads"):
        raise ValueError(f'attention must be False, "mean" or "heads", not {attention!r}')
    recorder = Recorder(pipe, attention)
    with ExitStack() as stack:
        for module, hook in recorder.hooks():
            stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        for name, wrapper in (("step", recorder.on_step), ("set_timesteps", recorder.on_set_timesteps)):
            stack.callback(wrap(pipe.scheduler, name, wrapper))
        yield recorder.trace


def wrap(instance, name, after):
    """Replace a method, on the instance, by one that then calls `after(result, arguments)`; returns the undo.

    functools.wraps keeps the signature: diffusers looks at it to decide whether to pass `eta`.
    """
    method, was = getattr(instance, name), vars(instance).get(name)

    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        result = method(*args, **kwargs)
        after(result, inspect.signature(method).bind(*args, **kwargs).arguments)
        return result

    setattr(instance, name, wrapper)
    return lambda: delattr(instance, name) if was is None else setattr(instance, name, was)


class Recorder:
    """The hooks' side of a trace: gathers what one UNet call shows until `scheduler.step` closes the step."""

    def __init__(self, pipe, attention):
        self.pipe, self.mode, self.trace = pipe, attention, Trace()
        self.encoded = []  # (ids, embedding) of every text so far
        self.query = None  # of the cross-attention that is being computed
        self.probs = {}  # of this UNet call: {name: [(rows, heads, positions, 77)]}

    def hooks(self):
        """[(module, forward hook)]"""
        yield self.pipe.text_encoder, self.on_text
        yield self.pipe.unet, self.on_unet
        for name, module in self.pipe.unet.named_modules():
            if UNET_PARTS.fullmatch(name):
                yield module, functools.partial(self.on_unet_part, name)
            if self.mode and name.endswith("attn2"):
                if getattr(module, "fused_projections", False):
                    raise ValueError("attention cannot be traced after fuse_qkv_projections()")
                yield module.to_q, self.on_query
                yield module.to_k, functools.partial(self.on_key, name, module.heads)
        # hooks on `vae` itself never fire: pipelines call vae.decode, not vae()
        yield self.pipe.vae.decoder, self.on_decoded
        for name, module in self.pipe.vae.decoder.named_modules():
            if re.fullmatch(r"conv_in|mid_block|up_blocks\.\d+|conv_out", name):
                yield module, functools.partial(self.on_vae_part, name)

    def on_text(self, module, args, kwargs, output):
        ids = args[0] if args else kwargs["input_ids"]
        self.encoded += zip(ids.tolist(), keep(output[0]))

    def on_unet(self, module, args, kwargs, output):
        self.embeds = keep(args[2] if len(args) > 2 else kwargs["encoder_hidden_states"])
        self.noise = keep(output if isinstance(output, torch.Tensor) else output[0])

    def on_unet_part(self, name, module, args, kwargs, output):
        output = output if isinstance(output, torch.Tensor) else output[0]
        self.trace.unet.shapes[name] = tuple(output.shape)

    def on_query(self, module, args, kwargs, output):
        self.query = output

    def on_key(self, name, heads, module, args, kwargs, output):
        """softmax(q k^T / sqrt(d)), computed again beside the run: what the run uses is not touched."""
        q, k = (x.unflatten(-1, (heads, -1)).transpose(1, 2).float() for x in (self.query, output))
        probs = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)  # (rows, heads, h*w, 77)
        self.probs[name] = keep(probs if self.mode == "heads" else probs.mean(1))

    def on_set_timesteps(self, result, arguments):
        self.trace.steps.clear()  # a new run begins

    def on_step(self, result, arguments):
        """The seam where noise, latents and pred_x0 meet. Only here is the number of pictures known."""
        noise, timestep, latents = (keep(torch.as_tensor(x)) for x in list(arguments.values())[:3])
        batch, t = len(latents), self.trace
        if not t.steps:
            self.begin(batch)
        uncond = self.noise[:-batch] if len(self.noise) == 2 * batch else None
        pair = (uncond, self.noise[-batch:])
        prev, pred_x0 = (keep(x) for x in (result if isinstance(result, tuple) else result.to_tuple()))
        attention = self.attention(latents.shape) if self.mode else None
        t.steps.append(Step(len(t.steps), int(timestep), latents, *pair, noise, pred_x0, attention))
        t.latents = prev

    def begin(self, batch):
        """Which texts are these? The rows the UNet was given, looked up among those that were encoded."""
        names, t = self.pipe.tokenizer.convert_ids_to_tokens, self.trace
        rows = [next((ids for ids, e in self.encoded if torch.equal(e, row)), None) for row in self.embeds]
        tokens = [ids and Tokens(ids, names(ids)) for ids in rows]
        guided = len(rows) == 2 * batch
        t.embeddings.cond, t.tokens.cond = self.embeds[-batch:], tokens[-batch:]
        t.embeddings.uncond, t.tokens.uncond = (self.embeds[:batch], tokens[:batch]) if guided else (None, None)

    def attention(self, shape):
        """This call's probabilities as `Attention`; positions are given their height and width back."""
        batch, _, height, width = shape
        maps = {}
        for name, p in self.probs.items():
            n = p.shape[-2]
            # each level halves, rounding up: the one with this many positions
            h, w = next((h, w) for k in range(9) for h, w in [(-(-height >> k), -(-width >> k))] if h * w == n)
            key = name if self.mode == "heads" else f"{h}x{w}"
            maps.setdefault(key, []).append(p[-batch:].unflatten(-2, (h, w)))
        self.probs = {}
        layers = {key: len(ms) for key, ms in maps.items()}
        return Attention({k: torch.stack(ms).mean(0) for k, ms in maps.items()}, layers, self.trace.tokens.cond)

    def on_vae_part(self, name, module, args, kwargs, output):
        self.trace.vae.shapes[name] = tuple(output.shape)
        few = torch.linspace(0, output.shape[1] - 1, min(STAGE_CHANNELS, output.shape[1])).long()
        self.trace.vae.stages[name] = keep(output[0, few])

    def on_decoded(self, module, args, kwargs, output):
        self.trace.image = keep(output)


def keep(x: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU that later in-place work cannot change."""
    return x.detach().to("cpu", copy=True)
