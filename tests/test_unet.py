"""The UNet is diffusers' UNet: the same names, the same numbers."""

import pytest
import torch
from conftest import unmoved
from diffusers import UNet2DConditionModel as Reference

from sdscope.unet import UNet2DConditionModel

SD1 = dict(attention_head_dim=8, cross_attention_dim=48, use_linear_projection=False)
SD2 = dict(attention_head_dim=[1, 2, 4, 4], cross_attention_dim=64, use_linear_projection=True)
WIDE, SMALL = (32, 64, 128, 128), (16, 32, 32, 32)


def pair(**config):
    torch.manual_seed(0)
    reference = Reference(**config).eval()
    unet = UNet2DConditionModel(dict(reference.config)).eval()
    unet.load_state_dict(reference.state_dict())  # strict
    reference.load_state_dict(unet.state_dict())  # both ways
    return reference, unet


@pytest.mark.parametrize("size", [(16, 16), (11, 17), (1, 9)])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [SD1, SD2], ids=["SD1", "SD2"])
@torch.no_grad()
def test_equals_diffusers(kind, layers, size):
    """Also where a side does not halve evenly three times"""
    reference, unet = pair(block_out_channels=WIDE, layers_per_block=layers, **kind)
    sample, words = torch.randn(2, 4, *size), torch.randn(2, 77, kind["cross_attention_dim"])
    for t in 961, torch.tensor(41), torch.tensor([1, 700]):
        assert torch.equal(unet(sample, t, words), reference(sample, t, words).sample)


@torch.no_grad()
def test_two_levels():
    two = dict(
        block_out_channels=(16, 32),
        down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
    )
    reference, unet = pair(norm_num_groups=4, **two | SD1)
    sample, words = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 48)
    assert torch.equal(unet(sample, 5, words), reference(sample, 5, words).sample)


def test_every_parameter_learns():
    """At 16 x 16 the mid block sees 2 x 2 positions; where there is one alone, it has nothing to choose between."""
    _, unet = pair(block_out_channels=SMALL, norm_num_groups=8, **SD2)
    unet, words = unet.double(), torch.randn(2, 77, 64).double()
    unet(torch.randn(2, 4, 16, 16).double(), torch.tensor([5, 900]), words).square().mean().backward()
    assert unmoved(unet) == []


def test_gradients_equal_diffusers():
    reference, unet = pair(block_out_channels=SMALL, norm_num_groups=8, **SD2)
    sample, words = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 64)
    unet(sample, 5, words).sum().backward()
    reference(sample, 5, words).sample.sum().backward()
    theirs = dict(reference.named_parameters())
    for name, parameter in unet.named_parameters():
        assert torch.allclose(parameter.grad, theirs[name].grad, rtol=1e-4, atol=1e-5), name


def test_full_size():
    """Stable Diffusion 1.5 and 2.1 by shape alone, with no weights: the published sizes."""
    sd2 = dict(attention_head_dim=[5, 10, 20, 20], cross_attention_dim=1024, use_linear_projection=True)
    for config, parameters in ({}, 859_520_964), (sd2, 865_910_724):
        with torch.device("meta"):
            unet = UNet2DConditionModel(config)
            words = torch.empty(2, 77, unet.config.cross_attention_dim)
            output = unet(torch.empty(2, 4, 64, 64), 961, words)
        assert sum(p.numel() for p in unet.parameters()) == parameters
        assert output.shape == (2, 4, 64, 64)
