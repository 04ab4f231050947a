"""What the deck says of the bare pipeline's length is true, and stays true."""

import ast
from pathlib import Path

import pytest

import sdscope
from sdscope.publish.facts import FOUR, code_lines

SOURCES = {name: (Path(sdscope.__file__).parent / f"{name}.py").read_text() for name in FOUR}
DEFINITIONS = ast.FunctionDef | ast.ClassDef


def definitions(source):
    """(qualified name, node) of every function and class"""

    def inside(node, prefix):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, DEFINITIONS):
                yield prefix + child.name, child
                yield from inside(child, f"{prefix}{child.name}.")

    return list(inside(ast.parse(source), ""))


def length(source, node):
    """Lines of code of a function, from def to its end: no docstring, no comments, no blank lines"""
    lines = source.splitlines()[node.lineno - 1 : node.end_lineno]
    indent = len(lines[0]) - len(lines[0].lstrip())
    return code_lines("\n".join(line[indent:] for line in lines))


def test_at_most_500_lines_of_code():
    lengths = {name: code_lines(source) for name, source in SOURCES.items()}
    assert sum(lengths.values()) <= 500, lengths


def test_no_function_is_longer_than_a_slide():
    lengths = {
        f"{name}.{qualified}": length(source, node)
        for name, source in SOURCES.items()
        for qualified, node in definitions(source)
        if isinstance(node, ast.FunctionDef)
    }
    assert len(lengths) > 30
    assert {name: lines for name, lines in lengths.items() if lines > 25} == {}


def test_what_slides_show_is_no_wider_than_a_slide():
    """Between `# region` and `# endregion`: 100 columns"""
    wide, deep = [], 0
    for name, source in SOURCES.items():
        for number, line in enumerate(source.splitlines(), start=1):
            deep += line.strip().startswith("# region ") - line.strip().startswith("# endregion ")
            wide += [f"{name}.py:{number}: {len(line)}"] * (deep > 0 and len(line) > 100)
    assert wide == [] and deep == 0


@pytest.mark.parametrize("name", FOUR)
def test_whatever_is_public_is_documented(name):
    """Every class, every function, every method without an underscore"""
    bare = [
        qualified
        for qualified, node in definitions(SOURCES[name])
        if not qualified.rpartition(".")[2].startswith("_") and not ast.get_docstring(node)
    ]
    assert bare == []


def test_length_counts_code_alone():
    source = 'class A:\n    def f(self):\n        """One.\n\n        Two."""\n        # three\n\n        return 4\n'
    node = dict(definitions(source))["A.f"]
    assert length(source, node) == 2
