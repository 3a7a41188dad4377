"""Reductions of formulas as the faces hold them: parsed once, derived once, with their shapes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from logsum import _core
from logsum._arguments import value_error

NAME = "Genred"

Shape = Sequence[int]


class Definition(NamedTuple):
    """What a reduction is parsed from, as text and numbers that any graph may carry."""

    formula: str
    aliases: str  # joined by SEPARATOR
    reduction_op: str
    axis: int
    opt_arg: int
    formula2: str


SEPARATOR = "; "
SAVING, GRADIENT, TANGENT = "saving", "gradient", "tangent"


class Argument(NamedTuple):
    """What a program is given."""

    name: str
    letter: str  # of its index: "i", "j" or "" for a parameter
    tail: tuple[int, ...]  # the axes after that index: (D,), or (K, D)
    source: str
    position: int
    integer: bool

    @property
    def rank(self) -> int:
        """Axes beside those of the batch."""
        return len(self.letter) + len(self.tail)


class Output(NamedTuple):
    """What a program gives."""

    letter: str
    tail: tuple[int, ...]
    integer: bool
    saved: bool
    constant: bool  # no derivative: an index, or what rounding took from another output


class Program:
    """A reduction, its arguments and outputs, and the reductions derived from it so far.

    Attributes
    ----------
    definition : Definition
    derivations : str
        How it was derived, step by step: "saving; gradient 0 2".
    """

    def __init__(
        self,
        definition: Definition,
        derivations: str,
        reduction: _core.Reduction,
        plain: Program | None = None,
    ) -> None:
        self.definition = definition
        self.derivations = derivations
        self.reduction = reduction
        self.arguments = tuple(map(_argument, reduction.arguments()))
        self.outputs = tuple(map(_output, reduction.outputs()))
        self.results = sum(not output.saved for output in self.outputs)
        self.is_smooth = any(not output.constant for output in self.outputs)
        self.is_derived = "gradient" in derivations or "tangent" in derivations
        self.is_saving = plain is not None
        self.plain = self if plain is None else plain
        self._derived: dict[str, Program] = {}

    def saving(self) -> Program:
        """The program that gives also what derivatives need."""
        return self if self.is_saving else self.derive(SAVING)

    def gradient(self, arguments: Sequence[int]) -> Program:
        """The program of the gradients in some arguments."""
        return self.derive(" ".join([GRADIENT, *map(str, arguments)]))

    def tangent(self, arguments: Sequence[int]) -> Program:
        """The program of the outputs' tangents along those of some arguments."""
        return self.derive(" ".join([TANGENT, *map(str, arguments)]))

    def derive(self, step: str) -> Program:
        """The program of one step: "saving", "gradient 0 2", "tangent 1"."""
        found = self._derived.get(step)
        if found is None:
            kind, *arguments = step.split(" ")
            steps = SEPARATOR.join(filter(None, [self.derivations, step]))
            if kind == SAVING:
                found = Program(self.definition, steps, self.reduction.saving(), plain=self)
            else:
                derived = getattr(self.reduction, kind)(list(map(int, arguments)))
                found = Program(self.definition, steps, derived)
            self._derived[step] = found
        return found


def parse(
    formula: str, aliases: str, reduction_op: str, axis: int, opt_arg: int, formula2: str
) -> Program:
    """The program of a definition; errors point into its texts."""
    definition = Definition(formula, aliases, reduction_op, axis, opt_arg, formula2)
    listed = aliases.split(SEPARATOR) if aliases else []
    parsed = _core.Reduction.parse(formula, listed, reduction_op, axis, opt_arg, formula2)
    return Program(definition, "", parsed)


# torch.compile calls it while it traces, on constants, for a constant: a Genred may be made there.
parse._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.lru_cache(maxsize=256)
def _parsed(definition: Definition) -> Program:
    return parse(*definition)


def program_of(definition: Definition, derivations: str) -> Program:
    """The program of texts, as they travel through operators."""
    program = _parsed(definition)
    for step in filter(None, derivations.split(SEPARATOR)):
        program = program.derive(step)
    return program


def _argument(argument: _core.ReductionArgument) -> Argument:
    return Argument(
        argument.name,
        _letter(argument.index),
        _tail(argument),
        argument.source.name,
        argument.position,
        argument.integer,
    )


def _output(output: _core.ReductionOutput) -> Output:
    return Output(
        _letter(output.index), _tail(output), output.integer, output.saved, output.constant
    )


def _letter(index: _core.FormulaIndex) -> str:
    return "" if index == _core.FormulaIndex.parameter else index.name


def _tail(item: _core.ReductionArgument | _core.ReductionOutput) -> tuple[int, ...]:
    return (item.count, item.dim) if item.count else (item.dim,)


# ---- shapes --------------------------------------------------------------------------------

_SIZES = {"i": "M", "j": "N"}


def output_shapes(
    program: Program, shapes: Sequence[Shape], broadcast: Callable[..., Shape]
) -> list[tuple[int, ...]]:
    """The shapes of the outputs for arguments of some shapes, which have to fit together."""
    sizes: dict[str, tuple[int, ...]] = {"": (), "i": (1,), "j": (1,)}  # 1 for what nobody has
    holders: dict[str, Argument] = {}
    batches: list[Shape] = []
    for argument, shape in zip(program.arguments, shapes, strict=True):
        letter, tail = argument.letter, argument.tail
        axes = len(shape) - len(letter) - len(tail)
        if axes < 0 or tuple(shape[axes + len(letter) :]) != tail:
            raise value_error(NAME, argument.name, f"shape {_pattern(argument)}", tuple(shape))
        if letter:
            size = shape[axes]
            if letter not in holders:
                holders[letter], sizes[letter] = argument, (size,)
            elif (size,) != sizes[letter]:
                expected = f"{_SIZES[letter]} = {sizes[letter][0]} as {holders[letter].name} has"
                raise value_error(NAME, argument.name, expected, tuple(shape))
        if axes:
            batches.append(shape[:axes])
    batch = _batch(program, shapes, batches, broadcast) if batches else ()
    return [(*batch, *sizes[output.letter], *output.tail) for output in program.outputs]


def _batch(
    program: Program,
    shapes: Sequence[Shape],
    batches: Sequence[Shape],
    broadcast: Callable[..., Shape],
) -> tuple[int, ...]:
    first = batches[0]
    if all(batch == first for batch in batches):
        return tuple(first)
    try:
        return tuple(broadcast(*batches))
    except (RuntimeError, ValueError):
        names = ", ".join(argument.name for argument in program.arguments)
        given = ", ".join(str(tuple(shape)) for shape in shapes)
        raise value_error(NAME, names, "batch axes that broadcast together", given) from None


def _pattern(argument: Argument) -> str:
    """(..., M, 3), as people write the shape of an argument."""
    size = [_SIZES[argument.letter]] if argument.letter else []
    return f"({', '.join(['...', *size, *map(str, argument.tail)])})"
