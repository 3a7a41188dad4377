"""The tour's chapters on formula reductions: the numbers that they show."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

import logsum
from logsum import tour
from logsum.tour import _contenders
from logsum.tour.chapters import _density, _naive_bayes, _reduce, _tutorial

QUICK = tour.Context(quick=True)
RNG_SEED = 11


def _small_problem() -> _tutorial.Problem:
    return _tutorial.Problem.random(np.random.default_rng(RNG_SEED), 70, 90)


# ---- the tutorial --------------------------------------------------------------------------


def test_exact_answers_agree_with_mpmath() -> None:
    problem = _tutorial.Problem.random(np.random.default_rng(RNG_SEED), 3, 4).moved(5)
    exact = problem.exact()
    assert exact.gradient is not None
    x, y, a, p, e = (
        [mpmath.mpf(float(number)) for number in part.ravel()]
        for part in (problem.x, problem.y, problem.a, problem.p, problem.e)
    )
    with mpmath.workdps(40):
        formula = [
            [(p[0] - a[j]) ** 2 * mpmath.exp(x[i] + y[j]) for j in range(4)] for i in range(3)
        ]
        totals = [mpmath.fsum(map(mpmath.exp, row)) for row in formula]
        value = [float(mpmath.log(total)) for total in totals]
        gradient = [
            float(
                mpmath.fsum(
                    e[i] * mpmath.exp(formula[i][j]) / totals[i] * formula[i][j] for i in range(3)
                )
            )
            for j in range(4)
        ]
    # Results of extended precision, where long double is that, read as doubles. A share is
    # e^(F - c), and F is 500 here: where it is double, its rounding is multiplied by that.
    np.testing.assert_allclose(exact.value.astype(float), value, rtol=1e-14)
    np.testing.assert_allclose(exact.gradient.astype(float), gradient, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("way", _tutorial.ways("float32"), ids=lambda way: way.name)
def test_every_way_of_the_tutorial_agrees(way: _tutorial.Way, dtype: str) -> None:
    problem = _small_problem()
    exact, given = problem.exact(), way.answer(problem, dtype)
    # F is 7 at most: a few roundings of F, and one of c.
    tolerance = 1e-6 if dtype == "float32" else 2e-15
    assert _reduce.distance(given.value, exact.value) < tolerance
    if given.gradient is not None:
        assert exact.gradient is not None
        assert _reduce.distance(given.gradient, exact.gradient) < 2 * tolerance


def test_only_the_import_changes() -> None:
    torch: Any = pytest.importorskip("torch")
    problem = _small_problem()
    x, y, a, p = problem.arguments("float32")
    # The tutorial's calls, keywords and all.
    formula = "Square(p-a)*Exp(x+y)"
    variables = ["x = Vi(1)", "y = Vj(1)", "a = Vj(1)", "p = Pm(1)"]
    routine = logsum.Genred(formula, variables, reduction_op="LogSumExp", axis=1)
    c = routine(x, y, a, p, backend="CPU")
    naive = logsum.Genred(
        "Exp(" + formula + ")", variables, reduction_op="Sum", axis=1, dtype="float32"
    )
    c2 = torch.log(naive(x, y, a, p, backend="CPU"))
    assert c.shape == (70, 1)
    assert ((c2 - c).norm() / c.norm()).item() < 1e-6
    (g,) = torch.autograd.grad(c, y, torch.rand_like(c))
    assert g.shape == y.shape


def test_ours_never_overflows_where_the_naive_way_does() -> None:
    table = _reduce.overflow_table(_small_problem())
    naive, ours = table.columns.index("log of Sum, f32"), table.columns.index("LogSumExp, f32")
    tones = [[cell.tone for cell in row if isinstance(cell, tour.Cell)] for row in table.rows]
    assert all(len(row) == len(table.columns) - 2 for row in tones)
    assert all(row[ours - 2] == row[ours - 1] == "good" for row in tones)
    assert [row[naive - 2] for row in tones][-1] == "bad"


# ---- the landscape -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    digits = _naive_bayes.load_digits(np.random.default_rng(RNG_SEED))
    if digits is None:
        pytest.skip("scikit-learn is not installed")
    return _density.project(digits.train[:300])[0]


def test_projection_keeps_what_it_says(points: np.ndarray) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    digits = _naive_bayes.load_digits(np.random.default_rng(RNG_SEED))
    assert digits is not None
    fitted = decomposition.PCA(2).fit(digits.train[:300])
    theirs = fitted.transform(digits.train[:300])
    # Two decompositions of 300 rows in double; a direction may be turned round.
    np.testing.assert_allclose(np.abs(points), np.abs(theirs), atol=1e-10)
    share = _density.project(digits.train[:300])[1]
    assert share == pytest.approx(fitted.explained_variance_ratio_.sum(), rel=1e-12)


def test_leaving_out_is_leaving_out(points: np.ndarray) -> None:
    log_width = np.array([0.3])
    foretold = _density.left_out(points, log_width)
    for n in (0, 7, len(points) - 1):
        others = np.delete(points, n, axis=0)
        alone = _density.log_density(points[n : n + 1], others, log_width)
        np.testing.assert_allclose(foretold[n], alone[0], rtol=1e-13)


def test_densities_agree_with_scikit_learn(points: np.ndarray) -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    places = _density.Grid.around(points, 12).places()
    theirs = neighbors.KernelDensity(bandwidth=2.0, rtol=1e-10).fit(points).score_samples(places)
    ours = _density.log_density(places, points, np.log([2.0]))
    # scikit-learn's tree stops where its own bounds of the density are near enough.
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)


def test_the_density_is_one(points: np.ndarray) -> None:
    grid = _density.Grid.around(points, 120)
    density = np.exp(_density.log_density(grid.places(), points, np.log([2.0])))
    assert density.sum() * grid.cell() == pytest.approx(1, abs=2e-3)
    low, high = _density.levels_of_mass(density, grid.cell(), (0.5, 0.9))
    for level, mass in ((low, 0.9), (high, 0.5)):
        assert density[density >= level].sum() * grid.cell() == pytest.approx(mass, abs=0.01)


def test_newton_finds_the_top(points: np.ndarray) -> None:
    torch: Any = pytest.importorskip("torch")
    steps = _density.newton(torch, points)
    curve = _density.likelihood_curve(points, 41)
    last = steps[-1]
    assert last.slope is not None
    assert last.curvature is not None
    assert abs(last.slope) < 1e-9
    assert last.curvature < 0
    assert last.likelihood >= curve.likelihoods.max()
    apart = np.diff(curve.log_widths)[0]
    assert abs(last.log_width - curve.best().log_width) < apart
    # Derivatives against differences of the likelihood: h² times the fourth and third derivatives.
    first, h = steps[0], 1e-3
    low, middle, high = (
        _density.left_out(points, np.array([first.log_width + k * h])).mean() for k in (-1, 0, 1)
    )
    assert first.slope == pytest.approx((high - low) / (2 * h), rel=1e-4)
    assert first.curvature == pytest.approx((high - 2 * middle + low) / h**2, rel=1e-4)


# ---- where libraries are missing -----------------------------------------------------------


def _hide(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> None:
    find = _contenders.find_module

    def without(name: str) -> object | None:
        return None if name.partition(".")[0] in hidden else find(name)

    for module in (_contenders, _naive_bayes, _tutorial, _reduce, _density):
        monkeypatch.setattr(module, "find_module", without)


def test_without_torch_reductions_are_values(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    _hide(monkeypatch, "torch")
    items = list(_reduce.run(QUICK))
    compared = next(item for item in items if isinstance(item, tour.Table))
    assert all(row[compared.columns.index("gradient off")] == "-" for row in compared.rows)
    assert any(isinstance(item, tour.Note) and "torch" in item.text for item in items)
    assert any(isinstance(item, tour.Picture) for item in items)


def test_without_torch_the_best_bandwidth_is_read_from_a_curve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("sklearn")
    _hide(monkeypatch, "torch")
    note, table, picture = _density.run(QUICK)
    assert isinstance(note, tour.Note)
    assert "torch" in note.text
    assert isinstance(table, tour.Table)
    assert not any("torch" in str(row[0]) for row in table.rows)
    assert isinstance(picture, tour.Picture)


def test_without_images_no_landscape(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "sklearn")
    (note,) = _density.run(QUICK)
    assert isinstance(note, tour.Note)
    assert "scikit-learn" in note.text
