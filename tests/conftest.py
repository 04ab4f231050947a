"""What the tests share: a tiny untrained model in diffusers' layout."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # no test uses the network

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import sdscope

SCHEDULER = dict(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    steps_offset=1,
    clip_sample=False,
    set_alpha_to_one=False,
    prediction_type="v_prediction",
)
NO_CHECKER = dict(safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def tiny_text():
    """CLIP's kind of tokenizer, with every byte and no word in it, and two layers to read it."""
    bytes_ = sorted(ByteLevel.alphabet())
    vocabulary = [*bytes_, *(b + "</w>" for b in bytes_), "<|startoftext|>", "<|endoftext|>"]
    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = CLIPTokenizer(vocab=ids, merges=[], model_max_length=77)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer, CLIPTextModel(config)


def tiny_pipeline():
    """diffusers' pipeline with random weights, always the same, for 64 x 64 pixels."""
    torch.manual_seed(0)
    tokenizer, text_encoder = tiny_text()
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 32, 32),
        norm_num_groups=8,
        cross_attention_dim=32,
        layers_per_block=1,
        attention_head_dim=[1, 2, 2, 2],
        use_linear_projection=True,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=8,
        layers_per_block=1,
        sample_size=64,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )
    parts = dict(tokenizer=tokenizer, text_encoder=text_encoder, unet=unet, vae=vae)
    return StableDiffusionPipeline(**parts, scheduler=DDIMScheduler(**SCHEDULER), **NO_CHECKER)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    return sdscope.StableDiffusion.from_pretrained(tiny_folder, device="cpu")
