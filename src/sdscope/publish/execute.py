"""Execute notebooks: each in a kernel of its own, as many at a time as there are cores."""

from __future__ import annotations

import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import papermill
from jupyter_client.provisioning import LocalProvisioner
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat.v4 import new_code_cell
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..errors import SdscopeError
from ..loading.devices import pick_device
from . import excerpts, manifest

# runs last in every kernel: UNet calls made, and asked for
COUNT = """import sys
every = sys.modules["sdscope.figures.runs"].Runs.every if "sdscope.figures.runs" in sys.modules else []
print(sum(run.made for run in every), sum(run.asked for run in every))"""
LINES = 12  # of a traceback


def execute_all(
    stamps: dict[Path, str], folder: Path, parameters=None, jobs=None, kept: Path | None = None, say=print
) -> None:
    """{notebook: stamp}. What a notebook makes lies in folder/NAME, which holds done.json when it is finished.

    The number of threads changes how sums are rounded, so it depends on `jobs` alone: on a CPU one kernel for each
    core, with one thread; on a GPU one kernel at a time. kept: where runs are shared, see Runs.
    The others go on when one fails; an SdscopeError then says what is wrong with each.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jobs = jobs or (cores if pick_device().type == "cpu" else 1)
    env = {
        **os.environ,
        "OMP_NUM_THREADS": str(max(1, cores // jobs)),
        "SDSCOPE_RUNS": str(kept.resolve()) if kept else "",
    }
    notebooks = {path: prepare(path, parameters) for path in stamps}
    began, failed, counts = time.monotonic(), [], []
    clients: list[NotebookClient] = []
    with bars() as progress, ThreadPoolExecutor(jobs) as pool:
        futures = [
            pool.submit(execute, path, notebook, folder / path.stem, stamps[path], env, progress, clients)
            for path, notebook in notebooks.items()
        ]
        try:
            for future in as_completed(futures):
                try:
                    line, *count = future.result()
                    say(line)
                    counts.append(count)
                except SdscopeError as error:
                    failed.append(str(error))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for client in clients:
                stop(client)
            say("stopped: what is finished is kept for the next time")
            raise
    if failed:
        raise SdscopeError("\n\n".join(failed))
    if counts:
        made, asked = map(sum, zip(*counts))
        say(f"UNet calls: {made:,} made, {asked:,} in the figures; {(time.monotonic() - began) / 60:.1f} minutes")


def bars() -> Progress:
    """One line for each notebook that is being executed; silent when nobody watches."""
    console = Console(stderr=True)
    columns = [BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[tag]}", markup=False)]
    return Progress(
        TextColumn("{task.description}"), *columns, console=console, transient=True, disable=not console.is_terminal
    )


def prepare(path: Path, parameters: dict | None):
    """The notebook with the parameters put in, as papermill does."""
    if parameters:
        known = papermill.inspect_notebook(str(path))
        for name in parameters:
            if name not in known:
                raise SdscopeError(f"{path.name} has no parameter {name!r}; it has {', '.join(known) or 'none'}")
    return papermill.execute_notebook(str(path), None, parameters, prepare_only=True)


def execute(
    path: Path, notebook, stage: Path, stamp: str, env: dict, progress: Progress, clients: list
) -> tuple[str, int, int]:
    """One notebook, in its own folder. Returns a line about what it made, and the UNet calls made and asked for."""
    began, at = time.monotonic(), path.name
    (stage / "done.json").unlink(missing_ok=True)  # first of all: what is half removed is not finished
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    bar = progress.add_task(path.stem, total=len(code), tag="")

    def started(cell, cell_index):
        nonlocal at
        if cell_index in code:
            done, tags = code.index(cell_index), "".join(f"[{tag}]" for tag in cell.metadata.get("tags", []))
            at = f"{path.name}, cell {done + 1} {tags}".rstrip()
            progress.update(bar, completed=done, tag=tags)

    notebook.cells.append(new_code_cell(COUNT))
    client = NotebookClient(
        notebook, timeout=None, startup_timeout=300, kernel_name="python3", on_cell_start=started,
        extra_arguments=["--log-level=50"],  # it would warn of its own sockets
        resources={"metadata": {"path": str(path.parent)}},
    )  # fmt: skip
    clients.append(client)
    try:
        client.execute(env={**env, "SDSCOPE_OUT": str(stage.resolve())})
    except CellExecutionError as error:
        lines = excerpts.ANSI.sub("", error.traceback).strip().splitlines()
        if error.ename == SdscopeError.__name__:  # it says it all
            raise SdscopeError(f"{at}: {error.evalue}") from None
        message = f"{error.ename}: {error.evalue}".partition("\n")[0]
        raise SdscopeError("\n".join([f"{at}: {message}", *lines[-LINES:]])) from None
    except DeadKernelError:
        raise SdscopeError(f"{at}: the kernel died, most often for want of memory") from None
    except RuntimeError as error:
        raise SdscopeError(f"{path.name}: no kernel: {error}") from None
    finally:
        progress.remove_task(bar)
    made, asked = map(int, notebook.cells.pop().outputs[0].text.split())
    verify(path.stem, notebook, stage)
    excerpts.write(notebook, stage / "embed")
    manifest.write_json(stage / "done.json", {"stamp": stamp})
    return f"{path.stem}: {sizes(stage)} in {time.monotonic() - began:.0f} s", made, asked


def sizes(stage: Path) -> str:
    """ "14 figures, 1.4 MB (animations in kB: denoise_latents.webp 55)" """
    paths = [stage / "figures" / name for name in manifest.read(stage)]
    total = sum(path.stat().st_size for path in paths)
    moving = [path for path in paths if path.suffix != ".json" and getattr(Image.open(path), "n_frames", 1) > 1]
    told = ", ".join(f"{path.name} {path.stat().st_size / 1e3:.0f}" for path in moving)
    return f"{len(paths)} figures, {total / 1e6:.1f} MB" + f" (animations in kB: {told})" * bool(moving)


def stop(client: NotebookClient) -> None:
    """End its kernel; one that is only starting ends before its first cell."""

    def stopped(**_):
        raise SdscopeError("stopped")

    client.on_cell_start = stopped
    kernel = client.km.provisioner if client.km and client.km.has_kernel else None
    if isinstance(kernel, LocalProvisioner) and kernel.pid:
        os.kill(kernel.pid, signal.SIGKILL)


def verify(name: str, notebook, stage: Path) -> None:
    """Each figure must come from the cell that its manifest entry names."""
    cells = {tag: cell.source for cell in notebook.cells for tag in cell.metadata.get("tags", [])}
    for figure, entry in manifest.read(stage).items():
        if entry["notebook"] != name or f'"{figure}"' not in cells.get(entry["cell"], ""):
            raise SdscopeError(f"{name}: {figure} was not saved by a cell tagged {entry['cell']!r}")
