"""How good are Postcard's variants? On held-out scenes, each beside the model without what the variant is given, and
beside the best that there could be."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Resampling

from ... import files
from ...errors import SdscopeError
from ...inpaint import Inpaint
from ...loading.weights import weights_sha256
from ...pipeline import StableDiffusion
from ...pixels import psnr, to_tensor
from ...variants import conditioned
from ..world.captions import prompt
from ..world.depth import depth
from ..world.paint import paint
from .depth_judge import latent_sized, trained_depth_judge
from .diffusion import made_folder
from .evaluate import accuracy, batches, features, frechet, generated, machine, roundtrip
from .judge import trained_judge
from .variants import VARIANTS, base_of, examples, with_things

GUIDANCE = 5.0


def evaluate_variants(folder: Path, out: Path, count: int = 200, progress=None):
    """Write to `out`, as JSON, what was measured of the variants whose files are in the folder."""
    if count < 2:
        raise SdscopeError("evaluate-variants needs at least 2 scenes")
    files.check(out)
    names = [name for name in VARIANTS if (folder / f"{name}.safetensors").is_file()]
    if not names:
        raise SdscopeError(f"there is no variant in {folder}: `sdscope train inpaint`, depth or upscale makes one")
    judges = {name: (trained_depth_judge if name == "depth" else trained_judge)(folder) for name in names}
    measures = {"inpaint": of_inpaint, "depth": of_depth, "upscale": of_upscale}
    base = made_folder(folder, "model")
    pipe, scenes = StableDiffusion.from_pretrained(base), with_things(count)
    device = pipe.unet.conv_in.weight.device
    result = {"scenes": count, "weights": weights_sha256(base), "machine": machine(device)}
    for path in (folder / f"{name}.safetensors" for name in names):
        if base_of(path) != result["weights"]:
            raise SdscopeError(f"{path} was trained on other weights than those of {base}: train it again")
    for name in progress(names, len(names), "measuring") if progress else names:
        given = examples(VARIANTS[name], scenes, pipe.size)
        variant = conditioned(VARIANTS[name].task, pipe, folder / f"{name}.safetensors")
        result[name] = measures[name](pipe, variant, scenes, given, judges[name].to(device))
    files.write(out, json.dumps(result, indent=1) + "\n")


def answers(pipe, scenes, given=(), scale=GUIDANCE, **options):
    """A picture for the prompt of each scene, and for what is given with it"""
    return generated(pipe, [prompt(scene) for scene in scenes], scale, range(len(scenes)), given=given, **options)


def of_inpaint(pipe, variant, scenes, given, judge):
    """Things are painted into places that have none. Outside the masks: how like the place it is, in decibels; inside:
    what the judge reads. The model without the variant does not see the mask: latents are put back after each step."""
    places, masks = given
    model = Inpaint(pipe.tokenizer, pipe.text_encoder, pipe.unet, pipe.vae, pipe.scheduler)
    ways = {
        "variant": 2 * [answers(variant, scenes, given)],
        "model": 2 * [answers(model, scenes, given)],
        "autoencoder": [roundtrip(pipe, pictures)[0] for pictures in (places, painted(pipe, scenes))],
    }
    return {
        way: {"outside": outside(kept, places, masks), "inside": accuracy(judge, scenes, new)}
        for way, (kept, new) in ways.items()
    }


def outside(made, pictures, masks):
    """How like each other they are where masks are black, in decibels, the mean"""
    a, b = (to_tensor(stacked(images)) for images in (made, pictures))
    black = torch.from_numpy(stacked(masks) == 0)[:, None]
    error = ((a - b).square().mean(dim=1, keepdim=True) * black).sum(dim=(1, 2, 3)) / black.sum(dim=(1, 2, 3))
    return round((-10 * torch.log10(error / 4)).mean().item(), 2)


def of_depth(pipe, variant, scenes, given, judge):
    """Does what was painted have the depth that was given? The depth that the judge sees in it, correlated with that:
    of whole maps, and of what things add to the depth of an empty place, which is always the same."""
    wanted = latent_sized(stacked(given[1]))
    empty = latent_sized(stacked([depth(replace(scenes[0], things=()), pipe.size, pipe.size)]))
    ways = {
        "variant": answers(variant, scenes, given, **VARIANTS["depth"].options),
        "model": answers(pipe, scenes),
        "painter": painted(pipe, scenes),
    }
    seen = {way: seen_in(made, judge) for way, made in ways.items()}
    return {
        way: {"map": correlation(found, wanted), "things": correlation(found - empty, wanted - empty)}
        for way, found in seen.items()
    }


@torch.no_grad()
def seen_in(pictures, judge):
    """(B, 1, h, w)"""
    return torch.cat([judge(x).cpu() for x in batches(pictures, judge.conv_out.weight.device)])


def correlation(a, b):
    return round(float(np.corrcoef(a.flatten(), b.flatten())[0, 1]), 4)


def of_upscale(pipe, variant, scenes, given, judge):
    """How like the painter's pictures are what was made of their small copies: in decibels, and all together in the
    judge's features; beside a bicubic enlargement, and beside what the autoencoder makes of the pictures themselves."""
    pictures, (copies,) = painted(pipe, scenes), given
    target, original = features(judge, pictures), to_tensor(stacked(pictures))
    ways = {
        "variant, guidance 1": answers(variant, scenes, given, 1.0),
        f"variant, guidance {GUIDANCE:g}": answers(variant, scenes, given),
        "bicubic": [copy.resize((pipe.size, pipe.size), Resampling.BICUBIC) for copy in copies],
        "autoencoder": roundtrip(pipe, pictures)[0],
    }
    return {
        way: {
            "psnr": round(psnr(to_tensor(stacked(made)), original).mean().item(), 2),
            "frechet": frechet(features(judge, made), target),
        }
        for way, made in ways.items()
    }


def painted(pipe, scenes):
    return [paint(scene, pipe.size, pipe.size) for scene in scenes]


def stacked(images):
    return np.stack([np.asarray(image) for image in images])
