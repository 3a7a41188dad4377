"""The array reductions under the conformance suite: one small class each."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import logsum
import oracle
import tolerances
from conformance import Conformance, Kind, Monoid, Sample, State, filled, normal, torch
from conformance.derivative import cotangents_for, differentiate, leaves

# Lengths that no SIMD word divides, and one that needs several words.
ROWS = Sample("rows", (normal(3, 5),), {"axis": 1})
COLUMNS = Sample("columns", (normal(5, 3),), {"axis": 0})
MIDDLE = Sample("middle axis", (normal(2, 5, 3),), {"axis": -2})
LONG = Sample("long rows", (normal(2, 67),), {"axis": 1})
ONE_TERM = Sample("one term", (normal(3, 1),), {"axis": 1})
VECTOR = Sample("vector", (normal(7),), {"axis": 0})
INFINITIES = ("one +inf", "several +inf", "+inf and -inf", "NaN beside +inf")


def scratch(*arrays: Any) -> int:
    """Return the bytes that include/logsum/logsumexp.hpp allows, on up to four threads."""
    return 4 * (256 << 10) + 16 * sum(x.size for x in arrays) // 32768


def equal(terms: int, value: float) -> Sample:
    """Return a row of equal terms, all its maximum, and one where all are below it but one."""
    rows = np.full((2, terms), value)
    rows[1, terms // 2] += 2
    return Sample(f"{terms} of {value}", (rows,), {"axis": 1})


def parts(sample: Sample) -> list[Sample]:
    """Return a sample cut in three along its axis."""
    axis = sample.options["axis"]
    pieces = zip(*(np.array_split(x, 3, axis) for x in sample.arguments), strict=True)
    return [sample.with_arguments(f"part {k}", piece) for k, piece in enumerate(pieces)]


def merge_lses(*states: State) -> State:
    """Merge states (lse,)."""
    return (logsum.merge(*(lse for (lse,) in states)),)


def no_lse(state: State) -> State:
    """Return the lse of nothing."""
    return (filled(state[0], -np.inf),)


class Reduction(Conformance):
    """What the operations over one axis share."""

    def dressed(self, plain: Sample) -> Sample:
        """Return a sample of one array with the further arguments of the operation."""
        return plain

    def samples(self) -> list[Sample]:
        return [self.dressed(s) for s in (ROWS, COLUMNS, MIDDLE, LONG, ONE_TERM, VECTOR)]

    def constants(self) -> list[Sample]:
        long = equal(65536, 0.7)
        deep = Sample("65536 deep", (np.ascontiguousarray(long.arguments[0].T),), {"axis": 0})
        return [self.dressed(s) for s in (equal(512, 1000.0), equal(512, 0.7), long, deep)]

    def larges(self) -> list[Sample]:
        return [
            self.dressed(Sample("few long rows", (normal(3, 200_003),), {"axis": 1})),
            self.dressed(Sample("many short rows", (normal(100_001, 6),), {"axis": 1})),
            self.dressed(Sample("many columns", (normal(601, 1001),), {"axis": 0})),
        ]

    def heavies(self) -> list[Sample]:
        # What they hold does not matter.
        return [
            self.dressed(Sample("heavy rows", (np.zeros((20, 100_000)),), {"axis": 1})),
            self.dressed(Sample("heavy columns", (np.zeros((1000, 2000)),), {"axis": 0})),
        ]

    def allowance(self, sample: Sample, kind: Kind, derivative: bool) -> int:
        return scratch(*sample.arguments)


class TestLogsumexp(Reduction):
    name = "logsumexp"
    monoid = Monoid(merge_lses, no_lse, parts)

    def call(self, a: Any, **options: Any) -> Any:
        return logsum.logsumexp(a, **options)

    def reference(self, a: Any, **options: Any) -> Any:
        return oracle.logsumexp(a, **options)

    def gradient(self, cotangents: Any, a: Any, **options: Any) -> Any:
        return [oracle.logsumexp_gradient(cotangents[0], a, **options)]

    def samples(self) -> list[Sample]:
        return [
            *super().samples(),
            Sample("two axes kept", (normal(2, 3, 4),), {"axis": (0, 2), "keepdims": True}),
            Sample("all axes", (normal(2, 3, 2),), {"axis": None}),
            Sample("no axis", (normal(2, 3),), {"axis": ()}),
            Sample("scalar", (normal(),), {"axis": None}),
        ]

    def parted(self) -> list[Sample]:
        return Reduction.samples(self)

    def near_zero(self) -> list[Sample]:
        return [
            Sample("log1p", (np.array([[0.0, -40.0], [-30.0, 0.0], [0.0, -16.0]]),), {"axis": 1}),
            Sample("no term but one", (np.array([[1e-30, -1e4], [-1e-12, -90]]),), {"axis": 1}),
        ]


class TestMaskedLogsumexp(Reduction):
    name = "logsumexp with where"

    def call(self, a: Any, where: Any, axis: Any) -> Any:
        return logsum.logsumexp(a, axis, where=where)

    def reference(self, a: Any, where: Any, axis: Any) -> Any:
        return oracle.logsumexp(a, axis, where=where)

    def gradient(self, cotangents: Any, a: Any, where: Any, axis: Any) -> Any:
        return [oracle.logsumexp_gradient(cotangents[0], a, axis, where=where)]

    def dressed(self, plain: Sample) -> Sample:
        keep = normal(*plain.arguments[0].shape, seed=1) > -2
        return plain.with_arguments("masked", (*plain.arguments, keep))

    def samples(self) -> list[Sample]:
        keep = np.array([True, False, True, True, False])
        broadcast = ROWS.with_arguments("mask broadcast", (normal(3, 5), keep))
        return [self.dressed(ROWS), self.dressed(COLUMNS), broadcast]

    def specials(self) -> list[Sample]:
        nothing = np.array([[True], [False], [True]])
        return [*self.samples(), ROWS.with_arguments("a row masked", (normal(3, 5), nothing))]


class TestWeightedLogsumexp(Reduction):
    name = "logsumexp with b"
    differentiable = (0, 1)
    # Shares among infinite terms have no one meaning with weights, and an lse of 1e38 has no log b.
    open_gradients = (*INFINITIES, "one huge", "zeros of -huge", "huge and -huge", "all -huge")

    def call(self, a: Any, b: Any, axis: Any) -> Any:
        return logsum.logsumexp(a, axis, b)

    def reference(self, a: Any, b: Any, axis: Any) -> Any:
        return oracle.logsumexp(a, axis, b)

    def gradient(self, cotangents: Any, a: Any, b: Any, axis: Any) -> Any:
        return oracle.weighted_logsumexp_gradient(cotangents[0], a, b, axis)

    def weights(self, *shape: int) -> Any:
        """Return positive weights, few of them different, and a zero."""
        b = np.ceil(np.abs(normal(*shape, scale=4.0, seed=2))) / 4
        b.flat[-1] = 0
        return b

    def dressed(self, plain: Sample) -> Sample:
        (a,) = plain.arguments
        return plain.with_arguments("weighted", (a, self.weights(*a.shape)))

    def samples(self) -> list[Sample]:
        return [self.dressed(s) for s in (ROWS, COLUMNS, LONG)]


class TestSignedLogsumexp(TestWeightedLogsumexp):
    name = "logsumexp with signs"
    gradient_tolerance = tolerances.SIGNED_GRADIENT
    accuracy = (tolerances.SIGNED_SUM, tolerances.EXACT)

    def call(self, a: Any, b: Any, axis: Any) -> Any:
        return logsum.logsumexp(a, axis, b, return_sign=True)

    def reference(self, a: Any, b: Any, axis: Any) -> Any:
        return oracle.signed_logsumexp(a, axis, b)

    def weights(self, *shape: int) -> Any:
        b = super().weights(*shape)
        b.flat[::3] *= -1
        return b


class TestSoftmax(Reduction):
    name = "softmax"
    accuracy = (tolerances.SHARE,)

    def call(self, a: Any, axis: int) -> Any:
        return logsum.softmax(a, axis)

    def reference(self, a: Any, axis: int) -> Any:
        return oracle.softmax(a, axis)[0]

    def gradient(self, cotangents: Any, a: Any, axis: int) -> Any:
        return [oracle.softmax_gradient(cotangents, a, axis)]


class TestSoftmaxWithLse(Reduction):
    name = "softmax with lse"
    accuracy = (tolerances.SHARE, tolerances.LOG_SUM)
    smooth = (0, 1)
    wide = (1,)

    def call(self, a: Any, axis: int) -> Any:
        return logsum.softmax(a, axis, return_lse=True)

    def reference(self, a: Any, axis: int) -> Any:
        return oracle.softmax(a, axis)

    def gradient(self, cotangents: Any, a: Any, axis: int) -> Any:
        return [oracle.softmax_gradient(cotangents, a, axis)]


class TestLogSoftmax(Reduction):
    name = "log_softmax"
    accuracy = (tolerances.LOG_SHARE,)
    # Beside +inf the others are log 0: a constant, or a - lse of slope one.
    open_gradients = INFINITIES

    def call(self, a: Any, axis: int) -> Any:
        return logsum.log_softmax(a, axis)

    def reference(self, a: Any, axis: int) -> Any:
        return oracle.log_softmax(a, axis)[0]

    def gradient(self, cotangents: Any, a: Any, axis: int) -> Any:
        return [oracle.log_softmax_gradient(cotangents, a, axis)]

    def near_zero(self) -> list[Sample]:
        terms = np.array([[0.0, -40.0], [-60.0, 20.0], [800.0, 770.0]])
        return [Sample("one share near 1", (terms,), {"axis": 1})]


class TestLogSoftmaxWithLse(Reduction):
    name = "log_softmax with lse"
    open_gradients = INFINITIES
    accuracy = (tolerances.LOG_SHARE, tolerances.LOG_SUM)
    smooth = (0, 1)
    wide = (1,)

    def call(self, a: Any, axis: int) -> Any:
        return logsum.log_softmax(a, axis, return_lse=True)

    def reference(self, a: Any, axis: int) -> Any:
        return oracle.log_softmax(a, axis)

    def gradient(self, cotangents: Any, a: Any, axis: int) -> Any:
        return [oracle.log_softmax_gradient(cotangents, a, axis)]


class TestLogaddexp(Conformance):
    name = "logaddexp"
    differentiable = logarithmic = (0, 1)

    def call(self, a: Any, b: Any) -> Any:
        return logsum.logaddexp(a, b)

    def reference(self, a: Any, b: Any) -> Any:
        return oracle.logaddexp(a, b)

    def gradient(self, cotangents: Any, a: Any, b: Any) -> Any:
        return oracle.logaddexp_gradient(cotangents[0], a, b)

    def samples(self) -> list[Sample]:
        return [
            Sample("matrices", (normal(3, 5), normal(3, 5, seed=1))),
            Sample("broadcast", (normal(3, 1), normal(4))),
            Sample("scalars", (normal(), normal(seed=1))),
        ]

    def near_zero(self) -> list[Sample]:
        return [Sample("log1p", (np.array([0.0, -30.0, 1e-30]), np.array([-40.0, 0.0, -1e4])))]

    def larges(self) -> list[Sample]:
        return [Sample("large", (normal(300_001), normal(300_001, seed=1)))]

    def heavies(self) -> list[Sample]:
        return [Sample("heavy", (np.zeros(2_000_000), np.zeros(2_000_000)))]

    def allowance(self, sample: Sample, kind: Kind, derivative: bool) -> int:
        # The gradient is made of elementwise torch operations: a few results in float32.
        steps = 8 * 4 * sample.arguments[0].size if derivative else 0
        return scratch(*sample.arguments) + steps


class TestMerge(Conformance):
    name = "merge"
    differentiable = logarithmic = (0, 1, 2)
    wide = (0,)
    monoid = Monoid(merge_lses, no_lse, lambda s: [Sample(s.name, (x,)) for x in s.arguments])

    def call(self, *lses: Any) -> Any:
        return logsum.merge(*lses)

    def reference(self, *lses: Any) -> Any:
        return oracle.logsumexp(np.stack(lses), 0)

    def gradient(self, cotangents: Any, *lses: Any) -> Any:
        return list(oracle.logsumexp_gradient(cotangents[0], np.stack(lses), 0))

    def samples(self) -> list[Sample]:
        return [Sample("three lses", tuple(normal(2, 3, seed=k) for k in range(3)))]

    def larges(self) -> list[Sample]:
        return [Sample("large", tuple(normal(100_001, seed=k) for k in range(3)))]


class TestMergeMeans(Conformance):
    name = "merge of means"
    differentiable = (0, 1, 2, 3)
    logarithmic = (1, 3)
    smooth = (0, 1)
    wide = (1,)
    gradient_tolerance = tolerances.MEAN_GRADIENT
    accuracy = (tolerances.MEAN, tolerances.LOG_SUM)
    monoid = Monoid(
        lambda *states: logsum.merge(*states),
        lambda state: (filled(state[0], np.nan), filled(state[1], -np.inf)),  # its out is not read
        lambda s: [Sample(s.name, s.arguments[k : k + 2]) for k in range(0, len(s.arguments), 2)],
    )

    def call(self, *flat: Any) -> Any:
        return logsum.merge(*zip(flat[::2], flat[1::2], strict=True))

    def reference(self, *flat: Any) -> Any:
        return oracle.merge_means(flat[::2], flat[1::2])

    def gradient(self, cotangents: Any, *flat: Any) -> Any:
        outs, lses = oracle.merge_means_gradient(cotangents, flat[::2], flat[1::2])
        return [x for pair in zip(outs, lses, strict=True) for x in pair]

    def states_of(self, count: int, *shape: int) -> Sample:
        """Return a number of parts."""
        pairs = [(normal(*shape, seed=k), normal(*shape[:-1], seed=9 + k)) for k in range(count)]
        return Sample(f"{count} parts", tuple(x for pair in pairs for x in pair))

    def samples(self) -> list[Sample]:
        return [self.states_of(2, 3, 4)]

    def parted(self) -> list[Sample]:
        return [self.states_of(3, 2, 3)]

    def larges(self) -> list[Sample]:
        return [self.states_of(2, 30_001, 5)]

    @pytest.mark.skipif(torch is None, reason="derivatives are torch's")
    def test_empty_part_is_not_read(self) -> None:
        """Whatever an empty part holds, values and gradients are the others'."""
        kind, sample = Kind("torch", "float64"), self.states_of(2, 4, 3)
        arguments = leaves(self, kind.arrays(sample))
        with torch.no_grad():
            arguments[0][1], arguments[1][1] = torch.nan, -torch.inf
        outputs = self.outputs(arguments, sample)
        self.judge_outputs(arguments, sample, kind, outputs)
        cotangents = cotangents_for(outputs)
        got = differentiate(self, outputs, arguments, cotangents, create_graph=True)
        self.judge_gradients(cotangents, arguments, sample, kind, got)
        one = torch.ones((), dtype=torch.float64)
        second = differentiate(self, [sum(g.sum() for g in got)], arguments, [one])
        assert all(torch.isfinite(x).all() for x in second)


def _can_compile() -> bool:
    header = Path(sysconfig.get_path("include"), "Python.h")
    return torch is not None and shutil.which("g++") is not None and header.exists()


@pytest.mark.skipif(not _can_compile(), reason="torch.compile's own backend needs a compiler")
def test_inductor() -> None:
    """One case through torch.compile's default backend; the others use one that is quicker."""
    reduction, kind = TestLogsumexp(), Kind("torch", "float32")
    reduction.judge_traced(reduction.compiled(ROWS, backend="inductor"), ROWS, kind)
