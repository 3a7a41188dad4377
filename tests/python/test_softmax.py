"""softmax and log_softmax: results' types, both outputs, special rows, gradients of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import logsum
import oracle
import tolerances
from tensors import needs_torch, torch

INF, NAN = np.inf, np.nan
CUBE = np.random.default_rng(21).normal(0, 4, (3, 4, 5))
FUNCTIONS = [logsum.softmax, logsum.log_softmax]
function = pytest.mark.parametrize("function", FUNCTIONS, ids=["softmax", "log_softmax"])


@function
@pytest.mark.parametrize("axis", [0, 1, -1, -3])
def test_agrees_with_scipy(function: Callable[..., Any], axis: int) -> None:
    out, lse = function(CUBE, axis, return_lse=True)
    np.testing.assert_allclose(
        out, getattr(scipy.special, function.__name__)(CUBE, axis), 1e-13, 1e-15
    )
    np.testing.assert_allclose(lse, scipy.special.logsumexp(CUBE, axis), 1e-13, 1e-15)
    np.testing.assert_array_equal(function(CUBE, axis), out)
    np.testing.assert_array_equal(function(CUBE, dim=axis), out)


@function
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_types(function: Callable[..., Any], dtype: str) -> None:
    out, lse = function(CUBE.astype(dtype), return_lse=True)
    assert out.dtype == dtype
    assert lse.dtype == ("float64" if dtype == "float64" else "float32")
    assert lse.shape == (3, 4)
    _, lse = function(CUBE[0, 0].astype(dtype), return_lse=True)
    assert isinstance(lse, np.floating)


def test_last_axis_is_the_default() -> None:
    np.testing.assert_array_equal(logsum.softmax(CUBE), logsum.softmax(CUBE, 2))


@function
def test_nothing_to_sum(function: Callable[..., Any]) -> None:
    out, lse = function(np.zeros((2, 0)), return_lse=True)
    assert out.shape == (2, 0)
    np.testing.assert_array_equal(lse, [-INF, -INF])


@pytest.mark.parametrize(
    ("row", "shares"),
    [
        ([-INF, -INF], [0, 0]),
        ([-INF, 3.0], [0, 1]),
        ([INF, 3.0], [1, 0]),
        ([INF, INF], [0.5, 0.5]),
        ([INF, -INF], [1, 0]),
        ([1e4, 1e4], [0.5, 0.5]),
        ([-1e30, -1e30], [0.5, 0.5]),
        ([-1e30, 0.0], [0, 1]),
        ([NAN, 0.0], [NAN, NAN]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_rows(row: list[float], shares: list[float], dtype: str) -> None:
    a = np.array(row, dtype)
    np.testing.assert_array_equal(logsum.softmax(a), np.array(shares, dtype))
    with np.errstate(divide="ignore"):
        expected = np.log(np.array(shares, dtype))
    out = logsum.log_softmax(a)
    if abs(row[0]) == 1e30 and row[1] == 0:  # finite, where the share is below every number
        expected[0] = row[0]
    np.testing.assert_allclose(out, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_softmax_near_zero(dtype: str) -> None:
    a = np.array([0.0, -20.0, -30.0], dtype)
    expected = np.float64(oracle.log_softmax(a)[0][0])
    out = float(logsum.log_softmax(a)[0])
    assert abs(out - expected) <= tolerances.NEAR_ZERO.bound(expected, dtype)


@needs_torch
class TestTensors:
    @function
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
    def test_agrees_with_numpy(self, function: Callable[..., Any], dtype: str) -> None:
        a = torch.tensor(CUBE, dtype=getattr(torch, dtype))
        out, lse = function(a, 1, return_lse=True)
        assert out.dtype == a.dtype
        assert lse.dtype == (torch.float64 if dtype == "float64" else torch.float32)
        if dtype != "bfloat16":
            expected, expected_lse = function(a.numpy(), 1, return_lse=True)
            np.testing.assert_array_equal(out.numpy(), expected)
            np.testing.assert_array_equal(lse.numpy(), expected_lse)

    @function
    @pytest.mark.parametrize("part", [0, 1, None])
    def test_gradient_flows_through_both(
        self, function: Callable[..., Any], part: int | None
    ) -> None:
        a = torch.tensor(CUBE, requires_grad=True)
        weights = torch.linspace(-1, 2, 5, dtype=torch.float64)

        def value(out: Any, lse: Any) -> Any:
            parts = [(out * weights).sum(), (lse**2).sum()]
            return sum(parts) if part is None else parts[part]

        (grad,) = torch.autograd.grad(value(*function(a, return_lse=True)), a)
        naive = getattr(torch, function.__name__)(a, -1), torch.logsumexp(a, -1)
        (expected,) = torch.autograd.grad(value(*naive), a)
        torch.testing.assert_close(grad, expected)

    @function
    def test_saves_its_input_and_lse_only(self, function: Callable[..., Any]) -> None:
        a = torch.randn(64, 256, requires_grad=True)
        saved: list[Any] = []

        def pack(tensor: Any) -> Any:
            saved.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            function(a)
        beside = [tensor for tensor in saved if tensor.data_ptr() != a.data_ptr()]
        assert [tensor.numel() for tensor in beside] == [64]

    def test_layout_of_the_input_is_kept(self) -> None:
        a = torch.randn(5, 3, 4).permute(2, 0, 1)
        assert logsum.softmax(a, 0).stride() == a.stride()
