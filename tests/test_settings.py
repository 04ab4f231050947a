"""Every setting of a model's JSON files is read as diffusers reads it, has no effect there either, or is refused by name."""

import functools
import inspect
import itertools
import json
import logging
import random
import re
import shutil

import diffusers
import pytest
import torch
from conftest import NO_CHECKER, SCHEDULER as SCHEDULE, compare, run_both, tiny_pipeline
from diffusers import AutoencoderKL as ReferenceVAE
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers import UNet2DConditionModel as ReferenceUNet
from transformers import CLIPTextConfig

from sdscope import SdscopeError, StableDiffusion
from sdscope import scheduler as ours_scheduler
from sdscope import unet as ours_unet
from sdscope import vae as ours_vae
from sdscope.checkpoint import check_settings, load_scheduler
from sdscope.scheduler import DDIM
from sdscope.settings import SCHEDULER, TEXT_ENCODER, UNET, VAE, checked, settle
from sdscope.unet import UNet2DConditionModel
from sdscope.vae import AutoencoderKL

# what published checkpoints of 1.x and 2.x name, and all that may take a file of theirs (some need other packages)
SCHEDULERS = sorted(DDIMScheduler._get_compatibles(), key=lambda kind: kind.__name__)
CLASSES = {
    "unet": (UNET, [ReferenceUNet]),
    "vae": (VAE, [ReferenceVAE]),
    "text_encoder": (TEXT_ENCODER, [CLIPTextConfig]),
    "scheduler": (SCHEDULER, [DDIMScheduler, *SCHEDULERS]),
}


def arguments(kind):
    """name -> default of every argument with a name of its own"""
    parameters = inspect.signature(kind.__init__).parameters.values()
    named = [p for p in parameters if p.name != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {p.name: p.default for p in named}


def test_the_classes_are_those_that_are_meant():
    assert {"PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"} <= {k.__name__ for k in SCHEDULERS}
    assert len(arguments(ReferenceUNet)) > 40 and len(arguments(CLIPTextConfig)) > 15


@pytest.mark.parametrize("part", CLASSES)
def test_every_argument_is_in_one_group(part):
    table, kinds = CLASSES[part]
    for name in set().union(*map(arguments, kinds)):
        groups = [group for group in (table.read, table.only, table.free) if name in group]
        assert len(groups) == 1, name


@pytest.mark.parametrize("part", CLASSES)
def test_defaults_are_those_of_the_class(part):
    table, kinds = CLASSES[part]
    theirs = arguments(kinds[0])
    for name, (default, _) in (table.read | table.only).items():
        if name in theirs:
            value = theirs[name]
            assert default == (list(value) if isinstance(value, tuple) else value), name


@pytest.mark.parametrize("table, module", [(UNET, ours_unet), (VAE, ours_vae), (SCHEDULER, ours_scheduler)])
def test_which_defaults_are_unlike_those_of_1_5(table, module):
    """Of those that the classes here read; the two that the pipeline repairs are told of there"""
    told = {name for name, value in module.DEFAULTS.items() if table.read.get(name, table.only.get(name))[0] != value}
    assert told - {"steps_offset", "clip_sample"} == table.unlike - {"beta_schedule"}


# ---- the settings that are read: changed, they give diffusers' numbers

LEVELS = dict(
    block_out_channels=[16, 32],
    down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
)
SMALL_UNET = LEVELS | dict(norm_num_groups=4, layers_per_block=1, attention_head_dim=2, cross_attention_dim=12)
UNET_CHANGES = [
    dict(sample_size=8),
    dict(in_channels=8),
    dict(out_channels=8),
    dict(
        block_out_channels=[8, 24, 8],
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
    ),
    dict(block_out_channels=[12], down_block_types=["CrossAttnDownBlock2D"], up_block_types=["CrossAttnUpBlock2D"]),
    dict(layers_per_block=3),
    dict(attention_head_dim=[1, 4]),
    dict(cross_attention_dim=20),
    dict(norm_num_groups=8),
    dict(norm_eps=0.1),
    dict(use_linear_projection=True),
    dict(act_fn="swish"),
]
SMALL_VAE = dict(
    block_out_channels=[8, 16],
    down_block_types=["DownEncoderBlock2D"] * 2,
    up_block_types=["UpDecoderBlock2D"] * 2,
    norm_num_groups=4,
)
VAE_CHANGES = [
    dict(latent_channels=8),
    dict(block_out_channels=[8], down_block_types=["DownEncoderBlock2D"], up_block_types=["UpDecoderBlock2D"]),
    dict(layers_per_block=2),
    dict(norm_num_groups=8),
    dict(sample_size=64),
    dict(sample_size=[8, 16]),
    dict(scaling_factor=0.5),
    dict(act_fn="swish"),
]


def changed(table, changes):
    """Every setting that may have more than one value is changed"""
    free = {name for name, (_, values) in table.only.items() if len(set(map(bool, values))) == 1 < len(values)}
    assert set().union(*changes) == set(table.read) | free


def pair(reference, ours, config):
    torch.manual_seed(0)
    theirs = reference.from_config(config).eval()
    made = ours(settle(reference_table(ours), config, "config.json")).eval()
    made.load_state_dict(theirs.state_dict())
    return made, theirs


def reference_table(ours):
    return UNET if ours is UNet2DConditionModel else VAE


@pytest.mark.parametrize("change", UNET_CHANGES, ids=str)
@torch.no_grad()
def test_unet_settings_that_are_read(change):
    changed(UNET, UNET_CHANGES)
    ours, theirs = pair(ReferenceUNet, UNet2DConditionModel, SMALL_UNET | change)
    sample = torch.randn(2, theirs.config.in_channels, 8, 8)
    words = torch.randn(2, 7, theirs.config.cross_attention_dim)
    compare([(ours(sample, 41, words), theirs(sample, 41, words).sample)])


@pytest.mark.parametrize("change", VAE_CHANGES, ids=str)
@torch.no_grad()
def test_autoencoder_settings_that_are_read(change):
    changed(VAE, VAE_CHANGES)
    ours, theirs = pair(ReferenceVAE, AutoencoderKL, SMALL_VAE | change)
    pictures = torch.rand(2, 3, 16, 16) * 2 - 1
    mean, logvar = ours.encode(pictures)
    expected = theirs.encode(pictures).latent_dist
    compare([(mean, expected.mean), (logvar, expected.logvar), (ours.decode(mean), theirs.decode(mean).sample)])
    assert ours.config.scaling_factor == theirs.config.scaling_factor
