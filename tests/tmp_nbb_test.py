"""The figures say what the trace holds, and are the same every time."""

import io

import numpy as np
import pytest
import torch
from conftest import SCHEDULER
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
)
from PIL import Image

from sdscope import figures
from sdscope.figures.base import COND, LATENTS, PAPER, SCALE, Board, coloured, rasterize
from sdscope.figures.denoise import heats, overlay
from sdscope.figures.pictures import oklab, principal
from sdscope.figures.scheduler import noise_left
from sdscope.figures.unet import by_word, liveliest
from sdscope.figures.vae import spread
from sdscope.trace import trace

STEPS = 4
RACERS = {
    "DDIM": DDIMScheduler,
    "PNDM": PNDMScheduler,
    "LMS": LMSDiscreteScheduler,
    "Heun": HeunDiscreteScheduler,
    "DPM++": DPMSolverMultistepScheduler,
}


@pytest.fixture(scope="module")
def run(tiny):
    """A trace, its picture, and a map from latents to colours."""
    with trace(tiny, attention="mean") as t:
        image = tiny("a ship", seed=42, num_inference_steps=STEPS)
    return t, image, figures.LatentRGB(tiny, torch.cat([s.pred_x0 for s in t.steps]))


def every_figure(pipe, t, image, rgb):
    small, many, shares = [image] * 3, torch.cat([s.latents for s in t.steps], 1), torch.eye(77)[:2]
    pipe.scheduler.set_timesteps(STEPS)
    return {
        "token_strip": figures.token_strip(t.tokens.cond[0]),
        "embedding": figures.embedding(t.tokens.cond[0], t.embeddings.cond[0]),
        "similarity": figures.similarity(["a", "b", "c"], torch.eye(3)),

        "gallery": figures.gallery([[rgb(t.latents[0])] * 3, small], top="abc", left="xy", smooth=[False, True], scale=[0.5, 1]),
        "sizes": figures.sizes([image, image.resize((96, 64))], ["64 × 64", "96 × 64"]),
        "latents_movie": figures.latents_movie(t, rgb),
        "decoded_movie": figures.decoded_movie(pipe.decode(torch.cat([s.latents for s in t.steps] + [t.latents])), t),
        "strip": figures.strip(t.steps, rgb, [image] * STEPS),
        "alphas": figures.alphas(pipe.scheduler, STEPS),
        "ddim_step": figures.ddim_step(pipe.scheduler, t.steps[1], rgb),
        "attention_words": figures.attention_words(t, image, ["a", "ship"]),
        "attention_steps": figures.attention_steps(t, t.steps[:2], [image] * 2, ["a", "ship"]),
        "attention_movie": figures.attention_movie(t, [image] * STEPS, ["ship"]),
        "predictions": figures.predictions(t, rgb, {k: [image] * STEPS for k in ("noise_uncond", "noise_cond", "noise")}),
        "x0_movie": figures.x0_movie([image] * STEPS, t),
        "timetable": figures.timetable(pipe.scheduler, STEPS, {s.t: rgb(s.latents[0]) for s in t.steps}),
        "trials": figures.trials({"title": dict(right=image, wrong=image), "other": dict(wrong=image)}, "right", 2, 400),
        "spacings": figures.spacings({"leading": ([751, 501, 251, 1], image), "trailing": ([999, 749, 499, 249], image)}),
        "ratio_noise": figures.ratio_noise(pipe.scheduler, {0.5: [1, 1.5, 2, 2], 1.0: [1] * STEPS, 2.0: [1, 0.3, 0.2, 0.1]}),
        "race": figures.race({name: {5: image, 9: image} for name in "abcde"}, {name: {5: 9.5, 9: 1} for name in "abcde"}, "all"),
        "unet_ledger": figures.unet_ledger(t),
        "line_by_line": figures.line_by_line({"x": many, "f(x)": many.flatten(2).mT}, (8, 8)),
        "places": figures.places(image, [(0, 0), (7, 7)], torch.eye(8).expand(2, 8, 8), shares, t.tokens.cond[0]),
        "features": figures.features(t.steps, small, {"mid": torch.cat([s.latents for s in t.steps])}, [image] * STEPS),
        "album": figures.album(small, "abc", "xyz", [0, 1.5, 80]),
        "hundred": figures.hundred([image] * 100, image),
        "decoder_stages": figures.decoder_stages(t, rgb(t.latents[0]), image),
        "roundtrip": figures.roundtrip(image, rgb(t.latents[0]), image),
        "picture": figures.Picture(image, 4),
    }  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tiny, run):
    return every_figure(tiny, *run)


