"""scikit-learn's handwritten digits and two naive Bayes models of them, in log space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logsum.tour._contenders import find_module
from logsum.tour._model import Note

Array = NDArray[Any]
CLASSES = 10
SIDE = 8  # pixels; intensities are 0 to 16
NO_DIGITS = Note(
    "This chapter needs scikit-learn for its images: pip install 'logsum[tour]', then run it again."
)


@dataclass(frozen=True)
class Digits:
    """Images as rows of 64 intensities, split once and for all."""

    train: Array
    train_labels: Array
    held_out: Array
    held_out_labels: Array
    test: Array
    test_labels: Array


def load_digits(rng: np.random.Generator, *, quick: bool = False) -> Digits | None:
    """Return the 1797 digits, half of them for training; None without scikit-learn.

    `quick` leaves most of the test digits out.
    """
    datasets = find_module("sklearn.datasets")
    if datasets is None:
        return None
    images, labels = datasets.load_digits(return_X_y=True)
    order = rng.permutation(len(labels))
    train, held_out, test = np.split(order, [900, 1200])
    test = test[:100] if quick else test
    return Digits(
        images[train], labels[train], images[held_out], labels[held_out], images[test], labels[test]
    )


@dataclass(frozen=True)
class GaussianModel:
    """Every pixel of a class is normal, independent of the others."""

    log_prior: Array
    mean: Array
    variance: Array

    # The part of the largest pixel variance added to all: pixels that are always blank in
    # training would have none. scikit-learn calls it var_smoothing.
    SMOOTHING = 0.01

    @classmethod
    def fit(cls, images: Array, labels: Array) -> GaussianModel:
        """Estimate means and variances by class."""
        groups = [images[labels == label] for label in range(CLASSES)]
        floor = cls.SMOOTHING * images.var(axis=0).max()
        return cls(
            _log_prior(groups),
            np.stack([group.mean(axis=0) for group in groups]),
            np.stack([group.var(axis=0) + floor for group in groups]),
        )

    def log_joint(self, images: Array) -> Array:
        """Return log p(image, class), (images, classes)."""
        square = (images[:, None, :] - self.mean) ** 2 / self.variance
        normaliser = np.log(2 * math.pi * self.variance).sum(axis=1)
        return np.asarray(self.log_prior - 0.5 * (normaliser + square.sum(axis=2)))


@dataclass(frozen=True)
class BernoulliModel:
    """Every pixel of a class is on or off, independent of the others."""

    log_prior: Array
    log_on: Array
    log_off: Array

    THRESHOLD = 8.0

    @classmethod
    def fit(cls, images: Array, labels: Array) -> BernoulliModel:
        """Estimate how often a pixel is on, with one imagined image on and one off (Laplace)."""
        on = images > cls.THRESHOLD
        groups = [on[labels == label] for label in range(CLASSES)]
        rate = np.stack([(group.sum(axis=0) + 1) / (len(group) + 2) for group in groups])
        return cls(_log_prior(groups), np.log(rate), np.log1p(-rate))

    def log_joint(self, images: Array) -> Array:
        """Return log p(image, class), (images, classes)."""
        on = (images > self.THRESHOLD).astype(np.float64)
        return np.asarray(self.log_prior + on @ self.log_on.T + (1 - on) @ self.log_off.T)


def _log_prior(groups: list[Array]) -> Array:
    sizes = np.array([len(group) for group in groups], np.float64)
    return np.asarray(np.log(sizes / sizes.sum()))


def accuracy(scores: Array, labels: Array) -> float:
    """Return the part of rows whose largest score is the label's; a row with NaN counts as lost."""
    lost = np.isnan(scores).any(axis=1)
    best = np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1)
    return float(((best == labels) & ~lost).mean())
