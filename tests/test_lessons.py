"""What Postcard is taught is what its model card and the docstrings say: every batch, every loss, every step.

The stages are not run: `given` keeps what a stage hands to Run.go.
"""

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_text
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from sdscope.pixels import psnr, to_tensor
from sdscope.postcard.training import data, judge, run
from sdscope.postcard.training import diffusion as train_diffusion
from sdscope.postcard.training import text as train_text
from sdscope.postcard.training import vae as train_vae
from sdscope.postcard.training.attributes import attribute_loss
from sdscope.postcard.training.muon import Muon
from sdscope.postcard.training.run import Length, Run
from sdscope.postcard.training.story import curve
from sdscope.postcard.training.tokenizer import train_tokenizer
from sdscope.postcard.world.scene import ATTRIBUTES, STYLES
from sdscope.scheduler import DDIM


@pytest.fixture
def given(monkeypatch):
    """What a stage gives to the loop: its losses, batch, sheet"""
    kept = SimpleNamespace()
    monkeypatch.setattr(
        Run, "go", lambda self, batch, sheet=None: vars(kept).update(losses=self.plain, batch=batch, sheet=sheet)
    )
    torch.manual_seed(0)
    return kept


def found(asked, kept):
    """Stands in for captioned and labelled: what is asked for, and always the same"""
    return lambda folder, count, first=data.TRAINING, progress=None: (
        asked.append((folder.name, count, first, progress)) or kept
    )


def shares(things):
    return {thing: things.count(thing) / len(things) for thing in set(things)}


def hung(asked, kept):
    """Stands in for painted"""
    stands_in = found(asked, kept)
    return lambda folder, count, size, first, progress=None: stands_in(folder, count, first, (size, progress))


def batches(given, count, done=0.0):
    return [given.batch(np.random.default_rng(step), done) for step in range(count)]


# ---------------------------------------------------------------------------- the loop


class Steep(nn.Module):
    """A loss whose gradient has this norm, on an inner matrix and one at an end"""

    def __init__(self, norm):
        super().__init__()
        self.inner, self.conv_out, self.slope = (
            nn.Parameter(torch.ones(3, 3)),
            nn.Parameter(torch.ones(3, 3)),
            norm / 18**0.5,
        )

    def forward(self, x):
        return self.slope * (self.inner.sum() + self.conv_out.sum()) + 0 * x.sum()


@pytest.mark.parametrize("norm, kept", [(0.25, 0.25), (1e4, 1.0)])
def test_gradients_are_clipped_to_a_norm_of_one_and_steps_have_their_rate(tmp_path, norm, kept):
    seen = []

    def look(optimizer, *_):
        groups = optimizer.param_groups
        seen.append((groups[0]["lr"], sum(p.grad.square().sum().item() for group in groups for p in group["params"])))

    hook = register_optimizer_step_pre_hook(look)
    try:
        Run(tmp_path, Steep(norm), Length(6, 2, 0.5)).go(lambda rng, done: [torch.zeros(2, 1)])
    finally:
        hook.remove()
    (muon, adamw), rates = (seen[::2], seen[1::2]), [0.5 * run.learning_rate(step, step / 6) for step in range(6)]
    assert [rate for rate, _ in muon] == [rate for rate, _ in adamw] == rates
    assert [(a + b) ** 0.5 for (_, a), (_, b) in zip(muon, adamw, strict=True)] == pytest.approx([kept] * 6, rel=1e-4)


def test_what_a_run_gives_is_its_average(tmp_path):
    done = Run(tmp_path, Steep(1.0), Length(3, 2, 0.5))
    done.go(lambda rng, done: [torch.zeros(2, 1)])
    kept = run.finished(tmp_path, Steep(1.0))
    assert (
        torch.equal(kept.inner, done.average.inner)
        and not torch.equal(kept.inner, done.plain.inner)
        and not kept.training
    )