def test_figures_are_made_twice_with_the_same_bytes(tiny, run, drawn):
    again = every_figure(tiny, *run)
    for name, figure in drawn.items():
        data = figure.data(".webp")
        assert data == again[name].data(".webp"), name
        assert Image.open(io.BytesIO(data)).width <= SCALE * 884, name
        assert "data:image/webp" in figure._repr_html_(), name


def test_labels_are_on_the_board_and_large_enough(drawn):
    """At most 884 CSS pixels wide, so drawn one to one: no text below 14 px, none cut off."""
    for name, figure in drawn.items():
        if isinstance(figure, figures.Plot):
            rasterize(figure.figure)  # lays out
            width, height = figure.figure.canvas.get_width_height()
            texts = figure.figure.findobj(lambda artist: hasattr(artist, "get_fontsize"))
            for text in (x for x in texts if x.get_text() and x.get_visible()):
                assert text.get_fontsize() / 0.72 >= 14, (name, text)
                box = text.get_window_extent()
                inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
                assert inside, (name, text.get_text(), box, width, height)


def test_the_terms_of_a_ddim_step_add_up(tiny, run):
    t, *_ = run
    tiny.scheduler.set_timesteps(STEPS)
    after = [s.latents for s in t.steps[1:]] + [t.latents]
    for step, latents in zip(t.steps, after):
        equations = figures.ddim_terms(tiny.scheduler, step)
        for (_, total), *terms in equations:
            assert torch.allclose(total, sum(factor * value for factor, _, value in terms), atol=1e-5)
        assert torch.equal(equations[0][0][1], step.pred_x0)
        assert torch.allclose(equations[-1][0][1], latents, atol=1e-5)


def ddim_with(scheduler, ratio, latents):
    """DDIM's steps on latents that are nothing but noise, all of it predicted, `ratio` times as strong"""
    at, left = scheduler.alphas_cumprod, []
    for time, after in zip(scheduler.timesteps, [*scheduler.timesteps[1:], None]):
        noise = latents / (1 - at[time]) ** 0.5
        left.append(noise.std())
        if after is not None:
            x0 = (latents - (1 - at[time]) ** 0.5 * ratio * noise) / at[time] ** 0.5
            latents = at[after] ** 0.5 * x0 + (1 - at[after]) ** 0.5 * ratio * noise
    return torch.stack(left) / left[0]


@pytest.mark.parametrize("ratio", [0.5, 1, 1.5, 2])
def test_the_noise_that_a_ratio_leaves_is_what_the_steps_leave(tiny, ratio):
    tiny.scheduler.set_timesteps(50)
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left = noise_left(tiny.scheduler, ratio)
    assert torch.allclose(left, ddim_with(tiny.scheduler, ratio, noise), rtol=1e-4)
    assert (left[40] > 1) == (ratio < 1) and (left[40] == 1) == (ratio == 1)


@pytest.mark.parametrize("name, kind", RACERS.items())
def test_a_race_is_run_over_equal_calls_of_the_unet(tiny, monkeypatch, name, kind):
    monkeypatch.setattr(tiny, "scheduler", kind.from_config(SCHEDULER, timestep_spacing="trailing", skip_prk_steps=True))
    calls = []
    hook = tiny.unet.register_forward_hook(lambda *_: calls.append(1))
    try:
        for n in (5, 9):
            calls.clear()
            tiny("a ship", seed=42, num_inference_steps=figures.steps_for(name, n), guidance_scale=1)
            assert len(calls) == n
    finally:
        hook.remove()


