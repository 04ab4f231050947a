"""Figures of the third step: the loop, its predictions, its scheduler, its words."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..trace import Step, Trace
from .base import COND, GUIDED, HEAT, INK, LATENTS, MUTED, NOISE, UNCOND, WIDTH, X0, Animation, Board, coloured, plot
from .latents import LatentRGB
from .pictures import movie

ROWS = {"latents": LATENTS, "noise_uncond": UNCOND, "noise_cond": COND, "noise": GUIDED, "pred_x0": X0}


def times(t: Trace) -> list[str]:
    return [f"step {s.i + 1} of {len(t.steps)}, t = {s.t}" for s in t.steps] + ["after the last step"]


def all_latents(t: Trace) -> list:
    """The first picture's latents before every step, and after the last: [(4, h, w)]"""
    return [s.latents[0] for s in t.steps] + [t.latents[0]]


def latents_movie(t: Trace, rgb: LatentRGB) -> Animation:
    return movie([rgb(z) for z in all_latents(t)], times(t), smooth=False)


def decoded_movie(images: list[Image.Image], t: Trace) -> Animation:
    """`images`: the decoded latents, one for each entry of `all_latents`."""
    return movie(images, times(t))


def evenly(steps: list[Step], n: int) -> list[Step]:
    """At most n of the steps, evenly spaced, the first and the last among them."""
    return [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, n).round().astype(int))]


@plot
def strip(steps: list[Step], rgb: LatentRGB, decoded: list[Image.Image]):
    """What there is at these steps: a row for each quantity, and one for the decoded pred_x0."""
    margin, cell, gap = 134, 60, 5
    board = Board(margin + len(steps) * (cell + gap) - gap, 30 + 6 * (cell + gap))
    for x, s in enumerate(steps):
        left = margin + x * (cell + gap)
        board.text(left + cell / 2, 14, f"t = {s.t}", ha="center")
        for y, name in enumerate(ROWS):
            board.picture(left, 30 + y * (cell + gap), cell, cell, rgb(getattr(s, name)[0]), smooth=False)
        board.picture(left, 30 + 5 * (cell + gap), cell, cell, decoded[x])
    for y, (name, colour) in enumerate([*ROWS.items(), ("pred_x0\ndecoded", X0)]):
        board.text(margin - 12, 30 + y * (cell + gap) + cell / 2, name, color=colour, ha="right", weight="bold")
    return board


