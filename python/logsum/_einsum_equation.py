"""The equations of logeinsumexp: which index stands for which axis, and how large it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from logsum._arguments import type_error, type_name, value_error

NAME = "logeinsumexp"

Labels: TypeAlias = tuple[str, ...]

_TERM = re.compile(r"([A-Za-z]*)(?:(\.\.\.)([A-Za-z]*))?")


class Equation(NamedTuple):
    """The indices of each operand's axes, and of the result's."""

    inputs: tuple[Labels, ...]
    output: Labels


def argument(k: int) -> str:
    """What an operand is called in errors."""
    return f"operands[{k}]"


@lru_cache(maxsize=512)
def parse(equation: str, ranks: tuple[int, ...]) -> Equation:
    """Read an equation for operands of so many axes each.

    The axes under an ellipsis are aligned at the right and named by their place from there. The
    output of an equation without an arrow is the ellipsis, then in alphabetical order the indices
    that occur once, as in NumPy and PyTorch.
    """
    if not isinstance(equation, str):
        raise type_error(NAME, "equation", "str", type_name(equation))
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    for term in (*terms, right):
        if _TERM.fullmatch(term) is None:
            expected = "letters, commas, at most one '...' a term and at most one '->'"
            raise value_error(NAME, "equation", expected, repr(equation))
    if len(terms) != len(ranks):
        raise value_error(NAME, "operands", f"{len(terms)} for {equation!r}", len(ranks))
    inputs = tuple(_labels(k, *pair) for k, pair in enumerate(zip(terms, ranks, strict=True)))
    width = max(sum(label.startswith("...") for label in labels) for labels in inputs)
    if not arrow:
        counts = Counter("".join(terms).replace(".", ""))
        right = "..." + "".join(sorted(index for index, count in counts.items() if count == 1))
    output = _spell(right, width)
    known = {label for labels in inputs for label in labels}
    for label in output:
        if label not in known:
            raise value_error(NAME, "equation", "output indices that an operand has", repr(label))
        if output.count(label) > 1:
            raise value_error(NAME, "equation", "each output index once", repr(equation))
    return Equation(inputs, output)


def _labels(k: int, term: str, rank: int) -> Labels:
    """The indices of an operand's axes."""
    letters = len(term.replace(".", ""))
    dotted = "." in term
    if rank < letters or (rank > letters and not dotted):
        least = "at least " if dotted else ""
        raise value_error(NAME, argument(k), f"{least}{letters} axes for {term!r}", rank)
    return _spell(term, rank - letters)


def _spell(term: str, width: int) -> Labels:
    """The indices of a term whose ellipsis stands for so many axes."""
    before, dots, after = term.partition("...")
    ellipsis = [f"...[{place}]" for place in range(-width, 0)] if dots else []
    return (*before, *ellipsis, *after)


def index_sizes(inputs: Sequence[Labels], shapes: Sequence[Sequence[int]]) -> dict[str, int]:
    """The size of every index; an axis of size one fits any."""
    sizes: dict[str, int] = {}
    for k, (labels, shape) in enumerate(zip(inputs, shapes, strict=True)):
        own: dict[str, int] = {}
        for label, size in zip(labels, shape, strict=True):
            if own.setdefault(label, size) != size:
                expected = f"equal sizes along the repeated index {label!r}"
                raise value_error(NAME, argument(k), expected, f"{own[label]} and {size}")
        for label, size in own.items():
            known = sizes.get(label, 1)
            if known != 1 and size != 1 and known != size:
                raise value_error(NAME, argument(k), f"size {known} or 1 for index {label!r}", size)
            sizes[label] = size if known == 1 else known
    return sizes
