"""logsumexp as SciPy and torch know it: signature, results' types, hard cases."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest
import scipy.special

import logsum
import oracle
import tolerances
from tensors import needs_torch, torch

INF, NAN = np.inf, np.nan
GENERATOR = np.random.default_rng(20)
CUBE = GENERATOR.normal(0, 4, (3, 4, 5))


def assert_same(ours: Any, theirs: Any, rtol: float = 1e-13) -> None:
    """Same type, dtype, shape and, nearly, value."""
    assert type(ours) is type(theirs)
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("axis", [None, 0, -1, np.int64(1), (0, 2), (-1, 0), (1,), ()])
@pytest.mark.parametrize("b", [None, CUBE[:, :1] - 1, [1, 2, 3, 4, 5], 2, True, 0.5])
@pytest.mark.parametrize("keepdims", [False, True])
def test_agrees_with_scipy(axis: Any, b: Any, keepdims: bool) -> None:
    for ours, theirs in zip(
        logsum.logsumexp(CUBE, axis, b, keepdims, True),
        scipy.special.logsumexp(CUBE, axis, b, keepdims, True),
        strict=True,
    ):
        assert_same(ours, theirs)
    assert_same(
        logsum.logsumexp(CUBE, axis, b, keepdims), scipy.special.logsumexp(CUBE, axis, b, keepdims)
    )


@pytest.mark.parametrize(
    "a",
    [
        3,
        3.5,
        True,
        [1, 2],
        (1.0, 2.0),
        [[1, 2], [3, 4]],
        np.float32(2),
        np.float16([1, 2]),
        np.array(2.5),
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.array([True, False]),
        np.arange(3, dtype=">f4"),
        np.arange(3, dtype=">i8"),
        range(4),
    ],
    ids=repr,
)
@pytest.mark.parametrize("keepdims", [False, True])
def test_array_likes(a: Any, keepdims: bool) -> None:
    ours = logsum.logsumexp(a, keepdims=keepdims)
    # The type is the question here; 1e-3 is one ulp of float16, in which the peer computes.
    assert_same(ours, scipy.special.logsumexp(a, keepdims=keepdims), rtol=1e-3)
    expected = oracle.logsumexp(np.asarray(a, np.float64), keepdims=keepdims).astype(np.float64)
    error = np.abs(np.asarray(ours, np.float64).ravel() - expected.ravel())
    assert np.all(error <= tolerances.LOG_SUM.bound(expected.ravel(), str(ours.dtype)))


@pytest.mark.parametrize(
    ("a_dtype", "b"),
    [
        ("float32", np.float64([1, 2])),
        ("float32", [1.0, 2.0]),
        ("float32", 2.0),
        ("float32", 2),
        ("float32", np.float32(2)),
        ("float32", np.float64(2)),
        ("float32", np.int64([1, 2])),
        ("float16", np.float32([1, 2])),
        ("float16", 2.0),
        ("int32", np.float32([1, 2])),
        ("float64", np.float16([1, 2])),
    ],
)
def test_promotion_is_numpys(a_dtype: str, b: Any) -> None:
    a = np.arange(2).astype(a_dtype)
    # The type is the question here; 1e-3 is one ulp of float16, in which the peer computes.
    assert_same(logsum.logsumexp(a, b=b), scipy.special.logsumexp(a, b=b), rtol=1e-3)


HARD = {
    "one term dominates": ([0.0, -40.0], None),
    "one term dominates by more": ([0.0, -700.0], None),
    "near zero from below": ([-np.log(2) - 1e-9, -np.log(2)], None),
    "near zero, many": ([0.0, *[-50.0] * 20], None),
    "large": ([1e4, 1e4 + 1, 1e4 - 1], None),
    "tiny": ([-1e4, -1e4 + 1, -1e4 - 1], None),
    "huge": ([1e38, 1e38], None),
    "huge and nothing": ([-1e38, 0.0], None),
    "beyond exp on both sides": ([-1e3, 1e3], None),
    "subnormal": ([5e-324, -745.0], None),
    "zeros": ([0.0, -0.0], None),
    "nothing": ([-INF, -INF], None),
    "nothing and something": ([-INF, 2.0], None),
    "infinite": ([INF, 2.0, -INF], None),
    "infinite twice": ([INF, INF], None),
    "not a number": ([NAN, 2.0], None),
    "not a number beside infinity": ([NAN, INF], None),
    "difference": ([1.0, 2.0], [1.0, -1.0]),
    "cancels": ([1.0, 1.0], [1.0, -1.0]),
    "nearly cancels": ([1.0, 1.0 + 1e-8], [-1.0, 1.0]),
    "cancels to small": ([0.0, 0.0, -40.0], [1.0, -1.0, 1.0]),
    "weight makes the largest": ([0.0, 10.0], [1e8, 1.0]),
    "weight zero hides infinity": ([INF, 1.0], [0.0, 1.0]),
    "weight zero hides nan": ([NAN, 1.0], [0.0, 1.0]),
    "all weights zero": ([1.0, 2.0], [0.0, 0.0]),
    "infinities of both signs": ([INF, INF], [1.0, -1.0]),
    "negative infinity": ([INF, 1.0], [-1.0, 1.0]),
    "negative": ([1.0, 3.0], [-1.0, -2.0]),
    "weight not a number": ([1.0, 2.0], [NAN, 1.0]),
}


def hard_bound(a: Any, b: Any, expected: Any, dtype: str) -> float:
    """Return the error allowed; a cancelling sum's roundings are relative to its terms."""
    exact = np.float64(expected)
    if b is None or len({*np.sign(b)} - {0}) < 2:
        return float(tolerances.LOG_SUM.bound(exact, dtype))
    terms = oracle.logsumexp(a, b=np.abs(b)).item()
    spread = max(1.0, float(np.exp(float(terms - expected))))
    return spread * float(tolerances.SIGNED_SUM.bound(exact, dtype))


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hard_cases(case: str, dtype: str) -> None:
    a, b = (None if x is None else np.array(x, dtype) for x in HARD[case])
    out, sign = logsum.logsumexp(a, b=b, return_sign=True)
    expected, expected_sign = oracle.signed_logsumexp(a, b=b)
    np.testing.assert_equal(float(sign), float(expected_sign))
    for value in (out, logsum.logsumexp(a, b=b)) if sign >= 0 or np.isnan(sign) else (out,):
        exact = np.float64(expected.item())
        if np.isfinite(exact):
            assert abs(float(value) - exact) <= hard_bound(a, b, expected.item(), dtype)
        else:
            np.testing.assert_equal(float(value), exact)


