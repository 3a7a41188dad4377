"""Digits as an associative memory: half-erased images completed by attention over stored ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module
from logsum.tour._model import Cell, Context, Item, Note, Picture, Table
from logsum.tour.chapters._naive_bayes import CLASSES, NO_DIGITS, SIDE, Digits, load_digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

title = "A memory that completes digits"
question = (
    "Attention over stored images is an associative memory: the query is what can still be seen, "
    "the keys are the same pixels of what is stored, the values are whole images. How well does "
    "it complete a half-erased digit, and what does its energy, -lse, say of an image?"
)

Array = NDArray[Any]
PIXELS = SIDE * SIDE
NOISY = "noise added (sd 4 of 16)"
KEPT = {
    "upper half": np.arange(PIXELS) < PIXELS // 2,
    "left half": np.arange(PIXELS) % SIDE < SIDE // 2,
}


def run(context: Context) -> Iterator[Item]:
    """Yield the choice of a temperature, completions, labels, the energy and its gradient."""
    digits = load_digits(context.rng(), quick=context.quick)
    if digits is None:
        yield NO_DIGITS
        return
    context.step("temperatures")
    betas = np.geomspace(2e-3, 2, 7 if context.quick else 25)
    memories = {name: Memory.of(digits, kept) for name, kept in KEPT.items()}
    others = digits.held_out
    best = {name: best_beta(memory, others, others, betas) for name, memory in memories.items()}
    context.step("completions")
    for name, memory in memories.items():
        yield completion_table(name, memory, digits, best[name])
    yield _completions_picture(memories, digits, best)
    context.step("energies")
    whole = Memory.of(digits, np.ones(PIXELS, bool))
    seen = noisy_images(digits.held_out, context.rng())
    yield from _energy(whole, digits, best_beta(whole, seen, digits.held_out, betas), context)


# ---- the memory ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """Stored images, seen through some of their pixels.

    A query q of the pixels that are kept has score β (q·k - |k|²/2) with stored k, and
    -β|q|²/2 more would make it -β|q - k|²/2: nearer images have larger shares.

    Attributes
    ----------
    keys : Array
        (N, D): the pixels that are kept.
    values : Array
        (N, 64 + 10): the whole image, and its label as a row of zeros and a one.
    kept : Array
        (64,), boolean.
    """

    keys: Array
    values: Array
    kept: Array

    @classmethod
    def of(cls, digits: Digits, kept: Array) -> Memory:
        """Store the training images."""
        labels = np.eye(CLASSES)[digits.train_labels]
        values = np.concatenate([digits.train, labels], axis=1)
        return cls(np.ascontiguousarray(digits.train[:, kept]), values, kept)

    def recall(self, images: Array, beta: float) -> Recalled:
        """Return what attention makes of the kept pixels of images, (M, 64)."""
        queries = images[:, self.kept]
        bias = -beta / 2 * (self.keys**2).sum(axis=1)
        out, lse = logsum.attention(
            queries[None, None],
            self.keys[None, None],
            self.values[None, None],
            scale=beta,
            bias=bias[None, None, None],  # repeated for every query
            return_lse=True,
        )
        energy = beta / 2 * (queries**2).sum(axis=1) - (lse[0, 0] - math.log(len(self.keys)))
        return Recalled(out[0, 0, :, :PIXELS], out[0, 0, :, PIXELS:], energy)


@dataclass(frozen=True)
class Recalled:
    """Completed images (M, 64), shares of the ten labels (M, 10) and energies (M,).

    The energy is -log of the mean over stored images of exp(-β/2 |q - k|²), 0 at best.
    """

    images: Array
    labels: Array
    energy: Array


def best_beta(memory: Memory, seen: Array, truth: Array, betas: Array) -> float:
    """Return the β that brings images as seen nearest to what they truly are."""
    errors = [lost_pixels_error(memory.recall(seen, beta).images, truth, memory) for beta in betas]
    return float(betas[int(np.argmin(errors))])


def lost_pixels_error(images: Array, truth: Array, memory: Memory) -> float:
    """Return the root mean square error over erased pixels (over all, where none is erased)."""
    lost = ~memory.kept if (~memory.kept).any() else memory.kept
    return float(np.sqrt(((images - truth)[:, lost] ** 2).mean()))


# ---- completion ----------------------------------------------------------------------------


def completion_table(name: str, memory: Memory, digits: Digits, beta: float) -> Table:
    """Return errors and accuracies of attention, of its limits, and of a classifier."""
    nothing = np.broadcast_to(digits.train.mean(axis=0), digits.test.shape)
    frequent = (digits.test_labels == np.bincount(digits.train_labels).argmax()).mean()
    blind = lost_pixels_error(nothing, digits.test, memory)
    rows: list[list[Cell | str]] = [
        ["the mean image, the most frequent digit", f"{blind:.2f}", f"{frequent:.1%}"]
    ]
    settings = {
        "attention, β / 10": beta / 10,
        f"attention, β = {beta:.3g}": beta,
        "attention, 1000 β: the nearest image": 1000 * beta,
    }
    for way, value in settings.items():
        recalled = memory.recall(digits.test, value)
        right = (recalled.labels.argmax(axis=1) == digits.test_labels).mean()
        error = lost_pixels_error(recalled.images, digits.test, memory)
        rows.append([way, f"{error:.2f}", f"{right:.1%}"])
    rows.append(["logistic regression", "-", f"{_regression(memory, digits):.1%}"])
    return Table(
        f"{len(digits.test)} test digits of which the {name} is seen, {len(memory.keys)} stored",
        ["way", "error of the lost pixels (0 to 16)", "digits named"],
        rows,
        "Values are images with their labels beside them (Dv = 74, D = 32), so one call completes "
        "and classifies. β, chosen by the lost pixels of 300 other images, says how many stored "
        "images speak; a large one lets only the nearest. logistic regression: scikit-learn's, "
        "trained on the same halves.",
    )


def _regression(memory: Memory, digits: Digits) -> float:
    linear: Any = find_module("sklearn.linear_model")
    seen = digits.train[:, memory.kept] / 16
    model = linear.LogisticRegression(max_iter=2000).fit(seen, digits.train_labels)
    return float(model.score(digits.test[:, memory.kept] / 16, digits.test_labels))


def _completions_picture(
    memories: dict[str, Memory], digits: Digits, best: dict[str, float]
) -> Picture:
    columns = 12
    chosen = [int(np.flatnonzero(digits.test_labels == label)[0]) for label in range(CLASSES)]
    shown = (chosen + list(range(len(digits.test))))[:columns]
    rows: list[tuple[str, Array]] = []
    for name, memory in memories.items():
        erased = np.where(memory.kept, digits.test[shown], np.nan)
        rows += [(name, erased), ("recalled", memory.recall(digits.test[shown], best[name]).images)]
    rows.append(("as written", digits.test[shown]))
    guesses = {
        2 * place + 1: memory.recall(digits.test[shown], best[name]).labels.argmax(axis=1)
        for place, (name, memory) in enumerate(memories.items())
    }

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, grid = new_figure(len(rows), columns, (9.8, 4.6))
        for row, (name, images) in enumerate(rows):
            for column in range(columns):
                axes = grid[row * columns + column]
                _show(axes, images[column], theme)
                guess = guesses[row][column] if row in guesses else None
                truth = digits.test_labels[shown[column]]
                if guess is not None and guess != truth:
                    axes.set_title(
                        f"named {guess}",
                        fontsize=8,
                        loc="center",
                        pad=2,
                        color=theme.colours["second"],
                    )
            grid[row * columns].set_ylabel(
                name, fontsize=9, rotation=0, ha="right", va="center", labelpad=8
            )
        return figure

    return Picture(
        "recall-completed",
        "Half of each digit is erased (shaded), then recalled by one call of attention; at the "
        "bottom what was written. Orange: where the recalled label is wrong. No test image is "
        "among those stored.",
        draw,
    )


def _show(axes: Any, image: Array, theme: Theme) -> None:
    axes.set_facecolor(theme.grid)  # where pixels are erased
    axes.imshow(image.reshape(SIDE, SIDE), cmap=theme.greys, vmin=0, vmax=16)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=theme.grid)


# ---- energy --------------------------------------------------------------------------------


def noisy_images(images: Array, rng: np.random.Generator) -> Array:
    """Return images under normal noise, still between paper and ink."""
    return np.asarray(np.clip(images + rng.normal(0, 4, images.shape), 0, 16))


def odd_images(images: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Return images that are no digits, or no longer, of about the same ink."""
    square = images.reshape(-1, SIDE, SIDE)
    others = images[rng.permutation(len(images))]
    chimera = np.where(KEPT["upper half"], images, others)
    return {
        NOISY: noisy_images(images, rng),
        "halves of two digits": chimera,
        "upside down": square[:, ::-1].reshape(len(images), -1),
        "pixels shuffled": rng.permuted(images, axis=1),
    }


