"""Where every figure comes from. `public/manifest.json` knows each file that `public/figures` holds.

A notebook asks once for its saver and then saves each figure with one call:

    settings = dict(prompt=prompt, negative_prompt=negative_prompt, seed=seed, steps=steps, ...)
    save = saver("02_encode_prompt", **settings)
    save(fig, "tokens.png", alt="...")

A figure with words is saved twice, the second time in Japanese, below `public/ja`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any, Protocol, TypeVar

from PIL import Image

from .. import files
from ..figures import words
from ..figures.base import Shown
from ..loading.checkpoint import find_model, read_settings
from ..loading.devices import pick_device, pick_dtype
from ..loading.settings import own_size
from ..loading.weights import weights_sha256

PROVENANCE = ("prompt", "negative_prompt", "seed", "steps", "guidance", "size", "model")
Figure = TypeVar("Figure", bound=Shown)


class Save(Protocol):
    """Writes a figure and its entry; gives the figure back, so that the cell shows it."""

    def __call__(self, figure: Figure, name: str, alt: str, **changes: Any) -> Figure: ...


def out() -> Path:
    """The folder that figures are written to: SDSCOPE_OUT, or the repository's `public`, or ./public."""
    here = Path.cwd()
    default = here.parent / "public" if here.name == "notebooks" else here / "public"
    return Path(os.environ.get("SDSCOPE_OUT", default))


def saver(notebook: str, **provenance: Any) -> Save:
    """-> save(figure, name, alt, **changes), for one notebook.

    provenance: all of PROVENANCE, of the notebook (size None: what the model was trained for); `changes`,
    of one figure that has others (None: it does not depend on them). The cell is known by its tag, which is
    the figure's name without suffix: a test and the command that runs the notebooks compare.
    """
    if set(provenance) != set(PROVENANCE):
        raise TypeError(f"a saver needs {', '.join(PROVENANCE)}, no more and no less")
    folder, model_sha256 = find_weights(provenance["model"])
    if provenance["size"] is None:
        unet, vae = (read_settings(folder, part) for part in ("unet", "vae"))
        provenance["size"] = own_size(unet, vae)[0]

    def save(figure: Figure, name: str, alt: str, **changes: Any) -> Figure:
        unknown = set(changes) - set(PROVENANCE)
        if unknown:
            raise TypeError(f"not provenance: {', '.join(sorted(unknown))}")
        path = out() / "figures" / name
        data = figure.data(path.suffix)
        entry = {"notebook": notebook, "cell": path.stem, **provenance, **changes}
        asked = json.dumps([entry["prompt"], entry["negative_prompt"]], ensure_ascii=False)
        said = words.translate(figure.texts(), path.stem, asked) | {alt: words.japanese(alt, path.stem)}
        entry |= {"model_sha256": model_sha256, "sha256": sha256(data)}
        if path.suffix != ".json":
            entry |= dict(zip(("width", "height"), Image.open(io.BytesIO(data)).size))
        entry |= {"alt": alt, "alt_ja": said[alt] or alt} | getattr(figure, "about", {})
        if missing := sorted(text for text in said if said[text] is None):
            entry["untranslated"] = missing
        files.write(path, data, parents=True)
        with words.in_japanese(figure.texts(), said) as changed:
            if changed:
                data = figure.render(path.suffix)
                entry["sha256_ja"] = sha256(data)
                files.write(out() / "ja" / "figures" / name, data, parents=True)
        update({name: entry})
        return figure

    return save


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def paths(entries: dict) -> dict[str, str]:
    """{path of a file below public/: its sha256}; a figure with words has two."""
    english = {f"figures/{name}": entry.get("sha256") for name, entry in entries.items()}
    return english | {f"ja/figures/{name}": e["sha256_ja"] for name, e in entries.items() if "sha256_ja" in e}


def read(folder: Path | None = None, what: str = "figures") -> dict:
    """{figure name: entry}, or {notebook: names of its "excerpts"}; empty when nothing was written yet."""
    path = (folder or out()) / "manifest.json"
    return json.loads(path.read_text()).get(what, {}) if path.exists() else {}


def update(entries: dict, folder: Path | None = None) -> None:
    """Add or replace entries of the manifest."""
    folder = folder or out()
    write_manifest(folder, read(folder) | entries, read(folder, "excerpts"))


def write_manifest(folder: Path, figures: dict, excerpts: dict) -> None:
    told = dict(figures=figures, excerpts=excerpts)
    write_json(folder / "manifest.json", {what: dict(sorted(entries.items())) for what, entries in told.items()})


def write_json(path: Path, value: object) -> None:
    files.write(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n", parents=True)


def find_weights(model: str) -> tuple[Path, str]:
    """A model's folder and the hash of the weights that a pipeline on this machine reads from it."""
    dtype = pick_dtype("auto", pick_device())
    folder = find_model(model, dtype=dtype)
    return folder, weights_sha256(folder, dtype)
