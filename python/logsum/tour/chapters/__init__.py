"""The chapters of the tour, in the order in which they are told.

A chapter is a module with ``title``, ``question`` and ``run(context)``; adding one is a line here.
Modules import optional libraries inside ``run`` and say politely when they are missing.
"""

from __future__ import annotations

from logsum.tour._model import Chapter
from logsum.tour.chapters import (
    _calibration,
    _ctc,
    _density,
    _digits,
    _logsumexp,
    _matmul,
    _reduce,
    _scan,
    _speed,
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
}

__all__ = ["CHAPTERS"]
