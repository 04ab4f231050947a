"""What looks on while a pipeline runs: forward hooks, and wrappers of three methods."""

from __future__ import annotations

import functools
import inspect
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any, get_args

import torch
from torch import Tensor, nn

from ..errors import SdscopeError
from .record import Attention, Features, Step, Tokens, Trace, cutter

UNET_PARTS = re.compile(r"conv_in|conv_out|.*\.(resnets|attentions|downsamplers|upsamplers)\.\d+")
TEXT_PARTS = re.compile(r"(?:text_model\.)?(?:embeddings|encoder\.layers\.(\d+))")
VAE_PARTS = re.compile(r"decoder\.(conv_in|mid_block|up_blocks\.\d+|conv_out)")
SHARED = "the pipe, or a part of it, is in use in another thread while it is traced: give each thread a pipe of its own"
Pipeline = Any  # ours, one of diffusers', or one that has the same parts: only what refuse_unseen asks of it is sure
STAGE_CHANNELS = 16  # kept of each decoder stage: all of Stable Diffusion's would be 1328 MB


@contextmanager
def trace(pipe: Pipeline, attention: bool | str = False, features: bool = False) -> Iterator[Trace]:
    """Record what `pipe` does inside the block; yields the Trace.

    attention: cross-attention of every step, False, "mean" (over heads and layers) or "heads" (large)
    features: the channel mean of what every part of the UNet gives, at every step
    What hooks cannot see, as in a compiled or fused UNet, is an SdscopeError.
    """
    if attention not in (False, "mean", "heads"):
        raise SdscopeError(f'attention must be False, "mean" or "heads", not {attention!r}')
    refuse_unseen(pipe, attention)
    with ExitStack() as stack:
        recorder = Recorder(pipe, attention, features, stack)
        yield recorder.trace
        recorder.check()


def refuse_unseen(pipe: Pipeline, attention: bool | str) -> None:
    """Forward hooks see nothing in a module that torch.compile made, nor to_k in one that was fused."""
    for part in ("unet", "vae", "scheduler"):
        if getattr(pipe, part, None) is None:
            raise SdscopeError(
                f"a {type(pipe).__name__} without {part} cannot be traced: trace needs unet, vae and scheduler"
            )
    for part in ("text_encoder", "unet", "vae"):
        for name, module in modules(pipe, part):
            if name.endswith("_orig_mod") or module._compiled_call_impl is not None:
                raise SdscopeError(f"the {part} is compiled, hooks cannot see into it: trace a pipeline that is not")
            if attention and name.endswith("attn2") and "Fused" in type(getattr(module, "processor", None)).__name__:
                raise SdscopeError("hooks see no attention in a fused UNet: call unfuse_qkv_projections() first")


def modules(pipe: Pipeline, part: str) -> Iterable[tuple[str, Any]]:
    """[(name, module)]. Of no text encoder, where a pipeline is given embeddings, nothing."""
    module = getattr(pipe, part, None)
    return [] if module is None else module.named_modules()


def listen(
    instance: Any, name: str, after: Callable[..., None], before: Callable[[], None] = lambda: None
) -> Callable[[], None]:
    """From now on call `before()` and `after(result, *arguments)` around each call of a method; returns the undo.

    One wrapper on the instance serves all who listen, so that they may go in any order.
    functools.wraps keeps the signature: diffusers looks at it to decide whether to pass `eta`.
    """
    method = getattr(instance, name)
    if hasattr(method, "listeners"):
        wrapper = method
        if wrapper.thread != threading.get_ident():
            raise SdscopeError(SHARED)
    else:
        signature = inspect.signature(method)

        @functools.wraps(method)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            listeners, given = list(wrapper.listeners), signature.bind(*args, **kwargs).args
            for before, _ in listeners:
                before()
            result = method(*args, **kwargs)
            for _, after in listeners:
                after(result, *given)
            return result

        wrapper.listeners, wrapper.thread, wrapper.was = [], threading.get_ident(), vars(instance).get(name)
        setattr(instance, name, wrapper)
    wrapper.listeners.append((before, after))

    def undo() -> None:
        wrapper.listeners.remove((before, after))
        if not wrapper.listeners:
            delattr(instance, name) if wrapper.was is None else setattr(instance, name, wrapper.was)

    return undo


def told_x0(scheduler: Any, result: Any) -> Tensor | None:
    """The x_0 in what `scheduler.step` gave: by its name, or in a plain tuple by the place that the method's
    annotation gives it. None where it is not told: TCD's second is noisy again, LCM's is mixed with the latents."""
    if type(result) is not tuple:
        return getattr(result, "pred_original_sample", None)
    outputs = [x for x in get_args(inspect.signature(scheduler.step).return_annotation) if is_dataclass(x)]
    names = [x.name for output in outputs for x in fields(output)]
    return dict(zip(names, result)).get("pred_original_sample")


