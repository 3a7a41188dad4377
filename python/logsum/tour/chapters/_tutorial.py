"""KeOps' tutorial on log-sum-exps: its formula, three ways to reduce it, and the exact answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module

Array = NDArray[Any]
FORMULA = "Square(p - a) * Exp(x + y)"
VARIABLES = ["x = Vi(1)", "y = Vj(1)", "a = Vj(1)", "p = Pm(1)"]
_CHUNK = 64  # rows of extended precision at a time


@dataclass(frozen=True)
class Answer:
    """c_i and the gradient of Σ e_i c_i with respect to y, where there is one."""

    value: Array
    gradient: Array | None


@dataclass(frozen=True)
class Problem:
    """The tutorial's arrays, all of them numbers of float32."""

    x: Array
    y: Array
    a: Array
    p: Array
    e: Array  # the gradient that comes in

    @classmethod
    def random(cls, rng: np.random.Generator, rows: int, columns: int) -> Problem:
        """Draw everything uniformly from [0, 1), as the tutorial does."""
        shapes = ((rows, 1), (columns, 1), (columns, 1), (1,), (rows, 1))
        return cls(*(rng.random(shape, np.float32) for shape in shapes))

    def moved(self, shift: float) -> Problem:
        """Return the problem with x moved up, which multiplies the formula by e^shift."""
        return replace(self, x=self.x + np.float32(shift))

    def arguments(self, dtype: str) -> tuple[Any, ...]:
        """Return x, y, a, p as tensors (of which y wants a gradient) or, without torch, arrays."""
        arrays = [part.astype(dtype) for part in (self.x, self.y, self.a, self.p)]
        torch = find_module("torch")
        if torch is None:
            return tuple(arrays)
        x, y, a, p = map(torch.from_numpy, arrays)
        return x, y.requires_grad_(), a, p

    def largest(self) -> Array:
        """Return the largest value of the formula in each row."""
        column = np.square(self.p - self.a) * np.exp(self.y)
        return np.asarray(np.exp(self.x[:, 0]) * column.max())

    def exact(self) -> Answer:
        """Return the answer by extended precision (where long double is), some rows at a time."""
        x, y, a, p, e = (
            part.astype(np.longdouble) for part in (self.x, self.y, self.a, self.p, self.e)
        )
        column = np.square(p - a).T * np.exp(y.T)
        values, gradient = [], np.zeros(len(y), np.longdouble)
        for start in range(0, len(x), _CHUNK):
            part = slice(start, start + _CHUNK)
            formula = np.exp(x[part]) * column
            top = formula.max(axis=1, keepdims=True)
            weights = np.exp(formula - top)
            total = weights.sum(axis=1, keepdims=True)
            values.append((top + np.log(total))[:, 0])
            gradient += (e[part] / total * weights * formula).sum(axis=0)  # dF/dy = F
        return Answer(np.concatenate(values), gradient)


@dataclass(frozen=True)
class Way:
    """A way to reduce the formula.

    Attributes
    ----------
    name : str
    make : callable
        Returns a function of x, y, a and p.
    """

    name: str
    make: Callable[[], Callable[..., Any]]

    def answer(self, problem: Problem, dtype: str) -> Answer:
        """Return its value and, with torch, its gradient."""
        arguments = problem.arguments(dtype)
        with np.errstate(all="ignore"):
            c = self.make()(*arguments)
        if find_module("torch") is None:
            return Answer(np.asarray(c)[:, 0], None)
        (gradient,) = gradients(c, arguments[1:2], problem)
        return Answer(c.detach().numpy()[:, 0], gradient.numpy()[:, 0])


def gradients(c: Any, leaves: Any, problem: Problem) -> Any:
    """Return the gradients of Σ e_i c_i; takes torch."""
    torch: Any = find_module("torch")
    return torch.autograd.grad(c, leaves, torch.from_numpy(problem.e).to(c.dtype))


def ways(dtype: str) -> list[Way]:
    """Return the tutorial's two ways and, for float32 with torch, the one that stores all pairs."""
    found = [Way("LogSumExp", stable), Way("log of Sum", naive)]
    if dtype == "float32" and find_module("torch") is not None:
        found.append(Way("torch, all pairs", lambda: dense))
    return found


def stable() -> Callable[..., Any]:
    """Return the log-sum-exp reduction."""
    return logsum.Genred(FORMULA, VARIABLES, reduction_op="LogSumExp", axis=1)


def naive() -> Callable[..., Any]:
    """Return the definition as written: a sum of exponentials, and its logarithm."""
    routine = logsum.Genred(f"Exp({FORMULA})", VARIABLES, reduction_op="Sum", axis=1)

    def call(*arguments: Any) -> Any:
        total = routine(*arguments)
        return np.log(total) if isinstance(total, np.ndarray) else total.log()

    return call


def dense(x: Any, y: Any, a: Any, p: Any) -> Any:
    """Return the reduction of a stored matrix of all pairs."""
    torch: Any = find_module("torch")
    return torch.logsumexp((p - a.T).square() * torch.exp(x + y.T), 1, keepdim=True)
