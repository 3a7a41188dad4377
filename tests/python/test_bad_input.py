"""Every wrong argument: the kind of error, and that it names function, argument, want and gift."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import logsum
from tensors import needs_torch, torch

A = np.zeros((2, 3))
HALF = np.zeros((2, 3), np.float16)
SINGLE = np.zeros((2, 3), np.float32)
INTS = np.zeros((2, 3), int)

MATRIX = np.zeros((2, 3)).view(np.matrix) if hasattr(np, "matrix") else A
MASKED = np.ma.MaskedArray(A, mask=INTS)

Case = tuple[Callable[[], Any], type[Exception], str]


def unary(name: str) -> dict[str, Case]:
    """What softmax and log_softmax refuse."""
    f = getattr(logsum, name)
    return {
        f"{name} list": (lambda: f([1.0, 2.0]), TypeError, "a: .*numpy.ndarray.* got list"),
        f"{name} float": (lambda: f(1.0), TypeError, "a: .* got float"),
        f"{name} none": (lambda: f(None), TypeError, "a: .* got NoneType"),
        f"{name} ints": (lambda: f(INTS), TypeError, "a: .*float32.* got int64"),
        f"{name} bools": (lambda: f(INTS == 0), TypeError, "a: .* got bool"),
        f"{name} complex": (lambda: f(A + 0j), TypeError, "a: .* got complex128"),
        f"{name} long": (lambda: f(A.astype(np.longdouble)), TypeError, "a: .* got float128"),
        f"{name} object": (lambda: f(A.astype(object)), TypeError, "a: .* got object"),
        f"{name} text": (lambda: f(A.astype(str)), TypeError, "a: .* got <U"),
        f"{name} masked": (lambda: f(MASKED), TypeError, "a: .*plain.* got numpy.ma"),
        f"{name} matrix": (lambda: f(MATRIX), TypeError, "a: .*plain.* got numpy"),
        f"{name} axis": (lambda: f(A, 2), ValueError, "axis: .*-2 <= axis < 2, got 2"),
        f"{name} low axis": (lambda: f(A, -3), ValueError, "axis: .* got -3"),
        f"{name} no axis": (lambda: f(np.float64(1)), ValueError, "axis: .*at least one axis"),
        f"{name} axis none": (lambda: f(A, None), TypeError, "axis: .*int, got NoneType"),
        f"{name} axis float": (lambda: f(A, 1.0), TypeError, "axis: .*int, got float"),
        f"{name} axis tuple": (lambda: f(A, (0, 1)), TypeError, "axis: .*int, got tuple"),
        f"{name} two axes": (lambda: f(A, 0, dim=1), ValueError, "dim: .*not both.*axis=0.*dim=1"),
        f"{name} nine axes": (
            lambda: f(np.zeros((1,) * 9)),
            ValueError,
            "a: .*at most 8 axes, got 9",
        ),
    }


L = logsum.logsumexp
LOGSUMEXP: dict[str, Case] = {
    "complex": (lambda: L(A + 0j), TypeError, "a: .* got complex128"),
    "complex list": (lambda: L([1j]), TypeError, "a: .* got list of complex128"),
    "complex weights": (lambda: L(A, b=1j), TypeError, "b: .* got complex of complex128"),
    "long double": (lambda: L(A.astype(np.longdouble)), TypeError, "a: .* got float128"),
    "long weights": (lambda: L(A, b=np.longdouble(1)), TypeError, "b: .*float128"),
    "text": (lambda: L("text"), TypeError, "a: .* got str of <U4"),
    "none": (lambda: L(None), TypeError, "a: .* got NoneType"),
    "object": (lambda: L(A.astype(object)), TypeError, "a: .* got object"),
    "dates": (lambda: L(A.astype("M8[s]")), TypeError, "a: .* got datetime64"),
    "ragged": (lambda: L([[1.0], [1.0, 2.0]]), ValueError, "a: .*array_like of numbers"),
    "masked": (lambda: L(MASKED), TypeError, "a: .*plain array, got numpy.ma"),
    "masked where": (
        lambda: L(A, where=np.ma.MaskedArray(INTS == 0, mask=INTS)),
        TypeError,
        "where: .*plain array, got numpy.ma",
    ),
    "masked weights": (lambda: L(A, b=MASKED), TypeError, "b: .*plain array, got numpy.ma"),
    "matrix": (lambda: L(MATRIX), TypeError, "a: .*plain array, got numpy"),
    "axis": (lambda: L(A, 2), ValueError, "axis: .*-2 <= axis < 2, got 2"),
    "axis in tuple": (lambda: L(A, (0, -3)), ValueError, "axis: .* got -3"),
    "axis twice": (lambda: L(A, (1, -1)), ValueError, r"axis: .*once, got \(1, -1\)"),
    "axis float": (lambda: L(A, 0.0), TypeError, "axis: .*int, got float"),
    "axis text": (lambda: L(A, "0"), TypeError, "axis: .*int, got str"),
    "two axes": (lambda: L(A, 0, dim=1), ValueError, "dim: .*axis=0 and dim=1"),
    "two keeps": (lambda: L(A, keepdims=True, keepdim=False), ValueError, "keepdim: .*keepdims"),
    "weight shape": (lambda: L(A, b=[1, 2]), ValueError, r"a and b: .*\(2, 3\) and \(2,\)"),
    "where shape": (lambda: L(A, where=[True] * 2), ValueError, r"where: .*\(2, 3\) and \(2,\)"),
    "where ints": (lambda: L(A, where=INTS), TypeError, "where: .*bool, got int64"),
    "where floats": (lambda: L(A, where=1.0), TypeError, "where: .*bool, got float of float64"),
    "nine axes": (lambda: L(np.zeros((1,) * 9)), ValueError, "a: .*at most 8 axes, got 9"),
}

E = logsum.logaddexp
LOGADDEXP: dict[str, Case] = {
    "mixed": (lambda: E(A, SINGLE), TypeError, "b: .*a's dtype float64, got float32"),
    "mixed half": (lambda: E(HALF, SINGLE), TypeError, "b: .*a's dtype float16, got float32"),
    "complex": (lambda: E(A, 1j), TypeError, "b: .* got complex"),
    "long double": (lambda: E(A.astype(np.longdouble), A), TypeError, "a: .* got float128"),
    "none": (lambda: E(A, None), TypeError, "b: .* got NoneType"),
    "shapes": (lambda: E(A, np.zeros(2)), ValueError, r"a and b: .*\(2, 3\) and \(2,\)"),
}

M = logsum.merge
PAIR = (np.zeros((2, 5)), np.zeros(2))
MERGE: dict[str, Case] = {
    "none": (lambda: M(), ValueError, "states: .*at least one, got none"),
    "list": (lambda: M([1.0, 2.0, 3.0]), ValueError, r"states\[0\]: .*pair.*got 3 items"),
    "float": (lambda: M(1.0), TypeError, r"states\[0\] lse: .* got float"),
    "ints": (lambda: M(INTS), TypeError, r"states\[0\] lse: .* got int64"),
    "mixture": (lambda: M(A, PAIR), ValueError, r"states\[0\]: .*pair.* got numpy.ndarray"),
    "mixed": (lambda: M(A, SINGLE), TypeError, r"states\[1\] lse: .*dtype float64, got float32"),
    "shapes": (lambda: M(A, A[0]), ValueError, r"states\[1\] lse: .*shape \(2, 3\), got \(3,\)"),
    "out shape": (lambda: M((A, A[0])), ValueError, r"out: .*shape \(3,\) \+ \(D,\), got \(2, 3\)"),
    "no out axis": (lambda: M((A, A)), ValueError, r"out: .*\(2, 3\) \+ \(D,\), got \(2, 3\)"),
    "out widths": (
        lambda: M(PAIR, (np.zeros((2, 4)), PAIR[1])),
        ValueError,
        r"states\[1\] out: .*shape \(2, 5\), got \(2, 4\)",
    ),
    "out dtypes": (
        lambda: M(PAIR, (PAIR[0].astype(np.float32), PAIR[1])),
        TypeError,
        r"states\[1\] out: .*dtype float64, got float32",
    ),
    "out and lse": (
        lambda: M((PAIR[0].astype(np.float32), PAIR[1])),
        TypeError,
        r"states\[0\] out: .*lse's dtype float64, got float32",
    ),
}

P = logsum.logmatmulexp
LOGMATMULEXP: dict[str, Case] = {
    "list": (lambda: P([[1.0]], A), TypeError, "A: .*numpy.ndarray.* got list"),
    "none": (lambda: P(A, None), TypeError, "B: .* got NoneType"),
    "ints": (lambda: P(INTS, INTS.T), TypeError, "A: .*float32.* got int64"),
    "integer B": (lambda: P(A, INTS.T), TypeError, "B: .*float32.* got int64"),
    "complex": (lambda: P(A, A.T + 0j), TypeError, "B: .* got complex128"),
    "long double": (lambda: P(A.astype(np.longdouble), A.T), TypeError, "A: .* got float128"),
    "masked": (lambda: P(MASKED, A.T), TypeError, "A: .*plain.* got numpy.ma"),
    "matrix": (lambda: P(A, MATRIX.T), TypeError, "B: .*plain.* got numpy"),
    "mixed": (lambda: P(A, SINGLE.T), TypeError, "B: .*A's dtype float64, got float32"),
    "mixed half": (lambda: P(HALF, SINGLE.T), TypeError, "B: .*A's dtype float16, got float32"),
    "no axes": (
        lambda: P(A[0, 0], A.T),
        ValueError,
        r"A: .*2 axes \(as A.reshape\(1, -1\).* got 0",
    ),
    "one axis": (lambda: P(A[0], A.T), ValueError, r"A: .*2 axes \(as A.reshape\(1, -1\).* got 1"),
    "B's axis": (lambda: P(A, A[0]), ValueError, r"B: .*2 axes \(as B.reshape\(-1, 1\).* got 1"),
    "nine axes": (lambda: P(A, np.zeros((1,) * 9)), ValueError, "B: .*at most 8 axes, got 9"),
    "inner sizes": (lambda: P(A, A), ValueError, r"A and B: .*inner size.*\(2, 3\) and \(2, 3\)"),
    "batches": (
        lambda: P(np.zeros((2, 1, 3)), np.zeros((3, 3, 1))),
        ValueError,
        r"A and B: .*batch axes that broadcast.*\(2, 1, 3\) and \(3, 3, 1\)",
    ),
    "semiring": (
        lambda: P(A, A.T, semiring="sum"),
        ValueError,
        "semiring: .*logsum.Log or logsum.Max, got 'sum'",
    ),
    "semiring none": (lambda: P(A, A.T, semiring=None), ValueError, "semiring: .* got None"),
    "argmax": (
        lambda: P(A, A.T, return_argmax=True),
        ValueError,
        "return_argmax: .*semiring=\"max\".*'log'",
    ),
}


def table(**groups: dict[str, Case]) -> Any:
    """Parametrize over all cases, with the name of the function that must be named."""
    return pytest.mark.parametrize(
        ("name", "case"),
        [
            pytest.param(name, case, id=f"{name} {title}")
            for name, group in groups.items()
            for title, case in group.items()
        ],
    )


def judge(name: str, case: Case) -> None:
    """Call, and compare the error's type and text."""
    call, kind, text = case
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert re.match(f"({name}: .*)?{text}", str(caught.value)), str(caught.value)


