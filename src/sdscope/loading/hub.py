"""The Hugging Face hub and its cache on this machine: an id -> a folder. Never pickles, only safetensors."""

import logging
import re
from pathlib import Path

from ..errors import SdscopeError, first_line
from .folder import FILES, KINDS, VOCABULARY, missing_files, refuse_other_kinds
from .models import KNOWN, MIRRORS, VARIANTS
from .weights import is_complete, patterns, variants

log = logging.getLogger("sdscope")

BESIDE = ["tokenizer/special_tokens_map.json", "low_res_scheduler/scheduler_config.json"]  # of some models


def from_hub(name, offline, dtype, task="StableDiffusion"):
    """A short name or a hub id -> the folder in the hub's cache, filled where it has to be"""
    known = known_on_hub(name)
    if not known:
        return download(name, None, offline, dtype, task)
    if name in MIRRORS:
        original = cached(name, None, variants(dtype))  # fetched before it was withdrawn
        if original:
            refuse_other_kinds(original, task)
            return original
        log.warning("%s is gone from the hub; its mirror is used: %s", name, known.hub_id)
    return download(known.hub_id, known.revision, offline, dtype, task)


def known_on_hub(name):
    """What is known here of a short name or hub id, or None; SdscopeError where it can be neither"""
    known = KNOWN.get(MIRRORS.get(name, name))
    if name in VARIANTS:
        raise SdscopeError(f"{name} is a variant of postcard: open it with sdscope.{VARIANTS[name]}")
    if not known and not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        what = f"a folder, a hub id (owner/name) or one of {', '.join([*KNOWN, *VARIANTS])}"
        raise SdscopeError(f"no model {name!r}: give {what}")
    return known


def without_weights(hub_id):
    """A hub id -> the folder in the hub's cache with the small files alone"""
    try:
        return snapshot(hub_id, None, False, [])
    except Exception as error:
        raise not_there(hub_id, error) from error


def download(hub_id, revision, offline, dtype, task="StableDiffusion"):
    """A hub id -> the folder of its files in the hub's cache; only safetensors, never pickles"""
    from huggingface_hub import constants

    offline = offline or constants.HF_HUB_OFFLINE
    if revision:  # a commit, which cannot change: the hub need not be asked for what is here
        folder = cached(hub_id, revision, variants(dtype)[:1])
        if folder:
            refuse_other_kinds(folder, task)
            return folder
    try:
        folder = snapshot(hub_id, revision, offline, [])
        refuse_other_kinds(folder, task)  # before gigabytes are fetched
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

    wanted = [*FILES, *VOCABULARY, *BESIDE, *KINDS, *weights]
    options = dict(revision=revision, allow_patterns=wanted, local_files_only=offline)
    try:
        return Path(snapshot_download(hub_id, **options))
    except OSError as error:
        if not hasattr(error, "snapshot_path"):
            raise
        # The hub cannot be asked, and the cache lacks a file that is on the hub: of the other
        # precision, it may be, and then nothing is missing. The caller looks.
        return Path(error.snapshot_path)
