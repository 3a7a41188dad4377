"""``python -m logsum tour``."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import logsum
from logsum.tour._contenders import find_module
from logsum.tour._model import Chapter, Context, Picture

if TYPE_CHECKING:
    from logsum.tour._page import Image

_NEEDED = ("matplotlib", "rich")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tour and return an exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after ``tour``; the process's own by default.

    Returns
    -------
    int
        0, or 1 where matplotlib or rich are not installed.
    """
    from logsum.tour.chapters import CHAPTERS

    options = _parser(list(CHAPTERS)).parse_args(argv)
    if options.list:
        for name, chapter in CHAPTERS.items():
            print(f"{name:12} {chapter.title}")
        return 0
    missing = [name for name in _NEEDED if find_module(name) is None]
    if missing:
        print(
            f"logsum tour: {' and '.join(missing)} not found; pip install 'logsum[tour]'",
            file=sys.stderr,
        )
        return 1
    names = options.chapters or list(CHAPTERS)
    run_tour({name: CHAPTERS[name] for name in names}, options.out, quick=options.quick)
    return 0


def _parser(names: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m logsum tour", description=__doc__)
    in_checkout = Path("CMakeLists.txt").exists() and Path("python/logsum").is_dir()
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/tour" if in_checkout else "logsum-tour"),
        metavar="DIR",
        help="where the report and its pictures go (default: %(default)s)",
    )
    parser.add_argument(
        "--chapters",
        nargs="+",
        choices=names,
        metavar="NAME",
        help=f"only these, in this order: {', '.join(names)}",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats")
    parser.add_argument("--list", action="store_true", help="list the chapters and stop")
    return parser


def run_tour(chapters: dict[str, Chapter], out: Path, *, quick: bool) -> Path:
    """Run chapters, print them, and return the page that holds them.

    Parameters
    ----------
    chapters : dict of str to Chapter
    out : Path
        A folder, made where it does not exist.
    quick : bool
    """
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from logsum.tour._page import Section, page
    from logsum.tour._terminal import make_console, show

    out.mkdir(parents=True, exist_ok=True)
    console = make_console()
    sections = []
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        task = progress.add_task("", total=len(chapters))
        for number, (name, chapter) in enumerate(chapters.items(), start=1):

            def step(text: str, title: str = chapter.title) -> None:
                progress.update(task, description=f"{title}: {text}")

            console.rule(f"{number}. {chapter.title}", align="left", style="dim")
            console.print(chapter.question, style="italic")
            step("starting")
            start = perf_counter()
            items = []
            for item in chapter.run(Context(quick=quick, threads=thread_counts(), step=step)):
                finished = _draw(item, out) if isinstance(item, Picture) else item
                show(console, finished)
                items.append(finished)
            seconds = perf_counter() - start
            console.print(f"\n{seconds:.1f} s\n", style="dim", justify="right")
            sections.append(Section(name, chapter.title, chapter.question, seconds, items))
            progress.advance(task)
    report = out / "index.html"
    report.write_text(page(sections, facts(sum(s.seconds for s in sections))), encoding="utf-8")
    console.print(f"The report, with all pictures: {report}", soft_wrap=True)
    return report


def _draw(picture: Picture, out: Path) -> Image:
    from logsum.tour._page import Image
    from logsum.tour._theme import DARK, LIGHT, render

    light, dark = (render(picture.draw, theme) for theme in (LIGHT, DARK))
    (out / f"{picture.name}.png").write_bytes(light)
    return Image(picture.name, picture.caption, light, dark)


def thread_counts() -> tuple[int, ...]:
    """Return the thread counts that timings show: one, and two where there are two cores."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (1, 2) if (usable or 1) >= 2 else (1,)


def facts(seconds: float) -> str:
    """Return a line on what ran: versions and kind of machine, nothing that names it."""
    versions = [f"logsum {logsum.__version__}", f"Python {platform.python_version()}"]
    for name in ("numpy", "torch", "scipy", "scikit-learn"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} not installed")
    threads = max(thread_counts())
    machine = f"{platform.machine()}, {threads} threads at most"
    return f"{', '.join(versions)}; {machine}; {seconds:.0f} s."
