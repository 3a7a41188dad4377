"""Reading strips of handwritten digits with a model that was never told where a digit is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module, use_threads
from logsum.tour._model import Cell, Context, Item, Note, Picture, Table
from logsum.tour.chapters._naive_bayes import CLASSES, NO_DIGITS, Digits, load_digits
from logsum.tour.chapters._strips import (
    BLANK,
    Step,
    Strips,
    edit_distance,
    logits_of,
    make_strips,
    train,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

title = "Reading without being told where"
question = (
    "Handwritten digits stand side by side, unevenly, and the only label of a strip is what it "
    "says. Does a small model learn to read when trained with ctc_loss alone, on images it has "
    "never seen, and where does it find each digit?"
)

Array = NDArray[Any]
_BEAM = 8


def run(context: Context) -> Iterator[Item]:
    """Yield the training, the accuracy on unseen digits, and strips with their alignments."""
    digits = load_digits(context.rng(), quick=context.quick)
    if digits is None:
        yield NO_DIGITS
        return
    torch = find_module("torch")
    if torch is None:
        yield Note("This chapter trains a model with torch, which is not installed.")
        return
    steps, beside, count = (20, 5, 20) if context.quick else (800, 60, 500)
    # One thread: a step is a few small convolutions, and two threads would wait for each other on
    # a busy machine.
    with use_threads(1):
        context.step("training with logsum.ctc_loss")
        model, ours = train(torch, training_digits(digits), our_loss, steps, seed=0)
        context.step("the same with torch's ctc_loss")
        _, theirs = train(torch, training_digits(digits), _their_loss, steps, seed=0, until=beside)
        yield _training_table(ours, theirs)
        yield _training_picture(ours, theirs)
        context.step("reading")
        model.eval()
        rng = context.rng()
        seen = make_strips(rng, *training_digits(digits), count)
        unseen = make_strips(rng, digits.test, digits.test_labels, count)
        yield _reading_table(torch, model, seen, unseen, len(digits.test))
        yield _strips_picture(torch, model, unseen)


def training_digits(digits: Digits) -> tuple[Array, Array]:
    """Return all images that the model may see, and their labels."""
    return (
        np.concatenate([digits.train, digits.held_out]),
        np.concatenate([digits.train_labels, digits.held_out_labels]),
    )


# ---- training ------------------------------------------------------------------------------


def our_loss(logits: Any, targets: Any, widths: Any, lengths: Any) -> Any:
    """Return the mean loss a digit, from logits."""
    return logsum.ctc_loss(logits, targets, widths, lengths, blank=BLANK, from_logits=True)


def _their_loss(logits: Any, targets: Any, widths: Any, lengths: Any) -> Any:
    functional: Any = find_module("torch.nn.functional")
    return functional.ctc_loss(logits.log_softmax(2), targets, widths, lengths, blank=BLANK)


def _training_table(ours: list[Step], theirs: list[Step]) -> Table:
    early, last = len(theirs), len(ours)
    apart = [abs(a.loss - b.loss) for a, b in zip(ours, theirs, strict=False)]
    rows: list[list[Cell | str]] = []
    for name, told in (("logsum", ours), ("torch", theirs)):
        milliseconds = [1e3 * np.median([step.loss_seconds for step in told[:early]])]
        milliseconds.append(1e3 * np.median([step.seconds for step in told[:early]]))
        rows.append(
            [
                name,
                f"{told[early - 1].loss:.4f}",
                f"{np.mean([step.loss for step in told[-20:]]):.4f}" if len(told) == last else "-",
                *(f"{value:.3g} ms" for value in milliseconds),
            ]
        )
    seconds = sum(step.seconds for step in ours)
    return Table(
        f"Training, {last} steps in {seconds:.0f} s, one thread: loss a digit (nats)",
        ["ctc_loss", f"loss, step {early}", "last 20 steps", "loss and gradient", "whole step"],
        rows,
        f"Same start, same strips: the losses differ by {apart[0]:.0e} in the first step, and by "
        f"{max(apart):.0e} at most in the first {early}, since training amplifies roundings; there "
        "torch's is ended. Times are medians over these.",
    )


def _training_picture(ours: list[Step], theirs: list[Step]) -> Picture:
    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, (axes,) = new_figure(size=(7.6, 3.3))
        losses = np.array([step.loss for step in ours])
        axes.plot(
            np.arange(1, len(theirs) + 1),
            [step.loss for step in theirs],
            color=theme.colours["torch"],
            linewidth=5,
            alpha=0.45,
            label="torch's ctc_loss, ended early",
        )
        axes.plot(
            np.arange(1, len(ours) + 1),
            losses,
            color=theme.colours["logsum"],
            linewidth=1.2,
            label="logsum.ctc_loss",
        )
        axes.axhline(np.log(CLASSES), color=theme.soft, linewidth=1, linestyle=":")
        axes.text(len(ours), 1.1 * np.log(CLASSES), "a guess a digit: log 10", ha="right")
        axes.set_yscale("log")
        axes.set_xlabel("optimizer step (24 new strips each)")
        axes.set_ylabel("loss a digit (nats)")
        axes.set_title("Training from whole strips alone")
        axes.legend(loc="lower left")
        return figure

    return Picture(
        "ctc-training",
        "The loss of the strips of each step. At first the model learns to say nothing; then that "
        "there are digits; then which.",
        draw,
    )


# ---- reading -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """What was read of each strip, and how long it took."""

    texts: list[list[int]]
    seconds: float

    def strips_right(self, strips: Strips) -> float:
        """Return the part of strips without an error."""
        return float(np.mean([text == strips.target(n) for n, text in enumerate(self.texts)]))

    def label_errors(self, strips: Strips) -> float:
        """Return the edits that the texts need, over the number of digits."""
        edits = [edit_distance(text, strips.target(n)) for n, text in enumerate(self.texts)]
        return sum(edits) / int(strips.lengths.sum())


def log_probs_of(torch: Any, model: Any, strips: Strips) -> Any:
    """Return the model's label log-probabilities (T, N, labels)."""
    with torch.no_grad():
        return logsum.log_softmax(logits_of(model, torch.from_numpy(strips.images)), axis=-1)


