"""Forward mode and second derivatives of attention, against torch's of the dense formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attention_dense as dense
import tolerances
from attention_calls import Call, calls, tensors
from attention_second import function, heavy, normal, plain, second
from conformance.machine import threads
from conformance.memory import SLACK, peak_growth
from conformance.report import compare
from conformance.sample import bits, widen
from tensors import needs_torch, torch

pytestmark = needs_torch

if torch is not None:
    from torch.autograd import forward_ad

    from logsum.torch._attention_derivatives import attention_tangent

    func = torch.func


def judge_second(call: Call, dtype: str, seed: int) -> None:
    """Compare forward mode and double backward of a call with the dense formula's."""
    leaves = call.floating()
    generator = torch.Generator().manual_seed(seed)

    def like(x: Any) -> Any:
        return torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype)

    arrays = tuple(x.detach().requires_grad_() for x in leaves.values())
    direction = tuple(like(x) for x in arrays)
    attend = function(call, Call.run)
    outputs = attend(*arrays)
    incoming = tuple(like(x).requires_grad_() for x in outputs)
    ahead = func.jvp(attend, tuple(x.detach() for x in arrays), direction)[1]
    first = torch.autograd.grad(outputs, arrays, incoming, create_graph=True)
    found = torch.autograd.grad(first, (*arrays, *incoming), direction)

    wide = call.converted(lambda x: x.double() if x.dtype.is_floating_point else x)
    doubles = [tuple(x.detach().double() for x in given) for given in (incoming, direction)]
    part = dense.admitted(wide)
    exact = function(wide, lambda x: dense.attention(x, part))
    results, gradients = second(exact, tuple(wide.floating().values()), *doubles)
    sizes = dense.derivative_sizes(call, incoming, dict(zip(leaves, direction, strict=True)))
    names = (*leaves, "out", "lse")
    wants = dict(zip(names, (*gradients, *results), strict=True))
    for got in (dict(zip(names, found, strict=True)), dict(zip(names[-2:], ahead, strict=True))):
        for name, x in got.items():
            stored = "float64" if x.dtype == torch.float64 else str(x.dtype).removeprefix("torch.")
            compare(
                widen(wants[name]),
                widen(x),
                stored,
                tolerances.ATTENTION_GRADIENT,
                magnitude=call.magnitude(),
                scale=sizes[name],
                where=f"{name} along a direction",
            )


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@given(call=calls(), seed=st.integers(0, 9))
@settings(max_examples=8)
def test_features_together(dtype: str, call: Call, seed: int) -> None:
    judge_second(call.converted(tensors(dtype)), dtype, seed)


@pytest.mark.parametrize("columns", [31, 128, 129, 300])
@pytest.mark.parametrize("rows", [1, 32, 33, 129])
def test_edges_of_blocks(rows: int, columns: int) -> None:
    shapes = (2, rows, 5), (1, columns, 5), (1, columns, 9)
    call = Call(*(normal(1, *shape).numpy() for shape in shapes))
    call.options["causal"] = "bottom-right"
    judge_second(call.converted(tensors("float32")), "float32", 3)


# ---- what takes no part ----------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_excluded_is_never_seen(value: float) -> None:
    """Neither keys and values that nothing attends to, nor how they move."""
    q, k, v = normal(1, 2, 40, 9), normal(1, 1, 150, 9), normal(1, 1, 150, 7)
    mask = torch.arange(150) % 7 > 0
    attend = function(Call(q, k, v, {"mask": mask}), Call.run)
    incoming = normal(1, 2, 40, 7), normal(1, 2, 40)
    direction = [normal(*x.shape) for x in (q, k, v)]
    results = []
    for spoil in (False, True):
        arrays, along = [x.clone() for x in (q, k, v)], [x.clone() for x in direction]
        for x in (*arrays[1:], *along[1:]) if spoil else ():
            x[:, :, ~mask] = value
        moved = second(attend, tuple(arrays), incoming, tuple(along))
        results.append([*moved[0], *moved[1]])
    for want, got in zip(*results, strict=True):
        assert got.isfinite().all()
        # Other pairs go another way through a tile: the same sums in another order.
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-12)


