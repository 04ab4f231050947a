"""Training Postcard, from nothing to the committed weights.

    sdscope train vae         pictures -> latents -> pictures
    sdscope train text        captions -> what they say (a head start for the text encoder)
    sdscope train postcard    text encoder and UNet together, on those latents
    sdscope train decoder     latents -> pictures, further: what the UNet learned stays true

In this order; `train postcard` once more then writes the model with the better decoder. Each is one command
that can be killed at any time and goes on from its last checkpoint when it is given again. Batches and noise
are drawn by step number, so a resumed run does what an unbroken one would have. On several processes or
machines: `torchrun --nproc_per_node 2 .venv/bin/sdscope train ...`, or `accelerate launch`; without a GPU
with ACCELERATE_USE_CPU=true.
"""
import json
import time
from math import cos, pi
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .. import StableDiffusion
from ..scheduler import DDIM
from ..unet import Attention, Downsample2D, ResnetBlock2D, UNet2DConditionModel, Upsample2D
from ..vae import AutoencoderKL
from .captions import caption
from .data import painted
from .painter import COLOURS, PLACES, STYLES, SUBJECTS, TIMES, Scene
from .tokenizer import train_tokenizer

VAE_CONFIG = {
    "_class_name": "AutoencoderKL", "act_fn": "silu", "in_channels": 3, "out_channels": 3, "latent_channels": 4, "sample_size": 128,
    "block_out_channels": [16, 16, 64, 128], "layers_per_block": 1, "norm_num_groups": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
}
# Stable Diffusion 2 with a tenth of its channels, and one layer in a block instead of two
UNET_CONFIG = {
    "_class_name": "UNet2DConditionModel", "act_fn": "silu", "in_channels": 4, "out_channels": 4, "sample_size": 16, "center_input_sample": False,
    "block_out_channels": [32, 64, 128, 128], "layers_per_block": 1, "attention_head_dim": [1, 2, 4, 4], "cross_attention_dim": 128,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "use_linear_projection": True, "norm_num_groups": 16, "norm_eps": 1e-5, "flip_sin_to_cos": True, "freq_shift": 0,
    "downsample_padding": 1, "mid_block_scale_factor": 1,
}
TEXT_CONFIG = dict(hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=77,
                   projection_dim=128, hidden_act="gelu", pad_token_id=None)
SCHEDULER_CONFIG = {
    "_class_name": "DDIMScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction", "steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False, "timestep_spacing": "leading",
    "skip_prk_steps": True, "trained_betas": None,
}
# what the sample sheets ask for
PROMPTS = (
    "painting depicting the sea, sunrise, ship", "a lighthouse by the sea at night, watercolor", "pixel art of a castle in the snow",
    "hot air balloon over the mountains, flat vector illustration", "a blue house in a green field at sunset, oil painting",
    "pencil sketch of a windmill in the countryside", "a rocket in the desert at night, flat vector illustration",
    "watercolor of a tree in the snow at sunrise", "a red ship on the sea at night, pixel art", "painting of mountains at sunset",
    "a yellow castle in the city during the day, oil painting", "green hot air balloon over the city at dawn, watercolor",
)
SAVE_EVERY, SHEET_EVERY = 180, 600  # seconds


