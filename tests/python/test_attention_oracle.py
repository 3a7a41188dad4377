"""The reference of attention against torch's own differentiation of the plain formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import attention_dense as dense
import attention_oracle as oracle
from attention_calls import Call
from tensors import needs_torch, torch

pytestmark = needs_torch

GENERATOR = np.random.default_rng(5)
Q, K, V = (GENERATOR.normal(size=(2, h, n, 3)) for h, n in ((4, 5), (2, 6), (2, 6)))
D_OUT, D_LSE = GENERATOR.normal(size=Q.shape), GENERATOR.normal(size=Q.shape[:3])
ARRAYS = {
    "bias": GENERATOR.normal(size=(4, 1, 6)),
    "sinks": GENERATOR.normal(size=4),
    "slope": GENERATOR.uniform(size=4),
    "gate": GENERATOR.normal(size=(2, 6)),
    "shift": GENERATOR.normal(size=5),
}


@pytest.mark.parametrize("softcap", [None, 0.7])
@pytest.mark.parametrize("score", [None, *oracle.FORMULAS])
def test_values_and_gradients(softcap: float | None, score: str | None) -> None:
    names = oracle.FORMULAS[score].by_arrays if score else ()
    used = {"q": Q, "k": K, "v": V} | {n: ARRAYS[n] for n in ("bias", "sinks", *names)}
    leaves = {name: torch.tensor(x, requires_grad=True) for name, x in used.items()}
    arrays = {name: leaves[name] for name in ("bias", "sinks")}
    arrays["lengths_k"] = torch.tensor([6, 4])
    pairs: dict[str, Any] = {"causal": True, "window": (2, -1)}
    score_args = {name: leaves[name] for name in names}
    qkv = (leaves[name] for name in "qkv")
    outputs = dense.attention(Call(*qkv, arrays, {**pairs, "softcap": softcap}, score, score_args))
    torch.autograd.backward(outputs, [torch.tensor(D_OUT), torch.tensor(D_LSE)])
    pairs["lengths_k"] = np.array([6, 4])
    options = {"bias": ARRAYS["bias"], "sinks": ARRAYS["sinks"], "softcap": softcap} | pairs
    options |= {"score": score, "score_args": {name: ARRAYS[name] for name in names}}
    for want, got in zip(outputs, oracle.attention(Q, K, V, **options), strict=True):
        np.testing.assert_allclose(want.detach().numpy(), got, rtol=1e-12, atol=1e-13)
    gradients = oracle.attention_gradient(D_OUT, D_LSE, Q, K, V, **options)
    assert gradients.keys() == leaves.keys()
    for name, leaf in leaves.items():
        # Both sides add differences that cancel, in other orders.
        np.testing.assert_allclose(leaf.grad, gradients[name], rtol=1e-11, atol=1e-13, err_msg=name)