@plot
def alphas(scheduler, steps: int):
    """alpha_prod_t and alpha_prod_t_prev at every step, and how much each step adds."""
    scheduler.set_timesteps(steps)
    before = [t - scheduler.config.num_train_timesteps // steps for t in scheduler.timesteps]
    now = scheduler.alphas_cumprod[scheduler.timesteps].numpy()
    prev = np.array([float(scheduler.alphas_cumprod[t] if t >= 0 else scheduler.final_alpha_cumprod) for t in before])
    board = Board(WIDTH, 380)
    axes = board.axes(70, 16, 560, 306)
    x = np.arange(1, steps + 1)
    axes.bar(x, prev - now, color=NOISE, alpha=0.55, width=0.8)
    axes.plot(x, prev, "o-", color=GUIDED, markersize=4)
    axes.plot(x, now, "o-", color=LATENTS, markersize=4)
    axes.set(xlim=(0.3, steps + 0.7), ylim=(0, 1.03), xticks=[1, *range(5, steps + 1, 5)], yticks=np.arange(6) / 5, xlabel="step", ylabel="share of picture in the variance")
    board.text(650, 60, "alpha_prod_t_prev", 16, GUIDED, weight="bold")
    board.text(650, 84, "after the step", color=MUTED)
    board.text(650, 128, "alpha_prod_t", 16, LATENTS, weight="bold")
    board.text(650, 152, "before the step", color=MUTED)
    board.text(650, 196, "their difference", 16, MUTED, weight="bold")
    board.text(650, 220, f"largest at step {int((prev - now).argmax()) + 1}", color=MUTED)
    board.text(650, 244, f"last step: {prev[-1] - now[-1]:.4f}", color=MUTED)
    return board


def ddim_terms(scheduler, step) -> list[list[tuple]]:
    """The terms of one DDIM step as equations: [[(name, value), (factor, name, value), (factor, name, value)]].

    The first entry of an equation is the sum of the others, each times its factor: a test adds them up.
    """
    stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    prev = step.t - stride
    a = float(scheduler.alphas_cumprod[step.t])
    a_prev = float(scheduler.alphas_cumprod[prev] if prev >= 0 else scheduler.final_alpha_cumprod)
    b, x, out, x0 = 1 - a, step.latents, step.noise, step.pred_x0
    noise = (x - a**0.5 * x0) / b**0.5  # x_t is a mix of picture and noise, so this is the noise
    latents, pred_x0, eps = ("latents", x), ("pred_x0", x0), ("noise", noise)
    if scheduler.config.prediction_type == "v_prediction":
        first = [[pred_x0, (a**0.5, *latents), (-(b**0.5), "v", out)], [eps, (b**0.5, *latents), (a**0.5, "v", out)]]
    else:
        first = [[pred_x0, (a**-0.5, *latents), (-((b / a) ** 0.5), *eps)]]
    after = a_prev**0.5 * x0 + (1 - a_prev) ** 0.5 * noise
    return [*first, [("next latents", after), (a_prev**0.5, *pred_x0), ((1 - a_prev) ** 0.5, *eps)]]


@plot
def ddim_step(scheduler, step, rgb: LatentRGB):
    """One step as sums of pictures: what is multiplied by what."""
    colours = {"latents": LATENTS, "next latents": LATENTS, "v": GUIDED, "noise": NOISE, "pred_x0": X0}
    meaning = {"pred_x0": "what is picture in it", "noise": "what is noise in it", "next latents": "both again, with less noise"}
    cell, high, factor_width = 98, 132, 116
    equations = ddim_terms(scheduler, step)
    board = Board(WIDTH, len(equations) * high)
    for j, ((name, total), *terms) in enumerate(equations):
        y, x = j * high + 4, 14
        for n, (factor, term, value) in enumerate([(None, name, total), *terms]):
            if n:
                sign = "=" if n == 1 else ("+" if factor > 0 else "−")
                shown = factor if n == 1 else abs(factor)
                board.text(x + factor_width / 2, y + cell / 2, f"{sign} {shown:.3f} ×", 18, ha="center")
                x += factor_width
            board.picture(x, y, cell, cell, rgb(value[0]), smooth=False)
            board.text(x + cell / 2, y + cell + 13, term, color=colours[term], ha="center", weight="bold")
            x += cell
        board.text(x + 50, y + cell / 2, meaning[name], 18)
    return board


@plot
def attention_words(t: Trace, image: Image.Image, words: list[str]):
    """Where each word acts: cross-attention, mean over heads, layers and steps, laid over the picture."""
    columns, gap = len(words) + 1, 10
    cell = (WIDTH - gap * (columns - 1)) / columns
    board = Board(WIDTH, cell + 36)
    board.picture(0, 0, cell, cell, image)
    board.text(cell / 2, cell + 18, "picture", color=MUTED, ha="center")
    grey = np.asarray(image.convert("L").convert("RGB"), dtype="float64")
    for i, word in enumerate(words, start=1):
        heat = np.mean([s.attention[word].numpy() for s in t.steps], axis=0)
        # contrast within the word's own map: shares differ between words by an order of magnitude
        heat = (heat - heat.min()) / (heat.max() - heat.min() or 1)
        large = np.asarray(Image.fromarray(heat.astype("float32")).resize(image.size, Image.BICUBIC)).clip(0, 1)
        colour = np.asarray(coloured(large, 1.0, HEAT), dtype="float64")
        mixed = 0.3 * grey + 0.7 * colour
        board.picture(i * (cell + gap), 0, cell, cell, Image.fromarray(mixed.clip(0, 255).astype("uint8")))
        board.text(i * (cell + gap) + cell / 2, cell + 18, word, 16, INK, ha="center", weight="bold")
    return board
