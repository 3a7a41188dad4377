"""Optimal transport between handwritten digits, in the log domain: many pairs, one product."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from logsum.tour._contenders import use_threads
from logsum.tour._model import Cell, Context, Item, Note, Picture, Table
from logsum.tour.chapters._naive_bayes import NO_DIGITS, SIDE, Digits, load_digits
from logsum.tour.chapters._sinkhorn import (
    Plans,
    linear_sinkhorn,
    log_histograms,
    pixel_costs,
    pixel_places,
    sinkhorn,
    total_sweeps,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

title = "How far is a 1 from a 0?"
question = (
    "Optimal transport measures images by how far their ink must move, and Sinkhorn's iteration "
    "finds it by multiplying with exp(-cost / ε). Where does that underflow, what does the log "
    "domain make of thousands of pairs at once, and is the distance any good?"
)

Array = NDArray[Any]
EPSILON = 0.01  # in squared pixels: the kernel reaches down to e^-9800


@dataclass(frozen=True)
class Match:
    """Distances of test images (rows) from training images (columns)."""

    name: str
    distances: Array
    seconds: float
    errors: Array | None = None  # of the marginals, where there are any

    def accuracy(self, labels: Array, train_labels: Array) -> float:
        """Return how often the nearest training image has the right label."""
        return float((train_labels[self.distances.argmin(axis=1)] == labels).mean())


def run(context: Context) -> Iterator[Item]:
    """Yield where the linear domain ends, the distances' accuracy, and pictures of plans."""
    digits = load_digits(context.rng(), quick=context.quick)
    if digits is None:
        yield NO_DIGITS
        return
    sweeps = 4 if context.quick else 20
    with use_threads(max(context.threads)):
        context.step("the linear domain")
        yield _underflow_table(digits, context)
        yield _convergence_picture(digits, sweeps)
        context.step("nearest neighbours")
        yield _neighbours(digits, context)
        context.step("plans")
        a, b = _two_digits(digits)
        plans = sinkhorn(
            log_histograms(a[None]), log_histograms(b[None]), pixel_costs(SIDE), EPSILON, 5 * sweeps
        )
        yield _plan_picture(a, b, plans)
        yield _interpolation_picture(a, b, plans)
    yield Note(
        "One kernel serves all pairs: their potentials are the rows of one matrix, and half a "
        "sweep is log_a - logmatmulexp(log_v, log_K). Nothing of the size pairs x pixels x pixels "
        "is ever held."
    )


# ---- where the linear domain ends ----------------------------------------------------------


def _pairs(digits: Digits, count: int) -> tuple[Array, Array]:
    """Return `count` test images and as many training images."""
    return digits.test[:count], digits.train[:count]


def _underflow_table(digits: Digits, context: Context) -> Table:
    a, b = _pairs(digits, 40 if context.quick else 100)
    costs = pixel_costs(SIDE)
    log_a, log_b = log_histograms(a), log_histograms(b)
    rows: list[list[Cell | str]] = []
    sweeps = 4 if context.quick else 10
    for epsilon in (1.0, 0.1, 0.03, EPSILON):
        total = total_sweeps(epsilon, sweeps)
        cells = []
        kinds: tuple[type[np.floating[Any]], ...] = (np.float32, np.float64)
        for dtype in kinds:
            lost, errors = linear_sinkhorn(
                np.exp(log_a), np.exp(log_b), costs, epsilon, total, dtype
            )
            cells.append(_lost_cell(int(lost.sum()), len(a), errors[-1]))
        plans = sinkhorn(log_a, log_b, costs, epsilon, sweeps)
        wrong = int((~np.isfinite(plans.distances())).sum())
        error = float(plans.marginal_errors(log_a, log_b).mean())
        rows.append(
            [
                f"{epsilon:g}",
                f"e^{-costs.max() / epsilon:.0f}",
                *cells,
                _lost_cell(wrong, len(a), error),
                f"{np.sqrt(plans.distances().mean()):.3f}",
            ]
        )
    return Table(
        f"Sinkhorn's iteration for {len(a)} pairs of digits: pairs lost to 0/0 or overflow",
        ["ε", "smallest of K", "linear, float32", "linear, float64", "log, float32", "distance"],
        rows,
        "Under each: the mean marginal error, the part of the ink that leaves or reaches the wrong "
        "pixels, of the pairs that are left, after equally many sweeps: the linear ones all at "
        "this ε, the log ones on their way down to it, by half each time. ε is in squared pixels; "
        "the smaller, the sharper the plan. distance: the root of the mean squared way of the ink, "
        "in pixels.",
    )


def _lost_cell(lost: int, count: int, error: float) -> Cell:
    detail = "nothing left" if lost == count else f"error {error:.1e}"
    return Cell(f"{lost} of {count}", detail, "bad" if lost else "good")


