"""What can be wrong with what the pipeline is given: an SdscopeError, one line, before any work."""

import logging
import math

from . import SdscopeError

log = logging.getLogger("sdscope")


def as_lists(prompt, negative_prompt):
    """One text or a list of B -> lists of B texts"""
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if isinstance(negative_prompt, str) and isinstance(prompts, list):
        negative_prompt = [negative_prompt] * len(prompts)
    return prompts, negative_prompt


def check(pipe, prompts, negatives, height, width, steps, guidance_scale, seed):
    """As StableDiffusion.__call__ has them"""
    for name, texts in ("prompt", prompts), ("negative prompt", negatives):
        fits = isinstance(texts, list) and texts and all(map(is_text, texts))
        require(fits, f"the {name} must be a text, or a list of texts, not {texts!r}")
    for name, side in ("height", height), ("width", width):
        fits = is_whole(side) and side > 0 and side % pipe.factor == 0
        such = f"a multiple of {pipe.factor} pixels, such as {pipe.size}"
        require(fits, f"the {name} must be {such}, not {side!r}")
    config = pipe.scheduler.config
    most = config.num_train_timesteps - getattr(config, "steps_offset", 0)
    fits = is_whole(steps) and 1 <= steps <= most
    require(fits, f"steps must be a whole number from 1 to {most}, not {steps!r}")
    fits = isinstance(guidance_scale, (int, float)) and math.isfinite(guidance_scale)
    such = "a number, such as 5 (1 or less: no guidance)"
    require(fits, f"the guidance scale must be {such}, not {guidance_scale!r}")
    seeds = seed if isinstance(seed, list) else [0 if seed is None else seed]
    fits = all(is_whole(s) and 0 <= s < 2**63 for s in seeds)
    require(fits, f"the seed must be a whole number from 0 to {2**63 - 1}, not {seed!r}")
    for name, several in ("negative prompts", negatives), ("seeds", seed):
        fits = not isinstance(several, list) or len(several) == len(prompts)
        require(fits, f"{len(prompts)} prompts need as many {name}, or one for all")


def require(fits, message):
    if not fits:
        raise SdscopeError(message)


def is_whole(x):
    return isinstance(x, int) and not isinstance(x, bool)


def is_text(x):
    return isinstance(x, str) and x == x.encode(errors="replace").decode()  # no half characters


def warn_if_truncated(tokenizer, text):
    """The text encoder reads 77 tokens. When a text has more, say so, and say what is left out."""
    ids, limit = tokenizer(text, verbose=False).input_ids, tokenizer.model_max_length
    if len(ids) <= limit:
        return
    dropped = tokenizer.decode(ids[limit - 1 : -1]).strip()
    count = len(dropped.split())
    if len(dropped) > 200:
        dropped = f"{dropped[:120]} ... {dropped[-60:]}"
    message = 'the prompt has %d tokens and was truncated to %d; left out, %d words: "%s"'
    log.warning(message, len(ids), limit, count, dropped)
