"""Reductions of formulas under the conformance suite."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

import logsum
import oracle
import tolerances
from conformance import Conformance, Kind, Monoid, Sample, State, filled, normal
from tensors import torch

if torch is None:
    pytest.skip("the oracle is written in torch", allow_module_level=True)

import reduce_oracle

LOGITS = ("x + y", ("x = Vi(1)", "y = Vj(1)"))
# Of numbers, so that a sample may be tiled along its last axis too.
LINE = ("p * SqDist(x, y) - x * y", ("x = Vi(1)", "y = Vj(1)", "p = Pm(1)"))
GAUSS = ("p * SqDist(x, y) - (x | y)", ("x = Vi(2)", "y = Vj(2)", "p = Pm(1)"))
_MADE: dict[Any, logsum.Genred] = {}
THREADS = 4  # of the measurement of memory


def pairs(
    name: str,
    sizes: tuple[int, int],
    formula: tuple[str, tuple[str, ...]] = GAUSS,
    axis: int = 1,
    batch: tuple[tuple[int, ...], ...] = ((), (), ()),
    scale: float = 1.0,
    **options: Any,
) -> Sample:
    """Return normal values for the variables of a formula."""
    arguments = []
    for seed, (alias, axes) in enumerate(zip(formula[1], batch, strict=False)):
        dim = int(alias[alias.index("(") + 1 : -1])
        index = {"Vi": sizes[:1], "Vj": sizes[1:], "Pm": ()}[alias.split()[2][:2]]
        arguments.append(normal(*axes, *index, dim, scale=scale, seed=seed))
    return Sample(name, tuple(arguments), {"formula": formula, "axis": axis, **options})


class Reduction(Conformance):
    """What all reductions share."""

    differentiable = (0, 1, 2)
    logarithmic = ()
    op: ClassVar[str]
    formula: ClassVar[tuple[str, tuple[str, ...]]] = GAUSS
    parts: ClassVar[dict[str, Any]] = {}

    def call(self, *arrays: Any, formula: Any, axis: int) -> Any:
        return self.made(formula, axis)(*arrays)

    def made(self, formula: Any, axis: int) -> Any:
        """Return the reduction, made once: a compiled call finds it there."""
        key = (self.op, formula, axis)
        if key not in _MADE:
            _MADE[key] = logsum.Genred(*formula, self.op, axis, **self.parts)
        return _MADE[key]

    def compiled(self, sample: Sample, **how: Any) -> Any:
        self.made(**sample.options)
        return super().compiled(sample, **how)

    def dense(self, arrays: Any, formula: Any, axis: int) -> tuple[list[Any], Any]:
        """Return leaves, and the oracle's results for them."""
        inputs = [torch.tensor(x, dtype=torch.float64).requires_grad_() for x in arrays]
        return inputs, reduce_oracle.genred(*formula, self.op, axis, inputs, **self.parts)

    def reference(self, *arrays: Any, formula: Any, axis: int) -> Any:
        return tuple(x.detach().numpy() for x in self.dense(arrays, formula, axis)[1])

    def gradient(self, cotangents: Any, *arrays: Any, formula: Any, axis: int) -> Any:
        inputs, results = self.dense(arrays, formula, axis)
        found = torch.autograd.grad(
            results[0],
            inputs,
            torch.from_numpy(cotangents[0].copy()),
            materialize_grads=True,
            allow_unused=True,
        )
        return [g.numpy() for g in found]

    def gradient_scale(self, cotangents: Any) -> float:
        """Return the sum of what comes in, which a parameter's gradient adds up."""
        return float(np.abs(cotangents[0]).sum()) * 10  # slopes are below 10 here

    def samples(self) -> list[Sample]:
        return [
            pairs("numbers", (3, 4), LINE),
            pairs("vectors over i", (4, 3), axis=0),
            pairs("batches", (2, 2), batch=((2, 1), (2,), (1, 1))),
        ]

    def empties(self) -> list[Sample]:
        return [
            pairs(f"{sizes} over {axis}", sizes, self.formula, axis)
            for sizes in ((0, 3), (3, 0), (0, 0))
            for axis in (0, 1)
        ]

    def larges(self) -> list[Sample]:
        return [
            pairs("large", (301, 1003)),
            pairs("one row", (1, 20_011)),
            pairs("over i", (5003, 3), axis=0),
            pairs("batches", (60, 70), batch=((20, 1), (2,), (20, 1))),
        ]

    def heavies(self) -> list[Sample]:
        return [pairs("heavy", (6000, 6000))]

    def allowance(self, sample: Sample, kind: Kind, derivative: bool) -> int:
        # include/logsum/reduce.hpp: 4 MB a thread; outputs of both axes once more; what is saved.
        sizes = sum(4 * x.size for x in sample.arguments)
        return THREADS * (4 << 20) + (2 * sizes if derivative else 0)


