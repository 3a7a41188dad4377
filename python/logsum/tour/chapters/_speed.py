"""What an exact logsumexp costs, by the length of a row and the number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from logsum.tour._contenders import Contender, contenders, use_threads
from logsum.tour._model import Cell, Context, Item, Picture, Table
from logsum.tour._timing import Timing, interleave, ratio, three_digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

title = "What exactness costs"
question = "How long does a term take, for short and for long rows, on one thread and on two?"

Times = dict[int, dict[int, dict[str, Timing]]]  # threads -> row length -> contender


def run(context: Context) -> Iterator[Item]:
    """Yield a table of selected row lengths, then the picture of all."""
    elements = 1 << (14 if context.quick else 20)
    lengths = (
        [4, 64, 1024] if context.quick else [4, 16, 64, 256, 1024, 4096, 16384, 65536, 1 << 18]
    )
    ways = contenders()
    times = _measure(elements, lengths, ways, context)
    shown = lengths if context.quick else [16, 1024, 65536]
    yield _table(times, elements, shown, ways)
    yield _picture(times, elements)


def _measure(elements: int, lengths: list[int], ways: list[Contender], context: Context) -> Times:
    flat = (3 * context.rng().standard_normal(elements)).astype(np.float32)
    budget = 0.02 if context.quick else 0.3
    times: Times = {}
    for threads in context.threads:
        with use_threads(threads):
            times[threads] = {}
            for length in lengths:
                context.step(f"rows of {length}, {threads} thread{'s' * (threads > 1)}")
                calls = {
                    way.name: _bind(way, flat.reshape(-1, length))
                    for way in ways
                    if way.call is not None
                }
                times[threads][length] = interleave(calls, budget=budget, min_rounds=3)
    return times


def _bind(way: Contender, rows: Any) -> Callable[[], object]:
    assert way.call is not None
    call, prepared = way.call, way.prepare(rows)
    return lambda: call(prepared)


def _table(times: Times, elements: int, lengths: list[int], ways: list[Contender]) -> Table:
    rows: list[list[Cell | str]] = []
    for threads, by_length in times.items():
        for length in lengths:
            measured = by_length[length]
            cells: list[Cell | str] = [f"{elements // length:,} x {length:,}", str(threads)]
            for way in ways:
                timing = measured.get(way.name)
                cells.append(
                    Cell("-", way.missing, "quiet")
                    if timing is None
                    else _time_cell(timing, measured["logsum"], elements)
                )
            rows.append(cells)
    return Table(
        f"Nanoseconds a term, float32, {elements:,} terms in rows",
        ["rows x terms", "threads", *(way.name for way in ways)],
        rows,
        "Median, under it fastest to slowest, of repeats taken in turns with the others, and how "
        "many times logsum's. SciPy and the two NumPy columns have one thread." + _doubt(times),
    )


def _doubt(times: Times) -> str:
    """Say so where repeats differ as they only do when other programs want the cores."""
    measured = [
        timing
        for by_length in times.values()
        for by_name in by_length.values()
        for timing in by_name.values()
    ]
    uneven = sum(timing.median > 2 * timing.fastest for timing in measured)
    if 10 * uneven < len(measured):
        return ""
    return (
        f" In {uneven} of {len(measured)} measurements the median was over twice the fastest: "
        "something else had the cores, and these times are not to be trusted."
    )


def _time_cell(timing: Timing, ours: Timing, elements: int) -> Cell:
    unit = 1e9 / elements
    spread = f"{three_digits(timing.fastest * unit)}-{three_digits(timing.slowest * unit)}"
    factor = "" if timing is ours else f"\n{three_digits(ratio(timing, ours))}x"
    return Cell(three_digits(timing.median * unit), spread + factor)


def _picture(times: Times, elements: int) -> Picture:
    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, grid = new_figure(1, len(times), (4.6 * len(times) + 0.8, 3.9), sharey=True)
        for axes, (threads, by_length) in zip(grid, times.items(), strict=True):
            lengths = list(by_length)
            for name in by_length[lengths[0]]:
                series = [by_length[length][name] for length in lengths]
                style = theme.line(name)
                axes.plot(lengths, [1e9 * t.median / elements for t in series], **style)
                axes.fill_between(
                    lengths,
                    [1e9 * t.fastest / elements for t in series],
                    [1e9 * t.slowest / elements for t in series],
                    color=style["color"],
                    alpha=0.15,
                    linewidth=0,
                )
            axes.set_title(f"{threads} thread{'s' * (threads > 1)}")
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_xlabel("terms in a row")
        grid[0].set_ylabel("time per term (ns)")
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right center")
        return figure

    return Picture(
        "speed-rows",
        f"Time for one of {elements:,} float32 terms, by the length of the rows they are in: lower "
        "is better, lines are medians, bands reach from the fastest repeat to the slowest. On the "
        "left of each panel the cost of a row dominates, on the right that of an exponential.",
        draw,
    )
