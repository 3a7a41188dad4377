"""Strides: the same numbers laid out otherwise in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from conformance.case import Case
from conformance.derivative import cotangents_for, differentiate, leaves
from conformance.report import check
from conformance.sample import Kind, Sample, is_array, raw, torch

# Layouts are made of integers of the entries' size: that serves every dtype of both libraries.
Words = npt.NDArray[np.integer[Any]]


def _buffer(words: Words, shape: tuple[int, ...]) -> Words:
    """Return memory of ones: NaN wherever a view of floating point numbers leaves it so."""
    return np.full(shape, 1 if words.dtype == np.uint8 else -1, words.dtype)


def _every(cut: slice, words: Words) -> Any:
    """Return an index that cuts every axis, and of no axes gives an array too."""
    return (..., *(cut,) * words.ndim)


def _transposed(words: Words) -> Words:
    return words.copy("F")


def _rotated(words: Words) -> Words:
    """First axis last in memory."""
    return np.moveaxis(np.moveaxis(words, 0, -1).copy(), -1, 0) if words.ndim else words


def _sliced(words: Words) -> Words:
    """Every other entry of each axis."""
    view = _buffer(words, tuple(2 * n for n in words.shape))
    view = view[_every(slice(None, None, 2), words)]
    view[...] = words
    return view


def _offset(words: Words) -> Words:
    """One entry after the start of the memory, so that no vector is aligned."""
    view = _buffer(words, (words.size + 1,))[1:].reshape(words.shape)
    view[...] = words
    return view


def _inner(words: Words) -> Words:
    """The middle of a larger array."""
    view = _buffer(words, tuple(n + 2 for n in words.shape))
    view = view[_every(slice(1, -1), words)]
    view[...] = words
    return view


def _expanded(words: Words) -> Words:
    """The first entry of each row for all of it: stride zero."""
    if words.ndim == 0:
        return words
    first = words[..., :1]
    strides = (*first.strides[:-1], 0)
    return np.lib.stride_tricks.as_strided(first, words.shape, strides)


def _reversed(words: Words) -> Words:
    backwards = _every(slice(None, None, -1), words)
    return words[backwards].copy()[backwards]


def _read_only(words: Words) -> Words:
    still = words.copy()
    still.flags.writeable = False
    return still


_BOTH: dict[str, Callable[[Words], Words]] = {
    "transposed": _transposed,
    "rotated": _rotated,
    "sliced": _sliced,
    "offset": _offset,
    "inner": _inner,
    "expanded": _expanded,
}
LAYOUTS = {
    "numpy": {**_BOTH, "reversed": _reversed, "read-only": _read_only},
    "torch": _BOTH,
}


def arrange(array: Any, layout: Callable[[Words], Words]) -> Any:
    """Return an array in another layout."""
    if not is_array(array):
        return array
    if torch is not None and isinstance(array, torch.Tensor):
        return torch.from_numpy(layout(raw(array))).view(array.dtype)
    size = array.dtype.itemsize
    words = np.asarray(array).view(np.uint8 if size == 1 else f"i{size}")
    return layout(words).view(array.dtype)


class LayoutChecks(Case):
    """Any strides are accepted, and none is assumed."""

    def arranged(self, sample: Sample, kind: Kind) -> Iterator[tuple[str, list[Any]]]:
        """Give the arguments in each layout, all of them and then each alone."""
        arguments = kind.arrays(sample)
        arrays = [k for k, x in enumerate(arguments) if is_array(x)]
        groups = [arrays] + ([[k] for k in arrays] if len(arrays) > 1 else [])
        for name, layout in LAYOUTS[kind.library].items():
            for group in groups:
                laid = [arrange(x, layout) if k in group else x for k, x in enumerate(arguments)]
                yield f"{name} arguments {group}", laid

    @check(libraries=("numpy", "torch"))
    def test_strides(self, sample: Sample, kind: Kind) -> None:
        """Values are those of the numbers, wherever they lie."""
        for where, arguments in self.arranged(sample, kind):
            self.judge_outputs(arguments, sample, kind, where=where)

    @check(hook="differentiables", dtypes=("float32", "float64"))
    def test_strides_gradient(self, sample: Sample, kind: Kind) -> None:
        """So are gradients."""
        for where, arguments in self.arranged(sample, kind):
            marked = leaves(self, arguments)
            outputs = self.smooth_outputs(marked, sample)
            cotangents = cotangents_for(outputs)
            got = differentiate(self, outputs, marked, cotangents)
            self.judge_gradients(cotangents, marked, sample, kind, got, where)
