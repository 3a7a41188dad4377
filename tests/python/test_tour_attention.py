"""The tour's chapters on attention: the numbers that they show."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import logsum
from logsum import tour
from logsum.tour import _contenders
from logsum.tour.chapters import (
    _attention,
    _attention_cost,
    _fused,
    _language,
    _naive_bayes,
    _recall,
    _transformer,
)

QUICK = tour.Context(quick=True)
RNG_SEED = 12
EXAMPLES = _fused.examples(np.random.default_rng(RNG_SEED), 48)


# ---- the identity --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lse_rebuilds_the_softmax(kind: str, dtype: str) -> None:
    example = EXAMPLES[kind]
    scores = example.scores()
    out, lse = _attention.attend(example, dtype)
    exact = _fused.softmax_rows(scores)
    held = np.isfinite(scores).any(axis=1)
    np.testing.assert_array_equal(np.isfinite(lse), held)
    unit = 2.0**-24 if dtype == "float32" else 2.0**-53
    # Scores as they are computed, by the formula with absolute values, and lse as it is stored.
    sizes = np.abs(example.q).astype(float) @ np.abs(example.k).T.astype(float) / 8
    finite = np.where(np.isfinite(example.bias), np.abs(example.bias), 0)
    top = np.where(held, np.abs(lse), 0)[:, None]
    tolerance = unit * (40 + 20 * (sizes + finite).max(axis=1, keepdims=True) + top)
    p = _fused.rebuilt(scores, lse)
    assert (np.abs(p - exact) <= tolerance * np.maximum(exact, unit)).all()
    size = exact @ np.abs(example.v).astype(float)
    assert (np.abs(out - exact @ example.v.astype(float)) <= 2 * tolerance * size).all()


@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize("block", [1, 7, 48])
def test_fused_kernels_store_lse_over_ln_2(kind: str, block: int) -> None:
    example = EXAMPLES[kind]
    scores = example.scores()
    running = _fused.run_blocks(scores, block)
    _, lse = _attention.attend(example, "float64")
    # A few roundings of the largest score, in either.
    unit = 2.0**-53 * np.abs(scores[np.isfinite(scores)]).max()
    np.testing.assert_allclose(running.stored[-1], lse / math.log(2), rtol=1e-14, atol=40 * unit)
    assert (running.maximum[1:] >= running.maximum[:-1]).all()


def test_gradients_need_out_and_lse_alone() -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(RNG_SEED)
    for kind in ("plain", "causal"):
        example = EXAMPLES[kind]
        grad_out, grad_lse = rng.standard_normal((48, 64)), rng.standard_normal(48)
        dense = _attention.dense_gradients(example, grad_out, grad_lse)
        ours = _attention.attention_gradients(example, grad_out, grad_lse)
        state = _attention.attend(example, "float64")
        hand = _fused.gradients_from_lse(example, *state, grad_out, grad_lse)
        for given in (ours, hand):
            for value, truth in zip(vars(given).values(), vars(dense).values(), strict=True):
                # Sums of 48 to 64 products in double.
                np.testing.assert_allclose(value, truth, atol=1e-12)


def test_every_way_attends() -> None:
    q, k, v = _attention_cost.inputs(np.random.default_rng(RNG_SEED), 2, 40, 24)
    for causal in (False, True):
        first, *others = (
            np.asarray(way.bind(q, k, v, causal=causal, gradient=False)())
            for way in _attention_cost.ways()
        )
        for other in others:
            np.testing.assert_allclose(first, other, atol=2e-6)


def test_bytes_are_read() -> None:
    texts = [_attention_cost.bytes_text(4 * n**k) for n, k in ((128, 1), (65536, 1), (65536, 2))]
    assert texts == ["512 B", "256 kB", "16 GB"]


# ---- the memory of digits ------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> _naive_bayes.Digits:
    loaded = _naive_bayes.load_digits(np.random.default_rng(RNG_SEED))
    if loaded is None:
        pytest.skip("scikit-learn is not installed")
    return loaded


def test_recall_is_a_mean_by_distance(digits: _naive_bayes.Digits) -> None:
    memory = _recall.Memory.of(digits, _recall.KEPT["upper half"])
    images, beta = digits.test[:7], 0.05
    recalled = memory.recall(images, beta)
    apart = ((images[:, None, :32] - memory.keys[None]) ** 2).sum(axis=2)
    log_p = -beta / 2 * apart
    p = logsum.softmax(log_p, axis=1)
    # Scores of a few hundred, whose distances cancel.
    np.testing.assert_allclose(recalled.images, p @ digits.train, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(recalled.labels.sum(axis=1), 1, rtol=1e-13)
    energy = math.log(len(memory.keys)) - logsum.logsumexp(log_p, axis=1)
    np.testing.assert_allclose(recalled.energy, energy, atol=1e-11)


def test_halves_are_completed(digits: _naive_bayes.Digits) -> None:
    for kept in _recall.KEPT.values():
        memory = _recall.Memory.of(digits, kept)
        recalled = memory.recall(digits.test, 0.04)
        right = (recalled.labels.argmax(axis=1) == digits.test_labels).mean()
        assert right > 0.87
        nearest = memory.recall(digits.test, 40.0)
        mean = np.broadcast_to(digits.train.mean(axis=0), digits.test.shape)
        errors = [
            _recall.lost_pixels_error(images, digits.test, memory)
            for images in (recalled.images, nearest.images, mean)
        ]
        assert errors == sorted(errors)
        assert errors[0] < 0.75 * errors[2]


def test_the_nearest_image_alone(digits: _naive_bayes.Digits) -> None:
    memory = _recall.Memory.of(digits, _recall.KEPT["left half"])
    seen = digits.test[:20][:, memory.kept]
    apart = ((seen[:, None] - memory.keys[None]) ** 2).sum(axis=2)
    recalled = memory.recall(digits.test[:20], 40.0)
    np.testing.assert_allclose(recalled.images, digits.train[apart.argmin(axis=1)], atol=1e-6)


def test_energy_falls_and_knows_digits(digits: _naive_bayes.Digits) -> None:
    memory = _recall.Memory.of(digits, np.ones(64, bool))
    odd = _recall.odd_images(digits.test, np.random.default_rng(RNG_SEED))
    _, energies = _recall.descend(memory, odd[_recall.NOISY], 0.02, 4)
    # Scores of a hundred or so cancel in it.
    assert (np.diff(energies, axis=0) <= 1e-11).all()
    own = memory.recall(digits.test, 0.02).energy
    for images in odd.values():
        assert _recall.separation(own, memory.recall(images, 0.02).energy) > 0.8
    assert _recall.separation(own, own) == pytest.approx(0.5, abs=0.01)


def test_recalling_is_descending(digits: _naive_bayes.Digits) -> None:
    pytest.importorskip("torch")
    memory = _recall.Memory.of(digits, np.ones(64, bool))
    assert _recall.gradient_difference(memory, digits.test[:10], 0.02) < 1e-12


# ---- the transformer -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def text() -> _language.Text:
    loaded = _language.load_text()
    if loaded is None:
        pytest.skip("Python's manual, pydoc_data, is not installed")
    return loaded


def test_the_text_is_prose(text: _language.Text) -> None:
    words = text.spell(text.train).split()
    assert len(words) > 10_000
    assert {"the", "Python", "object", "function"} <= set(words)
    assert len(text.held_out) == pytest.approx(len(text.train) / 9, rel=1e-3)


def test_both_attentions_are_one_function() -> None:
    torch: Any = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(RNG_SEED)
    arrays = [torch.randn(2, 3, 17, 8, generator=generator, dtype=torch.double) for _ in "qkv"]
    arrays.append(torch.tensor([1.0, 0.3, 0.0], dtype=torch.double))
    weight = torch.randn(2, 3, 17, 8, generator=generator, dtype=torch.double)
    found = []
    for attend in (_language.with_logsum, _language.with_torch):
        leaves = [array.clone().requires_grad_() for array in arrays]
        out = attend(*leaves)
        found.append((out, *torch.autograd.grad(out, leaves, weight)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_cache_changes_nothing(text: _language.Text) -> None:
    torch: Any = pytest.importorskip("torch")
    settings = _transformer.QUICK
    model = _language.Model(settings, len(text.alphabet), seed=1)
    ids = torch.from_numpy(text.train[None, :20])
    with torch.no_grad():
        whole = model.logits(ids, _language.with_logsum)
        cache = _language.Cache([], [])
        parts = [
            model.logits(part, _language.with_logsum, cache)
            for part in ids.split([13, 1, 4, 1, 1], 1)
        ]
    # The same sums of float32 in another order.
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-5)


def test_training_is_the_same_by_either(text: _language.Text) -> None:
    pytest.importorskip("torch")
    settings = _transformer.QUICK
    ours = _language.train(text, settings, _language.with_logsum)
    theirs = _language.train(text, settings, _language.with_torch, steps=len(ours.losses))
    assert ours.losses[0] == pytest.approx(np.log(len(text.alphabet)), rel=0.1)
    assert ours.losses[-1] < ours.losses[0] - 0.5
    # Twelve steps magnify a rounding of the loss, 2.4e-7, little.
    np.testing.assert_allclose(ours.losses, theirs.losses, atol=2e-4)


# ---- where something is missing ------------------------------------------------------------


def _hide(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> None:
    find = _contenders.find_module

    def without(name: str) -> object | None:
        return None if name.partition(".")[0] in hidden else find(name)

    modules = (_contenders, _naive_bayes, _attention, _attention_cost, _recall, _transformer)
    for module in modules:
        monkeypatch.setattr(module, "find_module", without)


def test_without_torch_attention_is_values(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    _hide(monkeypatch, "torch")
    items = list(_attention.run(QUICK))
    assert any(isinstance(item, tour.Note) and "torch" in item.text for item in items)
    tables = [item for item in items if isinstance(item, tour.Table)]
    assert not any("Gradients" in table.title for table in tables)
    assert "torch" not in tables[-1].columns
    assert sum(isinstance(item, tour.Picture) for item in items) == 2


def test_without_torch_energies_have_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    _hide(monkeypatch, "torch")
    notes = [item.text for item in _recall.run(QUICK) if isinstance(item, tour.Note)]
    assert len(notes) == 1
    assert "torch" in notes[0]


def test_without_images_nothing_is_recalled(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "sklearn")
    (note,) = _recall.run(QUICK)
    assert isinstance(note, tour.Note)
    assert "scikit-learn" in note.text


def test_without_torch_or_text_nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transformer, "load_text", lambda: None)
    if _contenders.find_module("torch") is not None:
        assert list(_transformer.run(QUICK)) == [_transformer.NO_TEXT]
    _hide(monkeypatch, "torch")
    assert list(_transformer.run(QUICK)) == [_transformer.NO_TORCH]