def test_muon_is_that_of_torch():
    """Which takes matrices alone, and computes in bfloat16: three steps, with momentum and decay"""
    generator, options = torch.Generator().manual_seed(0), dict(lr=0.1, weight_decay=0.3, momentum=0.9)
    ours, theirs = (nn.Parameter(torch.randn(24, 40, generator=generator.manual_seed(1))) for _ in range(2))
    steps = (
        Muon([ours], **options),
        torch.optim.Muon([theirs], nesterov=True, adjust_lr_fn="match_rms_adamw", **options),
    )
    for _ in range(3):
        before, gradient = ours.detach().clone(), torch.randn(24, 40, generator=generator)
        for p, optimizer in zip((ours, theirs), steps):
            p.grad = gradient.clone()
            optimizer.step()
        moved, expected = ours.detach() - before, theirs.detach() - before
        assert (moved - expected).norm() < 0.05 * expected.norm()


def test_a_curve_has_each_step_once(tmp_path):
    """A run that was killed wrote some twice: the later ones count"""
    assert curve(tmp_path) == []
    rows = [(50, 0.5), (100, 0.4), (150, 0.35), (100, 0.25), (150, 0.123456)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(dict(step=step, loss=loss)) + "\n" for step, loss in rows))
    assert curve(tmp_path) == [[50, 0.5], [100, 0.25], [150, 0.1235]]
    with open(tmp_path / "log.jsonl", "a") as log:  # killed while it wrote, and gone on with
        log.write('{"step": 200, "lo{"step": 200, "loss": 0.1}\n{"step": 250, "loss": 0.0625}\n')
    assert curve(tmp_path) == [[50, 0.5], [100, 0.25], [150, 0.1235], [250, 0.0625]]


# ---------------------------------------------------------------------------- the autoencoder


@pytest.fixture
def small_vae(monkeypatch):
    for key, value in dict(block_out_channels=[8] * 4, norm_num_groups=4).items():
        monkeypatch.setitem(train_vae.VAE_CONFIG, key, value)


