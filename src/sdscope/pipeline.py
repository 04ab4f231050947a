"""Text to image with Stable Diffusion 1.x and 2.x, from the first line to the last.

    pipe = StableDiffusion.from_pretrained("postcard")
    image = pipe("painting depicting the sea, sunrise, ship", seed=42)

Four steps: encode_prompt, get_latents, denoise, decode (Rombach et al., arXiv:2112.10752). Mirrors
diffusers' pipelines/stable_diffusion/pipeline_stable_diffusion.py: same seed, same picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
from PIL import Image
from torch import Tensor

from .inputs import as_generators, as_lists, check, check_latents, check_run, check_size, check_texts
from .loading.checkpoint import check_settings, find_model, load_module, load_scheduler, load_text
from .loading.devices import pick_device, pick_dtype, warn_if_slow
from .loading.settings import factor, own_size, repaired
from .scheduler import DDIM
from .steps import Callback, Scheduler, check_picture, one_at_a_time, report, step_options
from .unet import UNet2DConditionModel
from .vae import AutoencoderKL

if TYPE_CHECKING:  # transformers takes seconds to import
    from transformers import CLIPTextModel, CLIPTokenizer


class StableDiffusion:
    """pipe(prompt, negative_prompt, height, width, ...) -> a picture

    prompt, negative_prompt  what to paint, what to keep away from: texts, or lists of B texts
    height, width            in pixels, multiples of 8; None: what the model was trained for
    num_inference_steps      1 to 999; with another scheduler as many as that has
    guidance_scale           how strictly to follow the prompt; 1 or less: no guidance
    seed                     the same seed, the same picture; a list: one for each prompt
    callback                 gets a dict after each step: i, t, and as (B, 4, h, w)
                             latents (before the step), noise_uncond (None without guidance),
                             noise_cond, noise (that the scheduler was given) and pred_x0
                             (None from a scheduler that does not tell)

    The scheduler is DDIM, or any of diffusers': they have the same methods.

    What is wrong with an input is an SdscopeError: one line, before any work.

    One run at a time: two threads need a pipe each. These may share the three networks, but
    neither the tokenizer nor the scheduler.
    """

    task = "StableDiffusion"  # which models it opens: loading/tasks.py

    # broken by hand from here on, to be as wide as a slide
    # fmt: off

    def __init__(self, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel,
                 unet: UNet2DConditionModel, vae: AutoencoderKL, scheduler: Scheduler):
        self.tokenizer, self.text_encoder = tokenizer, text_encoder
        self.unet, self.vae, self.scheduler = unet, vae, repaired(scheduler)
        self.factor = factor(vae.config)  # 8 pixels a latent, each way
        # height and width that it was trained for; nearly always the same
        self.sides = own_size(unet.config, vae.config)
        self.size = self.sides[0]

    # region from_pretrained
    @classmethod
    def from_pretrained(cls, model: str | Path = "postcard", device: str | torch.device = "auto",
                        dtype: str | torch.dtype = "auto", offline: bool = False,
                        scheduler: Scheduler | None = None) -> Self:
        """model: a short name, a folder, or an id on the Hugging Face hub"""
        asked, device = device, pick_device(device)
        dtype = pick_dtype(dtype, device)
        folder = find_model(model, offline, dtype, cls.task)
        check_settings(folder, cls.task)
        scheduler = scheduler or load_scheduler(DDIM, folder / "scheduler")
        tokenizer, text_encoder = load_text(folder, device, dtype)
        unet = load_module(UNet2DConditionModel, folder / "unet", device, dtype)
        vae = load_module(AutoencoderKL, folder / "vae", device, dtype)
        warn_if_slow(unet, asked, device)
        return cls(tokenizer, text_encoder, unet, vae, scheduler)
        # endregion from_pretrained

    # region call
    @one_at_a_time
    def __call__(self, prompt: str | list[str], negative_prompt: str | list[str] = "",
                 height: int | None = None, width: int | None = None, num_inference_steps: int = 15,
                 guidance_scale: float = 5.0, seed: int | list[int] | None = None,
                 callback: Callback | None = None) -> Image.Image | list[Image.Image]:
        """A prompt -> a picture; a list of prompts -> a list of pictures"""
        prompts, negatives = as_lists(prompt, negative_prompt)
        height, width = (own if x is None else x for own, x in zip(self.sides, (height, width)))
        check(self, prompts, negatives, height, width, num_inference_steps, guidance_scale)
        generators = as_generators(seed, len(prompts))

        prompt_embeds = self.encode_prompt(prompts, negatives, guidance_scale > 1)
        latents = self.get_latents(len(prompts), height, width, generators)
        latents = self.denoise(latents, prompt_embeds, num_inference_steps, guidance_scale,
                               callback, generators)
        images = self.decode(latents)

        return images[0] if isinstance(prompt, str) else images
        # endregion call

    # region encode_prompt
    @torch.no_grad()
    def encode_prompt(self, prompts: list[str], negative_prompts: list[str],
                      guidance: bool) -> Tensor:
        """B prompts -> (2B, 77, D): of the negative prompts, then of the prompts.
        Without guidance (B, 77, D), of the prompts alone."""
        prompt_embeds = self.encode(prompts)
        if not guidance:
            return prompt_embeds
        return torch.cat([self.encode(negative_prompts), prompt_embeds])

    def encode(self, texts: list[str]) -> Tensor:
        """B texts -> (B, 77, D). Always 77 tokens: start, pieces of words, end, padding."""
        check_texts(self.tokenizer, texts)
        tokens = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        return self.text_encoder(tokens.input_ids.to(self.text_encoder.device))[0]
        # endregion encode_prompt

    # region get_latents
    def get_latents(self, batch: int, height: int, width: int,
                    seed: int | list | None = None) -> Tensor:
        """Noise (B, 4, height / 8, width / 8). A list of B seeds, or one: seed, seed + 1, ...
        Or a list of generators, from which denoise can go on drawing."""
        check_size(self, height, width)
        shape = (1, self.vae.config.latent_channels, height // self.factor, width // self.factor)
        weight = self.unet.conv_in.weight
        # drawn on the CPU: a seed means the same on every device
        generators = as_generators(seed, batch)
        noise = [torch.randn(shape, generator=g, dtype=weight.dtype) for g in generators]
        return torch.cat(noise).to(weight)
        # endregion get_latents

    # region denoise
    @torch.no_grad()
    @one_at_a_time
    def denoise(self, latents: Tensor, prompt_embeds: Tensor, num_inference_steps: int = 15,
                guidance_scale: float = 5.0, callback: Callback | None = None,
                generators: list[torch.Generator] | None = None) -> Tensor:
        """Noise -> latents of a picture, (B, 4, h, w). The callback gets one dict a step."""
        check_run(self.scheduler, latents, prompt_embeds, num_inference_steps, guidance_scale)
        self.scheduler.set_timesteps(int(num_inference_steps))
        latents = latents * self.scheduler.init_noise_sigma  # DDIM: 1
        options = step_options(self.scheduler, generators)  # for those that draw more noise
        for i, t in enumerate(self.scheduler.timesteps):
            x = self.scheduler.scale_model_input(latents, t)  # DDIM: as they are
            if guidance_scale > 1:  # ask twice in one batch: without and with the prompt
                both = self.unet(torch.cat([x, x]), t, prompt_embeds)
                noise_uncond, noise_cond = both.chunk(2)
                noise = noise_uncond + guidance_scale * (noise_cond - noise_uncond)
            else:
                noise_uncond, noise_cond = None, self.unet(x, t, prompt_embeds)
                noise = noise_cond
            step = self.scheduler.step(noise, t, latents, **options)
            report(callback, i, t, latents, noise_uncond, noise_cond, noise, step)
            latents = step.prev_sample
        return latents
        # endregion denoise

    # region decode
    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Latents (B, 4, h, w) -> a list of B pictures, 8 times as high and wide"""
        check_latents(latents)
        x = self.vae.decode(latents / self.vae.config.scaling_factor)
        check_picture(x, latents)
        x = (x * 0.5 + 0.5).clamp(0, 1)  # from -1 .. 1 to 0 .. 1
        x = (x.permute(0, 2, 3, 1).cpu().float() * 255).round()
        return [Image.fromarray(picture) for picture in x.byte().numpy()]
        # endregion decode
