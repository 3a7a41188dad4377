"""Graph: the arcs of a scan."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from logsum import _core
from logsum._arguments import value_error
from logsum._integers import as_integer, as_integers

# The `num_states` of arcs that are an index, whose rows are its states.
INDEXED = -1


class Graph:
    """The arcs of a scan over time, validated and sorted once.

    Made by `from_index` or `from_arcs`. A graph is immutable, may be shared between threads, and
    is compared by identity.

    Attributes
    ----------
    num_states : int
        States, C.
    num_slots : int
        Weights that a frame has, E: one for each arc, and for each padding of an index.
    num_arcs : int
        Slots that hold an arc.
    source, target : numpy.ndarray
        int64, shape (E,): the states that the arc of each slot leaves and enters, -1 for padding.

    Examples
    --------
    Three states in a row, each of which may also be kept:

    >>> import logsum
    >>> graph = logsum.Graph.from_index([[0, -1], [1, 0], [2, 1]])
    >>> graph
    logsum.Graph(num_states=3, num_slots=6, num_arcs=5)
    >>> graph.source
    array([ 0, -1,  1,  0,  2,  1])
    >>> logsum.Graph.from_arcs([0, 1, 0, 2, 1], [0, 1, 1, 2, 2], 3).num_slots
    5
    """

    __slots__ = ("__weakref__", "_arcs", "_given_states", "_sorted", "_states")

    _arcs: NDArray[np.int64]  # as given: an index, or sources and targets
    _given_states: int
    _sorted: _core.Graph
    _states: int

    def __init__(self) -> None:
        """Refuse: a graph is made of an index or of arcs."""
        raise TypeError("Graph: use Graph.from_index(idx) or Graph.from_arcs(source, target, n)")

    @staticmethod
    def from_index(idx: Any) -> Graph:
        """Return the graph of an index of sources.

        Parameters
        ----------
        idx : Array or list
            Integers of shape (C, nz): slot ``c * nz + j`` is an arc from state ``idx[c, j]`` to
            state c, or no arc where that is -1.

        Returns
        -------
        Graph

        Raises
        ------
        TypeError
            For numbers that are not integers.
        ValueError
            For another number of axes than two, or a state outside of [-1, C).
        """
        arcs = as_integers("Graph.from_index", "idx", idx)
        if arcs.ndim != 2:
            raise value_error("Graph.from_index", "idx", "shape (C, nz)", arcs.shape)
        return _made(np.array(arcs, order="C"), INDEXED)

    @staticmethod
    def from_arcs(source: Any, target: Any, num_states: int) -> Graph:
        """Return the graph of a list of arcs.

        Parameters
        ----------
        source, target : Array or list
            Integers of shape (E,): slot e is an arc from state ``source[e]`` to ``target[e]``.
            Parallel arcs, loops and states without arcs are fine.
        num_states : int
            States, C.

        Returns
        -------
        Graph

        Raises
        ------
        TypeError
            For numbers that are not integers.
        ValueError
            For other shapes, or a state outside of [0, C).
        """
        name = "Graph.from_arcs"
        sources, targets = (
            as_integers(name, argument, value)
            for argument, value in (("source", source), ("target", target))
        )
        if sources.ndim != 1:
            raise value_error(name, "source", "shape (E,)", sources.shape)
        if targets.shape != sources.shape:
            raise value_error(name, "target", f"source's shape {sources.shape}", targets.shape)
        states = as_integer(name, "num_states", num_states)
        if states < 0:
            raise value_error(name, "num_states", "at least 0", states)
        return _made(np.stack([sources, targets]), states)

    @property
    def num_states(self) -> int:
        """States, C."""
        return self._sorted.num_states

    @property
    def num_slots(self) -> int:
        """Weights that a frame has, E."""
        return self._sorted.num_slots

    @property
    def num_arcs(self) -> int:
        """Slots that hold an arc."""
        return self._sorted.num_arcs

    @property
    def source(self) -> NDArray[np.int64]:
        """The state that the arc of each slot leaves, -1 for padding."""
        if self._given_states == INDEXED:
            return np.array(self._arcs.flatten())
        return np.array(self._arcs[0])

    @property
    def target(self) -> NDArray[np.int64]:
        """The state that the arc of each slot enters, -1 for padding."""
        if self._given_states == INDEXED:
            states = np.arange(len(self._arcs))[:, None]
            return np.array(np.where(self._arcs < 0, -1, states).flatten())
        return np.array(self._arcs[1])

    def __repr__(self) -> str:
        """The three sizes."""
        sizes = ("num_states", "num_slots", "num_arcs")
        return f"logsum.Graph({', '.join(f'{name}={getattr(self, name)}' for name in sizes)})"

    def __reduce__(self) -> tuple[Callable[..., Graph], tuple[Any, ...]]:
        """Pickles and copies hold the arcs, and sort them again."""
        return _made, (self._arcs, self._given_states)


# Graphs by where their arcs lie, for as long as they live: what an operator of torch is given is
# the arcs, and this finds the sorted ones without reading them.
_by_address: WeakValueDictionary[int, Graph] = WeakValueDictionary()


def _made(arcs: NDArray[np.int64], num_states: int) -> Graph:
    """The graph of an index, or of (source, target) where the number of states is given."""
    graph = Graph.__new__(Graph)
    graph._arcs, graph._given_states = arcs, num_states
    if num_states == INDEXED:
        graph._sorted = _core.Graph.from_index(arcs)
    else:
        graph._sorted = _core.Graph.from_arcs(arcs[0], arcs[1], num_states)
    graph._states = graph._sorted.num_states
    if arcs.size:
        _by_address[_address(arcs)] = graph
    return graph


def _address(arcs: NDArray[np.int64]) -> int:
    return int(arcs.__array_interface__["data"][0])


def graph_of(arcs: NDArray[np.int64], num_states: int) -> Graph:
    """The graph that `_made` makes of arcs: the one they belong to, or one made before of equals.

    Who gives the same index at every step of a training does not have it sorted again.
    """
    if arcs.size and arcs.flags.c_contiguous:
        graph = _by_address.get(_address(arcs))
        if graph and graph._given_states == num_states and graph._arcs.shape == arcs.shape:
            return graph
    return _made_once(arcs.tobytes(), arcs.shape, num_states)


@functools.lru_cache(maxsize=8)
def _made_once(content: bytes, shape: tuple[int, ...], num_states: int) -> Graph:
    return _made(np.frombuffer(content, np.int64).reshape(shape), num_states)


def as_graph(function: str, idx: Any) -> Graph:
    """A graph from a Graph, or from an index."""
    if isinstance(idx, Graph):
        return idx
    return graph_of(as_index(function, as_integers(function, "idx", idx)), INDEXED)


def as_index(function: str, index: Any) -> Any:
    """The integers of an index; its number of axes is checked here, its states in C++."""
    if index.ndim != 2:
        raise value_error(function, "idx", "a Graph, or shape (C, nz)", tuple(index.shape))
    return index
