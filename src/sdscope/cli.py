"""The command line: sdscope generate "a prompt" -o picture.png"""

import importlib
import io
import json
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from . import files
from .errors import SdscopeError, in_one_line
from .version import __version__

WIDEST = {".png": 2**31 - 1, ".jpg": 65500, ".jpeg": 65500, ".webp": 16383}  # pixels that such a file can have

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def tell_version(asked: bool):
    if asked:
        print(f"sdscope {__version__}")
        raise typer.Exit()


@app.callback()
def sdscope(
    version: Annotated[
        bool, Option("--version", callback=tell_version, is_eager=True, help="Which version this is.")
    ] = False,
):
    """Understand Stable Diffusion from code."""


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What to paint.")],
    output: Annotated[Path, Option("--output", "-o", help="Where to: a .png, .jpg or .webp.")],
    negative_prompt: Annotated[str, Option(help="What to keep away from.")] = "",
    seed: Annotated[int | None, Option(help="Same seed, same picture. Default: a new one.")] = None,
    steps: Annotated[int, Option(help="How many denoising steps.")] = 15,
    guidance_scale: Annotated[float, Option(help="How strictly to follow; 1: not guided.")] = 5.0,
    height: Annotated[int | None, Option(help="In pixels. Default: the model's own.")] = None,
    width: Annotated[int | None, Option(help="In pixels. Default: the model's own.")] = None,
    model: Annotated[str, Option(help="A short name, a folder, or a hub id.")] = "postcard",
    dtype: Annotated[str, Option(help="auto, float32, float16 or bfloat16.")] = "auto",
    offline: Annotated[bool, Option("--offline", help="Never use the network.")] = False,
    image: Annotated[Path | None, Option(help="A picture to begin from, instead of noise alone.")] = None,
    mask: Annotated[Path | None, Option(help="Paint --image again only where this picture is white.")] = None,
    strength: Annotated[
        float | None, Option(help="How much of --image may change, to 1. Default: 0.8; with --mask 1.")
    ] = None,
    lora: Annotated[Path | None, Option(help="A small change to the model, such as dreambooth makes.")] = None,
):
    """Paint a picture from a prompt, or over a picture."""
    check_picture(output, height, width)
    check_task(image, mask, strength, height, width)
    from .pictures import opened  # not above: PIL takes its time, and torch takes seconds to import

    given = {"image": image and opened(image), "mask_image": mask and opened(mask), "strength": strength}
    if not image or mask:  # else the picture says how large
        given |= {"height": height, "width": width}
    from .image_to_image import ImageToImage
    from .inpaint import Inpaint
    from .lora import LoRA
    from .pipeline import StableDiffusion

    def progress(step):
        of = "" if image else f" of {steps}"  # of a picture's steps a part is taken
        print(f"step {step['i'] + 1}{of}", end="\r", file=sys.stderr)

    seed = secrets.randbelow(2**32) if seed is None else seed
    task: Any = Inpaint if mask else ImageToImage if image else StableDiffusion
    pipe = task.from_pretrained(model, dtype=dtype, offline=offline)
    if lora:
        LoRA(pipe, lora)
    picture = pipe(
        prompt,
        negative_prompt=negative_prompt,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        seed=seed,
        callback=progress if sys.stderr.isatty() else None,
        **{name: value for name, value in given.items() if value is not None},
    )
    if sys.stderr.isatty():
        print(file=sys.stderr)  # the line of the steps is over
    with files.writing(output) as part:
        picture.save(part)
    print(f"{output} (seed {seed})")


