"""The tour: ``python -m logsum tour`` shows what the library computes, and how well.

A chapter is a module with a title, the question it answers, and ``run(context)``, which yields
tables, pictures and notes. The tour prints them and writes one self-contained HTML page.
"""

from logsum.tour._cli import main
from logsum.tour._contenders import find_module, use_threads
from logsum.tour._model import Cell, Chapter, Context, Note, Picture, Table
from logsum.tour._reference import error_in_ulps, exact_logsumexp, precise_logsumexp
from logsum.tour._timing import Timing, interleave, ratio

__all__ = [
    "Cell",
    "Chapter",
    "Context",
    "Note",
    "Picture",
    "Table",
    "Timing",
    "error_in_ulps",
    "exact_logsumexp",
    "find_module",
    "interleave",
    "main",
    "precise_logsumexp",
    "ratio",
    "use_threads",
]
