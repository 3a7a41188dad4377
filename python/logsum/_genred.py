"""Genred: reductions of formulas over pairs of points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from logsum._arguments import type_error, type_name, value_error
from logsum._arrays import as_floating
from logsum._dispatch import torch_face
from logsum._integers import as_integer
from logsum._reduce import NAME, SEPARATOR, Program, output_shapes, parse

if TYPE_CHECKING:
    from logsum._typing import ArrayT

# What pykeops tunes its compiled code by; our programs have nothing to tune.
_TUNING = frozenset(
    {
        "cuda_type",
        "dtype_acc",
        "enable_chunks",
        "optional_flags",
        "rec_multVar_highdim",
        "sum_scheme",
        "use_double_acc",
        "use_fast_math",
    }
)
_LIMIT = 1 << 31
_BACKENDS = ("auto", "CPU")
_GPU_SCHEMES = ("", "_1D", "_1D_device", "_1D_host", "_2D", "_2D_device", "_2D_host")
_DTYPES = {"half": "float16", "float": "float32", "double": "float64"}
_DTYPES |= {name: name for name in ("float16", "bfloat16", "float32", "float64")}


class Genred:
    r"""A reduction of a formula over all pairs (i, j), none of whose M N values is stored.

    .. math:: a_i = \operatorname{reduction}_j F(x_i, y_j, p), \quad\text{or over } i
       \text{ for every } j

    The formula is text in KeOps' language [1]_, read and differentiated without a compiler: the
    first call takes microseconds longer than later ones.

    Parameters
    ----------
    formula : str
        What is reduced: ``"Exp(-SqDist(x, y) / s) * b"``. :doc:`reduce` lists the functions, and
        the index terms ``i`` and ``j`` and sizes ``M`` and ``N``, of which masks are made.
    aliases : sequence of str
        The variables, one for each argument of a call: ``"x = Vi(3)"`` for vectors of dimension 3,
        one for each i; ``"y = Vj(3)"`` for each j; ``"p = Pm(1)"`` for a parameter of all pairs.
        ``"x = Vi(2, 3)"`` gives the argument's position as well.
    reduction_op : str, optional
        "Sum", "LogSumExp", "LogSumExpWeight", "SumSoftMaxWeight" (or "SoftMax"), "Min", "Max",
        "ArgMin", "ArgMax", "Min_ArgMin", "Max_ArgMax", "KMin", "ArgKMin" or "KMin_ArgKMin".
    axis : {0, 1}, optional
        The index that is reduced: 0 for i, 1 for j.
    dtype : optional
        What the arrays of calls must be, "float32" say; results have the arrays' own anyhow.
    opt_arg : int, optional
        K, for how many minima "KMin" and its relatives look.
    formula2 : str, optional
        The weights of "LogSumExpWeight", of either sign, and "SumSoftMaxWeight": scalars or
        vectors. "LogSumExp" with weights is "LogSumExpWeight".
    **options
        pykeops' tuning (`sum_scheme`, `dtype_acc`, `use_double_acc`, `enable_chunks`,
        `rec_multVar_highdim`, `use_fast_math`, `optional_flags`, `cuda_type`) is accepted and has
        no effect.

    Attributes
    ----------
    formula, aliases, reduction_op, axis, dtype, opt_arg, formula2
        As given.

    Raises
    ------
    TypeError
        For texts that are none, integers that are none, and options that pykeops has not.
    ValueError
        For a formula or an alias that cannot be read, with a mark at the place; dimensions that do
        not fit; a reduction that there is not, or one without its `opt_arg` or `formula2`.

    Notes
    -----
    Time M N operations of the formula, on all threads, the same bits for any number of them. Memory
    beside the results is at most 4 MB a thread, and a gradient's at most as much again as itself.

    Gradients of every order, forward mode and ``torch.func`` work for tensors: the derivative of
    the formula is a formula. All gradients that are asked for are made in one pass. Those of "Min",
    "Max" and "KMin" go to the terms that were found; indices have none.

    In a log-sum-exp a term of -inf is a true zero whose gradient is 0, and +inf dominates. A
    reduction of nothing gives 0, -inf, or +inf for minima, and the index -1. Values are those of
    the exact reduction of terms that are each right to a few roundings of their parts.

    References
    ----------
    .. [1] B. Charlier, J. Feydy, J. A. Glaunès, F.-D. Collin, G. Durif, "Kernel operations on the
       GPU, with autodiff, without memory overflows", Journal of Machine Learning Research 22(74),
       2021.

    Examples
    --------
    The log of a Gaussian kernel's sums, and which point is nearest:

    >>> import numpy as np
    >>> import logsum
    >>> points = np.array([[0.0, 0.0], [3.0, 4.0]])
    >>> density = logsum.Genred(
    ...     "-SqDist(x, y) / 2", ["x = Vi(2)", "y = Vj(2)"], reduction_op="LogSumExp", axis=1
    ... )
    >>> density(np.zeros((1, 2)), points).round(6)
    array([[4.e-06]])
    >>> nearest = logsum.Genred("SqDist(x, y)", ["x = Vi(2)", "y = Vj(2)"], "Min_ArgMin", axis=1)
    >>> nearest(np.array([[2.0, 4.0]]), points)
    (array([[1.]]), array([[1]]))

    Running sums, since a formula may speak of its indices:

    >>> sums = logsum.Genred("(j <= i) * y", ["x = Vi(1)", "y = Vj(1)"], axis=1)
    >>> steps = np.array([[1.0], [2.0], [4.0]])
    >>> sums(steps, steps).T
    array([[1., 3., 7.]])
    """

    formula: str
    aliases: tuple[str, ...]
    reduction_op: str
    axis: int
    dtype: Any
    opt_arg: int | None
    formula2: str | None

    def __init__(
        self,
        formula: str,
        aliases: Sequence[str],
        reduction_op: str = "Sum",
        axis: int = 0,
        dtype: Any = None,
        opt_arg: int | None = None,
        formula2: str | None = None,
        **options: Any,
    ) -> None:
        """Read the formula."""
        for name in options:
            if name not in _TUNING:
                raise TypeError(f"{NAME}: got an unexpected keyword argument {name!r}")
        self.formula = _text("formula", formula)
        self.aliases = _texts(aliases)
        self.reduction_op = _text("reduction_op", reduction_op)
        self.axis = _integer("axis", axis)
        self.dtype = dtype
        self._dtype = None if dtype is None else _dtype_name(dtype)
        self.opt_arg = None if opt_arg is None else _integer("opt_arg", opt_arg)
        self.formula2 = None if formula2 is None else _text("formula2", formula2)
        self._program = parse(
            self.formula,
            SEPARATOR.join(self.aliases),
            self.reduction_op,
            self.axis,
            self.opt_arg or 0,
            self.formula2 or "",
        )
        if not self._program.arguments:
            raise value_error(NAME, "formula", "at least one variable, Vi, Vj or Pm", "none")

    def __call__(
        self,
        *args: ArrayT,
        backend: str = "auto",
        device_id: int = -1,
        ranges: None = None,
        out: Any = None,
    ) -> Any:
        """Reduce the formula of arrays.

        Parameters
        ----------
        *args : Array
            One for each variable: shape (..., M, D) for `Vi`, (..., N, D) for `Vj` and (..., D) for
            `Pm`; float16, bfloat16 (torch), float32 or float64, all the same. Batch axes broadcast,
            any strides are accepted.
        backend : {"auto", "CPU"}, optional
            Where to compute.
        device_id : int, optional
            Ignored: pykeops counts GPUs with it.
        ranges : None
            Block-sparse ranges are not implemented; a mask is a formula in i and j.
        out : Array or tuple of Array, optional
            Where to write the results, and what is returned.

        Returns
        -------
        Array or tuple of Array
            Shape (..., M, Dout) for ``axis=1``, (..., N, Dout) for ``axis=0``, in the dtype of the
            arguments; the indices of "ArgMin" and its relatives are int64. "Min_ArgMin" and its
            relatives give values and indices. K results have shape (..., M, K, Dout), or
            (..., M, K) if Dout is 1.

        Raises
        ------
        TypeError
            For arguments that are not floating arrays, differ in dtype, or arrays beside tensors.
        ValueError
            For another number of arguments, shapes that do not fit the variables or one another, a
            GPU's backend, ranges.
        RuntimeError
            For a gradient that is asked of results written to `out`.
        """
        if ranges is not None or backend not in _BACKENDS:
            _refuse(backend, ranges)
        program = self._program
        if len(args) != len(program.arguments):
            names = ", ".join(argument.name for argument in program.arguments)
            raise value_error(NAME, "arguments", f"{len(program.arguments)} ({names})", len(args))
        face = torch_face(*args)
        reduced: Callable[..., Any] = _reduced if face is None else face.reduced
        found = tuple(
            x[..., 0] if len(output.tail) == 2 and output.tail[1] == 1 else x
            for x, output in zip(reduced(program, args, self._dtype), program.outputs, strict=True)
        )
        if out is not None:
            _copy(found, out if isinstance(out, tuple) else (out,))
            return out
        return found if len(found) > 1 else found[0]

    def __repr__(self) -> str:
        """The call that makes it."""
        parts = [repr(self.formula), repr(list(self.aliases)), repr(self.reduction_op)]
        parts.append(f"axis={self.axis}")
        for name in ("dtype", "opt_arg", "formula2"):
            if getattr(self, name) is not None:
                parts.append(f"{name}={getattr(self, name)!r}")
        return f"logsum.Genred({', '.join(parts)})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles and copies hold the texts, and read them again."""
        given = (self.formula, self.aliases, self.reduction_op, self.axis, self.dtype)
        return type(self), (*given, self.opt_arg, self.formula2)


