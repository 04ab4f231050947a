"""The bare pipeline paints what diffusers paints, and says in one line what it cannot do."""

import copy
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import load_both

import sdscope
from sdscope import SdscopeError, StableDiffusion, cli
from sdscope.loading.checkpoint import find_model
from sdscope.loading.tasks import TASKS
from sdscope.scheduler import DDIM
from sdscope.steps import usual

PROMPT = "painting depicting the sea, sunrise, ship"


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def same(ours, theirs):
    ours, theirs = ([ours], [theirs]) if not isinstance(ours, list) else (ours, theirs)
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.fixture(scope="module", params=["tiny", "postcard"])
def both(request, tiny_folder):
    """(the bare pipeline, diffusers' pipeline) of one folder"""
    return load_both(tiny_folder if request.param == "tiny" else find_model("postcard"))


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
    (dict(guidance_scale=10**400), "the guidance scale must be a number, such as 5"),
    (dict(guidance_scale=10**5000), "the guidance scale must be a number, such as 5"),
    (dict(guidance_scale=np.float64("nan")), "the guidance scale must be a number"),
    (dict(guidance_scale=True), "the guidance scale must be a number"),
    (dict(guidance_scale=torch.ones(2)), "the guidance scale must be a number"),
    (dict(num_inference_steps=np.float64(5)), "steps must be a whole number"),
    (dict(num_inference_steps=torch.tensor(1000)), "steps must be a whole number from 1 to 999"),
    (dict(num_inference_steps=np.True_), "steps must be a whole number"),
    (dict(width=np.int64(100)), "the width must be a multiple of 8"),
    (dict(prompt=np.eye(9)), "the prompt must be a text"),
    (dict(prompt=()), "the prompt must be a text"),
    (dict(seed=-1), "the seed must be a whole number"),
    (dict(seed=2**64), "the seed must be a whole number"),
    (dict(seed=0.5), "the seed must be a whole number"),
    (dict(seed=True), "the seed must be a whole number"),
    (dict(seed=[1, 2]), "as many seeds"),
    (dict(seed=[None]), "the seed must be a whole number"),
    (dict(seed=np.int64(-1)), "the seed must be a whole number"),
    (dict(seed=torch.tensor(0.5)), "the seed must be a whole number"),
    (dict(seed=range(3)), "as many seeds"),
    (dict(prompt=["a", "b"], seed=2**64 - 1), "the seed must be a whole number from 0 to 18446744073709551615"),
]


@pytest.mark.parametrize("wrong, message", WRONG, ids=lambda x: next(iter(x)) if isinstance(x, dict) else "")
def test_bad_input_is_one_line_before_any_work(tiny, wrong, message, monkeypatch):
    monkeypatch.setattr(tiny, "text_encoder", None)  # any work would fail otherwise
    with pytest.raises(SdscopeError, match=message) as error:
        tiny(**dict(prompt=PROMPT) | wrong)
    assert "\n" not in str(error.value)


NUMBERS = [
    dict(seed=np.int64(3)),
    dict(seed=np.uint64(3)),
    dict(seed=torch.tensor(3)),
    dict(num_inference_steps=np.int32(2)),
    dict(num_inference_steps=torch.tensor(2)),
    dict(height=np.int64(64), width=torch.tensor(64)),
    dict(guidance_scale=np.float32(5)),
    dict(guidance_scale=torch.tensor(5.0)),
    dict(guidance_scale=np.int64(5)),
]


@pytest.mark.parametrize("number", NUMBERS, ids=str)
def test_numbers_of_numpy_and_torch(tiny, number):
    kwargs = dict(seed=3, num_inference_steps=2, guidance_scale=5)
    assert same(tiny(PROMPT, **kwargs | number), tiny(PROMPT, **kwargs))


@pytest.mark.parametrize(
    "seeds", [(3, 4), range(3, 5), np.array([3, 4]), torch.tensor([3, 4]), [np.int64(3), 4]], ids=str
)
def test_whatever_is_a_list(tiny, seeds):
    kwargs = dict(num_inference_steps=1)
    assert same(tiny(("a", "b"), ("c", ""), seed=seeds, **kwargs), tiny(["a", "b"], ["c", ""], seed=[3, 4], **kwargs))


