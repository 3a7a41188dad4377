"""What logeinsumexp does with operands of given shapes, as views and products, before it does it.

Indices of size one are dropped first and put back last: an operand that has one where others have
more is a constant factor there. Then every operand loses what only it has, and joins follow, each
a batched matrix product, or where no index is summed (or none is left) an elementwise one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple, TypeAlias

from logsum._arguments import MAX_AXES
from logsum._einsum_equation import Equation, Labels, index_sizes, parse
from logsum._einsum_path import Pairs, joining_order

Shape: TypeAlias = tuple[int, ...]
Order: TypeAlias = Callable[[tuple[Labels, ...], Labels, tuple[tuple[str, int], ...]], Pairs]


class Preparation(NamedTuple):
    """What an operand goes through alone."""

    diagonals: tuple[tuple[int, int], ...]  # pairs of axes, one after the other, that become one
    shape: Shape  # without the axes of size one
    reduced: tuple[int, ...]  # axes to sum over


class Layout(NamedTuple):
    """Axes in a new order, then in another shape."""

    order: tuple[int, ...]
    shape: Shape


class Join(NamedTuple):
    """One product of two operands or results, by number."""

    left: int
    right: int
    is_matrix: bool  # a matrix product; else elementwise
    left_layout: Layout
    right_layout: Layout
    reduced: tuple[int, ...]  # axes to sum over after an elementwise one
    shape: Shape  # of the result, an axis for each index


class Plan(NamedTuple):
    """All steps, and the view of the last result that is returned."""

    preparations: tuple[Preparation, ...]
    joins: tuple[Join, ...]
    result: Layout

    @property
    def roundings(self) -> int:
        """How often a number is rounded to the dtype that stores it on its way to the result."""
        alone = sum(bool(preparation.reduced) for preparation in self.preparations)
        return alone + sum(1 + bool(join.reduced) for join in self.joins)


def make_plan(
    equation: str,
    shapes: tuple[Shape, ...],
    read: Callable[[str, tuple[int, ...]], Equation] = parse,
    order: Order = joining_order,
) -> Plan:
    """Plan an equation for operands of these shapes; the searches are arguments for tracers."""
    inputs, output = read(equation, tuple(len(shape) for shape in shapes))
    sizes = index_sizes(inputs, shapes)
    wide = [label for label in sizes if sizes[label] != 1]
    kept = tuple(label for label in output if label in wide)

    preparations = []
    slots: list[Labels] = []
    holders = [_present(labels, shape, wide) for labels, shape in zip(inputs, shapes, strict=True)]
    for k, (labels, own) in enumerate(zip(inputs, holders, strict=True)):
        others = [label for i, held in enumerate(holders) if i != k for label in held]
        lonely = [label for label in own if label not in others and label not in kept]
        preparations.append(
            Preparation(
                _diagonals(labels),
                tuple(sizes[label] for label in own),
                tuple(own.index(label) for label in lonely),
            )
        )
        slots.append(tuple(label for label in own if label not in lonely))

    pairs: Pairs = ((0, 1),) if len(slots) == 2 else ()
    if len(slots) > 2:
        pairs = order(tuple(slots), kept, tuple((label, sizes[label]) for label in wide))
    joins: list[Join] = []
    live = dict(enumerate(slots))
    for left, right in pairs:
        one, other = live.pop(left), live.pop(right)
        last = not live
        open_labels = {*kept, *(label for labels in live.values() for label in labels)}
        wanted = kept if last else ()
        join, labels = _join((left, right), one, other, open_labels, sizes, wanted)
        live[len(slots) + len(joins)] = labels
        joins.append(join)
    (labels,) = live.values()
    result = Layout(
        tuple(labels.index(label) for label in kept), tuple(sizes[label] for label in output)
    )
    return Plan(tuple(preparations), tuple(joins), result)


cached_plan = lru_cache(maxsize=512)(make_plan)


def _present(labels: Labels, shape: Sequence[int], wide: Sequence[str]) -> Labels:
    """The indices of an operand after its diagonals, less those along which it has size one.

    A diagonal's axis comes last, as numpy.diagonal and torch.diagonal put it.
    """
    sizes = dict(zip(labels, shape, strict=True))
    present = list(labels)
    for label in labels:
        while present.count(label) > 1:
            present = _without_pair(present, label)
    return tuple(label for label in present if label in wide and sizes[label] != 1)


def _diagonals(labels: Labels) -> tuple[tuple[int, int], ...]:
    """The pairs of axes that hold one index, each numbered after the earlier ones have merged."""
    pairs = []
    present = list(labels)
    for label in labels:
        while present.count(label) > 1:
            first = present.index(label)
            pairs.append((first, present.index(label, first + 1)))
            present = _without_pair(present, label)
    return tuple(pairs)


def _without_pair(labels: list[str], label: str) -> list[str]:
    first = labels.index(label)
    second = labels.index(label, first + 1)
    rest = [each for place, each in enumerate(labels) if place not in (first, second)]
    return [*rest, label]


def _join(
    numbers: tuple[int, int],
    one: Labels,
    other: Labels,
    open_labels: set[str],
    sizes: dict[str, int],
    output: Labels,
) -> tuple[Join, Labels]:
    """Lay out a product, and say which index each of its result's axes has.

    `output` is the order in which the indices are wanted, empty for any.
    """

    def extents(labels: Sequence[str]) -> Shape:
        return tuple(sizes[label] for label in labels)

    def layout(labels: Labels, order: Sequence[str], shape: Shape) -> Layout:
        return Layout(tuple(labels.index(label) for label in order if label in labels), shape)

    shared = [label for label in one if label in other]
    batch = [label for label in shared if label in open_labels]
    # Summed axes become one; in the order of the larger operand, which is more likely to have them
    # side by side, so that this copies nothing.
    larger = one if prod(extents(one)) >= prod(extents(other)) else other
    inner = [label for label in larger if label in shared and label not in batch]
    rows = [label for label in one if label not in other]
    columns = [label for label in other if label not in one]
    if not inner or not (rows or columns):
        # Elementwise; what is summed of it is no larger than the operands, which a matrix product
        # with one row and one column would spend itself on.
        order = output if output and not inner else (*batch, *rows, *columns)
        union = (*order, *inner)
        shapes = [
            tuple(sizes[label] if label in labels else 1 for label in union)
            for labels in (one, other)
        ]
        if inner and len(union) > MAX_AXES:
            shapes = [(prod(extents(batch)), prod(extents(inner)))] * 2
        layouts = layout(one, union, shapes[0]), layout(other, union, shapes[1])
        reduced = tuple(range(-len(inner), 0)) if len(union) == len(shapes[0]) else (-1,)
        return Join(*numbers, False, *layouts, reduced, extents(order)), order

    # The longest row and column are the matrix's, unless the output wants another column innermost.
    # The others are batch axes which one operand lacks: the product repeats it without a copy.
    height = _take_longest(rows, sizes)
    wanted = [label for label in columns if output and label == output[-1]]
    width = _take_longest(columns, sizes, wanted)
    front, above, beside = extents(batch), extents(rows), extents(columns)
    if len(front) + len(above) + len(beside) + 2 > MAX_AXES:
        front, above, beside = (prod(front),), (prod(above),), (prod(beside),)
    depth = prod(extents(inner))
    labels = (*batch, *rows, *columns, *height, *width)
    left_shape = (*front, *above, *(1 for _ in beside), prod(extents(height)), depth)
    right_shape = (*front, *(1 for _ in above), *beside, depth, prod(extents(width)))
    join = Join(
        *numbers,
        True,
        layout(one, (*batch, *rows, *height, *inner), left_shape),
        layout(other, (*batch, *columns, *inner, *width), right_shape),
        (),
        extents(labels),
    )
    return join, labels


def _take_longest(
    labels: list[str], sizes: dict[str, int], wanted: Sequence[str] = ()
) -> tuple[str, ...]:
    """Take the longest index, or the wanted one, out of the list; nothing from an empty one."""
    if not labels:
        return ()
    longest = (wanted or labels)[0]
    for label in wanted or labels:
        longest = label if sizes[label] > sizes[longest] else longest
    labels.remove(longest)
    return (longest,)
