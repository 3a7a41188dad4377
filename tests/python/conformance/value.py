"""Values, kinds and bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.case import WORDS, Case
from conformance.report import check, compare, require
from conformance.sample import Kind, Sample, bits, is_array, raw, torch, widen
from tolerances import NEAR_ZERO

BOTH = ("numpy", "torch")


class ValueChecks(Case):
    """What comes back from a plain call."""

    @check(libraries=BOTH)
    def test_value(self, sample: Sample, kind: Kind) -> None:
        """The results lie within the tolerance of the reference."""
        self.judge_outputs(kind.arrays(sample), sample, kind)

    @check(hook="near_zero", libraries=BOTH, dtypes=WORDS)
    def test_near_zero(self, sample: Sample, kind: Kind) -> None:
        """A result near zero is right to a few ulp of itself."""
        arguments = kind.arrays(sample)
        outputs, expected = self.outputs(arguments, sample), self.expected(arguments, sample)
        for index, (want, have) in enumerate(zip(expected, outputs, strict=True)):
            compare(want, widen(have), kind.dtype, NEAR_ZERO, where=f"output {index}")

    @check(hook="constants", libraries=("either",))
    def test_constant(self, sample: Sample, kind: Kind) -> None:
        """Equal terms, however many, do not drift."""
        self.judge_outputs(kind.arrays(sample), sample, kind)

    @check(hook="empties", libraries=BOTH)
    def test_empty(self, sample: Sample, kind: Kind) -> None:
        """Arrays without elements have results of the right shape."""
        self.judge_outputs(kind.arrays(sample), sample, kind)

    @check(hook="first_samples", libraries=BOTH)
    def test_kind(self, sample: Sample, kind: Kind) -> None:
        """The results are of the caller's library and device, new, and the arguments untouched."""
        arguments = kind.arrays(sample)
        before = [bits(x) for x in arguments if is_array(x)]
        outputs = self.outputs(arguments, sample)
        for index, output in enumerate(outputs):
            where = f"output {index}"
            self._require_library(output, kind, where)
            self._require_fresh(output, arguments, where)
        after = [bits(x) for x in arguments if is_array(x)]
        require(before == after, "arguments untouched", "arguments written to")

    def _require_library(self, output: Any, kind: Kind, where: str) -> None:
        if kind.library == "numpy":
            right = isinstance(output, (np.ndarray, np.generic))
            require(right, "a NumPy array", type(output).__name__, where)
        else:
            require(type(output) is torch.Tensor, "a torch.Tensor", type(output).__name__, where)
            require(output.device.type == kind.device, kind.device, output.device, where)
            require(not output.requires_grad, "no gradient asked for", "requires_grad", where)

    def _require_fresh(self, output: Any, arguments: list[Any], where: str) -> None:
        for index, argument in enumerate(arguments):
            if is_array(argument):
                shared = np.shares_memory(raw(output), raw(argument))
                require(not shared, "memory of its own", f"argument {index}'s", where)

    @check(dtypes=("float16", *WORDS))
    def test_numpy_and_torch(self, sample: Sample, kind: Kind) -> None:
        """NumPy and torch get the same bits."""
        self.judge_peer(sample, kind)
