"""The same bits for every thread count, and from one call to the next, on each CPU target."""

from __future__ import annotations

from typing import Any

from conformance.case import WORDS, Case
from conformance.derivative import cotangents_for, differentiate, everything, leaves
from conformance.machine import cpu_target, cpu_targets, threads
from conformance.report import check, require
from conformance.sample import Kind, Sample, bits


class DeterminismChecks(Case):
    """Partition and fold order depend on shapes only."""

    def results(self, sample: Sample, kind: Kind) -> list[Any]:
        """Return the outputs, and the gradients where there are any."""
        arguments = kind.arrays(sample)
        if kind.library == "torch" and self.differentiable:
            arguments = leaves(self, arguments)
        return everything(self, arguments, sample)

    def same_bits(
        self, sample: Sample, kind: Kind, counts: tuple[int, ...], where: str = ""
    ) -> None:
        """Fail unless every thread count, and a second call, give the same bits."""
        with threads(1):
            first = self.results(sample, kind)
        for count in counts:
            with threads(count):
                again = self.results(sample, kind)
            for index, (one, other) in enumerate(zip(first, again, strict=True)):
                place = f"{where} {count} threads, result {index}"
                require(bits(one) == bits(other), f"the bits of {one}", other, place)

    def first_large(self) -> list[Sample]:
        """Return one large sample."""
        return self.larges()[:1]

    @check(hook="larges", dtypes=("float32",))
    def test_threads(self, sample: Sample, kind: Kind) -> None:
        """Large arguments, which threads share, and their gradients."""
        self.same_bits(sample, kind, (1, 2, 3, 5, 5))

    @check(dtypes=WORDS)
    def test_targets(self, sample: Sample, kind: Kind) -> None:
        """Each CPU target is within tolerance and reproduces itself."""
        for name in cpu_targets():
            with cpu_target(name):
                arguments = kind.arrays(sample)
                self.judge_outputs(arguments, sample, kind, where=name)
                if self.differentiable:
                    marked = leaves(self, arguments)
                    outputs = self.smooth_outputs(marked, sample)
                    cotangents = cotangents_for(outputs)
                    got = differentiate(self, outputs, marked, cotangents)
                    self.judge_gradients(cotangents, marked, sample, kind, got, name)

    @check(hook="first_large", dtypes=("float32",))
    def test_targets_threads(self, sample: Sample, kind: Kind) -> None:
        """Each CPU target has one answer for every thread count."""
        for name in cpu_targets():
            with cpu_target(name):
                self.same_bits(sample, kind, (2, 3), name)
