"""How fast the bare pipeline is, beside diffusers and parediffusers, and in a browser: `make bench`, some six minutes.

On a machine that others use too, seconds measured at different times say little. So everything
takes turns, A, B, C, A, B, C, ..., and what counts is the ratio within each round: its median, and its
quartiles as the spread. CPU time, of all threads, is disturbed less than time on the clock: its ratio
stands beside. All of it is written to docs/speed.md, and nothing else is: what is measured can be read.
"""

import argparse
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

import bench_browser
from sdscope import StableDiffusion, files
from sdscope.loading.checkpoint import find_model
from sdscope.loading.models import KNOWN
from sdscope.loading.weights import weights_sha256
from sdscope.steps import usual
from sdscope.trace import trace
from sdscope.unet import UNet2DConditionModel

OUT = Path(__file__).parents[1] / "docs" / "speed.md"
PROMPT = "painting depicting the sea, sunrise, ship"
SEED = 42
STEPS, GUIDANCE = (usual(StableDiffusion.__call__)[name] for name in ("num_inference_steps", "guidance_scale"))
PARE = "parediffusers==0.3.2"
SIDE = 4096  # of the square matrices whose product shows the machine's peak

HEAD = """\
# How fast it is

Written by `make bench`; `make test` fails when Postcard's weights are no longer these.

What is in one table took turns on one machine, and a ratio is taken within each round: its median, and between which
quartiles it lay. Seconds are medians, and differ from machine to machine. CPU time is that of all threads.
Load: how many wanted to compute. Where these are more than the cores, seconds grow, and most of all with several
threads.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=["picture", "trace", "step", "browser"], help="the other tables stay as they are"
    )
    args = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "diffusers"))
    threads = f"cores {os.cpu_count()}, threads {torch.get_num_threads()}"
    told = f"{date.today()} on {processor()}, {threads}, Python {platform.python_version()}, {packages}"
    print(told, flush=True)
    for library in diffusers, transformers:
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    folder = find_model("postcard")
    bare = StableDiffusion.from_pretrained(folder, device="cpu")
    options = dict(safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, **options)
    theirs.set_progress_bar_config(disable=True)
    with tempfile.TemporaryDirectory() as site:
        pare, name = get_pare(site)
        measure = {
            "picture": lambda: picture(bare, theirs, pare),
            "trace": lambda: traced(bare),
            "step": lambda: step(pare),
            "browser": lambda: bench_browser.measure(bare, PROMPT, SEED, STEPS),
        }
        tables = dict(zip(measure, OUT.read_text().split("\n## ")[1:])) if args.only else {}
        for part in args.only or measure:
            weights = "random weights" if part == "step" else f"Postcard's weights `{weights_sha256(folder)}`"
            # load: how many wanted to compute; a machine of one's own has one
            table, load = measure[part](), os.getloadavg()[1]
            tables[part] = f"{table}\nMeasured {told}, {name}; load {load:.0f}; {weights}.\n"
            print(f"\n## {tables[part]}", flush=True)
    files.write(OUT, "\n## ".join([HEAD, *(tables[part] for part in measure)]))
    print(f"written to {OUT}")


def picture(bare, theirs, pare, rounds=11):
    """One picture of Postcard"""
    settings = dict(num_inference_steps=STEPS, guidance_scale=GUIDANCE)
    size = dict(height=bare.size, width=bare.size)
    runners = {
        "bare": lambda: bare(PROMPT, seed=SEED, **settings),
        "diffusers": lambda: theirs(PROMPT, generator=torch.Generator().manual_seed(SEED), **settings)[0][0],
    }
    notes = []
    if pare:
        pipe, notes = pare_pipeline(pare, bare)
        runners["parediffusers"] = lambda: torch.manual_seed(SEED) and pipe(PROMPT, **size, **settings)
    for run in runners.values():
        run()  # warm-up
    rows = compare(*take_turns(runners, rounds), reference="diffusers")
    title = f"A picture of Postcard, {STEPS} steps, guidance {GUIDANCE:g}"
    return section(title, rows, ["Differences are grey levels of 255.", *notes])


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
    return section("The same picture untraced, traced, and traced with mean attention", rows)


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
    note = (
        f"{adds / 1e9:.0f} billion multiply-adds: for its CPU time, the bare UNet reaches {middle:.0%} "
        f"({low:.0%} to {high:.0%}) of a {SIDE} x {SIDE} matrix product "
        f"({2e-9 * SIDE**3 / min(peak):.1f} GFLOP/s at best)."
    )
    shape = " x ".join(map(str, latents.shape))
    return section(f"A step of Stable Diffusion 2's UNet, {shape}, random weights", rows, [note])


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


def section(title, rows, notes=()):
    """A title, a table, and what is to be said of it"""
    head = "| | seconds | ratio | quartiles | ratio of CPU time | quartiles | largest difference | rounds |"
    lines = [title, "", head, "| --- " * 8 + "|"]
    for name, row in rows.items():
        spreads = [f"{low:.2f} to {high:.2f}" for low, high in (row["quartiles"], row["cpu_quartiles"])]
        ratios = f"{row['ratio']:.2f} | {spreads[0]} | {row['cpu_ratio']:.2f} | {spreads[1]}"
        lines.append(f"| {name} | {row['seconds']:.2f} | {ratios} | {row['difference']:g} | {row['rounds']} |")
    lines += ["", *notes] if notes else []
    return "\n".join(lines) + "\n"


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
    """(the module, its name and version), or (None, why it cannot be had)"""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, PARE]
    done = subprocess.run(pip, capture_output=True, text=True)
    try:
        if done.returncode:
            raise ImportError(f"pip could not install it, and said: {done.stderr.strip().splitlines()[-1]}")
        sys.path.insert(0, site)
        return import_pare(), PARE.replace("==", " ")
    except Exception as error:  # it is of early 2024, and the rest is not
        return None, f"no parediffusers: {error}"


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
    """Its pipeline with Postcard's weights; a note where a part of it is not its own"""
    unet = share(pare.PareUNet2DConditionModel, bare.unet.config, bare.unet)
    scheduler, note = pare.PareDDIMScheduler(bare.scheduler.config), []
    try:
        vae = share(pare.PareAutoencoderKL, bare.vae.config, bare.vae)
    except Exception as error:
        vae, note = bare.vae, [f"parediffusers with the bare VAE, its own cannot be built like Postcard's: {error}."]
    parts = bare.tokenizer, bare.text_encoder, scheduler, unet, vae
    return pare.PareDiffusionPipeline(*parts, torch.device("cpu"), torch.float32), note


def processor():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
