"""What Postcard learns from: painted pictures and their captions, made once by all cores and kept on disk."""
import json
import os
import time
from contextlib import nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from transformers import CLIPTokenizer

from .captions import caption
from .scene import Scene, labels
from .tokenizer import train_tokenizer
from .world import paint

CHUNK = 500
CAPTIONS = 6                                                   # written for each picture
# seeds of scenes that never meet: what the model learns from, what the judge learns from, what both are asked about
TRAINING, JUDGE, EVALUATION = 0, 2**34, 2**35


def held_out_scenes(count):
    """The first of the evaluation's scenes that training has never seen."""
    found, seed = [], EVALUATION
    while len(found) < count:
        scene = Scene.random(seed)
        found += [scene] if scene.held_out else []
        seed += 1
    return found


def painted(folder: Path, count: int, size=(128, 128), first=TRAINING, progress=None) -> np.ndarray:
    """The pictures of the `count` scenes from seed `first` on, or of more: a memory-mapped (count, h, w, 3) uint8 array.

    Painted in chunks, so that an interrupted run goes on where it was. `progress(iterable, total, text)`
    shows how far it is.
    """
    return made(folder, f"pictures-{size[0]}x{size[1]}-{first}", count, partial(paint_chunk, size=size, first=first), progress)


def captioned(folder: Path, count: int, first=TRAINING, progress=None) -> np.ndarray:
    """CAPTIONS captions of each of these scenes as token ids: (count, CAPTIONS, 77) int16."""
    tokenizer_in(folder)
    return made(folder, f"captions-{first}", count, partial(caption_chunk, folder=folder, first=first), progress)


def labelled(folder: Path, count: int, first=TRAINING, progress=None) -> np.ndarray:
    """What is to be seen in each of these scenes: (count, 10) int16, -100 where there is nothing to be seen."""
    return made(folder, f"labels-{first}", count, partial(label_chunk, first=first), progress)


def scene_of(seed):
    """Nothing that is held out is ever trained on; the judge has to know everything."""
    return Scene.random(seed) if seed >= JUDGE else Scene.for_training(seed)


def paint_chunk(start, size, first):
    return np.stack([np.asarray(paint(scene_of(first + i), *size)) for i in range(start, start + CHUNK)])


def caption_chunk(start, folder, first):
    rng = np.random.default_rng([first, start])
    texts = [caption(scene, rng) for i in range(start, start + CHUNK) for scene in [scene_of(first + i)] for _ in range(CAPTIONS)]
    return tokenize(tokenizer_in(folder), texts).astype(np.int16).reshape(CHUNK, CAPTIONS, -1)


def label_chunk(start, first):
    return np.array([labels(scene_of(first + i)) for i in range(start, start + CHUNK)], dtype=np.int16)


def made(folder, name, count, make, progress):
    """The array of that name with at least `count` rows: found, or made chunk by chunk by all cores."""
    folder.mkdir(parents=True, exist_ok=True)
    enough = [file for file in folder.glob(f"{name}-*.npy") if int(file.stem.rsplit("-", 1)[1]) >= count]
    whole = folder / f"{name}-{count}.npy"
    if not enough:
        begun = time.monotonic()
        starts, chunk = range(0, count, CHUNK), lambda start: folder / f"chunk-{name}-{start}.npy"
        missing = [start for start in starts if not chunk(start).exists()]
        save = partial(save_chunk, chunk_name=f"{folder}/chunk-{name}-{{}}.npy", make=make)
        with workers(len(missing)) as pool:
            work = pool.imap_unordered(save, missing) if pool else map(save, missing)
            for _ in progress(work, len(missing), f"making {name}") if progress else work:
                pass
        one = np.load(chunk(0), mmap_mode="r")
        out = np.lib.format.open_memmap(whole.with_suffix(".part"), "w+", one.dtype, (len(starts) * CHUNK, *one.shape[1:]))
        for start in starts:
            out[start:start + CHUNK] = np.load(chunk(start))
        out.flush()
        whole.with_suffix(".part").rename(whole)
        for start in starts:
            chunk(start).unlink()
        cost = dict(made=whole.name, rows=CHUNK * len(missing), cores=len(os.sched_getaffinity(0)),
                    seconds=round(time.monotonic() - begun, 1))
        with open(folder / "cost.jsonl", "a") as log:
            log.write(json.dumps(cost) + "\n")
    return np.load(min(enough, default=whole, key=lambda file: file.stat().st_size), mmap_mode="r")[:count]


def workers(jobs):
    """A process for each core; none for a single job.

    Forked from a server that has nothing running: the threads of torch do not survive a fork.
    """
    if jobs < 2:
        return nullcontext()
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context.Pool(min(len(os.sched_getaffinity(0)), jobs))


def save_chunk(start, chunk_name, make):
    part = chunk_name.format(f"{start}.part")
    np.save(part, make(start))
    os.rename(part, chunk_name.format(start))


def tokenizer_in(folder: Path) -> CLIPTokenizer:
    """The tokenizer kept there; trained, if there is none."""
    if not (folder / "tokenizer").exists():
        train_tokenizer(folder / "unfinished")
        os.rename(folder / "unfinished", folder / "tokenizer")
    return CLIPTokenizer.from_pretrained(folder / "tokenizer")


def tokenize(tokenizer, texts) -> np.ndarray:
    """(B, 77) token ids"""
    return tokenizer(texts, padding="max_length", truncation=True, return_tensors="np").input_ids
