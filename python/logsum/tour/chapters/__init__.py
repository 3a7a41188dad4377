"""The chapters of the tour, in the order in which they are told.

A chapter is a module with ``title``, ``question`` and ``run(context)``; adding one is a line here.
Modules import optional libraries inside ``run`` and say politely when they are missing.
"""

from __future__ import annotations

from logsum.tour._model import Chapter
from logsum.tour.chapters import (
    _attention,
    _calibration,
    _ctc,
    _density,
    _digits,
    _logsumexp,
    _matmul,
    _recall,
    _reduce,
    _scan,
    _speed,
    _transformer,
    _transport,
)

CHAPTERS: dict[str, Chapter] = {
    "logsumexp": _logsumexp,
    "speed": _speed,
    "digits": _digits,
    "calibration": _calibration,
    "matmul": _matmul,
    "transport": _transport,
    "reduce": _reduce,
    "density": _density,
    "scan": _scan,
    "ctc": _ctc,
    "attention": _attention,
    "recall": _recall,
    "transformer": _transformer,
}

__all__ = ["CHAPTERS"]
