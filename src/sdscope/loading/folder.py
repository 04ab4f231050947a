"""A model's folder on this machine: is it a Stable Diffusion, and is all of it there? If not, what helps?"""

import logging
import os
from pathlib import Path

import torch

from ..errors import SdscopeError
from .config import AGAIN, read_config, unreadable
from .models import KNOWN
from .tasks import TASKS, who_opens
from .weights import WEIGHTS, weights_files

log = logging.getLogger("sdscope")

FILES = ["model_index.json", "tokenizer/tokenizer_config.json", "scheduler/scheduler_config.json"]
FILES += [f"{part}/config.json" for part in WEIGHTS]
# the first alone, or the two others
VOCABULARY = ["tokenizer/tokenizer.json", "tokenizer/vocab.json", "tokenizer/merges.txt"]
# What tells of the kind of a model, where to look first
KINDS = ["model_index.json", "config.json", "adapter_config.json"]
PICKLES = (".bin", ".ckpt", ".pt", ".pth")
ONLY = "only Stable Diffusion 1.x and 2.x is read here"


def local_folder(name):
    """The folder that a name stands for, or None. As in diffusers, what is here goes before the hub;
    but a short name given as a text stands for a folder only where that holds a model."""
    here, known = str(name), KNOWN.get(name) if isinstance(name, str) else None
    if os.path.isdir(here) and (not known or os.path.isfile(os.path.join(here, FILES[0]))):
        if known:
            log.warning("the folder %s is read, not the model of that short name", os.path.abspath(here))
        return Path(here)
    if not known and os.path.isfile(here):
        refuse_file(Path(here))
    return Path(__file__).parents[1] / name / "weights" if known and not known.hub_id else None


def check_folder(folder, task):
    """SdscopeError if it holds another kind of model than the task's class opens, or not all of one"""
    try:
        refuse_other_kinds(folder, task)
        missing = missing_files(folder)
        if missing:
            refuse_pickles(folder)
            raise SdscopeError(f"the model folder {folder} lacks {', '.join(missing)}: {advice(folder)}")
    except OSError as error:
        raise unreadable(folder, error) from error


def missing_files(folder):
    """What a model needs and this folder does not have: names of files in it"""
    missing = [name for name in FILES if not (folder / name).is_file()]
    for part in WEIGHTS:
        files = weights_files(folder, part, torch.float32)
        missing += [file.relative_to(folder).as_posix() for file in files if not file.is_file()]
    tokenizer, *parts = [(folder / name).is_file() for name in VOCABULARY]
    if not tokenizer and not all(parts):
        missing.append(f"{VOCABULARY[0]} (or vocab.json and merges.txt)")
    return missing


def refuse_other_kinds(folder, *tasks):
    """First of all: a model of another kind lacks files too, and no download would bring them. No tasks: any."""
    kind = kind_of(folder)
    opener = who_opens(kind)
    if kind is None or any(kind in TASKS[task].kinds for task in tasks) or (opener and not tasks):
        return
    advice = f"open it with sdscope.{opener}, not {tasks[0]}" if opener else ONLY
    raise SdscopeError(f"the model folder {folder} holds a {kind}: {advice}")


def kind_of(folder):
    """What a folder says that it holds; None if it does not say"""
    described = next((folder / name for name in KINDS if (folder / name).is_file()), None)
    if described:
        config = read_config(described)
        kind = config.get("_class_name") or config.get("architectures") or config.get("peft_type")
        return " ".join(str(kind or "model of an unknown kind").split())
    loose = sorted(path.name for path in folder.glob("*.safetensors"))
    if any("lora" in name.lower() for name in loose):
        return "LoRA"
    return f"single file, {loose[0]}" if loose else None


def advice(folder):
    """What to do about a folder that lacks files: is it one too high, or no model at all?"""
    inner = sorted(path.parent for way in ("*", "snapshots/*") for path in folder.glob(f"{way}/{FILES[0]}"))
    if inner:
        return f"give {inner[0]}, which holds a model"
    known = any((folder / name).is_file() for name in FILES)
    return AGAIN if known else "give the folder of a model in diffusers' layout"


def refuse_file(path):
    """A model is a folder here."""
    if path.suffix in PICKLES:
        refuse_pickle(path)
    if path.suffix == ".safetensors":
        save = f"StableDiffusionPipeline.from_single_file({str(path)!r}).save_pretrained('FOLDER')"
        raise SdscopeError(f"{path} is one file, and a model is a folder here: diffusers makes it one, {save}")
    raise SdscopeError(f"{path} is a file, and a model is a folder: give the one that holds model_index.json")


def refuse_pickles(folder):
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        if path.suffix in PICKLES:
            refuse_pickle(path)


def refuse_pickle(path):
    why = "a pickle can run any program when it is opened, so only safetensors are read"
    raise SdscopeError(f"{path} is a pickle: {why}; look for the model as safetensors")