def read(log_probs: Any, strips: Strips, beam: int | None) -> Reading:
    """Decode all strips."""
    start = perf_counter()
    labels, _ = logsum.ctc_decode(log_probs, _widths(strips), blank=BLANK, beam=beam)
    seconds = perf_counter() - start
    return Reading([[int(label) for label in each] for each in labels], seconds)


def _widths(strips: Strips) -> Any:
    torch: Any = find_module("torch")
    return torch.from_numpy(strips.widths)


def _reading_table(torch: Any, model: Any, seen: Strips, unseen: Strips, images: int) -> Table:
    rows: list[list[Cell | str]] = []
    for name, strips in (("digits of the training", seen), ("digits never seen", unseen)):
        log_probs = log_probs_of(torch, model, strips)
        parts = [torch.from_numpy(part) for part in (strips.targets, strips.widths, strips.lengths)]
        loss = our_loss(log_probs, *parts).item()
        for decoder, beam in (("greedy", None), (f"beam of {_BEAM}", _BEAM)):
            reading = read(log_probs, strips, beam)
            rows.append(
                [
                    name,
                    decoder,
                    f"{reading.strips_right(strips):.1%}",
                    f"{reading.label_errors(strips):.2%}",
                    f"{loss:.3f}",
                    f"{1e6 * reading.seconds / len(reading.texts):.3g} µs",
                ]
            )
    return Table(
        f"Reading {len(unseen.lengths)} new strips of each kind",
        ["strips of", "decoder", "strips right", "label errors", "loss a digit", "time a strip"],
        rows,
        f"The {images} test images stand in no strip that the model was trained on. label errors: "
        "insertions, deletions and exchanges over the number of digits. greedy takes the likeliest "
        "label of every column, the beam the likeliest text among the prefixes it keeps.",
    )


# ---- alignments ----------------------------------------------------------------------------


def _chosen(strips: Strips, reading: Reading, count: int) -> list[int]:
    """Return one strip that was misread, where there is one, and else the first ones."""
    wrong = [n for n, text in enumerate(reading.texts) if text != strips.target(n)]
    right = [n for n, text in enumerate(reading.texts) if text == strips.target(n)]
    return [*right[: count - len(wrong[:1])], *wrong[:1], *wrong[1:]][:count]


def _strips_picture(torch: Any, model: Any, strips: Strips) -> Picture:
    log_probs = log_probs_of(torch, model, strips)
    reading = read(log_probs, strips, None)
    targets, widths, lengths = map(
        torch.from_numpy, (strips.targets, strips.widths, strips.lengths)
    )
    labels, _ = logsum.ctc_align(log_probs, targets, widths, lengths, blank=BLANK)
    aligned, probability = np.asarray(labels), np.exp(np.asarray(log_probs))
    chosen = _chosen(strips, reading, 4)

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        rows = (len(chosen) + 1) // 2
        figure, grid = new_figure(
            2 * rows, 2, (9.6, 2.7 * rows), gridspec_kw={"height_ratios": [1, 1.1] * rows}
        )
        for place, n in enumerate(chosen):
            above = grid[4 * (place // 2) + place % 2]
            below = grid[4 * (place // 2) + 2 + place % 2]
            _draw_strip(above, below, strips, n, aligned[n], probability[:, n], theme)
            true, text = (" ".join(map(str, each)) for each in (strips.target(n), reading.texts[n]))
            above.set_title(true if true == text else f"{true}, read as {text}", fontsize=10)
        return figure

    wrong = any(reading.texts[n] != strips.target(n) for n in chosen)
    return Picture(
        "ctc-strips",
        "Strips of unseen digits, and below each what the model thinks of every column: the "
        "probability of the labels 0 to 9 and, in the last row, of the blank. Orange: where "
        "ctc_align puts the digits of the true text, its best alignment. Nobody told the model."
        + (" The last strip shown is one that it misreads." if wrong else ""),
        draw,
    )


def _draw_strip(
    above: Any,
    below: Any,
    strips: Strips,
    n: int,
    aligned: Array,
    probability: Array,
    theme: Theme,
) -> None:
    width = int(strips.widths[n])
    orange = theme.colours["second"]
    above.imshow(strips.images[n, :, :width], cmap=theme.greys, vmin=0, vmax=1, aspect="auto")
    below.imshow(
        probability[:width].T,
        cmap=theme.greys,
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
    )
    columns = np.flatnonzero(aligned[:width] != BLANK)
    below.plot(columns, aligned[columns], "o", color=orange, markersize=3.5)
    for column in columns:
        above.axvline(column, color=orange, linewidth=1.1, alpha=0.8)
    below.set_yticks([0, 5, BLANK], ["0", "5", "blank"])
    above.set_xticks([])
    above.set_yticks([])
    for axes in (above, below):
        axes.set_xlim(-0.5, width - 0.5)
        axes.grid(visible=False)
    below.set_xlabel("column")
