"""The operators of scans: the log partition function, scores of states, best paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from logsum import _core
from logsum._graph import graph_of
from logsum.torch._large import empty_like
from logsum.torch._operator import Arguments, Gradients, Kept
from logsum.torch._paths import picked, spread
from logsum.torch._potential import Curvature, Potential, SequenceOperator
from logsum.torch._sum import lse_dtype
from logsum.torch._tensors import optional_view, view


def _sorted(arcs: Tensor, num_states: int) -> _core.Graph:
    """The graph of arcs as they travel through operators: a contiguous int64 tensor."""
    return graph_of(arcs.numpy(), num_states)._sorted


def _gradients(ms: Tensor, v0: Tensor, vt: Tensor, keep: int) -> list[Tensor]:
    """Empty gradients, those not kept without elements but with the axis of sequences."""
    n = ms.shape[1]
    return [
        empty_like(point) if keep & 1 << k else point.new_empty(shape)
        for k, (point, shape) in enumerate(((ms, (0, n, 0)), (v0, (n, 0)), (vt, (n, 0))))
    ]


def _kept_views(slopes: Sequence[Tensor], keep: int) -> list[Any]:
    return [view(slope) if keep & 1 << k else None for k, slope in enumerate(slopes)]


class _LogZ(Potential):
    """logZ (N,), and the gradients for Ms, v0 and vT."""

    schema = (
        "logZ(Tensor Ms, Tensor v0, Tensor vT, Tensor? lengths, Tensor arcs, int num_states, "
        "str semiring, int checkpoint, int keep) -> (Tensor, Tensor, Tensor, Tensor)"
    )
    count = 3
    kept = (1, 2, 3)
    sequence_axes = (1, 0, 0)
    axes_in = (1, 0, 0, 0, None, None, None, None, None)
    axes_out = (0, 1, 0, 0)

    def is_linear(self, arguments: Arguments) -> bool:
        return bool(arguments[6] == "max")

    def allocate(self, ms: Tensor, v0: Tensor, vt: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        values = ms.new_empty((ms.shape[1],), dtype=lse_dtype(ms.dtype))
        return values, *_gradients(ms, v0, vt, rest[-1])

    def evaluate(
        self,
        outputs: tuple[Tensor, ...],
        reduction: str,
        ms: Tensor,
        v0: Tensor,
        vt: Tensor,
        lengths: Tensor | None,
        arcs: Tensor,
        num_states: int,
        semiring: str,
        checkpoint: int,
        keep: int,
    ) -> None:
        values, *slopes = outputs
        by_ms, by_v0, by_vt = _kept_views(slopes, keep)
        _core.logZ(
            view(ms),
            _sorted(arcs, num_states),
            view(v0),
            view(vt),
            optional_view(lengths),
            view(values),
            by_ms,
            by_v0,
            by_vt,
            getattr(_core.Semiring, semiring),
            checkpoint,
        )


class _LogZCovariance(Curvature):
    """The posterior mean of a direction, and its covariance with arcs, first and last states."""

    schema = (
        "logZ_covariance(Tensor Ms, Tensor v0, Tensor vT, "
        "Tensor? by_Ms, Tensor? by_v0, Tensor? by_vT, Tensor? lengths, Tensor arcs, "
        "int num_states, str semiring, int checkpoint, int keep) "
        "-> (Tensor, Tensor, Tensor, Tensor)"
    )
    count = 3
    axes_in = (1, 0, 0, 1, 0, 0, 0, None, None, None, None, None)
    axes_out = (0, 1, 0, 0)

    def allocate(self, ms: Tensor, v0: Tensor, vt: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        mean = ms.new_empty((ms.shape[1],), dtype=lse_dtype(ms.dtype))
        return mean, *_gradients(ms, v0, vt, rest[-1])

    def compute(
        self,
        outputs: tuple[Tensor, ...],
        ms: Tensor,
        v0: Tensor,
        vt: Tensor,
        by_ms: Tensor | None,
        by_v0: Tensor | None,
        by_vt: Tensor | None,
        lengths: Tensor | None,
        arcs: Tensor,
        num_states: int,
        semiring: str,
        checkpoint: int,
        keep: int,
    ) -> None:
        mean, *covariances = outputs
        _core.logZ_covariance(
            view(ms),
            _sorted(arcs, num_states),
            view(v0),
            view(vt),
            optional_view(lengths),
            optional_view(by_ms),
            optional_view(by_v0),
            optional_view(by_vt),
            view(mean),
            *_kept_views(covariances, keep),
        )


class _Scores(SequenceOperator):
    """Alpha or beta, which have no derivative."""

    axes_in = (1, 0, 0, None, None, None)
    axes_out = (1,)
    scores: ClassVar[Callable[..., None]]
    signature = (
        "(Tensor Ms, Tensor ends, Tensor? lengths, Tensor arcs, int num_states, str semiring) "
        "-> Tensor"
    )

    def allocate(self, ms: Tensor, ends: Tensor, *_: Any) -> Tensor:
        return ms.new_empty((ms.shape[0] + 1, *ends.shape), dtype=lse_dtype(ms.dtype))

    def compute(
        self,
        out: Tensor,
        ms: Tensor,
        ends: Tensor,
        lengths: Tensor | None,
        arcs: Tensor,
        num_states: int,
        semiring: str,
    ) -> None:
        graph, steps = _sorted(arcs, num_states), optional_view(lengths)
        kind = getattr(_core.Semiring, semiring)
        type(self).scores(view(ms), graph, view(ends), steps, view(out), kind)

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        raise self._underivable()

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Tensor:
        raise self._underivable()

    def _underivable(self) -> RuntimeError:
        name = self.schema.partition("(")[0]
        return RuntimeError(f"{name}: the derivative is not implemented, that of logZ is")


class _ForwardScores(_Scores):
    schema = "forward_scores" + _Scores.signature
    scores = staticmethod(_core.forward_scores)


class _BackwardScores(_Scores):
    schema = "backward_scores" + _Scores.signature
    scores = staticmethod(_core.backward_scores)


class _Viterbi(SequenceOperator):
    """The best path's score, states and arcs; the gradient of the score is one along the path."""

    schema = (
        "viterbi(Tensor Ms, Tensor v0, Tensor vT, Tensor? lengths, Tensor arcs, int num_states) "
        "-> (Tensor, Tensor, Tensor)"
    )
    kept = (1, 2)
    axes_in = (1, 0, 0, 0, None, None)
    axes_out = (0, 1, 1)

    def allocate(self, ms: Tensor, *_: Any) -> tuple[Tensor, ...]:
        steps, n = ms.shape[:2]
        return (
            ms.new_empty((n,), dtype=lse_dtype(ms.dtype)),
            ms.new_empty((steps + 1, n), dtype=torch.int64),
            ms.new_empty((steps, n), dtype=torch.int64),
        )

    def compute(
        self,
        outputs: tuple[Tensor, ...],
        ms: Tensor,
        v0: Tensor,
        vt: Tensor,
        lengths: Tensor | None,
        arcs: Tensor,
        num_states: int,
    ) -> None:
        score, states, taken = outputs
        _core.viterbi(
            view(ms),
            _sorted(arcs, num_states),
            view(v0),
            view(vt),
            optional_view(lengths),
            view(score),
            view(states),
            view(taken),
        )

    def vjp(
        self, arguments: Arguments, kept: Kept, grads: Gradients, needed: Sequence[bool]
    ) -> Gradients:
        ms, v0, vt = arguments[:3]
        grad, (states, taken) = grads[0], kept
        if grad is None:  # the others are integers
            return (None,) * 6
        by_ms = spread(grad, taken, _by_slot(ms)).reshape(ms.shape) if needed[0] else None
        by_v0 = spread(grad, states[0], v0) if needed[1] else None
        by_vt = spread(grad, _last(states), vt) if needed[2] else None
        return by_ms, by_v0, by_vt, None, None, None

    def jvp(self, arguments: Arguments, kept: Kept, tangents: Gradients) -> Gradients:
        d_ms, d_v0, d_vt = tangents[:3]
        states, taken = kept
        moved = torch.zeros_like(states[0], dtype=lse_dtype(arguments[0].dtype))
        if d_ms is not None:
            moved = moved + picked(_by_slot(d_ms), taken, (0,))
        if d_v0 is not None:
            moved = moved + picked(d_v0, states[0], ())
        if d_vt is not None:
            moved = moved + picked(d_vt, _last(states), ())
        return moved, None, None


def _by_slot(ms: Tensor) -> Tensor:
    """Weights (T, N, E) of (T, N, C, nz); flatten has no rule for gradcheck's batches."""
    return ms.reshape(*ms.shape[:2], ms.shape[2:].numel())


def _last(states: Tensor) -> Tensor:
    """The last state of each path, -1 where there is no path."""
    steps = (states >= 0).sum(0, keepdim=True) - 1
    return states.gather(0, steps.clamp(min=0)).squeeze(0)


logz = _LogZ()
logz.curvature = _LogZCovariance()
logz.curvature.potential = logz
forward_operator, backward_operator = _ForwardScores(), _BackwardScores()
viterbi_operator = _Viterbi()
