"""How the arguments of attention's operators follow one another, and what they say of a point.

A slot is the number of an array among q, k, v, mask, bias, sinks, lengths_q, lengths_k and then the
arrays of the score formula. Sets of slots are the bits of an integer, which any graph may carry;
the tensors that belong to a set follow in the order of their slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from logsum._attention import core_options
from logsum._attention_arguments import Options
from logsum.torch._attention_vmap import joined, joins_batch, looped
from logsum.torch._listed import ListedOperator
from logsum.torch._operator import Arguments
from logsum.torch._tensors import optional_view, view

OPERANDS = 8
OPTIONS = len(Options._fields)
OPERANDS_SCHEMA = (
    "Tensor q, Tensor k, Tensor v, Tensor? mask, Tensor? bias, Tensor? sinks, "
    "Tensor? lengths_q, Tensor? lengths_k"
)
OPTIONS_SCHEMA = (
    "int causal, int window_left, int window_right, float scale, float softcap, str score, "
    "str score_names"
)
SMOOTH = (0, 1, 2, 4, 5)  # q, k, v, bias, sinks: where, beside the score's arrays, slopes are
_BIAS = 4

BySlot = dict[int, Tensor]  # in the order of slots


class Point(NamedTuple):
    """Where a derivative is taken: the arguments of attention, and its results for them."""

    operands: Arguments
    results: Arguments  # out and lse
    options: Options
    score_args: Arguments

    @property
    def sources(self) -> Arguments:
        """The arrays of all slots."""
        return (*self.operands, *self.score_args)

    def core_arrays(self) -> tuple[Any, ...]:
        """The operands and the score's arrays as the C++ calls take them."""
        return (*map(optional_view, self.operands), [view(x) for x in self.score_args])

    def core_slots(self, found: BySlot) -> tuple[Any, ...]:
        """What belongs to slots as the C++ calls take it, None where there is nothing."""
        views = [optional_view(found.get(slot)) for slot in range(len(self.sources))]
        return (*(views[slot] for slot in SMOOTH), views[OPERANDS:])

    def core_options(self) -> tuple[Any, ...]:
        """The options as the C++ calls take them."""
        return core_options(self.options)


class AttentionOperator(ListedOperator):
    """An operator whose arguments are incoming gradients, operands, results, options and sets.

    Behind these, in the list, come the arrays of the score and what moves along a direction.
    """

    incoming: ClassVar[int] = 0
    """The arguments before the operands."""

    results: ClassVar[int] = 0
    """The arguments between operands and options."""

    sets: ClassVar[tuple[str, ...]] = ()
    """The sets of slots behind the options: of `wanted` derivatives, and of what is `moving`."""

    def __init_subclass__(cls) -> None:
        """Say where the list begins."""
        super().__init_subclass__()
        cls.fixed = cls.incoming + OPERANDS + cls.results + OPTIONS + len(cls.sets)

    def point(self, arguments: Arguments) -> Point:
        """The point that the arguments are of."""
        results = self.incoming + OPERANDS
        options = results + self.results
        chosen = Options(*arguments[options : options + OPTIONS])
        return Point(
            operands=arguments[self.incoming : results],
            results=arguments[results : min(results + 2, options)],
            options=chosen,
            score_args=arguments[self.fixed : self.fixed + _count(chosen)],
        )

    def slots(self, name: str, arguments: Arguments) -> list[int]:
        """One of the sets."""
        bits = arguments[self.fixed - len(self.sets) + self.sets.index(name)]
        return [slot for slot in range(bits.bit_length()) if bits >> slot & 1]

    def direction(self, values: Sequence[Any], arguments: Arguments) -> BySlot:
        """Of values for all arguments those for what moves, less those that are None."""
        return present((slot, values[place]) for slot, place in self._moving(arguments).items())

    def of_sources(self, values: Sequence[Any], arguments: Arguments) -> BySlot:
        """Of values for all arguments those for arrays with slopes, less those that are None."""
        return present((slot, values[place]) for slot, place in self._smooth(arguments).items())

    def needed_sources(self, needed: Sequence[bool], arguments: Arguments) -> list[int]:
        """The arrays that need a gradient."""
        return [slot for slot, place in self._smooth(arguments).items() if needed[place]]

    def needed_tangents(self, needed: Sequence[bool], arguments: Arguments) -> list[int]:
        """The arrays whose tangents need a gradient."""
        return [slot for slot, place in self._moving(arguments).items() if needed[place]]

    def in_places(
        self, arguments: Arguments, by_source: BySlot, by_tangent: BySlot | None = None
    ) -> list[Tensor | None]:
        """What was found for arrays and tangents, as a list for all arguments."""
        values: list[Tensor | None] = [None] * len(arguments)
        for slot, value in by_source.items():
            values[self._place(slot)] = value
        for slot, value in (by_tangent or {}).items():
            values[self._moving(arguments)[slot]] = value
        return values

    def _smooth(self, arguments: Arguments) -> dict[int, int]:
        """The places of arrays that are there and have slopes."""
        sources = self.point(arguments).sources
        floating = (k for k in range(OPERANDS, len(sources)) if sources[k].is_floating_point())
        slots = (*(k for k in SMOOTH if sources[k] is not None), *floating)
        return {slot: self._place(slot) for slot in slots}

    def _moving(self, arguments: Arguments) -> dict[int, int]:
        """The places of tangents."""
        slots = self.slots("moving", arguments)
        first = len(arguments) - len(slots)
        return {slot: first + k for k, slot in enumerate(slots)}

    def _place(self, slot: int) -> int:
        return self.incoming + slot if slot < OPERANDS else self.fixed + slot - OPERANDS

    def _map(self, info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        moving = self.slots("moving", arguments) if "moving" in self.sets else []
        # A gradient of what the entries share is theirs, not the sum over them.
        shared = "wanted" in self.sets and max(self.slots("wanted", arguments), default=0) >= _BIAS
        has_score = bool(self.point(arguments).options.score)
        size = info.batch_size
        if size and not shared and not has_score and joins_batch(in_dims, self.incoming, moving):
            outputs = self(*joined(arguments, in_dims, size, self.incoming, moving))
            found = tuple(x.unflatten(0, (size, -1)) for x in outputs)
            return found, (0,) * len(found)
        return looped(self, size, in_dims, arguments)


def _count(options: Options) -> int:
    return len(options.score_names.split())


def bits(slots: Iterable[int]) -> int:
    """A set of slots as an integer."""
    return sum(1 << slot for slot in slots)


def present(pairs: Iterable[tuple[int, Any]]) -> BySlot:
    """Those of the tensors that are there, and not zero by what autograd knows."""
    return {slot: x for slot, x in pairs if x is not None and not x._is_zerotensor()}
