"""The command line: sdscope generate "a prompt" -o picture.png"""

import os
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from . import SdscopeError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def sdscope():
    """Understand Stable Diffusion from code."""


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What to paint.")],
    output: Annotated[Path, Option("--output", "-o", help="Where to: a .png, .jpg or .webp.")],
    negative_prompt: Annotated[str, Option(help="What to keep away from.")] = "",
    seed: Annotated[int | None, Option(help="Same seed, same picture. Default: a new one.")] = None,
    steps: Annotated[int, Option(help="How many denoising steps.")] = 25,
    guidance_scale: Annotated[float, Option(help="How strictly to follow; 1: not guided.")] = 5.0,
    height: Annotated[int | None, Option(help="In pixels. Default: the model's own.")] = None,
    width: Annotated[int | None, Option(help="In pixels. Default: the model's own.")] = None,
    model: Annotated[str, Option(help="A short name, a folder, or a hub id.")] = "postcard",
    offline: Annotated[bool, Option("--offline", help="Never use the network.")] = False,
):
    """Paint a picture from a prompt."""
    part = writable(output)
    from .pipeline import StableDiffusion  # not above: torch takes seconds to import

    def progress(step):
        done = step["i"] + 1
        print(f"\rstep {done} of {steps}", end="\n" if done == steps else "", file=sys.stderr)

    seed = secrets.randbelow(2**32) if seed is None else seed
    pipe = StableDiffusion.from_pretrained(model, offline=offline)
    callback = progress if sys.stderr.isatty() else None
    image = pipe(prompt, negative_prompt, height, width, steps, guidance_scale, seed, callback)
    save(image, part, output)
    print(f"{output} (seed {seed})")


train = typer.Typer(help="Train Postcard from nothing: vae, text, postcard, decoder, in this order.")
app.add_typer(train, name="train")
Folder = Annotated[Path, Option(help="Where the runs, their checkpoints and sheets go.")]
Steps = Annotated[int, Option(min=1, help="How long: batches until the end.")]
Batch = Annotated[int, Option(min=1, help="Pictures or captions in a batch, for each process.")]
Rate = Annotated[float, Option(help="The learning rate at its highest.")]
Pictures = Annotated[int, Option(min=100, help="How many pictures to paint and learn from.")]


@train.command()
def vae(pictures: Pictures = 60_000, steps: Steps = 4_000, batch_size: Batch = 2, learning_rate: Rate = 1e-3, folder: Folder = Path("runs")):
    """The autoencoder: pictures to latents to pictures. Goes on where it was interrupted."""
    training().train_vae(folder, pictures, steps, batch_size, learning_rate, progress_bar)


@train.command()
def text(steps: Steps = 400, batch_size: Batch = 32, learning_rate: Rate = 2e-3, folder: Folder = Path("runs")):
    """A head start for the text encoder: what do captions say?"""
    training().train_text(folder, steps, batch_size, learning_rate)


@train.command()
def postcard(pictures: Pictures = 24_000, steps: Steps = 8_000, batch_size: Batch = 32, learning_rate: Rate = 1e-3, folder: Folder = Path("runs")):
    """Text encoder and UNet, in the latents of the autoencoder. Goes on where it was interrupted."""
    training().train_postcard(folder, pictures, steps, batch_size, learning_rate, progress_bar)


@train.command()
def decoder(pictures: Pictures = 60_000, steps: Steps = 1_000, batch_size: Batch = 2, learning_rate: Rate = 5e-4, folder: Folder = Path("runs")):
    """The autoencoder's decoder, further; then give `train postcard` once more."""
    training().train_decoder(folder, pictures, steps, batch_size, learning_rate, progress_bar)


def training():
    try:
        from .postcard import train as module
    except ImportError as error:
        raise SdscopeError(f"training needs {error.name}: pip install 'sdscope[train]'") from error
    return module


def progress_bar(items, total, text):
    from rich.progress import track

    return track(items, total=total, description=text)


def writable(path):
    """The name of a file beside `path`, to be renamed to it; SdscopeError if none can be there."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise SdscopeError(f"cannot write {path}: the name must end in .png, .jpg or .webp")
    if os.path.isdir(path):
        raise SdscopeError(f"cannot write {path}: it is a folder")
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        raise SdscopeError(f"cannot write {path}: {error.strerror or error}") from error
    return part


def save(image, part, path):
    """Write, then rename: nobody ever sees half a picture."""
    try:
        image.save(part)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SdscopeError(f"cannot write {path}: {error.strerror or error}") from error


def main():
    """What the user can put right is one line and exit status 2, never a traceback."""
    try:
        sys.exit(app(standalone_mode=False))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        usage = getattr(error, "format_message", None)  # typer's own: no such option, no number
        if not usage and not isinstance(error, SdscopeError):
            raise
        print(f"sdscope: {usage() if usage else error}", file=sys.stderr)
        sys.exit(2)
