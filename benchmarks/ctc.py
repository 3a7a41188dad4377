"""Cases of CTC: the loss with its gradient, hard inputs, errors and memory.

Titles give shapes as T x N x C, and the labels of a target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import accuracy
import ctc_work as work
import numpy as np
import peers
from harness import Case, Work
from memory import peak_growth
from records import judge

import logsum

torch = peers.torch

# Beyond half an ulp of a float32 loss there is only float64's own error.
_WORST = 1e-9
_THREADS = 2  # of the measurement of memory


# ---- cases ---------------------------------------------------------------------------------


def _small(shape: work.Shape, labels: tuple[int, int]) -> tuple[work.Shape, tuple[int, int]]:
    """Return a shape for tests: fewer and shorter sequences, shorter targets."""
    steps, count, classes = shape
    few = max(2, labels[0] // 10), max(2, labels[1] // 10)
    return (max(40, steps // 10), max(1, count // 16), min(classes, 50)), few


def cases(*, quick: bool = False) -> list[Case]:
    """Return the cases; `quick` shrinks all axes, names and checks stay."""

    def case(
        name: str,
        call: str,
        build: Callable[..., Work],
        shape: work.Shape,
        labels: tuple[int, int],
        **rest: Any,
    ) -> Case:
        options = rest.pop("options", {})
        used, counts = _small(shape, labels) if quick else (shape, labels)
        title = f"{call}, {' x '.join(map(str, used))}, {counts[0]} to {counts[1]} labels"
        return Case(name, title, partial(build, shape=used, labels=counts, **options), **rest)

    notebook, targets = (500, 128, 20), (80, 100)
    chosen = [
        case("ctc-alone", "ctc_loss", work.alone, notebook, targets),
        case(
            "ctc-max",
            "ctc_loss of max",
            work.alone,
            notebook,
            targets,
            options={"semiring": "max"},
        ),
    ]
    if not torch:
        return chosen
    return [
        case(
            "ctc-gradient",
            "ctc_loss and gradient",
            work.with_gradient,
            notebook,
            targets,
            floors={"torch": {1: 40, 2: 60}},
            headline=True,
        ),
        case(
            "ctc-one",
            "ctc_loss and gradient",
            work.with_gradient,
            (500, 1, 20),
            targets,
            floors={"torch": {2: 25}},
            headline=True,
        ),
        case(
            "ctc-logits",
            "ctc_loss and gradient from logits",
            work.with_gradient,
            (1000, 16, 5000),
            (50, 100),
            options={"logits": True},
            floors={"torch": {2: 10}},
            headline=True,
        ),
        case(
            "ctc-short",
            "ctc_loss and gradient",
            work.with_gradient,
            (100, 32, 32),
            (10, 30),
            floors={"torch": {2: 20}},
            headline=True,
        ),
        case(
            "ctc-repaired",
            "ctc_loss and gradient, confidently wrong",
            work.with_gradient,
            notebook,
            targets,
            options={"repaired": True},
            floors={"torch": 12},
            headline=True,
        ),
        case(
            "ctc-float64",
            "ctc_loss and gradient of float64",
            work.with_gradient,
            notebook,
            targets,
            options={"dtype": np.float64},
        ),
        *chosen,
    ]


# ---- accuracy ------------------------------------------------------------------------------


def _inputs(*, quick: bool) -> Iterator[tuple[str, work.Batch]]:
    """Yield kinds of batch."""
    shape, labels = ((60, 4, 20), (8, 10)) if quick else ((500, 32, 20), (80, 100))
    for scale in (1, 10, 100, 1000):
        made = work.batch(np.random.default_rng(11), shape, labels, np.float32, logits=True)
        frames = work.log_softmax(scale * made.frames)
        yield f"normal scores, sd {scale}", work.Batch(frames, *made.arguments[1:])
    made = work.batch(np.random.default_rng(12), shape, labels, np.float32, logits=False)
    yield "losses to 1e5", work.Batch(made.frames - 200, *made.arguments[1:])
    yield "confidently wrong", work.wrong(np.random.default_rng(13), shape, labels)
    sparse = np.where(
        np.random.default_rng(14).random(made.frames.shape) < 0.1, -np.inf, made.frames
    )
    sparse[..., 0] = made.frames[..., 0]
    yield "a tenth of them -inf", work.Batch(sparse, *made.arguments[1:])


def worst_errors(*, quick: bool = False) -> dict[str, Any]:
    """Return the worst errors of float32 losses by kind of input and contender."""
    kinds = dict(_inputs(quick=quick))
    by_frames = {id(made.frames): made for made in kinds.values()}

    def ours(frames: np.ndarray) -> Any:
        return logsum.ctc_loss(*by_frames[id(frames)].arguments, reduction="none")

    def theirs(frames: np.ndarray) -> Any:
        tensors = [torch.from_numpy(x) for x in by_frames[id(frames)].arguments]
        return torch.nn.functional.ctc_loss(*tensors, reduction="none")

    calls: dict[str, Callable[[np.ndarray], Any]] = {peers.OURS: ours}
    if torch:
        calls["torch"] = theirs
    return accuracy.worst_errors(
        ((kind, made.frames) for kind, made in kinds.items()),
        calls,
        lambda frames: work.reference(by_frames[id(frames)]),
        at_most=_WORST,
    )


# ---- what belongs to no case ---------------------------------------------------------------


def floors(*, quick: bool = False) -> list[dict[str, Any]]:
    """Return the judgements of the loss's relative error, and of memory."""
    shape, labels = ((60, 4, 20), (8, 10)) if quick else ((500, 128, 20), (80, 100))
    made = work.batch(np.random.default_rng(15), shape, labels, np.float32, logits=False)
    exact = work.reference(made)
    losses = logsum.ctc_loss(*made.arguments, reduction="none")
    error = float(np.abs(losses / exact - 1).max())
    judged = [judge("relative error of float32 losses near 1000", error, at_most=6e-8)]
    grown = _memory(made) if torch else None
    if grown is not None:
        steps, _, classes = shape
        longest = int(made.lengths.max())
        stated = _THREADS * steps * ((2 * longest + 1) * 16 + 128 + 8 * classes)
        allowed = stated + made.frames.nbytes + (1 << 20)
        what = "peak memory of forward and backward, over what is stated"
        judged.append(judge(what, grown / allowed, at_most=1))
    return judged


def _memory(made: work.Batch) -> int | None:
    leaf = torch.from_numpy(made.frames).requires_grad_()
    rest = [torch.from_numpy(x) for x in made.arguments[1:]]

    def both() -> Any:
        return torch.autograd.grad(logsum.ctc_loss(leaf, *rest), leaf)

    logsum.set_num_threads(_THREADS)
    try:
        both()  # pages code in and starts threads
        return peak_growth(both)
    finally:
        logsum.set_num_threads(0)
