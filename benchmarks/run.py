"""Times every operation and its peers in one process: python benchmarks/run.py --help."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import core_figures
import machine
import peers
from harness import measure
from records import floor_row, floors, number
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

OPERATIONS = ("logsumexp", "matmul", "scan", "ctc", "reduce", "attention")
_BUSY = 0.3  # running programs a core, from which on times mean little
RESULTS = Path(__file__).resolve().parent / "results"


def main() -> int:
    options = _arguments()
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=110)
    facts = machine.facts(options.threads)
    if facts["load_average"] > _BUSY * facts["cores"]:
        console.print(
            f"The machine is busy (load {facts['load_average']}): threads wait for each other's "
            "turns, and times are not to be trusted.",
            style="bold red",
        )
    header = {"commit": machine.commit(), "machine": facts, "peers": peers.versions()}
    core = _core(options, console)
    parts = {"core": core} if core["figures"] else {}
    exp = core_figures.of_target(core["figures"], facts["cpu_target"])
    for operation in OPERATIONS:
        parts[operation] = _run(operation, options, exp, console)
    if not any(part["cases"] for part in parts.values()):
        console.print(f"no case is named like {' or '.join(options.only)}", style="bold red")
        return 1
    missed = 0
    for name, part in parts.items():
        results = {"operation": name, **header, **part}
        _show(results, console)
        missed += sum(not floor["met"] for _, _, floor in floors(results))
        _write(options.out / f"{name}.json", results, console)
    console.print("all floors met" if not missed else f"{missed} floors missed", style="bold")
    return 1 if missed and options.strict else 0


def _write(path: Path, results: Mapping[str, Any], console: Console) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    console.print(f"written: {path}", soft_wrap=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="cases named so")
    parser.add_argument("--quick", action="store_true", help="small arrays, few rounds")
    parser.add_argument(
        "--threads", nargs="+", type=int, metavar="N", help="thread counts (default: 1 2)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the JSON files")
    parser.add_argument("--budget", type=float, default=2.0, help="seconds a case (%(default)s)")
    parser.add_argument(
        "--core", type=Path, nargs="+", metavar="PROGRAM", help="the C++ benchmarks' programs"
    )
    parser.add_argument("--no-core", action="store_true", help="leave the C++ benchmarks out")
    parser.add_argument("--strict", action="store_true", help="fail where a floor is missed")
    options = parser.parse_args()
    if options.threads is None:
        options.threads = [1, 2] if machine.cores() >= 2 else [1]
    if options.out is None:
        # A quick or partial run never replaces the results that README's tables come from.
        partial = options.quick or options.only
        options.out = machine.ROOT / "build" / "benchmarks" if partial else RESULTS
    if options.quick:
        options.budget = min(options.budget, 0.05)
    return options


def _core(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    programs = [] if options.no_core else options.core or core_figures.find_programs()
    if not programs:
        console.print("without core benchmarks: limits that need the core's exp are left out")
        return {"cases": [], "figures": {}, "floors": []}
    console.print("core benchmarks ...", style="dim")
    figures = core_figures.run(programs, quick=options.quick)
    judged = core_figures.floors(figures, core_figures.torch_exp())
    return {"cases": [], "figures": figures, "floors": judged}


def _run(
    operation: str,
    options: argparse.Namespace,
    core: Mapping[str, float],
    console: Console,
) -> dict[str, Any]:
    module = importlib.import_module(operation)
    chosen = [
        case
        for case in module.cases(quick=options.quick)
        if not options.only or any(text in case.name for text in options.only)
    ]
    records = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(operation, total=len(chosen) * len(options.threads))
        for case in chosen:
            for threads in options.threads:
                progress.update(task, description=f"{case.title}, {threads} threads")
                records.append(measure(case, threads, core, budget=options.budget))
                progress.advance(task)
    return {
        "cases": records,
        "accuracy": module.worst_errors(quick=options.quick) if not options.only else None,
        "floors": module.floors(quick=options.quick) if not options.only else [],
    }


def _show(results: Mapping[str, Any], console: Console) -> None:
    if results["cases"]:
        console.print(_case_table(results))
    if "figures" in results:
        console.print(_figure_table(results))
    judged = Table("floor", "threads", "bound", "measured", "", box=box.SIMPLE_HEAD, title="Floors")
    for entry in floors(results):
        verdict = "[green]met[/]" if entry[2]["met"] else "[bold red]missed[/]"
        judged.add_row(*floor_row(*entry), verdict)
    console.print(judged)


def _case_table(results: Mapping[str, Any]) -> Table:
    yardsticks = dict.fromkeys(name for r in results["cases"] for name in r["yardsticks"])
    names = (peers.OURS, *yardsticks, *peers.PACKAGES)
    table = Table(box=box.SIMPLE_HEAD, title="Median µs; in brackets times ours, medians of pairs")
    for column in ("work", "threads", *names):
        table.add_column(column, justify="left" if column == "work" else "right")
    for record in results["cases"]:
        found, versions = {**record["yardsticks"], **record["contenders"]}, results["peers"]
        cells = [_cell(name, found.get(name), versions.get(name)) for name in names]
        table.add_row(record["title"], str(record["threads"]), *cells)
    return table


def _figure_table(results: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="The core, one thread, in cache")
    for column in ("primitive", "ns an element", "cycles an element"):
        table.add_column(column, justify="left" if column == "primitive" else "right")
    for name, figure in results["figures"].items():
        table.add_row(name, *(number(figure.get(key)) for key in ("ns", "cycles")))
    return table


def _cell(name: str, contender: Mapping[str, float] | None, version: str | None) -> str:
    """Return a cell of a contender or a yardstick; a peer has a version."""
    if contender is None:
        return peers.MISSING if version == peers.MISSING else "-"
    text = f"{contender['median_us']:,.4g}"
    return text if name == peers.OURS else f"{text} ({contender['ratio']:.3g}x)"


if __name__ == "__main__":
    raise SystemExit(main())