def _convergence_picture(digits: Digits, sweeps: int) -> Picture:
    a, b = _pairs(digits, 100)
    costs = pixel_costs(SIDE)
    log_a, log_b = log_histograms(a), log_histograms(b)
    errors: list[Array] = []
    sinkhorn(
        log_a,
        log_b,
        costs,
        EPSILON,
        2 * sweeps,
        lambda plans: errors.append(plans.marginal_errors(log_a, log_b)),
    )
    lines = np.array(errors)
    kinds: dict[str, type[np.floating[Any]]] = {"float64": np.float64, "float32": np.float32}
    linear = {
        name: linear_sinkhorn(np.exp(log_a), np.exp(log_b), costs, EPSILON, len(errors), dtype)
        for name, dtype in kinds.items()
    }

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, (axes,) = new_figure(size=(7.6, 3.7))
        steps = np.arange(1, len(lines) + 1)
        blue = theme.colours["first"]
        low, middle, high = np.quantile(lines, [0.1, 0.5, 0.9], axis=1)
        axes.fill_between(steps, low, high, color=blue, alpha=0.2, linewidth=0)
        axes.plot(steps, middle, color=blue, linewidth=2.2, label="log domain, float32")
        for colour, (name, (lost, left)) in zip(("second", "third"), linear.items(), strict=True):
            label = f"linear, {name}: {lost.sum()} of {len(a)} pairs lost"
            axes.plot(steps, left, color=theme.colours[colour], linewidth=1.4, label=label)
        axes.set_yscale("log")
        axes.set_xlabel(f"sweeps at ε = {EPSILON:g}")
        axes.set_ylabel("marginal error")
        axes.set_title("Convergence")
        axes.set_ylim(top=50)
        axes.legend(loc="upper right")
        return figure

    return Picture(
        "transport-convergence",
        f"The ink that leaves or reaches the wrong pixels, by sweep, for {len(a)} pairs at ε = "
        f"{EPSILON:g}: median and, shaded, the middle four fifths. The log domain starts from the "
        "solution for the next larger ε; the linear lines are means of the pairs that are left.",
        draw,
    )


# ---- nearest neighbours --------------------------------------------------------------------


def shifted_left(images: Array) -> Array:
    """Return the images one pixel further left; the leftmost column of a digit is blank."""
    return np.roll(images.reshape(-1, SIDE, SIDE), -1, axis=2).reshape(len(images), -1)


def transport_distances(test: Array, train: Array, sweeps: int) -> tuple[Array, Array]:
    """Return costs and marginal errors of all pairs."""
    log_a = np.repeat(log_histograms(test), len(train), axis=0)
    log_b = np.tile(log_histograms(train), (len(test), 1))
    plans = sinkhorn(log_a, log_b, pixel_costs(SIDE), EPSILON, sweeps)
    shape = (len(test), len(train))
    return plans.distances().reshape(shape), plans.marginal_errors(log_a, log_b).reshape(shape)


def centroid_ways(test: Array, train: Array) -> Array:
    """Return the squared distances of the images' centres of mass.

    A squared transport cost is this plus what is left when the best shift is free.
    """
    places = pixel_places(SIDE)
    centres = [images @ places / images.sum(axis=1, keepdims=True) for images in (test, train)]
    return np.asarray(((centres[0][:, None] - centres[1]) ** 2).sum(axis=2))


def _matches(test: Array, train: Array, sweeps: int) -> list[Match]:
    start = perf_counter()
    distances, errors = transport_distances(test, train, sweeps)
    seconds = perf_counter() - start
    start = perf_counter()
    euclidean = ((test[:, None] - train) ** 2).sum(axis=2)
    return [
        Match("Euclidean", euclidean, perf_counter() - start),
        Match("transport", distances, seconds, errors),
        Match("transport, any shift free", distances - centroid_ways(test, train), seconds, errors),
    ]


def _neighbours(digits: Digits, context: Context) -> Table:
    tests, trains, sweeps = (10, 20, 2) if context.quick else (100, 200, 6)
    test, labels = digits.test[:tests], digits.test_labels[:tests]
    train, train_labels = digits.train[:trains], digits.train_labels[:trains]
    matched = [_matches(images, train, sweeps) for images in (test, shifted_left(test))]
    same = labels[:, None] == train_labels
    rows: list[list[Cell | str]] = []
    for still, moved in zip(*matched, strict=True):
        apart = np.median(still.distances[~same]) / np.median(still.distances[same])
        errors = still.errors
        rows.append(
            [
                still.name,
                f"{still.accuracy(labels, train_labels):.1%}",
                f"{moved.accuracy(labels, train_labels):.1%}",
                f"{apart:.2f}",
                "" if errors is None else f"{np.median(errors):.1e}, {errors.max():.1e}",
                f"{still.seconds:.2g} s",
            ]
        )
    pairs = tests * trains
    return Table(
        f"The nearest of {trains} training digits, for {tests} test digits: {pairs:,} pairs",
        ["distance", "right", "moved by a pixel", "other / same", "marginal errors", "time"],
        rows,
        f"ε = {EPSILON:g}, float32; every half sweep is one product ({pairs:,} x 64) @ (64 x 64). "
        "These digits are centred and scaled, and where they are the Euclidean distance needs "
        "nothing better; moved left by one pixel they are strangers to it. A squared transport "
        "cost is the squared way of the centre of mass plus the rest, and the rest does not see "
        "a shift. other / same: median distance to other digits over that to the same digit. "
        "marginal errors: median and worst.",
    )