class TestSum(Reduction):
    name = "Genred of Sum"
    op = "Sum"
    accuracy = (tolerances.FORMULA,)
    gradient_tolerance = tolerances.FORMULA

    def constants(self) -> list[Sample]:
        made = pairs("65536 equal terms", (2, 65_536), LOGITS)
        return [made.with_arguments("", (np.full((2, 1), 0.25), np.full((65_536, 1), 0.7)))]


class TestLogSumExp(Reduction):
    name = "Genred of LogSumExp"
    op = "LogSumExp"
    accuracy = (tolerances.FORMULA_LOG_SUM,)
    gradient_tolerance = tolerances.FORMULA


def _parts(sample: Sample) -> list[Sample]:
    x, y = sample.arguments
    return [
        sample.with_arguments(f"part {k}", (x, piece))
        for k, piece in enumerate(np.array_split(y, 3, -2))
    ]


def _merge(*states: State) -> State:
    return (logsum.merge(*(lse for (lse,) in states)),)


class TestLogits(TestLogSumExp):
    """Terms that are sums of two logarithms: the contract of special values."""

    name = "Genred of LogSumExp of logarithms"
    formula = LOGITS
    differentiable = logarithmic = (0, 1)
    monoid = Monoid(_merge, lambda state: (filled(state[0], -np.inf),), _parts)

    def reference(self, *arrays: Any, formula: Any, axis: int) -> Any:
        return oracle.logsumexp(_terms(*arrays), axis=_reduced(axis))[..., None]

    def gradient(self, cotangents: Any, *arrays: Any, formula: Any, axis: int) -> Any:
        slopes = oracle.logsumexp_gradient(
            cotangents[0][..., 0], _terms(*arrays), axis=_reduced(axis)
        )
        x, y = arrays
        by_x, by_y = (slopes.sum(axis=k)[..., None] for k in (-1, -2))
        return [oracle.unbroadcast(by_x, x.shape), oracle.unbroadcast(by_y, y.shape)]

    def samples(self) -> list[Sample]:
        return [
            pairs("plain", (3, 4), LOGITS, scale=3.0),
            pairs("over i", (4, 3), LOGITS, axis=0, scale=3.0),
            pairs("batches", (3, 2), LOGITS, batch=((2, 1), (3,)), scale=3.0),
        ]

    def parted(self) -> list[Sample]:
        return self.samples()[:1]

    def constants(self) -> list[Sample]:
        made = pairs("65536 equal terms", (2, 65_536), LOGITS)
        return [made.with_arguments("", (np.full((2, 1), 0.25), np.full((65_536, 1), 0.7)))]

    def heavies(self) -> list[Sample]:
        return []


def _terms(x: Any, y: Any) -> Any:
    with np.errstate(invalid="ignore"):
        return x + np.moveaxis(y, -1, -2)


def _reduced(axis: int) -> int:
    return -1 if axis == 1 else -2


class TestMean(Reduction):
    name = "Genred of SumSoftMaxWeight"
    op = "SumSoftMaxWeight"
    parts: ClassVar[dict[str, Any]] = {"formula2": "x * y"}
    accuracy = (tolerances.FORMULA,)
    gradient_tolerance = tolerances.FORMULA


class TestWeighted(Reduction):
    """Weights of either sign, whose sums here are positive and do not cancel much."""

    name = "Genred of LogSumExpWeight"
    op = "LogSumExpWeight"
    parts: ClassVar[dict[str, Any]] = {"formula2": "3 + x * Sin(y)"}
    accuracy = (tolerances.FORMULA_LOG_SUM,)
    gradient_tolerance = tolerances.FORMULA


class TestMinima(Reduction):
    name = "Genred of Min_ArgMin"
    op = "Min_ArgMin"
    accuracy = (tolerances.FORMULA, tolerances.EXACT)
    gradient_tolerance = tolerances.FORMULA
    indices = (1,)


class TestNearest(Reduction):
    name = "Genred of KMin_ArgKMin"
    op = "KMin_ArgKMin"
    parts: ClassVar[dict[str, Any]] = {"opt_arg": 2}
    accuracy = (tolerances.FORMULA, tolerances.EXACT)
    gradient_tolerance = tolerances.FORMULA
    indices = (1,)
