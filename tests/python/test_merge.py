"""merge: whole from parts, in any grouping, for lse alone and with means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import logsum
from tensors import needs_torch, torch

INF, NAN = np.inf, np.nan
GENERATOR = np.random.default_rng(22)
SCORES = GENERATOR.normal(0, 5, (4, 30))
VALUES = GENERATOR.normal(0, 1, (4, 30, 3))
CUTS = [(0, 7), (7, 7), (7, 8), (8, 30)]


def state(low: int, high: int) -> tuple[Any, Any]:
    """Return the weighted mean and lse over the terms from low to high."""
    shares, lse = logsum.softmax(SCORES[:, low:high], return_lse=True)
    return np.einsum("nk,nkd->nd", shares, VALUES[:, low:high]), lse


def assert_states(ours: tuple[Any, Any], theirs: tuple[Any, Any]) -> None:
    """Compare two pairs (out, lse)."""
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)


def test_whole_from_parts() -> None:
    states = [state(*cut) for cut in CUTS]
    assert_states(logsum.merge(*states), state(0, 30))
    lses = logsum.merge(*(lse for _, lse in states))
    np.testing.assert_allclose(lses, logsum.logsumexp(SCORES, 1), rtol=1e-14)


def test_any_grouping() -> None:
    a, b, c, d = (state(*cut) for cut in CUTS)
    whole = logsum.merge(a, b, c, d)
    assert_states(logsum.merge(logsum.merge(a, b), logsum.merge(c, d)), whole)
    assert_states(logsum.merge(d, logsum.merge(c, logsum.merge(b, a))), whole)


def test_one_state_is_itself() -> None:
    assert_states(logsum.merge(state(0, 30)), state(0, 30))


def test_lists_are_pairs_too() -> None:
    states = [state(*cut) for cut in CUTS]
    assert_states(logsum.merge(*map(list, states)), logsum.merge(*states))


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=9))
def test_scalars(terms: list[float]) -> None:
    merged = logsum.merge(*map(np.float64, terms))
    assert type(merged) is np.float64
    np.testing.assert_allclose(merged, logsum.logsumexp(terms), rtol=1e-14, atol=1e-15)


def test_empty_parts_are_not_read() -> None:
    empty = np.full((4, 3), NAN), np.full(4, -INF)
    assert_states(logsum.merge(empty, state(0, 30), empty), state(0, 30))
    out, lse = logsum.merge(empty, empty)
    np.testing.assert_array_equal(out, np.zeros((4, 3)))
    np.testing.assert_array_equal(lse, np.full(4, -INF))


def test_equal_infinities_share() -> None:
    parts = [(np.array([[float(k)]]), np.array([INF])) for k in (1, 2, 6)]
    out, lse = logsum.merge(*parts)
    np.testing.assert_allclose(out, [[3.0]])
    assert lse == INF


@pytest.mark.parametrize(
    ("lse", "out", "merged"),
    [
        ("float16", None, "float32"),
        ("float32", None, "float32"),
        ("float64", None, "float64"),
        ("float32", "float32", "float32"),
        ("float32", "float16", "float32"),
        ("float16", "float16", "float32"),
        ("float64", "float64", "float64"),
    ],
)
def test_types(lse: str, out: str | None, merged: str) -> None:
    part: Any = np.zeros(2, lse)
    if out is None:
        assert logsum.merge(part, part).dtype == merged
        return
    result = logsum.merge((np.ones((2, 5), out), part), (np.zeros((2, 5), out), part))
    assert [x.dtype for x in result] == [out, merged]
    np.testing.assert_array_equal(result[0], np.full((2, 5), 0.5))


@needs_torch
class TestTensors:
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
    def test_states_of_softmax(self, dtype: str) -> None:
        kind = getattr(torch, dtype)
        scores = torch.tensor(SCORES).to(kind)
        values = torch.tensor(VALUES).to(kind)
        states = []
        for low, high in CUTS:
            shares, lse = logsum.softmax(scores[:, low:high], return_lse=True)
            states.append((torch.einsum("nk,nkd->nd", shares, values[:, low:high]), lse))
        out, lse = logsum.merge(*states)
        assert out.dtype == kind
        assert lse.dtype == (torch.float64 if dtype == "float64" else torch.float32)
        expected = torch.einsum("nk,nkd->nd", scores.double().softmax(-1), values.double())
        # Two roundings of each share and each product to the stored type.
        atol = 8 * torch.finfo(kind).eps
        torch.testing.assert_close(out.double(), expected, atol=atol, rtol=0)
        torch.testing.assert_close(lse.double(), scores.double().logsumexp(-1), atol=1e-5, rtol=0)

    def test_gradient_is_that_of_the_whole(self) -> None:
        scores = torch.tensor(SCORES, requires_grad=True)
        values = torch.tensor(VALUES, requires_grad=True)

        def parts() -> Any:
            for low, high in CUTS:
                shares, lse = logsum.softmax(scores[:, low:high], return_lse=True)
                yield torch.einsum("nk,nkd->nd", shares, values[:, low:high]), lse

        def grads(out: Any, lse: Any) -> Any:
            return torch.autograd.grad(out.sin().sum() + (lse**2).sum(), (scores, values))

        whole = torch.einsum("nk,nkd->nd", scores.softmax(-1), values), scores.logsumexp(-1)
        torch.testing.assert_close(grads(*logsum.merge(*parts())), grads(*whole))

    def test_direct_and_differentiable_paths_give_the_same_bits(self) -> None:
        states = [tuple(map(torch.tensor, state(*cut))) for cut in CUTS]
        asking = [tuple(x.clone().requires_grad_() for x in pair) for pair in states]
        for x, y in zip(logsum.merge(*states), logsum.merge(*asking), strict=True):
            assert torch.equal(x, y)
        lses = [lse for _, lse in states]
        assert torch.equal(logsum.merge(*lses), logsum.merge(*(lse for _, lse in asking)))

    def test_gradient_of_an_empty_part_is_zero(self) -> None:
        empty_out = torch.full((2,), NAN, requires_grad=True)
        empty = torch.tensor(-INF, requires_grad=True)
        out, lse = logsum.merge((empty_out, empty), (torch.ones(2), torch.tensor(0.0)))
        grads = torch.autograd.grad(out.sum() + lse, (empty_out, empty))
        assert [g.abs().sum().item() for g in grads] == [0.0, 0.0]
