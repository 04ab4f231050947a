"""What the loop needs of torch, on Python's own arrays.

In the page, src/sdscope/pipeline.py and scheduler.py run on it as they are: the same names, and the same numbers (see
tests/test_small_torch.py). A tensor is in tensor.py; the networks, where the work is, are in networks.py.
"""

import itertools
import math
import operator
from contextlib import ContextDecorator

from noise import Generator, normal
from rows import flat
from tensor import Tensor, bfloat16, boolean, float16, float32, int64, missing, tensor, uint8

OTHER_NAMES = {"bool": boolean, "float": float32, "half": float16, "long": int64}


class no_grad(ContextDecorator):
    """Nothing is learned here"""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def full(shape, value, dtype=None, device=None):
    kind = dtype or tensor(value).dtype
    return Tensor([value] * math.prod(shape), shape, kind)


def zeros(*shape, dtype=float32, device=None):
    return full(flat(shape), 0, dtype)


def ones(*shape, dtype=float32, device=None):
    return full(flat(shape), 1, dtype)


def zeros_like(x):
    return full(x.shape, 0, x.dtype)


def ones_like(x):
    return full(x.shape, 1, x.dtype)


def arange(*ends, dtype=None, device=None):
    start, end, step = [*ends, None, None][:3] if len(ends) > 1 else (0, ends[0], None)
    step = step or 1
    numbers = [start + i * step for i in range(math.ceil((end - start) / step))]
    return Tensor(numbers, [len(numbers)], dtype or tensor(start + step + end).dtype)


def linspace(start, end, steps, dtype=float32, device=None):
    """From both ends to the middle, as torch does"""
    start, end = tensor(float(start)), tensor(float(end))
    step = (end - start) / max(steps - 1, 1)
    i = arange(steps)
    return cat([start + step * i[: steps // 2], end - step * (steps - 1 - i[steps // 2 :])])


def cumprod(x, dim):
    return along(x, dim, operator.mul)


def cumsum(x, dim):
    return along(x, dim, operator.add)


def along(x, dim, function):
    """Each number with all before it, in more digits than are kept"""
    x, n = x.transpose(dim, -1), x.shape[dim]
    rows = [itertools.accumulate(x.data[i : i + n], function) for i in range(0, len(x.data), n)]
    return x.like(itertools.chain(*rows), x.shape).transpose(dim, -1)


def cat(tensors, dim=0):
    first, *others = (x.transpose(0, dim) for x in tensors)
    for x in others:
        if x.shape[1:] != first.shape[1:]:
            raise RuntimeError(f"tensors of {first.shape} and {x.shape} cannot be put one behind the other")
    every = [first, *others]
    numbers = itertools.chain(*(x.data for x in every))
    return first.like(numbers, [sum(map(len, every)), *first.shape[1:]]).transpose(0, dim)


def stack(tensors, dim=0):
    return cat([x.unsqueeze(dim) for x in tensors], dim)


def where(condition, x, y):
    return condition.each(lambda c, a, b: a if c else b, x, y)


def lerp(x, y, weight):
    return x + weight * (y - x)


def randn(*shape, generator=None, dtype=float32, device=None):
    shape = flat(shape)
    return Tensor(normal(math.prod(shape), generator), shape, dtype)


def randn_like(x, generator=None):
    return randn(x.shape, generator=generator)


def __getattr__(name):
    """torch.sqrt(x) is x.sqrt(); what else is asked for is not here"""
    if name in OTHER_NAMES:
        return OTHER_NAMES[name]
    if not name.startswith("_") and name in vars(Tensor):
        return vars(Tensor)[name]
    here = {key for key, x in globals().items() if getattr(x, "__module__", "") in ("torch", "tensor", "noise")}
    raise missing(f"torch.{name}", {*here, *OTHER_NAMES} - {"along", "missing", "normal", "boolean"})
