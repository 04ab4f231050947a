"""Postcard's variants: what the painter knows of depth and masks; what is learned, opened and measured."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

import sdscope
from sdscope import SdscopeError, variants
from sdscope.loading.checkpoint import find_model
from sdscope.loading.models import VARIANTS as NAMES
from sdscope.loading.weights import weights_sha256
from sdscope.postcard.training import data, diffusion, run
from sdscope.postcard.training import evaluate_variants as evaluation
from sdscope.postcard.training import variants as training
from sdscope.postcard.training.depth_judge import DepthJudgeLoss, latent_sized
from sdscope.postcard.training.evaluate_variants import correlation, evaluate_variants, outside
from sdscope.postcard.training.judge import JudgeLoss
from sdscope.postcard.training.run import Length, Run
from sdscope.postcard.training.variants import VARIANTS, learned, train_variant, trainable
from sdscope.postcard.world.depth import depth, silhouettes
from sdscope.postcard.world.masks import box_around, draw_mask, grown
from sdscope.postcard.world.paint import paint, staged
from sdscope.postcard.world.scene import Scene, Thing
from sdscope.unet import UNet2DConditionModel

CASTLE = Scene("field", "day", "clear", "vector", (Thing("castle", "red", 1, "left"),), 5)
PAIR = replace(CASTLE, things=(Thing("cat", "red", 1, "left"), Thing("balloon", "blue", 1, "right")))
EMPTY = replace(CASTLE, things=())


def pixels(image):
    return np.asarray(image).astype(int)


# ---------------------------------------------------------------------------- what the painter knows


def test_a_place_is_nearer_from_the_horizon_down():
    """The horizon is at 0.58 of the height: 37.1 of 64 rows are sky"""
    rows = pixels(depth(EMPTY, 96, 64))
    assert rows.shape == (64, 96) and (rows == rows[:, :1]).all()
    assert (rows[:37] == 0).all()
    for row in 38, 50, 63:
        assert abs(rows[row, 0] - (64 + 191 * ((row + 0.5) / 64 - 0.58) / 0.42)) < 1
    assert (np.diff(rows[38:, 0]) > 0).all()


def test_a_thing_is_as_near_as_the_ground_at_its_feet():
    """All of it, and nearer than the ground behind it; elsewhere nothing has changed"""
    empty, found = pixels(depth(EMPTY, 64, 64)), pixels(depth(CASTLE, 64, 64))
    (mask,) = map(pixels, silhouettes(CASTLE, 64, 64))
    _, ((_, x, feet, tall),) = staged(CASTLE, 64, 64)
    inside, beside = mask == 255, mask == 0
    assert inside.sum() > 200 and 0.2 < x < 0.35 and (found[beside] == empty[beside]).all()
    assert (found[inside] == round(64 + 191 * (feet - 0.58) / 0.42)).all()
    behind = inside & (np.arange(64) < int(64 * feet))[:, None]
    assert (found[behind] > empty[behind]).all()
    top, bottom = np.flatnonzero(inside.any(axis=1))[[0, -1]]
    assert abs(bottom / 64 - feet) < 0.06 and abs((bottom - top) / 64 - tall) < 0.1


def test_what_flies_is_as_far_as_the_horizon():
    cat, balloon = (pixels(mask) == 255 for mask in reversed(silhouettes(PAIR, 64, 64)))
    found = pixels(depth(PAIR, 64, 64))
    assert cat.sum() > 50 and balloon.sum() > 50 and np.flatnonzero(cat.any(0))[-1] < np.flatnonzero(balloon.any(0))[0]
    assert (found[balloon] == 64).all() and (found[cat] > 100).all()


def test_a_silhouette_is_what_is_painted():
    """The picture without the thing is another where the silhouette is white, and above the ground nowhere else"""
    with_it, without = (pixels(paint(scene, 96, 96)) for scene in (CASTLE, EMPTY))
    changed = (with_it != without).any(axis=-1)
    (mask,) = map(pixels, silhouettes(CASTLE, 96, 96))
    assert changed[mask == 255].mean() > 0.97 and changed[:50][mask[:50] == 0].mean() < 0.01  # below are shadows


def test_masks():
    """By their seed always the same; boxes, ovals and things; never nothing, never all"""
    kinds = set()
    for seed in range(24):
        mask = draw_mask(PAIR, np.random.default_rng(seed), 64, 48)
        assert mask.tobytes() == draw_mask(PAIR, np.random.default_rng(seed), 64, 48).tobytes()
        white = pixels(mask) > 0
        assert mask.mode == "L" and mask.size == (64, 48) and set(np.unique(pixels(mask))) == {0, 255}
        top, bottom, left, right = *np.flatnonzero(white.any(1))[[0, -1]], *np.flatnonzero(white.any(0))[[0, -1]]
        filled = white[top : bottom + 1, left : right + 1].mean()
        kinds.add("box" if filled == 1 else "oval" if 0.7 < filled < 0.85 else "other")
    assert kinds == {"box", "oval", "other"}
    for scene in (EMPTY, replace(EMPTY, place="sea")):
        assert draw_mask(scene, np.random.default_rng(2), 64, 64).getbbox()


def test_a_grown_mask_covers_its_thing_and_more():
    for silhouette in silhouettes(PAIR, 64, 64):
        mask, wide = (pixels(grown(silhouette, radius)) for radius in (0.7, 3.0))
        assert (mask[pixels(silhouette) > 0] == 255).all() and (mask > 0).sum() < (wide > 0).sum() < 64 * 64 / 2


def test_a_box_around_all_things():
    things = np.max([pixels(mask) for mask in silhouettes(PAIR, 64, 64)], axis=0)
    box = box_around(PAIR, 64, 64)
    left, top, right, bottom = box.getbbox()
    assert (pixels(box)[top:bottom, left:right] == 255).all() and (pixels(box)[things > 0] == 255).all()
    assert (pixels(box) == 0).any()


# ---------------------------------------------------------------------------- training


@pytest.fixture
def small(monkeypatch, tmp_path, tiny_folder):
    """A folder of runs in which a tiny model for 64 pixels was made"""
    monkeypatch.setattr(data, "CHUNK", 4)
    monkeypatch.setattr(data, "workers", lambda jobs: nullcontext())
    monkeypatch.setattr(diffusion, "LARGE", {(64, 64): 1.0})
    monkeypatch.setattr(training, "SHOWN", 1)
    monkeypatch.setattr(training, "RANK", 4)
    shutil.copytree(tiny_folder, tmp_path / "runs/model")
    return tmp_path / "runs"


def made(unet, name, scale):
    """A variant whose new channels and LoRA are no longer zero"""
    unet, generator = trainable(unet, VARIANTS[name]), torch.Generator().manual_seed(1)
    for key, x in unet.named_parameters():
        if x.requires_grad and "lora_A" not in key:
            x.data += scale * torch.randn(x.shape, generator=generator)
    return unet


def ask(unet, name, seed=0):
    """An answer to noise: the latents always the same, and what is given by the seed"""
    draw = lambda seed, *shape: torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    levels = [torch.tensor([7 + seed, 50 + seed])] * (name == "upscale")
    x = torch.cat([draw(9, 2, 4, 8, 8), draw(seed, 2, VARIANTS[name].channels, 8, 8)], dim=1)
    with torch.no_grad():
        return unet(x, torch.tensor(500), draw(8, 2, 77, 32), *levels), unet, x


@pytest.mark.parametrize("name", VARIANTS)
def test_at_the_first_step_it_paints_what_the_model_does(tiny, name):
    """Whatever is given; and no longer, when the new weights are not zero. The model stays as it was."""
    before = {key: x.clone() for key, x in tiny.unet.state_dict().items()}
    unet = trainable(tiny.unet, VARIANTS[name])
    answer, _, x = ask(unet, name)
    with torch.no_grad():
        expected = tiny.unet(
            x[:, :4], torch.tensor(500), torch.randn(2, 77, 32, generator=torch.Generator().manual_seed(8))
        )
    for seed in 0, 1:
        assert torch.allclose(ask(unet, name, seed)[0], expected, atol=1e-5)
    other = made(tiny.unet, name, 0.1)
    assert not torch.allclose(ask(other, name, 0)[0], ask(other, name, 1)[0], atol=1e-2)
    assert all(torch.equal(x, before[key]) for key, x in tiny.unet.state_dict().items())


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_trained(tiny, name):
    """The first convolution, a LoRA, the levels of noise; all of it moves, by AdamW"""
    unet = made(tiny.unet, name, 0.1)
    moving = {key for key, x in unet.named_parameters() if x.requires_grad}
    rest = {key for key in moving if "lora_" not in key}
    assert rest == {"conv_in.weight", "conv_in.bias"} | ({"class_embedding.weight"} if name == "upscale" else set())
    assert len(moving - rest) == 2 * len(training.fresh(tiny.unet, 0)) > 40
    (adamw,) = run.optimizers_of(unet, 1e-3)
    assert isinstance(adamw, torch.optim.AdamW) and sum(len(group["params"]) for group in adamw.param_groups) == len(
        moving
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_it_learns(small, name):
    """The loss of the second fifty steps is below that of the first"""
    train_variant(name, small, 8, Length(100, 8, 2e-2))
    first, second = (json.loads(line)["loss"] for line in (small / name / "log.jsonl").read_text().splitlines())
    assert second < 0.9 * first
    assert (small / name / "sheet-000100.png").exists()
    conditioned = variants.conditioned(VARIANTS[name].task, opened(small), small / f"{name}.safetensors")
    assert training.base_of(small / f"{name}.safetensors") == weights_sha256(small / "model")
    answer, base = conditioned.unet.conv_in.weight, opened(small).unet.conv_in.weight
    assert answer.shape[1] == 4 + VARIANTS[name].channels and answer[:, 4:].abs().max() > 1e-3
    assert not torch.equal(answer[:, :4], base)


def opened(small):
    return sdscope.StableDiffusion.from_pretrained(small / "model", device="cpu")


@pytest.mark.parametrize("name", ["inpaint", "upscale"])  # nothing of its own is random, something is
def test_interrupted_it_becomes_what_it_would_have_become(small, monkeypatch, name):
    length, path = Length(4, 4, 1e-2), small / f"{name}.safetensors"
    train_variant(name, small, 8, length)
    whole = path.read_bytes()
    shutil.rmtree(small / name)
    path.unlink()
    monkeypatch.setattr(run, "SAVE_EVERY", -1)  # a checkpoint after every step
    asked, calls = training.asked, []

    def killed(*given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return asked(*given)

    monkeypatch.setattr(training, "asked", killed)
    with pytest.raises(KeyboardInterrupt):
        train_variant(name, small, 8, length)
    assert path.exists() and path.read_bytes() != whole
    train_variant(name, small, 8, length)
    assert len(calls) == 5 and path.read_bytes() == whole


def test_what_is_given_is_what_the_tasks_give(small, tiny):
    """Training and painting see the same channels: of the same pictures, masks, depths and small copies"""
    (size, count, first), chosen = diffusion.large_squares(4), torch.tensor([1, 2])
    scenes = [data.scene_of(first + i) for i in chosen.tolist()]
    pictures = [paint(scene, *size) for scene in scenes]
    masks = [draw_mask(scene, np.random.default_rng([first + i, 1]), *size) for i, scene in zip((1, 2), scenes)]
    given = {name: v.given(small, tiny, size, count, first, None) for name, v in VARIANTS.items()}

    (found,) = given["inpaint"](chosen)
    x, mask, _ = sdscope.preprocess.to_inpaint(pictures, masks, 2, size)
    with torch.no_grad():
        left = tiny.vae.encode(x * (mask < 0.5))[0] * tiny.vae.config.scaling_factor
    assert torch.equal(found[:, :1], F.interpolate(mask, (8, 8))) and torch.allclose(found[:, 1:], left, atol=1e-4)
    assert 0 < mask.mean() < 1

    (found,) = given["depth"](chosen)
    expected = sdscope.preprocess.to_depth([depth(scene, *size) for scene in scenes], 2, (8, 8), torch.empty(0))
    assert torch.equal(found, expected) and found.min() == -1 and found.max() == 1

    torch.manual_seed(0)
    found, levels = given["upscale"](chosen)
    assert found.shape == (2, 12, 8, 8) and levels.shape == (2,) and 0 <= levels.min() <= levels.max() <= 100
    small_ones = torch.stack([sdscope.preprocess.as_tensor([training.copy(p)])[0] for p in pictures])
    assert (F.pixel_shuffle(found, 2) - small_ones).abs().mean() < 0.2 and small_ones.shape == (2, 3, 16, 16)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_file_fits_the_repository(tmp_path, name):
    """At most 3 MB, for the networks of Postcard as they are"""
    unet = trainable(UNet2DConditionModel(diffusion.UNET_CONFIG), VARIANTS[name])
    save_file(learned(unet), tmp_path / "a.safetensors", {"base": 64 * "0"})
    assert 2e6 < (tmp_path / "a.safetensors").stat().st_size <= 3e6


# ---------------------------------------------------------------------------- opening


@pytest.fixture(scope="module")
def unets(tiny):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "RANK", 4)
        return {name: made(tiny.unet, name, 0.02) for name in VARIANTS}


@pytest.fixture
def published(monkeypatch, tmp_path, unets, tiny_folder):
    """Variants of the tiny model, in the places of Postcard's; what they were made of"""
    monkeypatch.setattr(variants, "PUBLISHED", tmp_path)
    real = sdscope.StableDiffusion.from_pretrained.__func__
    at_home = lambda cls, model="postcard", *args, **options: real(
        cls, tiny_folder if model == "postcard" else model, *args, **options
    )
    monkeypatch.setattr(sdscope.StableDiffusion, "from_pretrained", classmethod(at_home))
    for name, unet in unets.items():
        save_file(learned(unet), tmp_path / f"{name}.safetensors")
    return unets


