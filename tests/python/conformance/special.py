"""Infinities, NaN and huge finite values in the arguments that hold logarithms."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from conformance.case import WORDS, Case
from conformance.derivative import cotangents_for, differentiate, leaves
from conformance.report import check, require
from conformance.sample import Doubles, Kind, Sample, beside, torch, widen

Plant = Callable[[Doubles, float], None]


def huge(dtype: str) -> float:
    """Return a finite value of the size that people write for infinity."""
    return {"float16": 3e4, "float64": 1e300}.get(dtype, 1e38)


def _ladder(count: int, top: float) -> Doubles:
    """Return huge values so far apart that one alone dominates any sum of them."""
    return np.asarray(top * 2.0 ** -(np.arange(count) % 24), np.float64)


def _one_zero(a: Doubles, top: float) -> None:
    a.flat[0] = -np.inf


def _zero_slice(a: Doubles, top: float) -> None:
    a[:1] = -np.inf


def _all_zero(a: Doubles, top: float) -> None:
    a[...] = -np.inf


def _half_zero(a: Doubles, top: float) -> None:
    a.flat[::2] = -np.inf


def _one_infinity(a: Doubles, top: float) -> None:
    a.flat[1] = np.inf


def _infinities(a: Doubles, top: float) -> None:
    a.flat[::3] = np.inf


def _both_infinities(a: Doubles, top: float) -> None:
    a.flat[::2] = np.inf
    a.flat[1::4] = -np.inf


def _nan(a: Doubles, top: float) -> None:
    a.flat[a.size // 2] = np.nan


def _nan_beside_infinity(a: Doubles, top: float) -> None:
    a.flat[::3] = np.inf
    a.flat[a.size // 2] = np.nan


def _one_huge(a: Doubles, top: float) -> None:
    a.flat[0] = top


def _huge_zeros(a: Doubles, top: float) -> None:
    a.flat[::2] = -_ladder(len(a.flat[::2]), top)


def _huge_both_ways(a: Doubles, top: float) -> None:
    a.flat[::2] = -_ladder(len(a.flat[::2]), top)
    a.flat[1] = top


def _equal_huge(a: Doubles, top: float) -> None:
    a[...] = -top


PLANTS: dict[str, Plant] = {
    "one -inf": _one_zero,
    "a slice of -inf": _zero_slice,
    "all -inf": _all_zero,
    "half -inf": _half_zero,
    "one +inf": _one_infinity,
    "several +inf": _infinities,
    "+inf and -inf": _both_infinities,
    "NaN": _nan,
    "NaN beside +inf": _nan_beside_infinity,
    "one huge": _one_huge,
    "zeros of -huge": _huge_zeros,
    "huge and -huge": _huge_both_ways,
    "all -huge": _equal_huge,
}
# Where second derivatives are anybody's guess.
_INFINITE = frozenset({"one +inf", "several +inf", "+inf and -inf", "NaN", "NaN beside +inf"})


class SpecialChecks(Case):
    """-inf is a zero, +inf dominates, NaN stays, and huge values are ordinary ones."""

    def planted(self, sample: Sample, kind: Kind) -> Iterator[tuple[str, Sample, float | None]]:
        """Plant each special value in each argument of logarithms, then in all together.

        Gives also the magnitude to judge by: that of the plain values, since huge ones, alone or
        equal, leave nothing to round. Not so in float16, where huge is 3e4.
        """
        values = kind.arrays(sample)
        magnitude = None if kind.dtype == "float16" else self.magnitude(values, sample)
        groups = {(k,) for k in self.logarithmic} | {self.logarithmic}
        for name, plant in PLANTS.items():
            for group in sorted(groups):
                arguments = [
                    np.array(x) if isinstance(x, np.ndarray) else x for x in sample.arguments
                ]
                for place, index in enumerate(group):
                    if arguments[index].size > 1:
                        # Of several arguments one dominates; ties are planted within one.
                        top = min(huge(kind.dtype), self.largest)
                        plant(arguments[index], top / 4**place)
                where = f"{name} in argument {' and '.join(map(str, group))}"
                yield name, sample.with_arguments(where, tuple(arguments)), magnitude

    def gradient_is_open(self, name: str, planted: Sample) -> bool:
        """Whether the contract leaves the gradient of this plant open, wherever it is or here."""
        return any(name == x or planted.name.endswith(x) for x in self.open_gradients)

    def special_gradients(self) -> list[Sample]:
        """Return the samples for gradients at special values."""
        return self.specials() if self.differentiable else []

    @check(hook="specials", libraries=("either",))
    def test_special_value(self, sample: Sample, kind: Kind) -> None:
        """Special values give what the reference, which states the contract, gives."""
        for _, planted, magnitude in self.planted(sample, kind):
            arguments = kind.arrays(planted)
            self.judge_outputs(arguments, planted, kind, where=planted.name, magnitude=magnitude)

    @check(hook="specials", dtypes=("float16", *WORDS))
    def test_special_bits(self, sample: Sample, kind: Kind) -> None:
        """NumPy and torch get the same bits from special values too."""
        for _, planted, _ in self.planted(sample, kind):
            self.judge_peer(planted, kind)

    @check(hook="special_gradients")
    def test_special_gradient(self, sample: Sample, kind: Kind) -> None:
        """Gradients at special values: 0 at -inf, shared among +inf, NaN only from NaN."""
        for name, planted, magnitude in self.planted(sample, kind):
            if self.gradient_is_open(name, planted):
                continue
            arguments = leaves(self, kind.arrays(planted))
            outputs = self.smooth_outputs(arguments, planted)
            cotangents = cotangents_for(outputs)
            got = differentiate(self, outputs, arguments, cotangents)
            self.judge_gradients(cotangents, arguments, planted, kind, got, planted.name, magnitude)

    @check(hook="special_gradients", dtypes=("float64",))
    def test_special_forward(self, sample: Sample, kind: Kind) -> None:
        """Forward mode agrees: <cotangent, J t> = <gradient, t>."""
        for name, planted, magnitude in self.planted(sample, kind):
            if self.gradient_is_open(name, planted):
                continue
            function, primals = self.of_differentiable(kind.arrays(planted), planted)
            tangents = tuple(beside(x, "tangent") for x in primals)
            outputs, moved = torch.func.jvp(function, tuple(primals), tangents)
            cotangents = cotangents_for(outputs)
            gradients = self.expected_gradients(cotangents, kind.arrays(planted), planted)
            pairs = zip(gradients, map(widen, tangents), strict=True)
            terms = np.concatenate([np.ravel(np.asarray(g * t, np.float64)) for g, t in pairs])
            ahead = [float((c * m).sum()) for c, m in zip(cotangents, moved, strict=True)]
            want, have = terms.sum(), sum(ahead)
            slack = 1e-13 * (10 + (magnitude or 0)) * (1 + np.abs(terms).sum())
            right = np.isnan(have) if np.isnan(want) else abs(want - have) <= slack
            require(bool(right), f"{want} within {slack:.2g}", have, planted.name)

    @check(hook="special_gradients", dtypes=("float64",))
    def test_special_double_backward(self, sample: Sample, kind: Kind) -> None:
        """Second derivatives are finite where no +inf or NaN was put in."""
        for name, planted, _ in self.planted(sample, kind):
            if name in _INFINITE or self.gradient_is_open(name, planted):
                continue
            arguments = leaves(self, kind.arrays(planted))
            outputs = self.smooth_outputs(arguments, planted)
            first = differentiate(
                self, outputs, arguments, cotangents_for(outputs), create_graph=True
            )
            scalar = sum((beside(g, "second") * g).sum() for g in first)
            if not scalar.requires_grad:  # where the operation is linear
                continue
            second = differentiate(self, (scalar,), arguments, [torch.ones_like(scalar)])
            for index, values in zip(self.differentiable, second, strict=True):
                finite = bool(torch.isfinite(values).all())
                require(finite, "finite", values, f"{planted.name} argument {index}")
