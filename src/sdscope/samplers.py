"""DDPM, DDIM and an accelerated one as one formula with two numbers.

Permenter and Yuan, "Interpreting and Improving Diffusion Models from an Optimization Perspective",
arXiv:2306.04848, appendix A. Latents are x_0 + sigma * noise there: the picture keeps its strength.
"""

from typing import Any

import torch
from torch import Tensor

from .inputs import require, short
from .scheduler import DDIM, DDIMStep


class TwoNumbers(DDIM):
    """A scheduler in the place of DDIM, which it is when nothing is said.

    gamma  1: go along the noise as it is predicted; 2: as much beyond it as it has changed since the step before
    mu     0: nothing is random; 1/2: go further down, and draw fresh noise, as DDPM
    """

    noise_before: Tensor | None = None

    def __init__(self, config: dict, gamma: float = 1.0, mu: float = 0.0):
        super().__init__(config)
        require(0 <= mu < 1, f"mu must be a number from 0 to below 1, not {short(mu)}")
        self.config |= dict(gamma=gamma, mu=mu)

    def set_timesteps(self, num_inference_steps: int) -> None:
        """As DDIM has them; and there is no step before the first."""
        super().set_timesteps(num_inference_steps)
        self.noise_before = None

    # region two_numbers
    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, generator: list | None = None) -> DDIMStep:
        """x_t -> the less noisy x_(t-1), and the x_0 it aims at. With mu: one generator for each picture."""
        gamma, mu = self.config.gamma, self.config.mu
        pred_x0 = super().step(model_output, timestep, sample).pred_original_sample
        (strength, sigma), (strength_next, sigma_next) = self.at(timestep), self.at(timestep - self.stride)

        x = sample / strength
        noise = (x - pred_x0) / sigma
        before = noise if self.noise_before is None else self.noise_before
        direction = gamma * noise + (1 - gamma) * before
        sigma_down = (sigma_next / sigma**mu) ** (1 / (1 - mu))
        sigma_up = (sigma_next**2 - sigma_down**2) ** 0.5
        x = x - (sigma - sigma_down) * direction + sigma_up * self.draw(x, generator)

        self.noise_before = noise
        return DDIMStep(strength_next * x, pred_x0)
        # endregion two_numbers

    def at(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """How strong the picture is at a time, and how many times as strong the noise."""
        alpha_prod = self.alphas_cumprod[timestep] if timestep >= 0 else self.final_alpha_cumprod
        alpha_prod = alpha_prod.double()  # small steps are small differences
        return alpha_prod**0.5, ((1 - alpha_prod) / alpha_prod) ** 0.5

    def draw(self, x: Tensor, generator: list | None) -> Tensor:
        """Fresh noise, drawn on the CPU, as the first"""
        if self.config.mu == 0:
            return torch.zeros_like(x)
        generators = generator or [None] * len(x)
        return torch.stack([torch.randn(one.shape, generator=g, dtype=x.dtype) for one, g in zip(x, generators)]).to(x)


def mixture(scheduler: Any, steps: int, call: int, calls_per_step: int = 1) -> Tensor:
    """Of which predictions a scheduler, of this package or diffusers', makes the direction of a step.

    (call,): their weights, the newest first; together 1. The step is the one that ends with this call of the UNet.
    The scheduler is run on predictions of noise that say nothing but whose they are.
    """
    scheduler.set_timesteps(steps)
    times, kept = scheduler.timesteps, scheduler.init_noise_sigma > 1  # whether the picture keeps its strength
    strength = [1.0 if kept else scheduler.alphas_cumprod[int(t)] ** 0.5 for t in times]
    sample, path = torch.zeros(call), [torch.zeros(call)]
    for i, name in enumerate(torch.eye(call)):
        scheduler.scale_model_input(sample, times[i])
        sample = scheduler.step(name, times[i], sample).prev_sample
        path.append(sample / strength[i + 1])
    moved = path[-1] - path[-1 - calls_per_step]
    return moved.flip(0) / moved.sum()