@pytest.mark.parametrize("seed", [2**63, 2**64 - 1])
def test_seeds_to_the_last_that_torch_takes(tiny, seed):
    expected = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(tiny.get_latents(1, 64, 64, seed), expected)
    assert torch.equal(tiny.get_latents(1, 64, 64, generators(seed)), expected)


STAGES = [
    (lambda p: p.get_latents(1, 100, 100), "the height must be a multiple of 8 pixels, such as 64, not 100"),
    (lambda p: p.get_latents(1, 64, 64.0), "the width must be a multiple of 8"),
    (lambda p: p.get_latents(0, 64, 64), "the batch must be a whole number from 1, not 0"),
    (lambda p: p.get_latents(2, 64, 64, [1]), "2 pictures need as many seeds"),
    (lambda p: p.get_latents(1, 64, 64, -1), "the seed must be a whole number"),
    (lambda p: p.encode(None), "the prompts must be a list of texts, not None"),
    (lambda p: p.encode_prompt(["a"], [5], True), "the prompts must be a list of texts"),
    (
        lambda p: denoise(p, p.encode_prompt(["a"], [""], False), 2, 7.5),
        "guidance 7.5 need 2 rows of prompt_embeds, not 1",
    ),
    (
        lambda p: denoise(p, p.encode_prompt(["a"], [""], True), 2, 1.0),
        "guidance 1.0 need 1 rows of prompt_embeds, not 2",
    ),
    (
        lambda p: denoise(p, p.encode_prompt(["a"], [""], True), 1500),
        "steps must be a whole number from 1 to 999, not 1500",
    ),
    (lambda p: denoise(p, p.encode_prompt(["a"], [""], True), 2, math.nan), "the guidance scale must be a number"),
    (lambda p: p.denoise(torch.zeros(4, 8, 8), torch.zeros(2, 77, 32)), "latents must be a tensor"),
    (lambda p: p.decode(torch.zeros(4, 8, 8)), "latents must be a tensor"),
    (lambda p: p.decode(None), "latents must be a tensor"),
    (lambda p: DDIM({}).set_timesteps(1500), "steps must be a whole number from 1 to 999, not 1500"),
    (lambda p: DDIM({"steps_offset": 0}).set_timesteps(0), "steps must be a whole number from 1 to 1000, not 0"),
    (lambda p: DDIM({}).step(torch.zeros(1), 1, torch.zeros(1)), "call set_timesteps before the first step"),
]


def denoise(pipe, *args):
    return pipe.denoise(pipe.get_latents(1, 64, 64, 0), *args)


@pytest.mark.parametrize("stage, message", STAGES, ids=lambda x: x[:50] if isinstance(x, str) else "")
def test_a_stage_by_itself_checks_what_it_is_given(tiny, stage, message):
    with pytest.raises(SdscopeError, match=message) as error:
        stage(tiny)
    assert "\n" not in str(error.value)


