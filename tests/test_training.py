"""Training Postcard: a loop that can be killed, processes that agree, every stage once, the judge, the evaluation."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import CLIPTokenizer

from sdscope import SdscopeError, StableDiffusion, figures
from sdscope.loading.weights import weights_sha256
from sdscope.pixels import psnr, to_tensor
from sdscope.postcard.training import data, run, train
from sdscope.postcard.training import diffusion as train_diffusion
from sdscope.postcard.training import evaluate as evaluation
from sdscope.postcard.training import text as train_text
from sdscope.postcard.training import vae as train_vae
from sdscope.postcard.training import variants as train_variants
from sdscope.postcard.training.evaluate import diversity, evaluate, frechet, wilson
from sdscope.postcard.training.judge import Judge, verdict
from sdscope.postcard.training.muon import Muon, orthogonal
from sdscope.postcard.training.run import Length, Run
from sdscope.postcard.training.tokenizer import train_tokenizer
from sdscope.postcard.world.captions import prompt
from sdscope.postcard.world.scene import Scene, Thing, attributes
from sdscope.vae import AutoencoderKL


class Fit(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 1)

    def forward(self, x, noise):
        return (self.linear(x + 0.1 * noise) - x.sum(dim=1, keepdim=True)).pow(2).mean()


def batch(rng, done):
    return [torch.from_numpy(rng.standard_normal((8, 4), dtype=np.float32)), torch.randn(8, 4)]


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch):
    length = Length(steps=60, batch_size=8, lr=0.1)
    Run(tmp_path / "whole", Fit(), length).go(batch)

    broken = Run(tmp_path / "broken", Fit(), length)
    monkeypatch.setattr(run, "SAVE_EVERY", -1)  # a checkpoint after every step

    def killed(rng, done):
        if done >= 0.5:
            raise KeyboardInterrupt
        return batch(rng, done)

    with pytest.raises(KeyboardInterrupt):
        broken.go(killed)
    Run(tmp_path / "broken", Fit(), length).go(batch)

    whole, broken = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "broken"))
    assert whole["step"] == broken["step"] == 60
    for part in ("losses", "average"):
        assert all(torch.equal(a, b) for a, b in zip(whole[part].values(), broken[part].values()))
    assert len((tmp_path / "whole" / "log.jsonl").read_text().splitlines()) == 1


def test_pictures_of_a_childhood(tmp_path):
    Run(tmp_path, Fit(), Length(60, 8, 0.1)).go(batch, sheet=lambda average: Image.new("RGB", (1, 1)))
    assert sorted(file.name for file in tmp_path.glob("*.png")) == [f"sheet-{step:06d}.png" for step in (0, 25, 50, 60)]


def test_by_the_clock(tmp_path):
    fit = Run(tmp_path, Fit(), Length(1, 8, 0.1, minutes=0.002))
    fit.go(batch)
    assert fit.done() == 1 and fit.seconds >= 0.12


def test_the_average_leans_on_the_last_part(tmp_path):
    """After 100 steps of a parameter that counts 1, 2, 3 ..., it is near 95: 17 in 18 parts of the way."""
    fit = Run(tmp_path, Fit(), Length(1, 8, 0.1))
    for fit.step in range(1, 101):
        nn.init.constant_(fit.plain.linear.bias, fit.step)
        fit.keep_average()
    assert abs(fit.average.linear.bias.item() - 100 * 18 / 19) < 1.5


def test_the_learning_rate_goes_up_stays_and_falls():
    rates = [run.learning_rate(step, step / 1000) for step in range(1000)]
    assert rates[0] == 1 / 200 and max(rates) == 1 == rates[250]
    assert all(a >= b for a, b in zip(rates[300:], rates[301:])) and rates[-1] < 0.011


def test_muon_makes_matrices_orthogonal():
    torch.manual_seed(0)
    for shape in ((64, 32), (32, 64), (48, 48)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape) @ torch.diag(torch.linspace(0.3, 3, shape[1]))))
        assert values.min() > 0.4 and values.median() > 0.65 and values.max() < 1.25


def test_muon_turns_every_direction_at_the_same_pace():
    """A gradient that is a thousand times larger in one direction moves the weights no further there."""
    weight = nn.Parameter(torch.zeros(8, 8, 3, 3))
    gradient = torch.zeros(8, 72)
    gradient[range(8), range(8)] = torch.tensor([1000.0] + [1.0] * 7) ** 0.5
    weight.grad = gradient.view_as(weight)
    Muon([weight], lr=0.1, weight_decay=0.0).step()
    moved = -weight.detach().view(8, 72)[range(8), range(8)] / (0.1 * 0.2 * 72**0.5)
    assert moved.min() > 0.6 and moved.max() < 1.25 and weight.count_nonzero() == 8


def test_who_is_trained_by_which_optimizer():
    from sdscope.unet import UNet2DConditionModel

    model = UNet2DConditionModel(
        train_diffusion.UNET_CONFIG | dict(block_out_channels=[16] * 4, attention_head_dim=[1] * 4)
    )
    muon, adamw = run.optimizers_of(model, 1e-3)
    names = {id(p): name for name, p in model.named_parameters()}
    by_muon, by_adamw = (
        {names[id(p)] for group in optimizer.param_groups for p in group["params"]} for optimizer in (muon, adamw)
    )
    assert not by_muon & by_adamw and by_muon | by_adamw == set(names.values())
    assert (
        "mid_block.resnets.0.conv1.weight" in by_muon
        and {"conv_in.weight", "conv_out.weight", "conv_norm_out.weight"} <= by_adamw
    )


TWO = """
import sys
from pathlib import Path
import torch
from torch import nn
from sdscope.postcard.training.run import Length, Run
torch.manual_seed(0)
class Fit(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(1, 4, 3), nn.Linear(16, 1)
    def forward(self, x, noise):
        found = self.linear(torch.tanh(self.conv(x + 0.1 * noise)).flatten(1))
        return (found - x.mean(dim=(1, 2, 3))[:, None]).pow(2).mean()
def batch(rng, done):
    return [torch.from_numpy(rng.standard_normal((4, 1, 4, 4), dtype="float32")), torch.randn(4, 1, 4, 4)]
Run(Path(sys.argv[1]), Fit(), Length(100, 4, 5e-2)).go(batch)
"""


def test_two_processes_do_what_one_does(tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    env = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--master_port",
        "0",
        "--rdzv_backend",
        "c10d",
        "--rdzv_endpoint",
        "localhost:0",
    ]
    for command, name in (([sys.executable], "one"), (launcher, "two")):
        done = subprocess.run(
            [*command, str(tmp_path / "two.py"), str(tmp_path / name)], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (
        [json.loads(line)["loss"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert len(one) == 2 and one[0] > 1.5 * one[1]
    assert np.allclose(one, two, rtol=1e-2)  # rounding makes 0.0014; both seeing the same half, 0.6
    assert json.loads((tmp_path / "two" / "cost.json").read_text())["processes"] == 2


# ---------------------------------------------------------------------------- data


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One process, and few captions for the tokenizer"""
    monkeypatch.setattr(data, "workers", lambda jobs: nullcontext())
    monkeypatch.setattr(data, "train_tokenizer", partial(train_tokenizer, captions=300))


def test_what_was_made_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CHUNK", 3)
    made = []

    def make(start):
        made.append(start)
        if start == 3 and len(made) < 3:
            raise KeyboardInterrupt
        return np.arange(start, start + 3)

    with pytest.raises(KeyboardInterrupt):
        data.made(tmp_path, "numbers-0", "v1", 7, make, None)
    for _ in range(2):
        assert data.made(tmp_path, "numbers-0", "v1", 7, make, None).tolist() == list(range(7))
    assert data.made(tmp_path, "numbers-0", "v1", 4, make, None).tolist() == list(range(4))
    assert made == [0, 3, 3, 6]
    assert {file.name for file in tmp_path.iterdir()} == {"numbers-0-7.v1.npy", "numbers-0.lock", "cost.jsonl"}


def test_what_other_code_made_is_made_again_and_left_alone(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(data, "CHUNK", 2)
    (tmp_path / "numbers-0-2.npy").write_bytes(b"before there were versions")
    for version in "v1", "v2":
        made = data.made(
            tmp_path, "numbers-0", version, 2, lambda start, version=version: np.full(2, int(version[1])), None
        )
        assert made.tolist() == [int(version[1])] * 2
    assert {file.name for file in tmp_path.glob("*.npy")} == {
        "numbers-0-2.npy",
        "numbers-0-2.v1.npy",
        "numbers-0-2.v2.npy",
    }
    told = "numbers-0-2.npy{}: of another version of the code, so not used; can be removed"
    assert [message.rpartition("/")[2] for message in caplog.messages] == [told.format(""), told.format(" and 1 more")]


def test_a_version_is_that_of_all_that_decides(monkeypatch):
    """Of the modules, all that they import from here; of a module, what it does, not how it is written down."""
    folder = data.WORLD
    for modules in data.PAINTER, data.WRITER, data.LABELLER, data.SURVEYOR, data.MASKER:
        used = {
            name
            for module in modules
            for name in re.findall(r"^from \.(\w+) import", (folder / f"{module}.py").read_text(), re.M)
        }
        assert used <= set(modules)
    first, read = data.version(data.PAINTER), Path.read_text
    for change, same in (
        (lambda text: text + "\n# a comment\n", True),
        (lambda text: text.replace("0.", "0.1", 1), False),
    ):
        data.source.cache_clear()
        monkeypatch.setattr(Path, "read_text", lambda path, change=change, **options: change(read(path, **options)))
        assert (data.version(data.PAINTER) == first) is same
    data.source.cache_clear()
    assert len({data.version(["scene"]), data.version(["scene"], 1), data.version(["scene"], 2)}) == 3


def test_captions_know_their_tokenizer(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CHUNK", 2)
    before = data.captioned(tmp_path, 2)
    shutil.rmtree(tmp_path / "tokenizer")
    train_tokenizer(tmp_path / "tokenizer", captions=20, size=600)
    after = data.captioned(tmp_path, 2)
    assert len(list(tmp_path.glob("captions-*.npy"))) == 2 and (before != after).any()


@pytest.mark.parametrize("damaged", [b"", b"x" * 100, b"PK\x03\x04", None], ids=["empty", "noise", "zip", "cut short"])
def test_damaged_data_is_one_line(tmp_path, monkeypatch, damaged):
    monkeypatch.setattr(data, "CHUNK", 4)
    make = lambda: data.labelled(tmp_path, 4)
    make()
    (file,) = tmp_path.glob("*.npy")
    file.write_bytes(file.read_bytes()[:-10] if damaged is None else damaged)
    with pytest.raises(SdscopeError, match=rf"{file.name} is damaged \(.+\): remove it, and it is made again") as told:
        make()
    assert "\n" not in str(told.value)
    file.unlink()
    assert len(make()) == 4


def test_who_comes_while_it_is_made_waits(tmp_path, monkeypatch, capfd):
    """Two ask at once: one makes it, the other waits; then both have it. A lock holds between threads as between
    processes."""
    monkeypatch.setattr(data, "CHUNK", 2)
    made, found = [], []

    def make(start):
        made.append(start)
        time.sleep(0.1)
        return np.arange(start, start + 2)

    both = [
        threading.Thread(target=lambda: found.append(data.made(tmp_path, "numbers-0", "v1", 6, make, None).tolist()))
        for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert made == [0, 2, 4] and found == [[*range(6)]] * 2
    assert capfd.readouterr().out == "another process makes numbers-0: waiting for it\n"


def test_a_full_disk_while_painting(tmp_path, monkeypatch):
    """One line, and what is painted stays: the next time goes on with it."""
    monkeypatch.setattr(data, "CHUNK", 2)
    room, save = [2], np.save

    def full(file, array):
        room[0] -= 1
        save(file, array)
        if room[0] < 0:
            raise OSError("1000 requested and 10 written")

    monkeypatch.setattr(np, "save", full)
    make = lambda start: np.arange(start, start + 2)
    with pytest.raises(SdscopeError, match="cannot write .*chunk-numbers-0-4.v1.npy: .* is the disk full"):
        data.made(tmp_path, "numbers-0", "v1", 6, make, None)
    assert sorted(file.name for file in tmp_path.glob("*.npy")) == [
        "chunk-numbers-0-0.v1.npy",
        "chunk-numbers-0-2.v1.npy",
    ]
    room[0] = 1
    assert data.made(tmp_path, "numbers-0", "v1", 6, make, None).tolist() == [*range(6)]


def test_two_processes_do_not_train_one_run(tmp_path):
    with run.alone(tmp_path), pytest.raises(SdscopeError, match="another process trains"):
        Run(tmp_path, Fit(), Length(1, 8, 0.1)).go(batch)
    Run(tmp_path, Fit(), Length(1, 8, 0.1)).go(batch)


@pytest.mark.parametrize("damaged", [b"", b"x" * 100, None], ids=["empty", "noise", "cut short"])
def test_a_damaged_checkpoint_is_one_line(tmp_path, damaged):
    Run(tmp_path, Fit(), Length(1, 8, 0.1)).go(batch)
    file = tmp_path / "last.pt"
    file.write_bytes(file.read_bytes()[:1000] if damaged is None else damaged)
    with pytest.raises(SdscopeError, match=r"last.pt is damaged \(.+\): remove it, and the run begins again") as told:
        Run(tmp_path, Fit(), Length(1, 8, 0.1))
    assert "\n" not in str(told.value)
    torch.save({"step": 1}, file)
    with pytest.raises(SdscopeError, match="no checkpoint of a run here"):
        Run(tmp_path, Fit(), Length(1, 8, 0.1))


def test_going_on_otherwise_is_said(tmp_path, capfd):
    for length in Length(2, 8, 0.1), Length(4, 8, 0.1), Length(6, 8, 0.05), Length(6, 4, 1.0):
        Run(tmp_path, Fit(), length).go(batch)
    told = capfd.readouterr().out.splitlines()
    assert [line for line in told if "goes on" in line] == [
        f"{tmp_path} goes on from step 4 with lr 0.05, where it was 0.1"
    ]


def test_a_model_is_saved_as_a_whole(tmp_path, monkeypatch):
    """In place of one like it, with what else lies there; nothing else is replaced."""
    folder = tmp_path / "model"

    def write(new, name, channels=train_diffusion.UNET_CONFIG["block_out_channels"]):
        (new / "unet").mkdir()
        (new / "unet/config.json").write_text(
            json.dumps(train_diffusion.UNET_CONFIG | {"block_out_channels": channels, "name": name})
        )
        if name == "broken":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(train_diffusion, "write_model", write)
    train_diffusion.save_model(folder, "first")
    for name in "training.json", "mine/notes.txt":
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    with pytest.raises(SdscopeError, match="No space left"):
        train_diffusion.save_model(folder, "broken")
    assert json.loads((folder / "unet/config.json").read_text())["name"] == "first"
    train_diffusion.save_model(folder, "second")
    assert json.loads((folder / "unet/config.json").read_text())["name"] == "second"
    assert all((folder / name).read_text() == name for name in ("training.json", "mine/notes.txt"))

    write(tmp_path, "stable diffusion", [320, 640, 1280, 1280])
    (tmp_path / "unet").rename(folder / "other")
    shutil.rmtree(folder / "unet")
    (folder / "other").rename(folder / "unet")
    shutil.copytree(folder, tmp_path / "small")
    for stage in train_diffusion.train_diffusion, train_diffusion.train_large:  # before all work
        with pytest.raises(SdscopeError, match="was not made by this command"):
            stage(tmp_path, 100, Length(1, 1, 1e-3))


def test_pictures_and_their_labels_belong_together(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CHUNK", 4)
    pictures, labels, ids = (
        make(tmp_path, 4, first=data.JUDGE) for make in (data.painted, data.labelled, data.captioned)
    )
    scene = data.scene_of(data.JUDGE + 2)
    assert pictures[2].tobytes() == data.paint(scene).tobytes()
    assert labels[2].tolist() == data.labels(scene)
    assert ids.shape == (4, data.CAPTIONS, 77)


def test_nothing_held_out_is_trained_on_or_missing_from_the_evaluation():
    assert not any(data.scene_of(data.TRAINING + i).held_out for i in range(300))
    assert all(scene.held_out for scene in data.held_out_scenes(50))


# ---------------------------------------------------------------------------- the stages


@pytest.fixture
def tiny(monkeypatch):
    """Networks of next to nothing"""
    for config, changes in (
        (train_vae.VAE_CONFIG, dict(block_out_channels=[8] * 4, norm_num_groups=4)),
        (
            train_diffusion.UNET_CONFIG,
            dict(
                block_out_channels=[8] * 4,
                norm_num_groups=4,
                attention_head_dim=[1] * 4,
                cross_attention_dim=16,
                layers_per_block=1,
            ),
        ),
        (
            train_text.TEXT_CONFIG,
            dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, projection_dim=16),
        ),
    ):
        for key, value in changes.items():
            monkeypatch.setitem(config, key, value)
    monkeypatch.setattr(train_diffusion, "PROMPTS", train_diffusion.PROMPTS[:2])
    monkeypatch.setattr(train_variants, "SHOWN", 1)
    monkeypatch.setattr(data, "CHUNK", 20)
    for name in ("SIZES", "LARGE"):
        sizes = getattr(train_diffusion, name)
        for module in (train, train_diffusion):
            monkeypatch.setattr(module, name, dict.fromkeys(list(sizes)[:2], 0.25))


def test_every_stage_and_the_evaluation(tmp_path, tiny, monkeypatch):
    lengths = {name: Length(2, 4, 1e-3) for name in train.STAGES}
    mine = [
        tmp_path / name
        for name in ("thesis.tex", "data/pictures.npy", "data/last.part", "diffusion/last.part", "vae/notes.txt")
    ]
    for file in mine:
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
    train.paint_all(tmp_path, 80)
    painted = {file.name for file in (tmp_path / "data").glob("*.npy")}
    train.train_all(tmp_path, 80, lengths)
    assert {file.name for file in (tmp_path / "data").glob("*.npy")} == painted  # nothing was missing
    for name in train.STAGES:
        assert json.loads((tmp_path / name / "cost.json").read_text())["steps"] == 2
    sheet = Image.open(tmp_path / "diffusion" / "sheet-000002.png")
    assert sheet.size == (4 * 132 - 4, 128)
    for model, stage, side in ("small", "diffusion", 128), ("model", "large", 256):
        story, sheets = figures.childhood(tmp_path / model)
        assert story["vae"]["steps"] == 2 and story[stage]["sheets"] == [*sheets] == [0, 2]
        assert [picture.size for picture in sheets[2][:2]] == [(side, side)] * 2
        assert StableDiffusion.from_pretrained(tmp_path / model)("a ship", seed=1, num_inference_steps=1).size == (
            side,
            side,
        )

    scenes, real = {prompt(scene): scene for scene in data.held_out_scenes(3)}, evaluation.generated

    def painter_or_parrot(pipe, prompts, scale, seeds, *steps):
        """At guidance 1 as good as the painter itself, at 5 always the same picture; with fewer steps the real model"""
        if steps:
            return real(pipe, prompts, scale, seeds, *steps)
        another = len({*prompts}) < len(prompts)  # several pictures of one scene
        asked = [
            replace(scenes[text], seed=scenes[text].seed + (1 + k) * another)
            for text, k in zip(prompts, seeds, strict=True)
        ]
        return [data.paint(scene, pipe.size, pipe.size) for scene in (asked if scale == 1 else asked[:1] * len(asked))]

    monkeypatch.setattr(evaluation, "generated", painter_or_parrot)
    monkeypatch.setattr(evaluation, "GUIDANCE", (1.0, 5.0))
    monkeypatch.setattr(evaluation, "FEWER", (1,))
    evaluate(tmp_path, str(tmp_path / "model"), tmp_path / "postcard.json", count=3, prompts=1, seeds=2)
    assert all(file.read_text() == "mine" for file in mine) and not list(tmp_path.rglob(".sdscope-*"))
    result = json.loads((tmp_path / "postcard.json").read_text())
    assert result["weights"] == weights_sha256(tmp_path / "model")
    (painter, parrot), (fewer,) = result["guidance"], result["fewer_steps"]
    assert (painter["scale"], parrot["scale"], fewer["steps"]) == (1.0, 5.0, 1)
    for part in (result["painter"], result["autoencoder"], parrot["accuracy"], fewer["accuracy"]):
        right, low, high, n = part["place"]
        assert 0 <= low <= right <= high <= 1 and n == 3
    assert painter["accuracy"] == result["painter"]
    assert (painter["frechet"], painter["diversity"]) == (pytest.approx(0, abs=0.01), 1.0)
    assert parrot["frechet"] > 10 and parrot["diversity"] == pytest.approx(0, abs=0.01)
    pictures = to_tensor(np.stack([np.asarray(data.paint(scene, 256, 256)) for scene in scenes.values()]))
    vae = StableDiffusion.from_pretrained(tmp_path / "model", device="cpu").vae
    with torch.no_grad():
        back = vae.decode(vae.encode(pictures)[0]).clamp(-1, 1)
    decibels, styles = psnr(back, pictures), [scene.style for scene in scenes.values()]
    assert result["autoencoder"]["psnr"] == pytest.approx(decibels.mean().item(), abs=0.02)
    for style, mean in result["autoencoder"]["psnr by style"].items():
        mine = [db.item() for db, its in zip(decibels, styles) if its == style]
        assert mean == pytest.approx(sum(mine) / len(mine), abs=0.02)


def test_every_prompt_is_painted_once_with_its_own_seed():
    """ "At the first try", in batches"""
    asked = []
    pipe = lambda prompts, **options: asked.append((prompts, options)) or [p.upper() for p in prompts]
    assert evaluation.generated(pipe, ["a", "b", "c"], 7.5, range(5, 8), 10, batch=2) == ["A", "B", "C"]
    options = dict(num_inference_steps=10, guidance_scale=7.5)
    assert asked == [(["a", "b"], options | dict(seed=[5, 6])), (["c"], options | dict(seed=[7]))]


def test_what_must_be_there_first(tmp_path):
    with pytest.raises(SdscopeError, match="train judge"):
        evaluate(tmp_path, "postcard", tmp_path / "out.json")
    for too_few in dict(count=1), dict(prompts=0), dict(seeds=1):
        with pytest.raises(SdscopeError, match="at least 2 scenes, 1 prompt and 2 seeds"):
            evaluate(tmp_path, "postcard", tmp_path / "out.json", **too_few)
    with pytest.raises(SdscopeError, match="No such file or directory"):
        evaluate(tmp_path, "postcard", tmp_path / "nowhere" / "out.json")
    with pytest.raises(SdscopeError, match="train vae"):
        train_diffusion.train_diffusion(tmp_path, 100, Length(1, 1, 1e-3))
    assert not list(tmp_path.iterdir())


def test_a_run_of_another_network_is_refused(tmp_path):
    Run(tmp_path, Fit(), Length(1, 8, 0.1)).go(batch)
    with pytest.raises(SdscopeError, match="another network"):
        Run(tmp_path, nn.Linear(2, 2), Length(1, 8, 0.1))


def test_centring_the_latents_leaves_pictures_as_they_are():
    torch.manual_seed(0)
    vae = AutoencoderKL(train_vae.VAE_CONFIG).eval()
    with torch.no_grad():
        pictures = torch.rand(4, 3, 64, 64) * 2 - 1
        before, _ = vae.encode(pictures)
        decoded = vae.decode(before)
        train_vae.centre(vae, before)
        after, _ = vae.encode(pictures)
    assert torch.allclose(vae.decode(after), decoded, atol=1e-4)
    assert after.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert torch.allclose(after.std(dim=(0, 2, 3)) * vae.config.scaling_factor, torch.ones(4), atol=1e-3)


def test_what_is_saved_opens_in_diffusers_and_here(tmp_path):
    from diffusers import StableDiffusionPipeline

    train_tokenizer(tmp_path / "made", captions=500)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "made")
    torch.manual_seed(0)
    parts = (
        tokenizer,
        train_text.new_text_encoder(tokenizer).eval(),
        train_diffusion.UNet2DConditionModel(train_diffusion.UNET_CONFIG).eval(),
    )
    vae = AutoencoderKL(train_vae.VAE_CONFIG | {"scaling_factor": 0.5}).eval()
    folder = tmp_path / "model"
    train_diffusion.save_model(folder, *parts, vae)
    assert json.loads((folder / "vae" / "config.json").read_text())["scaling_factor"] == 0.5
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 40e6
    ours = StableDiffusion.from_pretrained(folder)("a ship", seed=3, num_inference_steps=2)
    theirs = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    theirs.set_progress_bar_config(disable=True)
    picture = theirs(
        "a ship", generator=torch.Generator().manual_seed(3), num_inference_steps=2, guidance_scale=5.0
    ).images[0]
    assert isinstance(ours, Image.Image) and ours.tobytes() == picture.tobytes()


# ---------------------------------------------------------------------------- the judge


def test_a_judge_can_learn(monkeypatch):
    """It tells the pictures of a small batch apart after a few steps."""
    from sdscope.postcard.training.judge import JudgeLoss

    torch.manual_seed(0)
    scenes = [
        Scene("sea", "day", "clear", "vector", (Thing("ship", "red", 1, "left"),), 1),
        Scene("snow", "night", "clear", "vector", (Thing("cat", "blue", 1, "right"),), 2),
    ]
    pictures = to_tensor(np.stack([np.asarray(data.paint(scene)) for scene in scenes]))
    labels = torch.tensor([data.labels(scene) for scene in scenes])
    losses = JudgeLoss()
    optimizer = torch.optim.AdamW(losses.parameters(), 1e-3)
    for _ in range(15):
        optimizer.zero_grad()
        losses(pictures, labels).backward()
        optimizer.step()
    for scene, read in zip(scenes, losses.judge.eval().read(pictures)):
        assert all(verdict(scene, read).values())
    assert Judge()(torch.zeros(1, 3, 128, 192)).shape == (1, 256)


PAIR = Scene("sea", "day", "clear", "oil", (Thing("house", "red", 1, "left"), Thing("ship", "blue", 1, "right")))


@pytest.mark.parametrize(
    "change, wrong",
    [
        ({}, set()),
        ({"first colour": "blue", "second colour": "red"}, {"binding"}),
        ({"second": "cat"}, {"pair", "left and right", "binding"}),
        ({"first": "ship", "first colour": "blue", "second": "house", "second colour": "red"}, {"left and right"}),
        ({"time": "night"}, {"time"}),
    ],
)
def test_verdicts_on_two_things(change, wrong):
    answers = verdict(PAIR, attributes(PAIR) | change)
    assert {name for name, right in answers.items() if not right} == wrong
    assert set(answers) == {"place", "time", "weather", "style", "pair", "left and right", "binding"}


def test_verdicts_on_one():
    three = Scene("sea", "day", "clear", "pencil", (Thing("house", "red", 3),))
    read = attributes(three) | {"first colour": "blue", "side": "left", "count": 2}
    assert verdict(three, read) == {
        "place": True,
        "time": True,
        "weather": True,
        "style": True,
        "subject": True,
        "count": False,
    }
    assert verdict(three, read | {"second": "cat"})["subject"] is False
    one = Scene("sea", "day", "clear", "oil", (Thing("house", "red", 1, "left"),))
    answers = verdict(one, attributes(one) | {"first colour": "blue"})
    assert {name for name, right in answers.items() if not right} == {"colour"} and "side" in answers


def test_wilson_is_right():
    """Newcombe 1998, table I: 81 of 263 is 0.2553 to 0.3662; 0 of 20 is 0 to 0.1611"""
    assert wilson(81, 263) == pytest.approx([0.308, 0.2553, 0.3662, 263], abs=1e-4)
    assert wilson(0, 20) == pytest.approx([0, 0, 0.1611, 20], abs=1e-4)


def test_frechet_distance_of_gaussians():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((20_000, 2)), rng.standard_normal((20_000, 2)) * [2, 1] + [3, 0]
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet(a, b) == pytest.approx(9 + (2 - 1) ** 2, abs=0.2)


def test_the_same_picture_again_is_no_diversity():
    judge = Judge().eval()
    one, other = (np.asarray(data.paint(Scene.random(seed))) for seed in (0, 1))
    assert diversity(judge, [[one, one]]) < 1e-4 < diversity(judge, [[one, other]])
