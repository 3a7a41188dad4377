"""The tour in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from logsum.tour._model import Cell, Note, Table
from logsum.tour._page import Image

_TONES = {"plain": "", "good": "green", "bad": "red", "quiet": "dim"}
_WIDTH = 100  # of tables where the output is no terminal


def make_console() -> Console:
    """Return a console; into a file or a pipe it writes plain text, 100 columns wide."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


def show(console: Console, item: Table | Note | Image) -> None:
    """Print an item; of a picture, what there is to see in it."""
    if isinstance(item, Table):
        _show_table(console, item)
    elif isinstance(item, Note):
        console.print(Padding(Text(item.text), (1, 0, 0, 0)))
    else:
        line = Text(f"[{item.name}.png] ", style="bold").append(item.caption, style="not bold")
        console.print(Padding(line, (1, 0, 0, 0)))


def _show_table(console: Console, table: Table) -> None:
    # Seven columns fit into 80 characters without padding.
    padding = (0, 1) if console.width >= _WIDTH else (0, 0)
    grid = RichTable(box=box.SIMPLE_HEAD, padding=padding, pad_edge=False)
    for number, column in enumerate(table.columns):
        grid.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in table.rows:
        grid.add_row(*(_text(cell) for cell in row))
    console.print()
    console.print(Text(table.title, style="bold"))
    console.print(grid)
    if table.caption:
        console.print(Text(table.caption, style="dim"))


def _text(cell: Cell | str) -> Text:
    if isinstance(cell, str):
        return Text(cell)
    text = Text(cell.text, style=_TONES[cell.tone])
    return text.append("\n" + cell.detail, style="dim") if cell.detail else text