def test_a_thousand_steps_where_the_scheduler_has_them(tiny):
    pipe = StableDiffusion(
        *(getattr(tiny, part) for part in ("tokenizer", "text_encoder", "unet", "vae")),
        DDIM({"timestep_spacing": "trailing"}),
    )

    def enough(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # the first of them will do
        pipe(PROMPT, num_inference_steps=1000, callback=enough)
    assert pipe.scheduler.timesteps.tolist() == list(range(999, -1, -1))


def damaged(part, module, value):
    """The pipeline with one number of its weights changed"""

    def make(tiny, dtype):
        pipe = copy.deepcopy(tiny)
        for network in pipe.text_encoder, pipe.unet, pipe.vae:
            network.to(dtype)
        with torch.no_grad():
            getattr(pipe, part).get_submodule(module).bias[0] = value
        return pipe

    return make


LOST = [
    (
        damaged("unet", "conv_out", math.inf),
        torch.float32,
        {},
        "step 1, at time 501: it comes from the UNet; take a smaller",
    ),
    (
        damaged("unet", "conv_out", math.nan),
        torch.float16,
        {},
        'the UNet; too large a number for float16: load .* dtype="float32"',
    ),
    (
        damaged("unet", "conv_out", 1e30),
        torch.float32,
        dict(guidance_scale=1e10),
        "after step 2, at time 1: it comes from the UNet",
    ),
    (
        damaged("unet", "conv_out", 1.0),
        torch.float32,
        dict(guidance_scale=1e39),
        "it comes from the guidance; take a smaller",
    ),
    (damaged("vae", "decoder.conv_out", math.nan), torch.float32, {}, "in the picture: it comes from the VAE"),
    (damaged("vae", "decoder.conv_out", math.inf), torch.bfloat16, {}, "the VAE; too large a number for bfloat16"),
]


@pytest.mark.parametrize("make, dtype, options, message", LOST, ids=lambda x: x[:40] if isinstance(x, str) else "")
def test_where_numbers_end_a_line_says_so_not_a_black_picture(tiny, make, dtype, options, message):
    seen = []
    with pytest.raises(SdscopeError, match=message) as error:
        make(tiny, dtype)(PROMPT, seed=0, num_inference_steps=2, callback=seen.append, **options)
    assert "\n" not in str(error.value) and str(error.value).startswith("NaN or infinity in the ")
    assert all(step["latents"].isfinite().all() for step in seen)


def test_latents_that_are_no_numbers(tiny):
    latents = torch.full((1, 4, 8, 8), math.nan)
    with pytest.raises(SdscopeError, match="step 1, at time 501: it was there before the first step"):
        tiny.denoise(latents, torch.zeros(1, 77, 32), 2, 1.0)
    with pytest.raises(SdscopeError, match="NaN or infinity in the picture: the latents have it too"):
        tiny.decode(latents)


def test_one_run_at_a_time(tiny):
    """A second one, of another thread or of a callback, would mix with the first; that one goes on undisturbed."""
    refused, kwargs = [], dict(seed=3, num_inference_steps=3)

    def another(step):
        try:
            tiny("another", num_inference_steps=5)
        except SdscopeError as error:
            refused.append(str(error))

    def from_a_thread(step):
        thread = threading.Thread(target=another, args=[step])
        thread.start()
        thread.join()

    expected = tiny(PROMPT, **kwargs)
    for callback in another, from_a_thread:
        assert same(tiny(PROMPT, callback=callback, **kwargs), expected)
    assert len(refused) == 6 and all("one run at a time" in message for message in refused)
    with pytest.raises(ZeroDivisionError):
        tiny(PROMPT, callback=lambda step: 1 / 0, **kwargs)
    assert same(tiny(PROMPT, **kwargs), expected)


def test_threads_that_share_the_networks(tiny):
    """Each with a tokenizer and a scheduler of its own, as the documentation says"""
    prompts = [f"ship {i}" for i in range(4)]
    expected = [tiny(prompt, seed=1, num_inference_steps=3) for prompt in prompts]

    def paint(prompt):
        own = copy.deepcopy((tiny.tokenizer, tiny.scheduler))
        pipe = StableDiffusion(own[0], tiny.text_encoder, tiny.unet, tiny.vae, own[1])
        return pipe(prompt, seed=1, num_inference_steps=3)

    with ThreadPoolExecutor(4) as pool:
        assert same(list(pool.map(paint, prompts)), expected)


def test_the_usual_steps_and_guidance_are_the_same_everywhere():
    """Of every task, of its loop alone, and from a shell"""
    classes = [getattr(sdscope, name) for name in TASKS]
    known = [usual(function) for cls in classes for function in (cls.__call__, cls.denoise)]
    found = {(each["num_inference_steps"], each["guidance_scale"]) for each in known}
    shell = usual(cli.generate)
    assert found == {(shell["steps"], shell["guidance_scale"])}
