"""logeinsumexp: equations of every kind beside brute force, special values, bad input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import logsum
from einsum_oracle import Array, assert_close, brute_force, random_operands
from tensors import needs_torch, torch

EQUATIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "ij,jk->ik": ((3, 4), (4, 5)),
    "ij,jk->ki": ((3, 4), (4, 5)),
    "ij,jk": ((3, 4), (4, 5)),
    "kj,ji": ((3, 4), (4, 5)),
    "bij,bjk->bik": ((2, 3, 4), (2, 4, 5)),
    "ijb,kjb->kbi": ((3, 4, 2), (5, 4, 2)),
    "abk,kcd->abcd": ((2, 3, 4), (4, 5, 2)),
    "abk,kcd->dcba": ((2, 3, 4), (4, 5, 2)),
    "iklj,lmk->mji": ((2, 3, 4, 5), (4, 2, 3)),
    "ij,j->i": ((3, 4), (4,)),
    "i,ij->j": ((3,), (3, 4)),
    "i,i->": ((5,), (5,)),
    "bi,bi->b": ((3, 5), (3, 5)),
    "ijb,bji->b": ((3, 2, 4), (4, 2, 3)),
    "i,j->ij": ((3,), (4,)),
    "ij,ij->ji": ((3, 4), (3, 4)),
    ",->": ((), ()),
    ",ij->ij": ((), (2, 3)),
    "i->i": ((4,),),
    "ij->ji": ((3, 4),),
    "ijk->": ((3, 4, 2),),
    "ijk->k": ((3, 4, 2),),
    "ii->i": ((4, 4),),
    "ii": ((4, 4),),
    "iijj->ij": ((2, 2, 3, 3),),
    "iiji->j": ((3, 3, 2, 3),),
    "iij,jk->ik": ((3, 3, 4), (4, 2)),
    "ij,kl->ik": ((3, 4), (2, 5)),
    "ij,kl->": ((3, 4), (2, 5)),
    "ij,jk,kl->il": ((3, 4), (4, 5), (5, 2)),
    "ij,jk,kl,lm->mi": ((3, 4), (4, 5), (5, 2), (2, 6)),
    "abc,cde,ebf,fa->d": ((2, 3, 4), (4, 5, 6), (6, 3, 7), (7, 2)),
    "i,i,i,j->j": ((3,), (3,), (3,), (2,)),
    "ab,bc,ca->": ((3, 4), (4, 5), (5, 3)),
    "ij,jk->ik ": ((3, 1), (4, 5)),
    "ij,ij->ij": ((3, 1), (1, 4)),
    "ij,ij->": ((3, 1), (1, 4)),
    "ij,ij,jk->k": ((1, 4), (3, 1), (1, 2)),
    "i->": ((1,),),
    "ij->ij": ((1, 1),),
    " i j , j k -> i k ": ((3, 4), (4, 5)),
    "iJ,Jk->Jki": ((3, 4), (4, 5)),
    "...ij,...jk->...ik": ((2, 1, 3, 4), (7, 4, 5)),
    "...ij,jk": ((2, 3, 4), (4, 5)),
    "i...,...i->...": ((3, 2, 4), (2, 4, 3)),
    "...i->i": ((2, 3, 4),),
    "...,...": ((2, 3), (3,)),
    "i...j,...->...": ((3, 2, 4), ()),
    "ij,jk->ij...k": ((3, 4), (4, 5)),
    "abcdex,fghijx->abcdefghij": ((2, 1, 2, 2, 2, 3), (2, 2, 2, 1, 2, 3)),
    "abcdefx,abcdefx->abcdef": ((2, 1, 2, 2, 2, 2, 3), (2,) * 6 + (3,)),
    "ij,jk->ik  ": ((3, 0), (0, 5)),
    "ij,jk->ik   ": ((0, 4), (4, 5)),
    "ij,jk,kl->il ": ((3, 2), (2, 0), (0, 2)),
    "ij->i": ((3, 0),),
    "i,i,i,i,i,i,i,i,i,ij->j": ((3,),) * 9 + ((3, 2),),
    "ab,bc,cd,de,ef,fg,gh,hi,ij->aj": tuple((2 + k % 3, 2 + (k + 1) % 3) for k in range(9)),
}


def both_kinds(equation: str, operands: Sequence[Array], semiring: str = "log") -> list[Any]:
    """The result for arrays, and for tensors where there are any."""
    results = [logsum.logeinsumexp(equation, *operands, semiring=semiring)]
    if torch is not None:
        tensors = [torch.as_tensor(operand) for operand in operands]
        out = logsum.logeinsumexp(equation, *tensors, semiring=semiring)
        assert out.dtype == tensors[0].dtype
        results.append(out.numpy())
    assert all(result.dtype == operands[0].dtype for result in results)
    return results


@pytest.mark.parametrize("semiring", ["log", "max"])
@pytest.mark.parametrize("equation", EQUATIONS)
def test_equation(equation: str, semiring: str) -> None:
    for dtype in ("float64", "float32"):
        operands = random_operands(EQUATIONS[equation], dtype)
        expected = brute_force(equation, operands, semiring)
        for result in both_kinds(equation, operands, semiring):
            assert_close(result, expected, operands, dtype)


@pytest.mark.parametrize("equation", [e for e in EQUATIONS if "..." not in e])
def test_shape_is_einsums(equation: str) -> None:
    operands = random_operands(EQUATIONS[equation])
    assert logsum.logeinsumexp(equation, *operands).shape == np.einsum(equation, *operands).shape


@needs_torch
@pytest.mark.parametrize("equation", [e for e in EQUATIONS if "..." in e])
def test_ellipsis_is_torchs(equation: str) -> None:
    operands = [torch.as_tensor(operand) for operand in random_operands(EQUATIONS[equation])]
    expected = torch.einsum(equation, *(operand.exp() for operand in operands)).log()
    result = logsum.logeinsumexp(equation, *operands)
    torch.testing.assert_close(result, expected)


def test_right_where_the_max_trick_fails() -> None:
    a, b = np.array([[-500.0, 900.0]]), np.array([[900.0], [-500.0]])
    # A few ulp of float64.
    assert logsum.logeinsumexp("ij,jk->ik", a, b)[0, 0] == pytest.approx(
        400 + math.log(2), rel=1e-15
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_large_values(dtype: str) -> None:
    operands = random_operands(((3, 4), (4, 5), (5, 2)), dtype, scale=300)
    expected = brute_force("ij,jk,kl->il", operands)
    for result in both_kinds("ij,jk,kl->il", operands):
        assert_close(result, expected, operands, dtype)


@needs_torch
def test_half_types_keep_float32_between_joins() -> None:
    a = torch.full((3, 3), 300.0).to(torch.bfloat16)
    b = torch.full((3, 3), -300.0).to(torch.bfloat16)
    c = torch.zeros(3, 3, dtype=torch.bfloat16)
    out = logsum.logeinsumexp("ij,jk,kl->il", a, c, b)
    assert out.dtype == torch.bfloat16
    # In bfloat16 300 + log 3 is 302 or 300.
    torch.testing.assert_close(out, torch.full((3, 3), 2 * math.log(3)).to(torch.bfloat16))
    a, b = torch.tensor([300.0]).to(torch.bfloat16), torch.tensor([1.0]).to(torch.bfloat16)
    rows = a.expand(9), b.expand(9)
    expected = torch.tensor(301 + math.log(9)).to(torch.bfloat16)  # 301 itself would be 300
    torch.testing.assert_close(logsum.logeinsumexp("i,i->", *rows), expected, rtol=0, atol=0)


# ---- special values ------------------------------------------------------------------------


@pytest.mark.parametrize("semiring", ["log", "max"])
@pytest.mark.parametrize("equation", ["ij,ij->ij", "ij,jk->ik", "ij,jk,ki->", "ij,k->ijk", "ij->i"])
def test_special_values(equation: str, semiring: str) -> None:
    rng = np.random.default_rng(5)
    values = np.array([-np.inf, np.inf, np.nan, 0.0, 1.0, -2.0])
    chances = [0.4, 0.1, 0.02, 0.16, 0.16, 0.16]
    count = equation.partition("->")[0].count(",") + 1
    for _ in range(20):
        terms = equation.partition("->")[0].split(",")
        operands = [rng.choice(values, (3,) * len(term), p=chances) for term in terms]
        if count == 3:
            # A NaN behind a zero depends on the order of joins; the contract leaves it open.
            operands = [np.where(np.isnan(operand), 1.5, operand) for operand in operands]
        expected = brute_force(equation, operands, semiring)
        for result in both_kinds(equation, operands, semiring):
            assert_close(result, expected, operands, "float64")


def test_a_mask_deletes_terms() -> None:
    a, b, c = random_operands(((4, 6), (6, 3), (6, 3)))
    a[:, [1, 4]] = -np.inf
    keep = [0, 2, 3, 5]
    masked = logsum.logeinsumexp("ij,jk,jk->ik", a, b, c)
    deleted = logsum.logeinsumexp("ij,jk,jk->ik", a[:, keep], b[keep], c[keep])
    # Other chains of additions: a few ulp for each of two joins.
    np.testing.assert_allclose(masked, deleted, rtol=1e-14)


# ---- random equations ----------------------------------------------------------------------


@st.composite
def problems(draw: st.DrawFn) -> tuple[str, list[tuple[int, ...]], int]:
    """An equation, shapes that fit it and a seed."""
    sizes = {letter: draw(st.integers(0 if letter == "a" else 1, 3)) for letter in "abcde"}
    terms = draw(st.lists(st.text("abcde", max_size=3), min_size=1, max_size=5))
    used = sorted(set("".join(terms)))
    output = "".join(draw(st.permutations(used))[: draw(st.integers(0, len(used)))])
    shapes = []
    for term in terms:
        ones = {letter for letter in set(term) if draw(st.integers(0, 5)) == 0}
        shapes.append(tuple(1 if letter in ones else sizes[letter] for letter in term))
    spaces = draw(st.sampled_from(["", " "]))
    equation = f"{spaces},".join(terms)
    explicit = draw(st.booleans())
    return f"{equation}->{output}" if explicit else equation, shapes, draw(st.integers(0, 1000))


@given(problems(), st.sampled_from(["log", "max"]), st.sampled_from(["float32", "float64"]))
def test_random_equations(
    problem: tuple[str, list[tuple[int, ...]], int], semiring: str, dtype: str
) -> None:
    equation, shapes, seed = problem
    operands = random_operands(shapes, dtype, seed=seed)
    rng = np.random.default_rng(seed)
    for operand in operands:
        operand[rng.random(operand.shape) < 0.15] = -np.inf
    expected = brute_force(equation, operands, semiring)
    for result in both_kinds(equation, operands, semiring):
        assert_close(result, expected, operands, dtype)


# ---- bad input -----------------------------------------------------------------------------

E = logsum.logeinsumexp
A = np.zeros((2, 3))

BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no text": (lambda: E(A, A), TypeError, "equation: expected str, got numpy.ndarray"),
    "nothing": (lambda: E("ij"), ValueError, "operands: expected at least one, got none"),
    "count": (lambda: E("ij,jk", A), ValueError, "operands: expected 2 for 'ij,jk', got 1"),
    "more": (lambda: E("ij", A, A), ValueError, "operands: expected 1 for 'ij', got 2"),
    "signs": (lambda: E("i1", A), ValueError, "equation: expected letters.*got 'i1'"),
    "dots": (lambda: E("i..", A), ValueError, r"equation: .*got 'i\.\.'"),
    "ellipses": (lambda: E("...i...", A), ValueError, "equation: expected .*at most one '...'"),
    "arrows": (lambda: E("ij->i->j", A), ValueError, "equation: .*at most one '->'"),
    "output comma": (lambda: E("ij->i,j", A), ValueError, "equation: expected letters"),
    "unknown": (lambda: E("ij->iz", A), ValueError, "equation: .*operand has, got 'z'"),
    "twice": (lambda: E("ij->ii", A), ValueError, "equation: expected each output index once"),
    "rank": (lambda: E("ijk", A), ValueError, r"operands\[0\]: expected 3 axes for 'ijk', got 2"),
    "low rank": (lambda: E("i", A), ValueError, r"operands\[0\]: expected 1 axes for 'i', got 2"),
    "ellipsis rank": (
        lambda: E("ij,...ijk", A, A),
        ValueError,
        r"operands\[1\]: expected at least 3 axes for '...ijk', got 2",
    ),
    "sizes": (
        lambda: E("ij,jk", A, A),
        ValueError,
        r"operands\[1\]: expected size 3 or 1 for index 'j', got 2",
    ),
    "ellipsis sizes": (
        lambda: E("...,...", A, A[:, :2]),
        ValueError,
        r"operands\[1\]: expected size 3 or 1 for index '...\[-1\]', got 2",
    ),
    "diagonal": (
        lambda: E("ii", A),
        ValueError,
        r"operands\[0\]: expected equal sizes along the repeated index 'i', got 2 and 3",
    ),
    "semiring": (lambda: E("ij", A, semiring="min"), ValueError, "semiring: .*got 'min'"),
    "no semiring": (lambda: E("ij", A, semiring=None), ValueError, "semiring: .*got None"),
    "list": (lambda: E("ij", [[1.0]]), TypeError, r"operands\[0\]: .*numpy.ndarray.* got list"),
    "integers": (lambda: E("ij", A.astype(int)), TypeError, r"operands\[0\]: .* got int64"),
    "mixed": (
        lambda: E("ij,ij", A, A.astype(np.float32)),
        TypeError,
        r"operands\[1\]: expected operands\[0\]'s dtype float64, got float32",
    ),
    "nine axes": (
        lambda: E("abcdefghi", np.zeros((1,) * 9)),
        ValueError,
        r"operands\[0\]: expected at most 8 axes, got 9",
    ),
}


@pytest.mark.parametrize("title", BAD)
def test_bad_input(title: str) -> None:
    call, kind, text = BAD[title]
    with pytest.raises(kind, match=f"^logeinsumexp: {text}"):
        call()


@needs_torch
def test_bad_tensors() -> None:
    t = torch.zeros(2, 3)
    with pytest.raises(
        TypeError, match=r"operands\[1\]: expected torch.Tensor.* got numpy.ndarray"
    ):
        E("ij,ij", t, A)
    with pytest.raises(TypeError, match=r"operands\[1\]: .*dtype torch.float32, got torch.float64"):
        E("ij,ij", t, t.double())
    with pytest.raises(TypeError, match=r"operands\[0\]: .* got torch.int64"):
        E("ij", t.long())
    with pytest.raises(ValueError, match=r"operands\[1\]: .*device cpu, got meta"):
        E("ij,ij", t, t.to("meta"))
    with pytest.raises(ValueError, match=r"operands\[1\]: expected size 3 or 1 for index 'j'"):
        E("ij,jk", t, t)


@needs_torch
def test_other_devices() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():  # stands for a GPU where there is none
        a = torch.empty(3, device="cuda")
        with pytest.raises(RuntimeError, match=r"logeinsumexp: operands\[0\]: .*CPU.*cuda:0"):
            E("i->", a)
