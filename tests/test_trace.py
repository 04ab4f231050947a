"""The trace tells the truth and leaves nothing behind."""

import json
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from conftest import SCHEDULER, tiny_pipeline, tiny_text
from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionInpaintPipeline,
    TCDScheduler,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from safetensors.torch import save_file

import sdscope.trace
from sdscope import SdscopeError, StableDiffusion
from sdscope.loading.models import KNOWN
from sdscope.trace import END, START, Tokens, Trace, hooks, predicted_x0, record, trace
from sdscope.trace.hooks import STAGE_CHANNELS, told_x0
from sdscope.trace.record import cutter
from sdscope.unet import UNet2DConditionModel as OurUNet
from sdscope.vae import AutoencoderKL

PROMPT = "a ship"
SCALED = (LMSDiscreteScheduler, HeunDiscreteScheduler, EulerDiscreteScheduler)  # latents = x_0 + sigma noise
SCHEDULERS = (DDIMScheduler, PNDMScheduler, DPMSolverMultistepScheduler, *SCALED)
each_scheduler = pytest.mark.parametrize("kind", SCHEDULERS)


def run(pipe, **options):
    return pipe(PROMPT, **{"seed": 42, "num_inference_steps": 4, **options})


def run_theirs(pipe, prompts=PROMPT, seeds=(42,), **options):
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return pipe(prompts, generator=generators, **{"num_inference_steps": 4, "guidance_scale": 5.0, **options}).images


def with_scheduler(pipe, kind, **options):
    """The same pipeline with another scheduler"""
    parts = pipe.tokenizer, pipe.text_encoder, pipe.unet, pipe.vae
    return StableDiffusion(*parts, kind.from_config(SCHEDULER | dict(skip_prk_steps=True) | options))


@pytest.fixture(scope="module")
def traced(tiny):
    with trace(tiny, attention="mean") as t:
        run(tiny)
    return t


@pytest.fixture(scope="module")
def theirs():
    pipe = tiny_pipeline()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def hooks_of(pipe):
    parts = (pipe.text_encoder, pipe.unet, pipe.vae)
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs")
    return sum(len(getattr(m, kind)) for part in parts for m in part.modules() for kind in kinds)


def assert_untouched(pipe):
    assert hooks_of(pipe) == 0
    assert not {"step", "set_timesteps"} & set(vars(pipe.scheduler))
    assert "decode" not in vars(pipe.vae)


def assert_equal(a, b):
    """Two traces, in every bit"""
    x, y = a.tensors(), b.tensors()
    assert x.keys() == y.keys()
    assert [k for k in x if x[k].dtype != y[k].dtype or not torch.equal(x[k], y[k])] == []
    assert (a.tokens, a.unet, a.vae.shapes) == (b.tokens, b.unet, b.vae.shapes)
    for s, r in zip(a.steps, b.steps, strict=True):
        assert (s.i, s.t, type(s.t)) == (r.i, r.t, type(r.t))
        assert list(s.attention) == list(r.attention) and s.attention.layers == r.attention.layers
        assert list(s.features) == list(r.features)


@pytest.mark.parametrize("attention", [False, "mean", "heads"])
@pytest.mark.parametrize("guidance_scale", [5.0, 1.0])
def test_a_traced_run_gives_the_same_bits(tiny, attention, guidance_scale):
    plain = run(tiny, guidance_scale=guidance_scale)
    with trace(tiny, attention=attention) as t:
        traced = run(tiny, guidance_scale=guidance_scale)
    assert traced.tobytes() == plain.tobytes() == t.pictures[0].tobytes()
    assert len(t.steps) == 4
    assert_untouched(tiny)


@each_scheduler
def test_both_pipelines_with_every_scheduler(tiny, theirs, kind):
    """Untraced, traced and recorded pictures are the same bits; and the two traces are, in every tensor.

    diffusers' encodes the prompt before the negative one, calls with return_dict=False, looks at step's signature.
    """
    ours = with_scheduler(tiny, kind)
    theirs.scheduler = kind.from_config(ours.scheduler.config)
    plain = run(ours, negative_prompt="rain").tobytes(), run_theirs(theirs, negative_prompt="rain")[0].tobytes()
    with trace(ours, attention="mean", features=True) as a:
        mine = run(ours, negative_prompt="rain")
    with trace(theirs, attention="mean", features=True) as b:
        other = run_theirs(theirs, negative_prompt="rain")[0]
    assert (mine.tobytes(), other.tobytes()) == plain
    assert (a.pictures[0].tobytes(), b.pictures[0].tobytes()) == plain
    assert_untouched(ours)
    assert_untouched(theirs)
    assert_equal(a, b)


def test_diffusers_still_passes_eta(theirs):
    """It looks at the signature of step: behind a bare wrapper, eta would be left out without a word."""
    theirs.scheduler = DDIMScheduler(**SCHEDULER)
    plain, drawn = run_theirs(theirs)[0], run_theirs(theirs, eta=1.0)[0]
    with trace(theirs) as t:
        again = run_theirs(theirs, eta=1.0)[0]
    assert again.tobytes() == drawn.tobytes() == t.pictures[0].tobytes() != plain.tobytes()


@each_scheduler
def test_a_step_is_a_call_of_the_unet(tiny, kind):
    calls, pipe = [], with_scheduler(tiny, kind)
    handle = pipe.unet.register_forward_hook(lambda module, args, output: calls.append(args[0][-1:]))
    with trace(pipe) as t:
        run(pipe)
    handle.remove()
    assert len(t.steps) == len(calls) == {HeunDiscreteScheduler: 7, PNDMScheduler: 5}.get(kind, 4)
    assert all((s.model_input is not None) == (kind in SCALED) for s in t.steps)
    assert all(torch.equal(x, s.latents if s.model_input is None else s.model_input) for x, s in zip(calls, t.steps))


SILENT = (LCMScheduler, TCDScheduler, UniPCMultistepScheduler, DEISMultistepScheduler, DPMSolverSinglestepScheduler)


