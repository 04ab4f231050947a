"""Any diffusers scheduler drops into the bare pipeline, with the results of diffusers' own pipeline."""

import copy

import pytest
import torch
from conftest import SCHEDULER, compare, load_both, run_both
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    SASolverScheduler,
    TCDScheduler,
)

from sdscope import SdscopeError, StableDiffusion
from sdscope.scheduler import DDIM, DDIMStep

# as their users configure them, on top of the model's own scheduler_config.json
DROPPED_IN = {
    "PNDM": (PNDMScheduler, dict(skip_prk_steps=True)),
    "LMS": (LMSDiscreteScheduler, {}),
    "Heun": (HeunDiscreteScheduler, {}),
    "DPM++": (DPMSolverMultistepScheduler, dict(algorithm_type="dpmsolver++")),
    "DPM++ Karras": (DPMSolverMultistepScheduler, dict(use_karras_sigmas=True)),
    "Euler": (EulerDiscreteScheduler, {}),
    "Euler trailing": (EulerDiscreteScheduler, dict(timestep_spacing="trailing")),
}
DRAWING = {  # noise at every step
    "Euler ancestral": (EulerAncestralDiscreteScheduler, {}),
    "DDPM": (DDPMScheduler, {}),
    "KDPM2 ancestral": (KDPM2AncestralDiscreteScheduler, {}),
    "DPM++ SDE": (DPMSolverMultistepScheduler, dict(algorithm_type="sde-dpmsolver++", use_karras_sigmas=True)),
    "DPM++ SDE singlestep": (DPMSolverSinglestepScheduler, dict(algorithm_type="sde-dpmsolver++")),
    "LCM": (LCMScheduler, {}),
    "TCD": (TCDScheduler, {}),
    "SASolver": (SASolverScheduler, {}),
}
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers and numpy
PROMPTS, NEGATIVES = ["painting depicting the sea, sunrise, ship", "a castle"], ["", "night"]


@pytest.fixture(scope="module")
def both(tiny_folder):
    return load_both(tiny_folder)


def make(name, prediction_type):
    cls, options = (DROPPED_IN | DRAWING)[name]
    return cls.from_config(SCHEDULER | dict(prediction_type=prediction_type), **options)


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", DROPPED_IN)
def test_equals_diffusers(both, name, prediction_type, guidance):
    """Every step's latents, and the pictures. Twice: a scheduler starts anew with each run."""
    ours, theirs = both
    ours.scheduler, theirs.scheduler = make(name, prediction_type), make(name, prediction_type)
    for steps in 6, 10:
        compare(run_both(ours, theirs, PROMPTS, NEGATIVES, (64, 64), steps, guidance))


@pytest.mark.parametrize("name", DROPPED_IN)
def test_given_to_from_pretrained(tiny_folder, both, name):
    scheduler = make(name, "v_prediction")
    ours = StableDiffusion.from_pretrained(tiny_folder, device="cpu", scheduler=scheduler)
    assert ours.scheduler is scheduler
    theirs = both[1]
    theirs.scheduler = make(name, "v_prediction")
    compare(run_both(ours, theirs, PROMPTS, NEGATIVES, (64, 64), 3, 5.0))


@pytest.mark.parametrize("name", DROPPED_IN)
def test_in_half_precision(tiny_folder, name):
    ours, theirs = load_both(tiny_folder, torch.float16)
    ours.scheduler, theirs.scheduler = make(name, "v_prediction"), make(name, "v_prediction")
    compare(run_both(ours, theirs, PROMPTS, NEGATIVES, (64, 64), 3, 5.0))


def test_made_from_our_own_configuration(tiny_folder):
    """DDIM's configuration, which is the model's, makes the same scheduler as the model's own file."""
    ours = StableDiffusion.from_pretrained(tiny_folder, device="cpu")
    made = EulerDiscreteScheduler.from_config(ours.scheduler.config)
    read = EulerDiscreteScheduler.from_pretrained(tiny_folder, subfolder="scheduler")
    for scheduler in made, read:
        scheduler.set_timesteps(5)
    assert made.config.prediction_type == read.config.prediction_type == "v_prediction"
    assert made.timesteps.tolist() == read.timesteps.tolist()
    assert made.sigmas.tolist() == read.sigmas.tolist()


@pytest.mark.parametrize("name", DRAWING)
def test_the_seed_decides_the_noise_of_every_step(both, name):
    """As the generators do in diffusers, each picture's its own; twice, the second time on the same scheduler."""
    ours, theirs = both
    ours.scheduler, theirs.scheduler = make(name, "v_prediction"), make(name, "v_prediction")
    for steps in 3, 5:
        compare(run_both(ours, theirs, PROMPTS, NEGATIVES, (64, 64), steps, 7.5))


