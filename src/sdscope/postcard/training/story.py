"""What is kept of a training run, for those who come later: its curves, what it cost, its childhood in pictures."""

import json
from contextlib import suppress
from pathlib import Path

from PIL import Image

from ... import files


def keep_story(folder: Path, model: Path, stages: tuple[str, ...], before: Path | None = None):
    """Beside the model that the last of these stages wrote:

    training.json   of each stage what it cost, and its curve: [step, mean loss of the 50 steps before it] ...; those
    of the
                    model that it went on with, `before`, too
    childhood.webp  one below the other, the sheets painted in the last stage after the steps that training.json lists
    """
    sheets = {int(file.stem.split("-")[1]): file for file in sorted((folder / stages[-1]).glob("sheet-*.png"))}
    story = json.loads((before / "training.json").read_text()) if before else {}
    for name in stages:
        story[name] = json.loads((folder / name / "cost.json").read_text()) | {"curve": curve(folder / name)}
    story[stages[-1]]["sheets"] = [*sheets]
    lines = json.dumps(story).replace("], [", "],\n  [")
    files.write(model / "training.json", lines + "\n")
    with files.writing(model / "childhood.webp") as part:
        stack([Image.open(file).convert("RGB") for file in sheets.values()]).save(part, quality=85, method=6)


def stack(images):
    """One below the other"""
    tall = Image.new("RGB", (images[0].width, sum(image.height for image in images)))
    for i, image in enumerate(images):
        tall.paste(image, (0, i * image.height))
    return tall


def curve(folder):
    """[[step, loss] ...]; a run that was killed wrote the steps after its last checkpoint twice, the later ones count,
    and its last line perhaps only half"""
    file, rows = folder / "log.jsonl", []
    for line in file.read_text().splitlines() if file.exists() else ():
        with suppress(ValueError):
            rows.append(json.loads(line))
    return sorted([step, loss] for step, loss in {row["step"]: round(row["loss"], 4) for row in rows}.items())
