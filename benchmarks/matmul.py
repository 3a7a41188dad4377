"""Cases of the log-space matrix product: shapes, worst cases, gradients, errors and memory.

Titles give shapes as M x K x N.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import accuracy
import matmul_work as work
import numpy as np
import peers
from harness import Case, Limit, Work
from memory import peak_growth
from records import judge

import logsum

torch = peers.torch

# The bounds on the worst float32 error over all inputs tried, by the number of terms.
_WORST = {512: 1e-6, 4096: 2e-6}
_MATRICES = 6
_OVER_SEMIRING_EINSUM = 200


# ---- cases ---------------------------------------------------------------------------------


def cases(*, quick: bool = False) -> list[Case]:
    """Return the cases; `quick` shrinks the longest axes a hundredfold, names and checks stay."""

    def case(
        name: str, call: str, build: Callable[..., Work], shape: tuple[int, ...], **rest: Any
    ) -> Case:
        options = rest.pop("options", {})
        longest = max(shape)
        used = tuple(max(2, n // 100) if quick and n == longest else n for n in shape)
        title = call.format(" x ".join(map(str, used)))
        return Case(name, title, partial(build, shape=used, **options), **rest)

    def over_product(factor: float) -> Limit:
        return Limit(factor, work.PRODUCT)

    square = (1024, 1024, 1024)
    chosen = [
        case(
            "matmul-1024",
            "logmatmulexp, {}",
            work.product,
            square,
            limit=over_product(1.25),
            headline=True,
        ),
        case(
            "matmul-256",
            "logmatmulexp, {}",
            work.product,
            (256, 256, 256),
            limit=over_product(2),
            headline=True,
        ),
        case(
            "matmul-wide",
            "logmatmulexp, {}",
            work.product,
            (64, 64, 10_000),
            limit=over_product(1.6),
            headline=True,
        ),
        case(
            "matmul-tall",
            "logmatmulexp, {}",
            work.product,
            (1_000_000, 32, 32),
            options={"streamed": True},
            limit=Limit(1.5, work.COPY, ("Exp/f32", "Log/f32")),
            headline=True,
        ),
        case(
            "matmul-sigma-300",
            "logmatmulexp, σ = 300, {}",
            work.worst_case,
            square,
            options={"operands": work.normal(300)},
            limit=over_product(15),
            headline=True,
        ),
        case(
            "matmul-permuted",
            "logmatmulexp, -500 and 900 permuted, {}",
            work.worst_case,
            square,
            options={"operands": work.permuted},
            limit=over_product(15),
            headline=True,
        ),
        case(
            "matmul-float64",
            "logmatmulexp of float64, {}",
            work.product,
            square,
            options={"dtype": np.float64},
            limit=over_product(1.4),
            headline=True,
        ),
        case("matmul-batch", "logmatmulexp, batch of {}", work.batch, (4000, 32, 32, 32)),
        case("matmul-max", "logmatmulexp of max with argmax, {}", work.maximum, (512, 512, 512)),
    ]
    if not torch:
        return chosen
    return [
        *chosen,
        case(
            "matmul-gradient",
            "logmatmulexp and gradients, {}",
            work.gradient,
            square,
            limit=over_product(3.8),
            headline=True,
        ),
        case(
            "matmul-512",
            "logmatmulexp, {}",
            work.product,
            (512, 512, 512),
            options={"against": ("torch", "semiring-einsum")},
            floors={"semiring-einsum": _OVER_SEMIRING_EINSUM},
            headline=True,
        ),
    ]


# ---- accuracy ------------------------------------------------------------------------------


def _inputs(terms: int, rows: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield kinds of input, A and the transpose of B in one array."""
    rng = np.random.default_rng(11)
    a, b = pair = rng.standard_normal((2, rows, terms), np.float32)
    offsets = np.round(1000 * rng.standard_normal(terms)).astype(np.float32)
    pattern = np.where(rng.random((rows, terms)) < 0.5, 900, -500).astype(np.float32)
    absent = rng.random(pair.shape) < 0.5
    kinds = {f"normal, sd {scale}": scale * pair for scale in (1, 3, 30, 300, 1000)}
    kinds["offsets to ±1000 a term"] = np.stack([a + offsets, b - offsets])
    kinds["-500 and 900, permuted"] = np.stack([pattern, 400 - pattern])
    kinds["equal"] = np.stack([np.full_like(a, 1000.7), np.full_like(b, -900.1)])
    kinds["result near 0"] = np.stack([1e-3 * a - np.float32(np.log(terms)), 1e-3 * b])
    kinds["half of the entries -inf"] = np.where(absent, -np.inf, pair)
    kinds["half of A -1e38"] = np.stack([np.where(absent[0], np.float32(-1e38), a), b])
    for kind, array in kinds.items():
        yield f"{kind}, {terms} terms", array


def _contenders() -> dict[str, Callable[[np.ndarray], Any]]:
    calls: dict[str, Callable[[np.ndarray], Any]] = {
        peers.OURS: lambda x: logsum.logmatmulexp(x[0], x[1].T)
    }
    if torch:
        calls["torch"] = lambda x: work.max_trick(torch.from_numpy(x[0]), torch.from_numpy(x[1].T))
    return calls


def _errors(lengths: tuple[int, ...], *, at_most: float, quick: bool) -> dict[str, Any]:
    """Return the worst errors over all kinds of input of these numbers of terms."""
    rows = 8 if quick else 100
    return accuracy.worst_errors(
        (kind for terms in lengths for kind in _inputs(terms, rows)),
        _contenders(),
        lambda x: work.by_terms(x[0], x[1].T),
        at_most=at_most,
    )


def worst_errors(*, quick: bool = False) -> dict[str, Any]:
    """Return the worst float32 errors of up to 512 terms by kind of input and contender."""
    return _errors((2, 512), at_most=_WORST[512], quick=quick)


# ---- what belongs to no case ---------------------------------------------------------------


def floors(*, quick: bool = False) -> list[dict[str, Any]]:
    """Return the judgements of long sums, and of the memory of a product and its gradients."""
    long = _errors((4096,), at_most=_WORST[4096], quick=quick)["floor"]
    judged = [{**long, "what": f"{long['what']}, 4096 terms"}]
    n = 1024 if quick else 2048
    grown = _memory_of_gradient(n) if torch else None
    if grown is not None:
        what = f"peak memory of forward and backward, {n} x {n}, in matrices"
        judged.append(judge(what, grown / (4 * n * n), at_most=_MATRICES))
    return judged


def _memory_of_gradient(n: int) -> int | None:
    a, b = (torch.zeros(n, n, requires_grad=True) for _ in range(2))

    def both() -> Any:
        return torch.autograd.grad(logsum.logmatmulexp(a, b).sum(), (a, b))

    both()  # pages code in and starts threads
    return peak_growth(both)
