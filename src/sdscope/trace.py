"""Record every stage of one run of a pipeline, from outside.

    with trace(pipe, attention="mean") as t:
        image = pipe("painting depicting the sea, sunrise, ship", seed=42)

    t.tokens.cond[0].strings        # ["<|startoftext|>", "painting</w>", ...]
    t.embeddings.cond               # (B, 77, D); .layers[3]: after 3 layers of the text encoder
    t.steps[10].noise               # (B, 4, h, w), what the scheduler was given
    t.steps[10].attention["ship"]   # (h, w); t.attention["ship"]: the mean over the steps
    t.pictures                      # what the pipeline returned, the same bits

The pipeline, ours or diffusers', with any scheduler that it takes, does not know that it is watched.
Everything is seen through forward hooks, which only read, and through wrappers of three methods; all of
them are gone when the block ends, also after an exception. A traced run gives the same bits as an untraced
one. What is recorded, with its shapes: record.py.

Kept are copies on the CPU, in the pipeline's precision. For one picture, 50 steps of Stable Diffusion 2 at
768 pixels in float32 (in float16 half as much):
    always             latents, predictions and x_0 of every step 37 MB, with model_input 44 MB; text and the
                       encoder's layers 8 MB; 16 channels of each decoder stage 96 MB; the picture 7 MB
    attention="mean"   188 MB: a map for each resolution
    attention="heads"  6254 MB: a map for each head of each layer
    features=True      31 MB: a channel mean for each part of the UNet (its outputs whole would be 13389 MB)
"""

from __future__ import annotations

import functools
import inspect
import re
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import torch

from . import SdscopeError
from .record import END, START, Attention, Features, Step, Tokens, Trace

__all__ = ["END", "START", "Attention", "Step", "Tokens", "Trace", "trace"]

UNET_PARTS = re.compile(r"conv_in|conv_out|.*\.(resnets|attentions|downsamplers|upsamplers)\.\d+")
TEXT_PARTS = re.compile(r"(?:text_model\.)?(?:embeddings|encoder\.layers\.(\d+))")
VAE_PARTS = re.compile(r"conv_in|mid_block|up_blocks\.\d+|conv_out")
STAGE_CHANNELS = 16  # kept of each decoder stage: all of Stable Diffusion's would be 1328 MB


@contextmanager
def trace(pipe, attention: bool | str = False, features: bool = False):
    """Record what `pipe` does inside the block; yields the Trace.

    attention: cross-attention of every step, False, "mean" (over heads and layers) or "heads" (large)
    features: the channel mean of what every part of the UNet gives, at every step
    What hooks cannot see, as in a compiled or fused UNet, is an SdscopeError.
    """
    if attention not in (False, "mean", "heads"):
        raise SdscopeError(f'attention must be False, "mean" or "heads", not {attention!r}')
    refuse_unseen(pipe, attention)
    recorder = Recorder(pipe, attention, features)
    with ExitStack() as stack:
        for module, hook in recorder.hooks():
            stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        stack.callback(wrap(pipe.scheduler, "set_timesteps", recorder.on_set_timesteps))
        stack.callback(wrap(pipe.scheduler, "step", recorder.on_step))
        stack.callback(wrap(pipe.vae, "decode", recorder.on_decode))  # hooks on a module see only its forward
        yield recorder.trace
        recorder.check()


def refuse_unseen(pipe, attention):
    """Forward hooks see nothing in a module that torch.compile made, nor to_k in one that was fused."""
    for part in ("text_encoder", "unet", "vae"):
        for name, module in getattr(pipe, part).named_modules():
            if name.endswith("_orig_mod") or module._compiled_call_impl is not None:
                raise SdscopeError(f"the {part} is compiled, hooks cannot see into it: trace a pipeline that is not")
            if attention and name.endswith("attn2") and "Fused" in type(getattr(module, "processor", None)).__name__:
                raise SdscopeError("hooks see no attention in a fused UNet: call unfuse_qkv_projections() first")


def wrap(instance, name, after):
    """Replace a method, on the instance, by one that then calls `after(result, *arguments)`; returns the undo.

    functools.wraps keeps the signature: diffusers looks at it to decide whether to pass `eta`.
    """
    method, was = getattr(instance, name), vars(instance).get(name)
    signature = inspect.signature(method)

    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        result = method(*args, **kwargs)
        after(result, *signature.bind(*args, **kwargs).args)
        return result

    setattr(instance, name, wrapper)
    return lambda: delattr(instance, name) if was is None else setattr(instance, name, was)


