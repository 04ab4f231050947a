"""Who may import whom: between the rooms of src/sdscope, arrows go one way."""

import ast
import subprocess
import sys
from importlib.util import resolve_name
from pathlib import Path

import pytest

import sdscope

SOURCE = Path(sdscope.__file__).parents[1]
# from the ground up: a room imports from the floors below its own, and of its own floor only itself
FLOORS = [
    {"errors", "version"},
    {"files"},
    {"loading", "pictures", "pixels", "vocabulary"},
    {"inputs", "steps", "tiling", "unet"},
    {"scheduler", "vae"},
    {"flow", "pipeline", "preprocess", "samplers", "shapes"},
    {"variants"},
    {"image_to_image", "inpaint", "depth_to_image", "upscale", "lora"},
    {"dreambooth", "trace"},
    {"figures"},
    {"publish"},
]
MAY = {room: set().union(*FLOORS[:i]) for i, floor in enumerate(FLOORS) for room in floor}
MAY |= {
    "postcard": set(),
    "postcard.world": {"errors"},
    "postcard.training": MAY["trace"] | {"dreambooth", "postcard.world"},
    "web": MAY["figures"],
    "cli": {*MAY, "postcard.world", "postcard.training", "web"},
    "": {"errors", "version", "pipeline"},  # the package itself, which nobody imports
}


def room(name):
    """sdscope.trace.hooks -> trace, sdscope.postcard.world.paint -> postcard.world"""
    parts = name.split(".")[1:]
    return ".".join(parts[: 2 if parts[:1] == ["postcard"] else 1])


def imported(source, package):
    """The full names of all that is imported, within functions too"""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def wrong(source, module, package):
    """What this module may not import. A room that is not in the list may nothing."""
    ours = [name for name in imported(source, package) if name.split(".")[0] == "sdscope"]
    return [name for name in ours if room(name) not in {room(module), *MAY.get(room(module), ())}]


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_arrow_points_back(path):
    package, name = ".".join(path.relative_to(SOURCE).parent.parts), path.stem
    module = package if name == "__init__" else f"{package}.{name}"
    assert room(module) in MAY and wrong(path.read_text(), module, package) == []


@pytest.mark.parametrize(
    "module, source",
    [
        ("sdscope.unet", "from .trace import trace"),
        ("sdscope.unet", "def f():\n    import sdscope.figures.base"),
        ("sdscope.loading.hub", "from ..inputs import check"),
        ("sdscope.trace.hooks", "from .. import figures"),
        ("sdscope.figures.base", "from ..publish.manifest import saver"),
        ("sdscope.publish.make", "from ..cli import say"),
        ("sdscope.files", "from . import SdscopeError"),
        ("sdscope.figures.runs", "from .. import StableDiffusion"),
        ("sdscope.inputs", "import sdscope"),
        ("sdscope.postcard.world.paint", "from ...vae import AutoencoderKL"),
        ("sdscope.postcard.world.paint", "from ..training import data"),
        ("sdscope.postcard.training.data", "from ...figures import Sheet"),
        ("sdscope.attic.box", "from ..errors import SdscopeError"),
    ],
)
def test_a_wrong_arrow_is_seen(module, source):
    package = module.rpartition(".")[0]
    assert len(wrong(source, module, package)) == 1
    assert wrong("from torch import nn\nfrom . import other", "sdscope.trace.hooks", "sdscope.trace") == []


def test_the_painter_needs_no_torch():
    names = [f"sdscope.postcard.world.{path.stem}" for path in (SOURCE / "sdscope/postcard/world").glob("[!_]*.py")]
    script = f"import sys, {', '.join(names)}; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert len(names) > 5 and run.stdout.strip() == "False"
