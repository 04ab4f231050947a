"""Masks: white where a picture is to be painted again."""

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .depth import silhouettes
from .scene import Scene


def draw_mask(scene: Scene, rng: np.random.Generator, width: int = 128, height: int = 128) -> Image.Image:
    """A box, an oval, or one of the scene's things and a little around it: L, 0 or 255"""
    things = silhouettes(scene, width, height)
    kind = rng.choice(["box", "oval", "thing"] if things else ["box", "oval"])
    if kind == "thing":
        return grown(things[rng.integers(len(things))], rng.uniform(0.01, 0.05) * min(width, height))
    size = rng.uniform(0.2, 0.9, 2) * (width, height)
    corner = rng.uniform(0, 1, 2) * ((width, height) - size)
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    shape = draw.rectangle if kind == "box" else draw.ellipse
    shape((*corner, *(corner + size)), fill=255)
    return mask


def grown(silhouette, radius):
    """It and so many pixels around it, roughly: no corner is sharp"""
    around = silhouette.filter(ImageFilter.GaussianBlur(radius)).point(lambda v: 255 * (v > 16))
    return ImageChops.lighter(around, silhouette.point(lambda v: 255 * (v > 0)))


def box_around(scene: Scene, width: int = 128, height: int = 128) -> Image.Image:
    """A box around all things of a scene, which has one at least, that does not tell their shape: L, 0 or 255"""
    boxes = np.array([silhouette.getbbox() for silhouette in silhouettes(scene, width, height)])
    room = round(0.04 * min(width, height))
    corners = (*(boxes[:, :2].min(0) - room), *(boxes[:, 2:].max(0) + room - 1))
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).rectangle(tuple(map(int, corners)), fill=255)
    return mask
