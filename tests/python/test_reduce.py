"""Values of reductions of formulas, beside all M N values in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import logsum
from conformance.machine import cpu_target, cpu_targets, threads
from formulas import EDGE_FUNCTIONS, EDGES, FUNCTIONS, OPERATORS, Formula
from tensors import torch

if torch is None:
    pytest.skip("the oracle is written in torch", allow_module_level=True)

import reduce_oracle

# A few roundings of float64 for each of some twenty operations, and of sums of six terms.
CLOSE = {"rtol": 1e-13, "atol": 1e-13, "equal_nan": True}

EVERY = {**FUNCTIONS, **OPERATORS}
_NAMES = (
    "Sum LogSumExp LogSumExpWeight SumSoftMaxWeight SoftMax Min Max ArgMin ArgMax Min_ArgMin "
    "Max_ArgMax KMin ArgKMin KMin_ArgKMin"
)
REDUCTIONS = _NAMES.split()
both_axes = pytest.mark.parametrize("axis", [0, 1])
every_reduction = pytest.mark.parametrize("op", REDUCTIONS)


def parts(op: str) -> dict[str, Any]:
    """Return what a reduction needs beside its formula."""
    if op in ("LogSumExpWeight", "SumSoftMaxWeight", "SoftMax"):
        return {"formula2": "Exp(x - y)" if op == "LogSumExpWeight" else "x + 2 * y"}
    return {"opt_arg": 3} if "KMin" in op else {}


def as_tuple(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)


def judge(
    formula: Formula, op: str, axis: int, arrays: list[Any], close: Any = None, **options: Any
) -> None:
    """Fail unless Genred and the oracle agree on arrays."""
    got = as_tuple(logsum.Genred(formula.text, formula.aliases, op, axis, **options)(*arrays))
    tensors = [torch.tensor(np.array(x, float)) for x in arrays]
    expected = reduce_oracle.genred(formula.text, formula.aliases, op, axis, tensors, **options)
    assert len(got) == len(expected)
    for have, want in zip(got, expected, strict=True):
        assert have.dtype == (np.int64 if want.dtype == torch.int64 else arrays[0].dtype)
        assert have.shape == tuple(want.shape)
        np.testing.assert_allclose(have, want.detach().numpy(), **(close or CLOSE))


# ---- the language --------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
@both_axes
def test_formulas(name: str, axis: int) -> None:
    formula = EVERY[name]
    judge(formula, "Sum", axis, formula.arrays())


@pytest.mark.parametrize("name", EVERY)
def test_formulas_in_float32(name: str) -> None:
    formula = EVERY[name]
    arrays = [x.astype(np.float32) for x in formula.arrays(seed=1)]
    judge(formula, "Sum", 1, arrays, {"rtol": 2e-6, "atol": 1e-5, "equal_nan": True})


def test_every_function_is_tested() -> None:
    listed = {row[0] for row in logsum._core.formula_functions()}
    tested = {name.split()[0] for name in EVERY}
    # Variables and operators have rows too.
    callable_ = {name for name in listed if name.isalnum() and name[0].isupper() and len(name) > 1}
    assert callable_ - tested <= {"Vi", "Vj", "Pm", "Var"}


@pytest.mark.parametrize("name", EDGE_FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_edges(name: str, dtype: Any) -> None:
    """A sum of one term is the function itself."""
    x = EDGES[:, None].astype(dtype)
    got = logsum.Genred(f"{name}(x) + 0 * y", ["x = Vi(1)", "y = Vj(1)"], axis=1)(x, x[:1] * 0)
    with np.errstate(all="ignore"):
        value = reduce_oracle.FUNCTIONS[name](reduce_oracle.Value(torch.from_numpy(x).double()))
        want = value.data.numpy().astype(dtype)
    if name in ("Sin", "Cos"):  # of numbers whose neighbours are radians apart
        got, want = got[np.abs(x) < 1e6], want[np.abs(x) < 1e6]
    close = {"rtol": 1e-6 if dtype == np.float32 else 1e-14, "atol": 1e-37}
    np.testing.assert_allclose(got, want, **close)


def test_aliases_give_their_positions() -> None:
    x, y = np.array([[1.0], [2.0]]), np.array([[10.0], [30.0]])
    swapped = logsum.Genred("x - y", ["y = Vj(1, 1)", "x = Vi(0, 1)"], axis=1)
    assert swapped(x, y).tolist() == [[-38.0], [-36.0]]
    unnamed = logsum.Genred("Var(0,1,0) - Var(1,1,1)", ["Vi(1)", "Vj(1)"], axis=1)
    assert unnamed(x, y).tolist() == [[-38.0], [-36.0]]
    within = logsum.Genred("Vi(0, 1) - Vj(1, 1)", [], axis=1)
    assert within(x, y).tolist() == [[-38.0], [-36.0]]


def test_an_alias_may_take_an_index_term() -> None:
    x = np.array([[1.0], [2.0]])
    named = logsum.Genred("i + M", ["i = Vi(1)", "M = Vj(1)"], axis=1)
    assert named(x, 10 * x).tolist() == [[32.0], [34.0]]


# ---- reductions ----------------------------------------------------------------------------


PAIRS = Formula("SqDist(x, y) * s - x * y", ("x = Vi(2)", "y = Vj(2)", "s = Pm(1)"))
SCALAR = Formula("x * y + s", ("x = Vi(1)", "y = Vj(1)", "s = Pm(1)"))


def formula_for(op: str) -> Formula:
    return SCALAR if parts(op).get("formula2") else PAIRS


@every_reduction
@both_axes
def test_reductions(op: str, axis: int) -> None:
    formula = formula_for(op)
    judge(formula, op, axis, formula.arrays(), **parts(op))


@every_reduction
@both_axes
def test_scalar_formulas(op: str, axis: int) -> None:
    judge(SCALAR, op, axis, SCALAR.arrays(seed=2), **parts(op))


@every_reduction
@both_axes
def test_batches(op: str, axis: int) -> None:
    """Batch axes broadcast, and an array without them serves all."""
    formula = formula_for(op)
    for batch in ({"x": (3,)}, {"x": (2, 1), "s": (4,)}, {"x": (1, 3), "y": (2, 1), "s": (2, 3)}):
        judge(formula, op, axis, formula.arrays(batch=batch), **parts(op))


@every_reduction
@both_axes
def test_strides(op: str, axis: int) -> None:
    formula = formula_for(op)
    x, y, s = formula.arrays()
    wide = np.zeros((5, 2 * x.shape[1]))
    wide[:, ::2] = x
    views = [wide[:, ::2], np.asfortranarray(y)[::-1], np.broadcast_to(s[0], (1,))]
    judge(formula, op, axis, views, **parts(op))


@every_reduction
@both_axes
@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (0, 0), (1, 1)])
def test_nothing(op: str, axis: int, sizes: tuple[int, int]) -> None:
    """A reduction of nothing is its unit, with the index -1."""
    formula = formula_for(op)
    x, y, s = formula.arrays()
    judge(formula, op, axis, [x[: sizes[0]], y[: sizes[1]], s], **parts(op))


@every_reduction
def test_long_and_thin(op: str) -> None:
    """One row, whose columns are cut among threads, and one column."""
    generator = np.random.default_rng(5)
    formula = formula_for(op)
    dim = 1 if formula is SCALAR else 2
    short, long = generator.normal(size=(1, dim)), generator.normal(size=(20_011, dim))
    close = {"rtol": 1e-11, "atol": 1e-10}
    judge(formula, op, 1, [short, long, short[0, :1]], close, **parts(op))
    judge(formula, op, 0, [long, short, short[0, :1]], close, **parts(op))


@every_reduction
@both_axes
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_dtypes(op: str, axis: int, dtype: Any) -> None:
    """Results are those of the stored numbers, rounded once."""
    formula = formula_for(op)
    arrays = [x.astype(dtype) for x in formula.arrays(seed=3)]
    unit = float(np.finfo(dtype).eps)
    judge(formula, op, axis, arrays, {"rtol": 4 * unit, "atol": 4 * unit}, **parts(op))


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 7, 8, 16, 17, 31, 64, 100])
def test_dimensions(dim: int) -> None:
    """Micro-kernels of every dimension, in sums of vectors too."""
    generator = np.random.default_rng(dim)
    x, y, b = (generator.normal(size=(n, dim)) for n in (37, 53, 53))
    aliases = (f"x = Vi({dim})", f"y = Vj({dim})", f"b = Vj({dim})")
    close = {"rtol": 1e-12, "atol": 1e-11}
    for text in (f"Exp(-SqDist(x, y) / {dim}) * b", f"Exp((x | y) / {dim}) * (x - b)"):
        judge(Formula(text, aliases), "Sum", 1, [x, y, b], close)
        judge(Formula(text, aliases), "Sum", 0, [x, y, b], close)
    soft = Formula(f"-SqDist(x, y) / {dim}", aliases)
    judge(soft, "SumSoftMaxWeight", 1, [x, y, b], close, formula2="b")
    judge(soft, "KMin_ArgKMin", 0, [x, y, b], close, opt_arg=4)


# ---- minima --------------------------------------------------------------------------------


TABLE = np.array([[2.0, 1.0, 2.0, 1.0, 3.0, 1.0]]).T
COLUMN = Formula("y + 0 * x", ("x = Vi(1)", "y = Vj(1)"))


def minima(op: str, y: Any, **options: Any) -> Any:
    return logsum.Genred(COLUMN.text, COLUMN.aliases, op, 1, **options)(np.zeros((1, 1)), y)


def test_ties_go_to_the_lowest_index() -> None:
    assert minima("ArgMin", TABLE).tolist() == [[1]]
    assert minima("ArgMax", -TABLE).tolist() == [[1]]
    values, indices = minima("KMin_ArgKMin", TABLE, opt_arg=5)
    assert values.tolist() == [[1.0, 1.0, 1.0, 2.0, 2.0]]
    assert indices.tolist() == [[1, 3, 5, 0, 2]]


def test_fewer_than_k() -> None:
    values, indices = minima("KMin_ArgKMin", TABLE[:2], opt_arg=4)
    assert values.tolist() == [[1.0, 2.0, np.inf, np.inf]]
    assert indices.tolist() == [[1, 0, -1, -1]]


def test_infinite_minima_have_an_index() -> None:
    inf = np.full((3, 1), np.inf)
    assert minima("ArgMin", inf).tolist() == [[0]]
    assert minima("ArgMax", -inf).tolist() == [[0]]
    values, indices = minima("KMin_ArgKMin", np.concatenate([inf, TABLE[:1], -inf[:1]]), opt_arg=3)
    assert values.tolist() == [[-np.inf, 2.0, np.inf]]
    assert indices.tolist() == [[4, 3, 0]]


def test_nan_wins() -> None:
    y = TABLE.copy()
    y[[2, 4]] = np.nan
    value, index = minima("Min_ArgMin", y)
    assert np.isnan(value).all()
    assert index.tolist() == [[2]]
    assert minima("Max_ArgMax", y)[1].tolist() == [[2]]
    values, indices = minima("KMin_ArgKMin", y, opt_arg=6)
    np.testing.assert_array_equal(values, [[1, 1, 1, 2, np.nan, np.nan]])
    assert indices.tolist() == [[1, 3, 5, 0, 2, 4]]


def test_many_minima() -> None:
    generator = np.random.default_rng(8)
    x, y = (generator.normal(size=(n, 3), scale=3).round() for n in (20, 2000))
    pair = Formula("SqDist(x, y)", ("x = Vi(3)", "y = Vj(3)"))
    for count in (1, 2, 10, 100):
        judge(pair, "KMin_ArgKMin", 1, [x, y], opt_arg=count)  # distances that often tie


# ---- special values ------------------------------------------------------------------------


LOGITS = Formula("x + y", ("x = Vi(1)", "y = Vj(1)"))


def test_logsumexp_of_infinities() -> None:
    inf = np.inf
    y = np.array([[-inf], [0.0], [1.0]])
    x = np.array([[0.0], [-inf], [inf], [np.nan], [-1e300], [1e300]])
    call = logsum.Genred(LOGITS.text, LOGITS.aliases, "LogSumExp", axis=1)
    with np.errstate(invalid="ignore"):
        got = call(x, y)[:, 0]
        assert got[0] == pytest.approx(np.log1p(np.e))
        np.testing.assert_array_equal(got[1:], [-inf, np.nan, np.nan, -1e300, 1e300])
    assert call(x[2:3], y[1:]) == inf
    assert call(x[:1], y[:1]) == -inf


def test_weights_of_either_sign() -> None:
    generator = np.random.default_rng(9)
    x, y, b = (generator.normal(size=(n, 1)) * 30 for n in (7, 900, 900))
    pair = Formula("x + y", ("x = Vi(1)", "y = Vj(1)", "b = Vj(2)"))
    b = np.concatenate([b, -b], 1)  # one of the two sums is negative
    close = {"rtol": 1e-11, "atol": 1e-11, "equal_nan": True}
    with np.errstate(invalid="ignore"):
        judge(pair, "LogSumExpWeight", 1, [x, y, b], close, formula2="b")
        judge(pair, "LogSumExp", 1, [x, y, b], close, formula2="b")


def test_far_apart() -> None:
    """Kernels that float32 and float64 cannot hold have logarithms all the same."""
    x, y = np.array([[0.0], [1e4]], np.float32), np.array([[1.0], [2.0]], np.float32)
    call = logsum.Genred("-SqDist(x, y)", ["x = Vi(1)", "y = Vj(1)"], "LogSumExp", axis=1)
    want = [[np.log(np.exp(-1) + np.exp(-4))], [-((1e4 - 2.0) ** 2)]]
    # float32: a difference and its square are rounded, and so is the result.
    np.testing.assert_allclose(call(x, y), want, rtol=1e-6)


def test_constant_terms_do_not_drift() -> None:
    """Equal terms round alike in a chain of 32, and no further: 4e-7 whatever their number."""
    for count in (4096, 65_536):
        x, y = np.zeros((2, 1), np.float32), np.full((count, 1), 0.7, np.float32)
        total = logsum.Genred("x + y", LOGITS.aliases, "Sum", axis=1)(x, y)
        np.testing.assert_allclose(total, count * float(y[0, 0]), rtol=4e-7)
        lse = logsum.Genred("x + y", LOGITS.aliases, "LogSumExp", axis=1)(x, y)
        # The same error of the sum is divided by a logarithm beyond 8; half an ulp is left.
        np.testing.assert_allclose(lse, np.log(count) + float(y[0, 0]), rtol=2e-7)


# ---- masks ---------------------------------------------------------------------------------


MASKS = {
    "causal": ("j <= i", lambda i, j: j <= i),
    "band": ("Abs(i - j) <= 2", lambda i, j: abs(i - j) <= 2),
    "block": ("(i - 4) * (j - 4) > 0", lambda i, j: (i - 4) * (j - 4) > 0),
    "last": ("j == N - 1", lambda i, j: (j == 8) & (i >= 0)),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_formulas(name: str) -> None:
    text, mask = MASKS[name]
    generator = np.random.default_rng(10)
    x, y = generator.normal(size=(9, 2)), generator.normal(size=(9, 2))
    i, j = np.ogrid[:9, :9]
    taken = np.broadcast_to(mask(i, j), (9, 9))
    scores = np.where(taken, x @ y.T, -np.inf)
    aliases = ["x = Vi(2)", "y = Vj(2)"]
    got = logsum.Genred(f"(x | y) + Log({text})", aliases, "LogSumExp", axis=1)(x, y)
    want = np.where(taken.any(1), np.logaddexp.reduce(scores, 1), -np.inf)
    # float64: some thousand roundings, for scores near 0.
    np.testing.assert_allclose(got[:, 0], want, rtol=1e-12)
    counts = logsum.Genred(text, aliases, "Sum", axis=0)(x, y)
    np.testing.assert_array_equal(counts[:, 0], taken.sum(0))


# ---- the machine ---------------------------------------------------------------------------


def test_targets_agree() -> None:
    for formula in EVERY.values():
        arrays = [x.astype(np.float32) for x in formula.arrays(seed=4)]
        call = logsum.Genred(formula.text, formula.aliases, "Sum", axis=1)
        expected = call(*arrays)
        for name in cpu_targets():
            with cpu_target(name):
                # Targets differ in float32 roundings, a few ulp a function and a term.
                np.testing.assert_allclose(call(*arrays), expected, rtol=1e-5, atol=1e-5)


@every_reduction
@both_axes
def test_threads_change_no_bit(op: str, axis: int) -> None:
    generator = np.random.default_rng(11)
    formula = formula_for(op)
    dim = 1 if formula is SCALAR else 2
    sizes = ((3, 9001), (9001, 3), (700, 800))
    call = logsum.Genred(formula.text, formula.aliases, op, axis, **parts(op))
    for m, n in sizes:
        x, y = (generator.normal(size=(k, dim)).astype(np.float32) for k in (m, n))
        results = []
        for count in (1, 2, 3, 5):
            with threads(count):
                results.append([r.tobytes() for r in as_tuple(call(x, y, x[0, :1]))])
        assert all(result == results[0] for result in results)
