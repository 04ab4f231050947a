"""What Postcard learns from: painted pictures and their captions, made once by all cores and kept on disk.

Any number of processes may work with one folder: what one of them makes, the others wait for. What is kept there
knows which code made it, by the hash in its name; what other code made is neither used nor touched.
"""

import ast
import hashlib
import itertools
import json
import logging
import os
import time
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from transformers import CLIPTokenizer

from ... import files
from ...errors import SdscopeError, first_line
from ..world.captions import caption
from ..world.depth import depth
from ..world.masks import draw_mask
from ..world.paint import paint
from ..world.scene import Scene, labels
from .tokenizer import train_tokenizer

log = logging.getLogger("sdscope")
CHUNK = 500
CAPTIONS = 6  # written for each picture
# seeds of scenes that never meet: what the model learns from, what the judge learns from, what both are asked about
TRAINING, JUDGE, EVALUATION = 0, 2**34, 2**35
# the modules that decide what is painted, how near it is, which part is masked, and what is written
WORLD = Path(__file__).parents[1] / "world"
PAINTER, WRITER, LABELLER = (
    ("canvas", "paint", "places", "scene", "styles", "things"),
    ("captions", "scene"),
    ("scene",),
)
SURVEYOR = (*PAINTER, "depth")
MASKER = (*SURVEYOR, "masks")


def held_out_scenes(count):
    """The first of the evaluation's scenes that training has never seen."""
    scenes = map(Scene.random, itertools.count(EVALUATION))
    return list(itertools.islice((scene for scene in scenes if scene.held_out), count))


def painted(folder: Path, count: int, size=(128, 128), first=TRAINING, progress=None) -> np.ndarray:
    """The pictures of the `count` scenes from seed `first` on, or of more: a memory-mapped (count, h, w, 3) uint8
    array.

    Painted in chunks, so that an interrupted run goes on where it was. `progress(iterable, total, text)`
    shows how far it is.
    """
    return made(
        folder,
        f"pictures-{size[0]}x{size[1]}-{first}",
        version(PAINTER),
        count,
        partial(paint_chunk, size=size, first=first),
        progress,
    )


def captioned(folder: Path, count: int, first=TRAINING, progress=None) -> np.ndarray:
    """CAPTIONS captions of each of these scenes as token ids: (count, CAPTIONS, 77) int16."""
    tokenizer_in(folder)
    vocabulary = [file.read_bytes() for file in sorted((folder / "tokenizer").glob("*.json"))]
    return made(
        folder,
        f"captions-{first}",
        version(WRITER, CAPTIONS, CHUNK, vocabulary),
        count,
        partial(caption_chunk, folder=folder, first=first),
        progress,
    )


def labelled(folder: Path, count: int, first=TRAINING, progress=None) -> np.ndarray:
    """What is to be seen in each of these scenes: (count, 10) int16, -100 where there is nothing to be seen."""
    return made(folder, f"labels-{first}", version(LABELLER), count, partial(label_chunk, first=first), progress)


def surveyed(folder: Path, count: int, size=(256, 256), first=TRAINING, progress=None) -> np.ndarray:
    """How near everything is in each of these pictures: (count, h, w) uint8, as `depth` has it."""
    name, make = f"depth-{size[0]}x{size[1]}-{first}", partial(depth_chunk, size=size, first=first)
    return made(folder, name, version(SURVEYOR), count, make, progress)


def masked(folder: Path, count: int, size=(256, 256), first=TRAINING, progress=None) -> np.ndarray:
    """A mask for each of these pictures, 1 where it is to be painted again, eight pixels in a byte: (count, h, w / 8)
    uint8."""
    name, make = f"masks-{size[0]}x{size[1]}-{first}", partial(mask_chunk, size=size, first=first)
    return made(folder, name, version(MASKER), count, make, progress)


def version(modules, *others) -> str:
    """Eight digits that change when one of these modules does, comments and layout aside, or one of the others."""
    return hashlib.sha256(repr([*map(source, modules), *others]).encode()).hexdigest()[:8]


@cache
def source(module):
    return ast.dump(ast.parse((WORLD / f"{module}.py").read_text(encoding="utf-8")))


def scene_of(seed):
    """Nothing that is held out is ever trained on; the judge has to know everything."""
    return Scene.random(seed) if seed >= JUDGE else Scene.for_training(seed)


def paint_chunk(start, size, first):
    return np.stack([np.asarray(paint(scene_of(first + i), *size)) for i in range(start, start + CHUNK)])


def depth_chunk(start, size, first):
    return np.stack([np.asarray(depth(scene_of(first + i), *size)) for i in range(start, start + CHUNK)])


def mask_chunk(start, size, first):
    seeds = range(first + start, first + start + CHUNK)
    masks = [draw_mask(scene_of(seed), np.random.default_rng([seed, 1]), *size) for seed in seeds]
    return np.packbits(np.stack([np.asarray(mask) > 0 for mask in masks]), axis=-1)


