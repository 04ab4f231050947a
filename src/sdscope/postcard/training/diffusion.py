"""The diffusion model: the UNet, told by the text encoder what to paint, in the latents of the autoencoder.

Both stay as they are meanwhile, as in Stable Diffusion.
"""

import copy
import json
import os
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from ... import files
from ...loading.checkpoint import find_model
from ...pipeline import StableDiffusion
from ...scheduler import DDIM
from ...unet import UNet2DConditionModel
from .data import CAPTIONS, TRAINING, captioned, tokenize, tokenizer_in
from .run import Length, Run, accelerator
from .sheets import PROMPTS, grid
from .story import keep_story
from .text import trained_text_encoder
from .vae import VAE_CONFIG, centre, encoded, train_autoencoder, trained_vae

# Stable Diffusion 2 with a fifth to a tenth of its channels and one layer in a block instead of two; heads of 64,
# attention on the upper three levels
UNET_CONFIG = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "in_channels": 4,
    "out_channels": 4,
    "sample_size": 16,
    "center_input_sample": False,
    "block_out_channels": [64, 128, 128, 128],
    "layers_per_block": 1,
    "attention_head_dim": [1, 2, 2, 2],
    "cross_attention_dim": 160,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "use_linear_projection": True,
    "norm_num_groups": 16,
    "norm_eps": 1e-5,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
}
SCHEDULER_CONFIG = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
    "timestep_spacing": "leading",
    "skip_prk_steps": True,
    "trained_betas": None,
}
# width and height, and the part of the batches that has them
SIZES = {(128, 128): 0.8, (192, 128): 0.08, (224, 128): 0.06, (128, 192): 0.06}
LARGE = {(256, 256): 0.8, (384, 256): 0.08, (448, 256): 0.06, (256, 384): 0.06}


class DiffusionLoss(nn.Module):
    """How wrong the UNet is about v, given the caption; v-prediction: Salimans and Ho, arXiv:2202.00512."""

    def __init__(self, text_encoder, unet):
        super().__init__()
        self.text_encoder, self.unet = text_encoder.requires_grad_(False), unet

    def forward(self, noisy, timesteps, input_ids, velocity):
        """noisy and velocity (B, 4, h, w), timesteps (B,), input_ids (B, 77)"""
        # region loss
        v = self.unet(noisy, timesteps, self.text_encoder(input_ids)[0])
        return F.mse_loss(v.float(), velocity)
        # endregion loss


def train_diffusion(folder: Path, pictures: int, length: Length, progress=None):
    """Pictures of all SIZES, `pictures` in all; a batch holds one size."""
    files.check_folder(folder / "small", saved)
    vae, text_encoder = trained_vae(folder), trained_text_encoder(folder)
    with accelerator().local_main_process_first():
        data = gathered(folder, vae, pictures, SIZES, progress)
    mean, std = centre(vae, data[0][0])  # of the square pictures
    torch.manual_seed(2)
    losses = DiffusionLoss(text_encoder, UNet2DConditionModel(UNET_CONFIG))
    run_diffusion(folder, "diffusion", losses, vae, (data, mean, std), SIZES, length, folder / "small")
    keep_story(folder, folder / "small", ("vae", "text", "diffusion"))


def train_large_vae(folder: Path, pictures: int, length: Length, progress=None):
    """The autoencoder goes on with pictures twice as wide and high."""
    torch.manual_seed(3)
    (side, _), count, first = large_squares(pictures)
    train_autoencoder(folder, "large-vae", made_model(folder, "small").vae, (count, side, first), length, progress)


def train_large_decoder(folder: Path, pictures: int, length: Length, progress=None):
    """The half that paints goes on alone. The latents stay what they are, so the UNet may learn them meanwhile."""
    torch.manual_seed(5)
    vae = trained_vae(folder, "large-vae")
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    (side, _), count, first = large_squares(pictures)
    train_autoencoder(folder, "large-decoder", vae, (count, side, first), length, progress)


def train_large(folder: Path, pictures: int, length: Length, progress=None):
    """The UNet goes on with pictures twice as wide and high, in the latents of the autoencoder that knows them."""
    files.check_folder(folder / "model", saved)
    vae, small = trained_vae(folder, "large-decoder"), made_model(folder, "small")
    with accelerator().local_main_process_first():
        data = gathered(folder, vae, pictures, LARGE, progress)
    mean, std = centre(vae, data[0][0])  # of the square pictures
    small.unet.config["sample_size"], vae.config["sample_size"] = 32, 256
    torch.manual_seed(4)
    losses = DiffusionLoss(small.text_encoder, small.unet.train())
    run_diffusion(folder, "large", losses, vae, (data, mean, std), LARGE, length, folder / "model")
    keep_story(folder, folder / "model", ("large-vae", "large-decoder", "large"), before=made_folder(folder, "small"))


def made_model(folder, name) -> StableDiffusion:
    pipe = StableDiffusion.from_pretrained(made_folder(folder, name), device="cpu", dtype="float32")
    tokenizer_in(folder / "data", pipe.tokenizer.save_pretrained)
    return pipe


def made_folder(folder, name) -> Path:
    """`small`, which `train diffusion` made of pictures of 128 pixels, or `model`, which `train large` made; where that
    was not run, the published model."""
    made = folder / name
    return made if made.exists() else find_model("postcard")


def gathered(folder, vae, pictures, sizes, progress):
    """For each size, latents and the captions of the same scenes."""
    return [
        (
            encoded(folder, vae, count, size, first, progress),
            torch.from_numpy(captioned(folder / "data", count, first, progress).copy()),
        )
        for size, count, first in worlds(pictures, sizes)
    ]


