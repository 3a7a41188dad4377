"""Naive Bayes on handwritten digits: posteriors, lost images, and evidence as a sense of oddity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module
from logsum.tour._model import Cell, Context, Item, Note, Picture, Table
from logsum.tour._reference import exact_logsumexp
from logsum.tour.chapters._naive_bayes import (
    NO_DIGITS,
    SIDE,
    BernoulliModel,
    Digits,
    GaussianModel,
    accuracy,
    load_digits,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

title = "Which digit, and is it a digit at all?"
question = (
    "A classifier that multiplies 64 small probabilities lives by logsumexp: the posterior is "
    "exp(joint - evidence) with evidence = logsumexp over the classes. What happens without it, "
    "and what else is the evidence good for?"
)

Array = NDArray[Any]


def run(context: Context) -> Iterator[Item]:
    """Yield accuracies, the picture of underflow, and what the evidence says of odd images."""
    digits = load_digits(context.rng(), quick=context.quick)
    if digits is None:
        yield NO_DIGITS
        return
    context.step("two naive Bayes models")
    gaussian = GaussianModel.fit(digits.train, digits.train_labels)
    joint = gaussian.log_joint(digits.test)
    yield _classifiers(digits, joint)
    yield _underflow_picture(joint)
    context.step("odd images")
    odd = _odd_images(digits.test, context.rng())
    evidence = {
        name: np.asarray(logsumexp_classes(gaussian.log_joint(images)))
        for name, images in odd.items()
    }
    own = logsumexp_classes(joint)
    yield _oddity_table(own, evidence)
    yield _oddity_picture(own, evidence, odd)
    yield _least_probable(digits, joint, own)
    yield Note(
        "No class was ever told what an odd image looks like: the evidence, a by-product of the "
        "posterior's normalisation, knows."
    )


def logsumexp_classes(joint: Array) -> Array:
    """Return the log evidence of each image."""
    return np.asarray(logsum.logsumexp(joint, axis=1))


def _posterior(joint: Array) -> Array:
    return np.asarray(np.exp(joint - logsumexp_classes(joint)[:, None]))


def _linear_posterior(joint: Array) -> Array:
    """Return p(image, class) over its sum, 0/0 where all of the terms underflow."""
    with np.errstate(all="ignore"):
        terms = np.exp(joint)
        return np.asarray(terms / terms.sum(axis=1, keepdims=True))


# ---- classifiers ---------------------------------------------------------------------------


def _classifiers(digits: Digits, joint: Array) -> Table:
    bernoulli = BernoulliModel.fit(digits.train, digits.train_labels)
    joints = {"Gaussian": joint, "Bernoulli": bernoulli.log_joint(digits.test)}
    peers = _sklearn_posteriors(digits)
    rows: list[list[Cell | str]] = []
    for model, wide in joints.items():
        reference = _exact_posterior(wide)
        ways = {
            f"{model}, exp(joint - logsumexp)": _posterior(wide),
            f"{model}, logsum.softmax": logsum.softmax(wide, axis=1),
            f"{model}, logsum.softmax in float32": logsum.softmax(wide.astype(np.float32), axis=1),
            f"{model}, linear": _linear_posterior(wide),
            f"{model}, linear in float32": _linear_posterior(wide.astype(np.float32)),
            f"{model}, scikit-learn": peers[model],
        }
        rows.extend(_classifier_row(*way, reference, digits.test_labels) for way in ways.items())
    return Table(
        f"{len(digits.test)} test digits, models fitted to {len(digits.train)} others",
        ["model and way", "accuracy", "images lost to 0/0", "posterior's worst error"],
        rows,
        "linear: exp(joint) over its sum. Errors of the images that are left are absolute, beside "
        "a 50-digit posterior of the same joint. Subtracting an evidence of -130 that has been "
        "rounded costs two digits, which softmax keeps; in float32 most of the error is that of "
        "rounding the joint. The Gaussian model sees grey levels, the Bernoulli model black and "
        "white.",
    )


def _classifier_row(
    name: str, posterior: Array, reference: Array, labels: Array
) -> list[Cell | str]:
    lost = np.asarray(np.isnan(posterior).any(axis=1))
    kept = np.abs(posterior - reference)[~lost]
    error = f"{kept.max():.1e}" if kept.size else "nothing left"
    return [
        name,
        f"{accuracy(posterior, labels):.1%}",
        Cell(f"{lost.sum()} of {len(lost)}", tone="bad" if lost.any() else "good"),
        Cell(error, tone="plain" if kept.size else "bad"),
    ]


def _exact_posterior(joint: Array) -> Array:
    evidence = [exact_logsumexp(row) for row in joint]
    return np.array(
        [
            [math.exp(float(Decimal(value) - total)) for value in row.tolist()]
            for row, total in zip(joint, evidence, strict=True)
        ]
    )


def _sklearn_posteriors(digits: Digits) -> dict[str, Array]:
    bayes: Any = find_module("sklearn.naive_bayes")
    models = {
        "Gaussian": bayes.GaussianNB(var_smoothing=GaussianModel.SMOOTHING),
        "Bernoulli": bayes.BernoulliNB(binarize=BernoulliModel.THRESHOLD),
    }
    return {
        name: np.asarray(model.fit(digits.train, digits.train_labels).predict_proba(digits.test))
        for name, model in models.items()
    }


def _underflow_picture(joint: Array) -> Picture:
    best = joint.max(axis=1)
    # exp of less than the logarithm of half the smallest subnormal is zero.
    edges = {
        kind: math.log(np.finfo(real).smallest_subnormal) - math.log(2)
        for kind, real in (("float32", np.float32), ("float64", np.float64))
    }
    lost = {kind: int((best < edge).sum()) for kind, edge in edges.items()}

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, (axes,) = new_figure(size=(7.6, 3.5))
        axes.hist(best, bins=60, color=theme.colours["first"])
        top = axes.get_ylim()[1]
        for kind, colour, place in (("float32", "second", -390), ("float64", "third", -735)):
            axes.axvline(edges[kind], color=theme.colours[colour], linewidth=1.5)
            axes.text(
                place,
                0.97 * top,
                f"exp() is 0 in {kind}\nleft of {edges[kind]:.0f}: {lost[kind]} images",
                va="top",
                fontsize=9,
                color=theme.colours[colour],
            )
        axes.set_xlim(-780, 0)
        axes.set_xlabel("log joint probability of the image and its best class (nats)")
        axes.set_ylabel("test images")
        axes.set_title("Where the linear domain ends")
        return figure

    pixels = SIDE * SIDE * edges["float64"] / float(np.median(best))
    return Picture(
        "digits-underflow",
        f"Every image left of a line has no posterior in the linear domain: {lost['float32']} of "
        f"{len(best)} in float32, {lost['float64']} in float64. At the same "
        f"{-np.median(best) / SIDE**2:.1f} nats a pixel float64 is lost from {pixels:.0f} pixels "
        f"on, an image of {math.ceil(math.sqrt(pixels))} x {math.ceil(math.sqrt(pixels))}.",
        draw,
    )


# ---- evidence ------------------------------------------------------------------------------


def _odd_images(images: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Return images of the same ink that are no digits, or digits badly treated."""
    square = images.reshape(-1, SIDE, SIDE)
    noisy = np.clip(square + rng.normal(0, 3, square.shape), 0, 16)
    half = square.copy()
    half[:, : SIDE // 2] = 0
    flat = {
        "upside down": square[:, ::-1],
        "upper half erased": half,
        "noise added (sd 3 of 16)": noisy,
        "pixels shuffled": rng.permuted(images, axis=1),
    }
    return {
        name: np.ascontiguousarray(value).reshape(len(images), -1) for name, value in flat.items()
    }


def _separation(own: Array, other: Array) -> float:
    """Return the chance that an odd image has less evidence than a digit (area under the ROC)."""
    ranks = np.searchsorted(np.sort(own), other, side="right")
    return float(1 - ranks.mean() / len(own))


def _oddity_table(own: Array, evidence: dict[str, Array]) -> Table:
    threshold = float(np.quantile(own, 0.05))
    rows: list[list[Cell | str]] = [
        ["test digits as they are", f"{np.median(own):.0f}", "", f"{(own < threshold).mean():.0%}"]
    ]
    for name, values in evidence.items():
        caught = (values < threshold).mean()
        rows.append(
            [name, f"{np.median(values):.0f}", f"{_separation(own, values):.3f}", f"{caught:.0%}"]
        )
    return Table(
        "Evidence as a sense of oddity",
        ["images", "median log evidence (nats)", "separation (AUC)", "refused at 5% false alarms"],
        rows,
        "separation: the chance that such an image has less evidence than a digit; 0.5 is a coin. "
        "Upside down is hard for a good reason: 0, 1 and 8 stay digits.",
    )


def _oddity_picture(own: Array, evidence: dict[str, Array], odd: dict[str, Array]) -> Picture:
    threshold = float(np.quantile(own, 0.05))

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        names = list(evidence)
        figure, grid = new_figure(
            len(names), 4, (8.6, 5.6), sharex="col", gridspec_kw={"width_ratios": [1, 1, 1, 9]}
        )
        surprise = [-values for values in (own, *evidence.values())]
        low, high = (pick([pick(values) for values in surprise]) for pick in (np.min, np.max))
        bins = np.geomspace(low, high, 90).tolist()
        for row, name in enumerate(names):
            for column in range(3):
                _show_image(grid[4 * row + column], odd[name][column], theme)
            axes = grid[4 * row + 3]
            colours = theme.colours
            axes.hist(-own, bins=bins, color=colours["first"], label="test digits", alpha=0.85)
            axes.hist(-evidence[name], bins=bins, color=colours["second"], alpha=0.7)
            axes.axvline(-threshold, color=theme.ink, linewidth=1, linestyle=":")
            axes.set_xscale("log")
            axes.set_xticks([100, 200, 500, 1000, 2000], ["100", "200", "500", "1000", "2000"])
            axes.minorticks_off()
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.grid(visible=False)
            axes.set_title(name, fontsize=10, color=theme.colours["second"])
        grid[3].legend(loc="upper right")
        grid[-1].set_xlabel("surprise = -logsumexp of the log joint over the classes (nats)")
        return figure

    return Picture(
        "digits-oddity",
        "Blue: the surprise (minus log evidence) of the test digits. Orange: of the same digits, "
        "mistreated as the three samples show. What lies right of the dotted line is refused, 5% "
        "of the true digits among it.",
        draw,
    )


def _least_probable(digits: Digits, joint: Array, own: Array) -> Picture:
    order = np.argsort(own)
    posterior = _posterior(joint)
    shown = np.concatenate([order[:10], order[-10:]])

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, grid = new_figure(2, 10, (9.6, 3.0))
        for axes, index in zip(grid, shown, strict=True):
            _show_image(axes, digits.test[index], theme)
            guess, label = int(posterior[index].argmax()), int(digits.test_labels[index])
            wrong = guess != label
            axes.set_title(
                f"{label}" if not wrong else f"{label}, read as {guess}",
                fontsize=8.5,
                loc="center",
                pad=3,
                color=theme.colours["second"] if wrong else theme.ink,
            )
            axes.set_xlabel(f"{own[index]:.0f}", fontsize=8.5)
        grid[0].set_ylabel("least\nprobable", fontsize=9)
        grid[10].set_ylabel("most\nprobable", fontsize=9)
        return figure

    return Picture(
        "digits-least-probable",
        "The ten test images with the least evidence, and the ten with the most. Above each: its "
        "label, and in orange what the posterior took it for; below: its log evidence in nats.",
        draw,
    )


def _show_image(axes: Any, image: Array, theme: Theme) -> None:
    axes.imshow(image.reshape(SIDE, SIDE), cmap=theme.greys, vmin=0, vmax=16)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=theme.grid)
