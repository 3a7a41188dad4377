"""Operators of values whose gradient is computed with them: log partition functions and losses.

A potential has one value for each of N sequences, and a C++ call that writes values and gradients
together at little more than the cost of the values. Its arguments are the k operands that it is
differentiated by, the rest, and in the last place `keep`, whose bit i asks for the i-th gradient.
Its outputs are the values and the k gradients. So its backward multiplies, and the derivative of
its gradients is a second operator, its `Curvature`, which is linear in a direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._C._functorch import TransformType
from torch.autograd import Function, forward_ad

from logsum.torch._operator import (
    Arguments,
    Gradients,
    Kept,
    Operator,
    _is_compiling,
    is_plain,
    wants_gradient,
)


class SequenceOperator(Operator):
    """An operator on N independent sequences: a further batch axis joins theirs.

    `axes_in` and `axes_out` say which axis of each argument and output counts the sequences, None
    for what all share.
    """

    axes_in: ClassVar[tuple[int | None, ...]]
    axes_out: ClassVar[tuple[int, ...]]

    def _map(self, info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        joined = [
            self._joined(argument, axis, dim, info.batch_size)
            if isinstance(argument, Tensor)
            else argument
            for argument, axis, dim in zip(arguments, self.axes_in, in_dims, strict=True)
        ]
        outputs = self(*joined)
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        parted = tuple(
            output.unflatten(axis, (info.batch_size, -1))
            if output.shape[axis]
            else output.reshape(*output.shape[:axis], info.batch_size, *output.shape[axis:])
            for output, axis in zip(several, self.axes_out, strict=True)
        )
        if isinstance(outputs, tuple):
            return parted, self.axes_out
        return parted[0], self.axes_out[0]

    def _joined(self, argument: Tensor, axis: int | None, dim: int | None, size: int) -> Tensor:
        if axis is None:
            if dim is not None:
                raise ValueError(f"{self.schema.partition('(')[0]}: a graph cannot be mapped over")
            return argument
        if dim is None:
            shape = argument.shape
            wide = argument.unsqueeze(axis).expand(*shape[:axis], size, *shape[axis:])
        else:
            wide = argument.movedim(dim, axis)
        return wide.flatten(axis, axis + 1)


class Curvature(SequenceOperator):
    """How a potential and its gradients move along a direction.

    Arguments: the k operands, their directions (None for zero), the rest, and `keep`. Outputs: how
    the values move, and the k gradients. Linear in the direction, and symmetric: the derivative by
    it is the curvature along what comes in. That by the operands is a third derivative of the
    potential, which there is not.
    """

    count: ClassVar[int]
    potential: Potential

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        count = self.count
        points, directions = arguments[:count], arguments[count : 2 * count]
        rest = arguments[2 * count : -1]
        grad, incoming = grads[0], _kept_only(grads[1:], arguments[-1])
        some = any(x is not None for x in incoming)
        if some and any(needed[:count]):
            raise self._third()
        by_point: list[Any] = [None] * count
        by_direction: list[Any] = [None] * count
        if grad is not None and any(needed[:count]):
            keep = mask(needed[:count])
            along = self(*points, *directions, *rest, keep)[1:]
            by_point = self.potential.times(along, grad, points, needed[:count])
        wanted = needed[count : 2 * count]
        if grad is not None and any(wanted):
            slopes = self.potential(*points, *rest, mask(wanted))[1:]
            by_direction = self.potential.times(slopes, grad, points, wanted)
        if some and any(wanted):
            along = self(*points, *incoming, *rest, mask(wanted))[1:]
            by_direction = _sums(by_direction, along, wanted)
        return (*by_point, *by_direction, *(None,) * (len(rest) + 1))

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Gradients:
        count = self.count
        points, directions = arguments[:count], arguments[count : 2 * count]
        rest, keep = arguments[2 * count : -1], arguments[-1]
        moving, turning = tangents[:count], tangents[count : 2 * count]
        if any(x is not None for x in moving):
            if keep:
                raise self._third()
            every = (True,) * count
            along = self(*points, *directions, *rest, mask(every))[1:]
            moved = self.potential.pairing(along, moving)
            if any(x is not None for x in turning):
                moved = moved + self(*points, *turning, *rest, 0)[0]
            return (moved, *map(torch.zeros_like, self.allocate(*arguments)[1:]))
        return self(*points, *turning, *rest, keep)  # type: ignore[no-any-return]

    def _third(self) -> RuntimeError:
        name = self.potential.name
        return RuntimeError(f"{name}: the third derivative is not implemented, two are")


class Potential(SequenceOperator):
    """Values of sequences, with the gradients that `keep` asks for; those it does not are empty."""

    count: ClassVar[int]
    sequence_axes: ClassVar[tuple[int, ...]]
    """Of each operand, the axis that counts the sequences."""
    curvature: Curvature

    def __init__(self) -> None:
        super().__init__()
        self.name = self.schema.partition("(")[0]
        self.all = mask((True,) * self.count)

    def evaluate(self, outputs: Any, reduction: str, *arguments: Any) -> None:
        """Fill the outputs; with a reduction other than "none" those of the one reduced value."""
        raise NotImplementedError

    def shares(self, reduction: str, arguments: Arguments) -> Tensor:
        """What each value counts in the reduced one."""
        raise NotImplementedError

    def compute(self, outputs: Any, *arguments: Any) -> None:
        self.evaluate(outputs, "none", *arguments)

    def is_linear(self, arguments: Arguments) -> bool:
        """Whether the potential is piecewise linear, so that its gradients do not move."""
        raise NotImplementedError

    # ---- derivatives ------------------------------------------------------------------------

    def values(self, *arguments: Any) -> Tensor:
        """The values alone, for arguments without `keep`; differentiable."""
        return self.reduced("none", *arguments)

    def reduced(self, reduction: str, *arguments: Any) -> Tensor:
        """The values or, with a reduction, one number."""
        # Where at most eager autograd watches, a gradient may be stored and used up.
        if not _is_compiling() and forward_ad._current_level < 0 and is_plain(arguments):
            if wants_gradient(arguments):
                count = self.count
                operands, rest = arguments[:count], arguments[count:]
                return _apply_stored(self, reduction, rest, *operands)  # type: ignore[no-any-return]
            return _evaluated(self, reduction, arguments, 0)[0]
        values: Tensor = self(*arguments, self._asked(arguments))[0]
        if reduction == "none":
            return values
        shares = self.shares(reduction, arguments)
        return (values.to(shares.dtype) * shares).sum().to(values.dtype)

    def _asked(self, arguments: Arguments) -> int:
        """The gradients to keep: where a transform may go backward all, wrapped tensors do not say.

        None in forward mode alone: keeping them would differentiate them too.
        """
        if not _is_compiling() and _goes_backward():
            return self.all
        return mask([x.requires_grad for x in arguments[: self.count]])

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        count = self.count
        points, rest, wanted = arguments[:count], arguments[count:-1], needed[:count]
        grad, incoming = grads[0], _kept_only(grads[1:], arguments[-1])
        found: list[Any] = [None] * count
        if grad is not None:
            slopes = self._slopes(arguments, kept, wanted)
            found = self.times(slopes, grad, points, wanted)
        elif self.is_linear(arguments):
            found = [torch.zeros_like(x) for x in points]
        if any(x is not None for x in incoming) and not self.is_linear(arguments):
            along = self.curvature(*points, *incoming, *rest, mask(wanted))[1:]
            found = _sums(found, along, wanted)
        return (*found, *(None,) * (len(rest) + 1))

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Gradients:
        count, keep = self.count, arguments[-1]
        points, rest = arguments[:count], arguments[count:-1]
        if self.is_linear(arguments):
            moving = tangents[:count]
            slopes = self._slopes(arguments, kept, [x is not None for x in moving])
            return (self.pairing(slopes, moving), *map(torch.zeros_like, kept))
        return self.curvature(*points, *tangents[:count], *rest, keep)  # type: ignore[no-any-return]

    def _slopes(self, arguments: Arguments, kept: Kept, wanted: Sequence[bool]) -> Kept:
        """The gradients that were kept, computed again if one is wanted that was not."""
        if mask(wanted) & ~arguments[-1]:
            return self(*arguments[:-1], mask(wanted))[1:]  # type: ignore[no-any-return]
        return kept

    def times(
        self, slopes: Kept, grad: Tensor, points: Sequence[Tensor], wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        """Each sequence's gradients times a number, in the dtypes of the operands."""
        grad = grad.clone()  # what forward mode has for zero has no memory, nor has its product
        return [
            (slope * _along(grad, axis, slope.ndim)).to(point.dtype) if want else None
            for slope, axis, point, want in zip(
                slopes, self.sequence_axes, points, wanted, strict=True
            )
        ]

    def pairing(self, slopes: Kept, tangents: Gradients) -> Tensor:
        """The sum of each sequence's slopes times tangents, None for zero but not only None."""
        moved: Tensor | None = None
        for slope, tangent, axis in zip(slopes, tangents, self.sequence_axes, strict=True):
            if tangent is None:
                continue
            wide = torch.promote_types(slope.dtype, torch.float32)
            # Where there is no path a tangent takes no part, infinite or not.
            terms = slope.to(wide) * torch.where(slope == 0, 0.0, tangent.to(wide))
            term = terms.sum([k for k in range(terms.ndim) if k != axis])
            moved = term if moved is None else moved + term
        assert moved is not None
        return moved


