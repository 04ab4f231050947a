"""From notebooks to what the deck shows: executes them, keeps their figures with their provenance, and checks them."""

from .manifest import saver

__all__ = ["saver"]
