"""How fast Postcard paints in a browser, beside torch on the same machine: `make bench`, after the other. docs/bench_browser.json

As in bench.py everything takes turns, and what counts is the ratio within a round. The page is
tests/browser/engine: the engine and nothing else, built as the deck is.
"""
import gzip
import json
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import browser
import serve
import torch
from playwright.sync_api import sync_playwright

from sdscope import StableDiffusion
from sdscope.web import export_web

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs/bench_browser.json"
PROMPT, SEED, STEPS, ROUNDS = "painting depicting the sea, sunrise, ship", 42, 25, 7

LOAD = "async () => { window.engine = openEngine(); const t = performance.now(); await engine.load(); return (performance.now() - t) / 1000 }"
PAINT = "async ([settings, extra]) => (await engine.paint({ ...settings, ...extra }, { onStep() {} }).finished).seconds"
EVERYTHING = dict(attention=True, features=True, images=True)


def main():
    pipe = StableDiffusion.from_pretrained("postcard", device="cpu")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = Path(folder) / "site"
        vite = ["node_modules/.bin/vite", "build", "tests/browser/engine", "--config", "vite.config.ts", "--base", "./", "--outDir", str(site)]
        subprocess.run([".venv/bin/node", *vite, "--logLevel", "error"], cwd=ROOT, check=True)
        export_web(pipe, site / "model")
        chromium = playwright.chromium.launch(executable_path=browser.find(), args=browser.FLAGS)
        threads, alone = (visit(chromium, serve.make_server(site, **headers)) for headers in ({}, {"headers": {}}))
        found = dict(megabytes=first_visit(site), load_seconds=threads.evaluate(LOAD), threads=torch.get_num_threads())
        threads.reload()
        threads.wait_for_function("() => 'openEngine' in window")
        found["load_again_seconds"] = threads.evaluate(LOAD)
        alone.evaluate(LOAD)
        settings = dict(prompt=PROMPT, seed=SEED, steps=STEPS)
        racers = {
            "torch": lambda: seconds(lambda: pipe(PROMPT, seed=SEED, num_inference_steps=STEPS)),
            "browser": lambda: threads.evaluate(PAINT, [settings, {}]),
            "browser_everything": lambda: threads.evaluate(PAINT, [settings, EVERYTHING]),
            "browser_one_thread": lambda: alone.evaluate(PAINT, [settings, {}]),
        }
        for run in racers.values():
            run()
        rounds = [{name: run() for name, run in racers.items()} for _ in range(ROUNDS)]
        chromium.close()
    for name in racers:
        ratios = [row[name] / row["torch"] for row in rounds]
        low, middle, high = statistics.quantiles(ratios)
        found[name] = dict(seconds=round(statistics.median(row[name] for row in rounds), 2), ratio=round(middle, 2), quartiles=[round(low, 2), round(high, 2)])
        print(name, found[name], flush=True)
    OUT.write_text(json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in found.items()}, indent=1) + "\n")
    print(f"first visit {found['megabytes']:.1f} MB, opened in {found['load_seconds']:.1f} s, again from the cache in {found['load_again_seconds']:.1f} s; {OUT.relative_to(ROOT)}")


def visit(chromium, server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = chromium.new_context().new_page()
    page.goto(f"http://localhost:{server.server_port}/")
    page.wait_for_function("() => 'openEngine' in window")
    return page


def first_visit(site):
    """Megabytes of the model and of the runtime without a GPU, as a static host sends them"""
    files = [*site.glob("model/*"), *site.glob("assets/*threaded-*.wasm")]
    return sum(len(gzip.compress(file.read_bytes(), 6)) for file in files) / 1e6


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
