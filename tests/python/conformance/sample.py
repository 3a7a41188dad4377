"""Arguments of one call, and the kinds of array that they become."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


torch = _optional("torch")  # NumPy alone is a supported way to live

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Named arguments, free of dtype and device.

    Floating arguments are float64 arrays, rounded when a kind asks for them; arrays of integers
    and booleans keep their dtype, and whatever is no array is passed on as it is.
    """

    name: str
    arguments: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def with_arguments(self, name: str, arguments: tuple[Any, ...]) -> Sample:
        """Return the same options with other arguments."""
        return replace(self, name=f"{self.name}, {name}", arguments=arguments)


@dataclass(frozen=True)
class Kind:
    """A library, a dtype and a device."""

    library: str
    dtype: str
    device: str = "cpu"

    def __str__(self) -> str:
        return f"{self.library} {self.dtype} {self.device}"

    def array(self, values: Any) -> Any:
        """Return `values`, if it is an array, as one of this kind."""
        if not isinstance(values, np.ndarray):
            return values
        if self.library == "numpy":
            return values.astype(self.dtype) if is_floating(values) else values.copy()
        tensor = torch.from_numpy(np.array(values, order="C"))
        dtype = getattr(torch, self.dtype) if is_floating(values) else tensor.dtype
        return tensor.to(device=self.device, dtype=dtype)

    def arrays(self, sample: Sample) -> list[Any]:
        """Return the arguments of a sample as this kind."""
        return [self.array(values) for values in sample.arguments]


def is_array(value: Any) -> bool:
    """Tell whether a value is an array of either library."""
    return isinstance(value, (np.ndarray, np.generic)) or (
        torch is not None and isinstance(value, torch.Tensor)
    )


def is_floating(value: Any) -> bool:
    """Tell whether an array of either library holds floating point numbers."""
    if torch is not None and isinstance(value, torch.Tensor):
        return bool(value.is_floating_point())
    return bool(np.issubdtype(value.dtype, np.floating))


def dtype_name(array: Any) -> str:
    """Return "float32" for either library's."""
    return str(array.dtype).removeprefix("torch.")


def widen(array: Any) -> Any:
    """Return the same values as NumPy's, floating ones as float64; no array, as it is."""
    if not is_array(array):
        return array
    if torch is not None and isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        array = (array.double() if array.is_floating_point() else array).numpy()
    return np.asarray(array, dtype=np.float64) if is_floating(array) else np.asarray(array)


def filled(array: Any, value: float) -> Any:
    """Return an array like another, of one value."""
    if torch is not None and isinstance(array, torch.Tensor):
        return torch.full_like(array, value)
    return np.full_like(array, value)


def raw(array: Any) -> npt.NDArray[Any]:
    """Return an array's own memory as NumPy sees it, bfloat16 as integers."""
    if torch is None or not isinstance(array, torch.Tensor):
        return np.asarray(array)
    integer = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}[array.element_size()]
    plain: npt.NDArray[Any] = array.detach().cpu().view(getattr(torch, integer)).numpy()
    return plain


def bits(array: Any) -> bytes:
    """Return the bytes of an array in C order."""
    return raw(array).tobytes()


def settled(array: Any) -> Any:
    """Return an array with one NaN for all: libraries convert its payload differently."""
    if not is_floating(array):
        return array
    if torch is not None and isinstance(array, torch.Tensor):
        return torch.where(array.isnan(), torch.full_like(array, torch.nan), array)
    return np.where(np.isnan(array), np.full_like(array, np.nan), array)


def normal(*shape: int, scale: float = 3.0, shift: float = 0.0, seed: int = 0) -> Doubles:
    """Return normal values, the same for the same shape and seed."""
    generator = np.random.default_rng([seed, *shape])
    return np.asarray(shift + scale * generator.standard_normal(shape))


def beside(array: Any, tag: str) -> Any:
    """Return a tensor like another with normal values of size one: a cotangent, a direction."""
    values = normal(*array.shape, scale=1.0, seed=zlib.crc32(tag.encode()))
    return torch.as_tensor(values).to(array.device, array.dtype)
