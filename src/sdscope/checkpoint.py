"""From a name to weights: find a model's folder, read its configurations and its safetensors.

A model is a folder in diffusers' layout: model_index.json, tokenizer/ text_encoder/ unet/ vae/
scheduler/. Whatever can be wrong with one is an SdscopeError whose message is one line.
"""

import logging
import os
import re
from contextlib import contextmanager
from pathlib import Path

import torch

from . import SdscopeError
from .config import AGAIN, first_line, read_config, unreadable
from .models import KNOWN, MIRRORS
from .settings import SCHEDULER, TEXT_ENCODER, UNET, VAE, fit_together, settle, shown, whole
from .weights import WEIGHTS, is_complete, patterns, read_weights, some, variants, weights_files

log = logging.getLogger("sdscope")

TABLES = {"unet": UNET, "vae": VAE, "text_encoder": TEXT_ENCODER}
FILES = ["model_index.json", "tokenizer/tokenizer_config.json", "scheduler/scheduler_config.json"]
FILES += [f"{part}/config.json" for part in WEIGHTS]
# the first alone, or the two others
VOCABULARY = ["tokenizer/tokenizer.json", "tokenizer/vocab.json", "tokenizer/merges.txt"]
# What tells of the kind of a model, where to look first
KINDS = ["model_index.json", "config.json", "adapter_config.json"]
PICKLES = (".bin", ".ckpt", ".pt", ".pth")
ONLY = "only text-to-image by Stable Diffusion 1.x and 2.x is read here"


def find_model(name, offline=False, dtype=torch.float32):
    """A short name of KNOWN, a folder or a hub id -> the model's folder, complete"""
    folder = local_folder(name)
    if folder is None:
        return from_hub(str(name), offline, dtype)
    try:
        refuse_other_kinds(folder)
        missing = missing_files(folder)
        if missing:
            refuse_pickles(folder)
            raise SdscopeError(f"the model folder {folder} lacks {', '.join(missing)}: {advice(folder)}")
    except OSError as error:
        raise unreadable(folder, error) from error
    return folder


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
    return Path(__file__).parent / name / "weights" if known and not known.hub_id else None


def advice(folder):
    """What to do about a folder that lacks files: is it one too high, or no model at all?"""
    inner = sorted(path.parent for way in ("*", "snapshots/*") for path in folder.glob(f"{way}/{FILES[0]}"))
    if inner:
        return f"give {inner[0]}, which holds a model"
    known = any((folder / name).is_file() for name in FILES)
    return AGAIN if known else "give the folder of a model in diffusers' layout"


def from_hub(name, offline, dtype):
    """A short name or a hub id -> the folder in the hub's cache, filled where it has to be"""
    known = known_on_hub(name)
    if not known:
        return download(name, None, offline, dtype)
    if name in MIRRORS:
        original = cached(name, None, variants(dtype))  # fetched before it was withdrawn
        if original:
            return original
        log.warning("%s is gone from the hub; its mirror is used: %s", name, known.hub_id)
    return download(known.hub_id, known.revision, offline, dtype)


def known_on_hub(name):
    """What is known here of a short name or hub id, or None; SdscopeError where it can be neither"""
    known = KNOWN.get(MIRRORS.get(name, name))
    if not known and not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        what = f"a folder, a hub id (owner/name) or one of {', '.join(KNOWN)}"
        raise SdscopeError(f"no model {name!r}: give {what}")
    return known


def without_weights(hub_id):
    """A hub id -> the folder in the hub's cache with the small files alone"""
    try:
        return snapshot(hub_id, None, False, [])
    except Exception as error:
        raise not_there(hub_id, error) from error


def download(hub_id, revision, offline, dtype):
    """A hub id -> the folder of its files in the hub's cache; only safetensors, never pickles"""
    from huggingface_hub import constants

    offline = offline or constants.HF_HUB_OFFLINE
    if revision:  # a commit, which cannot change: the hub need not be asked for what is here
        folder = cached(hub_id, revision, variants(dtype)[:1])
        if folder:
            return folder
    try:
        folder = snapshot(hub_id, revision, offline, [])
        refuse_other_kinds(folder)  # before gigabytes are fetched
        for variant in variants(dtype):
            if not is_complete(folder, [variant]):
                folder = snapshot(hub_id, folder.name, offline, patterns(variant))
            missing = missing_files(folder)
            if not missing:
                return folder
    except SdscopeError:
        raise
    except Exception as error:  # whatever the hub's client raises: http, cache, names, disk
        folder = cached(hub_id, revision, variants(dtype))
        if folder:  # it is all there: what the hub says does not matter
            return folder
        raise not_there(hub_id, error) from error
    raise SdscopeError(
        f"{hub_id!r} lacks {', '.join(missing)} in the local cache {folder}: fetch it with a network; "
        "where the hub does not have it either, look for a model in diffusers' layout, as safetensors"
    )


def not_there(hub_id, error):
    """What the hub's client raised, as an SdscopeError"""
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    reasons = {
        LocalEntryNotFoundError: "offline, and not in the local cache",
        RepositoryNotFoundError: "no such model there",
    }
    reason = reasons.get(type(error)) or f"{type(error).__name__}: {first_line(error)}"
    return SdscopeError(
        f"cannot get {hub_id!r} from the Hugging Face hub ({reason}): check the name and "
        "the network, or use the model postcard, which needs neither"
    )


def cached(hub_id, revision, variants):
    """The folder of a model in the hub's cache, or None if not all of it is there"""
    try:
        folder = snapshot(hub_id, revision, True, [])
    except Exception:  # the hub's client has many ways to say that it is not there
        return None
    return folder if is_complete(folder, variants) and not missing_files(folder) else None


