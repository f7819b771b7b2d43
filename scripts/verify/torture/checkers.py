"""The checkers: pure comparisons of what came out with what must come out.

(1) `compare`: outputs against expected ones: lost, duplicated, unexpected, changed, reordered within a key;
(2) `compare_state`: key state against that of the undisturbed run;
(3) `offsets_going_back` and `states_ahead`: what must hold at every moment of a run.
Must not know: Kafka, Redis, or any product code.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

EXAMPLES = 3


class Output(NamedTuple):
    """One output message, reduced to what can be compared.

    Attributes:
        identity: partition and offset of the input record that caused it, then whatever else tells it from others.
        key: of the message.
        content: everything else that must be equal; floats may differ by the tolerance of the comparison.
    """

    identity: tuple[int | str, ...]
    key: bytes
    content: tuple[Hashable, ...]


@dataclass(frozen=True)
class Differences:
    """What is wrong, counted, with some examples of each kind."""

    what: str
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return any(self.counts.values())

    def complaints(self) -> list[str]:
        """Return one sentence a kind of difference."""
        return [
            f"{self.what}: {count} {kind}, e.g. {'; '.join(self.examples[kind])}"
            for kind, count in self.counts.items()
            if count
        ]

    def note(self, kind: str, example: object) -> None:
        """Count one difference."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(str(example))


def compare(what: str, expected: Sequence[Output], found: Sequence[Output], tolerance: float = 0.0) -> Differences:
    """Compare outputs.

    Args:
        what: name of the stream of outputs, for the complaints.
        expected: what must come out, in any order.
        found: what a reader saw, in the order of its partitions.
        tolerance: relative and absolute, for floats in `content`.
    """
    differences = Differences(what)
    wanted = {output.identity: output for output in expected}
    seen: Counter[tuple[int | str, ...]] = Counter()
    for output in found:
        seen[output.identity] += 1
        right = wanted.get(output.identity)
        if seen[output.identity] > 1:
            differences.note("duplicated", output.identity)
        if right is None:
            differences.note("unexpected", output)
        elif output.key != right.key or not is_close(output.content, right.content, tolerance):
            differences.note("changed", f"{output} instead of {right}")
    for identity in wanted.keys() - seen.keys():
        differences.note("lost", identity)
    for earlier, later in out_of_order(found):
        differences.note("reordered", f"{later} after {earlier}")
    return differences


def is_close(left: Sequence[Hashable], right: Sequence[Hashable], tolerance: float) -> bool:
    """Tell whether two contents are equal up to the tolerance of their floats."""
    return len(left) == len(right) and all(
        math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
        if isinstance(a, float) and isinstance(b, float)
        else a == b
        for a, b in zip(left, right, strict=True)
    )


def out_of_order(found: Iterable[Output]) -> list[tuple[Output, Output]]:
    """Return neighbours of a key whose input offsets go back; equal ones are a matter of duplicates."""
    newest: dict[tuple[bytes, int | str], Output] = {}
    wrong = []
    for output in found:
        partition, offset = output.identity[:2]
        last = newest.get((output.key, partition))
        if last is not None and offset < last.identity[1]:  # type: ignore[operator]  # both are offsets
            wrong.append((last, output))
        newest[output.key, partition] = output
    return wrong


State = Mapping[tuple[int, bytes], bytes]


def compare_state(expected: State, found: State) -> Differences:
    """Compare packed key state, by (partition, key)."""
    differences = Differences("state")
    for place in sorted(expected.keys() | found.keys()):
        if place not in found:
            differences.note("lost", place)
        elif place not in expected:
            differences.note("unexpected", place)
        elif found[place] != expected[place]:
            differences.note("changed", place)
    return differences


class Sample(NamedTuple):
    """Where group and store stood at one moment; the store was asked first.

    Attributes:
        at_s: monotonic seconds.
        stored: manifest offset by partition; without a manifest the partition is missing.
        committed: committed offset by partition, 0 = never; missing = not known.
    """

    at_s: float
    stored: Mapping[int, int]
    committed: Mapping[int, int]


def offsets_going_back(samples: Sequence[Sample]) -> Differences:
    """Committed offsets never decrease."""
    differences = Differences("committed offsets")
    newest: dict[int, int] = {}
    for sample in samples:
        for partition, offset in sample.committed.items():
            if offset < newest.get(partition, 0):
                differences.note("went back", f"partition {partition}: {offset} after {newest[partition]}")
            newest[partition] = offset
    return differences


def states_ahead(samples: Sequence[Sample]) -> Differences:
    """Stored state never reflects records that are not committed."""
    differences = Differences("stored state")
    for sample in samples:
        for partition, offset in sample.stored.items():
            if partition in sample.committed and offset > sample.committed[partition]:
                differences.note(
                    "ahead of the group", f"partition {partition}: {offset} > {sample.committed[partition]}"
                )
    return differences
