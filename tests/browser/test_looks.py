"""Every slide looks as it did when somebody last looked: tests/browser/looks/, renewed by `make looks`.

Pictures of half the size, compared by tiles, so that another machine's rounding does not matter.
"""

import io
import sys
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

LOOKS = Path(__file__).parent / "looks"
SIZE, TILE = (490, 276), 14
# Grey levels of 255, of the tile that differs most; more where the notebooks painted, and check what they did
TOLERANCE, IN_PICTURES = 16, 48


def small(picture):
    """The bytes that are kept. Both sides are compressed: where a slide is a mosaic, that alone is a difference."""
    file = io.BytesIO()
    picture.resize(SIZE, Image.BOX).save(file, "WEBP", quality=60)
    return file.getvalue()


def path(title):
    return LOOKS / f"{''.join(c if c.isalnum() else '-' for c in title.lower())}.webp"


def difference(a, b, painted=()):
    """The mean difference of the tile that differs most, as a multiple of what is allowed there. painted: where
    pictures are, x, y, width, height of each on the slide"""
    a, b = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=float) for data in (a, b))
    (width, height), apart = SIZE, np.abs(a - b).mean(-1)
    tiles = apart[: height // TILE * TILE, : width // TILE * TILE].reshape(height // TILE, TILE, width // TILE, TILE)
    allowed = np.full((height // TILE, width // TILE), TOLERANCE)
    for x, y, w, h in np.divide(painted, 2 * TILE).reshape(-1, 4):
        allowed[int(max(y, 0)) : ceil(y + h), int(max(x, 0)) : ceil(x + w)] = IN_PICTURES
    return (tiles.mean((1, 3)) / allowed).max()


def test_every_slide_looks_as_it_did(walked):
    wrong = []
    for title, picture in walked.pictures.items():
        if not path(title).exists():
            wrong.append(f"{title}: new")
        elif (apart := difference(small(picture), path(title).read_bytes(), walked.painted[title])) > 1:
            wrong.append(f"{title}: {apart:.1f} times as far apart as may be")
    wrong += [f"{p.name}: no slide" for p in LOOKS.glob("*.webp") if p not in map(path, walked.pictures)]
    if wrong:
        pytest.fail("look at the slides (make shots), then `make looks`:\n" + "\n".join(wrong), pytrace=False)


def test_the_difference_is_seen():
    plain, moved = Image.new("RGB", SIZE, "#fbfaf7"), Image.new("RGB", SIZE, "#fbfaf7")
    moved.paste("#22303c", (100, 100, 112, 106))
    assert difference(small(plain), small(plain)) == 0 and difference(small(plain), small(moved)) > 1
    there, elsewhere = [(190, 190, 40, 40)], [(400, 190, 40, 40)]
    assert difference(small(plain), small(moved), there) < difference(small(plain), small(moved), elsewhere)


if __name__ == "__main__":  # make looks
    sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
    from deck import open_deck
    from walk import picture

    for old in LOOKS.glob("*.webp"):
        old.unlink()
    LOOKS.mkdir(exist_ok=True)
    with open_deck("dist") as deck:
        for _, click in deck.walk():
            if click == deck.nav("clicksTotal"):
                path(deck.nav("currentSlideRoute.meta.slide.title")).write_bytes(small(picture(deck.page)))
    print(f"{len(list(LOOKS.glob('*.webp')))} slides in {LOOKS}")
