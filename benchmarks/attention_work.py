"""What the cases of attention work on: tensors, both libraries' calls, and float64 references."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import machine
import numpy as np
import peers
from harness import Work

import logsum

torch = peers.torch

READ = "one read"  # the yardstick of memory: reads keys and values once

# Roundings of storage that a result may be off, in the size of the largest entry: those of scores
# and sums, and in gradients of half types that of the output, which enters them as it was stored.
_ROUNDINGS = {"float32": 64, "float16": 8, "bfloat16": 8}
_UNIT = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@dataclass(frozen=True)
class Sizes:
    """The sizes of a case, one entry in the batch."""

    heads: int
    rows: int
    columns: int
    dim: int
    value_dim: int

    def shrunk(self) -> Sizes:
        """Return sizes for a quick run."""
        return replace(self, rows=max(1, self.rows // 16), columns=self.columns // 16)

    def __str__(self) -> str:
        """As titles have it."""
        length = f"N {self.columns}" if self.rows == self.columns else f"M {self.rows}"
        if self.rows != self.columns:
            length += f" N {self.columns}"
        dims = f"D {self.dim}" + (f" Dv {self.value_dim}" if self.value_dim != self.dim else "")
        return f"H{self.heads} {length} {dims}"


@dataclass(frozen=True)
class Terms:
    """The same exclusions or biases as either library is told them; what is made, for sizes."""

    ours: Mapping[str, Any] = field(default_factory=dict)
    theirs: Mapping[str, Any] = field(default_factory=dict)


def plain(sizes: Sizes) -> Terms:
    """All pairs take part."""
    return Terms()


def causal(sizes: Sizes) -> Terms:
    """Keys up to the query's own."""
    return Terms({"causal": True}, {"is_causal": True})


def window(width: int) -> Callable[[Sizes], Terms]:
    """Return a sliding window; for torch it is a dense mask."""

    def terms(sizes: Sizes) -> Terms:
        gap = torch.arange(sizes.rows)[:, None] - torch.arange(sizes.columns)
        return Terms({"window": (width - 1, 0)}, {"attn_mask": (gap >= 0) & (gap < width)})

    return terms


def tensors(rng: np.random.Generator, sizes: Sizes, dtype: str) -> list[Any]:
    """Return normal queries, keys and values."""
    n, m, h = sizes.columns, sizes.rows, sizes.heads
    shapes = ((1, h, m, sizes.dim), (1, h, n, sizes.dim), (1, h, n, sizes.value_dim))
    arrays = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return [torch.from_numpy(x).to(getattr(torch, dtype)) for x in arrays]


def ours(q: Any, k: Any, v: Any, options: Mapping[str, Any]) -> Any:
    """Attend by this library."""
    return logsum.attention(q, k, v, **options)


def theirs(q: Any, k: Any, v: Any, options: Mapping[str, Any]) -> Any:
    """Attend by torch."""
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, **options)


def _allowed(reference: np.ndarray, dtype: str) -> float:
    return _ROUNDINGS[dtype] * _UNIT[dtype] * float(np.abs(reference).max(initial=1))


def _elements(sizes: Sizes) -> int:
    return sizes.heads * sizes.rows * sizes.columns


def forward(
    rng: np.random.Generator,
    threads: int,
    *,
    sizes: Sizes,
    terms: Callable[[Sizes], Terms] = plain,
    streamed: bool = False,
) -> Work:
    """The values; `streamed` for a case that is bound by memory."""
    qkv, given = tensors(rng, sizes, "float32"), terms(sizes)
    reference = peers.to_float64(theirs(*(x.double() for x in qkv), given.theirs))
    calls = {
        peers.OURS: lambda: ours(*qkv, given.ours),
        "torch": lambda: theirs(*qkv, given.theirs),
    }
    yardsticks = {}
    if streamed:
        both = np.ones(qkv[1].numel() + qkv[2].numel(), np.float32)
        yardsticks[READ] = machine.reader(both, threads)
    return Work(calls, reference, _allowed(reference, "float32"), _elements(sizes), yardsticks)


def backward(
    rng: np.random.Generator,
    threads: int,
    *,
    sizes: Sizes,
    terms: Callable[[Sizes], Terms] = plain,
    dtype: str = "float32",
) -> Work:
    """The gradients of q, k and v, of values that are there; compared is that of q."""
    qkv, given = tensors(rng, sizes, dtype), terms(sizes)
    incoming = torch.from_numpy(
        rng.standard_normal((1, sizes.heads, sizes.rows, sizes.value_dim), np.float32)
    ).to(qkv[0].dtype)

    def through(
        function: Callable[..., Any], inputs: list[Any], options: Mapping[str, Any]
    ) -> Callable[[], Any]:
        leaves = [x.detach().requires_grad_() for x in inputs]
        out, grad = function(*leaves, options), incoming.to(inputs[0].dtype)
        return lambda: torch.autograd.grad(out, leaves, grad, retain_graph=True)[0]

    wide = [x.double() for x in qkv]
    reference = peers.to_float64(through(theirs, wide, given.theirs)())
    calls = {
        peers.OURS: through(ours, qkv, given.ours),
        "torch": through(theirs, qkv, given.theirs),
    }
    return Work(calls, reference, _allowed(reference, dtype), _elements(sizes))