def signal_and_noise(scheduler: Any, t: float) -> tuple[float, float] | None:
    """(alpha, sigma): what the UNet was given at t is alpha x_0 + sigma noise. None where that is not known.

    alpha^2 is alphas_cumprod at t, or follows from the sigma of a step between whole times. Who has sigmas and no
    alphas_cumprod (EDM, IPNDM, consistency models) has another schedule than Stable Diffusion was trained with.
    """
    if not hasattr(scheduler, "alphas_cumprod"):
        return None
    if getattr(scheduler, "step_index", None) is not None and hasattr(scheduler, "sigmas"):
        now = scheduler.step_index - 1  # it is already the next step's
        at = [i for i, time in enumerate(scheduler.timesteps.tolist()) if time == t]  # rounded: several may be t
        sigma = float(scheduler.sigmas[now if now in at or not at else at[0]])
        if getattr(scheduler.config, "use_flow_sigmas", False):
            return 1 - sigma, sigma
        a = 1 / (1 + sigma**2)
    else:
        a = float(scheduler.alphas_cumprod[int(t)])
    return a**0.5, (1 - a) ** 0.5


def predicted_x0(scheduler: Any, t: float, x: Tensor, output: Tensor) -> Tensor | None:
    """The x_0 that the UNet's output aims at, from a scheduler that does not tell (PNDM, DPM-Solver).

    x (B, 4, h, w) is what the UNet was given. Equation 12 of DDIM (arXiv:2010.02502); for v, appendix D of
    arXiv:2202.00512; for a flow, arXiv:2210.02747. None where the schedule or the kind of prediction is not known.
    """
    known, kind = signal_and_noise(scheduler, t), getattr(scheduler.config, "prediction_type", None)
    if kind == "sample":
        return output
    if known is None:
        return None
    alpha, sigma = known
    if kind == "epsilon":
        return (x - sigma * output) / alpha
    if kind == "v_prediction":
        return alpha * x - sigma * output
    if kind == "flow_prediction":
        return x - sigma * output
    return None


def probabilities(q: Tensor, k: Tensor, heads: int) -> Tensor:
    """q (B, N, C) of the places, k (B, 77, C) of the tokens -> softmax(q k^T / sqrt(d)), (B, heads, N, 77)"""
    k = k.float() * (k.shape[-1] // heads) ** -0.5
    q, k = (x.float().unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k))
    return (q @ k.transpose(-1, -2)).softmax(-1)


