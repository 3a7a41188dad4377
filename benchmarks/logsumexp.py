"""Cases of the array reductions: logsumexp, softmax, log_softmax, logaddexp and their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import accuracy
import logsumexp_work as work
import numpy as np
import peers
from harness import Case, Limit, Work

import logsum

torch, special = peers.torch, peers.special

# The bound on the worst error over all float32 inputs tried.
_WORST = 1e-6
_OVER_TORCH_AND_SCIPY = {"torch": 1.5, "SciPy": 3.0}
_CORE_EXP = "Exp/f32"


# ---- cases ---------------------------------------------------------------------------------


def cases(*, quick: bool = False) -> list[Case]:
    """Return the cases; `quick` shrinks the longest axis a hundredfold, names and checks stay."""

    def case(
        name: str, call: str, build: Callable[..., Work], shape: tuple[int, ...], **rest: Any
    ) -> Case:
        options = rest.pop("options", {})
        longest = max(shape)
        used = tuple(max(2, n // 100) if quick and n == longest else n for n in shape)
        return Case(
            name,
            call.format(" x ".join(str(n) for n in used)),
            partial(build, shape=used, **options),
            **rest,
        )

    chosen = [
        case(
            "logsumexp-long-rows",
            "logsumexp, {}, axis 1",
            work.reduction,
            (64, 100_000),
            options={"axis": 1},
            floors=_OVER_TORCH_AND_SCIPY,
            limit=Limit(1.25, work.READ, (_CORE_EXP,)),
            headline=True,
        ),
        case(
            "logsumexp-short-rows",
            "logsumexp, {}, axis 1",
            work.reduction,
            (100_000, 16),
            options={"axis": 1},
            floors=_OVER_TORCH_AND_SCIPY,
            headline=True,
        ),
        case(
            "logsumexp-columns",
            "logsumexp, {}, axis 0",
            work.reduction,
            (1000, 5000),
            options={"axis": 0},
            floors=_OVER_TORCH_AND_SCIPY,
            headline=True,
        ),
        case(
            "logsumexp-all",
            "logsumexp, {}, both axes",
            work.reduction,
            (2000, 2000),
            options={"axis": None},
        ),
        case(
            "logsumexp-float64",
            "logsumexp of float64, {}, axis 1",
            work.reduction,
            (64, 20_000),
            options={"axis": 1, "dtype": np.float64},
        ),
        case(
            "logsumexp-float16",
            "logsumexp of float16, {}, axis 1",
            work.reduction,
            (1000, 1000),
            options={"axis": 1, "dtype": np.float16},
        ),
        case(
            "logsumexp-weights",
            "logsumexp with weights, {}, axis 1",
            work.weighted,
            (1000, 1000),
        ),
        case(
            "softmax",
            "softmax, {}, axis 1",
            work.normalised,
            (2000, 1000),
            options={"log": False},
            headline=True,
        ),
        case(
            "log_softmax",
            "log_softmax, {}, axis 1",
            work.normalised,
            (2000, 1000),
            options={"log": True},
        ),
        case("logaddexp", "logaddexp, {}", work.added, (1_000_000,)),
        Case(
            "logsumexp-small-numpy",
            "logsumexp of 10 numbers (array)",
            partial(work.small, of_torch=False),
        ),
    ]
    if not torch:
        return chosen
    return [
        *chosen,
        Case(
            "logsumexp-small-torch",
            "logsumexp of 10 numbers (tensor)",
            partial(work.small, of_torch=True),
            {"torch": 0.5},
            headline=True,
        ),
        case(
            "logsumexp-bfloat16",
            "logsumexp of bfloat16, {}, axis 1",
            work.bfloat16,
            (1000, 1000),
        ),
        case(
            "logsumexp-gradient-long-rows",
            "logsumexp and gradient, {}, axis 1",
            work.gradient,
            (64, 100_000),
            options={"name": "logsumexp", "axis": 1},
            headline=True,
        ),
        case(
            "logsumexp-gradient-short-rows",
            "logsumexp and gradient, {}, axis 1",
            work.gradient,
            (100_000, 16),
            options={"name": "logsumexp", "axis": 1},
        ),
        case(
            "log_softmax-gradient",
            "log_softmax and gradient, {}, axis 1",
            work.gradient,
            (2000, 1000),
            options={"name": "log_softmax", "axis": 1},
        ),
    ]


# ---- accuracy ------------------------------------------------------------------------------


def _inputs(rng: np.random.Generator, *, quick: bool) -> Iterator[tuple[str, np.ndarray]]:
    rows = 20 if quick else 1000
    for scale in (1, 10, 100):
        for terms in (2, 17, 1000):
            array = scale * rng.standard_normal((rows, terms))
            yield f"normal, sd {scale}, {terms} terms", array.astype(np.float32)
    long = 10_000 if quick else 1_000_000
    yield f"equal, {long} terms", np.repeat(work.normal(rng, (4, 1), np.float32), long, axis=1)
    yield f"normal, {long} terms", work.normal(rng, (4, long), np.float32)
    gaps = np.linspace(0, 110, 10 * rows)
    yield "two terms a gap apart", np.stack([0 * gaps, -gaps], axis=1).astype(np.float32)
    yield "result near 0", (-np.log(7) + rng.normal(0, 1e-3, (rows, 7))).astype(np.float32)
    crowd = np.full((4, 100 * rows), -16, np.float32)
    crowd[:, 0] = 0
    yield "one term and a crowd of small ones", crowd
    yield "uniform to ±1e38", (1e38 * rng.uniform(-1, 1, (rows, 9))).astype(np.float32)
    sparse = work.normal(rng, (rows, 40), np.float32)
    yield "half of the terms -inf", np.where(rng.random(sparse.shape) < 0.5, -np.inf, sparse)


def worst_errors(*, quick: bool = False) -> dict[str, Any]:
    """Return the worst float32 errors by kind of input and contender."""
    calls = work.present(
        {
            peers.OURS: lambda a: logsum.logsumexp(a, -1),
            "torch": torch and (lambda a: torch.logsumexp(torch.from_numpy(a), -1)),
            "SciPy": special and (lambda a: special.logsumexp(a, -1)),
        }
    )
    return accuracy.worst_errors(
        _inputs(np.random.default_rng(11), quick=quick),
        calls,
        lambda array: work.logsumexp_of(array, -1),
        at_most=_WORST,
    )


def floors(*, quick: bool = False) -> list[dict[str, Any]]:
    """Return the floors that belong to no case: none."""
    return []