def test_negative_sum_without_its_sign() -> None:
    assert np.isnan(logsum.logsumexp([1.0, 3.0], b=[-1.0, -2.0]))


@pytest.mark.parametrize("gap", [-1.0, -8.0, -40.0, -80.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_relative_accuracy_near_zero(gap: float, dtype: str) -> None:
    out = logsum.logsumexp(np.array([0.0, gap], dtype))
    expected = np.float64(oracle.logsumexp([0.0, float(np.dtype(dtype).type(gap))]).item())
    assert abs(float(out) - expected) <= tolerances.NEAR_ZERO.bound(expected, dtype)


def test_scipys_known_digits() -> None:
    assert logsum.logsumexp([0.0, -40.0]) == pytest.approx(4.248354255291589e-18, rel=1e-15)
    out, sign = logsum.logsumexp([1.0, 2.0], b=[1, -1], return_sign=True)
    assert (out, sign) == (pytest.approx(1.5413248546129181, rel=1e-15), -1.0)


class TestShapes:
    @pytest.mark.parametrize(
        ("shape", "axis", "expected"),
        [
            ((0,), None, ()),
            ((0,), 0, ()),
            ((3, 0), 1, (3,)),
            ((3, 0), 0, (0,)),
            ((0, 3), 0, (3,)),
            ((2, 0, 3), (1, 2), (2,)),
            ((0,), (), (0,)),
        ],
    )
    def test_nothing_to_sum(self, shape: Any, axis: Any, expected: Any) -> None:
        out, sign = logsum.logsumexp(np.zeros(shape), axis, return_sign=True)
        assert out.shape == sign.shape == expected
        np.testing.assert_array_equal(out, np.full(expected, -INF))
        np.testing.assert_array_equal(sign, np.zeros(expected))

    def test_scalars_where_no_axis_is_left(self) -> None:
        assert type(logsum.logsumexp(CUBE)) is np.float64
        out, sign = logsum.logsumexp(CUBE.astype(np.float16), return_sign=True)
        assert type(out) is type(sign) is np.float16

    def test_other_names(self) -> None:
        expected = logsum.logsumexp(CUBE, axis=1, keepdims=True)
        np.testing.assert_array_equal(logsum.logsumexp(CUBE, dim=1, keepdim=True), expected)
        np.testing.assert_array_equal(logsum.logsumexp(CUBE, 1, dim=1, keepdim=True), expected)
        np.testing.assert_array_equal(logsum.logsumexp(CUBE, dim=[1], keepdims=True), expected)


class TestWhere:
    def test_leaves_terms_out(self) -> None:
        where = CUBE > 0
        for k in np.ndindex(3, 4):
            out = logsum.logsumexp(CUBE[k], where=where[k])
            np.testing.assert_allclose(out, logsum.logsumexp(CUBE[k][where[k]]), rtol=1e-14)

    def test_broadcasts_both_ways(self) -> None:
        where = np.array([True, False, True])[:, None]
        out = logsum.logsumexp(CUBE[0, 0], axis=1, where=where)
        full = logsum.logsumexp(CUBE[0, 0])
        np.testing.assert_allclose(out, [full, -INF, full])

    @pytest.mark.parametrize("hidden", [NAN, INF, 1e30])
    def test_hides_whatever_is_there(self, hidden: float) -> None:
        a = np.array([1.0, hidden, 2.0])
        b = np.array([1.0, NAN, -1.0])
        where = [True, False, True]
        np.testing.assert_array_equal(logsum.logsumexp(a, where=where), logsum.logsumexp(a[where]))
        np.testing.assert_array_equal(
            logsum.logsumexp(a, b=b, where=where, return_sign=True),
            logsum.logsumexp(a[where], b=b[where], return_sign=True),
        )

    def test_plain_booleans(self) -> None:
        assert logsum.logsumexp([1.0, 2.0], where=False) == -INF
        assert logsum.logsumexp([1.0, 2.0], where=True) == logsum.logsumexp([1.0, 2.0])


def layouts(a: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The same values in all the memory that NumPy can make."""
    packed = np.zeros(a.shape, np.dtype([("pad", "u1"), ("value", a.dtype)]))
    packed["value"] = a
    spaced = np.zeros(a.shape, np.dtype([("value", a.dtype), ("pad", "u4")]))
    spaced["value"] = a
    frozen = a.copy()
    frozen.flags.writeable = False
    return {
        "fortran": np.asfortranarray(a),
        "reversed": a[::-1, ::-1].copy()[::-1, ::-1],
        "every other": np.repeat(a, 2, axis=1)[:, ::2],
        "read-only": frozen,
        "misaligned": packed["value"],
        "fields": spaced["value"],
        "other byte order": a.astype(a.dtype.newbyteorder()),
    }


@pytest.mark.parametrize("layout", sorted(layouts(np.zeros((1, 1)))))
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_memory_layouts(layout: str, dtype: str, axis: Any) -> None:
    a = CUBE[0].astype(dtype)
    expected = np.asarray(oracle.logsumexp(a, axis), np.float64)
    error = np.abs(logsum.logsumexp(layouts(a)[layout], axis).astype(np.float64) - expected)
    assert np.all(error <= tolerances.LOG_SUM.bound(expected, dtype))


def test_broadcast_axis_is_read_in_place() -> None:
    row = CUBE[0, 0]
    a = np.broadcast_to(row, (7, 5))
    np.testing.assert_allclose(logsum.logsumexp(a, 0), row + np.log(7), rtol=1e-14)


def test_other_threads_run_meanwhile() -> None:
    ran, go = threading.Event(), threading.Lock()
    go.acquire()

    def wait() -> None:
        with go:
            ran.set()

    thread = threading.Thread(target=wait)
    thread.start()
    a = np.zeros((64, 1 << 14))
    interval = sys.getswitchinterval()
    # Nobody is asked to hand over the interpreter lock: the other thread runs only if it is let go.
    sys.setswitchinterval(1000)
    try:
        go.release()
        for _ in range(1000):
            logsum.logsumexp(a, 1)
            if ran.is_set():
                break
        assert ran.is_set()
    finally:
        sys.setswitchinterval(interval)
        thread.join()


@needs_torch
class TestTensors:
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
    @pytest.mark.parametrize("dim", [0, -1, (0, 2), [1, 2], (0, 1, 2)])
    @pytest.mark.parametrize("keepdim", [False, True])
    def test_agrees_with_torch(self, dtype: str, dim: Any, keepdim: bool) -> None:
        a = torch.tensor(CUBE, dtype=getattr(torch, dtype))
        out = logsum.logsumexp(a, dim=dim, keepdim=keepdim)
        assert out.dtype == a.dtype
        assert out.shape == torch.logsumexp(a, dim, keepdim).shape
        expected = np.asarray(oracle.logsumexp(a.double(), dim, keepdims=keepdim), np.float64)
        error = np.abs(out.double().numpy() - expected)
        assert np.all(error <= tolerances.LOG_SUM.bound(expected, dtype))

    def test_defaults_are_scipys(self) -> None:
        a = torch.tensor(CUBE)
        assert float(logsum.logsumexp(a)) == float(logsum.logsumexp(CUBE))
        assert torch.equal(logsum.logsumexp(a, ()), a)

    @pytest.mark.parametrize("b", [-1, -1.0, True, 2])
    def test_number_as_weight(self, b: float) -> None:
        a = torch.tensor(CUBE, dtype=torch.float32)
        out, sign = logsum.logsumexp(a, 1, b=b, return_sign=True)
        expected, expected_sign = logsum.logsumexp(
            a, 1, b=torch.full((5,), float(b)), return_sign=True
        )
        assert torch.equal(out, expected)
        assert torch.equal(sign, expected_sign)
        assert torch.isnan(logsum.logsumexp(a, 1, b=b)).all() == (b < 0)

    def test_integer_weights_take_the_dtype(self) -> None:
        a = torch.tensor(CUBE[0, 0], dtype=torch.float32)
        b = torch.tensor([1, 0, 2, 0, 1])
        assert torch.equal(logsum.logsumexp(a, b=b), logsum.logsumexp(a, b=b.float()))

    @pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "int64"])
    def test_integers_become_float64(self, dtype: str) -> None:
        a = torch.tensor([0, 1, 1]).to(getattr(torch, dtype))
        out = logsum.logsumexp(a)
        assert out.dtype == torch.float64
        assert torch.equal(out, logsum.logsumexp(a.double()))

    def test_no_axes(self) -> None:
        a = torch.tensor(2.5, requires_grad=True)
        for axis in (None, 0, -1, ()):
            assert torch.equal(logsum.logsumexp(a, axis), a)
        out, sign = logsum.logsumexp(torch.zeros(2, 0), 1, return_sign=True)
        assert out.tolist() == [-INF, -INF]
        assert sign.tolist() == [0.0, 0.0]

    @pytest.mark.parametrize("value", [-INF, -800.0, 0.0, 800.0, INF, NAN])
    def test_sign_without_weights(self, value: float) -> None:
        a = torch.tensor([[value, -INF]])
        _, sign = logsum.logsumexp(a, 1, return_sign=True)
        _, expected = logsum.logsumexp(a.numpy(), 1, return_sign=True)
        np.testing.assert_array_equal(sign.numpy(), expected)

    def test_negative_sum_has_the_gradient_of_log(self) -> None:
        a = torch.tensor([1.0, 3.0], dtype=torch.float64, requires_grad=True)
        b = torch.tensor([1.0, -1.0], dtype=torch.float64)
        out = logsum.logsumexp(a, b=b)
        assert torch.isnan(out)
        (grad,) = torch.autograd.grad(out, a)
        terms = b * a.detach().exp()
        torch.testing.assert_close(grad, terms / terms.sum())

    def test_hidden_terms_have_no_gradient(self) -> None:
        a = torch.tensor([1.0, NAN, INF, 2.0], requires_grad=True)
        where = torch.tensor([True, False, False, True])
        (grad,) = torch.autograd.grad(logsum.logsumexp(a, where=where), a)
        torch.testing.assert_close(grad, torch.tensor([0.26894143, 0.0, 0.0, 0.73105854]))

    def test_weights_keep_their_shape_in_gradients(self) -> None:
        a = torch.tensor(CUBE, requires_grad=True)
        b = torch.rand(5, dtype=torch.float64, requires_grad=True)
        where = torch.tensor(CUBE[:, :1] > 0)
        out = logsum.logsumexp(a, (0, 1), b=b, where=where)
        grads = torch.autograd.grad(out.sum(), (a, b))
        kept = where * b * a.exp()
        expected = torch.autograd.grad(kept.sum((0, 1)).log().sum(), (a, b))
        torch.testing.assert_close(grads, expected)

    def test_half_keeps_a_float32_lse_for_its_gradient(self) -> None:
        a = torch.full((4096,), 3.0, dtype=torch.bfloat16, requires_grad=True)
        (grad,) = torch.autograd.grad(logsum.logsumexp(a), a)
        assert torch.equal(grad, torch.full_like(a, 2.0**-12))

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_with_weights(self, dtype: str) -> None:
        kind = getattr(torch, dtype)
        a = torch.tensor(CUBE[0]).to(kind).requires_grad_()
        b = torch.linspace(-1, 2, 5).to(kind).requires_grad_()
        out, sign = logsum.logsumexp(a, 0, b=b, return_sign=True)
        assert out.dtype == sign.dtype == kind
        grads = torch.autograd.grad(out.float().sum(), (a, b))
        assert [g.dtype for g in grads] == [kind, kind]
        wide = [x.detach().double().requires_grad_() for x in (a, b)]
        expected = torch.autograd.grad((wide[1] * wide[0].exp()).sum(0).abs().log().sum(), wide)
        eps = torch.finfo(kind).eps
        for grad, exact in zip(grads, expected, strict=True):
            torch.testing.assert_close(grad.double(), exact, rtol=2 * eps, atol=2 * eps)
