"""sdscope: Stable Diffusion, read from its code. Start with pipeline.py."""

__version__ = "0.1.0"


class SdscopeError(ValueError):
    """Something that the user can put right: one line that says what is wrong and what to do."""


def __getattr__(name):
    if name == "StableDiffusion":  # on first use: torch takes seconds to import
        from .pipeline import StableDiffusion

        return StableDiffusion
    raise AttributeError(f"module 'sdscope' has no attribute {name!r}")
