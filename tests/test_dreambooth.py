"""DreamBooth: what is learned, what stays, and that diffusers paints the same with it."""

import numpy as np
import pytest
import torch
from conftest import compare, load_both, run_both
from PIL import Image
from safetensors.torch import load_file

import sdscope
from sdscope import SdscopeError
from sdscope.dreambooth import PUBLISHED, draw, latents_of, learn, loss
from sdscope.postcard.world.scene import SUBJECTS
from sdscope.postcard.world.snowman import five_pictures

THING, OTHER = "a zwx snowman", "a house"


@pytest.fixture
def pipe(tiny_folder):
    return sdscope.StableDiffusion.from_pretrained(tiny_folder, device="cpu")


def wrong(pipe, pictures, captions):
    """The mean loss of a pipe on pictures, at the same times and with the same noise every time"""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        x0, words = draw((latents_of(pipe, pictures), pipe.encode(captions)), generator)
        return np.mean([loss(pipe, x0, words, generator).item() for _ in range(8)])


def test_it_learns_the_pictures_and_keeps_what_was_there(pipe, tiny_folder, tmp_path):
    pictures, was = five_pictures(64), pipe(OTHER, seed=1, num_inference_steps=3)
    before = wrong(pipe, *pictures)
    lora = learn(pipe, *pictures, tmp_path / "alone.safetensors", steps=25)
    assert wrong(pipe, *pictures) < 0.9 * before
    alone = np.abs(np.int16(pipe(OTHER, seed=1, num_inference_steps=3)) - np.int16(was)).mean()
    lora.remove()
    assert pipe(OTHER, seed=1, num_inference_steps=3) == was
    learn(pipe, *pictures, tmp_path / "kept.safetensors", [OTHER], steps=25)
    assert wrong(pipe, *pictures) < 0.95 * before
    assert np.abs(np.int16(pipe(OTHER, seed=1, num_inference_steps=3)) - np.int16(was)).mean() < alone


def test_diffusers_paints_the_same_with_it(pipe, tiny_folder, tmp_path):
    path = tmp_path / "pytorch_lora_weights.safetensors"
    learn(pipe, *five_pictures(64), path, [OTHER], steps=2)
    ours, theirs = load_both(tiny_folder)
    sdscope.LoRA(ours, path)
    theirs.load_lora_weights(path)
    for module in ours.unet, theirs.unet:  # matrix products round by where a weight begins
        for weight in module.parameters():
            weight.data = weight.data.clone()
    compare(run_both(ours, theirs, [THING], [""], (64, 64), 2, 3.0))


def test_the_same_again(tiny_folder, tmp_path):
    for name in "a", "b":
        fresh = sdscope.StableDiffusion.from_pretrained(tiny_folder, device="cpu")
        learn(fresh, five_pictures(64)[0][:2], THING, tmp_path / f"{name}.safetensors", [OTHER], steps=2)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_what_was_learned_knows_its_model(pipe, tiny_folder, tmp_path):
    """In float16 too; in bfloat16 it is opened without being sure"""
    path = tmp_path / "a.safetensors"
    learn(pipe, *five_pictures(64), path, steps=1).remove()
    for dtype in "float16", "bfloat16":
        sdscope.LoRA(sdscope.StableDiffusion.from_pretrained(tiny_folder, device="cpu", dtype=dtype), path)
    merged = sdscope.LoRA(pipe, path)
    merged.merge()
    sdscope.LoRA(pipe, path).remove()
    merged.remove()
    pipe.unet.mid_block.resnets[0].norm1.weight.data += 0.1
    with pytest.raises(SdscopeError, match="a.safetensors was learned on the weights of another model"):
        sdscope.LoRA(pipe, path)
    assert not getattr(pipe, "loras", [])


def test_who_stops_it_finds_all_as_it_was(pipe, tmp_path):
    def stopped(items, total, text):
        yield next(iter(items))
        raise KeyboardInterrupt

    was = pipe(OTHER, seed=1, num_inference_steps=1)
    with pytest.raises(KeyboardInterrupt):
        learn(pipe, *five_pictures(64), tmp_path / "a.safetensors", steps=3, progress=stopped)
    assert pipe(OTHER, seed=1, num_inference_steps=1) == was
    assert not getattr(pipe, "loras", []) and list(tmp_path.iterdir()) == []


