"""The weights of a model's parts: which files hold them, and what is in those.

A part's weights are one safetensors file, or shards and an index that names them; in full, or as a
variant in float16. Mirrors what diffusers and transformers look for, in their order.
"""

import hashlib
import logging
from pathlib import Path

import torch
from safetensors.torch import load_file

from ..errors import SdscopeError
from .config import AGAIN, read_config, unreadable

log = logging.getLogger("sdscope")

WEIGHTS = {
    "text_encoder": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
FLOAT8 = [torch.float8_e4m3fn, torch.float8_e5m2]


def variants(dtype):
    """What the names of files have in them, the ones that suit the dtype first"""
    return ["", ".fp16"] if dtype == torch.float32 else [".fp16", ""]


def patterns(variant):
    """The names of all parts' files of one variant: what to ask the hub for"""
    ends = f"{variant}.safetensors", f"{variant}-?????-of-?????.safetensors", f".safetensors.index{variant}.json"
    return [f"{part}/{name}{end}" for part, name in WEIGHTS.items() for end in ends]


def weights_files(folder, part, dtype):
    """The files of a part's weights: one, or all the shards. Of what is complete, what suits the
    dtype; where nothing is, what is nearest to it"""
    choices = [files for variant in variants(dtype) for files in layouts(folder, part, variant)]
    return max(choices, key=lambda files: sum(file.is_file() for file in files) / len(files))


def weights_sha256(folder, dtype=torch.float32):
    """One hash of the weights that are read from a folder for this dtype, names included"""
    total = hashlib.sha256()
    for path in sorted(path for part in WEIGHTS for path in weights_files(Path(folder), part, dtype)):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        total.update(path.relative_to(folder).as_posix().encode() + digest)
    return total.hexdigest()


def is_complete(folder, variants):
    """Are the weights of all parts here, in one of these variants?"""
    files = [[f for v in variants for f in layouts(folder, part, v)] for part in WEIGHTS]
    return all(any(all(file.is_file() for file in way) for way in ways) for ways in files)


def layouts(folder, part, variant):
    """The ways in which a variant may be kept, the one that is to be read first"""
    stem = folder / part / WEIGHTS[part]
    index = stem.with_name(f"{stem.name}.safetensors.index{variant}.json")
    whole = [stem.with_name(f"{stem.name}{variant}.safetensors")]
    if not index.is_file():
        return [whole]
    # beside each other: diffusers reads the shards, and transformers the whole file
    return [whole, shards(index)] if part == "text_encoder" else [shards(index), whole]


def shards(index):
    """An index -> the files it names, all in its own folder"""
    named = read_config(index).get("weight_map")
    names = named.values() if isinstance(named, dict) else ()
    plain = (isinstance(name, str) and name and Path(name).name == name for name in names)  # never ../
    if not names or not all(plain):
        raise SdscopeError(f"{index} names no files of weights (weight_map): {AGAIN}")
    return [index.with_name(name) for name in sorted(set(names))]


def read_weights(folder, dtype):
    """The folder of a part -> the file (of shards: their folder), {name: weight in this dtype}"""
    files = weights_files(folder.parent, folder.name, dtype)
    weights: dict[str, torch.Tensor] = {}
    for path in files:
        weights |= read_file(path)
    # whole numbers in files of old text encoders: 0, 1, 2, ..., which every model makes itself
    weights = {key: value for key, value in weights.items() if not key.endswith("position_ids")}
    path = files[0] if len(files) == 1 else folder
    return path, in_numbers(path, weights, dtype)


def read_file(path):
    """A file of weights, as they stand there"""
    try:
        return load_file(path)
    except Exception as error:  # safetensors' own, or the system's
        raise unreadable(path, error) from error


def in_numbers(path, weights, dtype):
    """Weights as files have them -> in this dtype, if they are numbers there"""
    odd = {key: value.dtype for key, value in weights.items() if value.dtype not in FLOATS + FLOAT8}
    if odd:
        told = f"{path} holds {', '.join(sorted(set(map(str, odd.values()))))} in {some(odd)}"
        raise SdscopeError(f"{told}: only floating-point weights are read, so save the model again as float16")
    if any(value.dtype in FLOAT8 for value in weights.values()):
        log.warning("%s holds weights in float8, of one or two digits: read as they are", path)
    cast = {key: value.to(dtype) for key, value in weights.items()}
    wrong = [key for key, value in cast.items() if not is_finite(value)]
    if any(not is_finite(weights[key].double()) for key in wrong):
        raise SdscopeError(f"{path} holds NaN or infinite weights in {some(wrong)}: {AGAIN}")
    if wrong:
        what = f"weights too large for {dtype} in {some(wrong)}"
        raise SdscopeError(f'{path} holds {what}: give dtype="float32"')
    return cast


def is_finite(x):
    """No NaN, no infinity. Over the extremes: twenty times as fast as over all, and as sure"""
    return x.numel() == 0 or all(extreme.isfinite() for extreme in x.aminmax())


def some(keys):
    """Names for one line: the first eight, and how many more"""
    keys = list(keys)
    more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
    return ", ".join(keys[:8]) + more
