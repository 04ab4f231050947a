"""Who imports whom: arrows between the rooms of src/sdscope go one way, whatever stands in a function included."""

import ast
from pathlib import Path

import pytest

import sdscope

PACKAGE = Path(sdscope.__file__).parent
