"""The flow's sampler gives diffusers' numbers, and Postcard, asked for velocities, the latents of DDIM."""

import math
from pathlib import Path

import pytest
import torch
from conftest import SCHEDULER
from diffusers import FlowMatchEulerDiscreteScheduler

import sdscope.flow
from sdscope import SdscopeError, StableDiffusion
from sdscope.flow import FlowEuler, FlowOfV, flow_times
from sdscope.publish.facts import code_lines
from sdscope.scheduler import DDIM

FLOW = Path(sdscope.flow.__file__).read_text()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shift", [1.0, 3.0, 0.7])
@pytest.mark.parametrize("steps", [1, 4, 28, 999, 1000])
def test_equals_diffusers(steps, shift, dtype):
    """Times and every step, bit for bit"""
    theirs, ours = FlowMatchEulerDiscreteScheduler(shift=shift), FlowEuler(shift)
    theirs.set_timesteps(steps)
    ours.set_timesteps(steps)
    assert torch.equal(ours.timesteps, theirs.timesteps) and torch.equal(ours.sigmas, theirs.sigmas)
    generator = torch.Generator().manual_seed(0)
    for t in ours.timesteps:
        sample, velocity = torch.randn(2, 2, 4, 8, 8, generator=generator).to(dtype)
        after = ours.step(velocity, t, sample).prev_sample
        assert after.dtype == dtype and torch.equal(after, theirs.step(velocity, t, sample).prev_sample)


def test_the_shift_of_flux_is_a_power_of_e():
    """There it depends on the size of the picture, and mu is what its pipeline works out"""
    theirs, t = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), torch.linspace(0.01, 1, 100)
    for mu in (0.5, 0.8, 1.15):
        torch.testing.assert_close(FlowEuler(math.exp(mu)).shifted(t), theirs.time_shift(mu, 1.0, t))


def test_the_path_is_a_straight_line():
    """As diffusers' scale_noise; and from any place of it one step with the true velocity ends at the picture"""
    theirs, ours = FlowMatchEulerDiscreteScheduler(), FlowEuler()
    theirs.set_timesteps(10)
    ours.set_timesteps(10)
    x0, noise = torch.randn(2, 10, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    z = ours.add_noise(x0, noise, ours.timesteps)
    torch.testing.assert_close(z, theirs.scale_noise(x0, ours.timesteps, noise))
    for i, t in enumerate(ours.timesteps):
        after, pred_x0 = ours.step((noise - x0)[i], t, z[i])
        torch.testing.assert_close(pred_x0, x0[i], rtol=1e-5, atol=1e-5)
        later = ours.sigmas[i + 1]
        torch.testing.assert_close(after, (1 - later) * x0[i] + later * noise[i], rtol=1e-5, atol=1e-5)


class Knowing(torch.nn.Module):
    """A UNet that knows the noise and the picture, and keeps what it was asked"""

    config, conv_in = {}, None

    def __init__(self, ddim, x0, noise):
        super().__init__()
        self.ddim, self.x0, self.noise, self.asked = ddim, x0, noise, []

    def forward(self, sample, timestep, words):
        self.asked.append((sample, timestep))
        return self.ddim.get_velocity(self.x0, self.noise, timestep.view(1))


@pytest.mark.parametrize("changes", [{}, dict(rescale_betas_zero_snr=True)], ids=str)
def test_a_network_of_v_gives_the_velocity(changes):
    """At every time: it is asked with the mix that it knows, by its own time, and out comes noise - x_0"""
    ddim = DDIM(SCHEDULER | changes)
    x0, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unet = Knowing(ddim, x0, noise)
    flow, path = FlowOfV(unet, ddim.alphas_cumprod), FlowEuler()
    times = flow_times(ddim.alphas_cumprod)
    assert (times.diff() > 0).all() and 0 < times[0] < times[-1] <= 1
    for time in range(0, 1000, 37):
        timestep = times[time] * 1000
        velocity = flow(path.add_noise(x0, noise, timestep.view(1)), timestep, None)
        sample, asked = unet.asked[-1]
        assert asked == time
        torch.testing.assert_close(sample, ddim.add_noise(x0, noise, asked.view(1)), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(velocity, noise - x0, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [4, 25])
@torch.no_grad()
def test_one_line_paints_with_postcard_what_ddim_paints(postcard, steps):
    """Untrained for it. After every step the latents are those of DDIM, but for their units and for rounding."""
    words = postcard.encode_prompt(["a lighthouse by the sea at night"], [""], True)
    noise, seen = postcard.get_latents(1, *postcard.sides, 7), []
    end = postcard.denoise(noise, words, steps, 5.0, seen.append)
    expected = [*(s["latents"] for s in seen), end]

    ddim, scheduler = postcard.scheduler, FlowEuler()
    times = flow_times(torch.cat([ddim.alphas_cumprod[ddim.timesteps], ddim.final_alpha_cumprod.view(1)]))
    scheduler.sigmas, scheduler.timesteps = times, times[:-1] * 1000
    size = (times**2 + (1 - times) ** 2) ** 0.5
    flow = FlowOfV(postcard.unet, ddim.alphas_cumprod)
    z = by_hand = noise * size[0]
    for i, (t, t_next) in enumerate(zip(times, times[1:])):
        uncond, cond = flow(torch.cat([z, z]), scheduler.timesteps[i], words).chunk(2)
        velocity = uncond + 5.0 * (cond - uncond)
        z = z + (t_next - t) * velocity
        by_hand = scheduler.step(velocity, scheduler.timesteps[i], by_hand).prev_sample
        assert torch.equal(z, by_hand)
        assert (z / size[i + 1] - expected[i + 1]).abs().max() < 1e-4


def test_in_the_pipeline_both_drop_in(tiny_folder):
    """The loop as it is: the flow's scheduler for DDIM, the network of v made one of a flow"""
    pipe = StableDiffusion.from_pretrained(tiny_folder, device="cpu")
    pipe.unet = FlowOfV(pipe.unet, pipe.scheduler.alphas_cumprod)
    pipe.scheduler = FlowEuler(3.0)
    one, again = (pipe("a castle", seed=1, num_inference_steps=3, guidance_scale=g) for g in (1.0, 5.0))
    assert one.size == again.size == (64, 64) and one.tobytes() != again.tobytes()


@pytest.mark.parametrize("shift", [0, -1.0, float("inf"), float("nan")])
def test_a_shift_that_cannot_be(shift):
    with pytest.raises(SdscopeError, match="the shift must be a number above 0, such as 3, not"):
        FlowEuler(shift)


def test_steps_that_cannot_be():
    with pytest.raises(SdscopeError, match="steps must be a whole number from 1 to 1000, not 0"):
        FlowEuler().set_timesteps(0)
    with pytest.raises(SdscopeError, match="call set_timesteps before the first step"):
        FlowEuler().sigmas  # noqa: B018


def test_the_sampler_has_at_most_40_lines():
    begin, end = FLOW.index("class FlowEuler"), FLOW.index("# region flow_times")
    assert code_lines(FLOW[begin:end]) <= 40
