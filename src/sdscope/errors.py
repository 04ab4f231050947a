"""The error that a user can put right."""

import errno
import sys
from contextlib import contextmanager

FULL = errno.ENOSPC, errno.EDQUOT


class SdscopeError(ValueError):
    """Something that the user can put right: one line that says what is wrong and what to do."""


def first_line(error):
    """Of another's error, what fits into one of ours"""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def in_one_line(command):
    """Around all that a command does: what the user can put right is one line and exit status 2, never a traceback."""
    try:
        yield
    except SdscopeError as error:
        told = str(error)
    except OSError as error:
        if error.errno not in FULL:
            raise
        told = f"the disk is full: {error.filename or error.strerror}"
    else:
        return
    print(f"{command}: {told}", file=sys.stderr)
    sys.exit(2)
