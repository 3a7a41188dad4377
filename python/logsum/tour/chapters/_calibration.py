"""Softmax regression trained through log_softmax, and honest confidences by temperature."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module, use_threads
from logsum.tour._model import Cell, Context, Item, Note, Picture, Table
from logsum.tour._reference import exact_logsumexp
from logsum.tour.chapters._naive_bayes import (
    CLASSES,
    NO_DIGITS,
    Digits,
    GaussianModel,
    accuracy,
    load_digits,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

title = "Does 99% sure mean 99 in a hundred?"
question = (
    "Log-probabilities are trained through log_softmax and believed as confidences. Does ours "
    "train as torch's does, and how honest are the confidences before and after one temperature "
    "has scaled the scores?"
)

Array = NDArray[Any]
_BINS = 10
_DRAWN = 10  # images that a bin needs to be drawn: fewer say little


@dataclass(frozen=True)
class Model:
    """A classifier's scores, whose softmax is its posterior."""

    name: str
    held_out: Array
    test: Array
    temperature: float


def run(context: Context) -> Iterator[Item]:
    """Yield the training curve, the table of calibration and its picture."""
    digits = load_digits(context.rng(), quick=context.quick)
    if digits is None:
        yield NO_DIGITS
        return
    bayes = GaussianModel.fit(digits.train, digits.train_labels)
    models = [
        _model(
            "naive Bayes", bayes.log_joint(digits.held_out), bayes.log_joint(digits.test), digits
        )
    ]
    torch = find_module("torch")
    if torch is None:
        yield Note("Softmax regression is left out: it trains with torch, which is not installed.")
    else:
        steps = 40 if context.quick else 400
        context.step("training through logsum.log_softmax")
        # One thread: the matrices are small, and two would wait for each other on a busy machine.
        with use_threads(1):
            ours = _train(torch, digits, steps, lambda scores: logsum.log_softmax(scores, -1))
            context.step("training through torch.log_softmax")
            theirs = _train(torch, digits, steps, lambda scores: torch.log_softmax(scores, -1))
        yield _training_table(ours, theirs)
        yield _training_picture(ours, theirs)
        models.append(_model("softmax regression", ours.held_out, ours.test, digits))
    context.step("calibration")
    yield _calibration_table(models, digits)
    yield _reliability_picture(models, digits)


# ---- training ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """Mean negative log-likelihoods by step, and the scores at the end."""

    train_loss: list[float]
    test_loss: list[float]
    held_out: Array
    test: Array


def _train(torch: Any, digits: Digits, steps: int, log_softmax: Callable[[Any], Any]) -> Training:
    train, held_out, test = (
        torch.tensor(images / 16, dtype=torch.float32)
        for images in (digits.train, digits.held_out, digits.test)
    )
    labels = torch.tensor(digits.train_labels)
    test_labels = torch.tensor(digits.test_labels)
    weight = torch.zeros(train.shape[1], CLASSES, requires_grad=True)
    bias = torch.zeros(CLASSES, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=0.05)

    def loss_of(images: Any, targets: Any) -> Any:
        log_probability = log_softmax(images @ weight + bias)
        return -log_probability.gather(1, targets[:, None]).mean()

    train_loss, test_loss = [], []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(train, labels)
        loss.backward()
        optimizer.step()
        train_loss.append(loss.item())
        with torch.no_grad():
            test_loss.append(loss_of(test, test_labels).item())
    with torch.no_grad():
        scores = [(images @ weight + bias).numpy() for images in (held_out, test)]
    return Training(train_loss, test_loss, *scores)


