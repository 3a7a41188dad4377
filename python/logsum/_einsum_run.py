"""How logeinsumexp carries out a plan, the same way on arrays and on tensors.

Nothing here but views, the matrix product, one-operand reductions and sums of logarithms, so
whatever those can be asked for (values, derivatives, batches, traces) the whole can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from logsum._einsum_plan import Layout, Plan
from logsum._logsumexp import logsumexp
from logsum._matmul import logmatmulexp


class Kind(Protocol):
    """What differs between arrays and tensors."""

    def permute(self, array: Any, order: tuple[int, ...]) -> Any:
        """A view with the axes in another order."""

    def diagonal(self, array: Any, first: int, second: int) -> Any:
        """A view in which two axes have become one, put last."""

    def product(self, left: Any, right: Any) -> Any:
        """The sum of logarithms, -inf wherever one of them is and the other is not NaN."""

    def maximum(self, array: Any, axes: tuple[int, ...]) -> Any:
        """The maximum over axes, -inf over nothing."""


def run(plan: Plan, operands: Sequence[Any], semiring: str, kind: Kind) -> Any:
    """Prepare the operands, join them, and view the result as it is wanted."""
    slots = []
    for operand, (diagonals, shape, reduced) in zip(operands, plan.preparations, strict=True):
        array = operand
        for first, second in diagonals:
            array = kind.diagonal(array, first, second)
        if len(shape) != array.ndim:
            array = array.reshape(shape)
        if reduced:
            array = logsumexp(array, reduced) if semiring == "log" else kind.maximum(array, reduced)
        slots.append(array)
    for join in plan.joins:
        left = _arrange(slots[join.left], join.left_layout, kind)
        right = _arrange(slots[join.right], join.right_layout, kind)
        if join.is_matrix:
            product = logmatmulexp(left, right, semiring=semiring)
        else:
            product = _reduce(kind.product(left, right), join.reduced, semiring, kind)
        slots.append(product.reshape(join.shape))
    return _arrange(slots[-1], plan.result, kind)


def _reduce(array: Any, axes: tuple[int, ...], semiring: str, kind: Kind) -> Any:
    if not axes:
        return array
    return logsumexp(array, axes) if semiring == "log" else kind.maximum(array, axes)


def _arrange(array: Any, layout: Layout, kind: Kind) -> Any:
    if layout.order != tuple(range(len(layout.order))):
        array = kind.permute(array, layout.order)
    return array.reshape(layout.shape)
