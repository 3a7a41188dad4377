"""The operator of a reduction of a formula, and what Genred does with tensors.

There is one operator for all reductions, their gradients and their tangents: the derivative of a
reduction is a reduction. In Python it is given a `Program`; where it is registered it is given the
texts that the program is made of, and they are read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from logsum._arguments import error_text, type_error
from logsum._genred import check_dtype
from logsum._reduce import NAME, SAVING, Definition, Program, output_shapes, program_of
from logsum.torch._operator import (
    Arguments,
    Gradients,
    Kept,
    Operator,
    _function,
    _is_compiling,
    _transforms_active,
    check_traceable,
    is_direct,
    is_plain,
    wants_gradient,
)
from logsum.torch._sum import lse_dtype
from logsum.torch._tensors import HALF, as_floating, view

Outputs = tuple[Tensor, ...]

_broadcast: Any = torch.broadcast_shapes


class _Reduce(Operator):
    """Arguments are a program and its tensors; outputs are all of the program's.

    What is watched runs the saving form of its program, whose further outputs the derivatives
    need. Those are differentiable in their turn, as the log-sum-exp beside a mean is.
    """

    schema = (
        "reduce(Tensor[] arguments, str formula, str aliases, str reduction_op, int axis, "
        "int opt_arg, str formula2, str derivations) -> Tensor[]"
    )

    def __init__(self) -> None:
        name, bracket, rest = self.schema.partition("(")
        definition = torch.library.custom_op(
            f"logsum::{name}", self._listed, mutates_args=(), schema=bracket + rest
        )
        definition.register_fake(self._fake)
        definition.register_autograd(self._listed_backward, setup_context=self._listed_setup)
        definition.register_vmap(self._listed_map)
        self.listed = getattr(torch.ops.logsum, name).default
        self.function = _function(name, self)
        self._apply_eagerly = super(Function, self.function).apply  # type: ignore[misc]

    def __call__(self, program: Program, *tensors: Tensor) -> Outputs:
        """Apply a program by the path that suits the tensors."""
        if is_direct(tensors):
            return self.forward(program, *tensors)  # type: ignore[no-any-return]
        if _is_compiling():
            check_traceable(NAME)
        if _transforms_active() or forward_ad._current_level >= 0:
            return self.function.apply(program.saving(), *tensors)  # type: ignore[no-any-return]
        watched = program.saving() if wants_gradient(tensors) else program
        if is_plain(tensors) and not _is_compiling():
            return self._apply_eagerly(watched, *tensors)  # type: ignore[no-any-return]
        return self.registered(watched, *tensors)

    def registered(self, program: Program, *tensors: Tensor) -> Outputs:
        """Apply the operator that torch.library knows."""
        level = _older_vmap()
        if level:
            return self._unwrapped(level, program, *tensors)
        return tuple(self.listed(list(tensors), *program.definition, program.derivations))

    # ---- values ---------------------------------------------------------------------------

    def allocate(self, program: Program, *tensors: Tensor) -> Outputs:
        """Empty outputs, float32 or wider if derivatives are made of them or they are such."""
        shapes = output_shapes(program, [x.shape for x in tensors], _broadcast)
        first = tensors[0]
        wide = program.is_saving or program.is_derived
        dtype = lse_dtype(first.dtype) if wide else first.dtype
        return tuple(
            first.new_empty(shape, dtype=torch.int64 if output.integer else dtype)
            for shape, output in zip(shapes, program.outputs, strict=True)
        )

    def compute(self, outputs: Outputs, program: Program, *tensors: Tensor) -> None:
        """Run the program."""
        # By its class: what dynamo resumes after a break loses a C++ method's object.
        run = type(program.reduction).run
        run(program.reduction, list(map(view, tensors)), list(map(view, outputs)))

    def label(self, place: int, arguments: Arguments) -> tuple[str, str]:
        """The operation and one of the formula's variables."""
        return NAME, arguments[0].arguments[place - 1].name

    # ---- derivatives ----------------------------------------------------------------------

    def _remember(self, ctx: Any, inputs: Arguments, output: Any) -> Sequence[Tensor]:
        program, *tensors = inputs
        saved = [*tensors, *output] if program.is_smooth else []
        ctx.program = program
        ctx.save_for_backward(*saved)
        ctx.mark_non_differentiable(
            *(x for x, o in zip(output, program.outputs, strict=True) if o.constant)
        )
        ctx.set_materialize_grads(False)
        return saved

    def _recall(self, ctx: Any) -> tuple[Arguments, Kept]:
        program, saved = ctx.program, ctx.saved_tensors
        count = len(program.arguments)
        return (program, *saved[:count]), saved[count:]

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        program, *points = arguments
        wanted = _wanted(program, [want or None for want in needed[1:]])
        if not wanted:
            return (None,) * len(arguments)
        outer = any(grad is not None for grad in grads[program.results :])
        form = program if outer else program.plain  # nothing comes in for what is saved
        derived = form.gradient(wanted)
        full = self._full(program, points, kept)
        found = self(derived, *_sources(derived, points, grads, full))
        result: list[Tensor | None] = [None] * len(points)
        for k, gradient in zip(wanted, found[: len(wanted)], strict=True):
            point = points[k]
            if gradient.shape != point.shape:  # batch axes that were repeated
                gradient = gradient.sum_to_size(point.shape)
            result[k] = gradient.to(point.dtype)
        return (None, *result)

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Gradients:
        program, *points = arguments
        wanted = _wanted(program, tangents[1:])
        derived = program.tangent(wanted)
        full = self._full(program, points, kept)
        moved = iter(self(derived, *_sources(derived, points, tangents[1:], full)))
        found: list[Tensor | None] = []
        for output, out in zip(program.outputs, kept, strict=True):
            tangent = None if output.integer else next(moved)
            found.append(None if output.constant or tangent is None else tangent.to(out.dtype))
        return tuple(found)

    def _full(self, program: Program, points: Sequence[Tensor], kept: Kept) -> Kept:
        """What the saving form gives; run again where a call was not thought to be watched."""
        return kept if program.is_saving else self(program.saving(), *points)

    # ---- batches --------------------------------------------------------------------------

    def _map(self, info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        """Put the batch axis before the others that there are; who lacks it needs no copy."""
        program, *tensors = arguments
        dims = in_dims[1:]
        ranks = [argument.rank for argument in program.arguments]
        own = [
            x.ndim - rank - (dim is not None)
            for x, rank, dim in zip(tensors, ranks, dims, strict=True)
        ]
        moved = [
            x if dim is None else x.movedim(dim, 0)[(slice(None), *(None,) * (max(own) - axes))]
            for x, dim, axes in zip(tensors, dims, own, strict=True)
        ]
        outputs = self(program, *moved)
        return outputs, (0,) * len(outputs)

    def _unwrapped(self, level: int, program: Program, *tensors: Tensor) -> Outputs:
        """Under torch's older vmap, which has no rules, and no loop over operators of lists."""
        # Who lacks the batch axis gets one of size 1.
        batched = [torch._remove_batch_dim(x, level, 1, 0) for x in tensors]
        outputs, _ = self._map(None, (None, *(0,) * len(batched)), program, *batched)
        outputs = outputs[: len(program.outputs)]
        if all(x.shape[0] == 1 for x in batched):
            return tuple(x[0] for x in outputs)
        return tuple(torch._add_batch_dim(x, 0, level) for x in outputs)

    # ---- as torch.library has it ------------------------------------------------------------

    def _listed(self, arguments: Sequence[Tensor], *texts: Any) -> list[Tensor]:
        return list(self.forward(_program(texts), *arguments))

    def _fake(self, arguments: Sequence[Tensor], *texts: Any) -> list[Tensor]:
        return list(self.allocate(_program(texts), *arguments))

    def _listed_setup(self, ctx: Any, inputs: Arguments, output: Sequence[Tensor]) -> None:
        arguments, *texts = inputs
        self._remember(ctx, (_program(texts), *arguments), output)

    def _listed_backward(self, ctx: Any, grads: Sequence[Tensor | None]) -> Gradients:
        arguments, kept = self._recall(ctx)
        if all(grad is None for grad in grads):
            found: Gradients = (None,) * len(arguments)
        else:
            found = self.vjp(arguments, kept, tuple(grads), (False, *ctx.needs_input_grad[0]))
        return (list(found[1:]), *(None,) * (len(Definition._fields) + 1))

    def _listed_map(
        self, info: Any, in_dims: Any, arguments: Sequence[Tensor], *texts: Any
    ) -> tuple[Any, Any]:
        outputs, dims = self._map(info, (None, *in_dims[0]), _program(texts), *arguments)
        return list(outputs), list(dims)


def _older_vmap() -> int:
    """The level of torch's older vmap, which `is_grads_batched` runs; 0 for none."""
    level: int = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    return level


def _program(texts: Sequence[Any]) -> Program:
    *definition, derivations = texts
    return program_of(Definition(*definition), derivations)


def _wanted(program: Program, given: Sequence[Any]) -> tuple[int, ...]:
    """The floating arguments for which something is given, not None."""
    return tuple(
        k
        for k, (argument, value) in enumerate(zip(program.arguments, given, strict=True))
        if value is not None and not argument.integer
    )


def _sources(
    derived: Program, points: Sequence[Tensor], moving: Sequence[Any], kept: Kept
) -> list[Tensor]:
    """The arguments of a derived program: those of the one it comes from, and what is around it.

    `moving` are incoming gradients by output, None for zero, or tangents by argument.
    """
    given: list[Tensor] = list(points)
    for argument in derived.arguments[len(points) :]:
        place = argument.position
        value = kept[place] if argument.source == "saved" else moving[place]
        if value is None:
            like = kept[place]
            value = torch.zeros((), dtype=like.dtype, device=like.device).expand(like.shape)
        given.append(value)
    return given


reduce = _Reduce()


def reduced(program: Program, args: Sequence[Any], dtype: str | None) -> Sequence[Tensor]:
    """The outputs for tensors."""
    tensors = _operands(program, args)
    first = tensors[0].dtype
    if dtype is not None:
        check_dtype(program.arguments[0].name, dtype, str(first).removeprefix("torch."))
    if _is_compiling():
        check_traceable(NAME)
        # The operator takes the texts: nothing of C++ is for dynamo to see.
        watched = program.is_smooth and wants_gradient(tensors)
        steps = SAVING if watched else ""
        outputs = reduce.listed(list(tensors), *program.definition, steps)
    elif not program.is_smooth and is_plain(tensors):
        return reduce.forward(program, *tensors)  # type: ignore[no-any-return]
    else:
        outputs = reduce(program, *tensors)
    results = outputs[: program.results]
    if first in HALF:
        return [x.to(first) if x.is_floating_point() else x for x in results]
    return results  # type: ignore[no-any-return]


def _operands(program: Program, args: Sequence[Any]) -> tuple[Tensor, ...]:
    names = [argument.name for argument in program.arguments]
    tensors = tuple([as_floating(NAME, name, x) for name, x in zip(names, args, strict=True)])
    first = tensors[0]
    for name, tensor in zip(names, tensors, strict=True):
        if tensor.dtype != first.dtype:
            if torch.is_autocast_enabled("cpu"):
                return _promoted(tensors)
            raise type_error(NAME, name, f"{names[0]}'s dtype {first.dtype}", tensor.dtype)
        if tensor.device != first.device:
            expected = f"{names[0]}'s device {first.device}"
            raise ValueError(error_text(NAME, name, expected, tensor.device))
    return tensors


def _promoted(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The tensors in the widest dtype among them, as autocast treats what it does not narrow."""
    widest = tensors[0].dtype
    for tensor in tensors:
        widest = torch.promote_types(widest, tensor.dtype)
    return tuple(tensor.to(widest) for tensor in tensors)
