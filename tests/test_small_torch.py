"""The page's small torch (slides/python/) beside torch: the same source gives the same numbers, region by region.

The networks are small functions drawn at random, computed by torch for both; so what differs is the small torch's own.
"""

import asyncio
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from sdscope import StableDiffusion
from sdscope.loading.checkpoint import find_model, load_text
from sdscope.loading.config import Config, read_config
from sdscope.scheduler import DDIM
from sdscope.steps import usual

ROOT = Path(__file__).parents[1]
HERE, PACKAGE = ROOT / "slides/python", ROOT / "src/sdscope"
SCHEDULE = read_config(find_model("postcard") / "scheduler/scheduler_config.json")
WIDTH = 12  # of the embeddings
INFO = dict(latent_channels=4, size=128, factor=8, scaling_factor=0.33, embedding_size=WIDTH, scheduler=SCHEDULE)
INFO |= dict(tokens=dict(length=77, end=1033, pad=1033))
PROMPT = "painting depicting the sea, sunrise, ship"
USUAL = usual(StableDiffusion.__call__)
SETTINGS = dict(prompt=PROMPT, negative_prompt="", height=None, width=None)
SETTINGS |= dict(num_inference_steps=USUAL["num_inference_steps"], guidance_scale=5.0, seed=42)
WORST = {}  # of each region, beside the largest number


def module(name):
    """A file of slides/python/, which is on no path: there it would be taken for torch"""
    found = sys.modules[name] = ModuleType(name)
    exec(compile((HERE / f"{name}.py").read_text(), HERE / f"{name}.py", "exec"), vars(found))
    return found


waiting, run = module("waiting"), module("run")
SOURCES = {path.stem: path.read_text() for path in HERE.glob("*.py")}
SOURCES |= {name: (PACKAGE / f"{name.replace('.', '/')}.py").read_text() for name in run.REAL}
REGIONS = {
    "pipeline": ("call", "encode_prompt", "get_latents", "denoise", "decode"),
    "scheduler": ("alphas", "set_timesteps", "step", "prediction", "add_noise"),
}


def region(file, name):
    """The lines of a region as a slide shows them"""
    lines = inspect.cleandoc("x\n" + (PACKAGE / f"{file}.py").read_text()).split("\n")
    marked = [line.strip() for line in lines]
    within = lines[marked.index(f"# region {name}") + 1 : marked.index(f"# endregion {name}")]
    indent = min(len(line) - len(line.lstrip()) for line in within if line.strip())
    return "\n".join(line[indent:] for line in within if "# region" not in line and "# endregion" not in line)


# ---------------------------------------------------------------- the networks, for both

TOKENIZER, _ = load_text(find_model("postcard"), "cpu", torch.float32)
G = torch.Generator().manual_seed(0)
TABLE, COLOURS = torch.randn(2000, WIDTH, generator=G), torch.randn(4, 3, generator=G)


class Networks:
    """By the names of slides/engine: what torch's pipeline and the page's are both given"""

    def text_encoder(self, input_ids):
        return torch.tanh(TABLE[input_ids.long()] + torch.linspace(0, 1, input_ids.shape[1])[:, None])

    def unet(self, sample, timestep, encoder_hidden_states):
        told = encoder_hidden_states.mean((1, 2)).view(-1, 1, 1, 1)
        return torch.tanh(sample.roll(1, -1) * 0.7 + sample * 0.2 + torch.sin(timestep.view(-1, 1, 1, 1)) + 3 * told)

    def vae_decoder(self, latents):
        large = latents.repeat_interleave(8, 2).repeat_interleave(8, 3)
        return torch.einsum("bchw,cd->bdhw", large, COLOURS)


class Theirs(StableDiffusion):
    """The pipeline on torch, with these networks"""

    def __init__(self, config=SCHEDULE):
        networks = Networks()
        encoder = lambda ids: (networks.text_encoder(ids),)
        unet = lambda x, t, embeds: networks.unet(x, torch.as_tensor(t).float().expand(len(x)), embeds)
        unet = with_parts(unet, config=Config(in_channels=4, sample_size=16))
        unet.conv_in = SimpleNamespace(weight=torch.zeros(1))
        vae = SimpleNamespace(
            config=Config(block_out_channels=[1] * 4, latent_channels=4, scaling_factor=INFO["scaling_factor"])
        )
        vae.decode = lambda latents: networks.vae_decoder(latents * INFO["scaling_factor"])
        super().__init__(TOKENIZER, with_parts(encoder, device="cpu"), unet, vae, DDIM(config))


def with_parts(function, **parts):
    vars(function).update(parts)
    return function


