"""What attention and its gradient cost: memory and time as the context grows, and beside torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module, use_threads
from logsum.tour._memory import peak_bytes
from logsum.tour._model import Cell, Context, Item, Note, Picture, Table
from logsum.tour._timing import Timing, interleave, ratio, three_digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

Array = NDArray[Any]
_STORED = "p stored"  # the way that keeps the probabilities
_STYLES = {"logsum": "logsum", "torch": "torch", _STORED: "naive"}
# The last N tried: p and what its gradient needs fill gigabytes soon; and minutes are long.
LARGEST = {"logsum": 65536, "torch": 32768, _STORED: 8192}
DIMENSION = 64  # of timed heads; contexts grow at half of it, for patience


@dataclass(frozen=True)
class Way:
    """A way to causal attention: what takes q, k, v and gives the output."""

    name: str
    call: Callable[..., Any]

    def bind(self, q: Any, k: Any, v: Any, *, causal: bool, gradient: bool) -> Callable[[], object]:
        """Return a call without arguments: the output, or with it all gradients."""
        if not gradient:
            return lambda: self.call(q, k, v, causal)

        torch: Any = find_module("torch")
        leaves = [part.detach().requires_grad_() for part in (q, k, v)]
        weight = torch.ones_like(q)

        def both() -> object:
            return torch.autograd.grad(self.call(*leaves, causal), leaves, weight)

        return both


def ways() -> list[Way]:
    """Return ours, torch's fused kernel, and the formula that stores p (NumPy's without torch)."""
    torch = find_module("torch")

    def ours(q: Any, k: Any, v: Any, causal: bool) -> Any:
        return logsum.attention(q, k, v, causal=causal)

    if torch is None:
        return [Way("logsum", ours), Way(_STORED, _stored_array)]

    def fused(q: Any, k: Any, v: Any, causal: bool) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def stored(q: Any, k: Any, v: Any, causal: bool) -> Any:
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if causal:
            admitted = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
            scores = scores.masked_fill(~admitted, -math.inf)
        return torch.softmax(scores, -1) @ v

    return [Way("logsum", ours), Way("torch", fused), Way(_STORED, stored)]


def _stored_array(q: Array, k: Array, v: Array, causal: bool) -> Array:
    scores = q @ k.swapaxes(-1, -2) / np.float32(math.sqrt(q.shape[-1]))
    if causal:
        scores[..., ~np.tri(scores.shape[-1], dtype=bool)] = -np.inf
    return np.asarray(logsum.softmax(scores, -1) @ v)


def inputs(
    rng: np.random.Generator, heads: int, length: int, dimension: int
) -> tuple[Any, Any, Any]:
    """Return q, k and v of one batch, float32: tensors where there is torch."""
    torch = find_module("torch")
    shape = (1, heads, length, dimension)
    arrays = [rng.standard_normal(shape, dtype=np.float32) for _ in "qkv"]
    q, k, v = arrays if torch is None else [torch.from_numpy(array) for array in arrays]
    return q, k, v


# ---- as the context grows ------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes beyond the inputs, by context length, of one way."""

    lengths: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    peaks: list[int | None] = field(default_factory=list)


def growth(context: Context) -> Iterator[Item]:
    """Yield memory and time of one causal head as the context grows to 65536."""
    gradient = find_module("torch") is not None
    lengths = [128, 256] if context.quick else [2**power for power in range(10, 17)]
    costs = {way.name: Cost() for way in ways()}
    with use_threads(max(context.threads)):
        for length in lengths:
            q, k, v = inputs(context.rng(), 1, length, DIMENSION // 2)
            for way in ways():
                if length > LARGEST[way.name]:
                    continue
                context.step(f"a context of {length}, {way.name}")
                call = way.bind(q, k, v, causal=True, gradient=gradient)
                seconds, peak = _once(call, repeats=3 if length <= 4096 else 1)
                cost = costs[way.name]
                cost.lengths.append(length)
                cost.seconds.append(seconds)
                cost.peaks.append(peak)
    work = "forward and backward" if gradient else "forward (no torch, no gradients)"
    yield _growth_table(costs, lengths, work, max(context.threads))
    yield _growth_picture(costs, lengths, work)
    if any(None in cost.peaks for cost in costs.values()):
        yield Note("The peak of memory is left out: it is read from Linux's /proc.")


def _once(call: Callable[[], object], repeats: int) -> tuple[float, int | None]:
    """Return the least seconds and the least peak of a few calls."""
    seconds: list[float] = []
    peaks: list[int | None] = []

    def timed() -> None:
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start)

    for _ in range(repeats):
        peaks.append(peak_bytes(timed))
        if peaks[-1] is None:
            timed()
    known = [peak for peak in peaks if peak is not None]
    return min(seconds), min(known) if known else None