def descend(memory: Memory, images: Array, beta: float, steps: int) -> tuple[Array, Array]:
    """Replace images by what they recall, again and again: all images and energies.

    A step is one of gradient descent on the energy, q - (1/β) dE/dq, and the energy cannot rise.
    """
    path, energies = [images], []
    for _ in range(steps):
        recalled = memory.recall(path[-1], beta)
        energies.append(recalled.energy)
        path.append(recalled.images)
    energies.append(memory.recall(path[-1], beta).energy)
    return np.stack(path), np.stack(energies)


def _energy(memory: Memory, digits: Digits, beta: float, context: Context) -> Iterator[Item]:
    own = memory.recall(digits.test, beta).energy
    odd = odd_images(digits.test, context.rng())
    energies = {name: memory.recall(images, beta).energy for name, images in odd.items()}
    rows: list[list[Cell | str]] = [["test digits as they are", f"{np.median(own):.1f}", ""]]
    for name, values in energies.items():
        rows.append([name, f"{np.median(values):.1f}", f"{separation(own, values):.3f}"])
    yield Table(
        f"Energy = -lse of whole images, β = {beta:.3g}",
        ["images", "median energy (nats)", "separation (AUC)"],
        rows,
        "The energy is minus the log of the mean of exp(-β/2 |q - k|²) over the stored images k, "
        "and comes with every call; β is the one that restores other noisy images best. "
        "separation: the chance that such an image has more of it than "
        "a digit.",
    )
    if find_module("torch") is None:
        yield Note("torch, which takes the gradient of the energy, is not installed.")
    else:
        yield gradient_note(memory, digits.test[:50], beta)
    yield _descent_picture(memory, odd[NOISY], digits, beta)


