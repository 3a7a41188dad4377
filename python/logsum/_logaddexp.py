"""logaddexp."""

from __future__ import annotations

from typing import Any

import numpy as np

from logsum import _core
from logsum._arguments import type_error
from logsum._arrays import broadcast, promoted, scalar
from logsum._dispatch import torch_face

_NAME = "logaddexp"


def logaddexp(a: Any, b: Any) -> Any:
    """Compute log(exp(a) + exp(b)) elementwise.

    Parameters
    ----------
    a, b : array_like or torch.Tensor
        Exponents that broadcast together, of one floating dtype. Integers and array_likes become
        float64, Python's numbers what the other is. Beside a floating tensor, a tensor of integers
        takes its dtype.

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
    floating = [np.asarray(x).dtype for x in (a, b) if isinstance(x, np.ndarray | np.generic)]
    kinds = {dtype.newbyteorder("=") for dtype in floating if dtype.kind == "f"}
    operands = promoted(_NAME, {"a": a, "b": b})
    if len(kinds) > 1:
        raise type_error(_NAME, "b", f"a's dtype {floating[0]}", floating[1])
    operands = broadcast(_NAME, operands)
    out = np.empty_like(operands["a"], subok=False)
    _core.logaddexp(operands["a"], operands["b"], out)
    return scalar(out)