def _training_table(ours: Training, theirs: Training) -> Table:
    marks = sorted({0, len(ours.train_loss) // 10, len(ours.train_loss) - 1})
    rows: list[list[Cell | str]] = [
        [
            f"{mark + 1}",
            f"{ours.train_loss[mark]:.6f}",
            f"{theirs.train_loss[mark]:.6f}",
            f"{abs(ours.train_loss[mark] - theirs.train_loss[mark]):.1e}",
            f"{ours.test_loss[mark]:.6f}",
        ]
        for mark in marks
    ]
    return Table(
        "Softmax regression on the digits, float32: mean negative log-likelihood (nats)",
        ["step", "training, logsum", "training, torch", "difference", "test, logsum"],
        rows,
        "The same model, start and optimizer; only the log_softmax in the loss differs.",
    )


def _training_picture(ours: Training, theirs: Training) -> Picture:
    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, (axes,) = new_figure(size=(7.6, 3.5))
        steps = np.arange(1, len(ours.train_loss) + 1)
        axes.plot(
            steps,
            theirs.train_loss,
            color=theme.colours["torch"],
            linewidth=5,
            alpha=0.45,
            label="training, torch.log_softmax",
        )
        axes.plot(
            steps,
            ours.train_loss,
            color=theme.colours["logsum"],
            linewidth=1.6,
            label="training, logsum.log_softmax",
        )
        axes.plot(
            steps,
            ours.test_loss,
            color=theme.colours["third"],
            linewidth=1.6,
            linestyle="--",
            label="test, logsum.log_softmax",
        )
        axes.set_yscale("log")
        axes.set_xlabel("optimizer step (all training images)")
        axes.set_ylabel("negative log-likelihood (nats)")
        axes.set_title("Training through log_softmax")
        axes.legend()
        return figure

    return Picture(
        "calibration-training",
        "The loss falls along one line whichever log_softmax computes it and its gradient (blue on "
        "wide orange). The test loss levels off while the training loss still falls: from there "
        "on training buys confidence, not correctness.",
        draw,
    )


# ---- calibration ---------------------------------------------------------------------------


def _loss(scores: Array, labels: Array) -> float:
    """Return the mean negative log-likelihood of the labels."""
    return float(-logsum.log_softmax(scores, -1)[np.arange(len(labels)), labels].mean())


def _exact_loss(scores: Array, labels: Array) -> float:
    losses = [
        exact_logsumexp(row) - Decimal(float(row[label]))
        for row, label in zip(scores, labels, strict=True)
    ]
    return float(sum(losses)) / len(losses)


def _model(name: str, held_out: Array, test: Array, digits: Digits) -> Model:
    return Model(name, held_out, test, best_temperature(held_out, digits.held_out_labels))


def best_temperature(scores: Array, labels: Array) -> float:
    """Return the temperature of the least loss, by golden section in its logarithm."""
    shrink = (5**0.5 - 1) / 2
    low, high = np.log(0.1), np.log(100.0)

    def at(place: float) -> float:
        return _loss(scores / np.exp(place), labels)

    left, right = high - shrink * (high - low), low + shrink * (high - low)
    at_left, at_right = at(left), at(right)
    for _ in range(30):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - shrink * (high - low)
            at_left = at(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + shrink * (high - low)
            at_right = at(right)
    return float(np.exp((low + high) / 2))


@dataclass(frozen=True)
class Reliability:
    """By bin of confidence: its mean, how often the classifier was right, and how many fell in."""

    confidence: Array
    right: Array
    count: Array

    @property
    def gap(self) -> float:
        """The expected calibration error: the mean distance of confidence and truth."""
        return float((np.abs(self.confidence - self.right) * self.count).sum() / self.count.sum())

    def of_at_least(self, images: int) -> Reliability:
        """Return the bins that hold at least so many images."""
        kept = self.count >= images
        return Reliability(self.confidence[kept], self.right[kept], self.count[kept])


def _reliability(posterior: Array, labels: Array) -> Reliability:
    sure = posterior.max(axis=1)
    right = posterior.argmax(axis=1) == labels
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    used = np.unique(bins)
    return Reliability(
        np.array([sure[bins == index].mean() for index in used]),
        np.array([right[bins == index].mean() for index in used]),
        np.array([(bins == index).sum() for index in used]),
    )


def _variants(model: Model) -> dict[str, Array]:
    return {
        "as trained": model.test,
        f"at temperature {model.temperature:.2f}": model.test / model.temperature,
    }


def _calibration_table(models: list[Model], digits: Digits) -> Table:
    rows: list[list[Cell | str]] = []
    for model in models:
        for variant, scores in _variants(model).items():
            loss = _loss(scores, digits.test_labels)
            error = abs(loss - _exact_loss(scores, digits.test_labels))
            posterior = np.asarray(logsum.softmax(scores, -1))
            curve = _reliability(posterior, digits.test_labels)
            rows.append(
                [
                    f"{model.name}, {variant}",
                    f"{accuracy(posterior, digits.test_labels):.1%}",
                    f"{posterior.max(axis=1).mean():.1%}",
                    f"{curve.gap:.1%}",
                    Cell(f"{loss:.4f}", f"error {error:.0e}"),
                ]
            )
    return Table(
        f"Confidence and truth on {len(digits.test)} test digits",
        ["classifier", "right", "mean confidence", "calibration error", "loss (nats)"],
        rows,
        "The temperature divides the scores; it is the one with the least loss on 300 held-out "
        "digits and changes no decision. It is chosen for the loss, not for the calibration error "
        "(the mean distance of a bin's confidence from its truth). The loss's error is beside "
        "50-digit arithmetic on the same scores (naive Bayes float64, softmax regression float32).",
    )


def _reliability_picture(models: list[Model], digits: Digits) -> Picture:
    curves = {
        model.name: {
            variant: _reliability(np.asarray(logsum.softmax(scores, -1)), digits.test_labels)
            for variant, scores in _variants(model).items()
        }
        for model in models
    }

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, grid = new_figure(1, len(curves), (4.6 * len(curves), 4.6), sharey=True)
        for axes, (name, variants) in zip(grid, curves.items(), strict=True):
            axes.plot([0, 1], [0, 1], color=theme.soft, linewidth=1, linestyle=":")
            for (variant, whole), colour in zip(variants.items(), ("second", "first"), strict=True):
                curve = whole.of_at_least(_DRAWN)
                shade = theme.colours[colour]
                # One standard error of the part that is right, of as many images.
                error = np.sqrt(curve.right * (1 - curve.right) / curve.count)
                axes.errorbar(
                    curve.confidence, curve.right, error, color=shade, linewidth=1.5, label=variant
                )
                axes.scatter(
                    curve.confidence,
                    curve.right,
                    s=8 + 0.6 * curve.count,
                    zorder=4,
                    alpha=0.85,
                    color=shade,
                    edgecolors=theme.paper,
                    clip_on=False,
                )
            axes.set_title(name)
            axes.set_xlim(0.3, 1)
            axes.set_ylim(0.3, 1.02)
            axes.set_xlabel("mean confidence of the bin")
            axes.legend(loc="upper left")
        grid[0].set_ylabel("part that is right")
        return figure

    return Picture(
        "calibration-reliability",
        "On the dotted line confidence is earned; below it the classifier is surer than it should "
        f"be, above it too modest. A disc's area is the number of images in its bin ({_DRAWN} at "
        "least), its bar one standard error. Naive Bayes counts 64 dependent pixels as 64 "
        "independent witnesses and is sure of everything; the temperature of least loss spreads "
        "its confidences, but one number cannot bend the curve onto the line. Softmax regression "
        "hardly needs one.",
        draw,
    )
