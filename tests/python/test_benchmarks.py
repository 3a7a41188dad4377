"""The benchmark machinery at small sizes: checks, judgements, records and reports; no timings."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import logsum

pytest.importorskip("rich")

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
MODULES = [
    "accuracy",
    "attention",
    "core_figures",
    "ctc",
    "harness",
    "logsumexp",
    "machine",
    "matmul",
    "memory",
    "peers",
    "records",
    "reduce",
    "report",
    "run",
    "scan",
]


class Benchmarks:
    """The scripts of benchmarks/, which import each other by bare names."""

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self.modules = modules

    def __getattr__(self, name: str) -> Any:
        return self.modules[name]


@pytest.fixture(scope="module")
def bench() -> Iterator[Benchmarks]:
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        yield Benchmarks({name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(FOLDER))
        for name in (
            *MODULES,
            "attention_work",
            "ctc_work",
            "logsumexp_work",
            "matmul_work",
            "reduce_work",
            "scan_work",
        ):
            if name not in before:
                sys.modules.pop(name, None)
        logsum.set_num_threads(0)


def _case(bench: Benchmarks, ours: Any, **options: Any) -> Any:
    truth = np.array([1.0, 2.0])
    work = bench.harness.Work(
        {"logsum": lambda: ours, "torch": lambda: truth}, truth, 1e-6, 2, {"one read": truth.sum}
    )
    return bench.harness.Case("name", "title", lambda rng, threads: work, **options)


# ---- checks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "reference", "error"),
    [
        ([1.0, 2.5], [1.0, 2.0], 0.5),
        ([np.inf, -np.inf, np.nan], [np.inf, -np.inf, np.nan], 0),
        ([np.inf], [1.0], np.inf),
        ([np.nan], [1.0], np.inf),
        ([1.0], [np.nan], np.inf),
        ([-np.inf], [np.inf], np.inf),
        ([[1.0]], [1.0], np.inf),
    ],
)
def test_worst_error(bench: Benchmarks, result: Any, reference: Any, error: float) -> None:
    assert bench.harness.worst_error(np.array(result), np.array(reference)) == error


def test_excess_leaves_half_an_ulp_out(bench: Benchmarks) -> None:
    reference = np.array([8.0])
    unit = float(np.spacing(np.float32(8)))
    for off, beyond in ((0, 0), (0.5, 0), (1.5, 1)):
        value = reference + off * unit
        assert bench.accuracy.excess(value, reference, np.float32) == beyond * unit
    assert bench.accuracy.excess(np.array([np.nan]), reference, np.float32) == np.inf
    assert bench.accuracy.excess(reference, np.array([np.inf]), np.float32) == np.inf


@pytest.mark.parametrize("ours", [[1.0, 2.1], [1.0, np.nan], [1.0]])
def test_wrong_results_are_not_timed(bench: Benchmarks, ours: list[float]) -> None:
    case = _case(bench, np.array(ours))
    with pytest.raises(bench.harness.WrongResultError, match="name, 1 threads"):
        bench.harness.measure(case, 1, {}, budget=0)


def test_record_of_a_case(bench: Benchmarks) -> None:
    limit = bench.harness.Limit(1.25, "one read", ("exp",))
    case = _case(bench, np.array([1.0, 2.0]), floors={"torch": 0.0, "SciPy": 3.0}, limit=limit)
    record = bench.harness.measure(case, 1, {"exp": 1.0}, budget=0)
    assert list(record["contenders"]) == ["logsum", "torch"]
    assert record["contenders"]["logsum"]["ratio"] == 1
    assert record["contenders"]["torch"]["worst_error"] == 0
    assert list(record["yardsticks"]) == ["one read"]
    # SciPy's floor is not judged where SciPy is not there.
    assert [floor["what"] for floor in record["floors"]] == [
        "speed over torch",
        "time over one read + core exp",
    ]
    without = bench.harness.measure(case, 1, {}, budget=0)
    assert len(without["floors"]) == 1


def test_record_of_a_case_beside_a_yardstick(bench: Benchmarks) -> None:
    case = _case(bench, np.array([1.0, 2.0]), limit=bench.harness.Limit(1e9, "one read"))
    judged = bench.records.judge("what the result satisfies", 0, at_most=1)
    work = replace(case.build(None, 1), judged=[judged])
    record = bench.harness.measure(replace(case, build=lambda *_: work), 1, {}, budget=0)
    assert [floor["what"] for floor in record["floors"]] == ["time over one read", judged["what"]]
    assert record["floors"][0]["met"]
    assert record["yardsticks"]["one read"]["ratio"] > 0


def test_floors_and_limits_of_one_number_of_threads(bench: Benchmarks) -> None:
    floors, limit = {"torch": {2: 1e-9}}, bench.harness.Limit(1e9, "one read", threads=2)
    case = _case(bench, np.array([1.0, 2.0]), floors=floors, limit=limit)
    assert bench.harness.measure(case, 1, {}, budget=0)["floors"] == []
    record = bench.harness.measure(case, 2, {}, budget=0)
    assert [floor["what"] for floor in record["floors"]] == [
        "speed over torch",
        "time over one read",
    ]


def test_judge(bench: Benchmarks) -> None:
    judge = bench.records.judge
    assert judge("a", 1.5, at_least=1.5)["met"]
    assert not judge("a", 1.499, at_least=1.5)["met"]
    assert judge("a", 1.25, at_most=1.25)["met"]
    assert not judge("a", 1.2501, at_most=1.25)["met"]
    assert not judge("a", np.nan, at_least=1.5)["met"]


# ---- cases ---------------------------------------------------------------------------------


# What the max trick gets wrong.
BEYOND_PEERS = ("matmul-sigma-300", "matmul-permuted")
every_operation = pytest.mark.parametrize(
    "operation", ["logsumexp", "matmul", "scan", "ctc", "reduce", "attention"]
)


@every_operation
def test_cases_are_right(bench: Benchmarks, operation: str) -> None:
    module = bench.modules[operation]
    cases = module.cases(quick=True)
    names = [case.name for case in cases]
    assert len(set(names)) == len(names)
    assert names == [case.name for case in module.cases()]
    for case in cases:
        work = case.build(np.random.default_rng(1), 1)
        assert all(floor["met"] for floor in work.judged)
        assert all(call() is not None for call in work.yardsticks.values())
        for name, call in work.calls.items():
            error = bench.harness.worst_error(call(), work.reference)
            # Peers are only required to compute the same thing.
            allowed = work.allowed if name == "logsum" else 100 * work.allowed
            if name == "logsum" or case.name not in BEYOND_PEERS:
                assert error <= allowed, (case.name, name)


@every_operation
def test_worst_errors(bench: Benchmarks, operation: str) -> None:
    result = bench.modules[operation].worst_errors(quick=True)
    assert result["floor"]["met"], result
    assert all("logsum" in row for row in result["inputs"].values())


@every_operation
def test_further_floors(bench: Benchmarks, operation: str) -> None:
    assert all(floor["met"] for floor in bench.modules[operation].floors(quick=True))


def test_peak_growth(bench: Benchmarks) -> None:
    grown = bench.memory.peak_growth(lambda: np.ones(1 << 22).sum())
    assert grown is None or 0.9 <= grown / (8 << 22) <= 1.2


def test_worst_errors_finds_a_wrong_result(bench: Benchmarks) -> None:
    result = bench.accuracy.worst_errors(
        [("kind", np.ones((2, 3), np.float32))],
        {"logsum": lambda a: a.sum(axis=1) + 1e-3},
        lambda a: a.sum(axis=1, dtype=np.float64),
        at_most=1e-6,
    )
    assert not result["floor"]["met"]


# ---- core figures and machine --------------------------------------------------------------


CORE_REPORT = {
    "benchmarks": [
        {
            "name": "Exp/f32/AVX2",
            "run_name": "Exp/f32/AVX2",
            "run_type": "iteration",
            "real_time": 3.0,
            "items_per_second": 4e9,
            "bytes_per_second": 1.6e10,
            "cycles": 0.75,
            "GHz": 3.0,
        },
        {
            "name": "Exp/f32/AVX2_stddev",
            "run_name": "Exp/f32/AVX2",
            "run_type": "aggregate",
            "aggregate_name": "stddev",
            "items_per_second": 1.0,
        },
        {"name": "ExpNonPositive/f32/AVX2", "items_per_second": 5e9, "cycles": 1.1},
        {"name": "Exp/f32/SSE4", "items_per_second": 1e9, "cycles": 3.0},
        {"name": "FmaPeak/f64/AVX3", "items_per_second": 3e10, "cycles": 0.12},
        {"name": "Multiply/f64/AVX3/256", "items_per_second": 3e10, "cycles": 0.15},
        {"name": "Multiply/f64/AVX3/1024", "items_per_second": 2e10, "cycles": 0.16},
    ]
}


def test_core_figures(bench: Benchmarks) -> None:
    figures = bench.core_figures.parse(CORE_REPORT)
    assert figures["Exp/f32/AVX2"] == {"ns": 0.25, "cycles": 0.75, "gb_per_s": 16.0}
    times = bench.core_figures.of_target(figures, "AVX2")
    assert times == {"Exp/f32": 0.25, "ExpNonPositive/f32": 0.2}


def test_core_floors(bench: Benchmarks) -> None:
    figures = bench.core_figures.parse(CORE_REPORT)
    judged = bench.core_figures.floors(figures, torch_exp=0.5)
    assert [(floor["measured"], floor["met"]) for floor in judged] == [
        (0.75, True),
        (1.1, False),
        (0.75, False),
        (2.0, True),
    ]
    assert len(bench.core_figures.floors(figures, torch_exp=None)) == 3
    assert bench.core_figures.floors({}, torch_exp=0.5) == []


def test_commit_is_of_this_tree(bench: Benchmarks) -> None:
    commit = bench.machine.commit()
    assert set(commit) == {"id", "dirty"}
    assert commit["id"] is not None or commit["dirty"]


# ---- run and report ------------------------------------------------------------------------


@pytest.fixture
def results(bench: Benchmarks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The results of a quick run of two cases."""
    monkeypatch.setattr(bench.machine, "_BEYOND_CACHES", 1 << 16)
    arguments = ["--quick", "--no-core", "--threads", "1", "--budget", "0", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments, "--only", "columns", "small-numpy"])
    assert bench.run.main() == 0
    loaded: dict[str, Any] = json.loads((tmp_path / "logsumexp.json").read_text(encoding="utf-8"))
    return loaded