class Run:
    """A training run and its folder: what it trains, its average, its log, and where it goes on from."""

    def __init__(self, folder: Path, losses: nn.Module, steps: int, lr: float):
        self.folder, self.steps, self.lr = folder, steps, lr
        folder.mkdir(parents=True, exist_ok=True)
        self.accelerator = accelerator()
        optimizer = torch.optim.AdamW(losses.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        self.average = AveragedModel(losses, multi_avg_fn=get_ema_multi_avg_fn(0.99)).to(self.accelerator.device)
        self.losses, self.optimizer = self.accelerator.prepare(losses, optimizer)
        self.step = 0
        if (folder / "last.pt").exists():
            state = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)
            self.accelerator.unwrap_model(self.losses).load_state_dict(state["losses"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    def save(self):
        if self.accelerator.is_main_process:
            state = dict(losses=self.accelerator.unwrap_model(self.losses).state_dict(), average=self.average.state_dict(),
                         optimizer=self.optimizer.state_dict(), step=self.step)
            torch.save(state, self.folder / "last.part")
            (self.folder / "last.part").rename(self.folder / "last.pt")

    def go(self, batch, sheet=None):
        """Train to the end. `batch(rng, done)` draws what the losses take, `done` is the part of the steps gone, 0 .. 1; `sheet(average)` paints what to look at."""
        saved = drawn = begun = time.time()
        first, recent = self.step, []
        while self.step < self.steps:
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr * learning_rate(self.step, self.steps)
            rng = np.random.default_rng([self.step, self.accelerator.process_index])
            torch.manual_seed(int(rng.integers(2**62)))
            loss = self.losses(*(part.to(self.accelerator.device) for part in batch(rng, self.step / self.steps)))
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(self.losses.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.average.update_parameters(self.accelerator.unwrap_model(self.losses))
            self.step += 1
            recent.append(loss.item())
            if self.step % 50 == 0:
                self.tell(float(np.mean(recent)), (time.time() - begun) / (self.step - first))
                recent = []
            if time.time() - saved > SAVE_EVERY:
                self.save()
                saved = time.time()
            if time.time() - drawn > SHEET_EVERY:
                self.draw(sheet)
                drawn = time.time()
        self.save()
        self.draw(sheet)

    def draw(self, sheet):
        if sheet and self.accelerator.is_main_process:
            sheet(self.average.module).save(self.folder / f"sheet-{self.step:06d}.png")

    def tell(self, loss, seconds):
        left = (self.steps - self.step) * seconds / 60
        self.accelerator.print(f"step {self.step}/{self.steps}  loss {loss:.4f}  {seconds:.3f} s a step  {left:.0f} min left", flush=True)
        if self.accelerator.is_main_process:
            with open(self.folder / "log.jsonl", "a") as log:
                log.write(json.dumps(dict(step=self.step, loss=round(loss, 5), seconds=round(seconds, 4))) + "\n")


def learning_rate(step, steps, warmup=200):
    """Up in a line, level for the first half, then down to a fiftieth in a cosine."""
    if step < warmup:
        return (step + 1) / warmup
    late = max(0, (step - steps / 2) / (steps / 2))
    return 0.02 + 0.98 * (1 + cos(pi * late)) / 2


def accelerator():
    """bfloat16 where the machine computes fast in it: on a GPU, and on CPUs with AMX."""
    fast = torch.cuda.is_available() or torch.cpu._is_amx_tile_supported()
    return Accelerator(mixed_precision="bf16" if fast else "no")


# ---------------------------------------------------------------------------- the autoencoder

class AutoencoderLoss(nn.Module):
    """How far a picture comes back changed: in its values and in its edges, at two sizes."""

    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, pictures):
        """pictures (B, 3, H, W), -1 .. 1"""
        mean, logvar = self.vae.encode(pictures)
        latents = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
        decoded = self.vae.decode(latents)
        return closeness(decoded, pictures) + 1e-5 * kl


class DecoderLoss(AutoencoderLoss):
    """The same, with the encoder as it is: latents keep their meaning while pictures get better."""

    def __init__(self, vae):
        super().__init__(vae)
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)

    def forward(self, pictures):
        with torch.no_grad():
            latents = self.vae.encode(pictures)[0]
        return closeness(self.vae.decode(latents), pictures)


def closeness(a, b):
    loss = F.l1_loss(a, b) + F.mse_loss(a, b)
    for size in (1, 2):
        a, b = (a, b) if size == 1 else (F.avg_pool2d(a, 2), F.avg_pool2d(b, 2))
        for dim in (2, 3):
            loss = loss + 0.5 * F.l1_loss(a.diff(dim=dim), b.diff(dim=dim))
    return loss


def train_vae(folder: Path, pictures: int, steps: int, batch_size: int, lr: float, progress):
    with accelerator().local_main_process_first():            # it paints, the others wait and find everything there
        data = painted(folder / "data", pictures, progress)
    torch.manual_seed(0)
    run = Run(folder / "vae", AutoencoderLoss(start_simple(AutoencoderKL(VAE_CONFIG))), steps, lr)
    held_out = to_tensor(data[:12])                            # never trained on

    def batch(rng, done):
        if done < 0.4:                                         # four pictures of half the size cost what one does
            return [F.avg_pool2d(to_tensor(data[rng.integers(12, len(data), 4 * batch_size)]), 2)]
        return [to_tensor(data[rng.integers(12, len(data), batch_size)])]

    run.go(batch, sheet=lambda losses: reconstructions(losses.vae, held_out.to(run.accelerator.device)))


def train_decoder(folder: Path, pictures: int, steps: int, batch_size: int, lr: float, progress):
    data = painted(folder / "data", pictures, progress)
    run = Run(folder / "decoder", DecoderLoss(finished(folder / "vae", AutoencoderLoss(AutoencoderKL(VAE_CONFIG))).vae), steps, lr)
    held_out = to_tensor(data[:12])
    run.go(batch=lambda rng, done: [to_tensor(data[rng.integers(12, len(data), batch_size)])],
           sheet=lambda losses: reconstructions(losses.vae, held_out.to(run.accelerator.device)))


def trained_vae(folder):
    """With the decoder that was trained further, where there is one."""
    best = folder / "decoder" if (folder / "decoder" / "last.pt").exists() else folder / "vae"
    return finished(best, AutoencoderLoss(AutoencoderKL(VAE_CONFIG))).vae


def start_simple(vae):
    """Begin as a nearly linear map: every residual branch adds nothing yet, sizes change by averaging and repeating.

    From there colours are right within a few hundred pictures; from the usual random start it takes thousands.
    """
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(module.conv2.weight)
            if isinstance(module.conv_shortcut, nn.Conv2d):
                nn.init.orthogonal_(module.conv_shortcut.weight)
        elif isinstance(module, Attention):
            nn.init.zeros_(module.to_out[0].weight)
        elif isinstance(module, (Downsample2D, Upsample2D)):
            down, each = isinstance(module, Downsample2D), range(module.conv.in_channels)
            nn.init.zeros_(module.conv.weight)
            with torch.no_grad():
                module.conv.weight[each, each, slice(0, 2) if down else 1, slice(0, 2) if down else 1] = 0.25 if down else 1.0
    with torch.no_grad():                                      # and hardly any noise on the latents
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -6
    return vae


def to_tensor(pictures):
    """(B, H, W, 3) bytes -> (B, 3, H, W), -1 .. 1"""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def reconstructions(vae, pictures):
    """Pictures above, what the autoencoder makes of them below."""
    decoded = vae.decode(vae.encode(pictures)[0]).clamp(-1, 1)
    psnr = -10 * torch.log10(F.mse_loss(decoded, pictures) / 4)
    print(f"autoencoder: {psnr:.2f} dB", flush=True)
    rows = [torch.cat(list(batch), dim=2) for batch in (pictures, decoded)]
    return Image.fromarray(((torch.cat(rows, dim=1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy())


# ---------------------------------------------------------------------------- the text encoder's head start

ATTRIBUTES = dict(place=PLACES, time=TIMES, subject=SUBJECTS, colour=tuple(COLOURS), style=STYLES)


class CaptionLoss(nn.Module):
    """What is in the picture that this caption describes? Asked at the end of the text and of its padding.

    Stable Diffusion's text encoder comes from CLIP, which learned what captions mean before any
    diffusion; this is ours. What a caption leaves out cannot be known, only guessed.
    """

    def __init__(self, text_encoder):
        super().__init__()
        self.text_encoder = text_encoder
        self.heads = nn.ModuleDict({name: nn.Linear(TEXT_CONFIG["hidden_size"], len(words)) for name, words in ATTRIBUTES.items()})

    def forward(self, input_ids, labels):
        """input_ids (B, 77), labels (B, 5)"""
        states = self.text_encoder(input_ids)[0]
        ends = torch.arange(len(input_ids)), input_ids.argmax(dim=-1)          # the end token has the highest id
        losses = [F.cross_entropy(head(state), label) for state in (states[ends], states[:, -1])
                  for head, label in zip(self.heads.values(), labels.unbind(1))]
        return torch.stack(losses).mean()


def train_text(folder: Path, steps: int, batch_size: int, lr: float):
    torch.manual_seed(1)
    with accelerator().local_main_process_first():
        tokenizer = tokenizer_in(folder)

    def batch(rng, done):
        scenes = [Scene.random(int(seed)) for seed in rng.integers(10_000_000, 2**31, batch_size)]
        labels = [[words.index(getattr(scene, name)) for name, words in ATTRIBUTES.items()] for scene in scenes]
        return tokenize(tokenizer, [caption(scene, rng) for scene in scenes]), torch.tensor(labels)

    Run(folder / "text", CaptionLoss(new_text_encoder(tokenizer)), steps, lr).go(batch)


def tokenizer_in(folder):
    if not (folder / "tokenizer").exists():
        train_tokenizer(folder / "tokenizer")
    return CLIPTokenizer.from_pretrained(folder / "tokenizer")


def tokenize(tokenizer, texts):
    return tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids


def new_text_encoder(tokenizer):
    ends = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    return CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer), **ends, **TEXT_CONFIG))


# ---------------------------------------------------------------------------- the diffusion model

class DiffusionLoss(nn.Module):
    """How wrong the UNet is about v, at a random time, given the caption.

    v-prediction: Salimans and Ho, arXiv:2202.00512. Times are drawn as often as min-SNR (arXiv:2303.09556)
    would weigh them, and every time a little: few are drawn where all is noise or none is.
    """

    def __init__(self, text_encoder, unet, scheduler):
        super().__init__()
        self.text_encoder, self.unet, self.scheduler = text_encoder, unet, scheduler
        snr = scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)
        weight = snr.clamp(max=5) / (snr + 1)
        self.times = 0.75 * weight / weight.sum() + 0.25 / len(snr)

    def forward(self, latents, input_ids):
        """latents (B, 4, h, w), scaled; input_ids (B, 77)"""
        timesteps = torch.multinomial(self.times, len(latents), replacement=True)
        noise = torch.randn_like(latents)
        prompt_embeds = self.text_encoder(input_ids)[0]
        v = self.unet(self.scheduler.add_noise(latents, noise, timesteps), timesteps.to(latents.device), prompt_embeds)
        return F.mse_loss(v.float(), self.scheduler.get_velocity(latents, noise, timesteps))


