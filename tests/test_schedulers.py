"""Any diffusers scheduler drops into the bare pipeline, with the results of diffusers' own pipeline."""

import pytest
import torch
from conftest import SCHEDULER, compare, load_both, run_both, tiny_pipeline
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
)

from sdscope import StableDiffusion

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
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers and numpy
PROMPTS, NEGATIVES = ["painting depicting the sea, sunrise, ship", "a castle"], ["", "night"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def both(folder):
    return load_both(folder)


def make(name, prediction_type):
    cls, options = DROPPED_IN[name]
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
def test_given_to_from_pretrained(folder, both, name):
    scheduler = make(name, "v_prediction")
    ours = StableDiffusion.from_pretrained(folder, device="cpu", scheduler=scheduler)
    assert ours.scheduler is scheduler
    theirs = both[1]
    theirs.scheduler = make(name, "v_prediction")
    compare(run_both(ours, theirs, PROMPTS, NEGATIVES, (64, 64), 3, 5.0))


@pytest.mark.parametrize("name", DROPPED_IN)
def test_in_half_precision(folder, name):
    ours, theirs = load_both(folder, torch.float16)
    ours.scheduler, theirs.scheduler = make(name, "v_prediction"), make(name, "v_prediction")
    compare(run_both(ours, theirs, PROMPTS, NEGATIVES, (64, 64), 3, 5.0))


def test_made_from_our_own_configuration(folder):
    """DDIM's configuration, which is the model's, makes the same scheduler as the model's own file."""
    ours = StableDiffusion.from_pretrained(folder, device="cpu")
    made = EulerDiscreteScheduler.from_config(ours.scheduler.config)
    read = EulerDiscreteScheduler.from_pretrained(folder, subfolder="scheduler")
    for scheduler in made, read:
        scheduler.set_timesteps(5)
    assert made.config.prediction_type == read.config.prediction_type == "v_prediction"
    assert made.timesteps.tolist() == read.timesteps.tolist()
    assert made.sigmas.tolist() == read.sigmas.tolist()