@pytest.mark.parametrize(
    "kind, prediction_type",
    [
        *((kind, prediction_type) for kind in SCHEDULERS for prediction_type in ("epsilon", "v_prediction")),
        *((kind, "epsilon") for kind in SILENT),
        *((kind, "sample") for kind in (DDIMScheduler, TCDScheduler, DPMSolverMultistepScheduler)),
    ],
)
def test_pred_x0_is_what_its_definition_says(tiny, kind, prediction_type):
    """In double precision, from the betas on; times between whole ones, where there are any, by interpolation."""
    pipe = with_scheduler(tiny, kind, prediction_type=prediction_type)
    with trace(pipe) as t:
        run(pipe, num_inference_steps=3, guidance_scale=1)
    betas = np.linspace(SCHEDULER["beta_start"] ** 0.5, SCHEDULER["beta_end"] ** 0.5, 1000) ** 2
    alphas_cumprod = np.cumprod(1 - betas)
    sigmas = ((1 - alphas_cumprod) / alphas_cumprod) ** 0.5
    for s in t.steps:
        sigma = float(np.interp(s.t, range(1000), sigmas))
        x, output = s.latents.double(), s.noise.double()
        if kind not in SCALED:  # latents = alpha x_0 + beta noise, alpha^2 + beta^2 = 1
            x = x * (1 + sigma**2) ** 0.5
        if prediction_type == "sample":
            expected = output
        elif prediction_type == "epsilon":
            expected = x - sigma * output
        else:  # v = alpha noise - beta x_0
            alpha, beta = 1 / (1 + sigma**2) ** 0.5, sigma / (1 + sigma**2) ** 0.5
            expected = alpha * (alpha * x) - beta * output
        assert torch.allclose(s.pred_x0.double(), expected, rtol=1e-3, atol=1e-4)


def test_x0_of_a_plain_tuple_is_the_one_that_has_that_name():
    """All of diffusers' schedulers that step from latents alone, with names and without."""
    names = [name for name in dir(diffusers.schedulers) if name.endswith("Scheduler") and not name.startswith("Flax")]
    x, told, untold = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), [], []
    for name in names:
        results = []
        for return_dict in (True, False):
            try:
                scheduler = getattr(diffusers.schedulers, name).from_config(SCHEDULER | dict(skip_prk_steps=True))
                scheduler.set_timesteps(4)
                options = dict(return_dict=return_dict, generator=torch.Generator().manual_seed(1))
                options = {k: v for k, v in options.items() if k in scheduler.step.__code__.co_varnames}
                results.append(scheduler.step(x[0], scheduler.timesteps[0], x[1], **options))
            except Exception:  # a scheduler of something else
                break
        else:
            named, plain = (told_x0(scheduler, result) for result in results)
            assert (named is None) == (plain is None) and (named is None or torch.equal(named, plain)), name
            (untold if named is None else told).append(name)
    assert {"DDIMScheduler", "DDPMScheduler", "KDPM2AncestralDiscreteScheduler"} <= set(told)
    assert {"TCDScheduler", "LCMScheduler", "IPNDMScheduler", "SASolverScheduler"} <= set(untold) and len(told) > 10


def test_x0_is_not_made_up(tiny, theirs):
    """IPNDM has a schedule of its own, and a name that nobody knows says nothing about a prediction."""
    pipe = with_scheduler(tiny, IPNDMScheduler)
    with trace(pipe) as t:
        image = run(pipe)
    assert [s.pred_x0 for s in t.steps] == [None] * 4 and t.pictures[0].tobytes() == image.tobytes()
    scheduler = DDIMScheduler.from_config(SCHEDULER | dict(prediction_type="score"))
    assert predicted_x0(scheduler, 1, torch.ones(1), torch.ones(1)) is None


def test_x0_of_a_flow(tiny):
    """Checked with what the scheduler itself works with"""
    options, seen = dict(prediction_type="flow_prediction", use_flow_sigmas=True), []
    pipe = with_scheduler(tiny, DPMSolverMultistepScheduler, **options)
    with trace(pipe) as t:
        run(pipe, callback=lambda step: seen.append(pipe.scheduler.model_outputs[-1]))
    assert all(torch.allclose(s.pred_x0, x0, rtol=1e-4, atol=1e-4) for s, x0 in zip(t.steps, seen, strict=True))


def test_x0_of_another_prediction_after_the_run(tiny):
    """As a notebook asks for it: the scheduler stands at its end, and the sigmas lie between the times."""
    pipe = with_scheduler(tiny, DPMSolverMultistepScheduler, use_karras_sigmas=True)
    with trace(pipe) as t:
        run(pipe)
    for s in t.steps:
        assert torch.equal(predicted_x0(pipe.scheduler, s.t, s.latents, s.noise), s.pred_x0)


@pytest.mark.parametrize("kind", [DDIMScheduler, *SCALED])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_derived_pred_x0_equals_the_given_one(tiny, kind, prediction_type):
    pipe = with_scheduler(tiny, kind, prediction_type=prediction_type)
    with trace(pipe) as given:
        run(pipe)
    step = pipe.scheduler.step
    pipe.scheduler.step = lambda *args: SimpleNamespace(prev_sample=step(*args).prev_sample)  # tells no x_0
    with trace(pipe) as derived:
        run(pipe)
    for a, b in zip(given.steps, derived.steps, strict=True):
        assert torch.equal(a.noise, b.noise) and torch.allclose(a.pred_x0, b.pred_x0, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{}, dict(use_karras_sigmas=True), dict(timestep_spacing="trailing")])
def test_pred_x0_is_what_dpm_solver_works_with(tiny, options):
    """Karras' sigmas lie between the timesteps, which are rounded."""
    pipe, seen = with_scheduler(tiny, DPMSolverMultistepScheduler, **options), []
    with trace(pipe) as t:
        run(pipe, callback=lambda step: seen.append(pipe.scheduler.model_outputs[-1]))
    for s, expected in zip(t.steps, seen, strict=True):
        assert torch.allclose(s.pred_x0, expected, rtol=1e-4, atol=1e-4)