def train_postcard(folder: Path, pictures: int, steps: int, batch_size: int, lr: float, progress):
    vae = trained_vae(folder)
    text_encoder = finished(folder / "text", CaptionLoss(new_text_encoder(tokenizer_in(folder)))).text_encoder
    with accelerator().local_main_process_first():
        latents = encoded(folder, vae, pictures, progress)
    centre(vae, latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)))
    latents = (latents - latents.mean(dim=(0, 2, 3), keepdim=True)) / latents.std(dim=(0, 2, 3), keepdim=True)
    torch.manual_seed(2)
    tokenizer, scheduler = tokenizer_in(folder), DDIM(SCHEDULER_CONFIG)
    run = Run(folder / "postcard", DiffusionLoss(text_encoder, UNet2DConditionModel(UNET_CONFIG), scheduler), steps, lr)

    def batch(rng, done):
        chosen = rng.integers(0, len(latents), batch_size)
        texts = ["" if rng.random() < 0.1 else caption(Scene.random(int(seed)), rng) for seed in chosen]
        return latents[chosen], tokenize(tokenizer, texts)

    def sheet(losses):
        save_model(folder / "postcard" / "model", tokenizer, losses.text_encoder, losses.unet, vae)
        pipe = StableDiffusion(tokenizer, losses.text_encoder, losses.unet, vae.to(run.accelerator.device), scheduler)
        return grid(pipe(list(PROMPTS), seed=[42] * len(PROMPTS)), columns=4)

    run.go(batch, sheet)


