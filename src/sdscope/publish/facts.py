"""Numbers for prose, counted and not remembered: public/facts.json."""

from __future__ import annotations

import ast
import json
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import CLIPTextConfig, CLIPTextModel

from ..loading.checkpoint import find_model
from ..loading.config import read_config
from ..loading.models import KNOWN
from ..loading.settings import factor
from ..pipeline import StableDiffusion
from ..shapes import build, shapes, total
from ..steps import usual

FOUR = ("pipeline", "unet", "vae", "scheduler")  # what the deck reads
PARTS = ("unet", "vae", "text_encoder")


def facts() -> dict:
    """{"postcard.unet.parameters": 5..., ...}: parameters, megabytes, shapes, multiply-adds, line counts."""
    found: dict = {}
    for name in "postcard", "sd15", "sd2":
        found |= model_facts(name)
    folder = find_model("postcard")
    for part in PARTS:
        found[f"postcard.{part}.mb"] = megabytes(folder / part)
    found["postcard.mb"] = megabytes(folder)
    package = Path(__file__).parents[1]
    for name in FOUR:
        source = (package / f"{name}.py").read_text()
        found[f"lines.{name}"], found[f"code_lines.{name}"] = len(source.splitlines()), code_lines(source)
    for kind in "lines", "code_lines":
        found[f"{kind}.four"] = sum(found[f"{kind}.{name}"] for name in FOUR)
    return found | marks(folder, usual(StableDiffusion.__call__)["guidance_scale"]) | diffusers_facts()


def marks(folder: Path, guidance: float) -> dict:
    """In how many percent of Postcard's pictures, at this guidance, the judge read what was asked for:
    postcard.right.place, ..."""
    evaluation = json.loads((folder / "evaluation.json").read_text())
    row = next(row for row in evaluation["guidance"] if row["scale"] == guidance)
    return {f"postcard.right.{name}": round(100 * part) for name, (part, *_) in row["accuracy"].items()}


def model_facts(name: str) -> dict:
    """Of one model from its configuration alone: on torch's meta device tensors have a shape and no memory."""
    unet, vae = build(name)
    with torch.device("meta"):
        text_encoder = CLIPTextModel(text_config(name))
    counts = {part: sum(p.numel() for p in model.parameters()) for part, model in zip(PARTS, (unet, vae, text_encoder))}
    ledgers = shapes(name)
    _, channels, latent, _ = ledgers["unet"][0].shape
    side = ledgers["encoder"][0].shape[-1]
    tokens, vocabulary = text_encoder.config.max_position_embeddings, text_encoder.config.vocab_size
    return {f"{name}.{part}.parameters": count for part, count in counts.items()} | {
        f"{name}.parameters": sum(counts.values()),
        f"{name}.unet.channels": unet.config.block_out_channels,
        f"{name}.unet.multiply_adds": total(ledgers["unet"])[1],  # of one call with guidance
        f"{name}.unet.ledger": ledgers["unet"],  # a Row each: name, depth, shape, parameters, multiply-adds
        f"{name}.vae.channels": vae.config.block_out_channels,
        f"{name}.vae.factor": factor(vae.config),
        f"{name}.vae.encoder.multiply_adds": total(ledgers["encoder"])[1],
        f"{name}.vae.decoder.multiply_adds": total(ledgers["decoder"])[1],
        f"{name}.cross_attention_dim": unet.config.cross_attention_dim,
        f"{name}.tokens": tokens,
        f"{name}.vocabulary": vocabulary,
        f"{name}.embeddings.shape": [tokens, text_encoder.config.hidden_size],
        f"{name}.image.shape": [side, side, 3],
        f"{name}.latents.shape": [channels, latent, latent],
        f"{name}.image.numbers": side * side * 3,
        f"{name}.latents.numbers": channels * latent * latent,
        f"{name}.compression": side * side * 3 / (channels * latent * latent),
    }


def text_config(name: str) -> CLIPTextConfig:
    """text_encoder/config.json of a known model"""
    config = KNOWN[name].text_encoder
    if not KNOWN[name].hub_id:  # it is here
        config = read_config(find_model(name) / "text_encoder/config.json")
    return CLIPTextConfig(**config)


def megabytes(folder: Path) -> float:
    """Of the weights in a folder; a megabyte is a million bytes."""
    return round(sum(p.stat().st_size for p in folder.rglob("*.safetensors")) / 1e6, 1)


def code_lines(source: str) -> int:
    """Lines that are neither blank, nor only a comment, nor part of a docstring."""
    documented = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            text = node.body[0]
            documented |= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    lines = enumerate(source.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in documented for n, line in lines)


def diffusers_facts() -> dict:
    """How long the real pipeline's file is, where diffusers is installed (it is needed for nothing else here)."""
    spec = find_spec("diffusers")
    if spec is None or spec.origin is None:
        return {}
    from importlib.metadata import version

    source = Path(spec.origin).parent / "pipelines" / "stable_diffusion" / "pipeline_stable_diffusion.py"
    text = source.read_text()
    return {
        "diffusers.version": version("diffusers"),
        "lines.diffusers.pipeline": len(text.splitlines()),
        "code_lines.diffusers.pipeline": code_lines(text),
    }
