"""Numbers for prose, counted and not remembered: public/facts.json."""

from __future__ import annotations

import ast
import json
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import CLIPTextConfig, CLIPTextModel

from ..checkpoint import find_model
from ..unet import UNet2DConditionModel
from ..vae import AutoencoderKL

BARE = ("pipeline", "unet", "vae", "scheduler", "checkpoint")
PARTS = ("unet", "vae", "text_encoder")
# unet/config.json, vae/config.json and text_encoder/config.json of the large models, as far as shapes go
LARGE = {
    "sd15": dict(
        unet=dict(cross_attention_dim=768, attention_head_dim=8, sample_size=64),
        vae=dict(),
        text_encoder=dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, vocab_size=49408),
    ),
    "sd2": dict(
        unet=dict(cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20], use_linear_projection=True, sample_size=64),
        vae=dict(),
        text_encoder=dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, vocab_size=49408),
    ),
}  # fmt: skip


def facts() -> dict:
    """{"postcard.unet.parameters": 23..., ...}: parameters, megabytes, shapes, line counts."""
    folder = find_model("postcard")
    configs = {part: json.loads((folder / part / "config.json").read_text()) for part in PARTS}
    found = model_facts("postcard", configs)
    for part in PARTS:
        found[f"postcard.{part}.mb"] = megabytes(folder / part)
    found["postcard.mb"] = megabytes(folder)
    for name, configs in LARGE.items():
        found |= model_facts(name, configs)
    package = Path(__file__).parents[1]
    for name in BARE:
        source = (package / f"{name}.py").read_text()
        found[f"lines.{name}"], found[f"code_lines.{name}"] = len(source.splitlines()), code_lines(source)
    found["lines.bare"] = sum(found[f"lines.{name}"] for name in BARE)
    found["code_lines.bare"] = sum(found[f"code_lines.{name}"] for name in BARE)
    return found | diffusers_facts()


def model_facts(name: str, configs: dict) -> dict:
    """Of one model from its configuration alone: on torch's meta device tensors have a shape and no memory."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(configs["unet"])
        vae = AutoencoderKL(configs["vae"])
        text_encoder = CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    latent = configs["unet"]["sample_size"]
    channels, side = vae.config.latent_channels, latent * factor
    counts = {part: sum(p.numel() for p in model.parameters()) for part, model in zip(PARTS, (unet, vae, text_encoder))}
    return {f"{name}.{part}.parameters": count for part, count in counts.items()} | {
        f"{name}.parameters": sum(counts.values()),
        f"{name}.unet.channels": unet.config.block_out_channels,
        f"{name}.vae.channels": vae.config.block_out_channels,
        f"{name}.vae.factor": factor,
        f"{name}.cross_attention_dim": unet.config.cross_attention_dim,
        f"{name}.tokens": text_encoder.config.max_position_embeddings,
        f"{name}.vocabulary": text_encoder.config.vocab_size,
        f"{name}.embeddings.shape": [text_encoder.config.max_position_embeddings, text_encoder.config.hidden_size],
        f"{name}.image.shape": [side, side, 3],
        f"{name}.latents.shape": [channels, latent, latent],
        f"{name}.image.numbers": side * side * 3,
        f"{name}.latents.numbers": channels * latent * latent,
        f"{name}.compression": side * side * 3 / (channels * latent * latent),
    }


def megabytes(folder: Path) -> float:
    """Of the weights in a folder; a megabyte is a million bytes."""
    return round(sum(p.stat().st_size for p in folder.rglob("*.safetensors")) / 1e6, 1)


def code_lines(source: str) -> int:
    """Lines that are neither blank, nor only a comment, nor part of a docstring."""
    documented = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            documented |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(source.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in documented for n, line in lines)


def diffusers_facts() -> dict:
    """How long the real pipeline's file is, where diffusers is installed (it is needed for nothing else here)."""
    spec = find_spec("diffusers")
    if spec is None:
        return {}
    from importlib.metadata import version

    source = Path(spec.origin).parent / "pipelines" / "stable_diffusion" / "pipeline_stable_diffusion.py"
    text = source.read_text()
    return {
        "diffusers.version": version("diffusers"),
        "lines.diffusers.pipeline": len(text.splitlines()),
        "code_lines.diffusers.pipeline": code_lines(text),
    }
