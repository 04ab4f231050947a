"""What the painter knows besides colours: how near everything is, and where each thing is. Nothing is guessed."""

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from .paint import layer_of, staged
from .scene import Scene

SKY, HORIZON, FEET = 0, 64, 255


def depth(scene: Scene, width: int = 128, height: int = 128) -> Image.Image:
    """How near it is, L: the sky 0, the ground from 64 at the horizon to 255 at the lower edge of the picture, a thing,
    all of it, as near as the ground at its feet. What flies is as far as the horizon. The mountains, houses and trees
    that belong to a place are flat: of their sky and of their ground."""
    stage, things = staged(scene, width, height)
    columns, rows = stage.brush.image.size
    y = (np.arange(rows) + 0.5) / stage.brush.scale
    ground = np.where(y < stage.horizon, SKY, nearness(stage, y))
    image = Image.fromarray(np.repeat(ground[:, None], columns, axis=1).astype("uint8"))
    for thing, x, feet, tall in things:
        layer, corner = layer_of(stage, thing, x, feet, tall)
        image.paste(int(nearness(stage, feet)), corner, layer.getchannel("A"))
    return image.resize((width, height), Resampling.BOX)


def nearness(stage, y):
    """Of what stands on the ground at this height of the picture"""
    return np.interp(y, [stage.horizon, stage.height], [HORIZON, FEET]).round()


def silhouettes(scene: Scene, width: int = 128, height: int = 128) -> list[Image.Image]:
    """For each thing, the farthest first, where it is: L, 255 within"""
    stage, things = staged(scene, width, height)
    found = []
    for thing in things:
        layer, corner = layer_of(stage, *thing)
        image = Image.new("L", stage.brush.image.size)
        image.paste(layer.getchannel("A"), corner)
        found.append(image.resize((width, height), Resampling.BOX))
    return found
