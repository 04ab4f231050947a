"""What can be wrong with what the pipeline is given: an SdscopeError, one line, before any work.

Numbers may be Python's, numpy's or torch's; what is a list may be a tuple, a range or an array.
"""

import copy
import logging
import math
import reprlib

import torch

from .errors import SdscopeError, first_line
from .loading.settings import is_whole

log = logging.getLogger("sdscope")
LAST_SEED = 2**64 - 1  # that torch takes
SCHEDULER = ("config", "set_timesteps", "init_noise_sigma", "scale_model_input", "step")  # what denoise asks of one


def as_lists(prompt, negative_prompt):
    """One text or several -> lists of B texts"""
    prompts, negatives = ([x] if isinstance(x, str) else listed(x) for x in (prompt, negative_prompt))
    if isinstance(negative_prompt, str) and isinstance(prompts, list):
        negatives = negatives * len(prompts)
    return prompts, negatives


def as_generators(seed, batch):
    """B seeds or B generators, or one seed: seed, seed + 1, ...; None: others every time -> B generators"""
    require(whole(batch, 0) > 0, f"the batch must be a whole number from 1, not {short(batch)}")
    seed = listed(torch.Generator().seed() >> 1 if seed is None else seed)
    first = whole(seed)
    seeds = range(first, first + whole(batch)) if first is not None else seed if isinstance(seed, list) else [seed]
    for s in seeds:
        fits = is_generator(s) or 0 <= whole(s, -1) <= LAST_SEED
        require(fits, f"the seed must be a whole number from 0 to {LAST_SEED}, not {short(s)}")
    require(len(seeds) == batch, f"{batch} pictures need as many seeds, or one for all")
    return [s if is_generator(s) else torch.Generator().manual_seed(whole(s)) for s in seeds]


def check(pipe, prompts, negatives, height, width, steps, guidance_scale):
    """As StableDiffusion.__call__ has them"""
    for name, texts in ("prompt", prompts), ("negative prompt", negatives):
        require(are_texts(texts), f"the {name} must be a text, or a list of texts, not {short(texts)}")
    fits = len(negatives) == len(prompts)
    require(fits, f"{len(prompts)} prompts need as many negative prompts, or one for all")
    check_size(pipe, height, width)
    check_steps(pipe.scheduler, steps)
    check_guidance(guidance_scale)


def check_texts(tokenizer, texts):
    """As StableDiffusion.encode has them; when one is too long, say so"""
    texts = [texts] if isinstance(texts, str) else texts
    require(are_texts(texts), f"the prompts must be a list of texts, not {short(texts)}")
    for text in texts:
        warn_if_truncated(tokenizer, text)


def check_size(pipe, height, width):
    for name, side in ("height", height), ("width", width):
        fits = whole(side, 0) > 0 and whole(side) % pipe.factor == 0
        such = f"a multiple of {pipe.factor} pixels, such as {pipe.size}"
        require(fits, f"the {name} must be {such}, not {short(side)}")


def check_steps(scheduler, steps):
    """How many there can be is asked of the scheduler itself"""
    name = type(scheduler).__name__
    lacks = ", ".join(part for part in SCHEDULER if not hasattr(scheduler, part))
    such = "take the model's own, or one made from its configuration: EulerDiscreteScheduler.from_config(...)"
    require(not isinstance(scheduler, type), f"the scheduler is a class, {getattr(scheduler, '__name__', '')}: {such}")
    require(not lacks, f"{name} is no scheduler for this kind of model, as it has no {lacks}: {such}")
    trained, n = scheduler.config.num_train_timesteps, whole(steps, 0)
    if 1 <= n <= trained and not why_not(scheduler, n):
        return
    most = next((n for n in range(trained, 0, -1) if not why_not(scheduler, n)), 0)
    require(most, f"{name} can take no steps: {why_not(scheduler, 1)}")
    check_number(steps, next(n for n in range(1, most + 1) if not why_not(scheduler, n)), most)


def check_times(config, steps):
    """As DDIM has them: where times start at the offset, the last would be past the end"""
    offset = config.steps_offset if config.timestep_spacing == "leading" else 0
    check_number(steps, 1, config.num_train_timesteps - offset)


def check_number(steps, fewest, most):
    fits = fewest <= whole(steps, 0) <= most
    require(fits, f"steps must be a whole number from {fewest} to {most}, not {short(steps)}")


