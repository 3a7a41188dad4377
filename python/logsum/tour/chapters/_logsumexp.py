"""Naive, shifted and exact: what logsumexp returns on inputs that break the obvious formula."""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from logsum.tour._contenders import Contender, contenders
from logsum.tour._model import Cell, Context, Item, Note, Picture, Table
from logsum.tour._reference import error_in_ulps, exact_logsumexp, precise_logsumexp

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

title = "Naive, shifted and exact"
question = (
    "log(sum(exp(x))) is one line of NumPy. On which inputs does it fail, which of those does "
    "subtracting the maximum repair, and what is still wrong then?"
)

_REAL = np.float32
_GOOD = 1.0  # ulp: the nearest float32 or a neighbour
_BAD = 16.0  # ulp: more than four bits are lost
# No term dominates and the sum is near one: rounding a term by one part in 1e8 moves the result
# by far more than an ulp. Nobody gets it right in float32 arithmetic.
ILL_CONDITIONED = "-0.7, -0.6864"
_FLOOR = 0.02  # ulp: errors below it are drawn on the lower edge of a picture


@dataclass(frozen=True)
class Example:
    """Values (and weights) under a short name."""

    name: str
    values: NDArray[Any]
    weights: NDArray[Any] | None = None

    def exact(self) -> decimal.Decimal:
        """Return the result to 50 digits, or for long inputs to float64's 16."""
        if self.values.size > 1000:
            return decimal.Decimal(precise_logsumexp(self.values))
        return exact_logsumexp(self.values, self.weights)


def _example(name: str, values: list[float], weights: list[float] | None = None) -> Example:
    return Example(
        name,
        np.array(values, _REAL),
        None if weights is None else np.array(weights, _REAL),
    )


def _examples(quick: bool) -> list[Example]:
    many = 10_000 if quick else 1_000_000
    power = 4 if quick else 6
    crowd = np.full(many + 1, -20, _REAL)
    crowd[0] = 0
    return [
        _example("1000, 1000", [1000, 1000]),
        _example("-1000, -1001", [-1000, -1001]),
        _example("0, -40", [0, -40]),
        _example(ILL_CONDITIONED, [-0.7, -0.686395]),
        _example("e^9 - e^8.99", [9, 8.99], [1, -1]),
        _example("e^500 - e^499", [500, 499], [1, -1]),
        _example("0·e^∞ + e^0", [math.inf, 0], [0, 1]),
        _example("-∞, -∞", [-math.inf, -math.inf]),
        _example("+∞, 0", [math.inf, 0]),
        _example("NaN, 0", [math.nan, 0]),
        _example("3 of -1e38", [-1e38] * 3),
        _example("3e38, -3e38", [3e38, -3e38]),
        Example(f"1e{power} of 0.1", np.full(many, 0.1, _REAL)),
        Example(f"0, 1e{power} of -20", crowd),
    ]


def run(context: Context) -> Iterator[Item]:
    """Yield the table of hard inputs, then the pictures of error against spread and length."""
    ways = contenders()
    context.step("hard inputs")
    yield _hard_inputs(_examples(context.quick), ways)
    context.step("error against the gap of two terms")
    yield _gap_picture(ways, context)
    context.step("error against the number of terms")
    yield _length_picture(ways, context)
    yield Note(
        "The two pictures are two different failures. The first is one of formula: once the "
        "maximum is subtracted the answer sits in a number too small for log(1 + small) to see. "
        "The second is one of summation: every addition rounds, and equal terms round the same "
        "way every time."
    )


def _evaluate(way: Contender, example: Example) -> float | None:
    """Return the way's answer, None where it has none."""
    if example.weights is not None:
        return (
            None if way.weighted is None else float(way.weighted(example.values, example.weights))
        )
    return None if way.call is None else float(way.call(way.prepare(example.values)))


def _hard_inputs(examples: list[Example], ways: list[Contender]) -> Table:
    rows: list[list[Cell | str]] = []
    for example in examples:
        exact = example.exact()
        cells: list[Cell | str] = [example.name, _number(float(exact))]
        cells.extend(_cell(way, example, exact) for way in ways)
        rows.append(cells)
    return Table(
        "float32 inputs: each answer, and under it its error in ulp (units in the last place)",
        ["terms", "exact", *(way.name for way in ways)],
        rows,
        "exact: 50-digit arithmetic on the float32 inputs as they are (the two long rows: float64, "
        "summed exactly). ✗ marks an answer that is not a number, infinite or more than 16 ulp "
        "off. naive is log(sum(exp(x))); shifted subtracts the maximum first. torch.logsumexp "
        "takes no weights.",
    )


def _cell(way: Contender, example: Example, exact: decimal.Decimal) -> Cell:
    value = _evaluate(way, example)
    if value is None:
        return Cell("-", way.missing, "quiet")
    error = error_in_ulps(value, exact, _REAL)
    if error > _BAD:
        size = "wrong" if math.isinf(error) else f"{float(f'{error:.2g}'):.6g}"
        return Cell(_number(value), f"✗ {size}", "bad")
    detail = f"{error:.2f}" if exact.is_finite() else "exact"
    return Cell(_number(value), detail, "good" if error <= _GOOD else "plain")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    # Seven digits tell neighbouring float32 values apart; small and huge are read by exponent.
    if 0.1 <= abs(value) < 1e7:
        return f"{value:.7g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


