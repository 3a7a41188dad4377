"""Calls of attention: sizes at and beside the edges of blocks, and any features together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

import attention_oracle as oracle
import logsum
import tolerances
from conformance.report import compare
from conformance.sample import widen
from tensors import torch

# Tiles are of 32 queries and 128 keys.
EDGES = (0, 1, 2, 7, 31, 32, 33, 64, 127, 128, 129)
ROOM = 6e5  # pairs times components, for the sake of the reference's time


@dataclass
class Call:
    """The arrays of one call in float64, and its options by name."""

    q: Any
    k: Any
    v: Any
    arrays: dict[str, Any] = field(default_factory=dict)  # mask, bias, sinks, lengths
    options: dict[str, Any] = field(default_factory=dict)
    score: str | None = None
    score_args: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Shapes say what kind of call it is; the numbers are normal."""
        arrays = {"q": self.q, "k": self.k, "v": self.v, **self.arrays, **self.score_args}
        shapes = {name: tuple(x.shape) for name, x in arrays.items()}
        return f"Call({shapes}, {self.options}, {self.score})"

    def converted(self, convert: Any) -> Call:
        """Return the call with all arrays converted."""

        def each(arrays: dict[str, Any]) -> dict[str, Any]:
            return {name: convert(x) for name, x in arrays.items()}

        qkv = (convert(x) for x in (self.q, self.k, self.v))
        given = each(self.arrays), self.options, self.score, each(self.score_args)
        return Call(*qkv, *given)

    def run(self) -> Any:
        """Return (out, lse) of the library."""
        formula = None if self.score is None else oracle.FORMULAS[self.score].text
        return logsum.attention(
            self.q,
            self.k,
            self.v,
            **self.arrays,
            **self.options,
            score=formula,
            score_args=self.score_args if formula else None,
            return_lse=True,
        )

    def all_options(self) -> dict[str, Any]:
        """Return what the reference has beside q, k and v, as NumPy's."""
        wide = self.converted(widen)
        score = {"score": self.score, "score_args": wide.score_args} if self.score else {}
        return {**wide.arrays, **self.options, **score}

    def floating(self) -> dict[str, Any]:
        """Return the arrays that gradients flow to, by name."""
        found = {"q": self.q, "k": self.k, "v": self.v, **self.arrays, **self.score_args}
        return {name: x for name, x in found.items() if x.dtype.is_floating_point}

    def magnitude(self) -> float:
        """Return the size of the scores."""
        wide = self.converted(widen)
        norms = [np.sqrt((x**2).sum(-1)).max(initial=0) for x in (wide.q, wide.k)]
        scale = self.options.get("scale") or max(wide.q.shape[-1], 1) ** -0.5
        score = abs(scale) * float(norms[0] * norms[1])
        if self.score is not None:  # their factors and slopes are below 4
            score = 4 * (score + wide.q.shape[2] + wide.k.shape[2])
        bias = wide.arrays.get("bias", np.zeros(1))
        return score + float(np.abs(bias[np.isfinite(bias)]).max(initial=0))


def judge_values(call: Call, outputs: Any, dtype: str) -> None:
    """Compare (out, lse) with the reference."""
    wide = call.converted(widen)
    out, lse = oracle.attention(wide.q, wide.k, wide.v, **call.all_options())
    size, magnitude = float(np.abs(wide.v).max(initial=0)), call.magnitude()
    compare(
        out, widen(outputs[0]), dtype, tolerances.MEAN, magnitude=magnitude, scale=size, where="out"
    )
    kind = tolerances.arithmetic(dtype)
    tolerance = tolerances.FORMULA_LOG_SUM
    compare(lse, widen(outputs[1]), kind, tolerance, scale=magnitude, where="lse")


