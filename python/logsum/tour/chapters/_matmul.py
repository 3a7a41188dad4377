"""Products of exponentials: where the usual formulas fail, what they cost, and long chains."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module, use_threads
from logsum.tour._memory import peak_bytes
from logsum.tour._model import Cell, Context, Item, Note, Picture, Table
from logsum.tour._reference import exact_logsumexp, precise_logsumexp
from logsum.tour._timing import interleave
from logsum.tour.chapters._chains import Drift, sharp_tables
from logsum.tour.chapters._products import Way, ways

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

title = "A matrix product that cannot underflow"
question = (
    "log(exp(A) @ exp(B)) multiplies tables of log-probabilities. Where do the usual formulas "
    "lose the answer or its gradient, what does a right one cost in time and memory, and does a "
    "chain of a hundred tables still sum to one?"
)

Array = NDArray[Any]
LARGEST_BROADCAST = 192  # n, beyond which n^3 terms and their gradient are not kept


def run(context: Context) -> Iterator[Item]:
    """Yield the product that fails, more of them, the costs, and the chains."""
    contenders = ways()
    context.step("the product that fails")
    yield _famous_table(contenders)
    context.step("hard products")
    yield _hard_products(contenders, context)
    context.step("time and memory")
    yield from _costs(contenders, context)
    context.step("chains of tables")
    yield from _chains(contenders, context)


# ---- one product ---------------------------------------------------------------------------


def famous() -> tuple[Array, Array]:
    """Return the product that the max trick loses; the answer is 400 + log 2."""
    return np.array([[-500.0, 900.0]]), np.array([[900.0], [-500.0]])


def _famous_table(contenders: list[Way]) -> Table:
    a, b = famous()
    exact = exact_logsumexp((a + b.T).ravel())
    _, bound = logsum.logmatmulexp(a, b, return_bound=True)
    rows: list[list[Cell | str]] = [["exact", f"{exact:.12f}", "", "0.5, 0.5", "0.5, 0.5", ""]]
    for way in contenders:
        value = way.value(a, b)
        if value is None:
            quiet = Cell("-", way.missing, "quiet")
            rows.append([way.name, quiet, quiet, quiet, quiet, quiet])
            continue
        error = abs(float(value[0, 0]) - float(exact))
        good = error < 1e-12
        rows.append(
            [
                way.name,
                Cell(_number(float(value[0, 0])), tone="good" if good else "bad"),
                f"{error:.0e}" if math.isfinite(error) else "✗ wrong",
                *_gradient_cells(way, a, b),
                f"{float(bound[0, 0]):.0e}" if way.name == "logsum" else "none",
            ]
        )
    return Table(
        "[[-500, 900]] x [[900], [-500]] in float64",
        ["way", "C", "error", "gradient of A", "gradient of B", "bound"],
        rows,
        "naive: log(exp(A) @ exp(B)). max trick: the maxima of A's rows and B's columns are "
        "subtracted first and added last. broadcast: logsumexp over A[:, :, None] + B. checkpoint: "
        "the same, computed again for the gradient. The two terms are both 400, so each has half "
        "of the gradient. bound: what return_bound guarantees.",
    )


def _gradient_cells(way: Way, a: Array, b: Array) -> list[Cell]:
    gradients = way.gradients(a, b)
    if gradients is None:
        return [Cell("-", "torch is not installed", "quiet")] * 2
    return [
        Cell(
            ", ".join(_number(round(float(value), 12)) for value in gradient.ravel()),
            tone="good" if np.allclose(gradient, 0.5, rtol=1e-12) else "bad",
        )
        for gradient in gradients
    ]


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.12f}".rstrip("0").rstrip(".")


# ---- more of them --------------------------------------------------------------------------


def hard_examples(context: Context) -> dict[str, tuple[Array, Array]]:
    """Return float32 products that tell the ways apart."""
    rng = context.rng()
    n = 6 if context.quick else 16
    long = 512 if context.quick else 4096

    def normal(sigma: float) -> tuple[Array, Array]:
        return sigma * rng.standard_normal((n, n)), sigma * rng.standard_normal((n, n))

    plain = normal(3)
    offset = 1000 * rng.standard_normal(n)
    masked = normal(3)
    masked[0][rng.random((n, n)) < 0.5] = -np.inf
    masked[0][:, 0] = 0
    masked[0][1] = -np.inf
    masked[1][2:, 0] = -1e38
    examples = {
        "-500 and 900": famous(),
        "σ = 3": plain,
        "σ = 300": normal(300),
        "offsets": (plain[0] + offset, plain[1] - offset[:, None]),
        "zeros": masked,
        f"{long} equal": (np.full((2, long), 0.1), np.full((long, 2), 0.7)),
    }
    return {name: (a.astype(np.float32), b.astype(np.float32)) for name, (a, b) in examples.items()}


def exact_product(a: Array, b: Array) -> Array:
    """Return the product, each entry from 50 digits or, for long sums, from float64."""
    terms = a.astype(np.float64)[:, None, :] + b.astype(np.float64).T[None]
    long = terms.shape[-1] > 100
    flat = [
        precise_logsumexp(row) if long else float(exact_logsumexp(row))
        for row in terms.reshape(-1, terms.shape[-1])
    ]
    return np.array(flat).reshape(terms.shape[:-1])


def _hard_products(contenders: list[Way], context: Context) -> Table:
    rows: list[list[Cell | str]] = []
    for name, (a, b) in hard_examples(context).items():
        exact = exact_product(a, b)
        c, bound = logsum.logmatmulexp(a, b, return_bound=True)
        finite = np.isfinite(exact)
        assert (np.abs(c[finite] - exact[finite]) <= bound[finite]).all()
        cells = [_error_cell(way, a, b, exact) for way in contenders]
        half_ulp = np.spacing(np.abs(exact[finite]).max().astype(np.float32)) / 2
        rows.append([name, f"{half_ulp:.0e}", f"{bound[finite].max():.0e}", *cells])
    return Table(
        "float32 products: the worst error of an entry (natural log units)",
        ["product", "half an ulp", "our bound", *(way.name for way in contenders)],
        rows,
        "-500 and 900: as above. σ: normal entries. offsets: A + t_k and B - t_k, t of σ = 1000, "
        "which cancel. zeros: half of A is -inf, with it a whole row, and some of B -1e38. Errors "
        "are beside 50-digit arithmetic on the float32 inputs (the last row: float64, summed "
        "exactly). half an ulp: the least that the largest entry can be off. ✗ counts the entries "
        "that are NaN, or infinite where the answer is not. Every error of ours is within its own "
        "entry's bound.",
    )


def _error_cell(way: Way, a: Array, b: Array, exact: Array) -> Cell:
    value = way.value(a, b)
    if value is None:
        return Cell("-", way.missing, "quiet")
    wrong = ~((value == exact) | (np.isfinite(value) & np.isfinite(exact)))
    if wrong.any():
        return Cell(f"✗ {wrong.sum()} of {wrong.size}", tone="bad")
    finite = np.isfinite(exact)
    error = float(np.abs(value[finite] - exact[finite]).max())
    scale = max(1.0, float(np.abs(exact[finite]).max()))
    return Cell(f"{error:.1e}", tone="good" if error < 2e-7 * scale else "plain")


# ---- cost ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes by size, of one way."""

    sizes: list[int]
    seconds: list[float]
    peaks: list[int | None]


