"""Every checker of the torture runs finds what it is for: each kind of damage is planted once, and only it is reported."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from scripts.verify.torture import outputs
from scripts.verify.torture.checkers import (
    Output,
    Sample,
    compare,
    compare_state,
    is_close,
    offsets_going_back,
    states_ahead,
)
from scripts.verify.torture.oracle import WINDOW, expected_audit, expected_openings
from scripts.verify.torture.outputs import Message
from scripts.verify.torture.workload import SPIKE, Workload

SMALL = Workload(keys=20, rows=30, partitions=3, seed=7)
RIGHT = expected_audit(SMALL)
VICTIM = 123

Damage = Callable[[list[Output]], object]


def swap_neighbours_of_a_key(found: list[Output]) -> None:
    later = next(index for index in range(VICTIM + 1, len(found)) if found[index].key == found[VICTIM].key)
    found[VICTIM], found[later] = found[later], found[VICTIM]


def change_score(found: list[Output]) -> None:
    time_ms, score = found[VICTIM].content
    assert isinstance(score, float)
    found[VICTIM] = found[VICTIM]._replace(content=(time_ms, score * (1 + 1e-12)))


DAMAGES: dict[str, Damage] = {
    "lost": lambda found: found.pop(VICTIM),
    "duplicated": lambda found: found.insert(VICTIM, found[VICTIM]),
    "reordered": swap_neighbours_of_a_key,
    "changed": change_score,
    "unexpected": lambda found: found.append(found[VICTIM]._replace(identity=(0, 10**9))),
}


def test_right_outputs_are_right() -> None:
    """Nothing is reported of what must come out, whatever order the keys have among each other."""
    assert not compare("audit", RIGHT, RIGHT)
    by_partition = sorted(RIGHT, key=lambda output: (output.key, output.identity))
    assert not compare("audit", RIGHT, by_partition)


@pytest.mark.parametrize("kind", DAMAGES)
def test_planted_damage_is_found_and_named(kind: str) -> None:
    """One lost, repeated, reordered, changed or invented message among hundreds is reported, as what it is."""
    found = list(RIGHT)
    DAMAGES[kind](found)
    differences = compare("audit", RIGHT, found)
    assert differences.counts == {kind: 1}
    (complaint,) = differences.complaints()
    assert complaint.startswith(f"audit: 1 {kind}, e.g. ")


def test_a_message_under_another_key_is_changed() -> None:
    """The right score for the wrong stream is wrong."""
    found = list(RIGHT)
    found[VICTIM] = found[VICTIM]._replace(key=b"key-99999")
    assert compare("audit", RIGHT, found).counts == {"changed": 1}


def test_a_late_duplicate_is_both_repeated_and_out_of_order() -> None:
    """What a zombie publishes long after its successor did is found by two checks."""
    differences = compare("audit", RIGHT, [*RIGHT, RIGHT[0]])
    assert differences.counts == {"duplicated": 1, "reordered": 1}


def test_tolerance_covers_floats_only() -> None:
    """Scores may differ by the tolerance, everything else not at all; missing parts are never close."""
    assert is_close((5, 1.0), (5, 1.0 + 5e-6), 1e-5)
    assert not is_close((5, 1.0), (5, 1.0 + 5e-5), 1e-5)
    assert not is_close((5, 1.0), (6, 1.0), 1e-5)
    assert not is_close((1.0,), (1.0, 2.0), 1e-5)


def test_every_kind_of_damage_to_state_is_found() -> None:
    """A key that is gone, new or different is reported, with its partition."""
    state = {(0, b"a"): b"1", (0, b"b"): b"2", (1, b"c"): b"3"}
    assert not compare_state(state, dict(state))
    damaged = {(0, b"a"): b"1", (1, b"c"): b"other", (1, b"d"): b"4"}
    differences = compare_state(state, damaged)
    assert differences.counts == {"lost": 1, "changed": 1, "unexpected": 1}
    assert differences.examples["lost"] == ["(0, b'b')"]


def test_a_committed_offset_that_goes_back_is_found() -> None:
    """A commit by a zombie shows, also when a sample in between lacks the partition."""
    samples = [Sample(0.0, {}, {0: 5, 1: 9}), Sample(1.0, {}, {1: 9}), Sample(2.0, {}, {0: 4, 1: 10})]
    assert not offsets_going_back(samples[:2])
    assert offsets_going_back(samples).counts == {"went back": 1}


def test_state_ahead_of_the_group_is_found() -> None:
    """State of records that are not committed shows; where the group did not answer nothing can be said."""
    assert not states_ahead([Sample(0.0, {0: 5}, {0: 5}), Sample(1.0, {0: 7}, {})])
    assert states_ahead([Sample(0.0, {0: 6}, {0: 5})]).counts == {"ahead of the group": 1}


def test_oracle_has_one_window_a_record_from_the_windows_size_on() -> None:
    """The k-th record of a key has exactly one expected message for k >= W, and each anomaly one opening."""
    assert len(RIGHT) == SMALL.keys * (SMALL.rows - WINDOW + 1)
    assert len({output.identity for output in RIGHT}) == len(RIGHT)
    assert len(expected_openings(SMALL)) == len(SMALL.spikes) == 6


def test_oracle_scores_follow_from_the_values_of_the_records() -> None:
    """The score of a key's second window, computed here from its JSON by hand; anomalies stand out far."""
    key = min(SMALL.spikes)
    rows = [json.loads(value) for _, name, value in SMALL.produced(0, SMALL.records) if name == SMALL.key(key)]
    squares = [(row["temp"] ** 2 + row["load"] ** 2) / 2 for row in rows]
    scores = [output.content[1] for output in RIGHT if output.key == SMALL.key(key)]
    assert scores[0] == squares[WINDOW - 1]
    assert scores[1] == squares[WINDOW - 1] + 0.3 * (squares[WINDOW] - squares[WINDOW - 1])
    assert scores[SMALL.spikes[key] - WINDOW + 1] > 0.29 * SPIKE**2 / 2 > 100 * min(map(float, map(str, scores)))


