"""The laws of a mergeable state: parts fold in any grouping and order, and nothing is the unit."""

from __future__ import annotations

import itertools

from conformance.case import WORDS, Case, Monoid, State
from conformance.report import check, compare, require
from conformance.sample import Kind, Sample, bits, widen


class MonoidChecks(Case):
    """A case with a `monoid` is a reduction whose partial results merge."""

    def parted(self) -> list[Sample]:
        """Return the samples that are cut into parts."""
        return self.samples() if self.monoid else []

    @property
    def laws(self) -> Monoid:
        """The monoid, which these checks run only with."""
        assert self.monoid is not None
        return self.monoid

    def states(self, sample: Sample, kind: Kind) -> list[State]:
        """Return the state of each part."""
        return [self.outputs(kind.arrays(part), part) for part in self.laws.parts(sample)]

    def judge_state(self, want: State, got: State, kind: Kind, where: str) -> None:
        """Compare two states, each of which has the operation's own error."""
        for index, (one, other) in enumerate(zip(want, got, strict=True)):
            expected, found = widen(one), widen(other)
            size = float(abs(expected).max(initial=0))
            tolerance = self.output_tolerance(index)
            dtype = self.output_dtype(index, kind)
            place = f"{where} output {index}"
            # Two merges on either side, each with its own error and that of what it merges.
            compare(expected, found, dtype, tolerance.times(4), magnitude=size, where=place)

    @check(hook="parted", libraries=("numpy", "torch"), dtypes=WORDS)
    def test_merge_whole(self, sample: Sample, kind: Kind) -> None:
        """The parts merge into the state of the whole."""
        merged = self.laws.merge(*self.states(sample, kind))
        arguments = kind.arrays(sample)
        magnitude = self.magnitude(arguments, sample)
        for index, (want, have) in enumerate(
            zip(self.expected(arguments, sample), merged, strict=True)
        ):
            tolerance = self.output_tolerance(index).times(2)  # the parts' and the merge's
            place = f"parts merged, output {index}"
            dtype = self.output_dtype(index, kind)
            compare(want, widen(have), dtype, tolerance, magnitude=magnitude, where=place)

    @check(hook="parted", libraries=("numpy", "torch"), dtypes=WORDS)
    def test_merge_associative(self, sample: Sample, kind: Kind) -> None:
        """(a b) c = a (b c)."""
        merge = self.laws.merge
        states = self.states(sample, kind)
        require(len(states) > 2, "three parts or more", len(states))
        for k in range(len(states) - 2):
            a, b, c = states[k : k + 3]
            self.judge_state(
                merge(merge(a, b), c), merge(a, merge(b, c)), kind, "(a b) c = a (b c)"
            )

    @check(hook="parted", libraries=("numpy", "torch"), dtypes=WORDS)
    def test_merge_commutative(self, sample: Sample, kind: Kind) -> None:
        """a b = b a."""
        merge = self.laws.merge
        states = self.states(sample, kind)
        for a, b in itertools.pairwise(states):
            self.judge_state(merge(a, b), merge(b, a), kind, "a b = b a")

    @check(hook="parted", libraries=("numpy", "torch"), dtypes=WORDS)
    def test_merge_unit(self, sample: Sample, kind: Kind) -> None:
        """Nothing merged with a state is that state, bit for bit."""
        merge, unit = self.laws.merge, self.laws.unit
        for state in self.states(sample, kind):
            nothing = unit(state)
            for got in (merge(state, nothing), merge(nothing, state), merge(state)):
                same = [bits(x) for x in got] == [bits(x) for x in state]
                require(same, state, got)
