"""LoRA files: from diffusers, from peft, and kohya's, whose names are diffusers' with _ in place of dots.

Mirrors what diffusers' loaders/peft.py and peft's utils/save_and_load.py take for the same, and how they scale.
"""

import hashlib
import json
import math
import re
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from ..errors import SdscopeError, first_line
from .config import AGAIN, read_config, unreadable
from .folder import PICKLES, refuse_pickle, refuse_pickles
from .weights import in_numbers, some

FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")  # of diffusers, of peft
ENDS = {  # of a key -> which of the three it is
    "down": r"\.lora_A(\.default)?\.weight|\.lora\.down\.weight|\.lora_linear_layer\.down\.weight|\.lora_down\.weight",
    "up": r"\.lora_B(\.default)?\.weight|\.lora\.up\.weight|\.lora_linear_layer\.up\.weight|\.lora_up\.weight",
    "alpha": r"\.alpha",
}
# what a key begins with: the part of the pipe it is for; peft does not say which, nor did the first diffusers
PARTS = {"unet.": "unet", "lora_unet_": "unet", "text_encoder.": "text_encoder", "lora_te_": "text_encoder"}
UNUSUAL = dict(use_dora=False, bias="none", lora_bias=False, fan_in_fan_out=False, modules_to_save=None)


def read_adapter(path, pipe):
    """A file or a folder -> {layer of the pipe: (down (r, n), up (m, r), alpha / r)}"""
    path, config = find_file(Path(path))
    try:
        with safe_open(path, "pt") as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no dictionary)
            told = file.metadata() or {}
            config = config or dict(json.loads(told.get("lora_adapter_metadata", "{}")))
    except Exception as error:  # safetensors' own, json's, or the system's
        raise unreadable(path, error) from error
    refuse_variants(path, config)
    layers = matched(path, in_numbers(path, weights, torch.float32), config, pipe)
    base, here = told.get("base"), base_of(pipe)
    if base and here and base != here:
        raise SdscopeError(f"{path} was learned on the weights of another model: open that one, or learn it anew")
    return layers


def base_of(pipe):
    """A hash of what no LoRA and no variant changes: norms and biases in the middle of the UNet, the same in float32
    and in float16. In bfloat16 they are rounded another way: None"""
    vectors = torch.cat([x.detach().cpu() for x in pipe.unet.mid_block.parameters() if x.ndim == 1])
    return None if vectors.dtype == torch.bfloat16 else hashlib.sha256(vectors.half().numpy().tobytes()).hexdigest()


def find_file(path):
    """A file, or a folder with one -> the file, and what adapter_config.json beside it says"""
    if path.suffix in PICKLES:
        refuse_pickle(path)
    if path.is_dir():
        file = next((path / name for name in FILES if (path / name).is_file()), None)
        if file is None:
            refuse_pickles(path)
            raise SdscopeError(f"no LoRA in the folder {path}: it has neither {' nor '.join(FILES)}")
        path = file
    if not path.is_file():
        raise SdscopeError(f"no LoRA {str(path)!r}: give a file, such as {FILES[0]}, or a folder with one")
    beside = path.with_name("adapter_config.json")
    return path, read_config(beside) if path.name == FILES[1] and beside.is_file() else {}


def refuse_variants(path, config):
    """What a configuration may say that would make other sums"""
    for key, value in config.items():
        name = key.rpartition(".")[2]
        if name in UNUSUAL and value != UNUSUAL[name] and value:
            raise SdscopeError(f"{path}: {name} is {value!r}, and only plain LoRA is read here: use peft for it")
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise SdscopeError(f"{path} is a {kind}, and only LoRA is read here: use peft for it")


def matched(path, weights, config, pipe):
    """Tensors by the names of a file -> by the layers of a pipe"""
    layers = {part: layers_of(getattr(pipe, part)) for part in ("unet", "text_encoder")}
    found: dict = {}
    odd = []
    for key, value in weights.items():
        part, name, which = split(key)
        places = [(p, flat(name)) for p in ([part] if part else layers) if flat(name) in layers[p]]
        if which and places:
            found.setdefault(places[0], {})[which] = value
        else:
            odd.append(key)
    if not any(split(key)[2] in ("down", "up") for key in weights):
        raise SdscopeError(f"{path} is no LoRA: it holds {some(weights) or 'nothing'}")
    if odd:
        raise SdscopeError(f"{path} is a LoRA for another model, or not plain LoRA: nothing here fits {some(odd)}")
    return {
        layers[part][name][1]: pair(path, part, x, config, *layers[part][name]) for (part, name), x in found.items()
    }


def split(key):
    """A key -> the part of the pipe it is for, or None; the layer's name; "down", "up", "alpha" or None"""
    key = key.replace(".processor.to_out_lora.", ".to_out.0.lora.")  # of the first diffusers
    key = re.sub(r"\.processor\.(to_[qkv])_lora\.", r".\1.lora.", key)
    part = next((part for start, part in PARTS.items() if key.startswith(start)), None)
    for start in (*PARTS, "base_model.model."):
        key = key.removeprefix(start)
    for which, end in ENDS.items():
        if re.search(f"({end})$", key):
            return part, re.sub(f"({end})$", "", key), which
    return part, key, None


def flat(name):
    """The name of a layer in kohya's way, and without what some versions of transformers put before it"""
    return name.replace(".", "_").removeprefix("text_model_")


def layers_of(module):
    """{flat name: (name, layer)} of all layers that a LoRA may be for"""
    layers = ((name, layer) for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d)))
    return {flat(name): (name, layer) for name, layer in layers}


def pair(path, part, tensors, config, name, layer):
    """What a file has for one layer -> (down, up, alpha / r), if it fits the layer"""
    if not {"down", "up"} <= tensors.keys():
        raise SdscopeError(f"{path} is incomplete, {name} has only {' and '.join(tensors)}: {AGAIN}")
    # copies, as the file may go; and not frozen, as in diffusers
    down, up = (nn.Parameter(tensors[which].to(layer.weight, copy=True)) for which in ("down", "up"))
    (m, n, *kernel), (r, *_) = layer.weight.shape, down.shape or (0,)
    if not r or down.shape != (r, n, *kernel) or up.shape != (m, r, *[1] * len(kernel)):
        told = f"{tuple(down.shape)} and {tuple(up.shape)} for {name}, whose weight is {tuple(layer.weight.shape)}"
        raise SdscopeError(f"{path} is a LoRA for another model: it has {told}")
    says = {key.removeprefix(f"{part}."): value for key, value in config.items()}
    try:
        return down, up, scaling(says, tensors.get("alpha"), name, r)
    except Exception as error:  # texts where numbers belong, a pattern that is none
        told = f"what {path} is saved with says no alpha for {name}"
        raise SdscopeError(f"{told} ({first_line(error)}): {AGAIN}") from error


def scaling(says, alpha, name, r):
    """alpha / r of a layer: alpha as a tensor of the file, or as its configuration says"""
    patterns = says.get("alpha_pattern") or {}
    found = next((a for key, a in patterns.items() if re.match(rf"(.*\.)?({key})$", name)), says.get("lora_alpha", r))
    alpha = float(found if alpha is None else alpha.item())
    if not math.isfinite(alpha):
        raise ValueError(f"alpha is {alpha} for {name}")
    return alpha / (r**0.5 if says.get("use_rslora") else r)