def test_offsets_are_those_a_producer_in_order_gets() -> None:
    """The oracle's offsets count the records of each partition in the order in which they are produced."""
    seen: dict[int, int] = {}
    for number, (partition, key, _) in enumerate(SMALL.produced(0, SMALL.records)):
        assert SMALL.offsets[number] == seen.get(partition, 0)
        assert key == SMALL.key(int(SMALL.order[number]))
        seen[partition] = seen.get(partition, 0) + 1
    assert seen == SMALL.ends()
    assert sum(SMALL.ends(100).values()) == 100


def test_equal_workloads_are_equal_streams() -> None:
    """A golden run can stand for every run of the same description, and for no other."""
    again, other = Workload(20, 30, 3, 7), Workload(20, 30, 3, 8)
    assert again == SMALL
    assert list(again.produced(0, 50)) == list(SMALL.produced(0, 50))
    assert list(other.produced(0, 50)) != list(SMALL.produced(0, 50))
    assert other.name != SMALL.name


def event(**changes: object) -> Message:
    """Return an anomaly event as it is read from its topic."""
    value = {
        "episode_id": "one",
        "kind": "opened",
        "sequence": 0,
        "score": 2.5,
        "detector": "group",
        "features": [{"name": "temp", "share": 1.0}],
        "source": {"topic": "t", "partition": 2, "offset": 41},
    }
    return Message(0, 0, b"key", json.dumps(value | changes).encode(), (("ce_id", b"id-1"),))


def test_events_are_compared_without_the_names_of_a_run() -> None:
    """Two runs on other topics and groups give equal events; any difference in content remains one."""
    (one,) = outputs.events([event()])
    assert one.identity == (2, 41, "opened", 0)
    elsewhere = event(episode_id="two", detector="other", source={"topic": "u", "partition": 2, "offset": 41})
    assert outputs.events([elsewhere]) == [one]
    changed = outputs.events([event(features=[{"name": "temp", "share": 0.9}])])
    assert compare("events", [one], changed).counts == {"changed": 1}


def test_event_ids_that_occur_twice_are_found() -> None:
    """An event published again keeps its id, which is how consumers would notice."""
    assert outputs.repeated_ids([event()]) == []
    assert outputs.repeated_ids([event(), event(sequence=1)]) == ["id-1"]
