"""ctc_align and ctc_decode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from logsum import _core
from logsum._arrays import as_floating
from logsum._ctc_arguments import as_beam, check_frames, fit_lengths, fit_targets
from logsum._dispatch import torch_face
from logsum._integers import as_integer, as_integers

if TYPE_CHECKING:
    from logsum._typing import ArrayT


def ctc_align(
    log_probs: ArrayT, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0
) -> tuple[ArrayT, ArrayT]:
    """Find the best alignment of each target: which label each frame belongs to.

    Parameters
    ----------
    log_probs : Array
        Shape (T, N, C), log-probabilities or other scores.
    targets, input_lengths, target_lengths, blank
        As for `ctc_loss`.

    Returns
    -------
    labels : Array
        int64, shape (N, T), blanks included; -1 past `input_lengths`, and everywhere where there is
        no alignment.
    score : Array
        Shape (N,), in float32 or wider: the sum of `log_probs` along the alignment, -inf where
        there is none.

    Raises
    ------
    TypeError, ValueError
        As for `ctc_loss`.

    Notes
    -----
    The loss of this alignment alone, ``-score``, is `ctc_loss` with ``semiring="max"``. Of equal
    ones it is the one that `viterbi` finds in the graph of blanks and labels in turns: it ends at
    the lowest state, and going back stays rather than steps, steps rather than skips a blank. The
    gradient of `score` is 1 along the alignment. Time T N L for targets of length L [1]_.

    References
    ----------
    .. [1] A. Graves, S. Fernández, F. Gomez, J. Schmidhuber, "Connectionist temporal
       classification: labelling unsegmented sequence data with recurrent neural networks",
       ICML 2006, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> import logsum
    >>> p = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])[:, None]
    >>> labels, score = logsum.ctc_align(np.log(p), [[1]], [4], [1])
    >>> labels
    array([[0, 1, 1, 0]])
    >>> float(np.exp(score[0]).round(12))
    0.3024
    """
    name = "ctc_align"
    face = torch_face(log_probs)
    if face is not None:
        return face.ctc_align(log_probs, targets, input_lengths, target_lengths, blank)  # type: ignore[no-any-return]
    frames = _frames(name, log_probs)
    steps, batch = frames.shape[:2]
    labels: Any = np.empty((batch, steps), np.int64)
    score: Any = _scores(frames)
    _core.ctc_align(
        frames,
        fit_targets(name, as_integers(name, "targets", targets), batch, single=False),
        _lengths(name, "input_lengths", input_lengths, batch),
        _lengths(name, "target_lengths", target_lengths, batch),
        labels,
        score,
        as_integer(name, "blank", blank),
    )
    return labels, score


def ctc_decode(
    log_probs: ArrayT, input_lengths: Any, blank: int = 0, beam: int | None = None
) -> tuple[list[ArrayT], ArrayT]:
    """Decode each sequence: the labels that it most likely says.

    Parameters
    ----------
    log_probs : Array
        Shape (T, N, C), log-probabilities.
    input_lengths : Array, list or tuple
        Frames of each sequence, integers of shape (N,).
    blank : int, optional
        The class of no label.
    beam : int or None, optional
        None takes the likeliest class of every frame, merges repeats and drops blanks. An int
        searches over prefixes, keeping so many of them, for the labels of the largest sum over all
        alignments [1]_, [2]_.

    Returns
    -------
    labels : list of Array
        An int64 array for each sequence.
    scores : Array
        Shape (N,), in float32 or wider: the logarithm of the path's probability, or with a beam of
        the sum over the labels' alignments that the search kept. No gradient flows there.

    Raises
    ------
    TypeError, ValueError
        As for `ctc_loss`, and for a beam below 1.

    Notes
    -----
    Of equal classes the lowest is taken, of equal prefixes that found first. Time T N C, with a
    beam of B prefixes T N B C.

    References
    ----------
    .. [1] A. Graves, "Supervised sequence labelling with recurrent neural networks", 2012,
       section 7.5.3.
    .. [2] A. Hannun, A. Maas, D. Jurafsky, A. Ng, "First-pass large vocabulary continuous speech
       recognition using bi-directional recurrent DNNs", 2014.

    Examples
    --------
    The likeliest path is blank twice, but the label has three ways of being said:

    >>> import numpy as np
    >>> import logsum
    >>> log_probs = np.log([[[0.6, 0.4]], [[0.6, 0.4]]])
    >>> logsum.ctc_decode(log_probs, [2])[0]
    [array([], dtype=int64)]
    >>> labels, scores = logsum.ctc_decode(log_probs, [2], beam=2)
    >>> labels, float(np.exp(scores[0]).round(12))
    ([array([1])], 0.64)
    """
    name = "ctc_decode"
    width = as_beam(name, beam)
    face = torch_face(log_probs)
    if face is not None:
        return face.ctc_decode(log_probs, input_lengths, blank, width)  # type: ignore[no-any-return]
    frames = _frames(name, log_probs)
    steps, batch = frames.shape[:2]
    labels: Any = np.empty((batch, steps), np.int64)
    counts = np.empty(batch, np.int64)
    scores: Any = _scores(frames)
    _core.ctc_decode(
        frames,
        _lengths(name, "input_lengths", input_lengths, batch),
        labels,
        counts,
        scores,
        as_integer(name, "blank", blank),
        width,
    )
    return [row[:count].copy() for row, count in zip(labels, counts, strict=True)], scores


def _frames(function: str, log_probs: Any) -> NDArray[Any]:
    frames = as_floating(function, "log_probs", log_probs)
    check_frames(function, frames.shape, unbatched=False)
    return frames


def _lengths(function: str, argument: str, value: Any, batch: int) -> NDArray[np.int64]:
    lengths = as_integers(function, argument, value)
    return fit_lengths(function, argument, lengths, batch, single=False)  # type: ignore[no-any-return]


def _scores(frames: NDArray[Any]) -> NDArray[Any]:
    return np.empty(frames.shape[1], np.float64 if frames.dtype == np.float64 else np.float32)
