"""DreamBooth: from a few pictures of one thing, and a word that means nothing yet, a model learns to paint that thing.

    pipe = StableDiffusion.from_pretrained("postcard")
    learn(pipe, pictures, captions, "snowman.safetensors", class_prompts=["painting of a house", "the sea, sunset"])
    pipe("oil painting of a zwx snowman in the desert, night")

Ruiz et al., arXiv:2208.12242. From the pictures alone, all that the model paints would come to look like them; so it
also learns what itself had painted before for other prompts, the class_prompts (equation 2: prior preservation).
Only a LoRA is trained, as in diffusers' examples/dreambooth/train_dreambooth_lora.py, and diffusers reads the file.
"""

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from . import files
from .inputs import as_generators, as_lists, require, whole
from .loading.adapters import base_of
from .loading.devices import fast_in_bfloat16
from .lora import LoRA
from .pipeline import StableDiffusion
from .preprocess import as_rgb, as_tensor

PUBLISHED = Path(__file__).parent / "postcard/adapters"  # Postcard with a snowman, as 12_dreambooth learns it
RANK = 8
LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2", "conv1", "conv2")
BATCH, RATE = 5, 5e-3
KEPT, MILD = 4, 3.0  # pictures that the model paints of each class prompt before it learns, and their guidance


def learn(
    pipe: StableDiffusion,
    pictures: list[Image.Image],
    captions: str | list[str],
    path: str | Path,
    class_prompts: list[str] | None = None,
    steps: int = 120,
    seed: int = 0,
    progress: Callable[[Iterable, int, str], Iterable] = lambda items, total, text: items,
) -> LoRA:
    """The LoRA that was learned, on the pipe already; also written to `path`, a .safetensors in float16

    pipe           in float32: its steps are too small for less
    pictures       PIL images of the thing; their middle is cut out as a square
    captions       what each of them shows, or all, with a rare word for the thing: "a zwx snowman in the snow". With
                   one for each, what is said of the place, the time or the style is not taken for a part of the thing
    class_prompts  what is to be painted as before; none: no prior preservation. The empty one should be among them, as
                   guidance compares with it
    progress       progress(iterable, total, text) shows how far it is

    What is wrong with an input is an SdscopeError, before any work.
    """
    require(whole(steps, 0) > 0, "steps must be a whole number from 1")
    as_generators(seed, 1)
    files.check(path)
    full = pipe.unet.conv_in.weight.dtype == torch.float32
    require(full, 'learning takes small steps, so open the model in full: from_pretrained(..., dtype="float32")')
    texts, _ = as_lists(captions, "")
    texts = texts * len(pictures) if isinstance(captions, str) else texts
    require(len(texts) == len(pictures), f"{len(pictures)} pictures need as many captions, or one for all")
    own = latents_of(pipe, pictures), pipe.encode_prompt(texts, [], False)
    known = before(pipe, class_prompts, seed, progress) if class_prompts else None
    with files.writing(path) as part, changing(pipe, fresh(pipe.unet, seed)) as pairs:
        train(pipe, pairs, own, known, steps, seed, progress)
        made = {name: (x.lora_A.half(), x.lora_B.half()) for name, x in pairs.items()}
        save_file(tensors(made), part, {"base": base_of(pipe)})
    return LoRA(pipe, path)


@torch.no_grad()
def latents_of(pipe, pictures):
    """Pictures -> (N, 4, h, w), as large as the model's own"""
    side = (pipe.size, pipe.size)
    x = as_tensor([ImageOps.fit(picture, side) for picture in as_rgb(pictures, len(pictures))])
    return pipe.vae.config.scaling_factor * pipe.vae.encode(x.to(pipe.vae.quant_conv.weight))[0]


