"""A density of handwritten digits: a picture of sums of exponentials, and its bandwidth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module, use_threads
from logsum.tour._memory import peak_bytes
from logsum.tour._model import Cell, Context, Item, Note, Picture, Table
from logsum.tour._timing import Timing, interleave, three_digits
from logsum.tour.chapters._naive_bayes import CLASSES, NO_DIGITS, load_digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

title = "A landscape of digits"
question = (
    "Every handwritten digit, seen from two directions, raises a small hill: how dense are they "
    "everywhere, how wide should a hill be so that it foretells digits it has not seen, and does "
    "one formula give the picture, the likelihood and its derivatives?"
)

Array = NDArray[Any]
# b is the logarithm of the bandwidth: any number will do.
KERNEL = "-SqDist(x, y) * Exp(-2 * b) / 2"
LEFT_OUT = f"Log(i != j) {KERNEL}"  # log 0 where a point would foretell itself
VARIABLES = ["x = Vi(2)", "y = Vj(2)", "b = Pm(1)"]


def run(context: Context) -> Iterator[Item]:
    """Yield the search for a bandwidth, the density on a grid, and their picture."""
    digits = load_digits(context.rng())
    if digits is None:
        yield NO_DIGITS
        return
    images = np.concatenate([digits.train, digits.held_out, digits.test])
    labels = np.concatenate([digits.train_labels, digits.held_out_labels, digits.test_labels])
    count, side = (200, 40) if context.quick else (len(images), 300)
    points, share = project(images[:count])
    with use_threads(max(context.threads)):
        context.step("bandwidth")
        curve = likelihood_curve(points, 9 if context.quick else 41)
        torch = find_module("torch")
        if torch is None:
            yield Note(
                "The best bandwidth is read from a curve: torch, which follows its slope, is not "
                "installed."
            )
            steps = [curve.best()]
        else:
            steps = newton(torch, points)
            yield _steps_table(points, steps)
        context.step("the grid")
        grid = Grid.around(points, side)
        yield _grid_table(points, grid, steps[-1].log_width, context)
        yield _picture(points, labels[:count], share, grid, curve, steps)


def project(images: Array) -> tuple[Array, float]:
    """Return the two principal components of the images, and their share of the variance."""
    centred = images - images.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    axes = directions[:2]
    # Either sign of a direction is right; this one does not depend on LAPACK's.
    axes = axes * np.sign(axes[[0, 1], np.abs(axes).argmax(axis=1)])[:, None]
    return centred @ axes.T, float((sizes[:2] ** 2).sum() / (sizes**2).sum())


def _constant(points: int, log_width: Any) -> Any:
    """Return what turns a log-sum-exp over kernels into the log of a density in the plane."""
    return -math.log(points) - math.log(2 * math.pi) - 2 * log_width


# ---- bandwidth -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A bandwidth's logarithm, and the mean log-likelihood there with two derivatives."""

    log_width: float
    likelihood: float
    slope: float | None = None
    curvature: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Curve:
    """Mean leave-one-out log-likelihoods of bandwidths."""

    log_widths: Array
    likelihoods: Array

    def best(self) -> Step:
        """Return the largest."""
        place = int(self.likelihoods.argmax())
        return Step(float(self.log_widths[place]), float(self.likelihoods[place]))


def left_out(points: Any, log_width: Any) -> Any:
    """Return the log density of every point, foretold by all others; arrays or tensors."""
    routine = logsum.Genred(LEFT_OUT, VARIABLES, reduction_op="LogSumExp", axis=1)
    sums = routine(points, points, log_width)
    return sums[:, 0] + _constant(len(points) - 1, log_width)


def rule_of_thumb(points: Array) -> float:
    """Return the logarithm of Scott's bandwidth, right for one Gaussian cloud."""
    return float(np.log(np.sqrt(points.var(axis=0).mean()) * len(points) ** (-1 / 6)))


def likelihood_curve(points: Array, count: int) -> Curve:
    """Return likelihoods of bandwidths around the rule of thumb, by values alone."""
    log_widths = rule_of_thumb(points) + np.linspace(-1.6, 0.5, count)
    means = [left_out(points, np.array([b])).mean() for b in log_widths]
    return Curve(log_widths, np.array(means))