@app.command()
def dreambooth(
    pictures: Annotated[Path, typer.Argument(help="A folder with pictures of one thing, three to ten.")],
    prompt: Annotated[
        str,
        typer.Argument(help='What they show and a rare word: "a zwx snowman". Better: for a.png a text in a.txt.'),
    ],
    output: Annotated[Path, Option("--output", "-o", help="Where to: a .safetensors.")],
    class_prompt: Annotated[
        list[str] | None, Option(help="What is to be painted as before; may be given several times.")
    ] = None,
    steps: Annotated[int, Option(help="How long to learn.")] = 120,
    seed: Annotated[int, Option(help="Same seed, same LoRA.")] = 0,
    model: Annotated[str, Option(help="A short name, a folder, or a hub id.")] = "postcard",
    offline: Annotated[bool, Option("--offline", help="Never use the network.")] = False,
):
    """Teach a model one thing from a few pictures of it: a LoRA, which diffusers opens, too."""
    if output.suffix != ".safetensors":
        raise SdscopeError(f"cannot write {output}: the name must end in .safetensors")
    files.check(output)
    from .pictures import read_pictures

    shown, captions = read_pictures(pictures, prompt)
    from .dreambooth import learn  # not above: torch takes seconds to import
    from .pipeline import StableDiffusion

    pipe = StableDiffusion.from_pretrained(model, dtype="float32", offline=offline)
    learn(pipe, shown, captions, output, class_prompt, steps, seed, progress_bar)
    print(output)


@app.command()
def shapes(
    model: Annotated[str, typer.Argument(help="A short name, such as sd2 or sd15, a folder, or a hub id.")],
    size: Annotated[int | None, Option(help="In pixels. Default: the model's own.")] = None,
    as_json: Annotated[bool, Option("--json", help="For programs: JSON, all numbers exact.")] = False,
):
    """Every block of a model: shape, parameters, multiply-adds. Without its weights."""
    from .shapes import shapes  # not above: torch takes seconds to import

    ledgers = shapes(model, size)
    if as_json:
        print(json.dumps({part: [row._asdict() for row in rows] for part, rows in ledgers.items()}))
    else:
        print_shapes(model, ledgers)


def print_shapes(model, ledgers):
    """A table for each network; what a block is made of below it, indented"""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from .shapes import total

    titles = {
        "unet": "UNet, called once with guidance: a batch of two",
        "encoder": "autoencoder, a picture to latents",
        "decoder": "autoencoder, latents to a picture",
    }
    for part, rows in ledgers.items():
        title = f"{escape(model)}: {titles[part]}"
        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for name, width in ("block", 22), ("shape", 20), ("parameters", 11), ("multiply-adds", 13):
            left = name in ("block", "shape")
            table.add_column(name, min_width=width, justify="left" if left else "right", no_wrap=True)
        block = ""
        for name, depth, shape, *counts in rows:
            block = block if depth else name
            name = f"  {name.removeprefix(block)[1:]}" if depth else name
            table.add_row(name, str(shape), *counted(*counts), style="dim" if depth else None)
        table.add_section()
        table.add_row("in all", "", *counted(*total(rows)))
        Console(width=None if sys.stdout.isatty() else 100).print(table)


def counted(parameters, multiply_adds):
    """As the table has them; where there are none, nothing"""
    return f"{parameters:,}" if parameters else "", f"{multiply_adds / 1e6:,.1f} M" if multiply_adds else ""


@app.command()
def export_web(
    output: Annotated[Path, Option("--output", "-o", help="The folder to make.")] = Path("public/model"),
    model: Annotated[str, Option(help="A short name, a folder, or a hub id.")] = "postcard",
    offline: Annotated[bool, Option("--offline", help="Never use the network.")] = False,
):
    """The model for the browser: ONNX graphs, the tokenizer, and model.json, which says what they are."""
    from .pipeline import StableDiffusion  # not above: torch takes seconds to import
    from .postcard.world.captions import suggestions

    try:
        from .web import export_web, exported
    except ImportError as error:
        raise SdscopeError(f"this needs {error.name}: pip install 'sdscope[web]'") from error
    files.check_folder(output, exported)
    pipe = StableDiffusion.from_pretrained(model, device="cpu", offline=offline)
    made = export_web(pipe, output, suggestions(pipe.tokenizer))["files"]
    print(f"{output}: {sum(file['bytes'] for file in made.values()) / 1e6:.1f} MB")


