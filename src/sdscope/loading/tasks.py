"""What the models that are read here are for, and which class opens which."""

from typing import NamedTuple


class Task(NamedTuple):
    """One of our classes, by the models that it opens."""

    kinds: tuple  # diffusers' classes, as model_index.json names them
    beside: tuple  # how many channels the UNet may take in beside the latents


TASKS = {
    "StableDiffusion": Task(("StableDiffusionPipeline",), (0,)),
    "ImageToImage": Task(("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"), (0,)),
    # a mask, and the latents of what it leaves
    "Inpaint": Task(("StableDiffusionInpaintPipeline", "StableDiffusionPipeline"), (0, 5)),
    "DepthToImage": Task(("StableDiffusionDepth2ImgPipeline",), (1,)),  # a depth map
    # the small picture itself: for each latent a pixel, or 2 x 2 of them
    "Upscale": Task(("StableDiffusionUpscalePipeline",), (3, 12)),
}


def who_opens(kind):
    """diffusers' class -> ours, or None"""
    return next((name for name, task in TASKS.items() if kind in task.kinds), None)


def who_takes(beside):
    """How many channels a UNet takes in beside the latents -> our class, or None"""
    return next((name for name, task in TASKS.items() if beside in task.beside), None)
