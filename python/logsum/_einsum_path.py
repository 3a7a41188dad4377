"""The order in which the operands of logeinsumexp are joined, two at a time.

Joining two operands costs one multiply-add for each combination of their indices, and an index is
summed as soon as nobody else has it. Of the orders with the fewest multiply-adds the one that
writes the least is taken: the best of all for few operands, else a greedy one. On the cost and
both searches see D. G. A. Smith, J. Gray, "opt_einsum", JOSS 3(26), 2018.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, reduce
from operator import or_
from typing import NamedTuple, TypeAlias

from logsum._einsum_equation import Labels

Pairs: TypeAlias = tuple[tuple[int, int], ...]
"""Joins in their order: operands have the numbers 0, 1, ..., results the next ones."""

_EXACT = 8  # operands; every split of every subset is tried, 3^8 / 2 of them


@lru_cache(maxsize=512)
def joining_order(
    inputs: tuple[Labels, ...], output: Labels, sizes: tuple[tuple[str, int], ...]
) -> Pairs:
    """The joins that make one result of the operands."""
    bits = {label: 1 << place for place, (label, _) in enumerate(sizes)}
    # An empty index makes every cost zero; as one of size one it leaves the others to compare.
    extents = [max(size, 1) for _, size in sizes]
    masks = [sum(bits[label] for label in set(labels)) for labels in inputs]
    out = sum(bits[label] for label in output)

    @cache
    def volume(mask: int) -> int:
        total = 1
        for place, extent in enumerate(extents):
            if mask >> place & 1:
                total *= extent
        return total

    search = _best if len(inputs) <= _EXACT else _greedy
    return search(masks, out, volume)


class _Plan(NamedTuple):
    """What it takes to join a set of operands; compared by multiply-adds, then by memory."""

    work: int
    written: int
    split: int  # one of the two sets joined last


def _best(masks: Sequence[int], out: int, volume: Callable[[int], int]) -> Pairs:
    """Try every way to split every set of operands in two, small sets first."""
    everything = (1 << len(masks)) - 1

    @cache
    def union(chosen: int) -> int:
        return reduce(or_, (mask for k, mask in enumerate(masks) if chosen >> k & 1), 0)

    def left_over(chosen: int) -> int:
        return union(chosen) & (out | union(everything & ~chosen))

    open_indices = [left_over(chosen) for chosen in range(everything + 1)]
    plans: dict[int, _Plan] = {1 << k: _Plan(0, 0, 0) for k in range(len(masks))}
    for chosen in range(1, everything + 1):
        if chosen in plans:
            continue
        lowest = chosen & -chosen
        best: _Plan | None = None
        part = (chosen - 1) & chosen
        while part:
            if part & lowest:
                one, other = plans[part], plans[chosen ^ part]
                join = open_indices[part] | open_indices[chosen ^ part]
                plan = _Plan(
                    one.work + other.work + volume(join),
                    one.written + other.written + volume(open_indices[chosen]),
                    part,
                )
                if best is None or plan < best:
                    best = plan
            part = (part - 1) & chosen
        assert best is not None
        plans[chosen] = best

    pairs: list[tuple[int, int]] = []

    def emit(chosen: int) -> int:
        split = plans[chosen].split
        if not split:
            return chosen.bit_length() - 1
        pairs.append((emit(split), emit(chosen ^ split)))
        return len(masks) + len(pairs) - 1

    emit(everything)
    return tuple(pairs)


def _greedy(masks: Sequence[int], out: int, volume: Callable[[int], int]) -> Pairs:
    """Join again and again the pair whose result is smallest beside what it replaces.

    Whether an index of a pair is summed depends on no join of others, so a pair is rated once.
    """
    live = dict(enumerate(masks))
    rated: list[tuple[bool, int, int, int, int]] = []

    def result(one: int, other: int) -> int:
        others = (mask for k, mask in live.items() if k not in (one, other))
        return (live[one] | live[other]) & reduce(or_, others, out)

    def rate(one: int, other: int) -> None:
        grown = volume(result(one, other)) - volume(live[one]) - volume(live[other])
        strangers = not live[one] & live[other]
        work = volume(live[one] | live[other])
        heapq.heappush(rated, (strangers, grown, work, one, other))

    for one in range(len(masks)):
        for other in range(one + 1, len(masks)):
            rate(one, other)
    pairs: list[tuple[int, int]] = []
    while len(live) > 1:
        *_, one, other = heapq.heappop(rated)
        if one not in live or other not in live:
            continue
        made = len(masks) + len(pairs)
        mask = result(one, other)
        del live[one], live[other]
        pairs.append((one, other))
        live[made] = mask
        for k in live:
            if k != made:
                rate(k, made)
    return tuple(pairs)
