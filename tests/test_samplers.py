"""One formula with two numbers is DDIM, DDPM, Euler ancestral, LMS of two steps, and the accelerated sampler."""

import pytest
import torch
from conftest import SCHEDULER
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
)

from sdscope import SdscopeError, StableDiffusion
from sdscope.samplers import TwoNumbers, mixture
from sdscope.scheduler import DDIM

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers and numpy
TO_ZERO = SCHEDULER | dict(set_alpha_to_one=True, timestep_spacing="leading")  # as the others end
EPSILON = TO_ZERO | dict(prediction_type="epsilon")


def drawn():
    return torch.Generator().manual_seed(5)


def outputs(steps):
    """What a network might answer"""
    return torch.randn(steps, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", [SCHEDULER, EPSILON], ids=str)
@pytest.mark.parametrize("steps", [1, 7, 25])
def test_1_and_0_are_ddim(config, steps):
    ours, ddim = TwoNumbers(config), DDIM(config)
    ours.set_timesteps(steps)
    ddim.set_timesteps(steps)
    sample = outputs(1)[0]
    for t, output in zip(ddim.timesteps, outputs(steps)):
        after, expected = ours.step(output, t, sample), ddim.step(output, t, sample)
        assert torch.equal(after.pred_original_sample, expected.pred_original_sample)
        close(after.prev_sample, expected.prev_sample)
        sample = expected.prev_sample


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [7, 25, 100])
def test_1_and_a_half_are_ddpm(prediction_type, steps):
    """diffusers' DDPM with the variance of the posterior, drawing the same noise"""
    config = TO_ZERO | dict(prediction_type=prediction_type)
    ours = TwoNumbers(config, mu=0.5)
    theirs = DDPMScheduler.from_config(config, variance_type="fixed_small")
    ours.set_timesteps(steps)
    theirs.set_timesteps(steps)
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    sample, a, b = outputs(1)[0], drawn(), drawn()
    for t, output in zip(ours.timesteps, outputs(steps)):
        after = ours.step(output, t, sample, [a]).prev_sample
        sample = theirs.step(output, t, sample, generator=b).prev_sample
        close(after, sample)


def strong(scheduler, t, sample):
    """Latents of a scheduler that keeps the picture's strength -> those of DDIM"""
    return sample * scheduler.alphas_cumprod[t.long()] ** 0.5


def test_1_and_a_half_are_euler_ancestral():
    ours, theirs = TwoNumbers(TO_ZERO, mu=0.5), EulerAncestralDiscreteScheduler.from_config(TO_ZERO)
    ours.set_timesteps(10)
    theirs.set_timesteps(10)
    x, a, b = outputs(1)[0], drawn(), drawn()
    for i, output in enumerate(outputs(10)):
        t, later = ours.timesteps[i], ours.timesteps[i + 1] if i < 9 else None
        sample = strong(ours, t, x)
        theirs.scale_model_input(x, theirs.timesteps[i])
        after = ours.step(output, t, sample, [a]).prev_sample
        x = theirs.step(output, theirs.timesteps[i], x, generator=b).prev_sample
        close(after, x if later is None else strong(ours, later, x))


def test_gamma_is_lms_of_two_steps_where_it_follows_their_lengths():
    """A line through the last two predictions, over a step r times as long as the one before: gamma = 1 + r / 2"""
    ours, theirs = TwoNumbers(EPSILON), LMSDiscreteScheduler.from_config(EPSILON)
    ours.set_timesteps(10)
    theirs.set_timesteps(10)
    sigmas, x = theirs.sigmas, outputs(1)[0]
    for i, output in enumerate(outputs(10)):
        t, later = ours.timesteps[i], ours.timesteps[i + 1] if i < 9 else None
        if i:
            ours.config["gamma"] = float(1 + (sigmas[i + 1] - sigmas[i]) / (sigmas[i] - sigmas[i - 1]) / 2)
        theirs.scale_model_input(x, theirs.timesteps[i])
        after = ours.step(output, t, strong(ours, t, x)).prev_sample
        x = theirs.step(output, theirs.timesteps[i], x, order=2).prev_sample
        torch.testing.assert_close(after, x if later is None else strong(ours, later, x), rtol=1e-3, atol=1e-3)


