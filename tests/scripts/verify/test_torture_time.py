"""T20's stream holds what it says, its oracle follows the documented rules, and its judge finds planted damage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random

import pytest

from scripts.verify.torture.checkers import Output
from scripts.verify.torture.faults_time import RULES, SHARES, SIZES, damaged, schedule
from scripts.verify.torture.outputs import Message
from scripts.verify.torture.report import Result
from scripts.verify.torture.time_judge import Right, TimeLeft, judge_by_golden, judge_by_oracle, state_lost
from scripts.verify.torture.time_oracle import Record, Rules, Silence, Window, expected
from scripts.verify.torture.time_stream import JUMP_MS, TimeStream

STREAM = TimeStream(SIZES["smoke"])
HOUR_MS = 3_600_000
PLAIN = Rules(
    max_jump_ms=HOUR_MS,
    lateness_ms=100,
    max_gap_ms=10 * HOUR_MS,
    window=3,
    max_step_ms=20,
    raster_ms=10,
    after_ms=50,
    forget_ms=100,
)


def together(*moments: int, keys: str = "ab") -> list[Record]:
    """Return records of several keys at each moment."""
    return [Record(key.encode(), moment, (0,)) for moment in moments for key in keys]


def test_equal_streams_are_equal() -> None:
    """An undisturbed run can stand for every run of the same description."""
    again, other = TimeStream(SIZES["smoke"]), TimeStream(replace(SIZES["smoke"], seed=1))
    assert again == STREAM
    assert list(again.produced(0, 500)) == list(STREAM.produced(0, 500))
    assert list(other.produced(0, 500)) != list(STREAM.produced(0, 500))


def test_offsets_are_those_a_producer_in_order_gets() -> None:
    """Offsets count the records of each partition in the order in which they are produced."""
    seen: dict[int, int] = {}
    for (partition, key, _), sent, offset in zip(
        STREAM.produced(0, STREAM.records), STREAM.sent, STREAM.offsets.tolist(), strict=True
    ):
        assert offset == seen.get(partition, 0)
        assert (key, partition) == (STREAM.key(sent.key), sent.key % STREAM.partitions)
        seen[partition] = offset + 1
    assert seen == STREAM.ends()
    assert sum(STREAM.ends(100).values()) == 100


@pytest.mark.parametrize("size", ["smoke", "quick"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_stream_holds_everything_that_can_go_wrong(size: str, seed: int) -> None:
    """Every kind of silence and dead letter comes of it, and keys meant for damage are spared all of them."""
    stream = TimeStream(replace(SIZES[size], seed=seed))  # type: ignore[index]  # a size it is
    right = Right.of(stream, RULES)
    assert {str(output.identity[3]) for output in right.silences} == {"opened", "returned", "ended"}
    reasons = Counter(letter.reason for letter in right.letters.values())
    assert reasons.keys() == {"clock_jump", "duplicate", "late"}
    assert min(reasons.values()) >= 5
    assert len(right.letters) < 0.1 * stream.records < len(right.windows)
    refused: dict[str, set[int]] = {reason: set() for reason in reasons}
    for sent, offset in zip(stream.sent, stream.offsets.tolist(), strict=True):
        if (place := (sent.key % stream.partitions, offset)) in right.letters:
            refused[right.letters[place].reason].add(sent.key)
    assert refused["clock_jump"] == set(stream.roles["jumps"] + stream.roles["runs_ahead"])
    assert refused["late"] > set(stream.roles["set_back"] + stream.roles["runs_ahead"])
    assert refused["late"] - {key for keys in stream.roles.values() for key in keys}
    victims = {stream.key(index) for index in stream.roles["damaged"]}
    assert len(victims) > 1
    assert not victims & {output.key for output in right.silences}
    assert {output.key for output in right.windows} > victims
    crossings = Counter(output.identity[:2] for output in right.silences if output.identity[3] == "opened")
    assert max(crossings.values()) > 1, "nowhere do several keys fall silent at one record"
    times = Counter(output.identity[:2] for output in right.windows)
    assert max(times.values()) > 1, "no record lets more than one row out"


def test_one_stamp_far_ahead_is_refused_and_a_second_one_confirms() -> None:
    """A jump is a dead letter at its own offset; the next record near it counts, of whichever key."""
    lone = [*together(0, 10), Record(b"a", JUMP_MS, (0,)), *together(20)]
    assert expected(lone, PLAIN).letters == {4: "clock_jump"}
    followed = [*together(0, 10), Record(b"a", JUMP_MS, (0,)), Record(b"b", JUMP_MS + 5, (0,)), *together(JUMP_MS + 10)]
    assert expected(followed, PLAIN).letters == {4: "clock_jump"}
    forgotten = [*together(0, 10), Record(b"a", JUMP_MS, (0,)), *together(20), Record(b"b", JUMP_MS, (0,))]
    assert expected(forgotten, PLAIN).letters == {4: "clock_jump", 7: "clock_jump"}


def test_a_clock_set_back_counts_with_its_eighth_record() -> None:
    """Seven records are late; the eighth in order begins the key anew, and one out of order begins the count anew."""
    before = [Record(b"a", 9 * HOUR_MS + each, (0,)) for each in (0, 200)]
    back = [Record(b"a", 5 * HOUR_MS + each, (0,)) for each in range(10)]
    assert expected([*before, *back], PLAIN).letters == dict.fromkeys(range(2, 9), "late")
    shuffled = [*back[:6], back[2], *back[3:]]
    assert expected([*before, *shuffled], PLAIN).letters == dict.fromkeys(range(2, 15), "late")


def test_silence_opens_at_the_record_that_crosses_the_raster_beyond_the_limit() -> None:
    """The offset of an opening is that of the second key that gets there; the next sign of life closes it."""
    records = [*together(0, 10, keys="abc"), *together(20, 30, 40, 50, 60), *together(70, 80), *together(90, keys="c")]
    found = expected(records, PLAIN)
    crossing = next(number for number, record in enumerate(records) if record == Record(b"b", 70, (0,)))
    assert found.silences == [Silence(crossing, b"c", "opened"), Silence(len(records) - 1, b"c", "returned")]


def test_a_pause_of_everybody_is_nobodys_silence() -> None:
    """However long nothing comes at all, only a bounded step of time is active."""
    assert not expected(together(0, 10, HOUR_MS // 2, HOUR_MS // 2 + 10, keys="abc"), PLAIN).silences


def test_one_key_alone_moves_no_time() -> None:
    """Time counts that two keys have reached: one that runs on alone makes nobody silent."""
    records = [*together(0, 10, keys="abc"), *(Record(b"a", 20 + each, (0,)) for each in range(0, 500, 10))]
    assert not expected(records, PLAIN).silences


def test_a_silent_key_is_forgotten_and_then_another_one() -> None:
    """Its silence ends where it is given up; what it sends after that is of a new key, whose window begins anew."""
    records = [*together(0, 10, 20, keys="abc"), *together(*range(30, 160, 10)), *together(160, keys="c")]
    found = expected(records, PLAIN)
    assert [silence.what for silence in found.silences] == ["opened", "ended"]
    assert all(silence.key == b"c" for silence in found.silences)
    assert not [window for window in found.windows if window.key == b"c" and window.time_ms > 20]


def test_a_multiple_of_the_usual_gap_is_learnt_from_gaps_that_end_in_time() -> None:
    """Eight gaps make a usual one; that which ends a silence is none of them, so the next limit is the same."""
    rules = replace(PLAIN, after_gaps={"c": 4.0}, forget_ms=HOUR_MS)
    usual = [*together(*range(0, 100, 10), keys="abc"), *together(*range(100, 200, 10)), *together(200, keys="abc")]
    again = [*together(*range(210, 300, 10)), *together(300, keys="abc")]
    found = expected([*usual, *again], rules)
    opened = [silence for silence in found.silences if silence.what == "opened"]
    records = [*usual, *again]
    assert [records[silence.offset].time_ms for silence in opened] == [140, 250]
    assert not expected(usual[6 * 3 :], rules).silences, "with too few gaps nobody is waited for"


def test_rows_wait_for_older_ones_and_carry_the_record_that_let_them_go() -> None:
    """Within the lateness order is restored; what is older than a row that left is late at its own offset."""
    times = [0, 50, 120, 80, 151, 20, 400]
    found = expected([Record(b"a", time_ms, (0,)) for time_ms in times], PLAIN)
    assert found.letters == {5: "late"}
    assert found.windows == [Window(6, b"a", 80), Window(6, b"a", 120), Window(6, b"a", 151)]


def test_the_same_content_at_one_time_is_a_duplicate_and_other_content_is_a_row() -> None:
    """Whether the first one still waits or has left makes no difference."""
    records = [Record(b"a", 0, (1,)), Record(b"a", 0, (1,)), Record(b"a", 0, (2,)), Record(b"a", 100, (1,))]
    late = [Record(b"a", 0, (2,)), Record(b"a", 0, (3,))]
    found = expected([*records, *late], PLAIN)
    assert found.letters == {1: "duplicate", 4: "duplicate"}
    assert found.windows == [Window(5, b"a", 0)]


def test_what_waits_of_a_key_leaves_when_it_falls_silent() -> None:
    """Its rows carry the record that tells so; older ones are late from then on, and those of the same time are not."""
    rules = replace(PLAIN, lateness_ms=1_000, forget_ms=HOUR_MS)
    records = [*together(0, 10, 20, keys="abc"), *together(30, 40, 50, 60, 70, 80)]
    after = [Record(b"c", 20, (0,)), Record(b"c", 20, (1,)), Record(b"c", 19, (0,))]
    found = expected([*records, *after], rules)
    (opened, _) = found.silences
    assert records[opened.offset] == Record(b"b", 80, (0,))
    assert found.letters == {len(records): "duplicate", len(records) + 2: "late"}
    assert found.windows == [Window(opened.offset, b"c", 20), Window(len(records) + 1, b"c", 20)]


RIGHT = Right.of(STREAM, RULES)
VICTIMS = {STREAM.key(index): 1 for index in STREAM.roles["damaged"]}
VICTIM = min(VICTIMS)
NOBODY: dict[bytes, int] = {}


def event(identity: tuple[int | str, ...], key: bytes, cause: str = "", reason: str | None = None) -> Output:
    """Return an event as it is compared."""
    return Output((*identity, key.decode(), cause), key, (".cause", cause, ".close_reason", reason))


def letters() -> list[Message]:
    """Return the dead letters that a run must leave."""
    found = []
    for (partition, key, value), offset in zip(
        STREAM.produced(0, STREAM.records), STREAM.offsets.tolist(), strict=True
    ):
        if (partition, offset) in RIGHT.letters:
            texts = {"source-partition": str(partition), "source-offset": str(offset)}
            texts["reason"] = RIGHT.letters[partition, offset].reason
            headers = tuple((f"streamae-{name}", text.encode()) for name, text in texts.items())
            found.append(Message(0, 0, key, value, headers))
    return found


@cache
def good() -> TimeLeft:
    """Return what a run without any fault leaves behind; one victim has had an episode."""
    kinds = {"opened": ("opened", None), "returned": ("closed", "returned"), "ended": ("closed", "ended")}
    events = [event((0, 5, "opened", 0), VICTIM), event((0, 9, "closed", 1), VICTIM, "", "recovered")]
    for silence in RIGHT.silences:
        kind, reason = kinds[str(silence.identity[3])]
        events.append(event((*silence.identity[:2], kind, 0), silence.key, "silence", reason))
    episodes = ["e0", "e0", *(f"s{number}" for number in range(2, len(events)))]
    keys = {(index % STREAM.partitions, STREAM.key(index)): b"%d" % index for index in range(STREAM.keys)}
    scores = [output._replace(content=(1.0, 2.0, False)) for output in RIGHT.windows]
    return TimeLeft(scores, events, [str(number) for number in range(len(events))], episodes, letters(), keys, keys)


def complaints(left: TimeLeft, damage: dict[bytes, int] = NOBODY) -> list[str]:
    """Return everything that is wrong with what a run left."""
    result = Result()
    judge_by_oracle(result, RIGHT, left, damage)
    judge_by_golden(result, good(), left, damage)
    return result.complaints


def without_key(left: TimeLeft, victim: bytes) -> TimeLeft:
    """Return the run without the scores of one key."""
    return replace(left, scores=[output for output in left.scores if output.key != victim])


PLANTED: dict[str, tuple[str, Callable[[TimeLeft], TimeLeft]]] = {
    "a lost window": ("windows", lambda left: replace(left, scores=left.scores[1:])),
    "a window twice": ("windows", lambda left: replace(left, scores=[*left.scores, left.scores[-1]])),
    "another score": (
        "audit",
        lambda left: replace(left, scores=[left.scores[0]._replace(content=(9.0, 2.0, False)), *left.scores[1:]]),
    ),
    "a silence at another record": (
        "silences",
        lambda left: replace(
            left,
            events=[
                *left.events[:-1],
                left.events[-1]._replace(identity=(left.events[-1].identity[0], 10**9, *left.events[-1].identity[2:])),
            ],
        ),
    ),
    "a lost dead letter": ("dead letters", lambda left: replace(left, letters=left.letters[1:])),
    "a dead letter twice": ("dead letters", lambda left: replace(left, letters=[*left.letters, left.letters[0]])),
    "another event": (
        "events",
        lambda left: replace(left, events=[left.events[0]._replace(content=(".cause", "")), *left.events[1:]]),
    ),
    "an id twice": ("event ids", lambda left: replace(left, ids=["0", *left.ids[:-1]])),
    "another state": ("state", lambda left: replace(left, state={**left.state, (0, STREAM.key(0)): b"other"})),
    "a lost entry": ("roster", lambda left: replace(left, rosters=dict(list(left.rosters.items())[1:]))),
}


def test_a_good_run_is_good() -> None:
    """Nothing is reported of a run that is as it must be, with or without damaged keys."""
    assert not complaints(good())
    assert not complaints(good(), VICTIMS)


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_damage_is_found_and_named(kind: str) -> None:
    """One wrong thing anywhere in what a run left is reported, by the check that is for it."""
    name, plant = PLANTED[kind]
    assert any(complaint.startswith(name) for complaint in complaints(plant(good())))


def test_a_damaged_key_may_begin_anew_and_no_other() -> None:
    """Few windows, another state and an end as lost are allowed of a key whose state was damaged, and of no other."""
    left = good()
    mine = [output for output in left.scores if output.key == VICTIM]
    missing = {output.identity for output in mine[5:12]}
    lost = event((0, 9, "closed", 1), VICTIM, "", "state_lost")
    left = replace(
        left,
        scores=[output for output in left.scores if output.identity not in missing],
        events=[left.events[0], lost, *left.events[2:]],
        state={place: b"anew" if place[1] == VICTIM else value for place, value in left.state.items()},
    )
    assert not complaints(left, VICTIMS)
    assert state_lost(left) == [VICTIM]
    assert complaints(left, {key: 1 for key in VICTIMS if key != VICTIM})


def test_a_damaged_key_may_not_lose_more_than_a_beginning() -> None:
    """A key that is never heard again, windows that nobody else has, and an episode without an end are wrong."""
    assert any("more are missing" in each for each in complaints(without_key(good(), VICTIM), VICTIMS))
    left = good()
    invented = next(output for output in left.scores if output.key == VICTIM)
    invented = invented._replace(identity=(0, 10**9, *invented.identity[2:]))
    found = complaints(replace(left, scores=[*left.scores, invented]), VICTIMS)
    assert any("unexpected or twice" in each for each in found)
    unended = replace(left, events=[left.events[0], *left.events[2:]], ids=left.ids[1:], episodes=left.episodes[1:])
    assert any("without an end" in each for each in complaints(unended, VICTIMS))


def test_what_is_damaged_is_another_value() -> None:
    """Every damage changes the bytes; each kind of it occurs."""
    rng, value, other = Random(1), bytes(range(40)), b"x" * 40
    found = [damaged(value, other, rng) for _ in range(300)]
    assert value not in found
    assert value not in [damaged(value, value, rng) for _ in range(100)]
    assert {b"", other} <= set(found)
    assert any(len(each) > 40 for each in found)
    assert any(0 < len(each) < 40 for each in found)
    assert b"" not in [damaged(b"", b"", rng) for _ in range(100)], "one that was emptied, and not read since"


def test_every_kind_of_fault_is_in_the_schedule() -> None:
    """The quick figure holds all kinds; too few faults are refused."""
    assert Counter(schedule(20, Random(0))) == {**SHARES, "kill": 7}
    assert len(schedule(150, Random(0))) == 150
    assert {schedule(20, Random(seed))[10] for seed in range(20)} == {"damage"}
    with pytest.raises(ValueError, match="cannot hold"):
        schedule(4, Random(0))
