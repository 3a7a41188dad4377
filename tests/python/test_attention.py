"""attention: any features together, at the edges of blocks, with what must not be seen."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attention_oracle as oracle
import logsum
from attention_calls import EDGES, Call, calls, judge_gradients, judge_values, tensors
from conformance.machine import cpu_target, cpu_targets
from conformance.sample import bits
from tensors import needs_torch, torch

GENERATOR = np.random.default_rng(77)


def plain(
    rows: int, columns: int, dim: int = 5, value_dim: int = 5, heads: int = 1, kv_heads: int = 1
) -> Call:
    """Return a call without features."""
    shapes = ((1, heads, rows, dim), (1, kv_heads, columns, dim), (1, kv_heads, columns, value_dim))
    return Call(*(GENERATOR.normal(size=shape) for shape in shapes))


@given(calls())
@settings(max_examples=15)
def test_numpy(call: Call) -> None:
    judge_values(call, call.run(), "float64")


def shifted(a: Any) -> Any:
    """Return the same array one byte off."""
    return np.ndarray(a.shape, a.dtype, buffer=b" " + a.tobytes() + b" " * 8, offset=1)


@pytest.mark.parametrize("rows", [0, 3])
def test_memory_that_is_not_aligned(rows: int) -> None:
    call = plain(rows, 9)
    lengths = np.array([7])
    got = logsum.attention(*map(shifted, (call.q, call.k, call.v)), lengths_k=shifted(lengths))
    want = logsum.attention(call.q, call.k, call.v, lengths_k=lengths)
    np.testing.assert_array_equal(got, want)


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@given(call=calls(), seed=st.integers(0, 9))
@settings(max_examples=12)
def test_features_together(dtype: str, call: Call, seed: int) -> None:
    judge_gradients(call.converted(tensors(dtype)), dtype, seed)


@needs_torch
@pytest.mark.parametrize("rows", EDGES)
@pytest.mark.parametrize("columns", EDGES)
def test_edges_of_blocks(rows: int, columns: int) -> None:
    call = plain(rows, columns)
    call.options["causal"] = "bottom-right"
    judge_gradients(call.converted(tensors("float32")), "float32")


@needs_torch
@pytest.mark.parametrize("dim", [1, 2, 15, 16, 17, 48, 64, 65, 128, 200, 256, 257])
@pytest.mark.parametrize("value_dim", [1, 31, 64, 130])
def test_edges_of_vectors(dim: int, value_dim: int) -> None:
    for dtype in ("float32", "float64"):
        call = plain(33, 40, dim, value_dim).converted(tensors(dtype))
        judge_gradients(call, dtype)


@pytest.mark.parametrize("columns", [1, 100, 128, 1000, 5001])
@pytest.mark.parametrize("rows", [1, 3, 32])
def test_few_queries(rows: int, columns: int) -> None:
    call = plain(rows, columns, 16, 16, 4, 2)
    call.options["causal"] = "bottom-right"
    single = call.converted(lambda x: x.astype(np.float32))
    judge_values(single, single.run(), "float32")


# ---- what takes no part --------------------------------------------------------------------


def spoiled(call: Call, columns: Any, value: float) -> Call:
    """Return a call with a value in some keys and values."""
    k, v = call.k.copy(), call.v.copy()
    k[:, :, columns] = value
    v[:, :, columns] = value
    return Call(call.q, k, v, call.arrays, call.options)


EXCLUSIONS: list[tuple[str, dict[str, Any], dict[str, Any], slice]] = [
    ("causal", {"causal": True}, {}, slice(40, None)),
    ("window", {"window": (3, 3)}, {}, slice(44, None)),
    ("mask", {}, {"mask": np.arange(150) % 7 > 0}, slice(0, None, 7)),
    ("bias", {}, {"bias": np.where(np.arange(150) % 7 > 0, 0.5, -np.inf)}, slice(0, None, 7)),
    ("lengths", {}, {"lengths_k": np.array([37])}, slice(37, None)),
]


@needs_torch
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("options", "arrays", "columns"), [e[1:] for e in EXCLUSIONS], ids=[e[0] for e in EXCLUSIONS]
)
def test_what_is_excluded_is_never_seen(
    options: dict[str, Any], arrays: dict[str, Any], columns: slice, value: float
) -> None:
    call = plain(40, 150, 9, 7, 2, 1)
    call.options, call.arrays = options, arrays
    results = []
    for each in (call, spoiled(call, columns, value)):
        tensor = each.converted(tensors("float32"))
        leaves = [x.requires_grad_() for x in (tensor.q, tensor.k, tensor.v)]
        outputs = tensor.run()
        found = torch.autograd.grad(outputs, leaves, [torch.ones_like(x) for x in outputs])
        results.append([x.detach() for x in (*outputs, *found)])
    for want, got in zip(*results, strict=True):
        assert got.isfinite().all()
        # Other pairs go another way through a tile: the same float32 sums in another order.
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@needs_torch
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_query_of_no_use_is_never_seen(value: float) -> None:
    """Padding queries, and their incoming gradients, reach neither keys nor values."""
    call = plain(50, 40, 6, 6)
    call.q[:, :, 45:] = value
    call.arrays = {"lengths_q": np.array([45])}
    tensor = call.converted(tensors("float32"))
    leaves = [x.requires_grad_() for x in (tensor.q, tensor.k, tensor.v)]
    out, lse = tensor.run()
    assert (out[:, :, 45:] == 0).all()
    assert (lse[:, :, 45:] == -np.inf).all()
    incoming = torch.ones_like(out)
    incoming[:, :, 45:] = value
    found = torch.autograd.grad(out, leaves, incoming)
    assert all(x.isfinite().all() for x in found)
    assert (found[0][:, :, 45:] == 0).all()


def test_nan_that_takes_part_is_seen() -> None:
    call = plain(40, 150)
    call.k[0, 0, 100, 2] = np.nan
    call.options["causal"] = "bottom-right"
    out, lse = call.run()
    seen = np.arange(40) + 110 >= 100
    assert (np.isnan(out).all(-1) == seen).all()
    assert (np.isnan(lse) == seen).all()


def test_rows_without_keys() -> None:
    call = plain(6, 4)
    call.options["causal"] = "bottom-right"  # the first two see nothing
    out, lse = call.run()
    assert (out[0, 0, :2] == 0).all()
    assert (lse[0, 0, :2] == -np.inf).all()
    call.arrays["sinks"] = np.array([1.5])
    out, lse = call.run()
    assert (out[0, 0, :2] == 0).all()
    assert (lse[0, 0, :2] == 1.5).all()


@needs_torch
def test_infinite_scores_share_equally() -> None:
    """+inf dominates; the gradient of lse is the share, and that of -inf is 0."""
    bias = torch.tensor([0.0, torch.inf, -torch.inf, torch.inf, 3.0]).requires_grad_()
    call = plain(2, 5).converted(tensors("float32"))
    out, lse = logsum.attention(call.q, call.k, call.v, bias=bias, return_lse=True)
    torch.testing.assert_close(out[0, 0], call.v[0, 0, [1, 3]].mean(0).expand(2, 5))
    assert (lse == torch.inf).all()
    (grad,) = torch.autograd.grad(lse.sum(), bias)
    assert grad.tolist() == [0, 1, 0, 1, 0]


# ---- layouts, heads, bits ------------------------------------------------------------------


@needs_torch
def test_a_projection_is_a_view() -> None:
    """(B, N, H, D) goes in and comes out by exchanging axes, with the bits of a copy."""
    packed = torch.randn(2, 50, 3, 4, 8, generator=torch.Generator().manual_seed(1))
    q, k, v = (x.transpose(1, 2) for x in packed.unbind(2))
    out = logsum.attention(q, k, v, causal=True)
    assert out.transpose(1, 2).is_contiguous()
    copies = [x.contiguous() for x in (q, k, v)]
    assert bits(logsum.attention(*copies, causal=True)) == bits(out)


@needs_torch
def test_group_heads_are_repeated_heads() -> None:
    call = plain(33, 60, 8, 8, 6, 2).converted(tensors("float64"))
    repeated = [x.repeat_interleave(3, 1) for x in (call.k, call.v)]
    torch.testing.assert_close(
        logsum.attention(call.q, call.k, call.v), logsum.attention(call.q, *repeated)
    )


@needs_torch
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("target", cpu_targets())
def test_half_types_store_only(dtype: str, target: str) -> None:
    """The lse is that of float32 on the widened inputs, bit for bit, and out its rounding.

    But for bfloat16 where a CPU may multiply it as it is, with the same terms in another order.
    """
    call = plain(40, 200, 32, 16, 2, 2).converted(tensors(dtype))
    with cpu_target(target):
        out, lse = call.run()
        wide_out, wide_lse = call.converted(lambda x: x.float()).run()
    assert lse.dtype == torch.float32
    judge_values(call, (out, lse), dtype)
    if (dtype, target) == ("bfloat16", "AVX3"):
        return
    assert bits(lse) == bits(wide_lse)
    assert bits(out) == bits(wide_out.to(out.dtype))


@needs_torch
def test_a_bias_of_float32_beside_a_half_type() -> None:
    call = plain(20, 30).converted(tensors("bfloat16"))
    bias = torch.randn(20, 30, requires_grad=True)
    logsum.attention(call.q, call.k, call.v, bias=bias).float().sum().backward()
    assert bias.grad is not None
    assert bias.grad.dtype == torch.float32
    assert bias.grad.shape == bias.shape


@needs_torch
def test_autocast_narrows() -> None:
    call = plain(20, 30).converted(tensors("float32"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, lse = logsum.attention(
            call.q, call.k, call.v.bfloat16(), bias=torch.zeros(30), return_lse=True
        )
    assert (out.dtype, lse.dtype) == (torch.bfloat16, torch.float32)
    want = logsum.attention(*(x.bfloat16() for x in (call.q, call.k, call.v)))
    assert bits(out) == bits(want)
    double = call.converted(lambda x: x.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert logsum.attention(double.q, double.k, double.v).dtype == torch.float64


@needs_torch
def test_constant_keys_do_not_drift() -> None:
    """65536 equal terms, as seen by their gradients too."""
    shapes = ((1, 1, 2, 4), (1, 1, 65536, 4), (1, 1, 65536, 4))
    q, k, v = (torch.full(shape, 0.3, requires_grad=True) for shape in shapes)
    out, lse = logsum.attention(q, k, v, return_lse=True)
    # Chains of 32 equal terms, eight plainly, then compensated: 12.5 roundings found with AVX2.
    np.testing.assert_allclose(out.detach(), 0.3, rtol=16 * 2**-24)
    np.testing.assert_allclose(lse.detach(), 0.18 + np.log(65536), rtol=2e-7)
    grads = torch.autograd.grad((out[..., 0].sum(), lse.sum()), (q, k, v))
    # p is rebuilt from an lse near 11, off by 11 roundings at most, and summed as above.
    np.testing.assert_allclose(grads[0], 0.15, rtol=1e-6)
    np.testing.assert_allclose(grads[2][..., 0], 2 / 65536, rtol=1e-6)


# ---- merge ---------------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize("cuts", [(40,), (0, 40), (7, 7, 90), (0, 1, 128, 150)])
def test_parts_of_the_keys_merge_into_the_whole(cuts: tuple[int, ...]) -> None:
    """Values and gradients, an empty part among them or a row that a part has no keys for."""
    call = plain(33, 150, 6, 5, 4, 2).converted(tensors("float64"))
    leaves = [x.requires_grad_() for x in (call.q, call.k, call.v)]
    bias = torch.from_numpy(np.where(np.arange(150) % 3 > 0, 0.3, -np.inf)).requires_grad_()
    incoming = [torch.randn(1, 4, 33, 5, dtype=torch.float64), torch.randn(1, 4, 33).double()]

    def attend(part: slice) -> Any:
        keys = (x[:, :, part] for x in (call.k, call.v))
        return logsum.attention(call.q, *keys, bias=bias[part], return_lse=True)

    edges = (0, *cuts, 150)
    states = [attend(slice(*ends)) for ends in itertools.pairwise(edges)]
    results = []
    for outputs in (attend(slice(None)), logsum.merge(*states)):
        found = torch.autograd.grad(outputs, (*leaves, bias), incoming)
        results.append((*outputs, *found))
    for want, got in zip(*results, strict=True):
        # float64 sums of 150 terms, cut elsewhere: some hundred roundings.
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-12)


def test_a_part_without_keys_is_nothing() -> None:
    call = plain(4, 10)
    whole = call.run()
    nothing = logsum.attention(call.q, call.k[:, :, :0], call.v[:, :, :0], return_lse=True)
    for got, want in zip(logsum.merge(nothing, whole), whole, strict=True):
        assert bits(got) == bits(want)


# ---- derivatives, through what torch has around them ---------------------------------------


@needs_torch
def test_gradients_that_are_not_asked_for_are_not_made() -> None:
    call = plain(10, 12).converted(tensors("float64"))
    call.v.requires_grad_()
    out, _ = call.run()
    (grad,) = torch.autograd.grad(out.sum(), call.v)
    torch.testing.assert_close(grad.sum(2), torch.full((1, 1, 5), 10.0, dtype=torch.float64))


@needs_torch
@pytest.mark.parametrize("score", [None, "2 * s"])
def test_vmap_over_nothing(score: str | None) -> None:
    queries, keys = torch.zeros(0, 2, 1, 3, 4), torch.zeros(2, 1, 5, 4)
    out = torch.func.vmap(lambda x: logsum.attention(x, keys, keys, score=score))(queries)
    assert out.shape == queries.shape


@needs_torch
def test_a_shared_bias_has_a_gradient_for_each_entry_of_vmap() -> None:
    call = plain(6, 9).converted(tensors("float64"))
    bias = torch.randn(9, dtype=torch.float64)
    queries = torch.randn(3, *call.q.shape, dtype=torch.float64)

    def loss(bias: Any, q: Any) -> Any:
        return logsum.attention(q, call.k, call.v, bias=bias).square().sum()

    got = torch.func.vmap(torch.func.grad(loss), (None, 0))(bias, queries)
    for entry, q in zip(got, queries, strict=True):
        torch.testing.assert_close(entry, torch.func.grad(loss)(bias, q))


@needs_torch
@pytest.mark.parametrize("score", sorted(oracle.FORMULAS))
def test_formulas_have_gradients(score: str) -> None:
    call = plain(37, 130, 8, 8, 4, 2)
    sizes = {"slope": (4,), "gate": (1, 130), "shift": (37,)}
    call.score = score
    names = oracle.FORMULAS[score].by_arrays
    call.score_args = {name: 0.1 * GENERATOR.normal(size=sizes[name]) for name in names}
    for dtype in ("float32", "float64"):
        judge_gradients(call.converted(tensors(dtype)), dtype)


@needs_torch
def test_a_scale_of_an_open_size_compiles() -> None:
    """As callers write it; torch.compile is asked to leave the size open."""

    def run(q: Any, k: Any) -> Any:
        return logsum.attention(q, k, k, scale=q.shape[-1] ** -0.5)

    torch._dynamo.reset()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager", dynamic=True)
    for dim in (4, 9):
        q, k = torch.randn(1, 2, 3, dim), torch.randn(1, 2, 5, dim)
        torch.testing.assert_close(compiled(q, k), logsum.attention(q, k, k))
