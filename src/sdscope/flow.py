"""Rectified flow: the path and the sampler of Stable Diffusion 3 and FLUX, and a UNet of v put on that path.

Liu et al., arXiv:2209.03003; Lipman et al., arXiv:2210.02747; Esser et al., arXiv:2403.03206. FlowEuler mirrors
diffusers' schedulers/scheduling_flow_match_euler_discrete.py without most options: the same numbers, bit for bit.
"""

from math import isfinite

import numpy as np
import torch
from torch import Tensor

from .inputs import Unset, check_number, require, short
from .loading.config import Config
from .scheduler import DDIMStep


class FlowEuler:
    """Straight from noise, at t = 1, to the picture, at t = 0. diffusers says sigma for t, timestep for 1000 t."""

    init_noise_sigma = 1.0  # at t = 1 there is nothing but noise
    sigmas = Unset("call set_timesteps before the first step")

    def __init__(self, shift: float = 1.0):
        require(shift > 0 and isfinite(shift), f"the shift must be a number above 0, such as 3, not {short(shift)}")
        self.config = Config(num_train_timesteps=1000, shift=shift)

    def set_timesteps(self, num_inference_steps: int) -> None:
        """Evenly from 1 to nearly 0, then shifted. From the last of them a step goes to 0."""
        last = self.config.num_train_timesteps
        check_number(num_inference_steps, 1, last)
        least = float(self.shifted(torch.tensor(1.0) / last))  # so it is shifted twice, as in diffusers
        times = self.shifted(np.linspace(last, least * last, num_inference_steps) / last)
        times = torch.from_numpy(times).float()
        self.timesteps = times * last
        self.sigmas = torch.cat([times, torch.zeros(1)])

    def shifted(self, t):
        """Stays longer where there is more noise, for large pictures (arXiv:2403.03206, equation 23). FLUX: e^mu."""
        shift = self.config.shift
        return shift * t / (1 + (shift - 1) * t)

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Some schedulers shrink what the network sees; this one does not."""
        return sample

    # region flow_step
    def step(self, velocity: Tensor, timestep: Tensor, sample: Tensor) -> DDIMStep:
        """z_t -> the less noisy z at the next time, and the x_0 it aims at."""
        i = self.timesteps.tolist().index(float(timestep))
        t, t_next = self.sigmas[i], self.sigmas[i + 1]
        prev_sample = sample.float() + (t_next - t) * velocity
        pred_x0 = sample.float() - t * velocity
        return DDIMStep(prev_sample.to(velocity.dtype), pred_x0.to(velocity.dtype))
        # endregion flow_step

    # region flow_path
    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The forward process, no network: x0 (B, ...), timesteps (B,) -> z_t (B, ...)"""
        t = (timesteps / self.config.num_train_timesteps).to(x0).view(-1, *[1] * (x0.ndim - 1))
        return (1 - t) * x0 + t * noise
        # endregion flow_path


# region flow_times
def flow_times(alphas_cumprod: Tensor) -> Tensor:
    """The t at which a flow mixes picture and noise in the proportion that diffusion has at each of its times."""
    picture, noise = alphas_cumprod**0.5, (1 - alphas_cumprod) ** 0.5
    return noise / (picture + noise)
    # endregion flow_times


class FlowOfV:
    """A UNet that predicts v, asked as if it were the network of a flow. Nothing is trained.

    It takes the UNet's place in a pipeline: pipe.unet = FlowOfV(pipe.unet, pipe.scheduler.alphas_cumprod).
    """

    def __init__(self, unet: torch.nn.Module, alphas_cumprod: Tensor):
        self.unet, self.config, self.conv_in = unet, unet.config, unet.conv_in
        self.times = flow_times(alphas_cumprod)

    # region velocity
    def __call__(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """z_t, 1000 t and the words -> the velocity, noise - x_0"""
        t = timestep / 1000
        size = (t**2 + (1 - t) ** 2) ** 0.5
        x = sample / size  # x_t: the same mix, as strong as the UNet knows it
        time = (self.times - t).abs().argmin()  # and by the name that it knows
        v = self.unet(x, time, encoder_hidden_states)
        return (v + (2 * t - 1) * x) / size
        # endregion velocity