def open_it(name):
    return VARIANTS[name].task.from_pretrained(f"postcard-{name}", device="cpu")


@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_opened_by_name_and_paints(published, tiny, name):
    """Merged it answers as it did when it was trained, but for float16"""
    pipe = open_it(name)
    assert type(pipe) is VARIANTS[name].task and pipe.sides == tiny.sides
    before, after = ask(published[name], name)[0], ask(pipe.unet, name)[0]
    away = (after - ask(trainable(tiny.unet, VARIANTS[name]), name)[0]).abs().max()
    assert (before - after).abs().max() < 0.02 * away
    given = training.examples(VARIANTS[name], [CASTLE, PAIR], 64)
    paint = lambda given: pipe(["a castle", "a cat"], *given, seed=0, num_inference_steps=2, **VARIANTS[name].options)
    images, others = paint(given), paint([images[::-1] for images in given])
    assert all(image.size == (64, 64) for image in images)
    assert all(a.tobytes() != b.tobytes() for a, b in zip(images, others))  # what is given matters


def test_four_times_as_large(published):
    """2 x 2 pixels of the small picture go with each latent, in their places"""
    pipe, seen = open_it("upscale"), []
    x = Image.fromarray(np.arange(16 * 24 * 3, dtype=np.uint16).reshape(16, 24, 3).astype(np.uint8))
    pipe.unet.register_forward_pre_hook(lambda unet, args: seen.append(args))
    assert pipe("a ship", x, num_inference_steps=1, noise_level=0, seed=0).size == (96, 64)
    small = sdscope.preprocess.as_tensor([x])
    assert (F.pixel_shuffle(seen[0][0][:1, 4:], 2) - small).abs().max() < 0.06  # level 0 has some noise
    assert seen[0][3].tolist() == [0, 0]
    with pytest.raises(SdscopeError, match="the noise level must be a whole number from 0 to 100, not 101"):
        pipe("a ship", x, noise_level=101)


