"""Genred: KeOps' tutorial end to end, its keywords, what comes back and what it costs."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest

import logsum
from logsum import Genred
from tensors import needs_torch, torch

GAUSS = ("-SqDist(x, y) / 2", ["x = Vi(3)", "y = Vj(3)"])


def points(*sizes: int, dim: int = 3, dtype: Any = np.float64, seed: int = 0) -> list[Any]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(n, dim)).astype(dtype) for n in sizes]


# ---- the tutorial --------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tutorial(dtype: str) -> None:
    """The LogSumExp page of KeOps' gallery, with only the import changed (and smaller sizes)."""
    M, N = 300, 500
    torchtype = torch.float32 if dtype == "float32" else torch.float64
    torch.manual_seed(0)
    x = torch.rand(M, 1, dtype=torchtype)
    y = torch.rand(N, 1, dtype=torchtype, requires_grad=True)
    a = torch.rand(N, 1, dtype=torchtype)
    p = torch.rand(1, dtype=torchtype)
    formula = "Square(p-a)*Exp(x+y)"
    variables = ["x = Vi(1)", "y = Vj(1)", "a = Vj(1)", "p = Pm(1)"]

    my_routine = Genred(formula, variables, reduction_op="LogSumExp", axis=1)
    c = my_routine(x, y, a, p, backend="CPU")
    my_routine2 = Genred("Exp(" + formula + ")", variables, reduction_op="Sum", axis=1, dtype=dtype)
    c2 = torch.log(my_routine2(x, y, a, p, backend="CPU"))
    e = torch.rand_like(c)
    (g,) = torch.autograd.grad(c, y, e)
    (g2,) = torch.autograd.grad(c2, y, e)

    wide = [t.detach().double() for t in (x, y, a, p)]
    wide[1].requires_grad_()
    wx, wy, wa, wp = wide
    exact = torch.logsumexp((wp - wa.T) ** 2 * torch.exp(wx + wy.T), 1, keepdim=True)
    (slope,) = torch.autograd.grad(exact, wy, e.double())
    assert c.shape == (M, 1)
    assert c.dtype == torchtype
    assert g.shape == (N, 1)
    bound = 3e-7 if dtype == "float32" else 1e-15
    for got, want in ((c, exact), (c2, exact), (g, slope), (g2, slope)):
        error = (got.double() - want).norm() / want.norm()
        assert float(error.detach()) <= bound


@needs_torch
def test_where_the_naive_sum_overflows() -> None:
    variables = ["x = Vi(1)", "y = Vj(1)"]
    x = torch.full((3, 1), 50.0)
    y = torch.linspace(40, 60, 7)[:, None].requires_grad_()
    stable = Genred("x + y", variables, reduction_op="LogSumExp", axis=1)(x, y)
    naive = torch.log(Genred("Exp(x + y)", variables, axis=1)(x, y))
    torch.testing.assert_close(stable, torch.logsumexp(x + y.T, 1, keepdim=True))
    assert naive.isinf().all()
    (slope,) = torch.autograd.grad(stable.sum(), y)
    torch.testing.assert_close(slope.sum(), torch.tensor(3.0))


# ---- pykeops' interface --------------------------------------------------------------------


def test_positional_order() -> None:
    """formula, aliases, reduction_op, axis, dtype, opt_arg, formula2."""
    x, y = points(4, 6)
    call = Genred("SqDist(x, y)", GAUSS[1], "KMin", 1, "float64", 2)
    assert call(x, y).shape == (4, 2)
    mean = Genred(*GAUSS, "SumSoftMaxWeight", 0, "float64", None, "x")
    assert mean(x, y).shape == (6, 3)
    assert Genred(*GAUSS)(x, y).shape == (6, 1)  # a sum over i


def test_tuning_is_accepted() -> None:
    x, y = points(4, 6)
    options: dict[str, Any] = {
        "cuda_type": "float32",
        "dtype_acc": "float64",
        "enable_chunks": False,
        "optional_flags": [],
        "rec_multVar_highdim": 1,
        "sum_scheme": "kahan_scheme",
        "use_double_acc": True,
        "use_fast_math": False,
    }
    tuned = Genred(*GAUSS, axis=1, **options)(x, y)
    assert tuned.tobytes() == Genred(*GAUSS, axis=1)(x, y).tobytes()


def test_call_options() -> None:
    x, y = points(4, 6)
    call = Genred(*GAUSS, "LogSumExp", axis=1)
    expected = call(x, y)
    for options in ({"backend": "auto"}, {"backend": "CPU"}, {"device_id": 0}, {"ranges": None}):
        np.testing.assert_array_equal(call(x, y, **options), expected)


@pytest.mark.parametrize("backend", ["GPU", "GPU_1D", "GPU_2D_device", "cpu", None])
def test_other_backends(backend: Any) -> None:
    call = Genred(*GAUSS)
    message = "GPU" if backend and "GPU" in backend else "auto"
    with pytest.raises(ValueError, match=f"Genred: backend: expected .*{message}.*got {backend!r}"):
        call(*points(4, 6), backend=backend)


@pytest.mark.parametrize("dtype", ["float32", "float", np.float32, np.dtype(np.float32)])
def test_declared_dtype(dtype: Any) -> None:
    """It is the arrays' dtype that counts; another one than was declared is a mistake."""
    call = Genred(*GAUSS, axis=1, dtype=dtype)
    x, y = points(4, 6, dtype=np.float32)
    assert call(x, y).dtype == np.float32
    with pytest.raises(TypeError, match=r"Genred: x: expected float32.*got float64"):
        call(x.astype(float), y.astype(float))


