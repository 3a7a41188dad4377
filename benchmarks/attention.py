"""Cases of attention: speed beside torch's fused kernel, errors and memory.

All have a batch of one. Titles give the heads H, the length N of queries and keys (M queries where
they are fewer), and the size D of vectors.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import accuracy
import attention_work as work
import core_figures
import numpy as np
import peers
from attention_work import Sizes
from harness import Case, Limit, Work
from memory import peak_growth
from records import judge

import logsum
from logsum.tour import interleave, use_threads

torch = peers.torch

_THREADS = 2  # of the floors of memory and biases
_OF_PEAK = 0.8
_OF_BANDWIDTH = 0.85
_MEGABYTES = 8  # a thread, beside inputs, outputs and gradients
# Beyond half an ulp of a float32 value: roundings of means of terms below four.
_WORST = 4e-6


# ---- cases ---------------------------------------------------------------------------------


def cases(*, quick: bool = False) -> list[Case]:
    """Return the cases; `quick` shrinks the lengths sixteenfold."""
    if torch is None:  # the peer and the reference
        return []

    def case(
        name: str,
        title: str,
        build: Callable[..., Work],
        sizes: tuple[int, ...],
        floor: float | dict[int, float] | None,
        *,
        headline: bool = False,
        limit: Limit | None = None,
        **options: Any,
    ) -> Case:
        full = Sizes(*sizes)
        used = full.shrunk() if quick else full
        return Case(
            f"attention-{name}",
            f"{title}, {used}",
            partial(build, sizes=used, **options),
            {} if floor is None else {"torch": floor},
            limit,
            headline,
        )

    def square(heads: int, length: int, dim: int) -> tuple[int, ...]:
        return (heads, length, length, dim, dim)

    chosen = []
    for dim in (64, 128):
        shape = square(8, 2048, dim)
        slower: float | dict[int, float] = {1: 1.15, 2: 1.25} if dim == 64 else 1.25
        chosen += [
            case(f"forward-{dim}", "forward", work.forward, shape, slower, headline=True),
            case(f"backward-{dim}", "backward", work.backward, shape, 1.2, headline=True),
        ]
    shape = square(8, 2048, 64)
    diagonal = {"terms": work.causal}
    chosen += [
        case("causal", "causal forward", work.forward, shape, 1.3, headline=True, **diagonal),
        case("causal-backward", "causal backward", work.backward, shape, 1.3, **diagonal),
        case("one-head", "backward", work.backward, square(1, 8192, 64), {2: 1.5}, headline=True),
    ]
    for dtype in ("float16", "bfloat16"):
        shape = square(8, 1024, 64)
        title = f"backward in {dtype}"
        chosen.append(case(dtype, title, work.backward, shape, 8, dtype=dtype))
    for dim, least in ((64, 1.8), (128, 1.4)):
        title = "forward and backward with a bias"
        shape = square(1, 4096, dim)
        headline = dim == 64
        chosen.append(
            case(f"bias-{dim}", title, work.biased_work, shape, {2: least}, headline=headline)
        )
    shape = square(1, 2048, 64)
    chosen += [
        case("double-backward", "double backward", work.double_backward, shape, None),
        case("forward-mode", "forward mode", work.forward_mode, shape, None),
    ]
    title = "forward and backward"
    chosen.append(case("unequal", title, work.unequal, (8, 1024, 1024, 64, 128), 1.6))
    banded = {"terms": work.window(256)}
    shape = square(1, 16_384, 64)
    chosen.append(case("window", "window of 256", work.forward, shape, 20, headline=True, **banded))
    chosen.append(
        case(
            "decode",
            "decode",
            work.forward,
            (8, 1, 65_536, 128, 128),
            None,
            headline=True,
            limit=None if quick else Limit(1 / _OF_BANDWIDTH, work.READ),
            streamed=True,
        )
    )
    return chosen


# ---- accuracy ------------------------------------------------------------------------------


def _inputs(*, quick: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Yield kinds of arrays that are queries, keys and values at once."""
    count = 300 if quick else 3000
    for dim in (16, 64, 128):
        for scale in (0.1, 1):
            rng = np.random.default_rng([31, dim])
            points = np.float32(scale) * rng.standard_normal((1, 1, count, dim), np.float32)
            yield f"D = {dim}, sd {scale:g}", points
    yield "all equal", np.full((1, 1, count, 64), np.float32(0.7))


