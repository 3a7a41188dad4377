"""Attention under the conformance suite: plain, with biases and sinks, masked, with a formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

import attention_oracle as oracle
import logsum
import tolerances
from conformance import Conformance, Kind, Monoid, Sample, State, filled, normal
from conformance.derivative import leaves
from conformance.report import check
from conformance.sample import Doubles, torch


def qkv(
    batch: int = 1,
    heads: tuple[int, int] = (2, 2),
    rows: tuple[int, int] = (3, 4),
    sizes: tuple[int, int] = (3, 3),
    scale: float = 1.0,
) -> tuple[Doubles, Doubles, Doubles]:
    """Return normal queries, keys and values; pairs of sizes are of queries and keys, D and Dv."""
    return (
        normal(batch, heads[0], rows[0], sizes[0], scale=scale),
        normal(batch, heads[1], rows[1], sizes[0], scale=scale, seed=1),
        normal(batch, heads[1], rows[1], sizes[1], scale=1.0, seed=2),
    )


def merge(*states: State) -> State:
    """Merge attention over disjoint keys."""
    merged: State = logsum.merge(*states)
    return merged


def nothing(state: State) -> State:
    """Return the state of no keys; its out is not read."""
    out, lse = state
    return filled(out, np.nan), filled(lse, -np.inf)


def parts(sample: Sample) -> list[Sample]:
    """Return a sample cut in three along the keys."""
    q, k, v = sample.arguments
    pieces = zip(np.array_split(k, 3, 2), np.array_split(v, 3, 2), strict=True)
    return [sample.with_arguments(f"part {n}", (q, *piece)) for n, piece in enumerate(pieces)]


class Attention(Conformance):
    """What all cases share. The first three arguments are q, k and v."""

    differentiable = (0, 1, 2)
    logarithmic = ()
    smooth = (0, 1)
    wide = (1,)
    accuracy = (tolerances.MEAN, tolerances.FORMULA_LOG_SUM)
    gradient_tolerance = tolerances.ATTENTION_GRADIENT
    # Of the arguments, and of those that gradients flow to.
    names: ClassVar[tuple[str, ...]] = ()
    smooth_names: ClassVar[tuple[str, ...]] = ("q", "k", "v")

    def call(self, q: Any, k: Any, v: Any, *others: Any, **options: Any) -> Any:
        given = dict(zip(self.names, others, strict=True))
        return logsum.attention(q, k, v, **given, **options, return_lse=True)

    def reference(self, q: Any, k: Any, v: Any, *others: Any, **options: Any) -> Any:
        given = dict(zip(self.names, others, strict=True))
        return oracle.attention(q, k, v, **given, **options)

    def gradient(
        self, cotangents: Any, q: Any, k: Any, v: Any, *others: Any, **options: Any
    ) -> Any:
        given = dict(zip(self.names, others, strict=True))
        found = oracle.attention_gradient(*cotangents, q, k, v, **given, **options)
        return [found[name] for name in self.smooth_names]

    def magnitude(self, arguments: Sequence[Any], sample: Sample) -> float:
        """Return the size of the scores, beside that of the results."""
        q, k = (np.abs(np.nan_to_num(x, posinf=0, neginf=0)) for x in sample.arguments[:2])
        norms = [float(np.sqrt((x**2).sum(-1)).max(initial=0)) for x in (q, k)]
        scores = norms[0] * norms[1] / max(q.shape[-1], 1) ** 0.5
        return scores + super().magnitude(arguments, sample)

    def gradient_scale(self, cotangents: Sequence[Doubles]) -> float:
        """Return the sum over queries of what comes in, times the size of a value."""
        return 3 * sum(float(np.abs(x).sum(2).max(initial=0)) for x in cotangents)

    def samples(self) -> list[Sample]:
        return [Sample("plain", qkv(2))]

    # ---- derivatives --------------------------------------------------------------------

    @check(hook="differentiables", dtypes=("float64",))
    def test_gradcheck(self, sample: Sample, kind: Kind) -> None:
        """Finite differences agree, in reverse, forward and batched mode."""
        function, inputs = self.of_differentiable(leaves(self, kind.arrays(sample)), sample)

        def finite(*x: Any) -> State:  # differences of -inf, the lse of no keys, are NaN
            return tuple(out.nan_to_num(neginf=0.0) for out in function(*x))

        torch.autograd.gradcheck(
            finite,
            inputs,
            check_forward_ad=True,
            check_batched_grad=True,
            check_batched_forward_grad=True,
            check_undefined_grad=True,
        )

    # Every set of five arrays is mapped, along every axis: one sample is enough.
    test_vmap = check(hook="first_samples", dtypes=("float64",))(Conformance.test_vmap.__wrapped__)


class TestAttention(Attention):
    """Queries, keys and values alone."""

    name = "attention"
    monoid = Monoid(merge, nothing, parts)

    def samples(self) -> list[Sample]:
        return [
            Sample("plain", qkv(2)),
            Sample("groups", qkv(1, (4, 2), (2, 3), (2, 5)), {"causal": True}),
            Sample("bottom-right", qkv(1, (2, 1), (2, 5)), {"causal": "bottom-right"}),
            Sample("more queries", qkv(1, (1, 1), (6, 3)), {"causal": "bottom-right"}),
            Sample("window", qkv(1, (1, 1), (6, 6)), {"window": (2, 1), "softcap": 0.8}),
            Sample("scaled", qkv(scale=3.0), {"scale": -0.3}),
            Sample("no scale", qkv(), {"scale": 0.0}),
            Sample("steep", qkv(1, (1, 1), (3, 5), (4, 2), scale=8.0)),
        ]

    def empties(self) -> list[Sample]:
        return [
            Sample("no keys", qkv(rows=(3, 0))),
            Sample("no queries", qkv(rows=(0, 3))),
            Sample("no components", qkv(sizes=(0, 2))),
            Sample("no values", qkv(sizes=(2, 0))),
            Sample("no batch", qkv(0)),
            Sample("no heads", qkv(heads=(0, 0))),
            Sample("no query heads", qkv(heads=(0, 2))),
        ]

    def constants(self) -> list[Sample]:
        q, k, v = (np.full((1, 1, n, 4), x) for n, x in ((2, 0.7), (65536, -0.7), (65536, 0.3)))
        return [Sample("65536 equal keys", (q, k, v))]

    def larges(self) -> list[Sample]:
        return [
            Sample("one head", qkv(1, (1, 1), (257, 515), (40, 33)), {"causal": "bottom-right"}),
            Sample("many heads", qkv(2, (6, 3), (70, 129), (16, 16)), {"window": (50, -1)}),
            Sample("decode", qkv(1, (4, 2), (1, 9000), (16, 16))),
        ]

    def heavies(self) -> list[Sample]:
        # What they hold does not matter. Their scores would be 100 MB.
        zeros = np.zeros((1, 1, 5000, 32))
        return [Sample("heavy", (zeros, zeros, zeros))]

    def allowance(self, sample: Sample, kind: Kind, derivative: bool) -> int:
        # include/logsum/attention.hpp: a few MB a thread, of which there are four; out and lse are
        # kept for a gradient.
        q, _, v = sample.arguments
        results = 4 * (q.shape[2] * (v.shape[3] + 1))
        return 4 * (8 << 20) + (results if derivative else 0)

    def parted(self) -> list[Sample]:
        return [Sample("plain", qkv(2)), Sample("more parts than keys", qkv(rows=(3, 2)))]


class TestAttentionOfBiases(Attention):
    """A bias and sinks, which hold logarithms."""

    name = "attention of biases"
    differentiable = (0, 1, 2, 3, 4)
    logarithmic = (3, 4)
    names = ("bias", "sinks")
    smooth_names = ("q", "k", "v", "bias", "sinks")

    def samples(self) -> list[Sample]:
        def sample(name: str, shape: tuple[int, ...], **options: Any) -> Sample:
            arrays = (*qkv(2, (2, 1)), normal(*shape, scale=1.0, seed=3), normal(2, seed=4))
            return Sample(name, arrays, options)

        return [
            sample("whole", (2, 2, 3, 4)),
            sample("of a key", (2, 1, 1, 4), causal="bottom-right"),
            sample("of a head", (2, 1, 1), softcap=2.0, window=(1, 2)),
        ]

    def specials(self) -> list[Sample]:
        return self.samples()[:2]

    def larges(self) -> list[Sample]:
        arrays = (*qkv(2, (2, 1), (140, 260), (20, 20)), normal(2, 140, 260), normal(2))
        return [Sample("large", arrays, {"causal": True})]


class TestMaskedAttention(Attention):
    """A mask and lengths."""

    name = "masked attention"
    names = ("mask", "lengths_q", "lengths_k")

    def samples(self) -> list[Sample]:
        def sample(name: str, shape: tuple[int, ...], **options: Any) -> Sample:
            mask = normal(*shape, seed=3) > -1
            lengths = np.array([2, 3]), np.array([4, 2])
            return Sample(name, (*qkv(2, (2, 1)), mask, *lengths), options)

        return [
            sample("whole", (2, 2, 3, 4)),
            sample("of pairs", (3, 4), causal="bottom-right", window=(2, -1)),
        ]


class TestAttentionOfScores(Attention):
    """A formula with an array that gradients flow to."""

    name = "attention of scores"
    differentiable = (0, 1, 2, 3)
    names = ("slope",)
    smooth_names = ("q", "k", "v", "slope")

    def call(self, q: Any, k: Any, v: Any, *others: Any, **options: Any) -> Any:
        text = oracle.FORMULAS["slopes"].text
        arrays = {"slope": others[0]}
        return logsum.attention(q, k, v, score=text, score_args=arrays, **options, return_lse=True)

    def reference(self, q: Any, k: Any, v: Any, *others: Any, **options: Any) -> Any:
        arrays = {"slope": others[0]}
        return oracle.attention(q, k, v, score="slopes", score_args=arrays, **options)

    def gradient(
        self, cotangents: Any, q: Any, k: Any, v: Any, *others: Any, **options: Any
    ) -> Any:
        options |= {"score": "slopes", "score_args": {"slope": others[0]}}
        found = oracle.attention_gradient(*cotangents, q, k, v, **options)
        return [found[name] for name in self.smooth_names]

    def samples(self) -> list[Sample]:
        slopes = normal(2, scale=0.5, seed=3)
        return [
            Sample("slopes", (*qkv(2, (2, 1)), slopes)),
            Sample("causal slopes", (*qkv(1, (2, 2), (5, 5)), slopes), {"causal": True}),
        ]

    def larges(self) -> list[Sample]:
        arrays = (*qkv(2, (2, 1), (140, 260), (20, 20)), normal(2, scale=0.01))
        return [Sample("large", arrays, {"causal": True})]