def finished(folder, losses):
    """The average that a run ended with."""
    state = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)["average"]
    losses.load_state_dict({key.removeprefix("module."): value for key, value in state.items() if key != "n_averaged"})
    return losses.eval()


@torch.no_grad()
def encoded(folder, vae, count, progress):
    """The latents of the first `count` pictures, (count, 4, 16, 16), made once for an encoder."""
    key = f"{sum(p.double().abs().sum() for p in vae.encoder.parameters()):.6f}"
    file = folder / "data" / f"latents-{count}-{key}.pt"
    if not file.exists():
        data = painted(folder / "data", count, progress)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        starts = range(0, count, 100)
        parts = [vae.to(device).encode(to_tensor(data[start:start + 100]).to(device))[0].cpu() for start in progress(starts, len(starts), "encoding")]
        torch.save(torch.cat(parts), file.with_suffix(".part"))
        file.with_suffix(".part").rename(file)
        vae.cpu()
    return torch.load(file, weights_only=True)


@torch.no_grad()
def centre(vae, mean, std):
    """Shift and stretch the latents so that each channel has mean 0 and all have the same spread, and pictures stay
    what they were: the two 1x1 convolutions between encoder and decoder take it up. One number, the scaling
    factor, then makes the spread 1, as in Stable Diffusion."""
    spread = std.mean()
    stretch = spread / std
    vae.quant_conv.weight[:4] *= stretch[:, None, None, None]
    vae.quant_conv.bias[:4] = (vae.quant_conv.bias[:4] - mean) * stretch
    vae.quant_conv.bias[4:] += 2 * stretch.log()
    vae.post_quant_conv.bias += (vae.post_quant_conv.weight[:, :, 0, 0] @ mean)
    vae.post_quant_conv.weight /= stretch[None, :, None, None]
    vae.config["scaling_factor"] = float(1 / spread)


