"""Formulas over all pairs: KeOps' tutorial on log-sum-exps, its curves, errors and times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module, use_threads
from logsum.tour._model import Cell, Context, Item, Note, Picture, Table
from logsum.tour._timing import Timing, interleave, three_digits
from logsum.tour.chapters._tutorial import (
    FORMULA,
    VARIABLES,
    Answer,
    Problem,
    Way,
    gradients,
    naive,
    stable,
    ways,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

title = "A formula over all pairs"
question = (
    "KeOps reduces a formula of x_i and y_j over all pairs without ever storing them, after its "
    "compiler has run. Its tutorial on log-sum-exps, with only the import changed: the same "
    "curves, how exact, how fast, how soon, and where does the formula without care overflow?"
)

Array = NDArray[Any]
_SHOWN = 40  # entries of a curve
_SHIFTS = (0.0, 2.0, 3.0, 4.0, 6.0)


def run(context: Context) -> Iterator[Item]:
    """Yield first calls, errors and times, the end of the naive way, and curves."""
    rows, columns = (60, 100) if context.quick else (3000, 5000)
    problem = Problem.random(context.rng(), rows, columns)
    with use_threads(max(context.threads)):
        # First of all: nothing has been parsed, and no memory taken, before.
        context.step("first calls")
        first = {dtype: _first_call(problem, dtype) for dtype in ("float32", "float64")}
        context.step("the exact answer")
        exact = problem.exact()
        rivals = {dtype: _compare(problem, dtype, exact, context) for dtype in first}
        yield _comparison_table(problem, rivals, max(context.threads))
        context.step("first calls of new formulas")
        yield _soon_table(problem, first, rivals, context)
        context.step("overflow")
        yield overflow_table(problem)
        yield _curves_picture(problem)
    if find_module("torch") is None:
        yield Note("Only values are shown: torch, which takes the gradients, is not installed.")


# ---- times and errors ----------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """How far a way is off, in the norm of all entries, and its seconds."""

    answer: Answer
    value_off: float
    gradient_off: float | None
    forward: Timing
    both: Timing | None


def _first_call(problem: Problem, dtype: str) -> float:
    arguments = problem.arguments(dtype)
    logsum.logaddexp(*arguments[2:0:-1])  # imports what there is for tensors
    start = perf_counter()
    stable()(*arguments)
    return perf_counter() - start


def distance(values: Array, exact: Array) -> float:
    """Return the relative error in the Euclidean norm."""
    # A norm of extended precision: NumPy's linalg knows none.
    apart = values.astype(np.longdouble) - exact
    return float(np.sqrt((apart**2).sum() / (exact**2).sum()))


def _compare(problem: Problem, dtype: str, exact: Answer, context: Context) -> dict[str, Compared]:
    context.step(f"times, {dtype}")
    arguments = problem.arguments(dtype)
    routines = {way.name: way.make() for way in ways(dtype)}
    leaves = arguments[1:2]

    def both(routine: Any) -> Any:
        return gradients(routine(*arguments), leaves, problem)

    def timed(call: Any) -> dict[str, Timing]:
        calls = {name: partial(call, routine) for name, routine in routines.items()}
        return interleave(calls, budget=0.05 if context.quick else 2.0, min_rounds=3)

    forward = timed(lambda routine: _value_alone(routine, arguments))
    backward = {} if find_module("torch") is None else timed(both)
    found = {}
    for way in ways(dtype):
        answer = way.answer(problem, dtype)
        slope = None
        if answer.gradient is not None and exact.gradient is not None:
            slope = distance(answer.gradient, exact.gradient)
        found[way.name] = Compared(
            answer,
            distance(answer.value, exact.value),
            slope,
            forward[way.name],
            backward.get(way.name),
        )
    return found


def _value_alone(routine: Any, arguments: tuple[Any, ...]) -> Any:
    torch = find_module("torch")
    if torch is None:
        return routine(*arguments)
    with torch.no_grad():
        return routine(*arguments)


def _comparison_table(
    problem: Problem, rivals: dict[str, dict[str, Compared]], threads: int
) -> Table:
    rows: list[list[Cell | str]] = []
    for dtype, compared in rivals.items():
        for name, each in compared.items():
            rows.append(
                [
                    Cell(name, dtype),
                    f"{each.value_off:.1e}",
                    "-" if each.gradient_off is None else f"{each.gradient_off:.1e}",
                    _time_cell(each.forward),
                    "-" if each.both is None else _time_cell(each.both),
                ]
            )
    return Table(
        f"{FORMULA} over {len(problem.x)} x {len(problem.y)} pairs; milliseconds, "
        f"{threads} thread{'s' * (threads > 1)}",
        ["way", "value off", "gradient off", "value", "value, gradient of y"],
        rows,
        "off: relative error in the norm of all entries, beside sums in extended precision of the "
        "same float32 numbers. log of Sum is the tutorial's second way, log of a Sum of Exp, which "
        "is right as long as nothing overflows. Times are medians, under them fastest to slowest, "
        "of calls taken in turns.",
    )


def _time_cell(timing: Timing) -> Cell:
    milliseconds = [1e3 * each for each in (timing.median, timing.fastest, timing.slowest)]
    median, fastest, slowest = map(three_digits, milliseconds)
    return Cell(median, f"{fastest}-{slowest}")


def _soon_table(
    problem: Problem,
    first: dict[str, float],
    rivals: dict[str, dict[str, Compared]],
    context: Context,
) -> Table:
    rows: list[list[Cell | str]] = []
    size = f"{len(problem.x)} x {len(problem.y)}"
    small = Problem.random(context.rng(), 10, 10)
    for dtype, seconds in first.items():
        arguments = small.arguments(dtype)
        new = Timing(tuple(_new_formula(number, arguments) for number in range(2, 42)))
        routine = stable()
        again = interleave({"": partial(routine, *arguments)}, budget=0.2)[""]
        rows.append(
            [
                dtype,
                _milliseconds(seconds),
                _milliseconds(rivals[dtype]["LogSumExp"].forward.median),
                _milliseconds(new.median),
                _milliseconds(again.median),
            ]
        )
    return Table(
        "How soon there is a result: milliseconds",
        ["", f"very first call, {size}", "later", "a new formula, 10 x 10", "later"],
        rows,
        "From text to result: parsing, the program, memory and the reduction itself, all imports "
        "done. The very first call of float32 is the first reduction in this process; a new "
        "formula is the median of 40 that nobody has seen. Nothing is compiled, and nothing "
        "cached on disk.",
    )


def _new_formula(number: int, arguments: tuple[Any, ...]) -> float:
    text = f"{FORMULA} / {number}"
    start = perf_counter()
    logsum.Genred(text, VARIABLES, reduction_op="LogSumExp", axis=1)(*arguments)
    return perf_counter() - start


def _milliseconds(seconds: float) -> str:
    return three_digits(1e3 * seconds)


# ---- where the naive way ends --------------------------------------------------------------


def overflow_table(problem: Problem) -> Table:
    """Return which entries each way loses as x grows."""
    rows: list[list[Cell | str]] = []
    by_way = [
        (Way("", make), dtype) for make in (naive, stable) for dtype in ("float32", "float64")
    ]
    for shift in _SHIFTS:
        moved = problem.moved(shift)
        exact = moved.exact()
        cells = [_lost_cell(way.answer(moved, dtype), exact) for way, dtype in by_way]
        rows.append([f"{shift:g}", f"{moved.largest().max():,.0f}", *cells])
    return Table(
        f"x moved up: entries of c that overflow, of {len(problem.x)}",
        ["by", "largest F", "log of Sum, f32", "log of Sum, f64", "LogSumExp, f32", "f64"],
        rows,
        "Under each the relative error of the other entries, and that of the gradient of y, in "
        "which every entry that overflows brings 0 times infinity.",
    )


def _lost_cell(answer: Answer, exact: Answer) -> Cell:
    finite, lost = np.isfinite(answer.value), _lost(answer.value)
    parts = (
        [f"off {distance(answer.value[finite], exact.value[finite]):.0e}"] if finite.any() else []
    )
    if answer.gradient is not None and exact.gradient is not None:
        off = distance(answer.gradient, exact.gradient)
        parts.append("NaN" if np.isnan(off) else f"{off:.0e}")
    return Cell(str(lost) if lost else "none", ", ".join(parts), "bad" if lost else "good")


def _curves_picture(problem: Problem) -> Picture:
    # So far that about half of the entries overflow in float32, at e^88.7.
    shift = round(float(np.log(88.7 / np.median(problem.largest()))), 1)
    moved = problem.moved(shift)
    shown = {}
    for name, each in (("x as it is", problem), (f"x moved up by {shift:g}", moved)):
        shown[name] = [Way("", make).answer(each, "float32") for make in (stable, naive)]
    broken = shown[f"x moved up by {shift:g}"][1]
    gaps = f"overflows in {_lost(broken.value)} of {len(problem.x)} entries"
    if broken.gradient is not None:
        gaps += f", and {_lost(broken.gradient)} of {len(problem.y)} of its gradient are NaN"

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        columns = 1 if broken.gradient is None else 2
        figure, grid = new_figure(2, columns, (4.9 * columns, 5.2))
        for row, (name, answers) in enumerate(shown.items()):
            value, *slope = grid[columns * row : columns * (row + 1)]
            _draw_curves(value, [answer.value for answer in answers], theme)
            value.set_title(f"{name}: c")
            for axes in slope:
                _draw_curves(axes, [answer.gradient for answer in answers], theme)
                axes.set_title(f"{name}: gradient of y")
        if columns > 1:
            grid[-1].set_yscale("log")
            grid[-1].set_ylim(1e-24, 1e3)
        for axes in grid[-columns:]:
            axes.set_xlabel("entry")
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2)
        return figure

    return Picture(
        "reduce-curves",
        f"The first {_SHOWN} entries in float32. Above, the tutorial's two ways agree. Below, the "
        f"naive one {gaps}: where a mark is missing, there is no number.",
        draw,
    )


def _lost(values: Array) -> int:
    return int((~np.isfinite(values)).sum())


def _draw_curves(axes: Any, curves: list[Array | None], theme: Theme) -> None:
    ours, theirs = (None if curve is None else curve[:_SHOWN] for curve in curves)
    if ours is None or theirs is None:
        return
    axes.plot(ours, **theme.line("logsum", marker="", linewidth=1.6, label="LogSumExp"))
    found = np.where(np.isfinite(theirs), theirs, np.nan)
    colour = theme.colours["second"]
    style = theme.line("naive", linestyle="none", zorder=6, color=colour)
    axes.plot(found, **(style | {"label": "log of Sum of Exp"}))
