"""From a name to weights: find a model's folder (folder.py, hub.py), read its configurations and its
safetensors (settings.py, weights.py).

A model is a folder in diffusers' layout: model_index.json, tokenizer/ text_encoder/ unet/ vae/
scheduler/. Whatever can be wrong with one is an SdscopeError whose message is one line.
"""

import logging
import re
import threading
from contextlib import contextmanager
from typing import cast

import torch

from ..errors import SdscopeError
from .config import AGAIN, read_config, unreadable
from .folder import check_folder, local_folder
from .hub import from_hub
from .settings import SCHEDULER, TEXT_ENCODER, UNET, VAE, fit_together, settle, shown, whole_number
from .weights import read_weights, some

log = logging.getLogger("sdscope")

TABLES = {"unet": UNET, "vae": VAE, "text_encoder": TEXT_ENCODER}
QUIET = threading.Lock()


def find_model(name, offline=False, dtype=torch.float32, task="StableDiffusion"):
    """A short name of KNOWN, a folder or a hub id -> the model's folder, complete and of the task's kind"""
    folder = local_folder(name)
    if folder is None:
        return from_hub(str(name), offline, dtype, task)
    check_folder(folder, task)
    return folder


def read_settings(folder, part, say=log.warning):
    """config.json of a part -> all its settings, checked; `say` gets a line where they are not as they stand there"""
    path = folder / part / "config.json"
    return settle(TABLES[part], read_config(path), path, say)


def check_settings(folder, task="StableDiffusion"):
    """The settings of a model's parts, before any is built: SdscopeError if one cannot be read or does not fit"""
    fit_together(folder, task, *(read_settings(folder, part, say=log.debug) for part in TABLES))


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
    try:
        with quiet():
            part = folder / "tokenizer"
            tokenizer = CLIPTokenizer.from_pretrained(part, local_files_only=True)
            part = folder / "text_encoder"
            config = CLIPTextConfig.from_pretrained(part, local_files_only=True)
            loaded = CLIPTextModel.from_pretrained(
                None, config=config, state_dict=weights, dtype=dtype,
                output_loading_info=True, ignore_mismatched_sizes=True,
            )  # fmt: skip
            text_encoder, report = cast(tuple, loaded)  # two, because of output_loading_info
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

    with QUIET:
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
    length = whole_number(config.max_position_embeddings, least=3)  # start, a piece of a word, end
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