def worst_errors(*, quick: bool = False) -> dict[str, Any]:
    """Return the worst errors of float32 values by kind of array and contender."""

    def exact(x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        scores = wide[:, :, :100] @ wide.swapaxes(2, 3) / np.sqrt(x.shape[-1])
        terms = np.exp(scores - scores.max(-1, keepdims=True))
        return terms @ wide / terms.sum(-1, keepdims=True)

    def dense(x: np.ndarray) -> Any:
        tensor = torch.from_numpy(x)
        return work.theirs(tensor[:, :, :100], tensor, tensor, {})

    calls: dict[str, Callable[[np.ndarray], Any]] = {
        peers.OURS: lambda x: logsum.attention(x[:, :, :100], x, x)
    }
    if torch is not None:
        calls["torch"] = dense
    return accuracy.worst_errors(_inputs(quick=quick), calls, exact, at_most=_WORST)


# ---- what belongs to no case ---------------------------------------------------------------


def floors(*, quick: bool = False) -> list[dict[str, Any]]:
    """Return the judgements of memory, of a bias that heads share, and of the arithmetic's peak.

    A quick run judges memory alone: times of small work mean nothing.
    """
    if torch is None:
        return []
    judged = _memory(4096 if quick else 65_536) + _bias_memory(2048 if quick else 4096)
    if not quick:
        judged += [*_double_memory(), _shared_bias(), *_of_peak()]
    return judged


def _gradients(inputs: list[Any], **options: Any) -> Any:
    out = logsum.attention(*inputs[:3], **options)
    return torch.autograd.grad(out, inputs, torch.ones(()).expand(out.shape))


def _grown(inputs: list[Any], **options: Any) -> int | None:
    """Return the peak of a forward and a backward call beside what they give."""
    with use_threads(_THREADS):
        first = torch.zeros((1, 1, 200, inputs[0].shape[-1]), requires_grad=True)
        _gradients([first] * 3)  # pages code in and starts threads
        grown = peak_growth(lambda: _gradients(inputs, **options))
    if grown is None:
        return None
    q, v = inputs[0], inputs[2]
    rows = q.shape[1] * q.shape[2]
    kept = 4 * rows * (v.shape[3] + 1)  # out and lse
    return grown - kept - 4 * sum(x.numel() for x in inputs)


def _memory(length: int) -> list[dict[str, Any]]:
    """Judge one head's forward and backward."""
    sizes = Sizes(1, length, length, 64, 64)
    qkv = work.tensors(np.random.default_rng(32), sizes, "float32")
    grown = _grown([x.requires_grad_() for x in qkv])
    what = f"megabytes a thread beside inputs, outputs and gradients, {sizes}"
    return [] if grown is None else [_judged_megabytes(what, grown)]


def _bias_memory(length: int) -> list[dict[str, Any]]:
    """Judge the same with a bias of all pairs, whose gradient is as large as itself."""
    sizes = Sizes(2, length, length, 64, 64)
    qkv = work.tensors(np.random.default_rng(33), sizes, "float32")
    bias = torch.zeros((1, 1, length, length), requires_grad=True)
    grown = _grown([*(x.requires_grad_() for x in qkv), bias], bias=bias)
    what = f"megabytes a thread beside those and the bias's gradient, {sizes}"
    return [] if grown is None else [_judged_megabytes(what, grown)]


def _double_memory() -> list[dict[str, Any]]:
    """Judge double backward: one long head, and a shorter one beside torch, which stores scores."""

    def grown(function: Callable[..., Any], length: int) -> int | None:
        sizes = Sizes(1, length, length, 64, 64)
        leaves = [x.requires_grad_() for x in work.tensors(rng, sizes, "float32")]
        incoming = torch.ones(()).expand(leaves[2].shape)
        return peak_growth(lambda: work.doubled(function, leaves, incoming))

    rng = np.random.default_rng(36)
    with use_threads(_THREADS):
        grown(work.ours, 200)  # pages code in and starts threads
        long = grown(work.ours, 8192)
        short, dense = (grown(f, 2048) for f in (work.ours, work.mathematical))
    if long is None or not short or dense is None:
        return []
    # Gradients, what they are the gradients of, and out and lse with how these move.
    given = 4 * 8192 * (2 * 3 * 64 + 2 * 65)
    what = "megabytes a thread beside all gradients, out and lse, double backward, H1 N 8192 D 64"
    gained = "torch's peak of memory over ours, double backward, H1 N 2048 D 64"
    return [_judged_megabytes(what, long - given), judge(gained, dense / short, at_least=8)]


def _judged_megabytes(what: str, size: int) -> dict[str, Any]:
    return judge(what, size / _THREADS / (1 << 20), at_most=_MEGABYTES)


def _shared_bias() -> dict[str, Any]:
    """Judge eight heads that share a bias of all pairs."""
    sizes = Sizes(8, 4096, 4096, 64, 64)
    calls, _ = work.biased(np.random.default_rng(34), sizes)
    with use_threads(_THREADS):
        found = interleave(calls, budget=1, min_rounds=7)
    gained = found["torch"].median / found[peers.OURS].median
    what = f"speed over torch, forward and backward with a bias that heads share, {sizes}"
    return judge(f"{what}, {_THREADS} threads", gained, at_least=2.5)


def _of_peak() -> list[dict[str, Any]]:
    """Judge the forward pass at D = 128 beside multiply-adds alone, where they can be measured."""
    target = logsum._core.config().cpu_target
    sizes = Sizes(8, 2048, 2048, 128, 128)
    qkv = work.tensors(np.random.default_rng(35), sizes, "float32")
    pairs = sizes.heads * sizes.rows * sizes.columns * (sizes.dim + sizes.value_dim)
    shares = []
    for _ in range(3):  # in turns: the machine's speed changes
        peak = _peak(f"FmaPeak/f32/{target}")
        if peak is None:
            return []
        with use_threads(1):
            timing = interleave({peers.OURS: lambda: work.ours(*qkv, {})}, budget=0.5)
        shares.append(peak * pairs / (1e9 * timing[peers.OURS].fastest))
    what = f"share of the multiply-add peak, forward, {sizes}"
    return [judge(what, float(np.median(shares)), at_least=_OF_PEAK)]


def _peak(name: str) -> float | None:
    """Return the nanoseconds of a multiply-add by a core benchmark, None where it is not built."""
    for program in core_figures.find_programs():
        command = [str(program), "--benchmark_format=json", f"--benchmark_filter=^{name}$"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip():
            found = core_figures.parse(json.loads(done.stdout)).get(name, {}).get("ns")
            if found:
                return found
    return None
