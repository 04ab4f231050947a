"""The notebooks make the same figures again. `make test` runs them a second time, into .build/rerun, before this."""
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

ROOT = Path(__file__).parents[1]
FIRST, AGAIN = ROOT / "public", ROOT / ".build/rerun"

pytestmark = pytest.mark.skipif(not (AGAIN / "manifest.json").exists(), reason="`make test` runs the notebooks again")


def frames(path):
    """(frames, height, width, 3), 0 to 255."""
    return np.stack([frame.convert("RGB") for frame in ImageSequence.Iterator(Image.open(path))]).astype(int)


def test_a_rerun_makes_the_same_figures():
    """The same prompts, seeds and sizes; pictures to within half a grey level on average (threads may round otherwise)."""
    first, again = (json.loads((folder / "manifest.json").read_text())["figures"] for folder in (FIRST, AGAIN))
    assert [name for name in first.keys() | again.keys()
            if first.get(name, {}) | {"sha256": ""} != again.get(name, {}) | {"sha256": ""}] == []
    for name in first:
        a, b = frames(FIRST / "figures" / name), frames(AGAIN / "figures" / name)
        assert a.shape == b.shape and abs(a - b).mean() < 0.5, name
