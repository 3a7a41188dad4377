"""Every check of the conformance suite can fail: each fails on an operation broken for it.

The sound specimen passes all of them, so that what a check finds is the one defect put in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import logsum  # noqa: E402
import oracle  # noqa: E402
import specimen  # noqa: E402
from conformance import Conformance, Failure, Kind, Monoid, Sample, State, checks  # noqa: E402
from specimen import LogSumExp, Sound, logsumexp  # noqa: E402

Call = Callable[..., Any]


def run(case: Conformance, method: str) -> None:
    """Run one check of a case over all its points."""
    for sample, kind in case.points(checks(Conformance)[method]):
        getattr(case, method)(sample, kind)


def case(**members: Any) -> Conformance:
    """Return the specimen with some parts replaced."""
    return type("Broken", (Sound,), members)()


def calling(call: Call) -> Conformance:
    """Return the specimen with another operation in its place."""
    return case(call=lambda self, a, axis: call(a, axis))


def applying(**members: Any) -> Conformance:
    """Return the specimen with parts of its autograd.Function replaced."""
    function = type("BrokenFunction", (LogSumExp,), members)
    return calling(function.apply)


def on(library: str, call: Call) -> Call:
    """Return a call that is broken for one library only."""
    return lambda a, axis: (call if isinstance(a, torch.Tensor) == (library == "torch") else logsumexp)(a, axis)


# ---- values ------------------------------------------------------------------------------


def _chained(a: Any, axis: int) -> Any:
    """One float32 chain of sums, not of powers of two: the drift of naive kernels."""
    x = np.asarray(a.double() if isinstance(a, torch.Tensor) else a, np.float32)
    total = np.add.accumulate(np.exp(x - np.float32(1)), axis, dtype=np.float32).take(-1, axis)
    result = np.log(total) + np.float32(1)
    return torch.from_numpy(result).to(a.dtype) if isinstance(a, torch.Tensor) else result.astype(a.dtype)


def _without_log1p(a: Any, axis: int) -> Any:
    return torch.as_tensor(a).exp().sum(axis).log()


def _writing(a: Any, axis: int) -> Any:
    out = logsumexp(a, axis)
    a[...] = 0
    return out
