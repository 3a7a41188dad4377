"""logZ, marginals, scores and best paths on tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from logsum._graph import INDEXED, Graph, as_index
from logsum._scan_shapes import check_scan, checkpoint_interval
from logsum.torch._integers import as_integers
from logsum.torch._partition import backward_operator, forward_operator, logz, viterbi_operator
from logsum.torch._semirings import semiring_name
from logsum.torch._tensors import as_alike, as_floating


class _Scan(NamedTuple):
    """The checked operands of a scan; a graph travels as its arcs."""

    ms: Tensor
    ends: list[Tensor]
    lengths: Tensor | None
    arcs: Tensor
    num_states: int


def _scan(function: str, ms: Any, idx: Any, lengths: Any, **ends: Any) -> _Scan:
    ms = as_floating(function, "Ms", ms)
    tensors = {name: as_alike(function, name, end, "Ms", ms) for name, end in ends.items()}
    steps = None if lengths is None else as_integers(function, "lengths", lengths)
    if isinstance(idx, Graph):
        arcs, given, states = torch.from_numpy(idx._arcs), idx._given_states, idx._states
    else:
        arcs = as_index(function, as_integers(function, "idx", idx)).contiguous()
        given, states = INDEXED, arcs.shape[0]
    check_scan(
        function,
        ms.shape,
        {name: tensor.shape for name, tensor in tensors.items()},
        None if steps is None else steps.shape,
        states,
    )
    return _Scan(ms, list(tensors.values()), steps, arcs, given)


def logZ(  # noqa: N802
    ms: Any, idx: Any, v0: Any, vt: Any, semiring: Any, lengths: Any, checkpoint: Any
) -> Tensor:
    """`logsum.logZ` for tensors."""
    kind, every = semiring_name("logZ", semiring), checkpoint_interval("logZ", checkpoint)
    scan = _scan("logZ", ms, idx, lengths, v0=v0, vT=vt)
    return logz.values(scan.ms, *scan.ends, scan.lengths, scan.arcs, scan.num_states, kind, every)


def marginals(ms: Any, idx: Any, v0: Any, vt: Any, lengths: Any) -> Tensor:
    """`logsum.marginals` for tensors."""
    scan = _scan("marginals", ms, idx, lengths, v0=v0, vT=vt)
    arguments = (scan.ms, *scan.ends, scan.lengths, scan.arcs, scan.num_states, "log", -1)
    return logz(*arguments, 1)[1]  # type: ignore[no-any-return]


def forward_scores(ms: Any, idx: Any, v0: Any, semiring: Any, lengths: Any) -> Tensor:
    """`logsum.forward_scores` for tensors."""
    kind = semiring_name("forward_scores", semiring)
    scan = _scan("forward_scores", ms, idx, lengths, v0=v0)
    return forward_operator(  # type: ignore[no-any-return]
        scan.ms, *scan.ends, scan.lengths, scan.arcs, scan.num_states, kind
    )


def backward_scores(ms: Any, idx: Any, vt: Any, semiring: Any, lengths: Any) -> Tensor:
    """`logsum.backward_scores` for tensors."""
    kind = semiring_name("backward_scores", semiring)
    scan = _scan("backward_scores", ms, idx, lengths, vT=vt)
    return backward_operator(  # type: ignore[no-any-return]
        scan.ms, *scan.ends, scan.lengths, scan.arcs, scan.num_states, kind
    )


def viterbi(ms: Any, idx: Any, v0: Any, vt: Any, lengths: Any) -> tuple[Tensor, Tensor, Tensor]:
    """`logsum.viterbi` for tensors."""
    scan = _scan("viterbi", ms, idx, lengths, v0=v0, vT=vt)
    return viterbi_operator(  # type: ignore[no-any-return]
        scan.ms, *scan.ends, scan.lengths, scan.arcs, scan.num_states
    )