Only = Annotated[list[str], Option(help="A notebook's number or name, such as 05. Can be given again. Default: all.")]
Out = Annotated[Path | None, Option(help="The folder that holds public/ and embed/. Default: this one.")]
Model = Annotated[str | None, Option(help="In place of postcard: a short name, a folder, or a hub id.")]
Parameters = Annotated[
    list[str], Option("-p", metavar="NAME=VALUE", help="Another parameter of the notebooks. Can be given again.")
]
Jobs = Annotated[int | None, Option(min=1, help="Notebooks at a time. Default: one for each core; on a GPU one.")]


@app.command()
def figures(only: Only = [], out: Out = None, model: Model = None, parameters: Parameters = [], jobs: Jobs = None):
    """Execute the notebooks: figures into public/, excerpts into embed/. Goes on where it was interrupted."""
    publishing("make").make(Path.cwd(), only, out, notebook_parameters(model, parameters), jobs, say)


@app.command()
def check(only: Only = [], out: Out = None, model: Model = None, parameters: Parameters = [], jobs: Jobs = None):
    """Execute the notebooks again and compare with public/ and embed/. Exit status 1 if anything differs."""
    found = publishing("check").check(Path.cwd(), only, out, notebook_parameters(model, parameters), jobs, say)
    if not found:
        print("the same as in public/ and embed/")
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("file", "what", "kept", "again", title=f"differences: {len(found)}", title_justify="left")
    for row in found:
        table.add_row(*map(escape, row.short()))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    raise typer.Exit(1)


def publishing(name):
    try:
        return importlib.import_module(f".publish.{name}", __package__)
    except ImportError as error:
        raise SdscopeError(f"this needs {error.name}: pip install 'sdscope[notebooks]'") from error


def notebook_parameters(model, parameters):
    """["steps=20", "prompt=a castle"], as JSON where it is JSON -> {"steps": 20, "prompt": "a castle"}"""
    found = {"model": model} if model else {}
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        if not equals:
            raise SdscopeError(f"-p {parameter}: write NAME=VALUE, such as -p steps=20")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def say(line):
    print(line, flush=True)


train = typer.Typer(
    help="Train Postcard from nothing: all, or paint, vae, text, diffusion, large-vae, large-decoder, large, inpaint, "
    "depth, upscale, judge, depth-judge, in this order."
)
app.add_typer(train, name="train")
Folder = Annotated[Path, Option(help="Where the runs, their checkpoints and sheets go.")]
Pictures = Annotated[int, Option(min=100, help="How many pictures to paint and learn from.")]
Steps = Annotated[int | None, Option(min=1, help="How long: batches until the end.")]
Minutes = Annotated[float | None, Option(min=0.01, help="How long: minutes until the end, in place of steps.")]
Batch = Annotated[int | None, Option(min=1, help="Pictures or captions in a batch of all processes together.")]
Rate = Annotated[float | None, Option(min=0, help="The learning rate at its highest.")]
Compile = Annotated[bool, Option("--compile", help="Compile the networks; pays on a GPU.")]


@train.command("all")
def train_all(
    pictures: Pictures = 120_000,
    minutes: Annotated[bool, Option("--minutes", help="By the clock: about 43 minutes on a GPU.")] = False,
    compile: Compile = False,
    folder: Folder = Path("runs"),
):
    """Everything, from the first picture to the judge. Goes on where it was interrupted."""
    lengths = {
        name: length._replace(minutes=length.minutes if minutes else None, compile=compile)
        for name, length in training().LENGTHS.items()
    }
    training().train_all(folder, pictures, lengths, progress_bar)


@train.command("paint")
def train_paint(pictures: Pictures = 120_000, folder: Folder = Path("runs")):
    """The pictures and captions for all the rest, by all cores. Goes on where it was interrupted."""
    training().paint_all(folder, pictures, progress_bar)


