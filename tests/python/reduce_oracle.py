"""Reductions of formulas as they are defined: all M N values in float64, by torch.

KeOps' formulas are Python expressions, so Python evaluates them; what its operators and the
functions' names mean here is written in torch and shares nothing with the library. Derivatives are
torch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

Tensor = torch.Tensor


class Value:
    """A value of every pair: (..., M, N, D), an axis of size 1 where it is the same for all."""

    def __init__(self, data: Tensor) -> None:
        self.data = data

    def __add__(self, other: Any) -> Value:
        return Value(self.data + _data(other))

    def __sub__(self, other: Any) -> Value:
        return Value(self.data - _data(other))

    def __mul__(self, other: Any) -> Value:
        return Value(self.data * _data(other))

    def __truediv__(self, other: Any) -> Value:
        return Value(self.data / _data(other))

    def __pow__(self, other: Any) -> Value:
        return Value(self.data ** (other if isinstance(other, int) else _data(other)))

    def __radd__(self, other: Any) -> Value:
        return Value(_data(other) + self.data)

    def __rsub__(self, other: Any) -> Value:
        return Value(_data(other) - self.data)

    def __rmul__(self, other: Any) -> Value:
        return Value(_data(other) * self.data)

    def __rtruediv__(self, other: Any) -> Value:
        return Value(_data(other) / self.data)

    def __rpow__(self, other: Any) -> Value:
        return Value(_data(other) ** self.data)

    def __neg__(self) -> Value:
        return Value(-self.data)

    def __or__(self, other: Any) -> Value:
        return Value((self.data * _data(other)).sum(-1, keepdim=True))

    def __lt__(self, other: Any) -> Value:
        return Value((self.data < _data(other)).double())

    def __le__(self, other: Any) -> Value:
        return Value((self.data <= _data(other)).double())

    def __gt__(self, other: Any) -> Value:
        return Value((self.data > _data(other)).double())

    def __ge__(self, other: Any) -> Value:
        return Value((self.data >= _data(other)).double())

    def __eq__(self, other: object) -> Value:  # type: ignore[override]
        return Value((self.data == _data(other)).double())

    def __ne__(self, other: object) -> Value:  # type: ignore[override]
        return Value((self.data != _data(other)).double())

    __hash__ = None  # type: ignore[assignment]


def _data(value: Any) -> Tensor:
    return (
        value.data if isinstance(value, Value) else torch.tensor(float(value), dtype=torch.float64)
    )


def _of(function: Callable[..., Tensor]) -> Callable[..., Value]:
    return lambda *values: Value(function(*map(_data, values)))


# ---- functions -----------------------------------------------------------------------------


def _square_norm(x: Tensor) -> Tensor:
    return (x * x).sum(-1, keepdim=True)


def _weighted(s: Tensor, x: Tensor) -> Tensor:
    """Weights are one, one for each component, or a matrix row by row."""
    dim = x.shape[-1]
    if s.shape[-1] in (1, dim):
        return (s * x * x).sum(-1, keepdim=True)
    matrix = s.unflatten(-1, (dim, dim))
    return torch.einsum("...a,...ab,...b->...", x, matrix, x).unsqueeze(-1)


def _matrix_vector(matrix: Tensor, vector: Tensor) -> Tensor:
    rows = matrix.unflatten(-1, (-1, vector.shape[-1]))
    return (rows * vector.unsqueeze(-2)).sum(-1)


def _vector_matrix(vector: Tensor, matrix: Tensor) -> Tensor:
    rows = matrix.unflatten(-1, (vector.shape[-1], -1))
    return (rows * vector.unsqueeze(-1)).sum(-2)


def _tensor_product(x: Tensor, y: Tensor) -> Tensor:
    return (x.unsqueeze(-1) * y.unsqueeze(-2)).flatten(-2)


def _one_hot(x: Tensor, dim: int) -> Tensor:
    return (torch.arange(dim) == x.round()).double()


def _concat(*values: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(*(x.shape[:-1] for x in values))
    return torch.cat([x.expand(*shape, x.shape[-1]) for x in values], -1)


def _grad(value: Value, variable: Value, incoming: Any) -> Value:
    """The derivative of each pair's value: variables are a tensor of their own for every pair."""
    cotangent = _data(incoming).expand(value.data.shape)
    (found,) = torch.autograd.grad(
        value.data, variable.data, cotangent, create_graph=True, materialize_grads=True
    )
    return Value(found)


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "Add": lambda x, y: x + y,
    "Subtract": lambda x, y: x - y,
    "Mult": lambda x, y: x * y,
    "Divide": lambda x, y: x / y,
    "Scalprod": lambda x, y: x | y,
    "LessThan": lambda x, y: x < y,
    "LessOrEqual": lambda x, y: x <= y,
    "Equal": lambda x, y: x == y,
    "NotEqual": lambda x, y: x != y,
    "Exp": _of(torch.exp),
    "Log": _of(torch.log),
    "Square": _of(lambda x: x * x),
    "Sqrt": _of(torch.sqrt),
    "Rsqrt": _of(torch.rsqrt),
    "Inv": _of(torch.reciprocal),
    "Pow": lambda x, n: Value(x.data**n),
    "Powf": _of(torch.pow),
    "Abs": _of(torch.abs),
    "Sign": _of(lambda x: torch.where(x.isnan(), x, x.sign())),
    "Step": _of(lambda x: (x >= 0).double()),
    "ReLU": _of(torch.relu),
    "Sin": _of(torch.sin),
    "Cos": _of(torch.cos),
    "Atan": _of(torch.atan),
    "Tanh": _of(torch.tanh),
    "Sigmoid": _of(torch.sigmoid),
    "Softplus": _of(lambda x: torch.logaddexp(x, torch.zeros_like(x))),
    "Log1p": _of(torch.log1p),
    "Expm1": _of(torch.expm1),
    "LogAddExp": _of(torch.logaddexp),
    "Clamp": _of(lambda x, low, high: torch.minimum(torch.maximum(x, low), high)),
    "IfElse": _of(lambda x, a, b: torch.where(x >= 0, a, b)),
    "Where": _of(lambda x, a, b: torch.where(x != 0, a, b)),
    "Minus": _of(torch.neg),
    "XLogX": _of(lambda x: torch.where(x == 0, 0.0, x * torch.where(x == 0, 1.0, x).log())),
    "Sum": _of(lambda x: x.sum(-1, keepdim=True)),
    "SqNorm2": _of(_square_norm),
    "Norm2": _of(lambda x: _square_norm(x).sqrt()),
    "Normalize": _of(lambda x: x * _square_norm(x).rsqrt()),
    "SqDist": _of(lambda x, y: _square_norm(x - y)),
    "WeightedSqNorm": _of(_weighted),
    "WeightedSqDist": _of(lambda s, x, y: _weighted(s, x - y)),
    "Elem": lambda x, k: Value(x.data[..., k : k + 1]),
    "Extract": lambda x, k, dim: Value(x.data[..., k : k + dim]),
    "Concat": _of(_concat),
    "OneHot": lambda x, dim: Value(_one_hot(x.data, dim)),
    "MatVecMult": _of(_matrix_vector),
    "VecMatMult": _of(_vector_matrix),
    "TensorProd": _of(_tensor_product),
    "IntCst": lambda n: Value(torch.tensor([n], dtype=torch.float64)),
    "Zero": lambda dim: Value(torch.zeros(dim, dtype=torch.float64)),
    "Grad": _grad,
}


