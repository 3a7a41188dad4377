"""logeinsumexp: equations of every kind beside brute force, the path, derivatives, bad input."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import logsum
from logsum import _einsum_path, _einsum_run
from tensors import needs_torch, torch
from tolerances import ulp

Array = np.ndarray[Any, Any]

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


def product_of(terms: Sequence[Array]) -> Array:
    """Sum logarithms; -inf is a zero that absorbs +inf."""
    with np.errstate(invalid="ignore"):
        total = np.asarray(sum(terms))
    zero = np.logical_or.reduce(np.broadcast_arrays(*(term == -np.inf for term in terms)))
    missing = np.logical_or.reduce(np.broadcast_arrays(*(np.isnan(term) for term in terms)))
    return np.where(missing, np.nan, np.where(zero, -np.inf, total))


def brute_force(equation: str, operands: Sequence[Any], semiring: str = "log") -> Array:
    """Every term of the sum in float64, in an array with an axis for each index."""
    wide = [np.asarray(operand, np.float64) for operand in operands]
    text, arrow, output = equation.replace(" ", "").partition("->")
    terms = text.split(",")
    letters_of = [term.replace("...", "") for term in terms]
    widths = [operand.ndim - len(own) for own, operand in zip(letters_of, wide, strict=True)]
    width = max(widths)
    stand_ins = "0123456789"[:width]
    spelled = [
        term.replace("...", stand_ins[width - covered :])
        for term, covered in zip(terms, widths, strict=True)
    ]
    letters = "".join(spelled)
    if not arrow:
        once = sorted(c for c in set(letters) if letters.count(c) == 1 and c.isalpha())
        output = "..." + "".join(once)
    output = output.replace("...", stand_ins)
    indices = [*output, *sorted(set(letters) - set(output))]
    factors = []
    for term, operand in zip(spelled, wide, strict=True):
        view = np.einsum(operand, [*map(indices.index, term)], [*map(indices.index, unique(term))])
        order = sorted(unique(term), key=indices.index)
        view = view.transpose([unique(term).index(c) for c in order])
        factors.append(
            view.reshape([view.shape[order.index(c)] if c in order else 1 for c in indices])
        )
    full = product_of(factors)
    axes = tuple(range(len(output), len(indices)))
    top = np.asarray(np.max(full, axes, initial=-np.inf, keepdims=True)) if axes else full
    if semiring == "max" or not axes:
        return top.squeeze(axes)
    with np.errstate(all="ignore"):
        total = np.exp(full - np.where(np.isinf(top), 0, top)).sum(axes, keepdims=True)
        return np.where(np.isinf(top), top, top + np.log(total)).squeeze(axes)


def unique(term: str) -> list[str]:
    return list(dict.fromkeys(term))


def assert_close(given: Any, expected: Array, operands: Sequence[Any], dtype: str) -> None:
    """Within the error of `len(operands)` joins, each of which rounds a number of this size."""
    got = np.asarray(given, np.float64)
    assert got.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite])
    sizes = [np.abs(np.where(np.isfinite(a), a, 0)).max(initial=0.0) for a in map(wide, operands)]
    terms = math.prod(max(n, 1) for a in map(wide, operands) for n in a.shape)
    largest = np.float64(sum(sizes) + math.log(terms) + 1)
    # docs/matmul.md: 2e-6 for a product (float64: 4e-15) and half an ulp of its result.
    kind = "float64" if dtype == "float64" else "float32"
    each = {"float32": 2e-6, "float64": 4e-15}[kind] + ulp(np.asarray(largest), kind) / 2
    bound = (2 * len(operands)) * each + ulp(np.where(finite, expected, 0), dtype) / 2
    error = np.abs(got[finite] - expected[finite])
    assert (error <= bound[finite]).all(), error.max()


def wide(array: Any) -> Array:
    return np.asarray(array, np.float64)


def random_operands(
    shapes: Sequence[tuple[int, ...]], dtype: str = "float64", scale: float = 3.0, seed: int = 0
) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [np.asarray(scale * rng.standard_normal(shape), dtype) for shape in shapes]


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


# ---- views and the path --------------------------------------------------------------------


@pytest.mark.parametrize(
    "equation", ["ij,jk->ik", "ji,kj->ik", "bij,bjk->bik", "aibj,jck->abcik", "iij,jk->ik"]
)
def test_operands_are_not_copied(equation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Array] = []

    def spy(A: Array, B: Array, *, semiring: str) -> Any:
        seen.extend((A, B))
        return logsum.logmatmulexp(A, B, semiring=semiring)

    monkeypatch.setattr(_einsum_run, "logmatmulexp", spy)
    terms = equation.partition("->")[0].split(",")
    operands = random_operands([(3,) * len(term) for term in terms])
    logsum.logeinsumexp(equation, *operands)
    assert len(seen) == 2
    assert all(any(np.shares_memory(part, whole) for whole in operands) for part in seen)


def test_nothing_larger_than_the_results_of_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def spy(A: Array, B: Array, *, semiring: str) -> Any:
        out = logsum.logmatmulexp(A, B, semiring=semiring)
        sizes.append(out.size)
        return out

    monkeypatch.setattr(_einsum_run, "logmatmulexp", spy)
    start, *chain = random_operands(((50,), *((50, 50),) * 6))
    logsum.logeinsumexp("a,ab,bc,cd,de,ef,fg->g", start, *chain)
    assert sizes == [50] * 6


def work_of(
    pairs: _einsum_path.Pairs, inputs: Sequence[tuple[str, ...]], output: str, sizes: dict[str, int]
) -> int:
    live = dict(enumerate(map(set, inputs)))
    total = 0
    for number, (one, other) in enumerate(pairs, start=len(inputs)):
        union = live.pop(one) | live.pop(other)
        total += math.prod(sizes[label] for label in union)
        live[number] = union & set(output).union(*live.values())
    assert list(live.values()) == [set(output)]
    return total


def every_order(count: int) -> list[_einsum_path.Pairs]:
    def extend(live: list[int], made: int) -> list[list[tuple[int, int]]]:
        if len(live) == 1:
            return [[]]
        return [
            [pair, *rest]
            for pair in itertools.combinations(live, 2)
            for rest in extend([k for k in live if k not in pair] + [made], made + 1)
        ]

    return [tuple(order) for order in extend(list(range(count)), count)]


def test_few_operands_are_joined_in_the_best_order() -> None:
    rng = np.random.default_rng(6)
    for _ in range(30):
        count = int(rng.integers(3, 6))
        sizes = {label: int(rng.integers(1, 20)) for label in "abcdef"}
        inputs = [
            tuple(rng.permutation(list("abcdef"))[: rng.integers(1, 4)]) for _ in range(count)
        ]
        holders = [label for labels in inputs for label in labels]
        once = {label for label in holders if holders.count(label) == 1}
        output = "".join(sorted(once))
        pairs = _einsum_path.joining_order(tuple(inputs), tuple(output), tuple(sizes.items()))
        best = min(work_of(order, inputs, output, sizes) for order in every_order(count))
        assert work_of(pairs, inputs, output, sizes) == best


def test_many_operands_are_joined_greedily_and_cheaply() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    inputs = tuple(itertools.pairwise(letters))
    sizes = dict.fromkeys(letters, 10)
    pairs = _einsum_path.joining_order(inputs, ("a", "z"), tuple(sizes.items()))
    # Any order of a chain without outer products: a product of 10 x 10 matrices for each join.
    assert work_of(pairs, inputs, "az", sizes) == 24 * 1000


# ---- derivatives ---------------------------------------------------------------------------


def dense(equation: str, semiring: str) -> Callable[..., Any]:
    """The same in plain torch: all terms, then logsumexp or max; indices are single letters."""
    terms, _, output = equation.partition("->")
    split = terms.split(",")
    summed = sorted(set("".join(split)) - set(output))
    indices = [*output, *summed]

    def function(*operands: Any) -> Any:
        total = 0
        for term, operand in zip(split, operands, strict=True):
            order = sorted(term, key=indices.index)
            view = operand.permute([term.index(c) for c in order])
            shape = [view.shape[order.index(c)] if c in order else 1 for c in indices]
            total = total + view.reshape(shape)
        if not summed:
            return total
        if semiring == "max":
            return total.flatten(len(output)).max(-1).values
        return torch.logsumexp(total, list(range(len(output), len(indices))))

    return function


SMOOTH = {
    "ij,jk->ki": ((3, 2), (2, 4)),
    "ij,ij->ij": ((2, 3), (2, 3)),
    "ijk->j": ((2, 3, 2),),
    "aib,cb,a->ic": ((2, 3, 2), (3, 2), (2,)),
    "ij,jk,kl->il": ((2, 3), (3, 2), (2, 2)),
}


@needs_torch
@pytest.mark.parametrize("semiring", ["log", "max"])
@pytest.mark.parametrize("equation", SMOOTH)
def test_gradients(equation: str, semiring: str) -> None:
    def leaves() -> list[Any]:
        return [torch.tensor(a, requires_grad=True) for a in random_operands(SMOOTH[equation])]

    ours, theirs = leaves(), leaves()
    out = logsum.logeinsumexp(equation, *ours, semiring=semiring)
    expected = dense(equation, semiring)(*theirs)
    torch.testing.assert_close(out, expected)
    cotangent = torch.as_tensor(random_operands([tuple(out.shape)], seed=1)[0])
    (out * cotangent).sum().backward()
    (expected * cotangent).sum().backward()
    for mine, yours in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, yours.grad)


@needs_torch
@pytest.mark.parametrize("equation", SMOOTH)
def test_gradcheck(equation: str) -> None:
    operands = [torch.tensor(a, requires_grad=True) for a in random_operands(SMOOTH[equation])]

    def function(*values: Any) -> Any:
        return logsum.logeinsumexp(equation, *values)

    assert torch.autograd.gradcheck(function, operands, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, operands)


@needs_torch
@pytest.mark.parametrize("semiring", ["log", "max"])
@pytest.mark.parametrize("equation", ["ij,ij->ij", "ij,jk->ik", "ij,ij,jk->", "ij->i"])
def test_gradients_of_zeros_are_zero(equation: str, semiring: str) -> None:
    terms = equation.partition("->")[0].split(",")
    operands = [torch.full((3,) * len(term), -math.inf, requires_grad=True) for term in terms]
    out = logsum.logeinsumexp(equation, *operands, semiring=semiring)
    assert (out == -math.inf).all()
    out.sum().backward()
    for operand in operands:
        torch.testing.assert_close(operand.grad, torch.zeros_like(operand))


@needs_torch
def test_max_gradient_goes_to_the_first_maximum() -> None:
    a = torch.zeros(4, requires_grad=True)
    logsum.logeinsumexp("i->", a, semiring="max").backward()
    torch.testing.assert_close(a.grad, torch.tensor([1.0, 0.0, 0.0, 0.0]))


@needs_torch
def test_vmap() -> None:
    a, b, c = (torch.as_tensor(x) for x in random_operands(((5, 3, 4), (4, 2), (5, 2, 3))))
    mapped = torch.func.vmap(
        lambda x, y, z: logsum.logeinsumexp("ij,jk,kl->il", x, y, z), (0, None, 0)
    )
    expected = logsum.logeinsumexp("bij,jk,bkl->bil", a, b, c)
    torch.testing.assert_close(mapped(a, b, c), expected)


@needs_torch
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile(dynamic: bool) -> None:
    torch._dynamo.reset()

    def function(*operands: Any) -> Any:
        return logsum.logeinsumexp("ij,jk,k...->i...", *operands).exp()

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for size in (3, 4):
        shapes = ((2, size), (size, 5), (5, 3, 2))
        ours, theirs = (
            [torch.tensor(a, requires_grad=True) for a in random_operands(shapes)] for _ in "ab"
        )
        out, expected = compiled(*ours), function(*theirs)
        torch.testing.assert_close(out, expected)
        out.sum().backward()
        expected.sum().backward()
        for mine, yours in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine.grad, yours.grad)


@needs_torch
def test_two_operands_are_compiled_once_for_all_sizes() -> None:
    torch._dynamo.reset()
    count = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(
        lambda a, b: logsum.logeinsumexp("bij,bkj->bik", a, b),
        fullgraph=True,
        backend=count,
        dynamic=True,
    )
    for size in (3, 4, 5, 6):
        a = torch.zeros(2, size, 5)
        torch.testing.assert_close(compiled(a, a), logsum.logeinsumexp("bij,bkj->bik", a, a))
    assert count.frame_count == 1


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
