"""logaddexp."""

from __future__ import annotations

from typing import Any

import numpy as np

from logsum import _core
from logsum._arguments import type_error
from logsum._arrays import as_array, broadcast, readable, scalar
from logsum._dispatch import torch_face

_NAME = "logaddexp"


def logaddexp(a: Any, b: Any) -> Any:
    """Compute log(exp(a) + exp(b)) elementwise.

    Parameters
    ----------
    a, b : array_like or torch.Tensor
        Exponents that broadcast together, of one floating dtype. Integers and array_likes become
        float64; beside a floating array, integer arrays and Python's numbers take its dtype.

    Returns
    -------
    Array or scalar
        Of the broadcast shape and the common dtype.

    Raises
    ------
    TypeError
        For two different floating dtypes, complex numbers, extended precision, or an array beside a
        tensor.
    ValueError
        For shapes that don't broadcast.

    Notes
    -----
    Linear time, no scratch. The gradients are the shares of the two terms, ``sigmoid(a - b)`` and
    ``sigmoid(b - a)``: a half each at equal +inf, zero at equal -inf. The value is the maximum plus
    ``log1p(exp(-|a - b|))``, the case of two terms in [1]_.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41(4), 2021.

    Examples
    --------
    >>> import logsum
    >>> float(logsum.logaddexp(1000.0, 1000.0))
    1000.6931471805599
    """
    face = torch_face(a, b)
    if face is not None:
        return face.logaddexp(a, b)
    named = {"a": as_array(_NAME, "a", a), "b": as_array(_NAME, "b", b)}
    floating = {
        array.dtype
        for array, value in zip(named.values(), (a, b), strict=True)
        if isinstance(value, np.ndarray | np.generic) and array.dtype.kind == "f"
    }
    kinds = {dtype.newbyteorder("=") for dtype in floating}
    if len(kinds) > 1:
        raise type_error(_NAME, "b", f"a's dtype {named['a'].dtype}", named["b"].dtype)
    dtype = kinds.pop() if kinds else np.dtype(np.float64)
    readables = {name: readable(array, dtype) for name, array in named.items()}
    first, second = broadcast(_NAME, readables)
    out = np.empty_like(first, subok=False)
    _core.logaddexp(first, second, out)
    return scalar(out)
