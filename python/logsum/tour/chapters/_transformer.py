"""A character-level transformer trained twice from one seed: by attention, and by torch's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from logsum.tour._contenders import find_module, use_threads
from logsum.tour._model import Cell, Context, Item, Note, Picture, Table
from logsum.tour.chapters._language import (
    FORGETTING,
    Settings,
    Text,
    Trained,
    load_text,
    train,
    with_logsum,
    with_torch,
    write,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

title = "A small transformer, twice"
question = (
    "Half a minute on Python's own manual: does a transformer learn the same by this attention as "
    "by PyTorch's, from the same seed, and what does it write?"
)
NO_TORCH = Note("This chapter trains a model, and torch, which takes gradients, is not installed.")
NO_TEXT = Note(
    "This chapter reads the manual that Python carries, the module pydoc_data, which is not "
    "installed here (some systems have it in a package of their own)."
)
QUICK = Settings(context=32, width=32, batch=4, steps=12)


def run(context: Context) -> Iterator[Item]:
    """Yield both trainings, their curves, and a text."""
    if find_module("torch") is None:
        yield NO_TORCH
        return
    text = load_text()
    if text is None:
        yield NO_TEXT
        return
    settings = QUICK if context.quick else Settings()
    with use_threads(1):  # so small a model gains little by more, and waits where cores are busy
        context.step("training by logsum")
        ours = train(text, settings, with_logsum)
        context.step("training by torch")
        theirs = train(text, settings, with_torch, steps=len(ours.losses))
        yield training_table(text, settings, ours, theirs)
        yield _curves(ours, theirs, letters=len(text.alphabet))
        context.step("writing")
        written = write(ours.model, text, "The ", 60 if context.quick else 300)
    yield Note(f"It goes on from “The ”, a query at a time against all keys so far: {written}")


def training_table(text: Text, settings: Settings, ours: Trained, theirs: Trained) -> Table:
    """Return losses, times, and the largest difference."""
    apart = np.abs(ours.losses - theirs.losses)
    steps = len(apart)
    rows: list[list[Cell | str]] = [
        [
            name,
            f"{trained.losses[0]:.8f}",
            f"{trained.losses[-1]:.8f}",
            f"{trained.held_out:.4f}",
            f"{trained.seconds:.1f} s",
        ]
        for name, trained in (("logsum", ours), ("torch", theirs))
    ]
    rows.append(
        [
            "difference",
            f"{apart[0]:.0e}",
            f"{apart[-1]:.0e}",
            f"{abs(ours.held_out - theirs.held_out):.0e}",
            "",
        ]
    )
    return Table(
        f"{steps} steps of {settings.batch} x {settings.context} characters: nats a character",
        ["attention", "first loss", "last loss", "held-out text", "time"],
        rows,
        f"Largest difference of a step's loss: {apart.max():.1e}, at step {apart.argmax() + 1}. "
        f"The text has {len(text.train):,} characters, of {len(text.alphabet)} kinds. "
        f"{settings.layers} layers of {settings.heads} heads, D = "
        f"{settings.width // settings.heads}, one thread; a head forgets at a slope that is "
        f'learnt: ours by the formula "{FORGETTING}", torch\'s by a bias for every pair. What '
        "differs is rounding, which training magnifies.",
    )


def _curves(ours: Trained, theirs: Trained, letters: int) -> Picture:
    steps = np.arange(1, len(ours.losses) + 1)
    apart = np.abs(ours.losses - theirs.losses)

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, (losses, difference) = new_figure(
            2, 1, (7.6, 5), sharex=True, gridspec_kw={"height_ratios": [2, 1]}
        )
        losses.axhline(np.log(letters), color=theme.soft, linestyle=":", linewidth=1.2)
        losses.text(steps[-1], np.log(letters), "guessing", ha="right", va="top", color=theme.soft)
        style = {"marker": ""}
        losses.plot(steps, ours.losses, **theme.line("logsum", linewidth=3.2, **style))
        dashes = {"linestyle": (0, (3, 2)), "zorder": 6} | style
        losses.plot(steps, theirs.losses, **theme.line("torch", **dashes))
        losses.set_ylabel("loss (nats a character)")
        losses.legend()
        difference.semilogy(steps, apart, color=theme.ink, linewidth=1)
        difference.set_ylabel("difference")
        difference.set_xlabel("step")
        return figure

    return Picture(
        "transformer-losses",
        f"Both losses, from the same seed and batches, and how far they are apart: "
        f"{apart.max():.1e} at most.",
        draw,
    )