@table(
    logsumexp=LOGSUMEXP,
    logaddexp=LOGADDEXP,
    logmatmulexp=LOGMATMULEXP,
    merge=MERGE,
    softmax=unary("softmax"),
    log_softmax=unary("log_softmax"),
)
def test_arrays(name: str, case: Case) -> None:
    judge(name, case)


def tensor_cases() -> dict[str, dict[str, Case]]:
    """What is wrong with tensors only."""
    t, f = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.float64)
    meta = torch.zeros(2, 3, device="meta")
    pair = torch.zeros(2, 3, 5), t
    logsumexp: dict[str, Case] = {
        "complex": (lambda: L(t + 0j), TypeError, "a: .* got torch.complex64"),
        "float8": (lambda: L(t.to(torch.float8_e5m2)), TypeError, "a: .* got torch.float8"),
        "sparse": (lambda: L(t.to_sparse()), TypeError, "a: .*dense.* got torch.sparse_coo"),
        "array weights": (lambda: L(t, b=A), TypeError, "b: .*torch.Tensor.* got numpy.ndarray"),
        "array": (lambda: L(A, b=t), TypeError, "a: .*torch.Tensor.* got numpy.ndarray"),
        "list": (lambda: L([1.0], b=t), TypeError, "a: .*torch.Tensor.* got list"),
        "list where": (lambda: L(t, where=[True]), TypeError, "where: .*Tensor.* got list"),
        "weight dtype": (lambda: L(t, b=f), TypeError, "b: .*torch.float32, got torch.float64"),
        "complex weight": (lambda: L(t, b=1j), TypeError, "b: .*torch.Tensor.* got complex"),
        "weight shape": (lambda: L(t, b=t[0, :2]), ValueError, r"b: .*\(2, 3\) and \(2,\)"),
        "weight device": (lambda: L(t, b=meta), ValueError, "b: .*device cpu, got meta"),
        "where dtype": (lambda: L(t, where=t), TypeError, "where: .*torch.bool, got torch.float32"),
        "where shape": (lambda: L(t, where=t[0, :2] > 0), ValueError, r"where: .*and \(2,\)"),
        "where device": (lambda: L(t, where=meta > 0), ValueError, "where: .*cpu, got meta"),
        "axis": (lambda: L(t, 2), ValueError, "axis: .*-2 <= axis < 2, got 2"),
        "axis without axes": (lambda: L(t.sum(), 1), ValueError, "axis: .*-1 <= axis < 1, got 1"),
        "axis twice": (lambda: L(t, (0, 0)), ValueError, "axis: .*once"),
        "axis float": (lambda: L(t, 0.5), TypeError, "axis: .*int, got float"),
        "two axes": (lambda: L(t, 0, dim=1), ValueError, "dim: .*not both"),
        "nine axes": (lambda: L(torch.zeros((1,) * 9)), ValueError, "a: .*at most 8 axes, got 9"),
    }
    logaddexp: dict[str, Case] = {
        "mixed": (lambda: E(t, f), TypeError, "b: .*a's dtype torch.float32, got torch.float64"),
        "array": (lambda: E(t, A), TypeError, "b: .*torch.Tensor.* got numpy.ndarray"),
        "array first": (lambda: E(A, t), TypeError, "a: .*torch.Tensor.* got numpy.ndarray"),
        "complex": (lambda: E(t, t + 0j), TypeError, "b: .* got torch.complex64"),
        "complex first": (lambda: E(t + 0j, t), TypeError, "a: .* got torch.complex64"),
        "none": (lambda: E(t, None), TypeError, "b: .* got NoneType"),
        "device": (lambda: E(t, meta), ValueError, "b: .*a's device cpu, got meta"),
        "shapes": (lambda: E(t, t[0, :2]), ValueError, r"a and b: .*\(2, 3\) and \(2,\)"),
    }
    logmatmulexp: dict[str, Case] = {
        "array": (lambda: P(t, A.T), TypeError, "B: .*torch.Tensor.* got numpy.ndarray"),
        "array first": (lambda: P(A, t.T), TypeError, "A: .*torch.Tensor.* got numpy.ndarray"),
        "ints": (lambda: P(t, t.T.long()), TypeError, "B: .*float32.* got torch.int64"),
        "mixed": (lambda: P(t, f.T), TypeError, "B: .*A's dtype torch.float32, got torch.float64"),
        "device": (lambda: P(t, meta.T), ValueError, "B: .*A's device cpu, got meta"),
        "sparse": (lambda: P(t.to_sparse(), t.T), TypeError, "A: .*dense.* got torch.sparse_coo"),
        "no axes": (lambda: P(t, t.sum()), ValueError, r"B: .*B.reshape\(-1, 1\).* got 0"),
        "one axis": (lambda: P(t[0], t.T), ValueError, r"A: .*A.reshape\(1, -1\).* got 1"),
        "inner sizes": (lambda: P(t, t), ValueError, r"A and B: .*\(2, 3\) and \(2, 3\)"),
        "argmax": (lambda: P(t, t.T, return_argmax=True), ValueError, "return_argmax: .*'log'"),
    }
    merge: dict[str, Case] = {
        "array": (lambda: M(t, A), TypeError, r"states\[1\] lse: .*got numpy.ndarray"),
        "mixed": (lambda: M(t, f), TypeError, r"states\[1\] lse: .*float32, got torch.float64"),
        "device": (lambda: M(t, meta), ValueError, r"states\[1\] lse: .*device cpu, got meta"),
        "shapes": (lambda: M(t, t[0]), ValueError, r"states\[1\] lse: .*\(2, 3\), got \(3,\)"),
        "out shape": (lambda: M((t, t)), ValueError, r"states\[0\] out: .*\+ \(D,\), got"),
        "out dtype": (lambda: M((pair[0].double(), t)), TypeError, "out: .*got torch.float64"),
        "mixture": (lambda: M(pair, t), ValueError, r"states\[1\]: .*got torch.Tensor"),
    }
    unaries = {}
    for name in ("softmax", "log_softmax"):
        g = getattr(logsum, name)
        unaries[name] = {
            "ints": (lambda g=g: g(t.long()), TypeError, "a: .* got torch.int64"),
            "complex": (lambda g=g: g(t + 0j), TypeError, "a: .* got torch.complex64"),
            "axis": (lambda g=g: g(t, 2), ValueError, "axis: .* got 2"),
            "no axis": (lambda g=g: g(t.sum()), ValueError, "axis: .*at least one axis"),
            "axis none": (lambda g=g: g(t, None), TypeError, "axis: .*int, got NoneType"),
        }
    return {
        "logsumexp": logsumexp,
        "logaddexp": logaddexp,
        "logmatmulexp": logmatmulexp,
        "merge": merge,
        **unaries,
    }


