"""PyTorch's own attention and layers, beside this library's by the same calls."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest

from conformance.graph import recorder
from tensors import needs_torch, torch

pytestmark = needs_torch
if torch is not None:
    import logsum.torch
    from logsum.torch import AttentionMode, scaled_dot_product_attention

    theirs = torch.nn.functional.scaled_dot_product_attention

# Two float32 results, each with roundings of its own in products, exponentials and sums.
CLOSE = {"rtol": 2e-5, "atol": 2e-6}

Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def normal(*shape: int, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def qkv(shapes: Shapes) -> list[Any]:
    return [normal(*shape, seed=k) for k, shape in enumerate(shapes)]


FULL: Shapes = ((2, 4, 33, 8), (2, 4, 40, 8), (2, 4, 40, 6))
SHAPES: list[Shapes] = [
    ((3, 4), (5, 4), (5, 2)),
    ((2, 3, 4), (2, 5, 4), (2, 5, 2)),
    ((2, 3, 4), (5, 4), (5, 2)),
    ((3, 4), (2, 5, 4), (2, 5, 2)),
    ((2, 2, 3, 4), (2, 1, 5, 4), (2, 1, 5, 2)),
    ((2, 1, 3, 4), (1, 3, 5, 4), (2, 3, 5, 2)),
    ((5, 1, 2, 3, 4), (1, 7, 2, 3, 4), (5, 7, 1, 3, 4)),
    FULL,
]


def judge(ours: Callable[..., Any], them: Callable[..., Any], inputs: list[Any]) -> None:
    """Compare values and gradients of two functions."""
    results = []
    for function in (ours, them):
        leaves = [x.detach().requires_grad_() for x in inputs]
        out = function(*leaves)
        incoming = normal(*out.shape, seed=9).to(out.dtype)
        results.append((out, *torch.autograd.grad(out, leaves, incoming)))
    for got, want in zip(*results, strict=True):
        assert got.shape == want.shape
        torch.testing.assert_close(got, want, **CLOSE)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_any_batch_axes(shapes: Shapes, is_causal: bool, scale: float | None) -> None:
    def run(function: Any) -> Any:
        return lambda *x: function(*x, is_causal=is_causal, scale=scale)

    judge(run(scaled_dot_product_attention), run(theirs), qkv(shapes))


MASKS = [(33, 40), (1, 40), (2, 1, 33, 40), (2, 4, 33, 40), (4, 33, 1), (1, 1, 1, 40)]


@pytest.mark.parametrize("shape", MASKS, ids=str)
def test_masks(shape: tuple[int, ...]) -> None:
    mask = normal(*shape) > -0.5
    judge(
        lambda *x: scaled_dot_product_attention(*x, attn_mask=mask),
        lambda *x: theirs(*x, attn_mask=mask),
        qkv(FULL),
    )


@pytest.mark.parametrize("shape", MASKS, ids=str)
def test_biases_and_their_gradients(shape: tuple[int, ...]) -> None:
    judge(scaled_dot_product_attention, theirs, [*qkv(FULL), normal(*shape, seed=5)])


def test_masks_of_many_batch_axes() -> None:
    shapes: Shapes = ((2, 3, 2, 4, 5), (2, 3, 2, 6, 5), (2, 3, 2, 6, 5))
    for shape in ((2, 3, 1, 4, 6), (1, 1, 2, 4, 6), (3, 1, 1, 6), (2, 1, 6), (4, 6)):
        mask = normal(*shape)
        got = scaled_dot_product_attention(*qkv(shapes), mask)
        torch.testing.assert_close(got, theirs(*qkv(shapes), mask), **CLOSE)


def test_enable_gqa() -> None:
    shapes: Shapes = ((2, 6, 7, 8), (2, 2, 9, 8), (2, 2, 9, 5))
    judge(
        lambda *x: scaled_dot_product_attention(*x, enable_gqa=True),
        lambda *x: theirs(*x, enable_gqa=True),
        qkv(shapes),
    )
    with pytest.raises(ValueError, match="heads"):
        scaled_dot_product_attention(*qkv(shapes))


def test_a_row_without_keys_is_zero() -> None:
    mask = torch.ones(33, 40, dtype=torch.bool)
    mask[3] = False
    out = scaled_dot_product_attention(*qkv(FULL), mask)
    assert (out[:, :, 3] == 0).all()
    assert out.isfinite().all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes(dtype: str) -> None:
    inputs = [x.to(getattr(torch, dtype)) for x in qkv(FULL)]
    got, want = scaled_dot_product_attention(*inputs), theirs(*inputs)
    assert got.dtype == want.dtype
    loose = {"float16": 2e-3, "bfloat16": 2e-2, "float64": 1e-12}[dtype]  # two roundings of out
    torch.testing.assert_close(got, want, rtol=loose, atol=loose)


def test_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mask = normal(33, 40)
        got, want = scaled_dot_product_attention(*qkv(FULL), mask), theirs(*qkv(FULL), mask)
    assert got.dtype == want.dtype == torch.bfloat16
    torch.testing.assert_close(got, want, rtol=4e-2, atol=4e-2)


def test_signature() -> None:
    """The names, order and defaults of torch's, which says itself which go by name only."""
    schema = torch.ops.aten.scaled_dot_product_attention.default._schema
    parameters = inspect.signature(scaled_dot_product_attention).parameters.values()
    for ours, argument in zip(parameters, schema.arguments, strict=True):
        assert ours.name == argument.name
        assert (ours.kind is inspect.Parameter.KEYWORD_ONLY) == argument.kwarg_only
        if argument.has_default_value():
            assert ours.default == argument.default_value


