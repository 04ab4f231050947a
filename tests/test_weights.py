"""Weights as people have them: in shards, of any number type, with what is no number. Read as diffusers
reads them, or refused in one line."""

import pytest
import torch
from conftest import NO_CHECKER, compare, run_both
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

import sdscope
from sdscope import SdscopeError
from sdscope.loading.weights import FLOAT8, FLOATS, WEIGHTS, is_finite, weights_files
from sdscope.publish.manifest import weights_sha256

F32 = torch.float32
PARTS = sorted(WEIGHTS)


def whole(folder, part, variant=""):
    return folder / part / f"{WEIGHTS[part]}{variant}.safetensors"


def opened(folder, dtype="float32"):
    return sdscope.StableDiffusion.from_pretrained(folder, device="cpu", dtype=dtype)


def theirs(folder, **options):
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=F32, use_safetensors=True, **NO_CHECKER, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def refused(folder, *words, dtype="float32"):
    with pytest.raises(SdscopeError) as error:
        opened(folder, dtype)
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words)


def paint_alike(ours, theirs):
    compare(run_both(ours, theirs, ["a ship"], [""], (64, 64), steps=2, guidance=5.0))


def same_weights(ours, theirs, parts=PARTS):
    for part in parts:
        a, b = getattr(ours, part).state_dict(), getattr(theirs, part).state_dict()
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def change(path, key, value):
    weights = load_file(path)
    key = key or next(key for key in sorted(weights) if weights[key].ndim == 1)
    save_file(weights | {key: value(weights[key])}, path)
    return key


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards(tiny_folder, tmp_path, variant):
    """Of every part, as diffusers and transformers write them, alone and beside another variant"""
    pipe = theirs(tiny_folder)
    pipe.save_pretrained(tmp_path, variant=variant, max_shard_size="20KB")
    for part in PARTS:
        shards = weights_files(tmp_path, part, F32)
        assert len(shards) > 1 and all(shard.is_file() for shard in shards)
        assert len(list((tmp_path / part).glob("*.safetensors"))) == len(shards)
    ours = opened(tmp_path)
    paint_alike(ours, theirs(tmp_path, variant=variant))
    same_weights(ours, pipe)
    if not variant:  # the hash of a model knows every shard
        before = weights_sha256(tmp_path)
        change(weights_files(tmp_path, "unet", F32)[-1], None, lambda x: x + 1)
        assert weights_sha256(tmp_path) != before


@pytest.mark.parametrize("part", PARTS)
def test_a_shard_that_is_not_there(tiny_folder, tmp_path, part):
    theirs(tiny_folder).save_pretrained(tmp_path, max_shard_size="20KB")
    shard = weights_files(tmp_path, part, F32)[1]
    shard.unlink()
    refused(tmp_path, f"lacks {part}/{shard.name}: ")


def test_shards_beside_the_whole(tiny_folder, tmp_path):
    """Left over from before: diffusers reads the shards, transformers the whole file."""
    pipe = theirs(tiny_folder)
    pipe.save_pretrained(tmp_path, max_shard_size="20KB")
    for part in PARTS:
        save_file({key: value + 1 for key, value in load_file(whole(tiny_folder, part)).items()}, whole(tmp_path, part))
    same_weights(opened(tmp_path), theirs(tmp_path))


@pytest.mark.parametrize(
    "index",
    [
        "",
        "[]",
        "{}",
        '{"weight_map": {}}',
        '{"weight_map": ["a"]}',
        '{"weight_map": {"a": 5}}',
        '{"weight_map": {"a": "../../secret.safetensors"}}',
        '{"weight_map": {"a": ""}}',
        '{"weight_map": {"a": "."}}',
    ],
)
def test_a_damaged_index(folder, index):
    whole(folder, "unet").unlink()
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(index)
    refused(folder, "unet/")


@pytest.mark.parametrize("dtype", FLOATS + FLOAT8, ids=str)
def test_floats_are_read_as_diffusers_reads_them(folder, dtype, caplog):
    for path in (whole(folder, part) for part in PARTS):
        save_file({key: value.to(dtype) for key, value in load_file(path).items()}, path)
    same_weights(opened(folder), theirs(folder))
    assert ("holds weights in float8" in caplog.text) == (dtype in FLOAT8)


REST = ["int8", "uint8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "bool", "complex64"]
REST += ["float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]


@pytest.mark.parametrize("dtype", REST)
def test_what_is_not_a_float_is_one_line(folder, dtype):
    """In one tensor; quantized models have them in most"""
    for path in (whole(folder, part) for part in PARTS):
        kept = path.read_bytes()
        key = change(path, None, lambda x: x.to(getattr(torch, dtype)))
        refused(folder, str(path), f"torch.{dtype} in {key}: ", "save the model again as float16")
        path.write_bytes(kept)


def test_what_safetensors_cannot_read_is_one_line(folder):
    """A type that the installed version does not know, as a newer one may write it"""
    path = whole(folder, "unet")
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"F99"', 1))
    refused(folder, str(path), "damaged or incomplete")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("part", PARTS)
def test_what_is_no_number_is_one_line(folder, part, value):
    def spoil(x):
        x.view(-1)[-1] = float(value)
        return x

    key = change(whole(folder, part), None, spoil)
    refused(folder, str(whole(folder, part)), "NaN or infinite", key)
    refused(folder, "NaN or infinite", "download or copy it again", dtype="float16")


@pytest.mark.parametrize("part", PARTS)
def test_what_is_too_large_for_float16_is_one_line(folder, part):
    key = change(whole(folder, part), None, lambda x: x + 1e5)
    opened(folder)
    refused(folder, f"too large for torch.float16 in {key}", 'dtype="float32"', dtype="float16")


def test_no_number_hides_from_the_check():
    """It goes over the extremes alone."""
    for dtype in FLOATS:
        x = torch.zeros(3, 4, dtype=dtype)
        assert is_finite(x) and is_finite(x[:0])
        for position in range(12):
            for value in map(float, ("nan", "inf", "-inf")):
                x.view(-1)[position] = value
                assert not is_finite(x)
                x.view(-1)[position] = 0


def test_old_number_of_positions_is_no_weight(folder):
    """int64, in text encoders saved before transformers 4.31"""
    path = whole(folder, "text_encoder")
    save_file(load_file(path) | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, path)
    assert torch.equal(opened(folder).encode(["a ship"]), theirs(folder).encode_prompt("a ship", "cpu", 1, False)[0])
