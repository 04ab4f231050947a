"""Image to image: the picture is not painted from noise alone, but from a picture with noise on it.

    pipe = ImageToImage.from_pretrained("postcard")
    image = pipe("painting depicting the sea, sunrise, ship", Image.open("sketch.png"), strength=0.7)

Meng et al., "SDEdit", arXiv:2108.01073. Mirrors diffusers'
pipelines/stable_diffusion/pipeline_stable_diffusion_img2img.py: same seed, same picture.
"""

import torch

from .inputs import begin, check_run
from .pipeline import StableDiffusion
from .preprocess import encode, last_timesteps, to_pictures
from .steps import one_at_a_time, report, step_options


class ImageToImage(StableDiffusion):
    """pipe(prompt, image, ...) -> a picture as large as the image, rounded down to multiples of 8

    image     a PIL image, or one for each of B prompts
    strength  above 0 up to 1: which part of the steps is taken, from how much noise; 1: little is left of the image

    The rest as in StableDiffusion; what is wrong with an input is an SdscopeError.
    """

    task = "ImageToImage"

    @one_at_a_time
    def __call__(self, prompt, image, negative_prompt="", strength=0.8, num_inference_steps=15, guidance_scale=5.0,
                 seed=None, callback=None):  # fmt: skip
        """A prompt and a picture -> a picture; a list of prompts -> a list of pictures"""
        given = negative_prompt, seed, num_inference_steps, guidance_scale, strength
        prompts, negatives, generators, _ = begin(self, prompt, *given)
        x = to_pictures(image, len(prompts), self.factor)

        prompt_embeds = self.encode_prompt(prompts, negatives, guidance_scale > 1)
        image_latents = encode(self.vae, x, generators)
        latents = self.get_latents(len(prompts), x.shape[2], x.shape[3], generators)
        latents = self.denoise(latents, prompt_embeds, image_latents, strength, num_inference_steps, guidance_scale,
                               callback, generators)  # fmt: skip
        images = self.decode(latents)

        return images[0] if isinstance(prompt, str) else images

    # fmt: off

    # region denoise
    @torch.no_grad()
    @one_at_a_time
    def denoise(self, latents, prompt_embeds, image_latents, strength=0.8, num_inference_steps=15,
                guidance_scale=5.0, callback=None, generators=None):
        """Noise, and latents of a picture -> latents of another, (B, 4, h, w)."""
        check_run(self.scheduler, latents, prompt_embeds, num_inference_steps, guidance_scale)
        timesteps = last_timesteps(self.scheduler, num_inference_steps, strength)
        latents = self.scheduler.add_noise(image_latents, latents, timesteps[:1])
        options = step_options(self.scheduler, generators)  # for those that draw more noise
        for i, t in enumerate(timesteps):
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
