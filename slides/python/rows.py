"""Numbers in rows of rows: which stand where, and what a part of them is. What is computed with them is in torch.py."""

import itertools
import math


class Rows:
    """`data`: all the numbers, row by row. `shape`: how many rows, of how many, of how many ..."""

    def __init__(self, data, shape, part=False):
        self.data, self.shape, self.part = data, tuple(shape), part

    def like(self, numbers, shape, part=False):
        """Other numbers of the same kind"""
        raise NotImplementedError

    ndim = property(lambda self: len(self.shape))
    strides = property(lambda self: [math.prod(self.shape[i + 1 :]) for i in range(self.ndim)])

    def __len__(self):
        if not self.shape:
            raise TypeError("a tensor of no dimension has no length")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def numel(self):
        return len(self.data)

    def size(self, dim=None):
        return self.shape if dim is None else self.shape[dim]

    def item(self):
        if len(self.data) != 1:
            raise RuntimeError(f"a tensor of shape {self.shape} is not one number")
        return self.data[0]

    def tolist(self):
        return [row.tolist() for row in self] if self.shape else self.item()

    def pick(self, shape, strides, start=0):
        """Number (i, j, ...) is the one at start + i * strides[0] + j * strides[1] + ... of these"""
        places = [start]
        for size, stride in zip(shape, strides):
            places = [place + i * stride for place in places for i in range(size)]
        return self.like(map(self.data.__getitem__, places), shape, part=True)

    def __getitem__(self, key):
        """x[1], x[:, 2:4], x[..., 0], x[None], and x[[3, 1]]: rows 3 and 1"""
        keys = list(key) if isinstance(key, tuple) else [key]
        if len(keys) == 1 and (isinstance(key, list) or getattr(key, "ndim", 0) == 1):
            chosen = [self[whole(i)] for i in key]
            return self.like(itertools.chain(*(x.data for x in chosen)), (len(chosen), *self.shape[1:]), part=True)
        dots = next((i for i, k in enumerate(keys) if k is ...), len(keys))
        keys[dots : dots + 1] = [slice(None)] * (self.ndim - sum(k is not None and k is not ... for k in keys))
        shape, strides, start = [], [], 0
        dims = zip(self.shape, self.strides)
        for k in keys:
            size, stride = (1, 0) if k is None else next(dims, (0, 0))
            if k is None or isinstance(k, slice):
                chosen = range(size)[k or slice(None)]
                shape, strides = [*shape, len(chosen)], [*strides, stride * chosen.step]
                start += stride * chosen.start
            elif -size <= whole(k) < size:
                start += stride * (whole(k) % size)
            else:
                raise IndexError(f"there is no {key!r} in a tensor of shape {self.shape}")
        return self.pick(shape, strides, start)

    def __setitem__(self, key, value):
        if self.part:
            raise RuntimeError("a part of a tensor is a copy here: write x[0, 1] = ... in place of x[0][1] = ...")
        places = Rows.__getitem__(Places(range(len(self.data)), self.shape), key)
        for place, number in zip(places.data, value.expand(places.shape).data):
            self.data[place] = number

    def expand(self, *shape):
        """The same rows again and again, until it is so large"""
        shape = flat(shape)
        more = len(shape) - self.ndim
        own, strides = [1] * more + [*self.shape], [0] * more + self.strides
        if more < 0 or any(mine not in (1, size) for mine, size in zip(own, shape)):
            raise RuntimeError(f"the shapes {self.shape} and {tuple(shape)} do not fit each other")
        return self.pick(shape, [stride * (mine == size) for mine, size, stride in zip(own, shape, strides)])

    def view(self, *shape):
        shape = list(flat(shape))
        if -1 in shape:
            shape[shape.index(-1)] = len(self.data) // (-math.prod(shape) or 1)
        if math.prod(shape) != len(self.data):
            raise RuntimeError(f"a tensor of shape {self.shape} cannot be seen as {shape}")
        return self.like(self.data, shape, part=True)

    reshape = view

    def flatten(self):
        return self.view(-1)

    def unsqueeze(self, dim):
        shape = [*self.shape]
        shape.insert(dim % (self.ndim + 1), 1)
        return self.view(shape)

    def squeeze(self, dim=None):
        return self.view([n for i, n in enumerate(self.shape) if n != 1 or dim is not None and i != dim % self.ndim])

    def permute(self, *dims):
        dims = [d % self.ndim for d in flat(dims)]
        return self.pick([self.shape[d] for d in dims], [self.strides[d] for d in dims])

    def transpose(self, a, b):
        dims = list(range(self.ndim))
        dims[a], dims[b] = dims[b], dims[a]
        return self.permute(dims)

    def flip(self, *dims):
        dims = [d % self.ndim for d in flat(dims)]
        start = sum((self.shape[d] - 1) * self.strides[d] for d in dims)
        return self.pick(self.shape, [-s if d in dims else s for d, s in enumerate(self.strides)], start)

    def chunk(self, count, dim=0):
        size = -(-self.shape[dim] // count)
        before = (slice(None),) * (dim % self.ndim)
        return tuple(self[(*before, slice(i, i + size))] for i in range(0, self.shape[dim], size))


class Places(Rows):
    """Numbers that say where numbers are"""

    def like(self, numbers, shape, part=False):
        return Places(list(numbers), shape)


def flat(args):
    """f(1, 2) and f((1, 2)) mean the same"""
    return args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args


def whole(x):
    if not hasattr(x, "__index__") or isinstance(x, bool) or getattr(x, "ndim", 0):
        raise NotImplementedError(f"a tensor is indexed here with numbers, slices, None, ... or a list, not with {x!r}")
    return x.__index__()
