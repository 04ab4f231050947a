"""Variants of a model that are given more than a prompt: one small file each, beside the model.

    pipe = Inpaint.from_pretrained("postcard-inpaint")

In the file are the convolution that more channels go into, which takes the place of the model's, and a LoRA, which is
merged into the rest. postcard/training/variants.py makes them.
"""

from pathlib import Path

import torch

from .errors import SdscopeError
from .loading.models import VARIANTS
from .loading.settings import fit_together
from .loading.weights import in_numbers, read_file
from .pipeline import StableDiffusion
from .scheduler import DDIM
from .unet import UNet2DConditionModel

PUBLISHED = Path(__file__).parent / "postcard/variants"
LOW_RES = dict(beta_start=0.0001, beta_end=0.02)  # how much noise each level puts on a small picture: as sd2-upscaler


class Conditioned(StableDiffusion):
    """A task whose UNet may take in more than the latents"""

    @classmethod
    def from_pretrained(cls, model="postcard", *args, **options):
        """As StableDiffusion.from_pretrained; model may also be one of VARIANTS"""
        if VARIANTS.get(model) != cls.task:
            return super().from_pretrained(model, *args, **options)
        path = PUBLISHED / f"{model.removeprefix('postcard-')}.safetensors"
        if not path.is_file():
            raise SdscopeError(f"{model} lacks its file {path}: `sdscope train {path.stem}` makes one, to be put there")
        return conditioned(cls, StableDiffusion.from_pretrained("postcard", *args, **options), path)


def conditioned(cls, pipe, path):
    """A pipe of text to image and the file of a variant -> a pipe of this class; all but the UNet is the same"""
    unet = changed(pipe.unet, in_numbers(path, read_file(path), torch.float32), path)
    fit_together(path, cls.task, unet.config, pipe.vae.config, pipe.text_encoder.config)
    made = cls(pipe.tokenizer, pipe.text_encoder, unet, pipe.vae, pipe.scheduler)
    if unet.config.num_class_embeds:
        made.low_res_scheduler, made.max_noise_level = DDIM(LOW_RES), unet.config.num_class_embeds - 1
    return made


def changed(unet, weights, path="the variant"):
    """A UNet and a variant's weights -> the variant's UNet: W + B A for every pair of a LoRA, the others as they are"""
    weights = {key: value.to(unet.conv_in.weight) for key, value in weights.items()}
    merged = unet.state_dict() | {key: value for key, value in weights.items() if ".lora_" not in key}
    try:
        for layer in sorted({key.partition(".lora_")[0] for key in weights if ".lora_" in key}):
            down, up = (weights[f"{layer}.lora_{letter}.weight"] for letter in "AB")
            weight = merged[f"{layer}.weight"]
            merged[f"{layer}.weight"] = weight + (up.flatten(1) @ down.flatten(1)).view_as(weight)
        levels = len(weights["class_embedding.weight"]) if "class_embedding.weight" in weights else None
        config = dict(in_channels=weights["conv_in.weight"].shape[1], num_class_embeds=levels)
        with torch.device("meta"):
            variant = UNet2DConditionModel(unet.config | config)
        variant.load_state_dict(merged, assign=True)
    except (KeyError, IndexError, RuntimeError) as error:
        raise SdscopeError(f"{path} is of another model, or no variant of one: it does not fit the UNet") from error
    return variant.eval()
