"""The tour's chapters on scans and CTC: the numbers that they show."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import logsum
from logsum import tour
from logsum.tour import _contenders
from logsum.tour.chapters import (
    _ctc,
    _ctc_ways,
    _hard_losses,
    _lattice,
    _naive_bayes,
    _scan,
    _strips,
)

QUICK = tour.Context(quick=True)
RNG_SEED = 9


def _small_batch() -> _ctc_ways.Batch:
    return _ctc_ways.Batch.random(np.random.default_rng(RNG_SEED), 30, 5, 4, range(2, 7))


# ---- the reference -------------------------------------------------------------------------


@pytest.mark.parametrize("target", [[], [1], [2, 2], [1, 2, 1]])
@pytest.mark.parametrize("semiring", ["log", "max"])
def test_exact_losses_are_those_of_all_paths(target: list[int], semiring: str) -> None:
    logits = np.random.default_rng(RNG_SEED).standard_normal((5, 1, 3))
    probability = np.exp(logits[:, 0]) / np.exp(logits[:, 0]).sum(axis=1, keepdims=True)
    shares, weights = [], []
    for path in itertools.product(range(3), repeat=5):
        said = [label for label, _ in itertools.groupby(path) if label != _lattice.BLANK]
        if said == target:
            shares.append(np.eye(3)[list(path)])
            weights.append(math.prod(probability[t, label] for t, label in enumerate(path)))
    total = max(weights) if semiring == "max" else sum(weights)
    kept = [weight == total for weight in weights] if semiring == "max" else weights
    posterior = np.tensordot(kept, shares, 1) / (1 if semiring == "max" else total)
    losses, gradient = _lattice.exact_losses(
        logits, np.array([target], dtype=int).reshape(1, -1), np.array([len(target)]), semiring
    )
    assert float(losses[0]) == pytest.approx(-math.log(total), rel=1e-13)
    np.testing.assert_allclose(gradient[:, 0], probability - posterior, atol=1e-13)


# ---- scans ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", _ctc_ways.ways(), ids=lambda way: way.title)
def test_every_way_agrees(way: _ctc_ways.Way) -> None:
    batch = _small_batch()
    losses, gradient = _lattice.exact_losses(
        batch.logits, batch.targets, batch.target_lengths, way.semiring
    )
    # Log-probabilities rounded to float32, and torch's sums in it: a few u of a loss of 30.
    for dtype, tolerance in (("float32", 2e-5), ("float64", 1e-12)):
        given, slope = way.value(batch, dtype)
        np.testing.assert_allclose(given, losses.astype(float), atol=tolerance)
        if slope is not None:
            np.testing.assert_allclose(slope, gradient, atol=tolerance)


def test_ours_is_right_on_hard_losses() -> None:
    table = _hard_losses.hard_table(QUICK)
    column = table.columns.index("logsum")
    assert len(table.rows) == 7
    for row in table.rows:
        cell = row[column]
        assert isinstance(cell, tour.Cell)
        assert cell.tone == "good", row


def test_a_planted_path_is_found() -> None:
    batch = _ctc_ways.Batch.random(np.random.default_rng(RNG_SEED), 60, 1, 8, range(6, 7))
    found = _scan.paths("", _scan.planted(np.random.default_rng(2), batch, 8.0))
    assert found.posterior.shape == (60, 13)
    np.testing.assert_allclose(found.posterior.sum(axis=1), 1, rtol=1e-5)
    on_path = found.posterior[np.arange(60), found.best]
    assert on_path.mean() > 0.9
    assert (np.diff(found.best) >= 0).all()


# ---- strips --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> _naive_bayes.Digits:
    pytest.importorskip("sklearn")
    loaded = _naive_bayes.load_digits(np.random.default_rng(RNG_SEED))
    assert loaded is not None
    return loaded


def test_strips_hold_their_digits() -> None:
    # A digit k is a full square of intensity k + 1, so its ink tells which it is.
    images = np.repeat(np.arange(1.0, 11)[:, None], _strips.SIDE**2, axis=1)
    strips = _strips.make_strips(np.random.default_rng(RNG_SEED), images, np.arange(10), 50)
    assert len(set(strips.lengths)) > 1
    assert strips.widths.max() == strips.images.shape[2]
    for n in range(50):
        image, target = 16 * strips.images[n], strips.target(n)
        assert (image[:, strips.widths[n] :] == 0).all()
        assert {digit + 1 for digit in target} == set(np.unique(image[image > 0]).round())
        assert len(target) == strips.lengths[n]
    assert (strips.targets[strips.lengths == 3, 3:] == _strips.BLANK).all()


def test_no_test_image_is_trained_on(digits: _naive_bayes.Digits) -> None:
    images, labels = _ctc.training_digits(digits)
    assert len(images) == len(labels) == 1797 - len(digits.test)
    rows = {row.tobytes() for row in images}
    assert not any(row.tobytes() in rows for row in digits.test)


def test_edit_distance() -> None:
    assert _strips.edit_distance([], [1, 2]) == 2
    assert _strips.edit_distance([1, 2, 3], [1, 3]) == 1
    assert _strips.edit_distance([3, 1, 2], [1, 2, 4]) == 2
    assert _strips.edit_distance([5, 5], [5, 5]) == 0


def test_training_learns_to_read(digits: _naive_bayes.Digits) -> None:
    torch: Any = pytest.importorskip("torch")
    with _contenders.use_threads(1):
        model, told = _strips.train(
            torch, _ctc.training_digits(digits), _ctc.our_loss, steps=250, seed=0
        )
    model.eval()
    unseen = _strips.make_strips(
        np.random.default_rng(RNG_SEED), digits.test, digits.test_labels, 100
    )
    log_probs = _ctc.log_probs_of(torch, model, unseen)
    assert told[-1].loss < 0.5 < told[0].loss
    for beam in (None, 4):
        assert _ctc.read(log_probs, unseen, beam).label_errors(unseen) < 0.15
    parts = [torch.from_numpy(part) for part in (unseen.targets, unseen.widths, unseen.lengths)]
    labels, _ = logsum.ctc_align(log_probs, *parts, blank=_strips.BLANK)
    for n in range(100):
        said = [label for label, _ in itertools.groupby(labels[n, : unseen.widths[n]].tolist())]
        assert [label for label in said if label != _strips.BLANK] == unseen.target(n)


# ---- where libraries are missing -----------------------------------------------------------


def _hide(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> None:
    find = _contenders.find_module

    def without(name: str) -> object | None:
        return None if name.partition(".")[0] in hidden else find(name)

    for module in (_contenders, _naive_bayes, _ctc_ways, _lattice, _hard_losses, _scan, _ctc):
        monkeypatch.setattr(module, "find_module", without)


def test_without_torch_scans_are_values(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    _hide(monkeypatch, "torch")
    items = list(_scan.run(QUICK))
    hard, times = (item for item in items if isinstance(item, tour.Table))
    cells = [row[hard.columns.index("logsum")] for row in hard.rows]
    assert all(isinstance(cell, tour.Cell) and cell.tone == "good" for cell in cells)
    assert all(row[times.columns.index("backward")] == "-" for row in times.rows)
    assert any(isinstance(item, tour.Note) and "torch" in item.text for item in items)
    assert sum(isinstance(item, tour.Picture) for item in items) == 2


@pytest.mark.parametrize(("hidden", "named"), [("torch", "torch"), ("sklearn", "scikit-learn")])
def test_without_torch_or_images_no_reading(
    hidden: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    _hide(monkeypatch, hidden)
    (note,) = _ctc.run(QUICK)
    assert isinstance(note, tour.Note)
    assert named in note.text
