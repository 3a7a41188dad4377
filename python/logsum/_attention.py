"""attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from logsum import _core
from logsum._arguments import type_error
from logsum._arrays import as_array, as_floating, as_mask, readable
from logsum._attention_arguments import NAME, Options, check_shapes, read_options
from logsum._dispatch import torch_face
from logsum._integers import as_integers

if TYPE_CHECKING:
    from logsum._typing import ArrayT


@overload
def attention(
    q: ArrayT,
    k: ArrayT,
    v: ArrayT,
    *,
    causal: bool | str = ...,
    window: tuple[int, int] | None = ...,
    mask: ArrayT | None = ...,
    bias: ArrayT | None = ...,
    scale: float | None = ...,
    softcap: float | None = ...,
    sinks: ArrayT | None = ...,
    lengths_q: Any = ...,
    lengths_k: Any = ...,
    score: str | None = ...,
    score_args: Mapping[str, ArrayT] | None = ...,
    return_lse: Literal[False] = ...,
) -> ArrayT: ...
@overload
def attention(
    q: ArrayT,
    k: ArrayT,
    v: ArrayT,
    *,
    causal: bool | str = ...,
    window: tuple[int, int] | None = ...,
    mask: ArrayT | None = ...,
    bias: ArrayT | None = ...,
    scale: float | None = ...,
    softcap: float | None = ...,
    sinks: ArrayT | None = ...,
    lengths_q: Any = ...,
    lengths_k: Any = ...,
    score: str | None = ...,
    score_args: Mapping[str, ArrayT] | None = ...,
    return_lse: Literal[True],
) -> tuple[ArrayT, ArrayT]: ...
def attention(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool | str = False,
    window: tuple[int, int] | None = None,
    mask: Any = None,
    bias: Any = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Any = None,
    lengths_q: Any = None,
    lengths_k: Any = None,
    score: str | None = None,
    score_args: Mapping[str, Any] | None = None,
    return_lse: bool = False,
) -> Any:
    r"""Attend: the mean of the values of each query, weighted by the softmax of its scores.

    .. math:: s_{ij} = \operatorname{score}(\operatorname{cap}(\text{scale}\; q_i \cdot k_j))
       + \text{bias}_{ij}, \qquad
       \text{lse}_i = \log \sum_j e^{s_{ij}}, \qquad
       \text{out}_i = \sum_j e^{s_{ij} - \text{lse}_i}\, v_j

    with the sums over the pairs (i, j) that take part: those that `causal`, `window`, `mask` and
    the lengths all admit, and whose bias and score are not -inf. No array of M N elements is made,
    and what does not take part is never seen: NaN or infinity in its key or value reaches nothing.

    Parameters
    ----------
    q : Array
        Queries, shape (B, Hq, M, D); float16, bfloat16 (torch), float32 or float64. Any strides,
        here and elsewhere: an array (B, M, Hq, D) is given as a view with two axes exchanged.
    k : Array
        Keys, shape (B, Hkv, N, D); Hq is a multiple of Hkv, and query head h reads key head
        h // (Hq // Hkv).
    v : Array
        Values, shape (B, Hkv, N, Dv).
    causal : {False, True, "top-left", "bottom-right"}, optional
        Admit the keys j <= i + shift, where shift is 0 for "top-left", which True means, and N - M
        for "bottom-right", or the difference of the lengths where there are lengths.
    window : (int, int), optional
        Admit the keys from i + shift - left to i + shift + right; -1 is no bound. The shift is 0
        unless `causal` is "bottom-right".
    mask : Array of bool, optional
        Admit the pairs where it is True. It broadcasts to (B, Hq, M, N), without being expanded.
    bias : Array, optional
        Added to the scores; broadcasts as the mask does. Its dtype is that of `q`, or float32
        beside a half type; so are those of `sinks` and floating `score_args`.
    scale : float, optional
        What the products are multiplied by, 1/sqrt(D) by default.
    softcap : float, optional
        Replace a scaled score s by ``softcap * tanh(s / softcap)``.
    sinks : Array, optional
        Shape (Hq,): each adds exp(sink) to the sums of its head, without a value.
    lengths_q, lengths_k : array_like of int, optional
        Shape (B,): queries and keys from there on are padding. Padding queries have out 0.
    score : str, optional
        A formula of :class:`Genred`'s language in the scaled and capped score ``s``, the indices
        ``i``, ``j``, ``b``, ``h``, the lengths ``q_len``, ``k_len``, and the names in `score_args`:
        ``"s - slope(h) * Abs(i - j)"``.
    score_args : dict of Arrays, optional
        The arrays that the formula names, floating, integers or bool. One axis for each index
        letter that it is given in the formula, of its size or 1.
    return_lse : bool, optional
        Return also the logarithms of the sums.

    Returns
    -------
    out : Array
        Shape (B, Hq, M, Dv), in the dtype of `q`; 0 for a row without any pair.
    lse : Array
        With `return_lse`: shape (B, Hq, M), natural logarithm, float32, or float64 for float64;
        -inf for a row without any pair, or its sink.

    Raises
    ------
    TypeError
        For arrays that are not floating, or of mixed dtypes; a mask that is not boolean; an array
        beside tensors.
    ValueError
        For shapes that do not fit, lengths out of range, a scale or softcap that is no number, and
        a formula that cannot be read.

    Notes
    -----
    Time B Hq M N (D + Dv) multiply-adds, less what `causal`, `window`, `mask` and the lengths
    empty. Memory beside the results is a few MB a thread. The bits are the same for every number of
    threads. Few queries against many keys are spread over the keys.

    Gradients flow to q, k, v, bias, sinks and every floating array in `score_args`, from `out` and
    from `lse`. They save `out` and `lse` only and compute exp(s - lse) again [1]_, in five matrix
    products of a single pass. A bias's gradient has the bias's shape. Forward mode and double
    backward are there in the same memory, at up to 1 and 2.5 times the work of a backward pass;
    third derivatives, and forward mode over forward mode, raise RuntimeError.

    The result is the exact attention of scores that are each right to a few roundings of
    ``scale * sum_d |q_d k_d| + |bias|``; the sums over keys lose no digits however many there are.
    States (out, lse) over disjoint keys are merged by :func:`merge`, gradients included.

    References
    ----------
    .. [1] T. Dao, D. Y. Fu, S. Ermon, A. Rudra, C. Ré, "FlashAttention: fast and memory-efficient
       exact attention with IO-awareness", 2022.

    Examples
    --------
    >>> import numpy as np
    >>> import logsum
    >>> q = np.zeros((1, 1, 3, 4))
    >>> v = np.array([2.0, 4.0, 9.0]).reshape(1, 1, 3, 1)
    >>> out, lse = logsum.attention(q, q, v, causal=True, return_lse=True)
    >>> out.ravel()
    array([2., 3., 5.])
    >>> np.exp(lse).ravel()
    array([1., 2., 3.])

    Keys in two parts, attended to one after the other and merged:

    >>> parts = [
    ...     logsum.attention(q, q[:, :, half], v[:, :, half], return_lse=True)
    ...     for half in (slice(0, 2), slice(2, 3))
    ... ]
    >>> merged, _ = logsum.merge(*parts)
    >>> merged.ravel()
    array([5., 5., 5.])
    """
    options = read_options(causal, window, scale, softcap, score, score_args)
    arrays = dict(score_args or {})
    face = torch_face(q, k, v, mask, bias, sinks, *arrays.values())
    if face is not None:
        return face.attention(
            q, k, v, mask, bias, sinks, lengths_q, lengths_k, arrays, options, return_lse
        )
    q, k, v = (as_floating(NAME, name, x) for name, x in (("q", q), ("k", k), ("v", v)))
    for name, x in (("k", k), ("v", v)):
        if x.dtype != q.dtype:
            raise type_error(NAME, name, f"q's dtype {q.dtype}", x.dtype)
    check_shapes(q.shape, k.shape, v.shape)
    out = np.empty((*q.shape[:3], v.shape[3]), q.dtype)
    lse = np.empty(q.shape[:3], np.float64 if q.dtype == np.float64 else np.float32)
    _core.attention(
        q,
        k,
        v,
        None if mask is None else as_mask(NAME, "mask", mask),
        None if bias is None else _beside(q, "bias", bias),
        None if sinks is None else _beside(q, "sinks", sinks),
        None if lengths_q is None else as_integers(NAME, "lengths_q", lengths_q),
        None if lengths_k is None else as_integers(NAME, "lengths_k", lengths_k),
        [_score_argument(q, name, x) for name, x in arrays.items()],
        out,
        lse,
        *core_options(options),
    )
    return (out, lse) if return_lse else out


def core_options(options: Options) -> tuple[Any, ...]:
    """The options as the C++ call takes them."""
    causal, *numbers, score, names = options
    return (_core.AttentionCausal(causal), *numbers, score, names.split())


def _beside(q: NDArray[Any], name: str, value: Any) -> NDArray[Any]:
    """A floating array that joins the scores."""
    array = as_floating(NAME, name, value)
    wide = np.dtype(np.float64 if q.dtype == np.float64 else np.float32)
    if array.dtype not in (q.dtype, wide):
        expected = f"q's dtype {q.dtype}" + ("" if wide == q.dtype else " or float32")
        raise type_error(NAME, name, expected, array.dtype)
    return array


def _score_argument(q: NDArray[Any], name: str, value: Any) -> NDArray[Any]:
    """An array that a formula names: floating as a bias, bool, or integers as int64."""
    place = f"score_args[{name!r}]"
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "iub":
        array = as_array(NAME, place, value)
        return readable(array, array.dtype if array.dtype.kind == "b" else np.dtype(np.int64))
    return _beside(q, place, value)