# ---- formulas ------------------------------------------------------------------------------


def formula_values(formula: str, aliases: Sequence[str], arrays: Sequence[Tensor]) -> Tensor:
    """Return a formula's values (..., M, N, D)."""
    kinds = [alias.partition("=")[2].strip()[:2] for alias in aliases]
    names = [alias.partition("=")[0].strip() for alias in aliases]
    axes = {"Vi": -2, "Vj": -3, "Pm": (-2, -3)}
    wide = [_unsqueezed(x, axes[kind]) for x, kind in zip(arrays, kinds, strict=True)]
    pairs = torch.broadcast_shapes(*(x.shape[:-1] for x in wide))
    rows, columns = pairs[-2:]
    scope: dict[str, Any] = {
        "i": Value(torch.arange(rows).double()[:, None, None]),
        "j": Value(torch.arange(columns).double()[None, :, None]),
        "M": rows,
        "N": columns,
    }
    for name, x in zip(names, wide, strict=True):
        every = x.expand(*pairs, x.shape[-1]).clone()
        scope[name] = Value(every if every.requires_grad else every.requires_grad_())
    found = _data(eval(formula, {"__builtins__": {}, **FUNCTIONS}, scope))
    return found.expand(*pairs, found.shape[-1] if found.ndim else 1)