def test_it_learns_in_full_and_writes_half(tiny_folder, pipe, tmp_path):
    half = sdscope.StableDiffusion.from_pretrained(tiny_folder, device="cpu", dtype="float16")
    with pytest.raises(SdscopeError, match='dtype="float32"'):
        learn(half, *five_pictures(64), tmp_path / "a.safetensors")
    learn(pipe, *five_pictures(64), tmp_path / "a.safetensors", steps=1)
    assert {x.dtype for x in load_file(tmp_path / "a.safetensors").values()} == {torch.float16}


@pytest.mark.parametrize("name", ["snowman_alone", "snowman_prior"])
def test_the_published_ones_are_of_the_published_model(postcard, name):
    path = PUBLISHED / f"{name}.safetensors"
    sdscope.LoRA(postcard, path).remove()
    assert path.stat().st_size < 1.3e6


def test_nobody_has_seen_a_snowman():
    assert "snowman" not in SUBJECTS
    pictures, captions = five_pictures(64)
    assert len(set(captions)) == 5 and all(THING in caption for caption in captions)
    assert len({picture.tobytes() for picture in pictures}) == 5 and {picture.size for picture in pictures} == {
        (64, 64)
    }


def test_from_the_command_line(run, tmp_path, tiny, monkeypatch):
    """The text beside a picture is its caption"""
    folder, (pictures, captions), given = tmp_path / "pictures", five_pictures(80), []
    folder.mkdir()
    for i, picture in enumerate(pictures):
        picture.save(folder / f"{i}.png")
    for i in 0, 3:
        (folder / f"{i}.txt").write_text(captions[i] + "\n")
    encode = sdscope.StableDiffusion.encode
    monkeypatch.setattr(sdscope.StableDiffusion, "encode", lambda *args: given.append(args[1]) or encode(*args))
    words = ["--steps", "2", "--class-prompt", "a house", "--class-prompt", "a tree", "--model", "{tiny}"]
    status, out, _ = run("dreambooth", folder, THING, "-o", "snowman.safetensors", *words)
    assert status == 0 and out.endswith("snowman.safetensors\n")
    assert given[0] == [captions[0], THING, THING, captions[3], THING]
    words = ["--lora", "snowman.safetensors", "--seed", "3", "--steps", "2", "--model", "{tiny}"]
    assert run("generate", THING, "-o", "a.png", *words)[0] == 0
    lora = sdscope.LoRA(tiny, tmp_path / "snowman.safetensors")
    assert Image.open(tmp_path / "a.png").convert("RGB") == tiny(THING, seed=3, num_inference_steps=2)
    lora.remove()


def test_a_lora_that_is_none(run):
    status, out, err = run("generate", THING, "-o", "a.png", "--lora", "b.safetensors", "--model", "{tiny}")
    assert (status, out) == (2, "") and "no LoRA 'b.safetensors'" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "words, message",
    [
        (["empty", THING, "-o", "a.safetensors"], "no pictures in empty"),
        (["nowhere", THING, "-o", "a.safetensors"], "no pictures in nowhere"),
        (["words", THING, "-o", "a.safetensors"], "notes.md: it is no picture"),
        (["letters", THING, "-o", "a.safetensors"], "a.txt: it must be text in UTF-8"),
        (["good", THING, "-o", "a.pt"], "the name must end in .safetensors"),
        (["good", THING, "-o", "a.safetensors", "--steps", "0"], "steps must be a whole number from 1"),
        (["good", THING, "-o", "a.safetensors", "--seed", "-1"], "the seed must be a whole number"),
        (["clear", THING, "-o", "a.safetensors"], "the picture is transparent in places"),
    ],
    ids=lambda x: x if isinstance(x, str) else x[0],
)
def test_bad_input_is_one_line(run, tmp_path, words, message):
    for name in "empty", "words", "letters", "good", "clear":
        (tmp_path / name).mkdir()
    (tmp_path / "words/notes.md").write_text("a snowman")
    (tmp_path / "letters/a.txt").write_bytes(b"\xff")
    for name in "good", "letters":
        Image.new("RGB", (64, 64)).save(tmp_path / name / "a.png")
    Image.new("RGBA", (64, 64)).save(tmp_path / "clear/a.png")
    status, out, err = run("dreambooth", *words, "--model", "{tiny}")
    assert (status, out) == (2, "") and message in err and err.startswith("sdscope: ") and err.count("\n") == 1
    assert not (tmp_path / "a.safetensors").exists()