def test_a_scheduler_with_nothing_to_derive_from(tiny):
    class Subtract:
        """What happens without a scheduler"""

        config = SimpleNamespace(num_train_timesteps=1000)
        init_noise_sigma = 1.0

        def set_timesteps(self, n):
            self.timesteps = torch.arange(n).flip(0)

        def scale_model_input(self, sample, timestep):
            return sample

        def step(self, model_output, timestep, sample):
            return SimpleNamespace(prev_sample=sample - model_output)

    pipe = with_scheduler(tiny, DDIMScheduler)
    pipe.scheduler = Subtract()
    with trace(pipe) as t:
        image = run(pipe)
    assert [s.pred_x0 for s in t.steps] == [None] * 4
    assert torch.equal(t.latents, t.steps[3].latents - t.steps[3].noise)
    assert t.pictures[0].tobytes() == image.tobytes()


def test_nothing_is_left_after_an_exception(tiny):
    def fail(step):
        if step["i"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), trace(tiny, attention="mean", features=True):
        assert hooks_of(tiny) > 0
        run(tiny, callback=fail)
    assert_untouched(tiny)


def test_traces_nest(tiny):
    with trace(tiny) as outer:
        with trace(tiny) as inner:
            run(tiny)
        assert "step" in vars(tiny.scheduler)  # the outer one still watches
    assert len(outer.steps) == len(inner.steps) == 4
    assert_untouched(tiny)


def test_traces_end_in_any_order(tiny):
    first, second = trace(tiny, attention="mean"), trace(tiny)
    a, b = first.__enter__(), second.__enter__()
    run(tiny, num_inference_steps=2)
    first.__exit__(None, None, None)
    run(tiny, num_inference_steps=3)
    second.__exit__(None, None, None)
    assert (len(a.steps), len(b.steps)) == (2, 3)
    assert_untouched(tiny)


def test_the_scheduler_that_the_pipe_has_is_the_one_that_counts(tiny):
    """Another one between two runs, and the first again: each run is whole, and none is seen twice."""
    pipe = with_scheduler(tiny, DDIMScheduler)
    own, other = pipe.scheduler, EulerDiscreteScheduler.from_config(SCHEDULER)
    with trace(pipe) as t:
        for scheduler, steps in ((own, 4), (other, 3), (own, 2)):
            pipe.scheduler = scheduler
            image = run(pipe, num_inference_steps=steps)
            assert len(t.steps) == steps and t.pictures[0].tobytes() == image.tobytes()
            assert (t.steps[0].model_input is not None) == (scheduler is other)
    assert_untouched(pipe)
    pipe.scheduler = other
    assert_untouched(pipe)


def test_only_the_runs_own_latents_are_its_picture(tiny):
    """Neither previews on the way nor what is decoded afterwards"""
    with trace(tiny) as t:
        image = run(tiny, callback=lambda step: tiny.decode(step["pred_x0"]))
        stages = t.vae.stages
        tiny.decode(torch.zeros(2, 4, 8, 8))
        tiny.decode(t.steps[0].latents)
    assert t.pictures[0].tobytes() == image.tobytes() and len(t.pictures) == 1
    assert t.vae.stages is stages and torch.equal(stages["conv_out"], t.image[0])
    with trace(tiny) as t:
        run(tiny, num_inference_steps=2)
        tiny.denoise(tiny.get_latents(1, 64, 64, 7), t.embeddings.cond, 2, guidance_scale=1)
        tiny.vae.decode(1 / 0.18215 * t.latents)  # as people write it
    assert torch.allclose(t.image, tiny.vae.decode(t.latents / 0.18215), atol=1e-4)
    with trace(tiny) as t:
        tiny.decode(torch.zeros(2, 4, 8, 8))
    assert len(t.pictures) == 2 and t.latents is None and t.vae.shapes["conv_out"] == (2, 3, 64, 64)


def test_runs_of_one_timetable_are_told_apart(tmp_path, tiny):
    """A loop written by hand, twice, with set_timesteps called once; its times are numpy's"""
    embeds = tiny.encode_prompt(["a ship", "a tree"], [""], False)
    tiny.scheduler.set_timesteps(3)
    with trace(tiny) as t:
        for row in embeds.split(1):
            latents = tiny.get_latents(1, 64, 64, 1)
            for time in tiny.scheduler.timesteps:
                latents = tiny.scheduler.step(tiny.unet(latents, time, row), np.int64(time), latents)[0]
    t.save(tmp_path / "run")
    assert_equal(t, Trace.load(tmp_path / "run"))
    assert len(t.steps) == 3 and torch.equal(t.latents, latents) and torch.equal(t.embeddings.cond, row)


def test_what_is_not_one_call_for_one_step_is_refused(tiny):
    latents, embeds = tiny.get_latents(1, 64, 64, 1), tiny.encode_prompt([PROMPT], [""], True)
    tiny.scheduler.set_timesteps(2)
    time = tiny.scheduler.timesteps[0]

    def call(rows=1):
        return tiny.unet(torch.cat([latents] * rows), time, embeds[-1:].expand(rows, -1, -1))[-1:]

    def step():
        return tiny.scheduler.step(call(), time, latents)

    def swapped():
        cond, uncond = tiny.unet(torch.cat([latents] * 2), time, embeds.flip(0)).chunk(2)
        return tiny.scheduler.step(uncond + 5 * (cond - uncond), time, latents)

    for refused, message in (
        (swapped, "the second half of the UNet's batch is what guidance leads away from"),
        (lambda: (call(), step()), "the UNet was called 2 times before scheduler.step"),
        (lambda: tiny.scheduler.step(call(3), time, latents), "the UNet was called with 3 rows for 1 pictures"),
        (lambda: (step(), tiny.scheduler.step(latents, time, latents)), "scheduler.step was called again without"),
    ):
        with pytest.raises(SdscopeError, match=message), trace(tiny):
            refused()
        assert_untouched(tiny)


def test_a_pipe_belongs_to_one_thread_at_a_time(tiny, theirs):
    theirs.scheduler = DDIMScheduler(**SCHEDULER)
    between, go_on = threading.Event(), threading.Event()

    def wait(pipe, i, t, tensors):
        between.set()
        assert go_on.wait(60)
        return {}

    with ThreadPoolExecutor(1) as pool:
        with trace(tiny) as t:  # in another thread, but all of it
            image = pool.submit(run, tiny).result()
        assert t.pictures[0].tobytes() == image.tobytes()
        with trace(tiny), pytest.raises(SdscopeError, match="give each thread a pipe of its own"):
            pool.submit(trace(tiny).__enter__).result()
        with trace(theirs) as t:
            first = pool.submit(run_theirs, theirs, callback_on_step_end=wait)
            assert between.wait(60)
            run_theirs(theirs, num_inference_steps=3)
            go_on.set()
            with pytest.raises(SdscopeError, match="in use in another thread while it is traced"):
                first.result()
        assert len(t.steps) == 3
    assert_untouched(tiny)
    assert_untouched(theirs)


