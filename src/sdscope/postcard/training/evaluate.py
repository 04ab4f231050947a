"""How good is Postcard? The judge reads its pictures, of combinations that were held out of all training."""

import json
import math
import platform
import resource
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from ... import files
from ...errors import SdscopeError
from ...loading.checkpoint import find_model
from ...loading.devices import fast_in_bfloat16
from ...loading.weights import weights_sha256
from ...pipeline import StableDiffusion
from ...pixels import psnr, to_bytes, to_tensor
from ...steps import usual
from ..world.captions import prompt
from ..world.paint import paint
from ..world.scene import STYLES, Scene
from .data import held_out_scenes
from .judge import Judge, trained_judge, verdict
from .sheets import PROMPTS

GUIDANCE = (1.0, 3.0, 5.0, 7.5)
STEPS, FEWER = usual(StableDiffusion.__call__)["num_inference_steps"], (4, 5, 10)


def evaluate(folder: Path, model: str, out: Path, count: int = 500, prompts: int = 12, seeds: int = 8, progress=None):
    """Write to `out`, as JSON: accuracy of the painter, of the autoencoder, and of Postcard by guidance and with
    fewer steps; what it costs.

    count: held-out scenes; prompts, seeds: for the diversity, so many pictures of so many prompts each.
    """
    if count < 2 or prompts < 1 or seeds < 2:
        raise SdscopeError("evaluate needs at least 2 scenes, 1 prompt and 2 seeds of it")
    files.check(out)
    judge = trained_judge(folder)
    pipe = StableDiffusion.from_pretrained(model)
    device = pipe.unet.conv_in.weight.device
    cost = {f"{size} px": one_picture(pipe, size) for size in (pipe.size, 2 * pipe.size)}
    judge.to(device)
    scenes = held_out_scenes(count)
    asked = [prompt(scene) for scene in scenes]
    pictures = [paint(scene, pipe.size, pipe.size) for scene in scenes]
    decoded, decibels = roundtrip(pipe, pictures)
    result = {
        "scenes": count,
        "prompts": prompts,
        "seeds": seeds,
        "model": model,
        "weights": weights_sha256(find_model(model)),
        "machine": machine(device),
        "steps": STEPS,
        "cost": cost,
        "painter": accuracy(judge, scenes, pictures),
        "autoencoder": accuracy(judge, scenes, decoded) | by_style(scenes, decibels),
        "guidance": [],
        "fewer_steps": [],
    }
    target = features(judge, pictures)
    varied = [scene for scene in scenes if scene.things][:prompts]
    own = diversity(
        judge,
        [
            [paint(Scene(**vars(scene) | {"seed": scene.seed + 1 + k}), pipe.size, pipe.size) for k in range(seeds)]
            for scene in varied
        ],
    )
    for scale in progress(GUIDANCE, len(GUIDANCE), "guidance") if progress else GUIDANCE:
        made = generated(pipe, asked, scale, range(count))
        groups = [generated(pipe, [prompt(scene)] * seeds, scale, range(seeds)) for scene in varied]
        result["guidance"].append(
            {
                "scale": scale,
                "accuracy": accuracy(judge, scenes, made),
                "frechet": frechet(features(judge, made), target),
                "diversity": round(diversity(judge, groups) / own, 4),
            }
        )
    for steps in FEWER:
        made = generated(pipe, asked, 5.0, range(count), steps)
        result["fewer_steps"].append(
            {
                "steps": steps,
                "accuracy": accuracy(judge, scenes, made),
                "frechet": frechet(features(judge, made), target),
            }
        )
    files.write(out, json.dumps(result, indent=1) + "\n")


def one_picture(pipe, size):
    """What a picture costs: seconds, the fastest of three, and the peak of memory in MB so far."""
    seconds = []
    for seed in range(3):
        begun = time.monotonic()
        pipe(PROMPTS[0], height=size, width=size, seed=seed)
        seconds.append(time.monotonic() - begun)
    return {"seconds": round(min(seconds), 3), "peak_memory": peak_memory(pipe.unet.conv_in.weight.device)}


def generated(pipe, prompts, scale, seeds, steps=STEPS, batch=32, given=(), **options):
    """A picture for each prompt, and for what else is given, lists as long; at the first try. In bfloat16 where that is
    faster: the judge sees no difference."""
    made = []
    for i in range(0, len(prompts), batch):
        some, own, *others = (list(each)[i : i + batch] for each in (prompts, seeds, *given))
        with torch.autocast("cpu", torch.bfloat16, enabled=fast_in_bfloat16()):
            made += pipe(some, *others, num_inference_steps=steps, guidance_scale=scale, seed=own, **options)
    return made


@torch.no_grad()
def roundtrip(pipe, pictures, batch=16):
    """Through the autoencoder and back: pictures, and the PSNR of each in decibels."""
    decoded, decibels = [], []
    for x in batches(pictures, pipe.unet.conv_in.weight.device, batch):
        back = pipe.vae.decode(pipe.vae.encode(x.to(pipe.unet.conv_in.weight))[0]).clamp(-1, 1).float()
        decoded += list(to_bytes(back))
        decibels += psnr(back, x).tolist()
    return decoded, decibels


def by_style(scenes, decibels):
    """The mean, and that of each style"""
    styles = {style: [db for scene, db in zip(scenes, decibels) if scene.style == style] for style in STYLES}
    means = {style: round(float(np.mean(some)), 2) for style, some in styles.items() if some}
    return {"psnr": round(float(np.mean(decibels)), 2), "psnr by style": means}


def batches(pictures, device, batch=64):
    for i in range(0, len(pictures), batch):
        yield to_tensor(np.stack([np.asarray(picture) for picture in pictures[i : i + batch]])).to(device)


def accuracy(judge: Judge, scenes, pictures):
    """For each question [part that is right, and the ends of its 95% interval, number asked]."""
    read = [read for x in batches(pictures, judge.heads["place"].weight.device) for read in judge.read(x)]
    answers = [verdict(*pair) for pair in zip(scenes, read)]
    right = {
        name: [answer[name] for answer in answers if name in answer]
        for name in sorted({name for answer in answers for name in answer})
    }
    return {name: wilson(sum(values), len(values)) for name, values in right.items()}


def wilson(right, n):
    """Wilson's interval for a part, which stays within 0 .. 1 (J. Am. Stat. Assoc. 22, 1927)."""
    p, z = right / n, 1.96
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return [round(v, 4) for v in (p, (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n))] + [n]


@torch.no_grad()
def features(judge, pictures):
    """(B, 256)"""
    return np.concatenate(
        [judge(x).cpu().numpy() for x in batches(pictures, judge.heads["place"].weight.device)]
    ).astype(np.float64)


def diversity(judge, groups):
    """How far apart in the judge's features are pictures of one prompt? Mean over pairs and prompts."""
    return float(
        np.mean([np.linalg.norm(a - b) for group in groups for a, b in combinations(features(judge, group), 2)])
    )


def frechet(a, b):
    """Frechet distance between two clouds of features, taken as Gaussians (Heusel et al., arXiv:1706.08500)."""
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    root = np.sqrt(np.linalg.eigvals(cov_a @ cov_b).real.clip(0)).sum()  # trace of the root of the product
    return round(float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * root), 3)


def machine(device):
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def peak_memory(device):
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**20)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)
