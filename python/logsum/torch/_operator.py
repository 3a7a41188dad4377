"""The one place where an operation meets PyTorch.

An operation declares itself once, as an `Operator`: a schema, its outputs' shapes, the C++ call,
and its derivatives in both directions, written in torch functions and other operators, so that
every order of derivative exists. A call then takes one of three paths:

* plain tensors, with nothing that watches (no gradient wanted, no transform, no mode): straight to
  C++ with pointers, shapes and strides;
* torch.func's transforms, forward mode, eager autograd: `torch.autograd.Function` with
  setup_context, backward, jvp and vmap. Registering a backward formula with torch.library alone
  makes torch.func.jvp return zeros silently and torch.func.grad raise;
* torch.compile, modes, fake and meta tensors, subclasses: the operator `logsum::<name>` registered
  with torch.library, with fake, autograd and vmap rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.nn import Parameter
from torch.utils._python_dispatch import _disable_current_modes

from logsum._arguments import type_error
from logsum.torch._tensors import EXPECTED, FLOATING

Tensors: TypeAlias = Tensor | tuple[Tensor, ...]
Arguments: TypeAlias = tuple[Any, ...]
Gradients: TypeAlias = tuple[Any, ...]  # tensors, or None
Kept: TypeAlias = tuple[Tensor, ...]

_is_compiling = torch.compiler.is_compiling
_dispatch_keys = torch._C._dispatch_keys
_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack
_is_tracing = torch._C._is_tracing
_make_dual: Any = forward_ad.make_dual
_unpack_dual: Any = forward_ad.unpack_dual
_transforms_active = torch._C._are_functorch_transforms_active


def _plain_keys() -> frozenset[int]:
    """The dispatch keys of tensors that are only memory, as numbers.

    One comparison tells them from all others: wrapped by a transform, fake, functional, meta,
    lazily negated, all zero, sparse, of a subclass with a dispatch of its own. This module may be
    imported within a transform or a mode, which would wrap what is made here.
    """
    with _disable_current_modes(), torch._C._DisableFuncTorch():
        with torch.inference_mode():
            inference = torch.empty(0, device="cpu")
        ordinary = torch.empty(0, device="cpu")
    return frozenset(_dispatch_keys(tensor).raw_repr() for tensor in (ordinary, inference))


_PLAIN_KEYS = _plain_keys()
# Of arguments that are no tensors: to find them here takes half the time of isinstance.
_VALUES = frozenset((type(None), bool, int, float, str, tuple))
_SAVED = object()  # stands for an argument that autograd saves


def is_plain(arguments: Arguments) -> bool:
    """Whether all tensors are plain memory, and no mode or transform is there to see the call.

    A transform wraps the tensors that are made under it, those for results among them. Nor is
    torch.jit.trace there, whose graph would have nothing but the memory of results.
    """
    if _dispatch_modes() or _function_modes() or _transforms_active() or _is_tracing():
        return False
    for argument in arguments:
        kind = type(argument)
        if kind is Tensor or kind is Parameter:
            if _dispatch_keys(argument).raw_repr() not in _PLAIN_KEYS:
                return False
        elif kind not in _VALUES and isinstance(argument, Tensor):
            return False
    return True


def wants_gradient(arguments: Arguments) -> bool:
    """Whether a derivative may be asked of the call, in either direction."""
    if forward_ad._current_level >= 0:
        return True
    if torch.is_grad_enabled():
        for argument in arguments:  # a loop, for half the time of any()
            if type(argument) in _VALUES:
                continue
            if isinstance(argument, Tensor) and argument.requires_grad:
                return True
    return False


def is_direct(arguments: Arguments) -> bool:
    """Whether a call may go straight to C++: plain tensors, and nothing that watches."""
    return not _is_compiling() and not wants_gradient(arguments) and is_plain(arguments)


def check_traceable(name: str) -> None:
    """Raise in forward mode, where a graph is traced.

    A registered operator's tangents would silently be zero. Where the graph may break instead of
    this, the call comes again, outside of it.
    """
    if forward_ad._current_level >= 0:
        raise RuntimeError(f"{name}: forward mode does not compile into a graph")


class Operator:
    """An operation on tensors. A subclass declares it; its one instance is called.

    The tensors among the arguments have the same batch axes in front, and axes among the arguments
    count from the back: so an operator maps over a further batch axis by having it put in front,
    where nothing else changes. The arguments are positional, the results one tensor or a tuple.
    """

    schema: ClassVar[str]
    """Name, arguments and results, in the notation of torch.library."""

    kept: ClassVar[tuple[int, ...]] = ()
    """The outputs, by number, that derivatives need beside the arguments."""

    allocate: Callable[..., Tensors]
    """Of the arguments: the outputs, empty, whose shapes, dtypes and strides fake ones have too."""

    compute: Callable[..., None]
    """Of the outputs and the arguments, all plain: fills the outputs, by C++."""

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        """Gradients for all arguments from those of the outputs, None for zero but not only None.

        None also where there is no gradient, or none is `needed`.
        """
        raise NotImplementedError

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Tensors | Gradients:
        """Tangents of the outputs from those of the arguments, None for zero but not only None.

        Those of integers are None.
        """
        raise NotImplementedError

    def __init__(self) -> None:
        name, bracket, rest = self.schema.partition("(")
        definition = torch.library.custom_op(
            f"logsum::{name}", self.forward, mutates_args=(), schema=bracket + rest
        )
        definition.register_fake(self.allocate)
        definition.register_autograd(self._backward, setup_context=self._remember)
        definition.register_vmap(self._map)
        self.registered = getattr(torch.ops.logsum, name).default
        self.function: Any = _function(name, self)
        # Function.apply, less 30 microseconds of looking at signatures and transforms.
        self._apply_eagerly = super(Function, self.function).apply  # type: ignore[misc]

    def __call__(self, *arguments: Any) -> Any:
        """Apply the operator by the path that suits the arguments."""
        if is_direct(arguments):
            return self.forward(*arguments)
        if _is_compiling():
            check_traceable(self.schema.partition("(")[0])
        elif _transforms_active() or forward_ad._current_level >= 0:
            return self.function.apply(*arguments)
        elif wants_gradient(arguments) and is_plain(arguments):
            return self._apply_eagerly(*arguments)
        return self.registered(*arguments)

    def forward(self, *arguments: Any) -> Any:
        """Allocate and compute, on plain tensors."""
        outputs = self.allocate(*arguments)
        self.compute(outputs, *arguments)
        return outputs

    def label(self, place: int, arguments: Arguments) -> tuple[str, str]:
        """The operation and one of its arguments, by number, as errors name them."""
        name, _, rest = self.schema.partition("(")
        declared = rest.partition(")")[0].split(", ")
        return name, declared[place].split()[-1]

    def check_tangents(self, tangents: Gradients, arguments: Arguments) -> None:
        """Refuse complex tangents, of which nothing here has an idea, and other odd ones."""
        for place, tangent in enumerate(tangents):
            if tangent is not None and tangent.dtype not in FLOATING:
                name, argument = self.label(place, arguments)
                raise type_error(name, f"tangent of {argument}", EXPECTED, tangent.dtype)

    def _remember(self, ctx: Any, inputs: Arguments, output: Tensors) -> Sequence[Tensor]:
        outputs = output if isinstance(output, tuple) else (output,)
        saved = [argument for argument in inputs if isinstance(argument, Tensor)]
        saved += [outputs[i] for i in self.kept]
        ctx.inputs = tuple(_SAVED if isinstance(value, Tensor) else value for value in inputs)
        ctx.save_for_backward(*saved)
        ctx.set_materialize_grads(False)
        return saved

    def _recall(self, ctx: Any) -> tuple[Arguments, Kept]:
        saved = iter(ctx.saved_tensors)
        arguments = tuple(next(saved) if value is _SAVED else value for value in ctx.inputs)
        return arguments, tuple(saved)

    def _backward(self, ctx: Any, *grads: Tensor | None) -> Gradients:
        arguments, kept = self._recall(ctx)
        if all(grad is None for grad in grads):
            return (None,) * len(arguments)
        return self.vjp(arguments, kept, grads, ctx.needs_input_grad)

    def _map(self, info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        """Put the batch axis in front; an argument without it is expanded, not copied."""
        batched = [
            argument
            if not isinstance(argument, Tensor)
            else argument.expand(info.batch_size, *argument.shape)
            if axis is None
            else argument.movedim(axis, 0)
            for axis, argument in zip(in_dims, arguments, strict=True)
        ]
        outputs = self(*batched)
        return outputs, (0,) * len(outputs) if isinstance(outputs, tuple) else 0


def _primals(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        _unpack_dual(value).primal if isinstance(value, Tensor) else value for value in values
    )


def without_history(tensors: Kept) -> Kept:
    """Outputs for operators that give no gradients to them: autograd would go to their node.

    On the way there it would call their hooks with None. Tangents stay, for the sake of which a
    transform, that has its own levels of them, gets the outputs as they are.
    """
    if _transforms_active():
        return tensors
    if forward_ad._current_level < 0:
        return tuple(tensor.detach() for tensor in tensors)
    duals = map(_unpack_dual, tensors)
    return tuple(
        primal.detach() if tangent is None else _make_dual(primal.detach(), tangent)
        for primal, tangent in duals
    )


def _function(name: str, operator: Operator) -> type[Function]:
    class OperatorFunction(Function):
        generate_vmap_rule = False

        @staticmethod
        def forward(*arguments: Any) -> Any:
            if is_plain(arguments):
                return operator.forward(*arguments)
            return operator.registered(*arguments)

        @staticmethod
        def setup_context(ctx: Any, inputs: Arguments, output: Tensors) -> None:
            ctx.save_for_forward(*operator._remember(ctx, inputs, output))

        @staticmethod
        def backward(ctx: Any, *grads: Tensor | None) -> Gradients:
            return operator._backward(ctx, *grads)

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Tensors | Gradients:
            arguments, kept = operator._recall(ctx)
            operator.check_tangents(tangents, arguments)
            if not _transforms_active():
                return operator.jvp(_primals(arguments), _primals(kept), tangents)
            # Autograd turns forward mode off in here, and with it the outer levels of nested
            # forward mode, whose tangents would silently be zero. It stays on instead, and what
            # comes in loses the tangents of the present level.
            with forward_ad._set_fwd_grad_enabled(True):
                return operator.jvp(_primals(arguments), _primals(kept), _primals(tangents))

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
            return operator._map(info, in_dims, *arguments)

    OperatorFunction.__name__ = OperatorFunction.__qualname__ = name
    return OperatorFunction
