"""What an operation says about itself, and the ways in which every check calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import tolerances
from conformance.report import compare, require
from conformance.sample import (
    Doubles,
    Kind,
    Sample,
    bits,
    dtype_name,
    is_array,
    settled,
    torch,
    widen,
)
from tolerances import Tolerance

HALVES = ("float16", "bfloat16")
WORDS = ("float32", "float64")

State = tuple[Any, ...]


# References are slow and asked for again: for each layout, thread count, library and so on.
_references: dict[tuple[Any, ...], State] = {}


def _frozen(value: Any) -> Any:
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


@dataclass(frozen=True)
class Monoid:
    """A mergeable state: a tuple of arrays, as `Case.outputs` gives it."""

    merge: Callable[..., State]  # of any number of states
    unit: Callable[[State], State]  # the state of nothing, in the shape of another
    parts: Callable[[Sample], Sequence[Sample]]  # a sample cut into disjoint parts


class Case:
    """One operation: a subclass fills in this part and inherits the checks.

    Required are `name`, `call`, `reference` and `samples`; `gradient` where there are
    differentiable arguments. The other hooks give more to check, and a case that leaves one out
    does not have its checks.
    """

    name: ClassVar[str]
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "torch")
    dtypes: ClassVar[tuple[str, ...]] = HALVES + WORDS
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    # One tolerance for all outputs, or one for each.
    accuracy: ClassVar[tuple[Tolerance, ...]] = (tolerances.LOG_SUM,)
    gradient_tolerance: ClassVar[Tolerance] = tolerances.GRADIENT
    # Indices of the arguments that gradients flow to, and of the outputs that they come from.
    differentiable: ClassVar[tuple[int, ...]] = (0,)
    smooth: ClassVar[tuple[int, ...]] = (0,)
    # Indices of the arguments that hold logarithms, in which -inf is a zero.
    logarithmic: ClassVar[tuple[int, ...]] = (0,)
    # The largest finite logarithm that the operation tells from infinity.
    largest: ClassVar[float] = float("inf")
    # Special values (names in special.py, or "NAME in argument K") whose gradient the contract
    # leaves open.
    open_gradients: ClassVar[tuple[str, ...]] = ()
    # Indices of the outputs that are float32 for the half types.
    wide: ClassVar[tuple[int, ...]] = ()
    # Indices of the outputs that are int64 indices.
    indices: ClassVar[tuple[int, ...]] = ()
    # torch.library namespace of the operators behind a compiled call.
    namespace: ClassVar[str] = "logsum"
    monoid: ClassVar[Monoid | None] = None

    def call(self, *arguments: Any, **options: Any) -> Any:
        """Run the operation."""
        raise NotImplementedError

    def reference(self, *arguments: Any, **options: Any) -> Any:
        """Return what `call` should, exact to float64 or better.

        The arguments are float64 arrays that hold exactly the rounded inputs of the call.
        """
        raise NotImplementedError

    def gradient(
        self, cotangents: tuple[Doubles, ...], *arguments: Any, **options: Any
    ) -> Sequence[Any]:
        """Return the gradients of <cotangents, smooth outputs> in the differentiable arguments."""
        raise NotImplementedError

    def samples(self) -> list[Sample]:
        """Return small samples (about 50 finite numbers) over shapes and options."""
        raise NotImplementedError

    def near_zero(self) -> list[Sample]:
        """Return samples whose exact result is near zero and dominated by one term."""
        return []

    def constants(self) -> list[Sample]:
        """Return samples with all terms equal, up to 65536 of them: drift shows here first."""
        return []

    def larges(self) -> list[Sample]:
        """Return samples large enough to be cut among threads."""
        return []

    def heavies(self) -> list[Sample]:
        """Return samples of tens of megabytes, for the peak of memory."""
        return []

    def allowance(self, sample: Sample, kind: Kind, derivative: bool) -> int:
        """Return the bytes that a call may hold at its peak beside arguments and results.

        With `derivative`, a call and its gradient, which is a result.
        """
        raise NotImplementedError

    def empties(self) -> list[Sample]:
        """Return samples with no elements: each axis in turn, of arguments of one shape."""
        found = []
        for sample in self.samples()[:4]:
            shapes = {x.shape for x in sample.arguments if is_array(x)}
            axes = range(len(next(iter(shapes)))) if len(shapes) == 1 else ()
            for axis in axes:
                cut = [np.take(x, [], axis) if is_array(x) else x for x in sample.arguments]
                found.append(sample.with_arguments(f"axis {axis} empty", tuple(cut)))
        return found

    def first_samples(self) -> list[Sample]:
        """Return one sample."""
        return self.samples()[:1]

    def differentiables(self) -> list[Sample]:
        """Return the samples that are differentiated."""
        return self.samples() if self.differentiable else []

    def specials(self) -> list[Sample]:
        """Return the samples in which special values are planted."""
        return self.samples() if self.logarithmic else []

    # ---- calls --------------------------------------------------------------------------

    def outputs(self, arguments: Sequence[Any], sample: Sample) -> State:
        """Return the results of the operation as a tuple."""
        got = self.call(*arguments, **sample.options)
        return tuple(got) if isinstance(got, (tuple, list)) else (got,)

    def expected(self, arguments: Sequence[Any], sample: Sample) -> State:
        """Return what the outputs should be for arguments of any kind."""
        wide = [widen(x) for x in arguments]
        key = (type(self), repr(sample.options), *(_frozen(x) for x in wide))
        if key not in _references:
            if len(_references) > 200:
                _references.clear()
            want = self.reference(*wide, **sample.options)
            _references[key] = tuple(want) if isinstance(want, (tuple, list)) else (want,)
        return _references[key]

    def expected_gradients(
        self, cotangents: Sequence[Any], arguments: Sequence[Any], sample: Sample
    ) -> list[Any]:
        """Return what the gradients should be for arguments of any kind."""
        wide = tuple(widen(x) for x in cotangents)
        return list(self.gradient(wide, *map(widen, arguments), **sample.options))

    def smooth_outputs(self, arguments: Sequence[Any], sample: Sample) -> State:
        """Return the results that gradients come from."""
        outputs = self.outputs(arguments, sample)
        return tuple(outputs[k] for k in self.smooth)

    def of_differentiable(
        self, arguments: Sequence[Any], sample: Sample
    ) -> tuple[Callable[..., State], list[Any]]:
        """Return the smooth outputs as a function of the differentiable arguments, and these."""

        def function(*inputs: Any) -> State:
            full = list(arguments)
            for index, values in zip(self.differentiable, inputs, strict=True):
                full[index] = values
            return self.smooth_outputs(full, sample)

        return function, [arguments[index] for index in self.differentiable]

    # ---- judgements ---------------------------------------------------------------------

    def output_dtype(self, index: int, kind: Kind) -> str:
        """Return the dtype that an output must have."""
        if index in self.indices:
            return "int64"
        return "float32" if index in self.wide and kind.dtype in HALVES else kind.dtype

    def output_tolerance(self, index: int) -> Tolerance:
        """Return the tolerance of an output."""
        return self.accuracy[min(index, len(self.accuracy) - 1)]

    def magnitude(self, arguments: Sequence[Any], sample: Sample) -> float:
        """Return the largest finite |number| among logarithms: inputs and results."""
        inputs = [widen(arguments[k]) for k in self.logarithmic]
        results = [np.asarray(x, dtype=np.float64) for x in self.expected(arguments, sample)]
        sizes = [np.abs(x[np.isfinite(x)]).max(initial=0.0) for x in inputs + results]
        return float(max(sizes, default=0.0))

    def gradient_scale(self, cotangents: Sequence[Doubles]) -> float:
        """Return the size of what may cancel in a gradient: that of what came in."""
        return max((float(np.abs(x).max(initial=0)) for x in cotangents), default=0.0)

    def judge_outputs(
        self,
        arguments: Sequence[Any],
        sample: Sample,
        kind: Kind,
        got: State | None = None,
        where: str = "",
        magnitude: float | None = None,
    ) -> None:
        """Run the operation (unless its outputs are given) and compare with the reference."""
        outputs = self.outputs(arguments, sample) if got is None else got
        expected = self.expected(arguments, sample)
        require(len(outputs) == len(expected), f"{len(expected)} results", f"{len(outputs)}", where)
        if magnitude is None:
            magnitude = self.magnitude(arguments, sample)
        for index, (want, have) in enumerate(zip(expected, outputs, strict=True)):
            place = f"{where} output {index}".strip()
            dtype = self.output_dtype(index, kind)
            require(is_array(have), "an array", type(have).__name__, place)
            require(dtype_name(have) == dtype, dtype, dtype_name(have), place)
            tolerance = self.output_tolerance(index)
            if index in self.indices:
                dtype = "float64"  # holds every index
            compare(want, widen(have), dtype, tolerance, magnitude=magnitude, where=place)

    def judge_peer(self, sample: Sample, kind: Kind) -> None:
        """Fail unless NumPy gets the bits that torch gets."""
        outputs = self.outputs(kind.arrays(sample), sample)
        peer = self.outputs(Kind("numpy", kind.dtype).arrays(sample), sample)
        for index, (tensor, array) in enumerate(zip(outputs, peer, strict=True)):
            where = f"{sample.name} output {index}"
            same = bits(settled(tensor)) == bits(settled(array))
            require(same, f"{array} as NumPy", tensor, where)

    def judge_gradients(
        self,
        cotangents: Sequence[Any],
        arguments: Sequence[Any],
        sample: Sample,
        kind: Kind,
        got: Sequence[Any],
        where: str = "",
        magnitude: float | None = None,
    ) -> None:
        """Compare gradients in the differentiable arguments with the reference's."""
        if magnitude is None:
            magnitude = self.magnitude(arguments, sample)
        expected = self.expected_gradients(cotangents, arguments, sample)
        scale = self.gradient_scale([widen(x) for x in cotangents])
        for index, want, have in zip(self.differentiable, expected, got, strict=True):
            place = f"{where} gradient in argument {index}".strip()
            require(isinstance(have, torch.Tensor), "a tensor", type(have).__name__, place)
            require(dtype_name(have) == kind.dtype, kind.dtype, dtype_name(have), place)
            compare(
                want,
                widen(have),
                kind.dtype,
                self.gradient_tolerance,
                magnitude=magnitude,
                scale=scale,
                where=place,
            )