def _costs(contenders: list[Way], context: Context) -> Iterator[Item]:
    torch = find_module("torch")
    sizes = [16, 32] if context.quick else [32, 64, 128, 192, 256, 512, 1024]
    rng = context.rng()
    costs = {way.name: Cost([], [], []) for way in contenders if way.call is not None}
    with use_threads(1):
        for n in sizes:
            context.step(f"time and memory of {n} x {n} matrices")
            a, b = (3 * rng.standard_normal((n, n)).astype(np.float32) for _ in "ab")
            calls = {
                way.name: way.bind(a, b)
                for way in contenders
                if way.call is not None
                and (n <= LARGEST_BROADCAST or way.name not in ("broadcast", "checkpoint"))
            }
            times = interleave(calls, budget=0.02 if context.quick else 0.25, min_rounds=3)
            for name, call in calls.items():
                costs[name].sizes.append(n)
                costs[name].seconds.append(times[name].median)
                costs[name].peaks.append(peak_bytes(call))
    yield _cost_table(costs, torch is not None)
    yield _cost_picture(costs, contenders, torch is not None)
    if any(None in cost.peaks for cost in costs.values()):
        yield Note("The peak of memory is left out: it is read from Linux's /proc.")


def _work(gradient: bool) -> str:
    return "the product and its gradients" if gradient else "the product (no torch, no gradients)"


def _cost_table(costs: dict[str, Cost], gradient: bool) -> Table:
    rows: list[list[Cell | str]] = []
    ours = costs["logsum"]
    for name, cost in costs.items():
        last = len(cost.sizes) - 1
        peak = cost.peaks[last]
        factor = cost.seconds[last] / ours.seconds[last]
        rows.append(
            [
                name,
                f"{cost.sizes[last]}",
                Cell(
                    f"{1e3 * cost.seconds[last]:.3g} ms",
                    "" if cost is ours else f"{factor:.3g}x ours there",
                ),
                "-" if peak is None else f"{peak / 2**20:.3g} MB",
                f"{4 * cost.sizes[last] ** 2 / 2**20:.2g} MB",
            ]
        )
    return Table(
        f"{_work(gradient).capitalize()}, float32 n x n, one thread, at the largest n",
        ["way", "n", "time", "peak memory", "one matrix"],
        rows,
        f"broadcast and checkpoint end at n = {LARGEST_BROADCAST}: their terms are n^3. The max "
        "trick and the naive formula are the speed of a matrix product, and wrong.",
    )


