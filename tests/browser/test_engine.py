"""The engine in a real browser, on a page of its own: the pictures are Python's, and what goes wrong is said
clearly."""

from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from conftest import decibels
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler
from PIL import Image

import engine
import serve
from sdscope import ImageToImage, Inpaint
from sdscope.loading.checkpoint import find_model
from sdscope.loading.config import read_config
from sdscope.web import export_web

CONFIG = read_config(find_model("postcard") / "scheduler/scheduler_config.json")
SCHEDULERS = {
    "ddim": lambda: None,  # the model's own
    "euler": lambda: EulerDiscreteScheduler.from_config(CONFIG),
    "dpm++": lambda: DPMSolverMultistepScheduler.from_config(CONFIG),
}
PROMPTS = [
    "painting depicting the sea, sunrise, ship",
    "a red castle in the snow at night",
    "windmill, green field, pixel art",
    "a watercolor of a hot air balloon over the desert",
    "日の出の海、xylophone 😀 <|endoftext|>",
]
SIZES = [(128, 128), (128, 128), (192, 128), (96, 160)]

# window.opened: the engine; paint(settings): its picture as numbers, and how often onStep was called
OPEN = """async options => {
  window.opened = openEngine(options)
  window.paint = async settings => {
    const steps = []
    const { image } = await opened.paint(settings, { onStep: step => steps.push(step) }).finished
    return { pixels: [...image.data], width: image.width, height: image.height, steps: steps.length }
  }
  const { device, threads } = await opened.load()
  return { device, threads }
}"""
# paint, beginning with a picture, and perhaps a mask: their pixels as numbers
FROM = """([settings, strength, ...told]) => {
  const [image, mask] = told.map(({ data, width }) => new ImageData(Uint8ClampedArray.from(data), width))
  return paint({ ...settings, from: { image, strength, mask } })
}"""
SAID = "error => ({ code: error.code, message: told(error) })"
FAIL = f"options => openEngine(options).load().then(() => null, {SAID})"

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers and numpy


@pytest.fixture(scope="module")
def site(postcard, tmp_path_factory):
    """A page with nothing but the engine, built as the deck is, and the model beside it"""
    folder = tmp_path_factory.mktemp("site")
    engine.build(folder)
    export_web(postcard, folder / "model")
    return folder


@pytest.fixture
def visit(chromium, site):
    """visit() -> a page of a reader who was never here; headers: what the host sends"""
    with ExitStack() as stack:

        def visit(headers=serve.ISOLATION):
            page = engine.visit(chromium, stack.enter_context(serve.serving(site, "/some/sub/path/", headers)))
            stack.callback(page.context.close)
            return page

        yield visit


@contextmanager
def scheduled(pipe, scheduler):
    own = pipe.scheduler
    pipe.scheduler = scheduler or own
    yield pipe
    pipe.scheduler = own


def pixels(picture):
    return np.array(picture["pixels"]).reshape(picture["height"], picture["width"], 4)[..., :3].astype(np.uint8)


def paint(page, **settings):
    return page.evaluate("settings => paint(settings)", settings)


def likeness(ours, theirs):
    return decibels(pixels(ours), theirs)


def painted(postcard):
    return postcard(PROMPTS[0], num_inference_steps=4, seed=42)


def test_twenty_pictures_equal_pythons(visit, postcard):
    """All schedulers and sizes, negative prompts, with and without guidance, many steps and few"""
    page, found = visit(), {}
    page.evaluate(OPEN, {})
    for i in range(20):
        prompt, (width, height), name = PROMPTS[i % 5], SIZES[i % 4], list(SCHEDULERS)[i % 3]
        seed, negative = 1000 * i**3, ["", "night, pencil sketch"][i % 2]
        steps, guidance = [2, 4, 8][i % 3 - 1], [5, 7.5, 1][i % 7 % 3]
        settings = dict(prompt=prompt, negativePrompt=negative, seed=seed, steps=steps, guidance=guidance)
        ours = paint(page, **settings, scheduler=name, width=width, height=height)
        with scheduled(postcard, SCHEDULERS[name]()) as pipe:
            found[i, name, width, steps] = likeness(ours, pipe(prompt, negative, height, width, steps, guidance, seed))
    assert len(found) == 20 and {case: value for case, value in found.items() if value < 40} == {}


