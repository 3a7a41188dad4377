"""Figures of the C++ core and micro-kernels from their Google Benchmark programs, where built."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import peers
from machine import ROOT
from records import judge, significant

from logsum.tour import interleave, use_threads

_PROGRAMS = ("logsum_core_bench", "logsum_gemm_bench")
# The core's exp on AVX2, float32, data in cache: cycles an element, over all inputs and x <= 0.
_CYCLES = {"Exp/f32/AVX2": 1.5, "ExpNonPositive/f32/AVX2": 1.0}
_OVER_TORCH_EXP = 1.5
# The sums of products of a matrix product of this depth, as a share of the multiply-add peak.
_DEPTH = 1024
_OF_PEAK = 0.85
_TIME = {False: 0.2, True: 0.01}  # seconds for each figure

Figures = Mapping[str, Mapping[str, float | None]]


def find_programs() -> list[Path]:
    """Return the programs of the build made last, those there are."""
    folders = {path.parent for path in ROOT.glob(f"build/*/benchmarks/{_PROGRAMS[0]}")}
    if not folders:
        return []
    last = max(folders, key=lambda folder: (folder / _PROGRAMS[0]).stat().st_mtime)
    return [last / name for name in _PROGRAMS if (last / name).exists()]


def run(programs: Iterable[Path], *, quick: bool = False) -> Figures:
    """Run the programs and return their figures by benchmark."""
    figures: dict[str, Mapping[str, float | None]] = {}
    for program in programs:
        command = [str(program), "--benchmark_format=json", f"--benchmark_min_time={_TIME[quick]}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures |= parse(json.loads(done.stdout))
    return figures


def parse(report: Mapping[str, Any]) -> Figures:
    """Return nanoseconds and cycles an element, and gigabytes a second, by benchmark."""
    figures = {}
    for entry in report["benchmarks"]:
        if entry.get("run_type") == "aggregate" and entry.get("aggregate_name") != "median":
            continue
        figure = {"ns": significant(1e9 / entry["items_per_second"])}
        if "cycles" in entry:
            figure["cycles"] = significant(entry["cycles"])
        if entry.get("bytes_per_second"):
            figure["gb_per_s"] = significant(entry["bytes_per_second"] / 1e9)
        figures[entry.get("run_name", entry["name"])] = figure
    return figures


def of_target(figures: Figures, target: str) -> dict[str, float]:
    """Return nanoseconds an element on one CPU target, by the benchmark's name without it."""
    return {
        name.removesuffix(f"/{target}"): figure["ns"]
        for name, figure in figures.items()
        if name.endswith(f"/{target}") and figure["ns"] is not None
    }


def floors(figures: Figures, torch_exp: float | None) -> list[dict[str, Any]]:
    """Return the judgement of the core's exp and products.

    Against cycles, torch.exp (ns) and the multiply-add peak.
    """
    judged = [
        judge(f"cycles of {name}", figures[name].get("cycles") or np.inf, at_most=bound)
        for name, bound in _CYCLES.items()
        if name in figures
    ]
    for name, figure in figures.items():
        kernel, _, rest = name.partition("/")
        of, deep = rest.removesuffix(f"/{_DEPTH}"), rest.endswith(f"/{_DEPTH}")
        peak, cycles = figures.get(f"FmaPeak/{of}", {}).get("cycles"), figure.get("cycles")
        # SSE4 has no fused multiply-add to be a share of.
        if kernel == "Multiply" and deep and "SSE4" not in of and peak and cycles:
            what = f"share of the multiply-add peak of {name}"
            judged.append(judge(what, peak / cycles, at_least=_OF_PEAK))
    exp = figures.get("Exp/f32/AVX2", {}).get("ns")
    if exp and torch_exp:
        judged.append(
            judge("speed of Exp/f32/AVX2 over torch.exp", torch_exp / exp, at_least=_OVER_TORCH_EXP)
        )
    return judged


def torch_exp() -> float | None:
    """Return the nanoseconds that torch.exp takes for one more float32 in cache, or None.

    The difference of two lengths leaves the cost of a call out, which the core has not.
    """
    torch = peers.torch
    if torch is None:
        return None
    short, long = 2048, 16384
    calls = {}
    for size in (short, long):
        values = torch.linspace(-80, 80, size)
        out = torch.empty_like(values)
        calls[str(size)] = lambda values=values, out=out: torch.exp(values, out=out)
    with use_threads(1):
        times = interleave(calls, budget=1)
    return 1e9 * (times[str(long)].median - times[str(short)].median) / (long - short)