def _cost_picture(costs: dict[str, Cost], contenders: list[Way], gradient: bool) -> Picture:
    styles = {way.name: way.style for way in contenders}
    measured = all(None not in cost.peaks for cost in costs.values())

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, grid = new_figure(1, 1 + measured, (4.9 * (1 + measured) + 1, 3.9))
        for name, cost in costs.items():
            style = theme.line(styles[name], label=name)
            grid[0].plot(cost.sizes, [1e3 * second for second in cost.seconds], **style)
            if measured:
                megabytes = [(peak or 0) / 2**20 for peak in cost.peaks]
                # Below a page table's worth the kernel's count says nothing.
                grid[1].plot(cost.sizes, np.maximum(megabytes, 0.1), **style)
        grid[0].set_ylabel("time (ms)")
        grid[0].set_title("Time, one thread")
        if measured:
            grid[1].set_ylabel("peak beyond the inputs (MB)")
            grid[1].set_title("Memory")
        for axes in grid:
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_xlabel("n")
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right center")
        return figure

    return Picture(
        "matmul-cost",
        f"What {_work(gradient)} of float32 n x n matrices take. The two right formulas hold n^3 "
        "numbers; logsum is right too, and grows as the two fast and wrong ones do.",
        draw,
    )


# ---- chains --------------------------------------------------------------------------------


def _chains(contenders: list[Way], context: Context) -> Iterator[Item]:
    steps, states = (24, 12) if context.quick else (128, 64)
    drift = Drift(states, steps)
    tables = sharp_tables(context.rng(), states, steps)
    lines: dict[str, Array] = {}
    rows: list[list[Cell | str]] = []
    exact = drift.exact()
    for way in contenders:
        if way.call is None or way.name == "checkpoint":  # checkpoint's values are broadcast's
            continue
        context.step(f"chains of {steps} tables, {way.name}")
        walked = drift.walk(way)
        mixed = tables[0]
        for table in tables[1:]:
            mixed = _product(way, table, mixed)
        lines[way.name] = walked[:, 0]
        lost = int((walked[:, 0] == -np.inf).sum())
        kept = np.isfinite(walked[:, 0])
        error = float(np.abs(walked[kept, 0] - exact[kept]).max()) if kept.any() else math.nan
        rows.append(
            [
                way.name,
                f"{worst_column(walked):.1e}",
                f"{worst_column(mixed):.1e}",
                Cell(f"{lost} of {states}", tone="bad" if lost else "good"),
                Cell(f"{error:.1e}", tone="plain" if math.isfinite(error) else "bad"),
            ]
        )
    yield Table(
        f"p(z | x) from {steps} float32 tables of {states} x {states}, in log space",
        [
            "way",
            "drift: columns off one by",
            "sharp tables: off by",
            "drift: possible states lost",
            "worst error of the others",
        ],
        rows,
        "off one: the largest |log of a column's sum|. drift: in each step a state moves on by one "
        f"with probability e^{drift.LOG_MOVE}, so after {steps} steps the moves are binomial and "
        "known exactly. sharp tables: softmax of normal scores, σ = 20. A column's sum is blind "
        "to lost rare states; a likelihood that needs one of them is zero.",
    )
    yield _chain_picture(lines, exact, contenders, drift)


def _product(way: Way, a: Array, b: Array) -> Array:
    product = way.value(a, b)
    assert product is not None
    return product


def worst_column(log_table: Array) -> float:
    """Return the largest |log of a column's sum|."""
    return float(np.abs(logsum.logsumexp(log_table.astype(np.float64), axis=0)).max())


def _chain_picture(
    lines: dict[str, Array], exact: Array, contenders: list[Way], drift: Drift
) -> Picture:
    styles = {way.name: way.style for way in contenders}
    ends = {name: int(np.isfinite(line).sum()) for name, line in lines.items()}

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, (axes,) = new_figure()
        moves = np.arange(len(exact))
        axes.plot(moves, exact, color=theme.soft, linewidth=7, alpha=0.35, label="binomial")
        for name, line in lines.items():
            axes.plot(moves, line, **theme.line(styles[name], label=name, markersize=3.5))
        for count in sorted({count for count in ends.values() if count < len(exact)}):
            names = " and ".join(name for name, end in ends.items() if end == count)
            axes.axvline(count - 0.5, color=theme.ink, linewidth=1, linestyle=":")
            axes.text(count, exact[-1], f"probability zero from here on:\n{names}", fontsize=9)
        axes.set_xlabel("states moved on")
        axes.set_ylabel("log probability")
        axes.set_title(f"After {drift.steps} steps, float32")
        axes.legend()
        return figure

    return Picture(
        "matmul-chain",
        "The log probability of having moved on so many states. The wide grey line is the exact "
        f"one; logsum keeps all {ends['logsum']} states, the max trick {ends['max trick']}, the "
        f"naive formula {ends['naive']}. In the linear domain float64 ends at -745 as well.",
        draw,
    )
