"""Postcard's variants, which are given more than a prompt, each small enough to lie beside it in one file.

    sdscope train inpaint   a mask, and what it leaves of a picture
    sdscope train depth     how near everything is
    sdscope train upscale   a small picture

The painter knows what it paints: masks, depths and small copies are exact, and no other network made them. The model is
frozen. Trained are the convolution that the new channels go into, where these begin at zero, and a LoRA that begins at
zero, too: at the first step a variant paints what the model does.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from PIL.Image import Resampling
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrize

from ... import files
from ...depth_to_image import DepthToImage
from ...dreambooth import LowRank, fresh
from ...inpaint import Inpaint
from ...loading.weights import weights_sha256
from ...pixels import to_tensor
from ...preprocess import to_depth
from ...scheduler import DDIM
from ...upscale import Upscale
from ...variants import LOW_RES, changed, conditioned
from ..world.captions import prompt
from ..world.depth import depth
from ..world.masks import box_around
from ..world.paint import paint
from .data import captioned, held_out_scenes, masked, painted, surveyed, tokenize
from .diffusion import asked, large_squares, made_folder, made_model, timestep_weights
from .run import Length, Run, accelerator
from .sheets import grid
from .vae import encoded

RANK = 16  # with it and in float16 a file has 2.4 MB
SMALLER = 4  # times, each way, is the picture that is given to be made large
LEVELS = 100  # of noise on it, above none
SHOWN = 8  # on a sheet


class Variant(NamedTuple):
    """Of what is given beside the prompt: where training takes it from, and an example of it."""

    task: type
    channels: int  # beside the latents
    given: Callable  # (folder, pipe, size, count, first, progress) -> a function: numbers of scenes -> [channels, ...]
    example: Callable  # (scene, side) -> what the task is called with after the prompt
    options: dict[str, Any]  # and by name


# ---------------------------------------------------------------------------- what is given


def masks_and_rest(folder, pipe, size, count, first, progress):
    """The mask, and the latents of what it leaves of the picture"""
    packed, step = masked(folder / "data", count, size, first, progress), pipe.factor
    # of a latent's pixels the first, as F.interpolate takes it
    masks = torch.from_numpy(np.unpackbits(packed[:, ::step], axis=-1)[:, None, :, ::step]).float()
    left = encoded(folder, pipe.vae, count, size, first, progress, left=True) * pipe.vae.config.scaling_factor
    return lambda chosen: [torch.cat([masks[chosen], left[chosen]], dim=1)]


def mask_example(scene, side):
    """A place without its things, and where they are to be painted"""
    return paint(replace(scene, things=()), side, side), box_around(scene, side, side)


def depths(folder, pipe, size, count, first, progress):
    maps = surveyed(folder / "data", count, size, first, progress)
    latents = [side // pipe.factor for side in reversed(size)]
    parts = [torch.from_numpy(np.array(maps[i : i + 100])) for i in range(0, count, 100)]
    near = torch.cat([to_depth(part, len(part), latents, torch.empty(0)) for part in parts])
    return lambda chosen: [near[chosen]]


def depth_example(scene, side):
    """A grey picture, of which nothing is to be kept, and the depth"""
    return Image.new("RGB", (side, side), (128, 128, 128)), depth(scene, side, side)


def noisy_copies(folder, pipe, size, count, first, progress):
    """A small copy with some noise: 2 x 2 of its pixels with each latent; and how much noise"""
    pictures = painted(folder / "data", count, size, first, progress)
    copies = torch.from_numpy(np.stack([np.asarray(copy(Image.fromarray(picture))) for picture in pictures]))
    noise = DDIM(LOW_RES)

    def given(chosen):
        levels = torch.randint(0, LEVELS + 1, chosen.shape)
        x = to_tensor(copies[chosen])
        x = noise.add_noise(x, torch.randn_like(x), levels)
        return [F.pixel_unshuffle(x, pipe.factor // SMALLER), levels]

    return given


def copy(picture):
    return picture.resize((picture.width // SMALLER, picture.height // SMALLER), Resampling.BICUBIC)


def copy_example(scene, side):
    return (copy(paint(scene, side, side)),)


VARIANTS = {
    "inpaint": Variant(Inpaint, 5, masks_and_rest, mask_example, {}),
    "depth": Variant(DepthToImage, 1, depths, depth_example, {"strength": 1.0}),
    "upscale": Variant(Upscale, 12, noisy_copies, copy_example, {}),
}


# ---------------------------------------------------------------------------- what is trained


def trainable(unet, variant: Variant):
    """A variant of a UNet that answers as that does, whatever it is given: all that is new is multiplied by zero"""
    conv_in = {f"conv_in.{key}": x.clone() for key, x in unet.conv_in.state_dict().items()}
    conv_in["conv_in.weight"] = F.pad(conv_in["conv_in.weight"], (0, 0, 0, 0, 0, variant.channels))
    if variant.task is Upscale:
        conv_in["class_embedding.weight"] = torch.zeros(LEVELS + 1, 4 * len(conv_in["conv_in.bias"]))
    unet = changed(unet, conv_in).requires_grad_(False)
    unet.conv_in.requires_grad_(True)
    if variant.task is Upscale:
        unet.class_embedding.requires_grad_(True)
    for name, pair in fresh(unet, 0, RANK).items():
        parametrize.register_parametrization(unet.get_submodule(name), "weight", LowRank(*pair))
    return unet


def learned(unet):
    """What was trained, by the names of the file, in float16"""
    renamed = lambda key: re.sub(r"\.parametrizations\.weight\.0\.(\w+)$", r".\1.weight", key)
    state, ours = {renamed(key): x for key, x in unet.state_dict().items()}, ("conv_in.", "class_embedding.")
    return {key: x.half().cpu().contiguous() for key, x in state.items() if key.startswith(ours) or ".lora_" in key}


def base_of(path):
    """The hash of the weights that a file was trained on"""
    with safe_open(path, "pt") as file:
        return (file.metadata() or {}).get("base")


class VariantLoss(nn.Module):
    """How wrong the variant is about v, given the caption and the rest"""

    def __init__(self, text_encoder, unet):
        super().__init__()
        self.text_encoder, self.unet = text_encoder.requires_grad_(False), unet

    def forward(self, noisy, timesteps, input_ids, velocity, *levels):
        """noisy, with what is given as more channels, (B, C, h, w); timesteps (B,); input_ids (B, 77); velocity
        (B, 4, h, w)"""
        v = self.unet(noisy, timesteps, self.text_encoder(input_ids)[0], *levels)
        return F.mse_loss(v.float(), velocity)


def train_variant(name: str, folder: Path, pictures: int, length: Length, progress=None):
    """folder / NAME.safetensors, of the model that `train large` made; where that was not run, of the published one"""
    variant, path, base = VARIANTS[name], folder / f"{name}.safetensors", made_folder(folder, "model")
    files.check(path)
    pipe, (size, count, first) = made_model(folder, "model"), large_squares(pictures)
    with accelerator().local_main_process_first():
        given = variant.given(folder, pipe, size, count, first, progress)
        latents = encoded(folder, pipe.vae, count, size, first, progress) * pipe.vae.config.scaling_factor
        ids = torch.from_numpy(captioned(folder / "data", count, first, progress).copy())
    run = Run(folder / name, VariantLoss(pipe.text_encoder, trainable(pipe.unet, variant)), length)
    for part in pipe.unet, pipe.vae:
        part.to(run.accelerator.device)
    times, empty = timestep_weights(pipe.scheduler, pipe.size), torch.from_numpy(tokenize(pipe.tokenizer, [""]))
    metadata = {"base": weights_sha256(base)}  # and nothing else: safetensors writes several in any order

    def batch(rng, done):
        chosen = torch.from_numpy(rng.integers(0, count, length.batch_size))
        noisy, *others = asked(rng, pipe.scheduler, times, latents[chosen], ids[chosen], empty)
        beside, *levels = given(chosen)
        return [torch.cat([noisy, beside], dim=1), *others, *levels]

    def sheet(average):
        with files.writing(path) as part:
            save_file(learned(average.unet), part, metadata)
        return shown(variant, conditioned(variant.task, pipe, path))

    run.go(batch, sheet)


# ---------------------------------------------------------------------------- what it paints


def examples(variant, scenes, side):
    """[(scene's picture, ...), ...] -> of all scenes the pictures, ..."""
    return [list(all_of_one) for all_of_one in zip(*(variant.example(scene, side) for scene in scenes))]


def with_things(count):
    """So many held-out scenes with something to paint into them"""
    scenes = held_out_scenes(2 * count + 20)  # one in ten is empty
    return [scene for scene in scenes if scene.things][:count]


def shown(variant, pipe):
    """What is given, and below it what is painted"""
    scenes = with_things(SHOWN)
    given = examples(variant, scenes, pipe.size)
    made = pipe([prompt(scene) for scene in scenes], *given, seed=list(range(len(scenes))), **variant.options)
    above = [x.convert("RGB").resize((pipe.size, pipe.size), Resampling.NEAREST) for x in given[-1]]
    return grid(above + made, columns=len(scenes))
