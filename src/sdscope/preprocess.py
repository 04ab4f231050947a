"""The pictures, masks and depth maps that a task is given, as its networks take them.

Mirrors diffusers' image_processor.py (VaeImageProcessor), and prepare_depth_map of its
pipelines/stable_diffusion/pipeline_stable_diffusion_depth2img.py: the same numbers, bit for bit.
What diffusers fails on, or takes for something else, is an SdscopeError or put right here.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from PIL.Image import Resampling

from .inputs import check_strength, listed, require, short, whole
from .loading.checkpoint import find_model, load_scheduler
from .loading.config import read_config
from .scheduler import DDIM

SMOOTH = ("L", "I", "F", "I;16", "I;16L", "I;16B")  # modes of one channel, of 8 to 32 bits


def spread(x, count):
    """One for all, or one for each -> one for each. As diffusers does it: expand gives other strides, convolutions
    take other ways through those, and round another way."""
    return torch.cat([x] * count) if len(x) < count else x


def to_pictures(image, count, unit, resample=Resampling.LANCZOS):
    """One picture, or one for each of `count` prompts -> (count, 3, H, W), -1 .. 1: as large as the first, rounded
    down to multiples of `unit` pixels"""
    pictures = as_rgb(image, count)
    width, height = (side - side % unit for side in pictures[0].size)
    told = "{} x {}".format(*pictures[0].size)
    require(width and height, f"the picture has {told} pixels: it must be {unit} wide and {unit} high at least")
    return spread(as_tensor([picture.resize((width, height), resample) for picture in pictures]), count)


def encode(vae, x, generators):
    """Pictures (B, 3, H, W), -1 .. 1 -> latents (B, 4, h, w): each a draw from what the encoder gives, by one of the
    generators"""
    latents = []
    for picture, generator in zip(x.split(1), generators):
        with torch.no_grad():
            mean, logvar = vae.encode(picture.to(vae.quant_conv.weight))
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype).to(mean)
        latents.append(mean + torch.exp(0.5 * logvar) * noise)
    return vae.config.scaling_factor * torch.cat(latents)


def to_inpaint(image, mask, count, sides, pad=None):
    """A picture and a mask, white where to repaint, or one of each for `count` prompts -> x (N, 3, H, W), -1 .. 1;
    mask (N, 1, H, W), 0 or 1; and with `pad` the box that is cut out: the mask's, and `pad` pixels around it"""
    pictures, masks = as_rgb(image, count), as_images(mask, count, "mask")
    require(pad is None or len(pictures) == len(masks) == 1, "padding_mask_crop is for one picture and one mask")
    require(pad is None or whole(pad, -1) >= 0, f"padding_mask_crop must be a whole number from 0, not {short(pad)}")
    for picture, own in zip(pictures * len(masks), masks * len(pictures)):
        sizes = ("{} x {} pixels".format(*x.size) for x in (own, picture))
        require(picture.size == own.size, "the mask has {}, the picture {}: they must be the same".format(*sizes))
    height, width = sides
    box = None if pad is None else crop_region(masks[0], height, width, pad)
    resize = fill if box else lambda x, size: x.resize(size, Resampling.LANCZOS)
    pictures, masks = ([resize(x.crop(box) if box else x, (width, height)) for x in xs] for xs in (pictures, masks))
    mask = np.stack([np.array(x.convert("L"), np.float32) / 255 for x in masks])
    mask = torch.from_numpy(mask >= 0.5).float()[:, None]
    require(mask.amax(dim=(1, 2, 3)).all(), "the mask is black everywhere: make white what is to be painted again")
    return as_tensor(pictures), mask, box