# ---- plans ---------------------------------------------------------------------------------


def _two_digits(digits: Digits) -> tuple[Array, Array]:
    """Return a 1 and a 0."""
    one, zero = (digits.train[digits.train_labels == label][0] for label in (1, 0))
    return one, zero


def _show(axes: Any, image: Array, theme: Theme, **options: Any) -> None:
    side = round(len(image) ** 0.5)
    axes.imshow(image.reshape(side, side), cmap=theme.greys, vmin=0, **options)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=theme.grid)


def _plan_picture(a: Array, b: Array, plans: Plans) -> Picture:
    plan = plans.plan(0)
    places = pixel_places(SIDE)
    sources, targets = np.nonzero(plan > 1e-3 * plan.max())
    moved = plan[sources, targets]
    far = np.sqrt(plans.costs[sources, targets])

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, grid = new_figure(1, 3, (9.6, 3.5))
        _show(grid[0], a, theme)
        grid[0].set_xlabel("from")
        _show(grid[2], b, theme)
        grid[2].set_xlabel("to")
        axes = grid[1]
        _show(axes, np.zeros(SIDE * SIDE), theme, alpha=0)
        for source, target, mass, way in zip(sources, targets, moved, far, strict=True):
            (y, x), (up, right) = places[source], places[target]
            strength = float(mass / moved.max())
            colour = theme.colours["first" if way <= 1 else "second"]
            if source == target:
                axes.plot(x, y, "o", color=theme.soft, markersize=5 * strength**0.5, alpha=0.6)
                continue
            axes.annotate(
                "",
                (right, up),
                (x, y),
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": colour,
                    "linewidth": 0.4 + 2 * strength,
                    "alpha": 0.25 + 0.7 * strength,
                    "shrinkA": 0,
                    "shrinkB": 0,
                    "mutation_scale": 6,
                },
            )
        axes.set_xlim(-0.5, SIDE - 0.5)
        axes.set_ylim(SIDE - 0.5, -0.5)
        axes.set_xlabel("which ink goes where")
        return figure

    stays = float(np.diag(plan).sum())
    return Picture(
        "transport-plan",
        f"The plan from a 1 to a 0 at ε = {EPSILON:g}: {stays:.0%} of the ink stays in its pixel "
        "(discs), blue arrows go to a neighbour, orange ones further. The mean way is "
        f"{float((plan * np.sqrt(plans.costs)).sum()):.2f} pixels.",
        draw,
    )


def interpolate(plan: Array, part: float, scale: int, width: float) -> Array:
    """Return the image in which all ink has gone a part of its way, `scale` times as fine."""
    places = pixel_places(SIDE)
    sources, targets = np.nonzero(plan > 1e-6 * plan.max())
    where = (1 - part) * places[sources] + part * places[targets]
    fine = (np.arange(SIDE * scale) + 0.5) / scale - 0.5
    spread = [np.exp(-0.5 * ((fine - where[:, axis, None]) / width) ** 2) for axis in (0, 1)]
    return np.asarray(np.einsum("k,ki,kj->ij", plan[sources, targets], *spread))


def _interpolation_picture(a: Array, b: Array, plans: Plans) -> Picture:
    plan = plans.plan(0)
    parts = np.linspace(0, 1, 7)
    moved = [interpolate(plan, part, 6, 0.5) for part in parts]
    # The same blur on a blend of the two images, for a fair look.
    still = [interpolate(np.diag(image / image.sum()), 0, 6, 0.5) for image in (a, b)]
    blended = [(1 - part) * still[0] + part * still[1] for part in parts]

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, grid = new_figure(2, len(parts), (9.6, 3.1))
        for place, image in enumerate((*moved, *blended)):
            _show(grid[place], image.ravel(), theme)
        for axes, part in zip(grid[len(parts) :], parts, strict=True):
            axes.set_xlabel(f"{part:.2g}")
        grid[0].set_ylabel("transport", fontsize=9)
        grid[len(parts)].set_ylabel("blend", fontsize=9)
        return figure

    return Picture(
        "transport-interpolation",
        "From a 1 to a 0. Above, all ink has gone that part of its way; below, the one "
        "image fades out while the other fades in.",
        draw,
    )