def test_steps_are_what_the_callback_saw(tiny):
    seen = []
    with trace(tiny) as t:
        run(tiny, callback=seen.append)
    for step, was in zip(t.steps, seen, strict=True):
        assert (step.i, step.t) == (was["i"], was["t"])
        for name in ("latents", "noise_uncond", "noise_cond", "noise", "pred_x0"):
            assert torch.equal(getattr(step, name), was[name]), name


def test_the_guided_noise_is_uncond_plus_g_times_the_difference(traced):
    for s in traced.steps:
        assert torch.equal(s.noise, s.noise_uncond + 5.0 * (s.noise_cond - s.noise_uncond))
        assert not torch.equal(s.noise_cond, s.noise_uncond)


def test_without_guidance_there_is_no_uncond(tiny):
    with trace(tiny, attention="mean") as t:
        run(tiny, guidance_scale=1.0)
    assert t.embeddings.uncond is None and t.tokens.uncond is None
    assert all(s.noise_uncond is None and torch.equal(s.noise, s.noise_cond) for s in t.steps)
    assert t.steps[0].attention["ship"].shape == (8, 8)


def test_a_step_leads_to_the_next(tiny, traced):
    tiny.scheduler.set_timesteps(4)
    after = [s.latents for s in traced.steps[1:]] + [traced.latents]
    for s, latents in zip(traced.steps, after):
        assert torch.equal(tiny.scheduler.step(s.noise, s.t, s.latents)[0], latents)


def test_text_and_vae_are_what_the_pipeline_used(tiny, traced):
    uncond, cond = tiny.encode_prompt([PROMPT], [""], True)
    assert torch.equal(traced.embeddings.cond[0], cond) and torch.equal(traced.embeddings.uncond[0], uncond)
    for tokens, text in ((traced.tokens.cond[0], PROMPT), (traced.tokens.uncond[0], "")):
        assert tokens.ids == tiny.tokenizer(text, padding="max_length").input_ids
        assert tokens.strings == tiny.tokenizer.convert_ids_to_tokens(tokens.ids)
    assert traced.tokens.cond[0].words() == [("a", [1]), ("ship", [2, 3, 4, 5])]
    decoded = tiny.vae.decode(traced.latents / tiny.vae.config.scaling_factor)
    assert torch.equal(traced.image, decoded) and torch.equal(traced.vae.stages["conv_out"], decoded[0])
    assert traced.vae.shapes["mid_block"] == (1, 16, 8, 8)


def test_the_text_encoders_layers_are_its_hidden_states(tiny):
    prompts = ["a ship", "a red house"]
    with trace(tiny) as t:
        tiny(prompts, "rain", seed=1, num_inference_steps=1)
    ids = torch.tensor([x.ids for x in t.tokens.cond])
    encoder = tiny_pipeline().text_encoder  # another one: transformers leaves hooks in what is asked for these
    with torch.no_grad():
        expected = encoder(ids, output_hidden_states=True).hidden_states
        last = encoder.final_layer_norm(t.embeddings.layers[2])
    assert list(t.embeddings.layers) == [0, 1, 2] and len(expected) == 3
    assert all(torch.equal(x, expected[i]) for i, x in t.embeddings.layers.items())
    assert torch.equal(last, t.embeddings.cond)


def test_a_batch_is_traced_whole(tiny):
    with trace(tiny, attention="mean") as t:
        images = tiny(["a ship", "a red house"], negative_prompt="rain", seed=1, num_inference_steps=2)
    assert [[w for w, _ in x.words()] for x in t.tokens.cond] == [["a", "ship"], ["a", "red", "house"]]
    assert [x.words()[0][0] for x in t.tokens.uncond] == ["rain", "rain"]
    assert t.steps[0].latents.shape == t.steps[0].noise_uncond.shape == (2, 4, 8, 8)
    assert t.steps[0].attention.word("house", picture=1).shape == (8, 8)
    assert [p.tobytes() for p in t.pictures] == [p.tobytes() for p in images]


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_each_picture_of_a_batch_has_its_own_attention(tiny, guidance_scale):
    """From one noise, so that the rows of a batch can be told apart by nothing but the words."""
    prompts, options = ["a ship", "a red house"], dict(num_inference_steps=2, guidance_scale=guidance_scale)
    with trace(tiny, attention="heads", features=True) as t:
        tiny(prompts, seed=[1, 1], **options)
    for i, prompt in enumerate(prompts):
        with trace(tiny, attention="heads", features=True) as alone:
            tiny(prompt, seed=1, **options)
        for a, b in zip(t.steps, alone.steps, strict=True):
            for name, maps in b.attention.items():
                assert torch.allclose(a.attention[name][i], maps[0], atol=1e-5)
            if i == 0:
                assert all(torch.allclose(a.features[k], b.features[k], atol=1e-4) for k in b.features)


@pytest.mark.parametrize("option", ["enable_slicing", "enable_tiling"])
def test_pictures_that_are_decoded_in_parts(theirs, option):
    theirs.scheduler = DDIMScheduler(**SCHEDULER)
    getattr(theirs.vae, option)()
    try:
        with trace(theirs) as t:
            images = run_theirs(theirs, ["a ship", "a tree"], (1, 2), num_inference_steps=1, height=96, width=80)
    finally:
        getattr(theirs.vae, option.replace("enable", "disable"))()
    assert [p.tobytes() for p in t.pictures] == [p.tobytes() for p in images]
    if option == "enable_slicing":  # the first picture's
        assert torch.equal(t.vae.stages["conv_out"], t.image[0]) and t.vae.shapes["conv_out"] == (1, 3, 96, 80)
    else:
        with pytest.raises(
            SdscopeError, match="no part 'conv_out' of the decoder: nothing was decoded, or only in tiles"
        ):
            t.vae.stages["conv_out"]