def test_rows_without_keys_do_not_move() -> None:
    q, k = normal(1, 1, 6, 3), normal(1, 1, 4, 3)
    attend = function(Call(q, k, k, {}, {"causal": "bottom-right"}), Call.run)
    arrays = tuple(x.requires_grad_() for x in (q, k.clone(), k.clone()))
    direction = tuple(torch.ones_like(x) for x in arrays)
    out, lse = func.jvp(attend, arrays, direction)[1]
    assert (out[0, 0, :2] == 0).all()
    assert (lse[0, 0, :2] == 0).all()
    first = torch.autograd.grad(attend(*arrays)[0].sum(), arrays, create_graph=True)
    (grad,) = torch.autograd.grad(sum((x * x).sum() for x in first), arrays[0])
    assert (grad[0, 0, :2] == 0).all()
    assert grad.isfinite().all()


# ---- cost ------------------------------------------------------------------------------------


def double_backward(arrays: Any, incoming: Any, direction: Any) -> Any:
    """Return gradients of <gradients, direction>."""
    arrays = tuple(x.detach().requires_grad_() for x in arrays)
    incoming = tuple(x.detach().requires_grad_() for x in incoming)
    first = torch.autograd.grad(plain(*arrays), arrays, incoming, create_graph=True)
    return torch.autograd.grad(first, (*arrays, *incoming), direction)


def ahead(arrays: Any, incoming: Any, direction: Any) -> Any:
    """Return how results move."""
    return func.jvp(plain, arrays, direction)[1]


@pytest.mark.parametrize("derivative", [double_backward, ahead])
@pytest.mark.parametrize("count", [1, 4])
def test_memory_is_linear(derivative: Any, count: int) -> None:
    given = heavy(5000)  # the scores would be 100 MB
    # Results and what autograd keeps: three sets of gradients, and out and lse with theirs.
    kept = 4 * 5000 * (3 * 3 * 32 + 3 * 33)
    allowed = kept + count * (8 << 20) + SLACK
    with threads(count):
        derivative(*heavy(300))
        assert peak_growth(lambda: derivative(*given), allowed) <= allowed


def test_bits_do_not_depend_on_threads() -> None:
    shapes = (2, 6, 140, 20), (2, 3, 260, 20), (2, 3, 260, 24)
    arrays, direction = (tuple(normal(*s, dtype=torch.float32) for s in shapes) for _ in range(2))
    incoming = tuple(normal(*s, dtype=torch.float32) for s in ((2, 6, 140, 24), (2, 6, 140)))
    results = []
    for count in (1, 2, 3, 5):
        with threads(count):
            found = (
                *double_backward(arrays, incoming, direction),
                *ahead(arrays, incoming, direction),
            )
        results.append([bits(x.detach()) for x in found])
    assert all(other == results[0] for other in results)


# ---- what there is, and what there is not ------------------------------------------------------


def energy(q: Any, k: Any, v: Any) -> Any:
    """Return a number that bends."""
    out, lse = plain(q, k, v)
    return out.square().sum() + lse.logsumexp((0, 1, 2))


def dense_energy(q: Any, k: Any, v: Any) -> Any:
    """Return the same number by the dense formula."""
    out, lse = dense.attention(Call(q, k, v, {}, {"causal": True}))
    return out.square().sum() + lse.logsumexp((0, 1, 2))


def test_hessians() -> None:
    arrays = normal(1, 2, 3, 2), normal(1, 1, 3, 2), normal(1, 1, 3, 1)
    places = (0, 1, 2)
    want = func.hessian(dense_energy, places)(*arrays)
    for got in (
        func.hessian(energy, places)(*arrays),
        func.jacrev(func.jacrev(energy, places), places)(*arrays),
        func.jacrev(func.jacfwd(energy, places), places)(*arrays),
        torch.autograd.functional.hessian(energy, arrays),
    ):
        torch.testing.assert_close(got, want)
    torch.testing.assert_close(
        func.jacfwd(plain, places)(*arrays), func.jacrev(plain, places)(*arrays)
    )


