"""A tensor: numbers in rows, and what is computed with them, number by number, each rounded as torch rounds it."""

import itertools
import math
import operator
from array import array
from typing import NamedTuple

from rows import Rows, flat


class dtype(NamedTuple):
    name: str
    code: str = ""  # of Python's arrays
    kept: object = None  # of a number
    __repr__ = lambda self: f"torch.{self.name}"


float32, int64, boolean = dtype("float32", "f"), dtype("int64", "q", int), dtype("bool", "B", lambda x: x != 0)
uint8, float16, bfloat16 = dtype("uint8", "B", lambda x: int(x) & 255), dtype("float16"), dtype("bfloat16")


def missing(what, there):
    names = ", ".join(sorted(name for name in there if not name.startswith("_")))
    return AttributeError(f"{what} is not in this page's small torch; it has: {names}; or run it with `make talk`")


class Tensor(Rows):
    device = "cpu"

    def __init__(self, numbers, shape, dtype, part=False):
        if not dtype.code:
            raise missing(dtype, ["torch.float32"])
        super().__init__(array(dtype.code, map(dtype.kept, numbers) if dtype.kept else numbers), shape, part)
        self.dtype = dtype

    def __getattr__(self, name):
        raise missing(f"Tensor.{name}", {*vars(Tensor), *vars(Rows)} - {"each", "like", "over", "pick", "repeated"})

    def like(self, numbers, shape, part=False):
        return Tensor(numbers, shape, self.dtype, part)

    def item(self):
        number = super().item()
        return number != 0 if self.dtype is boolean else number

    def __setitem__(self, key, value):
        super().__setitem__(key, tensor(value).to(self))

    def to(self, *given, dtype=None, **_):
        """As another dtype or another tensor has it. Everything is on the CPU."""
        kinds = [getattr(x, "dtype", x) for x in (*given, dtype) if not isinstance(x, str)]
        return Tensor(self.data, self.shape, next((kind for kind in kinds if kind), self.dtype))

    cpu = clone = contiguous = detach = numpy = to
    __bool__ = lambda self: bool(self.item())
    __float__ = lambda self: float(self.item())
    __int__ = __index__ = lambda self: int(self.item())
    __hash__ = object.__hash__

    def __repr__(self):
        return f"tensor({self.tolist()})" if len(self.data) <= 100 else f"tensor(..., shape={self.shape})"

    def __format__(self, spec):
        return repr(self) if self.shape else format(self.item(), spec)

    def each(self, function, *others, dtype=None):
        """function(number, a number of another, ...) of every place; a row of one goes with all"""
        if not all(isinstance(x, (Tensor, int, float)) for x in others):
            return NotImplemented
        every = [self, *map(tensor, others)]
        shape = broadcast(*(x.shape for x in every))
        dtype = dtype or (float32 if any(x.dtype is float32 for x in every) else int64)
        numbers = [x.data if x.shape == shape else x.repeated(shape) for x in every]
        return Tensor(map(function, *numbers), shape, dtype)

    def repeated(self, shape):
        """The numbers of expand(shape); one number for all, which is what most steps are made with, is not copied"""
        return itertools.repeat(self.item(), math.prod(shape)) if len(self.data) == 1 else self.expand(shape).data

    def over(self, function, dim=None, keepdim=False, dtype=None):
        """function(numbers) of all, or along some of the dimensions"""
        dims = [d % self.ndim for d in (range(self.ndim) if dim is None else flat((dim,)))]
        rest = [d for d in range(self.ndim) if d not in dims]
        data, n = self.permute(*rest, *dims).data, math.prod(self.shape[d] for d in dims)
        shape = [1 if d in dims else size for d, size in enumerate(self.shape) if keepdim or d in rest]
        return Tensor([function(data[i : i + n]) for i in range(0, len(data), n)], shape, dtype or self.dtype)

    def clamp(self, min=-math.inf, max=math.inf):
        return self.each(lambda x: min if x < min else max if x > max else x, dtype=self.dtype)


def tensor(x, dtype=None, device=None):
    """A number, or lists of lists of numbers; a tensor as it is"""
    if isinstance(x, Tensor):
        return x if dtype is None else x.to(dtype)
    numbers, shape = [x], []
    while isinstance(numbers[0], (list, tuple)):
        shape.append(len(numbers[0]))
        if any(len(row) != shape[-1] for row in numbers):
            raise ValueError("the rows of a tensor must be of one length")
        numbers = [number for row in numbers for number in row]
    numbers = [number.item() if isinstance(number, Tensor) else number for number in numbers]
    kinds = {float: float32, bool: boolean}
    found = {kinds.get(type(number), int64) for number in numbers}
    return Tensor(numbers, shape, dtype or (found.pop() if len(found) == 1 else float32))


def broadcast(*shapes):
    """The shape that all of them can be expanded to"""
    most = max(map(len, shapes))
    columns = zip(*((1,) * (most - len(shape)) + shape for shape in shapes))
    return tuple(next((size for size in column if size != 1), 1) for column in columns)


def safe(function, at_zero=math.nan):
    """Where Python raises an error, torch gives infinity or NaN"""

    def number(*x):
        try:
            return function(*x)
        except OverflowError:
            return math.inf
        except ValueError:
            return at_zero if x[0] == 0 else math.nan

    return number


def divide(a, b):
    return a / b if b else math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1, b)


def rounded(x):
    return round(x) if math.isfinite(x) else x


def mean(x):
    return divide(math.fsum(x), len(x))


def std(x):
    return divide(math.fsum((a - mean(x)) ** 2 for a in x), len(x) - 1) ** 0.5


def define(names, method):
    for name, function in names.items():
        setattr(Tensor, name, method(function))


def of_two(function, dtype=None):
    return lambda x, y: x.each(function, y, dtype=dtype)


def turned(function):
    return lambda x, y: x.each(lambda a, b: function(b, a), y, dtype=float32 if function is divide else None)


power, two = safe(math.pow, math.inf), dict(add=operator.add, sub=operator.sub, mul=operator.mul, mod=operator.mod)
two |= dict(floordiv=operator.floordiv, pow=power)
define({f"__{name}__": f for name, f in two.items()}, of_two)
define(dict(__truediv__=divide), lambda f: of_two(f, float32))
define({f"__r{name}__": f for name, f in (two | dict(truediv=divide)).items()}, turned)
compared = {f"__{name}__": getattr(operator, name) for name in ("lt", "le", "gt", "ge", "eq", "ne")}
define(compared, lambda f: of_two(f, boolean))

one = {name: safe(getattr(math, name)) for name in ("sqrt", "exp", "sin", "cos", "tanh")}
define(one | dict(log=safe(math.log, -math.inf)), lambda f: lambda x: x.each(f, dtype=float32))
same = dict(neg=operator.neg, __neg__=operator.neg, abs=abs, __abs__=abs, round=rounded)
define(same, lambda f: lambda x: x.each(f, dtype=x.dtype))
define(dict(isfinite=math.isfinite, isnan=math.isnan), lambda f: lambda x: x.each(f, dtype=boolean))
define(dict(float=float32, long=int64, byte=uint8), lambda d: lambda x: x.to(d))

define(dict(sum=math.fsum, mean=mean, std=std), lambda f: lambda x, dim=None, keepdim=False: x.over(f, dim, keepdim))
define(dict(all=all, any=any), lambda f: lambda x, dim=None, keepdim=False: x.over(f, dim, keepdim, boolean))
define(dict(min=min, max=max), lambda f: lambda x: x.over(f))
