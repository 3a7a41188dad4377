"""Graph: how it is made, what it says of itself, copies, and the cache of indices."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest

import logsum
from logsum._graph import INDEXED, graph_of
from tensors import needs_torch, torch

IDX = [[0, -1], [1, 0], [2, 1]]


def weights(steps: int, batch: int, slots: int, states: int) -> tuple[Any, Any, Any]:
    """Return normal weights (T, N, E), (N, C) and (N, C)."""
    rng = np.random.default_rng([steps, batch, slots])
    shapes = (steps, batch, slots), (batch, states), (batch, states)
    return tuple(rng.standard_normal(shape) for shape in shapes)  # type: ignore[return-value]


def test_from_index() -> None:
    graph = logsum.Graph.from_index(IDX)
    assert (graph.num_states, graph.num_slots, graph.num_arcs) == (3, 6, 5)
    np.testing.assert_array_equal(graph.source, [0, -1, 1, 0, 2, 1])
    np.testing.assert_array_equal(graph.target, [0, -1, 1, 1, 2, 2])
    assert graph.source.dtype == graph.target.dtype == np.int64
    assert repr(graph) == "logsum.Graph(num_states=3, num_slots=6, num_arcs=5)"


def test_from_arcs() -> None:
    graph = logsum.Graph.from_arcs([0, 0, 2], [1, 1, 2], 4)
    assert (graph.num_states, graph.num_slots, graph.num_arcs) == (4, 3, 3)
    np.testing.assert_array_equal(graph.source, [0, 0, 2])
    np.testing.assert_array_equal(graph.target, [1, 1, 2])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_any_integers(dtype: str) -> None:
    idx = np.array([[0, 1], [1, 0]], dtype)
    assert logsum.Graph.from_index(idx).num_arcs == 4
    assert logsum.Graph.from_arcs(idx[0], idx[1], np.int64(2)).num_arcs == 2


@needs_torch
def test_of_tensors() -> None:
    idx = torch.tensor(IDX, dtype=torch.int32)
    np.testing.assert_array_equal(logsum.Graph.from_index(idx).source, np.ravel(IDX))


def test_attributes_are_copies() -> None:
    """A graph is immutable, whatever becomes of what it was made of and of what it gives."""
    idx = np.array(IDX)
    graph = logsum.Graph.from_index(idx)
    idx[:], graph.source[:], graph.target[:] = 0, 0, 0
    np.testing.assert_array_equal(graph.source, np.ravel(IDX))
    np.testing.assert_array_equal(graph.target, [0, -1, 1, 1, 2, 2])


@pytest.mark.parametrize(
    "graph", [logsum.Graph.from_index(IDX), logsum.Graph.from_arcs([0, 1], [1, 0], 3)]
)
def test_copies(graph: Any) -> None:
    arguments = weights(4, 2, graph.num_slots, graph.num_states)
    ms, v0, vt = arguments
    expected = logsum.logZ(ms, graph, v0, vt)
    for other in (copy.copy(graph), copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        assert repr(other) == repr(graph)
        np.testing.assert_array_equal(other.source, graph.source)
        np.testing.assert_array_equal(logsum.logZ(ms, other, v0, vt), expected)


def test_compared_by_identity() -> None:
    one, other = logsum.Graph.from_index(IDX), logsum.Graph.from_index(IDX)
    assert one == one
    assert one != other
    assert len({one, other}) == 2


def test_not_made_directly() -> None:
    with pytest.raises(TypeError, match=r"Graph.from_index\(idx\) or Graph.from_arcs"):
        logsum.Graph()


def test_an_index_is_sorted_once() -> None:
    """The same numbers are the same graph, wherever they lie; others are not."""
    one, equal, other = np.array(IDX), np.array(IDX), np.array(IDX)
    other[0, 0] = 1
    assert graph_of(one, INDEXED) is graph_of(equal, INDEXED)
    assert graph_of(one, INDEXED) is not graph_of(other, INDEXED)
    one[0, 0] = 1  # what was kept is the content, not the array
    assert graph_of(one, INDEXED) is graph_of(other, INDEXED)


def test_a_graph_is_found_by_its_arcs() -> None:
    """Operators are given arcs; a graph's own lead back to it, and do not outlive it."""
    graph = logsum.Graph.from_index(IDX)
    arcs = graph._arcs
    assert graph_of(arcs, INDEXED) is graph
    assert graph_of(arcs.T.copy().T, INDEXED) is not graph
    alive = weakref.ref(graph)
    del graph
    gc.collect()
    assert alive() is None
    assert graph_of(arcs, INDEXED).num_arcs == 5


@needs_torch
def test_graph_and_index_are_one() -> None:
    ms, v0, vt = weights(5, 3, 6, 3)
    graph = logsum.Graph.from_index(IDX)
    expected = logsum.logZ(ms, graph, v0, vt)
    tensors = [torch.from_numpy(x) for x in (ms, v0, vt)]
    for idx in (graph, IDX, np.array(IDX), torch.tensor(IDX), torch.tensor(IDX, dtype=torch.int32)):
        for wide in (ms, ms.reshape(5, 3, 3, 2)):
            np.testing.assert_array_equal(logsum.logZ(wide, idx, v0, vt), expected)
            got = logsum.logZ(torch.from_numpy(wide), idx, *tensors[1:])
            np.testing.assert_array_equal(got.numpy(), expected)


@needs_torch
def test_graph_in_a_compiled_function() -> None:
    ms, v0, vt = (torch.from_numpy(x).requires_grad_() for x in weights(4, 2, 5, 3))
    graph = logsum.Graph.from_arcs([0, 1, 2, 0, 1], [1, 2, 0, 0, 1], 3)
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda *x: logsum.logZ(x[0], graph, *x[1:], logsum.Log), fullgraph=True, backend="aot_eager"
    )
    got, expected = compiled(ms, v0, vt), logsum.logZ(ms, graph, v0, vt)
    assert torch.equal(got, expected)
    pairs = zip(*(torch.autograd.grad(x.sum(), (ms, v0, vt)) for x in (got, expected)), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
