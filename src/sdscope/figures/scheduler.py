"""Figures of the scheduler: the times it visits, one step as pictures, and what other steps would do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image

from ..scheduler import DDIM
from ..trace import Step
from .base import COND, GUIDED, INK, LATENTS, MUTED, NOISE, TEXT, UNCOND, WIDTH, X0, Board, plot
from .latents import LatentRGB

LANES = [(LATENTS, "o"), (UNCOND, "v"), (X0, "s"), (COND, "D"), (GUIDED, "^")]  # a colour and a mark for each scheduler


@plot
def timetable(scheduler: DDIM, steps: int, pictures: dict[int, Image.Image]) -> Board:
    """alpha_prod_t over all times, the times that are visited, and the latents ({time: picture}) at some of them."""
    scheduler.set_timesteps(steps)
    total, cell = scheduler.config.num_train_timesteps, 96
    board = Board(WIDTH, 226 + 40 + cell)
    axes = board.axes(66, 14, WIDTH - 86, 166)
    axes.plot(np.arange(total), scheduler.alphas_cumprod, color=X0)
    times = scheduler.timesteps.numpy()
    axes.vlines(times, 0, scheduler.alphas_cumprod[times], color=LATENTS, lw=1.2)
    axes.plot(times, scheduler.alphas_cumprod[times], "o", color=LATENTS, markersize=5, zorder=3)
    axes.set(xlim=(total + 8, -8), ylim=(0, 1.05), xticks=range(0, total + 1, total // 5), yticks=[0, 0.5, 1])
    axes.set(xlabel="time t, from noisy to clean", ylabel="alpha_prod_t")
    gap = (WIDTH - cell * len(pictures)) / max(len(pictures) - 1, 1)
    for i, (t, picture) in enumerate(pictures.items()):
        x = i * (cell + gap)
        board.picture(x, 238, cell, cell, picture, smooth=False)
        board.text(x + cell / 2, 238 + cell + 14, f"t = {t}", color=LATENTS, ha="center", weight="bold")
    return board


@plot
def alphas(scheduler: DDIM, steps: int) -> Board:
    """alpha_prod_t and alpha_prod_t_prev at every step, and how much each step adds."""
    scheduler.set_timesteps(steps)
    now = scheduler.alphas_cumprod[scheduler.timesteps].numpy()
    prev = np.array([alpha_prev(scheduler, t) for t in scheduler.timesteps])
    board = Board(WIDTH, 400)
    upper, lower = board.axes(70, 14, 560, 222), board.axes(70, 262, 560, 82)
    x = np.arange(1, steps + 1)
    upper.plot(x, prev, "o-", color=GUIDED, markersize=4)
    upper.plot(x, now, "o-", color=LATENTS, markersize=4)
    upper.set(ylim=(0, 1.03), yticks=np.arange(6) / 5, ylabel="share of picture")
    lower.bar(x, prev - now, color=NOISE, width=0.8)
    lower.set(xlabel="step", ylim=(0, 1.1 * (prev - now).max()))
    for axes in (upper, lower):
        axes.set(xlim=(0.3, steps + 0.7), xticks=[1, *range(5, steps + 1, 5)])
    upper.set_xticklabels([])
    board.text(650, 60, "alpha_prod_t_prev", 16, GUIDED, weight="bold")
    board.text(650, 84, "after the step", color=MUTED)
    board.text(650, 128, "alpha_prod_t", 16, LATENTS, weight="bold")
    board.text(650, 152, "before the step", color=MUTED)
    board.text(650, 280, "their difference", 16, MUTED, weight="bold")
    board.text(650, 304, f"largest at step {int((prev - now).argmax()) + 1}", color=MUTED)
    board.text(650, 328, f"last step: {prev[-1] - now[-1]:.4f}", color=MUTED)
    return board


def alpha_prev(scheduler: DDIM, t: int) -> float:
    """alpha_prod_t_prev of DDIM's step from time t"""
    prev = t - scheduler.stride
    return float(scheduler.alphas_cumprod[prev] if prev >= 0 else scheduler.final_alpha_cumprod)


