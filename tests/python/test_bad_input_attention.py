"""Every wrong argument of attention: the kind of error, and that it names what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import logsum
from logsum import _core
from tensors import needs_torch, torch

Case = tuple[Callable[[], Any], type[Exception], str]

# Batch 2, heads 4 and 2, 3 queries, 5 keys, 6 components and 7 of a value.
Q, K, V = np.zeros((2, 4, 3, 6)), np.zeros((2, 2, 5, 6)), np.zeros((2, 2, 5, 7))
MASK, BIAS, SINKS = np.ones((5,), bool), np.zeros((4, 3, 5)), np.zeros(4)
LENGTHS = np.array([3, 2])


def made(q: Any = Q, k: Any = K, v: Any = V, **options: Any) -> Any:
    return logsum.attention(q, k, v, **options)


def scored(score: Any, **arrays: Any) -> Any:
    return made(score=score, score_args=arrays)


ROWS: dict[str, Case] = {
    "q list": (lambda: made([[1.0]]), TypeError, "q: expected .* got list"),
    "q int": (lambda: made(Q.astype(int)), TypeError, "q: expected .*float64, got int64"),
    "q axes": (lambda: made(Q[0]), ValueError, r"q: expected .*\(B, Hq, M, D\), got \(4, 3, 6\)"),
    "q heads": (lambda: made(Q[:, :3]), ValueError, "q: expected a multiple of k's 2 .* got 3"),
    "k dtype": (lambda: made(k=K.astype("f4")), TypeError, "k: expected q's dtype float64, got fl"),
    "k dim": (lambda: made(k=K[..., :5]), ValueError, r"k: expected .*D = 6.* got \(2, 2, 5, 5\)"),
    "k batch": (lambda: made(k=K[:1]), ValueError, r"k: expected .*B = 2.* got \(1, 2, 5, 6\)"),
    "no heads": (lambda: made(k=K[:, :0], v=V[:, :0]), ValueError, "q: expected .* got 4"),
    "v heads": (lambda: made(v=V[:, :1]), ValueError, r"v: expected .* got \(2, 1, 5, 7\)"),
    "v keys": (lambda: made(v=V[:, :, :4]), ValueError, r"v: expected .* got \(2, 2, 4, 7\)"),
    "v dtype": (lambda: made(v=V.astype("f2")), TypeError, "v: expected q's dtype .* got float16"),
}

ARRAYS: dict[str, Case] = {
    "mask dtype": (lambda: made(mask=MASK.astype(float)), TypeError, "mask: expected .* got fl"),
    "mask": (lambda: made(mask=MASK[:4]), ValueError, r"mask: .*\(2, 4, 3, 5\), got \(4,\)"),
    "mask axes": (
        lambda: made(mask=MASK.reshape(1, 1, 1, 1, 5)),
        ValueError,
        r"mask: .*broadcasts to \(2, 4, 3, 5\), got \(1, 1, 1, 1, 5\)",
    ),
    "bias": (lambda: made(bias=BIAS[:3]), ValueError, r"bias: .*\(2, 4, 3, 5\), got \(3, 3, 5\)"),
    "bias dtype": (lambda: made(bias=BIAS.astype("f4")), TypeError, "bias: expected q's dtype"),
    "bias bool": (lambda: made(bias=BIAS != 0), TypeError, "bias: expected .* got bool"),
    "sinks": (lambda: made(sinks=SINKS[:3]), ValueError, r"sinks: expected shape \(4,\), got \(3"),
    "sinks int": (lambda: made(sinks=np.zeros(4, int)), TypeError, "sinks: expected .* got int64"),
    "lengths_q": (
        lambda: made(lengths_q=LENGTHS + 1),
        ValueError,
        r"lengths_q: expected lengths in \[0, 3\], got 4 at 0",
    ),
    "lengths_k": (
        lambda: made(lengths_k=-LENGTHS),
        ValueError,
        r"lengths_k: expected lengths in \[0, 5\], got -3 at 0",
    ),
    "one length": (lambda: made(lengths_k=LENGTHS[:1]), ValueError, r"lengths_k: .*\(2,\), got"),
    "masked mask": (
        lambda: made(mask=np.ma.MaskedArray(MASK, mask=~MASK)),
        TypeError,
        "mask: expected a plain array, got numpy.ma",
    ),
    "masked length": (
        lambda: made(lengths_k=np.ma.MaskedArray(LENGTHS, mask=LENGTHS > 2)),
        TypeError,
        "lengths_k: expected a plain array, got numpy.ma",
    ),
    "float length": (lambda: made(lengths_q=LENGTHS * 1.0), TypeError, "lengths_q: expected .*int"),
}

OPTIONS: dict[str, Case] = {
    "causal": (lambda: made(causal="lower"), ValueError, "causal: .*top-left.* got 'lower'"),
    "causal int": (lambda: made(causal=1), ValueError, "causal: .* got 1"),
    "window": (lambda: made(window=3), TypeError, "window: .*pair.* got int"),
    "window of three": (lambda: made(window=(1, 2, 3)), ValueError, "window: .*pair"),
    "scale too large": (lambda: made(scale=10**400), ValueError, "scale: .*double"),
    "softcap too large": (lambda: made(softcap=10**400), ValueError, "softcap: .*double"),
    "window below": (lambda: made(window=(-2, 0)), ValueError, r"window: .*got \(-2, 0\)"),
    "window float": (
        lambda: made(window=(1.5, 0)),
        TypeError,
        "window: expected .*int.* got float",
    ),
    "scale": (lambda: made(scale=math.inf), ValueError, "scale: .*finite.* got inf"),
    "scale text": (lambda: made(scale="1"), TypeError, "scale: expected a number, got str"),
    "softcap": (lambda: made(softcap=0), ValueError, "softcap: .*1e-30 to .* got 0"),
    "softcap nan": (lambda: made(softcap=math.nan), ValueError, "softcap: .* got nan"),
}

SCORES: dict[str, Case] = {
    "score": (lambda: made(score=3), TypeError, "score: expected str.* got int"),
    "blank": (lambda: made(score=" "), ValueError, "score: expected a formula"),
    "no score": (lambda: made(score_args={"a": SINKS}), ValueError, "score_args: .* no score"),
    "no dict": (
        lambda: made(score="s", score_args=[SINKS]),
        TypeError,
        "score_args: .*dict.* got l",
    ),
    "name": (lambda: made(score="s", score_args={"a b": SINKS}), ValueError, "score_args: .*'a b'"),
    "unknown name": (lambda: scored("s + slope(h)"), ValueError, "score.*slope"),
    "not closed": (lambda: scored("s + slope(h", slope=SINKS), ValueError, r"score.*expected"),
    "two axes": (lambda: scored("s + slope(h, i)", slope=SINKS), ValueError, "score.*slope"),
    "wrong size": (lambda: scored("s + slope(b)", slope=SINKS), ValueError, "score.*slope.*4"),
    "complex": (lambda: scored("s * a(h)", a=SINKS + 0j), TypeError, "score_args.*'a'.*complex128"),
}


OUT, LSE = np.zeros((2, 4, 3, 7)), np.zeros((2, 4, 3))
NAMES = ("q", "k", "v", "bias", "sinks")
PLAIN: dict[str, Any] = {
    **{"q": Q, "k": K, "v": V, "out": OUT, "lse": LSE, "score_args": []},
    **dict.fromkeys(("mask", "bias", "sinks", "lengths_q", "lengths_k")),
    **dict.fromkeys(f"tangent_{name}" for name in NAMES),
    **{"tangent_score_args": [], "out_tangent": OUT.copy(), "lse_tangent": LSE.copy()},
    **{"causal": _core.AttentionCausal.none, "window_left": -1, "window_right": -1},
    **{"scale": 0.0, "softcap": 0.0, "score": "", "score_names": []},
}
GRADIENTS: dict[str, Any] = {
    **{"grad_out": OUT, "grad_lse": None, "grad_score_args": []},
    **dict.fromkeys(f"grad_{name}" for name in NAMES),
}


def tangent(**changed: Any) -> None:
    """The core's forward mode, which torch's face calls with what fits."""
    _core.attention_tangent(**(PLAIN | changed))


def backward_tangent(**changed: Any) -> None:
    """The same of the gradient's tangents."""
    _core.attention_backward_tangent(**(PLAIN | GRADIENTS | changed))


