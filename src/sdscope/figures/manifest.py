"""Where every figure comes from. `public/manifest.json` knows each file that `public/figures` holds.

A notebook asks once for its saver and then saves each figure with one call:

    save = figures.saver("02_encode_prompt", prompt=prompt, seed=seed, steps=steps, guidance=guidance, model=model)
    save(figure, "tokens.png", alt="...")
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path

from PIL import Image

from ..checkpoint import find_model
from .base import Shown

PROVENANCE = ("prompt", "seed", "steps", "guidance", "model")


def out() -> Path:
    """The folder that figures are written to: SDSCOPE_OUT, or the repository's `public`, or ./public."""
    here = Path.cwd()
    default = here.parent / "public" if here.name == "notebooks" else here / "public"
    return Path(os.environ.get("SDSCOPE_OUT", default))


def saver(notebook: str, **provenance):
    """-> save(figure, name, alt, **changes), for one notebook.

    provenance: prompt, seed, steps, guidance and model of the notebook; `changes`, of one figure that
    has others (None: it does not depend on them). The cell is known by its tag, which is the figure's name without suffix: a test
    and the command that runs the notebooks compare.
    """
    model_sha256 = weights_sha256(find_model(provenance["model"]))

    def save(figure: Shown, name: str, alt: str, **changes) -> Shown:
        unknown = set(provenance | changes) - set(PROVENANCE)
        if unknown:
            raise TypeError(f"not provenance: {', '.join(sorted(unknown))}")
        path = out() / "figures" / name
        data = figure.data(path.suffix)
        width, height = Image.open(io.BytesIO(data)).size
        entry = {"notebook": notebook, "cell": path.stem, **provenance, **changes}
        entry |= {"model_sha256": model_sha256, "sha256": hashlib.sha256(data).hexdigest()}
        entry |= {"width": width, "height": height, "alt": alt}
        write(path, data)
        update({name: entry})
        return figure

    return save


def read(folder: Path | None = None) -> dict:
    """{figure name: entry}; empty when nothing was written yet."""
    path = (folder or out()) / "manifest.json"
    return json.loads(path.read_text())["figures"] if path.exists() else {}


def update(entries: dict, remove=(), folder: Path | None = None) -> None:
    """Add or replace entries of the manifest, and drop those named in `remove`."""
    folder = folder or out()
    figures = {k: v for k, v in read(folder).items() if k not in remove} | entries
    write_json(folder / "manifest.json", {"figures": dict(sorted(figures.items()))})


def write(path: Path, data: bytes) -> None:
    """All of it or nothing: written beside the place, then moved there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def write_json(path: Path, value) -> None:
    write(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def weights_sha256(folder) -> str:
    """One hash of all safetensors of a model folder, names included."""
    total = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*.safetensors")):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()
