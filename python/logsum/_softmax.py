"""softmax and log_softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from logsum import _core
from logsum._arguments import one_axis, reduced_shape, synonym
from logsum._arrays import as_floating, scalar
from logsum._dispatch import torch_face

if TYPE_CHECKING:
    from logsum._typing import ArrayT


@overload
def softmax(
    a: ArrayT, axis: int = ..., *, return_lse: Literal[False] = ..., dim: int | None = ...
) -> ArrayT: ...
@overload
def softmax(
    a: ArrayT, axis: int = ..., *, return_lse: Literal[True], dim: int | None = ...
) -> tuple[ArrayT, ArrayT]: ...
def softmax(a: Any, axis: int = -1, *, return_lse: bool = False, dim: int | None = None) -> Any:
    """Compute exp(a) divided by its sum over an axis.

    Parameters
    ----------
    a : Array
        float16, bfloat16 (torch), float32 or float64, any shape.
    axis : int, optional
        The axis to sum over, the last by default.
    return_lse : bool, optional
        Return also the logarithm of the sum.
    dim : int, optional
        Another name of `axis`.

    Returns
    -------
    out : Array
        ``exp(a - lse)``, of the shape and dtype of `a`; zeros for a slice of only -inf.
    lse : Array or scalar
        With `return_lse`: ``logsumexp(a, axis)``, without the axis, float32 for the half types.

    Raises
    ------
    TypeError
        For integers, array_likes and every dtype but the ones above.
    ValueError
        For an axis out of range, or both names of it with different values.

    Notes
    -----
    Linear time, two passes over the memory of `a`, no scratch that grows with it. Gradients save
    `a` and `lse` only, and flow through both results. On the formulas and their errors see [1]_,
    section 4.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41(4), 2021.

    Examples
    --------
    >>> import numpy as np
    >>> import logsum
    >>> logsum.softmax(np.array([1000.0, 1000.0, -np.inf]))
    array([0.5, 0.5, 0. ])
    """
    return _apply("softmax", _core.softmax, a, axis, return_lse, dim)


@overload
def log_softmax(
    a: ArrayT, axis: int = ..., *, return_lse: Literal[False] = ..., dim: int | None = ...
) -> ArrayT: ...
@overload
def log_softmax(
    a: ArrayT, axis: int = ..., *, return_lse: Literal[True], dim: int | None = ...
) -> tuple[ArrayT, ArrayT]: ...
def log_softmax(a: Any, axis: int = -1, *, return_lse: bool = False, dim: int | None = None) -> Any:
    """Compute a minus the logarithm of the sum of its exponentials over an axis.

    Parameters
    ----------
    a : Array
        float16, bfloat16 (torch), float32 or float64, any shape.
    axis : int, optional
        The axis to sum over, the last by default.
    return_lse : bool, optional
        Return also the logarithm of the sum.
    dim : int, optional
        Another name of `axis`.

    Returns
    -------
    out : Array
        ``a - lse``, of the shape and dtype of `a`, with full relative accuracy near zero; -inf for
        a slice of only -inf.
    lse : Array or scalar
        With `return_lse`: ``logsumexp(a, axis)``, without the axis, float32 for the half types.

    Raises
    ------
    TypeError
        For integers, array_likes and every dtype but the ones above.
    ValueError
        For an axis out of range, or both names of it with different values.

    Notes
    -----
    Linear time, two passes over the memory of `a`, no scratch that grows with it. Gradients save
    `a` and `lse` only, and flow through both results. On the formulas and their errors see [1]_,
    section 4.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and
       softmax functions", IMA Journal of Numerical Analysis 41(4), 2021.

    Examples
    --------
    >>> import numpy as np
    >>> import logsum
    >>> logsum.log_softmax(np.array([0.0, -1000.0]))
    array([    0., -1000.])
    """
    return _apply("log_softmax", _core.log_softmax, a, axis, return_lse, dim)


def _apply(
    name: str,
    function: Callable[[Any, int, Any, Any], None],
    a: Any,
    axis: int,
    return_lse: bool,
    dim: int | None,
) -> Any:
    axis = synonym(name, "axis", axis, -1, "dim", dim)
    face = torch_face(a)
    if face is not None:
        return getattr(face, name)(a, axis, return_lse)
    array = as_floating(name, "a", a)
    axis = one_axis(name, axis, array.ndim)
    out = np.empty_like(array, subok=False)
    kind = np.float64 if array.dtype == np.float64 else np.float32
    lse = np.empty(reduced_shape(array.shape, (axis,), False), kind)
    function(array, axis, out, lse)
    return (out, scalar(lse)) if return_lse else out