def snapshot(hub_id, revision, offline, weights):
    """The folder of a hub id, with all small files, and with weights of these names if it has any"""
    from huggingface_hub import snapshot_download

    wanted = [*FILES, *VOCABULARY, "tokenizer/special_tokens_map.json", *KINDS, *weights]
    options = dict(revision=revision, allow_patterns=wanted, local_files_only=offline)
    try:
        return Path(snapshot_download(hub_id, **options))
    except OSError as error:
        if not hasattr(error, "snapshot_path"):
            raise
        # The hub cannot be asked, and the cache lacks a file that is on the hub: of the other
        # precision, it may be, and then nothing is missing. The caller looks.
        return Path(error.snapshot_path)


def missing_files(folder):
    missing = [name for name in FILES if not (folder / name).is_file()]
    for part in WEIGHTS:
        files = weights_files(folder, part, torch.float32)
        missing += [file.relative_to(folder).as_posix() for file in files if not file.is_file()]
    tokenizer, *parts = [(folder / name).is_file() for name in VOCABULARY]
    if not tokenizer and not all(parts):
        missing.append(f"{VOCABULARY[0]} (or vocab.json and merges.txt)")
    return missing


def refuse_other_kinds(folder):
    """First of all: a model of another kind lacks files too, and no download would bring them."""
    kind = kind_of(folder)
    if kind not in (None, "StableDiffusionPipeline"):
        raise SdscopeError(f"the model folder {folder} holds a {kind}: {ONLY}")


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


def refuse_file(path):
    """A model is a folder here."""
    if path.suffix in PICKLES:
        refuse_pickle(path)
    if path.suffix == ".safetensors":
        save = f"StableDiffusionPipeline.from_single_file({str(path)!r}).save_pretrained('FOLDER')"
        raise SdscopeError(f"{path} is a single file, and a model is a folder here: diffusers makes it one, {save}")
    raise SdscopeError(f"{path} is a file, and a model is a folder: give the one that holds model_index.json")


def refuse_pickles(folder):
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        if path.suffix in PICKLES:
            refuse_pickle(path)


def refuse_pickle(path):
    why = "a pickle can run any program when it is opened, so only safetensors are read"
    raise SdscopeError(f"{path} is a pickle: {why}; look for the model as safetensors")


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
    path, weights = read_weights(folder, dtype)
    weights = {current_name(key): value for key, value in weights.items()}
    with torch.device("meta"):  # shapes only: why draw random numbers to throw them away?
        module = cls(config)
    expected = module.state_dict()
    complain(
        path,
        missing=[key for key in expected if key not in weights],
        unexpected=[key for key in weights if key not in expected],
        mismatched=[k for k in expected if k in weights and expected[k].shape != weights[k].shape],
    )
    module.load_state_dict(weights, assign=True)
    # not frozen, as in diffusers: with frozen weights torch multiplies, and so rounds, another way
    return module.to(device).eval()


def current_name(key):
    """Older VAE files name the mid attention query, key, value, proj_attn."""
    names = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    old = r"(attentions\.\d+)\.(query|key|value|proj_attn)\."
    return re.sub(old, lambda match: f"{match[1]}.{names[match[2]]}.", key)


def complain(path, **problems):
    """problems: kind -> keys of a file. None at all, or an SdscopeError that lists them."""
    told = [f"{kind}: {some(keys)}" for kind, keys in problems.items() if keys]
    if told:
        raise SdscopeError(f"{path} does not fit its config.json; {'; '.join(told)}")


def load_text(folder, device, dtype):
    """The tokenizer and the text encoder, by transformers, which knows every older layout"""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    path, weights = read_weights(folder / "text_encoder", dtype)
    options = dict(output_loading_info=True, ignore_mismatched_sizes=True)
    try:
        with quiet():
            part = folder / "tokenizer"
            tokenizer = CLIPTokenizer.from_pretrained(part, local_files_only=True)
            part = folder / "text_encoder"
            config = CLIPTextConfig.from_pretrained(part, local_files_only=True)
            text_encoder, report = CLIPTextModel.from_pretrained(
                None, config=config, state_dict=weights, dtype=dtype, **options
            )
    except Exception as error:  # json's, tokenizers' or transformers' own
        raise unreadable(part, error) from error
    check_text(path, report)
    check_tokenizer(folder / "tokenizer", tokenizer, text_encoder.config)
    return tokenizer, text_encoder.to(device).eval().requires_grad_(False)


@contextmanager
def quiet():
    """transformers without reports and progress bars: what matters becomes one line here. They are
    settings of the whole process, so afterwards they are as they were."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    no_hub_bars = are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()  # and the hub's with them
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        if no_hub_bars:
            disable_progress_bars()


def check_text(path, report):
    """transformers fills what is missing with random numbers: an error here."""
    complain(
        path,
        missing=sorted(report["missing_keys"]),
        unexpected=sorted(report["unexpected_keys"]),
        mismatched=sorted(key for key, *_ in report["mismatched_keys"]),
    )


def check_tokenizer(path, tokenizer, config):
    """Every text as many numbers as the text encoder has places for, each one that it knows"""
    length = whole(config.max_position_embeddings, least=3)  # start, a piece of a word, end
    given = tokenizer.model_max_length
    if not length.fits(given):
        wrong = f"model_max_length is {shown(given)}, and must be {length.words}"
    elif len(tokenizer) > config.vocab_size:
        wrong = f"it has {len(tokenizer)} tokens, and vocab_size is {config.vocab_size}"
    elif tokenizer.pad_token_id is None:
        wrong = "it has no pad_token"
    else:
        return
    raise SdscopeError(f"{path}: the tokenizer does not fit the text encoder, {wrong}: {AGAIN}")
