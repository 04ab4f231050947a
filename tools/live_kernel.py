"""What the Jupyter kernel of `make talk` does: sdscope with some of its lines changed, or a notebook's cell.

run('{"changes": [{"module": "unet", "region": "attend", "code": "..."}], "settings": {"prompt": "a ship"}}')

Tasks and what is sent back are as in slides/python/types.ts; live.py starts the kernel and passes them on. Every run
imports the package anew with the changed lines in its source, and loads the model with it: as if the file had been
edited, which it is not. So a run always begins from the code as it was, plus its changes.
"""

import ast
import base64
import dis
import gc
import importlib
import importlib.abc
import importlib.util
import io
import json
import os
import re
import resource
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from textwrap import indent
from types import CodeType, SimpleNamespace

import matplotlib.pyplot as plt
import torch
from IPython import get_ipython
from IPython.display import publish_display_data
from matplotlib.animation import Animation
from matplotlib.figure import Figure
from PIL import Image

import sdscope
from sdscope.errors import SdscopeError
from sdscope.steps import usual

ROOT = Path(__file__).parents[1]
PACKAGE = Path(sdscope.__file__).parent
RUNS = os.environ.get("SDSCOPE_RUNS", "")
MIME = "application/vnd.sdscope.live+json"
MARKER = re.compile(r"\s*# (end)?region ([\w-]+)\s*$")
CELL = "<cell>"
LONGEST = 4000  # characters of a value or an error
WIDTH = 364  # CSS pixels that the slides have for it

ORIGINAL = sdscope.StableDiffusion.from_pretrained("postcard")  # decodes what steps aim at, whatever is changed