def worlds(pictures, sizes):
    """(size, how many pictures, seed of the first): every size has scenes of its own"""
    for size, part in sizes.items():
        yield size, pictures_of(pictures, part), TRAINING + [*SIZES, *LARGE].index(size) * 2**30


def large_squares(pictures):
    return next(worlds(pictures, LARGE))


def pictures_of(pictures, part):
    return max(1, round(pictures * part))


def run_diffusion(folder, name, losses, vae, data, sizes, length, model):
    """data: a list of (latents, ids), and the mean and spread of the channels; model: the folder to write."""
    tokenizer, scheduler = tokenizer_in(folder / "data"), DDIM(SCHEDULER_CONFIG)
    empty = torch.from_numpy(tokenize(tokenizer, [""]))
    run = Run(folder / name, losses, length)
    device = run.accelerator.device
    buckets, mean, std = data
    buckets = [((latents - mean[:, None, None]) / std[:, None, None], ids) for latents, ids in buckets]
    if device.type == "cuda":
        buckets = [(latents.to(device), ids.to(device)) for latents, ids in buckets]
    times = timestep_weights(scheduler, next(iter(sizes))[0])
    parts = torch.tensor(list(sizes.values()), dtype=torch.float64).numpy()

    def batch(rng, done):
        """Everything of one size"""
        latents, ids = buckets[rng.choice(len(buckets), p=parts / parts.sum())]
        chosen = torch.from_numpy(rng.integers(0, len(latents), length.batch_size)).to(latents.device)
        return asked(rng, scheduler, times, latents[chosen], ids[chosen], empty)

    def sheet(average):
        save_model(model, tokenizer, average.text_encoder, average.unet, vae)
        pipe = StableDiffusion(tokenizer, average.text_encoder.eval(), average.unet, vae.to(device), scheduler)
        return grid(pipe(list(PROMPTS), seed=[42] * len(PROMPTS)), columns=4)

    run.go(batch, sheet)


def asked(rng, scheduler, times, x0, ids, empty):
    """Latents and the captions of the same scenes -> what the UNet is asked about them, and the v that it is to answer.
    The caption is left out of one in ten, for guidance."""
    each = torch.arange(len(x0), device=x0.device)
    input_ids = ids[each, torch.from_numpy(rng.integers(0, CAPTIONS, len(x0))).to(x0.device)].long()
    input_ids[torch.from_numpy(rng.random(len(x0)) < 0.1).to(x0.device)] = empty.to(x0.device)
    timesteps = torch.multinomial(times, len(x0), replacement=True).to(x0.device)
    noise = torch.randn_like(x0)
    velocity = scheduler.get_velocity(x0, noise, timesteps)
    return scheduler.add_noise(x0, noise, timesteps), timesteps, input_ids, velocity


def timestep_weights(scheduler, side):
    """How often each time is drawn: as min-SNR (Hang et al., arXiv:2303.09556) would weigh it, and every time a
    little.

    side: of the pictures, in pixels. What is large, where things are and how many, is settled at noisier times the
    finer a picture is: noise is averaged over more latents. The schedule is right for 64 pixels; beyond, the SNR counts
    (side / 64)**2 times (Hoogeboom et al., arXiv:2301.11093, section 2.1).
    """
    snr = (side / 64) ** 2 * scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)
    weight = snr.clamp(max=5) / (snr + 1)
    return 0.75 * weight / weight.sum() + 0.25 / len(snr)


def save_model(folder, *parts):
    """The folder as a whole or not at all; what else is in it stays. parts: as write_model takes them."""
    with files.making(folder, saved) as new:
        write_model(new, *parts)
        for name in {*saved(folder)} - {*os.listdir(new)}:
            copy_it = shutil.copytree if (folder / name).is_dir() else shutil.copy2
            copy_it(folder / name, new / name)


def saved(folder):
    """The names in a folder that holds a model like this one; none in any other"""
    try:
        config = json.loads((folder / "unet" / "config.json").read_text())
        ours = all(config[key] == UNET_CONFIG[key] for key in ("block_out_channels", "cross_attention_dim"))
    except (OSError, ValueError, TypeError, KeyError):
        ours = False
    return os.listdir(folder) if ours else ()


def write_model(folder, tokenizer, text_encoder, unet, vae):
    """diffusers' layout, float16."""
    copy.deepcopy(text_encoder).half().save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    sizes = (
        {"sample_size": unet.config.sample_size},
        {key: vae.config[key] for key in ("sample_size", "scaling_factor")},
    )
    configs = {"unet": (unet, UNET_CONFIG | sizes[0]), "vae": (vae, VAE_CONFIG | sizes[1])}
    for name, (module, config) in configs.items():
        (folder / name).mkdir(exist_ok=True)
        weights = {key: value.half().cpu().contiguous() for key, value in module.state_dict().items()}
        save_file(weights, folder / name / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
        write_json(folder / name / "config.json", config)
    (folder / "scheduler").mkdir(exist_ok=True)
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER_CONFIG)
    parts = dict(
        scheduler=["diffusers", "DDIMScheduler"],
        text_encoder=["transformers", "CLIPTextModel"],
        tokenizer=["transformers", "CLIPTokenizer"],
        unet=["diffusers", "UNet2DConditionModel"],
        vae=["diffusers", "AutoencoderKL"],
    )
    none = dict(
        feature_extractor=[None, None],
        safety_checker=[None, None],
        image_encoder=[None, None],
        requires_safety_checker=False,
    )
    write_json(
        folder / "model_index.json",
        {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1"} | parts | none,
    )


def write_json(file, content):
    file.write_text(json.dumps(content, indent=2) + "\n")