def newton(torch: Any, points: Array) -> list[Step]:
    """Climb the likelihood by its slope and curvature until it is flat."""
    given = torch.from_numpy(points)
    log_width = torch.tensor([rule_of_thumb(points)], dtype=torch.float64, requires_grad=True)
    steps: list[Step] = []
    while len(steps) < 12:
        start = perf_counter()
        likelihood = left_out(given, log_width).mean()
        (slope,) = torch.autograd.grad(likelihood, log_width, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, log_width)
        seconds = perf_counter() - start
        at, height, first, second = (
            part.item() for part in (log_width, likelihood, slope, curvature)
        )
        steps.append(Step(at, height, first, second, seconds))
        if abs(first) < 1e-9:
            break
        # Where the likelihood is not concave, uphill; never further than a factor of e^½.
        move = -slope / curvature if second < 0 else slope.sign()
        with torch.no_grad():
            log_width += move.clamp(-0.5, 0.5)
    return steps


def _steps_table(points: Array, steps: list[Step]) -> Table:
    rows: list[list[Cell | str]] = [
        [
            str(number),
            f"{math.exp(step.log_width):.6f}",
            f"{step.likelihood:.9f}",
            f"{step.slope:.1e}",
            f"{step.curvature:.4f}",
            f"{1e3 * step.seconds:.3g}",
        ]
        for number, step in enumerate(steps)
    ]
    count = len(points)
    return Table(
        f"Newton's steps to the best bandwidth: {count} points, each foretold by the others",
        ["step", "bandwidth", "log-likelihood a point", "slope", "curvature", "ms"],
        rows,
        f"The formula is {LEFT_OUT}: where i is j its first term is log 0. slope and curvature "
        "are derivatives by the logarithm of the bandwidth, exact ones, by differentiating once "
        f"and twice; ms is the time of all three over {count**2:,} pairs, in float64. The first "
        "bandwidth is Scott's rule.",
    )


# ---- the grid ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """A square grid over the plane."""

    horizontal: Array
    vertical: Array

    @classmethod
    def around(cls, points: Array, side: int) -> Grid:
        """Return a grid that leaves a margin around the points."""
        low, high = points.min(axis=0), points.max(axis=0)
        margin = 0.25 * (high - low)
        ends = zip(low - margin, high + margin, strict=True)
        return cls(*(np.linspace(first, last, side) for first, last in ends))

    def places(self) -> Array:
        """Return its points, (side², 2), row by row from below."""
        return np.stack(np.meshgrid(self.horizontal, self.vertical), axis=-1).reshape(-1, 2)

    def cell(self) -> float:
        """Return the area that a point stands for."""
        width, height = np.ptp(self.horizontal), np.ptp(self.vertical)
        return float(width * height) / (len(self.horizontal) - 1) ** 2


def log_density(places: Any, points: Any, log_width: Any) -> Any:
    """Return the log density at places; arrays or tensors."""
    routine = logsum.Genred(KERNEL, VARIABLES, reduction_op="LogSumExp", axis=1)
    return routine(places, points, log_width)[:, 0] + _constant(len(points), log_width)


def naive_log_density(places: Any, points: Any, log_width: Any) -> Any:
    """Return the same as the logarithm of a sum of kernels, which may vanish."""
    routine = logsum.Genred(f"Exp({KERNEL})", VARIABLES, reduction_op="Sum", axis=1)
    with np.errstate(divide="ignore"):
        return np.log(routine(places, points, log_width))[:, 0] + _constant(len(points), log_width)


def dense_log_density(places: Any, points: Any, log_width: Any) -> Any:
    """Return the same from stored distances, a tenth of the grid at a time; takes torch."""
    torch: Any = find_module("torch")
    scale = -0.5 * torch.exp(-2 * log_width)
    parts = [
        torch.logsumexp(scale * torch.cdist(part, points).square(), 1)
        for part in places.tensor_split(10)
    ]
    return torch.cat(parts) + _constant(len(points), log_width)


