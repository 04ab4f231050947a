"""Figures from a trace: each function returns an object that shows itself in Jupyter and saves itself."""

from ..pixels import to_tensor
from .base import Animation, Picture, Plot
from .denoise import (
    attention_movie,
    attention_rows,
    attention_steps,
    attention_words,
    decoded_movie,
    evenly,
    latents_movie,
    predictions,
    strip,
    x0_movie,
)
from .latents import LatentRGB, channels, decode, one_place, to_picture
from .pictures import album, captioned, gallery, movie, sizes, social, tiles
from .runs import Runs
from .scheduler import (
    alphas,
    ddim_step,
    ddim_terms,
    distance,
    look,
    race,
    ratio_noise,
    spacings,
    steps_for,
    timetable,
    trials,
)
from .sheets import Data, Sheet
from .since import mixtures, two_paths
from .text import cut_off, embedding, equations, last_tokens, similarity, token_examples, token_strip
from .training import childhood, growth, price, scores
from .unet import features, line_by_line, places, skips, unet_ledger
from .vae import decoder_stages, hundred, roundtrip