def judge_gradients(call: Call, dtype: str, seed: int = 0) -> None:
    """Differentiate a call on tensors, through both outputs, and compare with the reference."""
    call = call.converted(lambda x: x.detach().requires_grad_() if x.dtype.is_floating_point else x)
    outputs = call.run()
    judge_values(call, outputs, dtype)
    generator = torch.Generator().manual_seed(seed)
    incoming = [
        torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for x in outputs
    ]
    leaves = call.floating()
    found = torch.autograd.grad(outputs, list(leaves.values()), incoming)
    wide = call.converted(widen)
    given = (*map(widen, incoming), wide.q, wide.k, wide.v)
    wants = oracle.attention_gradient(*given, **call.all_options())
    sizes = oracle.gradient_sizes(*given, **call.all_options())
    magnitude = call.magnitude()
    for (name, leaf), got in zip(leaves.items(), found, strict=True):
        assert got.dtype == leaf.dtype
        compare(
            wants[name],
            widen(got),
            dtype,
            tolerances.ATTENTION_GRADIENT,
            magnitude=magnitude,
            scale=sizes[name],
            where=f"gradient of {name}",
        )


def tensors(dtype: str) -> Any:
    """Return the conversion of NumPy's arrays to tensors of a dtype."""

    def convert(x: Any) -> Any:
        tensor = torch.from_numpy(np.ascontiguousarray(x))
        return tensor.to(getattr(torch, dtype)) if tensor.is_floating_point() else tensor

    return convert


@st.composite
def calls(draw: Any) -> Call:
    """Draw any features together."""

    def maybe(strategy: Any) -> Any:
        return draw(st.none() | strategy)

    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = st.sampled_from(EDGES)
    rows, columns = draw(size), draw(size)
    batch, kv_heads, group = (draw(st.integers(1, n)) for n in (2, 2, 3))
    heads = kv_heads * group
    room = int(ROOM // max(1, batch * heads * rows * columns))
    dim, value_dim = (draw(st.integers(1, max(1, min(40, room)))) for _ in range(2))
    shape = (batch, heads, rows, columns)

    def normal(*sizes: int) -> Any:
        return generator.normal(size=sizes)

    def broadcast(values: Any) -> Any:
        axes = draw(st.integers(0, 4))
        kept = tuple(n if draw(st.booleans()) else 1 for n in shape[4 - axes :])
        return values(kept)

    causal = draw(st.sampled_from([False, True, "bottom-right"]))
    side = st.integers(-1, 40)
    options = {
        "causal": causal,
        "window": maybe(st.tuples(side, side)),
        "scale": maybe(st.sampled_from([0.0, 0.5, -0.2])),
        "softcap": maybe(st.sampled_from([0.5, 20.0])),
    }
    arrays = {
        "mask": broadcast(lambda s: generator.random(s) < 0.8) if draw(st.booleans()) else None,
        "bias": broadcast(lambda s: _biases(generator, s)) if draw(st.booleans()) else None,
        "sinks": normal(heads) if draw(st.booleans()) else None,
        "lengths_q": generator.integers(0, rows + 1, batch) if draw(st.booleans()) else None,
        "lengths_k": generator.integers(0, columns + 1, batch) if draw(st.booleans()) else None,
    }
    score = maybe(st.sampled_from(sorted(oracle.FORMULAS)))
    sizes = {"slope": (heads,), "gate": (batch, columns), "shift": (rows,)}
    names = oracle.FORMULAS[score].by_arrays if score else ()
    return Call(
        normal(batch, heads, rows, dim),
        normal(batch, kv_heads, columns, dim),
        normal(batch, kv_heads, columns, value_dim),
        {name: x for name, x in arrays.items() if x is not None},
        options,
        score,
        {name: 0.2 * normal(*sizes[name]) for name in names},
    )


def _biases(generator: Any, shape: tuple[int, ...]) -> Any:
    """Return biases, a tenth of them -inf."""
    return np.where(generator.random(shape) < 0.1, -np.inf, generator.normal(size=shape))
