"""Attention with every feature, written densely in torch: what torch differentiates any way.

In float64. The sizes of what is added up in its derivatives are here too, for tolerances.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import attention_oracle as oracle
from attention_calls import Call
from conformance.sample import widen
from tensors import torch


def admitted(call: Call) -> Any:
    """Return which pairs take part."""
    shape = (*call.q.shape[:3], call.k.shape[2])
    pairs = {name: x for name, x in call.options.items() if name in ("causal", "window")}
    pairs |= {x: widen(call.arrays.get(x)) for x in ("mask", "lengths_q", "lengths_k")}
    return torch.from_numpy(oracle.admitted(shape, **pairs))


def attention(call: Call, part: Any = None) -> Any:
    """Return (out, lse) of a call on float64 tensors; under a transform `part` is given."""
    q, arrays, options = call.q, call.arrays, call.options
    group = q.shape[1] // call.k.shape[1]
    k, v = (x.repeat_interleave(group, 1) for x in (call.k, call.v))
    shape = (*q.shape[:3], k.shape[2])
    scale, cap = options.get("scale"), options.get("softcap")
    s = (q @ k.mT) * (q.shape[3] ** -0.5 if scale is None else scale)
    if cap is not None:
        s = cap * (s / cap).tanh()
    if call.score is not None:
        formula = oracle.FORMULAS[call.score]
        axes = [[1] * k + [-1] + [1] * (3 - k) for k in range(4)]
        at = {c: torch.arange(n).view(a) for c, n, a in zip("bhij", shape, axes, strict=True)}
        places = {name: letters for name, (letters, _) in formula.by_arrays.items()}
        given = [
            call.score_args[name][tuple(slice(None) if c in letters else None for c in "bhij")]
            for name, letters in places.items()
        ]
        s = formula.value(s, at, *given)
    away = ~(admitted(call) if part is None else part)
    if (bias := arrays.get("bias")) is not None:
        away = away | (bias == -torch.inf)
        s = s + torch.where(bias == -torch.inf, 0, bias)
    sinks = arrays.get("sinks", torch.full(shape[1:2], -torch.inf, dtype=q.dtype))
    column = sinks[:, None, None].expand(*shape[:3], 1)
    terms = torch.cat([s.masked_fill(away, -torch.inf), column], -1)
    nothing = (terms == -torch.inf).all(-1, keepdim=True)
    terms = terms.masked_fill(nothing, 0)
    p = terms.softmax(-1)[..., :-1].masked_fill(away, 0)
    return p @ v, terms.logsumexp(-1).masked_fill(nothing[..., 0], -torch.inf)


def derivative_sizes(call: Call, incoming: Any, direction: Any) -> dict[str, float]:
    """Return the largest sums of sizes in how results and gradients move along a direction.

    By the names of the arrays, and "out" and "lse".
    """
    wide = call.converted(widen)
    options = call.all_options()
    found = oracle.attend(wide.q, wide.k, wide.v, **options)
    to = {name: abs(widen(x)) for name, x in direction.items()}
    d_out, d_lse = (abs(widen(x)) for x in incoming)
    q, k, v = (abs(x) for x in (wide.q, wide.k, wide.v))
    group = q.shape[1] // k.shape[1]
    k, v, k_to, v_to = (x.repeat(group, 1) for x in (k, v, to["k"], to["v"]))
    p, shape = found.share.astype(np.float64), found.share.shape
    factor = abs(options.get("scale") or max(q.shape[3], 1) ** -0.5)
    raw = factor * (to["q"] @ k.swapaxes(2, 3) + q @ k_to.swapaxes(2, 3))
    s, bent, by = raw, np.zeros(shape), {}
    if (cap := options.get("softcap")) is not None:
        bent = bent + 2 / cap * raw
    if call.score is not None:
        at, arrays = oracle.indexed(call.score, wide.score_args, shape)
        formula = oracle.FORMULAS[call.score]
        slopes = {
            name: abs(f(found.capped, at, **arrays)) for name, (_, f) in formula.by_arrays.items()
        }
        _, tangents = oracle.indexed(call.score, {name: to[name] for name in slopes}, shape)
        by = {name: np.broadcast_to(x, shape).astype(np.float64) for name, x in slopes.items()}
        s = abs(formula.by_score(found.capped, at, **arrays)).astype(np.float64) * raw
        for name, tangent in tangents.items():  # no second derivative of theirs is above 1
            s, bent = s + by[name] * tangent, bent + np.asarray(tangent, np.float64)
        bent = bent + raw
    if "bias" in to:
        s = s + np.where(np.isfinite(wide.arrays["bias"]), to["bias"], 0)
    sink = found.sink_share.astype(np.float64)
    lse = (p * s).sum(-1)
    if "sinks" in to:
        lse = lse + sink * to["sinks"][:, None]
    moving = p * (s + lse[..., None])
    out = moving @ v + p @ v_to
    delta = (d_out * (p @ v)).sum(-1) + d_lse
    ahead = (d_out * out).sum(-1)
    first = p * (d_out @ v.swapaxes(2, 3) + delta[..., None])
    second = moving * (d_out @ v.swapaxes(2, 3) + delta[..., None])
    second = second + p * (d_out @ v_to.swapaxes(2, 3) + ahead[..., None])
    inner = second + first * bent
    sizes = {
        "out": out,
        "lse": lse,
        "q": factor * (inner @ k + first @ k_to),
        "k": group * factor * (inner.swapaxes(2, 3) @ q + first.swapaxes(2, 3) @ to["q"]),
        "v": group * (moving.swapaxes(2, 3) @ d_out),
        "sinks": (sink * (lse * delta + ahead)).sum((0, 2)),
    }
    if "bias" in to:
        sizes["bias"] = oracle.folded(second, wide.arrays["bias"].shape)
    if "sinks" in to:
        sizes["sinks"] = sizes["sinks"] + to["sinks"] * (sink * delta).sum((0, 2))
    for name, slope in by.items():
        letters = oracle.FORMULAS[call.score].by_arrays[name][0]
        sizes[name] = oracle.by_letters(second * slope + first * bent, letters)
    return {name: float(x.max(initial=0)) for name, x in sizes.items()}
