"""Where to compute, and in which numbers: decided here and nowhere else."""

import logging

import torch

from . import SdscopeError

log = logging.getLogger("sdscope")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def pick_device(name="auto"):
    """ "auto" (cuda, or mps, or else cpu) or a device's name -> torch.device"""
    if name == "auto":
        gpu = "cuda" if torch.cuda.is_available() else "mps"
        name = gpu if gpu == "cuda" or torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise SdscopeError(f"no device {name!r} on this machine: use auto or cpu") from error


def pick_dtype(dtype, device):
    """ "auto" (float16 on a GPU, float32 on a CPU, which is slow in half precision) or a dtype"""
    if dtype in (None, "auto"):
        return torch.float32 if device.type == "cpu" else torch.float16
    dtype = DTYPES.get(dtype, dtype)
    if dtype not in DTYPES.values():
        raise SdscopeError(f"no dtype {dtype!r} here: use auto, {', '.join(DTYPES)}")
    return dtype


def warn_if_slow(unet, asked, device):
    """A model of hundreds of millions of parameters that ends up on the CPU unasked is worth a word."""
    parameters = sum(p.numel() for p in unet.parameters())
    if asked == "auto" and device.type == "cpu" and parameters > 100e6:
        message = "no GPU was found: %d million parameters on the CPU, minutes for a picture"
        log.warning(message, parameters // 1_000_000)
