"""logsumexp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from logsum import _core
from logsum._arguments import reduced_shape, several_axes, synonym
from logsum._arrays import as_mask, broadcast, promoted, scalar
from logsum._dispatch import torch_face

if TYPE_CHECKING:
    from logsum._typing import Axes

_NAME = "logsumexp"


def logsumexp(
    a: Any,
    axis: Axes = None,
    b: Any = None,
    keepdims: bool = False,
    return_sign: bool = False,
    *,
    where: Any = None,
    dim: Axes = None,
    keepdim: bool | None = None,
) -> Any:
    r"""Compute the logarithm of a sum of exponentials, ``log(sum(b * exp(a)))``.

    A drop-in for `scipy.special.logsumexp` on real input, and for `torch.logsumexp`.

    Parameters
    ----------
    a : array_like or torch.Tensor
        Exponents. Integers and array_likes become float64. Complex numbers are refused.
    axis : int, tuple of int or None, optional
        Axes to sum over, None for all of them, an empty tuple for none.
    b : array_like, torch.Tensor or float, optional
        Weights of any sign that broadcast with `a`. A term of weight zero takes no part, whatever
        `a` holds there. With a tensor `a`, a tensor of its dtype or of integers, or a number.
    keepdims : bool, optional
        Keep the summed axes, with size one.
    return_sign : bool, optional
        Return also the sign of the sum; without it a negative sum gives NaN.
    where : array_like of bool or torch.Tensor, optional
        Terms to take, broadcast with `a`; the others take no part, whatever they hold.
    dim, keepdim : optional
        Other names of `axis` and `keepdims`.

    Returns
    -------
    out : Array or scalar
        The logarithm of the sum (with `return_sign`, of its magnitude), in the dtype of `a`; -inf
        for a sum of nothing.
    sign : Array or scalar
        With `return_sign`: 1, 0, -1 or NaN in the dtype and shape of `out`. The sign of an empty
        sum is 0 (SciPy's is -1).

    Raises
    ------
    TypeError
        For dtypes that are not real, extended precision, or (tensors) mixed; for masked arrays.
    ValueError
        For axes out of range or repeated, shapes that don't broadcast, more than eight axes, or
        both names of an argument with different values.

    Notes
    -----
    One pass over the memory of `a`, in time linear in its size; gradients save the result only and
    are recomputed from it. float16 and bfloat16 are stored, float32 computes. Beside inputs and
    outputs it takes under 100 KB a thread. The error for n terms of one sign is half an ulp of the
    result plus 1e-6 (float32) or (5 + log n) 2^-51 (float64); results near zero that one term
    dominates are right to a few ulp, since the largest term stays out of the sum and enters by
    log1p, as in [1]_, section 4. Unlike there, exponentials carry a power of two of their own
    instead of being shifted by the maximum, which rounds nothing.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41(4), 2021.

    Examples
    --------
    >>> import numpy as np
    >>> import logsum
    >>> float(logsum.logsumexp([1000.0, 1000.0]))
    1000.6931471805599
    >>> logsum.logsumexp(np.zeros((2, 3), np.float32), axis=1)
    array([1.0986123, 1.0986123], dtype=float32)

    Differences, by weights of both signs:

    >>> out, sign = logsum.logsumexp([1.0, 2.0], b=[1, -1], return_sign=True)
    >>> round(float(out), 6), float(sign)
    (1.541325, -1.0)
    """
    axis = synonym(_NAME, "axis", axis, None, "dim", dim)
    keepdims = synonym(_NAME, "keepdims", keepdims, False, "keepdim", keepdim)
    face = torch_face(a, b, where)
    if face is not None:
        return face.logsumexp(a, axis, b, keepdims, return_sign, where)

    operands = promoted(_NAME, {"a": a} if b is None else {"a": a, "b": b})
    operands["a"] = np.atleast_1d(operands["a"])
    if where is not None:
        operands["where"] = as_mask(_NAME, "where", where)
    operands = broadcast(_NAME, operands)
    terms = operands["a"]
    axes = several_axes(_NAME, axis, terms.ndim)
    shape = reduced_shape(terms.shape, axes, keepdims)
    out = np.empty(shape, terms.dtype)
    sign = np.empty(shape, terms.dtype) if return_sign else None
    _core.logsumexp(terms, axes, operands.get("b"), operands.get("where"), out, sign)
    return scalar(out) if sign is None else (scalar(out), scalar(sign))
