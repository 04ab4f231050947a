"""The model for the browser: each graph gives what torch gives, and model.json tells the truth."""

import hashlib
import json
import os
import shutil
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import decibels, tiny_pipeline
from PIL import Image

from sdscope import SdscopeError, StableDiffusion, web
from sdscope.postcard.world import captions
from sdscope.preprocess import as_tensor
from sdscope.scheduler import DDIM
from sdscope.trace import trace

BOUND = 2e-5  # largest difference beside the largest number: the graphs round as torch does, in another order
PROMPTS = ["a ship", "a castle in the snow"]
UNETS = {
    "SD 2": dict(),
    "SD 1": dict(attention_head_dim=2, use_linear_projection=False, layers_per_block=2),
}


@pytest.fixture(scope="module")
def exported(postcard, tmp_path_factory):
    folder = tmp_path_factory.mktemp("web") / "model"
    return folder, web.export_web(postcard, folder, PROMPTS)


def open_graph(folder, name):
    """A graph as a function: tensors by name -> tensors by name"""
    session = onnxruntime.InferenceSession(folder / name)
    names = [output.name for output in session.get_outputs()]

    def call(**inputs):
        return dict(zip(names, map(torch.tensor, session.run(None, {k: v.numpy() for k, v in inputs.items()}))))

    return call


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= BOUND * theirs.abs().max()


def unet_inputs(pipe, batch, height, width):
    g = torch.Generator().manual_seed(batch)
    length, c = pipe.tokenizer.model_max_length, pipe.unet.config
    return dict(
        sample=torch.randn(batch, c.in_channels, height, width, generator=g),
        timestep=torch.tensor([961.0, 41.0, 1.0])[:batch],
        encoder_hidden_states=torch.randn(batch, length, c.cross_attention_dim, generator=g),
    )


