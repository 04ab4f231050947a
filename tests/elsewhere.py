"""What needs no torch, for any Python to run: prints what it gives, as JSON. tests/test_pythons.py compares.

PYTHONPATH=src python tests/elsewhere.py
"""

import ast
import asyncio
import dis
import hashlib
import json
import math
import sys
import warnings
from pathlib import Path
from types import CodeType

import numpy as np

from sdscope.postcard.world.captions import caption
from sdscope.postcard.world.depth import depth
from sdscope.postcard.world.masks import draw_mask
from sdscope.postcard.world.paint import paint
from sdscope.postcard.world.scene import Scene, labels

ROOT = Path(__file__).parents[1]

warnings.simplefilter("error")  # of what the next Python takes away


def sha256(data):
    return hashlib.sha256(data).hexdigest()[:12]


def world():
    """Scenes, their pictures, depths and masks, and what is said of them"""
    for seed in range(24):
        scene, rng = Scene.random(seed), np.random.default_rng(seed)
        made = paint(scene, 96, 64), depth(scene, 96, 64), draw_mask(scene, rng, 96, 64)
        yield [*(sha256(picture.tobytes()) for picture in made), caption(scene, rng), [int(x) for x in labels(scene)]]


class Page:
    """To the page's Python: networks of one line each, on its own tensors"""

    def __init__(self, waits):
        config = json.loads((ROOT / "src/sdscope/postcard/weights/scheduler/scheduler_config.json").read_text())
        self.info = dict(latent_channels=4, size=64, factor=8, scaling_factor=0.33, embedding_size=3)
        self.info |= dict(scheduler=config, tokens=dict(length=77, end=9, pad=9))
        self.seen, self.waits = lambda *step: None, waits

    def answer(self, x):
        async def later():
            return x

        return later() if self.waits else x

    def tokens(self, text):
        ids = [8, *map(len, text.split())]
        return self.answer(dict(ids=ids + [9] * (77 - len(ids)), all=ids, dropped=""))

    def ask(self, network, inputs, output):
        torch = self.run.load("torch")
        if network == "text_encoder":
            found = [[[math.sin(i + k) for k in range(3)] for i in row] for row in inputs["input_ids"].tolist()]
        elif network == "unet":
            words = [sum(sum(row) for row in embeds) for embeds in inputs["encoder_hidden_states"].tolist()]
            found = (inputs["sample"] * 0.6 + torch.tensor(words).view(-1, 1, 1, 1)).tolist()
        else:
            rows = [[[x for x in row for _ in range(8)] for row in channel for _ in range(8)]
                    for channel in inputs["latents"][0].tolist()[:3]]  # fmt: skip
            found = [rows]
        return self.answer(torch.tensor(found))


def small_torch():
    """A picture by pipeline.py and scheduler.py on the page's small torch, at once and where each call is awaited"""
    modules = {}
    for name in "waiting", "run":  # on no path: torch.py beside them would be taken for torch
        path = ROOT / f"slides/python/{name}.py"
        modules[name] = sys.modules[name] = type(sys)(name)
        exec(compile(path.read_text(), path, "exec"), vars(modules[name]))
    sources = {path.stem: path.read_text() for path in (ROOT / "slides/python").glob("*.py")}
    sources |= {x: (ROOT / f"src/sdscope/{x.replace('.', '/')}.py").read_text() for x in modules["run"].REAL}
    for waits in False, True:
        page = Page(waits)
        page.run = modules["run"].Run(sources, [], page, waits)
        cell, names = "pipe('a ship at sunrise', 'night', 64, 64, 4, 5.0, 3)", {}
        picture = asyncio.run(page.run.perform(cell, names)) if waits else page.run.at_once(cell, names)
        yield sha256(picture.tobytes())


def notebooks():
    """Every cell: which of those before it `make talk` runs first. That is read from Python's own instructions."""
    scope = dict(ast=ast, dis=dis, CodeType=CodeType, CELL="<cell>")
    tree = ast.parse((ROOT / "tools/live_kernel.py").read_text())
    wanted = [x for x in tree.body if getattr(x, "name", "") in ("needed", "reads_and_binds", "names_in")]
    exec(compile(ast.Module(wanted, []), "live_kernel", "exec"), scope)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        before = []
        for cell in json.loads(path.read_text())["cells"]:
            source, tags = "".join(cell["source"]), cell["metadata"].get("tags", [])
            if cell["cell_type"] == "code" and "install" not in tags:
                before.append((f"{path.stem} {tags or len(before)}", source))
                yield [tag for tag, _ in scope["needed"](source, before[:-1])]


def parses():
    """Every file of ours; a warning would be an error"""
    for folder in "src", "tools", "tests", "slides":
        for path in sorted((ROOT / folder).rglob("*.py")):
            compile(path.read_text(), path, "exec", dont_inherit=True)
            yield str(path.relative_to(ROOT))


if __name__ == "__main__":
    print(json.dumps({part.__name__: list(part()) for part in (world, small_torch, notebooks, parses)}))