def test_a_word_has_one_scale_for_all_steps(run):
    t, image, _ = run
    maps = np.stack([s.attention["ship"].numpy() for s in t.steps])
    heat = heats(t, "ship")
    assert heat.min() == 0 and heat.max() == 1 and heat.argmax() == maps.argmax() and heat.argmin() == maps.argmin()
    rows = figures.attention_rows(t, ["a", "ship"], size=16)
    assert list(rows) == ["a", "ship"] and [m.size for m in rows["a"]] == [(16, 16)] * (STEPS + 1)


def test_an_overlay_is_darker_where_the_heat_is():
    over = np.asarray(overlay(Image.new("RGB", (8, 8), "white"), np.eye(8)[:, :1] * np.ones((1, 8)))).mean(-1)
    assert over[0].mean() < over[-1].mean() - 50


def test_contrast_saturation_sharpness_and_distance():
    black, white, red = (Image.new("RGB", (4, 4), colour) for colour in ("black", "white", "red"))
    stripes = Image.fromarray(np.tile(np.uint8([0, 255]), (4, 2))).convert("RGB")
    assert figures.look(black) == {"contrast": 0, "saturation": 0, "sharpness": 0}
    assert figures.look(red)["saturation"] == 1
    assert figures.look(stripes) == pytest.approx({"contrast": 0.5, "saturation": 0, "sharpness": 1})
    assert figures.distance(black, white) == 255 and figures.distance(red, red) == 0