# A list that grows for ever is an error in Python, before it takes the whole machine. (Not on macOS: there it is not.)
memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
with suppress(ValueError):  # less is allowed already
    resource.setrlimit(resource.RLIMIT_DATA, (memory // 2, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def run(task: str) -> None:
    """One task, to its end: sends what comes of it, at last `done` or `failed`."""
    task, places, asked, began = json.loads(task), [], [], time.monotonic()
    count = lambda part, *_: asked.append(part) if type(part).__name__ == "UNet2DConditionModel" else None
    counting = torch.nn.modules.module.register_module_forward_hook(count)
    try:
        with left_alone():
            import_with(task["changes"], places)
            shown = run_cell(task, places) if "cell" in task else paint(task)
            end = {"done": result(shown) | {"steps": len(asked), "seconds": time.monotonic() - began}}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() too
        end = {"failed": {"kind": "error", **tell(error, places)}}
    finally:
        counting.remove()
        sys.stdout.flush()
        sys.stderr.flush()
    send(**end)


def send(**event) -> None:
    """state, step, done or failed: a display of a kind of our own"""
    publish_display_data({MIME: event})


@contextmanager
def left_alone():
    """Of what code may set for the whole process, what is easily set: as it was, afterwards."""
    dtype = torch.get_default_dtype()
    try:
        with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(True):
            yield
    finally:
        torch.set_default_dtype(dtype)
        plt.close("all")


# ------------------------------------------------------------------ the package, with some lines changed


class Changed(importlib.abc.MetaPathFinder):
    """Finds modules in `texts`, {name: (path, text)}, before anybody looks at their files."""

    texts = {}

    def find_spec(self, name, path=None, target=None):
        if name in self.texts:
            file, text = self.texts[name]
            return importlib.util.spec_from_file_location(name, file, loader=FromText(name, file, text))
        return None


class FromText(SourceFileLoader):
    def __init__(self, name, path, text):
        super().__init__(name, path)
        self.text = text

    def get_code(self, fullname):
        return compile(self.text, self.path, "exec", dont_inherit=True)


changed = Changed()
sys.meta_path.insert(0, changed)


def import_with(changes: list[dict], places: list) -> None:
    """Who imports sdscope from now on gets the changed one. places: gets where in which file the changes now are."""
    changed.texts = {}
    for module in dict.fromkeys(change["module"] for change in changes):
        if not re.fullmatch(r"\w+(/\w+)*", module) or not (PACKAGE / f"{module}.py").is_file():
            raise SdscopeError(f"there is no {module}.py in sdscope")
        path = str(PACKAGE / f"{module}.py")
        text = splice(path, {c["region"]: c["code"] for c in changes if c["module"] == module}, places)
        compile(text, path, "exec")  # what does not parse is told even of a module that nobody imports
        changed.texts[f"sdscope.{module.replace('/', '.')}"] = (path, text)
    for name in [name for name in sys.modules if name.partition(".")[0] == "sdscope"]:
        del sys.modules[name]
    gc.collect()  # the model of the run before
    os.environ["SDSCOPE_RUNS"] = "" if changes else RUNS  # kept runs know the package by its files
    pipeline = importlib.import_module("sdscope.pipeline")
    pipeline.report = partial(watched, pipeline.report)


def splice(path: str, regions: dict[str, str], places: list) -> str:
    """The file's text with other code in these regions, moved as far to the right as what was there."""
    lines, kept, done = Path(path).read_text().splitlines(), [], 0
    for first, last, region in sorted((*span(lines, region, path), region) for region in regions):
        if first < done:
            raise SdscopeError(f"{region} is a part of what is changed already: put one of the two back")
        margin = min((len(line) - len(line.lstrip()) for line in lines[first:last] if line.strip()), default=0)
        code = indent(regions[region], " " * margin).splitlines()
        kept += lines[done:first]
        places.append(SimpleNamespace(file=path, region=region, before=len(kept), lines=len(code)))
        kept, done = kept + code, last
    return "\n".join(kept + lines[done:]) + "\n"


def span(lines: list[str], region: str, path: str) -> tuple[int, int]:
    """lines[first:last] are the region, without its markers."""
    marks = [i for i, line in enumerate(lines) if (mark := MARKER.match(line)) and mark[2] == region]
    if len(marks) != 2:
        raise SdscopeError(f"{Path(path).name} has no region {region}")
    return marks[0] + 1, marks[1]


# ------------------------------------------------------------------ what is run

watching = True  # the steps of a run are sent
SETTINGS = {"num_inference_steps": "steps", "guidance_scale": "guidance", "height": "size"}  # as notebooks call them
USUAL = usual(sdscope.StableDiffusion.__call__)
ALONE = [  # what a cell of no notebook finds
    (
        "parameters",
        f'prompt, negative_prompt, seed, steps = "a ship", "", 42, {USUAL["num_inference_steps"]}\n'
        f'guidance, size, model = {USUAL["guidance_scale"]}, None, "postcard"',
    ),
    ("pipe", "from sdscope import StableDiffusion\n\npipe = StableDiffusion.from_pretrained(model)"),
]


def paint(task: dict):
    """pipe(prompt, ...), and what its steps aim at; or what shows more of a region that painting never calls"""
    for change in task["changes"]:
        if show := ELSEWHERE.get((change["module"], change["region"])):
            return show()
    send(state="loading")
    pipe = importlib.import_module("sdscope").StableDiffusion.from_pretrained("postcard")
    send(state="painting")
    return pipe(**{"seed": 42} | task["settings"])


def watched(report, callback, *step):
    """report of steps.py; besides its callback, we hear of a step"""
    report(lambda step: (send_step(step), callback and callback(step)), *step)


@contextmanager
def unwatched():
    global watching
    watching = False
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        watching = True


def send_step(step: dict) -> None:
    if not watching:
        return
    x0, picture = step["pred_x0"], None
    with suppress(Exception):  # of another shape, or no numbers: then there is none
        picture = pixels(ORIGINAL.decode(x0[:1])[0])
    x0 = None if x0 is None else tensor(x0[0])
    send(
        step={"i": step["i"], "t": step["t"], "latents": tensor(step["latents"][0]), "pred_x0": x0, "picture": picture}
    )


def scene():
    """A pipe, a scene of Postcard's painter, its latents, and noise"""
    pipe = importlib.import_module("sdscope").StableDiffusion.from_pretrained("postcard")
    world, painter = (importlib.import_module(f"sdscope.postcard.world.{name}") for name in ("scene", "paint"))
    ship = world.Scene("sea", "sunrise", "clear", "oil", (world.Thing("ship", "red"),), 42)
    x = importlib.import_module("sdscope.pixels").to_tensor(painter.paint(ship, pipe.size, pipe.size))
    latents = pipe.vae.encode(x.to(pipe.unet.conv_in.weight))[0] * pipe.vae.config.scaling_factor
    return pipe, ship, latents, pipe.get_latents(1, pipe.size, pipe.size, 42)


@torch.no_grad()
def forward_process():
    """add_noise: a scene's latents at six times, decoded"""
    pipe, _, latents, noise = scene()
    times = [0, 200, 400, 600, 800, 999]
    return {f"t = {t}": pipe.decode(pipe.scheduler.add_noise(latents, noise, torch.tensor([t])))[0] for t in times}


@torch.no_grad()
def losses():
    """loss: of a scene and its caption, at five times"""
    pipe, ship, latents, noise = scene()
    caption = importlib.import_module("sdscope.postcard.world.captions").prompt(ship)
    loss = importlib.import_module("sdscope.postcard.training.diffusion").DiffusionLoss(pipe.text_encoder, pipe.unet)
    ids = pipe.tokenizer(caption, padding="max_length", truncation=True, return_tensors="pt").input_ids
    print(caption)
    for t in (1, 250, 500, 750, 999):
        at, add, velocity = torch.tensor([t]), pipe.scheduler.add_noise, pipe.scheduler.get_velocity
        value = loss(add(latents, noise, at), at, ids.to(latents.device), velocity(latents, noise, at))
        print(f"t = {t:3}  loss {float(value):.4f}")


ELSEWHERE = {("scheduler", "add_noise"): forward_process, ("postcard/training/diffusion", "loss"): losses}


def run_cell(task: dict, places: list):
    """A notebook's cell, as it is now, in names of its own, after the cells that give it its names. Returns what it
    shows: its last expression, or what it displayed or plotted, or else the pictures or latents that it made."""
    source, names, displayed = task["cell"], {"__name__": "__main__"}, []
    places.append(SimpleNamespace(file=CELL, region=None, before=0, lines=len(source.splitlines())))
    tree = ast.parse(source, CELL)
    first = needed(source, cells_before(task["cellOf"]) if "cellOf" in task else ALONE)
    if first:
        send(state="before", cells=[tag for tag, _ in first])
    with unwatched():
        for tag, cell in first:
            exec(compile(cell, f"<cell {tag}>", "exec"), names)
            if tag == "parameters":
                names |= {SETTINGS.get(name, name): value for name, value in task["settings"].items()}
    send(state="cell")
    plt.close("all")  # what those before it have plotted
    names["display"] = displayed.append
    last = tree.body.pop().value if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, CELL, "exec"), names)
    shown = last and eval(compile(ast.Expression(last), CELL, "eval"), names)
    if plt.get_fignums():
        return plt.gcf()
    if shown is None and displayed:
        return displayed[-1]
    return made(source, names) if shown is None else shown


