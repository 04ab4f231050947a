"""DDIM gives diffusers' numbers, and the numbers are those of the formulas."""

import pytest
import torch
from conftest import SCHEDULER
from diffusers import DDIMScheduler

from sdscope.scheduler import DDIM


def pair(**changes):
    reference = DDIMScheduler(**SCHEDULER | changes)
    return reference, DDIM(dict(reference.config))


def equal_steps(reference, ddim, steps):
    reference.set_timesteps(steps)
    ddim.set_timesteps(steps)
    generator = torch.Generator().manual_seed(0)
    for t in ddim.timesteps:
        sample, output = torch.randn(2, 2, 4, 8, 8, generator=generator)
        expected = reference.step(output, t, sample)
        prev_sample, pred_x0 = ddim.step(output, t, sample)
        assert torch.equal(prev_sample, expected.prev_sample)
        assert torch.equal(pred_x0, expected.pred_original_sample)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("set_alpha_to_one", [True, False])
@pytest.mark.parametrize("steps", [1, 7, 25, 999])
def test_step_equals_diffusers(prediction_type, set_alpha_to_one, steps):
    reference, ddim = pair(prediction_type=prediction_type, set_alpha_to_one=set_alpha_to_one)
    equal_steps(reference, ddim, steps)
    assert torch.equal(ddim.timesteps, reference.timesteps)


ZERO = dict(rescale_betas_zero_snr=True, timestep_spacing="trailing")  # arXiv:2305.08891, as published with 2.x


@pytest.mark.parametrize(
    "changes", [ZERO, dict(timestep_spacing="linspace"), dict(num_train_timesteps=37, **ZERO)], ids=str
)
def test_any_number_of_steps_visits_the_times_of_diffusers(changes):
    """But for one time too many that "trailing" has there for some numbers: -1, which is no time"""
    reference, ddim = pair(**changes)
    for steps in range(1, ddim.config.num_train_timesteps + 1):
        reference.set_timesteps(steps)
        ddim.set_timesteps(steps)
        assert ddim.timesteps.tolist() == reference.timesteps.tolist()[:steps]
        assert len(ddim.timesteps) == steps and ddim.timesteps.min() >= 0
        assert set(reference.timesteps.tolist()[steps:]) <= {-1}


@pytest.mark.parametrize("steps", [1, 4, 25])
@pytest.mark.parametrize(
    "changes",
    [
        dict(prediction_type="v_prediction", **ZERO),
        dict(prediction_type="epsilon", timestep_spacing="trailing"),
        dict(timestep_spacing="linspace", set_alpha_to_one=True),
        dict(clip_sample=True),
        dict(clip_sample=True, clip_sample_range=0.5, prediction_type="epsilon", rescale_betas_zero_snr=True),
        dict(beta_start=0.001, beta_end=0.02, num_train_timesteps=500, steps_offset=0),
    ],
    ids=str,
)
def test_what_a_config_may_change_equals_diffusers(changes, steps):
    """Bit for bit, every step; and zero signal is zero: x_0 has no part in the noise at the last time"""
    reference, ddim = pair(**changes)
    assert torch.equal(ddim.alphas_cumprod, reference.alphas_cumprod)
    assert (ddim.alphas_cumprod[-1] == 0) == ddim.config.rescale_betas_zero_snr
    equal_steps(reference, ddim, steps)


def test_forward_process_equals_diffusers():
    reference, ddim = pair()
    x0, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0, 500, 999])
    assert torch.equal(ddim.add_noise(x0, noise, times), reference.add_noise(x0, noise, times))
    velocity = reference.get_velocity(x0, noise, times)
    assert torch.equal(ddim.get_velocity(x0, noise, times), velocity)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_who_knows_the_noise_sees_the_picture(prediction_type):
    """Told the true noise (or v), a step finds x_0, and lands where add_noise puts x_0 at t - 1."""
    ddim = DDIM(SCHEDULER | dict(prediction_type=prediction_type))
    ddim.set_timesteps(25)
    t = ddim.timesteps[10:11]
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 1, 4, 8, 8, generator=generator, dtype=torch.float64)
    truth = noise if prediction_type == "epsilon" else ddim.get_velocity(x0, noise, t)
    prev_sample, pred_x0 = ddim.step(truth, t[0], ddim.add_noise(x0, noise, t))
    assert torch.allclose(pred_x0, x0, atol=1e-6)
    assert torch.allclose(prev_sample, ddim.add_noise(x0, noise, t - 40), atol=1e-6)


def test_the_docstring_tells_the_times():
    ddim = DDIM({})
    ddim.set_timesteps(25)
    assert ddim.timesteps.tolist() == [961 - 40 * i for i in range(25)]