class Page:
    """What slides/python/glue.py gives to networks.py, without a browser"""

    def __init__(self, config=SCHEDULE, waits=False):
        self.info, self.networks, self.waits = INFO | dict(scheduler=config), Networks(), waits
        self.steps, self.calls = [], 0

    def seen(self, *step):
        self.steps.append(step)

    def answer(self, x):
        async def later():
            await asyncio.sleep(0)
            return x

        return later() if self.waits else x

    def ask(self, network, inputs, output):
        self.calls += network == "unet"
        found = getattr(self.networks, network)(**{name: theirs(x) for name, x in inputs.items()})
        return self.answer(ours(self.run, found))

    def tokens(self, text):
        every = TOKENIZER(text, verbose=False).input_ids
        padded = TOKENIZER(text, padding="max_length", max_length=77, truncation=True).input_ids
        return self.answer(dict(ids=padded, all=every, dropped=TOKENIZER.decode(every[76:-1])))


def made(changes=(), config=SCHEDULE, waits=False):
    """A run of the page's, with regions changed"""
    page = Page(config, waits)
    page.run = run.Run(SOURCES, list(changes), page, waits)
    return page.run


def perform(given, cell, **names):
    return asyncio.run(given.perform(cell, names)) if given.waits else given.at_once(cell, names)


def small(config=SCHEDULE):
    """The pipeline on the small torch"""
    given = made(config=config)
    return given, perform(given, "pipe")


def ours(given, x):
    """A tensor of torch as one of the page's"""
    kind = given.load("torch")
    return kind.tensor(x.tolist(), dtype=kind.float32 if x.is_floating_point() else kind.int64)


def theirs(x):
    """A tensor of the page's as one of torch"""
    return torch.tensor(x.tolist(), dtype=getattr(torch, x.dtype.name))


def compare(name, mine, expected, most=2e-6):
    mine = theirs(mine)
    assert (mine.dtype, mine.shape) == (expected.dtype, expected.shape)
    far = ((mine.double() - expected.double()).abs().max() / expected.double().abs().max().clamp(min=1)).item()
    WORST[name] = max(WORST.get(name, 0), far)
    assert far <= most, (name, far)


# ---------------------------------------------------------------- region by region

CONFIGS = {
    "Postcard's": SCHEDULE,
    "epsilon": SCHEDULE | dict(prediction_type="epsilon"),
    "alpha one": SCHEDULE | dict(set_alpha_to_one=True, steps_offset=0),
    "zero snr": SCHEDULE | dict(rescale_betas_zero_snr=True),
    "clipped": SCHEDULE | dict(clip_sample=True, clip_sample_range=0.5),
}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


@each_config
def test_alphas(config):
    mine, expected = small(config)[1].scheduler, DDIM(config | dict(clip_sample=False, steps_offset=1))
    compare("alphas", mine.alphas_cumprod, expected.alphas_cumprod)
    compare("alphas", mine.final_alpha_cumprod, expected.final_alpha_cumprod)


@each_config
@pytest.mark.parametrize("steps", [1, 2, 25, 33, 999])
def test_set_timesteps(config, steps):
    mine, expected = small()[1].scheduler, DDIM(SCHEDULE)
    for scheduler in mine, expected:
        scheduler.set_timesteps(steps)
    compare("set_timesteps", mine.timesteps, expected.timesteps, 0)
    assert [t.item() for t in mine.timesteps] == expected.timesteps.tolist()


@each_config
def test_step_and_prediction(config):
    (given, pipe), expected = small(config), Theirs(config).scheduler
    x, output = torch.randn(2, 1, 4, 8, 8, generator=G)
    for scheduler in pipe.scheduler, expected:
        scheduler.set_timesteps(25)
    for i, t in enumerate(expected.timesteps):
        mine = pipe.scheduler.step(ours(given, output), pipe.scheduler.timesteps[i], ours(given, x))
        for name, one, other in zip(("step", "prediction"), mine, expected.step(output, t, x)):
            compare(name, one, other)


def test_add_noise():
    (given, pipe), expected = small(), DDIM(SCHEDULE)
    x0, noise, times = *torch.randn(2, 3, 4, 4, 6, generator=G), torch.tensor([999, 500, 0])
    for name in "add_noise", "get_velocity":
        mine = getattr(pipe.scheduler, name)(*(ours(given, x) for x in (x0, noise, times)))
        compare("add_noise", mine, getattr(expected, name)(x0, noise, times))


