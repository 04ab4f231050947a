"""Training Postcard, from nothing to the weights. `sdscope train all` does everything, in this order:

    sdscope train paint          the pictures and captions for all the rest, by all cores
    sdscope train vae            pictures -> latents -> pictures
    sdscope train text           captions -> what they say (a head start for the text encoder)
    sdscope train diffusion      captions and noisy latents -> v, the UNet: a model for 128 x 128 pixels
    sdscope train large-vae      all go on with pictures twice as wide and high: the autoencoder,
    sdscope train large-decoder  the half of it that paints,
    sdscope train large          the UNet: the model
    sdscope train inpaint        its variants, which are given more than a prompt: a mask and the rest of a picture,
    sdscope train depth          how near everything is,
    sdscope train upscale        a small picture
    sdscope train judge          a network that reads pictures, for `sdscope evaluate`
    sdscope train depth-judge    one that sees how near everything is, for `sdscope evaluate-variants`

Each is one command that can be killed at any time and goes on from its last checkpoint when it is given again.
On several processes or machines: `torchrun --nproc_per_node 2 .venv/bin/sdscope train ...`, or `accelerate launch`;
without a GPU with ACCELERATE_USE_CPU=true. The batch is that of all processes together.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ... import files
from .data import JUDGE, captioned, labelled, masked, painted, surveyed
from .depth_judge import train_depth_judge
from .diffusion import (
    LARGE,
    SIZES,
    large_squares,
    pictures_of,
    train_diffusion,
    train_large,
    train_large_decoder,
    train_large_vae,
    worlds,
)
from .judge import SIZE, train_judge
from .run import Length
from .text import train_text
from .vae import train_vae
from .variants import VARIANTS, train_variant

STAGES: dict[str, Callable] = {
    "vae": train_vae,
    "text": train_text,
    "diffusion": train_diffusion,
    "large-vae": train_large_vae,
    "large-decoder": train_large_decoder,
    "large": train_large,
    **{name: partial(train_variant, name) for name in VARIANTS},
    "judge": train_judge,
    "depth-judge": train_depth_judge,
}
# steps, batch, rate, and minutes in place of steps: meant for a GPU
LENGTHS = {
    "vae": Length(8_000, 64, 2e-3, 5),
    "text": Length(2_000, 512, 2e-3, 0.5),
    "diffusion": Length(20_000, 512, 3e-3, 10),
    "large-vae": Length(4_000, 16, 1e-3, 5),
    "large-decoder": Length(4_000, 16, 1e-3, 5),
    "large": Length(8_000, 128, 1e-3, 10),
    **dict.fromkeys(VARIANTS, Length(1_500, 32, 3e-3, 3)),
    "judge": Length(5_000, 256, 1e-3, 2.5),
    "depth-judge": Length(1_500, 64, 1e-3, 1),
}


def train_all(folder: Path, pictures: int, lengths: dict[str, Length], progress=None):
    """The stages that have a length, one after the other; those that are finished take no time."""
    files.make_folder(folder)
    share = dict.fromkeys(("vae", "text"), squares(pictures)) | dict.fromkeys(
        ("judge", "depth-judge"), for_judge(pictures)
    )
    for name, stage in STAGES.items():
        if name in lengths:
            stage(folder, share.get(name, pictures), lengths[name], progress)


def paint_all(folder: Path, pictures: int, progress=None):
    """What the stages learn from, in the order in which they ask for it: a GPU may train beside it."""
    data = folder / "data"
    painted(data, squares(pictures), progress=progress)
    captioned(data, squares(pictures), progress=progress)
    labelled(data, squares(pictures), progress=progress)
    for size, count, first in [*worlds(pictures, SIZES), *worlds(pictures, LARGE)]:
        painted(data, count, size, first, progress)
        captioned(data, count, first, progress)
    size, count, first = large_squares(pictures)
    labelled(data, count, first, progress)
    masked(data, count, size, first, progress)
    surveyed(data, count, size, first, progress)
    painted(data, for_judge(pictures), SIZE, JUDGE, progress)
    labelled(data, for_judge(pictures), first=JUDGE, progress=progress)
    surveyed(data, for_judge(pictures), SIZE, JUDGE, progress)


def squares(pictures):
    """Most pictures are square; autoencoder and text encoder learn from these."""
    return pictures_of(pictures, SIZES[128, 128])


def for_judge(pictures):
    return pictures_of(pictures, 1 / 3)
