"""The look of pictures, for light and for dark pages."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colour-blind safe (after Okabe and Ito); every line has its own marker as well.
_LIGHT = {
    "logsum": "#0a5ea8",
    "torch": "#d1570b",
    "SciPy": "#1a8a67",
    "checkpoint": "#1a8a67",
    "shifted": "#a4528a",
    "naive": "#85888c",
    "first": "#0a5ea8",
    "second": "#d1570b",
    "third": "#1a8a67",
    "quiet": "#85888c",
}
_DARK = {
    "logsum": "#63b3f2",
    "torch": "#f0944d",
    "SciPy": "#4fc79d",
    "checkpoint": "#4fc79d",
    "shifted": "#d794bf",
    "naive": "#9a9ea3",
    "first": "#63b3f2",
    "second": "#f0944d",
    "third": "#4fc79d",
    "quiet": "#9a9ea3",
}
_MARKERS = {
    "logsum": "o",
    "torch": "s",
    "SciPy": "^",
    "checkpoint": "^",
    "shifted": "D",
    "naive": "v",
}
_DOTS_PER_INCH = 170


@dataclass(frozen=True)
class Theme:
    """Colours and settings that a picture is drawn with.

    Attributes
    ----------
    name : str
    paper, ink, soft, grid : str
        Background, text, secondary text and grid lines.
    colours : dict of str to str
        By contender, or "first", "second", "third" and "quiet".
    greys : str
        Colour map for intensities, paper at zero.
    """

    name: str
    paper: str
    ink: str
    soft: str
    grid: str
    colours: dict[str, str]
    greys: str

    def line(self, name: str, **changes: Any) -> dict[str, Any]:
        """Return plot() arguments of a contender's line, the same in every picture."""
        style: dict[str, Any] = {
            "color": self.colours[name],
            "marker": _MARKERS[name],
            "markersize": 4.5,
            "linewidth": 2.2 if name == "logsum" else 1.4,
            "zorder": 5 if name == "logsum" else 3,
            "label": name,
        }
        return style | changes

    def settings(self) -> Any:
        """Return the rc parameters that the picture is drawn and saved under."""
        return {
            "figure.facecolor": self.paper,
            "savefig.facecolor": self.paper,
            "axes.facecolor": self.paper,
            "axes.edgecolor": self.soft,
            "axes.labelcolor": self.ink,
            "axes.titlecolor": self.ink,
            "text.color": self.ink,
            "xtick.color": self.soft,
            "ytick.color": self.soft,
            "xtick.labelcolor": self.ink,
            "ytick.labelcolor": self.ink,
            "grid.color": self.grid,
            "grid.linewidth": 0.7,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.titlepad": 9,
            "axes.labelsize": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "font.family": "DejaVu Sans",
            "lines.solid_capstyle": "round",
        }


LIGHT = Theme("light", "#ffffff", "#1c1f23", "#6b7075", "#e4e6e9", _LIGHT, "Greys")
DARK = Theme("dark", "#16191d", "#e6e8eb", "#9a9ea3", "#2d3238", _DARK, "gray")


def new_figure(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (7.6, 3.9), **layout: Any
) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure and the flat list of its axes; nothing is registered with pyplot."""
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **layout)
    return figure, list(grid.ravel())


def render(draw: Any, theme: Theme) -> bytes:
    """Return the picture as PNG."""
    buffer = io.BytesIO()
    with mpl.rc_context(theme.settings()):
        figure = draw(theme)
        # No date and no version inside: the same picture gives the same bytes.
        figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
