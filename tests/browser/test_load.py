"""How much a reader's browser fetches, and when. How long it takes depends on the machine: tools/load.py."""

from load import first_load
from walk import ROOT, open_built

HEAVY = ("monaco", "mermaid", "typescript", "katex.min")


def test_little_comes_before_the_first_slide_and_pictures_when_they_are_near():
    with open_built() as deck:
        _, before, after = first_load(ROOT / "dist", deck)
        assert "index.html" in before and sum(before.values()) < 600e3
        pictures = [path for path in after if path.startswith("figures/")]
        assert (
            sum(path.startswith("assets/md-") for path in after) > 40
        )  # the other slides are there, their pictures are not
        assert len(pictures) < 10, pictures


def test_what_the_deck_does_not_use_of_slidev_is_not_shipped():
    assert [p.name for p in (ROOT / "dist").rglob("*") if any(word in p.name.lower() for word in HEAVY)] == []
    assert max(p.stat().st_size for p in (ROOT / "dist/assets").rglob("*.js")) < 500e3
