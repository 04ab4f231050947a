"""How fast the bare pipeline is, beside diffusers and parediffusers: `make bench`, some four minutes.

On a machine that others use too, seconds measured at different times say little. So everything runs in
one process and takes turns, A, B, C, A, B, C, ..., and what counts is the ratio within each round: its
median, and its quartiles as the spread. CPU time, of all threads, is disturbed less than time on the
clock: its ratio stands beside. The last measurement is kept in docs/bench.json.
"""
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import types
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from sdscope import StableDiffusion
from sdscope.checkpoint import find_model
from sdscope.models import KNOWN
from sdscope.trace import trace
from sdscope.unet import UNet2DConditionModel

OUT = Path(__file__).parents[1] / "docs" / "bench.json"
PROMPT = "painting depicting the sea, sunrise, ship"
STEPS, GUIDANCE, SEED = 25, 5.0, 42
PARE = "parediffusers==0.3.2"
SIDE = 4096  # of the square matrices whose product shows the machine's peak


def main():
    found = {
        "date": str(date.today()),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "diffusers": version("diffusers"),
    }
    print(", ".join(f"{key} {value}" for key, value in found.items()), flush=True)
    for library in diffusers, transformers:
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    folder = find_model("postcard")
    bare = StableDiffusion.from_pretrained(folder, device="cpu")
    options = dict(safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, **options)
    theirs.set_progress_bar_config(disable=True)
    with tempfile.TemporaryDirectory() as site:
        pare, found["parediffusers"] = get_pare(site)
        found |= picture(bare, theirs, pare) | traced(bare) | step(pare)
    half = OUT.with_suffix(".part")
    half.write_text(json.dumps(found, indent=1) + "\n")
    half.replace(OUT)
    print(f"\nwritten to {OUT}")


def picture(bare, theirs, pare, rounds=11):
    """One picture of Postcard"""
    settings = dict(num_inference_steps=STEPS, guidance_scale=GUIDANCE)
    size = dict(height=bare.size, width=bare.size)
    runners = {
        "bare": lambda: bare(PROMPT, seed=SEED, **settings),
        "diffusers": lambda: theirs(PROMPT, generator=torch.Generator().manual_seed(SEED), **settings)[0][0],
    }
    notes = {}
    if pare:
        pipe, notes = pare_pipeline(pare, bare)
        runners["parediffusers"] = lambda: torch.manual_seed(SEED) and pipe(PROMPT, **size, **settings)
    for run in runners.values():
        run()  # warm-up
    rows = compare(*take_turns(runners, rounds), reference="diffusers")
    title = f"A picture of Postcard, {STEPS} steps, guidance {GUIDANCE:g}"
    show(f"{title} (differences: grey levels of 255)", rows, notes.values())
    return flat("picture", rows) | notes


def traced(bare, rounds=15):
    """The same picture, not traced, traced, and traced with mean attention"""

    def run():
        return bare(PROMPT, seed=SEED, num_inference_steps=STEPS, guidance_scale=GUIDANCE)

    def run_traced(attention):
        with trace(bare, attention=attention):
            return run()

    runners = {
        "untraced": run,
        "traced": lambda: run_traced(False),
        "attention": lambda: run_traced("mean"),
    }
    for warm_up in runners.values():
        warm_up()
    rows = compare(*take_turns(runners, rounds), reference="untraced")
    show("The same picture untraced, traced, and traced with mean attention", rows)
    return flat("trace", rows)


@torch.no_grad()
def step(pare, rounds=4):
    """One UNet call as Stable Diffusion 2 makes it for a picture of 512 x 512, and the machine's peak"""
    config = KNOWN["sd2"].unet
    torch.manual_seed(0)
    bare = UNet2DConditionModel(config).eval()  # random weights: 866 million
    unets = {"bare": bare, "diffusers": share(diffusers.UNet2DConditionModel, config, bare)}
    if pare:
        unets["parediffusers"] = share(pare.PareUNet2DConditionModel, config, bare)
    side, width = config["sample_size"], config["cross_attention_dim"]
    latents, t, words = torch.randn(2, 4, side, side), torch.tensor(481), torch.randn(2, 77, width)
    matrix = torch.randn(SIDE, SIDE)

    def call(unet, latents):
        noise = unet(latents, t, encoder_hidden_states=words)
        return noise if isinstance(noise, torch.Tensor) else noise.sample

    runners = {name: lambda unet=unet: call(unet, latents) for name, unet in unets.items()}
    for unet in unets.values():
        call(unet, latents[:, :, :16, :16])  # warm-up, a small one
    times, results = take_turns(runners | {"peak": lambda: matrix @ matrix}, rounds)
    peak, peak_cpu = np.array(times.pop("peak")).T
    rows = compare(times, results, reference="diffusers")
    adds, (_, cpu) = multiply_adds(config, latents, t, words), np.array(times["bare"]).T
    low, middle, high = quartiles(adds / cpu / (SIDE**3 / peak_cpu))
    facts = {
        "step.multiply_adds": adds,
        "step.peak.gflops": round(2e-9 * SIDE**3 / min(peak), 1),
        "step.peak.share": middle,
        "step.peak.quartiles": [low, high],
    }
    note = (
        f"{adds / 1e9:.0f} billion multiply-adds: for its CPU time, the bare UNet reaches {middle:.0%} ({low:.0%} to "
        f"{high:.0%}) of a {SIDE} x {SIDE} matrix product ({facts['step.peak.gflops']} GFLOP/s at best)"
    )
    shape = " x ".join(map(str, latents.shape))
    show(f"A step of Stable Diffusion 2's UNet, {shape}, random weights", rows, [note])
    return flat("step", rows) | facts