def save_model(folder, tokenizer, text_encoder, unet, vae):
    """diffusers' layout, float16."""
    text_encoder.half().save_pretrained(folder / "text_encoder")
    text_encoder.float()
    tokenizer.save_pretrained(folder / "tokenizer")
    configs = {"unet": (unet, UNET_CONFIG), "vae": (vae, VAE_CONFIG | {"scaling_factor": vae.config.scaling_factor})}
    for name, (module, config) in configs.items():
        (folder / name).mkdir(exist_ok=True)
        weights = {key: value.half().cpu().contiguous() for key, value in module.state_dict().items()}
        save_file(weights, folder / name / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
        write_json(folder / name / "config.json", config)
    (folder / "scheduler").mkdir(exist_ok=True)
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER_CONFIG)
    parts = dict(scheduler=["diffusers", "DDIMScheduler"], text_encoder=["transformers", "CLIPTextModel"], tokenizer=["transformers", "CLIPTokenizer"],
                 unet=["diffusers", "UNet2DConditionModel"], vae=["diffusers", "AutoencoderKL"])
    none = dict(feature_extractor=[None, None], safety_checker=[None, None], image_encoder=[None, None], requires_safety_checker=False)
    write_json(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1"} | parts | none)


def write_json(file, content):
    file.write_text(json.dumps(content, indent=2) + "\n")


def grid(images, columns):
    width, height = images[0].size
    sheet = Image.new("RGB", (columns * (width + 4) - 4, -(-len(images) // columns) * (height + 4) - 4), "white")
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * (width + 4), i // columns * (height + 4)))
    return sheet
