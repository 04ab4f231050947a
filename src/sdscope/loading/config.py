"""What a model's JSON files say, and what to do about a file that cannot be read."""

import json

from ..errors import SdscopeError, first_line

AGAIN = "download or copy it again"
LFS = b"version https://git-lfs.github.com/spec/"


class Config(dict):
    """A dictionary whose entries are attributes too, as those of diffusers."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def read_config(path):
    """A JSON file -> dict"""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, error) from error
    if not isinstance(config, dict):
        raise SdscopeError(f"{path} holds no configuration: {AGAIN}")
    return config


def unreadable(path, error):
    """An error in reading a file, or a folder of some -> the SdscopeError that says what helps"""
    if isinstance(error, PermissionError):
        return SdscopeError(f"{error.filename or path} may not be read by this user: change its permissions")
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if is_pointer(file):
            where = f"'git lfs install' and 'git lfs pull' in {file.parent}"
            return SdscopeError(f"{file} is not the file itself but a git-lfs pointer to it: run {where}")
    if isinstance(error, OSError):
        return SdscopeError(f"cannot read {path} ({error.strerror or first_line(error)}): {AGAIN}")
    return SdscopeError(f"{path} is damaged or incomplete ({first_line(error)}): {AGAIN}")


def is_pointer(file):
    """What a clone without git-lfs has in place of a large file: three lines of text"""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(len(LFS)) == LFS