def test_the_autoencoder_sees_every_picture_but_the_held_out_ones(tmp_path, given, small_vae, monkeypatch):
    """Quarters first, then whole pictures; styles of thin lines, here every second one, come twice as often.

    These tell their number in red, and in green and blue where in it they are cut.
    """
    number, y, x = np.meshgrid(range(20), range(128), range(128), indexing="ij")
    pictures = np.stack([number * 12, y, x], axis=-1).astype(np.uint8)
    labels, asked = np.zeros((20, len(ATTRIBUTES)), np.int16), []
    labels[::2, list(ATTRIBUTES).index("style")] = [
        STYLES.index(style) for style in (*train_vae.THIN, *train_vae.THIN, "pencil", "pencil")
    ]
    monkeypatch.setattr(train_vae, "painted", hung(asked, pictures))
    monkeypatch.setattr(train_vae, "labelled", found(asked, labels))
    train_vae.train_vae(tmp_path, 20, Length(1, 8, 1e-3), "progress")
    assert asked == [("data", 20, data.TRAINING, ((128, 128), "progress")), ("data", 20, data.TRAINING, "progress")]
    for done, count, side, corners in ((0.69, 32, 64, set(range(0, 65, 8))), (0.7, 8, 128, {0})):
        seen, numbers = set(), []
        for batch, noise in batches(given, 40, done):
            assert batch.shape == (count, 3, side, side) and noise.shape == (count, 4, side // 8, side // 8)
            cut = ((batch + 1) * 127.5).round().int()
            seen |= {tuple(row) for row in cut[:, :, 0, 0].tolist()}
            numbers += (cut[:, 0, 0, 0] // 12).tolist()
            assert (cut[:, 1:, -1, -1] - cut[:, 1:, 0, 0] == side - 1).all() and (cut[:, 0] == cut[:, 0, :1, :1]).all()
        assert shares(numbers) == pytest.approx({i: (2 - i % 2) / 12 for i in range(train_vae.HELD_OUT, 20)}, abs=0.05)
        assert {top for _, top, _ in seen} == {left for *_, left in seen} == corners
    sheet = np.asarray(given.sheet(given.losses))
    assert (sheet[:128] == np.concatenate(pictures[: train_vae.HELD_OUT], axis=1)).all()
    assert (given.losses.vae.quant_conv.bias[4:] == -6).all()  # it started simple


def test_the_loss_of_the_autoencoder():
    """Of a decoder that gives back what it should: what is left is the distance of the latents from a normal
    distribution."""
    pictures, noise = torch.rand(2, 3, 8, 8), torch.randn(2, 4, 1, 1)
    mean, logvar, asked = torch.randn(2, 4, 1, 1), torch.randn(2, 4, 1, 1), []
    vae = nn.Module()
    vae.encode, vae.decode = lambda x: asked.append(x) or (mean, logvar), lambda z: asked.append(z) or pictures
    loss = train_vae.AutoencoderLoss(vae)(pictures, noise)
    normal = torch.distributions.Normal
    divergence = torch.distributions.kl_divergence(normal(mean, torch.exp(0.5 * logvar)), normal(0, 1)).mean()
    assert loss.item() == pytest.approx(1e-5 * divergence.item(), rel=1e-4)
    assert asked[0] is pictures and torch.allclose(asked[1], mean + torch.exp(0.5 * logvar) * noise)


def test_closeness_looks_at_values_and_at_edges_at_two_sizes():
    flat, stripes = torch.zeros(1, 3, 8, 8), torch.tensor([1.0, -1.0]).expand(1, 3, 8, 4, 2).flatten(-2)
    assert train_vae.closeness(stripes, stripes) == 0
    assert train_vae.closeness(flat + 0.5, flat).item() == pytest.approx(0.5 + 2 * 0.5**2)
    assert train_vae.closeness(stripes, flat).item() == pytest.approx(1 + 2 + 0.5 * 2)  # gone at half the size
    wide = stripes[..., :4].repeat_interleave(2, dim=-1)  # of 7 differences 3 are 2
    for way in wide, wide.mT:
        assert train_vae.closeness(way, flat).item() == pytest.approx(1 + 2 + 0.5 * 6 / 7 + 0.5 * 2)


def test_a_decibel_is_what_it_is():
    """Peak to peak is 2: off by a tenth of that everywhere is 20 dB"""
    a = torch.rand(2, 3, 4, 4)
    assert psnr(a, a + torch.tensor([0.2, 0.02])[:, None, None, None]).tolist() == pytest.approx([20, 40], abs=1e-4)


def test_the_autoencoder_starts_as_averaging_and_repeating():
    """ "A nearly linear map": no residual branch adds more than a constant, and there is hardly any noise on the
    latents."""
    config = train_vae.VAE_CONFIG | dict(block_out_channels=[8, 16, 8, 8], norm_num_groups=4)
    vae = train_vae.start_simple(train_vae.AutoencoderKL(config)).eval()
    x = torch.randn(1, 8, 8, 8)
    down, up = vae.encoder.down_blocks[0].downsamplers[0], vae.decoder.up_blocks[0].upsamplers[0]
    with torch.no_grad():
        for module in vae.modules():
            if isinstance(module, train_vae.ResnetBlock2D):
                straight = module.conv_shortcut
                x_in = torch.randn(1, module.conv1.in_channels, 8, 8)
                assert torch.allclose(module(x_in) - module.conv2.bias[:, None, None], straight(x_in), atol=1e-6)
                if isinstance(straight, nn.Conv2d):
                    weight = straight.weight[:, :, 0, 0]
                    assert torch.allclose(torch.linalg.svdvals(weight), torch.ones(min(weight.shape)), atol=1e-4)
            elif isinstance(module, train_vae.Attention):
                assert not module.to_out[0].weight.any()
        for resize, expected in ((down, F.avg_pool2d(x, 2)), (up, x.repeat_interleave(2, 2).repeat_interleave(2, 3))):
            assert torch.allclose(resize(x) - resize.conv.bias[:, None, None], expected, atol=1e-6)
        assert (vae.encode(torch.randn(1, 3, 64, 64))[1] == -6).all()


# ---------------------------------------------------------------------------- the text encoder and the judge


def test_the_loss_of_attributes():
    """Cross entropy of those that can be seen, mean over the attributes; one that nobody in the batch has counts
    nothing."""
    state = torch.randn(4, 6)
    heads = nn.ModuleDict({name: nn.Linear(6, len(words)) for name, words in ATTRIBUTES.items()})
    labels = torch.stack([torch.arange(4) % len(words) for words in ATTRIBUTES.values()], dim=1)
    labels[1:, 5], labels[:, 9] = -100, -100
    expected = []
    for head, column in zip(heads.values(), labels.T):
        chances = head(state).softmax(-1)
        known = [-chances[i, label].log() for i, label in enumerate(column) if label != -100]
        expected.append(torch.stack(known).mean() if known else torch.zeros(()))
    assert torch.allclose(attribute_loss(heads, state, labels), torch.stack(expected).mean(), atol=1e-6)


def test_a_caption_is_asked_about_at_its_end_and_at_the_end_of_its_padding(monkeypatch):
    states, labels, asked = torch.randn(2, 77, 5), torch.zeros(2, 10), []
    ids = torch.full((2, 77), 9)  # the end token, and padding with it
    ids[:, :3], ids[1, 3:7] = torch.tensor([8, 1, 2]), 3
    encoder = nn.Module()
    encoder.config, encoder.forward = SimpleNamespace(hidden_size=5), lambda given: (states,) if given is ids else None
    monkeypatch.setattr(train_text, "attribute_loss", lambda *given: asked.append(given) or given[1].sum())
    losses = train_text.CaptionLoss(encoder)
    loss, ends = losses(ids, labels), torch.stack([states[0, 3], states[1, 7]])
    for (heads, state, told), expected in zip(asked, (ends, states[:, -1]), strict=True):
        assert heads is losses.heads and told is labels and torch.equal(state, expected)
    assert torch.allclose(loss, (ends.sum() + states[:, -1].sum()) / 2)


def test_the_text_encoder_learns_every_caption_with_its_own_labels(tmp_path, given, monkeypatch):
    """These tell in their tokens whose they are, and which."""
    ids = np.zeros((10, data.CAPTIONS, 77), np.int16)
    ids[:, :, 1], ids[:, :, 2] = np.arange(10)[:, None], np.arange(data.CAPTIONS)
    labels = np.repeat(np.arange(10, dtype=np.int16)[:, None], 10, axis=1)
    asked = []
    monkeypatch.setattr(train_text, "captioned", found(asked, ids))
    monkeypatch.setattr(train_text, "labelled", found(asked, labels))
    monkeypatch.setattr(data, "train_tokenizer", partial(train_tokenizer, captions=100))
    (tmp_path / "data").mkdir()
    train_text.train_text(tmp_path, 10, Length(1, 32, 1e-3), "progress")
    assert asked == [("data", 10, data.TRAINING, "progress")] * 2
    seen = set()
    for chosen, told in batches(given, 20):
        assert chosen.shape == (32, 77) and torch.equal(chosen[:, 1], told[:, 0])
        seen |= {tuple(row) for row in chosen[:, 1:3].tolist()}
    assert len(seen) == 10 * data.CAPTIONS


def test_the_text_encoder_is_made_for_its_tokenizer():
    """What looks for the end of a text, as diffusers and transformers do, finds it by these."""
    tokenizer = tiny_text()[0]
    config = train_text.new_text_encoder(tokenizer).config
    assert (config.vocab_size, config.bos_token_id, config.eos_token_id) == (
        len(tokenizer),
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
    )
    assert config.hidden_size == train_diffusion.UNET_CONFIG["cross_attention_dim"]


def test_the_judge_learns_from_pictures_as_an_autoencoder_gives_them(tmp_path, given, monkeypatch):
    """A little blurred and noisy, each otherwise, each with its own labels; of the judge's own scenes."""
    number, y, x = np.meshgrid(range(5), range(128), range(128), indexing="ij")
    pictures = np.stack([100 + 20 * number, 60 * (y % 2), 60 * (x % 2)], axis=-1).astype(np.uint8)
    labels, asked = np.repeat(np.arange(5, dtype=np.int16)[:, None], 10, axis=1), []
    monkeypatch.setattr(judge, "painted", hung(asked, pictures))
    monkeypatch.setattr(judge, "labelled", found(asked, labels))
    judge.train_judge(tmp_path, 5, Length(1, 16, 1e-3), "progress")
    assert asked == [("data", 5, data.JUDGE, (judge.SIZE, "progress")), ("data", 5, data.JUDGE, "progress")]
    ((seen, told),) = batches(given, 1)
    assert [round(float((red + 1) * 127.5 / 20)) - 5 for red in seen[:, 0].mean((1, 2))] == told[:, 0].tolist() and len(
        set(told[:, 0].tolist())
    ) == 5
    clean = to_tensor(pictures)[told[:, 0]]
    stripes = (seen[:, 2, :, 1::2] - seen[:, 2, :, ::2]).mean((1, 2)) / (
        60 / 127.5
    )  # what blur leaves of them: 1 - blur ** 2
    noise = (seen - clean)[:, 0, 2:-2, 2:-2].std((1, 2))
    assert -0.01 < stripes.min() < 0.5 < 0.9 < stripes.max() < 1.02
    assert noise.min() < 0.01 and 0.04 < noise.max() < 0.08


# ---------------------------------------------------------------------------- the diffusion model


def told(size):
    """Latents of 64 pictures, and captions that say of which picture and which of its captions they are, and of
    which size."""
    width, height = size
    latents = torch.randn(64, 4, height // 64, width // 64, generator=torch.Generator().manual_seed(width))
    latents = latents * torch.tensor([1.0, 2, 3, 4])[:, None, None] + torch.tensor([-5.0, 0, 5, 10])[:, None, None]
    ids = torch.zeros(64, data.CAPTIONS, 77, dtype=torch.int16)
    ids[:, :, 1], ids[:, :, 2] = torch.arange(64)[:, None], torch.arange(data.CAPTIONS)
    ids[:, :, 3], ids[:, :, 4] = width, height
    return latents, ids


@pytest.fixture
def world(tmp_path, given, monkeypatch):
    """Earlier stages that left `told`, and networks of next to nothing."""
    for key, value in dict(
        block_out_channels=[8] * 4, norm_num_groups=4, attention_head_dim=[1] * 4, cross_attention_dim=16
    ).items():
        monkeypatch.setitem(train_diffusion.UNET_CONFIG, key, value)
    monkeypatch.setattr(data, "train_tokenizer", partial(train_tokenizer, captions=100))
    (tmp_path / "data").mkdir()
    vae = train_vae.AutoencoderKL(train_vae.VAE_CONFIG | dict(block_out_channels=[8] * 4, norm_num_groups=4))
    sizes = [*train_diffusion.SIZES, *train_diffusion.LARGE]
    for name, stands_in in dict(
        trained_vae=lambda folder, name="vae": vae,
        trained_text_encoder=lambda folder: nn.Linear(1, 1),
        made_model=lambda folder, name: SimpleNamespace(
            text_encoder=nn.Linear(1, 1), unet=train_diffusion.UNet2DConditionModel(train_diffusion.UNET_CONFIG)
        ),
        keep_story=lambda *_, **__: None,
        encoded=lambda folder, vae, count, size, *_: told(size)[0][:count],
        captioned=lambda folder, count, first, *_: told(sizes[first // 2**30])[1][:count].numpy(),
    ).items():
        monkeypatch.setattr(train_diffusion, name, stands_in)
    return SimpleNamespace(folder=tmp_path, vae=vae, given=given)


def lessons(world, stage, size=(128, 128)):
    """A thousand batches of 16, each looked at: their sizes, times, and whose captions they have (None: left out)."""
    stage(world.folder, 60, Length(1, 16, 1e-3))
    ddim, square = DDIM(train_diffusion.SCHEDULER_CONFIG), told(size)[0][:48]  # four of five pictures
    mean, spread = (x[:, None, None] for x in (square.mean((0, 2, 3)), square.std((0, 2, 3))))
    assert world.vae.config.scaling_factor == pytest.approx(1 / spread.mean().item())
    empty = torch.tensor(data.tokenizer_in(world.folder / "data")("", padding="max_length").input_ids)
    sizes, every_time, captions = [], [], []
    for noisy, times, ids, velocity in batches(world.given, 1000):
        a = ddim.alphas_cumprod[times][:, None, None, None]
        x0, noise = a**0.5 * noisy - (1 - a) ** 0.5 * velocity, (1 - a) ** 0.5 * noisy + a**0.5 * velocity
        named = (ids != empty).any(1)
        picture, caption, *size = ids[named, 1:5].T
        sizes.append((size[0].unique().item(), size[1].unique().item()))  # everything of one size
        assert torch.allclose(x0[named], (told(sizes[-1])[0][picture] - mean) / spread, atol=1e-3)
        assert abs(noise.mean()) < 0.5 and 0.6 < noise.std() < 1.4
        every_time += times.tolist()
        captions += [*zip(picture.tolist(), caption.tolist()), *[None] * int((~named).sum())]
    return sizes, every_time, captions


def test_the_unet_learns_normalised_latents_with_their_captions_one_in_ten_left_out(world):
    sizes, times, captions = lessons(world, train_diffusion.train_diffusion)
    assert shares(sizes) == pytest.approx(train_diffusion.SIZES, abs=0.04)
    assert captions.count(None) / len(captions) == pytest.approx(0.1, abs=0.01)
    assert {(i, c) for i in range(48) for c in range(data.CAPTIONS)} == set(captions) - {None}
    often = train_diffusion.timestep_weights(DDIM(train_diffusion.SCHEDULER_CONFIG), 128).view(10, 100).sum(1)
    assert (np.histogram(times, 10, (0, 1000))[0] / len(times)).tolist() == pytest.approx(often.tolist(), abs=0.01)


def test_large_pictures_come_in_their_sizes_normalised_anew(world):
    sizes, times, captions = lessons(world, train_diffusion.train_large, (256, 256))
    assert shares(sizes) == pytest.approx(train_diffusion.LARGE, abs=0.04)
    assert captions.count(None) / len(captions) == pytest.approx(0.1, abs=0.01)
    often = train_diffusion.timestep_weights(DDIM(train_diffusion.SCHEDULER_CONFIG), 256).view(10, 100).sum(1)
    assert (np.histogram(times, 10, (0, 1000))[0] / len(times)).tolist() == pytest.approx(often.tolist(), abs=0.01)


@pytest.mark.parametrize("side", [64, 128, 256])
def test_times_are_drawn_as_min_snr_would_weigh_them(side):
    """arXiv:2303.09556, of v: min(SNR, 5) / (SNR + 1); a quarter of all draws is even. Twice as fine: four times the
    SNR, arXiv:2301.11093; as it is for 64 pixels."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    snr = (side / 64) ** 2 / (1 / np.cumprod(1 - betas) - 1)
    weight = np.minimum(snr, 5) / (snr + 1)
    found = train_diffusion.timestep_weights(DDIM(train_diffusion.SCHEDULER_CONFIG), side).double().numpy()
    assert np.allclose(found, 0.75 * weight / weight.sum() + 0.25 / 1000, rtol=1e-3)
    assert found.max() > 2 * found[0] and found.max() > 5 * found[-1]


def test_the_text_encoder_stays_as_it_is_while_the_unet_learns():
    losses = train_diffusion.DiffusionLoss(nn.Linear(2, 2), nn.Linear(2, 2))
    learning = {
        id(p)
        for optimizer in run.optimizers_of(losses, 1e-3)
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert learning == {id(p) for p in losses.unet.parameters()}


def test_no_two_parts_of_the_world_have_a_scene_in_common():
    """Of so many pictures as nobody will paint"""
    count = 10**9
    rows = [
        range(first, first + n)
        for sizes in (train_diffusion.SIZES, train_diffusion.LARGE)
        for _, n, first in train_diffusion.worlds(count, sizes)
    ]
    rows += [range(data.JUDGE, data.JUDGE + count), range(data.EVALUATION, data.EVALUATION + count)]
    rows.sort(key=lambda row: row.start)
    assert (
        len(rows) == 10 and all(a.stop <= b.start for a, b in zip(rows, rows[1:])) and rows[-1].stop < 2**40
    )  # Scene.for_training goes on there
