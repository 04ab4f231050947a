"""Depth to image: what is near and what is far stays as it is in a picture, the rest is painted anew.

    pipe = DepthToImage.from_pretrained("sd2-depth")  # or "postcard-depth"
    image = pipe("two tigers", Image.open("cats.png"), depth_map=Image.open("depth.png"))

Rombach et al., arXiv:2112.10752; the UNet takes in five channels, the last the depth map, which the
caller gives. Mirrors diffusers' pipelines/stable_diffusion/pipeline_stable_diffusion_depth2img.py.
"""

import torch

from .inputs import begin, check_run
from .preprocess import encode, last_timesteps, to_depth, to_pictures
from .steps import one_at_a_time, report, step_options
from .variants import Conditioned


class DepthToImage(Conditioned):
    """pipe(prompt, image, depth_map, ...) -> a picture as large as the image, rounded down to multiples of 8

    depth_map  larger is nearer, of any size and range: a tensor (H, W), or (B, H, W), one for each of B prompts, or
               PIL images of one channel, of 8 or 16 bits

    The rest as in ImageToImage; what is wrong with an input is an SdscopeError.
    """

    task = "DepthToImage"

    @one_at_a_time
    def __call__(self, prompt, image, depth_map, negative_prompt="", strength=0.8, num_inference_steps=15,
                 guidance_scale=5.0, seed=None, callback=None):  # fmt: skip
        """A prompt, a picture and its depth -> a picture; a list of prompts -> a list of pictures"""
        given = negative_prompt, seed, num_inference_steps, guidance_scale, strength
        prompts, negatives, generators, _ = begin(self, prompt, *given)
        x = to_pictures(image, len(prompts), self.factor)
        depth = to_depth(depth_map, len(prompts), [n // self.factor for n in x.shape[2:]], self.unet.conv_in.weight)

        prompt_embeds = self.encode_prompt(prompts, negatives, guidance_scale > 1)
        image_latents = encode(self.vae, x, generators)
        latents = self.get_latents(len(prompts), x.shape[2], x.shape[3], generators)
        latents = self.denoise(latents, prompt_embeds, image_latents, depth, strength, num_inference_steps,
                               guidance_scale, callback, generators)  # fmt: skip
        images = self.decode(latents)

        return images[0] if isinstance(prompt, str) else images

    # fmt: off

    # region denoise
    @torch.no_grad()
    @one_at_a_time
    def denoise(self, latents, prompt_embeds, image_latents, depth, strength=0.8,
                num_inference_steps=15, guidance_scale=5.0, callback=None, generators=None):
        """Noise, latents of a picture and its depth (B, 1, h, w) -> latents of another."""
        check_run(self.scheduler, latents, prompt_embeds, num_inference_steps, guidance_scale)
        timesteps = last_timesteps(self.scheduler, num_inference_steps, strength)
        latents = self.scheduler.add_noise(image_latents, latents, timesteps[:1])
        options = step_options(self.scheduler, generators)  # for those that draw more noise
        for i, t in enumerate(timesteps):
            x = self.scheduler.scale_model_input(latents, t)  # DDIM: as they are
            x = torch.cat([x, depth], dim=1)  # 4 channels and 1
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