@needs_torch
@table(**(tensor_cases() if torch is not None else {}))
def test_tensors(name: str, case: Case) -> None:
    judge(name, case)


@needs_torch
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("logsumexp", 1),
        ("softmax", 1),
        ("log_softmax", 1),
        ("logaddexp", 2),
        ("logmatmulexp", 2),
        ("merge", 2),
    ],
)
def test_other_devices(name: str, count: int) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():  # stands for a GPU where there is none
        arguments = [torch.empty(3, 3, device="cuda")] * count
        with pytest.raises(RuntimeError, match=f"{name}: .*expected a CPU tensor.*cuda:0"):
            getattr(logsum, name)(*arguments)


def test_nothing_is_written_when_an_argument_is_wrong() -> None:
    from logsum import _core

    out = np.full(2, 7.0)
    with pytest.raises(ValueError, match="out"):
        _core.logsumexp(A, (0,), None, None, out, None)
    np.testing.assert_array_equal(out, [7.0, 7.0])


class TestBindings:
    """What reaches the extension without a face before it."""

    def call(self, **changes: Any) -> None:
        from logsum import _core

        arguments: dict[str, Any] = {
            "a": A.copy(),
            "axes": (1,),
            "weights": None,
            "where": None,
            "out": np.zeros(2),
            "sign": None,
        }
        _core.logsumexp(**{**arguments, **changes})

    def test_good(self) -> None:
        self.call()
        out = np.zeros(2)
        self.call(a=(A.ctypes.data, 3, (2, 3), (3, 1)), out=out)
        np.testing.assert_allclose(out, np.log(3))

    @pytest.mark.parametrize(
        ("changes", "kind", "text"),
        [
            ({"a": [1.0]}, TypeError, "buffer protocol"),
            ({"a": None}, TypeError, "incompatible"),
            ({"a": A + 0j}, TypeError, "got the buffer format 'Zd'"),
            ({"a": A.astype(">f8")}, TypeError, "native byte order"),
            ({"a": (1, 2)}, TypeError, "another tuple"),
            ({"a": (0, 3, [2, 3], (3, 1))}, TypeError, "another tuple"),
            ({"a": (0, 3, (2, 3), (1,))}, ValueError, "a stride for each axis"),
            ({"a": (0, 9, (2, 3), (3, 1))}, ValueError, "a number of DType"),
            ({"a": (0, 3, (2, 3), (3, 1))}, ValueError, "data pointer"),
            ({"a": (0, 3, (2, "3"), (3, 1))}, TypeError, "str"),
            ({"a": ("0", 3, (2, 3), (3, 1))}, TypeError, "integer"),
            ({"a": (-1, 3, (2, 3, *[1] * 7), (3, *[1] * 8))}, ValueError, "at most 8 axes"),
            ({"axes": 1}, TypeError, "tuple or list of int"),
            ({"axes": (1.5,)}, TypeError, "float"),
            ({"axes": (2**40,)}, ValueError, "small axes"),
            ({"axes": (2**70,)}, OverflowError, "too big"),
            ({"where": A}, ValueError, "where"),
            ({"weights": SINGLE}, ValueError, "weights"),
        ],
        ids=str,
    )
    def test_bad(self, changes: Any, kind: type[Exception], text: str) -> None:
        with pytest.raises(kind, match=text):
            self.call(**changes)

    def test_read_only_output(self) -> None:
        out = np.zeros(2)
        out.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            self.call(out=out)

    def test_misaligned(self) -> None:
        memory = np.zeros(49, np.uint8)
        with pytest.raises(TypeError, match="native byte order, got the buffer format '=d'"):
            self.call(a=memory[1:].view(np.float64).reshape(2, 3))
        spaced = np.lib.stride_tricks.as_strided(np.zeros(8), (2, 3), (28, 8))
        with pytest.raises((TypeError, ValueError)):
            self.call(a=spaced)
