"""NumPy arrays as the C++ library reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logsum._arguments import check_ndim, type_error, type_name, value_error

FLOATING = tuple(np.dtype(kind) for kind in (np.float16, np.float32, np.float64))
EXPECTED = "float16, float32 or float64"


def check_plain(function: str, argument: str, value: Any) -> None:
    """Refuse masked arrays and matrices, as SciPy does.

    A mask would silently be lost, and a matrix has rules of its own.
    """
    if isinstance(value, np.ma.MaskedArray | np.matrix):
        raise type_error(function, argument, "a plain array", type_name(value))


def as_array(
    function: str, argument: str, value: Any, expected: str = f"{EXPECTED}, or integers"
) -> NDArray[Any]:
    """An array_like as an array of numbers; `expected` says which, for errors."""
    check_plain(function, argument, value)
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of several lengths
        raise value_error(function, argument, "an array_like of numbers", error) from None
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise type_error(function, argument, expected, given_dtype(value, array.dtype))
    check_ndim(function, argument, array.ndim)
    return array


def given_dtype(value: Any, dtype: np.dtype[Any]) -> str:
    """What came, for an error: the dtype, with the type where the value was no array."""
    return str(dtype) if isinstance(value, np.ndarray) else f"{type_name(value)} of {dtype}"


def as_floating(function: str, argument: str, value: Any) -> NDArray[Any]:
    """An array of a supported floating dtype, or a NumPy scalar of one; nothing else."""
    if not isinstance(value, np.ndarray | np.generic):
        raise type_error(function, argument, "numpy.ndarray or torch.Tensor", type_name(value))
    array = as_array(function, argument, value, EXPECTED)
    if array.dtype.newbyteorder("=") not in FLOATING:
        raise type_error(function, argument, EXPECTED, array.dtype)
    return readable(array)


def as_mask(function: str, argument: str, value: Any) -> NDArray[np.bool_]:
    """A boolean array_like."""
    check_plain(function, argument, value)
    array = np.asarray(value)
    if array.dtype != np.bool_:
        raise type_error(function, argument, "bool", given_dtype(value, array.dtype))
    check_ndim(function, argument, array.ndim)
    return readable(array)


def readable(array: NDArray[Any], dtype: np.dtype[Any] | None = None) -> NDArray[Any]:
    """The array in a dtype (its own by default), in native byte order, aligned; itself if it is."""
    dtype = array.dtype.newbyteorder("=") if dtype is None else dtype
    if array.dtype != dtype or not array.dtype.isnative:
        return array.astype(dtype)
    # NumPy calls empty arrays aligned wherever they lie.
    return array if array.flags.aligned and array.size else array.copy()


def promoted(function: str, values: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Array_likes in the floating dtype that NumPy promotes them to; the keys name the arguments.

    Python's numbers are weak: they take an array's dtype.
    """
    arrays = {name: as_array(function, name, value) for name, value in values.items()}
    kinds = [
        value
        if isinstance(value, int | float) and not isinstance(value, np.generic)
        else array.dtype
        for value, array in zip(values.values(), arrays.values(), strict=True)
    ]
    dtype = np.result_type(*kinds, 1.0)
    return {name: readable(array, dtype) for name, array in arrays.items()}


def broadcast(function: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays at their common shape, by zero strides; the keys are the arguments' names."""
    shapes = [array.shape for array in arrays.values()]
    if all(shape == shapes[0] for shape in shapes):
        return arrays
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        names = " and ".join(arrays)
        given = " and ".join(map(str, shapes))
        raise value_error(function, names, "shapes that broadcast together", given) from None
    return {name: np.broadcast_to(array, shape) for name, array in arrays.items()}


def scalar(array: NDArray[Any]) -> Any:
    """NumPy's convention for results: a scalar where no axis is left."""
    return array[()] if array.ndim == 0 else array
