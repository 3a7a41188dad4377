"""ctc_loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from logsum import _core
from logsum._arrays import as_floating
from logsum._ctc_arguments import (
    check_frames,
    check_reduction,
    fit_lengths,
    fit_targets,
)
from logsum._dispatch import torch_face
from logsum._integers import as_integer, as_integers
from logsum._semirings import semiring_name

if TYPE_CHECKING:
    from logsum._typing import ArrayT

_NAME = "ctc_loss"


def ctc_loss(
    log_probs: ArrayT,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
    *,
    from_logits: bool = False,
    semiring: Any = "log",
) -> ArrayT:
    r"""Compute the loss of connectionist temporal classification.

    .. math:: -\log \sum_{\pi \in B^{-1}(\mathrm{target})} \prod_t p_t(\pi_t)

    over all alignments: sequences of labels, one for each frame, that give the target when repeats
    are merged and then blanks dropped [1]_. The signature and the reductions are those of
    ``torch.nn.functional.ctc_loss``; the gradient is that of the numbers given, which PyTorch's,
    for log-probabilities, is not.

    Parameters
    ----------
    log_probs : Array
        Logarithms of probabilities, shape (T, N, C), or (T, C) for one sequence; float16, bfloat16
        (torch), float32 or float64. With `from_logits` any numbers.
    targets : Array or list
        Labels, integers of shape (N, S), of which what is beyond a target's length is not read; or
        all targets one after the other; or (S,) beside (T, C).
    input_lengths, target_lengths : Array, list, tuple or int
        Frames and labels of each sequence, integers of shape (N,); numbers beside (T, C).
    blank : int, optional
        The class of no label.
    reduction : {"none", "mean", "sum"}, optional
        What becomes of the losses: returned one by one; each divided by its target's length, an
        empty one's by 1, and then averaged; added.
    zero_infinity : bool, optional
        Return 0, not +inf, for a sequence without an alignment. Its gradient is 0 either way.
    from_logits : bool, optional
        Let log_softmax over the classes be part of the loss: faster, and right near 0.
    semiring : {"log", "max"}, Log, Max or object, optional
        With "max", the best alignment alone.

    Returns
    -------
    Array
        A scalar, or shape (N,) with "none" and a batch axis; float32 or wider.

    Raises
    ------
    TypeError
        For log-probabilities that are no floating array, and labels or lengths that are not
        integers.
    ValueError
        For shapes that do not fit, and for lengths, labels or a blank out of range, before
        anything is computed; a reduction or semiring that there is not.

    Notes
    -----
    Time T N (C + S). Memory a thread T ((2 L + 1) 16 + 128 + 8 C) bytes with a gradient, where L is
    the longest target, and T (128 + 8 C) without one; the gradient itself is computed in the
    forward call, and is what is kept for backward. Differentiable twice.

    Frames past `input_lengths` are not read, and their gradient is 0. -inf, as everything from
    -1e30 down, is a true zero. +inf or NaN in a frame that is read makes that sequence's loss and
    gradient NaN, and no other's.

    The value is the exact one of the given numbers, to half an ulp in float32. Given
    log-probabilities whose mass a frame rounds above 1, it may be slightly below 0; from logits it
    is never, and near 0 is right to 4 T 2^-53.

    As `logZ`, sums run in float64 without logarithms, and whatever underflow could have changed is
    noticed and computed again. States that lie on no alignment are skipped.

    References
    ----------
    .. [1] A. Graves, S. Fernández, F. Gomez, J. Schmidhuber, "Connectionist temporal
       classification: labelling unsegmented sequence data with recurrent neural networks",
       ICML 2006, section 4.

    Examples
    --------
    One label in two frames, of even odds: three of the four alignments give it.

    >>> import numpy as np
    >>> import logsum
    >>> log_probs = np.log(np.full((2, 1, 2), 0.5))
    >>> float(np.exp(-logsum.ctc_loss(log_probs, [[1]], [2], [1])).round(12))
    0.75

    Confident and right, the loss is the tiny chance of being wrong:

    >>> f"{logsum.ctc_loss(np.array([[0.0, 17.0]] * 2), [1], 2, 1, from_logits=True):.0e}"
    '2e-15'
    """
    check_reduction(_NAME, reduction)
    face = torch_face(log_probs)
    if face is not None:
        return face.ctc_loss(  # type: ignore[no-any-return]
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            blank,
            reduction,
            zero_infinity,
            from_logits,
            semiring,
        )
    kind = semiring_name(_NAME, semiring)
    frames = as_floating(_NAME, "log_probs", log_probs)
    check_frames(_NAME, frames.shape, unbatched=True)
    single = frames.ndim == 2
    if single:
        frames = frames[:, None]
    batch = frames.shape[1]
    labels = fit_targets(_NAME, as_integers(_NAME, "targets", targets), batch, single=single)
    inputs, lengths = (
        fit_lengths(_NAME, name, as_integers(_NAME, name, value), batch, single=single)
        for name, value in (("input_lengths", input_lengths), ("target_lengths", target_lengths))
    )
    shape = batch if reduction == "none" else ()
    losses: Any = np.empty(shape, np.float64 if frames.dtype == np.float64 else np.float32)
    _core.ctc_loss(
        frames,
        labels,
        inputs,
        lengths,
        losses,
        None,
        as_integer(_NAME, "blank", blank),
        bool(from_logits),
        getattr(_core.Semiring, kind),
        bool(zero_infinity),
        getattr(_core.CtcReduction, reduction),
    )
    if reduction == "none":
        return losses[0] if single else losses  # type: ignore[no-any-return]
    return losses[()]  # type: ignore[no-any-return]