def test_refusals() -> None:
    q, k, v = qkv(FULL)
    with pytest.raises(ValueError, match=r"dropout_p: expected 0\.0"):
        scaled_dot_product_attention(q, k, v, dropout_p=0.1)
    with pytest.raises(ValueError, match="attn_mask: expected None beside is_causal"):
        scaled_dot_product_attention(q, k, v, torch.ones(33, 40, dtype=torch.bool), is_causal=True)
    with pytest.raises(TypeError, match="attn_mask"):
        scaled_dot_product_attention(q, k, v, torch.ones(33, 40, dtype=torch.int64))
    with pytest.raises(TypeError, match="key"):
        scaled_dot_product_attention(q, k.numpy(), v)
    with pytest.raises(ValueError, match="at least 2 axes"):
        scaled_dot_product_attention(q[0, 0, 0], k, v)
    with pytest.raises(TypeError, match="is_causal: expected bool, got str"):
        scaled_dot_product_attention(q, k, v, is_causal="bottom-right")


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        ({"key": (2, 4, 40, 9)}, ValueError, r"key: .* E = 8 .* got \(2, 4, 40, 9\)"),
        ({"value": (2, 4, 41, 6)}, ValueError, r"value: .* S = 40 .* got \(2, 4, 41, 6\)"),
        ({"attn_mask": (3, 40)}, ValueError, r"attn_mask: .* \(2, 4, 33, 40\), got \(3, 40\)"),
        ({"attn_mask": (1, 2, 4, 33, 40)}, ValueError, r"attn_mask: .* got \(1, 2, 4, 33, 40\)"),
        ({"key": "float64"}, TypeError, "key: .*query's dtype torch.float32, got torch.float64"),
        ({"query": "int64"}, TypeError, "query: .*float32.* got torch.int64"),
        ({"attn_mask": "float64"}, TypeError, "attn_mask: .*float32.* got torch.float64"),
        ({"attn_mask": "float16"}, TypeError, "attn_mask: .*float32.* got torch.float16"),
    ],
    ids=str,
)
def test_refusals_by_torch_names(
    changed: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """What is wrong is called what the caller calls it; torch refuses it as well."""
    arguments = dict(zip(("query", "key", "value"), qkv(FULL), strict=True))
    for name, what in changed.items():
        before = arguments.get(name, normal(33, 40))
        is_dtype = isinstance(what, str)
        arguments[name] = before.to(getattr(torch, what)) if is_dtype else normal(*what)
    with pytest.raises(kind, match=f"^scaled_dot_product_attention: {message}"):
        scaled_dot_product_attention(**arguments)
    with pytest.raises(RuntimeError):
        theirs(**arguments)


@pytest.mark.parametrize("variant", ["causal_upper_left", "causal_lower_right"])
@pytest.mark.parametrize("inside", [True, False])
def test_causal_biases_of_torch(variant: str, inside: bool) -> None:
    """They are tensors whose memory means nothing."""
    from torch.nn.attention import bias

    mask = getattr(bias, variant)(33, 40)
    with AttentionMode() if inside else torch.enable_grad():
        ours = theirs if inside else scaled_dot_product_attention
        got = ours(*qkv(FULL), mask)
        with pytest.raises(ValueError, match=r"attn_mask: .*33 queries and 40 keys, got 33 and 41"):
            ours(*qkv(FULL), getattr(bias, variant)(33, 41))
    torch.testing.assert_close(got, theirs(*qkv(FULL), mask), **CLOSE)


def test_no_heads_are_a_group() -> None:
    out = scaled_dot_product_attention(*(x[:, :0] for x in qkv(FULL)), enable_gqa=True)
    assert out.shape == (2, 0, 33, 6)


def test_a_mask_of_float32_beside_float64() -> None:
    inputs, mask = [x.double() for x in qkv(FULL)], normal(33, 40)
    got = scaled_dot_product_attention(*inputs, mask)
    # Far below the rounding of float32, in which the mask came.
    torch.testing.assert_close(got, theirs(*inputs, mask), rtol=1e-12, atol=1e-12)


# ---- layers --------------------------------------------------------------------------------


def layer(**options: Any) -> Any:
    torch.manual_seed(3)
    return torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)