def caption_chunk(start, folder, first):
    rng = np.random.default_rng([first, start])
    texts = [
        caption(scene, rng)
        for i in range(start, start + CHUNK)
        for scene in [scene_of(first + i)]
        for _ in range(CAPTIONS)
    ]
    return tokenize(tokenizer_in(folder), texts).astype(np.int16).reshape(CHUNK, CAPTIONS, -1)


def label_chunk(start, first):
    return np.array([labels(scene_of(first + i)) for i in range(start, start + CHUNK)], dtype=np.int16)


def made(folder, name, version, count, make, progress):
    """The array of that name and version with at least `count` rows: found, or made chunk by chunk by all cores."""
    files.make_folder(folder)
    if not large_enough(folder, name, version, count):
        with one_process(folder / f"{name}.lock"):
            if not large_enough(folder, name, version, count):  # else another process has made it meanwhile
                make_all(folder, name, version, count, make, progress)
    return opened(large_enough(folder, name, version, count), count)[:count]


def large_enough(folder, name, version, count):
    """The smallest file with so many rows, or None"""
    rows = {int(file.name.split(".")[0].rsplit("-", 1)[1]): file for file in folder.glob(f"{name}-*.{version}.npy")}
    enough = [n for n in rows if n >= count]
    return rows[min(enough)] if enough else None


def make_all(folder, name, version, count, make, progress):
    kept = [file.name for chunk in ("", "chunk-") for file in sorted(folder.glob(f"{chunk}{name}-*.npy"))]
    others = [name for name in kept if f".{version}." not in name]
    if others:
        more = f" and {len(others) - 1} more" if others[1:] else ""
        log.warning("%s%s: of another version of the code, so not used; can be removed", folder / others[0], more)
    begun = time.monotonic()
    starts, chunk = range(0, count, CHUNK), lambda start: folder / f"chunk-{name}-{start}.{version}.npy"
    missing = [start for start in starts if not chunk(start).exists()]
    save = partial(save_chunk, chunk_name=f"{folder}/chunk-{name}-{{}}.{version}.npy", make=make)
    with workers(len(missing)) as pool:
        work = pool.imap_unordered(save, missing) if pool else map(save, missing)
        for _ in progress(work, len(missing), f"making {name}") if progress else work:
            pass
    join([chunk(start) for start in starts], folder / f"{name}-{count}.{version}.npy")
    for start in starts:
        chunk(start).unlink()
    cost = dict(
        made=f"{name}-{count}.npy",
        rows=CHUNK * len(missing),
        cores=len(os.sched_getaffinity(0)),
        seconds=round(time.monotonic() - begun, 1),
    )
    with open(folder / "cost.jsonl", "a") as log_file:
        log_file.write(json.dumps(cost) + "\n")


def join(chunks, whole):
    """Arrays one after the other in one file. Not by a memory map: a full disk would end the process without a word."""
    one = opened(chunks[0])
    header = np.lib.format.header_data_from_array_1_0(one) | {"shape": (len(chunks) * len(one), *one.shape[1:])}
    with files.writing(whole) as part, open(part, "wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        for file in chunks:
            out.write(opened(file, len(one)).tobytes())


def opened(file, rows=0):
    """The array in a file, memory-mapped; a damaged one, or one of fewer rows: SdscopeError"""
    try:
        array = np.load(file, mmap_mode="r")
        if len(array) < rows:
            raise ValueError(f"{len(array)} rows")
    except Exception as error:  # numpy's, zip's, pickle's
        reason = first_line(error)
        raise SdscopeError(f"{file} is damaged ({reason}): remove it, and it is made again") from error
    return array


@contextmanager
def one_process(lock: Path):
    """One process at a time; the others wait, and say so."""
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        print(f"another process makes {lock.stem}: waiting for it", flush=True)
        held.acquire()
    try:
        yield
    finally:
        held.release()


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
    with files.writing(chunk_name.format(start)) as part:
        np.save(part, make(start))


def tokenizer_in(folder: Path, save=None) -> CLIPTokenizer:
    """The tokenizer kept there; where there is none, the one that save(folder) saves, or one that is trained."""
    if not (folder / "tokenizer").exists():
        with one_process(folder / "tokenizer.lock"):
            if not (folder / "tokenizer").exists():
                with files.making(folder / "tokenizer", lambda folder: ()) as new:
                    (save or train_tokenizer)(new)
    try:
        return CLIPTokenizer.from_pretrained(folder / "tokenizer")
    except Exception as error:  # json's, tokenizers', transformers'
        reason = first_line(error)
        raise SdscopeError(
            f"{folder / 'tokenizer'} is damaged ({reason}): what was trained with it cannot be used without"
        ) from error


def tokenize(tokenizer, texts) -> np.ndarray:
    """(B, 77) token ids"""
    return tokenizer(texts, padding="max_length", truncation=True, return_tensors="np").input_ids
