"""Every slide looks as it did when somebody last looked: tests/browser/looks/, renewed by `make looks`.

Pictures of half the size, compared by tiles, so that another machine's rounding does not matter.
"""
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

LOOKS = Path(__file__).parent / "looks"
SIZE, TILE = (490, 276), 14
TOLERANCE = 16  # grey levels of 255, of the tile that differs most


def small(picture):
    return picture.resize(SIZE, Image.BOX)


def path(title):
    return LOOKS / f"{''.join(c if c.isalnum() else '-' for c in title.lower())}.webp"


def difference(a, b):
    """The mean difference of the tile that differs most, 0 to 255"""
    (width, height), apart = SIZE, np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean(-1)
    tiles = apart[: height // TILE * TILE, : width // TILE * TILE].reshape(height // TILE, TILE, width // TILE, TILE)
    return tiles.mean((1, 3)).max()


def test_every_slide_looks_as_it_did(walked):
    wrong = []
    for title, picture in walked.pictures.items():
        if not path(title).exists():
            wrong.append(f"{title}: new")
        elif (apart := difference(small(picture), Image.open(path(title)).convert("RGB"))) > TOLERANCE:
            wrong.append(f"{title}: {apart:.0f} grey levels apart")
    wrong += [f"{p.name}: no slide" for p in LOOKS.glob("*.webp") if p not in map(path, walked.pictures)]
    if wrong:
        pytest.fail("look at the slides (make shots), then `make looks`:\n" + "\n".join(wrong), pytrace=False)


def test_the_difference_is_seen():
    plain, moved = Image.new("RGB", SIZE, "#fbfaf7"), Image.new("RGB", SIZE, "#fbfaf7")
    moved.paste("#22303c", (100, 100, 112, 106))
    assert difference(plain, plain) == 0 and difference(plain, moved) > TOLERANCE


if __name__ == "__main__":  # make looks
    sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
    import io

    from deck import open_deck

    for old in LOOKS.glob("*.webp"):
        old.unlink()
    LOOKS.mkdir(exist_ok=True)
    with open_deck("dist") as deck:
        for no, click in deck.walk():
            if click == deck.nav("clicksTotal"):
                picture = Image.open(io.BytesIO(deck.page.screenshot())).convert("RGB")
                small(picture).save(path(deck.nav("currentSlideRoute.meta.slide.title")), quality=60)
    print(f"{len(list(LOOKS.glob('*.webp')))} slides in {LOOKS}")
