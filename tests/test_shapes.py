"""The ledger of shapes: what the networks do, without their weights."""

import json
import shutil
from functools import cache

import pytest
import torch
from diffusers import UNet2DConditionModel as ReferenceUNet
from torch.utils.flop_counter import FlopCounterMode

from sdscope import SdscopeError
from sdscope.loading.models import KNOWN
from sdscope.loading.settings import factor
from sdscope.shapes import build, total
from sdscope.shapes import shapes as count_shapes

shapes = cache(count_shapes)

# what Stable Diffusion 2 does to the latents of a 512 x 512 picture, twice: without and with the prompt
SD2 = {
    "in": (2, 4, 64, 64),
    "conv_in": (2, 320, 64, 64),
    "down_blocks.0": (2, 320, 32, 32),
    "down_blocks.1": (2, 640, 16, 16),
    "down_blocks.2": (2, 1280, 8, 8),
    "down_blocks.3": (2, 1280, 8, 8),
    "mid_block": (2, 1280, 8, 8),
    "up_blocks.0": (2, 1280, 16, 16),
    "up_blocks.1": (2, 1280, 32, 32),
    "up_blocks.2": (2, 640, 64, 64),
    "up_blocks.3": (2, 320, 64, 64),
    "conv_out": (2, 4, 64, 64),
}


def by_name(rows):
    return {row.name: row for row in rows}


def test_the_blocks_of_stable_diffusion_2():
    rows = by_name(shapes("sd2")["unet"])
    assert {name: rows[name].shape for name in SD2} == SD2
    assert [name for name in rows if name in SD2] == list(SD2)  # in the order in which they run
    assert rows["up_blocks.3.attentions.2"].shape == (2, 320, 64, 64)
    assert rows["time_embedding"].shape == (2, 1280)


@pytest.mark.parametrize("name", KNOWN)
def test_every_known_model_at_its_own_size(name):
    ledgers, (unet, vae) = shapes(name), build(name)
    size, side = KNOWN[name].size, KNOWN[name].size // factor(vae.config)
    assert ledgers["unet"][0].shape == (2, KNOWN[name].unet.get("in_channels", 4), side, side)
    assert ledgers["unet"][-1].shape == (2, 4, side, side)
    assert ledgers["encoder"][0].shape == ledgers["decoder"][-1].shape == (1, 3, size, size)
    assert ledgers["encoder"][-1].shape == (1, 8, side, side)
    assert ledgers["decoder"][0].shape == (1, 4, side, side)
    assert total(ledgers["unet"])[0] == sum(p.numel() for p in unet.parameters())
    autoencoder = total(ledgers["encoder"])[0] + total(ledgers["decoder"])[0]
    assert autoencoder == sum(p.numel() for p in vae.parameters())


@pytest.mark.parametrize("name", ["sd15", "sd2", "postcard"])
def test_multiply_adds_are_those_of_diffusers(name):
    """Counted over diffusers' UNet as a whole: no block is left out, none is counted twice."""
    unet, _ = build(name)
    config = {k: v for k, v in unet.config.items() if not k.startswith("_")}
    with torch.device("meta"), torch.no_grad():
        reference = ReferenceUNet(**config)
        sample = torch.empty(2, 4, config["sample_size"], config["sample_size"])
        with FlopCounterMode(display=False) as counter:
            reference(sample, 1, torch.empty(2, 77, config["cross_attention_dim"]))
    assert total(shapes(name)["unet"])[1] == counter.get_total_flops() / 2


@pytest.mark.parametrize("part", ["unet", "encoder", "decoder"])
def test_blocks_are_the_sum_of_what_they_are_made_of(part):
    rows, sums = shapes("sd15")[part], {}
    for row in rows:
        if row.depth == 0:
            block = row.name
        else:
            sums.setdefault(block, []).append(row)
    assert len(sums) >= 5
    for block, inner in sums.items():
        whole = by_name(rows)[block]
        assert whole.parameters == sum(row.parameters for row in inner)
        assert whole.multiply_adds == sum(row.multiply_adds for row in inner)


def test_multiply_adds_by_hand():
    """A convolution; and a transformer: 12 C * C a position, the words' keys and values, four products of attention"""
    rows = by_name(shapes("sd2")["unet"])
    assert rows["conv_in"].multiply_adds == 2 * 64 * 64 * 4 * 320 * 9
    n, c, d, batch = 64 * 64, 320, 1024, 2
    linear = 2 * c * c + 4 * c * c + 2 * c * c + (8 + 4) * c * c  # in and out, self, cross, feed forward
    attention = 2 * n * c + 2 * 77 * c  # of each position: with all positions, with all words
    expected = batch * (n * (linear + attention) + 77 * 2 * d * c)
    assert rows["down_blocks.0.attentions.0"].multiply_adds == expected