def test_out() -> None:
    x, y = points(4, 6)
    call = Genred(*GAUSS, "LogSumExp", axis=1)
    wide = np.zeros((4, 3))
    assert call(x, y, out=wide[:, 1:2]).base is wide
    np.testing.assert_array_equal(wide[:, 1:2], call(x, y))
    assert not wide[:, [0, 2]].any()
    nearest = Genred("SqDist(x, y)", GAUSS[1], "KMin_ArgKMin", 1, opt_arg=2)
    outs = np.zeros((4, 2)), np.zeros((4, 2), np.int64)
    assert nearest(x, y, out=outs) is outs
    for got, want in zip(outs, nearest(x, y), strict=True):
        np.testing.assert_array_equal(got, want)


def test_out_may_be_an_argument() -> None:
    sums = Genred("x * y", ["x = Vi(1)", "y = Vj(1)"], axis=1)
    x = np.array([[1.0], [2.0]])
    sums(x, x, out=x)
    assert x.tolist() == [[3.0], [6.0]]


@needs_torch
def test_out_of_tensors() -> None:
    x, y = map(torch.tensor, points(4, 6))
    call = Genred(*GAUSS, "LogSumExp", axis=1)
    out = torch.zeros(4, 1, dtype=torch.float64)
    assert call(x, y, out=out) is out
    assert torch.equal(out, call(x, y))
    with pytest.raises(RuntimeError, match=r"Genred: out: .*no gradient"):
        call(x.requires_grad_(), y, out=out)
    with torch.no_grad():
        call(2 * x, y, out=out)
    assert torch.equal(out, call(2 * x, y).detach())


# ---- results -------------------------------------------------------------------------------


def test_shapes() -> None:
    """K results have an axis of their own; only theirs is squeezed."""
    x, y = points(4, 6)
    shapes = {"Sum": (4, 3), "LogSumExp": (4, 3), "ArgMin": (4, 3)}
    for op, shape in shapes.items():
        assert Genred("x * y", GAUSS[1], op, axis=1)(x, y).shape == shape
    low, index = Genred("x * y", GAUSS[1], "KMin_ArgKMin", axis=1, opt_arg=5)(x, y)
    assert low.shape == index.shape == (4, 5, 3)
    assert index.dtype == np.int64
    assert Genred(*GAUSS, "ArgKMin", axis=0, opt_arg=1)(x, y).shape == (6, 1)
    assert Genred("x", ["x = Vi(3)"], axis=1)(x).shape == (4, 3)
    assert Genred("x", ["x = Vi(3)"], axis=0)(x).shape == (1, 3)
    assert Genred("p", ["p = Pm(3)"], axis=0)(x[0]).shape == (1, 3)


@needs_torch
def test_kinds() -> None:
    """The same Genred serves arrays and tensors, with the same bits."""
    x, y = points(40, 60, dtype=np.float32)
    call = Genred("SqDist(x, y)", GAUSS[1], "Min_ArgMin", axis=1)
    arrays, tensors = call(x, y), call(torch.from_numpy(x), torch.from_numpy(y))
    for array, tensor in zip(arrays, tensors, strict=True):
        assert isinstance(array, np.ndarray)
        assert type(tensor) is torch.Tensor
        np.testing.assert_array_equal(array, tensor.numpy())


def test_foreign_memory() -> None:
    """Other byte orders, read-only and unaligned arrays."""
    x, y = points(5, 7)
    call = Genred(*GAUSS, "LogSumExp", axis=1)
    expected = call(x, y)
    y.flags.writeable = False
    shifted = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(x.shape)
    shifted[...] = x
    for other in (x.astype(">f8"), shifted, x[::-1].copy()[::-1]):
        np.testing.assert_array_equal(call(other, y), expected)


# ---- the object ----------------------------------------------------------------------------


def test_attributes_and_repr() -> None:
    call = Genred(*GAUSS, "KMin", 1, opt_arg=2)
    assert (call.formula, call.aliases, call.axis) == (GAUSS[0], tuple(GAUSS[1]), 1)
    text = (
        "logsum.Genred('-SqDist(x, y) / 2', ['x = Vi(3)', 'y = Vj(3)'], 'KMin', axis=1, opt_arg=2)"
    )
    assert repr(call) == text
    again = eval(text, {"logsum": logsum})
    assert repr(again) == text
    assert repr(Genred("x", ["x = Vi(1)"], dtype="float32")).endswith("axis=0, dtype='float32')")


@pytest.mark.parametrize(
    "remake", [copy.copy, copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))]
)
def test_copies(remake: Any) -> None:
    call = Genred(*GAUSS, "SumSoftMaxWeight", 1, "float64", None, "y")
    again = remake(call)
    assert repr(again) == repr(call)
    arrays = points(4, 6)
    np.testing.assert_array_equal(again(*arrays), call(*arrays))


def test_a_list_of_aliases_is_left_alone() -> None:
    aliases = ["x = Vi(1)"]
    Genred("x * Vj(1, 1)", aliases, axis=1)
    assert aliases == ["x = Vi(1)"]


def test_functions_are_listed() -> None:
    rows = logsum._core.formula_functions()
    assert all(len(row) == 4 and all(isinstance(cell, str) for cell in row) for row in rows)
    names = [row[0] for row in rows]
    assert {"Exp", "SqDist", "Grad", "IfElse"} <= set(names)
    assert len(set(names)) == len(names)
    for row in rows:
        assert re.match(r"^\S", row[3]), row


def test_text_is_for_people() -> None:
    reduction = Genred(*GAUSS, "LogSumExp", axis=1)._program.reduction
    assert "SqDist" in reduction.text() or "sqdist" in reduction.text()
    *_, by_x, by_y = reduction.gradient([0, 1]).text().splitlines()
    assert by_x.startswith("Sum over j")
    assert by_y.startswith("Sum over i")