def take_turns(runners, rounds):
    """{name: function} -> {name: [(seconds, CPU seconds) of each round]}, {name: what it returned last}"""
    times, results = {name: [] for name in runners}, {}
    for _ in range(rounds):
        for name, run in runners.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            results[name] = run()
            times[name].append((time.perf_counter() - start, time.process_time() - cpu_start))
    return times, results


def compare(times, results, reference):
    """What take_turns gave -> {name: a row of the table}"""
    rows = {}
    for name, own in times.items():
        ratios, cpu_ratios = np.divide(own, times[reference]).T
        low, middle, high = quartiles(ratios)
        cpu_low, cpu_middle, cpu_high = quartiles(cpu_ratios)
        result, expected = (np.asarray(results[key], dtype=float) for key in (name, reference))
        rows[name] = dict(
            seconds=round(statistics.median(seconds for seconds, _ in own), 4),
            ratio=middle,
            quartiles=[low, high],
            cpu_ratio=cpu_middle,
            cpu_quartiles=[cpu_low, cpu_high],
            difference=float(f"{abs(result - expected).max():.2g}"),
            rounds=len(own),
        )
    return rows


def quartiles(numbers):
    return [round(q, 3) for q in statistics.quantiles(map(float, numbers), n=4, method="inclusive")]


def flat(section, rows):
    """Rows -> {"section.name.column": value}"""
    return {f"{section}.{name}.{column}": value for name, row in rows.items() for column, value in row.items()}


def show(title, rows, notes=()):
    width = max(map(len, rows))
    print(f"\n{title}")
    print(f"  {'':{width}}       time   ratio  quartiles        CPU    quartiles        max difference   rounds")
    for name, row in rows.items():
        spreads = [f"{low:.3f} to {high:.3f}" for low, high in (row["quartiles"], row["cpu_quartiles"])]
        ratios = f"{row['ratio']:.3f}  {spreads[0]}   {row['cpu_ratio']:.3f}  {spreads[1]}"
        print(f"  {name:{width}}  {row['seconds']:7.3f} s   {ratios}   {row['difference']:<14g}   {row['rounds']}")
    for note in notes:
        print(f"  {note}")
    sys.stdout.flush()


def share(cls, config, module):
    """cls(**config) with the very tensors of another module as its weights"""
    with torch.device("meta"):  # no memory of its own
        other = cls(**config)
    other.load_state_dict(module.state_dict(), assign=True)
    return other.eval()


def multiply_adds(config, *inputs):
    """Of one call of the UNet; counted from the shapes, nothing is computed"""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        UNet2DConditionModel(config)(*(x.to("meta") for x in inputs))
    return counter.get_total_flops() // 2


def get_pare(site):
    """(the module, its version), or (None, why it cannot be had)"""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, PARE]
    done = subprocess.run(pip, capture_output=True, text=True)
    try:
        if done.returncode:
            raise ImportError(f"pip could not install it, and said: {done.stderr.strip().splitlines()[-1]}")
        sys.path.insert(0, site)
        return import_pare(), PARE.partition("==")[2]
    except Exception as error:  # it is of early 2024, and the rest is not
        print(f"\nno parediffusers here: {error}")
        return None, str(error)


def import_pare():
    """Where torchvision is missing, a stand-in: one small class of it is used."""

    class ToPILImage:
        def __call__(self, x):  # (3, H, W), 0 to 1
            return Image.fromarray((x * 255).byte().permute(1, 2, 0).numpy())

    names = [] if find_spec("torchvision") else ["torchvision", "torchvision.transforms"]
    for name in names:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].ToPILImage = ToPILImage
    try:
        import parediffusers
    finally:
        for name in names:
            del sys.modules[name]  # nobody else shall take it for the real one
    return parediffusers


def pare_pipeline(pare, bare):
    """Its pipeline with Postcard's weights; {} or a note that a part of it is not its own"""
    unet = share(pare.PareUNet2DConditionModel, bare.unet.config, bare.unet)
    scheduler, note = pare.PareDDIMScheduler(bare.scheduler.config), {}
    try:
        vae = share(pare.PareAutoencoderKL, bare.vae.config, bare.vae)
    except Exception as error:
        why = f"parediffusers with the bare VAE, its own cannot be built like Postcard's: {error}"
        vae, note = bare.vae, {"picture.parediffusers.note": why}
    parts = bare.tokenizer, bare.text_encoder, scheduler, unet, vae
    return pare.PareDiffusionPipeline(*parts, torch.device("cpu"), torch.float32), note


def processor():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