def test_without_guidance_from_the_literature():
    """339 G multiply-adds for one 512 px call of 1.5 are told everywhere: layers alone, attention's products left
    out"""
    unet, _ = build("sd15")
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(torch.empty(1, 4, 64, 64), 1, torch.empty(1, 77, 768))
    products = counter.get_flop_counts()["Global"][torch.ops.aten.bmm] / 2
    assert total(shapes("sd15")["unet"])[1] == counter.get_total_flops()
    assert (counter.get_total_flops() / 2 - products) / 1e9 == pytest.approx(338.7, abs=0.2)


def test_another_size():
    ledgers = shapes("postcard", 64)
    assert ledgers["unet"][0].shape == (2, 4, 8, 8)
    assert ledgers["decoder"][-1].shape == (1, 3, 64, 64)


def test_a_folder_needs_its_configurations_alone(tiny_folder, tmp_path):
    for name in "model_index.json", "unet/config.json", "vae/config.json":
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(tiny_folder / name, tmp_path / name)
    ledgers = shapes(tmp_path)
    assert ledgers["unet"][0].shape == (2, 4, 8, 8)
    assert ledgers["decoder"][-1].shape == (1, 3, 64, 64)


def test_a_hub_id_needs_its_configurations_alone(tiny_folder, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda hub_id, **options: asked.append((hub_id, options)) or tiny_folder
    )
    assert shapes("owner/name") == shapes(tiny_folder)
    ((hub_id, options),) = asked
    assert hub_id == "owner/name" and not any("safetensors" in name for name in options["allow_patterns"])
    assert shapes("runwayml/stable-diffusion-v1-5") == shapes("sd15") and len(asked) == 1  # known without asking


def test_the_table(run):
    status, out, err = run("shapes", "sd21-768")
    assert (status, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    assert max(map(len, lines)) <= 100
    assert "…" not in out  # nothing was cut off
    titles = [line for line in lines if line.startswith("sd21-768: ")]
    assert len(titles) == 3 and "batch of two" in titles[0]
    found = {tuple(line.split("  ")[1:2]) for line in lines}
    assert ("down_blocks.0",) in found and ("decoder.up_blocks.3",) in found
    assert "    resnets.0" in {line[:13] for line in lines}  # below its block, indented
    assert [line.split() for line in lines if "in all" in line][0] == ["in", "all", "865,910,724", "2,149,105.7", "M"]


def test_json(run):
    status, out, _ = run("shapes", "postcard", "--size", "64", "--json")
    ledgers = json.loads(out)
    assert status == 0
    expected = {
        part: [dict(row._asdict(), shape=list(row.shape)) for row in rows]
        for part, rows in shapes("postcard", 64).items()
    }
    assert ledgers == expected


WRONG = [
    (["nonsense"], "no model 'nonsense': give a folder, a hub id (owner/name) or one of postcard, sd14"),
    (["no/such-model"], "cannot get 'no/such-model' from the Hugging Face hub (offline, and not in the local cache)"),
    (["."], "cannot read unet/config.json"),
    (["x" * 300], "no model 'xxx"),
    (["sd2", "--size", "500"], "the size must be a multiple of 8 pixels up to 16384, such as 512, not 500"),
    (["postcard", "--size", "0"], f"such as {KNOWN['postcard'].size}, not 0"),
    (["sd2", "--size", "-64"], "the size must be a multiple of 8"),
    (["sd2", "--size", "1000000000000"], "up to 16384"),
    (["sd2", "--size", "large"], "--size"),
    ([], "Missing argument"),
]


@pytest.mark.parametrize("words, message", WRONG, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_bad_input_is_one_line_and_status_2(run, monkeypatch, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("shapes", *words)
    assert (status, out) == (2, "")
    assert err.startswith("sdscope: ") and message in err
    assert err.count("\n") == 1


def test_another_kind_of_model(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    (folder / "unet/config.json").write_text('{"block_out_channels": "wide"}')
    with pytest.raises(SdscopeError, match="block_out_channels is 'wide'"):
        count_shapes(folder)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    with pytest.raises(SdscopeError, match="holds a StableDiffusionXLPipeline"):
        count_shapes(folder)
