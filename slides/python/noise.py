"""torch's generator for the CPU, so that a seed means the same noise: MT19937 (Matsumoto and Nishimura, 1998), which
is Python's own too, and the method of Box and Muller, as in torch's DistributionTemplates.h (normal_fill)."""

import math
from random import Random, SystemRandom
from types import SimpleNamespace


class Generator:
    def __init__(self, device="cpu"):
        self.device = SimpleNamespace(type="cpu", index=None)
        self.manual_seed(67280421310721)

    def manual_seed(self, seed):
        self.started, self.kept = seed, None
        state = [seed % 2**32]
        for i in range(1, 624):
            state.append((1812433253 * (state[-1] ^ state[-1] >> 30) + i) % 2**32)
        self.random = Random()
        self.random.setstate((3, (*state, 624), None))
        return self

    def seed(self):
        return self.manual_seed(SystemRandom().getrandbits(53)).started

    def initial_seed(self):
        return self.started

    def uniform(self):
        """From 0 to below 1, as fine as a float32"""
        return (self.random.getrandbits(32) & 0xFFFFFF) / 2**24

    def finely(self):
        """The same, as fine as a float64"""
        high, low = self.random.getrandbits(32), self.random.getrandbits(32)
        return ((high << 32 | low) & 2**53 - 1) / 2**53


default = Generator()


def normal(size, generator):
    """So many numbers from the standard normal distribution"""
    g = generator or default
    if size < 16:
        return [one(g) for _ in range(size)]
    x = [g.uniform() for _ in range(size)]
    for i in range(0, size - 15, 16):
        x[i : i + 16] = box_muller(x[i : i + 16])
    if size % 16:  # the last 16 are drawn anew and overlap those before
        x[-16:] = box_muller([g.uniform() for _ in range(16)])
    return x


def box_muller(x):
    """16 uniform numbers, each paired with the one 8 places after it, become 16 normal ones"""
    radius = [math.sqrt(-2 * math.log(1 - u)) for u in x[:8]]
    angle = [2 * math.pi * u for u in x[8:]]
    return [r * math.cos(a) for r, a in zip(radius, angle)] + [r * math.sin(a) for r, a in zip(radius, angle)]


def one(g):
    """Two at a time; the second is kept for the next call"""
    if g.kept is not None:
        kept, g.kept = g.kept, None
        return kept
    angle, u = 2 * math.pi * g.finely(), g.finely()
    radius = math.sqrt(-2 * math.log1p(-u))
    g.kept = radius * math.sin(angle)
    return radius * math.cos(angle)