# What both refuse, with the start of the message after the function's name.
DIRECTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "q": ({"tangent_q": K}, r"tangent of q: expected shape \(2, 4, 3, 6\), got \(2, 2, 5, 6\)"),
    "dtype": ({"tangent_v": V.astype("f4")}, "tangent of v: expected float64, got float32"),
    "no bias": ({"tangent_bias": BIAS}, "tangent of bias: expected null without its array"),
    "bias": (
        {"bias": BIAS, "tangent_bias": BIAS[0]},
        r"tangent of bias: expected shape \(4, 3, 5\), got \(3, 5\)",
    ),
    "no score": ({"tangent_score_args": [SINKS]}, "tangent of score_args: expected .* 0 arrays"),
    "integers": (
        {
            "score": "s + doc(b)",
            "score_names": ["doc"],
            "score_args": [LENGTHS],
            "tangent_score_args": [LENGTHS],
        },
        r"tangent of score_args\[0\]: expected .*float64, got int64",
    ),
    "out": ({"out_tangent": V.copy()}, r"out_tangent: expected shape \(2, 4, 3, 7\), got"),
    "lse": ({"lse_tangent": LSE.astype("f4")}, "lse_tangent: expected float64, got float32"),
    "k": ({"k": V}, "k: expected shape"),
}