def ddim_terms(scheduler: DDIM, step: Step) -> list[list[tuple]]:
    """The terms of one DDIM step as equations: [[(name, value), (factor, name, value), (factor, name, value)]].

    The first entry of an equation is the sum of the others, each times its factor: a test adds them up.
    """
    t = int(step.t)
    a, a_prev = float(scheduler.alphas_cumprod[t]), alpha_prev(scheduler, t)
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
def ddim_step(scheduler: DDIM, step: Step, rgb: LatentRGB) -> Board:
    """One step as sums of pictures: what is multiplied by what."""
    colours = {"latents": LATENTS, "next latents": LATENTS, "v": GUIDED, "noise": NOISE, "pred_x0": X0}
    meaning = {
        "pred_x0": "what is picture in it",
        "noise": "what is noise in it",
        "next latents": "both again, with less noise",
    }
    cell, high, factor_width = 96, 130, 116
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
def trials(
    rows: dict[str, dict[str, Image.Image]],
    right: str = "",
    columns: int | None = None,
    width: float = WIDTH,
) -> Board:
    """One picture painted in several ways: {what is varied: {how: picture}}; `right` is the way that is right."""
    gap, columns = 8, columns or max(map(len, rows.values()))
    cell = (width - gap * (columns - 1)) / columns
    image = next(iter(next(iter(rows.values())).values()))
    tall = cell * image.height / image.width
    places, y = [], 0.0
    for title, pictures in rows.items():
        y += 34 if title else 2
        places += [(i % columns * (cell + gap), y + i // columns * (tall + 34)) for i in range(len(pictures))]
        y = places[-1][1] + tall + 34
    board, free = Board(width, y - 4), iter(places)
    for title, pictures in rows.items():
        for i, ((how, picture), (x, y)) in enumerate(zip(pictures.items(), free)):
            colour, weight = (GUIDED, "bold") if how == right else (INK, "normal")
            board.picture(x, y, cell, tall, picture, edge=GUIDED if how == right else None)
            board.text(x + cell / 2, y + tall + 15, how, color=colour, weight=weight, ha="center")
            if i == 0:
                board.text(0, y - 18, title, 16, weight="bold")
    return board


@plot
def spacings(lanes: dict[str, tuple[list[float], Image.Image]]) -> Board:
    """Choices of times on one line from noise to picture, and what each leads to: {name: (times, picture)}"""
    cell, high = 124, 138
    board = Board(WIDTH, len(lanes) * high - 10)
    for i, (name, (times, picture)) in enumerate(lanes.items()):
        y = i * high
        board.text(0, y + 50, name, 18, weight="bold")
        board.text(0, y + 74, f"{times[0]:.0f} to {times[-1]:.0f}", color=MUTED)
        axes = board.axes(120, y + 30, WIDTH - 120 - cell - 46, 50)
        axes.vlines(times, 0, 1, color=LATENTS, lw=2.4)
        axes.set(xlim=(1006, -7), ylim=(0, 1.6), yticks=[], xticks=[999, 800, 600, 400, 200, 0])
        axes.spines["left"].set_visible(False)
        board.picture(WIDTH - cell, y + 2, cell, cell, picture)
    return board


def look(image: Image.Image) -> dict[str, float]:
    """What the eye judges by, in numbers. Contrast: the standard deviation of the brightness, which is from 0 to 1.
    Saturation: from the weakest to the strongest of red, green and blue. Sharpness: from one pixel to the next."""
    pixels = np.asarray(image, dtype="float64") / 255
    grey = pixels @ [0.299, 0.587, 0.114]
    sharpness = np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()
    return {"contrast": grey.std(), "saturation": np.ptp(pixels, axis=-1).mean(), "sharpness": sharpness}


def noise_left(scheduler: DDIM, ratio: float) -> torch.Tensor:
    """(steps,): how much noise there is at each step for the noise that the schedule expects there, when every
    prediction is made `ratio` times as strong. In x / sqrt(alpha_prod) a step of DDIM is a step of Euler's,
    dx = noise d sigma (arXiv:2010.02502, equation 14), so from sigma to sigma' it leaves
    1 - ratio (1 - sigma' / sigma) of the noise: nearly (sigma' / sigma) ** ratio when steps are small."""
    a = scheduler.alphas_cumprod[scheduler.timesteps].double()
    sigma = ((1 - a) / a) ** 0.5
    shrink = sigma[1:] / sigma[:-1]
    left = (1 - ratio * (1 - shrink)).abs() / shrink
    return torch.cat([left.new_ones(1), left.cumprod(0)])


@plot
def ratio_noise(scheduler: DDIM, seen: dict[float, list[float]]) -> Board:
    """How strong the UNet says that the noise is, at every step, when each prediction is made `ratio` times as strong.

    seen: {ratio: the standard deviation of the predicted noise at each step}; 1 is what the schedule expects.
    """
    board = Board(WIDTH, 372)
    axes = board.axes(74, 10, WIDTH - 90, 304)
    steps = len(scheduler.timesteps)
    x = np.arange(1, steps + 1)
    for (ratio, values), colour in zip(seen.items(), [COND, UNCOND, GUIDED, LATENTS, X0, NOISE]):
        axes.plot(x, noise_left(scheduler, ratio), color=colour, lw=1.5, ls=(0, (4, 3)))
        axes.plot(x, values, "o-", color=colour, markersize=4.5)
        middle = steps // 2
        letters: dict[str, Any] = dict(ha="center", color=TEXT.get(colour, colour), size=11.5, weight="bold")
        axes.annotate(f"× {ratio:g}", (x[middle], values[middle]), (0, 9), textcoords="offset points", **letters)
    high = 1.4 * max(max(values) for values in seen.values())
    low = 0.7 * min(min(values) for values in seen.values())
    axes.set(
        xlim=(0.5, steps + 0.5), ylim=(low, high), yscale="log", xlabel="step", ylabel="std of the predicted noise"
    )
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5) if low < tick < high]
    log_ticks(axes.yaxis, ticks)
    return board