def _unsqueezed(x: Tensor, axes: int | tuple[int, int]) -> Tensor:
    return x.unsqueeze(axes) if isinstance(axes, int) else x.unsqueeze(-2).unsqueeze(-2)


# ---- reductions ----------------------------------------------------------------------------


def shares(values: Tensor, dim: int) -> Tensor:
    """Return e^values over its sum: 0 at -inf, equal among +inf; differentiable."""
    top = values.detach().amax(dim, keepdim=True) if values.shape[dim] else values.detach()
    ties = (values == torch.inf).double()
    shared = ties / ties.sum(dim, keepdim=True).clamp(min=1)
    finite = torch.where(top.isinf(), 0.0, values)
    return torch.where(top == torch.inf, shared, torch.where(top.isinf(), 0.0, finite.softmax(dim)))


def _logsumexp(values: Tensor, dim: int, weights: Tensor | None = None) -> Tensor:
    if values.shape[dim] == 0:
        wide = values if weights is None else (values + weights)
        return torch.full_like(wide.sum(dim), -torch.inf)
    if weights is None:
        return torch.logsumexp(values, dim)
    top = values.detach().amax(dim, keepdim=True)
    top = torch.where(top.isfinite(), top, 0.0)
    return ((values - top).exp() * weights).sum(dim).log() + top.squeeze(dim)


def _minima(values: Tensor, dim: int, count: int) -> tuple[Tensor, Tensor]:
    """Return the lowest values in order and their indices, both with an axis of `count` at -2."""
    order = torch.argsort(values.detach(), dim=dim, stable=True)
    found = order.narrow(dim, 0, min(count, values.shape[dim]))
    low = values.gather(dim, found).movedim(dim, -2)
    found = found.movedim(dim, -2)
    missing = count - found.shape[-2]
    if missing:
        shape = (*low.shape[:-2], missing, low.shape[-1])
        low = torch.cat([low, low.new_full(shape, torch.inf)], -2)
        found = torch.cat([found, found.new_full(shape, -1)], -2)
    return low, found


def reduced(
    op: str, values: Tensor, axis: int, count: int = 0, weights: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Return what a reduction over i (axis 0) or j (axis 1) makes of values (..., M, N, D)."""
    dim = -2 if axis == 1 else -3
    if op == "Sum":
        return (values.sum(dim),)
    if op == "LogSumExp":
        return (_logsumexp(values, dim, weights),)
    if op == "LogSumExpWeight":
        return (_logsumexp(values, dim, weights),)
    if op in ("SumSoftMaxWeight", "SoftMax"):
        assert weights is not None
        p = shares(values, dim)
        return (torch.where(p == 0, 0.0, p * weights).sum(dim),)
    if "KMin" in op:
        low, found = _minima(values, dim, count)
        if values.shape[-1] == 1:
            low, found = low.squeeze(-1), found.squeeze(-1)
    else:
        sign = -1 if "Max" in op else 1
        low, found = (x.squeeze(-2) for x in _minima(sign * values, dim, 1))
        low = sign * low
    if "_" in op:
        return low, found
    return (found,) if op.startswith("Arg") else (low,)


def genred(
    formula: str,
    aliases: Sequence[str],
    op: str,
    axis: int,
    arrays: Sequence[Any],
    *,
    opt_arg: int | None = None,
    formula2: str | None = None,
) -> tuple[Tensor, ...]:
    """Return what a Genred gives for float64 tensors; differentiable."""
    values = formula_values(formula, aliases, arrays)
    weights = None if formula2 is None else formula_values(formula2, aliases, arrays)
    return reduced(op, values, axis, opt_arg or 0, weights)
