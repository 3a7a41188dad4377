"""forward_scores, backward_scores and viterbi."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from logsum import _core
from logsum._dispatch import torch_face
from logsum._scan import Scan, scan_of
from logsum._semirings import semiring_name

if TYPE_CHECKING:
    from logsum._typing import ArrayT


def forward_scores(
    Ms: ArrayT, idx: Any, v0: ArrayT, semiring: Any = "log", *, lengths: Any = None
) -> ArrayT:
    """Sum the paths that lead to each state, at every step.

    Parameters
    ----------
    Ms, idx, v0, semiring, lengths
        As for `logZ`.

    Returns
    -------
    Array
        Alpha, shape (T + 1, N, C), in float32 or wider: ``alpha[t, n, c]`` sums the paths of t
        steps that end in state c, last weights left out; -inf past a sequence's length.

    Raises
    ------
    TypeError, ValueError
        As for `logZ`.
    RuntimeError
        When a gradient is asked of them: they have none. Take that of `logZ`.

    Notes
    -----
    Time T N E [1]_. Together with `backward_scores`, ``logsumexp(alpha[t] + beta[t])`` is logZ at
    every step.

    References
    ----------
    .. [1] L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
       recognition", Proceedings of the IEEE 77(2), 1989, section III.

    Examples
    --------
    >>> import numpy as np
    >>> import logsum
    >>> Ms = np.log(np.full((2, 1, 2, 2), 0.5))  # each state is followed by either
    >>> v0 = np.array([[0.0, -np.inf]])
    >>> np.exp(logsum.forward_scores(Ms, [[0, 1], [0, 1]], v0)).round(12)[:, 0]
    array([[1. , 0. ],
           [0.5, 0.5],
           [0.5, 0.5]])
    """
    face = torch_face(Ms, v0)
    if face is not None:
        return face.forward_scores(Ms, idx, v0, semiring, lengths)  # type: ignore[no-any-return]
    kind = semiring_name("forward_scores", semiring)
    scan = scan_of("forward_scores", Ms, idx, lengths, v0=v0)
    return _scores(_core.forward_scores, scan, kind)  # type: ignore[no-any-return]


def backward_scores(
    Ms: ArrayT, idx: Any, vT: ArrayT, semiring: Any = "log", *, lengths: Any = None
) -> ArrayT:
    """Sum the paths that follow each state, at every step.

    Parameters
    ----------
    Ms, idx, vT, semiring, lengths
        As for `logZ`.

    Returns
    -------
    Array
        Beta, shape (T + 1, N, C), in float32 or wider: ``beta[t, n, c]`` sums what follows state c
        after t steps, first weights left out; -inf past a sequence's length.

    Raises
    ------
    TypeError, ValueError
        As for `logZ`.
    RuntimeError
        When a gradient is asked of them: they have none. Take that of `logZ`.

    Notes
    -----
    Time T N E [1]_.

    References
    ----------
    .. [1] L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
       recognition", Proceedings of the IEEE 77(2), 1989, section III.

    Examples
    --------
    How many paths of what is left of two steps end in state 1, where one may not go back to 0:

    >>> import numpy as np
    >>> import logsum
    >>> vT = np.array([[-np.inf, 0.0]])
    >>> beta = logsum.backward_scores(np.zeros((2, 1, 2, 2)), [[0, -1], [0, 1]], vT)
    >>> np.exp(beta).round(12)[:, 0]
    array([[2., 1.],
           [1., 1.],
           [0., 1.]])
    """
    face = torch_face(Ms, vT)
    if face is not None:
        return face.backward_scores(Ms, idx, vT, semiring, lengths)  # type: ignore[no-any-return]
    kind = semiring_name("backward_scores", semiring)
    scan = scan_of("backward_scores", Ms, idx, lengths, vT=vT)
    return _scores(_core.backward_scores, scan, kind)  # type: ignore[no-any-return]


def _scores(function: Any, scan: Scan, kind: str) -> Any:
    out = np.empty((scan.steps + 1, scan.sequences, scan.graph.num_states), scan.wide)
    semiring = getattr(_core.Semiring, kind)
    function(scan.ms, scan.sorted, *scan.ends, scan.lengths, out, semiring)
    return out


def viterbi(
    Ms: ArrayT, idx: Any, v0: ArrayT, vT: ArrayT, *, lengths: Any = None
) -> tuple[ArrayT, ArrayT, ArrayT]:
    """Find the path of largest weight.

    Parameters
    ----------
    Ms, idx, v0, vT, lengths
        As for `logZ`.

    Returns
    -------
    score : Array
        Shape (N,), in float32 or wider: the weight of the path, -inf where there is none.
    states : Array
        int64, shape (T + 1, N): the states it visits; -1 past a sequence's length, and everywhere
        without a path.
    arcs : Array
        int64, shape (T, N): the slots of the arcs it takes; ``c * nz + j`` for arc j into c of an
        index.

    Raises
    ------
    TypeError, ValueError
        As for `logZ`.

    Notes
    -----
    It is one connected path, the same for every number of threads [1]_. Of equal ones it is that
    with the lowest last state and then, going back, the lowest slot into each state. The gradient
    of `score`, in `Ms`, `v0` and `vT`, is 1 along the path; states and arcs have none. Time T N E.

    References
    ----------
    .. [1] A. J. Viterbi, "Error bounds for convolutional codes and an asymptotically optimum
       decoding algorithm", IEEE Transactions on Information Theory 13(2), 1967.

    Examples
    --------
    >>> import numpy as np
    >>> import logsum
    >>> Ms = np.log([[[[0.9, 0.4], [0.1, 0.6]]]] * 3)  # from 0 or 1, to 0 and to 1
    >>> v0, vT = np.log([[0.5, 0.5]]), np.log([[0.1, 0.9]])
    >>> score, states, arcs = logsum.viterbi(Ms, [[0, 1], [0, 1]], v0, vT)
    >>> states[:, 0], arcs[:, 0]
    (array([1, 1, 1, 1]), array([3, 3, 3]))
    """
    face = torch_face(Ms, v0, vT)
    if face is not None:
        return face.viterbi(Ms, idx, v0, vT, lengths)  # type: ignore[no-any-return]
    scan = scan_of("viterbi", Ms, idx, lengths, v0=v0, vT=vT)
    score: Any = np.empty(scan.sequences, scan.wide)
    states: Any = np.empty((scan.steps + 1, scan.sequences), np.int64)
    arcs: Any = np.empty((scan.steps, scan.sequences), np.int64)
    first, last = scan.ends
    _core.viterbi(scan.ms, scan.sorted, first, last, scan.lengths, score, states, arcs)
    return score, states, arcs
