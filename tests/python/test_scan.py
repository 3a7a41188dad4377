"""Scans beyond what every operation must do: values, paths, scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import logsum
import scan_oracle
from conformance.machine import cpu_target, cpu_targets, threads
from conformance.report import compare
from scan_oracle import Arcs, Doubles, random_arcs
from tensors import needs_torch, torch
from tolerances import PATH_SHARE, PATH_SUM

SEMIRINGS = ("log", "max")
both = pytest.mark.parametrize("semiring", SEMIRINGS)


class Problem:
    """A random graph of any degrees, with weights of normal logarithms."""

    def __init__(self, seed: int, shape: tuple[int, int, int, int], scale: float = 2.0) -> None:
        steps, batch, states, count = shape
        rng = np.random.default_rng([seed, *shape])
        self.lists = random_arcs(rng, states, count)
        self.graph = logsum.Graph.from_arcs(*self.lists, states)
        self.arcs = Arcs.of_lists(*self.lists, states)
        self.ms = scale * rng.standard_normal((steps, batch, count))
        self.v0, self.vt = scale * rng.standard_normal((2, batch, states))
        self.lengths = rng.integers(0, steps + 1, batch)

    @property
    def operands(self) -> tuple[Doubles, Any, Doubles, Doubles]:
        return self.ms, self.graph, self.v0, self.vt

    def sequence(self, n: int) -> tuple[Arcs, Doubles, Doubles, Doubles]:
        """Return what the references take of one sequence."""
        return self.arcs, self.ms[: self.lengths[n], n], self.v0[n], self.vt[n]

    def logz(self, semiring: str = "log", **options: Any) -> Any:
        return logsum.logZ(*self.operands, semiring, lengths=self.lengths, **options)

    def repaired(self) -> int:
        """Return how many sequences were computed again in extended range."""
        graph = self.graph._sorted
        out, gradient = np.empty(self.ms.shape[1]), np.empty_like(self.ms)
        ends = (self.v0, self.vt, self.lengths, out, gradient, None, None)
        return logsum._core.logZ(self.ms, graph, *ends, logsum._core.Semiring.log, -1)


def judge(expected: Any, got: Any, tolerance: Any = PATH_SUM) -> None:
    """Compare float64 values with a reference."""
    compare(expected, np.asarray(got, np.float64), "float64", tolerance)


# ---- path by path ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
@both
def test_all_paths(seed: int, semiring: str) -> None:
    """Values, marginals and best paths are those of a list of all paths."""
    problem = Problem(seed, (4, 5, 3, 7))
    values = problem.logz(semiring)
    marginals = logsum.marginals(*problem.operands, lengths=problem.lengths)
    score, states, arcs = logsum.viterbi(*problem.operands, lengths=problem.lengths)
    for n, length in enumerate(problem.lengths):
        value, shares, every = scan_oracle.by_enumeration(*problem.sequence(n), semiring)
        # float64 on both sides; values near zero have the rounding of their terms.
        assert values[n] == pytest.approx(value, rel=1e-14, abs=1e-13)
        if semiring == "log":
            np.testing.assert_allclose(marginals[:length, n], shares, atol=1e-14)
            assert not marginals[length:, n].any()
            continue
        path = scan_oracle.best(every)
        taken = (path.states, path.slots) if path else ((-1,) * (length + 1), (-1,) * length)
        assert tuple(states[: length + 1, n]) == taken[0]
        assert tuple(arcs[:length, n]) == taken[1]
        assert np.all(states[length + 1 :, n] == -1)
        assert np.all(arcs[length:, n] == -1)
        assert score[n] == pytest.approx(value, rel=1e-14, abs=1e-13)


@pytest.mark.parametrize("seed", range(8))
def test_ties_go_to_the_lowest_arcs(seed: int) -> None:
    """Weights of few values have many best paths; the rule chooses one of them, connected."""
    problem = Problem(seed, (5, 6, 4, 9))
    rng = np.random.default_rng(seed)
    problem.ms = rng.integers(-1, 2, problem.ms.shape).astype(float)
    problem.v0 = problem.vt = np.zeros_like(problem.v0)
    for count in (1, 3):
        with threads(count):
            _, states, arcs = logsum.viterbi(*problem.operands, lengths=problem.lengths)
        for n, length in enumerate(problem.lengths):
            path = scan_oracle.best(scan_oracle.paths(*problem.sequence(n)))
            if path is not None:
                assert tuple(states[: length + 1, n]) == path.states
                assert tuple(arcs[:length, n]) == path.slots


@pytest.mark.parametrize("seed", range(4))
@both
def test_scores(seed: int, semiring: str) -> None:
    """Forward and backward scores meet in logZ at every step, and are sums of parts of paths."""
    problem = Problem(seed, (5, 3, 4, 9))
    lengths = problem.lengths
    ms, graph, v0, vt = problem.operands
    alpha = logsum.forward_scores(ms, graph, v0, semiring, lengths=lengths)
    beta = logsum.backward_scores(ms, graph, vt, semiring, lengths=lengths)
    assert alpha.shape == beta.shape == (6, 3, 4)
    values = problem.logz(semiring)
    rule = logsum.logsumexp if semiring == "log" else np.max
    for n, length in enumerate(lengths):
        for t in range(length + 1):
            assert rule(alpha[t, n] + beta[t, n]) == pytest.approx(values[n], abs=1e-12)
        assert np.all(alpha[length + 1 :, n] == -np.inf)
        assert np.all(beta[length + 1 :, n] == -np.inf)
        judge(v0[n], alpha[0, n])
        judge(vt[n], beta[length, n])
        if semiring == "log":
            found = scan_oracle.sums(*problem.sequence(n))
            for t in range(length + 1):
                judge(np.array([x.log for x in found.alpha[t]], dtype=object), alpha[t, n])
                judge(np.array([x.log for x in found.beta[t]], dtype=object), beta[t, n])


# ---- hard inputs -----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0, 1e4])
def test_spread_weights(scale: float) -> None:
    """However far apart weights are, values and shares are those at 50 digits."""
    problem = Problem(3, (12, 9, 6, 15), scale)
    operands = (problem.ms, problem.v0, problem.vt, problem.lengths.tolist())
    # Each step may round differences of its weights, which are as large as these.
    rounded = 12 * 4 * scale * 2.0**-53
    judge(
        scan_oracle.logz(problem.arcs, *operands),
        problem.logz(),
        replace(PATH_SUM, absolute=(0, 2e-14 + rounded)),
    )
    judge(
        scan_oracle.gradient(np.ones(9), problem.arcs, *operands)[0],
        logsum.marginals(*problem.operands, lengths=problem.lengths),
        replace(PATH_SHARE, absolute=(0, 5e-14 + 2 * rounded)),
    )


@pytest.mark.parametrize("offset", [1e4, -1e4])
def test_offsets(offset: float) -> None:
    """A number added to all weights of a step is added to logZ, and changes no share."""
    problem = Problem(4, (7, 4, 5, 12))
    problem.lengths[:] = 7
    before, shares = problem.logz(), logsum.marginals(*problem.operands)
    problem.ms = problem.ms + offset
    np.testing.assert_allclose(problem.logz(), before + 7 * offset, rtol=1e-14)
    np.testing.assert_allclose(logsum.marginals(*problem.operands), shares, atol=1e-11)


def two_states(steps: int, gap: float) -> Problem:
    """Return a model that is confidently wrong: until its last step it prefers what cannot be."""
    problem = Problem(0, (steps, 3, 2, 2))
    problem.graph = logsum.Graph.from_arcs([0, 1], [0, 1], 2)
    problem.arcs = Arcs.of_lists([0, 1], [0, 1], 2)
    problem.lengths[:] = steps
    problem.ms = np.zeros((steps, 3, 2))
    problem.ms[..., 1] = -gap
    problem.v0, problem.vt = np.zeros((2, 3, 2))
    problem.vt[:, 0] = -1e38
    return problem


@pytest.mark.parametrize(("steps", "gap"), [(200, 10.0), (500, 25.0), (30, 900.0)])
def test_confidently_wrong(steps: int, gap: float) -> None:
    """What underflows beside the states that are preferred is all that counts in the end."""
    problem = two_states(steps, gap)
    assert problem.repaired() == 3
    np.testing.assert_allclose(problem.logz(), np.full(3, -gap * steps), rtol=1e-15)
    shares = logsum.marginals(*problem.operands)
    judge(np.broadcast_to([0.0, 1.0], shares.shape), shares, PATH_SHARE)


def test_ordinary_weights_are_not_repaired() -> None:
    assert Problem(1, (300, 5, 6, 20)).repaired() == 0


@both
def test_twenty_thousand_steps(semiring: str) -> None:
    """Nothing drifts over a long sequence, checkpoints or not."""
    problem = Problem(2, (20_000, 2, 3, 6), 1.0)
    problem.lengths[:] = 20_000, 19_999
    got = problem.logz(semiring)
    state = problem.v0.astype(np.longdouble)
    found = []
    for t in range(20_000):
        terms = np.full((2, 3, 6), -np.inf, np.longdouble)
        for slot, source, target in problem.arcs.arcs:
            terms[:, target, slot] = state[:, source] + problem.ms[t, :, slot]
        found.append(state)
        state = _reduced(terms, semiring)
    found.append(state)
    for n, length in enumerate(problem.lengths):
        value = _reduced(found[length][n] + problem.vt[n], semiring)
        assert got[n] == pytest.approx(float(value), rel=1e-13)


def _reduced(terms: Any, semiring: str) -> Any:
    top = terms.max(-1)
    if semiring == "max":
        return top
    shift = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        return shift + np.log(np.exp(terms - shift[..., None]).sum(-1))


def test_frames_past_a_length_are_not_read() -> None:
    problem = Problem(5, (6, 4, 3, 8))
    problem.lengths[:] = 0, 2, 5, 6
    expected, shares = problem.logz(), logsum.marginals(*problem.operands, lengths=problem.lengths)
    for n, length in enumerate(problem.lengths):
        problem.ms[length:, n] = np.nan
    np.testing.assert_array_equal(problem.logz(), expected)
    got = logsum.marginals(*problem.operands, lengths=problem.lengths)
    np.testing.assert_array_equal(got, shares)


def test_one_sequence_alone_and_among_others() -> None:
    """A sequence has the same value wherever it stands, and whatever stands beside it."""
    problem = Problem(6, (9, 11, 5, 14), 20.0)
    values = problem.logz()
    problem.ms[:, 3], problem.v0[7] = np.nan, -np.inf
    again = problem.logz()
    for n in range(11):
        if n not in (3, 7):
            assert again[n] == values[n]
    assert np.isnan(again[3])
    assert again[7] == -np.inf


@both
def test_without_a_path(semiring: str) -> None:
    graph = logsum.Graph.from_arcs([0], [1], 3)  # one step at most
    ms, v0, vt = np.zeros((3, 2, 1)), np.zeros((2, 3)), np.zeros((2, 3))
    np.testing.assert_array_equal(logsum.logZ(ms, graph, v0, vt, semiring), [-np.inf] * 2)
    assert not logsum.marginals(ms, graph, v0, vt).any()
    score, states, arcs = logsum.viterbi(ms, graph, v0, vt)
    np.testing.assert_array_equal(score, [-np.inf] * 2)
    assert np.all(states == -1)
    assert np.all(arcs == -1)


@pytest.mark.parametrize("checkpoint", [None, False, 1, 2, 3, 7, 100])
def test_checkpoints_change_nothing(checkpoint: Any) -> None:
    problem = Problem(7, (23, 9, 4, 10), 30.0)
    expected = problem.logz()
    np.testing.assert_array_equal(problem.logz(checkpoint=checkpoint), expected)
    if torch is None:
        return
    ms, v0, vt = (
        torch.from_numpy(x).requires_grad_() for x in (problem.ms, problem.v0, problem.vt)
    )
    kept, chosen = (
        logsum.logZ(ms, problem.graph, v0, vt, lengths=problem.lengths, checkpoint=c).sum()
        for c in (False, checkpoint)
    )
    pairs = zip(*(torch.autograd.grad(x, (ms, v0, vt)) for x in (kept, chosen)), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("target", cpu_targets())
def test_targets(target: str) -> None:
    with cpu_target(target):
        for scale in (1.0, 1000.0):
            test_spread_weights(scale)
        test_confidently_wrong(200, 10.0)
        test_all_paths(0, "max")


@needs_torch
def test_lengths_of_any_kind() -> None:
    problem = Problem(8, (4, 3, 3, 6))
    expected = problem.logz()
    tensors = [torch.from_numpy(x) for x in (problem.ms, problem.v0, problem.vt)]
    lengths = problem.lengths
    kinds = [lengths.tolist(), tuple(lengths.tolist()), lengths.astype(np.int32)]
    kinds += [torch.from_numpy(lengths), torch.from_numpy(lengths).int()]
    for given in kinds:
        got = logsum.logZ(*problem.operands, lengths=given)
        np.testing.assert_array_equal(got, expected)
        got = logsum.logZ(tensors[0], problem.graph, *tensors[1:], lengths=given)
        np.testing.assert_array_equal(got.numpy(), expected)