def test_latents_as_colours_are_the_best_linear_guess():
    """Where the VAE is itself linear, nothing is lost."""

    class Linear:
        mix = torch.tensor([[0.1, 0.2, 0.0, -0.1], [0.0, 0.1, 0.2, 0.1], [0.2, 0.0, -0.1, 0.1]])

        def decode(self, z):
            rgb = torch.einsum("rc,nchw->nhwr", self.mix, z) + 0.5
            pixels = (rgb.clamp(0, 1) * 255).round().byte()
            return [Image.fromarray(p.numpy()).resize((64, 64), Image.NEAREST) for p in pixels]

    z = torch.rand(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    image = np.asarray(figures.LatentRGB(Linear(), z)(z[1]), dtype=int)
    wanted = np.asarray(Linear().decode(z[1:2])[0].resize((8, 8), Image.NEAREST), dtype=int)
    assert np.abs(image - wanted).max() <= 1


def test_signed_numbers_have_the_colours_of_the_legend():
    image = coloured([[-1, 0, 1]])
    assert ["#%02x%02x%02x" % image.getpixel((x, 0)) for x in range(3)] == [LATENTS, PAPER, COND]


def test_latents_stay_squares():
    board = Board(20, 20)
    board.picture(0, 0, 20, 20, coloured([[-1, 1], [1, -1]]), smooth=False)
    assert len(set(rasterize(board.figure).get_flattened_data())) == 2  # no colour between


def test_principal_colours_do_not_depend_on_the_sign_or_order_of_the_channels():
    stages = torch.randn(2, 5, 6, 6, generator=torch.Generator().manual_seed(1))
    like = [coloured(stage[0]) for stage in stages]
    once, again = principal(stages, like), principal(-stages.flip(1), like)
    assert np.abs(np.asarray(once, dtype=int) - np.asarray(again, dtype=int)).max() <= 1
    assert not np.array_equal(once[0], once[1])


def test_principal_lightness_is_the_direction_of_the_largest_variance():
    """A stage that is a picture's brightness, strongly, and something else, weakly."""
    image = Image.linear_gradient("L").resize((8, 8), Image.BOX)
    light = torch.from_numpy(np.array(image)).float() / 255
    other = torch.rand(8, 8, generator=torch.Generator().manual_seed(2))
    (drawn,) = principal(torch.stack([-light, 0.1 * other, 3 * light, 0.1 * other.T])[None], [image.convert("RGB")])
    assert np.corrcoef(np.asarray(drawn.convert("L")).ravel(), light.ravel())[0, 1] > 0.9


def test_oklab_of_colours_that_are_known():
    """White, and pure red, from https://bottosson.github.io/posts/oklab"""
    lab = np.array([[1.0, 0, 0], [0.6279554, 0.2248631, 0.1258463]])
    assert np.allclose(oklab(lab), [[1, 1, 1], [1, 0, 0]], atol=1e-3)


def test_a_skip_connection_is_what_the_receiver_gets_last(tiny, run):
    """Asked of the UNet itself: every sender's output is the end of its receiver's input."""
    t, *_ = run
    seen, hooks, skips = {}, [], figures.skips(t)
    for name in {name for sender, receiver, _ in skips for name in (sender, receiver)}:
        keep = lambda module, given, gives, name=name: seen.update({name: (given[0], gives)})
        hooks.append(tiny.unet.get_submodule(name).register_forward_hook(keep))
    with torch.no_grad():
        tiny.unet(t.steps[0].latents, t.steps[0].t, t.embeddings.cond)
    for hook in hooks:
        hook.remove()
    assert len(skips) == sum(len(block.resnets) for block in tiny.unet.up_blocks)
    for sender, receiver, channels in skips:
        assert torch.equal(seen[receiver][0][:, -channels:], seen[sender][1]), (sender, receiver)


def test_shares_of_attention_by_word_are_all_of_it(run):
    tokens = run[0].tokens.cond[0]
    shares = torch.arange(77.0) / torch.arange(77.0).sum()
    found = by_word(shares, tokens)
    assert list(found) == ["start", "“a”", "“ship”", "end, padding"]
    assert found["“ship”"] == pytest.approx(float(shares[2:6].sum()))  # four letters: nothing is merged here
    assert sum(found.values()) == pytest.approx(1)


def test_the_liveliest_channels_are_those_that_vary_from_place_to_place():
    maps = torch.stack([torch.full((4, 4), 9.0), torch.eye(4), 5 * torch.eye(4), torch.zeros(4, 4)])
    assert liveliest(maps, 2).tolist() == [1, 2]


def test_bars_are_as_long_as_the_pictures_are_far_away():
    album = figures.album([Image.new("RGB", (8, 8))] * 3, "abc", "xyz", [0, 10, 40])
    lengths = [bar.get_width() for axes in album.figure.axes for bar in axes.patches]
    assert lengths[0] == 0 and lengths[2] == pytest.approx(4 * lengths[1])


def test_spread_is_the_standard_deviation_at_each_pixel():
    black, grey = Image.new("RGB", (2, 1)), Image.new("RGB", (2, 1), (100, 100, 100))
    grey.putpixel((0, 0), (0, 0, 0))
    assert spread([black, grey]).tolist() == [[0, 50]]


def test_pictures_and_tensors(tiny, run):
    _, image, _ = run
    x = figures.to_tensor(image)
    assert x.shape == (1, 3, 64, 64) and -1 <= x.min() and x.max() <= 1
    assert np.array_equal(figures.to_picture(x), image)


def test_an_animation_holds_its_last_frame():
    frames = [Image.new("RGB", (8, 8), (i * 60, 0, 0)) for i in range(4)]
    webp = Image.open(io.BytesIO(figures.Animation(frames, ms=100, hold=900, lossless=True).data(".webp")))
    durations = []
    for i in range(webp.n_frames):
        webp.seek(i)
        webp.load()
        durations.append(webp.info["duration"])
    assert durations == [100, 100, 100, 900]


def test_what_cannot_be_saved_is_refused(tmp_path, run):
    with pytest.raises(ValueError, match="use .png or .webp"):
        figures.Picture(run[1]).save(tmp_path / "a.gif")
    with pytest.raises(ValueError, match="saved as .webp"):
        figures.Animation([run[1]]).save(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