def stage(name, text):
    """sdscope train NAME"""

    def command(
        pictures: Pictures = 120_000,
        steps: Steps = None,
        minutes: Minutes = None,
        batch_size: Batch = None,
        learning_rate: Rate = None,
        compile: Compile = False,
        folder: Folder = Path("runs"),
    ):
        given = dict(steps=steps, batch_size=batch_size, lr=learning_rate)
        length = (
            training()
            .LENGTHS[name]
            ._replace(
                minutes=minutes, compile=compile, **{key: value for key, value in given.items() if value is not None}
            )
        )
        training().train_all(folder, pictures, {name: length}, progress_bar)

    train.command(name, help=f"{text} Goes on where it was interrupted.")(command)


stage("vae", "The autoencoder: pictures to latents to pictures.")
stage("text", "A head start for the text encoder: what do captions say?")
stage("diffusion", "The UNet, in the latents of the autoencoder: a model for 128 x 128 pixels.")
stage("large-vae", "The autoencoder goes on with pictures twice as wide and high.")
stage("large-decoder", "The half of it that paints goes on alone.")
stage("large", "The UNet goes on with pictures twice as wide and high; writes the model.")
stage("inpaint", "A variant of the model that is given a mask and the rest of a picture.")
stage("depth", "A variant that is given how near everything is.")
stage("upscale", "A variant that is given a small picture, to make it four times as wide and high.")
stage("judge", "A network that reads what is in a picture, for evaluate.")
stage("depth-judge", "A network that sees how near everything is, for evaluate-variants.")


@app.command()
def evaluate(
    out: Annotated[Path, Option("--output", "-o", help="Where to: a .json.")] = Path("docs/postcard.json"),
    model: Annotated[str, Option(help="A short name or a folder.")] = "postcard",
    count: Annotated[int, Option(help="How many held-out scenes to ask for.")] = 500,
    prompts: Annotated[int, Option(help="For the diversity: of so many prompts ...")] = 12,
    seeds: Annotated[int, Option(help="... so many pictures each.")] = 8,
    folder: Folder = Path("runs"),
):
    """Let the judge read Postcard's pictures: accuracy, diversity, what they cost."""
    training("evaluate").evaluate(folder, model, out, count, prompts, seeds, progress_bar)


@app.command()
def evaluate_variants(
    out: Annotated[Path, Option("--output", "-o", help="Where to: a .json.")] = Path("runs/variants.json"),
    count: Annotated[int, Option(help="How many held-out scenes to ask for.")] = 200,
    folder: Folder = Path("runs"),
):
    """Measure those variants of Postcard that were trained: inpaint, depth, upscale."""
    training("evaluate_variants").evaluate_variants(folder, out, count, progress_bar)


def training(name="train"):
    try:
        return importlib.import_module(f".postcard.training.{name}", __package__)
    except ImportError as error:
        raise SdscopeError(f"training needs {error.name}: pip install 'sdscope[train]'") from error


def progress_bar(items, total, text):
    from rich.progress import track

    return track(items, total=total, description=text)


def check_task(image, mask, strength, height, width):
    """Words that say nothing without others, or that others have said already"""
    for name, value in ("--mask", mask), ("--strength", strength):
        if value is not None and image is None:
            raise SdscopeError(f"{name} is about a picture: give --image, too")
    if image and not mask and (height or width):
        raise SdscopeError("with --image the new picture is as large as that: leave --height and --width out")


def check_picture(path, *sides):
    """Before the work begins: SdscopeError if no picture with such sides (pixels, or None) can be written there."""
    if path.suffix.lower() not in WIDEST:
        raise SdscopeError(f"cannot write {path}: the name must end in .png, .jpg or .webp")
    widest = WIDEST[path.suffix.lower()]
    if any(side and side > widest for side in sides):
        raise SdscopeError(f"cannot write {path}: a {path.suffix} has at most {widest} pixels a side; write a .png")
    files.check(path)


def main():
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack letters that a file's name has
    with in_one_line("sdscope"):
        try:
            sys.exit(app(standalone_mode=False))
        except KeyboardInterrupt:
            sys.exit(130)
        except typer.Abort as error:  # typer's name for an EOFError, as if the user had ended it
            raise error.__cause__ or error from None
        except Exception as error:
            usage = getattr(error, "format_message", None)  # typer's own: no such option, no number
            if usage:
                raise SdscopeError(usage()) from error
            raise
