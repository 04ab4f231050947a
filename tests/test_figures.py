"""The figures say what the trace holds, and are the same every time."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from sdscope import figures
from sdscope.figures.base import COND, LATENTS, PAPER, SCALE, Board, coloured, rasterize
from sdscope.figures.shapes import principal
from sdscope.trace import trace

STEPS = 4


@pytest.fixture(scope="module")
def run(tiny):
    """A trace, its picture, and a map from latents to colours."""
    with trace(tiny, attention="mean") as t:
        image = tiny("a ship", seed=42, num_inference_steps=STEPS)
    return t, image, figures.LatentRGB(tiny, torch.cat([s.pred_x0 for s in t.steps]))


def every_figure(pipe, t, image, rgb):
    small = [image] * 3
    pipe.scheduler.set_timesteps(STEPS)
    return {
        "token_strip": figures.token_strip(t.tokens.cond[0]),
        "embedding": figures.embedding(t.tokens.cond[0], t.embeddings.cond[0]),
        "similarity": figures.similarity(["a", "b", "c"], torch.eye(3)),
        "channels": figures.channels(t.latents[0], rgb, "title"),
        "gallery": figures.gallery([[rgb(t.latents[0])] * 3, small], top="abc", left="xy", smooth=[False, True], scale=[0.5, 1]),
        "sizes": figures.sizes([image, image.resize((96, 64))], ["64 × 64", "96 × 64"]),
        "latents_movie": figures.latents_movie(t, rgb),
        "decoded_movie": figures.decoded_movie(pipe.decode(torch.cat([s.latents for s in t.steps] + [t.latents])), t),
        "strip": figures.strip(t.steps, rgb, [image] * STEPS),
        "alphas": figures.alphas(pipe.scheduler, STEPS),
        "ddim_step": figures.ddim_step(pipe.scheduler, t.steps[1], rgb),
        "attention_words": figures.attention_words(t, image, ["a", "ship"]),
        "unet_ledger": figures.unet_ledger(t),
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


def test_principal_colours_do_not_depend_on_the_sign_of_an_svd():
    stage = torch.randn(5, 6, 6, generator=torch.Generator().manual_seed(1))
    assert np.array_equal(principal(stage), principal(stage.flip(0).flip(0)))
    assert not np.array_equal(principal(stage), principal(-stage))


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
