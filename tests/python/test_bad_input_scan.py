"""Every wrong argument of scans and CTC: the kind of error, and that it names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import logsum
from tensors import needs_torch, torch

Case = tuple[Callable[[], Any], type[Exception], str]

MS, V, IDX = np.zeros((3, 2, 4, 2)), np.zeros((2, 4)), [[0, 1]] * 4
G, Z = logsum.Graph, logsum.logZ
PLAIN = G.from_arcs([0], [1], 4)

GRAPH: dict[str, Case] = {
    "index axes": (lambda: G.from_index([0]), ValueError, r"idx: .*\(C, nz\), got \(1,\)"),
    "index floats": (lambda: G.from_index([[0.0]]), TypeError, "idx: .*integers.* list of float64"),
    "index high": (lambda: G.from_index([[1]]), ValueError, "idx: .*-1 to 0, got 1"),
    "index low": (lambda: G.from_index([[-2]]), ValueError, "idx: .*-1 to 0, got -2"),
    "index beyond int64": (
        lambda: G.from_index(np.uint64([[2**64 - 1]])),
        ValueError,
        f"idx: .*up to {2**63 - 1}, got {2**64 - 1}",
    ),
    "ragged": (lambda: G.from_index([[0], [0, 1]]), ValueError, "idx: .*integers.*ragged"),
    "source axes": (lambda: G.from_arcs([[0]], [0], 1), ValueError, r"source: .*\(E,\), got"),
    "target shape": (lambda: G.from_arcs([0], [0, 0], 1), ValueError, "target: .*source's shape"),
    "source low": (lambda: G.from_arcs([-1], [0], 2), ValueError, "source: .*0 to 1, got -1"),
    "target high": (lambda: G.from_arcs([0], [2], 2), ValueError, "target: .*0 to 1, got 2"),
    "no states": (lambda: G.from_arcs([], [], -1), ValueError, "num_states: .*0, got -1"),
    "states float": (lambda: G.from_arcs([0], [0], 1.0), TypeError, "num_states: .*int.*float"),
}

SCAN: dict[str, Case] = {
    "Ms list": (lambda: Z([[0.0]], IDX, V, V), TypeError, "Ms: .*numpy.ndarray.* got list"),
    "Ms ints": (lambda: Z(MS.astype(int), IDX, V, V), TypeError, "Ms: .*float32.* got int64"),
    "Ms axes": (lambda: Z(V, IDX, V, V), ValueError, r"Ms: .*\(T, N, E\).* got \(2, 4\)"),
    "idx axes": (lambda: Z(MS, [0], V, V), ValueError, r"idx: .*Graph, or shape .* got \(1,\)"),
    "idx floats": (lambda: Z(MS, [[0.5]], V, V), TypeError, "idx: .*integers.* float64"),
    "idx none": (lambda: Z(MS, None, V, V), TypeError, "idx: .*integers.* got NoneType"),
    "idx width": (lambda: Z(MS, [[0]] * 4, V, V), ValueError, r"Ms: .*\(T, N, 4, 1\), got"),
    "slots": (
        lambda: Z(MS[..., 0], PLAIN, V, V),
        ValueError,
        r"Ms: .*\(T, N, 1\), got \(3, 2, 4\)",
    ),
    "index of a graph": (lambda: Z(MS, PLAIN, V, V), ValueError, r"Ms: .*\(T, N, 1\), got"),
    "v0 dtype": (lambda: Z(MS, IDX, V.astype("f4"), V), TypeError, "v0: .*Ms's dtype float64"),
    "v0 shape": (lambda: Z(MS, IDX, V[:1], V), ValueError, r"v0: .*\(2, 4\), got \(1, 4\)"),
    "vT shape": (lambda: Z(MS, IDX, V, V[:, :3]), ValueError, r"vT: .*\(2, 4\), got \(2, 3\)"),
    "states": (lambda: Z(MS, [[0, 1]] * 3, V, V), ValueError, r"v0: .*\(2, 3\), got \(2, 4\)"),
    "long": (lambda: Z(MS, IDX, V, V, lengths=[3, 4]), ValueError, r"lengths: .*\[0, 3\], got 4"),
    "negative": (lambda: Z(MS, IDX, V, V, lengths=[-1, 1]), ValueError, "lengths: .*got -1"),
    "count": (lambda: Z(MS, IDX, V, V, lengths=[3]), ValueError, r"lengths: .*\(2,\), got \(1,\)"),
    "floats": (lambda: Z(MS, IDX, V, V, lengths=[1.0, 2.0]), TypeError, "lengths: .*list of float"),
    "semiring": (lambda: Z(MS, IDX, V, V, "sum"), ValueError, "semiring: .*logsum.Log.* 'sum'"),
    "checkpoint": (lambda: Z(MS, IDX, V, V, checkpoint=0), ValueError, "checkpoint: .*1, got 0"),
    "checkpoint true": (lambda: Z(MS, IDX, V, V, checkpoint=True), ValueError, "got True"),
    "checkpoint float": (lambda: Z(MS, IDX, V, V, checkpoint=2.0), TypeError, "int, got float"),
}

X, LABELS, INPUTS, COUNTS = np.zeros((5, 2, 3)), [[1, 2], [2, 1]], [5, 5], [2, 2]
C = logsum.ctc_loss
LABEL = r"targets: .*\[0, 3\) other than the blank, 0, got {} in sequence 1"

CTC: dict[str, Case] = {
    "list": (lambda: C([[0.0]], LABELS, INPUTS, COUNTS), TypeError, "log_probs: .* got list"),
    "ints": (lambda: C(X.astype(int), LABELS, INPUTS, COUNTS), TypeError, "log_probs: .* int64"),
    "axes": (lambda: C(X[0, 0], LABELS, INPUTS, COUNTS), ValueError, r"log_probs: .*\(T, C\), got"),
    "high": (lambda: C(X, [[1, 1], [1, 3]], INPUTS, COUNTS), ValueError, LABEL.format(3)),
    "low": (lambda: C(X, [[1, 1], [-1, 1]], INPUTS, COUNTS), ValueError, LABEL.format(-1)),
    "blanks": (lambda: C(X, [1, 2, 1, 0], INPUTS, COUNTS), ValueError, LABEL.format(0)),
    "rows": (lambda: C(X, [[1, 1]], INPUTS, COUNTS), ValueError, r"targets: .*N = 2.* \(1, 2\)"),
    "few": (lambda: C(X, [1, 2, 1], INPUTS, COUNTS), ValueError, "targets: .*4 labels.* got 3"),
    "many": (lambda: C(X, [1] * 5, INPUTS, COUNTS), ValueError, "targets: .*4 labels.* got 5"),
    "floats": (lambda: C(X, [[1.0]], INPUTS, COUNTS), TypeError, "targets: .*list of float64"),
    "ragged": (lambda: C(X, [[1], [1, 2]], INPUTS, COUNTS), ValueError, "targets: .*ragged"),
    "frames": (lambda: C(X, LABELS, [5, 6], COUNTS), ValueError, r"input_lengths: .*5\], got 6"),
    "no frames": (lambda: C(X, LABELS, [-1, 5], COUNTS), ValueError, "input_lengths: .* got -1"),
    "labels": (lambda: C(X, LABELS, INPUTS, [3, 2]), ValueError, r"target_lengths: .*2\], got 3"),
    "no labels": (lambda: C(X, LABELS, INPUTS, [2, -1]), ValueError, "target_lengths: .* got -1"),
    "count": (
        lambda: C(X, LABELS, [5], COUNTS),
        ValueError,
        r"input_lengths: .*\(2,\), got \(1,\)",
    ),
    "number": (lambda: C(X, LABELS, INPUTS, 2), ValueError, r"target_lengths: .*\(2,\), got \(\)"),
    "bools": (lambda: C(X, LABELS, [True] * 2, COUNTS), TypeError, "input_lengths: .*list of bool"),
    "blank": (lambda: C(X, LABELS, INPUTS, COUNTS, 3), ValueError, r"blank: .*\[0, 3\), got 3"),
    "blank float": (
        lambda: C(X, LABELS, INPUTS, COUNTS, 0.0),
        TypeError,
        "blank: .*int, got float",
    ),
    "reduction": (
        lambda: C(X, LABELS, INPUTS, COUNTS, 0, "avg"),
        ValueError,
        "reduction: .*\"mean\", got 'avg'",
    ),
    "semiring": (
        lambda: C(X, LABELS, INPUTS, COUNTS, semiring=3),
        ValueError,
        "semiring: .*dsum, got 3",
    ),
    "single targets": (
        lambda: C(X[:, 0], [[1]], 5, 1),
        ValueError,
        r"targets: .*\(S,\).* \(1, 1\)",
    ),
    "single count": (lambda: C(X[:, 0], [1], INPUTS, 1), ValueError, r"input_lengths: .* \(2,\)"),
}

PATHS: dict[str, Case] = {
    "align axes": (
        lambda: logsum.ctc_align(X[0], LABELS, INPUTS, COUNTS),
        ValueError,
        r"ctc_align: log_probs: .*\(T, N, C\), got \(2, 3\)",
    ),
    "align label": (
        lambda: logsum.ctc_align(X, [[1, 9], [1, 1]], INPUTS, COUNTS),
        ValueError,
        "ctc_align: targets: .*got 9",
    ),
    "decode axes": (lambda: logsum.ctc_decode(X[0], [5]), ValueError, "ctc_decode: log_probs: "),
    "decode length": (
        lambda: logsum.ctc_decode(X, [5, 6]),
        ValueError,
        "ctc_decode: input_lengths: .* got 6",
    ),
    "decode blank": (lambda: logsum.ctc_decode(X, INPUTS, -1), ValueError, "ctc_decode: blank: "),
    "no beam": (lambda: logsum.ctc_decode(X, INPUTS, beam=0), ValueError, "beam: .*1, got 0"),
    "beam float": (lambda: logsum.ctc_decode(X, INPUTS, beam=2.0), TypeError, "beam: .*int"),
}


def named(name: str, cases: dict[str, Case]) -> list[Any]:
    """Return parameters, with the name that every message starts with."""
    return [pytest.param(name, *case, id=f"{name} {key}") for key, case in cases.items()]


@pytest.mark.parametrize(
    ("name", "call", "kind", "message"),
    named("Graph", GRAPH) + named("logZ", SCAN) + named("ctc_loss", CTC) + named("ctc", PATHS),
)
def test_errors(name: str, call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        call()
    assert str(caught.value).startswith(name)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("name", ["forward_scores", "backward_scores"])
def test_scores(name: str) -> None:
    function, end = getattr(logsum, name), "v0" if name == "forward_scores" else "vT"
    with pytest.raises(ValueError, match=rf"{name}: {end}: expected shape \(N, C\) = \(2, 4\)"):
        function(MS, IDX, V[:1])
    with pytest.raises(ValueError, match=f"{name}: semiring: expected"):
        function(MS, IDX, V, "sum")


@pytest.mark.parametrize("name", ["marginals", "viterbi"])
def test_other_names(name: str) -> None:
    function = getattr(logsum, name)
    with pytest.raises(TypeError, match=f"{name}: v0: expected Ms's dtype float64, got float32"):
        function(MS, IDX, V.astype(np.float32), V)
    with pytest.raises(ValueError, match=f"{name}: lengths: expected shape"):
        function(MS, IDX, V, V, lengths=[4])


@needs_torch
def test_tensors() -> None:
    """Tensors beside arrays, of another dtype, of no integers: the same errors."""
    ms, v, x = torch.zeros(3, 2, 4, 2), torch.zeros(2, 4), torch.zeros(5, 2, 3)
    cases: list[Case] = [
        (lambda: Z(ms, IDX, V, v), TypeError, "logZ: v0: .*torch.Tensor.* got numpy.ndarray"),
        (lambda: Z(MS, IDX, v, V), TypeError, "logZ: Ms: .*torch.Tensor.* got numpy.ndarray"),
        (lambda: Z(ms, IDX, v, v.double()), TypeError, "logZ: vT: .*torch.float32, got torch.f"),
        (
            lambda: Z(ms, torch.zeros(4, 2), v, v),
            TypeError,
            "logZ: idx: .*integers.* torch.float32",
        ),
        (lambda: Z(ms, torch.full((4, 2), 9), v, v), ValueError, "idx: .*-1 to 3, got 9"),
        (lambda: Z(ms, IDX, v, v, lengths=torch.ones(2)), TypeError, "lengths: .*torch.float32"),
        (lambda: Z(ms, IDX, v, v, lengths=torch.tensor([4, 1])), ValueError, "lengths: .*got 4"),
        (lambda: C(x.long(), LABELS, INPUTS, COUNTS), TypeError, "log_probs: .*torch.int64"),
        (lambda: C(x, LABELS, torch.ones(2), COUNTS), TypeError, "input_lengths: .*torch.float32"),
        (lambda: C(x, torch.tensor(LABELS).bool(), INPUTS, COUNTS), TypeError, "targets: .*bool"),
        (lambda: C(x, torch.full((2, 2), 3), INPUTS, COUNTS), ValueError, "targets: .*got 3"),
    ]
    for call, kind, message in cases:
        with pytest.raises(kind, match=message):
            call()


def test_nothing_is_read_before_it_is_checked() -> None:
    """A bad label is found whatever the numbers are, in the last sequence of many as well."""
    frames = np.full((10, 300, 4), np.nan)
    targets = np.ones((300, 5), int)
    targets[-1, -1] = 4
    with pytest.raises(ValueError, match=r"targets: .*\[0, 4\).* got 4 in sequence 299"):
        C(frames, targets, [10] * 300, [5] * 300)
