"""The trace tells the truth and leaves nothing behind."""

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from conftest import tiny_pipeline
from sdscope.trace import Trace, trace

PROMPT = "a ship"


def run(pipe, **options):
    return pipe(PROMPT, **{"seed": 42, "num_inference_steps": 4, **options})


@pytest.fixture(scope="module")
def traced(tiny):
    with trace(tiny, attention="mean") as t:
        run(tiny)
    return t


def hooks(pipe):
    parts = (pipe.text_encoder, pipe.unet, pipe.vae)
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs")
    return sum(len(getattr(m, kind)) for part in parts for m in part.modules() for kind in kinds)


def assert_untouched(pipe):
    assert hooks(pipe) == 0
    assert not {"step", "set_timesteps"} & set(vars(pipe.scheduler))


@pytest.mark.parametrize("attention", [False, "mean", "heads"])
@pytest.mark.parametrize("guidance_scale", [5.0, 1.0])
def test_a_traced_run_gives_the_same_bits(tiny, attention, guidance_scale):
    plain = run(tiny, guidance_scale=guidance_scale)
    with trace(tiny, attention=attention) as t:
        traced = run(tiny, guidance_scale=guidance_scale)
    assert traced.tobytes() == plain.tobytes()
    assert len(t.steps) == 4
    assert_untouched(tiny)


def test_nothing_is_left_after_an_exception(tiny):
    def fail(step):
        if step["i"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), trace(tiny, attention="mean"):
        assert hooks(tiny) > 0
        run(tiny, callback=fail)
    assert_untouched(tiny)


def test_traces_nest(tiny):
    with trace(tiny) as outer:
        with trace(tiny) as inner:
            run(tiny)
        assert "step" in vars(tiny.scheduler)  # the outer one still watches
    assert len(outer.steps) == len(inner.steps) == 4
    assert_untouched(tiny)


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
    with trace(tiny) as t:
        run(tiny, guidance_scale=1.0)
    assert t.embeddings.uncond is None and t.tokens.uncond is None
    assert all(s.noise_uncond is None and torch.equal(s.noise, s.noise_cond) for s in t.steps)


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


def test_a_batch_is_traced_whole(tiny):
    with trace(tiny, attention="mean") as t:
        tiny(["a ship", "a red house"], negative_prompt="rain", seed=1, num_inference_steps=2)
    assert [[w for w, _ in x.words()] for x in t.tokens.cond] == [["a", "ship"], ["a", "red", "house"]]
    assert [x.words()[0][0] for x in t.tokens.uncond] == ["rain", "rain"]
    assert t.steps[0].latents.shape == t.steps[0].noise_uncond.shape == (2, 4, 8, 8)
    assert t.steps[0].attention.word("house", picture=1).shape == (8, 8)


def test_the_last_run_of_a_block_counts(tiny, traced):
    with trace(tiny) as t:
        tiny("another one", seed=1, num_inference_steps=3)
        run(tiny)
    assert torch.equal(t.latents, traced.latents) and len(t.steps) == 4
    assert t.tokens.cond == traced.tokens.cond


def test_shapes_of_the_unet_are_measured(traced):
    shapes = traced.unet.shapes
    assert shapes["conv_in"] == (2, 16, 8, 8) and shapes["conv_out"] == (2, 4, 8, 8)
    assert shapes["mid_block.attentions.0"] == (2, 32, 1, 1)
    assert list(shapes)[0] == "conv_in" and list(shapes)[-1] == "conv_out"


def test_attention_is_what_diffusers_computes(tiny, tiny_folder):
    """At one step: each layer's probabilities against diffusers' own, from its processor that keeps them."""
    from diffusers import UNet2DConditionModel

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
        ours = step.attention[name.removesuffix(".processor")]  # (1, heads, h, w, 77)
        assert (ours.flatten(2, 3)[0] - probs[name]).abs().max() < 1e-6


def test_diffusers_own_pipeline_is_traced_too_and_is_the_same_in_every_tensor(tiny):
    """It encodes the prompt before the negative one, calls with return_dict=False, looks at step's signature."""
    theirs = tiny_pipeline()
    theirs.set_progress_bar_config(disable=True)
    options = dict(negative_prompt="rain", num_inference_steps=4, guidance_scale=5.0)
    plain = theirs(PROMPT, generator=torch.Generator().manual_seed(42), **options).images[0]
    with trace(theirs, attention="mean") as t:
        traced = theirs(PROMPT, generator=torch.Generator().manual_seed(42), **options).images[0]
    assert traced.tobytes() == plain.tobytes()
    assert_untouched(theirs)
    with trace(tiny, attention="mean") as ours:
        tiny(PROMPT, seed=42, **options)
    a, b = t.tensors(), ours.tensors()
    assert a.keys() == b.keys() and [k for k in a if not torch.equal(a[k], b[k])] == []
    assert (t.tokens, t.unet, t.vae.shapes) == (ours.tokens, ours.unet, ours.vae.shapes)


def test_mean_attention_is_the_mean_of_the_heads(tiny, traced):
    with trace(tiny, attention="heads") as t:
        run(tiny)
    for heads, mean in zip(t.steps, traced.steps):
        assert torch.allclose(heads.attention["ship"], mean.attention["ship"], atol=1e-6)
        whole = sum(m.sum(-1).mean() * mean.attention.layers[k] for k, m in mean.attention.items())
        assert whole / sum(mean.attention.layers.values()) == pytest.approx(1, abs=1e-5)  # probabilities


def test_attention_knows_oblong_pictures_and_odd_sizes(tiny):
    with trace(tiny, attention="mean") as t:
        run(tiny, width=72, height=40)  # 9 x 5 latents, then 5 x 3, 3 x 2, 2 x 1
    assert set(t.steps[0].attention) == {"5x9", "3x5", "2x3", "1x2"}
    assert t.steps[0].attention["ship"].shape == (5, 9)


def test_a_word_that_is_not_there(traced):
    with pytest.raises(KeyError, match="'sheep' is not in the prompt; its words: a, ship"):
        traced.steps[0].attention["sheep"]


def test_save_and_load(tmp_path, traced):
    traced.save(tmp_path / "run.safetensors")
    loaded = Trace.load(tmp_path / "run.safetensors")
    before, after = traced.tensors(), loaded.tensors()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert loaded.nbytes == traced.nbytes == sum(v.nbytes for v in before.values())
    assert loaded.tokens == traced.tokens and loaded.unet == traced.unet
    assert loaded.vae.shapes == traced.vae.shapes
    assert torch.equal(loaded.steps[3].attention["ship"], traced.steps[3].attention["ship"])
    assert [s.t for s in loaded.steps] == [s.t for s in traced.steps]


def test_what_is_no_trace_is_refused(tmp_path, tiny_folder, tiny):
    with pytest.raises(ValueError, match="not a saved trace"):
        Trace.load(next(tiny_folder.glob("unet/*.safetensors")))
    with pytest.raises(ValueError, match="attention must be"), trace(tiny, attention="all"):
        pass
    assert_untouched(tiny)


def test_a_copy_is_kept(tiny):
    """Work in place on what the callback gets must not change what was recorded."""
    with trace(tiny) as t:
        run(tiny, callback=lambda step: step["pred_x0"].zero_())
    assert all(s.pred_x0.abs().max() > 0 for s in t.steps)
