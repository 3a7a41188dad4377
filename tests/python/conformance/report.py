"""How a check speaks when it fails: operation, sample, kind, check, expected, got."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from conformance.sample import Doubles
from tolerances import Tolerance, overflow

Method = TypeVar("Method", bound=Callable[..., None])


class ConformanceError(AssertionError):
    """An operation does not do what every operation must."""

    def __init__(self, expected: object, got: object, where: str = "") -> None:
        self.expected, self.got, self.where = expected, got, where
        super().__init__(f"{where + ': ' if where else ''}expected {expected}, got {got}")


@dataclass(frozen=True)
class Check:
    """What a check method runs over: the samples that `hook` gives and the kinds it accepts.

    Libraries ("either",) are torch, or NumPy where there is no torch.
    """

    name: str
    hook: str
    libraries: tuple[str, ...]
    dtypes: tuple[str, ...] | None


def check(
    *,
    hook: str = "samples",
    libraries: tuple[str, ...] = ("torch",),
    dtypes: tuple[str, ...] | None = None,
) -> Callable[[Method], Method]:
    """Mark a method (self, sample, kind) as a check over what the method `hook` gives.

    A case that gives no such samples does not have the check. Whatever the method raises is
    reported with the operation, the sample, the kind and the check in front.
    """

    def mark(method: Method) -> Method:
        name = method.__name__.removeprefix("test_")

        @functools.wraps(method)
        def run(self: Any, sample: Any, kind: Any) -> None:
            try:
                method(self, sample, kind)
            except Exception as error:
                heading = f"{self.name} [{sample.name}; {kind}] fails {name}"
                if not isinstance(error, ConformanceError):
                    error = ConformanceError("no exception", f"{type(error).__name__}: {error}")
                raise ConformanceError(
                    error.expected, error.got, f"{heading} {error.where}"
                ) from error

        run.check = Check(name, hook, libraries, dtypes)  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return mark


def require(holds: bool, expected: object, got: object, where: str = "") -> None:
    """Fail unless `holds`."""
    if not holds:
        raise ConformanceError(expected, got, where)


def _distances(expected: Any, got: Doubles) -> list[float]:
    """Distances from 50-digit numbers; repeated ones, as of equal terms, are looked up."""
    known: dict[tuple[int, float], float] = {}
    for number, have in zip(expected, got.tolist(), strict=True):
        if (id(number), have) not in known:
            known[id(number), have] = float(abs(number - have))
    return [known[id(n), have] for n, have in zip(expected, got.tolist(), strict=True)]


def _errors(expected: Any, rounded: Doubles, got: Doubles) -> Doubles:
    """Distance of each entry; 0 for equal infinities and for two NaNs, infinite otherwise."""
    finite = np.isfinite(rounded) & np.isfinite(got)
    same = (rounded == got) | (np.isnan(rounded) & np.isnan(got))
    errors = np.where(same, 0.0, np.inf)
    # The subtraction runs in the reference's own numbers: 50 digits where it has them.
    if expected.dtype == object:
        errors[finite] = _distances(expected[finite], got[finite])
    else:
        errors[finite] = np.abs(expected[finite] - got[finite])
    return errors


def compare(
    expected: Any,
    got: Doubles,
    dtype: str,
    tolerance: Tolerance,
    *,
    magnitude: float = 0.0,
    scale: float = 0.0,
    where: str = "",
) -> None:
    """Fail unless got, stored in `dtype`, is within the tolerance of expected, shape and all."""
    expected = np.asarray(expected)
    require(expected.shape == got.shape, f"shape {expected.shape}", f"shape {got.shape}", where)
    rounded = expected.astype(np.float64)
    beyond = np.abs(rounded) >= overflow(dtype)
    rounded = np.where(beyond, np.copysign(np.inf, rounded), rounded)
    finite = np.isfinite(rounded)
    bound = np.zeros(rounded.shape)
    bound[finite] = tolerance.bound(rounded[finite], dtype, magnitude, scale)
    errors = _errors(expected, rounded, got)
    excess = ~(errors <= bound)
    if not excess.any():
        return
    ratio = np.where(excess, errors / np.maximum(bound, 1e-300), 0)
    worst = np.unravel_index(np.argmax(ratio), ratio.shape)
    place = tuple(int(k) for k in worst)
    raise ConformanceError(
        f"{rounded[worst]!s} within {bound[worst]:.3g} ({tolerance.name}: {tolerance.reason})",
        f"{got[worst]!s}, off by {errors[worst]:.3g}",
        f"{where} at {place}, the worst of {int(excess.sum())} of {excess.size} entries".strip(),
    )