@pytest.mark.parametrize("guidance", [True, False])
@pytest.mark.parametrize("prompts", [[PROMPT], ["", "日の出 xylophone"], ["ship " * 90]], ids=["one", "two", "long"])
def test_encode_prompt(prompts, guidance, caplog):
    asked = prompts, [""] * len(prompts), guidance
    compare("encode_prompt", small()[1].encode_prompt(*asked), Theirs().encode_prompt(*asked), 0)
    told = [record.getMessage() for record in caplog.records if "truncated" in record.getMessage()]
    assert len(told) == (2 if len(prompts[0]) > 90 else 0) and len(set(told)) <= 1


@pytest.mark.parametrize(
    "asked", [(1, 128, 128, 42), (3, 96, 160, 2**32 + 5), (2, 8, 16, [7, 0]), (1, 8, 8, 3)], ids=str
)
def test_get_latents(asked):
    compare("get_latents", small()[1].get_latents(*asked), Theirs().get_latents(*asked))


@each_config
@pytest.mark.parametrize("guidance, steps", [(5, 25), (7.5, 3), (1, 4)])
def test_denoise(config, guidance, steps):
    (given, pipe), expected = small(config), Theirs(config)
    latents, embeds = (
        torch.randn(2, 4, 8, 6, generator=G),
        torch.randn(4 if guidance > 1 else 2, 77, WIDTH, generator=G),
    )
    seen = [], []
    mine = pipe.denoise(ours(given, latents), ours(given, embeds), steps, guidance, seen[0].append)
    far = 2e-4 if config["prediction_type"] == "epsilon" and config is not SCHEDULE else 2e-5  # divides by 0.07 first
    compare("denoise", mine, expected.denoise(latents, embeds, steps, guidance, seen[1].append), far)
    assert [step["t"] for step in seen[0]] == [step["t"] for step in seen[1]] and len(seen[0]) == steps
    for one, other in zip(*seen):
        for name in "latents", "noise_cond", "noise", "pred_x0":
            compare("denoise", one[name], other[name], far)


def test_decode():
    given, pipe = small()
    latents = torch.randn(2, 4, 3, 5, generator=G)
    for mine, expected in zip(pipe.decode(ours(given, latents)), Theirs().decode(latents), strict=True):
        assert mine.size == expected.size == (40, 24)
        assert np.abs(pixels(mine) - np.asarray(expected, dtype=int)).max() <= 1


def pixels(picture):
    return np.frombuffer(picture.tobytes(), dtype="uint8").reshape(picture.height, picture.width, 3).astype(int)


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waiting"])
def test_call(waits):
    """Also in a browser where each call of a network has to be awaited"""
    given = made(waits=waits)
    cell = "pipe(prompt, 'night', 64, 96, 5, 7.5, 3)"
    far = np.abs(pixels(perform(given, cell, prompt=PROMPT)) - np.asarray(Theirs()(PROMPT, "night", 64, 96, 5, 7.5, 3)))
    WORST["call"] = max(WORST.get("call", 0), far.max() / 255)
    assert far.max() <= 1 and given.page.calls == 5 and len(given.page.steps) == 5


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waiting"])
@pytest.mark.parametrize("file, name", [(file, name) for file, names in REGIONS.items() for name in names])
def test_a_region_in_its_own_place_changes_nothing(file, name, waits):
    call = "pipe('a ship', '', 32, 32, 2, 5, 3)"
    given = made([dict(module=file, region=name, code=region(file, name))], waits=waits)
    assert pixels(perform(given, call)).tolist() == pixels(perform(made(), call)).tolist()


@pytest.fixture(scope="module", autouse=True)
def worst(request):
    yield
    told = "  ".join(f"{name} {far:.1e}" for name, far in WORST.items())
    request.config.stash.setdefault("told", told)
    print(f"\nlargest differences: {told}")


# ---------------------------------------------------------------- ideas, and what can be wrong

IDEAS = json.loads((HERE / "ideas.json").read_text())


def with_idea(idea):
    """The region with the idea in it, as slides/python/regions.ts makes it"""
    lines = region(idea["module"], idea["region"]).split("\n")
    places = [i for i in range(len(lines)) if [x.strip() for x in lines[i : i + len(idea["from"])]] == idea["from"]]
    assert len(places) == 1, "the lines of an idea must be there, once"
    indent = lines[places[0]][: len(lines[places[0]]) - len(lines[places[0]].lstrip())]
    lines[places[0] : places[0] + len(idea["from"])] = [indent + line for line in idea["to"]]
    return dict(module=idea["module"], region=idea["region"], code="\n".join(lines))


