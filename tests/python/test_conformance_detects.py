"""Every check of the conformance suite can fail: each fails on an operation broken for it.

The sound specimen passes all of them, so that what a check finds is the one defect put in.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import specimen  # noqa: E402
from broken import (  # noqa: E402
    BrokenParts,
    Pair,
    applying,
    biased,
    calling,
    case,
    compiling,
    detached_backward,
    detached_shares_backward,
    detached_vmap,
    dirty,
    drifting,
    empty_is_zero,
    first_axis_vmap,
    halved_jvp,
    hungry,
    in_memory_order,
    infinite_jvp,
    keeping,
    like,
    merging,
    naive,
    of_other_bits,
    of_target,
    of_threads,
    pair,
    peer,
    reading,
    scaled_backward,
    specialised,
    swallowing_nan,
    twice_wrong_vmap,
    unstrided_argument_backward,
    unstrided_backward,
    writing,
)
from conformance import Conformance, ConformanceError, checks  # noqa: E402
from specimen import Sound, logsumexp  # noqa: E402

# For each check, what it must find and words of what it then says.
DEFECTS: dict[str, list[tuple[Conformance, str]]] = {
    "test_value": [
        (calling(lambda a, axis: logsumexp(a, axis) + 0.1), "off by 0.1"),
        (calling(lambda a, axis: logsumexp(a, axis) * np.float64(1)), "got float64"),
        (calling(lambda a, axis: logsumexp(a, axis)[..., None]), r"shape \(3,\)"),
    ],
    "test_near_zero": [(calling(naive), "got 0.0")],
    "test_constant": [(calling(drifting), "off by 0.0004")],
    "test_empty": [(calling(empty_is_zero), "expected -inf .* got 0.0")],
    "test_kind": [
        (calling(lambda a, axis: logsumexp(torch.as_tensor(a), axis)), "got Tensor"),
        (calling(writing), "arguments written to"),
        (calling(lambda a, axis: a[:, 0]), "expected memory of its own"),
    ],
    "test_numpy_and_torch": [(calling(of_other_bits), "as NumPy")],
    "test_special_value": [
        (calling(naive), "got -?inf"),
        (calling(swallowing_nan), "NaN in .* expected nan"),
    ],
    "test_special_bits": [(calling(of_other_bits), "as NumPy")],
    "test_special_gradient": [(calling(peer), "a slice of -inf in .* got nan")],
    "test_special_forward": [
        (calling(peer), "a slice of -inf in .* got nan"),
        (applying(jvp=infinite_jvp), "a slice of -inf in .* got nan"),
    ],
    "test_special_double_backward": [(calling(peer), "expected finite, got")],
    "test_strides": [
        (calling(lambda a, axis: like(a, logsumexp(in_memory_order(a), axis))), "transposed")
    ],
    "test_strides_gradient": [
        (applying(backward=unstrided_argument_backward), "transposed .* gradient in")
    ],
    "test_gradient": [
        (applying(backward=scaled_backward), "plain gradient in"),
        (applying(backward=unstrided_backward), "strided gradient in"),
    ],
    "test_gradient_parts": [
        (Pair(), "argument 0 alone"),
        (pair(BrokenParts), "from output 1 alone"),
    ],
    "test_gradcheck": [
        (applying(backward=scaled_backward), "Jacobian mismatch"),
        (applying(jvp=torch.autograd.Function.jvp), "implement the jvp"),
        (applying(jvp=halved_jvp), "with forward mode mismatch"),
    ],
    "test_gradgradcheck": [
        (applying(backward=detached_backward), "Numerical gradient"),
        (applying(backward=detached_shares_backward), "Jacobian mismatch"),
    ],
    # An operator with register_autograd alone has no torch.func.grad, and zeros for jvp.
    "test_func_reverse": [(calling(specimen.operator), "must override the setup_context")],
    "test_func_forward": [
        (calling(specimen.operator), "got 0.0"),
        (applying(jvp=halved_jvp), "<c, J t>"),
    ],
    "test_func_nested": [(applying(backward=detached_shares_backward), "against jacrev")],
    "test_vmap": [(applying(generate_vmap_rule=False, vmap=first_axis_vmap), r"in_dims=\(1,\)")],
    "test_vmap_nested": [(applying(generate_vmap_rule=False, vmap=twice_wrong_vmap), "vmap")],
    "test_vmap_derivatives": [
        (applying(generate_vmap_rule=False, vmap=detached_vmap), r"grad\(vmap\)")
    ],
    "test_compile": [(calling(reading), "data-dependent")],
    "test_compile_dynamic": [
        (calling(specialised), "Recompiling"),
        (compiling(lambda a, dim: a.new_empty(3)), "Recompiling"),
    ],
    "test_operators": [
        (calling(peer), "a graph without one"),
        (compiling(lambda a, dim: specimen.fake(a, dim).double()), "test_faketensor"),
        (compiling(lambda a, dim: a.new_empty(6)[::2]), "test_faketensor"),
    ],
    "test_threads": [(calling(of_threads), "2 threads")],
    "test_targets": [(calling(of_target), "off by 0.01")],
    "test_targets_threads": [(calling(of_threads), "2 threads")],
    "test_merge_whole": [(merging(lambda *states: states[0]), "parts merged")],
    "test_merge_associative": [(merging(biased), "a b")],
    "test_merge_commutative": [(merging(biased), "a b = b a")],
    "test_merge_unit": [(merging(dirty), "expected")],
    "test_memory": [(calling(hungry), "kB")],
    "test_memory_gradient": [(calling(keeping), "kB")],
}


def run(conformance: Conformance, method: str) -> None:
    """Run one check of a case over all its points."""
    for sample, kind in conformance.points(checks(Conformance)[method]):
        getattr(conformance, method)(sample, kind)


def test_every_check_has_a_defect() -> None:
    assert set(DEFECTS) == set(checks(Conformance))


def test_case_has_the_checks_that_it_gives_samples_for() -> None:
    without = type(case(near_zero=lambda self: []))
    again = type("Again", (without,), {"near_zero": Sound.near_zero})
    assert set(checks(without)) == set(checks(Sound)) - {"test_near_zero"}
    assert set(checks(again)) == set(checks(Sound))


@pytest.mark.parametrize("method", DEFECTS)
def test_sound_operation_passes(method: str) -> None:
    run(Sound(), method)


@pytest.mark.parametrize(
    ("method", "broken", "words"),
    [(method, *defect) for method, defects in DEFECTS.items() for defect in defects],
)
def test_broken_operation_fails(method: str, broken: Conformance, words: str) -> None:
    with pytest.raises(ConformanceError) as caught:
        run(broken, method)
    message = str(caught.value)
    # Operation, sample, kind, check, expected and got: all must be there.
    check = method.removeprefix("test_")
    assert re.match(rf"specimen \[.*; .*\] fails {check}.*: expected .*, got ", message, re.DOTALL)
    assert re.search(words, message, re.DOTALL)
