"""Every wrong argument of Genred: the kind of error, and that it names what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from logsum import Genred
from tensors import needs_torch, torch

Case = tuple[Callable[[], Any], type[Exception], str]

X, Y, P = np.zeros((4, 3)), np.zeros((5, 3)), np.zeros(1)
ALIASES = ["x = Vi(3)", "y = Vj(3)", "p = Pm(1)"]
G = Genred("p * SqDist(x, y)", ALIASES, axis=1)


def made(formula: Any = "x | y", aliases: Any = ALIASES, *rest: Any, **options: Any) -> Any:
    return Genred(formula, aliases, *rest, **options)


DEFINITIONS: dict[str, Case] = {
    "formula": (lambda: made(3), TypeError, "formula: expected str, got int"),
    "aliases": (lambda: made("x", "x = Vi(3)"), TypeError, "aliases: expected a list .* got str"),
    "alias": (lambda: made("x", [3]), TypeError, "aliases: expected str, got int"),
    "alias text": (lambda: made("x", ["x = Vk(3)"]), ValueError, "aliases: .*Vk"),
    "two aliases": (lambda: made("x", ["x = Vi(3); y = Vj(3)"]), ValueError, "aliases: .*one"),
    "same name": (lambda: made("x", ["x = Vi(3)", "x = Vj(3)"]), ValueError, "aliases: .*x"),
    "same place": (lambda: made("x", ["x = Vi(0, 3)", "y = Vj(0, 3)"]), ValueError, "aliases: "),
    "no variable": (lambda: made("1 + 2", []), ValueError, "formula: expected at least one var"),
    "op": (lambda: made("x", ALIASES, 3), TypeError, "reduction_op: expected str, got int"),
    "op name": (lambda: made("x", ALIASES, "Mean"), ValueError, "reduction_op: .*Mean"),
    "axis": (lambda: made(axis=2), ValueError, "axis: .*2"),
    "axis float": (lambda: made(axis=1.0), TypeError, "axis: expected int, got float"),
    "no K": (lambda: made("x", ALIASES, "KMin"), ValueError, "opt_arg: "),
    "K": (lambda: made("x", ALIASES, "KMin", opt_arg=-1), ValueError, "opt_arg: .*-1"),
    "K huge": (lambda: made("x", ALIASES, "KMin", opt_arg=1 << 40), ValueError, "opt_arg: .*2"),
    "half a pair": (lambda: made("x + \ud800"), ValueError, "formula: expected text"),
    "axis huge": (lambda: made(axis=1 << 40), ValueError, "axis: .*1099511627776"),
    "K float": (lambda: made("x", ALIASES, "KMin", opt_arg=2.0), TypeError, "opt_arg: .*float"),
    "formula2": (lambda: made(formula2=1), TypeError, "formula2: expected str, got int"),
    "no weights": (lambda: made("p", ALIASES, "SoftMax"), ValueError, "formula2: "),
    "wide logits": (
        lambda: made("x * y", ALIASES, "SumSoftMaxWeight", formula2="y"),
        ValueError,
        "formula: .*3",
    ),
    "dtype": (lambda: made(dtype="int32"), ValueError, "dtype: .*float32.* got 'int32'"),
}

# What is wrong in a text, with the line that shows it and the column that its mark stands in.
FORMULAS: dict[str, tuple[str, str, int]] = {
    "unknown name": ("x + z", "z", 4),
    "unknown function": ("Expo(x)", "Expo", 0),
    "dimensions": ("x + y * Pm(3, 2)", "3.*2|2.*3", 6),
    "not closed": ("Exp(x", r"\)", 5),
    "nothing": ("", "formula", 0),
    "trailing": ("x y", "y", 2),
    "operand": ("x * ", "formula", 4),
    "too many": ("Exp(x, y)", r"\)", 5),
    "too few": ("SqDist(x)", ",", 8),
    "element": ("Elem(x, 3)", "3", 0),
    "character": ("x $ y", r"\$", 2),
}

CALLS: dict[str, Case] = {
    "few": (lambda: G(X, Y), ValueError, r"arguments: expected 3 \(x, y, p\), got 2"),
    "many": (lambda: G(X, Y, P, P), ValueError, "arguments: expected 3 .* got 4"),
    "list": (lambda: G([[0.0]], Y, P), TypeError, "x: expected numpy.ndarray.* got list"),
    "number": (lambda: G(X, Y, 1.0), TypeError, "p: expected numpy.ndarray.* got float"),
    "integers": (lambda: G(X.astype(int), Y, P), TypeError, "x: .*float32.* got int64"),
    "dtype": (lambda: G(X, Y.astype("f4"), P), TypeError, "y: expected x's dtype float64, got f"),
    "dim of x": (lambda: G(X[:, :2], Y, P), ValueError, r"x: .*\(\.\.\., M, 3\), got \(4, 2\)"),
    "dim of y": (lambda: G(X, Y.T, P), ValueError, r"y: .*\(\.\.\., N, 3\), got \(3, 5\)"),
    "axes of x": (lambda: G(X[0], Y, P), ValueError, r"x: .*\(\.\.\., M, 3\), got \(3,\)"),
    "parameter": (lambda: G(X, Y, np.zeros(())), ValueError, r"p: .*\(\.\.\., 1\), got \(\)"),
    "batches": (
        lambda: G(np.zeros((2, 4, 3)), np.zeros((3, 5, 3)), P),
        ValueError,
        r"x, y, p: expected batch axes that broadcast .* got \(2, 4, 3\), \(3, 5, 3\), \(1,\)",
    ),
    "many axes": (lambda: G(np.zeros((1,) * 7 + (4, 3)), Y, P), ValueError, "x: expected at most"),
    "ranges": (lambda: G(X, Y, P, ranges=()), ValueError, "ranges: expected None .* got tuple"),
    "out shape": (
        lambda: G(X, Y, P, out=np.zeros((5, 1))),
        ValueError,
        r"out: expected shape \(4, 1\), got \(5, 1\)",
    ),
    "out dtype": (
        lambda: G(X, Y, P, out=np.zeros((4, 1), "f4")),
        TypeError,
        "out: expected float64, got float32",
    ),
    "out kind": (lambda: G(X, Y, P, out=[0.0] * 4), TypeError, "out: expected numpy.* got list"),
    "out read-only": (
        lambda: G(X, Y, P, out=np.broadcast_to(0.0, (4, 1))),
        ValueError,
        "out: expected an array that may be written to",
    ),
    "complex": (lambda: G(X + 0j, Y, P), TypeError, "x: expected .*float64, got complex128"),
    "outs": (
        lambda: G(X, Y, P, out=(np.zeros((4, 1)),) * 2),
        ValueError,
        "out: expected 1 arrays, got 2",
    ),
}


def cases(table: dict[str, Case]) -> list[Any]:
    return [pytest.param(*case, id=name) for name, case in table.items()]


@pytest.mark.parametrize(("call", "kind", "message"), cases(DEFINITIONS) + cases(CALLS))
def test_errors(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^Genred: {message}") as caught:
        call()
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("name", FORMULAS)
def test_errors_point_into_the_text(name: str) -> None:
    text, said, column = FORMULAS[name]
    with pytest.raises(ValueError, match=r"^Genred: formula: expected") as caught:
        made(text)
    message, *shown = str(caught.value).split("\n")
    assert len(shown) == 2, shown
    assert shown[0].strip() == text.strip()
    indent = shown[0].index(text)
    assert shown[1].index("^") - max(indent, 2) == column
    assert re.search(said, message), message


def test_sizes_that_disagree() -> None:
    two = Genred("x * y + a * b", ["x = Vi(1)", "y = Vj(1)", "a = Vi(1)", "b = Vj(1)"], axis=1)
    x, y = np.zeros((4, 1)), np.zeros((5, 1))
    with pytest.raises(ValueError, match=r"Genred: a: expected M = 4 as x has, got \(3, 1\)"):
        two(x, y, x[:3], y)
    with pytest.raises(ValueError, match=r"Genred: b: expected N = 5 as y has, got \(4, 1\)"):
        two(x, y, x, y[:4])


def test_unknown_options() -> None:
    with pytest.raises(TypeError, match="Genred: got an unexpected keyword argument 'dtyp'"):
        made(dtyp="float32")
    with pytest.raises(TypeError, match="unexpected keyword argument 'bakend'"):
        G(X, Y, P, bakend="CPU")


@needs_torch
def test_tensors() -> None:
    """Tensors beside arrays, of another dtype, of no numbers: the same errors."""
    x, y, p = (torch.from_numpy(a) for a in (X, Y, P))
    table: list[Case] = [
        (lambda: G(x, Y, p), TypeError, "Genred: y: .*torch.Tensor.* got numpy.ndarray"),
        (lambda: G(X, y, P), TypeError, "Genred: x: .*torch.Tensor.* got numpy.ndarray"),
        (lambda: G(x, y.float(), p), TypeError, "y: expected x's dtype torch.float64, got torch.f"),
        (lambda: G(x.long(), y, p), TypeError, "x: .*float32.* got torch.int64"),
        (lambda: G(x.to_sparse(), y, p), TypeError, "x: expected a dense tensor"),
        (lambda: G(x, y[:, :1], p), ValueError, r"y: .*\(\.\.\., N, 3\), got \(5, 1\)"),
        (lambda: G(x, y, p, out=X[:, :1]), TypeError, "out: expected torch.Tensor.* got numpy"),
        (lambda: G(x, y, p, out=x), ValueError, r"out: expected shape \(4, 1\), got \(4, 3\)"),
        (lambda: G(x, y, p, backend="GPU"), ValueError, "backend: .*no GPU"),
        (
            lambda: Genred("x", ["x = Vi(3)"], dtype=torch.float32)(x),
            TypeError,
            "x: expected float32.* got float64",
        ),
    ]
    for call, kind, message in table:
        with pytest.raises(kind, match=message):
            call()


def test_many_indices_need_float64() -> None:
    """Above 2^24, float32 cannot tell neighbouring indices apart."""
    counts = Genred("i * x", ["x = Vi(1)"], axis=0)
    x = np.broadcast_to(np.float32(1), ((1 << 24) + 1, 1))
    with pytest.raises(ValueError, match=r"Genred: .*float64"):
        counts(x)
