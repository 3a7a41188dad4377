"""Writes the tables of README and docs from results/*.json: report.py --write or --check.

A block ``<!-- benchmark:NAME -->`` ... ``<!-- /benchmark -->`` holds the table NAME, where NAME is
an operation (its headline cases) or OPERATION/cases, /floors, /accuracy, /machine, or core/figures.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from records import floor_row, floors, number

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
_BLOCK = re.compile(r"(<!-- benchmark:([\w/]+) -->\n).*?(<!-- /benchmark -->)", re.DOTALL)
_OURS = "logsum"
# What stands under an operation's table.
_NOTES = {
    "logsumexp": "NumPy is the naive `log(sum(exp(x)))`. ",
    "matmul": "Shapes are M x K x N. `A @ B` is torch's product of plain numbers, torch the max "
    "trick around it, which is wrong for σ = 300 and for permuted operands. ",
    "scan": "Shapes are T x N x C x nz. torch is the same scan in its functions, a step at a time, "
    "with a backward scan of its own for the gradient. ",
    "ctc": "Shapes are T x N x C. torch is `torch.nn.functional.ctc_loss`, after `log_softmax` "
    "where ours is given logits. ",
    "reduce": "Shapes are M x N. torch stores all M N values; pykeops' time is that of its "
    "compiled code, without the compiler's. ",
    "attention": "float32 unless said otherwise, a batch of one. torch is its "
    "`scaled_dot_product_attention`, with a dense mask for the window, and in plain operations "
    "(its math path) for double backward and forward mode; `one read` reads keys and values once. ",
}

Results = Mapping[str, Any]


def pages() -> list[Path]:
    """Return the files that may hold blocks."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def filled(text: str, load: Callable[[str], Results]) -> str:
    """Return a page's text with every block's table made anew."""

    def block(match: re.Match[str]) -> str:
        operation, _, part = match[2].partition("/")
        if part not in _PARTS:
            raise SystemExit(f"report: no table {match[2]!r}; parts: {', '.join(_PARTS)}")
        return f"{match[1]}\n{_PARTS[part](load(operation))}\n{match[3]}"

    return _BLOCK.sub(block, text)


def load(operation: str) -> Results:
    """Return an operation's results."""
    path = RESULTS / f"{operation}.json"
    if not path.exists():
        raise SystemExit(f"report: {path.relative_to(ROOT)} is missing; run benchmarks/run.py")
    results: Results = json.loads(path.read_text(encoding="utf-8"))
    return results


# ---- tables --------------------------------------------------------------------------------


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    rule = ["---", *["---:"] * (len(heads) - 1)]
    lines = [heads, rule, *map(list, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cases(results: Results, *, headline: bool = False) -> str:
    records = [r for r in results["cases"] if r["headline"] or not headline]
    yardsticks = list(dict.fromkeys(name for r in records for name in r["yardsticks"]))
    others = [n for n in results["peers"] if any(n in r["contenders"] for r in records)]
    names = [*yardsticks, *others]
    heads = ["work", "threads", f"{_OURS} (µs)", *(f"{name} (µs)" for name in names)]
    rows = []
    for record in records:
        ours = record["contenders"][_OURS]["median_us"]
        timed = {**record["yardsticks"], **record["contenders"]}
        cells = [_beside(ours, timed.get(name), results["peers"].get(name)) for name in names]
        rows.append([record["title"], str(record["threads"]), _duration(ours), *cells])
    return _table(heads, rows)


def _beside(ours: float, timed: Results | None, version: str | None) -> str:
    """Return a cell of a peer or a yardstick, which has no version."""
    if timed is None:
        return "not installed" if version == "not installed" else "-"
    ratio = timed.get("ratio", timed["median_us"] / ours)  # older results have none for yardsticks
    return f"{_duration(timed['median_us'])} ({ratio:.3g}x)"


def _headline(results: Results) -> str:
    note = (
        "\nMedians of runs in turns in one process; in brackets how many times as long as ours. "
        f"{_NOTES.get(results['operation'], '')}{_machine(results)}"
    )
    return _cases(results, headline=True) + note


def _duration(micros: float) -> str:
    return f"{micros:,.0f}" if micros >= 100 else f"{micros:.3g}"


def _floors(results: Results) -> str:
    rows = [
        [*floor_row(*entry), "yes" if entry[2]["met"] else "**no**"] for entry in floors(results)
    ]
    return _table(["floor", "threads", "bound", "measured", "met"], rows)


def _accuracy(results: Results) -> str:
    inputs = (results["accuracy"] or {"inputs": {}})["inputs"]
    names = list(next(iter(inputs.values()), {}))
    rows = [[kind, *(number(errors[name], 2) for name in names)] for kind, errors in inputs.items()]
    return _table(["inputs (float32)", *names], rows)


def _figures(results: Results) -> str:
    rows = [
        [name, *(number(figure[key]) if key in figure else "" for key in ("ns", "cycles"))]
        for name, figure in results["figures"].items()
    ]
    return _table(["one thread, data in cache", "ns an element", "cycles"], rows)


def _machine(results: Results) -> str:
    machine, commit = results["machine"], results["commit"]
    reads = ", ".join(
        f"{value:g} GB/s with {count} thread{'s' * (count != '1')}"
        for count, value in machine["read_gb_per_s"].items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in results["peers"].items())
    state = " with changes" if commit["dirty"] else ""
    return (
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}; reads {reads}. "
        f"Versions: logsum {machine['logsum']} (commit {commit['id']}{state}), {versions}, "
        f"Python {machine['python']}.\n"
    )


_PARTS: dict[str, Callable[[Results], str]] = {
    "": _headline,
    "cases": _cases,
    "floors": _floors,
    "accuracy": _accuracy,
    "figures": _figures,
    "machine": _machine,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="bring the pages up to date")
    action.add_argument("--check", action="store_true", help="fail where a page is not")
    options = parser.parse_args()
    stale = 0
    for page in pages():
        text = page.read_text(encoding="utf-8")
        wanted = filled(text, load)
        if wanted == text:
            continue
        stale += 1
        if options.write:
            page.write_text(wanted, encoding="utf-8")
            print(f"report: wrote {page.relative_to(ROOT)}")
        else:
            lines = difflib.unified_diff(text.splitlines(), wanted.splitlines(), "page", "results")
            print(f"report: {page.relative_to(ROOT)} is not what the results say", *lines, sep="\n")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
