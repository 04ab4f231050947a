"""sdscope: Stable Diffusion, read from its code. Start with pipeline.py."""

from .errors import SdscopeError
from .version import __version__

__all__ = ["SdscopeError", "StableDiffusion", "__version__"]


def __getattr__(name):
    if name == "StableDiffusion":  # on first use: torch takes seconds to import
        from .pipeline import StableDiffusion

        return StableDiffusion
    raise AttributeError(f"module 'sdscope' has no attribute {name!r}")
