"""The figures say what the trace holds, and are the same every time."""

import io
import itertools
import sys
from types import SimpleNamespace

import av
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
from matplotlib.text import Text
from PIL import Image

from sdscope import SdscopeError, StableDiffusion, figures
from sdscope.figures import words
from sdscope.figures.base import (
    COND,
    GUIDED,
    INK,
    LATENTS,
    MUTED,
    NOISE,
    PAPER,
    SCALE,
    UNCOND,
    X0,
    Board,
    coloured,
    rasterize,
)
from sdscope.figures.denoise import heats, overlay
from sdscope.figures.latents import busiest
from sdscope.figures.pictures import oklab, principal
from sdscope.figures.scheduler import noise_left
from sdscope.figures.text import lines, readable
from sdscope.figures.unet import by_word, liveliest
from sdscope.figures.vae import spread
from sdscope.postcard.world.paint import paint
from sdscope.postcard.world.scene import Scene, Thing
from sdscope.trace import Tokens, trace

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
    each, leading, trailing = [image] * STEPS, [751, 501, 251, 1], [999, 749, 499, 249]
    ratios = {0.5: [1, 1.5, 2, 2], 1: [1] * STEPS, 2: [1, 0.3, 0.2, 0.1]}
    raced, far = dict.fromkeys("abcde", {5: image, 9: image}), dict.fromkeys("abcde", {5: 9.5, 9: 1})
    pipe.scheduler.set_timesteps(STEPS)
    return {
        "token_strip": figures.token_strip(t.tokens.cond[0]),
        "embedding": figures.embedding(t.tokens.cond[0], t.embeddings.cond[0]),
        "similarity": figures.similarity(["a", "b", "c"], torch.eye(3)),
        "cut_off": figures.cut_off(pipe.tokenizer, "a ship at sunrise " * 9),
        "equations": figures.equations([[image] * 4] * 2, [["a ship", "day", "night", "the sum"]] * 2),
        "channels": figures.channels({"title": t.latents[0]}, rgb),
        "difference": figures.channels({"one": t.latents[0], "two": t.steps[0].latents[0]}, rgb, difference=True),
        "one_place": figures.one_place(image, t.latents[0]),
        "gallery": figures.gallery([[rgb(t.latents[0])] * 3, small], "abc", "xy", smooth=[False, True], scale=[0.5, 1]),
        "sizes": figures.sizes([image, image.resize((96, 64))], ["64 × 64", "96 × 64"]),
        "latents_movie": figures.latents_movie(t, rgb),
        "decoded_movie": figures.decoded_movie(pipe.decode(torch.cat([s.latents for s in t.steps] + [t.latents])), t),
        "strip": figures.strip(t.steps, rgb, each),
        "alphas": figures.alphas(pipe.scheduler, STEPS),
        "ddim_step": figures.ddim_step(pipe.scheduler, t.steps[1], rgb),
        "attention_words": figures.attention_words(t, image, ["a", "ship"]),
        "attention_steps": figures.attention_steps(t, t.steps[:2], [image] * 2, ["a", "ship"]),
        "attention_movie": figures.attention_movie(t, each, ["ship"]),
        "predictions": figures.predictions(t, rgb, dict.fromkeys(["noise_uncond", "noise_cond", "noise"], each)),
        "x0_movie": figures.x0_movie(each, t),
        "timetable": figures.timetable(pipe.scheduler, STEPS, {s.t: rgb(s.latents[0]) for s in t.steps}),
        "trials": figures.trials({"title": dict(right=image, wrong=image), "a": dict(wrong=image)}, "right", 2, 400),
        "spacings": figures.spacings({"leading": (leading, image), "trailing": (trailing, image)}),
        "ratio_noise": figures.ratio_noise(pipe.scheduler, ratios),
        "race": figures.race(raced, far, "all"),
        "unet_ledger": figures.unet_ledger(t),
        "line_by_line": figures.line_by_line({"x": many, "f(x)": many.flatten(2).mT}, (8, 8)),
        "places": figures.places(image, [(0, 0), (7, 7)], torch.eye(8).expand(2, 8, 8), shares, t.tokens.cond[0]),
        "features": figures.features(t.steps, small, {"mid": torch.cat([s.latents for s in t.steps])}, each),
        "album": figures.album(small, "abc", "xyz", [0, 1.5, 80]),
        "captioned": figures.captioned([small[:2]] * 2, ["a ship", "words " * 9], ["before", "after"]),
        "hundred": figures.hundred([image] * 100, image),
        "decoder_stages": figures.decoder_stages(t, rgb(t.latents[0]), image),
        "roundtrip": figures.roundtrip(image, rgb(t.latents[0]), image),
        "two_paths": figures.two_paths(pipe.scheduler.alphas_cumprod[[900, 500, 1]], [(0.5, small[0], small[0])] * 4),
        "mixtures": figures.mixtures({"DDIM": [1, 0, 0], "other": [2, -1, 0.001, 5]}, ["now", "before", "and before"]),
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


def boxes(figure):
    """{a text that is seen: where it stands}, laid out"""
    rasterize(figure)
    return {text: text.get_window_extent() for text in figure.findobj(Text) if text.get_text() and text.get_visible()}


def test_labels_are_on_the_board_and_large_enough(drawn):
    """At most 884 CSS pixels wide, so drawn one to one: no text below 14 px, none cut off."""
    for name, figure in drawn.items():
        if isinstance(figure, figures.Plot):
            on_the_board(name, figure.figure)


def on_the_board(name, figure):
    for text, box in boxes(figure).items():
        assert text.get_fontsize() / 0.72 >= 14, (name, text)
        width, height = figure.canvas.get_width_height()
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, (name, text.get_text(), box, width, height)


@pytest.mark.filterwarnings("error:Glyph")
def test_in_japanese_labels_are_on_the_board_and_apart(drawn):
    """What figures say by themselves: nothing lies over anything else, unless it did in English."""
    changed = 0
    for name, figure in drawn.items():
        frames = [figure.figure] if isinstance(figure, figures.Plot) else getattr(figure, "frames", [])[:1]
        for frame in frames:
            english, said = apart(frame), words.translate(frame.findobj(Text), name, "a ship")
            with words.in_japanese(frame.findobj(Text), said) as otherwise:
                changed += otherwise
                on_the_board(name, frame)
                assert apart(frame) >= english, name
    assert changed > 15


def apart(figure):
    """Pairs of texts that do not touch, by their places in the figure"""
    numbered = enumerate(box.padded(-2) for box in boxes(figure).values())
    return {(i, j) for (i, a), (j, b) in itertools.combinations(numbered, 2) if not a.overlaps(b)}


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
    assert (left[40] > 1 + 1e-6, left[40] < 1 - 1e-6) == (ratio < 1, ratio > 1)


@pytest.mark.parametrize("name, kind", RACERS.items())
def test_a_race_is_run_over_equal_calls_of_the_unet(tiny, monkeypatch, name, kind):
    monkeypatch.setattr(
        tiny, "scheduler", kind.from_config(SCHEDULER, timestep_spacing="trailing", skip_prk_steps=True)
    )
    calls = []
    hook = tiny.unet.register_forward_hook(lambda *_: calls.append(1))
    try:
        for n in (5, 9):
            calls.clear()
            tiny("a ship", seed=42, num_inference_steps=figures.steps_for(name, n), guidance_scale=1)
            assert len(calls) == n
    finally:
        hook.remove()


def test_a_sheet_of_large_pictures_is_a_webp_that_browsers_open():
    sheet = figures.Sheet({"x0": [Image.new("RGB", (768, 512), (i, 0, 0)) for i in range(100)]}, range(100))
    image = Image.open(io.BytesIO(sheet.data(".webp")))
    assert image.size == (163 * 100, 108) and sheet.about["columns"][-1] == "99"
    small = figures.Sheet(
        {"latents": [Image.new("RGB", (16, 16))] * 2, "noise": [Image.new("RGB", (16, 16))] * 2}, "ab"
    )
    assert small.image.size == (32, 32)


def test_a_word_has_one_scale_for_all_steps(run):
    t, image, _ = run
    maps = np.stack([s.attention["ship"].numpy() for s in t.steps])
    heat = heats(t, "ship")
    assert heat.min() == 0 == heat.flat[maps.argmin()] and heat.max() == 1 == heat.flat[maps.argmax()]
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
        unet = SimpleNamespace(conv_in=SimpleNamespace(weight=torch.zeros(1)))

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
    assert ["#{:02x}{:02x}{:02x}".format(*image.getpixel((x, 0))) for x in range(3)] == [LATENTS, PAPER, COND]


def test_latents_stay_squares():
    board = Board(20, 20)
    board.picture(0, 0, 20, 20, coloured([[-1, 1], [1, -1]]), smooth=False)
    colours = np.unique(np.asarray(rasterize(board.figure)).reshape(-1, 3), axis=0)
    assert len(colours) == 2  # none between


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


def test_words_are_measured_by_an_even_share_of_the_attention(run):
    tokens = run[0].tokens.cond[0]  # start, a, s, h, i, p, end ...: nothing is merged here
    even = by_word(torch.full((77,), 1 / 77), tokens)
    assert list(even) == ["start", "“a”", "“ship”", "end, padding"] and list(even.values()) == pytest.approx([1] * 4)
    shares = torch.zeros(77)
    shares[[1, 3]] = 0.5
    assert list(by_word(shares, tokens).values()) == pytest.approx([0, 77 / 2, 77 / 8, 0])


def test_the_liveliest_channels_are_those_that_vary_from_place_to_place():
    maps = torch.stack([torch.full((4, 4), 9.0), torch.eye(4), 5 * torch.eye(4), torch.zeros(4, 4)])
    assert liveliest(maps, 2).tolist() == [1, 2]


def test_bars_are_as_long_as_the_pictures_are_far_away():
    album = figures.album([Image.new("RGB", (8, 8))] * 3, "abc", "xyz", [0, 10, 40])
    lengths = [bar.get_width() for axes in album.figure.axes for bar in axes.patches]
    assert lengths[0] == 0 and lengths[2] == pytest.approx(4 * lengths[1])


def test_a_long_caption_is_told_on_several_lines_and_whole():
    said = ["a ship", "oil painting of a ship in the desert at night, best quality"]
    fig = figures.captioned([[Image.new("RGB", (8, 8))] * 2], said).figure
    assert " ".join(text.get_text() for text in fig.texts) == " ".join(said)
    fig = figures.captioned([[Image.new("RGB", (8, 8))] * 8], said * 4).figure
    assert len(fig.texts) > 8 and " ".join(text.get_text() for text in fig.texts) == " ".join(said * 4)


def test_spread_is_the_standard_deviation_at_each_pixel():
    black, grey = Image.new("RGB", (2, 1)), Image.new("RGB", (2, 1), (100, 100, 100))
    grey.putpixel((0, 0), (0, 0, 0))
    assert spread([black, grey]).tolist() == [[0, 50]]


def test_pictures_and_tensors(tiny, run):
    _, image, _ = run
    x = figures.to_tensor(image)
    assert x.shape == (1, 3, 64, 64) and x.min() >= -1 and x.max() <= 1
    assert np.array_equal(figures.to_picture(x), image)


def test_the_place_that_is_shown_is_the_one_where_most_happens():
    pixels = np.full((32, 48, 3), 200, dtype="uint8")
    pixels[8:16, 24:32:2] = 0
    image, latent = Image.fromarray(pixels), torch.arange(96.0).reshape(4, 4, 6)
    assert busiest(image, latent) == (1, 3, 8)
    shown = {text.get_text() for text in figures.one_place(image, latent).figure.texts}
    assert {"9.00", "33.00", "57.00", "81.00", "4 numbers", "48 times fewer"} <= shown  # latent[:, 1, 3]


@pytest.mark.parametrize("letters, dropped", [(75, 0), (76, 1), (175, 100)])
def test_what_is_cut_off_is_drawn_with_broken_lines(tiny, letters, dropped):
    plot = figures.cut_off(tiny.tokenizer, "s" * letters)
    boxes = plot.figure.axes[0].patches
    broken = [box for box in boxes if box.get_linestyle() == "--"]
    assert len(boxes) == letters + 2 and len(broken) == dropped
    assert any(text.get_text() == f"{dropped} are cut off" for text in plot.figure.texts) == (dropped > 0)


def test_a_vocabularys_strings_are_shown_as_letters():
    shown = {
        "ship</w>": "ship",
        "cafÃ©</w>": "café",
        "çĮ«": "猫",
        "Ã": "\\xc3",
        "fÃ": "f\\xc3",
        "ě[31m</w>": "\\x1b[31m",
    }
    shown |= {"<|startoftext|>": "start", "<|endoftext|>": "end", "<猫>": "<猫>", "</w>": ""}
    assert {string: readable(string) for string in shown} == shown


@pytest.mark.parametrize("text", ["$$", "$x_1$ $", r"\frac{1}{$2$}", "<b>&amp;</b>", "end", "%s {x} 'é' \x1b[31m"])
def test_a_text_is_drawn_as_it_was_typed(tiny, text):
    """And not as mathematics, markup or the token of that name."""
    ids = tiny.tokenizer(text).input_ids
    tokens = Tokens(ids, tiny.tokenizer.convert_ids_to_tokens(ids))
    for plot in (figures.token_strip(tokens), figures.cut_off(tiny.tokenizer, text)):
        assert plot.data(".png")
        assert {label.get_text() for label in plot.figure.texts} >= set(map(readable, tokens.strings))
        muted = [label.get_text() for label in plot.figure.texts if label.get_color() == MUTED]
        assert [letters for letters in muted if not letters.isdigit()] == ["start", "end"]


def test_lines_are_set_like_words():
    assert lines([40, 40, 300, 10], width=100, gap=5) == [(2, 0, 40), (47, 0, 40), (2, 1, 300), (2, 2, 10)]


def test_a_difference_is_the_second_less_the_first(run):
    t, _, rgb = run
    one, two = t.steps[0].latents[0], t.latents[0]
    drawn = figures.channels({"one": one, "two": two}, rgb, difference=True).figure.axes
    assert len(drawn) == 5 + 5 + 4  # a difference has no colours
    limit = float(max(x.abs().max() for x in (one, two, two - one)))
    pixels = drawn[12].images[0].get_array()
    wanted = coloured(two[2] - one[2], limit).resize(pixels.shape[1::-1], Image.NEAREST)
    assert np.array_equal(pixels, wanted)


def test_a_picture_is_made_larger_up_to_a_limit():
    sizes = {side: figures.Picture(Image.new("RGB", (side, side)), 4).image.width for side in (64, 128, 512, 768, 2000)}
    assert sizes == {64: 256, 128: 512, 512: 1024, 768: 768, 2000: 2000}


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".gif"])
def test_an_animation_holds_its_last_frame(suffix):
    frames = [Image.new("RGB", (32, 32), (i * 60, 0, 0)) for i in range(4)]
    file = Image.open(io.BytesIO(figures.Animation(frames, ms=100, hold=900, lossless=True).data(suffix)))
    durations, reds = [], []
    for i in range(file.n_frames):
        file.seek(i)
        file.load()
        durations.append(file.info["duration"])
        reds.append(file.convert("RGB").getpixel((16, 16))[0])
    assert durations == [100, 100, 100, 900]
    assert np.abs(np.subtract(reds, [0, 60, 120, 180])).max() <= (0 if suffix == ".webp" else 8)


