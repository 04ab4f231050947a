"""Each prompt and setting is painted once, and what is kept is what would be painted."""

import os
import threading

import pytest
import torch
from diffusers import EulerDiscreteScheduler, PNDMScheduler

import sdscope
from sdscope import SdscopeError, figures
from sdscope.figures import runs

SHIP = dict(prompt="a ship", seed=1, steps=3, guidance=5.0)


@pytest.fixture
def pipe(tiny_folder):
    return sdscope.StableDiffusion.from_pretrained(tiny_folder, device="cpu")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SDSCOPE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def same(a, b):
    a, b = a.tensors(), b.tensors()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_in_memory(pipe, monkeypatch):
    monkeypatch.delenv("SDSCOPE_RUNS", raising=False)
    run = figures.Runs(pipe)
    first = run(**SHIP)
    assert first.pictures[0].tobytes() == pipe("a ship", seed=1, num_inference_steps=3).tobytes()
    assert (run.made, run.asked) == (6, 6)  # those of the pipe itself are counted too
    assert run(**SHIP | dict(guidance=5, width=pipe.size)) is first
    assert (run.made, run.asked) == (6, 9)


def test_on_disk_for_another_process(pipe, kept):
    first = figures.Runs(pipe)(**SHIP, attention="mean", features=True)
    assert len(list(kept.glob("*.safetensors"))) == 1 and not list(kept.glob("*.part"))
    other = figures.Runs(pipe)
    again = other(**SHIP, attention="mean", features=True)
    assert same(first, again) and (other.made, other.asked) == (0, 3)
    assert first.pictures[0].tobytes() == again.pictures[0].tobytes()
    assert torch.equal(first.steps[1].attention[1], again.steps[1].attention[1])


CHANGES = [
    dict(prompt="a castle"),
    dict(prompt=["a ship"]),
    dict(seed=2),
    dict(steps=4),
    dict(guidance=1.0),
    dict(negative_prompt="night"),
    dict(width=72),
    dict(height=72),
    dict(attention="mean"),
    dict(features=True),
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_any_other_argument_is_another_run(pipe, kept, changes):
    figures.Runs(pipe)(**SHIP)
    run = figures.Runs(pipe)
    run(**SHIP | changes)
    assert run.made > 0


def test_a_scheduler_is_known_by_class_and_config(pipe, kept):
    run, own, config = figures.Runs(pipe), pipe.scheduler, pipe.scheduler.config
    euler = lambda **changes: EulerDiscreteScheduler.from_config(config | changes)
    seen = [
        run(**SHIP),
        run(**SHIP, scheduler=euler()),
        run(**SHIP, scheduler=PNDMScheduler.from_config(config | dict(skip_prk_steps=True))),
    ]
    seen.append(run(**SHIP, scheduler=euler(timestep_spacing="trailing")))
    assert len({t.image.numpy().tobytes() for t in seen}) == 4
    assert run(**SHIP, scheduler=euler()) is seen[1] and pipe.scheduler is own


def test_a_scheduler_of_the_notebook_is_not_kept(pipe, kept):
    run, first = figures.Runs(pipe), type(pipe.scheduler)
    kind = type("Mine", (first,), {"__module__": "__main__"})
    mine = kind(pipe.scheduler.config)
    run(**SHIP, scheduler=mine)
    run(**SHIP, scheduler=mine)
    assert run.made == run.asked == 6 and not kept.exists()


def test_what_the_pipe_is_belongs_to_the_run(pipe, tiny, monkeypatch):
    first = runs.fingerprint(pipe)
    assert first == runs.fingerprint(tiny)
    for weight in (
        pipe.unet.conv_in.bias.data,
        pipe.vae.decoder.conv_out.weight.data,
        next(pipe.text_encoder.parameters()).data,
    ):
        was = weight.clone()
        weight.view(-1)[-1] += 1e-3
        assert runs.fingerprint(pipe) != first
        weight.copy_(was)
        assert runs.fingerprint(pipe) == first
    monkeypatch.setattr(runs, "version", lambda name: "0")
    assert runs.fingerprint(tiny) != first


def test_a_damaged_file_is_painted_again(pipe, kept):
    first = figures.Runs(pipe)(**SHIP)
    (path,) = kept.glob("*.safetensors")
    whole = path.read_bytes()
    for damaged in (b"", whole[:7], whole[: len(whole) // 2], b"x" * 100):
        path.write_bytes(damaged)
        run = figures.Runs(pipe)
        assert same(run(**SHIP), first) and run.made == 3
        assert len(path.read_bytes()) == len(whole)


def test_who_comes_at_the_same_time_waits(pipe, tiny_folder, kept):
    """Two pipes, as in two notebooks, ask at once: one of them paints."""
    both = [figures.Runs(p) for p in (pipe, sdscope.StableDiffusion.from_pretrained(tiny_folder, device="cpu"))]
    threads = [threading.Thread(target=run, kwargs=SHIP) for run in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.made for run in both) == [0, 3] and [run.asked for run in both] == [3, 3]


def test_without_a_seed(pipe):
    with pytest.raises(SdscopeError, match="needs a seed"):
        figures.Runs(pipe)(**SHIP | dict(seed=None))


def test_a_run_that_fails_leaves_the_pipe_as_it_was(pipe, kept):
    own = pipe.scheduler
    with pytest.raises(SdscopeError, match="multiple of 8"):
        figures.Runs(pipe)(**SHIP, width=65, scheduler=type(own)(own.config))
    assert pipe.scheduler is own and not list(kept.glob("*.safetensors"))


def test_the_runs_asked_for_last_have_room(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "ROOM", 250)
    for age, name in enumerate("abcd"):
        for suffix in ("safetensors", "lock"):
            (tmp_path / f"{name}.{suffix}").write_bytes(bytes(100))
        os.utime(tmp_path / f"{name}.safetensors", (1000 - age, 1000 - age))
    runs.tidy(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        f"{name}.{suffix}" for name in "ab" for suffix in ("safetensors", "lock")
    }
    runs.tidy(tmp_path / "none")
