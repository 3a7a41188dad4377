"""torch.compile and the torch.library operators that it meets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from conformance.case import Case, State
from conformance.derivative import cotangents_for, differentiate, leaves
from conformance.report import check, require
from conformance.sample import Kind, Sample, is_array, torch

Call = tuple[Any, tuple[Any, ...], dict[str, Any]]


def _detached(tree: Any) -> Any:
    def copy(x: Any) -> Any:
        return x.detach().clone() if isinstance(x, torch.Tensor) else x

    return torch.utils._pytree.tree_map(copy, tree)


def recorder(namespace: str, calls: list[Call]) -> Any:
    """Return a backend for torch.compile that runs graphs as they are.

    It notes in `calls` the operators of a namespace that the graphs run, forward and backward,
    with their arguments.
    """
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    class Recorder(torch.fx.Interpreter):  # type: ignore[misc]
        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            if isinstance(target, torch._ops.OpOverload) and target.namespace == namespace:
                calls.append((target, _detached(args), _detached(kwargs)))
            return super().call_function(target, args, kwargs)

    def record(module: Any, example_inputs: Any) -> Callable[..., Any]:
        return make_boxed_func(Recorder(module).run)

    return aot_autograd(fw_compiler=record, bw_compiler=record)


class GraphChecks(Case):
    """What torch.compile makes of the operation."""

    def compiled(self, sample: Sample, **how: Any) -> Callable[[list[Any]], State]:
        """Return the operation compiled with the options of a sample, into one graph."""
        options = dict(sample.options)

        def run(*arguments: Any) -> Any:
            return self.call(*arguments, **options)

        torch._dynamo.reset()
        whole = torch.compile(run, fullgraph=True, **how)

        def outputs(arguments: list[Any]) -> State:
            got = whole(*arguments)
            return tuple(got) if isinstance(got, (tuple, list)) else (got,)

        return outputs

    def judge_plain(self, run: Callable[[list[Any]], State], sample: Sample, kind: Kind) -> None:
        """Judge the results of a compiled call."""
        arguments = kind.arrays(sample)
        self.judge_outputs(arguments, sample, kind, run(arguments))

    def judge_traced(self, run: Callable[[list[Any]], State], sample: Sample, kind: Kind) -> None:
        """Judge the results of a compiled call with a gradient, and the gradient."""
        arguments = leaves(self, kind.arrays(sample))
        outputs = run(arguments)
        self.judge_outputs(arguments, sample, kind, outputs)
        if self.differentiable:
            smooth = [outputs[k] for k in self.smooth]
            cotangents = cotangents_for(smooth)
            got = differentiate(self, smooth, arguments, cotangents)
            self.judge_gradients(cotangents, arguments, sample, kind, got)

    def compilables(self) -> list[Sample]:
        """Return two samples: a compilation takes long."""
        return self.samples()[:2]

    @check(hook="compilables", dtypes=("float32",))
    def test_compile(self, sample: Sample, kind: Kind) -> None:
        """The operation compiles into one graph, with its gradient."""
        run = self.compiled(sample, backend="aot_eager")
        self.judge_plain(run, sample, kind)
        self.judge_traced(run, sample, kind)

    @check(hook="first_samples", dtypes=("float32",))
    def test_compile_dynamic(self, sample: Sample, kind: Kind) -> None:
        """What was compiled with sizes left open serves other sizes."""
        other = sample.with_arguments("tiled", tuple(map(_tiled, sample.arguments)))
        run = self.compiled(sample, backend="aot_eager", dynamic=True)
        with torch._dynamo.config.patch(error_on_recompile=True):
            self.judge_traced(run, sample, kind)
            self.judge_traced(run, other, kind)

    @check(hook="first_samples", dtypes=("float32",))
    def test_operators(self, sample: Sample, kind: Kind) -> None:
        """The operators behind it pass opcheck with the arguments that they get."""
        calls: list[Call] = []
        run = self.compiled(sample, backend=recorder(self.namespace, calls))
        self.judge_plain(run, sample, kind)
        self.judge_traced(run, sample, kind)
        require(bool(calls), f"an operator of {self.namespace}", "a graph without one")
        for operator, arguments, options in calls:
            has_gradient = torch._C._dispatch_has_kernel_for_dispatch_key(
                operator.name(), "Autograd"
            )
            for wanted in {False, has_gradient and bool(self.differentiable)}:
                torch.library.opcheck(operator, _asking(arguments, wanted), options)


def _tiled(values: Any) -> Any:
    """Return an array of twice the size along every axis that has one."""
    if not is_array(values):
        return values
    return np.tile(values, [1 if n == 1 else 2 for n in values.shape])


def _asking(tree: Any, wanted: bool) -> Any:
    """Return floating tensors that ask for a gradient if wanted."""

    def mark(x: Any) -> Any:
        floating = isinstance(x, torch.Tensor) and x.is_floating_point()
        return x.detach().clone().requires_grad_(wanted) if floating else x

    return torch.utils._pytree.tree_map(mark, tree)