def log_ticks(axis: Axis, ticks: Sequence[float]) -> None:
    """These ticks and no others, as plain numbers."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))


def steps_for(name: str, calls: int) -> int:
    """How many steps of a scheduler make so many calls of the UNet: n steps of Heun are 2n - 1, of PNDM n + 1."""
    return {"Heun": (calls + 1) // 2, "PNDM": calls - 1}.get(name, calls)


@plot
def race(lanes: dict[str, dict[int, Image.Image]], distances: dict[str, dict[int, float]], goal: str) -> Board:
    """Schedulers at equal UNet calls: {name: {calls: picture}}, and how far each picture is from the `goal`."""
    names, calls = list(lanes), list(next(iter(lanes.values())))
    margin, cell, gap = 108, 86, 6
    grid = margin + len(calls) * (cell + gap) - gap
    board = Board(WIDTH, 52 + len(names) * (cell + gap))
    board.text(margin + (grid - margin) / 2, 12, "calls of the UNet", color=MUTED, ha="center")
    for i, n in enumerate(calls):
        board.text(margin + i * (cell + gap) + cell / 2, 36, str(n), 16, ha="center", weight="bold")
    axes = board.axes(grid + 76, 52, WIDTH - grid - 84, len(names) * (cell + gap) - 56)
    for j, (name, (colour, mark)) in enumerate(zip(names, LANES)):
        board.text(margin - 12, 52 + j * (cell + gap) + cell / 2, name, 16, colour, ha="right", weight="bold")
        for i, n in enumerate(calls):
            board.picture(margin + i * (cell + gap), 52 + j * (cell + gap), cell, cell, lanes[name][n])
        axes.plot(calls, [distances[name][n] for n in calls], marker=mark, color=colour, label=name)
    axes.set(xscale="log", yscale="log", xlabel="calls of the UNet")
    log_ticks(axes.xaxis, calls)
    high = max(max(row.values()) for row in distances.values())
    log_ticks(axes.yaxis, [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick < 1.3 * high])
    board.text(grid + 76, 22, f"distance from {goal}", 15, MUTED)
    return board


def distance(image: Image.Image, other: Image.Image) -> float:
    """Root of the mean square difference of two pictures, in grey levels of 255."""
    difference = np.asarray(image, dtype="float64") - np.asarray(other, dtype="float64")
    return float((difference**2).mean() ** 0.5)
