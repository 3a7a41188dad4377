"""Derivatives of attention: gradients, directions, and how gradients move along a direction.

With f(x) = (out, lse) of the arrays x, c incoming gradients and u a direction, the operators are

    backward           Df(x)ᵀ c
    tangent            Df(x) u
    backward tangent   D(Df(x)ᵀ c) u, the same as the gradient in x of <c, Df(x) u>

and the derivatives of each are the others: the last matrix is symmetric. It is linear in c and in
u, and its derivative in x is a third one. Forward mode over forward mode, D(Df(x) u) w, is none of
these.

All take out and lse too, which are functions of x: what flows through them is part of the
derivatives in x, and none is given to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from logsum import _core
from logsum._attention_arguments import NAME
from logsum.torch._attention_point import (
    OPERANDS,
    OPERANDS_SCHEMA,
    OPTIONS_SCHEMA,
    AttentionOperator,
    BySlot,
    Point,
    bits,
    present,
)
from logsum.torch._large import empty_like
from logsum.torch._operator import Arguments, Gradients, Kept, is_direct
from logsum.torch._tensors import optional_view, view

Pair = Sequence[Tensor | None]  # something of out and of lse


class _AttentionBackward(AttentionOperator):
    """The gradients of the `wanted` arrays."""

    schema = (
        f"attention_backward(Tensor grad_out, Tensor? grad_lse, {OPERANDS_SCHEMA}, Tensor out, "
        f"Tensor lse, {OPTIONS_SCHEMA}, int wanted, Tensor[] score_args) -> Tensor[]"
    )
    incoming = 2
    results = 2
    sets = ("wanted",)
    returns_list = True

    def allocate(self, *arguments: Any) -> tuple[Tensor, ...]:
        return _empty_gradients(self, arguments)

    def compute(self, outputs: tuple[Tensor, ...], *arguments: Any) -> None:
        point = self.point(arguments)
        given: tuple[Any, ...] = (
            *map(optional_view, arguments[:2]),
            *point.core_arrays(),
            *map(view, point.results),
            *point.core_slots(_by_slot(self.slots("wanted", arguments), outputs)),
            *point.core_options(),
        )
        _core.attention_backward(*given)

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        point, incoming = self.point(arguments), arguments[:2]
        direction = present(zip(self.slots("wanted", arguments), grads, strict=True))
        if not direction:
            return (None,) * len(arguments)
        moved = along(point, direction)
        wanted = self.needed_sources(needed, arguments)
        by_source = gradients_along(point, incoming, direction, moved, wanted)
        found = self.in_places(arguments, by_source)
        found[:2] = [x if need else None for x, need in zip(moved, needed[:2], strict=True)]
        return tuple(found)

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Gradients:
        point, wanted = self.point(arguments), self.slots("wanted", arguments)
        direction = self.of_sources(tangents, arguments)
        terms = gradients(point, tangents[:2], wanted)
        if direction:
            moved: Any = tangents[2 + OPERANDS : 4 + OPERANDS]  # what autograd carried so far
            if any(x is None for x in moved):
                moved = along(point, direction)
            terms = _sum(terms, gradients_along(point, arguments[:2], direction, moved, wanted))
        return tuple(terms.values()) or tuple(map(torch.zeros_like, self.allocate(*arguments)))


class _AttentionTangent(AttentionOperator):
    """The derivatives of out and lse along the tangents of what is `moving`."""

    schema = (
        f"attention_tangent({OPERANDS_SCHEMA}, Tensor out, Tensor lse, {OPTIONS_SCHEMA}, "
        "int moving, Tensor[] arrays) -> (Tensor, Tensor)"
    )
    results = 2
    sets = ("moving",)
    kept = (0, 1)

    def allocate(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        out, lse = self.point(arguments).results
        return torch.empty_like(out), torch.empty_like(lse)

    def compute(self, outputs: tuple[Tensor, Tensor], *arguments: Any) -> None:
        point = self.point(arguments)
        given: tuple[Any, ...] = (
            *point.core_arrays(),
            *map(view, point.results),
            *point.core_slots(self.direction(arguments, arguments)),
            *map(view, outputs),
            *point.core_options(),
        )
        _core.attention_tangent(*given)

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        point = self.point(arguments)
        direction = self.direction(arguments, arguments)
        wanted = self.needed_sources(needed, arguments)
        by_source = gradients_along(point, grads, direction, kept, wanted)
        by_tangent = gradients(point, grads, self.needed_tangents(needed, arguments))
        return tuple(self.in_places(arguments, by_source, by_tangent))

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Gradients:
        if self.of_sources(tangents, arguments):
            raise RuntimeError(
                f"{NAME}: forward mode over forward mode is not implemented, nor is any third "
                "derivative; forward mode over reverse mode is"
            )
        direction = self.direction(tangents, arguments)
        if not direction:
            return tuple(map(torch.zeros_like, kept))
        return along(self.point(arguments), direction)


class _AttentionBackwardTangent(AttentionOperator):
    """The derivatives of the `wanted` gradients along the tangents of what is `moving`.

    `out_tangent` and `lse_tangent` are functions of the others, as `out` and `lse` are.
    """

    schema = (
        f"attention_backward_tangent(Tensor grad_out, Tensor? grad_lse, {OPERANDS_SCHEMA}, "
        "Tensor out, Tensor lse, Tensor out_tangent, Tensor lse_tangent, "
        f"{OPTIONS_SCHEMA}, int wanted, int moving, Tensor[] arrays) -> Tensor[]"
    )
    incoming = 2
    results = 4
    sets = ("wanted", "moving")
    returns_list = True

    def __call__(self, *arguments: Any) -> Any:
        if is_direct(arguments) or torch.compiler.is_compiling():
            return super().__call__(*arguments)
        held = list(arguments)
        for place in self._held(arguments):
            if held[place] is not None:
                held[place] = _hold(held[place])
        return super().__call__(*held)

    def _held(self, arguments: Arguments) -> list[int]:
        """The places of arguments whose derivatives are third ones."""
        return [0, 1, *self._smooth(arguments).values()]

    def allocate(self, *arguments: Any) -> tuple[Tensor, ...]:
        return _empty_gradients(self, arguments)

    def compute(self, outputs: tuple[Tensor, ...], *arguments: Any) -> None:
        point = self.point(arguments)
        given: tuple[Any, ...] = (
            *map(optional_view, arguments[:2]),
            *point.core_arrays(),
            *map(view, point.results),
            *point.core_slots(self.direction(arguments, arguments)),
            *map(view, self.moved(arguments)),
            *point.core_slots(_by_slot(self.slots("wanted", arguments), outputs)),
            *point.core_options(),
        )
        _core.attention_backward_tangent(*given)

    def moved(self, arguments: Arguments) -> Arguments:
        """How out and lse move."""
        return arguments[4 + OPERANDS : 6 + OPERANDS]

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        point, incoming = self.point(arguments), arguments[:2]
        direction = present(zip(self.slots("wanted", arguments), grads, strict=True))
        wanted = self.needed_tangents(needed, arguments)
        if not direction or not wanted:
            return (None,) * len(arguments)
        moved = along(point, direction)
        by_tangent = gradients_along(point, incoming, direction, moved, wanted)
        return tuple(self.in_places(arguments, {}, by_tangent))

    def _listed_backward(self, ctx: Any, *grads: Any) -> Gradients:
        arguments, _ = self._recall(ctx)  # which nobody held
        needed = self._one_by_one(ctx.needs_input_grad)
        if any(needed[place] for place in self._held(arguments)):
            raise _third()
        return super()._listed_backward(ctx, *grads)

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Gradients:
        point, wanted = self.point(arguments), self.slots("wanted", arguments)
        direction = self.direction(tangents, arguments)
        if not direction:
            return tuple(map(torch.zeros_like, self.allocate(*arguments)))
        moved = along(point, direction)
        return tuple(gradients_along(point, arguments[:2], direction, moved, wanted).values())


class _Held(Function):
    """An argument by which nothing can be differentiated: who computes such a derivative is told.

    An operator's backward sees what may need a gradient, not what does. It cannot refuse there:
    torch.autograd.functional.hvp, for one, differentiates by the direction in a graph that has all.
    """

    generate_vmap_rule = False

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Arguments, output: Tensor) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        raise _third()

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        raise _third()

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None], x: Tensor) -> tuple[Tensor, int | None]:
        return _hold(x), in_dims[0]


_hold: Any = _Held.apply


def _third() -> RuntimeError:
    return RuntimeError(f"{NAME}: the third derivative is not implemented, two are")


def _empty_gradients(operator: AttentionOperator, arguments: Arguments) -> tuple[Tensor, ...]:
    sources = operator.point(arguments).sources
    return tuple(empty_like(sources[slot]) for slot in operator.slots("wanted", arguments))


def _by_slot(slots: Sequence[int], values: Sequence[Tensor]) -> BySlot:
    return dict(zip(slots, values, strict=True))


def _sum(some: BySlot, others: BySlot) -> BySlot:
    if not some:
        return others
    return {slot: some[slot] + other for slot, other in others.items()}


# ---- the operators by what they are of -----------------------------------------------------


def _filled(point: Point, incoming: Pair) -> tuple[Tensor, Tensor | None]:
    """Incoming gradients, of out zeros without memory where there is none."""
    grad_out, grad_lse = incoming
    if grad_out is None:
        out = point.results[0]
        grad_out = torch.zeros((), dtype=out.dtype, device=out.device).expand(out.shape)
    return grad_out, grad_lse


def gradients(point: Point, incoming: Pair, wanted: Sequence[int]) -> BySlot:
    """The gradients of the wanted slots; of none where nothing comes in."""
    if not wanted or all(x is None for x in incoming):
        return {}
    operands, results, options, score_args = point
    found = attention_backward(
        *_filled(point, incoming), *operands, *results, *options, bits(wanted), *score_args
    )
    return _by_slot(wanted, found)


def along(point: Point, direction: BySlot) -> tuple[Tensor, Tensor]:
    """How out and lse move along a direction."""
    operands, results, options, score_args = point
    moved: tuple[Tensor, Tensor] = attention_tangent(
        *operands, *results, *options, bits(direction), *score_args, *direction.values()
    )
    return moved


def gradients_along(
    point: Point, incoming: Pair, direction: BySlot, moved: Pair, wanted: Sequence[int]
) -> BySlot:
    """How the gradients of the wanted slots move along a direction, as results have `moved`."""
    if not wanted:
        return {}
    operands, results, options, score_args = point
    found = attention_backward_tangent(
        *_filled(point, incoming),
        *operands,
        *results,
        *moved,
        *options,
        bits(wanted),
        bits(direction),
        *score_args,
        *direction.values(),
    )
    return _by_slot(wanted, found)


attention_backward = _AttentionBackward()
attention_tangent = _AttentionTangent()
attention_backward_tangent = _AttentionBackwardTangent()
