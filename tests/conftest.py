"""What the tests share: a tiny untrained model in diffusers' layout."""

import os
import pickle
import shutil
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # no test uses the network
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests/browser")]

import diffusers
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from filelock import FileLock
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import sdscope
from sdscope import cli
from sdscope.pixels import psnr, to_tensor
from sdscope.vocabulary import END, SINGLE, START

# The networks of the tests are small: two threads wait for each other more than they compute. OMP_NUM_THREADS=2 tries
# two nevertheless, ATEN_CPU_CAPABILITY=default or avx2 other kernels: what a test finds may depend on neither.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))

SCHEDULER = dict(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    steps_offset=1,
    clip_sample=False,
    set_alpha_to_one=False,
    prediction_type="v_prediction",
)
NO_CHECKER = dict(safety_checker=None, feature_extractor=None, requires_safety_checker=False)

# `make quick` goes without what these look at
needs_build = pytest.mark.skipif(not (ROOT / "public/manifest.json").exists(), reason="run `make figures` first")
needs_deck = pytest.mark.skipif(not (ROOT / "dist/index.html").exists(), reason="run `make build` first")


def tiny_text():
    """CLIP's kind of tokenizer, with every byte and no word in it, and two layers to read it."""
    ids = {token: i for i, token in enumerate([*SINGLE, START, END])}
    tokenizer = CLIPTokenizer(vocab=ids, merges=[], model_max_length=77)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer, CLIPTextModel(config)


def tiny_pipeline(**changes):
    """diffusers' pipeline with random weights, always the same, for 64 x 64 pixels."""
    torch.manual_seed(0)
    tokenizer, text_encoder = tiny_text()
    config = dict(
        sample_size=8,
        block_out_channels=(16, 32, 32, 32),
        norm_num_groups=8,
        cross_attention_dim=32,
        layers_per_block=1,
        attention_head_dim=[1, 2, 2, 2],
        use_linear_projection=True,
    )
    unet = UNet2DConditionModel(**config | changes)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=8,
        layers_per_block=1,
        sample_size=64,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )
    parts = dict(tokenizer=tokenizer, text_encoder=text_encoder, unet=unet, vae=vae)
    return StableDiffusionPipeline(**parts, scheduler=DDIMScheduler(**SCHEDULER), **NO_CHECKER)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    return sdscope.StableDiffusion.from_pretrained(tiny_folder, device="cpu")


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """A copy of the tiny model, to change or to break"""
    return shutil.copytree(tiny_folder, tmp_path / "model")


@pytest.fixture(scope="session")
def postcard():
    return sdscope.StableDiffusion.from_pretrained("postcard", device="cpu")


@pytest.fixture(scope="module")
def chromium():
    """A browser without a page, for those that open several"""
    from playwright.sync_api import sync_playwright

    import browser

    with sync_playwright() as playwright:
        found = browser.launch(playwright)
        yield found
        found.close()


@pytest.fixture
def run(monkeypatch, capsys, tmp_path, tiny_folder):
    """run("generate", ...) -> (exit status, stdout, stderr), in an empty folder; {tiny} is the model"""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        words = [str(word).replace("{tiny}", str(tiny_folder)) for word in words]
        monkeypatch.setattr(sys, "argv", ["sdscope", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, *capsys.readouterr()

    return run


def load_both(folder, dtype=torch.float32, **given):
    """(the bare pipeline, diffusers' pipeline) of one folder"""
    theirs = StableDiffusionPipeline.from_pretrained(folder, dtype=dtype, **NO_CHECKER, **given)
    theirs.set_progress_bar_config(disable=True)
    return sdscope.StableDiffusion.from_pretrained(folder, device="cpu", dtype=dtype, **given), theirs


def run_both(ours, theirs, prompts, negatives, size, steps, guidance):
    """[(ours, theirs), ...]: the latents after every step, and the pictures. Seeds 0, 1, 2, ..."""
    call = dict(height=size[0], width=size[1], num_inference_steps=steps, guidance_scale=guidance)
    before, decoded, after = [], [], []

    def decode(latents):
        decoded.append(latents)
        return type(ours).decode(ours, latents)

    def keep(pipe, i, t, tensors):
        after.append(tensors["latents"])
        return {}

    ours.decode = decode
    pictures = ours(prompts, negatives, seed=0, callback=lambda step: before.append(step["latents"]), **call)
    del ours.decode
    seeds = [torch.Generator().manual_seed(seed) for seed in range(len(prompts))]
    expected = theirs(prompts, negative_prompt=negatives, generator=seeds, callback_on_step_end=keep, **call)
    latents, images = zip([*before[1:], *decoded], after, strict=True), zip(pictures, expected.images, strict=True)
    return [*latents, *((torch.tensor(np.array(a)), torch.tensor(np.array(b))) for a, b in images)]


def unmoved(module):
    """Names of the parameters that a backward pass in float64 gave no gradient; what rounding leaves (1e-16) is
    none."""
    steepest = {name: p.grad.abs().max().item() for name, p in module.named_parameters()}
    return [name for name, slope in steepest.items() if slope < 1e-10 * max(steepest.values())]


fuzzed = []  # of each damaged configuration: the line it was refused with, or None if the model painted
compared = []  # the largest difference of each combination that was compared with diffusers


def compare(pairs):
    """Tensors of one combination, ours and diffusers': the same bits, or it fails"""
    pairs = list(pairs)
    assert all((a.shape, a.dtype) == (b.shape, b.dtype) for a, b in pairs)
    assert all(x.isfinite().all() and x.float().std() > 0 for pair in pairs for x in pair)
    compared.append(max((a.double() - b.double()).abs().max().item() for a, b in pairs))
    assert compared[-1] == 0.0


def decibels(a, b):
    """How alike two pictures are, (H, W, 3) bytes: their peak signal-to-noise ratio"""
    return psnr(to_tensor(a), to_tensor(b)).item()


@pytest.fixture
def deck():
    from walk import open_built

    with open_built() as deck:
        yield deck


@pytest.fixture(scope="session")
def walked(once):
    from walk import walk

    return once(walk)


@pytest.fixture(scope="session")
def walked_ja(once):
    from walk import walk_japanese

    return once(walk_japanese)


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id):
    """What a function gives, by one worker for all of them: as pytest-xdist's documentation has it"""

    def shared(make):
        if worker_id == "master":
            return make()
        path = tmp_path_factory.getbasetemp().parent / make.__name__
        with FileLock(f"{path}.lock"):
            if not path.exists():
                path.write_bytes(pickle.dumps(make()))
            return pickle.loads(path.read_bytes())

    return shared


def pytest_terminal_summary(terminalreporter):
    if fuzzed:
        painted = fuzzed.count(None)
        told = f"{len(fuzzed)} damaged, {len(fuzzed) - painted} refused in one line, {painted} painted"
        terminalreporter.write_line(f"configurations: {told}")
    if compared:
        equal = f"{compared.count(0.0)} of {len(compared)} combinations, largest difference {max(compared)}"
        terminalreporter.write_line(f"exactly equal to diffusers {diffusers.__version__}: {equal}")
