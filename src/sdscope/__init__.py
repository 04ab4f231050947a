"""sdscope: Stable Diffusion, read from its code. Start with pipeline.py."""

from importlib import import_module

from .errors import SdscopeError
from .version import __version__

FILES = {
    "StableDiffusion": "pipeline",
    "ImageToImage": "image_to_image",
    "Inpaint": "inpaint",
    "DepthToImage": "depth_to_image",
    "Upscale": "upscale",
    "LoRA": "lora",
}
__all__ = ["SdscopeError", "__version__", *FILES]


def __getattr__(name):
    if name in FILES:  # on first use: torch takes seconds to import
        return getattr(import_module(f".{FILES[name]}", __name__), name)
    raise AttributeError(f"module 'sdscope' has no attribute {name!r}")
