"""Cases of reductions of formulas: speed, first calls, scaling, errors and memory.

Titles give shapes as M x N, and D the dimension of the points.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import accuracy
import core_figures
import numpy as np
import peers
import reduce_work as work
from harness import Case, Work
from memory import peak_growth
from records import judge

import logsum
from logsum.tour import interleave, use_threads

# Beyond half an ulp of a float32 value: roundings of a few terms of size ten.
_WORST = 1e-6
_THREADS = 2  # of the floors of scaling and memory
_PROGRAM = "logsum_reduce_bench"  # has the hand-fused loop
_OVER_HAND_FUSED = 1.3
_SCALING = 1.7
_FIRST_CALL = 1.0  # milliseconds


# ---- cases ---------------------------------------------------------------------------------


def cases(*, quick: bool = False) -> list[Case]:
    """Return the cases; `quick` shrinks the clouds and leaves out who needs a compiler."""

    def case(
        name: str,
        title: str,
        sizes: tuple[int, int],
        arrays: Callable[..., list[np.ndarray]],
        **rest: Any,
    ) -> Case:
        used = (sizes[0] // 25 or 1, sizes[1] // 25) if quick else sizes
        options = {key: rest.pop(key) for key in ("formula", "dense", "gradients") if key in rest}
        build: Callable[..., Work] = partial(
            work.work, arrays=lambda rng: arrays(rng, *used), peer=not quick, **options
        )
        return Case(name, f"{title}, {used[0]} x {used[1]}", build, **rest)

    def clouds(dim: int, count: int) -> Callable[..., list[np.ndarray]]:
        return lambda rng, m, n: [work.cloud(rng, k, dim) for k in (m, *(n,) * (count - 1))]

    tutorial = {"formula": work.TUTORIAL, "dense": work.dense_tutorial}
    chosen = [
        case(
            "reduce-tutorial",
            "KeOps' tutorial",
            (3000, 5000),
            work.tutorial_arrays,
            **tutorial,
            floors={work.KEOPS: {2: 15}},
            headline=True,
        )
    ]
    if torch_is_there():
        chosen.append(
            case(
                "reduce-tutorial-gradient",
                "with gradients for x, y and a",
                (3000, 5000),
                work.tutorial_arrays,
                **tutorial,
                gradients=(0, 1, 2),
                floors={work.KEOPS: {2: 30}},
                headline=True,
            )
        )
    for dim, floor in ((3, 20), (16, 12), (64, 12)):
        floors: dict[str, dict[int, float]] = {work.KEOPS: {2: floor}}
        if dim == 64:
            floors["torch"] = {2: 4}
        chosen.append(
            case(
                f"reduce-gauss-{dim}",
                f"LogSumExp of a Gaussian kernel, D = {dim}",
                (5000, 5000),
                clouds(dim, 2),
                formula=work.gauss(dim),
                dense=work.dense_gauss,
                floors=floors,
                headline=dim == 64,
            )
        )
    chosen.append(
        case(
            "reduce-mean",
            "SumSoftMaxWeight of vectors, D = 64",
            (5000, 5000),
            clouds(64, 3),
            formula=work.mean(64),
            dense=work.dense_mean,
            floors={work.KEOPS: {2: 12}},
            headline=True,
        )
    )
    chosen.append(
        case(
            "reduce-one-row",
            "LogSumExp of a Gaussian kernel, D = 3",
            (1, 1_000_000),
            clouds(3, 2),
            formula=work.gauss(3),
            dense=work.dense_gauss,
        )
    )
    return chosen


def torch_is_there() -> bool:
    """Whether there are tensors to differentiate."""
    return peers.torch is not None


# ---- accuracy ------------------------------------------------------------------------------


def _inputs(*, quick: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Yield kinds of clouds."""
    count = 300 if quick else 3000
    for dim in (1, 3, 64):
        for scale in (0.1, 1, 3):
            rng = np.random.default_rng([21, dim])
            yield f"D = {dim}, sd {scale:g}", np.float32(scale) * work.cloud(rng, count, dim)
    rng = np.random.default_rng(22)
    yield "far from 0", 100 + work.cloud(rng, count, 3)
    yield "all equal", np.full((count, 3), np.float32(0.7))


def worst_errors(*, quick: bool = False) -> dict[str, Any]:
    """Return the worst errors of float32 values by kind of cloud and contender."""

    def ours(points: np.ndarray) -> Any:
        return work.gauss(points.shape[1]).made(logsum.Genred)(points[:100], points)

    def theirs(points: np.ndarray) -> Any:
        tensor = peers.torch.from_numpy(points)
        return work.dense_gauss(tensor[:100], tensor)

    calls: dict[str, Callable[[np.ndarray], Any]] = {peers.OURS: ours}
    if torch_is_there():
        calls["torch"] = theirs
    return accuracy.worst_errors(
        _inputs(quick=quick),
        calls,
        lambda points: work.by_rows(work.gauss(points.shape[1]), [points[:100], points]),
        at_most=_WORST,
    )