def test_an_mp4_shows_the_last_frame_again_and_again():
    frames = [Image.new("RGB", (33, 32), (i * 60, 0, 0)) for i in range(4)]
    movie = figures.Animation(frames, ms=100, hold=900)
    for _ in range(2):  # the encoder's bytes are not always the same, its pictures are
        with av.open(io.BytesIO(movie.data(".mp4"))) as file:
            assert file.streams.video[0].average_rate == 10
            images = [frame.to_image() for frame in file.decode(video=0)]
        assert images[0].size == (32, 32)  # H.264 has no odd sizes
        reds = [image.getpixel((16, 16))[0] for image in images]
        assert np.abs(np.subtract(reds, [0, 60, 120, 180] + [180] * 9)).max() <= 8
    assert "image/webp" in movie._repr_html_()  # an <img> shows no MP4


def test_fifty_steps_at_256_pixels_are_small():
    """Latents with less and less noise, decoded by Postcard: what an animation of the loop looks like."""
    pipe = StableDiffusion.from_pretrained("postcard", device="cpu")
    x0 = figures.to_tensor(paint(Scene("sea", "sunrise", "clear", "oil", (Thing("ship", "red"),), 42)))
    with torch.no_grad():
        z0 = pipe.vae.encode(x0)[0] * pipe.vae.config.scaling_factor
    noise = torch.randn(z0.shape, generator=torch.Generator().manual_seed(42))
    pipe.scheduler.set_timesteps(50)
    noisy = [pipe.scheduler.add_noise(z0, noise, t) for t in pipe.scheduler.timesteps.split(1)]
    movie = figures.movie(figures.decode(pipe, torch.cat(noisy)), ["a label"] * 50, size=128)
    assert rasterize(movie.frames[0]).width == 256
    sizes = {suffix: len(movie.data(suffix)) for suffix in (".webp", ".avif", ".mp4")}
    assert max(sizes.values()) <= 300_000, sizes