class Recorder:
    """The hooks' side of a trace: gathers what one UNet call shows until `scheduler.step` closes the step."""

    def __init__(self, pipe: Pipeline, mode: bool | str, features: bool, stack: ExitStack):
        """All that is hung into the pipe goes with the `stack`."""
        self.pipe, self.mode, self.features = pipe, mode, features
        self.trace = Trace()
        self.layers: dict[int, Tensor] = {}  # of the texts being encoded
        self.texts: list[SimpleNamespace] = []  # every text so far
        self.calls, self.running = 0, False  # of the UNet since the last step; has this run taken its first
        self.query: Tensor  # of the cross-attention that is being computed
        # of this UNet call, by the part's name; looks: queries, keys, heads of a cross-attention
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.means: dict[str, Tensor] = {}
        self.looks: dict[str, tuple[Tensor, Tensor, int]] = {}
        self.stages: dict[str, tuple[tuple[int, ...], Tensor]] = {}  # of this decoding: a part's shape and channels
        for module, hook in self.hooks():
            stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        # hooks on a module see only its forward
        stack.callback(listen(pipe.vae, "decode", self.on_decode, before=self.stages.clear))
        self.following = stack.enter_context(ExitStack())
        self.follow_scheduler()

    def follow_scheduler(self) -> None:
        """Listen to the scheduler that the pipe has now, and to no other."""
        self.following.close()
        self.scheduler = self.pipe.scheduler
        self.following.callback(listen(self.scheduler, "set_timesteps", self.on_set_timesteps))
        self.following.callback(listen(self.scheduler, "step", self.on_step))
        self.on_set_timesteps()

    def hooks(self) -> Iterator[tuple[nn.Module, Callable]]:
        """[(module, forward hook)]"""
        for name, module in modules(self.pipe, "text_encoder"):
            if name == "":
                yield module, self.on_text
            elif match := TEXT_PARTS.fullmatch(name):
                yield module, functools.partial(self.on_text_layer, int(match[1]) + 1 if match[1] else 0)
        yield self.pipe.unet, self.on_unet
        for name, module in modules(self.pipe, "unet"):
            if UNET_PARTS.fullmatch(name):
                yield module, functools.partial(self.on_unet_part, name)
            if self.mode and name.endswith("attn2"):
                yield module.to_q, self.on_query
                part = name.removesuffix(".attn2").removesuffix(".transformer_blocks.0")
                yield module.to_k, functools.partial(self.on_key, part, module.heads)
        for name, module in modules(self.pipe, "vae"):
            if match := VAE_PARTS.fullmatch(name):
                yield module, functools.partial(self.on_vae_part, match[1])

    def on_text_layer(self, i: int, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        self.layers[i] = keep(first(output))

    def on_text(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        ids = args[0] if args else kwargs.get("input_ids")
        if ids is None:  # embeddings, and of no text
            return
        for row, (text, embedding) in enumerate(zip(ids.tolist(), keep(output[0]))):
            if not any(text == known.ids and torch.equal(embedding, known.embedding) for known in self.texts):
                layers = {i: x[row] for i, x in self.layers.items()}
                self.texts.append(SimpleNamespace(ids=text, embedding=embedding, layers=layers))

    def on_unet(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        if self.pipe.scheduler is not self.scheduler:
            self.follow_scheduler()
        self.alone()
        given = dict(zip(("sample", "timestep", "encoder_hidden_states"), args)) | kwargs
        self.input, self.noise, self.calls = keep(given["sample"]), keep(first(output)), self.calls + 1
        self.embeds = keep(given["encoder_hidden_states"])

    def alone(self) -> None:
        if threading.get_ident() != self.thread:
            raise SdscopeError(SHARED)

    def on_unet_part(self, name: str, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        self.shapes[name] = tuple(first(output).shape)
        if self.features:
            self.means[name] = first(output).mean(1)

    def on_query(self, module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
        self.query = output

    def on_key(self, name: str, heads: int, module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
        self.looks[name] = self.query, output, heads

    def on_set_timesteps(self, *_: Any) -> None:
        """A new run begins, in the thread that this is."""
        self.running, self.calls, self.thread = False, 0, threading.get_ident()

    def on_step(self, result: Any, noise: Tensor, timestep: Any, latents: Tensor, *_: Any) -> None:
        """The seam where noise, latents and pred_x0 meet. Only here is the number of pictures known."""
        self.alone()
        noise, latents, batch = keep(noise), keep(latents), len(latents)
        self.check_calls(noise, batch)
        t, steps = timestep.item() if hasattr(timestep, "item") else timestep, self.trace.steps
        if not self.running or t == steps[0].t != steps[-1].t:  # back where the run began: it is another
            self.begin(batch)
        guided = len(self.noise) == 2 * batch
        uncond, cond, seen = self.noise[:batch] if guided else None, self.noise[-batch:], self.input[-batch:]
        x = seen[:, : noise.shape[1]]  # after the latents, an inpainting UNet sees a mask
        told = told_x0(self.scheduler, result)
        x0 = predicted_x0(self.scheduler, t, x, noise) if told is None else keep(told)
        other = None if torch.equal(seen, latents) else seen
        height, width = latents.shape[2:]
        features = Features({name: keep(m[-batch]) for name, m in self.means.items()})
        row = latents, other, uncond, cond, noise, x0, self.attention(batch, height, width), features
        self.trace.steps.append(Step(len(self.trace.steps), t, *row))
        self.calls, self.trace.latents = 0, keep(first_of_step(result))
        self.trace.image, self.trace.vae = None, Trace().vae  # not of these latents

    def check_calls(self, noise: Tensor, batch: int) -> None:
        """A step that was seen whole has one call of the UNet, with one row for each picture or two."""
        known = (
            "a trace knows one call for each step, of a row for each picture, with guidance of two: uncond, then cond"
        )
        if self.calls == 0 and self.trace.steps:
            raise SdscopeError(
                "scheduler.step was called again without the UNet: a trace knows one UNet call for each step"
            )
        if self.calls == 0 or (self.mode and not self.looks):
            what = "UNet" if self.calls == 0 else "UNet's cross-attention"
            raise SdscopeError(f"hooks saw nothing of the {what}: replaced, compiled or fused inside the block?")
        if self.calls > 1 or len(self.noise) not in (batch, 2 * batch):
            rows = f"{self.calls} times" if self.calls > 1 else f"with {len(self.noise)} rows for {batch} pictures"
            raise SdscopeError(f"the UNet was called {rows} before scheduler.step: {known}")
        if len(self.noise) == 2 * batch:
            u, c, n = (x.double().flatten() for x in (self.noise[:batch], self.noise[batch:], noise))
            # Cramer's rule: the sign of c's weight where n is a sum of u and c; both are equal where u and c are
            if (u @ u) * (c @ n) - (u @ c) * (u @ n) < -1e-12 * (u @ u) * (n @ n):
                raise SdscopeError(f"the second half of the UNet's batch is what guidance leads away from: {known}")

    def begin(self, batch: int) -> None:
        """Which texts are these? The rows the UNet was given, looked up among those that were encoded."""
        t = self.trace
        tokenizer: Any = getattr(self.pipe, "tokenizer", None)  # None: no text was seen
        vars(t).update(vars(Trace()))
        texts = [next((x for x in self.texts if torch.equal(x.embedding.to(e), e)), None) for e in self.embeds]
        tokens = [x and Tokens(x.ids, tokenizer.convert_ids_to_tokens(x.ids), cutter(tokenizer)) for x in texts]
        t.embeddings.cond, t.tokens.cond = self.embeds[-batch:], tokens[-batch:]
        if len(tokens) == 2 * batch:
            t.embeddings.uncond, t.tokens.uncond = self.embeds[:batch], tokens[:batch]
        each = [x.layers for x in texts[-batch:] if x]
        if len(each) == batch:
            t.embeddings.layers = {i: torch.stack([layers[i] for layers in each]) for i in each[0]}
        t.unet.shapes = dict(self.shapes)
        self.running = True

    def attention(self, batch: int, height: int, width: int) -> Attention:
        """Computed again, beside the run and after its UNet call: what the run uses is not touched."""
        levels = [(-(-height >> i), -(-width >> i)) for i in range(9)]  # each halves, rounding up
        sizes = {h * w: (h, w) for h, w in levels}
        found: dict[str, list[Tensor]] = {}
        for name, (q, k, heads) in self.looks.items():
            h, w = sizes[q.shape[1]]
            p = probabilities(q[-batch:], k[-batch:], heads).unflatten(2, (h, w))
            key, p = (name, p) if self.mode == "heads" else (f"{h}x{w}", p.mean(1))
            found.setdefault(key, []).append(p)
        layers = {key: len(ps) for key, ps in found.items()}
        maps = {key: ps[0] if len(ps) == 1 else torch.stack(ps).mean(0) for key, ps in found.items()}
        maps = {key: p.to("cpu", self.noise.dtype) for key, p in maps.items()}
        return Attention(maps, layers, self.trace.tokens.cond)

    def on_vae_part(self, name: str, module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
        """Of the first picture: where the VAE is told to decode one by one, the first call is."""
        few = torch.linspace(0, output.shape[1] - 1, min(STAGE_CHANNELS, output.shape[1])).long()
        if name not in self.stages:
            self.stages[name] = tuple(output.shape), keep(output[0, few])

    def on_decode(self, result: Any, z: Tensor, *_: Any) -> None:
        """Of what is decoded, the run's latents, and of those the first time: not previews, nor what comes later."""
        last = self.trace.latents  # None: no step was taken
        if last is not None and not (self.trace.image is None and self.is_last(z, last)):
            return
        self.trace.image, self.trace.vae = keep(first(result)), Trace().vae
        if "conv_in" in self.stages and self.stages["conv_in"][0][2:] == z.shape[2:]:  # not a tile
            for name, (shape, channels) in self.stages.items():
                self.trace.vae.shapes[name], self.trace.vae.stages[name] = shape, channels

    def is_last(self, z: Tensor, last: Tensor) -> bool:
        """Is this what the last step gave, but for the scaling, which everybody rounds as he likes? Somewhere, that is:
        where inpainting puts the picture back, it is something else."""
        z = keep(z)
        limits = max((torch.finfo(x.dtype) for x in (last, z)), key=lambda limits: limits.eps)
        z, last = z.float() * self.pipe.vae.config.scaling_factor, last.float()
        if z.shape != last.shape:
            return False
        return bool(torch.isclose(z, last, 4 * limits.eps, limits.tiny, equal_nan=True).all(dim=1).any())

    def check(self) -> None:
        if self.calls and not self.trace.steps:
            raise SdscopeError("the UNet ran, but pipe.scheduler took no step: the trace sees the steps of no other")


def first_of_step(result: Any) -> Tensor:
    """diffusers' schedulers give a plain tuple or an output class"""
    return result[0] if type(result) is tuple else result.prev_sample


def first(output: Any) -> Tensor:
    """diffusers' modules give a tensor, a tuple or an output class"""
    return output if isinstance(output, torch.Tensor) else output[0]


def keep(x: Tensor) -> Tensor:
    """A copy on the CPU that later in-place work cannot change."""
    return x.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
