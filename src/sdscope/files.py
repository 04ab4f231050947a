"""Writing where the user says: all of it or nothing, and nothing of theirs is lost.

    files.check(path)                       # before the work: can a file be written there?
    with files.writing(path) as part:       # a file: written as `part`, then moved to its place
        image.save(part)
    with files.making(folder, ours) as new:  # a folder, likewise

What is not finished lies beside its place, in a folder of its own whose name nobody else uses; what processes that
were killed have left of those goes when the next file is written there. A link is followed, as by every program that
opens a file to write: what it leads to is written, and the link stays. What is no ordinary file (a pipe, a device)
or is write-protected, for root too, is refused; permissions stay. Whatever is wrong is an SdscopeError.
"""

import os
import re
import shutil
import socket
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from .errors import SdscopeError

ROOM = re.compile(r"\.sdscope-(\d+)-\w{8}-(.*)")  # process, at random, machine


def check(path, parents=False):
    """Before the work begins: SdscopeError if no file can be written there."""
    with room_beside(path, parents) as (_, target):
        check_file(path, target)


def check_folder(folder, ours):
    """Before the work begins: SdscopeError if `making` would not make that folder."""
    with room_beside(folder, True) as (_, target):
        check_foreign(folder, target, ours)


def make_folder(path):
    """Make it, and those that it lies in, where they are not there; SdscopeError where one cannot write in it."""
    if os.path.lexists(path) and not os.path.isdir(path):
        raise SdscopeError(f"cannot write {path}: it is no folder")
    with explained(path):
        os.makedirs(path, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise SdscopeError(f"cannot write {path}: it is write-protected")
    with room_beside(Path(path) / "any", False):
        pass


@contextmanager
def writing(path, parents=False):
    """A path to write the file to, of the same name as `path`; moved there at the end.

    parents: the folders that it is to lie in are made.
    """
    with room_beside(path, parents) as (room, target):
        check_file(path, target)
        part = room / target.name
        yield part
        if target.exists():
            shutil.copymode(target, part)
        to_disk(part)
        part.replace(target)


def write(path, data, parents=False):
    """A text or bytes as a file."""
    with writing(path, parents) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


@contextmanager
def making(folder, ours):
    """An empty folder to fill; moved to `folder` at the end, in place of what was there.

    ours(folder) -> the names in it that may go; an SdscopeError where there is anything else.
    """
    with room_beside(folder, True) as (room, target):
        check_foreign(folder, target, ours)
        new, old = room / "new" / target.name, room / "old" / target.name
        new.mkdir(parents=True)
        yield new
        check_foreign(folder, target, ours)  # the work may have taken long
        for path in new.rglob("*"):
            if path.is_file():
                to_disk(path)
        if target.exists():
            shutil.copymode(target, new)
            old.parent.mkdir()
            target.rename(old)
        new.rename(target)


@contextmanager
def room_beside(path, parents):
    """-> (a folder beside what is to be written, gone at the end; the path with all links followed)"""
    target = Path(os.path.realpath(path))
    with explained(path):
        if parents and not target.parent.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
        prefix, suffix = f".sdscope-{os.getpid()}-", f"-{socket.gethostname()}"
        room = Path(tempfile.mkdtemp(suffix, prefix, target.parent))
        try:
            yield room, target
        finally:
            clear(room)


@contextmanager
def explained(path):
    """What the system says when it cannot write, torch with an error of its own around it, as an SdscopeError"""
    try:
        yield
    except Exception as error:
        known = error.__context__ if isinstance(error, RuntimeError) else error
        tokenizers = type(known) is Exception and "(os error" in str(known)  # they have no class of their own for it
        if not tokenizers and not isinstance(known, OSError | SafetensorError):
            raise
        first = known.args[0][0][-1] if isinstance(known, shutil.Error) else known  # of many files, which were copied
        reason = getattr(known, "strerror", None) or f"{first}: is the disk full?"  # numpy and safetensors tell no more
        raise SdscopeError(f"cannot write {path}: {reason}") from error


def check_file(path, target):
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    reasons = {
        "it is a folder": stat.S_ISDIR(mode),
        "it is a link that leads nowhere": stat.S_ISLNK(mode),  # to itself: all others were followed
        "it is no ordinary file": not stat.S_ISREG(mode),
        "it is write-protected": not mode & 0o222 or not os.access(target, os.W_OK),
    }
    for reason, so in reasons.items():
        if so:
            raise SdscopeError(f"cannot write {path}: {reason}")


def check_foreign(folder, target, ours):
    if target in (Path.cwd(), *Path.cwd().parents) or os.path.ismount(target):
        raise SdscopeError(f"cannot write {folder}: it cannot be replaced; name a folder in it")
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise SdscopeError(f"cannot write {folder}: it is no folder")
    foreign = sorted({entry.name for entry in target.iterdir()} - set(ours(target)))
    if foreign:
        advice = "name a folder that is empty, or that is not there yet"
        raise SdscopeError(f"cannot write {folder}: {foreign[0]} in it was not made by this command; {advice}")


def to_disk(path):
    """Not only to the memory that a power cut empties: a file that was moved to its place is never an empty one."""
    with open(path, "r+b") as file:
        os.fsync(file)


def sweep(folder):
    """Remove what processes of this machine have left there that were killed."""
    for room in folder.iterdir():
        found = ROOM.fullmatch(room.name)
        if found and found[2] == socket.gethostname() and not is_running(int(found[1])):
            clear(room)


def clear(room):
    """Remove it. What was moved away, and nothing came in its place, goes back first."""
    for old in room.glob("old/*"):
        if not os.path.lexists(room.parent / old.name):
            with suppress(OSError):
                old.rename(room.parent / old.name)
    shutil.rmtree(room, ignore_errors=True)


def is_running(pid):
    if os.name == "nt":  # where asking would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
