"""How logeinsumexp goes about it: what is copied, and in which order operands are joined."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import logsum
from einsum_oracle import Array, assert_close, brute_force, random_operands
from logsum import _einsum_path, _einsum_run
from logsum._einsum import _ARRAYS
from logsum._einsum_plan import make_plan


@pytest.mark.parametrize(
    "equation", ["ij,jk->ik", "ji,kj->ik", "bij,bjk->bik", "aibj,jck->abcik", "iij,jk->ik"]
)
def test_operands_are_not_copied(equation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Array] = []

    def spy(A: Array, B: Array, *, semiring: str) -> Any:
        seen.extend((A, B))
        return logsum.logmatmulexp(A, B, semiring=semiring)

    monkeypatch.setattr(_einsum_run, "logmatmulexp", spy)
    terms = equation.partition("->")[0].split(",")
    operands = random_operands([(3,) * len(term) for term in terms])
    logsum.logeinsumexp(equation, *operands)
    assert len(seen) == 2
    assert all(any(np.shares_memory(part, whole) for whole in operands) for part in seen)


def test_nothing_larger_than_the_results_of_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def spy(A: Array, B: Array, *, semiring: str) -> Any:
        out = logsum.logmatmulexp(A, B, semiring=semiring)
        sizes.append(out.size)
        return out

    monkeypatch.setattr(_einsum_run, "logmatmulexp", spy)
    start, *chain = random_operands(((50,), *((50, 50),) * 6))
    logsum.logeinsumexp("a,ab,bc,cd,de,ef,fg->g", start, *chain)
    assert sizes == [50] * 6


@pytest.mark.parametrize("semiring", ["log", "max"])
@pytest.mark.parametrize("output", ["", "i", "ai"])
def test_joins_of_more_axes_than_the_library_takes(output: str, semiring: str) -> None:
    equation = f"abcde,fghi,abcfg,dehi->{output}"
    operands = random_operands(((2,) * 5, (2,) * 4, (2,) * 5, (2,) * 4))
    shapes = tuple(operand.shape for operand in operands)
    # Two products of nine axes, then one that sums over them.
    plan = make_plan(equation, shapes, order=lambda *_: ((0, 1), (2, 3), (4, 5)))
    result = _einsum_run.run(plan, operands, semiring, _ARRAYS)
    assert_close(result, brute_force(equation, operands, semiring), operands, "float64")


def work_of(
    pairs: _einsum_path.Pairs, inputs: Sequence[tuple[str, ...]], output: str, sizes: dict[str, int]
) -> int:
    live = dict(enumerate(map(set, inputs)))
    total = 0
    for number, (one, other) in enumerate(pairs, start=len(inputs)):
        union = live.pop(one) | live.pop(other)
        total += math.prod(sizes[label] for label in union)
        live[number] = union & set(output).union(*live.values())
    assert list(live.values()) == [set(output)]
    return total


def every_order(count: int) -> list[_einsum_path.Pairs]:
    def extend(live: list[int], made: int) -> list[list[tuple[int, int]]]:
        if len(live) == 1:
            return [[]]
        return [
            [pair, *rest]
            for pair in itertools.combinations(live, 2)
            for rest in extend([k for k in live if k not in pair] + [made], made + 1)
        ]

    return [tuple(order) for order in extend(list(range(count)), count)]


def test_few_operands_are_joined_in_the_best_order() -> None:
    rng = np.random.default_rng(6)
    for _ in range(30):
        count = int(rng.integers(3, 6))
        sizes = {label: int(rng.integers(1, 20)) for label in "abcdef"}
        inputs = [
            tuple(rng.permutation(list("abcdef"))[: rng.integers(1, 4)]) for _ in range(count)
        ]
        holders = [label for labels in inputs for label in labels]
        once = {label for label in holders if holders.count(label) == 1}
        output = "".join(sorted(once))
        pairs = _einsum_path.joining_order(tuple(inputs), tuple(output), tuple(sizes.items()))
        best = min(work_of(order, inputs, output, sizes) for order in every_order(count))
        assert work_of(pairs, inputs, output, sizes) == best


def test_many_operands_are_joined_greedily_and_cheaply() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    inputs = tuple(itertools.pairwise(letters))
    sizes = dict.fromkeys(letters, 10)
    pairs = _einsum_path.joining_order(inputs, ("a", "z"), tuple(sizes.items()))
    # Any order of a chain without outer products: a product of 10 x 10 matrices for each join.
    assert work_of(pairs, inputs, "az", sizes) == 24 * 1000
