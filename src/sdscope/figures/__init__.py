"""Figures from a trace: each function returns an object that shows itself in Jupyter and saves itself."""

from .base import Animation, Picture, Plot
from .denoise import alphas, attention_words, ddim_step, ddim_terms, decoded_movie, evenly, latents_movie, strip
from .latents import LatentRGB, channels, to_picture, to_tensor
from .manifest import saver
from .runs import Runs
from .pictures import gallery, movie, sizes
from .shapes import decoder_stages, roundtrip, unet_ledger
from .text import embedding, last_tokens, similarity, token_strip
