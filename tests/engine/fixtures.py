"""What Python says, for the engine's own tests: python tests/engine/fixtures.py FOLDER writes JSON files there."""

import functools
import json
import random
import sys
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler

from sdscope.loading.checkpoint import find_model, load_text
from sdscope.loading.config import read_config
from sdscope.scheduler import DDIM
from sdscope.trace.record import Tokens

POSTCARD = find_model("postcard")


def randoms():
    """Two draws by torch.randn: few numbers and many, multiples of 16 and not, seeds of more than 32 bits"""
    cases = [(seed, size) for seed in (0, 42, 2**32 + 5, 2**53 - 1) for size in (16, 988, 1024)]
    found = []
    for seed, size in cases:
        draw = functools.partial(torch.randn, size, generator=torch.Generator().manual_seed(seed))
        found.append(dict(seed=seed, x=draw().tolist(), next=draw().tolist()))
    return found


def schedulers():
    """Every step of the schedulers, for outputs drawn at random"""
    config = read_config(POSTCARD / "scheduler/scheduler_config.json")
    makers = {
        "ddim": DDIM,
        "euler": EulerDiscreteScheduler.from_config,
        "dpm++": DPMSolverMultistepScheduler.from_config,
    }
    cases = []
    for name, make in makers.items():
        for changes in {}, {"prediction_type": "epsilon"}, {"set_alpha_to_one": True, "steps_offset": 0}:
            for steps in 1, 2, 14, 15, 25, 33:
                scheduler = make(config | changes)
                scheduler.set_timesteps(steps)
                cases.append(
                    dict(name=name, config=config | changes) | run(scheduler, torch.Generator().manual_seed(steps))
                )
    return cases


def run(scheduler, generator):
    case = dict(timesteps=scheduler.timesteps.tolist(), sigma=float(scheduler.init_noise_sigma), steps=[])
    latents = torch.randn(8, generator=generator) * scheduler.init_noise_sigma
    case["latents"] = latents.tolist()
    for t in scheduler.timesteps:
        seen = scheduler.scale_model_input(latents, t)
        output = torch.randn(8, generator=generator)
        noisy = scheduler.add_noise(latents, output, t[None])
        step = scheduler.step(output, t, latents)
        latents, x0 = step.prev_sample, getattr(step, "pred_original_sample", None)
        case["steps"].append(
            dict(
                seen=seen.tolist(),
                output=output.tolist(),
                noisy=noisy.tolist(),
                prev=latents.tolist(),
                x0=None if x0 is None else x0.tolist(),
            )
        )
    return case


def tokens():
    """10,000 texts of all kinds: their ids as the pipeline has them; of some also the words"""
    tokenizer, _ = load_text(POSTCARD, "cpu", torch.float32)
    options = dict(padding="max_length", max_length=tokenizer.model_max_length, truncation=True)
    every = texts(random.Random(0), list(tokenizer.get_vocab()))
    ids = tokenizer(every, **options).input_ids
    some = [Tokens(row, tokenizer.convert_ids_to_tokens(row)).words() for row in ids[:2000]]
    return dict(texts=every, ids=ids, words=some)


def texts(rng, vocabulary):
    """Letters of many alphabets, words, emoji, control characters and what is written alike but coded in two ways"""
    letters = lambda *ranges: [chr(i) for first, last in ranges for i in range(first, last)]
    words = [piece.removesuffix("</w>") for piece in vocabulary if piece.isascii()]
    kinds = [
        words, words, letters((32, 127)), letters((0, 32), (127, 161)), letters((0xA0, 0x250)), letters((0x370, 0x600)),
        letters((0x900, 0xA00), (0x1E00, 0x1F00), (0x10000, 0x10200)), letters((0x2000, 0x2070), (0x3000, 0x3100)),
        list("日の出の海に浮かぶ船、赤い灯台。한국어"), ["\ufeff", "\u0085", "\u200b", "\u3000", "\u2028"],
        ["😀", "👩\u200d🚀", "🇯🇵", "❤️", "👍🏽"], ["é", "e\u0301", "Å", "\u212b", "İ", "ß", "ﬁ", "Σ", "ΟΔΟΣ", "ǅ", "한"],
        ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "don't", "IT'S"], list("0123456789٠²½Ⅷ"),
        ["<|startoftext|>", "<|endoftext|>", "<|endoftext|"],  # in other case, alone, the two read them differently
    ]  # fmt: skip
    found = ["", " ", "a ship at sunrise", "painting depicting the sea, sunrise, ship"]
    while len(found) < 10_000:
        chosen = rng.choices(kinds, k=rng.randint(1, 3))
        glue = rng.choice(["", " ", ", "])
        found.append(glue.join(rng.choice(rng.choice(chosen)) for _ in range(rng.randint(1, 20))))
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in dict(random=randoms, schedulers=schedulers, tokens=tokens).items():
        (folder / f"{name}.json").write_text(json.dumps(make()))