def _goes_backward() -> bool:
    """Whether one of torch.func's transforms is of reverse mode."""
    stack = torch._C._functorch.get_interpreter_stack() or ()
    return any(level.key() == TransformType.Grad for level in stack)


def mask(wanted: Sequence[bool]) -> int:
    """Flags as the bits of an integer."""
    bits = 0
    for k, want in enumerate(wanted):  # a loop, for half the time of sum()
        if want:
            bits |= 1 << k
    return bits


def _kept_only(grads: Gradients, keep: int) -> Gradients:
    """What comes in for gradients; for those without elements None, whatever they get."""
    return tuple(grad if keep & 1 << k else None for k, grad in enumerate(grads))


def _along(grad: Tensor, axis: int, ndim: int) -> Tensor:
    """Numbers of sequences, shaped to multiply an array whose given axis counts these."""
    return grad.reshape((1,) * axis + (-1,) + (1,) * (ndim - axis - 1))


def _sums(some: Sequence[Any], others: Sequence[Any], wanted: Sequence[bool]) -> list[Any]:
    return [
        (other if one is None else one + other) if want else None
        for one, other, want in zip(some, others, wanted, strict=True)
    ]


class _Stored(Function):
    """A potential under eager autograd: its gradients wait beside the graph, and are given away.

    A backward pass hands out what was stored, scaled in place where the incoming gradient is not
    one, so that nothing of its size is read or allocated again. Who comes a second time, or wants a
    second derivative, has it computed again.
    """

    @staticmethod
    def forward(
        ctx: Any, potential: Potential, reduction: str, rest: Arguments, *operands: Tensor
    ) -> Tensor:
        keep = mask(ctx.needs_input_grad[3:])
        values, *ctx.slopes = _evaluated(potential, reduction, (*operands, *rest), keep)
        ctx.call = potential, reduction, rest, keep
        # Of the others autograd only sees whether somebody wrote to them meanwhile.
        ctx.save_for_backward(*operands, *[x for x in rest if isinstance(x, Tensor)])
        ctx.set_materialize_grads(False)
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> Gradients:
        wanted = ctx.needs_input_grad[3:]
        if grad is None:
            return (None,) * (3 + len(wanted))
        potential, reduction, rest, keep = ctx.call
        operands = ctx.saved_tensors[: potential.count]
        slopes = ctx.slopes
        if torch.is_grad_enabled() or not is_plain((grad,)):
            arguments = (*operands, *rest)
            if reduction != "none":
                grad = (grad * potential.shares(reduction, arguments)).to(grad.dtype)
            slopes = potential(*arguments, keep)[1:]
            found = potential.times(slopes, grad, operands, wanted)
        else:
            if slopes is None:
                slopes = _evaluated(potential, reduction, (*operands, *rest), keep)[1:]
            ctx.slopes = None
            found = _scaled(slopes, grad, potential.sequence_axes, wanted)
        return (None, None, None, *found)


def _evaluated(
    potential: Potential, reduction: str, arguments: Arguments, keep: int
) -> Sequence[Tensor]:
    outputs: Any = potential.allocate(*arguments, keep)
    if reduction != "none":
        outputs = (outputs[0].new_empty(()), *outputs[1:])
    potential.evaluate(outputs, reduction, *arguments, keep)
    return outputs  # type: ignore[no-any-return]


def _scaled(
    slopes: Sequence[Tensor], grad: Tensor, axes: Sequence[int], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients times an incoming one, in place."""
    factors: Any = grad.tolist()  # a tenth of the time that a comparison in torch takes
    if (factors.count(1.0) != len(factors)) if grad.ndim else factors != 1:
        for slope, axis, want in zip(slopes, axes, wanted, strict=True):
            if want:
                slope.mul_(_along(grad, axis, slope.ndim) if grad.ndim else grad)
    return [slope if want else None for slope, want in zip(slopes, wanted, strict=True)]


# As in Operator: Function.apply, less what it does for transforms.
_apply_stored: Any = super(Function, _Stored).apply
