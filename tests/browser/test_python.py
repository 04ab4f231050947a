"""Python in a real browser's page: what the engine's own loop gives, and what is wrong with a change as one line."""

import numpy as np
import pytest
from conftest import decibels
from test_small_torch import GUIDED, LOOP, edited

import engine
import serve
from sdscope.web import export_web

# A browser without JSPI; the worker is made of a blob.
NO_JSPI = """
const { Blob } = window
window.Blob = class extends Blob {
  constructor(parts, options) {
    super([...parts, ';delete WebAssembly.Suspending; delete WebAssembly.promising'], options)
  }
}"""
# How the host and the browser are: as `make talk` and a new one, as GitHub Pages and one of last year
KINDS = {"isolated": (serve.ISOLATION, ""), "neither isolated nor JSPI": ({}, NO_JSPI)}


@pytest.fixture(scope="module")
def site(postcard, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    engine.build(folder, "python")
    export_web(postcard, folder / "model")
    return folder


@pytest.fixture(scope="module", params=KINDS)
def page(request, chromium, site):
    headers, script = KINDS[request.param]
    with serve.serving(site, "/some/sub/path/", headers) as address:
        page = chromium.new_context().new_page()
        page.set_default_timeout(120_000)
        page.add_init_script(script)
        page.goto(address)
        engine.ready(page)
        page.waits, page.address = bool(script), address
        yield page
        page.context.close()


def run(page, *changes, stop_after=None, **task):
    told = page.evaluate("([task, after]) => run(task, after ?? undefined)", [dict(task, changes=changes), stop_after])
    assert "\n" not in told.get("message", "")
    return told


def test_the_same_as_the_engines_own_loop(page):
    for settings in (
        dict(prompt="painting depicting the sea, sunrise, ship", negative_prompt="", seed=42, guidance_scale=5),
        dict(
            prompt="日の出 xylophone", negative_prompt="night", seed=2**32 + 5, guidance_scale=7.5, height=64, width=96
        ),
        dict(prompt="a castle", negative_prompt="", seed=0, guidance_scale=1),
    ):
        settings = dict(height=128, width=128, num_inference_steps=6) | settings
        seen = page.evaluate("settings => both(settings)", settings)
        mine, theirs = (
            np.array(seen[x], dtype="uint8").reshape(settings["height"], settings["width"], 4)
            for x in ("mine", "theirs")
        )
        assert seen["count"] == [6, 6] and seen["latents"] < 1e-5 and seen["x0"] < 1e-5, (seen["latents"], seen["x0"])
        assert decibels(mine[..., :3], theirs[..., :3]) >= 40 and (mine[..., 3] == 255).all()
        seconds = f"{seen['seconds']:.2f} s, Python {seen['pythonSeconds']:.2f} s"
        print(f"latents {seen['latents']:.1e}, x0 {seen['x0']:.1e}, {seconds}")


def test_whether_python_was_rewritten(page):
    cell = "import inspect\nprint('printed')\ninspect.iscoroutinefunction(pipe.encode)"
    told = run(page, cell=cell)
    assert told["value"] == dict(text=str(page.waits)) and "".join(told["printed"]) == "printed\n"


def test_a_change_runs_and_the_next_run_is_without_it(page):
    before = run(page)
    changed = run(page, edited("pipeline", "denoise", GUIDED, "noise_cond; torch.seen = 1; print(i)"))
    assert changed["pixels"] != before["pixels"] and "".join(changed["printed"]) == "0\n1\n" and changed["calls"] == 2
    assert run(page)["pixels"] == before["pixels"] and len(before["steps"]) == 2


def test_what_is_wrong_is_told_at_its_line(page):
    cases = {
        "nois_uncond + noise_cond": "name 'nois_uncond' is not defined. Did you mean: 'noise_uncond'?",
        "noise_uncond +": "SyntaxError: invalid syntax",
        "torch.fft.fft(x)": "torch.fft is not in this page's small torch; it has: ",
        "__import__('requests')": "requests is not in this page's Python; it has: ",
        "__import__('js')": "js is not for code in this page",
        "[0] * 10**9": "there is no memory left",
        "__import__('sys').exit()": "SystemExit",
    }
    for code, says in cases.items():
        told = run(page, edited("pipeline", "denoise", GUIDED, code))
        assert (told["kind"], told["region"], told["line"]) == ("error", "denoise", LOOP) and says in told["message"], (
            told
        )
    for region, old, new, says in (
        ("denoise", "denoise(self, ", "denoise(self, *, ", "takes 1 positional argument"),
        ("denoise", "return latents", "latents", "latents must be a tensor (B, 4, height / 8, width / 8), not None"),
        ("denoise", "latents = step.prev_sample", "latents = step.prev_sample / 0", "NaN or infinity"),
        ("get_latents", "return torch.cat(noise)", "return torch.cat(noise)[0]", "latents must be a tensor"),
        ("denoise", "latents = step.prev_sample", "pass\n" * 200_000, "at most 100,000 are run"),
    ):
        told = run(page, edited("pipeline", region, old, new))
        assert (told["kind"], told["region"]) == ("error", region) and says in told["message"], told
    assert run(page, edited("pipeline", "denoise", GUIDED, "__import__('os') and noise_cond"))["size"] == [64, 64]


@pytest.mark.parametrize("code", ["[1 for _ in iter(int, 1)]", "sum(1 for _ in iter(lambda: self.unet, 1))"])
def test_an_endless_loop_is_stopped_within_two_seconds(page, code):
    told = run(page, edited("pipeline", "denoise", GUIDED, code), stop_after=300)
    assert told["kind"] == "stopped" and told["ended"] < 2 and run(page)["size"] == [64, 64]


def test_a_loop_that_asks_the_network_for_ever_and_catches_everything(page):
    old = "latents = step.prev_sample"
    lines = ["try:", "    self.unet(latents, t, prompt_embeds[:1])", "except BaseException:", "    pass"]
    new = "\n            ".join(["while True:", *lines])
    told = run(page, edited("pipeline", "denoise", old, new), stop_after=300)
    assert told["kind"] == "stopped" and told["ended"] < 2 and run(page)["size"] == [64, 64]


def test_memory_that_is_eaten_up(page):
    told = run(page, edited("pipeline", "denoise", GUIDED, "[bytearray(10**7) for _ in iter(int, 1)]"))
    assert told["kind"] == "error" and "there is no memory left" in told["message"] and run(page)["size"] == [64, 64]


def test_printing_without_end(page):
    told = run(page, edited("pipeline", "denoise", GUIDED, "[print('x' * 99) for _ in range(10**5)] and noise_cond"))
    assert told["size"] == [64, 64] and sum(map(len, told["printed"])) < 20_000


def test_two_runs_at_once(page):
    first, second = page.evaluate("() => Promise.all([run({ settings: { num_inference_steps: 900 } }), run({})])")
    assert first["kind"] == "stopped" and second["size"] == [64, 64]


def test_python_that_breaks_down(page):
    told = run(page, edited("pipeline", "denoise", GUIDED, "__import__('os').abort()"))
    assert told["kind"] == "lost" and "the next run starts another" in told["message"] and run(page)["size"] == [64, 64]


def test_nothing_outside_is_reached(page):
    """Neither by Python's own ways nor by those of the page behind it"""
    cell = """
import importlib
found = []
for name in ("fetch", "caches", "indexedDB", "XMLHttpRequest", "BroadcastChannel", "postMessage", "self"):
    try:
        found.append(getattr(importlib.import_module("js"), name))
    except AttributeError:
        pass
try:
    importlib.import_module("pyodide_js")._module.constructor.constructor("return caches")()
    found.append("eval")
except Exception:
    pass
try:
    importlib.import_module("urllib.request").urlopen("http://localhost/")
    found.append("urllib")
except Exception:
    pass
found"""
    assert run(page, cell=cell)["value"] == dict(text="[]")


def test_no_webassembly(page):
    page.reload()
    engine.ready(page)
    page.evaluate("() => { delete window.WebAssembly }")
    told = run(page)
    assert told["kind"] == "missing" and "no WebAssembly" in told["message"]
    page.reload()
    engine.ready(page)


def test_files_that_do_not_come(page):
    page.reload()
    engine.ready(page)
    page.route("**/pyodide.asm.wasm", lambda route: route.abort())
    told = run(page)
    assert told["kind"] == "missing" and "is there a network?" in told["message"]
    page.unroute("**/pyodide.asm.wasm")
    assert run(page)["size"] == [64, 64]
