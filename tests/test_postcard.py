"""The painter, its captions, the tokenizer, and the training loop that can be killed at any time."""
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import CLIPTokenizer

from sdscope.postcard import train
from sdscope.postcard.captions import PLACE_LIST, PLACE_PHRASE, STYLE, SUBJECT, TIME_LIST, TIME_PHRASE, caption
from sdscope.postcard.painter import COLOURS, PLACES, STYLES, SUBJECTS, TIMES, USUAL, Scene, paint
from sdscope.postcard.tokenizer import train_tokenizer
from sdscope.vae import AutoencoderKL


def test_a_scene_is_painted_the_same_every_time():
    for seed in range(10):
        assert Scene.random(seed) == Scene.random(seed)
        assert paint(Scene.random(seed)).tobytes() == paint(Scene.random(seed)).tobytes()


def test_seeds_and_attributes_change_the_picture():
    scene = Scene("sea", "sunrise", "ship", "red", "oil", 1)
    others = [Scene("snow", "sunrise", "ship", "red", "oil", 1), Scene("sea", "night", "ship", "red", "oil", 1), Scene("sea", "sunrise", "castle", "red", "oil", 1),
              Scene("sea", "sunrise", "ship", "blue", "oil", 1), Scene("sea", "sunrise", "ship", "red", "pencil", 1), Scene("sea", "sunrise", "ship", "red", "oil", 2)]
    assert len({paint(s).tobytes() for s in [scene, *others]}) == len(others) + 1


@pytest.mark.parametrize("style", STYLES)
def test_everything_can_be_painted(style):
    for i, subject in enumerate(SUBJECTS):
        picture = paint(Scene(PLACES[i % 6], TIMES[i % 4], subject, list(COLOURS)[i % 5], style, i))
        assert picture.size == (128, 128) and picture.mode == "RGB"
        assert np.asarray(picture).std() > 4                   # not a blank sheet


def test_captions_are_true():
    """A caption names no other place, time, subject or style than the scene's, and always an unusual colour."""
    rng = np.random.default_rng(0)
    words = [{name: set(a[name]) | set(b[name]) for name in a} for a, b in ((PLACE_LIST, PLACE_PHRASE), (TIME_LIST, TIME_PHRASE))]
    for seed in range(500):
        scene = Scene.random(seed)
        text = caption(scene, rng)
        assert text and text == text.strip(", ")
        for attribute, names in zip((scene.place, scene.time), words):
            for other in names.keys() - {attribute}:
                assert not any(says(text, phrase) for phrase in names[other]), (text, other)
        for subject in SUBJECT.keys() - {scene.subject}:
            assert not any(says(text, name) for name in SUBJECT[subject]), (text, subject)
        for style in STYLE.keys() - {scene.style, "oil"}:      # "painting" alone is oil, and part of "watercolor painting"
            assert not any(says(text, name) for name in STYLE[style]), (text, style)
        if scene.subject != "nothing" and scene.style != "pencil" and scene.colour != USUAL[scene.subject]:
            assert scene.colour in text


def says(text, phrase):
    return re.search(rf"\b{phrase}\b", text)


def test_captions_vary():
    rng = np.random.default_rng(0)
    assert len({caption(Scene.random(1), rng) for _ in range(50)}) > 30


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(folder, captions=2000)
    return CLIPTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("text", ["painting depicting the sea, sunrise, ship", "an astronaut riding a horse", "日本の船 🚀 émigré", "", "x" * 500])
def test_any_text_can_be_written(tokenizer, text):
    ids = tokenizer(text, padding="max_length", truncation=True).input_ids
    assert len(ids) == 77 and ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    whole = tokenizer(text, verbose=False).input_ids[1:-1]
    assert tokenizer.decode(whole).replace(" ", "") == text.lower().replace(" ", "")
    assert max(whole, default=0) < tokenizer.bos_token_id      # no unknown token hidden in it


def test_the_words_of_the_world_are_whole_pieces(tokenizer):
    for word in ("ship", "lighthouse", "castle", "sunrise", "watercolor", "painting", "sea"):
        assert len(tokenizer(word).input_ids) == 3, word


class Fit(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 1)

    def forward(self, x):
        return (self.linear(x + 0.1 * torch.randn_like(x)) - x.sum(dim=1, keepdim=True)).pow(2).mean()


def batch(rng, done):
    return [torch.from_numpy(rng.standard_normal((8, 4), dtype=np.float32))]


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch):
    train.Run(tmp_path / "whole", Fit(), steps=12, lr=0.1).go(batch)

    run = train.Run(tmp_path / "broken", Fit(), steps=12, lr=0.1)
    monkeypatch.setattr(train, "SAVE_EVERY", -1)               # a checkpoint after every step

    def killed(rng, done):
        if done >= 0.5:
            raise KeyboardInterrupt
        return batch(rng, done)

    with pytest.raises(KeyboardInterrupt):
        run.go(killed)
    train.Run(tmp_path / "broken", Fit(), steps=12, lr=0.1).go(batch)

    whole, broken = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "broken"))
    for part in ("losses", "average"):
        assert all(torch.equal(a, b) for a, b in zip(whole[part].values(), broken[part].values()))


def test_centring_the_latents_leaves_pictures_as_they_are():
    torch.manual_seed(0)
    vae = AutoencoderKL(train.VAE_CONFIG).eval()
    with torch.no_grad():
        pictures = torch.rand(4, 3, 64, 64) * 2 - 1
        before, logvar = vae.encode(pictures)
        decoded = vae.decode(before)
        mean, std = before.mean(dim=(0, 2, 3)), before.std(dim=(0, 2, 3))
        train.centre(vae, mean, std)
        after, _ = vae.encode(pictures)
    assert torch.allclose(vae.decode(after), decoded, atol=1e-4)
    assert after.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert torch.allclose(after.std(dim=(0, 2, 3)) * vae.config.scaling_factor, torch.ones(4), atol=1e-3)


def test_what_is_saved_opens_in_diffusers_and_here(tmp_path, tokenizer):
    from diffusers import StableDiffusionPipeline

    from sdscope import StableDiffusion
    torch.manual_seed(0)
    parts = tokenizer, train.new_text_encoder(tokenizer).eval(), train.UNet2DConditionModel(train.UNET_CONFIG).eval()
    vae = AutoencoderKL(train.VAE_CONFIG | {"scaling_factor": 0.5}).eval()
    train.save_model(tmp_path, *parts, vae)
    assert json.loads((tmp_path / "vae" / "config.json").read_text())["scaling_factor"] == 0.5
    ours = StableDiffusion.from_pretrained(tmp_path)("a ship", seed=3, num_inference_steps=2)
    theirs = StableDiffusionPipeline.from_pretrained(tmp_path, torch_dtype=torch.float32)
    theirs.set_progress_bar_config(disable=True)
    picture = theirs("a ship", generator=torch.Generator().manual_seed(3), num_inference_steps=2, guidance_scale=5.0).images[0]
    assert isinstance(ours, Image.Image) and ours.tobytes() == picture.tobytes()
