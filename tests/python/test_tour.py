"""The tour: references, timing, every chapter in quick, the page, the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import mpmath
import numpy as np
import pytest

import logsum
from logsum import tour
from logsum.tour import _cli, _contenders, _page
from logsum.tour.chapters import (
    CHAPTERS,
    _calibration,
    _digits,
    _logsumexp,
    _matmul,
    _naive_bayes,
    _products,
)

_theme = pytest.importorskip("logsum.tour._theme", exc_type=ImportError)
pytest.importorskip("rich")
pytest.importorskip("sklearn")

QUICK = tour.Context(quick=True)


@pytest.fixture(autouse=True)
def _default_threads() -> Iterator[None]:
    yield
    logsum.set_num_threads(0)


@pytest.fixture(autouse=True)
def _coarse_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    # The same pictures of fewer dots, which nobody looks at.
    monkeypatch.setattr(_theme, "_DOTS_PER_INCH", 40)


# ---- references ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "weights"),
    [
        ([0.0, -40.0], None),
        ([1000.0, 1000.0], None),
        ([1e38, -1e38, 1e38], None),
        ([-1e308, -1.5e308], None),
        ([3.0, 2.9999], [1.0, -1.0]),
        ([0.5, -1.0, 2.0], [0.1, 0.0, -7.0]),
    ],
)
def test_exact_agrees_with_mpmath(values: list[float], weights: list[float] | None) -> None:
    with mpmath.workdps(80):
        factors = weights or [1.0] * len(values)
        top = mpmath.mpf(max(values))
        total = mpmath.fsum(
            mpmath.mpf(b) * mpmath.exp(mpmath.mpf(a) - top)
            for a, b in zip(values, factors, strict=True)
        )
        expected = top + mpmath.log(abs(total))
        given = mpmath.mpf(str(tour.exact_logsumexp(values, weights)))
        # 50 digits of the terms, less the five that the signed case cancels.
        assert abs(given - expected) <= mpmath.mpf(10) ** -45 * max(abs(expected), 1)


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [
        ([], None, "-Infinity"),
        ([-math.inf, -math.inf], None, "-Infinity"),
        ([math.inf, -math.inf, 1.0], None, "Infinity"),
        ([math.nan, math.inf], None, "NaN"),
        ([math.inf, 0.0], [0.0, 1.0], "0"),
        ([math.nan, 0.0], [0.0, 1.0], "0"),
        ([math.inf, math.inf], [1.0, -1.0], "NaN"),
        ([2.0, 2.0], [1.0, -1.0], "-Infinity"),
    ],
)
def test_exact_special_values(
    values: list[float], weights: list[float] | None, expected: str
) -> None:
    exact, wanted = tour.exact_logsumexp(values, weights), Decimal(expected)
    assert exact.is_nan() if wanted.is_nan() else exact == wanted


def test_precise_agrees_with_exact() -> None:
    values = np.random.default_rng(1).normal(0, 5, 300).astype(np.float32)
    exact = float(tour.exact_logsumexp(values))
    assert abs(tour.precise_logsumexp(values) - exact) <= 4 * np.spacing(exact)


def test_error_in_ulps() -> None:
    unit = float(np.spacing(np.float32(8.0)))
    assert tour.error_in_ulps(8 + unit, Decimal(8), np.float32) == 1
    assert tour.error_in_ulps(8.0, Decimal(8) + Decimal(unit) / 4, np.float32) == 0.25
    assert tour.error_in_ulps(math.inf, Decimal("Infinity"), np.float32) == 0
    assert tour.error_in_ulps(math.nan, Decimal("NaN"), np.float32) == 0
    assert tour.error_in_ulps(math.nan, Decimal(1), np.float32) == math.inf
    assert tour.error_in_ulps(-math.inf, Decimal("Infinity"), np.float32) == math.inf


# ---- timing --------------------------------------------------------------------------------


def test_interleave_takes_turns() -> None:
    calls: list[str] = []
    contenders = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = tour.interleave(contenders, min_rounds=3, max_rounds=3, sample=0)
    assert {name: len(timing.samples) for name, timing in times.items()} == dict.fromkeys("abc", 3)
    # Two calls of each to find its pace, then in each round one that warms and one that counts.
    assert "".join(calls) == "aabbcc" + "aabbcc" + "bbccaa" + "ccaabb"


def test_interleave_stops_when_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(float(tick) for tick in range(1000))
    monkeypatch.setattr("logsum.tour._timing.perf_counter", lambda: next(ticks))
    steady = tour.interleave({"a": lambda: None}, min_rounds=5, budget=math.inf, sample=0)
    assert len(steady["a"].samples) == 5


def test_ratio_is_of_pairs() -> None:
    ours, other = tour.Timing((1.0, 2.0, 4.0)), tour.Timing((3.0, 6.0, 12.0))
    assert tour.ratio(other, ours) == 3
    assert (other.fastest, other.median, other.slowest) == (3, 6, 12)


# ---- chapters ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_is_complete(name: str) -> None:
    chapter = CHAPTERS[name]
    items = list(chapter.run(QUICK))
    pictures = [item for item in items if isinstance(item, tour.Picture)]
    assert chapter.question.endswith("?")
    assert any(isinstance(item, tour.Table) and item.rows for item in items)
    assert pictures
    for picture in pictures:
        assert picture.caption.endswith(".")
        light, dark = (_theme.render(picture.draw, theme) for theme in (_theme.LIGHT, _theme.DARK))
        assert light.startswith(b"\x89PNG")
        assert light != dark
        figure = picture.draw(_theme.LIGHT)
        labels = [axes.get_xlabel() for axes in figure.axes] + [
            axes.get_ylabel() for axes in figure.axes
        ]
        assert any(labels)


def test_hard_inputs_are_right() -> None:
    table = next(item for item in CHAPTERS["logsumexp"].run(QUICK) if isinstance(item, tour.Table))
    ours, naive = (table.columns.index(name) for name in ("logsum", "naive"))
    tones = [[cell.tone for cell in row if isinstance(cell, tour.Cell)] for row in table.rows]
    assert len(tones) == len(table.rows)
    failures = {
        row[0] for row in table.rows if isinstance(row[ours], tour.Cell) and row[ours].tone == "bad"
    }
    assert failures <= {_logsumexp.ILL_CONDITIONED}
    assert (
        sum(isinstance(row[naive], tour.Cell) and row[naive].tone == "bad" for row in table.rows)
        >= 5
    )


def test_naive_bayes_agrees_with_scikit_learn() -> None:
    from sklearn import naive_bayes

    digits = _naive_bayes.load_digits(np.random.default_rng(3))
    assert digits is not None
    pairs = [
        (
            _naive_bayes.GaussianModel,
            naive_bayes.GaussianNB(var_smoothing=_naive_bayes.GaussianModel.SMOOTHING),
        ),
        (
            _naive_bayes.BernoulliModel,
            naive_bayes.BernoulliNB(binarize=_naive_bayes.BernoulliModel.THRESHOLD),
        ),
    ]
    for model, theirs in pairs:
        joint = model.fit(digits.train, digits.train_labels).log_joint(digits.test)
        posterior = np.exp(joint - _digits.logsumexp_classes(joint)[:, None])
        expected = theirs.fit(digits.train, digits.train_labels).predict_proba(digits.test)
        # Both are float64 sums of 64 terms of a joint of size 1e2 to 1e3.
        np.testing.assert_allclose(posterior, expected, rtol=1e-9, atol=1e-12)
        assert _naive_bayes.accuracy(posterior, digits.test_labels) > 0.8


def test_best_temperature_undoes_a_scale() -> None:
    rng = np.random.default_rng(4)
    scores = rng.normal(0, 2, (4000, 5))
    labels = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    assert _calibration.best_temperature(7 * scores, labels) == pytest.approx(7, rel=0.1)


# ---- where libraries are missing -----------------------------------------------------------


def _hide(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> None:
    find = _contenders.find_module

    def without(name: str) -> object | None:
        return None if name.partition(".")[0] in hidden else find(name)

    for module in (_contenders, _naive_bayes, _digits, _calibration, _products, _matmul, _cli):
        monkeypatch.setattr(module, "find_module", without)


def test_without_peers_cells_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "torch", "scipy")
    table = next(item for item in CHAPTERS["logsumexp"].run(QUICK) if isinstance(item, tour.Table))
    for name in ("torch", "SciPy"):
        cell = table.rows[0][table.columns.index(name)]
        assert isinstance(cell, tour.Cell)
        assert cell.detail == "not installed"


def test_without_torch_calibration_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "torch")
    items = list(CHAPTERS["calibration"].run(QUICK))
    assert any(isinstance(item, tour.Note) and "torch" in item.text for item in items)
    assert any(isinstance(item, tour.Picture) for item in items)


def test_without_torch_products_are_values(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "torch")
    items = list(CHAPTERS["matmul"].run(QUICK))
    famous = next(item for item in items if isinstance(item, tour.Table))
    ours = next(row for row in famous.rows if row[0] == "logsum")
    assert isinstance(ours[1], tour.Cell)
    assert ours[1].tone == "good"
    assert isinstance(ours[3], tour.Cell)
    assert ours[3].detail == "torch is not installed"
    assert sum(isinstance(item, tour.Picture) for item in items) == 2


@pytest.mark.parametrize("name", ["digits", "calibration", "transport"])
def test_without_scikit_learn(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "sklearn")
    (note,) = CHAPTERS[name].run(QUICK)
    assert isinstance(note, tour.Note)
    assert "scikit-learn" in note.text


def test_without_rich_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _hide(monkeypatch, "rich")
    assert tour.main([]) == 1
    assert "rich not found" in capsys.readouterr().err


# ---- page and command line -----------------------------------------------------------------


class _Balance(HTMLParser):
    """Follows open tags and gathers what the page would fetch."""

    VOID = frozenset({"meta", "img", "source", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.fetched += [value or "" for key, value in attrs if key in ("src", "srcset", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_needs_nothing_beside_it() -> None:
    table = tour.Table("a < b", ["x", "y"], [["<i>", tour.Cell("1 & 2", "3", "bad")]], "c")
    image = _page.Image("n", 'a "caption".', b"light", b"dark")
    section = _page.Section("id", "Title", "Why?", 1.0, [table, tour.Note("<b>"), image])
    text = _page.page([section], "facts")
    parser = _Balance()
    parser.feed(text)
    assert not parser.open
    assert len(parser.fetched) == 3
    assert all(where.startswith(("data:image/png;base64,", "#id")) for where in parser.fetched)
    assert "<i>" not in text
    assert "<b>" not in text
    assert not re.search(r"https?:|url\(|@import", text)


def test_table_rows_have_the_columns() -> None:
    with pytest.raises(ValueError, match=r"Table 't': every row needs 2 entries, given 1"):
        tour.Table("t", ["a", "b"], [["only"]])


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "tour"
    assert tour.main(["--quick", "--chapters", "digits", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert CHAPTERS["digits"].question.split()[0] in printed
    assert (out / "index.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert {path.stem for path in out.glob("*.png")} == {
        "digits-underflow",
        "digits-oddity",
        "digits-least-probable",
    }


def test_command_line_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert tour.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(CHAPTERS)


def test_command_line_refuses_unknown_chapters(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        tour.main(["--chapters", "nonsense"])
    assert "nonsense" in capsys.readouterr().err
