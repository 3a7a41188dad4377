"""Cases of scans: the log partition function with its gradient, best paths, errors and memory.

Titles give shapes as T x N x C x nz.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import accuracy
import numpy as np
import peers
import scan_work as work
from harness import Case, Limit, Work
from memory import peak_growth
from records import judge

import logsum

torch = peers.torch

# Beyond half an ulp of a float32 value there is only float64's own error.
_WORST = 1e-9
_THREADS = 2  # of the measurement of memory
_GROUP = 8  # sequences in a SIMD group at most


# ---- cases ---------------------------------------------------------------------------------


def cases(*, quick: bool = False) -> list[Case]:
    """Return the cases; `quick` shrinks steps and sequences, names and checks stay."""

    def case(
        name: str, call: str, build: Callable[..., Work], shape: work.Shape, **rest: Any
    ) -> Case:
        options = rest.pop("options", {})
        used = (max(2, shape[0] // 50), max(2, shape[1] // 16), *shape[2:]) if quick else shape
        title = f"{call}, {' x '.join(map(str, used))}"
        return Case(name, title, partial(build, shape=used, **options), **rest)

    lattice = (500, 128, 201, 3)
    chosen = [
        case("scan-alone", "logZ", work.alone, lattice),
        case("scan-max", "logZ of max", work.alone, lattice, options={"semiring": "max"}),
        case(
            "scan-viterbi",
            "viterbi",
            work.alone,
            lattice,
            options={"semiring": "max", "path": True},
        ),
    ]
    if not torch:
        return chosen
    return [
        case(
            "scan-gradient",
            "logZ and gradient",
            work.with_gradient,
            lattice,
            floors={"torch": {2: 25}},
            limit=Limit(4.5, work.STREAM, threads=2),
            headline=True,
        ),
        case(
            "scan-long",
            "logZ and gradient",
            work.with_gradient,
            (20_000, 8, 32, 3),
        ),
        case(
            "scan-checkpoints",
            "logZ and gradient, one score in 22 kept",
            work.with_gradient,
            lattice,
            options={"checkpoint": 22},
        ),
        case(
            "scan-float64",
            "logZ and gradient of float64",
            work.with_gradient,
            (500, 32, 201, 3),
            options={"dtype": np.float64},
        ),
        case(
            "scan-max-gradient",
            "logZ of max and gradient",
            work.with_gradient,
            lattice,
            options={"semiring": "max"},
        ),
        *chosen,
    ]


# ---- accuracy ------------------------------------------------------------------------------


def _inputs(*, quick: bool) -> Iterator[tuple[str, work.Weights]]:
    """Yield kinds of weights."""
    shape = (30, 4, 20, 3) if quick else (500, 16, 101, 3)
    for scale in (1, 10, 100, 1000):
        yield f"normal, sd {scale}", work.weights(np.random.default_rng(11), shape, scale=scale)
    made = work.weights(np.random.default_rng(12), shape)
    yield "offset by 1000", work.Weights(made.ms + 1000, *made.arguments[1:])
    absent = np.random.default_rng(13).random(made.ms.shape) < 0.2
    for zero in (-np.inf, -1e38):
        sparse = np.where(absent, np.float32(zero), made.ms)
        yield f"a fifth of them {zero:g}", work.Weights(sparse, *made.arguments[1:])


def worst_errors(*, quick: bool = False) -> dict[str, Any]:
    """Return the worst errors of float32 values by kind of input and contender."""
    kinds = dict(_inputs(quick=quick))
    by_weights = {id(made.ms): made for made in kinds.values()}

    def theirs(ms: np.ndarray) -> Any:
        _, idx, v0, vt = (torch.from_numpy(x) for x in by_weights[id(ms)].arguments)
        alpha = work.forward_in_torch(torch.from_numpy(ms), idx, v0)
        return torch.logsumexp(alpha[-1] + vt, 1)

    calls: dict[str, Callable[[np.ndarray], Any]] = {
        peers.OURS: lambda ms: logsum.logZ(*by_weights[id(ms)].arguments)
    }
    if torch:
        calls["torch"] = theirs
    return accuracy.worst_errors(
        ((kind, made.ms) for kind, made in kinds.items()),
        calls,
        lambda ms: work.reference(by_weights[id(ms)]),
        at_most=_WORST,
    )


# ---- what belongs to no case ---------------------------------------------------------------


def floors(*, quick: bool = False) -> list[dict[str, Any]]:
    """Return the judgement of memory beyond the gradient, against what is stated."""
    shape = (100, 16, 101, 3) if quick else (500, 64, 201, 3)
    steps, _, states, width = shape
    made = work.weights(np.random.default_rng(15), shape)
    grown = _memory(made) if torch else None
    if grown is None:
        return []
    stated = _THREADS * 8 * _GROUP * (states * width + 3 * states + states * (steps + 1))
    allowed = stated + made.ms.nbytes + (1 << 20)
    what = "peak memory of forward and backward, over what is stated"
    return [judge(what, grown / allowed, at_most=1)]


def _memory(made: work.Weights) -> int | None:
    leaf = torch.from_numpy(made.ms).requires_grad_()
    rest = [torch.from_numpy(x) for x in made.arguments[1:]]

    def both() -> Any:
        return torch.autograd.grad(logsum.logZ(leaf, *rest, checkpoint=False).sum(), leaf)

    logsum.set_num_threads(_THREADS)
    try:
        both()  # pages code in and starts threads
        return peak_growth(both)
    finally:
        logsum.set_num_threads(0)
