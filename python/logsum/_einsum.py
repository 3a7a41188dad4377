"""logeinsumexp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from logsum._arguments import type_error, type_name, value_error
from logsum._arrays import as_floating, scalar
from logsum._dispatch import torch_face
from logsum._einsum_equation import NAME, argument
from logsum._einsum_plan import cached_plan
from logsum._einsum_run import run
from logsum._semirings import own_semiring_name

if TYPE_CHECKING:
    from logsum._typing import ArrayT

Array = NDArray[Any]


def logeinsumexp(equation: str, *operands: ArrayT, semiring: Any = "log") -> ArrayT:
    """Compute an Einstein summation of exponentials, ``log(einsum(equation, exp(a), ...))``.

    Parameters
    ----------
    equation : str
        As `numpy.einsum` and `torch.einsum` read it: a letter for each axis, commas between
        operands, "->" before the indices of the result. Without an arrow the result has the
        indices that occur once, in alphabetical order. "..." stands for axes without a letter,
        which broadcast; a result without it sums over them. An index twice in one operand is its
        diagonal. Spaces mean nothing.
    *operands : Array
        Exponents, of one dtype and device: float16, bfloat16 (torch), float32 or float64. An axis
        of size one fits any size.
    semiring : {"log", "max"}, Log or Max, optional
        "max" takes maxima in place of logarithms of sums.

    Returns
    -------
    Array or scalar
        In the dtype of the operands. One operand of which nothing is summed is returned as a view,
        as by `numpy.einsum`.

    Raises
    ------
    TypeError
        For an equation that is no string, array_likes, integers and mixed dtypes.
    ValueError
        For malformed equations, shapes that don't fit, devices that differ, no operands, operands
        of more than eight axes, or another semiring.

    Notes
    -----
    Indices of one operand are summed first; then operands are joined two at a time, in the order
    with the fewest multiply-adds (the best of all for up to eight operands, greedy beyond; costs
    as in [1]_). A join that sums is one `logmatmulexp` on views, copied only where several summed
    axes don't lie side by side; where neither operand has an index of its own it is a sum and a
    `logsumexp`. The errors of joins add up, each that of those functions; half types are kept in
    float32 between joins. Memory is that of the results of joins. Derivatives are those of the
    joins, of every order.

    References
    ----------
    .. [1] D. G. A. Smith, J. Gray, "opt_einsum: a Python package for optimizing contraction order
       for einsum-like expressions", Journal of Open Source Software 3(26), 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import logsum
    >>> a = np.array([[-500.0, 900.0]])
    >>> b = np.array([[900.0], [-500.0]])
    >>> logsum.logeinsumexp("ij,jk->ik", a, b)
    array([[400.69314718]])

    The likelihood of two observations under a hidden Markov model with two states:

    >>> start, move = np.log([0.5, 0.5]), np.log([[0.9, 0.1], [0.2, 0.8]])
    >>> first, second = np.log([0.7, 0.1]), np.log([0.6, 0.3])
    >>> float(np.exp(logsum.logeinsumexp("i,i,ij,j->", start, first, move, second)))
    0.2175
    """
    if not isinstance(equation, str):
        raise type_error(NAME, "equation", "str", type_name(equation))
    semiring = own_semiring_name(NAME, semiring)
    if not operands:
        raise value_error(NAME, "operands", "at least one", "none")
    face = torch_face(*operands)
    if face is not None:
        return cast("ArrayT", face.logeinsumexp(equation, operands, semiring))
    arrays = [as_floating(NAME, argument(k), value) for k, value in enumerate(operands)]
    for k, array in enumerate(arrays):
        if array.dtype != arrays[0].dtype:
            expected = f"{argument(0)}'s dtype {arrays[0].dtype}"
            raise type_error(NAME, argument(k), expected, array.dtype)
    plan = cached_plan(equation, tuple(array.shape for array in arrays))
    dtype = arrays[0].dtype
    if dtype == np.float16 and plan.roundings > 1:
        arrays = [array.astype(np.float32) for array in arrays]
    result = np.asarray(run(plan, arrays, semiring, _ARRAYS))
    return cast("ArrayT", scalar(result.astype(dtype, copy=False)))


class _Arrays:
    """NumPy's part of the work."""

    def permute(self, array: Array, order: tuple[int, ...]) -> Array:
        return array.transpose(order)

    def diagonal(self, array: Array, first: int, second: int) -> Array:
        return np.diagonal(array, 0, first, second)

    def product(self, left: Array, right: Array) -> Array:
        with np.errstate(invalid="ignore", over="ignore"):
            out = np.asarray(left + right)
            out[np.minimum(left, right) == -np.inf] = -np.inf
        return out

    def maximum(self, array: Array, axes: tuple[int, ...]) -> Array:
        return np.asarray(np.max(array, axes, initial=-np.inf))


_ARRAYS = _Arrays()
