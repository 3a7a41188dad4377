"""The CTC loss beyond what every operation must do: values, and what they are robust against."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ctc_oracle
import logsum
from conformance.machine import cpu_target, cpu_targets, threads
from conformance.report import compare
from sequences import Array, Batch
from tensors import needs_torch, torch
from tolerances import PATH_SHARE, PATH_SUM

blanks = pytest.mark.parametrize("blank", [0, 2, 3])


def losses(batch: Batch, **options: Any) -> Array:
    """Return the losses one by one."""
    return logsum.ctc_loss(*batch.arguments, "none", **options)


def evaluated(batch: Batch, **options: Any) -> tuple[Array, Array, int]:
    """Return losses, gradient, and how many sequences were computed again in extended range."""
    core = logsum._core
    out = np.empty(len(batch.inputs), np.promote_types(batch.frames.dtype, np.float32))
    gradient = np.empty_like(batch.frames)
    logits = options.get("from_logits", False)
    repaired = core.ctc_loss(
        *batch.arguments[:4], out, gradient, batch.blank, logits, core.Semiring.log, False
    )
    return out, gradient, repaired


def judge(expected: Any, got: Any, tolerance: Any = PATH_SUM) -> None:
    compare(expected, np.asarray(got, np.float64), str(got.dtype), tolerance)


# ---- against other ways of computing it ------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@blanks
def test_all_alignments(seed: int, blank: int) -> None:
    """Losses and gradients are those of a list of all alignments."""
    batch = Batch.random(seed, (5, 6, 4), 3, blank=blank)
    got, gradient, _ = evaluated(batch)
    for n, target in enumerate(batch.labels):
        want = ctc_oracle.by_enumeration(batch.frames_of(n), target, blank)
        # float64 on both sides; probabilities near one have the rounding of one.
        assert got[n] == pytest.approx(want.loss, rel=1e-14, abs=1e-13)
        used = batch.inputs[n]
        np.testing.assert_allclose(
            gradient[:used, n], np.reshape(want.gradient, (used, 4)), atol=1e-13
        )
        assert not gradient[used:, n].any()


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@blanks
def test_fifty_digits(blank: int, dtype: str, from_logits: bool) -> None:
    batch = Batch.random(1, (17, 9, 5), 6, blank=blank, normalised=not from_logits)
    batch.frames = batch.frames.astype(dtype)
    got, gradient, _ = evaluated(batch, from_logits=from_logits)
    expected, slopes = ctc_oracle.batch(
        batch.frames.astype(float), batch.labels, batch.inputs, blank=blank, from_logits=from_logits
    )
    judge(expected, got)
    judge(slopes, gradient, PATH_SHARE)


@pytest.mark.parametrize("scale", [100.0, 1e4])
@pytest.mark.parametrize("from_logits", [False, True])
def test_spread_scores(scale: float, from_logits: bool) -> None:
    """Scores of any size, whose sums leave the range of float64."""
    batch = Batch.random(2, (12, 8, 4), 4, scale=scale, normalised=False)
    expected, slopes = ctc_oracle.batch(
        batch.frames, batch.labels, batch.inputs, from_logits=from_logits
    )
    got, gradient, _ = evaluated(batch, from_logits=from_logits)
    np.testing.assert_allclose(got, expected.astype(float), rtol=1e-13, atol=1e-14 * scale)
    np.testing.assert_allclose(gradient, slopes.astype(float), atol=1e-14 * scale)


@pytest.mark.parametrize("semiring", ["log", "max"])
def test_as_a_scan(semiring: str) -> None:
    """The loss is logZ of the graph of its states, with a frame's emission on every arc."""
    batch = Batch.random(3, (30, 5, 6), 8)
    for n, target in enumerate(batch.labels):
        states = ctc_oracle.spread(target, 0)
        pairs = [(r, s) for s in range(len(states)) for r in ctc_oracle._enters(states, s, 0)]
        source, goal = np.array(pairs).T
        steps = batch.inputs[n]
        emissions = batch.frames[:steps, n][:, states]
        if steps == 0:
            continue
        v0, vt = np.full((2, 1, len(states)), -np.inf)
        v0[0, :2], vt[0, -2:] = emissions[0, :2], 0
        graph = logsum.Graph.from_arcs(source, goal, len(states))
        value = logsum.logZ(emissions[1:, None, goal], graph, v0, vt, semiring)
        assert losses(batch, semiring=semiring)[n] == pytest.approx(-value[0], rel=1e-13)


# ---- accuracy --------------------------------------------------------------------------------


def test_sure_of_the_right_label() -> None:
    """Next to zero the loss is right to rounding, and never negative."""
    steps = 2
    exact = ctc_oracle.sequence(np.array([[0.0, 17.0]] * steps), [1], from_logits=True).loss
    for dtype in (np.float32, np.float64):
        logits = np.array([[0.0, 17.0]] * steps, dtype)
        loss = logsum.ctc_loss(logits, [1], steps, 1, from_logits=True)
        assert loss >= 0
        assert abs(float(loss) - float(exact)) <= 4 * steps * 2.0**-53 + 1e-22


@pytest.mark.parametrize("seed", range(20))
def test_sure_losses_are_near_zero(seed: int) -> None:
    """The absolute error is at most 4 T 2^-53, and no loss is negative."""
    rng = np.random.default_rng(seed)
    steps, labels = 40, [1, 2, 1]
    path = np.repeat([0, 1, 0, 2, 2, 0, 1, 0], 5)
    logits = rng.normal(0, 1, (steps, 1, 3))
    logits[range(steps), 0, path] += rng.uniform(20, 60)
    loss = logsum.ctc_loss(logits, [labels], [steps], [3], reduction="none", from_logits=True)[0]
    exact = ctc_oracle.sequence(logits[:, 0], labels, from_logits=True).loss
    assert loss >= 0
    assert abs(float(exact) - loss) <= 4 * steps * 2.0**-53


@pytest.mark.parametrize("from_logits", [False, True])
def test_float32_losses_near_a_thousand(from_logits: bool) -> None:
    """A relative error of 6e-8, its rounding, and of 1e-6 in gradients."""
    batch = Batch.random(4, (500, 4, 20), 90, scale=1.0, normalised=not from_logits)
    batch.inputs[:], batch.lengths[:] = 500, 90
    batch.frames = batch.frames.astype(np.float32)
    got, gradient, _ = evaluated(batch, from_logits=from_logits)
    batch.frames = batch.frames.astype(np.float64)
    expected, slopes, _ = evaluated(batch, from_logits=from_logits)
    assert np.all(np.abs(expected) > 500)
    assert np.abs(got / expected - 1).max() <= 6e-8
    sizes = np.maximum(np.abs(slopes), 1e-6)
    assert (np.abs(gradient - slopes) / sizes).max() <= 1e-6


@pytest.mark.parametrize("from_logits", [False, True])
def test_confidently_wrong(from_logits: bool) -> None:
    """A model that is sure of blanks first and of the last label then: labels between underflow."""
    batch = Batch.random(5, (80, 9, 5), 12, scale=1.0, normalised=False)
    batch.inputs[:], batch.lengths[:] = 80, 12
    last = batch.targets[:, -1, None] == np.arange(5)
    batch.frames[:40, :, 1:] -= 100.0
    batch.frames[40:] -= np.where(last, 0.0, 200.0)
    got, gradient, repaired = evaluated(batch, from_logits=from_logits)
    assert repaired == 9
    some = slice(0, 1)
    expected, slopes = ctc_oracle.batch(
        batch.frames[:, some], batch.labels[some], batch.inputs[some], from_logits=from_logits
    )
    np.testing.assert_allclose(got[some], expected.astype(float), rtol=1e-13)
    np.testing.assert_allclose(gradient[:, some], slopes.astype(float), atol=1e-11)


def test_ordinary_scores_are_not_repaired() -> None:
    assert evaluated(Batch.random(6, (500, 4, 20), 90, scale=1.0))[2] == 0


# ---- edges -----------------------------------------------------------------------------------


def test_repeats_need_a_blank() -> None:
    frames = np.log(np.full((2, 1, 2), 0.5))
    assert logsum.ctc_loss(frames, [[1, 1]], [2], [2], reduction="sum") == np.inf
    longer = np.log(np.full((3, 1, 2), 0.5))
    value = logsum.ctc_loss(longer, [[1, 1]], [3], [2], reduction="sum")
    assert float(value) == pytest.approx(3 * np.log(2))


def test_empty_targets() -> None:
    frames = np.log(np.array([[[0.25, 0.75]], [[0.5, 0.5]]]))
    for targets in (np.zeros((1, 0), int), [[1, 1]], [], np.zeros(0, int)):
        value = logsum.ctc_loss(frames, targets, [2], [0], reduction="none")
        assert float(value[0]) == pytest.approx(np.log(8))


def test_no_frames() -> None:
    """Nothing says nothing for sure, and can say no label."""
    frames = np.full((2, 2, 3), np.nan)
    got = logsum.ctc_loss(frames, [[1], [1]], [0, 0], [0, 1], reduction="none")
    np.testing.assert_array_equal(got, [0.0, np.inf])
    none = logsum.ctc_loss(frames[:0], [[1], [1]], [0, 0], [0, 1], 0, "none", True)
    np.testing.assert_array_equal(none, [0.0, 0.0])


def test_no_sequences() -> None:
    frames, nothing = np.zeros((4, 0, 3)), np.zeros(0, int)
    assert logsum.ctc_loss(frames, np.zeros((0, 2), int), nothing, nothing, 0, "none").shape == (0,)
    assert logsum.ctc_loss(frames, nothing, nothing, nothing, 0, "sum") == 0


def test_impossible_targets() -> None:
    batch = Batch.random(7, (3, 3, 4), 3)
    batch.inputs, batch.lengths = np.array([2, 3, 3]), np.array([3, 1, 2])
    got, gradient, _ = evaluated(batch)
    assert got[0] == np.inf
    assert not gradient[:, 0].any()
    assert np.all(np.isfinite(got[1:]))
    np.testing.assert_array_equal(losses(batch, zero_infinity=True), [0, *got[1:]])


@pytest.mark.parametrize("from_logits", [False, True])
def test_zero_probabilities(from_logits: bool) -> None:
    """-inf is no NaN: what goes through it does not count, and its gradient is zero."""
    batch = Batch.random(8, (9, 6, 4), 3, normalised=not from_logits)
    rng = np.random.default_rng(1)
    batch.frames[rng.random(batch.frames.shape) < 0.2] = -np.inf
    batch.frames[:, 5, 1:] = -np.inf
    batch.inputs[:], batch.lengths[5] = 9, 1
    expected, slopes = ctc_oracle.batch(
        batch.frames, batch.labels, batch.inputs, from_logits=from_logits
    )
    got, gradient, _ = evaluated(batch, from_logits=from_logits)
    judge(expected, got)
    judge(slopes, gradient, PATH_SHARE)
    assert got[5] == np.inf


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_frame_spoils_its_own_sequence(bad: float, from_logits: bool) -> None:
    batch = Batch.random(9, (11, 7, 5), 3)
    batch.inputs[:] = 9
    before, slopes, _ = evaluated(batch, from_logits=from_logits)
    for label in range(5):  # also of a class that the target has not
        spoiled = Batch(batch.frames.copy(), *batch.arguments[1:])
        spoiled.frames[4, 3, label] = bad
        spoiled.frames[9:] = bad  # is not read
        got, gradient, _ = evaluated(spoiled, from_logits=from_logits)
        others = np.arange(7) != 3
        assert np.isnan(got[3])
        assert np.all(np.isnan(gradient[:9, 3]))
        np.testing.assert_array_equal(got[others], before[others])
        np.testing.assert_array_equal(gradient[:, others], slopes[:, others])
        assert not gradient[9:].any()


def test_padding_is_not_read() -> None:
    batch = Batch.random(10, (12, 6, 5), 4)
    expected = losses(batch)
    for n, length in enumerate(batch.lengths):
        batch.targets[n, length:] = -(10**12)
    np.testing.assert_array_equal(losses(batch), expected)


@blanks
def test_forms_of_targets_and_lengths(blank: int) -> None:
    """Padded or concatenated, of any integers, in arrays, lists, tuples or tensors."""
    batch = Batch.random(11, (12, 6, 5), 4, blank=blank)
    expected = losses(batch)
    padded, lengths = batch.targets, (batch.inputs, batch.lengths)
    forms: list[Any] = [padded, padded.tolist(), padded.astype(np.int32), batch.concatenated]
    forms += [batch.concatenated.tolist(), batch.concatenated.astype(np.uint8), padded.T.copy().T]
    kinds: list[Any] = [lengths, [x.tolist() for x in lengths], [x.astype("i4") for x in lengths]]
    if torch is not None:
        forms += [torch.tensor(padded, dtype=torch.int32), torch.tensor(batch.concatenated)]
        kinds += [[torch.tensor(x) for x in lengths], [torch.tensor(x).int() for x in lengths]]
    for targets in forms:
        for inputs, counts in kinds:
            got = logsum.ctc_loss(batch.frames, targets, inputs, counts, blank, "none")
            np.testing.assert_array_equal(got, expected)
            if torch is not None:
                tensor = torch.from_numpy(batch.frames)
                got = logsum.ctc_loss(tensor, targets, inputs, counts, blank, "none")
                np.testing.assert_array_equal(got.numpy(), expected)


def test_reductions() -> None:
    batch = Batch.random(12, (12, 6, 5), 4)
    batch.lengths[0] = 0
    each = losses(batch)
    total, mean = (logsum.ctc_loss(*batch.arguments, how) for how in ("sum", "mean"))
    assert float(total) == pytest.approx(each.sum())
    assert float(mean) == pytest.approx((each / np.maximum(batch.lengths, 1)).mean())
    assert logsum.ctc_loss(*batch.arguments) == mean


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_one_sequence_without_a_batch(reduction: str) -> None:
    batch = Batch.random(13, (8, 1, 5), 3)
    batch.lengths[:] = 2
    expected = np.squeeze(logsum.ctc_loss(*batch.arguments, reduction))
    for inputs, length in ((batch.inputs, batch.lengths), (int(batch.inputs[0]), 2)):
        got = logsum.ctc_loss(batch.frames[:, 0], batch.targets[0], inputs, length, 0, reduction)
        assert np.shape(got) == ()
        assert got == expected


# ---- machine ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(300, 1, 7), (120, 13, 20), (64, 3, 300)])
@pytest.mark.parametrize("from_logits", [False, True])
def test_threads(shape: tuple[int, int, int], from_logits: bool) -> None:
    """One sequence that threads share, or many: the same bits."""
    batch = Batch.random(14, shape, 20)
    batch.frames = batch.frames.astype(np.float32)
    with threads(1):
        first = evaluated(batch, from_logits=from_logits)
    for count in (2, 3, 5):
        with threads(count):
            again = evaluated(batch, from_logits=from_logits)
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("target", cpu_targets())
def test_targets(target: str) -> None:
    with cpu_target(target):
        for from_logits in (False, True):
            test_fifty_digits(0, "float32", from_logits)
            test_zero_probabilities(from_logits)
            test_confidently_wrong(from_logits)
        test_all_alignments(0, 2)


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (0, 2, 1)])
def test_strides(order: tuple[int, int, int]) -> None:
    batch = Batch.random(15, (20, 6, 9), 5)
    expected = losses(batch)
    axes = tuple(np.argsort(order))
    batch.frames = batch.frames.transpose(order).copy().transpose(axes)
    np.testing.assert_allclose(losses(batch), expected, rtol=1e-14)
    batch.frames = np.repeat(batch.frames, 2, 2)[:, :, ::2]
    np.testing.assert_allclose(losses(batch), expected, rtol=1e-14)


@needs_torch
def test_against_torch() -> None:
    """PyTorch's loss in float64, and the gradient that it has through log_softmax."""
    for blank in (0, 4):
        batch = Batch.random(16, (40, 8, 6), 9, blank=blank, normalised=False)
        logits = torch.from_numpy(batch.frames).requires_grad_()
        rest = [torch.from_numpy(x) for x in batch.arguments[1:4]]
        for how in ("none", "sum", "mean"):
            theirs = torch.nn.functional.ctc_loss(logits.log_softmax(-1), *rest, blank, how)
            for ours in (
                logsum.ctc_loss(logits, *rest, blank, how, from_logits=True),
                logsum.ctc_loss(logits.log_softmax(-1), *rest, blank, how),
            ):
                torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
                got, want = (
                    torch.autograd.grad(x.sum(), logits, retain_graph=True)[0]
                    for x in (ours, theirs)
                )
                torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
