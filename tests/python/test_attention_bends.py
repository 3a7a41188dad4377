"""Attention's derivatives along directions under vmap, torch.library, layers and in training."""

from __future__ import annotations

from typing import Any

import pytest

import attention_dense as dense
from attention_calls import Call
from attention_second import function, heavy, normal, plain, second
from tensors import needs_torch, torch

pytestmark = needs_torch

if torch is not None:
    from logsum.torch import AttentionMode, scaled_dot_product_attention
    from logsum.torch._attention_derivatives import attention_backward_tangent, attention_tangent

    forward_ad = torch.autograd.forward_ad
    func = torch.func

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


def test_reverse_mode_within_a_level_of_forward_mode() -> None:
    """The gradient of a tangent, taken where arrays still have tangents, is no third derivative."""
    k, v = normal(1, 2, 7, 4), normal(1, 2, 7, 4)
    leaves = [normal(1, 2, 7, 4).requires_grad_() for _ in "qu"]

    def gradients() -> Any:
        return torch.autograd.grad(
            ahead[0].square().sum() + ahead[1].sum(), leaves, retain_graph=True
        )

    with forward_ad.dual_level():
        results = plain(forward_ad.make_dual(*leaves), k, v)
        ahead = [forward_ad.unpack_dual(y).tangent for y in results]
        within = gradients()
    torch.testing.assert_close(within, gradients())


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
