"""What reaches the extension's matrix product without a face before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from logsum import _core

A, B, C = (np.zeros(shape, np.float32) for shape in ((2, 3), (3, 4), (2, 4)))
DOUBLE = C.astype(np.float64)
INDICES = C.astype(np.int64)


def product(**changes: Any) -> None:
    arguments = {"a": A, "b": B, "c": C.copy(), "bound": None, "argmax": None, "residual": None}
    _core.logmatmulexp(**{**arguments, "semiring": _core.Semiring.log, **changes})


def mean(**changes: Any) -> None:
    weights = {f"weight_{x}": None for x in "abc"}
    arguments = {"a": A, "b": B, "c": C, "residual": None, "over": _core.MatmulIndex.inner}
    _core.logmatmulexp_mean(**{**arguments, **weights, "out": C.copy(), **changes})


def test_good() -> None:
    maxima = {"argmax": INDICES.copy(), "bound": C.copy(), "semiring": _core.Semiring.max}
    product(bound=C.copy(), residual=C.copy())
    product(**maxima)
    mean(weight_a=A, weight_b=B, residual=C)
    out = C.copy()
    mean(c=C + np.float32(np.log(3)), out=out)
    np.testing.assert_allclose(out, 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"a": A[0]}, ValueError, "A: expected at least 2 axes"),
        ({"b": C}, ValueError, "B: expected as many rows as A has columns"),
        ({"b": B.astype(np.float64)}, ValueError, "B: expected float32"),
        ({"a": A.astype(int), "b": B.astype(int)}, ValueError, "A: expected float16"),
        ({"a": np.stack([A] * 2), "b": np.stack([B] * 3)}, ValueError, "batch axes"),
        ({"c": A}, ValueError, "C: expected shape"),
        ({"c": DOUBLE}, ValueError, "C: expected float32"),
        ({"c": None}, TypeError, "incompatible"),
        ({"bound": A}, ValueError, "bound: expected shape"),
        ({"bound": INDICES}, ValueError, "bound: expected float32"),
        ({"residual": A}, ValueError, "residual: expected shape"),
        ({"residual": DOUBLE}, ValueError, "residual: expected float32"),
        ({"argmax": INDICES}, ValueError, "argmax: expected null"),
        ({"argmax": C, "semiring": _core.Semiring.max}, ValueError, "argmax: expected int64"),
        ({"semiring": "log"}, TypeError, "incompatible"),
    ],
    ids=str,
)
def test_bad_product(changes: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        product(**changes)


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"c": A}, ValueError, "C: expected shape"),
        ({"residual": A}, ValueError, "residual: expected shape"),
        ({"weight_a": B}, ValueError, "weight_A: expected shape"),
        ({"weight_b": B.astype(np.float64)}, ValueError, "weight_B: expected float32"),
        ({"weight_c": C}, ValueError, "weight_C: expected null"),
        ({"over": _core.MatmulIndex.row}, ValueError, "out: expected shape"),
        ({"over": 7}, TypeError, "incompatible"),
        ({"out": DOUBLE}, ValueError, "out: expected float32"),
        ({"out": None}, TypeError, "incompatible"),
    ],
    ids=str,
)
def test_bad_mean(changes: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        mean(**changes)


def test_nothing_is_written_when_an_argument_is_wrong() -> None:
    out = np.full_like(C, 7)
    with pytest.raises(ValueError, match="residual"):
        product(c=out, residual=A)
    np.testing.assert_array_equal(out, np.full_like(C, 7))
