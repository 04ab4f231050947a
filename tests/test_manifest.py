"""Nothing half written, nothing without provenance; excerpts and facts are what they say."""

import hashlib
import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from sdscope import figures
from sdscope.figures import excerpts, facts, manifest, notebooks

RED, BLUE = (figures.Picture(Image.new("RGB", (8, 4), colour)) for colour in ("red", "blue"))


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.setenv("SDSCOPE_OUT", str(tmp_path / "public"))
    return tmp_path / "public"


@pytest.fixture
def save(out, tiny_folder):
    return figures.saver("01_test", prompt="a ship", seed=42, steps=25, guidance=5.0, model=str(tiny_folder))


def test_a_figure_and_its_entry(save, out, tiny_folder):
    assert save(RED, "red.png", alt="a red field", seed=[1, 2], prompt=None) is RED
    data = (out / "figures" / "red.png").read_bytes()
    assert json.loads((out / "manifest.json").read_text()) == {
        "figures": {
            "red.png": {
                "notebook": "01_test",
                "cell": "red",
                "prompt": None,
                "seed": [1, 2],
                "steps": 25,
                "guidance": 5.0,
                "model": str(tiny_folder),
                "model_sha256": manifest.weights_sha256(tiny_folder),
                "sha256": hashlib.sha256(data).hexdigest(),
                "width": 8,
                "height": 4,
                "alt": "a red field",
            }
        }
    }
    assert data == RED.data(".png")


def test_saving_again_replaces_and_keeps_the_others(save, out):
    save(RED, "b.png", alt="")
    save(RED, "a.png", alt="")
    first = manifest.read()["b.png"]["sha256"]
    save(BLUE, "b.png", alt="")
    assert list(manifest.read()) == ["a.png", "b.png"] and manifest.read()["b.png"]["sha256"] != first
    assert {p.name for p in out.rglob("*") if p.is_file()} == {"a.png", "b.png", "manifest.json"}


def test_a_figure_that_fails_leaves_no_trace(save, out):
    with pytest.raises(ValueError):
        save(RED, "red.gif", alt="")
    with pytest.raises(TypeError, match="not provenance: sed"):
        save(RED, "red.png", alt="", sed=1)
    assert not out.exists() or not any(p.is_file() for p in out.rglob("*"))


def test_the_hash_of_a_model_knows_names_and_contents(tmp_path):
    hashes = set()
    for name, content in (("a", b"1"), ("a", b"2"), ("b", b"2")):
        for path in tmp_path.iterdir():
            path.unlink()
        (tmp_path / f"{name}.safetensors").write_bytes(content)
        hashes.add(manifest.weights_sha256(tmp_path))
    assert len(hashes) == 3


def test_out_of_a_notebook_and_elsewhere(tmp_path, monkeypatch):
    monkeypatch.delenv("SDSCOPE_OUT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert manifest.out() == tmp_path / "public"
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert manifest.out() == tmp_path / "public"


def cell(source, *tags, outputs=()):
    return new_code_cell(source, metadata={"tags": list(tags)} if tags else {}, outputs=list(outputs))


def test_excerpts_are_source_and_text_only(tmp_path):
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# title"),
            cell("untagged = 1"),
            cell("print(1)\n2", "both", outputs=[
                new_output("stream", name="stdout", text="1\n"),
                new_output("stream", name="stderr", text="a warning\n"),
                new_output("execute_result", data={"text/plain": "2"}),
            ]),
            cell("picture", "picture", outputs=[new_output("execute_result", data={"text/plain": "<Plot>", "text/html": "<img>"})]),
        ]
    )  # fmt: skip
    (tmp_path / "nb").mkdir()
    (tmp_path / "nb" / "stale.py").write_text("old")
    excerpts.write("nb", notebook, tmp_path)
    found = {p.name: p.read_text() for p in (tmp_path / "nb").iterdir()}
    assert found == {"both.py": "print(1)\n2\n", "both.txt": "1\n2\n", "picture.py": "picture\n"}
    assert [p.name for p in tmp_path.iterdir()] == ["nb"]


def repository(root, *cells, name="01_test"):
    (root / "notebooks").mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells)), root / "notebooks" / f"{name}.ipynb")


SAVE = """from PIL import Image
from sdscope import figures
figures.manifest.find_model = lambda name: "."
save = figures.saver("01_test", prompt="p", seed=1, steps=1, guidance=1.0, model="m")
fig = figures.Picture(Image.new("RGB", (8, 8)))"""


