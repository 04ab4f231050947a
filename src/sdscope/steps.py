"""What goes on beside the steps of a run: who draws noise, who watches, and whether numbers are still numbers."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor

from .errors import SdscopeError

HALF = (torch.float16, torch.bfloat16)
Callback = Callable[[dict[str, Any]], object]
P = ParamSpec("P")
Result = TypeVar("Result")


class Scheduler(Protocol):
    """What the pipeline asks of one: DDIM here has it, and so have diffusers'."""

    config: Any  # num_train_timesteps and so on, as attributes
    timesteps: Tensor

    @property
    def init_noise_sigma(self) -> float | Tensor: ...

    @property
    def step(self) -> Callable[..., Any]: ...  # some take more than noise, time and latents

    def set_timesteps(self, num_inference_steps: int, /) -> None: ...

    def scale_model_input(self, sample: Tensor, timestep: Tensor, /) -> Tensor: ...


def usual(call: Callable[..., Any]) -> dict[str, Any]:
    """What a function takes where nothing is said: of StableDiffusion.__call__ num_inference_steps and so on"""
    every = inspect.signature(call).parameters.values()
    return {each.name: each.default for each in every if each.default is not each.empty}


def one_at_a_time(method: Callable[Concatenate[Any, P], Result]) -> Callable[Concatenate[Any, P], Result]:
    """The scheduler remembers how far a run is, the tokenizer how to cut: a second run would mix with it."""
    running: dict[int, object] = {}

    @functools.wraps(method)
    def alone(pipe: Any, *args: P.args, **kwargs: P.kwargs) -> Result:
        key, mine = id(pipe.scheduler), object()
        if running.setdefault(key, mine) is not mine:  # in one go: no thread comes between
            raise SdscopeError("this pipe is painting already, one run at a time: wait, or make a pipe for each thread")
        try:
            return method(pipe, *args, **kwargs)
        finally:
            del running[key]

    return alone


def step_options(scheduler: Any, generators: list[torch.Generator] | None) -> dict[str, Any]:
    """What the scheduler's step takes besides, as in diffusers' pipeline: eta, and who draws its noise."""
    if getattr(scheduler.config, "noise_sampler_seed", 0) is None:  # DPMSolverSDE takes seeds instead
        scheduler.noise_sampler_seed = [g.initial_seed() for g in generators] if generators else None
    takes = inspect.signature(scheduler.step).parameters
    return {name: x for name, x in dict(eta=0.0, generator=generators).items() if name in takes}


def report(
    callback: Callback | None,
    i: int,
    t: Tensor,
    latents: Tensor,
    noise_uncond: Tensor | None,
    noise_cond: Tensor,
    noise: Tensor,
    step: Any,
) -> None:
    """A step to the callback, as StableDiffusion has it; where numbers end, the run ends, not in a black picture."""
    if not finite(step.prev_sample):
        source = cause(latents, noise_uncond, noise_cond, noise)
        raise SdscopeError(f"NaN or infinity in the latents after step {i + 1}, at time {t}: {source}")
    if callback:
        pred_x0 = getattr(step, "pred_original_sample", None)
        noises = dict(noise_uncond=noise_uncond, noise_cond=noise_cond, noise=noise)
        callback(dict(i=i, t=t.item(), latents=latents, **noises, pred_x0=pred_x0))


def cause(latents: Tensor, noise_uncond: Tensor | None, noise_cond: Tensor, noise: Tensor) -> str:
    """Where it comes from, and what to do"""
    if not finite(latents):
        return "it was there before the first step"
    if finite(noise):
        advice = "take fewer steps or another scheduler; zero terminal SNR needs a model of v_prediction"
        return f"the scheduler divided by zero; {advice}"
    if noise_uncond is not None and finite(noise_uncond) and finite(noise_cond):
        return "it comes from the guidance; take a smaller guidance_scale"
    return f"it comes from the UNet; {remedy(noise)}"


def check_picture(x: Tensor, latents: Tensor) -> None:
    """What the decoder gave, before bytes are made of it"""
    if not finite(x):
        source = f"it comes from the VAE; {remedy(x)}" if finite(latents) else "the latents have it too"
        raise SdscopeError(f"NaN or infinity in the picture: {source}")


def remedy(x: Tensor) -> str:
    if x.dtype in HALF:
        dtype = str(x.dtype).removeprefix("torch.")
        return f'too large a number for {dtype}: load the model with dtype="float32"'
    return "take a smaller guidance_scale, or other weights"


def finite(x: Tensor) -> bool:
    return bool(x.isfinite().all())
