"""The tour's chapters on the matrix product: the numbers that they show."""

from __future__ import annotations

import math

import numpy as np
import pytest

import logsum
from logsum import tour
from logsum.tour.chapters import _chains, _matmul, _naive_bayes, _products, _sinkhorn, _transport

pytest.importorskip("sklearn")


# ---- the matrix product --------------------------------------------------------------------


def test_the_famous_product() -> None:
    a, b = _matmul.famous()
    by_name = {way.name: way for way in _products.ways()}
    ours = by_name["logsum"]
    value = ours.value(a, b)
    assert value is not None
    assert value.item() == pytest.approx(400 + math.log(2), rel=1e-15)
    _, bound = logsum.logmatmulexp(a, b, return_bound=True)
    assert abs(value.item() - 400 - math.log(2)) <= bound.item() < 1e-12
    gradients = ours.gradients(a, b)
    if gradients is not None:
        for gradient in gradients:
            np.testing.assert_allclose(gradient, 0.5, rtol=1e-13)
    trick = by_name["max trick"].value(a, b)
    assert trick is not None
    assert trick.item() == -math.inf


def test_hard_products_are_right_within_their_bounds() -> None:
    failures = {"max trick": 0, "naive": 0}
    for a, b in _matmul.hard_examples(tour.Context()).values():
        exact = _matmul.exact_product(a, b)
        c, bound = logsum.logmatmulexp(a, b, return_bound=True)
        np.testing.assert_array_equal(np.isfinite(c), np.isfinite(exact))
        finite = np.isfinite(exact)
        assert (np.abs(c[finite] - exact[finite]) <= bound[finite]).all()
        for way in _products.ways():
            value = way.value(a, b)
            if way.name in failures and value is not None:
                failures[way.name] += not np.isfinite(value[finite]).all()
    assert min(failures.values()) >= 3


def test_chains_sum_to_one_and_lose_nothing() -> None:
    drift = _chains.Drift(states=48, steps=100)
    exact = drift.exact()
    assert float(logsum.logsumexp(exact)) == pytest.approx(0, abs=1e-12)
    (ours,) = (way for way in _products.ways() if way.name == "logsum")
    walked = drift.walk(ours)
    # One product of float32 a step: 2e-6 (docs/matmul.md) and half an ulp of up to 900.
    np.testing.assert_allclose(walked[:, 0], exact, atol=100 * (2e-6 + 2**-15))
    assert _matmul.worst_column(walked) <= 100 * 2e-6
    mixed, *tables = _chains.sharp_tables(np.random.default_rng(7), 32, 100)
    for table in tables:
        mixed = logsum.logmatmulexp(table, mixed)
    assert _matmul.worst_column(mixed) <= 100 * 2e-6


# ---- transport -----------------------------------------------------------------------------


def _two_images() -> tuple[np.ndarray, np.ndarray]:
    digits = _naive_bayes.load_digits(np.random.default_rng(8))
    assert digits is not None
    return digits.train[:1], digits.test[:1]


def test_transport_agrees_with_linear_programming() -> None:
    from scipy import optimize, sparse

    a, b = _two_images()
    costs = _sinkhorn.pixel_costs(_naive_bayes.SIDE)
    log_a, log_b = _sinkhorn.log_histograms(a), _sinkhorn.log_histograms(b)
    plans = _sinkhorn.sinkhorn(log_a, log_b, costs, _transport.EPSILON, 40)
    assert plans.marginal_errors(log_a, log_b).item() < 1e-2
    np.testing.assert_allclose(plans.plan(0).sum(axis=0), b[0] / b.sum(), atol=1e-4)
    pixels = len(costs)
    leaves = sparse.kron(sparse.eye(pixels), np.ones(pixels))
    arrives = sparse.kron(np.ones(pixels), sparse.eye(pixels))
    solved = optimize.linprog(
        costs.ravel(),
        A_eq=sparse.vstack([leaves, arrives]),
        b_eq=np.concatenate([a[0] / a.sum(), b[0] / b.sum()]),
    )
    # The entropy and the marginal errors keep it from the optimum.
    assert plans.distances().item() == pytest.approx(solved.fun, rel=0.03)


def test_the_linear_domain_underflows() -> None:
    digits = _naive_bayes.load_digits(np.random.default_rng(8))
    assert digits is not None
    a, b = digits.test[:20], digits.train[:20]
    costs = _sinkhorn.pixel_costs(_naive_bayes.SIDE)
    log_a, log_b = _sinkhorn.log_histograms(a), _sinkhorn.log_histograms(b)
    lost, _ = _sinkhorn.linear_sinkhorn(
        np.exp(log_a), np.exp(log_b), costs, _transport.EPSILON, 20, np.float32
    )
    assert lost.all()
    plans = _sinkhorn.sinkhorn(log_a, log_b, costs, _transport.EPSILON, 5)
    assert np.isfinite(plans.distances()).all()
    assert plans.marginal_errors(log_a, log_b).max() < 0.3


def test_a_shift_is_seen_by_the_centre_of_mass_alone() -> None:
    a, b = _two_images()
    # Blank columns to the left of both, so that nothing is cut off.
    assert (a.reshape(8, 8)[:, 0] == 0).all()
    moved = _transport.shifted_left(a)
    rest = [
        _transport.transport_distances(images, b, 30)[0] - _transport.centroid_ways(images, b)
        for images in (a, moved)
    ]
    np.testing.assert_allclose(rest[0], rest[1], atol=0.05)


def test_interpolation_keeps_the_ink() -> None:
    a, b = _two_images()
    plans = _sinkhorn.sinkhorn(
        _sinkhorn.log_histograms(a), _sinkhorn.log_histograms(b), _sinkhorn.pixel_costs(8), 0.1, 10
    )
    totals = [_transport.interpolate(plans.plan(0), part, 4, 0.3).sum() for part in (0, 0.5, 1)]
    np.testing.assert_allclose(totals, totals[1], rtol=0.15)