def why_not(scheduler, steps):
    """Why the scheduler cannot take so many steps, or None. Of a copy: nothing changes, and no trace sees it."""
    asked = copy.copy(scheduler)
    try:
        type(asked).set_timesteps(asked, steps)
    except Exception as error:  # whatever somebody's scheduler raises
        return first_line(error)
    if steps > 1 and asked.timesteps[0] == asked.timesteps[-1]:
        return "it would visit the same time again and again"
    if asked.timesteps.max() >= asked.config.num_train_timesteps and not hasattr(asked, "sigmas"):
        return "it has no such time"  # in alphas_cumprod; with sigmas it would take the nearest
    return None


def check_guidance(scale):
    x = plain(scale)
    fits = math.isfinite(x) if isinstance(x, float) else abs(whole(x, 2**63)) < 2**63
    such = "a number, such as 5 (1 or less: no guidance)"
    require(fits, f"the guidance scale must be {such}, not {short(scale)}")


def check_strength(strength, steps):
    """How many of the steps a strength leaves: whole steps, one at least"""
    x = plain(strength)
    fits = isinstance(x, (int, float)) and not isinstance(x, bool) and 0 < x <= 1
    require(fits, f"the strength must be a number above 0 up to 1, such as 0.8, not {short(strength)}")
    taken = min(int(steps * x), int(steps))  # as diffusers rounds
    such = f"give {1 / steps:.2g} or more, or take more steps"
    require(taken, f"a strength of {short(strength)} leaves none of {steps} steps: {such}")
    return taken


def check_scale(scale):
    """As LoRA has it"""
    x = plain(scale)
    fits = isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)
    require(fits, f"the scale must be a number, such as 1, not {short(scale)}")
    return x


def begin(pipe, prompt, negative_prompt, seed, steps, guidance_scale, strength=1.0, height=None, width=None):
    """What is given to a task beside pictures, checked -> B prompts, B negative prompts, B generators, the size"""
    prompts, negatives = as_lists(prompt, negative_prompt)
    height, width = (own if side is None else side for own, side in zip(pipe.sides, (height, width)))
    check(pipe, prompts, negatives, height, width, steps, guidance_scale)
    check_strength(strength, steps)
    return prompts, negatives, as_generators(seed, len(prompts)), (height, width)


def check_run(scheduler, latents, prompt_embeds, steps, guidance_scale):
    """As StableDiffusion.denoise has them"""
    check_latents(latents)
    check_steps(scheduler, steps)
    check_guidance(guidance_scale)
    guided = bool(guidance_scale > 1)
    n, rows, needed = len(latents), len(prompt_embeds), len(latents) * (2 if guided else 1)
    made = f"encode_prompt(prompts, negative_prompts, {guided}) makes them"
    such = f"guidance {short(guidance_scale)} need {needed} rows of prompt_embeds, not {rows}: {made}"
    require(rows == needed, f"{n} latents and {such}")


def check_latents(latents):
    is_tensor = isinstance(latents, torch.Tensor)
    such = "a tensor (B, 4, height / 8, width / 8)"
    given = tuple(latents.shape) if is_tensor else short(latents)
    require(is_tensor and latents.ndim == 4, f"latents must be {such}, not {given}")


class Unset:
    """An attribute of a class that its objects have to set before they read it"""

    def __init__(self, message):
        self.message = message

    def __get__(self, instance, owner):
        require(instance is None, self.message)
        return self


def require(fits, message):
    if not fits:
        raise SdscopeError(message)


def plain(x):
    """One number of numpy or torch -> Python's; anything else as it is"""
    return x.item() if getattr(x, "ndim", None) == 0 else x


def whole(x, otherwise=None):
    """A whole number -> int; anything else, truth values too -> otherwise"""
    x = plain(x)
    return x if is_whole(x) else otherwise


def listed(x):
    """A tuple, a range, an array of one dimension -> a list; anything else as it is"""
    return list(x) if isinstance(x, (tuple, range)) or getattr(x, "ndim", None) == 1 else x


def is_generator(x):
    return isinstance(x, torch.Generator) and x.device.type == "cpu"


def are_texts(x):
    return isinstance(x, (list, tuple)) and x and all(map(is_text, x))


def is_text(x):
    return isinstance(x, str) and x == x.encode(errors="replace").decode()  # no half characters


def short(x):
    """What was given, on one line and not longer"""
    try:
        return " ".join(reprlib.repr(x).split())
    except ValueError:  # Python does not write out a number of more than 4300 digits
        return f"a huge {type(x).__name__}"


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