def _reduced(program: Program, args: Sequence[Any], dtype: str | None) -> list[Any]:
    """The outputs for NumPy's arrays."""
    names = [argument.name for argument in program.arguments]
    arrays = [as_floating(NAME, name, x) for name, x in zip(names, args, strict=True)]
    first = arrays[0].dtype
    for name, array in zip(names, arrays, strict=True):
        if array.dtype != first:
            raise type_error(NAME, name, f"{names[0]}'s dtype {first}", array.dtype)
    check_dtype(names[0], dtype, first.name)
    shapes = output_shapes(program, [x.shape for x in arrays], np.broadcast_shapes)
    outputs: list[Any] = [
        np.empty(shape, np.int64 if output.integer else first)
        for shape, output in zip(shapes, program.outputs, strict=True)
    ]
    program.reduction.run(arrays, outputs)
    return outputs


def check_dtype(name: str, expected: str | None, given: str) -> None:
    """Refuse arrays of another dtype than the reduction was said to have."""
    if expected is not None and given != expected:
        raise type_error(NAME, name, f"{expected}, which is the dtype of this reduction", given)


def _copy(results: Sequence[Any], outs: Sequence[Any]) -> None:
    """Write results of either library to a caller's arrays, which may be arguments as well."""
    if len(outs) != len(results):
        raise value_error(NAME, "out", f"{len(results)} arrays", len(outs))
    for found, out in zip(results, outs, strict=True):
        if not isinstance(out, type(found)):
            expected = f"{type_name(found)}, like the arguments"
            raise type_error(NAME, "out", expected, type_name(out))
        if out.shape != found.shape:
            raise value_error(NAME, "out", f"shape {tuple(found.shape)}", tuple(out.shape))
        if out.dtype != found.dtype:
            raise type_error(NAME, "out", found.dtype, out.dtype)
        if isinstance(found, np.ndarray):
            if not out.flags.writeable:
                raise value_error(NAME, "out", "an array that may be written to", "a read-only one")
            out[...] = found
        elif found.requires_grad:
            raise RuntimeError(f"{NAME}: out: results that are written to it have no gradient")
        else:
            out.copy_(found)


