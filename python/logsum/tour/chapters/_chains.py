"""Long chains of conditional tables p(z | y) in log space, with answers known beforehand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour.chapters._products import Way

Array = NDArray[Any]


@dataclass(frozen=True)
class Drift:
    """States 0, 1, ...; each step moves on by one with a small probability. The last one stays."""

    states: int
    steps: int

    LOG_MOVE = -20

    def table(self) -> Array:
        """Return log p(z | y), float32: a column for each y."""
        table = np.full((self.states, self.states), -np.inf, np.float32)
        stay = np.arange(self.states)
        table[stay, stay] = math.log1p(-math.exp(self.LOG_MOVE))
        table[stay[1:], stay[:-1]] = self.LOG_MOVE
        table[-1, -1] = 0
        return table

    def walk(self, way: Way) -> Array:
        """Return log p(state after all steps | first state), one product a step."""
        table = self.table()
        walked = table
        for _ in range(self.steps - 1):
            product = way.value(table, walked)
            assert product is not None
            walked = product
        return walked

    def exact(self) -> Array:
        """Return the logarithms of the moves from state 0: binomial, the last state the rest."""
        move, stay = self.LOG_MOVE, math.log1p(-math.exp(self.LOG_MOVE))
        moves = np.array(
            [
                math.log(math.comb(self.steps, count)) + count * move + (self.steps - count) * stay
                for count in range(self.steps + 1)
            ]
        )
        last = self.states - 1
        return np.append(moves[:last], logsum.logsumexp(moves[last:]))


def sharp_tables(rng: np.random.Generator, states: int, steps: int) -> list[Array]:
    """Return tables of nearly certain transitions to random states."""
    scores = 20 * rng.standard_normal((steps, states, states))
    return list(np.asarray(logsum.log_softmax(scores, axis=1)).astype(np.float32))