def test_hessian_vector_products() -> None:
    """By every way that torch has."""
    arrays, direction = ((normal(1, 2, 9, 4), normal(1, 1, 9, 4), normal(1, 1, 9, 3)) for _ in "xy")
    gradient = func.grad(energy, (0, 1, 2))
    want = func.jvp(func.grad(dense_energy, (0, 1, 2)), arrays, direction)[1]

    def along(*x: Any) -> Any:
        return sum((g * u).sum() for g, u in zip(gradient(*x), direction, strict=True))

    for got in (
        func.jvp(gradient, arrays, direction)[1],
        func.vjp(gradient, *arrays)[1](direction),
        func.grad(along, (0, 1, 2))(*arrays),
        func.grad(lambda *x: func.jvp(energy, x, direction)[1], (0, 1, 2))(*arrays),
        torch.autograd.functional.hvp(energy, arrays, direction)[1],
        torch.autograd.functional.vhp(energy, arrays, direction)[1],
    ):
        torch.testing.assert_close(got, want)


def test_a_product_with_a_hessian_is_linear() -> None:
    """So it has derivatives in its direction, either way."""
    arrays, one, other = (heavy(7, torch.float64)[0] for _ in range(3))
    gradient = func.grad(energy, (0, 1, 2))

    def product(*direction: Any) -> Any:
        return func.jvp(gradient, arrays, direction)[1]

    torch.testing.assert_close(func.jvp(product, one, other)[1], product(*other))
    torch.testing.assert_close(func.vjp(product, *one)[1](other), product(*other))


def test_the_third_derivative_is_refused() -> None:
    arrays = heavy(4, torch.float64)[0]

    def curved(*x: Any) -> Any:
        _, pull = func.vjp(func.grad(energy, (0, 1, 2)), *x)
        return sum(product.square().sum() for product in pull(arrays))

    with pytest.raises(RuntimeError, match="third derivative is not implemented, two are"):
        func.grad(curved)(*arrays)
    with pytest.raises(RuntimeError, match="nor is any third derivative"):
        func.jvp(curved, arrays, arrays)
    with pytest.raises(RuntimeError, match="forward mode over reverse mode is"):
        func.jacfwd(func.jacfwd(energy))(*arrays)


def test_the_registered_operator_refuses_the_third_derivative() -> None:
    arrays, incoming, direction = heavy(4, torch.float64)
    options = (1, -1, -1, 0.0, 0.0, "", "")
    results = plain(*arrays)
    operands = (*arrays, *[None] * 5)
    moved = attention_tangent(*operands, *results, *options, 0b111, *direction)
    arrays[0].requires_grad_()
    (found,) = torch.ops.logsum.attention_backward_tangent(
        *incoming, *operands, *results, *moved, *options, 0b1, 0b111, list(direction)
    )
    with pytest.raises(RuntimeError, match="third"):
        found.sum().backward()


def test_second_derivatives_pass_no_hooks_of_results() -> None:
    """They would be called with None, since what the results add is part of other gradients."""
    arrays, incoming, direction = heavy(4, torch.float64)
    seen: list[Any] = []

    def watched(*x: Any) -> Any:
        results = plain(*x)
        for result in results:
            result.register_hook(seen.append)
        return results

    for x in arrays:
        x.requires_grad_()
    first = torch.autograd.grad(watched(*arrays), arrays, incoming, create_graph=True)
    assert all(torch.equal(*pair) for pair in zip(seen, incoming, strict=True))
    torch.autograd.grad(first, arrays, direction)
    with forward_ad.dual_level():
        results = watched(*map(forward_ad.make_dual, arrays, direction))
        moved = [forward_ad.unpack_dual(x).tangent for x in results]
        torch.autograd.grad(moved, arrays, incoming)
    assert len(seen) == 2
