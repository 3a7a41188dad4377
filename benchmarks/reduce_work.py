"""What the cases of reductions work on: points, every library's call, and float64 references."""

from __future__ import annotations

import contextlib
import functools
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import peers
from harness import Work
from records import judge

import logsum

torch = peers.torch

KEOPS = "pykeops"
_FOLDERS: list[Any] = []  # where pykeops compiles to, for as long as the process lives


@dataclass(frozen=True)
class Formula:
    """A reduction over j, as Genred and pykeops take it."""

    text: str
    aliases: tuple[str, ...]
    reduction_op: str = "LogSumExp"
    formula2: str | None = None

    def made(self, maker: Any) -> Any:
        """Return the Genred that a library makes of it."""
        options = {} if self.formula2 is None else {"formula2": self.formula2}
        return maker(
            self.text, list(self.aliases), reduction_op=self.reduction_op, axis=1, **options
        )


TUTORIAL = Formula(
    "Square(p - a) * Exp(x + y)", ("x = Vi(1)", "y = Vj(1)", "a = Vj(1)", "p = Pm(1)")
)


def gauss(dim: int) -> Formula:
    """Return the exponent of a Gaussian kernel."""
    return Formula("-SqDist(x, y) / 2", (f"x = Vi({dim})", f"y = Vj({dim})"))


def mean(dim: int) -> Formula:
    """Return the mean of vectors under scores that are scalar products."""
    aliases = (f"x = Vi({dim})", f"y = Vj({dim})", f"b = Vj({dim})")
    return Formula("(x | y)", aliases, "SumSoftMaxWeight", "b")


# ---- arrays --------------------------------------------------------------------------------


def tutorial_arrays(rng: np.random.Generator, m: int, n: int) -> list[np.ndarray]:
    """Return x, y, a and p, uniform as in KeOps' tutorial."""
    return [rng.random(shape, np.float32) for shape in ((m, 1), (n, 1), (n, 1), (1,))]


def cloud(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Return normal points whose squared distances are about one in any dimension."""
    return rng.standard_normal((count, dim), np.float32) / np.float32(np.sqrt(2 * dim))


# ---- the same in other ways ----------------------------------------------------------------


@functools.cache
def keops() -> Any:
    """Return pykeops' Genred for tensors, or None; it compiles to a folder that is empty."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it speaks of its compiler
            import pykeops
            from pykeops.torch import Genred
    except ImportError:
        return None
    _FOLDERS.append(tempfile.TemporaryDirectory())
    pykeops.set_verbose(False)
    pykeops.set_build_folder(_FOLDERS[-1].name)
    return Genred


first_calls: dict[Formula, float] = {}
"""Seconds that pykeops took for the first call of a formula, compiler and all."""


def by_keops(
    formula: Formula, tensors: Sequence[Any], run: Callable[[Any, Sequence[Any]], Any]
) -> Callable[[], Any] | None:
    """Return pykeops' call on tensors, compiled; None where it is not installed."""
    if keops() is None:
        return None
    start = perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        reduction = formula.made(keops())
        call = functools.partial(reduction, backend="CPU")
        run(call, tensors)
    first_calls.setdefault(formula, perf_counter() - start)
    return lambda: run(call, tensors)


def dense_tutorial(x: Any, y: Any, a: Any, p: Any) -> Any:
    """Return the tutorial's result with all M N values in torch."""
    return torch.logsumexp((p - a.T) ** 2 * torch.exp(x + y.T), 1, keepdim=True)


def dense_gauss(x: Any, y: Any) -> Any:
    """Return the log of a Gaussian kernel's sums, of torch.cdist."""
    return torch.logsumexp(torch.cdist(x, y) ** 2 / -2, 1, keepdim=True)


def dense_mean(x: Any, y: Any, b: Any) -> Any:
    """Return the mean with all scores in torch."""
    return torch.softmax(x @ y.T, 1) @ b


def by_rows(formula: Formula, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return a result in float64, some rows of all pairs at a time, in NumPy alone."""
    x, y, *rest = (array.astype(np.float64) for array in arrays)
    found = []
    for rows in np.array_split(x, max(1, len(x) * len(y) >> 20)):
        if formula == TUTORIAL:
            a, p = rest
            terms = (p - a[:, 0]) ** 2 * np.exp(rows + y[:, 0])
        elif formula.formula2:
            terms = rows @ y.T
        else:
            terms = sum(
                (rows[:, k, None] - y[None, :, k]) ** 2 for k in range(x.shape[1])
            ) / np.float64(-2)
        top = terms.max(1, keepdims=True)
        shares = np.exp(terms - top)
        total = shares.sum(1, keepdims=True)
        found.append(shares @ rest[0] / total if formula.formula2 else np.log(total) + top)
    return np.concatenate(found)


# ---- work ----------------------------------------------------------------------------------


def _plain(call: Any, tensors: Sequence[Any]) -> Any:
    return call(*tensors)


def _with_gradients(call: Any, tensors: Sequence[Any]) -> Any:
    value = call(*tensors)
    torch.autograd.grad(value.sum(), [x for x in tensors if x.requires_grad])
    return value.detach()


def work(
    rng: np.random.Generator,
    _: int,
    *,
    formula: Formula,
    arrays: Callable[[np.random.Generator], list[np.ndarray]],
    dense: Callable[..., Any] | None = None,
    gradients: tuple[int, ...] = (),
    peer: bool = True,
) -> Work:
    """A reduction, with the gradients of some arguments; compared are the values."""
    made = arrays(rng)
    exact = by_rows(formula, made)
    ours = formula.made(logsum.Genred)
    run = _with_gradients if gradients else _plain
    operands: list[Any] = made
    calls: dict[str, Callable[[], Any]] = {}
    if torch:
        operands = [torch.from_numpy(x) for x in made]
        operands = [x.requires_grad_(k in gradients) for k, x in enumerate(operands)]
    calls[peers.OURS] = lambda: run(ours, operands)
    theirs = by_keops(formula, operands, run) if torch and peer else None
    if theirs is not None:
        calls[KEOPS] = theirs
    if torch and dense is not None:
        calls["torch"] = lambda: run(dense, operands)
    judged = [_judged_gradients(ours, dense, operands)] if gradients and dense else []
    pairs = len(made[0]) * len(made[1])
    return Work(calls, exact, allowed_error(exact), pairs, judged=judged)


def _judged_gradients(ours: Any, dense: Any, operands: Sequence[Any]) -> dict[str, Any]:
    """Compare gradients of the first rows with those of all pairs in float64."""
    some = [operands[0][:64], *operands[1:]]
    narrow = [x.detach().requires_grad_() for x in some]
    wide = [x.detach().double().requires_grad_() for x in some]
    got = torch.autograd.grad(ours(*narrow).sum(), narrow)
    want = torch.autograd.grad(dense(*wide).sum(), wide)
    off = [float((g - w).norm() / w.norm()) for g, w in zip(got, want, strict=True)]
    return judge("relative error of the gradients", max(off), at_most=2e-6)


def allowed_error(exact: np.ndarray) -> float:
    """Return two ulp of the largest value, and some roundings of terms of size ten."""
    largest = max(1.0, float(np.abs(exact).max()))
    return float(2 * np.spacing(np.float32(largest)) + 10 * 2.0**-24 * 4)
