"""Forward mode and second derivatives of attention, against torch's of the dense formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attention_dense as dense
import logsum
import tolerances
from attention_calls import Call, calls, tensors
from conformance.machine import threads
from conformance.memory import SLACK, peak_growth
from conformance.report import compare
from conformance.sample import bits, widen
from tensors import needs_torch, torch

pytestmark = needs_torch

if torch is not None:
    from logsum.torch import AttentionMode, scaled_dot_product_attention
    from logsum.torch._attention_derivatives import attention_backward_tangent, attention_tangent

    func = torch.func

GENERATOR = np.random.default_rng(78)


def normal(*shape: int, dtype: Any = None) -> Any:
    return torch.from_numpy(GENERATOR.normal(size=shape)).to(dtype or torch.float64)


def with_arrays(call: Call, arrays: dict[str, Any]) -> Call:
    """Return a call with other floating arrays."""
    others = {name: arrays.get(name, x) for name, x in call.arrays.items()}
    score_args = {name: arrays[name] for name in call.score_args}
    qkv = (arrays[name] for name in "qkv")
    return Call(*qkv, others, call.options, call.score, score_args)


def function(call: Call, run: Any) -> Any:
    """Return (out, lse) as a function of the floating arrays."""
    names = tuple(call.floating())

    def attend(*arrays: Any) -> Any:
        return run(with_arrays(call, dict(zip(names, arrays, strict=True))))

    return attend


def second(attend: Any, arrays: Any, incoming: Any, direction: Any) -> tuple[Any, Any]:
    """Return what moves along a direction: results, and gradients of what comes in."""

    def pulled(*x: Any) -> Any:
        return func.vjp(attend, *x)[1](incoming)

    ahead = func.jvp(attend, arrays, direction)[1]
    return ahead, func.jvp(pulled, arrays, direction)[1]


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
    call = Call(*(GENERATOR.normal(size=(1, *shape)) for shape in shapes))
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


def heavy(rows: int, dtype: Any = None) -> Any:
    """Return arrays, incoming gradients and a direction."""
    shapes = [(1, 1, rows, 32)] * 3, [(1, 1, rows, 32), (1, 1, rows)], [(1, 1, rows, 32)] * 3
    dtype = dtype or torch.float32
    return tuple(tuple(normal(*s, dtype=dtype) for s in group) for group in shapes)


def double_backward(arrays: Any, incoming: Any, direction: Any) -> Any:
    """Return gradients of <gradients, direction>."""
    arrays = tuple(x.detach().requires_grad_() for x in arrays)
    incoming = tuple(x.detach().requires_grad_() for x in incoming)
    first = torch.autograd.grad(plain(*arrays), arrays, incoming, create_graph=True)
    return torch.autograd.grad(first, (*arrays, *incoming), direction)


def ahead(arrays: Any, incoming: Any, direction: Any) -> Any:
    """Return how results move."""
    return func.jvp(plain, arrays, direction)[1]


def plain(q: Any, k: Any, v: Any) -> Any:
    return logsum.attention(q, k, v, causal=True, return_lse=True)


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


# ---- vmap, operators, layers -------------------------------------------------------------------


ARRAYS = {"bias": (2, 1, 4), "sinks": (2,), "slope": (2,)}


@pytest.mark.parametrize("name", ["q", "bias", "sinks", "slope"])
@pytest.mark.parametrize("mapped", ["array", "tangent", "both"])
def test_vmap_of_directions(name: str, mapped: str) -> None:
    """Arrays and their tangents are mapped alone or together; a loop says what is right."""
    q, k, v = normal(2, 2, 3, 4), normal(2, 1, 4, 4), normal(2, 1, 4, 2)
    call = Call(q, k, v, {n: normal(*ARRAYS[n]) for n in ("bias",)})
    if name == "sinks":
        call.arrays["sinks"] = normal(2)
    if name == "slope":
        call.score, call.score_args = "slopes", {"slope": normal(2)}
    leaves = call.floating()
    attend = function(call, Call.run)
    incoming = normal(2, 2, 3, 2), normal(2, 2, 3)

    def moved(x: Any, u: Any) -> Any:
        arrays = tuple(x if n == name else y for n, y in leaves.items())
        direction = tuple(u if n == name else torch.zeros_like(y) for n, y in leaves.items())
        return second(attend, arrays, incoming, direction)

    x, u = leaves[name], normal(*leaves[name].shape)
    dims = (0 if mapped != "tangent" else None, 0 if mapped != "array" else None)
    given = [
        y if dim is None else torch.stack([y, y * 0.5 - 1])
        for y, dim in zip((x, u), dims, strict=True)
    ]
    found = func.vmap(moved, dims)(*given)
    for entry in range(2):
        alone = (y if dim is None else y[entry] for y, dim in zip(given, dims, strict=True))
        want = moved(*alone)
        got = tuple(tuple(y[entry] for y in each) for each in found)
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("asking", [False, True])
def test_operators(asking: bool) -> None:
    """What torch.library can check of them, its derivative included where there is one."""

    def leaf(x: Any) -> Any:
        return x.detach().clone().requires_grad_(asking)

    arrays, incoming, direction = heavy(5, torch.float64)
    bias, slope = normal(5), normal(1)
    options = (1, -1, -1, 0.0, 0.5, "s - slope(h) * Abs(i - j)", "slope")
    both = plain(*arrays)
    sources = (*arrays, None, bias, None, None, None)
    tangents = [*direction, normal(5), normal(1)]
    moving = 0b100010111
    opcheck = torch.library.opcheck
    held = (*sources, *both)
    moved = attention_tangent(*held, *options, moving, slope, *tangents)
    asked = [None if x is None else leaf(x) for x in held]
    listed = [leaf(x) for x in (slope, *tangents)]
    opcheck(torch.ops.logsum.attention_tangent.default, (*asked, *options, moving, listed))
    opcheck(
        torch.ops.logsum.attention_backward.default,
        (*map(leaf, incoming), *asked, *options, moving, listed[:1]),
    )
    arguments = (*incoming, *held, *moved, *options, moving, moving)
    listed = [slope, *map(leaf, tangents)]
    opcheck(torch.ops.logsum.attention_backward_tangent.default, (*arguments, listed))
    assert len(attention_backward_tangent(*arguments, *listed)) == 5


def test_a_gradient_penalty_trains() -> None:
    """The size of a gradient in a loss, through out and lse: second derivatives in a backward."""
    k, v, x = normal(1, 2, 8, 4), normal(1, 2, 8, 4), normal(1, 2, 8, 4)
    found = []
    for run in (plain, lambda *y: dense.attention(Call(*y, {}, {"causal": True}))):
        weight = torch.eye(4, dtype=torch.float64).requires_grad_()
        inputs = x.clone().requires_grad_()
        out, lse = run(inputs @ weight, k @ weight, v)
        (slope,) = torch.autograd.grad(out.sum() + lse.square().sum(), inputs, create_graph=True)
        ((slope.norm() - 1).square() + out.mean()).backward()
        found.append(weight.grad)
    torch.testing.assert_close(*found)


def test_scaled_dot_product_attention_bends_too() -> None:
    theirs = torch.nn.functional.scaled_dot_product_attention
    arrays, direction = ([normal(3, 2, 9, 4) for _ in "qkv"] for _ in "xy")
    mask = normal(9, 9)
    found = []
    for run in (scaled_dot_product_attention, theirs):

        def loss(*x: Any, run: Any = run) -> Any:
            return run(*x, attn_mask=mask).sin().sum()

        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            gradient = func.grad(loss, (0, 1, 2))
            ahead = func.jvp(loss, tuple(arrays), tuple(direction))[1]
            found.append((ahead, func.vjp(gradient, *arrays)[1](tuple(direction))))
    torch.testing.assert_close(*found)


def test_layers_bend_under_the_mode() -> None:
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).double()
    x, u = normal(2, 5, 8), normal(2, 5, 8)

    def product() -> Any:
        inputs = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(layer(inputs).square().sum(), inputs, create_graph=True)
        return torch.autograd.grad((slope * u).sum(), inputs)[0]

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        want = product()
    with AttentionMode():
        torch.testing.assert_close(product(), want)
