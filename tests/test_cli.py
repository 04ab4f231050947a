"""The command line: a picture, or one line and exit status 2."""

import io
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

import sdscope


def test_generate(run, tmp_path, tiny):
    words = ["--steps", "2", "--seed", "42", "--width", "72", "--guidance-scale", "3", "--negative-prompt", "night"]
    status, out, err = run("generate", "a ship", "-o", "ship.png", "--model", "{tiny}", *words)
    assert (status, out, err) == (0, "ship.png (seed 42)\n", "")
    expected = tiny("a ship", "night", None, 72, 2, 3.0, 42)
    assert np.array_equal(Image.open(tmp_path / "ship.png"), expected)
    assert [file.name for file in tmp_path.iterdir()] == ["ship.png"]


@pytest.fixture
def given(tmp_path_factory):
    """Files that a task may be given: a picture that lies on its side as a camera leaves it, a mask, and others"""
    folder = tmp_path_factory.mktemp("given")
    picture = Image.effect_noise((64, 72), 90).convert("RGB")
    picture.save(folder / "photo.png")
    lying, exif = picture.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6  # turn it to the right
    lying.save(folder / "lying.png", exif=exif)
    mask = Image.new("L", picture.size)
    mask.paste(255, (0, 0, 32, 72))
    mask.save(folder / "mask.png")
    Image.new("L", picture.size).save(folder / "black.png")
    (folder / "words.png").write_text("no picture")
    return folder


@pytest.mark.parametrize("name", ["photo.png", "lying.png"])
def test_from_a_picture(run, tmp_path, tiny_folder, given, name):
    words = ["--model", "{tiny}", "--steps", "4", "--seed", "3", "--strength", "0.5"]
    status, _, err = run("generate", "a ship", "-o", "a.png", "--image", str(given / name), *words)
    pipe, photo = sdscope.ImageToImage.from_pretrained(tiny_folder, device="cpu"), Image.open(given / "photo.png")
    expected = pipe("a ship", photo, strength=0.5, num_inference_steps=4, seed=3)
    assert (status, err) == (0, "") and np.array_equal(Image.open(tmp_path / "a.png"), expected)


def test_a_part_of_a_picture(run, tmp_path, tiny_folder, given):
    files = ["--image", str(given / "photo.png"), "--mask", str(given / "mask.png")]
    words = ["--model", "{tiny}", "--steps", "4", "--seed", "3", "--height", "72"]
    status, _, err = run("generate", "a ship", "-o", "a.png", *files, *words)
    pipe, (photo, mask) = sdscope.Inpaint.from_pretrained(tiny_folder, device="cpu"), map(Image.open, files[1::2])
    expected = pipe("a ship", photo, mask, height=72, num_inference_steps=4, seed=3)
    assert (status, err) == (0, "") and np.array_equal(Image.open(tmp_path / "a.png"), expected)


WRONG_TASK = [
    ("--mask mask.png", "--mask is about a picture: give --image, too"),
    ("--strength 0.5", "--strength is about a picture: give --image, too"),
    ("--image photo.png --width 64", "with --image the new picture is as large as that: leave --height and --width"),
    ("--image photo.png --strength 0", "strength"),
    ("--image photo.png --strength nan", "strength"),
    ("--image words.png", "words.png: it is no picture, or a damaged one"),
    ("--image none.png", "none.png: No such file or directory"),
    ("--image .", "Is a directory"),
    ("--image photo.png --mask black.png", "the mask is black everywhere"),
    ("--image photo.png --mask words.png", "words.png: it is no picture"),
]


@pytest.mark.parametrize("words, message", WRONG_TASK, ids=[words for words, _ in WRONG_TASK])
def test_bad_pictures_are_one_line_and_status_2(run, tmp_path, given, words, message):
    words = [str(given / word) if word == "." or word.endswith(".png") else word for word in words.split()]
    status, out, err = run("generate", "x", "-o", "a.png", "--model", "{tiny}", *words)
    assert (status, out) == (2, "") and err.startswith("sdscope: ") and message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.webp"])
def test_other_formats(run, tmp_path, name):
    status, *_ = run("generate", "", "-o", name, "--model", "{tiny}", "--steps", "1")
    assert status == 0
    assert Image.open(tmp_path / name).size == (64, 64)


