"""The table of today's models in notebook 13_since: what is counted is what their makers say."""

import json
from pathlib import Path

import diffusers
import nbformat
import pytest
import torch

ROOT = Path(__file__).parents[1]
NOTEBOOK = nbformat.read(ROOT / "notebooks/13_since.ipynb", as_version=4)


@pytest.fixture(scope="module")
def known():
    """What the cells leave that build the networks and the autoencoders, without weights"""
    cells = {tag: cell.source for cell in NOTEBOOK.cells for tag in cell.metadata.get("tags", [])}
    known = dict(torch=torch, diffusers=diffusers)
    for tag in "networks_built", "vae_place", "vaes_built", "networks_told":
        exec(cells[tag], known)
    return known


@pytest.mark.parametrize(
    "name, billions, said",
    [
        ("SDXL", 2.6, "arXiv:2307.01952, table 1: 2.6 billion"),
        ("SD3", 2.0, "Stable Diffusion 3 medium: 2 billion"),
        ("FLUX.1", 12, "model card: a 12 billion parameter rectified flow transformer"),
        ("FLUX.2", 32, "README: a 32B parameter flow matching transformer"),
    ],
)
def test_parameters_are_those_that_are_published(known, name, billions, said):
    counted = sum(p.numel() for p in known["networks"][name].parameters())
    assert counted / 1e9 == pytest.approx(billions, rel=0.04), said


def test_words_of_the_table_are_those_that_have_a_translation(known):
    """slides/components/Networks.vue; the others are names, which have a capital, and v"""
    words = json.loads((ROOT / "slides/words/en.json").read_text())
    parts = {part for row in known["told"].values() for cell in row[:4] for part in cell.split(", ")}
    named = {key.partition(".")[2] for key in words if key.startswith("network.")}
    assert {part for part in parts - {"v"} if part.islower() or part in named} == named


@pytest.mark.parametrize("name, channels", [("SDXL", 4), ("SD3", 16), ("FLUX.1", 16), ("FLUX.2", 32)])
def test_autoencoders_are_ours_but_for_their_channels(known, name, channels):
    assert known["vaes"][name].config.latent_channels == channels
    assert known["served"][name] == pytest.approx(1, abs=1e-4)


def test_sixteen_channels_decode_as_in_diffusers():
    """Small and with random weights: our decoder alone, where the two small convolutions are left out"""
    from sdscope.vae import AutoencoderKL

    torch.manual_seed(0)
    config = dict(latent_channels=16, block_out_channels=(8, 8, 16, 16), norm_num_groups=8, layers_per_block=1)
    levels = dict(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)
    theirs = diffusers.AutoencoderKL(**config, **levels, use_quant_conv=False, use_post_quant_conv=False).eval()
    ours = AutoencoderKL(config).eval()
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not unexpected and {name.split(".")[0] for name in missing} == {"quant_conv", "post_quant_conv"}
    z = torch.randn(1, 16, 4, 4)
    with torch.no_grad():
        assert torch.equal(ours.decoder(z), theirs.decode(z).sample)


def test_every_row_has_a_source(known):
    assert len(known["told"]) == 7
    assert all(row[-1].startswith(("arXiv:", "black-forest-labs/", "counted")) for row in known["told"].values())