def _growth_table(costs: dict[str, Cost], lengths: list[int], work: str, threads: int) -> Table:
    rows: list[list[Cell | str]] = []
    for length in lengths:
        cells: list[Cell | str] = []
        for cost in costs.values():
            if length not in cost.lengths:
                cells.append(Cell("-", "not tried", "quiet"))
                continue
            place = cost.lengths.index(length)
            peak = cost.peaks[place]
            size = "-" if peak is None else bytes_text(peak)
            cells.append(Cell(size, f"{three_digits(1e3 * cost.seconds[place])} ms"))
        rows.append([f"{length:,}", bytes_text(4 * length**2), bytes_text(4 * length), *cells])
    return Table(
        f"One causal head, D = {DIMENSION // 2}, float32, {work}: peak memory beyond the inputs",
        ["context N", "p alone", "lse alone", *costs],
        rows,
        "p and lse alone: 4 N² and 4 N bytes. Measured: all that a call takes at its highest, "
        "results and gradients included, and under it the time, "
        f"{threads} thread{'s' * (threads > 1)}. torch: scaled_dot_product_attention, fused as "
        f"well. {_STORED}: softmax(q kᵀ / √D) v, whose gradient keeps p.",
    )


def bytes_text(count: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "kB", "MB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GB"


def _growth_picture(costs: dict[str, Cost], lengths: list[int], work: str) -> Picture:
    measured = all(None not in cost.peaks for cost in costs.values())
    # To 64k even where fewer are measured: these two lines are arithmetic.
    drawn = np.array([2**power for power in range(int(math.log2(lengths[0])), 17)], float)

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, grid = new_figure(1, 1 + measured, (4.9 * (1 + measured) + 1, 3.9))
        *memory, time = grid
        for axes in memory:
            for bytes_each, name in (
                (4 * drawn**2, "p alone, 4 N²"),
                (4 * drawn, "lse alone, 4 N"),
            ):
                axes.plot(drawn, bytes_each / 2**20, color=theme.soft, linestyle=":", linewidth=1.3)
                axes.annotate(
                    name,
                    (drawn[-1], bytes_each[-1] / 2**20),
                    (-4, -10 if name.startswith("lse") else -2),
                    textcoords="offset points",
                    ha="right",
                    va="top" if name.startswith("lse") else "bottom",
                    color=theme.soft,
                    fontsize=9,
                )
            axes.set_ylabel("peak beyond the inputs (MB)")
            axes.set_title("Memory")
        for name, cost in costs.items():
            style = theme.line(_STYLES[name], label=name)
            time.plot(cost.lengths, cost.seconds, **style)
            for axes in memory:
                axes.plot(cost.lengths, [(peak or 0) / 2**20 for peak in cost.peaks], **style)
        time.set_ylabel("time (s)")
        time.set_title("Time")
        for axes in grid:
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_xlabel("context N")
        figure.legend(*time.get_legend_handles_labels(), loc="outside right center")
        return figure

    return Picture(
        "attention-growth",
        f"One causal head, {work}. What keeps p grows with the square of the context and leaves "
        "the machine's memory; what keeps lse stays with the inputs' size. Time is quadratic for "
        "all.",
        draw,
    )


# ---- times ---------------------------------------------------------------------------------


def times_table(context: Context) -> Table:
    """Return times of eight heads, plain and causal, without and with gradients."""
    length, heads = (128, 2) if context.quick else (1024, 8)
    q, k, v = inputs(context.rng(), heads, length, DIMENSION)
    passes = {"forward": False} | (
        {} if find_module("torch") is None else {"forward and backward": True}
    )
    names = [way.name for way in ways()]
    rows: list[list[Cell | str]] = []
    for threads in context.threads:
        for kind in ("plain", "causal"):
            for name, gradient in passes.items():
                context.step(f"times: {kind}, {name}, {threads} threads")
                calls = {
                    way.name: way.bind(q, k, v, causal=kind == "causal", gradient=gradient)
                    for way in ways()
                }
                with use_threads(threads):
                    times = interleave(
                        calls, budget=0.05 if context.quick else 1.0, min_rounds=3, max_rounds=20
                    )
                cells = [_time_cell(times[way], times["logsum"]) for way in names]
                rows.append([f"{kind}, {name}", f"{threads}", *cells])
    return Table(
        f"{heads} heads, N = {length}, D = {DIMENSION}, float32: milliseconds",
        ["work", "threads", *names],
        rows,
        "Medians of calls taken in turns, fastest to slowest under them, and how many times as "
        "long as ours.",
    )


def _time_cell(timing: Timing, ours: Timing) -> Cell:
    spread = f"{three_digits(1e3 * timing.fastest)}-{three_digits(1e3 * timing.slowest)}"
    factor = "" if timing is ours else f"\n{ratio(timing, ours):.2f}x"
    return Cell(three_digits(1e3 * timing.median), spread + factor)
