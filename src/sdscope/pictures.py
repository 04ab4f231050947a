"""Pictures in files, and the texts beside them."""

from pathlib import Path

from PIL import Image, ImageOps

from .errors import SdscopeError


def opened(path: Path) -> Image.Image:
    """The picture in a file, upright"""
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture)
    except Exception as error:  # what the formats of PIL raise where a file is damaged is of many kinds
        reason = getattr(error, "strerror", None) or "it is no picture, or a damaged one"
        raise SdscopeError(f"cannot read {path}: {reason}") from error


def read_pictures(folder: str | Path, prompt: str) -> tuple[list[Image.Image], list[str]]:
    """All pictures in a folder, by name; for each, such as a.png, the text beside it in a.txt, or else the prompt"""
    names = sorted(path for path in Path(folder).glob("*") if path.is_file() and not path.name.startswith("."))
    names = [path for path in names if path.suffix != ".txt"]
    if not names:
        raise SdscopeError(f"no pictures in {folder}: give a folder with some of one thing, three to ten")
    texts = [path.with_suffix(".txt") for path in names]
    return [opened(path) for path in names], [read(text) if text.is_file() else prompt for text in texts]


def read(path: Path) -> str:
    """The text in a file"""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise SdscopeError(f"cannot read {path}: it must be text in UTF-8") from error
