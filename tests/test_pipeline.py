"""The bare pipeline paints what diffusers paints, and says in one line what it cannot do."""

import math

import numpy as np
import pytest
import torch
from conftest import NO_CHECKER
from diffusers import StableDiffusionPipeline

from sdscope import SdscopeError, StableDiffusion
from sdscope.checkpoint import find_model

PROMPT = "painting depicting the sea, sunrise, ship"


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def same(ours, theirs):
    ours, theirs = ([ours], [theirs]) if not isinstance(ours, list) else (ours, theirs)
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.fixture(scope="module", params=["tiny", "postcard"])
def both(request, tiny_folder):
    """(the bare pipeline, diffusers' pipeline) of one folder"""
    folder = tiny_folder if request.param == "tiny" else find_model("postcard")
    theirs = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, **NO_CHECKER)
    theirs.set_progress_bar_config(disable=True)
    return StableDiffusion.from_pretrained(folder, device="cpu"), theirs


def test_one_prompt_equals_diffusers(both):
    ours, theirs = both
    kwargs = dict(num_inference_steps=5, guidance_scale=5.0)
    image = ours(PROMPT, seed=42, **kwargs)
    assert same(image, theirs(PROMPT, generator=generators(42), **kwargs).images[0])


def test_latents_and_decoder_equal_diffusers(both):
    """max |difference| 0.0, before rounding to 8 bits"""
    ours, theirs = both
    expected = theirs(PROMPT, generator=generators(1), num_inference_steps=4, output_type="latent")
    embeds = ours.encode_prompt([PROMPT], [""], True)
    latents = ours.denoise(ours.get_latents(1, ours.size, ours.size, 1), embeds, 4, 7.5)
    assert (latents - expected.images).abs().max() == 0.0
    with torch.no_grad():
        decoded, reference = ours.vae.decode(latents), theirs.vae.decode(expected.images).sample
    assert (decoded - reference).abs().max() == 0.0


def test_batch_oblong_and_negative_prompts_equal_diffusers(both):
    ours, theirs = both
    prompts, negatives = [PROMPT, "a castle in the snow 🏰", ""], ["ship", "", "night"]
    kwargs = dict(height=72, width=136, num_inference_steps=3, guidance_scale=2.5)
    images = ours(prompts, negatives, seed=[3, 1, 4], **kwargs)
    expected = theirs(prompts, negative_prompt=negatives, generator=generators(3, 1, 4), **kwargs)
    assert images[0].size == (136, 72)
    assert same(images, expected.images)


@pytest.mark.parametrize("guidance_scale", [1.0, 0.0])
def test_no_guidance_equals_diffusers(both, guidance_scale):
    ours, theirs = both
    kwargs = dict(num_inference_steps=3, guidance_scale=guidance_scale)
    assert same(ours(PROMPT, seed=7, **kwargs), theirs(PROMPT, generator=generators(7), **kwargs).images[0])


def test_same_seed_same_bits(tiny):
    first, again, other = (tiny(PROMPT, seed=s, num_inference_steps=2) for s in (5, 5, 6))
    assert same(first, again)
    assert not same(first, other)


def test_seeds_of_a_batch(tiny):
    """One seed for three pictures: seed, seed + 1, seed + 2; each noise is what it would be alone."""
    noise = tiny.get_latents(3, 64, 64, seed=42)
    assert torch.equal(noise, tiny.get_latents(3, 64, 64, seed=[42, 43, 44]))
    assert torch.equal(noise[2:], tiny.get_latents(1, 64, 64, seed=44))
    assert not torch.equal(tiny.get_latents(1, 64, 64), tiny.get_latents(1, 64, 64))


def test_callback(tiny):
    """A dict a step: the latents the UNet saw, what it said of them, and where the scheduler aims."""
    steps = []
    tiny(PROMPT, seed=0, num_inference_steps=4, guidance_scale=3.0, callback=steps.append)
    assert [step["i"] for step in steps] == [0, 1, 2, 3]
    assert [step["t"] for step in steps] == [751, 501, 251, 1]
    assert torch.equal(steps[0]["latents"], tiny.get_latents(1, 64, 64, 0))
    for step, following in zip(steps, steps[1:]):
        uncond, cond = step["noise_uncond"], step["noise_cond"]
        assert torch.equal(step["noise"], uncond + 3.0 * (cond - uncond))
        latents, pred_x0 = tiny.scheduler.step(step["noise"], step["t"], step["latents"])
        assert torch.equal(following["latents"], latents)
        assert torch.equal(step["pred_x0"], pred_x0)


