"""The worst error over many kinds of input, beside the peers'."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import peers
from records import judge, significant


def excess(result: Any, reference: np.ndarray, dtype: type[np.floating]) -> float:
    """Return the largest error beyond half an ulp of the result; infinite where not finite.

    Half an ulp is what rounding the exact result costs; what is left is the computation's own.
    """
    values = peers.to_float64(result)
    finite = np.isfinite(reference)
    if not np.array_equal(values[~finite], reference[~finite], equal_nan=True):
        return np.inf
    half = np.spacing(np.abs(reference[finite]).astype(dtype)).astype(np.float64) / 2
    beyond = np.abs(values[finite] - reference[finite]) - half
    return float(np.where(np.isnan(beyond), np.inf, beyond).max(initial=0.0))


def worst_errors(
    inputs: Iterable[tuple[str, np.ndarray]],
    calls: Mapping[str, Callable[[np.ndarray], Any]],
    reference: Callable[[np.ndarray], np.ndarray],
    *,
    at_most: float,
) -> dict[str, Any]:
    """Return, by kind of input and contender, the worst error beyond half an ulp.

    Parameters
    ----------
    inputs : iterable of (str, array)
        Kinds of input, all of one dtype.
    calls : mapping of str to callable
        Contenders, ours under peers.OURS.
    reference : callable
        The same function in float64.
    at_most : float
        The bound on ours.
    """
    table: dict[str, dict[str, float]] = {}
    for kind, array in inputs:
        exact = reference(array)
        table[kind] = {
            name: excess(call(array), exact, array.dtype.type) for name, call in calls.items()
        }
    worst = max(row[peers.OURS] for row in table.values())
    return {
        "inputs": {
            kind: {name: significant(error, 3) for name, error in row.items()}
            for kind, row in table.items()
        },
        "floor": judge("worst error beyond half an ulp", worst, at_most=at_most),
    }
