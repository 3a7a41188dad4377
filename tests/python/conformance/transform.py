"""torch.func: grad, vjp, jvp, vmap over every argument and axis, and their nests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from conformance.case import Case
from conformance.derivative import cotangents_for
from conformance.report import check, compare, require
from conformance.sample import Kind, Sample, beside, is_array, is_floating, torch, widen
from tolerances import SAME_MATHS

BATCH = 3


def _pairing(outputs: Sequence[Any]) -> Any:
    """Return <cotangents, outputs>, a scalar with an ordinary gradient."""
    return sum(
        ((c * out).sum() for c, out in zip(cotangents_for(outputs), outputs, strict=True)),
    )


def _variants(values: Any) -> list[Any]:
    """Return BATCH arguments of one shape: the values and others made of them."""
    if not is_floating(values):
        return [values, values, values]
    return [values, values * 0.5 - 1, values.flip(tuple(range(values.ndim)))]


class TransformChecks(Case):
    """What torch.func makes of the operation."""

    def _judge_same(self, expected: Any, got: Any, where: str) -> None:
        """Compare two trees of tensors that are one derivative, of cotangents of size one."""
        wants, haves = (
            torch.utils._pytree.tree_leaves(expected),
            torch.utils._pytree.tree_leaves(got),
        )
        for want, have in zip(wants, haves, strict=True):
            compare(
                widen(want), widen(have), "float64", SAME_MATHS, magnitude=64, scale=1, where=where
            )

    @check(hook="differentiables", dtypes=("float64",))
    def test_func_reverse(self, sample: Sample, kind: Kind) -> None:
        """torch.func.grad and vjp give the gradient."""
        arguments = kind.arrays(sample)
        function, inputs = self.of_differentiable(arguments, sample)
        positions = tuple(range(len(inputs)))
        outputs, pull = torch.func.vjp(function, *inputs)
        cotangents = cotangents_for(outputs)
        self.judge_gradients(cotangents, arguments, sample, kind, pull(tuple(cotangents)), "vjp")
        got = torch.func.grad(lambda *x: _pairing(function(*x)), argnums=positions)(*inputs)
        self.judge_gradients(cotangents, arguments, sample, kind, got, "grad")

    @check(hook="differentiables", dtypes=("float32", "float64"))
    def test_func_forward(self, sample: Sample, kind: Kind) -> None:
        """torch.func.jvp gives the directional derivative, of all arguments and of each alone."""
        arguments = kind.arrays(sample)
        function, inputs = self.of_differentiable(arguments, sample)
        tangents = [beside(x, "tangent") for x in inputs]
        choices = [tangents] + [
            [t if k == index else torch.zeros_like(t) for k, t in enumerate(tangents)]
            for index in range(len(inputs))
        ]
        for chosen in choices:
            outputs, moved = torch.func.jvp(function, tuple(inputs), tuple(chosen))
            cotangents = cotangents_for(outputs)
            gradients = self.expected_gradients(cotangents, arguments, sample)
            terms = [
                np.ravel(np.asarray(g * widen(t), np.float64))
                for g, t in zip(gradients, chosen, strict=True)
            ]
            want = float(np.concatenate(terms).sum())
            ahead = [
                float((widen(c) * widen(m)).sum()) for c, m in zip(cotangents, moved, strict=True)
            ]
            rounding = 2.0**-24 if kind.dtype == "float32" else 2.0**-53
            size = np.abs(np.concatenate(terms)).sum() + sum(map(abs, ahead))
            slack = rounding * (64 + 8 * self.magnitude(arguments, sample)) * (1 + float(size))
            right = abs(want - sum(ahead)) <= slack
            require(right, f"<c, J t> = {want} within {slack:.2g}", sum(ahead))

    @check(hook="differentiables", dtypes=("float64",))
    def test_func_nested(self, sample: Sample, kind: Kind) -> None:
        """Forward over reverse, reverse over forward and reverse over reverse are one Hessian."""
        function, inputs = self.of_differentiable(kind.arrays(sample), sample)
        positions = tuple(range(len(inputs)))
        func = torch.func

        def scalar(*x: Any) -> Any:
            return _pairing(function(*x))

        gradient = func.grad(scalar, argnums=positions)
        hessian = func.jacrev(gradient, argnums=positions)(*inputs)
        ahead = func.jacfwd(gradient, argnums=positions)(*inputs)
        self._judge_same(hessian, ahead, "jacfwd(grad) against jacrev(grad)")
        other = func.jacrev(func.jacfwd(scalar, argnums=positions), argnums=positions)(*inputs)
        self._judge_same(hessian, other, "jacrev(jacfwd) against jacrev(grad)")

    @check(dtypes=("float64",))
    def test_vmap(self, sample: Sample, kind: Kind) -> None:
        """vmap over every set of arguments and every axis is a loop of calls."""
        for where, dims, loops, call in self._batched(sample, kind):
            for out_dim in (0, -1):
                got = torch.func.vmap(call, in_dims=dims, out_dims=out_dim)(*_stack(loops, dims))
                for k in range(BATCH):
                    arguments = _pick(loops, dims, k)
                    outputs = tuple(out.select(out_dim, k) for out in got)
                    self.judge_outputs(
                        arguments, sample, kind, outputs, f"{where} out_dim={out_dim} entry {k}"
                    )

    @check(dtypes=("float64",))
    def test_vmap_nested(self, sample: Sample, kind: Kind) -> None:
        """vmap of vmap, with the axes in either order, is a loop of loops."""
        arguments = kind.arrays(sample)
        dims = tuple(0 if is_array(x) else None for x in arguments)
        grid = [
            torch.stack([torch.stack(_variants(v)) for v in _variants(x)]) if is_array(x) else x
            for x in arguments
        ]

        def call(*x: Any) -> Any:
            return self.outputs(x, sample)

        vmap = torch.func.vmap
        straight = vmap(vmap(call, dims), dims)(*grid)
        crossed_dims = tuple(None if d is None else 1 for d in dims)
        crossed = vmap(vmap(call, dims), crossed_dims)(*grid)
        for i, j in itertools.product(range(BATCH), repeat=2):
            entry = [x[i, j] if is_array(x) else x for x in grid]
            got = tuple(out[i, j] for out in straight)
            self.judge_outputs(entry, sample, kind, got, f"vmap(vmap) entry {i, j}")
            got = tuple(out[j, i] for out in crossed)
            self.judge_outputs(entry, sample, kind, got, f"crossed vmap(vmap) entry {i, j}")

    @check(hook="differentiables", dtypes=("float64",))
    def test_vmap_derivatives(self, sample: Sample, kind: Kind) -> None:
        """vmap of grad and of jvp, and grad of vmap, are loops."""
        function, inputs = self.of_differentiable(kind.arrays(sample), sample)
        positions = tuple(range(len(inputs)))
        func = torch.func
        batch = [torch.stack(_variants(x)) for x in inputs]
        directions = [torch.stack(_variants(beside(x, "t"))) for x in inputs]

        def scalar(*x: Any) -> Any:
            return _pairing(function(*x))

        def ahead(x: Any, t: Any) -> Any:
            return func.jvp(function, x, t)[1]

        gradient = func.grad(scalar, argnums=positions)
        loop = [gradient(*(x[k] for x in batch)) for k in range(BATCH)]
        stacked = tuple(torch.stack(parts) for parts in zip(*loop, strict=True))
        self._judge_same(stacked, func.vmap(gradient)(*batch), "vmap(grad)")
        total = func.grad(lambda *x: func.vmap(scalar)(*x).sum(), argnums=positions)(*batch)
        self._judge_same(stacked, total, "grad(vmap)")
        moved = [
            ahead(tuple(x[k] for x in batch), tuple(t[k] for t in directions)) for k in range(BATCH)
        ]
        stacked = tuple(torch.stack(parts) for parts in zip(*moved, strict=True))
        got = func.vmap(ahead)(tuple(batch), tuple(directions))
        self._judge_same(stacked, got, "vmap(jvp)")

    def _batched(
        self, sample: Sample, kind: Kind
    ) -> Iterator[tuple[str, tuple[int | None, ...], list[Any], Callable[..., Any]]]:
        """Give every choice of batched arguments, each along every axis."""
        arguments = kind.arrays(sample)
        arrays = [k for k, x in enumerate(arguments) if is_array(x)]
        loops = [_variants(x) if is_array(x) else x for x in arguments]

        def call(*x: Any) -> Any:
            return self.outputs(x, sample)

        for count in range(1, len(arrays) + 1):
            for chosen in itertools.combinations(arrays, count):
                axes = max(arguments[k].ndim for k in chosen) + 1
                for axis in range(axes):
                    dims = tuple(
                        min(axis, x.ndim) if k in chosen else None for k, x in enumerate(arguments)
                    )
                    yield f"in_dims={dims}", dims, loops, call


def _stack(loops: Sequence[Any], dims: Sequence[int | None]) -> list[Any]:
    """Return the arguments of a vmap: variants stacked along their axis, or the first alone."""
    return [
        (torch.stack(x, d) if d is not None else x[0]) if isinstance(x, list) else x
        for x, d in zip(loops, dims, strict=True)
    ]


def _pick(loops: Sequence[Any], dims: Sequence[int | None], k: int) -> list[Any]:
    """Return the arguments of one entry of the batch."""
    return [
        x[k if d is not None else 0] if isinstance(x, list) else x
        for x, d in zip(loops, dims, strict=True)
    ]
