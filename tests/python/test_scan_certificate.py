"""The certificate of scans under attack: sums that underflow where no sweep alone can see it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import logsum
import scan_oracle
from scan_oracle import Arcs, Doubles, random_arcs

# Of a value up to 100 and of shares: beyond any rounding of float64 weights of thousands.
_ALLOWED = 1e-10


def excess(arcs: Arcs, graph: Any, ms: Doubles, v0: Doubles, vt: Doubles) -> float:
    """Return the largest error of values and shares, infinite where one is lost."""
    values = logsum.logZ(ms, graph, v0, vt)
    exact = scan_oracle.logz(arcs, ms, v0, vt)
    shares = logsum.marginals(ms, graph, v0, vt)
    slopes = scan_oracle.gradient(np.ones(len(v0)), arcs, ms, v0, vt)[0]
    wanted = exact.astype(float)
    if not np.array_equal(np.isfinite(values), np.isfinite(wanted)):
        return np.inf
    here = np.isfinite(wanted)
    errors = np.abs(values[here] - wanted[here]) / np.maximum(1, np.abs(wanted[here]) / 100)
    return float(max(errors.max(initial=0), np.abs(shares - slopes.astype(float)).max()))


# ---- two-sided flushes -----------------------------------------------------------------------


def two_sided(steps: int, early: Doubles, late: Doubles) -> tuple[Any, ...]:
    """Return paths that the forward sweep loses early and the backward sweep late.

    State 0 outweighs all others from the start and never ends; state 1 outweighs all others
    backward from the end and never starts. The paths that count keep to a state of their own each,
    which pays `early` in its first step and `late` in its last.
    """
    own = len(early)
    source = np.arange(own + 2)
    graph = logsum.Graph.from_arcs(source, source, own + 2)
    ms = np.zeros((steps, 1, own + 2))
    ms[0, 0, 2:], ms[-1, 0, 2:] = -early, -late
    v0, vt = np.zeros((2, 1, own + 2))
    v0[0, 1] = vt[0, 0] = -np.inf
    return Arcs.of_lists(source, source, own + 2), graph, ms, v0, vt


@pytest.mark.parametrize("steps", [2, 5, 33])
def test_flushed_on_both_sides(steps: int) -> None:
    """Whichever side a path is lost on, and however little, it is not lost."""
    depths = [0.0, 300.0, 680.0, 708.0, 710.0, 745.0, 746.0, 1400.0, 5000.0]
    for one in depths:
        for other in depths:
            early, late = np.array([one, one + 0.5, 0.0]), np.array([other, other, one + other])
            assert excess(*two_sided(steps, early, late)) <= _ALLOWED, (one, other)


@pytest.mark.parametrize("seed", range(6))
def test_flushed_here_and_there(seed: int) -> None:
    """Many paths of about the same weight, each lost elsewhere."""
    rng = np.random.default_rng(seed)
    total = 10 ** rng.uniform(2.3, 3.5)
    early = rng.uniform(0, total, 12)
    late = total - early + rng.uniform(0, 2, 12)
    assert excess(*two_sided(int(rng.integers(2, 40)), early, late)) <= _ALLOWED


# ---- directed search -------------------------------------------------------------------------


def _moved(x: Doubles, rng: np.random.Generator) -> Doubles:
    """Return weights of which some are changed, by little, by much, or for ever."""
    chosen = rng.random(x.shape) < rng.choice([0.03, 0.2, 0.6])
    step = 10.0 ** rng.uniform(-1, 3) * rng.standard_normal(x.shape)
    other = np.where(rng.random(x.shape) < 0.1, -np.inf, np.where(np.isfinite(x), x, 0) + step)
    return np.where(chosen, np.clip(other, -np.inf, 3000), x)


@pytest.mark.parametrize("seed", range(8))
def test_search(seed: int) -> None:
    """Climbing towards the largest error, on graphs of any degrees, does not get anywhere."""
    rng = np.random.default_rng(seed)
    states, steps = int(rng.integers(2, 6)), int(rng.integers(2, 14))
    lists = random_arcs(rng, states, int(rng.integers(states, 3 * states)))
    graph, arcs = logsum.Graph.from_arcs(*lists, states), Arcs.of_lists(*lists, states)
    spread = 10 ** rng.uniform(1, 3)
    operands = [
        spread * rng.standard_normal((steps, 1, len(lists[0]))),
        *(spread * rng.standard_normal((1, states)) for _ in range(2)),
    ]
    best = excess(arcs, graph, *operands)
    for _ in range(60):
        other = [_moved(x, rng) for x in operands]
        found = excess(arcs, graph, *other)
        assert found <= _ALLOWED
        if found >= best:
            best, operands = found, other
