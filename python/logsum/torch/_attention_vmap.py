"""vmap over attention: the mapped axis joins that of the batch, or entries are computed in turn.

Operators of attention have their operands from argument `first` on; their last arguments may be a
direction, the tangents of the operands named in `moving`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_MASK, _BIAS, _SINKS = 3, 4, 5  # places among operands


def joins_batch(in_dims: Sequence[int | None], first: int, moving: Sequence[int]) -> bool:
    """Whether a mapped axis may join that of the batch: sinks have none.

    Nor may it where there is a formula, which may speak of the entry of the batch.
    """
    return all(in_dims[place] is None for place in _places(_SINKS, len(in_dims), first, moving))


def joined(
    arguments: Sequence[Any],
    in_dims: Sequence[int | None],
    size: int,
    first: int,
    moving: Sequence[int],
) -> list[Any]:
    """The arguments with the mapped axis merged into the batch's; what broadcasts stays so."""
    q, q_dim = arguments[first], in_dims[first]
    batch = q.shape[0] if q_dim is None else q.movedim(q_dim, 0).shape[1]
    found = list(arguments)
    count = len(arguments)
    apart = _places(_SINKS, count, first, moving)
    for kind in (_MASK, _BIAS):  # those that broadcast; a tangent has the shape of its array
        places = [k for k in _places(kind, count, first, moving) if arguments[k] is not None]
        apart += places
        wide = [_with_four_axes(arguments[k], in_dims[k]) for k in places]
        if all(in_dims[k] is None and x.shape[0] == 1 for k, x in zip(places, wide, strict=True)):
            pairs = list(zip(places, wide, strict=True))
        else:
            pairs = [
                (k, _merged(x, None if in_dims[k] is None else 0, size, batch))
                for k, x in zip(places, wide, strict=True)
            ]
        for k, x in pairs:
            found[k] = x
    for k, (x, dim) in enumerate(zip(arguments, in_dims, strict=True)):
        if isinstance(x, Tensor) and k not in apart:
            found[k] = _merged(x, dim, size, batch)
    return found


def _places(operand: int, count: int, first: int, moving: Sequence[int]) -> list[int]:
    """Where an operand is among `count` arguments, and its tangent if it has one."""
    places = [first + operand]
    if operand in moving:
        places.append(count - len(moving) + list(moving).index(operand))
    return places


def _with_four_axes(x: Tensor, dim: int | None) -> Tensor:
    """What broadcasts to scores, with all of their axes, behind the mapped one if there is one."""
    if dim is None:
        return x[(None,) * (4 - x.ndim)]
    mapped = x.movedim(dim, 0)
    return mapped[(slice(None), *(None,) * (5 - mapped.ndim))]


def _merged(x: Tensor, dim: int | None, size: int, batch: int) -> Tensor:
    mapped = x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
    return mapped.expand(size, batch, *mapped.shape[2:]).flatten(0, 1)


def looped(
    operator: Callable[..., Any],
    size: int,
    in_dims: Sequence[int | None],
    arguments: Sequence[Any],
) -> tuple[Any, Any]:
    """Results and their mapped axes, entry by entry."""

    def entry(k: int) -> tuple[Tensor, ...]:
        pairs = zip(arguments, in_dims, strict=True)
        return tuple(operator(*(x if dim is None else x.select(dim, k) for x, dim in pairs)))

    if size == 0:  # an entry of zeros tells the shapes
        arguments = tuple(
            x if dim is None else x.new_zeros((*x.shape[:dim], 1, *x.shape[dim + 1 :]))
            for x, dim in zip(arguments, in_dims, strict=True)
        )
        outputs = tuple(x.new_empty((0, *x.shape)) for x in entry(0))
    else:
        outputs = tuple(map(torch.stack, zip(*map(entry, range(size)), strict=True)))
    return outputs, (0,) * len(outputs)
