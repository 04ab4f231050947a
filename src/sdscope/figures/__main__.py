"""python -m sdscope.figures [NAME ...]: execute the notebooks (all, or those named) and make public/ and embed/."""

import sys
from pathlib import Path

from .notebooks import NotebookError, run

if __name__ == "__main__":
    try:
        run(Path.cwd(), sys.argv[1:], say=lambda line: print(line, flush=True))
    except NotebookError as error:
        sys.exit(f"error: {error}")