SHAPES = [(1, 16, 16), (2, 16, 24), (3, 9, 13)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_unet(postcard, exported, shape):
    inputs = unet_inputs(postcard, *shape)
    outputs = open_graph(exported[0], "unet.onnx")(**inputs)
    with torch.no_grad():
        assert_close(outputs["noise_pred"], postcard.unet(*inputs.values()))


@pytest.mark.parametrize("kind", UNETS)
def test_any_model(tmp_path, kind):
    """Of both generations, random weights in 32 bits: the graph is that of the rounded weights."""
    tiny_pipeline(**UNETS[kind]).save_pretrained(tmp_path / "tiny")
    pipe = StableDiffusion.from_pretrained(tmp_path / "tiny", device="cpu")
    web.export_web(pipe, tmp_path / "model")
    call, inputs = open_graph(tmp_path / "model", "unet.onnx"), unet_inputs(pipe, 2, 11, 6)
    expected = web.rounded(pipe.unet)(*inputs.values()).detach()
    assert_close(call(**inputs)["noise_pred"], expected)
    assert not torch.equal(expected, pipe.unet(*inputs.values()))


def test_what_the_unet_shows_is_what_a_trace_records(postcard, exported):
    with trace(postcard, attention="heads", features=True) as t:
        postcard("a ship", height=64, width=96, num_inference_steps=1, seed=3)
    step, call = t.steps[0], open_graph(exported[0], "unet.onnx")
    inputs = (
        torch.cat([step.latents] * 2),
        torch.full((2,), float(step.t)),
        torch.cat([t.embeddings.uncond, t.embeddings.cond]),
    )
    outputs = call(**dict(zip(["sample", "timestep", "encoder_hidden_states"], inputs)))
    assert_close(outputs.pop("noise_pred")[1], step.noise_cond[0])
    expected = {f"features.{part}": x for part, x in step.features.items()}
    expected |= {f"attention.{part}": x[0].mean(0).permute(2, 0, 1) for part, x in step.attention.items()}
    assert outputs.keys() == expected.keys() and len(step.attention) == 10
    for name, output in outputs.items():
        assert_close(output[1], expected[name])


def test_text_encoder(postcard, exported):
    texts = ["", "a ship at sunrise", "日の出 " * 60]
    ids = postcard.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    embeds = open_graph(exported[0], "text_encoder.onnx")(input_ids=ids.int())["prompt_embeds"]
    assert_close(embeds, postcard.encode(texts))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_vae_decoder(postcard, exported, shape):
    batch, h, w = shape
    latents = torch.randn(batch, 4, h, w, generator=torch.Generator().manual_seed(0))
    outputs = open_graph(exported[0], "vae_decoder.onnx")(latents=latents)
    with torch.no_grad():
        assert_close(outputs["decoded"], postcard.vae.decode(latents / postcard.vae.config.scaling_factor))
    pixels = outputs["image"]
    assert pixels.dtype == torch.uint8 and pixels.shape == (batch, 8 * h, 8 * w, 4) and (pixels[..., 3] == 255).all()
    for ours, theirs in zip(pixels.numpy(), postcard.decode(latents)):
        assert np.abs(ours[..., :3].astype(int) - np.asarray(theirs)).max() <= 1  # rounded to whole numbers


@pytest.mark.parametrize("shape", [(1, 128, 128), (2, 72, 104)], ids=str)
def test_vae_encoder(postcard, exported, shape):
    """What a draw is made of; the fourth number of a pixel plays no part"""
    pixels = torch.randint(256, (*shape, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    outputs = open_graph(exported[0], "vae_encoder.onnx")(image=pixels)
    x = as_tensor([Image.fromarray(picture[..., :3]) for picture in pixels.numpy()])
    with torch.no_grad():
        mean, logvar = postcard.vae.encode(x)
    assert_close(outputs["mean"], postcard.vae.config.scaling_factor * mean)
    assert_close(outputs["std"], postcard.vae.config.scaling_factor * torch.exp(0.5 * logvar))


@pytest.mark.parametrize("size", [(128, 128), (96, 160)], ids=str)
def test_a_whole_picture(postcard, exported, size):
    """From the same latents, each network replaced by its graph"""
    encode, predict, paint = (open_graph(exported[0], name) for name in web.GRAPHS[:3])

    class OfGraphs(StableDiffusion):
        def encode(self, texts):
            ids = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
            return encode(input_ids=ids.int())["prompt_embeds"]

        def decode(self, latents):
            return [Image.fromarray(x[..., :3]) for x in paint(latents=latents)["image"].numpy()]

    class Unet:
        config, conv_in = postcard.unet.config, postcard.unet.conv_in

        def __call__(self, sample, t, embeds):
            return predict(sample=sample, timestep=t.float().expand(len(sample)), encoder_hidden_states=embeds)[
                "noise_pred"
            ]

    pipe = OfGraphs(postcard.tokenizer, postcard.text_encoder, Unet(), postcard.vae, postcard.scheduler)
    call = dict(negative_prompt="night", height=size[0], width=size[1], num_inference_steps=10, seed=42)
    assert (
        decibels(
            pipe("a red ship at sunrise, watercolor", **call), postcard("a red ship at sunrise, watercolor", **call)
        )
        >= 40
    )


def test_weights_have_16_bits(exported):
    folder, _ = exported
    for name in web.GRAPHS:
        graph = onnx.load(folder / name).graph
        wide = [w for w in graph.initializer if w.data_type == onnx.TensorProto.FLOAT]
        assert wide == [] and len(graph.initializer) > 20


def test_model_json(postcard, exported):
    folder, model = exported
    assert json.loads((folder / "model.json").read_text()) == model
    assert {path.name for path in folder.iterdir()} == {*model["files"], "model.json"}
    for name, told in model["files"].items():
        contents = (folder / name).read_bytes()
        assert told == dict(bytes=len(contents), sha256=hashlib.sha256(contents).hexdigest())
    assert (model["size"], model["factor"], model["latent_channels"]) == (postcard.size, 8, 4)
    assert model["tokens"] == dict(length=77, end=postcard.tokenizer.eos_token_id, pad=postcard.tokenizer.pad_token_id)
    assert model["scheduler"] == postcard.scheduler.config
    assert model["prompts"] == PROMPTS


def test_the_same_model_has_the_same_version(postcard, exported, tmp_path):
    shutil.copytree(exported[0], tmp_path / "model")
    assert web.export_web(postcard, tmp_path / "model", PROMPTS) == exported[1]  # in place of an export before


def test_what_no_export_made_stays(run, exported, tmp_path):
    """A folder of the user's; an export with a file of theirs in it; an export in which they changed one"""
    (tmp_path / "mine/sub").mkdir(parents=True)
    (tmp_path / "mine/sub/thesis.tex").write_text("mine")
    for name, change in ("added", "thesis.tex"), ("changed", "tokenizer.json"):
        shutil.copytree(exported[0], tmp_path / name)
        (tmp_path / name / change).write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name, foreign in ("mine", "sub"), ("added", "thesis.tex"), ("changed", "tokenizer.json"):
        status, out, err = run("export-web", "-o", name, "--model", "no such model")  # said before it is looked for
        assert (status, out) == (2, "") and err.startswith(
            f"sdscope: cannot write {name}: {foreign} in it was not made"
        )
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_nothing_stays_of_an_export_that_fails(postcard, tmp_path, monkeypatch):
    def no_space(*args):
        raise OSError(28, "No space left on device")

    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.json").write_text('{"files": {}}')
    monkeypatch.setattr(web, "export_vae_decoder", no_space)
    with pytest.raises(SdscopeError, match="No space left"):
        web.export_web(postcard, tmp_path / "model")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["model", "model/model.json"]


def test_too_large(postcard, tmp_path, monkeypatch):
    monkeypatch.setattr(web, "MOST_BYTES", 1_000_000)
    with pytest.raises(SdscopeError, match="too large for a browser"):
        web.export_web(postcard, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("changes", [dict(timestep_spacing="trailing"), dict(rescale_betas_zero_snr=True)], ids=str)
def test_a_schedule_that_the_page_does_not_have(postcard, tmp_path, monkeypatch, changes):
    monkeypatch.setattr(postcard, "scheduler", DDIM(postcard.scheduler.config | changes))
    ((name, value),) = changes.items()
    with pytest.raises(SdscopeError, match=f"{name} is {value!r}; a browser knows only"):
        web.export_web(postcard, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_command(run, tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(captions, "suggestions", lambda tokenizer: [f"a ship of {len(tokenizer)}"])
    status, out, err = run("export-web", "--model", "{tiny}", "-o", "here/model")
    assert (status, err) == (0, "") and out.startswith("here/model: ") and out.endswith(" MB\n")
    model = json.loads((tmp_path / "here/model/model.json").read_text())
    assert model["size"] == tiny.size and model["prompts"] == [f"a ship of {len(tiny.tokenizer)}"]
    (tmp_path / "file").touch()
    status, _, err = run("export-web", "--model", "{tiny}", "-o", "file/model")
    assert status == 2 and err.startswith("sdscope: cannot write file/model")


def test_the_engines_own_tests():
    """slides/engine/: types, and its numbers beside Python's"""
    path = f"{os.path.abspath('.venv/bin')}:{os.environ['PATH']}"
    found = subprocess.run(
        [shutil.which("npm", path=path), "test"],
        env=os.environ | dict(PATH=path, NO_COLOR="1"),
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr
