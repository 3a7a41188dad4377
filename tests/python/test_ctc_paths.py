"""Alignments and decoding against brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ctc_oracle
import logsum
from conformance.machine import cpu_target, cpu_targets, threads
from sequences import Array, Batch
from tensors import needs_torch, torch

blanks = pytest.mark.parametrize("blank", [0, 2, 3])


def judge_alignments(batch: Batch) -> None:
    """Compare labels and scores with those of every walk."""
    labels, scores = logsum.ctc_align(*batch.arguments)
    assert labels.shape == (len(batch.inputs), len(batch.frames))
    assert labels.dtype == np.int64
    for n, target in enumerate(batch.labels):
        score, path = ctc_oracle.aligned(batch.frames_of(n), target, batch.blank)
        used = batch.inputs[n] if path is not None else 0
        assert scores[n] == pytest.approx(score, rel=1e-14)
        assert tuple(labels[n, :used]) == (path or ())
        assert np.all(labels[n, used:] == -1)


@pytest.mark.parametrize("seed", range(8))
@blanks
def test_best_alignments(seed: int, blank: int) -> None:
    judge_alignments(Batch.random(seed, (5, 6, 4), 3, blank=blank))


@pytest.mark.parametrize("seed", range(12))
def test_ties(seed: int) -> None:
    """Scores of few values have many best alignments; the rule chooses one."""
    batch = Batch.random(seed, (6, 8, 3), 3)
    batch.frames = np.random.default_rng(seed).integers(-1, 1, batch.frames.shape).astype(float)
    judge_alignments(batch)


def test_alignments_say_the_target() -> None:
    batch = Batch.random(1, (120, 9, 20), 30)
    labels, scores = logsum.ctc_align(*batch.arguments)
    best = -logsum.ctc_loss(*batch.arguments, "none", semiring="max")
    np.testing.assert_allclose(scores, best, rtol=1e-15)
    for n, target in enumerate(batch.labels):
        path = labels[n, : batch.inputs[n]]
        assert ctc_oracle.collapsed(path.tolist(), 0) == tuple(target)
        assert ctc_oracle.score(batch.frames_of(n), path) == pytest.approx(scores[n], rel=1e-13)


def test_without_an_alignment() -> None:
    frames = np.zeros((3, 4, 3))
    labels, scores = logsum.ctc_align(
        frames, [[1, 1], [1, 2], [1, 2], [1, 2]], [2, 1, 2, 0], [2] * 4
    )
    np.testing.assert_array_equal(scores, [-np.inf, -np.inf, 0, -np.inf])
    np.testing.assert_array_equal(labels[[0, 1, 3]], -1)
    np.testing.assert_array_equal(labels[2], [1, 2, -1])


def obviously(frames: Array, blank: int) -> tuple[list[int], float]:
    """Return the likeliest label of every frame, merged, and their score."""
    path = frames.argmax(-1)
    return list(ctc_oracle.collapsed(path.tolist(), blank)), float(frames.max(-1).sum())


@blanks
def test_greedy(blank: int) -> None:
    batch = Batch.random(2, (50, 9, 5), 3, blank=blank)
    batch.frames[7] = 0.0  # a tie, which goes to the lowest
    batch.inputs[0] = 0
    labels, scores = logsum.ctc_decode(batch.frames, batch.inputs, blank)
    for n, found in enumerate(labels):
        expected, score = obviously(batch.frames_of(n), blank)
        assert found.dtype == np.int64
        assert found.tolist() == expected
        assert scores[n] == pytest.approx(score, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("seed", range(6))
@blanks
def test_wide_beams_find_the_likeliest(seed: int, blank: int) -> None:
    """A beam that keeps every prefix finds the labels of the largest sum over all alignments."""
    batch = Batch.random(seed, (5, 5, 4), 3, blank=blank, scale=0.5)
    labels, scores = logsum.ctc_decode(batch.frames, batch.inputs, blank, beam=10_000)
    for n, found in enumerate(labels):
        masses = ctc_oracle.decoded(batch.frames_of(n), blank)
        best = max(masses, key=lambda k: masses[k])
        assert tuple(found.tolist()) == best
        assert scores[n] == pytest.approx(masses[best], rel=1e-12, abs=1e-13)


def test_narrow_beams() -> None:
    """Scores are of what the beam kept: never above the exact one, and greedy's labels at worst."""
    batch = Batch.random(3, (25, 6, 5), 3)
    batch.inputs[:] = 25
    for beam in (1, 2, 8, 32):
        labels, scores = logsum.ctc_decode(batch.frames, batch.inputs, beam=beam)
        for n, found in enumerate(labels):
            exact = -logsum.ctc_loss(batch.frames[:, n], found, 25, len(found), reduction="sum")
            assert scores[n] <= exact + 1e-12
    paths = logsum.ctc_decode(batch.frames, batch.inputs)[1]
    assert np.all(scores >= paths - 1e-12)


def test_beam_of_zero_probabilities() -> None:
    frames = np.full((3, 1, 3), -np.inf)
    frames[:, :, 1] = 0
    labels, scores = logsum.ctc_decode(frames, [3], beam=4)
    assert labels[0].tolist() == [1]
    assert scores[0] == 0


@pytest.mark.parametrize("target", cpu_targets())
def test_targets_and_threads(target: str) -> None:
    batch = Batch.random(4, (60, 7, 30), 12)
    expected = logsum.ctc_align(*batch.arguments), logsum.ctc_decode(*batch.arguments[::2][:2])
    with cpu_target(target):
        for count in (1, 3):
            with threads(count):
                got = (
                    logsum.ctc_align(*batch.arguments),
                    logsum.ctc_decode(*batch.arguments[::2][:2]),
                )
            np.testing.assert_array_equal(got[0][0], expected[0][0])
            pairs = zip(got[1][0], expected[1][0], strict=True)
            assert all(np.array_equal(*pair) for pair in pairs)


@needs_torch
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_tensors(dtype: str) -> None:
    batch = Batch.random(5, (20, 5, 6), 4)
    frames = torch.from_numpy(batch.frames).to(getattr(torch, dtype))
    batch.frames = frames.double().numpy()
    rest = [torch.from_numpy(x) for x in batch.arguments[1:4]]
    wide = torch.float64 if dtype == "float64" else torch.float32
    labels, scores = logsum.ctc_align(frames, *rest)
    expected = logsum.ctc_align(*batch.arguments)
    assert (labels.dtype, scores.dtype) == (torch.int64, wide)
    np.testing.assert_array_equal(labels.numpy(), expected[0])
    np.testing.assert_allclose(scores.numpy(), expected[1], rtol=1e-6)
    for beam in (None, 3):
        found, scores = logsum.ctc_decode(frames, rest[1], beam=beam)
        expected = logsum.ctc_decode(batch.frames, batch.inputs, beam=beam)
        assert all(x.dtype == torch.int64 for x in found)
        assert [x.tolist() for x in found] == [x.tolist() for x in expected[0]]
        assert scores.dtype == wide
        np.testing.assert_allclose(scores.numpy(), expected[1], rtol=1e-6)


@needs_torch
def test_gradient_of_an_alignment() -> None:
    """One along it, in both directions; decoding has none."""
    batch = Batch.random(6, (6, 4, 4), 3)
    frames = torch.from_numpy(batch.frames).requires_grad_()

    def score(x: Any) -> Any:
        return logsum.ctc_align(x, *batch.arguments[1:])[1]

    torch.autograd.gradcheck(score, frames, check_forward_ad=True, check_batched_grad=True)
    labels, scores = logsum.ctc_align(frames, *batch.arguments[1:])
    assert scores.requires_grad
    assert not labels.requires_grad
    assert not logsum.ctc_decode(frames, batch.inputs)[1].requires_grad


@needs_torch
def test_alignments_under_transforms() -> None:
    batch = Batch.random(7, (9, 3, 4), 3)
    frames = torch.from_numpy(batch.frames)

    def call(x: Any) -> Any:
        return logsum.ctc_align(x, *batch.arguments[1:])

    expected = call(frames)
    torch._dynamo.reset()
    for got in (
        torch.compile(call, fullgraph=True, backend="aot_eager")(frames),
        tuple(x[1] for x in torch.func.vmap(call)(torch.stack([frames - 1, frames]))),
    ):
        assert torch.equal(got[0], expected[0])
        torch.testing.assert_close(got[1], expected[1], rtol=1e-15, atol=0)
