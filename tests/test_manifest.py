"""Nothing half written, nothing without provenance; excerpts and facts are what they say."""

import hashlib
import json
import shutil
from xml.etree import ElementTree

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from sdscope import SdscopeError, figures
from sdscope.figures.sheets import Data
from sdscope.publish import excerpts, facts, manifest, saver

RED, BLUE = (figures.Picture(Image.new("RGB", (8, 4), colour)) for colour in ("red", "blue"))


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.setenv("SDSCOPE_OUT", str(tmp_path / "public"))
    return tmp_path / "public"


SETTINGS = dict(prompt="a ship", negative_prompt="", seed=42, steps=25, guidance=5.0, size=None)


@pytest.fixture
def save(out, tiny_folder):
    return saver("01_test", **SETTINGS, model=str(tiny_folder))


def test_a_figure_and_its_entry(save, out, tiny_folder):
    assert save(RED, "red.png", alt="a red field", seed=[1, 2], prompt=None) is RED
    data = (out / "figures" / "red.png").read_bytes()
    assert json.loads((out / "manifest.json").read_text()) == {
        "figures": {
            "red.png": {
                "notebook": "01_test",
                "cell": "red",
                "prompt": None,
                "negative_prompt": "",
                "seed": [1, 2],
                "steps": 25,
                "guidance": 5.0,
                "size": 64,
                "model": str(tiny_folder),
                "model_sha256": manifest.weights_sha256(tiny_folder),
                "sha256": hashlib.sha256(data).hexdigest(),
                "width": 8,
                "height": 4,
                "alt": "a red field",
                "alt_ja": "a red field",
                "untranslated": ["a red field"],
            }
        },
        "excerpts": {},
    }
    assert data == RED.data(".png")


def test_what_a_figure_tells_about_itself(save, out):
    save(figures.Sheet({"x0": [RED.image, BLUE.image]}, [1, 2]), "sheet.webp", alt="")
    save(Data({"words": ["sea"]}), "words.json", alt="")
    sheet, words = manifest.read().values()
    assert (sheet["rows"], sheet["columns"], sheet["width"], sheet["height"]) == (["x0"], ["1", "2"], 16, 4)
    assert json.loads((out / "figures" / "words.json").read_text()) == {"words": ["sea"]} and "width" not in words


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


def test_a_saver_is_told_all_or_it_says_what_it_needs():
    with pytest.raises(TypeError, match="prompt, negative_prompt, seed, steps, guidance, size, model"):
        saver("01_test", prompt="a ship", model="postcard")


def test_a_folder_that_cannot_be_written(save, out):
    out.write_text("a file in the way")
    with pytest.raises(SdscopeError, match="^cannot write .*public/figures/red.png: "):
        save(RED, "red.png", alt="")
    assert out.read_text() == "a file in the way" and [p.name for p in out.parent.iterdir()] == ["public"]


def test_the_hash_of_a_model_knows_parts_and_contents(tmp_path):
    parts = ("text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model")

    def sha256(*contents):
        for part, content in zip(parts, contents):
            path = tmp_path / f"{part}.safetensors"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        return manifest.weights_sha256(tmp_path)

    first = sha256(b"1", b"2", b"3")
    assert len({first, sha256(b"2", b"1", b"3"), sha256(b"12", b"", b"3"), sha256(b"1", b"2", b"4")}) == 4
    (tmp_path / "unet" / "other.safetensors").write_bytes(b"not read")
    assert sha256(b"1", b"2", b"3") == first
    shutil.copytree(tmp_path, tmp_path / "elsewhere")
    assert manifest.weights_sha256(tmp_path / "elsewhere") == first


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
    written = [
        new_output("stream", name="stdout", text="\x1b[31mTrue\x1b[0m\n"),
        new_output("stream", name="stderr", text="a warning\n"),
        new_output("execute_result", data={"text/plain": "'<b>'"}),
    ]
    drawn = [new_output("execute_result", data={"text/plain": "<Plot>", "text/html": "<img>"})]
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# title"),
            cell("untagged = 1"),
            cell("print(1 < 2)\n'<b>'", "both", outputs=written),
            cell("picture", "picture", outputs=drawn),
        ]
    )
    excerpts.write(notebook, tmp_path / "nb")
    found = {p.name: p.read_text() for p in (tmp_path / "nb").iterdir()}
    assert set(found) == {"both.py", "both.txt", "both.html", "picture.py", "picture.html"}
    assert found["both.py"] == "print(1 < 2)\n'<b>'\n" and found["both.txt"] == "True\n'<b>'\n"
    assert (
        found["picture.html"]
        == '<div class="cell">\n<pre class="source"><span class="n">picture</span></pre>\n</div>\n'
    )


def test_the_html_of_an_excerpt_says_the_same_as_its_text(tmp_path):
    source = "%pip install x\nif a < b and '<b>':\n    print(f'{a}')  # & so on"
    notebook = new_notebook(
        cells=[cell(source, "t", outputs=[new_output("stream", name="stdout", text="<b> & 日本\n")])]
    )
    excerpts.write(notebook, tmp_path / "nb")
    page = (tmp_path / "nb" / "t.html").read_text()
    root = ElementTree.fromstring(page)
    assert ["".join(pre.itertext()) for pre in root] == [source, "<b> & 日本"]
    assert [(pre.tag, pre.get("class")) for pre in root] == [("pre", "source"), ("pre", "output")]
    assert {e.tag for e in root.iter()} == {"div", "pre", "span"} and "style" not in page


def test_code_lines_leave_out_what_is_not_code():
    source = '"""Doc\nstring."""\n\n# comment\nimport os  # counts\n\n'
    source += 'def f():\n    """Doc."""\n    return """not\na docstring"""\n'
    assert facts.code_lines(source) == 4


def test_large_models_have_the_published_sizes():
    """From the model cards: UNets of 859.5 M and 865.9 M, VAE of 83.7 M, CLIP ViT-L/14 and OpenCLIP ViT-H text."""
    sd15, sd2 = (facts.model_facts(name) for name in ("sd15", "sd2"))
    assert sd15["sd15.unet.parameters"] == 859_520_964 and sd2["sd2.unet.parameters"] == 865_910_724
    assert sd15["sd15.vae.parameters"] == sd2["sd2.vae.parameters"] == 83_653_863
    assert sd15["sd15.text_encoder.parameters"] == 123_060_480 and sd2["sd2.text_encoder.parameters"] == 340_387_840
    assert sd15["sd15.embeddings.shape"] == [77, 768] and sd2["sd2.embeddings.shape"] == [77, 1024]
    assert sd15["sd15.compression"] == 48
    assert (
        round(sd2["sd2.unet.multiply_adds"] / 1e9) == 804
        and round(sd15["sd15.vae.decoder.multiply_adds"] / 1e9) == 1257
    )


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
