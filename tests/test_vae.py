"""The autoencoder is diffusers' AutoencoderKL: the same names, the same numbers."""

import pytest
import torch
from conftest import unmoved
from diffusers import AutoencoderKL as Reference

from sdscope.vae import AutoencoderKL


def pair(widths, layers, **settings):
    torch.manual_seed(0)
    reference = Reference(
        block_out_channels=widths,
        layers_per_block=layers,
        norm_num_groups=8,
        down_block_types=["DownEncoderBlock2D"] * len(widths),
        up_block_types=["UpDecoderBlock2D"] * len(widths),
        **settings,
    ).eval()
    vae = AutoencoderKL(dict(reference.config)).eval()
    vae.load_state_dict(reference.state_dict())  # strict
    reference.load_state_dict(vae.state_dict())  # both ways
    return reference, vae


@pytest.mark.parametrize("widths, layers", [((32, 64, 64, 128), 2), ((16, 32), 1)])
@pytest.mark.parametrize("size", [(64, 64), (40, 72)])
@torch.no_grad()
def test_equals_diffusers(widths, layers, size):
    reference, vae = pair(widths, layers)
    pictures = torch.rand(2, 3, *size) * 2 - 1
    expected = reference.encode(pictures).latent_dist
    mean, logvar = vae.encode(pictures)
    assert torch.equal(mean, expected.mean)
    assert torch.equal(logvar, expected.logvar)
    latents = torch.randn_like(mean)
    assert torch.equal(vae.decode(latents), reference.decode(latents).sample)


def test_every_parameter_learns():
    vae = pair((16, 16, 32, 32), 1)[1].double()
    mean, logvar = vae.encode(torch.rand(2, 3, 32, 32).double() * 2 - 1)
    (vae.decode(mean + torch.exp(0.5 * logvar)).square().mean() + logvar.mean()).backward()
    # adding a constant to every key changes no softmax: these have nothing to learn
    assert unmoved(vae) == [f"{half}.mid_block.attentions.0.to_k.bias" for half in ("encoder", "decoder")]


def test_full_size():
    """Stable Diffusion's, by shape alone"""
    with torch.device("meta"):
        vae = AutoencoderKL({})
        mean, _ = vae.encode(torch.empty(1, 3, 512, 512))
        picture = vae.decode(mean)
    assert sum(p.numel() for p in vae.parameters()) == 83_653_863
    assert mean.shape == (1, 4, 64, 64)
    assert picture.shape == (1, 3, 512, 512)


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("size", [(4, 4), (5, 4), (10, 7), (3, 15), (2, 5)])
@torch.no_grad()
def test_tiling_equals_diffusers(size, side):
    """Tiles of 4 x 4 latents and of 8 x 8; of these a last one can be narrower than what overlaps"""
    reference, vae = pair((8, 8, 16, 16), 1, sample_size=side)
    reference.enable_tiling()
    vae.tiling = True
    z = torch.randn(2, 4, *size)
    assert torch.equal(vae.decode(z), reference.decode(z).sample)