def predicted_x0(scheduler, t, x, output):
    """The x_0 that the UNet's output aims at, from a scheduler that does not tell (PNDM, DPM-Solver).

    x (B, 4, h, w) is what the UNet was given, with every scheduler sqrt(a) x_0 + sqrt(1 - a) noise: a is
    alphas_cumprod at t, or follows from this step's sigma = sqrt((1 - a) / a). Equation 12 of DDIM
    (arXiv:2010.02502); for v, appendix D of arXiv:2202.00512. None where there is no such schedule.
    """
    if getattr(scheduler, "step_index", None) is not None:  # already the next step's
        a = 1 / (1 + float(scheduler.sigmas[scheduler.step_index - 1]) ** 2)
    elif hasattr(scheduler, "alphas_cumprod"):
        a = float(scheduler.alphas_cumprod[int(t)])
    else:
        return None
    if scheduler.config.prediction_type == "epsilon":
        return (x - (1 - a) ** 0.5 * output) / a**0.5
    return a**0.5 * x - (1 - a) ** 0.5 * output  # v_prediction


def probabilities(q, k, heads):
    """q (B, N, C) of the places, k (B, 77, C) of the tokens -> softmax(q k^T / sqrt(d)), (B, heads, N, 77)"""
    k = k.float() * (k.shape[-1] // heads) ** -0.5
    q, k = (x.float().unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k))
    return (q @ k.transpose(-1, -2)).softmax(-1)


