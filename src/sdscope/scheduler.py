"""DDIM: how much noise there is at each time, and how to take one step towards none.

Song et al., "Denoising Diffusion Implicit Models", arXiv:2010.02502. Mirrors diffusers'
schedulers/scheduling_ddim.py with eta = 0: the same numbers, bit for bit.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .inputs import Unset, check_times
from .loading.settings import SCHEDULER, checked

DEFAULTS = dict(  # Stable Diffusion 1.5; a model's scheduler_config.json says what is different
    num_train_timesteps=1000,
    beta_start=0.00085,
    beta_end=0.012,
    rescale_betas_zero_snr=False,
    set_alpha_to_one=False,
    timestep_spacing="leading",
    steps_offset=1,
    prediction_type="epsilon",
    clip_sample=False,
    clip_sample_range=1.0,
)


class DDIMStep(NamedTuple):
    """x_(t-1), and the x_0 it aims at"""

    prev_sample: Tensor
    pred_original_sample: Tensor


class DDIM:
    """The noise schedule and the sampler."""

    init_noise_sigma = 1.0  # some schedulers start from stronger noise
    stride = Unset("call set_timesteps before the first step")  # from one time to the next

    # region alphas
    def __init__(self, config: dict):
        c = self.config = checked(SCHEDULER, DEFAULTS | config)
        betas = torch.linspace(c.beta_start**0.5, c.beta_end**0.5, c.num_train_timesteps) ** 2
        betas = zero_snr(betas) if c.rescale_betas_zero_snr else betas
        # what is left of the picture (of its variance) at time t: all 1 - beta so far, multiplied
        self.alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)
        first = torch.tensor(1.0) if c.set_alpha_to_one else self.alphas_cumprod[0]
        self.final_alpha_cumprod = first  # stands in for "before time 0"
        # endregion alphas

    # region set_timesteps
    def set_timesteps(self, num_inference_steps: int) -> None:
        """Which times to visit, from noisy to clean: 15 steps are 925, 859, ..., 67, 1."""
        check_times(self.config, num_inference_steps)
        self.num_inference_steps = num_inference_steps
        self.stride = self.config.num_train_timesteps // num_inference_steps
        steps = torch.arange(num_inference_steps).flip(0)
        self.timesteps = steps * self.stride + self.config.steps_offset
        if self.config.timestep_spacing != "leading":
            self.timesteps = self.spread()
            # endregion set_timesteps

    def spread(self) -> Tensor:
        """The other ways to choose: 15 "trailing" are 999, 932, ..., 66, "linspace" ends at 0."""
        last, steps = self.config.num_train_timesteps, self.num_inference_steps
        if self.config.timestep_spacing == "trailing":  # arXiv:2305.08891
            # 61 of them round to 62 in diffusers, and the last, -1, is taken for the noisiest time
            times = np.arange(last, 0, -last / steps)[:steps].round() - 1
        else:
            times = np.linspace(0, last - 1, steps).round()[::-1].copy()
        return torch.from_numpy(times).long()

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Some schedulers shrink what the UNet sees; this one does not."""
        return sample

    # region step
    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor) -> DDIMStep:
        """One step, equation 12: x_t -> the less noisy x_(t-1), and the x_0 it aims at."""
        prev_timestep = timestep - self.stride
        alpha_prod_t = self.alphas_cumprod[timestep]
        alpha_prod_t_prev = self.final_alpha_cumprod
        if prev_timestep >= 0:
            alpha_prod_t_prev = self.alphas_cumprod[prev_timestep]
        beta_prod_t = 1 - alpha_prod_t

        # region prediction
        # the network says what is noise, and so what is picture
        if self.config.prediction_type == "epsilon":
            pred_noise = model_output
            pred_x0 = (sample - beta_prod_t**0.5 * pred_noise) / alpha_prod_t**0.5
        else:  # v_prediction
            pred_noise = alpha_prod_t**0.5 * model_output + beta_prod_t**0.5 * sample
            pred_x0 = alpha_prod_t**0.5 * sample - beta_prod_t**0.5 * model_output
            # endregion prediction
        pred_x0 = self.clip(pred_x0)

        # mix the two again, with less noise this time
        direction = (1 - alpha_prod_t_prev) ** 0.5 * pred_noise
        prev_sample = alpha_prod_t_prev**0.5 * pred_x0 + direction
        return DDIMStep(prev_sample, pred_x0)
        # endregion step

    def clip(self, pred_x0: Tensor) -> Tensor:
        """A few models (clip_sample) want x_0 within a range; Stable Diffusion's latents are not clipped."""
        reach = self.config.clip_sample_range
        return pred_x0.clamp(-reach, reach) if self.config.clip_sample else pred_x0

    # region add_noise
    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The forward process, no network: x0 (B, ...), timesteps (B,) -> x_t (B, ...)"""
        alpha_prod_t = self.alphas_cumprod.to(x0)[timesteps].view(-1, *[1] * (x0.ndim - 1))
        return alpha_prod_t**0.5 * x0 + (1 - alpha_prod_t) ** 0.5 * noise
        # endregion add_noise

    def get_velocity(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What a v_prediction network learns (arXiv:2202.00512). Shapes as in add_noise."""
        alpha_prod_t = self.alphas_cumprod.to(x0)[timesteps].view(-1, *[1] * (x0.ndim - 1))
        return alpha_prod_t**0.5 * noise - (1 - alpha_prod_t) ** 0.5 * x0


def zero_snr(betas: Tensor) -> Tensor:
    """betas, shifted and scaled until nothing is left of the picture at the last time.

    Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", arXiv:2305.08891.
    """
    sqrt = torch.cumprod(1.0 - betas, dim=0).sqrt()
    sqrt = (sqrt - sqrt[-1]) * (sqrt[0] / (sqrt[0] - sqrt[-1]))
    alphas_cumprod = sqrt**2
    return 1 - torch.cat([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])