def test_half_precision_stays(tiny_folder):
    pipe = StableDiffusion.from_pretrained(tiny_folder, device="cpu", dtype="bfloat16")
    with trace(pipe, attention="mean", features=True) as t:
        image = run(pipe, num_inference_steps=2)
    assert t.pictures[0].tobytes() == image.tobytes()
    assert {v.dtype for v in t.tensors().values()} == {torch.bfloat16}
    assert t.tokens.cond[0].words()[1][0] == "ship" and t.attention["ship"].dtype == torch.float32


def test_the_last_run_of_a_block_counts(tiny, traced):
    with trace(tiny, attention="mean") as t:
        tiny(["another one", "and one"], seed=1, num_inference_steps=3, height=40)
        run(tiny)
    assert_equal(t, traced)


def test_nothing_of_an_earlier_run_stays(tiny):
    with trace(tiny) as t:
        run(tiny)
        embeds = tiny.encode_prompt([PROMPT], [""], True)
        tiny.denoise(tiny.get_latents(1, 64, 64, 7), embeds, 2)
    assert len(t.steps) == 2 and t.vae.stages == {} and t.tokens.cond[0].words()[1][0] == "ship"
    with pytest.raises(SdscopeError, match="no pictures: what the last step gave"):
        _ = t.pictures


def test_shapes_of_the_unet_are_measured(traced):
    shapes = traced.unet.shapes
    assert shapes["conv_in"] == (2, 16, 8, 8) and shapes["conv_out"] == (2, 4, 8, 8)
    assert shapes["mid_block.attentions.0"] == (2, 32, 1, 1)
    assert list(shapes)[0] == "conv_in" and list(shapes)[-1] == "conv_out"


@pytest.mark.parametrize("guidance_scale", [5.0, 1.0])
def test_features_are_means_over_channels(tiny, guidance_scale):
    names, seen = ["conv_in", "mid_block.attentions.0", "up_blocks.1.resnets.0", "conv_out"], []
    modules = [tiny.unet.get_submodule(name) for name in names]
    handles = [m.register_forward_hook(lambda m, args, output: seen.append(output[-1].mean(0))) for m in modules]
    with trace(tiny, features=True) as t:
        run(tiny, guidance_scale=guidance_scale)
    for handle in handles:
        handle.remove()
    assert list(t.steps[0].features) == list(t.unet.shapes)
    for s in t.steps:
        for name in names:
            assert torch.allclose(s.features[name], seen.pop(0), atol=1e-6)
            assert s.features[name].shape == t.unet.shapes[name][2:]


def test_attention_is_what_diffusers_computes(tiny, tiny_folder):
    """At one step: each layer's probabilities against diffusers' own, from its processor that keeps them."""
    with trace(tiny, attention="heads") as t:
        run(tiny)
    step, probs = t.steps[2], {}

    class Keep(AttnProcessor):
        def __init__(self, name):
            self.name = name

        def __call__(self, attn, *args, **kwargs):
            scores = attn.get_attention_scores
            attn.get_attention_scores = lambda *a: probs.setdefault(self.name, scores(*a))
            try:
                return super().__call__(attn, *args, **kwargs)
            finally:
                del attn.get_attention_scores

    unet = UNet2DConditionModel.from_pretrained(tiny_folder / "unet", torch_dtype=torch.float32)
    cross = [name for name in unet.attn_processors if "attn2" in name]
    unet.set_attn_processor({n: Keep(n) if n in cross else AttnProcessor() for n in unet.attn_processors})
    with torch.no_grad():
        unet(step.latents, step.t, t.embeddings.cond)
    assert len(cross) == len(step.attention) == len(probs)
    for name in cross:
        ours = step.attention[name.partition(".transformer_blocks")[0]]  # (1, heads, h, w, 77)
        assert (ours.flatten(2, 3)[0] - probs[name]).abs().max() < 1e-6


def test_mean_attention_is_the_mean_of_the_heads(tiny, traced):
    with trace(tiny, attention="heads") as t:
        run(tiny)
    for heads, mean in zip(t.steps, traced.steps):
        for which in ("ship", 0, END):
            assert torch.allclose(heads.attention[which], mean.attention[which], atol=1e-6)
        whole = sum(m.sum(-1).mean() * mean.attention.layers[k] for k, m in mean.attention.items())
        assert whole / sum(mean.attention.layers.values()) == pytest.approx(1, abs=1e-5)  # probabilities
    assert torch.allclose(t.attention["ship"], traced.attention["ship"], atol=1e-6)


def test_attention_of_the_run_is_the_mean_over_its_steps(traced):
    expected = torch.stack([s.attention["ship"] for s in traced.steps]).mean(0)
    assert torch.allclose(traced.attention["ship"], expected, atol=1e-7)
    assert not torch.allclose(traced.attention["ship"], traced.steps[0].attention["ship"], atol=1e-4)


def test_attention_by_word_position_and_layer(tiny, traced):
    a = traced.steps[1].attention
    assert torch.allclose(a.word("ship", layer="8x8"), a["8x8"][0, :, :, 2:6].sum(-1), atol=1e-6)  # four pieces
    assert torch.allclose(a["ship"], sum(a[i] for i in range(2, 6)), atol=1e-6)
    assert torch.equal(a[START], a[0]) and torch.equal(a[END], a[6])
    assert torch.allclose(sum(a[i] for i in range(77)), torch.ones(8, 8), atol=1e-5)
    with trace(tiny, attention="heads") as t:
        run(tiny, num_inference_steps=1)
    name = "up_blocks.2.attentions.1"
    by_head = t.steps[0].attention.word("ship", layer=name)
    assert by_head.shape == (2, 4, 4) and name in t.unet.shapes
    assert torch.allclose(by_head, t.steps[0].attention[name][0, ..., 2:6].sum(-1), atol=1e-6)