class Postcard(Networks):
    """The real ones, for pictures that mean something"""

    def __init__(self):
        self.pipe = StableDiffusion.from_pretrained("postcard", device="cpu")

    @torch.no_grad()
    def text_encoder(self, input_ids):
        return self.pipe.text_encoder(input_ids)[0]

    @torch.no_grad()
    def unet(self, sample, timestep, encoder_hidden_states):
        return self.pipe.unet(sample, timestep, encoder_hidden_states)

    @torch.no_grad()
    def vae_decoder(self, latents):
        return self.pipe.vae.decode(latents / self.pipe.vae.config.scaling_factor)


def painter():
    """paint(changes, steps, side) -> the picture of the page's Python, with Postcard's networks"""
    networks = Postcard()
    info = INFO | dict(
        size=networks.pipe.size,
        embedding_size=networks.pipe.unet.config.cross_attention_dim,
        scaling_factor=networks.pipe.vae.config.scaling_factor,
    )

    def paint(changes=(), steps=6, side=128):
        given = made(changes)
        given.page.networks, given.page.info = networks, info
        return pixels(perform(given, None, **SETTINGS | dict(num_inference_steps=steps, height=side, width=side)))

    return paint


@pytest.fixture(scope="module")
def painted():
    return painter()


@pytest.fixture(scope="module")
def originals(painted):
    return {steps: painted(steps=steps) for steps in (6, 12)}


def test_there_are_twelve_ideas_and_more():
    names = [idea["name"] for idea in IDEAS]
    assert len(set(names)) == len(names) >= 12
    assert {(idea["module"], idea["region"]) for idea in IDEAS} <= {
        (f, n) for f, names in REGIONS.items() for n in names
    }
    assert max(len(line) for idea in IDEAS for line in idea["to"]) <= 96


@pytest.mark.parametrize("idea", IDEAS, ids=[idea["name"] for idea in IDEAS])
def test_an_idea_runs_and_changes_the_picture(idea, painted, originals):
    steps = 12 if "i == 6" in str(idea["to"]) else 6
    far = np.abs(painted([with_idea(idea)], steps) - originals[steps]).mean()
    assert far > 2, f"nobody sees a difference of {far:.1f} of 255"


def edited(file, name, old, new):
    code = region(file, name)
    assert old in code
    return dict(module=file, region=name, code=code.replace(old, new))


LINES = {name: region("pipeline", name).split("\n") for name in REGIONS["pipeline"]}
LOOP, CALLED, REPORTED = (
    next(i for i, line in enumerate(LINES["denoise"], 1) if text in line)
    for text in ("noise = noise_uncond + guidance", "self.unet(torch.cat", "report(callback")
)
GUIDED = "noise_uncond + guidance_scale * (noise_cond - noise_uncond)"
WRONG = {  # what is changed -> what is said, and in which line
    "a typing error": (("denoise", GUIDED, "nois_uncond + noise_cond"), "name 'nois_uncond' is not defined", LOOP),
    "a syntax error": (("denoise", GUIDED, "noise_uncond +"), "SyntaxError: invalid syntax", LOOP),
    "a bracket left open": (("denoise", GUIDED, "(noise_uncond"), "SyntaxError: '(' was never closed", LOOP),
    "a line too far right": (
        ("denoise", "noise = noise_uncond +", "  noise = noise_uncond +"),
        "unexpected indent",
        LOOP,
    ),
    "a signature changed": (("denoise", "denoise(self, ", "denoise(self, *, "), "takes 1 positional argument", None),
    "nothing returned": (("denoise", "    return latents", "    latents"), "latents must be a tensor", None),
    "no prompt returned": (("encode_prompt", "return torch.cat", "torch.cat"), "(encode_prompt returns nothing", None),
    "NaN": (
        ("denoise", "latents = step.prev", "latents = float('nan') * step.prev"),
        "NaN or infinity in the latents after step 2",
        REPORTED,
    ),
    "another shape": (
        ("get_latents", "return torch.cat(noise)", "return torch.cat(noise, 1)[0]"),
        "must be a tensor",
        None,
    ),
    "other channels": (
        ("get_latents", "shape = (1, ", "shape = (1, 2 * "),
        "latents must be a tensor (B, 4, h, w)",
        None,
    ),
    "halves of one prompt": (("denoise", "torch.cat([x, x])", "x"), "prompt_embeds must be a tensor (1, 77,", CALLED),
    "a module": (
        ("denoise", GUIDED, "__import__('nothing_such')"),
        "nothing_such is not in this page's Python; it has",
        LOOP,
    ),
    "a part of torch": (
        ("denoise", GUIDED, "torch.fft.fft(x)"),
        "torch.fft is not in this page's small torch; it has",
        LOOP,
    ),
    "a method": (("denoise", GUIDED, "x.svd()"), "Tensor.svd is not in this page's small torch; it has", LOOP),
    "the page": (("denoise", GUIDED, "__import__('js').document"), "js is not for code in this page", LOOP),
    "half precision": (("denoise", GUIDED, "x.to(torch.float16)"), "torch.float16 is not in this page's small", LOOP),
    "exit": (("denoise", GUIDED, "__import__('sys').exit(1)"), "SystemExit: 1", LOOP),
    "too long": (("denoise", "latents = step.prev_sample", "pass\n" * 30_000), "at most 100,000 are run", None),
    "deeper and deeper": (("denoise", GUIDED, "(lambda f: f(f))(lambda f: f(f))"), "maximum recursion depth", LOOP),
    "a part of a tensor written to": (("denoise", GUIDED, "x; x[0][1] = 3"), "write x[0, 1] = ...", LOOP),
    "shapes that do not fit": (("denoise", GUIDED, "x + torch.ones(3)"), "do not fit each other", LOOP),
}


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waiting"])
@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line_and_the_next_run_works(case, waits):
    (name, old, new), says, line = WRONG[case]
    small = dict(SETTINGS, prompt="a ship", height=32, width=32, num_inference_steps=2)
    with pytest.raises(run.Wrong) as wrong:
        perform(made([edited("pipeline", name, old, new)], waits=waits), None, **small)
    told = wrong.value
    assert says in str(told) and "\n" not in str(told) and len(str(told)) < 900
    assert (told.region, told.line) == (name, line)
    assert perform(made(waits=waits), None, **small).size == (32, 32)


