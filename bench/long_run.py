"""A long training loop beside many other leaves: is its memory flat, and is a step as fast as beside few?

Run as a program it is one of two processes that table.py lets work in turns: a line on standard input asks for a block
of steps, and a line on standard output answers it with the seconds it took and the bytes of memory then held.
"""

from __future__ import annotations

import math
import random
import sys
import time
from typing import Any

import fastprop as fp
from measure import resident_memory

KEPT = 1000


class Loop:
    """Steps of a loss of twenty gates on twenty leaves, beside `others` further leaves that were used once."""

    def __init__(self, others: int, seed: int = 5):
        generator = random.Random(seed)
        self.leaves = [fp.Unit(generator.uniform(-1.0, 1.0)) for _ in range(20)]
        self.others = [fp.Unit(float(i)) for i in range(others)]
        for leaf in self.others:
            leaf * 2.0
        places = KEPT if others else 1  # with others, results are kept, and dropped at random
        self.kept: list[Any] = [None] * places
        self.order = [generator.randrange(places) for _ in range(10_007)]

    def loss(self) -> Any:
        """The tanh of a dot of ten weights and ten inputs: twenty gates."""
        leaves = self.leaves
        total = leaves[0] * leaves[10]
        for i in range(1, 10):
            total = total + leaves[i] * leaves[10 + i]
        return fp.tanh(total)

    def run(self, steps: int) -> float:
        """Make this many steps; the seconds that they took."""
        kept, order, leaves, period = self.kept, self.order, self.leaves, len(self.order)
        start = time.perf_counter()
        for step in range(steps):
            loss = self.loss()
            kept[order[step % period]] = loss
            fp.zero_grad(leaves)
            loss.backward()
        return time.perf_counter() - start

    def prove(self) -> None:
        """Raise AssertionError unless the loss and its gradient are the hand-derived ones."""
        fp.zero_grad(self.leaves)
        loss = self.loss()
        loss.backward()
        values = [leaf.value for leaf in self.leaves]
        truth = math.tanh(sum(values[i] * values[10 + i] for i in range(10)))
        assert math.isclose(loss.value, truth, rel_tol=1e-12), (loss.value, truth)
        for i, leaf in enumerate(self.leaves):
            slope = (1.0 - truth * truth) * values[(i + 10) % 20]
            assert math.isclose(leaf.grad, slope, rel_tol=1e-9), (i, leaf.grad, slope)


def main() -> None:
    """Serve blocks of steps until standard input ends."""
    loop = Loop(int(sys.argv[1]))
    loop.prove()
    for line in sys.stdin:
        seconds = loop.run(int(line))
        loop.prove()
        print(seconds, resident_memory(), flush=True)


if __name__ == "__main__":
    main()