def test_run_writes_results(results: dict[str, Any]) -> None:
    assert [r["name"] for r in results["cases"]] == ["logsumexp-columns", "logsumexp-small-numpy"]
    assert results["machine"]["cpu"]
    assert set(results["peers"]) == {"torch", "SciPy", "NumPy", "semiring-einsum", "pykeops"}
    assert str(FOLDER.parent) not in json.dumps(results)


def test_report_fills_blocks(bench: Benchmarks, results: dict[str, Any]) -> None:
    results["accuracy"] = {
        "inputs": {"kind": {"logsum": 1e-8}},
        "floor": bench.records.judge("worst", 1e-8, at_most=1e-6),
    }
    results["figures"] = bench.core_figures.parse(CORE_REPORT)
    for part in ("", "/cases", "/floors", "/accuracy", "/figures", "/machine"):
        page = f"before\n<!-- benchmark:logsumexp{part} -->\nold\n<!-- /benchmark -->\nafter\n"
        once = bench.report.filled(page, lambda _: results)
        assert "old" not in once
        assert once.startswith("before\n")
        assert once.endswith("<!-- /benchmark -->\nafter\n")
        assert bench.report.filled(once, lambda _: results) == once
    assert "logsumexp of 10 numbers" in once or "Machine:" in once


def test_report_refuses_unknown_tables(bench: Benchmarks) -> None:
    page = "<!-- benchmark:logsumexp/nonsense -->\n<!-- /benchmark -->"
    with pytest.raises(SystemExit, match="nonsense"):
        bench.report.filled(page, lambda _: {})


def test_report_check_finds_stale_pages(
    bench: Benchmarks,
    results: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = tmp_path / "README.md"
    page.write_text("<!-- benchmark:logsumexp -->\n<!-- /benchmark -->\n", encoding="utf-8")
    monkeypatch.setattr(bench.report, "ROOT", tmp_path)
    monkeypatch.setattr(bench.report, "RESULTS", tmp_path)

    def report(action: str) -> int:
        monkeypatch.setattr(sys, "argv", ["report.py", action])
        status: int = bench.report.main()
        return status

    assert report("--check") == 1
    assert "README.md is not what the results say" in capsys.readouterr().out
    assert report("--write") == 0
    assert report("--check") == 0
    (tmp_path / "logsumexp.json").unlink()
    with pytest.raises(SystemExit, match=r"logsumexp\.json is missing"):
        report("--check")