def test_what_a_browser_that_cannot_wait_refuses():
    for inside, line in (
        ("list(map(lambda x: self.unet(x, t, prompt_embeds), [x]))[0]", LOOP),
        ("sum(self.unet(x, t, prompt_embeds) for _ in [1])", LOOP),
    ):
        with pytest.raises(run.Wrong, match="in this browser a network cannot be called in a") as wrong:
            perform(made([edited("pipeline", "denoise", GUIDED, inside)], waits=True), "pipe('a ship')")
        assert (wrong.value.region, wrong.value.line) == ("denoise", line)


def test_a_region_within_a_region():
    changes = [dict(module="scheduler", region=name, code=region("scheduler", name)) for name in ("prediction", "step")]
    for order in changes, changes[::-1]:
        with pytest.raises(run.Wrong, match="lies within"):
            made(order)
    with pytest.raises(run.Wrong, match="there is no region nowhere"):
        made([dict(module="pipeline", region="nowhere", code="")])


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waiting"])
def test_a_cell(waits, capsys):
    """The notebooks' own first cell, and one with a loop of its own"""
    given = made(waits=waits)
    cell = "from sdscope import StableDiffusion\n\npipe = StableDiffusion.from_pretrained('postcard')\n"
    assert perform(given, cell + "image = pipe('a ship', '', 32, 48, 2)\nprint(image.size)\nimage").size == (48, 32)
    assert capsys.readouterr().out == "(48, 32)\n"
    own = """
from PIL import Image
import torch

def paint(text, times=3):
    embeds = pipe.encode([text])
    x = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
    for t in range(times):
        x = x - 0.1 * pipe.unet(x, t, embeds)
    return [pipe.decode(x) for _ in range(2)]

[picture.size for (picture,) in paint("a ship")]"""
    assert perform(made(waits=waits), own, seed=3) == [(32, 32)] * 2
    with pytest.raises(run.Wrong, match='this page has one model, "postcard"'):
        perform(made(waits=waits), "StableDiffusion.from_pretrained('sd21')")
    with pytest.raises(run.Wrong, match="ZeroDivisionError") as wrong:
        perform(made(waits=waits), "x = 1\n\nx / 0")
    assert (wrong.value.region, wrong.value.line) == (None, 3)


def sheet(paint, columns=6, side=204):
    """The picture as it was, and of every idea, with its name below"""
    changes = {"as it was": []} | {idea["name"]: [with_idea(idea)] for idea in IDEAS}
    page = Image.new("RGB", (columns * side, -(-len(changes) // columns) * (side + 22)), "white")
    for i, (name, change) in enumerate(changes.items()):
        x, y = i % columns * side + 6, i // columns * (side + 22) + 6
        picture = Image.fromarray(paint(change, USUAL["num_inference_steps"], None).astype("uint8"))
        page.paste(picture.resize((side - 12, side - 12), Image.Resampling.LANCZOS), (x, y))
        ImageDraw.Draw(page).text((x, y + side - 10), name, fill="black")
    return page


if __name__ == "__main__":  # make ideas
    sheet(painter()).save(ROOT / "docs/ideas.webp", quality=90)
