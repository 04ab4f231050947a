"""Postcard as pipeline.py loads it. The networks are in the page's engine (slides/engine/): here they are asked."""

import types
from pathlib import PurePath

import torch
from page import ask, info, tokens

from sdscope.errors import SdscopeError


class Tokenizer:
    """A text -> the numbers of its tokens"""

    model_max_length = info["tokens"]["length"]

    def __init__(self):
        self.dropped = {}  # the numbers that did not fit -> their words

    def __call__(self, texts, padding=False, max_length=None, truncation=False, return_tensors=None, verbose=True):
        found = [tokens(text) for text in ([texts] if isinstance(texts, str) else texts)]
        for one in found:
            self.dropped[tuple(one["all"][self.model_max_length - 1 : -1])] = one["dropped"]
        rows = [one["ids"] if padding == "max_length" else one["all"] for one in found]
        ids = torch.tensor(rows) if return_tensors else rows[0] if isinstance(texts, str) else rows
        return types.SimpleNamespace(input_ids=ids)

    def decode(self, ids):
        """Of what did not fit alone"""
        return self.dropped[tuple(ids)]


class TextEncoder:
    """Tokens (B, 77) -> what they say, (B, 77, D)"""

    device = "cpu"
    config = types.SimpleNamespace(hidden_size=info["embedding_size"])

    def __call__(self, input_ids):
        length = Tokenizer.model_max_length
        require(input_ids, "input_ids", (None, length), f"B rows of {length} tokens")
        return (ask("text_encoder", dict(input_ids=input_ids.long()), "prompt_embeds"),)


class UNet2DConditionModel:
    """Noisy latents (B, 4, h, w) at time t, and prompts (B, 77, D) -> what is noise in them (B, 4, h, w)"""

    config = types.SimpleNamespace(
        in_channels=info["latent_channels"],
        sample_size=info["size"] // info["factor"],
        cross_attention_dim=info["embedding_size"],
    )
    conv_in = types.SimpleNamespace(weight=torch.zeros(1))

    def __call__(self, sample, timestep, encoder_hidden_states):
        c = self.config
        require(sample, "latents", (None, c.in_channels, None, None), f"(B, {c.in_channels}, h, w)")
        n, width, embeds = len(sample), c.cross_attention_dim, encoder_hidden_states
        require(embeds, "prompt_embeds", (n, None, width), f"({n}, 77, {width}), as there are {n} latents")
        times = torch.tensor(timestep).float().expand(n)
        inputs = dict(sample=sample.float(), timestep=times, encoder_hidden_states=embeds.float())
        return ask("unet", inputs, "noise_pred")


class AutoencoderKL:
    """Only the way back: latents (B, 4, h, w) -> pictures (B, 3, 8h, 8w), from -1 to 1"""

    config = types.SimpleNamespace(
        scaling_factor=info["scaling_factor"],
        latent_channels=info["latent_channels"],
        block_out_channels=[None] * info["factor"].bit_length(),  # their number says how much larger a picture is
    )

    def decode(self, latents):
        channels = self.config.latent_channels
        require(latents, "latents", (None, channels, None, None), f"(B, {channels}, h, w)")
        # the engine's decoder divides by the factor itself
        return ask("vae_decoder", dict(latents=latents.float() * self.config.scaling_factor), "decoded")


def require(x, name, shape, such):
    given = x.shape if isinstance(x, torch.Tensor) else type(x).__name__ if x is not None else None
    if not isinstance(x, torch.Tensor) or x.ndim != len(shape) or any(a not in (None, b) for a, b in zip(shape, given)):
        raise SdscopeError(f"{name} must be a tensor {such}, not {given}")


# ---------------------------------------------------------------- in place of loading/checkpoint.py and devices.py


def find_model(model, offline, dtype, task):
    if model != "postcard":
        raise SdscopeError(f'this page has one model, "postcard"; run {model!r} with `make talk`')
    return PurePath(model)


def check_settings(folder, task):
    pass


def load_scheduler(cls, folder):
    return cls(info["scheduler"])


def load_text(folder, device, dtype):
    return Tokenizer(), TextEncoder()


def load_module(cls, folder, device, dtype):
    return cls()


def pick_device(device="auto"):
    return "cpu"


def pick_dtype(dtype="auto", device="cpu"):
    return torch.float32


def warn_if_slow(*_):
    pass
