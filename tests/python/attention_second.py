"""What the tests of attention's derivatives along directions work on."""

from __future__ import annotations

from typing import Any

import numpy as np

import logsum
from attention_calls import Call
from tensors import torch

GENERATOR = np.random.default_rng(78)


def normal(*shape: int, dtype: Any = None) -> Any:
    """Return a tensor of normal numbers, float64 unless said otherwise."""
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
        return torch.func.vjp(attend, *x)[1](incoming)

    ahead = torch.func.jvp(attend, arrays, direction)[1]
    return ahead, torch.func.jvp(pulled, arrays, direction)[1]


def heavy(rows: int, dtype: Any = None) -> Any:
    """Return arrays, incoming gradients and a direction."""
    shapes = [(1, 1, rows, 32)] * 3, [(1, 1, rows, 32), (1, 1, rows)], [(1, 1, rows, 32)] * 3
    dtype = dtype or torch.float32
    return tuple(tuple(normal(*s, dtype=dtype) for s in group) for group in shapes)


def plain(q: Any, k: Any, v: Any) -> Any:
    """Return (out, lse) of causal attention."""
    return logsum.attention(q, k, v, causal=True, return_lse=True)
