"""How results are written down: rounded numbers, floors and whether they were met."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any


def significant(value: float, digits: int = 4) -> float | None:
    """Return the value to so many significant digits; None if not finite, which JSON cannot say."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def judge(
    what: str, measured: float, *, at_least: float | None = None, at_most: float | None = None
) -> dict[str, Any]:
    """Return a floor's record: what it bounds, the bound, the measured value, and whether met."""
    met = measured >= at_least if at_least is not None else measured <= (at_most or 0)
    bound = {"at_least": at_least} if at_least is not None else {"at_most": at_most}
    return {"what": what, **bound, "measured": significant(measured, 3), "met": bool(met)}


def floors(results: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the title, the thread count and the record of every floor of a result file."""
    for record in results["cases"]:
        for floor in record["floors"]:
            yield record["title"], str(record["threads"]), floor
    for floor in results.get("floors", ()):
        yield results["operation"], "1", floor
    if results.get("accuracy"):
        yield f"{results['operation']}, all inputs tried", "1", results["accuracy"]["floor"]


def floor_row(title: str, threads: str, floor: Mapping[str, Any]) -> list[str]:
    """Return a floor as words: what, threads, bound, measured."""
    bound = f"≥ {floor['at_least']:g}" if "at_least" in floor else f"≤ {floor['at_most']:g}"
    return [f"{title}: {floor['what']}", threads, bound, number(floor["measured"])]


def number(value: float | None, digits: int = 3) -> str:
    """Return a recorded number as words."""
    return "not finite" if value is None else f"{value:.{digits}g}"
