"""Inpainting: a part of a picture is painted again, the rest of it stays.

    pipe = Inpaint.from_pretrained("postcard")  # or "postcard-inpaint"
    image = pipe("painting depicting the sea, ship", Image.open("sea.png"), Image.open("mask.png"))

Two ways. Any model of text to image: after each step, outside the mask, the latents are the picture's
again (Lugmayr et al., "RePaint", arXiv:2201.09865, figure 2). A model made for it sees the mask and
what it leaves of the picture, nine channels (Rombach et al., arXiv:2112.10752). Mirrors diffusers'
pipelines/stable_diffusion/pipeline_stable_diffusion_inpaint.py: same seed, same picture.
"""

import torch

from .inputs import begin, check_run
from .preprocess import inpaint_latents, last_timesteps, noised, paste_back, to_inpaint
from .steps import one_at_a_time, report, step_options
from .variants import Conditioned


class Inpaint(Conditioned):
    """pipe(prompt, image, mask_image, ...) -> a picture

    image, mask_image   PIL images of one size, resized to height and width; white is painted again. One of each, or
                        one for each of B prompts
    strength            above 0 up to 1: which part of the steps is taken; 1: from noise alone
    padding_mask_crop   only the mask's box and so many pixels around it are painted, larger, and pasted back

    The rest as in StableDiffusion; what is wrong with an input is an SdscopeError.
    """

    task = "Inpaint"

    @one_at_a_time
    def __call__(self, prompt, image, mask_image, negative_prompt="", height=None, width=None, strength=1.0,
                 num_inference_steps=15, guidance_scale=5.0, seed=None, callback=None,
                 padding_mask_crop=None):  # fmt: skip
        """A prompt, a picture and a mask -> a picture; a list of prompts -> a list of pictures"""
        given = negative_prompt, seed, num_inference_steps, guidance_scale, strength, height, width
        prompts, negatives, generators, size = begin(self, prompt, *given)
        x, mask, box = to_inpaint(image, mask_image, len(prompts), size, padding_mask_crop)

        prompt_embeds = self.encode_prompt(prompts, negatives, guidance_scale > 1)
        latents, picture, mask, masked = inpaint_latents(self, x, mask, generators, strength)
        latents = self.denoise(latents, prompt_embeds, picture, mask, masked, strength, num_inference_steps,
                               guidance_scale, callback, generators)  # fmt: skip
        images = [paste_back(y, image, mask_image, box) if box else y for y in self.decode(latents)]

        return images[0] if isinstance(prompt, str) else images

    # fmt: off

    # region denoise
    @torch.no_grad()
    @one_at_a_time
    def denoise(self, latents, prompt_embeds, image_latents, mask, masked_latents, strength=1.0,
                num_inference_steps=15, guidance_scale=5.0, callback=None, generators=None):
        """Noise, latents of a picture, a mask (B, 1, h, w) -> latents of another. The masked
        picture's latents are for a UNet of nine channels, None for one of four."""
        check_run(self.scheduler, latents, prompt_embeds, num_inference_steps, guidance_scale)
        timesteps = last_timesteps(self.scheduler, num_inference_steps, strength)
        pure, latents = latents, noised(self.scheduler, image_latents, latents, timesteps, strength)
        options = step_options(self.scheduler, generators)  # for those that draw more noise
        for i, t in enumerate(timesteps):
            x = self.scheduler.scale_model_input(latents, t)  # DDIM: as they are
            x = x if masked_latents is None else torch.cat([x, mask, masked_latents], dim=1)
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
            if masked_latents is None:  # of 4 channels: what the mask leaves is the picture's
                known = noised(self.scheduler, image_latents, pure, timesteps[i + 1:])
                latents = (1 - mask) * known + mask * latents
        return latents
        # endregion denoise