def test_words_are_found_as_people_write_them():
    """Pieces of words, capitals, words in a row, letters that are two bytes, what stands there twice."""
    text = "hot</w> -</w> air</w> bal loon</w> ,</w> ca f Ã ©</w> 1</w> 9</w> s</w> '</w> ca t</w> 's</w>"
    strings = [START, *text.split(), "bal", "loon</w>", *[END] * 57]
    tokens = Tokens(list(range(77)), strings, cutter(tiny_text()[0]))
    assert [w for w, _ in tokens.words()] == [
        "hot",
        "-",
        "air",
        "balloon",
        ",",
        "café",
        "1",
        "9",
        "s",
        "'",
        "cat",
        "'s",
        "balloon",
    ]
    found = {"Hot-air balloon": [1, 2, 3, 4, 5], "balloon": [4, 5, 18, 19], "café": [7, 8, 9, 10]}
    found |= {"19s": [11, 12, 13], "cat's": [15, 16, 17], "air  balloon": [3, 4, 5], "-": [2]}
    found |= {START: [0], END: [20], 3: [3], 76: [76], np.int64(3): [3]}
    for which, positions in found.items():
        assert tokens.find(which) == positions, which
    with pytest.raises(SdscopeError, match="how the tokenizer cuts a text into words is not known: ask for a position"):
        Tokens(tokens.ids, strings).find("cat")


TYPED = "Café m² H₂O ③ ΟΔΟΣ 각 ŒUVRE naïve İstanbul x² ½ cup don't 𝔸 🚢 👩‍🚀 ñandú ǅ ſ ﬁn Å Ω"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_words_are_found_as_they_are_typed(tmp_path, tiny, form):
    """However the letters are put together, as macOS does it or not, in a trace and in one that was loaded."""
    text = unicodedata.normalize(form, TYPED)
    limit, tiny.tokenizer.model_max_length = tiny.tokenizer.model_max_length, 300
    try:
        ids = tiny.tokenizer(text, padding="max_length").input_ids
        tokens = Tokens(ids, tiny.tokenizer.convert_ids_to_tokens(ids), cutter(tiny.tokenizer))
    finally:
        tiny.tokenizer.model_max_length = limit
    t = Trace(tokens=SimpleNamespace(cond=[tokens], uncond=None))
    t.save(tmp_path / "run")
    for each in (tokens, Trace.load(tmp_path / "run").tokens.cond[0]):
        for word in text.split():
            for written in (word, word.upper(), unicodedata.normalize("NFC", word), unicodedata.normalize("NFD", word)):
                if tiny.tokenizer.tokenize(written) == tiny.tokenizer.tokenize(word):  # upper() knows ſ and ﬁ
                    assert each.find(written), written
        assert each.words() == tokens.words() and each.find(text) == list(range(1, tokens.end))
        assert all(set(positions) <= set(each.find(word)) for word, positions in each.words())


def test_words_that_people_taught_a_tokenizer():
    """Textual inversion adds tokens. They have no `</w>`, and are no part of the word after them."""
    tokenizer, _ = tiny_text()
    tokenizer.add_tokens(["<cat-toy>", "<猫>"])
    ids = tokenizer("a <Cat-Toy>on <猫> " + END + " x", padding="max_length").input_ids
    tokens = Tokens(ids, tokenizer.convert_ids_to_tokens(ids), cutter(tokenizer))
    assert [word for word, _ in tokens.words()] == ["a", "<cat-toy>", "on", "<猫>", "x"]
    found = {"<cat-toy>": [2], "a <CAT-TOY>": [1, 2], "on": [3, 4], "<猫>": [5], "x": [7], END: [8]}
    assert {which: tokens.find(which) for which in found} == found


def test_attention_knows_oblong_pictures_and_odd_sizes(tiny):
    with trace(tiny, attention="mean") as t:
        run(tiny, width=72, height=40)  # 9 x 5 latents, then 5 x 3, 3 x 2, 2 x 1
    assert set(t.steps[0].attention) == {"5x9", "3x5", "2x3", "1x2"}
    assert t.steps[0].attention["ship"].shape == (5, 9)


def test_what_is_not_there_is_said_in_one_line(tiny, traced):
    with trace(tiny) as t:
        run(tiny, num_inference_steps=1)
    attention = traced.steps[0].attention
    for look, message in (
        (lambda: attention["sheep"], "'sheep' is not in the prompt; its words: a, ship"),
        (lambda: attention[" "], "' ' is not in the prompt; its words: a, ship"),
        (lambda: attention["hip"], "'hip' is not in the prompt; its words: a, ship"),
        (lambda: attention[77], "no position 77: the prompt has 77, 0 to 76"),
        (lambda: attention.word("ship", picture=1), "no picture 1: the trace has 1, counted from 0"),
        (lambda: attention.word(3, picture=-2), "no picture -2: the trace has 1, counted from 0"),
        (lambda: attention.word(3, picture="x"), "no picture x: the trace has 1, counted from 0"),
        (lambda: traced.vae.stages["conv"], "no part 'conv' of the decoder: there is conv_in, mid_block, up_blocks.0"),
        (lambda: attention[-1], "no position -1: the prompt has 77, 0 to 76"),
        (lambda: attention.word("ship", layer="9x9"), "no attention of '9x9'; there is 8x8, 4x4, 2x2, 1x1"),
        (lambda: traced.steps[4], "no step 4: the trace has 4, counted from 0"),
        (lambda: traced.steps[-5], "no step -5: the trace has 4, counted from 0"),
        (lambda: t.attention["ship"], "this trace was taken without attention: take it with"),
        (lambda: t.steps[0].attention[3], "this trace was taken without attention: take it with"),
        (lambda: t.steps[0].features["conv_in"], "this trace was taken without features: take it with"),
        (lambda: Trace().attention["ship"], "this trace was taken without attention"),
    ):
        with pytest.raises(SdscopeError) as error:
            look()
        assert str(error.value).startswith(message) and "\n" not in str(error.value)
    with trace(tiny, features=True) as t:
        run(tiny, num_inference_steps=1)
    with pytest.raises(SdscopeError, match="no part 'conv_on' of the UNet"):
        t.steps[0].features["conv_on"]
    assert [s.i for s in traced.steps[1:3]] == [1, 2] and traced.steps[-1].i == 3


def test_a_prompt_that_was_encoded_outside(tiny):
    embeds, latents = tiny.encode_prompt([PROMPT], [""], True), tiny.get_latents(1, 64, 64, 42)
    with trace(tiny, attention="mean") as t:
        tiny.denoise(latents, embeds, 1)
    assert t.tokens.cond == [None] and t.embeddings.layers == {}
    assert t.attention[3].shape == (8, 8)
    with pytest.raises(
        SdscopeError, match="encoded outside of the trace, or its embeddings were changed: ask for a pos"
    ):
        t.attention["ship"]
    with pytest.raises(SdscopeError, match="no position -1: the prompt has 77, 0 to 76"):
        t.attention[-1]