def before(pipe, prompts, seed, progress):
    """What the model paints for these prompts now: latents, and the prompts' embeddings, KEPT times each"""
    latents, words = [], []
    for i, prompt in progress(enumerate(prompts), len(prompts), "painting as before"):
        prompt_embeds = pipe.encode_prompt([prompt] * KEPT, [""] * KEPT, True)
        noise = pipe.get_latents(KEPT, pipe.size, pipe.size, seed + i * KEPT)
        with torch.autocast(noise.device.type, torch.bfloat16, enabled=fast_in_bfloat16()):
            latents.append(pipe.denoise(noise, prompt_embeds, guidance_scale=MILD).float())
        words.append(prompt_embeds.chunk(2)[1])
    return torch.cat(latents), torch.cat(words)


def fresh(unet, seed, rank=RANK):
    """A LoRA that changes nothing yet, {layer's name: (down, up)}: what comes first is drawn, what comes after is zero
    (arXiv:2106.09685)"""
    generator, made = torch.Generator().manual_seed(seed), {}
    for name, layer in unet.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and name.endswith(LAYERS):
            m, *shape = layer.weight.shape
            down = torch.randn(rank, *shape, generator=generator) / layer.weight[0].numel() ** 0.5
            made[name] = down, torch.zeros(m, rank, *[1] * len(shape[1:]))
    return made


class LowRank(nn.Module):
    """A LoRA as a part of its layer, W + B A in place of W: to learn in, half as slow as one beside it"""

    def __init__(self, down, up):
        super().__init__()
        self.lora_A, self.lora_B = nn.Parameter(down), nn.Parameter(up)

    def forward(self, weight):
        return weight + (self.lora_B.flatten(1) @ self.lora_A.flatten(1)).view_as(weight)


@contextmanager
def changing(pipe, pairs):
    """{layer's name: (down, up)} -> {layer's name: LowRank}, in their layers; at the end all is as it was"""
    layers = {name: pipe.unet.get_submodule(name) for name in pairs}
    added = {name: LowRank(*(x.to(layers[name].weight) for x in pair)) for name, pair in pairs.items()}
    pipe.unet.requires_grad_(False)
    for name, layer in layers.items():
        parametrize.register_parametrization(layer, "weight", added[name])
    try:
        yield added
    finally:
        for layer in layers.values():
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        pipe.unet.requires_grad_(not getattr(pipe, "loras", []))


def train(pipe, pairs, own, known, steps, seed, progress):
    """own, known: latents (N, 4, h, w) and the embeddings of their prompts, (N, 77, D), of the thing and of before"""
    parameters = [x for pair in pairs.values() for x in pair.parameters()]
    optimizer = torch.optim.AdamW(parameters, RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in progress(range(steps), steps, "learning"):
        # region step
        error = loss(pipe, *draw(own, generator), generator)
        if known:  # what it could paint before: prior preservation
            error = error + loss(pipe, *draw(known, generator), generator)
        error.backward()
        # endregion step
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def draw(known, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """BATCH latents with the embeddings of their prompts, or all"""
    latents, words = known
    chosen = torch.randperm(len(latents), generator=generator)[:BATCH]
    return latents[chosen], words[chosen]


# fmt: off

# region loss
def loss(pipe: StableDiffusion, x0: Tensor, prompt_embeds: Tensor,
         generator: torch.Generator) -> Tensor:
    """How wrong the UNet is about the noise, or about v where the model answers that."""
    noise = torch.randn(x0.shape, generator=generator).to(x0)
    trained = pipe.scheduler.config.num_train_timesteps
    timesteps = torch.randint(trained, (len(x0),), generator=generator)
    noisy = pipe.scheduler.add_noise(x0, noise, timesteps)
    epsilon = pipe.scheduler.config.prediction_type == "epsilon"
    target = noise if epsilon else pipe.scheduler.get_velocity(x0, noise, timesteps)
    with torch.autocast(x0.device.type, torch.bfloat16, enabled=fast_in_bfloat16()):
        answer = pipe.unet(noisy, timesteps.to(x0.device), prompt_embeds)
    return F.mse_loss(answer.float(), target)
    # endregion loss

# fmt: on


def tensors(pairs):
    """{layer's name: (down, up)} -> as diffusers' save_lora_weights names them"""
    return {
        f"unet.{name}.lora_{letter}.weight": x.detach().cpu().contiguous()
        for name, pair in pairs.items()
        for letter, x in zip("AB", pair)
    }