def cases(*tables: dict[str, Case]) -> list[Any]:
    return [pytest.param(*case, id=name) for table in tables for name, case in table.items()]


@pytest.mark.parametrize(("call", "kind", "message"), cases(ROWS, ARRAYS, OPTIONS, SCORES))
def test_errors(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"(?s)^attention: {message}") as caught:
        call()
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("function", [tangent, backward_tangent])
@pytest.mark.parametrize(
    ("changed", "message"), [pytest.param(*case, id=name) for name, case in DIRECTIONS.items()]
)
def test_errors_of_derivatives(
    function: Callable[..., None], changed: dict[str, Any], message: str
) -> None:
    function()
    with pytest.raises(ValueError, match=f"^attention_{function.__name__}: {message}"):
        function(**changed)


def test_errors_of_derivatives_alone() -> None:
    tangent(out_tangent=None, lse_tangent=None)
    with pytest.raises(TypeError):
        backward_tangent(lse_tangent=None)
    with pytest.raises(TypeError, match="buffer protocol"):
        tangent(tangent_q=[1.0])
    expected = r"tangent of grad k: expected shape \(2, 2, 5, 6\), got \(2, 4, 3, 6\)"
    with pytest.raises(ValueError, match=f"^attention_backward_tangent: {expected}"):
        backward_tangent(grad_k=Q.copy())
    read_only = OUT.copy()
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        tangent(out_tangent=read_only)


def test_what_is_refused_nearly() -> None:
    """The neighbours of bad input are good."""
    made(mask=MASK, bias=BIAS, sinks=SINKS, lengths_q=LENGTHS, lengths_k=[5, 0], causal="top-left")
    made(window=[-1, 0], scale=0, softcap=1e-3)
    made(window=(1 << 70, 1 << 64))
    scored("s + slope(h) * Abs(i - j)", slope=SINKS)


@needs_torch
def test_tensors() -> None:
    """Tensors beside arrays, of another dtype or kind: the same errors."""
    from torch.nn.attention.bias import causal_upper_left

    q, k, v = (torch.from_numpy(a) for a in (Q, K, V))
    unwritten = causal_upper_left(3, 5)  # a tensor whose memory means nothing
    table: list[Case] = [
        (lambda: made(q, k, v, bias=unwritten), TypeError, "bias: .*numbers, got .*CausalBias"),
        (lambda: made(q, K, v), TypeError, "k: .*torch.Tensor.* got numpy.ndarray"),
        (lambda: made(q, k.float(), v), TypeError, "k: expected .*float64, got torch.float32"),
        (lambda: made(q, k, v.to_sparse()), TypeError, "v: expected a dense tensor"),
        (lambda: made(q, k, v, bias=BIAS), TypeError, "bias: .*torch.Tensor.* got numpy.ndarray"),
        (lambda: made(q, k, v, mask=q[0, 0, :, :5]), TypeError, "mask: expected .*bool"),
        (lambda: made(q, k, v[:, :1]), ValueError, r"v: expected .* got \(2, 1, 5, 7\)"),
        (
            lambda: made(q, k, v, bias=torch.zeros(3, 4, dtype=q.dtype)),
            ValueError,
            r"bias: .*\(2, 4, 3, 5\), got \(3, 4\)",
        ),
        (
            lambda: made(q, k, v, lengths_k=torch.tensor([9, 1])),
            ValueError,
            r"lengths_k: .*\[0, 5\], got 9 at 0",
        ),
    ]
    for call, kind, message in table:
        with pytest.raises(kind, match=f"^attention: {message}"):
            call()


@needs_torch
def test_autocast_names_what_was_given() -> None:
    """Not the dtype that it narrows to: float64 stays, float32 does not."""
    q, k, v = (torch.from_numpy(a) for a in (Q, K, V))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for wrong in ((q, k.float(), v), (q.float(), k, v.float())):
            expected = f"k: expected q's dtype {wrong[0].dtype}, got {wrong[1].dtype}"
            with pytest.raises(TypeError, match=f"^attention: {expected}"):
                made(*wrong)
