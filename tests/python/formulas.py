"""Formulas for tests: every function of the language on random and on edge inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

_SIZES = {"Vi": (5,), "Vj": (6,), "Pm": ()}


@dataclass(frozen=True)
class Formula:
    """A formula with its variables, and the interval that these are drawn from."""

    text: str
    aliases: tuple[str, ...]
    low: float = -2.0
    high: float = 2.0
    integer: bool = False

    def arrays(self, seed: int = 0, batch: dict[str, tuple[int, ...]] | None = None) -> list[Any]:
        """Return an array for each alias; `batch` gives further axes by name."""
        generator = np.random.default_rng(seed)
        found = []
        for alias in self.aliases:
            name, _, kind = alias.replace(" ", "").partition("=")
            axes = (batch or {}).get(name, ())
            shape = (*axes, *_SIZES[kind[:2]], int(kind[3:-1]))
            drawn = generator.uniform(self.low, self.high, shape)
            found.append(drawn.round() if self.integer else drawn)
        return found


def _unary(name: str, low: float = -2.0, high: float = 2.0) -> Formula:
    """A function of a sum of an i-variable, a j-variable and a parameter, in (low, high)."""
    text = f"{name}(x + y + p)"
    return Formula(text, ("x = Vi(2)", "y = Vj(2)", "p = Pm(1)"), low / 3, high / 3)


_ANYWHERE = (
    "Exp Square Abs Sign Step ReLU Sin Cos Atan Tanh Sigmoid Softplus Expm1 Minus Sum SqNorm2"
)
_POSITIVE = "Log Sqrt Rsqrt Inv XLogX Norm2 Normalize"
_OPERATIONS = "Add Subtract Mult Scalprod"
_COMPARISONS = "LessThan LessOrEqual Equal NotEqual"
_PAIR = ("x = Vi(3)", "y = Vj(3)")
_MIXED = ("x = Vi(2)", "y = Vj(2)", "p = Pm(2)", "s = Pm(1)")

FUNCTIONS: dict[str, Formula] = {
    **{name: _unary(name) for name in _ANYWHERE.split()},
    **{name: _unary(name, 0.3, 4.0) for name in _POSITIVE.split()},
    "Log1p": _unary("Log1p", -0.8, 3.0),
    **{name: Formula(f"{name}(x * p, y)", _MIXED) for name in _OPERATIONS.split()},
    **{name: Formula(f"{name}(x, y)", _MIXED, integer=True) for name in _COMPARISONS.split()},
    "Divide": Formula("Divide(x * p, y)", _MIXED, 0.3, 2.0),
    "Pow": Formula("Pow(x + y, 3)", _PAIR),
    "Pow negative": Formula("Pow(x + y, -2)", _PAIR, 0.3, 2.0),
    "Powf": Formula("Powf(x + y, p)", ("x = Vi(2)", "y = Vj(2)", "p = Pm(1)"), 0.2, 2.0),
    "LogAddExp": Formula("LogAddExp(x, y * p)", ("x = Vi(2)", "y = Vj(2)", "p = Pm(1)")),
    "Clamp": Formula("Clamp(x * y, -p, p)", ("x = Vi(2)", "y = Vj(2)", "p = Pm(1)"), 0.2, 1.5),
    "IfElse of a scalar": Formula("IfElse(s, x, y * p) + IfElse(x, y, s)", _MIXED),
    "IfElse of repeated scalars": Formula("IfElse(s, s, x * y) * s + IfElse(s, x, s)", _MIXED),
    "IfElse": Formula("IfElse(x - y, x * p, y)", ("x = Vi(2)", "y = Vj(2)", "p = Pm(1)")),
    "Where": Formula("Where(x < y, x * p, y) + Where(s, x, y)", _MIXED),
    "SqDist": Formula("SqDist(x, y)", _PAIR),
    "WeightedSqDist of a scalar": Formula("WeightedSqDist(s, x, y)", (*_PAIR, "s = Pm(1)")),
    "WeightedSqDist of a vector": Formula("WeightedSqDist(s, x, y)", (*_PAIR, "s = Vj(3)")),
    "WeightedSqDist of a matrix": Formula(
        "WeightedSqDist(TensorProd(s, s), x, y)", (*_PAIR, "s = Vi(3)")
    ),
    "WeightedSqNorm of a vector": Formula("WeightedSqNorm(s, x + y)", (*_PAIR, "s = Pm(3)")),
    "Elem": Formula("Elem(x * y, 2)", _PAIR),
    "Extract": Formula("Extract(x * y, 1, 2)", _PAIR),
    "Concat": Formula("Concat(x * s, y)", (*_PAIR, "s = Vj(1)")),
    "OneHot": Formula("OneHot(x + y, 4)", ("x = Vi(1)", "y = Vj(1)"), 0.0, 1.4),
    "MatVecMult": Formula("MatVecMult(m, y)", ("m = Vi(6)", "y = Vj(3)")),
    "MatVecMult of a parameter": Formula("(x | MatVecMult(m, y))", (*_PAIR, "m = Pm(9)")),
    "VecMatMult": Formula("VecMatMult(x, m)", ("x = Vi(3)", "m = Vj(6)")),
    "TensorProd": Formula("TensorProd(x, y)", ("x = Vi(2)", "y = Vj(3)")),
    "IntCst": Formula("IntCst(3) * x + y", _MIXED),
    "Zero": Formula("Concat(Zero(2), x * y)", _MIXED),
    "Grad": Formula("Grad(SqDist(x, y) * Exp(y), x, e)", (*_PAIR, "e = Vi(3)")),
    "Grad of Grad": Formula(
        "Grad(Grad(Sum(Square(x) * Exp(y)), x, s), y, e)",
        (*_PAIR, "s = Vi(1)", "e = Vj(3)"),
    ),
}

OPERATORS: dict[str, Formula] = {
    "arithmetic": Formula("(x + y) * p - x / (2 + y * y) + 1", _MIXED),
    "scalars repeat": Formula("s * x - s + y / (s + 3)", _MIXED),
    "signs": Formula("-x ** 2 + (-y) ** 3", _MIXED),
    "real powers": Formula("(x + y) ** p + 2 ** x", _MIXED, 0.3, 1.5),
    "dot": Formula("(x | y) * Exp(-(x | p))", _MIXED),
    "comparisons": Formula(
        "(x < y) + 2 * (x <= y) + 4 * (x > y) + 8 * (x >= y) + 16 * (x == y) + 32 * (x != y)",
        _MIXED,
        integer=True,
    ),
    "index terms": Formula("Exp(-Abs(i - j)) * x + (i <= j) * y", _MIXED),
    "sizes": Formula("x * i / M + y * j / N", _MIXED),
    "tutorial": Formula(
        "Square(p - a) * Exp(x + y)",
        ("x = Vi(1)", "y = Vj(1)", "a = Vj(1)", "p = Pm(1)"),
    ),
    "shared parts": Formula("Exp(x * y) * Sin(x * y) + x * y", _MIXED),
    "a vector and its component": Formula("(x + y) * Elem(x + y, 0) - Elem(x * y, 1)", _MIXED),
    "a component and its vector": Formula("Elem(x * y, 1) - (x * y)", _MIXED),
    "products with a component": Formula("TensorProd(x * y, Elem(x * y, 0)) + x", _MIXED),
    "a matrix of itself": Formula("MatVecMult(TensorProd(x, y), x * y)", _MIXED),
    "parts put together": Formula("Concat(Extract(x * y, 1, 1), Extract(x * y, 0, 1))", _MIXED),
    "numbers": Formula("1.5e-1 * x + .5 * y - 2. * s", _MIXED),
}

_NOT_FINITE = (np.inf, -np.inf, np.nan)
EDGES = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, -3.0, 1e-30, -1e-30, 100.0, -100.0, 1e30, -1e30, *_NOT_FINITE]
)
_OF_ALL_NUMBERS = (
    "Exp Log Square Sqrt Rsqrt Inv Abs Sign ReLU Sin Cos Atan Tanh Sigmoid Softplus Log1p Expm1 "
    "Minus XLogX"
)
EDGE_FUNCTIONS = _OF_ALL_NUMBERS.split()
