"""The notebooks as they are committed, and what they made (`make build` executes them before the tests)."""

import hashlib
import json
import re
from pathlib import Path

import nbformat
import papermill
import pytest
from PIL import Image

from sdscope.figures import manifest
from sdscope.figures.base import SCALE
from sdscope.figures.notebooks import REPOSITORY

ROOT = Path(__file__).parents[1]
PUBLIC = ROOT / "public"
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in PATHS}
EXAMPLE = "painting depicting the sea, sunrise, ship"
needs_build = pytest.mark.skipif(not (PUBLIC / "manifest.json").exists(), reason="run `make build` first")

notebooks = pytest.mark.parametrize("name", NOTEBOOKS)


def code_cells(name):
    return [cell for cell in NOTEBOOKS[name].cells if cell.cell_type == "code"]


def tagged(name):
    return {tag: cell.source for cell in code_cells(name) for tag in cell.metadata.get("tags", [])}


def saved(name):
    """{figure: tags of the cell that saves it}"""
    found = {}
    for cell in code_cells(name):
        for figure in re.findall(r'^save\(fig, "([^"]+)"', cell.source, re.M):
            assert figure not in found, f"{figure} is saved twice"
            found[figure] = cell.metadata.get("tags", [])
    return found


def test_there_are_four():
    assert list(NOTEBOOKS) == ["02_encode_prompt", "03_get_latents", "04_denoise", "07_vae"]


@notebooks
def test_committed_without_outputs_and_with_short_cells(name):
    nbformat.validate(NOTEBOOKS[name])
    for cell in code_cells(name):
        assert not cell.outputs and cell.execution_count is None
        assert len(cell.source.splitlines()) <= 12, cell.source
        lines = [line for line in cell.source.splitlines() if "%pip" not in line]
        assert max(map(len, lines)) <= 110, cell.source


@notebooks
def test_badge_and_install_name_this_repository(name):
    slug = REPOSITORY.removeprefix("https://github.com/")
    first = NOTEBOOKS[name].cells[0].source
    assert f"https://colab.research.google.com/github/{slug}/blob/main/notebooks/{name}.ipynb" in first
    install = tagged(name)["install"]
    assert f"git+{REPOSITORY}" in install and 'if "google.colab" in sys.modules' in install


@notebooks
def test_papermill_can_change_the_parameters(name, tmp_path):
    path = str(ROOT / "notebooks" / f"{name}.ipynb")
    parameters = papermill.inspect_notebook(path)
    assert {k: v["default"] for k, v in parameters.items()} == {
        "prompt": f'"{EXAMPLE}"', "seed": "42", "steps": "25", "guidance": "5.0", "model": '"postcard"',
    }  # fmt: skip
    changed = papermill.execute_notebook(path, None, {"seed": 7}, prepare_only=True)
    tags = [cell.metadata.get("tags", []) for cell in changed.cells]
    assert tags.index(["injected-parameters"]) == tags.index(["parameters"]) + 1


@notebooks
def test_every_figure_has_a_cell_tagged_with_its_name(name):
    assert saved(name)
    for figure, tags in saved(name).items():
        assert Path(figure).stem in tags, figure
    assert f'figures.saver("{name}"' in "".join(cell.source for cell in code_cells(name))
    tags = [tag for cell in code_cells(name) for tag in cell.metadata.get("tags", [])]
    assert len(tags) == len(set(tags)), "a tag is there twice"


def test_no_two_notebooks_save_the_same_figure():
    names = [figure for name in NOTEBOOKS for figure in saved(name)]
    assert len(names) == len(set(names))


@needs_build
def test_the_manifest_is_what_the_notebooks_save_and_what_is_there():
    entries = manifest.read(PUBLIC)
    assert {k: v["notebook"] for k, v in entries.items()} == {f: name for name in NOTEBOOKS for f in saved(name)}
    assert set(entries) == {p.name for p in (PUBLIC / "figures").iterdir()}
    for figure, entry in entries.items():
        path = PUBLIC / "figures" / figure
        assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (entry["width"], entry["height"]) == Image.open(path).size
        assert entry["width"] <= 884 * SCALE
        assert path.stat().st_size < 400_000, f"{figure} has {path.stat().st_size} bytes"
        assert entry["alt"] and entry["model"]


@needs_build
@notebooks
def test_excerpts_are_cut_from_the_notebooks_that_are_here(name):
    for tag, source in tagged(name).items():
        assert (ROOT / "embed" / name / f"{tag}.py").read_text() == source.rstrip() + "\n"


@needs_build
def test_the_pictures_come_from_the_weights_that_are_here():
    from sdscope.checkpoint import find_model

    assert {e["model_sha256"] for e in manifest.read(PUBLIC).values()} == {manifest.weights_sha256(find_model("postcard"))}


@needs_build
def test_the_example_is_painted_again():
    """ship.webp of the manifest against a fresh run: the same bytes on the machine that made it.

    Another processor or torch may round differently: then the pixels are equal within 2 of 255 on average.
    """
    import numpy as np

    from sdscope import StableDiffusion, figures

    entry = manifest.read(PUBLIC)["ship.webp"]
    options = dict(num_inference_steps=entry["steps"], guidance_scale=entry["guidance"], seed=entry["seed"])
    again = figures.Picture(StableDiffusion.from_pretrained(entry["model"])(entry["prompt"], **options), 4)
    if hashlib.sha256(again.data(".webp")).hexdigest() != entry["sha256"]:
        was = np.asarray(Image.open(PUBLIC / "figures" / "ship.webp").convert("RGB"), dtype=float)
        assert np.abs(np.asarray(again.image, dtype=float) - was).mean() < 2


@needs_build
def test_what_the_slides_quote_from_the_notebooks():
    """Outputs that say a sentence on a slide is true."""
    text = lambda name, tag: (ROOT / "embed" / name / f"{tag}.txt").read_text().strip()
    assert text("04_denoise", "guidance") == "True"
    assert text("04_denoise", "ddim_step") == "True True"
    assert text("03_get_latents", "seeds_equal") == "True False"
    assert text("03_get_latents", "numbers").splitlines()[1] == "48.0 times fewer"
    assert "left out:" in text("02_encode_prompt", "truncation") and "whale" in text("02_encode_prompt", "truncation")
    facts = json.loads((PUBLIC / "facts.json").read_text())
    assert text("02_encode_prompt", "embeds_shape").startswith(str((2, *facts["postcard.embeddings.shape"])))
