"""What a chapter is made of: cells, tables, pictures and notes, and the context it runs in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

Tone = Literal["plain", "good", "bad", "quiet"]


@dataclass(frozen=True)
class Cell:
    """One entry of a table.

    Attributes
    ----------
    text : str
        What is read first.
    detail : str
        Smaller lines below it: an error, a range, a reason.
    tone : {"plain", "good", "bad", "quiet"}
        How the entry is coloured. The text must say the same without colour.
    """

    text: str
    detail: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True)
class Table:
    """Rows under headings; columns after the first are set flush right.

    Attributes
    ----------
    title : str
    columns : sequence of str
    rows : sequence of sequences of Cell or str
        Each row has one entry for each column.
    caption : str
        What to see in it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"Table {self.title!r}: every row needs {len(self.columns)} entries, "
                    f"given {len(row)} in {row!r}"
                )


@dataclass(frozen=True)
class Picture:
    """A picture, drawn once for a light and once for a dark page.

    Attributes
    ----------
    name : str
        Its file's stem.
    caption : str
        What to see in it.
    draw : callable
        Takes a Theme and returns a matplotlib Figure.
    """

    name: str
    caption: str
    draw: Callable[[Theme], Figure]


@dataclass(frozen=True)
class Note:
    """A paragraph of plain text."""

    text: str


Item = Table | Picture | Note


def _ignore(_: str) -> None:
    pass


@dataclass(frozen=True)
class Context:
    """What a chapter may ask of its surroundings.

    Attributes
    ----------
    quick : bool
        Small sizes and few repeats: a look at every item rather than good numbers.
    threads : tuple of int
        The thread counts that timings should show.
    step : callable
        Tells the reader, in a few words, what is being computed.
    """

    quick: bool = False
    threads: tuple[int, ...] = (1,)
    step: Callable[[str], None] = field(default=_ignore)

    def rng(self) -> np.random.Generator:
        """Return a generator with the tour's fixed seed."""
        return np.random.default_rng(20)


class Chapter(Protocol):
    """A module of ``logsum.tour.chapters`` has these three names."""

    @property
    def title(self) -> str:
        """A heading."""

    @property
    def question(self) -> str:
        """The question that the chapter answers, in a sentence or two."""

    def run(self, context: Context) -> Iterator[Item]:
        """Yield the chapter's items as they are computed."""