def test_an_empty_prompt_has_no_words(tiny):
    with trace(tiny, attention="mean") as t:
        tiny("", seed=1, num_inference_steps=1)
    assert t.tokens.cond[0].words() == [] and t.attention[END].shape == (8, 8)
    with pytest.raises(SdscopeError, match="'ship' is not in the prompt; its words: none"):
        t.attention["ship"]


def test_a_pipeline_without_a_text_encoder(tiny):
    embeds = tiny.encode_prompt([PROMPT, ""], [], False)
    pipe = tiny_pipeline()
    pipe.text_encoder = pipe.tokenizer = None
    pipe.set_progress_bar_config(disable=True)
    options = dict(prompt_embeds=embeds[:1], negative_prompt_embeds=embeds[1:])
    with trace(pipe, attention="mean") as t:
        image = run_theirs(pipe, None, **options)[0]
    assert t.pictures[0].tobytes() == image.tobytes() and t.tokens.cond == [None]
    assert torch.equal(t.embeddings.cond, embeds[:1]) and t.attention[3].shape == (8, 8)
    pipe.vae = None
    for odd in (pipe, tiny.unet, None):
        with pytest.raises(SdscopeError, match="cannot be traced: trace needs unet, vae and scheduler"), trace(odd):
            pass


def test_a_picture_with_a_mask():
    """An inpainting UNet sees nine channels: the latents, the mask, what is masked."""
    parts = tiny_pipeline(in_channels=9).components | dict(safety_checker=None, feature_extractor=None)
    pipe, image = StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False), Image.new("RGB", (64, 64))
    pipe.scheduler = PNDMScheduler.from_config(SCHEDULER | dict(skip_prk_steps=True))
    pipe.set_progress_bar_config(disable=True)
    with trace(pipe) as t:
        picture = run_theirs(pipe, image=image, mask_image=image.convert("L"), num_inference_steps=2)[0]
    assert t.pictures[0].tobytes() == picture.tobytes()
    for s in t.steps:
        assert s.model_input.shape == (1, 9, 8, 8) and torch.equal(s.model_input[:, :4], s.latents)
        assert torch.equal(s.pred_x0, predicted_x0(pipe.scheduler, s.t, s.latents, s.noise))


def test_every_transformer_block_is_seen():
    """Where a part of the UNet has several, as in SDXL"""
    pipe = tiny_pipeline(transformer_layers_per_block=2)
    pipe.set_progress_bar_config(disable=True)
    with trace(pipe, attention="heads") as heads, trace(pipe, attention="mean") as mean:
        run_theirs(pipe, num_inference_steps=1)
    blocks = [name for name, _ in pipe.unet.named_modules() if name.endswith("attn2")]
    assert len(heads.steps[0].attention) == len(blocks) == sum(mean.steps[0].attention.layers.values())
    assert {"mid_block.attentions.0", "mid_block.attentions.0.transformer_blocks.1"} <= set(heads.steps[0].attention)


@pytest.mark.parametrize("compiled", [lambda unet: torch.compile(unet), lambda unet: unet.compile() or unet])
def test_a_compiled_unet_is_refused(compiled):
    pipe = tiny_pipeline()
    pipe.unet = compiled(pipe.unet)
    with pytest.raises(SdscopeError, match="the unet is compiled, hooks cannot see into it"), trace(pipe):
        pass
    assert_untouched(pipe)


def test_a_fused_unet_is_refused_when_attention_is_asked():
    pipe = tiny_pipeline()
    pipe.set_progress_bar_config(disable=True)
    pipe.fuse_qkv_projections()
    with pytest.raises(SdscopeError, match="in a fused UNet: call unfuse"), trace(pipe, attention="mean"):
        pass
    with trace(pipe) as t:
        image = run_theirs(pipe)[0]
    assert t.pictures[0].tobytes() == image.tobytes()
    pipe.unfuse_qkv_projections()
    unseen = "hooks saw nothing of the UNet's cross-attention"
    with pytest.raises(SdscopeError, match=unseen), trace(pipe, attention="mean"):
        pipe.fuse_qkv_projections()
        run_theirs(pipe)
    assert_untouched(pipe)


def test_hooks_that_see_nothing_say_so(tiny):
    with pytest.raises(SdscopeError, match="hooks saw nothing of the UNet: "), trace(tiny):
        tiny.scheduler.set_timesteps(4)
        tiny.scheduler.step(torch.zeros(1), torch.tensor(751), torch.zeros(1))
    assert_untouched(tiny)
    other = DDIMScheduler.from_config(SCHEDULER)
    other.set_timesteps(4)
    unseen = "the UNet ran, but pipe.scheduler took no step: the trace sees the steps of no other"
    with pytest.raises(SdscopeError, match=unseen), trace(tiny):
        noise = tiny.unet(torch.zeros(1, 4, 8, 8), torch.tensor(751), torch.zeros(1, 77, 32))
        other.step(noise, torch.tensor(751), torch.zeros(1, 4, 8, 8))
    assert_untouched(tiny)


FULL = dict(attention="heads", features=True)