def _refuse(backend: Any, ranges: Any) -> None:
    if ranges is not None:
        expected = "None (block-sparse ranges are not implemented; masks are formulas in i and j)"
        raise value_error(NAME, "ranges", expected, type_name(ranges))
    if backend in {f"GPU{scheme}" for scheme in _GPU_SCHEMES}:
        expected = '"auto" or "CPU" (no GPU can be used: this build computes on the CPU)'
        raise value_error(NAME, "backend", expected, repr(backend))
    raise value_error(NAME, "backend", '"auto" or "CPU"', repr(backend))


def _text(argument: str, value: Any) -> str:
    if not isinstance(value, str):
        raise type_error(NAME, argument, "str", type_name(value))
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        raise value_error(NAME, argument, "text that UTF-8 has", repr(value)) from None
    return value


def _integer(argument: str, value: Any) -> int:
    """An int that C++ has; what it may be is checked there."""
    integer = as_integer(NAME, argument, value)
    if not -_LIMIT <= integer < _LIMIT:
        raise value_error(NAME, argument, "a number below 2^31", integer)
    return integer


def _texts(aliases: Any) -> tuple[str, ...]:
    if isinstance(aliases, str) or not isinstance(aliases, Sequence):
        raise type_error(NAME, "aliases", 'a list of str like "x = Vi(3)"', type_name(aliases))
    for alias in aliases:
        if ";" in _text("aliases", alias):
            raise value_error(NAME, "aliases", 'one variable a string, like "x = Vi(3)"', alias)
    return tuple(aliases)


def _dtype_name(dtype: Any) -> str:
    """The dtype that a name, a NumPy dtype or a torch dtype stands for."""
    name = dtype if isinstance(dtype, str) else str(dtype).removeprefix("torch.")
    if isinstance(dtype, type) and issubclass(dtype, np.generic):
        name = np.dtype(dtype).name
    if name not in _DTYPES:
        expected = '"float16", "bfloat16", "float32" or "float64"'
        raise value_error(NAME, "dtype", expected, repr(dtype))
    return _DTYPES[name]
