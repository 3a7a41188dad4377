"""The families of tolerances, each named once with its reason (docs/numerics.md, "Error").

A bound has up to four parts, all for the dtype that the arithmetic runs in (float32 for the half
types, which only store):

* `ulps` of the expected value in the dtype that stores it: the rounding of the result itself;
* `absolute`: what a sum of exponentials may be off, a relative error inside a logarithm;
* `relative` and `magnitude`, in roundings (2^-24 or 2^-53) of the expected value: `magnitude` is
  multiplied by the largest finite |input| or |lse|, because exp(a - lse) turns the rounding of a
  stored lse into a relative error;
* a half type rounds to float32 before it is stored; `stored` roundings of it are allowed where
  something that was stored enters again;
* results below twice the smallest normal number may be flushed to zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

# Digits after the leading one, smallest normal exponent, largest finite value.
_MANTISSA = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}
_EXPONENT = {"float16": -14, "bfloat16": -126, "float32": -126, "float64": -1022}
_ROUNDING = {"float32": 2.0**-24, "float64": 2.0**-53}


def arithmetic(dtype: str) -> str:
    """Return the dtype that arithmetic on `dtype` runs in."""
    return "float64" if dtype == "float64" else "float32"


def overflow(dtype: str) -> float:
    """Return the least magnitude that rounds to infinity."""
    return (2 - 2.0 ** (-1 - _MANTISSA[dtype])) * 2.0 ** (1 - _EXPONENT[dtype])


def ulp(value: npt.NDArray[np.float64], dtype: str) -> npt.NDArray[np.float64]:
    """Return the distance of neighbours in `dtype` at each finite value."""
    exponent = np.frexp(value)[1] - 1
    return np.ldexp(1.0, np.maximum(exponent, _EXPONENT[dtype]) - _MANTISSA[dtype])


@dataclass(frozen=True)
class Tolerance:
    """One family: how far a result of finite value may lie from the exact one."""

    name: str
    reason: str
    ulps: float = 0.5
    absolute: tuple[float, float] = (0.0, 0.0)  # of float32 and of float64 arithmetic
    relative: float = 0.0
    magnitude: float = 0.0
    overall: bool = False  # measure `relative` by the largest expected value of the array
    stored: float = 0.0  # roundings in the storing dtype of what `relative` is measured by

    def bound(
        self,
        expected: npt.NDArray[np.float64],
        dtype: str,
        magnitude: float = 0.0,
        scale: float = 0.0,
    ) -> npt.NDArray[np.float64]:
        """Return the largest error allowed at each finite expected value.

        `scale` is the size of what the values were made of, for a tolerance that is `overall`.
        """
        kind = arithmetic(dtype)
        size = np.abs(expected)
        if self.overall:
            size = np.full_like(size, size.max(initial=scale))
        roundings = self.relative + self.magnitude * magnitude
        storing = self.ulps * ulp(expected, dtype)
        if dtype in ("float16", "bfloat16"):
            storing = storing + ulp(expected, "float32") / 2
        storing = storing + self.stored * 2.0 ** (-1 - _MANTISSA[dtype]) * size
        return (
            storing
            + self.absolute[kind == "float64"]
            + _ROUNDING[kind] * roundings * size
            + 2.0 ** (1 + _EXPONENT[kind])
        )

    def times(self, factor: float) -> Tolerance:
        """Return the tolerance of something made of results that each have this one."""
        return replace(
            self,
            ulps=factor * self.ulps,
            absolute=(factor * self.absolute[0], factor * self.absolute[1]),
            relative=factor * self.relative,
            magnitude=factor * self.magnitude,
            stored=factor * self.stored,
        )


LOG_SUM = Tolerance(
    "log-sum",
    "half an ulp of the result, and a few roundings of the sum inside the logarithm",
    absolute=(4e-7, 8e-16),
)
NEAR_ZERO = Tolerance(
    "near zero",
    "where one term dominates, log1p of the rest keeps a few ulp of the result itself",
    ulps=4,
)
SIGNED_SUM = Tolerance(
    "signed sum",
    "cancellation multiplies the sum's roundings by sum |b| e^a / |sum b e^a|: at most 30 here",
    absolute=(1.2e-5, 2.4e-14),
)
PRODUCT = Tolerance(
    "product",
    "half an ulp of the result, which float32 rounds by way of float64, and the roundings of up to "
    "512 products inside the logarithm",
    absolute=(1e-6, 2e-15),
    relative=2.0**-28,
)
LONG_PRODUCT = replace(
    PRODUCT,
    name="long product",
    reason="the same for up to 4096 products",
    absolute=(2e-6, 4e-15),
)
MAXIMUM = Tolerance("maximum", "one sum, rounded by way of float64", relative=2.0**-28)
SHARE = Tolerance(
    "share",
    "exp(a - lse) from a stored lse: |lse| roundings, and a few of exp and of the sum",
    ulps=1,
    relative=8,
    magnitude=1,
)
LOG_SHARE = Tolerance(
    "log-share",
    "the roundings of the log of the sum, and of two differences",
    ulps=2.5,
    absolute=(8e-7, 1.6e-15),
)
GRADIENT = Tolerance(
    "gradient",
    "shares times incoming gradients, whose sums cancel: roundings of the largest entry",
    ulps=2,
    relative=24,
    magnitude=4,
    overall=True,
)
PRODUCT_GRADIENT = Tolerance(
    "product gradient",
    "shares times incoming gradients: roundings of the sum of their sizes, whatever the size of C",
    ulps=1,
    relative=64,
    overall=True,
)
PATH_SUM = Tolerance(
    "path sum",
    "half an ulp of the result, in float64 as much for its two parts, and the roundings of some "
    "twenty sums of products, in float64 whatever the dtype",
    ulps=1,
    absolute=(2e-14, 2e-14),
)
PATH_SHARE = Tolerance(
    "path share",
    "a share in float64 rounded to storage, then multiplied and rounded again; what cancels leaves "
    "roundings of its terms",
    ulps=1.5,
    absolute=(5e-14, 5e-14),
)
FORMULA = Tolerance(
    "formula",
    "roundings of the formula's parts, which cancel in it and in sums of it: of the largest entry",
    ulps=1,
    relative=64,
    overall=True,
)
FORMULA_LOG_SUM = Tolerance(
    "log-sum of a formula",
    "the roundings of the terms that matter, and those of the sum inside the logarithm",
    ulps=1,
    absolute=(4e-7, 8e-16),
    relative=16,
    overall=True,
)
SAME_MATHS = Tolerance(
    "same maths",
    "two routes through float64 to one derivative: roundings of the largest entry",
    relative=2**10,
    magnitude=8,
    overall=True,
)
SIGNED_GRADIENT = replace(
    GRADIENT,
    name="signed gradient",
    reason="terms of a cancelling sum are larger than the sum, at most 30 times here",
    relative=24 * 30,
)
MEAN = Tolerance(
    "mean",
    "a weighted mean of values of both signs: roundings of the largest one",
    ulps=1,
    relative=16,
    magnitude=1,
    overall=True,
)
MEAN_GRADIENT = replace(
    GRADIENT,
    name="mean gradient",
    reason="values less their mean, which is kept in the dtype that stores it",
    ulps=16,
)
ATTENTION_GRADIENT = replace(
    MEAN_GRADIENT,
    name="attention gradient",
    reason="values less their mean, which is the output as it was stored",
    ulps=1,
    stored=1.5,
)
EXACT = Tolerance("exact", "a sign, a mask or an index has no error", ulps=0)
