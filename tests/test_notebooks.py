"""The notebooks as they are committed, and what they made (`make build` executes them before the tests)."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import papermill
import pytest
from conftest import needs_build
from PIL import Image

from sdscope import StableDiffusion, __version__, figures
from sdscope.figures.base import SCALE
from sdscope.publish import check, manifest
from sdscope.steps import usual
from sdscope.trace import END, trace

ROOT = Path(__file__).parents[1]
PUBLIC = ROOT / "public"
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Homepage"]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in PATHS}
EXAMPLE = "painting depicting the sea, sunrise, ship"
OWN = {  # so that not every picture is of the ship
    "02_encode_prompt": "a lighthouse by the sea at night, watercolor",
    "03_get_latents": "oil painting of a castle in the snow, sunset",
    "05_scheduler": "oil painting of a house in the snow, night",
    "06_unet": "oil painting of a lighthouse by the sea, sunset",
    "07_vae": "oil painting of a tree in the snow, sunrise",
    "11_inpaint_depth_upscale": "a house in the snow, day, oil painting",
    "12_dreambooth": "painting depicting the sea, sunset, a zwx snowman",
    "13_since": "a windmill in a green field, sunrise, oil painting",
}
MORE = {"12_dreambooth": {"learn": "False", "pictures": "None", "thing": '"a zwx snowman"'}}  # parameters
STEPS, GUIDANCE = (usual(StableDiffusion.__call__)[name] for name in ("num_inference_steps", "guidance_scale"))

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


def prose(name):
    return "\n".join(cell.source for cell in NOTEBOOKS[name].cells if cell.cell_type == "markdown")


def test_there_are_thirteen():
    assert list(NOTEBOOKS) == [
        "01_tour", "02_encode_prompt", "03_get_latents", "04_denoise",
        "05_scheduler", "06_unet", "07_vae", "08_write_your_own", "09_postcard",
        "10_image_to_image", "11_inpaint_depth_upscale", "12_dreambooth", "13_since",
    ]  # fmt: skip


@notebooks
def test_committed_without_outputs_and_with_short_cells(name):
    nbformat.validate(NOTEBOOKS[name])
    for cell in code_cells(name):
        assert not cell.outputs and cell.execution_count is None
        assert len(cell.source.splitlines()) <= 13, cell.source
        lines = [line for line in cell.source.splitlines() if "%pip" not in line]
        assert max(map(len, lines)) <= 110, cell.source


@notebooks
def test_cells_have_ids_that_differ(name):
    ids = [cell.id for cell in NOTEBOOKS[name].cells]
    assert len(ids) == len(set(ids))


@notebooks
def test_badges_open_this_notebook(name):
    slug = REPOSITORY.removeprefix("https://github.com/")
    first = NOTEBOOKS[name].cells[0].source
    colab = f"https://colab.research.google.com/github/{slug}/blob/main/notebooks/{name}.ipynb"
    kaggle = f"https://kaggle.com/kernels/welcome?src={REPOSITORY}/blob/main/notebooks/{name}.ipynb"
    assert f"(https://colab.research.google.com/assets/colab-badge.svg)]({colab})" in first
    assert f"(https://kaggle.com/static/images/open-in-kaggle.svg)]({kaggle})" in first


@notebooks
def test_install_cell_acts_on_colab_and_kaggle_only(name, monkeypatch, capsys):
    """The tag of this version, or main where there is none yet; diffusers where a cell needs it."""
    extra = "notebooks" if any("diffusers" in cell.source for cell in code_cells(name)) else "figures"
    line = f'%pip install -q "sdscope[{extra}] @ git+{{repository}}@{{release}}"'
    cell = tagged(name)["install"]
    assert line in cell

    installs, asked, release = [], [], f"v{__version__}"

    def run(tags=f"0123456\trefs/tags/{release}\n"):
        monkeypatch.setattr(os, "popen", lambda command: asked.append(command) or io.StringIO(tags))
        exec(cell.replace(line, "installs.append((repository, release))"), {"installs": installs})

    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    run()
    assert not installs and not asked
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    run()
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE")
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    run()
    assert installs == [(REPOSITORY, release)] * 2 and capsys.readouterr().out == ""
    run(tags="")
    assert installs[2:] == [(REPOSITORY, "main")]
    assert capsys.readouterr().out == f"{release} has not been released yet: installing the branch main\n"
    assert set(asked) == {f"git ls-remote {REPOSITORY} refs/tags/{release}"}


@notebooks
def test_links_lead_somewhere(name):
    """To each other, and to the source in this repository."""
    links = re.findall(r"\]\(([^)\s]+)\)", prose(name))
    beside = [link for link in links if "://" not in link]
    assert [link for link in beside if not (ROOT / "notebooks" / link).is_file()] == []
    blob = f"{REPOSITORY}/blob/main/"
    inside = [link.removeprefix(blob).partition("#")[0] for link in links if link.startswith(blob)]
    assert [path for path in inside if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("name, after", list(zip(NOTEBOOKS, list(NOTEBOOKS)[1:])))
def test_the_last_cell_leads_to_the_next_notebook(name, after):
    last = NOTEBOOKS[name].cells[-1].source
    assert "Next: [" in last and f"({after}.ipynb)" in last


@notebooks
def test_models_have_names_of_this_repository(name):
    """No id of a hub, which somebody may withdraw, in any cell: names are looked up in models.py."""
    for cell in code_cells(name):
        assert not re.search(r"""from_pretrained\(["'][^"']*/""", cell.source), cell.source


@notebooks
def test_papermill_can_change_the_parameters(name):
    path = str(ROOT / "notebooks" / f"{name}.ipynb")
    parameters = papermill.inspect_notebook(path)
    assert {k: v["default"] for k, v in parameters.items()} == {
        "prompt": f'"{OWN.get(name, EXAMPLE)}"', "negative_prompt": '""', "seed": "42", "steps": str(STEPS),
        "guidance": str(GUIDANCE), "size": "None", "model": '"postcard"', **MORE.get(name, {}),
    }  # fmt: skip
    changed = papermill.execute_notebook(path, None, {"seed": 7}, prepare_only=True)
    tags = [cell.metadata.get("tags", []) for cell in changed.cells]
    assert tags.index(["injected-parameters"]) == tags.index(["parameters"]) + 1


def test_the_tour_knows_what_is_taken_when_nothing_is_said():
    assert f"num_inference_steps={STEPS}, guidance_scale={GUIDANCE}" in tagged("01_tour")["diffusers_call"]
    assert f"{STEPS} steps and a guidance of {GUIDANCE:g} are" in prose("01_tour")


def test_a_user_runs_a_notebook_from_a_shell(tmp_path):
    """With a prompt of their own, anywhere: the figures lie in ./public and say what they show."""
    command = [sys.executable, "-m", "papermill", ROOT / "notebooks" / "04_denoise.ipynb", "out.ipynb"]
    command += ["-p", "prompt", "a castle in the snow, night", "-p", "steps", "10"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("SDSCOPE_")}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]

    entries = manifest.read(tmp_path / "public")
    assert set(entries) == set(saved("04_denoise")) == {path.name for path in (tmp_path / "public/figures").iterdir()}
    words = entries["attention_words.webp"]
    assert (words["prompt"], words["steps"]) == ("a castle in the snow, night", 10)
    assert "castle" in words["alt"] and "snow" in words["alt"]
    outputs = [out for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells for out in cell.get("outputs", [])]
    assert outputs and not any(out.output_type == "error" for out in outputs)


@pytest.mark.parametrize("prompt, labels", [("", ["end"]), ("1 2 3 4 5 6", list("1234"))])
def test_attention_to_prompts_that_are_not_plain_words(tiny, prompt, labels):
    """The cells of 04_denoise that look for words, with a trace of such a prompt"""
    with trace(tiny, attention="mean") as t:
        image = tiny(prompt, seed=1, num_inference_steps=2)
    drawn = {}
    save = lambda figure, name, alt: drawn.update({name: figure})
    known = dict(t=t, END=END, figures=figures, image=image, x0=[image] * 2, steps=2, times="01", save=save)
    for tag in ("attention", "attention_words", "attention_steps", "attention_movie", "attention_sheet"):
        exec(tagged("04_denoise")[tag], known)
    assert len(drawn) == 4 and drawn["attention_sheet.webp"].about["rows"] == labels
    assert {text.get_text() for text in drawn["attention_words.webp"].figure.texts} == {"picture", *labels}


@notebooks
def test_every_figure_has_a_cell_tagged_with_its_name(name):
    assert saved(name)
    for figure, tags in saved(name).items():
        assert Path(figure).stem in tags, figure
    assert f'saver("{name}"' in "".join(cell.source for cell in code_cells(name))
    tags = [tag for cell in code_cells(name) for tag in cell.metadata.get("tags", [])]
    assert len(tags) == len(set(tags)), "a tag is there twice"


def test_no_two_notebooks_save_the_same_figure():
    names = [figure for name in NOTEBOOKS for figure in saved(name)]
    assert len(names) == len(set(names))


@needs_build
def test_the_manifest_is_what_the_notebooks_save_and_what_is_there():
    entries = manifest.read(PUBLIC)
    assert {k: v["notebook"] for k, v in entries.items()} == {f: name for name in NOTEBOOKS for f in saved(name)}
    paths = manifest.paths(entries)
    assert set(paths) == {f"{of}figures/{p.name}" for of in ("", "ja/") for p in (PUBLIC / of / "figures").iterdir()}
    for name, sha256 in paths.items():
        path, entry = PUBLIC / name, entries[Path(name).name]
        assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        if path.suffix != ".json":
            assert (entry["width"], entry["height"]) == Image.open(path).size
            assert entry["width"] <= 884 * SCALE or "rows" in entry  # a sheet: a slide shows one picture of it
        assert path.stat().st_size < 400_000, f"{name} has {path.stat().st_size} bytes"
        assert entry["alt"] and entry["model"]


@needs_build
def test_facts_are_what_is_counted_now():
    """What the notebooks make is compared where they are executed again: see notebooks/conftest.py."""
    assert list(check.standing(ROOT)) == []


@needs_build
@notebooks
def test_excerpts_are_cut_from_the_notebooks_that_are_here(name):
    for tag, source in tagged(name).items():
        assert (ROOT / "embed" / name / f"{tag}.py").read_text() == source.rstrip() + "\n"


@needs_build
def test_the_pictures_come_from_the_weights_that_are_here():
    from sdscope.loading.checkpoint import find_model

    assert {e["model_sha256"] for e in manifest.read(PUBLIC).values()} == {
        manifest.weights_sha256(find_model("postcard"))
    }


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
    assert text("01_tour", "bit_for_bit").startswith("the same, bit for bit: True")
    assert text("03_get_latents", "seeds_equal") == "True False"
    assert text("03_get_latents", "numbers").splitlines()[1] == "48.0 times fewer"
    assert text("04_denoise", "guidance") == "True"
    assert text("05_scheduler", "ddim_step") == "True True"
    assert text("06_unet", "resnet_equal") == text("06_unet", "transformer_lines") == "equal: True"
    assert text("08_write_your_own", "equal") == "True True"
    assert "left out:" in text("02_encode_prompt", "truncation") and "whale" in text("02_encode_prompt", "truncation")
    facts = json.loads((PUBLIC / "facts.json").read_text())
    assert text("02_encode_prompt", "embeds_shape").startswith(str((2, *facts["postcard.embeddings.shape"])))