def operators(function: Callable[[], Any]) -> list[str]:
    """Return the operators of this library that a call runs."""
    from torch.utils._python_dispatch import TorchDispatchMode

    found = []

    class Watch(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func.namespace == "logsum":
                found.append(func.__name__)
            return func(*args, **(kwargs or {}))

    with Watch():
        function()
    return found


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("with_gradient", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_encoder_layer(training: bool, with_gradient: bool, padded: bool) -> None:
    module = layer(dropout=0.0).train(training)
    x, padding = normal(2, 5, 8), torch.zeros(2, 5, dtype=torch.bool)
    padding[1, 3:] = True
    options = {"src_key_padding_mask": padding} if padded else {}
    with torch.set_grad_enabled(with_gradient):
        with AttentionMode():
            got = module(x, **options)
            assert operators(lambda: module(x, **options)) == ["attention.default"]
        want = module(x, **options)
        assert not operators(lambda: module(x, **options))
    torch.testing.assert_close(got[~padding], want[~padding], **CLOSE)


def test_decoder_layer_trains() -> None:
    torch.manual_seed(3)
    module = torch.nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    x, memory = normal(2, 5, 8), normal(2, 7, 8)
    causal = torch.nn.Transformer.generate_square_subsequent_mask(5)
    gradients = []
    for mode in (AttentionMode(), torch.enable_grad()):
        module.zero_grad()
        with mode:
            out = module(x, memory, tgt_mask=causal, tgt_is_causal=True)
        out.square().sum().backward()
        gradients.append([p.grad.clone() for p in module.parameters()])
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention(need_weights: bool) -> None:
    torch.manual_seed(3)
    module = torch.nn.MultiheadAttention(8, 2)
    x = normal(5, 2, 8)
    with AttentionMode():
        got = module(x, x, x, need_weights=need_weights)
        found = operators(lambda: module(x, x, x, need_weights=need_weights))
    assert found == ([] if need_weights else ["attention.default"])
    want = module(x, x, x, need_weights=need_weights)
    torch.testing.assert_close(got, want, **CLOSE)


def test_dropout_in_training_is_refused() -> None:
    module = layer(dropout=0.1)
    with AttentionMode(), pytest.raises(ValueError, match=r"dropout=0\.0, or eval"):
        module(normal(2, 5, 8))
    with AttentionMode():
        module.eval()(normal(2, 5, 8))


def test_the_mode_is_of_this_thread_and_ends() -> None:
    q, k, v = qkv(FULL)
    found: list[list[str]] = []

    def call() -> None:
        found.append(operators(lambda: theirs(q, k, v)))

    with AttentionMode():
        call()
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        with AttentionMode():
            call()
    call()
    assert found == [["attention.default"], [], ["attention.default"], []]


@pytest.mark.parametrize("inside", [True, False])
def test_compiled_layers(inside: bool) -> None:
    """One graph, whether the mode is in it or around it, with our operators in it."""
    module, x = layer(dropout=0.0), normal(2, 5, 8)
    calls: list[Any] = []
    torch._dynamo.reset()
    if inside:

        def run(x: Any) -> Any:
            with AttentionMode():
                return module(x)

        out = torch.compile(run, fullgraph=True, backend=recorder("logsum", calls))(x)
    else:
        with AttentionMode():
            out = torch.compile(module, fullgraph=True, backend=recorder("logsum", calls))(x)
    out.sum().backward()
    torch.testing.assert_close(out, module(x), **CLOSE)
    names = [str(operator) for operator, _, _ in calls]
    assert names == ["logsum.attention.default", "logsum.attention_backward.default"]


def test_public_names() -> None:
    assert set(logsum.torch.__all__) == {"AttentionMode", "scaled_dot_product_attention"}