@pytest.mark.parametrize(
    "kind, prompt, options, watched",
    [
        (DDIMScheduler, PROMPT, {}, {}),
        (DDIMScheduler, [PROMPT, "a red house"], {}, FULL),
        (LMSDiscreteScheduler, PROMPT, dict(guidance_scale=1.0), FULL),
        (PNDMScheduler, PROMPT, {}, dict(attention="mean")),
    ],
)
def test_save_and_load(tmp_path, tiny, kind, prompt, options, watched):
    pipe = with_scheduler(tiny, kind)
    with trace(pipe, **watched) as t:
        pipe(prompt, seed=42, num_inference_steps=3, **options)
    t.save(tmp_path / "run.safetensors")
    loaded = Trace.load(tmp_path / "run.safetensors")
    assert_equal(t, loaded)
    assert loaded.nbytes == t.nbytes == sum(v.nbytes for v in t.tensors().values()) > 50_000
    assert list(loaded.vae.stages) == list(t.vae.stages) and list(loaded.embeddings.layers) == [0, 1, 2]
    assert [p.tobytes() for p in loaded.pictures] == [p.tobytes() for p in t.pictures]
    assert isinstance(loaded.steps[1].t, float if kind in SCALED else int)
    if watched:
        assert torch.equal(loaded.attention["ship"], t.attention["ship"])
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "run.safetensors").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_run_without_pictures_is_saved_too(tmp_path, tiny):
    with trace(tiny, features=True) as t:
        tiny.denoise(tiny.get_latents(1, 64, 64, 42), torch.zeros(1, 77, 32), 2, guidance_scale=1.0)
    for recorded in (t, Trace()):
        recorded.save(tmp_path / "run.safetensors")
        assert_equal(recorded, Trace.load(tmp_path / "run.safetensors"))


def test_what_is_no_trace_is_refused(tmp_path, tiny_folder, tiny, traced):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    traced.save(whole)
    data = whole.read_bytes()
    for length in (0, 5, 100, len(data) // 2, len(data) - 1):
        cut.write_bytes(data[:length])
        with pytest.raises(SdscopeError, match="cut cannot be read, or was cut short"):
            Trace.load(cut)
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(SdscopeError, match="cannot be read"):
            Trace.load(path)
    with pytest.raises(SdscopeError, match="not a saved trace"):
        Trace.load(next(tiny_folder.glob("unet/*.safetensors")))
    with pytest.raises(SdscopeError, match="attention must be"), trace(tiny, attention="all"):
        pass
    assert_untouched(tiny)


def test_a_trace_that_was_changed_is_refused_in_one_line(tmp_path, tiny):
    """Other metadata, with a hash and without; each of its parts left out or another; each tensor left out or
    another."""
    with trace(tiny, attention="mean", features=True) as t:
        run(tiny, num_inference_steps=1)
    (path := tmp_path / "run.safetensors").touch()
    tensors = {name: x.flatten()[:1].clone() for name, x in t.tensors().items()}
    written, _, text = t.metadata()["trace"].partition(" ")
    meta = json.loads(text)
    others = [json.dumps(other) for other in ({}, [], 5, None, "x", True)] + ["", "{", "[" * 5000]
    others += [json.dumps({k: v for k, v in meta.items() if k != key}) for key in meta]
    others += [json.dumps(meta | {key: other}) for key in meta for other in (None, 5, "x", [[]], {"x": 1})]
    some = [{k: v for k, v in tensors.items() if k != name} for name in tensors]
    some += [tensors | {name: tensors[name].double()} for name in tensors]
    damaged = [(f"{written} {other}", t.tensors()) for other in others] + [(other, t.tensors()) for other in others]
    for metadata, kept in damaged + [(f"{written} {text}", kept) for kept in some]:
        save_file(kept, path, metadata={"trace": metadata})
        with pytest.raises(SdscopeError) as error:
            Trace.load(path)
        assert str(error.value).startswith(f"{path} is not as this version saves") and "\n" not in str(error.value)
    assert len(damaged) + len(some) > 200


def test_a_trace_that_cannot_be_written_leaves_what_was_there(tmp_path, traced, monkeypatch):
    path = tmp_path / "run.safetensors"
    path.write_text("before")
    for place in (tmp_path / "no folder" / "run", path / "run", tmp_path):
        with pytest.raises(
            SdscopeError, match="^cannot write .*: (No such file or directory|Not a directory|it is a folder)$"
        ):
            traced.save(place)

    def full(tensors, part, metadata):
        part.write_text("half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record, "save_file", full)
    with pytest.raises(SdscopeError, match="run.safetensors: No space left on device"):
        traced.save(path)
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == "before"


def test_a_copy_is_kept(tiny):
    """Work in place on what the callback gets must not change what was recorded."""
    with trace(tiny) as t:
        run(tiny, callback=lambda step: step["pred_x0"].zero_())
    assert all(s.pred_x0.abs().max() > 0 for s in t.steps)


def test_the_sizes_in_the_docstring():
    """Of 50 steps of Stable Diffusion 2 at 768 pixels in float32, measured on shapes without weights"""
    steps, side, known = 50, 96, KNOWN["sd21-768"]
    parts, stages, cross = {}, {}, []
    with torch.device("meta"):
        unet, vae = OurUNet(known.unet), AutoencoderKL({})
        for seen, model, pattern in (
            (parts, unet, hooks.UNET_PARTS),
            (stages, vae, hooks.VAE_PARTS),
        ):
            for name, module in model.named_modules():
                if pattern.fullmatch(name):
                    module.register_forward_hook(lambda m, args, out, s=seen, n=name: s.update({n: out.shape[1:]}))
                if name.endswith("attn2"):
                    module.register_forward_hook(lambda m, args, out: cross.append((out.shape[1], m.heads)))
        width = unet.config.cross_attention_dim
        unet(torch.empty(1, 4, side, side), torch.tensor(1), torch.empty(1, 77, width))
        vae.decode(torch.empty(1, 4, side, side))

    def mb(numbers):
        return f"{4 * numbers / 1e6:.0f} MB"

    latent, layers = 4 * side**2, known.text_encoder["num_hidden_layers"] + 1
    text = mb((2 + layers) * 77 * width)
    some = mb(sum(min(c, STAGE_CHANNELS) * h * w for c, h, w in stages.values()))
    for claim in (
        f"of every step {mb(steps * 5 * latent)}, with model_input {mb(steps * 6 * latent)}; text",
        f"layers {text}; {STAGE_CHANNELS} channels of each decoder stage {some}; the picture",
        f"the picture {mb(3 * (8 * side) ** 2)}",
        f'"mean" {mb(steps * 77 * sum({n for n, _ in cross}))}: a map',
        f'"heads" {mb(steps * 77 * sum(n * heads for n, heads in cross))}: a map',
        f"features=True {mb(steps * sum(h * w for _, h, w in parts.values()))}: a channel mean",
        f"(its outputs whole would be {mb(steps * sum(c * h * w for c, h, w in parts.values()))})",
    ):
        assert claim in " ".join(sdscope.trace.__doc__.split()), claim