def separation(own: Array, other: Array) -> float:
    """Return the chance that an odd image has more energy than a digit (area under the ROC)."""
    return float(np.searchsorted(np.sort(own), other).mean() / len(own))


def gradient_note(memory: Memory, images: Array, beta: float) -> Note:
    """Say that a recall is a step down the energy, by autograd through lse."""
    return Note(
        "The gradient of the energy, which flows through lse alone, is β (q - recalled image): "
        f"recalling is gradient descent with a step of 1/β. For {len(images)} images autograd's "
        f"gradient is {gradient_difference(memory, images, beta):.0e} of the largest away from it."
    )


def gradient_difference(memory: Memory, images: Array, beta: float) -> float:
    """Return how far the energy's gradient is from β (q - recalled), over the largest entry."""
    torch: Any = find_module("torch")
    keys, values = torch.from_numpy(memory.keys), torch.from_numpy(memory.values)
    q = torch.from_numpy(images[:, memory.kept]).requires_grad_()
    bias = -beta / 2 * (keys**2).sum(1)
    _, lse = logsum.attention(
        q[None, None],
        keys[None, None],
        values[None, None],
        scale=beta,
        bias=bias[None, None, None],
        return_lse=True,
    )
    energy = beta / 2 * (q**2).sum() - lse.sum()
    (slope,) = torch.autograd.grad(energy, q)
    recalled = memory.recall(images, beta).images[:, memory.kept]
    expected = beta * (images[:, memory.kept] - recalled)
    return float(np.abs(slope.numpy() - expected).max() / np.abs(expected).max())


def _descent_picture(memory: Memory, images: Array, digits: Digits, beta: float) -> Picture:
    steps, shown = 5, 5
    path, energies = descend(memory, images, beta, steps)

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, grid = new_figure(
            shown, steps + 3, (9.8, 4.4), gridspec_kw={"width_ratios": [1] * (steps + 2) + [4]}
        )
        for row in range(shown):
            for column in range(steps + 2):
                axes = grid[row * (steps + 3) + column]
                at_end = column == steps + 1
                _show(axes, digits.test[row] if at_end else path[column, row], theme)
                if row == 0:
                    name = "noisy" if column == 0 else f"step {column}"
                    axes.set_title(
                        "as written" if at_end else name, fontsize=9, loc="center", pad=4
                    )
        for row in range(shown):
            grid[row * (steps + 3) + steps + 2].remove()
        cells = grid[0].get_gridspec()
        assert cells is not None
        axes = figure.add_subplot(cells[:, -1])
        for row in range(shown):
            axes.plot(energies[:, row], color=theme.colours["first"], marker="o", markersize=3.5)
        axes.set_xlabel("step")
        axes.set_ylabel("energy (nats)")
        axes.set_title("Energy only falls")
        return figure

    return Picture(
        "recall-descent",
        "Digits under noise, each replaced by what it recalls, again and again: -lse falls at "
        "every step, to a digit or to a mixture of similar ones that the memory holds for one.",
        draw,
    )
