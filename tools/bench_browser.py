"""How fast Postcard paints in a browser, beside torch on the same machine: a part of `make bench`.

As in bench.py everything takes turns, and what counts is the ratio within a round. The page is
tests/browser/engine: the engine and nothing else, built as the deck is.
"""

import gzip
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

import browser
import engine
import serve
from sdscope.web import export_web

ROUNDS = 7

LOAD = """async () => {
    window.engine = openEngine()
    const begun = performance.now()
    await engine.load()
    return (performance.now() - begun) / 1000
}"""
PAINT = "async ([settings, extra]) => (await engine.paint({ ...settings, ...extra }, { onStep() {} }).finished).seconds"
LAB = dict(attention=True, features=True, images=0.25)  # as slides/lab/run.ts asks


def measure(pipe, prompt, seed, steps):
    """A title, a table, and what is to be said of it, as in bench.py"""
    with (
        tempfile.TemporaryDirectory() as site,
        serve.serving(site) as isolating,
        serve.serving(site, headers={}) as other,
        sync_playwright() as playwright,
    ):
        engine.build(site)
        export_web(pipe, Path(site) / "model")
        chromium = browser.launch(playwright)
        threads, alone = engine.visit(chromium, isolating), engine.visit(chromium, other)
        megabytes, first = first_visit(Path(site)), threads.evaluate(LOAD)
        threads.reload()
        engine.ready(threads)
        again = threads.evaluate(LOAD)
        alone.evaluate(LOAD)
        settings = dict(prompt=prompt, seed=seed, steps=steps)
        racers = {
            "torch": lambda: seconds(lambda: pipe(prompt, seed=seed, num_inference_steps=steps)),
            "browser": lambda: threads.evaluate(PAINT, [settings, {}]),
            "browser, in the Lab": lambda: threads.evaluate(PAINT, [settings, LAB]),
            "browser, one thread": lambda: alone.evaluate(PAINT, [settings, {}]),
        }
        for run in racers.values():
            run()
        rounds = [{name: run() for name, run in racers.items()} for _ in range(ROUNDS)]
        chromium.close()
    lines = ["In a browser", "", "| | seconds | ratio | quartiles | rounds |", "| --- " * 5 + "|"]
    for name in racers:
        low, middle, high = statistics.quantiles([row[name] / row["torch"] for row in rounds], method="inclusive")
        median = statistics.median(row[name] for row in rounds)
        lines.append(f"| {name} | {median:.2f} | {middle:.2f} | {low:.2f} to {high:.2f} | {ROUNDS} |")
    opens = f"The model opens in {first:.1f} s from this machine, and in {again:.1f} s from the browser's cache."
    lines += ["", f"A first visit fetches {megabytes:.1f} MB. {opens}"]
    return "\n".join(lines) + "\n"


def first_visit(site):
    """Megabytes of the model and of the runtime without a GPU, as a static host sends them"""
    files = [*site.glob("model/*"), *site.glob("assets/*threaded-*.wasm")]
    return sum(len(gzip.compress(file.read_bytes(), 6)) for file in files) / 1e6


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