def test_too_large_for_float16(run, tmp_path, tiny_folder):
    """The line says what to do, and that helps: a UNet that float16 cannot hold, as on a GPU"""
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    path = folder / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_in.weight"] *= 3e5  # each of them is below 65504, what they give is not
    save_file(weights, path)
    words = ["generate", "x", "-o", "a.png", "--model", str(folder), "--steps", "1"]
    status, _, err = run(*words, "--dtype", "float16")
    assert status == 2 and len(err.splitlines()) == 1 and not (tmp_path / "a.png").exists()
    assert "NaN or infinity in the latents after step 1" in err and 'dtype="float32"' in err
    assert run(*words, "--dtype", "float32")[0] == 0
    status, _, err = run(*words, "--dtype", "float8")
    assert status == 2 and "no dtype 'float8' here: use auto, float32, float16, bfloat16" in err


def test_without_a_seed_it_tells_which(run, tmp_path):
    words = ("generate", "x", "-o", "a.png", "--model", "{tiny}", "--steps", "1")
    _, out, _ = run(*words)
    first = Image.open(tmp_path / "a.png").tobytes()
    seed = out.split("(seed ")[1].rstrip(")\n")
    run(*words, "--seed", seed)
    assert Image.open(tmp_path / "a.png").tobytes() == first


WRONG = [
    (["--width", "100"], "the width must be a multiple of 8 pixels"),
    (["--steps", "0"], "steps must be a whole number from 1"),
    (["--steps", "many"], "--steps"),
    (["--guidance-scale", "nan"], "the guidance scale must be a number"),
    (["--seed", "-1"], "the seed must be a whole number"),
    (["--seed", "99999999999999999999"], "the seed must be a whole number"),
    (["--model", "nonsense"], "no model 'nonsense'"),
    (["--model", "no/such", "--offline"], "cannot get 'no/such'"),
    (["--model", "."], "the model folder . lacks model_index.json"),
    (["--fast"], "--fast"),
    (["-o", "a.txt"], "cannot write a.txt: the name must end in .png"),
    (["-o", "nowhere/a.png"], "cannot write nowhere/a.png: No such file or directory"),
    (["-o", "/dev/null/a.png"], "cannot write /dev/null/a.png: Not a directory"),
    (["-o", f"{'x' * 300}.png"], "File name too long"),
    (
        ["-o", "a.webp", "--width", "16392", "--height", "8"],
        "cannot write a.webp: a .webp has at most 16383 pixels a side; write a .png",
    ),
]


@pytest.mark.parametrize("words, message", WRONG, ids=lambda x: " ".join(x)[:30] if isinstance(x, list) else "")
def test_bad_input_is_one_line_and_status_2(run, tmp_path, words, message):
    status, out, err = run("generate", "x", "-o", "a.png", "--model", "{tiny}", *words)
    assert (status, out) == (2, "")
    assert err.startswith("sdscope: ") and message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())  # nothing half written


def test_a_folder_is_not_overwritten(run, tmp_path):
    (tmp_path / "a.png").mkdir()
    status, _, err = run("generate", "x", "-o", "a.png", "--model", "{tiny}")
    assert (status, err) == (2, "sdscope: cannot write a.png: it is a folder\n")


def test_what_was_there_stays_when_writing_fails(run, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_text("precious")

    def full(self, path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    status, _, err = run("generate", "x", "-o", "a.png", "--model", "{tiny}", "--steps", "1")
    assert (status, err) == (2, "sdscope: cannot write a.png: No space left on device\n")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("error", [ValueError("a bug"), EOFError("a bug")], ids=lambda error: type(error).__name__)
def test_a_bug_is_not_hidden(run, monkeypatch, error):
    def bug(*args, **kwargs):
        raise error

    monkeypatch.setattr("sdscope.pipeline.StableDiffusion.from_pretrained", bug)
    with pytest.raises(type(error), match="a bug"):
        run("generate", "x", "-o", "a.png")


def test_a_full_disk_anywhere(run, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", "log.jsonl")

    monkeypatch.setattr("sdscope.pipeline.StableDiffusion.from_pretrained", full)
    assert run("generate", "x", "-o", "a.png") == (2, "", "sdscope: the disk is full: log.jsonl\n")


def test_a_terminal_that_lacks_the_letters_of_a_name(run, tmp_path, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", terminal)
    status, _, err = run("generate", "x", "-o", "ö.png", "--model", "{tiny}", "--steps", "1", "--seed", "3")
    assert (status, err) == (0, "") and (tmp_path / "ö.png").exists()
    assert terminal.buffer.getvalue() == b"\\xf6.png (seed 3)\n"


def test_version(run):
    assert run("--version") == (0, f"sdscope {sdscope.__version__}\n", "")


def test_missing_words(run):
    assert run("generate", "x")[0] == 2
    assert run()[0] == 2
    assert run("--help")[0] == 0


def test_help_is_quick():
    """Nothing heavy is imported before it is needed."""
    code = "import sys, sdscope.cli; sys.exit(bool({'torch', 'transformers', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