class Recorder:
    """The hooks' side of a trace: gathers what one UNet call shows until `scheduler.step` closes the step."""

    def __init__(self, pipe, mode, features):
        self.pipe, self.scheduler, self.mode, self.features = pipe, pipe.scheduler, mode, features
        self.trace = Trace()
        self.layers, self.texts = {}, []  # of the texts being encoded; every text so far
        self.query = None  # of the cross-attention that is being computed
        self.shapes, self.means, self.looks = {}, {}, {}  # of this UNet call, by the part's name
        self.on_set_timesteps()

    def hooks(self):
        """[(module, forward hook)]"""
        yield self.pipe.text_encoder, self.on_text
        for name, module in self.pipe.text_encoder.named_modules():
            if match := TEXT_PARTS.fullmatch(name):
                yield module, functools.partial(self.on_text_layer, int(match[1]) + 1 if match[1] else 0)
        yield self.pipe.unet, self.on_unet
        for name, module in self.pipe.unet.named_modules():
            if UNET_PARTS.fullmatch(name):
                yield module, functools.partial(self.on_unet_part, name)
            if self.mode and name.endswith("attn2"):
                yield module.to_q, self.on_query
                part = name.partition(".transformer_blocks")[0]
                yield module.to_k, functools.partial(self.on_key, part, module.heads)
        for name, module in self.pipe.vae.decoder.named_modules():
            if VAE_PARTS.fullmatch(name):
                yield module, functools.partial(self.on_vae_part, name)

    def on_text_layer(self, i, module, args, kwargs, output):
        self.layers[i] = keep(first(output))

    def on_text(self, module, args, kwargs, output):
        ids = args[0] if args else kwargs["input_ids"]
        for row, (text, embedding) in enumerate(zip(ids.tolist(), keep(output[0]))):
            if not any(text == known.ids and torch.equal(embedding, known.embedding) for known in self.texts):
                layers = {i: x[row] for i, x in self.layers.items()}
                self.texts.append(SimpleNamespace(ids=text, embedding=embedding, layers=layers))

    def on_unet(self, module, args, kwargs, output):
        args = dict(zip(("sample", "timestep", "encoder_hidden_states"), args)) | kwargs
        self.input, self.noise = keep(args["sample"]), keep(first(output))
        if not self.running:
            self.embeds = keep(args["encoder_hidden_states"])

    def on_unet_part(self, name, module, args, kwargs, output):
        if not self.running:
            self.shapes[name] = tuple(first(output).shape)
        if self.features:
            self.means[name] = first(output).mean(1)

    def on_query(self, module, args, kwargs, output):
        self.query = output

    def on_key(self, name, heads, module, args, kwargs, output):
        self.looks[name] = self.query, output, heads

    def on_set_timesteps(self, *_):
        self.running, self.noise = False, None  # a new run begins

    def on_step(self, result, noise, timestep, latents, *_):
        """The seam where noise, latents and pred_x0 meet. Only here is the number of pictures known."""
        if self.noise is None or (self.mode and not self.looks):
            what = "UNet" if self.noise is None else "UNet's cross-attention"
            raise SdscopeError(f"hooks saw nothing of the {what}: replaced, compiled or fused inside the block?")
        noise, latents, batch = keep(noise), keep(latents), len(latents)
        if not self.running:
            self.begin(batch)
        guided = len(self.noise) == 2 * batch
        uncond, cond, seen = self.noise[:batch] if guided else None, self.noise[-batch:], self.input[-batch:]
        t = timestep.item() if isinstance(timestep, torch.Tensor) else timestep
        prev, x0 = unpack(result)
        x0 = predicted_x0(self.scheduler, t, seen, noise) if x0 is None else keep(x0)
        seen = None if torch.equal(seen, latents) else seen
        features = Features({name: keep(m[-batch]) for name, m in self.means.items()})
        row = latents, seen, uncond, cond, noise, x0, self.attention(batch, *latents.shape[2:]), features
        self.trace.steps.append(Step(len(self.trace.steps), t, *row))
        self.trace.latents = keep(prev)

    def begin(self, batch):
        """Which texts are these? The rows the UNet was given, looked up among those that were encoded."""
        names, t = self.pipe.tokenizer.convert_ids_to_tokens, self.trace
        vars(t).update(vars(Trace()))
        texts = [next((x for x in self.texts if torch.equal(x.embedding.to(e), e)), None) for e in self.embeds]
        tokens = [x and Tokens(x.ids, names(x.ids)) for x in texts]
        t.embeddings.cond, t.tokens.cond = self.embeds[-batch:], tokens[-batch:]
        if len(tokens) == 2 * batch:
            t.embeddings.uncond, t.tokens.uncond = self.embeds[:batch], tokens[:batch]
        if all(texts[-batch:]):
            each = [x.layers for x in texts[-batch:]]
            t.embeddings.layers = {i: torch.stack([layers[i] for layers in each]) for i in each[0]}
        t.unet.shapes = dict(self.shapes)
        self.running = True

    def attention(self, batch, height, width):
        """Computed again, beside the run and after its UNet call: what the run uses is not touched."""
        levels = [(-(-height >> i), -(-width >> i)) for i in range(9)]  # each halves, rounding up
        sizes, maps = {h * w: (h, w) for h, w in levels}, {}
        for name, (q, k, heads) in self.looks.items():
            h, w = sizes[q.shape[1]]
            p = probabilities(q[-batch:], k[-batch:], heads).unflatten(2, (h, w))
            key, p = (name, p) if self.mode == "heads" else (f"{h}x{w}", p.mean(1))
            maps.setdefault(key, []).append(p)
        layers = {key: len(ps) for key, ps in maps.items()}
        maps = {key: ps[0] if len(ps) == 1 else torch.stack(ps).mean(0) for key, ps in maps.items()}
        maps = {key: p.to("cpu", self.noise.dtype) for key, p in maps.items()}
        return Attention(maps, layers, self.trace.tokens.cond)

    def on_vae_part(self, name, module, args, kwargs, output):
        self.trace.vae.shapes[name] = tuple(output.shape)
        few = torch.linspace(0, output.shape[1] - 1, min(STAGE_CHANNELS, output.shape[1])).long()
        self.trace.vae.stages[name] = keep(output[0, few])

    def on_decode(self, result, *_):
        self.trace.image = keep(first(result))

    def check(self):
        if self.noise is not None and not self.trace.steps:
            raise SdscopeError("no step of the scheduler was seen, though the UNet ran: set pipe.scheduler before")


def unpack(result):
    """What a scheduler's step gives, with names or as a plain tuple -> prev_sample, pred_original_sample or None"""
    if type(result) is tuple:
        return (*result, None)[:2]
    return result.prev_sample, getattr(result, "pred_original_sample", None)


def first(output):
    """diffusers' modules give a tensor, a tuple or an output class"""
    return output if isinstance(output, torch.Tensor) else output[0]


def keep(x: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU that later in-place work cannot change."""
    return x.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