def test_what_cannot_be_saved_is_refused(tmp_path, run, monkeypatch):
    picture, movie = figures.Picture(run[1]), figures.Animation([run[1]])
    (tmp_path / "file").touch()
    refused = {
        "a.gif": (picture, "saved as .png or .webp, not '.gif'"),
        "a.png": (movie, "saved as .webp, .avif, .gif or .mp4, not '.png'"),
        "a.mp4": (movie, "pip install av"),
        "a.avif": (movie, "pip install 'pillow>=11.3'"),
        "file/a.webp": (movie, "cannot write .*a.webp: "),
        "wide.webp": (
            figures.Picture(Image.new("RGB", (16392, 8))),
            "cannot be saved as .webp: .* limit of 16383 pixels",
        ),
    }
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("sdscope.figures.base.features.check", lambda feature: False)
    for name, (figure, message) in refused.items():
        with pytest.raises(SdscopeError, match=message):
            figure.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, run, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"was")

    def full(part, data):
        part.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(SdscopeError, match="No space left"):
        figures.Picture(run[1]).save(path)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"was"


# what is left of linear RGB for eyes without red, green or blue cones: Machado et al. 2009, severity 1
BLIND = {
    "red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    """ "#rrggbb" -> linear RGB"""
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """linear RGB -> CIELAB, in which colours 2 apart are just told apart side by side"""
    xyz = TO_XYZ @ rgb.clip(0, 1) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("blind", BLIND)
def test_colours_are_told_apart_without_red_green_or_blue(blind):
    seen = [lab(np.array(BLIND[blind]) @ linear(c)) for c in (LATENTS, NOISE, UNCOND, COND, GUIDED, X0)]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 11


def test_letters_are_dark_enough():
    """Contrast as in WCAG 2: at least 4.5 for text."""
    luminance = lambda colour: linear(colour) @ TO_XYZ[1] + 0.05
    for colour in (INK, MUTED, LATENTS, NOISE, UNCOND, COND, GUIDED, X0):
        text = Board(100, 100).text(0, 0, "a", color=colour).get_color()
        assert luminance(PAPER) / luminance(text) >= 4.5, colour
