"""Text to image with Stable Diffusion 1.x and 2.x, from the first line to the last.

    pipe = StableDiffusion.from_pretrained("postcard")
    image = pipe("painting depicting the sea, sunrise, ship", seed=42)

Four steps: encode_prompt, get_latents, denoise, decode (Rombach et al., arXiv:2112.10752). Mirrors
diffusers' pipelines/stable_diffusion/pipeline_stable_diffusion.py: same seed, same picture.
"""

import logging
import math

import torch
from PIL import Image

from . import SdscopeError
from .checkpoint import find_model, load_module, load_scheduler, load_text, pick_device
from .scheduler import DDIM
from .unet import UNet2DConditionModel
from .vae import AutoencoderKL

log = logging.getLogger("sdscope")


class StableDiffusion:
    """pipe(prompt, negative_prompt, height, width, ...) -> a picture

    prompt, negative_prompt  what to paint, what to keep away from: texts, or lists of B texts
    height, width            in pixels, multiples of 8; None: what the model was trained for
    num_inference_steps      1 to 999
    guidance_scale           how strictly to follow the prompt; 1 or less: no guidance
    seed                     the same seed, the same picture; a list: one for each prompt
    callback                 gets a dict after each step: i, t, and as (B, 4, h, w)
                             latents (that the UNet was given), noise_uncond (None without
                             guidance), noise_cond, noise (that the scheduler was given), pred_x0

    What is wrong with an input is an SdscopeError: one line, before any work.
    """

    def __init__(self, tokenizer, text_encoder, unet, vae, scheduler):
        self.tokenizer, self.text_encoder = tokenizer, text_encoder
        self.unet, self.vae, self.scheduler = unet, vae, scheduler
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)  # 8 pixels a latent, each way
        self.size = unet.config.sample_size * self.factor  # height and width it was trained for

    # region from_pretrained
    @classmethod
    def from_pretrained(cls, model="postcard", device="auto", dtype=None, offline=False):
        """model: a short name, a folder, or an id on the Hugging Face hub"""
        folder, device = find_model(model, offline), pick_device(device)
        tokenizer, text_encoder = load_text(folder, device, dtype)
        unet = load_module(UNet2DConditionModel, folder / "unet", device, dtype)
        vae = load_module(AutoencoderKL, folder / "vae", device, dtype)
        scheduler = load_scheduler(DDIM, folder / "scheduler")
        return cls(tokenizer, text_encoder, unet, vae, scheduler)
    # endregion from_pretrained

    # region call
    def __call__(self, prompt, negative_prompt="", height=None, width=None,
                 num_inference_steps=25, guidance_scale=5.0, seed=None, callback=None):
        """A prompt -> a picture; a list of prompts -> a list of pictures"""
        prompts, negatives = as_lists(prompt, negative_prompt)
        height, width = (self.size if side is None else side for side in (height, width))
        self.check(prompts, negatives, height, width, num_inference_steps, guidance_scale, seed)

        prompt_embeds = self.encode_prompt(prompts, negatives, guidance_scale > 1)
        latents = self.get_latents(len(prompts), height, width, seed)
        latents = self.denoise(latents, prompt_embeds, num_inference_steps, guidance_scale,
                               callback)
        images = self.decode(latents)

        return images[0] if isinstance(prompt, str) else images
    # endregion call

    # region encode_prompt
    @torch.no_grad()
    def encode_prompt(self, prompts, negative_prompts, guidance):
        """B prompts -> (2B, 77, D): of the negative prompts, then of the prompts.
        Without guidance (B, 77, D), of the prompts alone."""
        prompt_embeds = self.encode(prompts)
        if not guidance:
            return prompt_embeds
        return torch.cat([self.encode(negative_prompts), prompt_embeds])

    def encode(self, texts):
        """B texts -> (B, 77, D). Always 77 tokens: start, pieces of words, end, padding."""
        for text in texts:
            warn_if_truncated(self.tokenizer, text)
        length = self.tokenizer.model_max_length
        tokens = self.tokenizer(
            texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        return self.text_encoder(tokens.input_ids.to(self.text_encoder.device))[0]
    # endregion encode_prompt

    # region get_latents
    def get_latents(self, batch, height, width, seed=None):
        """Noise (B, 4, height / 8, width / 8). A list of B seeds, or one: seed, seed + 1, ..."""
        if seed is None:
            seed = torch.Generator().seed() >> 1  # another one every time
        seeds = seed if isinstance(seed, list) else range(seed, seed + batch)
        shape = (1, self.unet.config.in_channels, height // self.factor, width // self.factor)
        # drawn on the CPU: a seed means the same on every device
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return torch.cat(noise).to(self.unet.conv_in.weight)
    # endregion get_latents

    # region denoise
    @torch.no_grad()
    def denoise(self, latents, prompt_embeds, num_inference_steps=25, guidance_scale=5.0,
                callback=None):
        """Noise -> latents of a picture, (B, 4, h, w). The callback gets one dict a step."""
        self.scheduler.set_timesteps(num_inference_steps)
        for i, t in enumerate(self.scheduler.timesteps):
            if guidance_scale > 1:  # ask twice in one batch: without and with the prompt
                both = self.unet(torch.cat([latents, latents]), t, prompt_embeds)
                noise_uncond, noise_cond = both.chunk(2)
                noise = noise_uncond + guidance_scale * (noise_cond - noise_uncond)
            else:
                noise_uncond, noise_cond = None, self.unet(latents, t, prompt_embeds)
                noise = noise_cond

            prev_latents, pred_x0 = self.scheduler.step(noise, t, latents)
            if callback:
                callback(dict(i=i, t=int(t), latents=latents, noise_uncond=noise_uncond,
                              noise_cond=noise_cond, noise=noise, pred_x0=pred_x0))
            latents = prev_latents
        return latents
    # endregion denoise

    # region decode
    @torch.no_grad()
    def decode(self, latents):
        """Latents (B, 4, h, w) -> a list of B pictures, 8 times as high and wide"""
        x = self.vae.decode(latents / self.vae.config.scaling_factor)
        x = (x * 0.5 + 0.5).clamp(0, 1)  # from -1 .. 1 to 0 .. 1
        x = (x.permute(0, 2, 3, 1).cpu().float() * 255).round()
        return [Image.fromarray(picture) for picture in x.byte().numpy()]
    # endregion decode

    def check(self, prompts, negatives, height, width, steps, guidance_scale, seed):
        """What is wrong with an input, in one line, before any work."""
        for name, texts in ("prompt", prompts), ("negative prompt", negatives):
            fits = isinstance(texts, list) and texts and all(map(is_text, texts))
            require(fits, f"the {name} must be a text, or a list of texts, not {texts!r}")
        for name, side in ("height", height), ("width", width):
            fits = is_whole(side) and side > 0 and side % self.factor == 0
            such = f"a multiple of {self.factor} pixels, such as {self.size}"
            require(fits, f"the {name} must be {such}, not {side!r}")
        c = self.scheduler.config
        most = c.num_train_timesteps - c.steps_offset
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


def as_lists(prompt, negative_prompt):
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if isinstance(negative_prompt, str) and isinstance(prompts, list):
        negative_prompt = [negative_prompt] * len(prompts)
    return prompts, negative_prompt


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
