"""logZ and marginals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from logsum import _core
from logsum._arguments import type_error
from logsum._arrays import as_floating
from logsum._dispatch import torch_face
from logsum._graph import Graph, as_graph
from logsum._integers import as_integers
from logsum._scan_shapes import check_scan, checkpoint_interval
from logsum._semirings import semiring_name

if TYPE_CHECKING:
    from logsum._typing import ArrayT


def logZ(  # noqa: N802 - the partition function's name on paper
    Ms: ArrayT,
    idx: Any,
    v0: ArrayT,
    vT: ArrayT,
    semiring: Any = "log",
    K: Any = None,
    *,
    lengths: Any = None,
    checkpoint: int | None = None,
) -> ArrayT:
    r"""Compute the log partition function of sparse transitions over time.

    .. math:: \log Z_n = \log \sum_{c_0, e_1, \dots, e_T}
       \exp\Bigl(v_0[n, c_0] + \sum_t M[t, n, e_t] + v_T[n, c_T]\Bigr)

    over all paths of T arcs through a graph of C states, or in the max semiring the largest
    exponent. Right on every input: what underflows is noticed and computed again.

    Parameters
    ----------
    Ms : Array
        Log weights of the arcs at every step, shape (T, N, C, nz) beside an index, (T, N, E) beside
        a `Graph`; float16, bfloat16 (torch), float32 or float64.
    idx : Graph, Array or list
        The arcs. Of an index of shape (C, nz), ``idx[c, j]`` is the state that arc j into c leaves,
        -1 for none. An index is sorted when first seen; a `Graph` never again.
    v0, vT : Array
        Log weights of first and last states, shape (N, C), of the dtype of `Ms`.
    semiring : {"log", "max"}, Log, Max or object, optional
        What paths are added by. An object is recognised by its `zero`, `one` and `dsum`.
    K : optional
        Ignored; seqdist has a tuning parameter here.
    lengths : Array or list, optional
        Steps of each sequence, integers of shape (N,) between 0 and T; T by default. Frames past
        them are not read, and their gradient is 0.
    checkpoint : None, False or int, optional
        For a gradient, forward scores are kept at all steps (False), or at every so many, what lies
        between being computed again. None keeps all while that is little, else one in sqrt(T).

    Returns
    -------
    Array
        Shape (N,), in float32 or wider; -inf for a sequence without a path.

    Raises
    ------
    TypeError
        For operands that are not floating arrays, or differ in dtype, or an array beside a tensor;
        lengths or an index that are not integers.
    ValueError
        For shapes that do not fit; states, lengths or a checkpoint out of range; a semiring that is
        neither.

    Notes
    -----
    Time T N E. Weights of -1e30 and below are true zeros, as seqdist's zero of -1e38: their
    gradient is 0. +inf dominates; NaN on a path gives NaN, in its own sequence only.

    Differentiable in `Ms`, `v0` and `vT`, twice; the third derivative raises RuntimeError. A
    gradient is the posterior probability of every arc (see `marginals`), or with "max" the path
    that `viterbi` finds. It is computed in the forward call, which then takes about twice as long.

    Memory a thread, with V sequences in a SIMD group (at most 8) and M the larger of E and C:
    8 V (2 M + 5 C) bytes; with a gradient 8 V (2 M + 4 C + T + C T), or C (T / k + k) for C T with
    checkpoints at every k steps; twice that for sequences whose sums leave the range of float64 and
    are computed again.

    Sums run in float64 without logarithms, rescaled by powers of two. What underflows is rounded
    up, so that a bound on it is known at the end: the result is either certified to half an ulp, or
    computed again with an exponent beside every number. This is the sum-product algorithm [1]_ on a
    sparse graph; the interface is seqdist's.

    References
    ----------
    .. [1] L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
       recognition", Proceedings of the IEEE 77(2), 1989, section III.

    Examples
    --------
    Paths of three steps between two states, of which all eight from state 0 count the same:

    >>> import numpy as np
    >>> import logsum
    >>> idx = [[0, 1], [0, 1]]
    >>> v0, vT = np.array([[0.0, -np.inf]]), np.zeros((1, 2))
    >>> float(np.exp(logsum.logZ(np.zeros((3, 1, 2, 2)), idx, v0, vT))[0].round(12))
    8.0
    """
    face = torch_face(Ms, v0, vT)
    if face is not None:
        return face.logZ(Ms, idx, v0, vT, semiring, lengths, checkpoint)  # type: ignore[no-any-return]
    kind, every = semiring_name("logZ", semiring), checkpoint_interval("logZ", checkpoint)
    scan = scan_of("logZ", Ms, idx, lengths, v0=v0, vT=vT)
    out: Any = np.empty(scan.sequences, scan.wide)
    first, last = scan.ends
    _core.logZ(
        scan.ms,
        scan.sorted,
        first,
        last,
        scan.lengths,
        out,
        None,
        None,
        None,
        getattr(_core.Semiring, kind),
        every,
    )
    return out  # type: ignore[no-any-return]


def marginals(Ms: ArrayT, idx: Any, v0: ArrayT, vT: ArrayT, *, lengths: Any = None) -> ArrayT:
    """Compute the posterior probability of every arc at every step.

    The share that paths through the arc have of all paths: the gradient of `logZ`.

    Parameters
    ----------
    Ms, idx, v0, vT, lengths
        As for `logZ`.

    Returns
    -------
    Array
        Shape and dtype of `Ms`. Over the arcs of a step it sums to 1, to 0 past a sequence's length
        and where there is no path.

    Raises
    ------
    TypeError, ValueError
        As for `logZ`.

    Notes
    -----
    Time and memory of `logZ` with its gradient [1]_. Differentiable once: the derivative is the
    posterior covariance of two arcs, and that of it raises RuntimeError.

    References
    ----------
    .. [1] L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
       recognition", Proceedings of the IEEE 77(2), 1989, section III.

    Examples
    --------
    From state 0 to state 1 in two steps, by way of either:

    >>> import numpy as np
    >>> import logsum
    >>> Ms = np.log([[[[1.0, 1.0], [3.0, 1.0]]]] * 2)  # 0 -> 1 weighs three times as much
    >>> ends = np.array([[0.0, -np.inf]])
    >>> logsum.marginals(Ms, [[0, 1], [0, 1]], ends, ends[:, ::-1]).round(3)[:, 0]
    array([[[0.5, 0. ],
            [0.5, 0. ]],
    <BLANKLINE>
           [[0. , 0. ],
            [0.5, 0.5]]])
    """
    face = torch_face(Ms, v0, vT)
    if face is not None:
        return face.marginals(Ms, idx, v0, vT, lengths)  # type: ignore[no-any-return]
    scan = scan_of("marginals", Ms, idx, lengths, v0=v0, vT=vT)
    out = np.empty(scan.sequences, scan.wide)
    shares: Any = np.empty_like(scan.ms)
    log = _core.Semiring.log
    first, last = scan.ends
    _core.logZ(scan.ms, scan.sorted, first, last, scan.lengths, out, shares, None, None, log, -1)
    return shares  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Scan:
    """The checked operands of a scan of arrays."""

    ms: NDArray[Any]
    graph: Graph
    ends: Any  # a list of arrays
    lengths: NDArray[np.int64] | None

    @property
    def sorted(self) -> _core.Graph:
        """The graph as C++ has it."""
        return self.graph._sorted

    @property
    def steps(self) -> int:
        """T."""
        return int(self.ms.shape[0])

    @property
    def sequences(self) -> int:
        """N."""
        return int(self.ms.shape[1])

    @property
    def wide(self) -> type[np.floating[Any]]:
        """The dtype of scores."""
        return np.float64 if self.ms.dtype == np.float64 else np.float32


def scan_of(function: str, Ms: Any, idx: Any, lengths: Any, **ends: Any) -> Scan:
    """The operands of a scan, from what a caller gave; `ends` by their arguments' names."""
    ms = as_floating(function, "Ms", Ms)
    arrays = {name: as_floating(function, name, end) for name, end in ends.items()}
    for name, array in arrays.items():
        if array.dtype != ms.dtype:
            raise type_error(function, name, f"Ms's dtype {ms.dtype}", array.dtype)
    steps = None if lengths is None else as_integers(function, "lengths", lengths)
    graph = as_graph(function, idx)
    check_scan(
        function,
        ms.shape,
        {name: array.shape for name, array in arrays.items()},
        None if steps is None else steps.shape,
        graph.num_states,
    )
    return Scan(ms, graph, list(arrays.values()), steps)