def biased(rng: np.random.Generator, sizes: Sizes) -> tuple[dict[str, Callable[[], Any]], Any]:
    """Forward and backward with a bias of all pairs, shared by the heads, and its gradient.

    Returns the calls, which give the gradient of q, and the inputs.
    """
    inputs = tensors(rng, sizes, "float32")
    bias = rng.standard_normal((1, 1, sizes.rows, sizes.columns), np.float32)
    leaves = [x.requires_grad_() for x in (*inputs, torch.from_numpy(bias))]
    incoming = torch.ones((1, sizes.heads, sizes.rows, sizes.value_dim))

    def call(function: Callable[..., Any], name: str) -> Callable[[], Any]:
        def run() -> Any:
            out = function(*leaves[:3], {name: leaves[3]})
            return torch.autograd.grad(out, leaves, incoming)[0]

        return run

    return {peers.OURS: call(ours, "bias"), "torch": call(theirs, "attn_mask")}, leaves


def biased_work(rng: np.random.Generator, threads: int, *, sizes: Sizes) -> Work:
    """Forward and backward with a bias, as a case."""
    calls, leaves = biased(rng, sizes)
    wide = [x.detach().double().requires_grad_() for x in leaves]
    out = theirs(*wide[:3], {"attn_mask": wide[3]})
    (gradient,) = torch.autograd.grad(out.sum(), wide[:1])
    reference = peers.to_float64(gradient)
    return Work(calls, reference, _allowed(reference, "float32"), _elements(sizes))


def unequal(rng: np.random.Generator, threads: int, *, sizes: Sizes) -> Work:
    """Forward and backward where Dv is not D; compared is the gradient of q."""
    leaves = [x.requires_grad_() for x in tensors(rng, sizes, "float32")]
    wide = [x.detach().double().requires_grad_() for x in leaves]
    incoming = torch.ones((1, sizes.heads, sizes.rows, sizes.value_dim))

    def call(function: Callable[..., Any], inputs: list[Any]) -> Any:
        out = function(*inputs, {})
        return torch.autograd.grad(out, inputs, incoming.to(out.dtype))[0]

    reference = peers.to_float64(call(theirs, wide))
    calls = {peers.OURS: lambda: call(ours, leaves), "torch": lambda: call(theirs, leaves)}
    return Work(calls, reference, _allowed(reference, "float32"), _elements(sizes))


def mathematical(q: Any, k: Any, v: Any, options: Mapping[str, Any]) -> Any:
    """Attend by torch's plain operations, the only way in which its attention bends."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return theirs(q, k, v, options)


def doubled(function: Callable[..., Any], leaves: list[Any], incoming: Any) -> Any:
    """Return the gradient of q of the sum of all gradients, from nothing on."""
    out = function(*leaves, {})
    first = torch.autograd.grad(out, leaves, incoming, create_graph=True)
    ones = [torch.ones((), dtype=x.dtype).expand(x.shape) for x in first]
    return torch.autograd.grad(first, leaves, ones)[0]


def double_backward(rng: np.random.Generator, threads: int, *, sizes: Sizes) -> Work:
    """Values, gradients of q, k and v, and gradients of these; compared is that of q."""
    qkv = tensors(rng, sizes, "float32")
    incoming = rng.standard_normal((1, sizes.heads, sizes.rows, sizes.value_dim), np.float32)

    def call(function: Callable[..., Any], inputs: list[Any]) -> Callable[[], Any]:
        leaves = [x.detach().requires_grad_() for x in inputs]
        grad = torch.from_numpy(incoming).to(leaves[0].dtype)
        return lambda: doubled(function, leaves, grad)

    reference = peers.to_float64(call(mathematical, [x.double() for x in qkv])())
    calls = {peers.OURS: call(ours, qkv), "torch": call(mathematical, qkv)}
    return Work(calls, reference, _allowed(reference, "float32"), _elements(sizes))


def forward_mode(rng: np.random.Generator, threads: int, *, sizes: Sizes) -> Work:
    """Values, and how they move along a direction of q, k and v."""
    qkv, direction = (tensors(rng, sizes, "float32") for _ in range(2))

    def call(function: Callable[..., Any], dtype: Any) -> Callable[[], Any]:
        points, along = (tuple(x.to(dtype) for x in given) for given in (qkv, direction))
        return lambda: torch.func.jvp(lambda *x: function(*x, {}), points, along)[1]

    reference = peers.to_float64(call(mathematical, torch.float64)())
    calls = {
        peers.OURS: call(ours, torch.float32),
        "torch": call(mathematical, torch.float32),
    }
    return Work(calls, reference, _allowed(reference, "float32"), _elements(sizes))