def test_names(published):
    """Each is opened by one class; the others say by which"""
    assert {f"postcard-{name}": variant.task.__name__ for name, variant in VARIANTS.items()} == NAMES
    for model, opener in NAMES.items():
        for cls in "StableDiffusion", "ImageToImage", "Inpaint", "DepthToImage", "Upscale":
            if cls != opener:
                with pytest.raises(SdscopeError) as told:
                    getattr(sdscope, cls).from_pretrained(model, device="cpu")
                assert str(told.value) == f"{model} is a variant of postcard: open it with sdscope.{opener}"
    with pytest.raises(SdscopeError, match="one of postcard, .*postcard-upscale"):
        find_model("postcart")


def another(**weights):
    return lambda path: save_file(load_file(path) | weights, path)


def without(part):
    return lambda path: save_file({key: x for key, x in load_file(path).items() if part not in key}, path)


UNFIT = "is of another model, or no variant of one: it does not fit the UNet"
DAMAGED = {
    "missing": (lambda path: path.unlink(), "lacks its file .*: `sdscope train inpaint` makes one, to be put there"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is damaged or incomplete"),
    "no first": (without("conv_in.weight"), UNFIT),
    "half": (without("lora_B"), UNFIT),
    "narrow": (another(**{"conv_in.weight": torch.zeros(2, 9, 3, 3)}), UNFIT),
    "flat": (another(**{"conv_in.weight": torch.zeros(9)}), UNFIT),
    "strange": (
        another(**{"conv_9.lora_A.weight": torch.zeros(4, 4), "conv_9.lora_B.weight": torch.zeros(4, 4)}),
        UNFIT,
    ),
    "thick": (another(**{"down_blocks.0.resnets.0.conv1.lora_B.weight": torch.zeros(16, 3, 1, 1)}), UNFIT),
    "more": (another(extra=torch.zeros(1)), UNFIT),
    "nan": (another(**{"conv_in.bias": torch.full((16,), torch.nan)}), "NaN or infinite weights in conv_in.bias"),
    "of depth": (
        lambda path: shutil.copy(path.with_name("depth.safetensors"), path),
        "in_channels 5, .*: open it with sdscope.DepthToImage",
    ),
}


@pytest.mark.parametrize("change, told", DAMAGED.values(), ids=DAMAGED)
def test_what_cannot_be_opened_is_one_line(published, change, told):
    change(variants.PUBLISHED / "inpaint.safetensors")
    with pytest.raises(SdscopeError, match=told) as error:
        open_it("inpaint")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", sorted(variants.PUBLISHED.glob("*.safetensors")), ids=lambda path: path.stem)
def test_what_is_published_was_trained_on_the_published_weights(path):
    assert training.base_of(path) == weights_sha256(find_model("postcard"))
    open_it(path.stem)


# ---------------------------------------------------------------------------- measuring


def test_likeness_outside_a_mask():
    """What is inside does not count, what is outside does: 51 of 255 is a fifth of the range, 14 dB"""
    mask = Image.new("L", (8, 8))
    mask.paste(255, (0, 0, 8, 4))
    grey, other, below = (Image.new("RGB", (8, 8), (100, 100, 100)) for _ in range(3))
    other.paste((0, 255, 0), (0, 0, 8, 4))
    below.paste((151, 151, 151), (0, 4, 8, 8))
    other.putpixel((0, 7), (101, 100, 100))
    assert outside([below], [grey], [mask]) == pytest.approx(13.98, abs=0.01)
    assert outside([other], [grey], [mask]) == pytest.approx(-10 * np.log10(1 / 255**2 / 3 / 32), abs=0.01)
    assert outside([below, below], [grey, grey], [mask, Image.new("L", (8, 8))]) == pytest.approx(
        (13.98 + 13.98 + 3.01) / 2, abs=0.01
    )


def test_a_judge_of_depth_can_learn():
    """After some steps it sees where a thing stands"""
    torch.manual_seed(0)
    scenes = [replace(CASTLE, things=(Thing("castle", "red", 1, side),)) for side in ("left", "right")]
    x = sdscope.preprocess.as_tensor([paint(scene, 64, 64) for scene in scenes])
    near = latent_sized(evaluation.stacked([depth(scene, 64, 64) for scene in scenes]))
    flat = latent_sized(evaluation.stacked([depth(EMPTY, 64, 64)]))
    losses = DepthJudgeLoss()
    optimizer = torch.optim.AdamW(losses.parameters(), 3e-3)
    for _ in range(25):
        optimizer.zero_grad()
        losses(x, near).backward()
        optimizer.step()
    seen = evaluation.seen_in([paint(scene, 64, 64) for scene in scenes], losses.judge.eval())
    assert seen.shape == near.shape == (2, 1, 8, 8)
    assert correlation(seen, near) > 0.9 and correlation(seen - flat, near - flat) > 0.5
    assert correlation(seen.flip(0) - flat, near - flat) < 0.3


def test_the_evaluation(small, monkeypatch, published):
    """Beside one that paints as the painter does, everything else is worse"""
    with pytest.raises(SdscopeError, match="there is no variant in .*runs: `sdscope train inpaint`"):
        evaluate_variants(small, small / "out.json", 3)
    for name in VARIANTS:
        save_file(learned(published[name]), small / f"{name}.safetensors", {"base": weights_sha256(small / "model")})
    with pytest.raises(SdscopeError, match="train judge"):
        evaluate_variants(small, small / "out.json", 3)
    with pytest.raises(SdscopeError, match="at least 2 scenes"):
        evaluate_variants(small, small / "out.json", 1)
    torch.manual_seed(0)
    for name, losses in ("judge", JudgeLoss()), ("depth-judge", DepthJudgeLoss()):
        Run(small / name, losses, Length(1, 1, 1e-3)).save()
    real = evaluation.answers

    def painter(pipe, scenes, given=(), *args, **options):
        if type(pipe) is sdscope.StableDiffusion or pipe.unet.config.in_channels == 4:
            return real(pipe, scenes, given, *args, **options)
        return [paint(scene, pipe.size, pipe.size) for scene in scenes]

    monkeypatch.setattr(evaluation, "answers", painter)
    evaluate_variants(small, small / "out.json", 3)
    result = json.loads((small / "out.json").read_text())
    assert (result["scenes"], result["weights"]) == (3, weights_sha256(small / "model"))
    ways = result["depth"]
    assert ways["variant"] == ways["painter"] != ways["model"]
    ways = result["upscale"]
    assert list(ways) == ["variant, guidance 1", "variant, guidance 5", "bicubic", "autoencoder"]
    assert (
        ways["variant, guidance 5"]["frechet"] < 1e-3 < min(ways[way]["frechet"] for way in ("bicubic", "autoencoder"))
    )
    assert 10 < ways["bicubic"]["psnr"] < 40 and ways["autoencoder"]["psnr"] < 20
    ways = result["inpaint"]
    assert ways["variant"]["outside"] > 20 > ways["autoencoder"]["outside"] and ways["model"]["inside"]["place"][3] == 3

    save_file(learned(published["depth"]), small / "depth.safetensors", {"base": "other"})
    with pytest.raises(SdscopeError, match="depth.safetensors was trained on other weights than those of .*model"):
        evaluate_variants(small, small / "out.json", 3)