def test_stage_by_stage_it_is_the_same_noise(both):
    """The generators go on where get_latents left them."""
    ours = both[0]
    ours.scheduler = make("Euler ancestral", "v_prediction")
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    latents = ours.get_latents(2, 64, 64, generators)
    latents = ours.denoise(latents, ours.encode_prompt(PROMPTS, NEGATIVES, True), 3, 7.5, generators=generators)
    expected = ours(PROMPTS, NEGATIVES, seed=3, num_inference_steps=3, guidance_scale=7.5)
    assert [x.tobytes() for x in ours.decode(latents)] == [x.tobytes() for x in expected]


class SeededNoise(DDIM):
    """As DPMSolverSDEScheduler (which needs torchsde): it draws from seeds that it was given, not from generators"""

    noise_sampler_seed = None

    def step(self, model_output, timestep, sample):
        prev_sample, pred_x0 = super().step(model_output, timestep, sample)
        noise = [
            torch.randn(x.shape, generator=torch.Generator().manual_seed(s))
            for x, s in zip(sample, self.noise_sampler_seed)
        ]
        return DDIMStep(prev_sample + 0.1 * torch.stack(noise), pred_x0)


def test_the_seed_decides_for_a_scheduler_that_takes_seeds(both):
    ours = both[0]
    ours.scheduler = SeededNoise(SCHEDULER | {"noise_sampler_seed": None})
    kwargs = dict(num_inference_steps=3)
    first, again, other = (ours("a ship", seed=s, **kwargs).tobytes() for s in (3, 3, 4))
    assert first == again != other
    ours.scheduler = SeededNoise(SCHEDULER | {"noise_sampler_seed": [7]})
    ours.scheduler.noise_sampler_seed = [7]
    ours("a ship", seed=3, **kwargs)
    assert ours.scheduler.noise_sampler_seed == [7]


LEADING = dict(timestep_spacing="leading")
ZERO_SNR = dict(rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="epsilon")
LIMITS = [  # how many steps, and the line; None: it paints
    (DDIMScheduler, dict(timestep_spacing="trailing"), 1000, None),
    (PNDMScheduler, dict(skip_prk_steps=True), 1000, "steps must be a whole number from 1 to 999, not 1000"),
    (DPMSolverMultistepScheduler, LEADING, 1000, "steps must be a whole number from 1 to 999, not 1000"),
    (
        DPMSolverMultistepScheduler,
        LEADING,
        999,
        "after step 2, at time 999: the scheduler divided by zero; take fewer steps",
    ),
    (
        DDIMScheduler,
        ZERO_SNR,
        5,
        "after step 1, at time 999: the scheduler divided by zero; .* needs a model of v_prediction",
    ),
    (EulerDiscreteScheduler, LEADING, 1000, None),
    (EulerDiscreteScheduler, {}, 1001, "steps must be a whole number from 1 to 1000, not 1001"),
    (LCMScheduler, {}, 51, "steps must be a whole number from 1 to 50, not 51"),
    (
        FlowMatchEulerDiscreteScheduler,
        {},
        5,
        "FlowMatchEulerDiscreteScheduler is no scheduler for .* has no init_noise_sigma, scale_model_input: take",
    ),
    (FlowMatchHeunDiscreteScheduler, {}, 5, "FlowMatchHeunDiscreteScheduler is no scheduler for"),
]


@pytest.mark.parametrize("cls, options, steps, message", LIMITS, ids=lambda x: getattr(x, "__name__", None))
def test_how_many_steps_a_scheduler_takes(both, cls, options, steps, message):
    pipe = copy.copy(both[0])
    pipe.scheduler = cls.from_config(SCHEDULER | options)
    pipe.unet = lambda x, t, embeds: x / (1 + t)  # a thousand steps in no time
    latents, embeds = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 77, 32)
    if message is None:
        assert pipe.denoise(latents, embeds, steps, 1.0).isfinite().all()
        return
    with pytest.raises(SdscopeError, match=message) as error:
        pipe.denoise(latents, embeds, steps, 1.0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("other", [EulerDiscreteScheduler, "euler", None], ids=str)
def test_what_is_no_scheduler(both, other):
    pipe = copy.copy(both[0])
    pipe.scheduler = other
    with pytest.raises(SdscopeError, match="scheduler .*: take the model's own, or one made from its configuration"):
        pipe("a ship")