@pytest.fixture
def quick_facts(monkeypatch):
    monkeypatch.setattr(facts, "facts", lambda: {"n": 1})


def test_run_publishes_and_takes_away_what_is_no_longer_made(tmp_path, quick_facts):
    one, two = cell('save(fig, "one.png", alt="1");', "one"), cell('save(fig, "two.png", alt="2");', "two")
    lines = []
    repository(tmp_path, cell(SAVE), one, two)
    notebooks.run(tmp_path, say=lines.append)
    assert set(manifest.read(tmp_path / "public")) == {"one.png", "two.png"}
    assert (tmp_path / "embed" / "01_test" / "one.py").read_text() == 'save(fig, "one.png", alt="1");\n'
    assert json.loads((tmp_path / "public" / "facts.json").read_text()) == {"n": 1}
    assert lines[0].startswith("01_test: 2 figures in ")
    repository(tmp_path, cell(SAVE), two)
    notebooks.run(tmp_path, ["01_test"], say=lines.append)
    assert set(manifest.read(tmp_path / "public")) == {"two.png"}
    assert [p.name for p in (tmp_path / "public" / "figures").iterdir()] == ["two.png"]


def test_a_failing_cell_is_named_and_nothing_is_written(tmp_path, quick_facts):
    repository(tmp_path, cell(SAVE), cell('save(fig, "one.png", alt="1");', "one"), new_markdown_cell("text"), cell("1 / 0", "bad"))
    with pytest.raises(notebooks.NotebookError, match=r"01_test.ipynb, cell 3 \[bad\]: ZeroDivisionError: division by zero"):
        notebooks.run(tmp_path, say=lambda line: None)
    assert not (tmp_path / "public").exists() and not (tmp_path / "embed").exists()


def test_a_figure_from_another_cell_than_it_says_is_refused(tmp_path, quick_facts):
    repository(tmp_path, cell(SAVE), cell('save(fig, "one.png", alt="1");', "other"))
    with pytest.raises(notebooks.NotebookError, match="one.png was not saved by a cell tagged 'one'"):
        notebooks.run(tmp_path, say=lambda line: None)
    assert not (tmp_path / "public").exists()


def test_a_notebook_that_is_not_there(tmp_path):
    with pytest.raises(notebooks.NotebookError, match="no such notebook: .*05_none.ipynb"):
        notebooks.run(tmp_path, ["05_none"])


def test_code_lines_leave_out_what_is_not_code():
    source = '"""Doc\nstring."""\n\n# comment\nimport os  # counts\n\ndef f():\n    """Doc."""\n    return """not\na docstring"""\n'
    assert facts.code_lines(source) == 4


def test_large_models_have_the_published_sizes():
    """From the model cards: UNets of 859.5 M and 865.9 M, VAE of 83.7 M, CLIP ViT-L/14 and OpenCLIP ViT-H text."""
    sd15, sd2 = (facts.model_facts(name, facts.LARGE[name]) for name in ("sd15", "sd2"))
    assert sd15["sd15.unet.parameters"] == 859_520_964 and sd2["sd2.unet.parameters"] == 865_910_724
    assert sd15["sd15.vae.parameters"] == sd2["sd2.vae.parameters"] == 83_653_863
    assert sd15["sd15.text_encoder.parameters"] == 123_060_480 and sd2["sd2.text_encoder.parameters"] == 340_387_840
    assert sd15["sd15.embeddings.shape"] == [77, 768] and sd2["sd2.embeddings.shape"] == [77, 1024]
    assert sd15["sd15.compression"] == 48


def test_facts_about_postcard_are_counted_from_what_ships():
    from sdscope import StableDiffusion

    found, pipe = facts.facts(), StableDiffusion.from_pretrained("postcard")
    for part in ("unet", "vae", "text_encoder"):
        assert found[f"postcard.{part}.parameters"] == sum(p.numel() for p in getattr(pipe, part).parameters())
        # float16: two bytes a parameter, and a header of a few kB
        assert found[f"postcard.{part}.mb"] == pytest.approx(2e-6 * found[f"postcard.{part}.parameters"], abs=0.2)
    latents = pipe.get_latents(1, pipe.size, pipe.size, 0)
    assert found["postcard.latents.shape"] == list(latents.shape[1:])
    assert found["postcard.image.shape"] == [pipe.size, pipe.size, 3]
    assert found["postcard.embeddings.shape"] == list(pipe.encode_prompt(["a"], [""], False).shape[1:])
    assert found["lines.diffusers.pipeline"] > 1000 > found["lines.pipeline"] > 50
