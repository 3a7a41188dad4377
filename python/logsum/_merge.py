"""merge."""

from __future__ import annotations

from typing import Any

import numpy as np

from logsum import _core
from logsum._arrays import as_floating, scalar
from logsum._dispatch import torch_face
from logsum._states import check_alike, check_pair, lse_name, out_name, split

_NAME = "merge"


def merge(*states: Any) -> Any:
    """Merge partial results over disjoint parts of one reduction.

    Parameters
    ----------
    *states : Array, or pair of Arrays
        One for each part: its lse, or a pair (out, lse) with `out` of shape ``lse.shape + (D,)``
        holding the softmax-weighted mean over the part. All alike. An empty part has lse -inf, and
        its `out` is not read.

    Returns
    -------
    lse : Array or scalar
        log of the sum of exp(lse), at least float32; or, for pairs,
    (out, lse) : tuple
        the mean of the outs weighted by exp(lse), in their dtype, and that lse: again a state.

    Raises
    ------
    TypeError
        For states that aren't floating arrays, or of mixed dtypes. An `out` in a half type may
        have, and gets, an lse in float32.
    ValueError
        For no states, lse and pairs mixed, or shapes that don't fit together.

    Notes
    -----
    Associative and commutative up to rounding, so parts may be merged in any grouping. Time linear
    in the states, no scratch. The rescaling by the new maximum is the one of [1]_, section 3.

    References
    ----------
    .. [1] M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import logsum
    >>> a = np.arange(6.0)
    >>> parts = logsum.logsumexp(a[:4]), logsum.logsumexp(a[4:])
    >>> bool(np.isclose(logsum.merge(*parts), logsum.logsumexp(a)))
    True
    """
    lses, outs = split(_NAME, states)
    face = torch_face(*lses, *(outs or ()))
    if face is not None:
        return face.merge(lses, outs)
    lses = [as_floating(_NAME, lse_name(k), part) for k, part in enumerate(lses)]
    outs = [as_floating(_NAME, out_name(k), part) for k, part in enumerate(outs or ())]
    check_alike(_NAME, lse_name, lses)
    check_alike(_NAME, out_name, outs)
    if outs:
        check_pair(lses[0], outs[0], "float32", (np.dtype(np.float16),))
    kind = np.float64 if lses[0].dtype == np.float64 else np.float32
    lse = np.empty_like(lses[0], kind, subok=False)
    out = np.empty_like(outs[0], subok=False) if outs else None
    _core.merge([part.astype(kind, copy=False) for part in lses], outs, lse, out)
    return scalar(lse) if out is None else (out, scalar(lse))
