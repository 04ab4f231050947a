"""Every block's shape, parameters and multiply-adds, of any model, without its weights.

On torch's meta device a tensor has a shape and no numbers: the UNet of Stable Diffusion 2, 866
million parameters, is built and run there in a second, in no memory.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .errors import SdscopeError
from .loading.checkpoint import read_settings
from .loading.folder import local_folder, refuse_other_kinds
from .loading.hub import known_on_hub, without_weights
from .loading.settings import factor, own_size
from .unet import UNet2DConditionModel
from .vae import AutoencoderKL

TOKENS = 77  # of a prompt
LARGEST = 16384  # pixels


class Row(NamedTuple):
    """A line of the ledger."""

    name: str  # as in the state dict; "in": what the network is given
    depth: int  # 0: a block of the network; 1: what the block above is made of
    shape: tuple  # of what comes out, (B, C, H, W); of the time embedding (B, T)
    parameters: int
    multiply_adds: int  # of convolutions, linear layers, attention's two products: nearly all


def shapes(model, size=None):
    """A short name, a folder or a hub id -> {"unet": [Row, ...], "encoder": [...], "decoder": [...]}

    size: height and width in pixels; None: what the model was trained for. The UNet is run once,
    with guidance, so on a batch of two; encoder and decoder are the autoencoder's, on one picture.
    What is wrong with the model or the size is an SdscopeError.
    """
    unet, vae = build(model)
    u, v = unet.config, vae.config
    own, unit = own_size(u, v), factor(v)
    height, width = own if size is None else (size, size)
    if any(side % unit or not 0 < side <= LARGEST for side in (height, width)):
        such = f"a multiple of {unit} pixels up to {LARGEST}, such as {min(own[0], 512)}"
        raise SdscopeError(f"the size must be {such}, not {height if size is None else size}")
    encoder = [*parts(vae.encoder, "encoder."), ("quant_conv", vae.quant_conv)]
    decoder = [("post_quant_conv", vae.post_quant_conv), *parts(vae.decoder, "decoder.")]
    with torch.device("meta"):
        words = torch.empty(2, TOKENS, u.cross_attention_dim)
        labels = torch.zeros(2, dtype=torch.long)  # an upscaler's; to the others they are nothing
        latents = torch.empty(2, u.in_channels, height // unit, width // unit)
        picture = torch.empty(1, v.in_channels, height, width)
        return {
            "unet": ledger(lambda x: unet(x, 1, words, labels), latents, parts(unet)),
            "encoder": ledger(vae.encode, picture, encoder),
            "decoder": ledger(vae.decode, latents[:1, : v.latent_channels], decoder),
        }


def total(rows):
    """Of a whole network: its parameters, its multiply-adds"""
    blocks = [row for row in rows if row.depth == 0]
    return sum(row.parameters for row in blocks), sum(row.multiply_adds for row in blocks)


def build(model):
    """A short name, a folder or a hub id -> its UNet and its autoencoder, of shapes alone"""
    unet, vae = configs(model)
    with torch.device("meta"):
        return UNet2DConditionModel(unet), AutoencoderKL(vae)


def configs(model):
    """A short name, a folder or a hub id -> unet/config.json, vae/config.json. Of the large models with a short
    name they are known here; of another on the hub, they alone are fetched."""
    folder = local_folder(model)
    if folder is None:
        known = known_on_hub(str(model))
        if known:
            return known.unet, known.vae
        folder = without_weights(str(model))
    refuse_other_kinds(folder)
    return [read_settings(folder, part) for part in ("unet", "vae")]


def parts(network, prefix=""):
    """The modules that a network is made of, with lists of modules opened: (name, module), ..."""
    for name, module in network.named_children():
        if isinstance(module, nn.ModuleList):
            yield from parts(module, f"{prefix}{name}.")
        else:
            yield prefix + name, module


@torch.no_grad()
def ledger(run, x, blocks):
    """Run a network on x, and note what comes out of its blocks and of what they are made of"""
    counter, started = FlopCounterMode(display=False), {}
    rows = {"in": Row("in", 0, tuple(x.shape), 0, 0)}

    def watch(name, module, depth):
        def before(module, inputs):
            started[name] = counter.get_total_flops()
            rows[name] = Row(name, depth, (), 0, 0)  # in its place: a block before what it is made of

        def after(module, inputs, output):
            output = output[0] if isinstance(output, tuple) else output
            parameters = sum(p.numel() for p in module.parameters())
            flops = counter.get_total_flops() - started[name]  # two for a multiply-add
            rows[name] = Row(name, depth, tuple(output.shape), parameters, flops // 2)

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)

    for name, block in blocks:
        watch(name, block, 0)
        for inner, module in parts(block, f"{name}."):
            watch(inner, module, 1)
    with counter:
        run(x)
    return list(rows.values())