def made(source: str, names: dict):
    for name in reversed(reads_and_binds(source)[1]):
        value = names.get(name)
        if name == "latents" and isinstance(value, torch.Tensor) and hasattr(names.get("pipe"), "decode"):
            return names["pipe"].decode(value)
        if pictures(value):
            return value
    return None


def cells_before(cell_of: str) -> list[tuple[str, str]]:
    """(tag, source) of what comes before "NOTEBOOK#TAG" """
    notebook, _, tag = cell_of.partition("#")
    path = ROOT / "notebooks" / f"{notebook}.ipynb"
    if not re.fullmatch(r"\w+", notebook) or not path.is_file():
        raise SdscopeError(f"there is no notebook {notebook}")
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    tags = [(cell["metadata"].get("tags") or [f"cell {i + 1}"])[0] for i, cell in enumerate(cells)]
    if tag not in tags:
        raise SdscopeError(f"{notebook} has no cell {tag}")
    texts = zip(tags, ("".join(cell["source"]) for cell in cells[: tags.index(tag)]))
    return [(tag, text) for tag, text in texts if tag != "install"]  # everything is, and it is not all Python


def needed(source: str, cells: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of the cells before it that code needs, directly or not: for each name the last one that binds it."""
    found, need = [], reads_and_binds(source)[0]
    for tag, text in reversed(cells):
        reads, binds = reads_and_binds(text)
        if need & set(binds):
            found.insert(0, (tag, text))
            need = need - set(binds) | reads
    return found


def reads_and_binds(source: str) -> tuple[set[str], list[str]]:
    """The names that code reads before it binds them, and those that it binds: as its instructions have them."""
    reads, binds = set(), []
    for op in dis.get_instructions(compile(source, CELL, "exec")):
        if op.opname == "STORE_NAME":
            binds.append(op.argval)
        elif op.argval == "set_grad_enabled":  # from here on, torch is another
            binds.append("torch")
        elif op.opname == "LOAD_NAME":
            reads |= {op.argval} - set(binds)
        elif isinstance(op.argval, CodeType):
            reads |= names_in(op.argval) - set(binds)
    return reads, binds


def names_in(code: CodeType) -> set[str]:
    """What a function, a class or a comprehension reads of the names around it, and what those within it read"""
    ops = {op.argval for op in dis.get_instructions(code) if op.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return ops.union(*(names_in(part) for part in code.co_consts if isinstance(part, CodeType)))


# ------------------------------------------------------------------ what is sent back


def result(shown) -> dict:
    """Anything -> picture and value, as slides/python/types.ts has them"""
    some = pictures(shown)
    if len(some) == 1:
        return {"picture": pixels(some[0]), "value": None}
    if some:
        figures = importlib.import_module("sdscope.figures")
        named = {str(name): picture for name, picture in shown.items()} if isinstance(shown, dict) else None
        rows = [some[i : i + 3] for i in range(0, len(some), 3)]
        shown = figures.trials({"": named}, columns=3, width=WIDTH) if named else figures.gallery(rows, width=WIDTH)
    return {"picture": None, "value": None if shown is None else value(shown)}


def pictures(value) -> list:
    """[picture] of one; all of a list or a dict that holds nothing else; otherwise none"""
    if isinstance(value, Image.Image):
        return [value]
    parts = list(value.values()) if isinstance(value, dict) else value
    return parts if isinstance(parts, list) and all(isinstance(part, Image.Image) for part in parts) else []


def value(shown) -> dict:
    """{"image": a data: URL} of what is drawn, or {"text": ...} as Jupyter shows it"""
    if isinstance(shown, Figure):
        file = io.BytesIO()
        shown.savefig(file, format="png", dpi=150, bbox_inches="tight")
        return {"image": url(file.getvalue(), "png")}
    if isinstance(shown, Animation):
        with tempfile.NamedTemporaryFile(suffix=".gif") as file:
            shown.save(file.name, writer="pillow")
            return {"image": url(file.read(), "gif")}
    forms, _ = get_ipython().display_formatter.format(shown)
    if image := re.search(r'src="(data:image/[^"]+)"', forms.get("text/html", "")):  # the project's own figures
        return {"image": image[1]}
    return {"text": forms.get("text/plain", "")[:LONGEST]}


def url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{code(data)}"


def pixels(image: Image.Image) -> dict:
    return {"width": image.width, "height": image.height, "rgba": code(image.convert("RGBA").tobytes())}


def tensor(x: torch.Tensor) -> dict:
    return {"dims": list(x.shape), "data": code(x.detach().cpu().float().contiguous().numpy().tobytes())}


def code(data: bytes) -> str:
    return base64.b64encode(data).decode()


def tell(error: BaseException, places: list) -> dict:
    """One line, and where in the changed code: the innermost of its lines that was run, or what does not parse."""
    parsing = isinstance(error, SyntaxError)
    lines = "".join(traceback.format_exception_only(error)).strip().splitlines()
    message = re.sub(r"^(\w+\.)+", "", lines[-1] if parsing else lines[0]).removeprefix("SdscopeError: ")[:LONGEST]
    spots = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    if parsing:
        spots.append((error.filename, error.lineno))
    for file, line in reversed(spots):
        for place in reversed(places):
            # that a block has no end is seen only below it
            if file == place.file and place.before < line and (parsing or line <= place.before + place.lines):
                message = re.sub(r"on line (\d+)", lambda n: f"on line {int(n[1]) - place.before}", message)  # noqa: B023
                return {"message": message, "region": place.region, "line": min(line - place.before, place.lines)}
    return {"message": message}
