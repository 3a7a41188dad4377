"""Log and Max as objects, and the semirings of others."""

from __future__ import annotations

import copy
import pickle
from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import logsum
from logsum._semirings import semiring_name
from tensors import needs_torch, torch

X = np.array([[1.0, 3.0, 3.0], [-2.0, -1e38, 0.0]])


@pytest.mark.parametrize("semiring", [logsum.Log, logsum.Max])
def test_objects(semiring: Any) -> None:
    assert (semiring.zero, semiring.one) == (-1e38, 0.0)
    assert pickle.loads(pickle.dumps(semiring)) is semiring
    assert copy.deepcopy(semiring) is semiring
    assert repr(semiring) == f"logsum.{semiring.name.capitalize()}"
    np.testing.assert_array_equal(semiring.mul(X, 1.0), X + 1)
    assert semiring_name("logZ", semiring) == semiring.name


def test_sums() -> None:
    for dim in (0, 1, -1):
        np.testing.assert_array_equal(logsum.Log.sum(X, dim=dim), logsum.logsumexp(X, dim))
        np.testing.assert_array_equal(logsum.Log.dsum(X, dim=dim), logsum.softmax(X, dim))
        np.testing.assert_array_equal(logsum.Max.sum(X, dim=dim), X.max(dim))
    np.testing.assert_array_equal(logsum.Max.dsum(X, dim=1), [[0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(logsum.Max.dsum(X, dim=0), [[1, 1, 1], [0, 0, 0]])


@needs_torch
def test_tensors() -> None:
    x = torch.from_numpy(X)
    for semiring in (logsum.Log, logsum.Max):
        for dim in (0, 1):
            for name in ("sum", "dsum"):
                method = getattr(semiring, name)
                np.testing.assert_array_equal(method(x, dim=dim).numpy(), method(X, dim=dim))


FIELDS = ("zero", "one", "mul", "sum", "dsum")
Foreign = namedtuple("Foreign", FIELDS)


def of_torch(dsum: Any, zero: float = -1e38, one: float = 0.0) -> Any:
    """Return a semiring in the form that other packages have it."""
    return Foreign(zero, one, torch.add, torch.logsumexp, dsum)


def one_hot(x: Any, dim: int) -> Any:
    return torch.zeros_like(x).scatter_(dim, x.argmax(dim, keepdim=True), 1.0)


@needs_torch
def test_foreign() -> None:
    assert semiring_name("f", of_torch(torch.softmax)) == "log"
    assert semiring_name("f", of_torch(one_hot)) == "max"
    assert semiring_name("f", of_torch(torch.softmax, zero=-np.inf)) == "log"


def test_foreign_of_arrays() -> None:
    parts = {"zero": -np.inf, "one": 0, "dsum": lambda x, dim: logsum.softmax(np.asarray(x), dim)}
    assert semiring_name("f", SimpleNamespace(**parts)) == "log"


@pytest.mark.parametrize(
    "other",
    [
        "sum",
        "Log",
        None,
        1,
        logsum,
        SimpleNamespace(zero=-1e38, one=0.0),
        SimpleNamespace(zero=0.0, one=1.0, dsum=lambda x, dim: x * 0 + 1),
        SimpleNamespace(zero=-1e38, one=0.0, dsum=lambda x, dim: x * 0 + 1),
        SimpleNamespace(zero=-1e38, one=0.0, dsum=lambda x, dim: x.sum()),
    ],
)
def test_what_is_none(other: Any) -> None:
    with pytest.raises(ValueError, match=r'f: semiring: expected "log", "max".* got '):
        semiring_name("f", other)


@needs_torch
def test_in_a_compiled_function() -> None:
    """Semirings of all forms go into one graph."""
    ms, ends = torch.randn(3, 2, 4, 2), torch.randn(2, 4)
    objects = [logsum.Log, logsum.Max, "max", of_torch(torch.softmax), of_torch(one_hot)]
    for ring in objects:

        def call(x: Any, ring: Any = ring) -> Any:
            return logsum.logZ(x, [[0, 1]] * 4, ends, ends, ring, 4)

        torch._dynamo.reset()
        compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(ms), call(ms))


def test_products_know_them_by_name_or_object() -> None:
    for semiring in (logsum.Log, logsum.Max):
        got = logsum.logmatmulexp(X, X.T, semiring=semiring)
        np.testing.assert_array_equal(got, logsum.logmatmulexp(X, X.T, semiring=semiring.name))
        got = logsum.logeinsumexp("ij,kj->ik", X, X, semiring=semiring)
        np.testing.assert_array_equal(got, logsum.logmatmulexp(X, X.T, semiring=semiring.name))
    assert len(logsum.logmatmulexp(X, X.T, semiring=logsum.Max, return_argmax=True)) == 2
