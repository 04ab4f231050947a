"""Upscale: a small picture -> one four times as high and wide.

    pipe = Upscale.from_pretrained("sd2-upscaler")  # or "postcard-upscale"
    image = pipe("a white cat", Image.open("small.png"))

Rombach et al., arXiv:2112.10752; the UNet takes in seven channels, the last three the small picture
itself, with some noise on it. Postcard's takes in sixteen: its latents have 8 pixels each way, not 4,
so 2 x 2 of the small picture go with each. Mirrors diffusers'
pipelines/stable_diffusion/pipeline_stable_diffusion_upscale.py. It takes a VAE's scaling factor for
0.08333, whatever its config.json says; here that is believed.
"""

import torch

from .inputs import begin, check_run
from .preprocess import to_noisy, with_noise_levels
from .steps import one_at_a_time, report, step_options
from .variants import Conditioned


class Upscale(Conditioned):
    """pipe(prompt, image, ...) -> a picture four times as large as the image

    image        a PIL image, or one for each of B prompts
    noise_level  how much noise goes on it first, a time from 0 to max_noise_level: the more, the freer it is painted

    The rest as in StableDiffusion; what is wrong with an input is an SdscopeError.
    """

    task = "Upscale"

    @classmethod
    def from_pretrained(cls, model="sd2-upscaler", *args, **options):
        """As StableDiffusion.from_pretrained"""
        return with_noise_levels(super().from_pretrained(model, *args, **options), model)

    @one_at_a_time
    def __call__(self, prompt, image, negative_prompt="", num_inference_steps=15, guidance_scale=5.0, noise_level=20,
                 seed=None, callback=None):  # fmt: skip
        """A prompt and a small picture -> a large one; a list of prompts -> a list of pictures"""
        given = negative_prompt, seed, num_inference_steps, guidance_scale
        prompts, negatives, generators, _ = begin(self, prompt, *given)
        x, noise_level = to_noisy(self, image, noise_level, generators)

        prompt_embeds = self.encode_prompt(prompts, negatives, guidance_scale > 1)
        latents = self.get_latents(len(prompts), x.shape[2] * self.factor, x.shape[3] * self.factor, generators)
        latents = self.denoise(latents, prompt_embeds, x, noise_level, num_inference_steps, guidance_scale, callback,
                               generators)  # fmt: skip
        images = self.decode(latents)

        return images[0] if isinstance(prompt, str) else images

    # fmt: off

    # region denoise
    @torch.no_grad()
    @one_at_a_time
    def denoise(self, latents, prompt_embeds, image, noise_level, num_inference_steps=15,
                guidance_scale=5.0, callback=None, generators=None):
        """Noise, and small pictures (B, 3, h, w) with some noise -> latents of large ones."""
        check_run(self.scheduler, latents, prompt_embeds, num_inference_steps, guidance_scale)
        self.scheduler.set_timesteps(int(num_inference_steps))
        latents = latents * self.scheduler.init_noise_sigma  # DDIM: 1
        options = step_options(self.scheduler, generators)  # for those that draw more noise
        for i, t in enumerate(self.scheduler.timesteps):
            x = self.scheduler.scale_model_input(latents, t)  # DDIM: as they are
            x = torch.cat([x, image], dim=1)  # 4 channels and 3
            if guidance_scale > 1:  # ask twice in one batch: without and with the prompt
                both = self.unet(torch.cat([x, x]), t, prompt_embeds, noise_level.repeat(2))
                noise_uncond, noise_cond = both.chunk(2)
                noise = noise_uncond + guidance_scale * (noise_cond - noise_uncond)
            else:
                noise_uncond, noise_cond = None, self.unet(x, t, prompt_embeds, noise_level)
                noise = noise_cond
            step = self.scheduler.step(noise, t, latents, **options)
            report(callback, i, t, latents, noise_uncond, noise_cond, noise, step)
            latents = step.prev_sample
        return latents
        # endregion denoise