def test_pictures_that_begin_with_another_equal_pythons(visit, postcard):
    """All schedulers, strengths up to 1, with a mask and without, pictures of several sizes"""
    page, found = visit(), {}
    page.evaluate(OPEN, {})
    parts = postcard.tokenizer, postcard.text_encoder, postcard.unet, postcard.vae, postcard.scheduler
    begin, repaint = ImageToImage(*parts), Inpaint(*parts)
    for i in range(6):
        (width, height), name, strength, masked = SIZES[i % 4], list(SCHEDULERS)[i % 3], [0.5, 1, 0.8][i // 2], i % 2
        image = Image.fromarray(np.random.default_rng(i).integers(256, size=(4, 4, 3), dtype=np.uint8))
        image = image.resize((width, height), Image.BICUBIC)
        mask = Image.fromarray(np.uint8(255 * (np.indices((height, width)).sum(0) < 100)))
        rgba = [np.dstack([image, np.full((height, width), 255)]), np.dstack([np.zeros_like(image), mask])]
        told = [dict(data=x.ravel().tolist(), width=width) for x in rgba[: 1 + masked]]
        settings = dict(prompt=PROMPTS[i % 5], seed=i, steps=5, guidance=[5, 1][i == 5], scheduler=name)
        ours = page.evaluate(FROM, [settings, strength, *told])
        call = dict(strength=strength, num_inference_steps=5, guidance_scale=settings["guidance"], seed=i)
        pipe = repaint if masked else begin
        given = (image, mask) if masked else (image,)
        size = dict(height=height, width=width) if masked else {}
        with scheduled(pipe, SCHEDULERS[name]()):
            found[i, name, strength, masked] = likeness(ours, pipe(PROMPTS[i % 5], *given, **size, **call))
        assert ours["steps"] == int(5 * strength)
    assert len(found) == 6 and {case: value for case, value in found.items() if value < 40} == {}


def test_what_a_run_shows(visit, postcard):
    page = visit()
    page.evaluate(OPEN, {})
    seen = page.evaluate("""async () => {
      const told = {}, steps = []
      const settings = { prompt: 'a ship', seed: 1, steps: 3, width: 96, attention: true, features: true, images: 1 }
      const run = opened.paint(settings, {
        onTokens: (...x) => told.tokens = x,
        onEmbeddings: (...x) => told.embeds = x,
        onStep: s => steps.push(s),
      })
      const result = await run.finished, last = steps[2]
      const image = await opened.decode(last.x0)
      return {
        words: told.tokens[0].words.map(w => w.word),
        negative: told.tokens[1].words,
        embeds: told.embeds.map(x => x.dims),
        t: steps.map(s => s.t),
        latents: last.latents.dims,
        x0: [...last.x0.data],
        same: image.data.every((value, i) => value === last.image.data[i]),
        maps: Object.values(last.attention).map(x => x.dims),
        sum: last.attention['mid_block.attentions.0'].data.reduce((a, b) => a + b),
        features: last.features.conv_in.dims,
        size: [result.image.width, result.image.height],
        unknown: (await opened.tokenize('a xylophone')).unknown,
      }
    }""")
    steps = []
    postcard("a ship", width=96, num_inference_steps=3, seed=1, callback=steps.append)
    assert seen["t"] == [step["t"] for step in steps]
    assert np.allclose(seen["x0"], steps[2]["pred_x0"].flatten(), atol=1e-3)
    assert (seen["words"], seen["negative"], seen["unknown"]) == (["a", "ship"], [], ["xylophone"])
    assert seen["embeds"] == [[77, postcard.text_encoder.config.hidden_size]] * 2
    high = postcard.size // 8
    places = high // 8 * 2  # in the middle; 12 was halved to 6, 3, 2
    assert seen["latents"] == [4, high, 12] and seen["features"] == [high, 12]
    assert seen["same"] and seen["size"] == [96, postcard.size]
    assert [77, high, 12] in seen["maps"] and [77, high // 8, 2] in seen["maps"]
    assert seen["sum"] == pytest.approx(places, abs=1e-3)  # in each place the 77 add up to 1


def test_cancel_and_the_next_run(visit, postcard):
    page = visit()
    page.evaluate(OPEN, {})
    seen = page.evaluate(
        """async settings => {
      const counts = [0, 0]
      const first = opened.paint({ ...settings, steps: 500 }, { onStep: () => ++counts[0] === 3 && first.cancel() })
      const ended = await first.finished
      const second = opened.paint({ ...settings, steps: 500 }, { onStep: () => ++counts[1] === 3 && next() })
      let next, third = new Promise(resolve => next = () => resolve(opened.paint(settings).finished))
      const { image } = await third, replaced = await second.finished
      return { ended, replaced, counts, pixels: [...image.data], width: image.width, height: image.height }
    }""",
        dict(prompt=PROMPTS[0], steps=4, seed=42),
    )
    assert seen["ended"] is None and seen["replaced"] is None
    assert all(3 <= count <= 6 for count in seen["counts"])  # it is heard before the next step, or the one after
    assert likeness(seen, painted(postcard)) >= 40


def test_the_second_visit_needs_no_network_for_the_model(visit, postcard):
    page = visit()
    page.evaluate(OPEN, {})
    page.evaluate("opened.close()")
    asked = []
    page.route("**/model/*", lambda route: (asked.append(route.request.url), route.abort()))
    page.route("**/*.wasm", lambda route: (asked.append(route.request.url), route.abort()))
    page.reload()
    engine.ready(page)
    page.evaluate(OPEN, {})
    assert likeness(paint(page, prompt=PROMPTS[0], seed=42, steps=4), painted(postcard)) >= 40
    # whether there is a newer one; there is no answer
    assert [url.rpartition("/")[2] for url in asked] == ["model.json"]


def test_a_host_that_isolates_no_page(visit, postcard):
    page = visit(headers={})
    assert page.evaluate(OPEN, {}) == dict(device="wasm", threads=1)
    assert likeness(paint(page, prompt=PROMPTS[0], seed=42, steps=4), painted(postcard)) >= 40


def test_threads_on_an_isolated_page(visit):
    page = visit()
    cores = page.evaluate("navigator.hardwareConcurrency")
    assert page.evaluate(OPEN, {}) == dict(device="wasm", threads=min(4, cores))


def test_the_download_tells_its_progress(visit, site):
    page = visit()
    told = page.evaluate("""async () => {
      const told = []
      await openEngine({ onProgress: (...x) => told.push(x) }).load()
      return told
    }""")
    wasm = next((site / "assets").glob("ort-wasm-simd-threaded-*.wasm"))
    apart = "model.json", "vae_encoder.onnx"  # the second only for who begins with a picture
    total = sum(path.stat().st_size for path in [wasm, *(site / "model").iterdir()] if path.name not in apart)
    assert told == sorted(told) and told[-1] == [total, total] and len(told) > 10


def answer(page, name, **options):
    page.route(f"**/{name}", lambda route: route.fulfill(**options))


def test_a_damaged_file(visit, site):
    page, damaged = visit(), bytearray((site / "model/unet.onnx").read_bytes())
    damaged[1_000_000] ^= 1
    answer(page, "unet.onnx", body=bytes(damaged))
    error = page.evaluate(FAIL, {})
    assert error["code"] == "corrupt-file" and "unet.onnx is damaged" in error["message"]
    page.unroute("**/unet.onnx")
    assert page.evaluate(FAIL, {}) is None  # the good one is taken


def test_a_missing_file(visit):
    page = visit()
    answer(page, "vae_decoder.onnx", status=404)
    error = page.evaluate(FAIL, {})
    assert error["code"] == "missing-file" and "vae_decoder.onnx is missing" in error["message"]
    assert page.evaluate(FAIL, dict(model="nowhere/"))["code"] == "missing-file"


def test_no_network_on_the_first_visit(visit):
    page = visit()
    page.route("**/model/*", lambda route: route.abort())
    assert page.evaluate(FAIL, {})["code"] == "no-network"


def test_a_failed_load_can_be_tried_again(visit):
    page = visit()
    page.route("**/model/*", lambda route: route.abort())
    page.evaluate("window.opened = openEngine()")
    assert page.evaluate("opened.load().catch(error => error.code)") == "no-network"
    page.unroute("**/model/*")
    assert page.evaluate("opened.load().then(({ device }) => device)") == "wasm"


@pytest.mark.parametrize(
    "what, code",
    [
        ("delete window.WebAssembly", "no-webassembly"),
        ("WebAssembly.validate = () => false", "no-webassembly"),
        ("delete window.Worker", "no-worker"),
        ("window.Worker = class extends Worker { constructor() { super('nowhere.js') } }", "no-worker"),
    ],
)
def test_a_browser_that_cannot(visit, what, code):
    page = visit()
    page.evaluate(f"() => {{ {what} }}")
    error = page.evaluate(FAIL, {})
    assert error["code"] == code and error["message"].endswith(".")


def test_memory_that_runs_out(visit):
    """A picture for which no browser has room: an error, and afterwards the engine works again"""
    page = visit()
    page.evaluate(OPEN, {})
    huge = dict(prompt="a ship", width=2048, height=2048, steps=1, guidance=1)
    assert page.evaluate("settings => paint(settings).catch(error => error.code)", huge) == "no-memory"
    assert paint(page, prompt="a ship", steps=1)["steps"] == 1


def test_wrong_settings(visit):
    page = visit()
    page.evaluate(OPEN, {})
    error = page.evaluate(f"paint({{ prompt: 'a ship', width: 100 }}).catch({SAID})")
    assert error["code"] == "settings-size" and "multiples of 8" in error["message"]


def test_nothing_is_fetched_before_load(visit):
    page, asked = visit(), []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("() => { openEngine() }")
    page.wait_for_timeout(300)
    assert asked == []


def test_nothing_typed_leaves_the_page(visit):
    """Neither from the page nor from the engine's worker"""
    page = visit()
    page.evaluate(OPEN, {})
    send = """() => new Promise(resolve => {
      addEventListener('securitypolicyviolation', event => resolve(event.effectiveDirective))
      fetch('https://example.org/?prompt=a+ship').then(() => resolve('sent'))
    })"""
    assert [place.evaluate(send) for place in (page, page.workers[0])] == ["connect-src"] * 2