def test_callback_without_guidance(tiny):
    steps = []
    tiny(PROMPT, seed=0, num_inference_steps=1, guidance_scale=1.0, callback=steps.append)
    assert steps[0]["noise_uncond"] is None
    assert steps[0]["noise"] is steps[0]["noise_cond"]


def test_embeddings(tiny):
    embeds = tiny.encode_prompt(["a", "b"], ["", "c"], True)
    assert embeds.shape == (4, 77, 32)
    for row, text in enumerate(["", "c", "a", "b"]):
        assert torch.allclose(embeds[row : row + 1], tiny.encode([text]), atol=1e-6)
    assert torch.equal(tiny.encode_prompt(["a", "b"], ["", ""], False), tiny.encode(["a", "b"]))


def test_stages_leave_ordinary_tensors(tiny):
    """What a reader gets in a notebook can be changed in place and learned from."""
    latents = tiny.denoise(tiny.get_latents(1, 64, 64, 0), tiny.encode_prompt([""], [""], False), 1, 1)
    latents[0] *= 2
    latents.requires_grad_()
    tiny.vae.decode(latents).sum().backward()
    assert latents.grad.any()


def test_truncation_is_told(tiny, caplog):
    tiny.encode(["abcdefg " * 10 + "x" * 5])  # a token a letter: 75 fit between start and end
    assert not caplog.records
    tiny.encode(["abcdefg " * 10 + "xxxxx" + " ship 船"])
    assert len(caplog.messages) == 1
    assert "84 tokens and was truncated to 77" in caplog.messages[0]
    assert '2 words: "ship 船"' in caplog.messages[0]


def test_truncation_of_a_long_prompt_is_one_short_line(tiny, caplog):
    tiny.encode(["ship " * 1999 + "sea"])
    assert len(caplog.messages) == 1
    message = caplog.messages[0]
    assert "\n" not in message and len(message) < 400
    assert message.endswith('ship sea"')


@pytest.mark.parametrize("prompt", ["", "🚢🌅", "日の出の海に船", "a\nb\tc", "<|endoftext|>", "x" * 5000])
def test_any_text_will_do(tiny, prompt):
    assert tiny(prompt, num_inference_steps=1, seed=0).size == (64, 64)


WRONG = [
    (dict(prompt=5), "the prompt must be a text"),
    (dict(prompt=[]), "the prompt must be a text"),
    (dict(prompt=["a", None]), "the prompt must be a text"),
    (dict(prompt="\ud83d"), "the prompt must be a text"),
    (dict(negative_prompt=None), "the negative prompt must be a text"),
    (dict(negative_prompt=["a", "b"]), "as many negative prompts"),
    (dict(width=100), "the width must be a multiple of 8 pixels, such as 64, not 100"),
    (dict(height=0), "the height must be a multiple of 8"),
    (dict(height=-8), "the height must be a multiple of 8"),
    (dict(height=64.0), "the height must be a multiple of 8"),
    (dict(num_inference_steps=0), "steps must be a whole number from 1 to 999, not 0"),
    (dict(num_inference_steps=1000), "steps must be a whole number from 1 to 999"),
    (dict(num_inference_steps=2.5), "steps must be a whole number"),
    (dict(guidance_scale=math.nan), "the guidance scale must be a number"),
    (dict(guidance_scale=math.inf), "the guidance scale must be a number"),
    (dict(guidance_scale="5"), "the guidance scale must be a number"),
    (dict(seed=-1), "the seed must be a whole number"),
    (dict(seed=2**63), "the seed must be a whole number"),
    (dict(seed=0.5), "the seed must be a whole number"),
    (dict(seed=True), "the seed must be a whole number"),
    (dict(seed=[1, 2]), "as many seeds"),
    (dict(seed=[None]), "the seed must be a whole number"),
]


@pytest.mark.parametrize("wrong, message", WRONG, ids=lambda x: str(x)[:40] if isinstance(x, dict) else "")
def test_bad_input_is_one_line_before_any_work(tiny, wrong, message, monkeypatch):
    monkeypatch.setattr(tiny, "text_encoder", None)  # any work would fail otherwise
    with pytest.raises(SdscopeError, match=message) as error:
        tiny(**dict(prompt=PROMPT) | wrong)
    assert "\n" not in str(error.value)
