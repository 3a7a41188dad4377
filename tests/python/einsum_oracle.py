"""logeinsumexp by brute force: every term of the sum, in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tolerances import ulp

Array = np.ndarray[Any, Any]


def random_operands(
    shapes: Sequence[tuple[int, ...]], dtype: str = "float64", scale: float = 3.0, seed: int = 0
) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [np.asarray(scale * rng.standard_normal(shape), dtype) for shape in shapes]


def product_of(terms: Sequence[Array]) -> Array:
    """Sum logarithms; -inf is a zero that absorbs +inf."""
    with np.errstate(invalid="ignore"):
        total = np.asarray(sum(terms))
    zero = np.logical_or.reduce(np.broadcast_arrays(*(term == -np.inf for term in terms)))
    missing = np.logical_or.reduce(np.broadcast_arrays(*(np.isnan(term) for term in terms)))
    return np.where(missing, np.nan, np.where(zero, -np.inf, total))


def brute_force(equation: str, operands: Sequence[Any], semiring: str = "log") -> Array:
    """Every term of the sum in float64, in an array with an axis for each index."""
    wide = [np.asarray(operand, np.float64) for operand in operands]
    text, arrow, output = equation.replace(" ", "").partition("->")
    terms = text.split(",")
    letters_of = [term.replace("...", "") for term in terms]
    widths = [operand.ndim - len(own) for own, operand in zip(letters_of, wide, strict=True)]
    width = max(widths)
    stand_ins = "0123456789"[:width]
    spelled = [
        term.replace("...", stand_ins[width - covered :])
        for term, covered in zip(terms, widths, strict=True)
    ]
    letters = "".join(spelled)
    if not arrow:
        once = sorted(c for c in set(letters) if letters.count(c) == 1 and c.isalpha())
        output = "..." + "".join(once)
    output = output.replace("...", stand_ins)
    indices = [*output, *sorted(set(letters) - set(output))]
    factors = []
    for term, operand in zip(spelled, wide, strict=True):
        view = np.einsum(operand, [*map(indices.index, term)], [*map(indices.index, unique(term))])
        order = sorted(unique(term), key=indices.index)
        view = view.transpose([unique(term).index(c) for c in order])
        factors.append(
            view.reshape([view.shape[order.index(c)] if c in order else 1 for c in indices])
        )
    full = product_of(factors)
    axes = tuple(range(len(output), len(indices)))
    top = np.asarray(np.max(full, axes, initial=-np.inf, keepdims=True)) if axes else full
    if semiring == "max" or not axes:
        return top.squeeze(axes)
    with np.errstate(all="ignore"):
        total = np.exp(full - np.where(np.isinf(top), 0, top)).sum(axes, keepdims=True)
        return np.where(np.isinf(top), top, top + np.log(total)).squeeze(axes)


def unique(term: str) -> list[str]:
    return list(dict.fromkeys(term))


def assert_close(given: Any, expected: Array, operands: Sequence[Any], dtype: str) -> None:
    """Within the error of `len(operands)` joins, each of which rounds a number of this size."""
    got = np.asarray(given, np.float64)
    assert got.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite])
    sizes = [np.abs(np.where(np.isfinite(a), a, 0)).max(initial=0.0) for a in map(wide, operands)]
    terms = math.prod(max(n, 1) for a in map(wide, operands) for n in a.shape)
    largest = np.float64(sum(sizes) + math.log(terms) + 1)
    # docs/matmul.md: 2e-6 for a product (float64: 4e-15) and half an ulp of its result.
    kind = "float64" if dtype == "float64" else "float32"
    each = {"float32": 2e-6, "float64": 4e-15}[kind] + ulp(np.asarray(largest), kind) / 2
    bound = (2 * len(operands)) * each + ulp(np.where(finite, expected, 0), dtype) / 2
    error = np.abs(got[finite] - expected[finite])
    assert (error <= bound[finite]).all(), error.max()


def wide(array: Any) -> Array:
    return np.asarray(array, np.float64)
