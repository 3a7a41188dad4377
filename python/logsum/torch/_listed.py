"""Operators of any number of tensors, which are one list where torch.library knows them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd import Function

from logsum.torch._operator import (
    Arguments,
    Gradients,
    Operator,
    Tensors,
    _function,
    _is_compiling,
)

_dispatch_keys = torch._C._dispatch_keys
_BATCHED: Any = torch._C._parse_dispatch_key("Batched")


class ListedOperator(Operator):
    """An operator whose last arguments are any number of tensors.

    Python's calls, autograd and forward mode have them one by one, as `Operator` does; the operator
    that torch.library knows, and compiled graphs hold, has them as a list.
    """

    fixed: ClassVar[int]
    """The arguments before the list."""

    returns_list: ClassVar[bool] = False
    """Whether the schema says Tensor[] of the results; else they are a tuple."""

    def __init__(self) -> None:
        name, bracket, rest = self.schema.partition("(")
        definition = torch.library.custom_op(
            f"logsum::{name}", self._listed, mutates_args=(), schema=bracket + rest
        )
        definition.register_fake(self._listed_fake)
        definition.register_autograd(self._listed_backward, setup_context=self._listed_setup)
        definition.register_vmap(self._listed_map)
        self.listed = getattr(torch.ops.logsum, name).default
        self.function = _function(name, self)
        self._apply_eagerly = super(Function, self.function).apply  # type: ignore[misc]

    def registered(self, *arguments: Any) -> Any:
        """Apply the operator that torch.library knows."""
        if not _is_compiling() and any(map(_in_older_vmap, arguments)):
            return self._unwrapped(_older_vmap(), arguments)
        outputs = self.listed(*self._in_list(arguments))
        return tuple(outputs) if self.returns_list else outputs

    def label(self, place: int, arguments: Arguments) -> tuple[str, str]:
        """The operation and one of its arguments; of the list by its number there."""
        name, argument = super().label(min(place, self.fixed), arguments)
        return name, argument if place < self.fixed else f"{argument}[{place - self.fixed}]"

    def _in_list(self, values: Sequence[Any]) -> tuple[Any, ...]:
        return (*values[: self.fixed], list(values[self.fixed :]))

    def _one_by_one(self, values: Sequence[Any]) -> tuple[Any, ...]:
        return (*values[:-1], *values[-1])

    def _results(self, outputs: Any) -> Any:
        return list(outputs) if self.returns_list else outputs

    def _listed(self, *arguments: Any) -> Any:
        return self._results(self.forward(*self._one_by_one(arguments)))

    def _listed_fake(self, *arguments: Any) -> Any:
        return self._results(self.allocate(*self._one_by_one(arguments)))

    def _listed_setup(self, ctx: Any, inputs: Arguments, output: Any) -> None:
        outputs: Tensors = tuple(output) if self.returns_list else output
        self._remember(ctx, self._one_by_one(inputs), outputs)

    def _listed_backward(self, ctx: Any, *grads: Any) -> Gradients:
        arguments, kept = self._recall(ctx)
        incoming = tuple(grads[0]) if self.returns_list else grads
        if all(grad is None for grad in incoming):
            found: Gradients = (None,) * len(arguments)
        else:
            needed = self._one_by_one(ctx.needs_input_grad)
            found = self.vjp(arguments, kept, incoming, needed)
        return self._in_list(found)

    def _listed_map(self, info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        outputs, dims = self._map(info, self._one_by_one(in_dims), *self._one_by_one(arguments))
        return self._results(outputs), self._results(dims)

    def _unwrapped(self, level: int, arguments: Arguments) -> Any:
        """Under torch's older vmap, which has no rules, and no loop over operators of lists."""
        # Who lacks the batch axis gets one of size 1.
        batched = [
            torch._remove_batch_dim(x, level, 1, 0) if isinstance(x, Tensor) else x
            for x in arguments
        ]
        size = max(x.shape[0] for x in batched if isinstance(x, Tensor))
        dims = tuple(0 if isinstance(x, Tensor) and x.shape[0] == size else None for x in batched)
        given = [
            x[0] if isinstance(x, Tensor) and dim is None else x
            for x, dim in zip(batched, dims, strict=True)
        ]
        outputs, _ = self._map(SimpleNamespace(batch_size=size), dims, *given)
        if size == 1:
            return tuple(x[0] for x in outputs)
        return tuple(torch._add_batch_dim(x, 0, level) for x in outputs)


def _in_older_vmap(value: Any) -> bool:
    return isinstance(value, Tensor) and _dispatch_keys(value).has(_BATCHED)


def _older_vmap() -> int:
    """The level of torch's older vmap, which `is_grads_batched` runs."""
    level: int = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    return level
