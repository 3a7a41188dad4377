"""What every operation of the library must satisfy, and how an operation signs up.

A subclass of `Conformance` states one operation (case.py says what) and inherits every check:

    class TestLogaddexp(Conformance):
        name = "logaddexp"
        differentiable = logarithmic = (0, 1)

        def call(self, a, b):
            return logsum.logaddexp(a, b)

        def reference(self, a, b):
            return oracle.logaddexp(a, b)

        def gradient(self, cotangents, a, b):
            return oracle.logaddexp_gradient(cotangents[0], a, b)

        def samples(self):
            return [Sample("vectors", (normal(5), normal(5, seed=1)))]

One check family is one file here. Each is shown to fail on a broken operation in
test_conformance_detects.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.case import Case, Monoid, State
from conformance.derivative import DerivativeChecks
from conformance.determinism import DeterminismChecks
from conformance.graph import GraphChecks
from conformance.layout import LayoutChecks
from conformance.memory import MemoryChecks
from conformance.monoid import MonoidChecks
from conformance.report import Check, ConformanceError
from conformance.sample import Kind, Sample, filled, normal, torch
from conformance.special import SpecialChecks
from conformance.transform import TransformChecks
from conformance.value import ValueChecks

__all__ = [
    "Conformance",
    "ConformanceError",
    "Kind",
    "Monoid",
    "Sample",
    "State",
    "checks",
    "filled",
    "normal",
    "torch",
]


class Conformance(
    ValueChecks,
    SpecialChecks,
    LayoutChecks,
    DerivativeChecks,
    TransformChecks,
    GraphChecks,
    DeterminismChecks,
    MonoidChecks,
    MemoryChecks,
):
    """All checks; subclass it with a name that starts with Test."""

    def __init_subclass__(cls) -> None:
        """Take away the checks that a case has no samples or libraries for."""
        super().__init_subclass__()
        for method, found in checks(Conformance).items():
            if not any(cls().points(found)):
                setattr(cls, method, None)
            elif getattr(cls, method) is None:  # taken away from a base that has no samples
                setattr(cls, method, getattr(Conformance, method))

    def points(self, found: Check) -> Iterator[tuple[Sample, Kind]]:
        """Give every sample and kind that a check runs over."""
        here = [x for x in self.libraries if x == "numpy" or torch is not None]
        either = here[-1:] if found.libraries == ("either",) else []
        for library in either or [x for x in found.libraries if x in here]:
            for sample in getattr(self, found.hook)():
                for dtype in self.dtypes:
                    if found.dtypes is not None and dtype not in found.dtypes:
                        continue
                    if library == "numpy":
                        if dtype != "bfloat16":  # NumPy has none
                            yield sample, Kind(library, dtype)
                        continue
                    for device in self.devices:
                        if device == "cpu" or torch.cuda.is_available():
                            yield sample, Kind(library, dtype, device)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one test of each point of a check."""
        found = getattr(metafunc.function, "check", None)
        if found is not None:
            points = [
                pytest.param(sample, kind, id=f"{sample.name}; {kind}".replace(" ", "-"))
                for sample, kind in self.points(found)
            ]
            metafunc.parametrize(("sample", "kind"), points)


def checks(case: type[Case]) -> dict[str, Check]:
    """Return the check methods of a case that still apply, by name."""
    methods = {name: getattr(case, name, None) for name in dir(case)}
    return {
        name: method.check  # type: ignore[union-attr]
        for name, method in methods.items()
        if hasattr(method, "check")
    }
