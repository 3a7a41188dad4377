"""Sums over paths: CTC through a general scan and by itself, beside torch's."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module, use_threads
from logsum.tour._model import Cell, Context, Item, Note, Picture, Table
from logsum.tour._timing import Timing, ratio, three_digits
from logsum.tour.chapters._ctc_ways import Batch, Way, arc_weights, tensor, ways
from logsum.tour.chapters._hard_losses import hard_table
from logsum.tour.chapters._lattice import BLANK, exact_losses

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

title = "All paths at once"
question = (
    "A CTC loss is a sum over the paths of a graph through time, more than could ever be listed. "
    "What does it cost, forward and backward, through arcs of any kind and with CTC's own code; "
    "how exact are losses and gradients; and what happens to sequences that are hopeless?"
)

Array = NDArray[Any]
_JUDGED = 8  # sequences beside the exact reference, which takes a while


def run(context: Context) -> Iterator[Item]:
    """Yield hard cases, times and differences, and pictures of times and paths."""
    context.step("hard losses")
    yield hard_table(context)
    batch = _batch(context)
    with use_threads(max(context.threads)):
        measured, building = _measure(batch, context)
        context.step("differences")
        judged = _judge(batch.first(_JUDGED))
        yield _table(batch, measured, building, judged, max(context.threads))
        if find_module("torch") is None:
            yield Note("Only values are timed: torch, which takes the gradients, is not installed.")
        yield _times_picture(measured)
        context.step("paths")
        yield _paths_picture(context)


def _batch(context: Context) -> Batch:
    if context.quick:
        return Batch.random(context.rng(), 40, 4, 6, range(5, 9))
    return Batch.random(context.rng(), 500, 128, 20, range(80, 101))


# ---- times ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Phases:
    """Seconds of a loss, of its gradient, and of both."""

    forward: Timing
    backward: Timing | None

    @property
    def total(self) -> Timing:
        """Both together, round by round."""
        if self.backward is None:
            return self.forward
        pairs = zip(self.forward.samples, self.backward.samples, strict=True)
        return Timing(tuple(first + second for first, second in pairs))


Measured = dict[str, dict[str, Phases]]  # dtype -> way -> phases


def _measure(batch: Batch, context: Context) -> tuple[Measured, float]:
    """Return times, and what making float32 weights of arcs from logits, and back again, takes."""
    torch: Any = find_module("torch")
    measured: Measured = {}
    building = 0.0
    for dtype in ("float32", "float64"):
        context.step(f"times, {dtype}")
        logits = tensor(batch.logits, dtype)
        begun = perf_counter()
        weights = arc_weights(logits, batch)
        if torch is not None and dtype == "float32":
            torch.autograd.grad(weights, logits, torch.ones_like(weights))
        building = building or perf_counter() - begun
        leaf = weights if torch is None else weights.detach().requires_grad_()
        calls = {
            way.title: _bind(way, leaf if way.name == "logZ" else logits, batch) for way in ways()
        }
        measured[dtype] = _phases(calls, rounds=2 if context.quick else 3)
    return measured, building


def _bind(way: Way, leaf: Any, batch: Batch) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    torch: Any = find_module("torch")
    ones = None if torch is None else torch.ones(batch.logits.shape[1], dtype=leaf.dtype)

    def backward(losses: Any) -> object:
        return None if torch is None else torch.autograd.grad(losses, leaf, ones)

    return lambda: way.finish(leaf, batch), backward


def _phases(
    calls: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]], rounds: int
) -> dict[str, Phases]:
    """Time all in turns; the first round, which brings memory and code, is not counted."""
    names = list(calls)
    forward: dict[str, list[float]] = {name: [] for name in names}
    backward: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        gc.collect()
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            call, back = calls[name]
            start = perf_counter()
            losses = call()
            middle = perf_counter()
            back(losses)
            end = perf_counter()
            if turn:
                forward[name].append(middle - start)
                backward[name].append(end - middle)
    torch = find_module("torch")
    return {
        name: Phases(
            Timing(tuple(forward[name])), None if torch is None else Timing(tuple(backward[name]))
        )
        for name in names
    }


# ---- differences ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """The largest relative error of a loss and the largest error of a gradient's entry."""

    loss: float
    gradient: float | None


def _judge(batch: Batch) -> dict[str, dict[str, Difference]]:
    exact = {
        semiring: exact_losses(batch.logits, batch.targets, batch.target_lengths, semiring)
        for semiring in ("log", "max")
    }
    judged: dict[str, dict[str, Difference]] = {}
    for dtype in ("float32", "float64"):
        judged[dtype] = {}
        for way in ways():
            losses, gradient = way.value(batch, dtype)
            true_losses, true_gradient = exact[way.semiring]
            judged[dtype][way.title] = Difference(
                float(np.abs(losses / true_losses - 1).max()),
                None if gradient is None else float(np.abs(gradient - true_gradient).max()),
            )
    return judged


