"""Where to compute, and in which numbers: decided here and nowhere else."""

import logging

import torch

from ..errors import SdscopeError

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
    """ "auto", float16 where that is fast and safe and float32 elsewhere, or a dtype"""
    if dtype in (None, "auto"):
        return torch.float16 if suits_float16(device) else torch.float32
    dtype = DTYPES.get(dtype, dtype)
    if dtype not in DTYPES.values():
        raise SdscopeError(f"no dtype {dtype!r} here: use auto, {', '.join(DTYPES)}")
    return dtype


def suits_float16(device):
    """float16 ends at 65504. Beyond it a number is infinite, soon all are NaN, and the picture is black."""
    if device.type == "cpu":
        return False  # slow in half precision
    if device.type == "mps":
        # Metal's attention multiplies queries by keys in float16. Stable Diffusion 2 at 768 pixels, whose
        # config.json says upcast_attention, goes beyond the end there. CUDA's kernels add up in float32.
        return False
    # Nvidia's GTX 1650 and 1660, the only cards so named, are known for NaN in float16 convolutions.
    return device.type != "cuda" or "GTX 16" not in torch.cuda.get_device_name(device)


def fast_in_bfloat16():
    """So are GPUs, and CPUs with AMX or AVX-512's bfloat16."""
    return torch.cuda.is_available() or torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def warn_if_slow(unet, asked, device):
    """A model of hundreds of millions of parameters that ends up on the CPU unasked is worth a word."""
    parameters = sum(p.numel() for p in unet.parameters())
    if asked == "auto" and device.type == "cpu" and parameters > 100e6:
        message = "no GPU was found: %d million parameters on the CPU, minutes for a picture"
        log.warning(message, parameters // 1_000_000)
