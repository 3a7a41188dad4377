"""logaddexp: results' types, special pairs, gradients where both are infinite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import logsum
import oracle
import tolerances
from tensors import needs_torch, torch

INF, NAN = np.inf, np.nan
EDGES = np.array([-INF, -1e38, -800.0, -1.0, -0.0, 0.0, 1e-30, 1.0, 800.0, 1e38, INF, NAN])


def bound(expected: Any, dtype: str) -> Any:
    """Return the error allowed at each expected value; 0 at those that are not finite."""
    finite = np.where(np.isfinite(expected), expected, 0)
    return np.where(np.isfinite(expected), tolerances.LOG_SUM.bound(finite, dtype), 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_pair_of_edges(dtype: str) -> None:
    a, b = (x.astype(dtype) for x in np.meshgrid(EDGES, EDGES))
    out = logsum.logaddexp(a, b).astype(np.float64)
    expected = np.asarray(oracle.logaddexp(a, b), np.float64)
    same = (out == expected) | (np.isnan(out) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        assert np.all(same | (np.abs(out - expected) <= bound(expected, dtype)))


@pytest.mark.parametrize("gap", [-1.0, -10.0, -40.0])
def test_relative_accuracy_near_zero(gap: float) -> None:
    expected = np.float64(oracle.logaddexp(0.0, gap).item())
    assert abs(logsum.logaddexp(0.0, gap) - expected) <= tolerances.NEAR_ZERO.bound(
        expected, "float64"
    )


@pytest.mark.parametrize(
    ("a", "b", "dtype"),
    [
        (1, 2, "float64"),
        ([1, 2], [3.0, 4.0], "float64"),
        (np.float32([1, 2]), 3, "float32"),
        (3.0, np.float16([1, 2]), "float16"),
        (np.float32([1, 2]), np.int64([3, 4]), "float64"),
        (np.float16([1, 2]), np.int8([3, 4]), "float16"),
        (np.float32([1, 2]), [3.0, 4.0], "float64"),
        (np.int8([1, 2]), np.uint64([3, 4]), "float64"),
        (np.float64([1, 2]), np.arange(2, dtype=">f8"), "float64"),
    ],
)
def test_types(a: Any, b: Any, dtype: str) -> None:
    out = logsum.logaddexp(a, b)
    assert out.dtype == dtype
    # The type is the question here; 1e-3 is one ulp of float16, in which the peer computes.
    np.testing.assert_allclose(out, np.logaddexp(a, b), rtol=1e-3)
    assert type(out) is (np.float64 if np.ndim(a) == np.ndim(b) == 0 else np.ndarray)


def test_broadcasts() -> None:
    a, b = np.arange(3.0)[:, None], np.arange(4.0)
    np.testing.assert_allclose(logsum.logaddexp(a, b), np.logaddexp(a, b), rtol=1e-14)
    assert logsum.logaddexp(a, np.zeros((1, 0))).shape == (3, 0)


@needs_torch
class TestTensors:
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
    def test_agrees_with_torch(self, dtype: str) -> None:
        a, b = torch.randn(2, 3, 4).to(getattr(torch, dtype))
        out = logsum.logaddexp(a, b[0])
        assert out.dtype == a.dtype
        expected = torch.logaddexp(a.double(), b[0].double()).numpy()
        assert np.all(np.abs(out.double().numpy() - expected) <= 2 * bound(expected, dtype))

    @pytest.mark.parametrize("number", [1, 1.0, True])
    def test_numbers_take_the_dtype(self, number: float) -> None:
        a = torch.randn(3)
        assert torch.equal(logsum.logaddexp(a, number), logsum.logaddexp(a, torch.ones(())))
        assert torch.equal(logsum.logaddexp(number, a), logsum.logaddexp(torch.ones(()), a))

    def test_integers(self) -> None:
        ints = torch.arange(3)
        assert logsum.logaddexp(ints, ints).dtype == torch.float64
        assert logsum.logaddexp(ints, 1).dtype == torch.float64
        assert logsum.logaddexp(ints, torch.randn(3)).dtype == torch.float32
        assert logsum.logaddexp(torch.randn(3), ints).dtype == torch.float32

    @pytest.mark.parametrize(
        ("pair", "shares"),
        [
            ((0.0, 0.0), (0.5, 0.5)),
            ((INF, INF), (0.5, 0.5)),
            ((-INF, -INF), (0.0, 0.0)),
            ((INF, -INF), (1.0, 0.0)),
            ((-INF, 3.0), (0.0, 1.0)),
            ((1e30, -1e30), (1.0, 0.0)),
            ((NAN, 1.0), (NAN, NAN)),
        ],
    )
    def test_shares(self, pair: tuple[float, float], shares: tuple[float, float]) -> None:
        a, b = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in pair)
        grads = torch.autograd.grad(logsum.logaddexp(a, b), (a, b), create_graph=True)
        np.testing.assert_array_equal([g.item() for g in grads], shares)
        second = torch.autograd.grad(grads[0], (a, b))
        expected = shares[0] * shares[1] if np.isfinite(pair[0]) or np.isnan(pair[0]) else 0.0
        np.testing.assert_array_equal([g.item() for g in second], [expected, -expected])
