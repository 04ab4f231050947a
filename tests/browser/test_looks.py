"""Every slide looks as it did when somebody last looked: tests/browser/looks/, renewed by `make looks`.

Pictures of half the size, compared by tiles, so that another machine's rounding does not matter.
"""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

LOOKS = Path(__file__).parent / "looks"
SIZE, TILE = (490, 276), 14
TOLERANCE = 16  # grey levels of 255, of the tile that differs most


def small(picture):
    """The bytes that are kept. Both sides are compressed: where a slide is a mosaic, that alone is a difference."""
    file = io.BytesIO()
    picture.resize(SIZE, Image.BOX).save(file, "WEBP", quality=60)
    return file.getvalue()


def path(title):
    return LOOKS / f"{''.join(c if c.isalnum() else '-' for c in title.lower())}.webp"


def difference(a, b):
    """The mean difference of the tile that differs most, 0 to 255"""
    a, b = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=float) for data in (a, b))
    (width, height), apart = SIZE, np.abs(a - b).mean(-1)
    tiles = apart[: height // TILE * TILE, : width // TILE * TILE].reshape(height // TILE, TILE, width // TILE, TILE)
    return tiles.mean((1, 3)).max()


def test_every_slide_looks_as_it_did(walked):
    wrong = []
    for title, picture in walked.pictures.items():
        if not path(title).exists():
            wrong.append(f"{title}: new")
        elif (apart := difference(small(picture), path(title).read_bytes())) > TOLERANCE:
            wrong.append(f"{title}: {apart:.0f} grey levels apart")
    wrong += [f"{p.name}: no slide" for p in LOOKS.glob("*.webp") if p not in map(path, walked.pictures)]
    if wrong:
        pytest.fail("look at the slides (make shots), then `make looks`:\n" + "\n".join(wrong), pytrace=False)


def test_the_difference_is_seen():
    plain, moved = Image.new("RGB", SIZE, "#fbfaf7"), Image.new("RGB", SIZE, "#fbfaf7")
    moved.paste("#22303c", (100, 100, 112, 106))
    assert difference(small(plain), small(plain)) == 0 and difference(small(plain), small(moved)) > TOLERANCE


if __name__ == "__main__":  # make looks
    sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
    from deck import open_deck

    for old in LOOKS.glob("*.webp"):
        old.unlink()
    LOOKS.mkdir(exist_ok=True)
    with open_deck("dist") as deck:
        for _, click in deck.walk():
            if click == deck.nav("clicksTotal"):
                picture = Image.open(io.BytesIO(deck.page.screenshot())).convert("RGB")
                path(deck.nav("currentSlideRoute.meta.slide.title")).write_bytes(small(picture))
    print(f"{len(list(LOOKS.glob('*.webp')))} slides in {LOOKS}")
