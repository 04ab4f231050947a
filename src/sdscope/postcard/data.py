"""What Postcard learns from: painted pictures, and their latents, each made once and kept on disk."""
import os
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np

from .painter import Scene, paint

CHUNK = 500


def painted(folder: Path, count: int, progress) -> np.ndarray:
    """The pictures of scenes 0 .. count-1, or of more: a memory-mapped (count, 128, 128, 3) uint8 array.

    Painted by all cores into chunk files, so that an interrupted run goes on where it was.
    `progress(iterable, total, text)` shows how far it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / f"pictures-{count}.npy"
    enough = [file for file in folder.glob("pictures-*.npy") if int(file.stem.removeprefix("pictures-")) >= count]
    if not enough:
        chunks = range(0, count, CHUNK)
        with Pool(len(os.sched_getaffinity(0))) as pool:
            for _ in progress(pool.imap_unordered(partial(paint_chunk, folder), chunks), len(chunks), "painting"):
                pass
        unfinished = folder / "unfinished.npy"
        out = np.lib.format.open_memmap(unfinished, "w+", np.uint8, (len(chunks) * CHUNK, 128, 128, 3))
        for start in chunks:
            out[start:start + CHUNK] = np.load(folder / f"chunk-{start}.npy")
        out.flush()
        unfinished.rename(whole)
        for start in chunks:
            (folder / f"chunk-{start}.npy").unlink()
    return np.load(min(enough, default=whole), mmap_mode="r")


def paint_chunk(folder: Path, start: int):
    file = folder / f"chunk-{start}.npy"
    if not file.exists():
        np.save(file.with_suffix(".part.npy"), np.stack([np.asarray(paint(Scene.random(seed))) for seed in range(start, start + CHUNK)]))
        file.with_suffix(".part.npy").rename(file)