def _grid_table(points: Array, grid: Grid, log_width: float, context: Context) -> Table:
    places = grid.places()
    given = (places, points, np.array([log_width]))
    exact = log_density(*given)
    narrow: list[Any] = [array.astype(np.float32) for array in given]
    calls: dict[str, Callable[[], Any]] = {
        "LogSumExp, float32": partial(log_density, *narrow),
        "LogSumExp, float64": partial(log_density, *given),
        "log of Sum, float32": partial(naive_log_density, *narrow),
    }
    times = interleave(calls, budget=0.1 if context.quick else 2.0)
    torch: Any = find_module("torch")
    if torch is not None:
        dense = partial(dense_log_density, *map(torch.from_numpy, narrow))
        calls["torch, stored pairs, float32"] = dense
    rows: list[list[Cell | str]] = []
    for name, call in calls.items():
        start = perf_counter()
        result = np.asarray(call())
        once = Timing((perf_counter() - start,))  # of what takes seconds
        finite = np.isfinite(result)
        lost, peak = int((~finite).sum()), peak_bytes(call)
        rows.append(
            [
                name,
                three_digits(1e3 * times.get(name, once).median),
                "-" if peak is None else f"{peak / 2**20:.1f}",
                f"{np.abs(result - exact)[finite].max():.0e}",
                Cell(f"{lost:,}" if lost else "none", tone="bad" if lost else "good"),
            ]
        )
    return Table(
        f"The log density at {len(places):,} places, of {len(points)} points each",
        ["way", "ms", "memory (MB)", "off", "places lost"],
        rows,
        "off: the largest difference from float64's LogSumExp. places lost: where it is -inf. log "
        "of Sum is a sum of kernels and then its logarithm, and far from all points the sum is 0. "
        "memory: the peak of a call, results included; the pairs, if all were stored, would take "
        f"{4 * len(places) * len(points) / 2**20:,.0f} MB; torch stores a tenth at a time.",
    )


# ---- the picture ---------------------------------------------------------------------------


def levels_of_mass(density: Array, cell: float, masses: tuple[float, ...]) -> list[float]:
    """Return the densities above which lie these parts of the probability, ascending."""
    falling = np.sort(density.ravel())[::-1]
    inside = np.cumsum(falling) * cell
    places = np.searchsorted(inside, sorted(masses, reverse=True))
    return [float(falling[min(place, len(falling) - 1)]) for place in places]


def _picture(
    points: Array, labels: Array, share: float, grid: Grid, curve: Curve, steps: list[Step]
) -> Picture:
    side = len(grid.horizontal)
    log_width = np.array([steps[-1].log_width])
    places = grid.places()
    density = log_density(places, points, log_width).reshape(side, side)
    small = [part.astype(np.float32) for part in (places, points, log_width)]
    vanished = np.isneginf(naive_log_density(*small)).reshape(side, side)
    masses = (0.5, 0.9, 0.99)
    levels = np.log(levels_of_mass(np.exp(density), grid.cell(), masses))

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, (plane, line) = new_figure(
            1, 2, (9.6, 4.6), gridspec_kw={"width_ratios": [1.45, 1]}
        )
        _draw_plane(plane, theme)
        _draw_line(line, theme)
        return figure

    def _draw_plane(axes: Any, theme: Theme) -> None:
        axes.imshow(
            density,
            extent=(*grid.horizontal[[0, -1]], *grid.vertical[[0, -1]]),
            origin="lower",
            cmap=theme.greys,
            vmin=density.max() - 11,
            vmax=density.max() + 9,  # half a grey at the summit: contours and names lie on it
            aspect="auto",
            interpolation="bilinear",
        )
        contours = axes.contour(
            grid.horizontal,
            grid.vertical,
            density,
            levels=levels,
            colors=theme.colours["first"],
            linestyles="solid",
            linewidths=(0.8, 1.1, 1.4),
        )
        names = dict(zip(levels, ("99%", "90%", "50%"), strict=True))
        axes.clabel(contours, fmt=names, fontsize=8)
        if vanished.any():
            axes.contour(
                grid.horizontal,
                grid.vertical,
                vanished,
                levels=[0.5],
                colors=theme.colours["second"],
                linestyles="--",
                linewidths=1.2,
            )
        for label in range(CLASSES):
            if (labels == label).any():
                x, y = np.median(points[labels == label], axis=0)
                axes.text(
                    x,
                    y,
                    str(label),
                    ha="center",
                    va="center",
                    weight="bold",
                    color=theme.colours["second"],
                )
        axes.grid(visible=False)
        axes.set_xlabel("first principal component")
        axes.set_ylabel("second")

    def _draw_line(axes: Any, theme: Theme) -> None:
        axes.plot(np.exp(curve.log_widths), curve.likelihoods, color=theme.colours["first"])
        axes.plot(
            [math.exp(step.log_width) for step in steps],
            [step.likelihood for step in steps],
            "o",
            color=theme.colours["second"],
            markersize=5,
        )
        axes.set_xlabel("bandwidth")
        axes.set_ylabel("log-likelihood a point, itself left out")

    lost = " Outside the dashed line a float32 sum of kernels is 0." if vanished.any() else ""
    return Picture(
        "density-landscape",
        f"Left, the log density of {len(points)} digits in their two principal components "
        f"({share:.0%} of the variance): contours hold half, 90% and 99% of the probability, "
        f"numbers stand at the medians of their digits.{lost} Right, how well a bandwidth "
        "foretells points it has not seen, and the steps to the best one.",
        draw,
    )