def _table(
    batch: Batch,
    measured: Measured,
    building: float,
    judged: dict[str, dict[str, Difference]],
    threads: int,
) -> Table:
    rows: list[list[Cell | str]] = []
    for dtype, by_way in measured.items():
        torch = by_way.get("torch, Log")
        for name, phases in by_way.items():
            off = judged[dtype][name]
            rows.append(
                [
                    Cell(name, dtype),
                    _time_cell(phases.forward),
                    "-" if phases.backward is None else _time_cell(phases.backward),
                    _time_cell(phases.total),
                    "-" if torch is None else f"{ratio(torch.total, phases.total):.3g}x",
                    f"{off.loss:.0e}",
                    "-" if off.gradient is None else f"{off.gradient:.0e}",
                ]
            )
    steps, count, classes = batch.logits.shape
    lengths = f"{batch.target_lengths.min()}-{batch.target_lengths.max()}"
    judges, states = min(count, _JUDGED), len(batch.lattice.idx)
    return Table(
        f"CTC: {count} sequences of {steps} frames, {classes} classes, targets of {lengths}; "
        f"milliseconds, {threads} thread{'s' * (threads > 1)}",
        ["way", "forward", "backward", "both", "torch takes", "loss off", "gradient off"],
        rows,
        "Median, under it fastest to slowest, of repeats taken in turns. ctc_loss and torch go "
        f"from logits to their gradient, logZ from the weights of {states} x 3 arcs a step to "
        f"theirs. Making these of the logits, and the way back, took another {1e3 * building:,.0f} "
        "ms in float32. torch has no Max. Ours writes the gradient in the forward call, if one is "
        "wanted. off: the largest relative error of a loss and error of a gradient's entry, among "
        f"{judges} sequences, beside explicit scans in extended precision, from the same logits; "
        "float32 logZ has its log-probabilities rounded before.",
    )


def _time_cell(timing: Timing) -> Cell:
    milliseconds = [1e3 * each for each in (timing.median, timing.fastest, timing.slowest)]
    median, fastest, slowest = map(three_digits, milliseconds)
    return Cell(median, f"{fastest}-{slowest}")


def _times_picture(measured: Measured) -> Picture:
    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        size = (4.9 * len(measured), 3.1)
        figure, grid = new_figure(1, len(measured), size, sharex=True, sharey=True)
        every = [1e3 * p.total.median for by_way in measured.values() for p in by_way.values()]
        for axes, (dtype, by_way) in zip(grid, measured.items(), strict=True):
            places = np.arange(len(by_way))[::-1]
            forward = np.array([1e3 * phases.forward.median for phases in by_way.values()])
            total = np.array([1e3 * phases.total.median for phases in by_way.values()])
            colours = [
                theme.colours["torch" if name.startswith("torch") else "logsum"] for name in by_way
            ]
            axes.barh(places, total, color=colours, height=0.62, alpha=0.45)
            axes.barh(places, forward, color=colours, height=0.62)
            for place, value in zip(places, total, strict=True):
                axes.text(1.12 * value, place, three_digits(value), va="center", fontsize=9)
            axes.set_xscale("log")
            axes.set_xlim(min(every) / 4, 4 * max(every))
            axes.set_yticks(places, list(by_way))
            axes.grid(visible=False, axis="y")
            axes.set_title(dtype)
            axes.set_xlabel("loss and gradient (ms)")
        return figure

    return Picture(
        "scan-times",
        "Loss and gradient together; of it, solid, the forward call. The axis is logarithmic.",
        draw,
    )


# ---- paths ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paths:
    """A sequence's posterior of states by step, (T, states), and its best path."""

    name: str
    posterior: Array
    best: Array


def planted(rng: np.random.Generator, batch: Batch, height: float) -> Batch:
    """Return one sequence whose logits favour one alignment, as a model's would."""
    logits = batch.logits.copy()
    length = int(batch.target_lengths[0])
    steps = len(logits)
    starts = np.sort(rng.choice(np.arange(1, steps - 1, 2), length, replace=False))
    logits[:, 0, BLANK] += height
    logits[starts, 0, BLANK] -= height
    logits[starts, 0, batch.targets[0, :length]] += height
    return Batch(logits, batch.targets, batch.target_lengths)


def paths(name: str, batch: Batch) -> Paths:
    """Return the posterior and the best path of the batch's first sequence."""
    first = batch.first(1)
    weights = np.asarray(arc_weights(first.logits, first))
    lattice = first.lattice
    ends = [each.astype(weights.dtype) for each in (lattice.initial, lattice.final)]
    posterior = logsum.marginals(weights, lattice.idx, *ends)
    _, states, _ = logsum.viterbi(weights, lattice.idx, *ends)
    return Paths(name, posterior[:, 0].sum(axis=2), states[1:, 0])


def _paths_picture(context: Context) -> Picture:
    rng = context.rng()
    steps, lengths = (30, range(6, 7)) if context.quick else (240, range(30, 31))
    plain = Batch.random(rng, steps, 1, 20, lengths)
    shown = [
        paths("logits without a clue", plain),
        paths("logits of a model that has learnt", planted(rng, plain, 5.0)),
    ]

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, grid = new_figure(1, 2, (9.6, 3.9), sharey=True)
        for axes, each in zip(grid, shown, strict=True):
            # A square root: what has a hundredth of the mass should still be seen.
            axes.imshow(
                np.sqrt(each.posterior.T),
                cmap=theme.greys,
                vmin=0,
                aspect="auto",
                origin="lower",
                interpolation="nearest",
            )
            frames = np.arange(len(each.best))
            axes.plot(frames, each.best, color=theme.colours["second"], linewidth=1.1)
            axes.grid(visible=False)
            axes.set_title(each.name)
            axes.set_xlabel("frame")
        grid[0].set_ylabel("state: blanks and labels in turn")
        return figure

    return Picture(
        "scan-paths",
        "Where the paths of one sequence run: the darker (on a dark page: the lighter), the more "
        "of them are in that state at that frame, by marginals; the line is the best one, by "
        "viterbi. Before training it says little of where the others are.",
        draw,
    )
