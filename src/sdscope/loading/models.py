"""The models that have a short name here: where each is, and what it is built like.

Stability AI withdrew Stable Diffusion 2 from the Hugging Face hub in November 2025, and RunwayML 1.5
before: those ids lead to mirrors, unless the original still lies in the cache of the machine. Those whose
commit is known are pinned to it, so that nobody can change what is read; the others are read as they are today.
"""

from dataclasses import dataclass, field

# What is not in these dictionaries is the default of UNet2DConditionModel, AutoencoderKL, CLIPTextConfig.
CLIP_L = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
CLIP_H = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16)
SD2_UNET = dict(attention_head_dim=[5, 10, 20, 20], cross_attention_dim=1024, use_linear_projection=True)

UPSCALER_UNET = dict(
    in_channels=7,
    sample_size=128,
    block_out_channels=[256, 512, 512, 1024],
    down_block_types=["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 3,
    up_block_types=["CrossAttnUpBlock2D"] * 3 + ["UpBlock2D"],
    only_cross_attention=[True, True, True, False],
    cross_attention_dim=1024,
    use_linear_projection=True,
    num_class_embeds=1000,
)


@dataclass(frozen=True)
class Known:
    """A model with a short name."""

    size: int  # height and width in pixels that it was trained for
    prediction_type: str  # "epsilon" or "v_prediction"
    hub_id: str | None = None  # None: it comes with this package
    revision: str | None = None  # a commit on the hub
    removed: str | None = None  # the original, gone from the hub, that hub_id mirrors
    unet: dict = field(default_factory=dict)  # of unet/config.json, as far as shapes go
    text_encoder: dict = field(default_factory=dict)  # of text_encoder/config.json, likewise
    vae: dict = field(default_factory=dict)  # of vae/config.json, likewise


def sd1(owner, revision, name, removed=None, **unet):
    return Known(512, "epsilon", f"{owner}/{name}", revision, removed, unet, CLIP_L)


def sd2(name, revision, size, prediction_type, **unet):
    unet = SD2_UNET | dict(sample_size=size // 8) | unet
    ids = f"sd2-community/{name}", revision, f"stabilityai/{name}"
    return Known(size, prediction_type, *ids, unet, CLIP_H)


KNOWN = {
    "postcard": Known(256, "v_prediction"),
    "sd14": sd1("CompVis", "133a221b8aa7292a167afc5127cb63fb5005638b", "stable-diffusion-v1-4"),
    "sd15": sd1(
        "stable-diffusion-v1-5",
        "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        "stable-diffusion-v1-5",
        removed="runwayml/stable-diffusion-v1-5",
    ),
    "sd2": sd2("stable-diffusion-2-base", "f5bc1bd97485577aa0b946fa8a9004e2ec147402", 512, "epsilon"),
    # the mirror's newest: which commit that is could not be looked up
    "sd2-768": sd2("stable-diffusion-2", None, 768, "v_prediction"),
    "sd21": sd2("stable-diffusion-2-1-base", "4e63672c03103b6c636b8fb4119ba982469b2955", 512, "epsilon"),
    "sd21-768": sd2("stable-diffusion-2-1", "bb2154823665391b4fb29b0b9cf82a198964ee05", 768, "v_prediction"),
    # not text to image: see tasks.py. Of these, too, the newest: the commits could not be looked up
    "sd15-inpainting": sd1(
        "stable-diffusion-v1-5",
        None,
        "stable-diffusion-inpainting",
        removed="runwayml/stable-diffusion-inpainting",
        in_channels=9,
    ),
    "sd2-inpainting": sd2("stable-diffusion-2-inpainting", None, 512, "epsilon", in_channels=9),
    "sd2-depth": sd2("stable-diffusion-2-depth", None, 512, "epsilon", in_channels=5),
    "sd2-upscaler": Known(
        512,
        "v_prediction",
        "stabilityai/stable-diffusion-x4-upscaler",
        unet=UPSCALER_UNET,
        text_encoder=CLIP_H,
        vae=dict(block_out_channels=[128, 256, 512], scaling_factor=0.08333, sample_size=256),
    ),
}

# Postcard given more than a prompt: a file beside it, of what is otherwise in its UNet, and the class that opens it
VARIANTS = {"postcard-inpaint": "Inpaint", "postcard-depth": "DepthToImage", "postcard-upscale": "Upscale"}

MIRRORS = {known.removed: short for short, known in KNOWN.items() if known.removed}
