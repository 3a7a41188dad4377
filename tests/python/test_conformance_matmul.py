"""The log-space matrix product under the conformance suite, in both semirings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

import logsum
import product_oracle
import tolerances
from conformance import Conformance, Kind, Monoid, Sample, State, filled, normal
from conformance.sample import Doubles


def pair(name: str, left: tuple[int, ...], right: tuple[int, ...], scale: float = 3.0) -> Sample:
    """Return a sample of normal operands."""
    return Sample(name, (normal(*left, scale=scale), normal(*right, scale=scale, seed=1)))


def shifted() -> Sample:
    """Return operands with an offset of up to ±1000 for each k, which cancels in their sum."""
    offsets = np.array([1000.0, -1000.0, 0.0, 500.0])
    return Sample("offsets", (normal(2, 4) + offsets, normal(4, 3, seed=1) - offsets[:, None]))


def permuted(n: int) -> Sample:
    """Return rows of -500 and 900, and columns of them: one of each row has opposites only."""
    a = np.where(np.eye(n, dtype=bool), 900.0, -500.0)
    return Sample("permuted", (a, 400.0 - a[:, ::-1].copy()))


def constant(terms: int, value: float) -> Sample:
    """Return equal operands, whose sum is their number."""
    return Sample(f"{terms} of {value}", (np.full((2, terms), value), np.full((terms, 3), -value)))


def parts(sample: Sample) -> list[Sample]:
    """Return a sample cut in three along the summed index."""
    a, b = sample.arguments
    pieces = zip(np.array_split(a, 3, -1), np.array_split(b, 3, -2), strict=True)
    return [sample.with_arguments(f"part {k}", piece) for k, piece in enumerate(pieces)]


def merge(*states: State) -> State:
    """Merge products over disjoint parts of the summed index."""
    return (logsum.merge(*(c for (c,) in states)),)


ORDINARY = pair("ordinary", (3, 4), (4, 2))
ONE_TERM = pair("one term", (3, 1), (1, 4))
BATCH_OF_A = pair("batch of A", (2, 2, 3), (3, 2))
BOTH_BATCHES = pair("both batches", (2, 1, 1, 2), (3, 2, 2))


class Product(Conformance):
    """What both semirings share."""

    differentiable = logarithmic = (0, 1)
    semiring: ClassVar[str]

    def call(self, a: Any, b: Any) -> Any:
        return logsum.logmatmulexp(a, b, semiring=self.semiring)

    def reference(self, a: Any, b: Any) -> Any:
        return product_oracle.logmatmulexp(a, b, self.semiring)[0]

    def gradient(self, cotangents: Any, a: Any, b: Any) -> Any:
        return product_oracle.logmatmulexp_gradient(cotangents[0], a, b, self.semiring)

    def gradient_scale(self, cotangents: Sequence[Doubles]) -> float:
        """Return the largest sum of magnitudes over a row or column, and over repeated axes."""
        sizes = np.abs(cotangents[0])
        sizes = sizes.sum(axis=tuple(range(sizes.ndim - 2)))
        return float(max(sizes.sum(axis=k).max(initial=0) for k in (0, 1)))

    def samples(self) -> list[Sample]:
        return [
            *self.differentiables(),
            permuted(3),
            pair("long", (3, 67), (67, 18)),
            pair("tall", (19, 2), (2, 1)),
            pair("wide", (1, 3), (3, 18)),
            pair("far apart", (3, 5), (5, 3), scale=1000.0),
        ]

    def differentiables(self) -> list[Sample]:
        return [
            ORDINARY,
            ONE_TERM,
            BATCH_OF_A,
            pair("batch of B", (2, 3), (2, 3, 1)),
            pair("batches of size one", (1, 2, 3), (2, 3, 1)),
            BOTH_BATCHES,
            shifted(),
        ]

    def specials(self) -> list[Sample]:
        return [pair("ordinary", (3, 4), (4, 5)), ONE_TERM, BATCH_OF_A]

    def empties(self) -> list[Sample]:
        shapes = {
            "no term": ((2, 0), (0, 3)),
            "no row": ((0, 4), (4, 3)),
            "no column": ((2, 4), (4, 0)),
            "no batch": ((0, 2, 3), (3, 2)),
            "nothing": ((0, 0), (0, 0)),
        }
        return [pair(name, *both) for name, both in shapes.items()]

    def constants(self) -> list[Sample]:
        return [constant(512, 0.7), constant(512, 1000.0)]

    def larges(self) -> list[Sample]:
        return [
            pair("large", (301, 203), (203, 157)),
            pair("many small", (60, 17, 16), (60, 16, 19)),
            pair("tall and thin", (20_001, 8), (8, 7)),
        ]

    def heavies(self) -> list[Sample]:
        # What they hold does not matter.
        return [
            Sample("heavy rows", (np.zeros((100_000, 32)), np.zeros((32, 32)))),
            Sample("heavy batch", (np.zeros((8000, 16, 16)), np.zeros((8000, 16, 16)))),
        ]

    def allowance(self, sample: Sample, kind: Kind, derivative: bool) -> int:
        # include/logsum/matmul.hpp: the smaller operand packed, and blocks of the other for up to
        # four threads.
        a, b = sample.arguments
        scratch = 4 * min(a.size, b.size) + 4 * (2 << 20)
        return scratch + (self.kept(a, b) if derivative else 0)

    def kept(self, a: Doubles, b: Doubles) -> int:
        """Return the bytes that are kept for the gradient, or in use while it is taken."""
        # What rounding took from C; operands of a gradient are A or B, and C.
        return 4 * (2 * self.entries(a, b) + max(a.size, b.size))

    def entries(self, a: Doubles, b: Doubles) -> int:
        """Return the number of entries of the product."""
        return int(np.prod(a.shape[:-1])) * b.shape[-1]


class TestLogmatmulexp(Product):
    name = "logmatmulexp"
    semiring = "log"
    accuracy = (tolerances.PRODUCT,)
    gradient_tolerance = tolerances.PRODUCT_GRADIENT
    # Sums of two huge numbers round by more than the logarithm of how many terms are equal, and a
    # residual of that size cannot hold the logarithm too (docs/numerics.md).
    open_gradients = ("all -huge in argument 0 and 1",)
    monoid = Monoid(merge, lambda state: (filled(state[0], -np.inf),), parts)

    def differentiables(self) -> list[Sample]:
        return [*super().differentiables(), permuted(2)]

    def parted(self) -> list[Sample]:
        return [ORDINARY, BATCH_OF_A]


class TestMaxProduct(Product):
    name = "logmatmulexp of max"
    semiring = "max"
    accuracy = (tolerances.MAXIMUM, tolerances.EXACT)
    gradient_tolerance = tolerances.PRODUCT_GRADIENT
    indices = (1,)

    def call(self, a: Any, b: Any) -> Any:
        return logsum.logmatmulexp(a, b, semiring="max", return_argmax=True)

    def reference(self, a: Any, b: Any) -> Any:
        return product_oracle.logmatmulexp(a, b, "max")

    def kept(self, a: Doubles, b: Doubles) -> int:
        # C's gradient without the zeros and in float64, an operand's twice while torch spreads it.
        return 12 * self.entries(a, b) + 16 * max(a.size, b.size)