# ---- pictures ------------------------------------------------------------------------------


def _gap_picture(ways: list[Contender], context: Context) -> Picture:
    gaps = np.linspace(0, 80, 41 if context.quick else 161)
    pairs = np.stack([np.zeros_like(gaps), -gaps], axis=1).astype(_REAL)
    exact = [exact_logsumexp(pair) for pair in pairs]
    errors = {
        way.name: [
            error_in_ulps(float(value), truth, _REAL)
            for value, truth in zip(way.call(way.prepare(pairs)), exact, strict=True)
        ]
        for way in ways
        if way.call is not None
    }

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, (axes,) = new_figure()
        _error_axes(axes, theme, "logsumexp([0, -gap]) in float32: when the answer is near zero")
        for name, values in errors.items():
            # Lines that coincide show as a thin one inside a wide one.
            width = {"torch": 5.5, "shifted": 3, "naive": 1.2}.get(name, 2)
            style = theme.line(name, marker="", linewidth=width)
            axes.plot(gaps, np.maximum(values, _FLOOR), **style)
        axes.set_xlabel("gap between the two terms (natural log units)")
        axes.set_ylim(_FLOOR, 1e9)
        axes.text(80, 6e7, "every digit lost: the answer is 0", ha="right", fontsize=9)
        axes.legend(loc="center right")
        return figure

    worst = max(errors["logsum"])
    return Picture(
        "logsumexp-gap",
        "The exact result is log1p(e^-gap), which soon is tiny. log(1 + tiny) in float32 loses one "
        "digit after the other, and from a gap of 17 returns 0. "
        f"logsum stays within {worst:.1f} ulp of the 50-digit result at every gap.",
        draw,
    )


def _running_sum(row: NDArray[Any]) -> float:
    """Return the naive sum as a plain loop computes it: one float32 variable, term by term."""
    return float(np.log(np.cumsum(np.exp(row), dtype=_REAL)[-1]))


def _length_picture(ways: list[Contender], context: Context) -> Picture:
    top = 4 if context.quick else 6
    lengths = np.unique(np.logspace(1, top, 7 if context.quick else 16).astype(int))
    rng = context.rng()
    repeats = 3
    inputs = {
        "all terms equal": [
            [np.full(n, value, _REAL) for value in (0.1, 0.7, -2.6)] for n in lengths
        ],
        "standard normal terms": [
            list(rng.standard_normal((repeats, n)).astype(_REAL)) for n in lengths
        ],
    }
    errors = {kind: _worst_errors(groups, ways) for kind, groups in inputs.items()}

    worst = max(max(lines["logsum"]) for lines in errors.values())
    loop = max(max(lines["plain loop"]) for lines in errors.values())

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, grid = new_figure(1, 2, (9.6, 3.9), sharey=True)
        for axes, (kind, lines) in zip(grid, errors.items(), strict=True):
            _error_axes(axes, theme, kind)
            for name, values in lines.items():
                style = theme.line(name) if name in theme.colours else _loop_style(theme, name)
                axes.plot(lengths, np.maximum(values, _FLOOR), **style)
            axes.set_xscale("log")
            axes.set_xlabel("number of terms")
        grid[1].set_ylabel("")
        grid[0].set_ylim(_FLOOR, 4 * loop)
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right center")
        return figure

    return Picture(
        "logsumexp-length",
        f"Worst error of {repeats} float32 rows against float64, as they grow to "
        f"{lengths[-1]:,} terms. A plain loop, one float32 variable that takes term after term, "
        f"drifts up to {loop:.0f} ulp away; logsum stays within {worst:.2f} (half an ulp, dotted, "
        "is the nearest float32).",
        draw,
    )


def _worst_errors(
    groups: list[list[NDArray[Any]]], ways: list[Contender]
) -> dict[str, list[float]]:
    """Return, by contender, the worst error of each group of rows."""
    calls: dict[str, Callable[[NDArray[Any]], float]] = {
        way.name: partial(_reduce, way) for way in ways if way.call is not None
    }
    calls["plain loop"] = _running_sum
    exact = [[precise_logsumexp(row) for row in rows] for rows in groups]
    return {
        name: [
            max(error_in_ulps(call(row), truth, _REAL) for row, truth in zip(*pair, strict=True))
            for pair in zip(groups, exact, strict=True)
        ]
        for name, call in calls.items()
    }


def _reduce(way: Contender, row: NDArray[Any]) -> float:
    assert way.call is not None
    return float(way.call(way.prepare(row)))


def _loop_style(theme: Theme, name: str) -> dict[str, Any]:
    return {"color": theme.ink, "linewidth": 1.2, "linestyle": "--", "label": name}


def _error_axes(axes: Any, theme: Theme, heading: str) -> None:
    axes.set_title(heading)
    axes.set_yscale("log")
    axes.set_ylabel("error (ulp of the result, float32)")
    axes.axhline(0.5, color=theme.soft, linewidth=0.8, linestyle=":")