# ---- what belongs to no case ---------------------------------------------------------------


def floors(*, quick: bool = False) -> list[dict[str, Any]]:
    """Return the judgements of first calls, scaling, the hand-fused loop and memory.

    A quick run judges memory alone: times of small work mean nothing.
    """
    judged = _memory(2000 if quick else 20_000)
    if not quick:
        judged += [_first_call(), *_compiled_first_call(), _scaling(), *_hand_fused()]
    return judged


def _first_call() -> dict[str, Any]:
    """Judge the median time of new formulas, from their text to a result of small data."""
    rng = np.random.default_rng(23)
    arrays = work.tutorial_arrays(rng, 10, 10)
    times = []
    for k in range(50):
        formula = work.Formula(f"Square(p - a) * Exp(x + y) - {k}.5", work.TUTORIAL.aliases)
        start = perf_counter()
        formula.made(logsum.Genred)(*arrays)
        times.append(perf_counter() - start)
    what = "milliseconds of the first call of a new formula"
    return judge(what, 1e3 * float(np.median(times)), at_most=_FIRST_CALL)


def _compiled_first_call() -> list[dict[str, Any]]:
    """Judge how much longer the first call takes of who compiles."""
    theirs = work.first_calls.get(work.TUTORIAL)
    if theirs is None:
        return []
    arrays = work.tutorial_arrays(np.random.default_rng(24), 3000, 5000)
    start = perf_counter()
    work.TUTORIAL.made(logsum.Genred)(*arrays)
    ours = perf_counter() - start
    what = f"first call of the tutorial, {work.KEOPS} ({theirs:.3g} s) over ours"
    return [judge(what, theirs / ours, at_least=10)]


def _scaling() -> dict[str, Any]:
    """Judge one row of a million columns on two threads, beside one."""
    rng = np.random.default_rng(25)
    points = [work.cloud(rng, count, 3) for count in (1, 1_000_000)]
    reduction = work.gauss(3).made(logsum.Genred)

    fastest = dict.fromkeys((1, _THREADS), np.inf)
    for _ in range(4):  # in turns, and many calls a turn: a change of threads costs time itself
        for threads, before in fastest.items():
            with use_threads(threads):
                timing = interleave({peers.OURS: lambda: reduction(*points)}, budget=0.3)
            fastest[threads] = min(before, timing[peers.OURS].fastest)
    gained = fastest[1] / fastest[_THREADS]
    return judge(f"speed of one row on {_THREADS} threads over 1", gained, at_least=_SCALING)


def _hand_fused() -> list[dict[str, Any]]:
    """Judge the tutorial beside the loop that is written for it, where that is built."""
    found = [path.parent / _PROGRAM for path in core_figures.find_programs()[:1]]
    if not found or not found[0].exists():
        return []
    arrays = work.tutorial_arrays(np.random.default_rng(26), 3000, 5000)
    reduction = work.TUTORIAL.made(logsum.Genred)
    loop = f"HandFusedTutorial/f32/{logsum._core.config().cpu_target}"
    judged = []
    for threads, name in ((1, loop), (2, f"{loop}/threads2/real_time")):
        ours, theirs = [], []
        for _ in range(5):  # in turns: the machine's speed changes
            with use_threads(threads):
                timing = interleave({peers.OURS: lambda: reduction(*arrays)}, budget=0.3)
            ours.append(timing[peers.OURS].fastest * 1e9 / (3000 * 5000))
            theirs.append(_figure(found[0], name))
        judged.append(
            judge(
                f"time over the hand-fused loop, {threads} threads",
                min(ours) / min(theirs),
                at_most=_OVER_HAND_FUSED,
            )
        )
    return judged


def _figure(program: Path, name: str) -> float:
    """Return the nanoseconds a pair that a benchmark of a program takes; NaN without it."""
    command = [str(program), "--benchmark_format=json", f"--benchmark_filter=^{name}$"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return core_figures.parse(json.loads(done.stdout)).get(name, {}).get("ns") or np.nan


def _memory(size: int) -> list[dict[str, Any]]:
    """Judge what a call needs beside its results, over what is stated, for each dimension."""
    judged = []
    for dim in (3, 64):
        rng = np.random.default_rng(27)
        points = [work.cloud(rng, size, dim) for _ in range(2)]
        reduction = work.gauss(dim).made(logsum.Genred)
        with use_threads(_THREADS):
            reduction(*(x[:500] for x in points))  # pages code in and starts threads
            grown = peak_growth(lambda reduction=reduction, points=points: reduction(*points))
        if grown is not None:
            allowed = 4 * size + _THREADS * (4 << 20)
            what = f"peak memory at {size} x {size}, D = {dim}, over results and 4 MB a thread"
            judged.append(judge(what, grown / allowed, at_most=1))
    return judged