def test_2_and_0_go_beyond_what_is_predicted():
    """Twice the noise less that of the step before; the first step has none before it, in the second run too"""
    ours = TwoNumbers(EPSILON, gamma=2.0)
    for _ in range(2):
        ours.set_timesteps(6)
        a = torch.cat([ours.alphas_cumprod[ours.timesteps], torch.ones(1)]).double()
        sigmas, x, before = ((1 - a) / a) ** 0.5, outputs(1)[0].double() / a[0] ** 0.5, None
        sample = outputs(1)[0].double()
        for i, noise in enumerate(outputs(6).double()):
            sample = ours.step(noise, ours.timesteps[i], sample).prev_sample
            x = x + (sigmas[i + 1] - sigmas[i]) * (noise if before is None else 2 * noise - before)
            close(sample, a[i + 1] ** 0.5 * x)
            before = noise


def test_the_pipeline_takes_it_and_a_seed_decides(tiny_folder):
    """As diffusers' own DDPM in the same place"""
    make = lambda scheduler: StableDiffusion.from_pretrained(tiny_folder, device="cpu", scheduler=scheduler)
    theirs = make(DDPMScheduler.from_config(TO_ZERO, variance_type="fixed_small"))
    ours = make(TwoNumbers(TO_ZERO, mu=0.5))
    ends = []
    for pipe in theirs, ours:
        for _ in range(2):
            seen = []
            pipe(["a castle", "a ship"], seed=3, num_inference_steps=4, callback=seen.append)
            ends.append(torch.stack([step["latents"] for step in seen]))
    for end in ends[1:]:
        close(end, ends[0])


ADAMS = torch.tensor([55, -59, 37, -9, 0, 0, 0, 0]) / 24  # arXiv:2202.09778, equation 9
MIXTURES = {
    "DDIM": (DDIMScheduler, 1, [1, 0, 0, 0, 0, 0, 0, 0]),
    "PNDM": (PNDMScheduler, 1, ADAMS),
    "Heun": (HeunDiscreteScheduler, 2, [0.5, 0.5, 0, 0, 0, 0, 0, 0]),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_of_which_predictions_a_step_is_made(name):
    kind, calls, weights = MIXTURES[name]
    scheduler = kind.from_config(EPSILON, skip_prk_steps=True)
    close(mixture(scheduler, 15, 8, calls), torch.as_tensor(weights).float())


def test_of_which_predictions_ours_and_those_with_a_memory_are_made():
    """DPM-Solver++ draws a line through x_0: its first weight is that of a line through the last two predictions"""
    close(mixture(TwoNumbers(EPSILON, gamma=2.0), 15, 8), torch.tensor([2.0, -1, 0, 0, 0, 0, 0, 0]))
    lms = LMSDiscreteScheduler.from_config(EPSILON)
    lms.set_timesteps(15)
    weights = torch.tensor([lms.get_lms_coefficient(4, 7, i) for i in range(4)])
    close(mixture(lms, 15, 8)[:4], (weights / weights.sum()).float())
    solver = DPMSolverMultistepScheduler.from_config(EPSILON)
    solver.set_timesteps(15)
    a = solver.alphas_cumprod[solver.timesteps[6:9]].double()
    early, now, late = ((1 - a) / a) ** 0.5
    first = mixture(solver, 15, 8)[0]
    assert first == pytest.approx(float(1 + (now / late).log() / (early / now).log() / 2), rel=1e-3)


@pytest.mark.parametrize("mu", [-0.1, 1, float("nan")])
def test_a_mu_that_cannot_be(mu):
    with pytest.raises(SdscopeError, match="mu must be a number from 0 to below 1, not"):
        TwoNumbers(SCHEDULER, mu=mu)
