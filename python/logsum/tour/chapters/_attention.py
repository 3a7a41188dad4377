"""The number that fused attention stores: the log-sum-exp of every query's scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import logsum
from logsum.tour._contenders import find_module
from logsum.tour._model import Cell, Context, Item, Note, Picture, Table
from logsum.tour.chapters._attention_cost import growth, times_table
from logsum.tour.chapters._fused import (
    LN2,
    Example,
    Gradients,
    Running,
    examples,
    gradients_from_lse,
    rebuilt,
    run_blocks,
    softmax_rows,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from logsum.tour._theme import Theme

title = "What attention keeps"
question = (
    "A fused attention kernel stores its output and, mysteriously, m + log2(l) for every query. "
    "That is a log-sum-exp. Why is it enough for the backward pass, what does storing the "
    "probabilities cost instead, and how long does either take?"
)

Array = NDArray[Any]


def run(context: Context) -> Iterator[Item]:
    """Yield the identity, the running sum, the gradient, and what they cost."""
    count, block = (64, 16) if context.quick else (512, 64)
    kinds = examples(context.rng(), count)
    context.step("the identity")
    yield identity_table(kinds, block)
    yield running_table(kinds["plain"], block, context)
    yield _identity_picture(kinds["causal"], block)
    if find_module("torch") is None:
        yield Note(
            "torch, which takes gradients and has the peer, is not installed: what follows are "
            "values alone."
        )
    else:
        context.step("gradients")
        yield gradient_table(kinds, context)
    yield from growth(context)
    yield times_table(context)


def attend(example: Example, dtype: str) -> tuple[Array, Array]:
    out, lse = logsum.attention(*example.batch(dtype), return_lse=True, **_options(example, dtype))
    return np.asarray(out[0, 0], np.float64), np.asarray(lse[0, 0], np.float64)


def _options(example: Example, dtype: str) -> dict[str, Any]:
    bias = example.options.get("bias")
    return example.options if bias is None else {"bias": bias.astype(dtype)}


# ---- the identity --------------------------------------------------------------------------


def identity_table(kinds: dict[str, Example], block: int) -> Table:
    """Return how far exp(s - lse) is from softmax, and lse / ln 2 from m + log2 l."""
    rows: list[list[Cell | str]] = []
    for name, example in kinds.items():
        scores = example.scores()
        exact = softmax_rows(scores)
        _, wide = attend(example, "float64")
        _, narrow = attend(example, "float32")
        p = rebuilt(scores, wide)
        stored = run_blocks(scores, block).stored[-1]
        held = np.isfinite(wide)
        empty = int((~held).sum())
        assert (np.isfinite(stored) == held).all()
        rows.append(
            [
                Cell(name, f"{empty} queries have no key: lse -∞, p 0" if empty else ""),
                f"{np.abs(wide[held]).max():,.1f}",
                _size(p - exact),
                _size(p[held].sum(axis=1) - 1),
                _size(wide[held] / LN2 - stored[held]),
                _size(rebuilt(scores, narrow) - exact),
            ]
        )
    return Table(
        f"p = exp(s - lse) beside softmax(s), {len(kinds['plain'].q)} queries and keys, D = 64",
        ["scores", "largest |lse|", "p off", "Σp off 1", "lse / ln 2 off m + log2 l", "in float32"],
        rows,
        "The largest absolute errors in float64: lse by attention(..., return_lse=True), scores "
        "and softmax by NumPy, m and l as fused kernels run them, to base 2 and block by block. "
        "in float32: p from the lse of a float32 call, whose scores are rounded on the way and "
        "lse at the end, by up to |lse| times 2^-24, 6e-8: large scores and a far lse cost digits.",
    )


def _size(errors: Array) -> str:
    return f"{np.abs(errors).max():.1e}"


def running_table(example: Example, block: int, context: Context) -> Table:
    """Return m, l and m + log2 l of one query while the keys go by."""
    scores = example.scores()
    row = int(context.rng().integers(len(scores)))
    running = run_blocks(scores[row : row + 1], block)
    q, k, v = example.batch("float64")
    rows: list[list[Cell | str]] = []
    for number, stored in enumerate(running.stored[:, 0]):
        seen = min((number + 1) * block, len(scores))
        _, lse = logsum.attention(
            q[:, :, row : row + 1], k[:, :, :seen], v[:, :, :seen], return_lse=True
        )
        rows.append(
            [
                f"{seen}",
                f"{running.maximum[number, 0]:.6f}",
                f"{running.total[number, 0]:.6f}",
                f"{stored:.12f}",
                f"{lse.item() / LN2:.12f}",
            ]
        )
    return Table(
        f"Query {row} of the plain scores, keys taken in blocks of {block}",
        ["keys seen", "m", "l", "m + log2 l", "lse / ln 2 of these keys"],
        rows,
        "m: the largest score so far, l: the sum of 2^(s - m), both to base 2. Wherever m rises, l "
        "is scaled down; m + log2 l only ever grows. Last column: attention over the first keys "
        "alone, its lse divided by ln 2.",
    )


def _identity_picture(example: Example, block: int) -> Picture:
    scores = example.scores()
    _, lse = attend(example, "float64")
    p, exact = rebuilt(scores, lse), softmax_rows(scores)
    shown = min(64, len(scores))
    row = len(scores) - 1
    running = run_blocks(scores[row : row + 1], block // 8)
    worst = np.abs(p - exact).max()

    def draw(theme: Theme) -> Figure:
        from logsum.tour._theme import new_figure

        figure, grid = new_figure(1, 3, (10.4, 3.7), gridspec_kw={"width_ratios": [1, 1, 1.35]})
        finite = np.where(np.isfinite(scores), scores, np.nan)[:shown, :shown]
        pictures = (("scores s", finite), ("exp(s - lse)", p[:shown, :shown] ** 0.5))
        for axes, (name, values) in zip(grid, pictures, strict=False):
            axes.imshow(values, cmap=theme.greys, interpolation="nearest")
            axes.set_title(name)
            axes.set_xlabel("key")
            axes.set_ylabel("query")
            axes.grid(visible=False)
        _draw_running(grid[2], running, float(lse[row]), block // 8, theme)
        return figure

    return Picture(
        "attention-identity",
        f"Causal scores, and what is left of a softmax once lse is known (the first {shown}, "
        f"square roots; {worst:.0e} from the softmax at worst). Right: one query's running "
        "maximum and m + log2 l, which ends at lse / ln 2.",
        draw,
    )


def _draw_running(axes: Any, running: Running, lse: float, block: int, theme: Theme) -> None:
    seen = block * (1 + np.arange(len(running.total)))
    axes.step(
        seen, running.maximum[:, 0], where="post", color=theme.colours["second"], label="maximum m"
    )
    axes.plot(seen, running.stored[:, 0], color=theme.colours["first"], label="m + log2 l")
    axes.axhline(lse / LN2, color=theme.soft, linestyle=":", linewidth=1.2)
    axes.text(seen[-1], lse / LN2, "lse / ln 2", ha="right", va="bottom", color=theme.soft)
    axes.margins(y=0.15)
    axes.set_title("one query, key by key")
    axes.set_xlabel("keys seen")
    axes.legend(loc="center right")


# ---- the gradient --------------------------------------------------------------------------


def gradient_table(kinds: dict[str, Example], context: Context) -> Table:
    """Return how far gradients made of out and lse are from those of a stored softmax."""
    rng = context.rng()
    rows: list[list[Cell | str]] = []
    for name in ("plain", "causal"):
        example = kinds[name]
        grad_out = rng.standard_normal(example.v.shape)
        grad_lse = rng.standard_normal(len(example.q))
        losses = {
            "out": (grad_out, np.zeros_like(grad_lse)),
            "lse": (np.zeros_like(grad_out), grad_lse),
            "both": (grad_out, grad_lse),
        }
        for loss, (by_out, by_lse) in losses.items():
            dense = dense_gradients(example, by_out, by_lse)
            ours = attention_gradients(example, by_out, by_lse)
            hand = gradients_from_lse(example, *attend(example, "float64"), by_out, by_lse)
            rows.append([f"{name}, of {loss}", _apart(hand, dense), _apart(ours, dense)])
    return Table(
        "Gradients of q, k and v beside those of a stored softmax, in float64",
        ["scores, and what the loss is made of", "by hand from out and lse", "attention's"],
        rows,
        "The largest difference over the largest gradient, the worst of q, k and v. By hand: "
        "p = exp(s - lse), then ds = p (dp - (rowsum(dout out) - dlse)), in NumPy. Stored softmax: "
        "torch's autograd through softmax and logsumexp, which keeps every p.",
    )


def _apart(given: Gradients, exact: Gradients) -> str:
    pairs = [(given.q, exact.q), (given.k, exact.k), (given.v, exact.v)]
    top = max(np.abs(truth).max() for _, truth in pairs)
    return f"{max(np.abs(value - truth).max() for value, truth in pairs) / top:.0e}"


def _leaves(example: Example) -> tuple[Any, ...]:
    torch: Any = find_module("torch")
    return tuple(torch.from_numpy(part).requires_grad_() for part in example.batch("float64"))


def _pulled(leaves: tuple[Any, ...], out: Any, lse: Any, by_out: Array, by_lse: Array) -> Gradients:
    torch: Any = find_module("torch")
    weights = (torch.from_numpy(by_out)[None, None], torch.from_numpy(by_lse)[None, None])
    torch.autograd.backward((out, lse), weights)
    return Gradients(
        *(
            np.zeros_like(x.detach()[0, 0]) if x.grad is None else x.grad[0, 0].numpy()
            for x in leaves
        )
    )


def dense_gradients(example: Example, by_out: Array, by_lse: Array) -> Gradients:
    """Return torch's gradients through a softmax that is stored."""
    torch: Any = find_module("torch")
    q, k, v = leaves = _leaves(example)
    scores = q @ k.transpose(-1, -2) / example.q.shape[1] ** 0.5 + torch.from_numpy(example.bias)
    out, lse = torch.softmax(scores, -1) @ v, torch.logsumexp(scores, -1)
    return _pulled(leaves, out, lse, by_out, by_lse)


def attention_gradients(example: Example, by_out: Array, by_lse: Array) -> Gradients:
    """Return attention's own gradients, through both of its outputs."""
    leaves = _leaves(example)
    out, lse = logsum.attention(*leaves, return_lse=True, **example.options)
    return _pulled(leaves, out, lse, by_out, by_lse)
