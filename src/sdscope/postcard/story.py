"""What is kept of a training run, for those who come later: its curves, what it cost, its childhood in pictures."""
import json
from pathlib import Path

from PIL import Image

from .. import files

STAGES = ("vae", "text", "diffusion")


def keep_story(folder: Path):
    """Beside the model, in folder/model:

    training.json   of each stage what it cost, and its curve: [step, mean loss of the 50 steps before it] ...
    childhood.webp  one below the other, the sheets painted by the diffusion model after the steps that training.json lists
    """
    sheets = {int(file.stem.split("-")[1]): file for file in sorted((folder / "diffusion").glob("sheet-*.png"))}
    story = {name: json.loads((folder / name / "cost.json").read_text()) | {"curve": curve(folder / name)} for name in STAGES}
    story["diffusion"]["sheets"] = [*sheets]
    lines = json.dumps(story).replace("], [", "],\n  [")
    files.write(folder / "model" / "training.json", lines + "\n")
    with files.writing(folder / "model" / "childhood.webp") as part:
        stack([Image.open(file).convert("RGB") for file in sheets.values()]).save(part, quality=85, method=6)


def stack(images):
    """One below the other"""
    tall = Image.new("RGB", (images[0].width, sum(image.height for image in images)))
    for i, image in enumerate(images):
        tall.paste(image, (0, i * image.height))
    return tall


def curve(folder):
    """[[step, loss] ...]; a run that was killed wrote the steps after its last checkpoint twice, the later ones count"""
    file = folder / "log.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return sorted([step, loss] for step, loss in {row["step"]: round(row["loss"], 4) for row in rows}.items())