def inpaint_latents(pipe, x, mask, generators, strength):
    """Of x (N, 3, H, W) and mask (N, 1, H, W), with B generators in the order in which diffusers draws from them ->
    noise (B, 4, h, w), the picture's latents, the mask (B, 1, h, w), the masked picture's latents. The second is None
    where it is not needed, the fourth where the UNet does not take it in."""
    blends = pipe.unet.config.in_channels == pipe.vae.config.latent_channels
    count = len(generators)
    image_latents = encode(pipe.vae, x, generators) if blends or strength < 1 else None
    image_latents = None if image_latents is None else image_latents.repeat(count // len(x), 1, 1, 1)
    latents = pipe.get_latents(count, *x.shape[2:], generators)
    masked_latents = encode(pipe.vae, x * (mask < 0.5), generators)  # where it is not needed, too: it draws
    mask = spread(F.interpolate(mask, latents.shape[2:]).to(latents), count)
    return latents, image_latents, mask, None if blends else spread(masked_latents, count)


def to_noisy(pipe, image, noise_level, generators):
    """One small picture, or one for each of B generators -> with noise of a level (B, 3, h, w), -1 .. 1, and the
    level as class labels (B,). Where the UNet takes in 2 x 2 pixels with each latent: (B, 12, h / 2, w / 2)"""
    made = "give the pipe a low_res_scheduler and a max_noise_level, as Upscale.from_pretrained does"
    require(hasattr(pipe, "low_res_scheduler"), f"nothing says how much noise a noise level is: {made}")
    most, level = min(pipe.max_noise_level, (pipe.unet.config.num_class_embeds or 1000) - 1), whole(noise_level, -1)
    fits = 0 <= level <= most
    require(fits, f"the noise level must be a whole number from 0 to {most}, not {short(noise_level)}")
    x = to_pictures(image, len(generators), pipe.factor, Resampling.BICUBIC).to(pipe.unet.conv_in.weight)
    noise = [torch.randn((1, *x.shape[1:]), generator=g, dtype=x.dtype) for g in generators]
    x = pipe.low_res_scheduler.add_noise(x, torch.cat(noise).to(x), torch.tensor([level]))
    side = math.isqrt((pipe.unet.config.in_channels - pipe.vae.config.latent_channels) // 3)
    return F.pixel_unshuffle(x, side), torch.full((len(generators),), level, device=x.device)


def to_depth(depth_map, count, size, like):
    """A depth map, larger is nearer: a tensor (H, W), or `count` of them (B, H, W), or pictures of one channel, of 8
    or 16 bits -> (B, 1, *size), -1 .. 1, of the dtype and on the device of the tensor `like`"""
    given = listed(depth_map) if isinstance(depth_map, (list, tuple)) else [depth_map]
    if all(isinstance(x, Image.Image) for x in given):
        modes = sorted({x.mode for x in given} - set(SMOOTH))
        require(not modes, f"a depth map has one channel, of 8 or 16 bits, not {', '.join(modes)}: convert it to L")
        same = len({x.size for x in given}) == 1
        require(same, "the depth maps must be of one size")
        depth_map = torch.from_numpy(np.stack([np.array(x, np.float32) for x in given]))
    is_array = isinstance(depth_map, (torch.Tensor, np.ndarray))
    depth = torch.as_tensor(depth_map) if is_array else torch.empty(0)
    fits = depth.ndim in (2, 3) and depth.numel() and not depth.is_complex()
    told = tuple(depth.shape) if is_array else short(depth_map)
    require(fits, f"the depth map must be a tensor (H, W) or (B, H, W), or a picture of one channel, not {told}")
    depth = (depth if depth.ndim == 3 else depth[None]).to(like)
    require(len(depth) in (1, count), f"{len(depth)} depth maps for {count} prompts: give as many, or one for all")
    require(depth.isfinite().all(), "the depth map has NaN or infinity in it")
    depth = F.interpolate(depth[:, None], size, mode="bicubic", align_corners=False)
    far, near = (edge(depth, dim=(1, 2, 3), keepdim=True) for edge in (torch.amin, torch.amax))
    require((near > far).all(), "the depth map is the same everywhere: it must say what is near and what is far")
    return spread(2.0 * (depth - far) / (near - far) - 1.0, count)


def with_noise_levels(pipe, model):
    """An upscaler's second schedule: how much noise each level puts on the small picture, and the highest level"""
    if hasattr(pipe, "low_res_scheduler"):  # a variant has them
        return pipe
    folder = find_model(model, offline=True, task=pipe.task)  # it was fetched for the pipe
    pipe.low_res_scheduler = load_scheduler(DDIM, folder / "low_res_scheduler")
    pipe.max_noise_level = read_config(folder / "model_index.json").get("max_noise_level", 350)
    return pipe


def last_timesteps(scheduler, steps, strength):
    """The times to visit where a run begins with a picture: the last ones, `strength` of all `steps`. Mirrors
    get_timesteps of diffusers' pipelines/stable_diffusion/pipeline_stable_diffusion_img2img.py."""
    scheduler.set_timesteps(int(steps))
    skipped = (steps - check_strength(strength, steps)) * getattr(scheduler, "order", 1)  # of two calls a step: 2
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skipped)
    return scheduler.timesteps[skipped:]


def noised(scheduler, latents, noise, timesteps, strength=0):
    """Latents with as much noise as the first of these times has; after the last there is none. With strength 1,
    before the first step: noise alone."""
    if strength == 1:
        return noise * scheduler.init_noise_sigma
    return scheduler.add_noise(latents, noise, timesteps[:1]) if len(timesteps) else latents


def as_rgb(image, count):
    """As as_images, in colours of 8 bits"""
    pictures = as_images(image, count, "picture")
    for x in pictures:
        require(x.mode not in SMOOTH[1:], f"the picture is of mode {x.mode}, and must be of 8 bits: convert it to RGB")
        clear = "A" in x.mode or "transparency" in x.info
        opaque = not clear or x.convert("RGBA").getchannel("A").getextrema() == (255, 255)
        require(opaque, "the picture is transparent in places: paste it on a background, and give it as RGB")
    return [x.convert("RGB") for x in pictures]


def as_images(image, count, name):
    """One PIL image, or `count` of them -> a list"""
    images = listed(image) if isinstance(image, (list, tuple)) else [image]
    odd = [x for x in images if not isinstance(x, Image.Image)]
    such = f"PIL.Image.open('FILE') makes one, not {short(odd[0] if odd else image)}"
    require(images and not odd, f"the {name} must be a PIL image, or a list of them: {such}")
    require(len(images) in (1, count), f"{len(images)} {name}s for {count} prompts: give as many, or one for all")
    return images


def as_tensor(pictures):
    """RGB images of one size -> (N, 3, H, W), -1 .. 1"""
    x = np.stack([np.array(picture).astype(np.float32) / 255.0 for picture in pictures])
    return 2.0 * torch.from_numpy(x.transpose(0, 3, 1, 2)) - 1.0


def crop_region(mask, height, width, pad):
    """The box of what is not black in a mask and `pad` pixels around it, in the proportions of height and width as
    far as there is room: left, top, right, bottom"""
    white = np.array(mask.convert("L")) > 0
    require(white.any(), "the mask is black everywhere: make white what is to be painted again")
    (y1, y2), (x1, x2) = (
        (max(places[0] - pad, 0), min(places[-1] + 1 + pad, side))
        for places, side in ((np.flatnonzero(white.any(axis=1 - axis)), white.shape[axis]) for axis in (0, 1))
    )
    if (x2 - x1) / (y2 - y1) > width / height:
        y1, y2 = widened(y1, y2, (x2 - x1) / (width / height), white.shape[0])
    else:
        x1, x2 = widened(x1, x2, (y2 - y1) * (width / height), white.shape[1])
    return int(x1), int(y1), int(x2), int(y2)


def widened(start, end, wanted, most):
    """start .. end -> as long as wanted, around the same middle, but within 0 .. most"""
    more = int(wanted - (end - start))
    start, end = start - more // 2, end + more - more // 2
    start, end = (start - (end - most), most) if end >= most else (start, end)
    start, end = (0, end - start) if start < 0 else (start, end)
    return start, min(end, most)


def fill(image, size):
    """An image fitted into a size, in its own proportions; beside it its outermost lines again and again"""
    (width, height), wider = size, image.width / image.height > size[0] / size[1]
    w = width if wider else image.width * height // image.height
    h = image.height * width // image.width if wider else height
    inner, left, top = image.resize((w, h), Resampling.LANCZOS), width // 2 - w // 2, height // 2 - h // 2
    filled = Image.new("RGB", size)
    filled.paste(inner, (left, top))
    if wider and top > 0:
        filled.paste(inner.resize((width, top), box=(0, 0, width, 0)), (0, 0))
        filled.paste(inner.resize((width, top), box=(0, h, width, h)), (0, top + h))
    elif not wider and left > 0:
        filled.paste(inner.resize((left, height), box=(0, 0, 0, height)), (0, 0))
        filled.paste(inner.resize((left, height), box=(w, 0, w, height)), (left + w, 0))
    return filled


def paste_back(painted, image, mask, box):
    """What was painted for a box, into the picture: only where the mask is white"""
    (x1, y1, x2, y2), (image,), (mask,) = box, as_rgb(image, 1), as_images(mask, 1, "mask")
    width, height = x2 - x1, y2 - y1
    narrower = painted.width / painted.height < width / height
    w = width if narrower else painted.width * height // painted.height
    h = painted.height * width // painted.width if narrower else height
    cut = Image.new("RGB", (width, height))
    cut.paste(painted.resize((w, h), Resampling.LANCZOS), (width // 2 - w // 2, height // 2 - h // 2))
    kept = Image.new("RGBa", image.size)
    kept.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask.convert("L")))
    result = Image.new("RGBA", image.size)
    result.paste(cut, (x1, y1))
    result = result.convert("RGB").convert("RGBA")
    result.alpha_composite(kept.convert("RGBA"))
    return result.convert("RGB")
