"""The reference of attention against torch's own differentiation of the plain formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import attention_oracle as oracle
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
PLACES = {"slope": (4, 1, 1), "gate": (2, 1, 1, 6), "shift": (5, 1)}
FORMULAS: dict[str, tuple[tuple[str, ...], Any]] = {
    "slopes": (("slope",), lambda s, gap, slope: s - slope * gap),
    "square": ((), lambda s, gap: s * s / 4 - s),
    "gates": (("gate", "shift"), lambda s, gap, gate, shift: s * gate + shift),
}


def plain(x: dict[str, Any], softcap: float | None, score: str | None, part: Any) -> Any:
    """Return (out, lse) in torch, all pairs of `part`."""
    k, v = (x[name].repeat_interleave(2, 1) for name in "kv")
    s = x["q"] @ k.mT / 3**0.5
    if softcap:
        s = softcap * (s / softcap).tanh()
    if score:
        names, formula = FORMULAS[score]
        gap = (torch.arange(5)[:, None] - torch.arange(6)).abs()
        s = formula(s, gap, *(x[name].reshape(PLACES[name]) for name in names))
    s = (s + x["bias"]).masked_fill(~torch.as_tensor(part), -torch.inf)
    terms = torch.cat([s, x["sinks"][:, None, None].expand(2, 4, 5, 1)], -1)
    return terms.softmax(-1)[..., :-1] @ v, terms.logsumexp(-1)


@pytest.mark.parametrize("softcap", [None, 0.7])
@pytest.mark.parametrize("score", [None, *FORMULAS])
def test_values_and_gradients(softcap: float | None, score: str | None) -> None:
    names = FORMULAS[score][0] if score else ()
    used = {"q": Q, "k": K, "v": V} | {n: ARRAYS[n] for n in ("bias", "sinks", *names)}
    leaves = {name: torch.tensor(x, requires_grad=True) for name, x in used.items()}
    pairs = {"causal": True, "window": (2, -1), "lengths_k": np.array([6, 4])}
    part = oracle.admitted((2, 4, 5, 6), **pairs)
    outputs = plain(leaves, softcap, score, part)
    torch.autograd.backward(outputs, [torch.tensor(D_OUT), torch.tensor(D_LSE)])
    options = {"bias": ARRAYS["bias"], "sinks": ARRAYS["sinks"], "softcap": softcap} | pairs
    options |= {"score": score, "score_args": {name: ARRAYS[name] for name in names}}
    for want, got in zip(outputs, oracle.attention(Q, K, V, **options), strict=True):
        np.testing.assert_allclose(want.detach().numpy(), got, rtol=1e-12, atol=1e-13)
    gradients = oracle.attention_gradient(D_OUT, D_LSE, Q, K, V, **options)
    assert gradients.keys() == leaves.keys()
    for name, leaf in leaves.items():
        # Both sides add differences that cancel, in other orders.
        np.testing.assert_allclose(leaf.grad, gradients[name], rtol=1e-11, atol=1e-13, err_msg=name)
