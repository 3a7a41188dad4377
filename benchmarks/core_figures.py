"""Figures of the C++ core from its Google Benchmark program, where that has been built."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from machine import ROOT
from records import significant

_PROGRAM = "build/*/benchmarks/logsum_core_bench"
# Google Benchmark's own fields; every other number in a run is a counter of ours.
_FIELDS = frozenset(
    {"family_index", "per_family_instance_index", "repetitions", "repetition_index", "threads"}
    | {"iterations", "real_time", "cpu_time", "items_per_second", "bytes_per_second"}
)


def find_program() -> Path | None:
    """Return the program built last, or None."""
    built = sorted(ROOT.glob(_PROGRAM), key=lambda path: path.stat().st_mtime)
    return built[-1] if built else None


def run(program: Path) -> dict[str, dict[str, float | None]]:
    """Run the program and return its figures by benchmark."""
    done = subprocess.run(
        [str(program), "--benchmark_format=json"], capture_output=True, text=True, check=True
    )
    return parse(json.loads(done.stdout))


def parse(report: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Return nanoseconds an element and the benchmark's own counters, by benchmark."""
    figures: dict[str, dict[str, float | None]] = {}
    for entry in report["benchmarks"]:
        if entry.get("run_type") == "aggregate" and entry.get("aggregate_name") != "median":
            continue
        figure = {
            key: significant(value)
            for key, value in entry.items()
            if isinstance(value, (int, float)) and key not in _FIELDS
        }
        if entry.get("items_per_second"):
            figure["ns_per_element"] = significant(1e9 / entry["items_per_second"])
        figures[entry.get("run_name", entry["name"])] = figure
    return figures
