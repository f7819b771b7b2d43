"""The torture runs of bad input, cardinality, Redis and operators notice what they are there to notice."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from scripts.verify.torture import oracle
from scripts.verify.torture.bad_input import TRUNCATED_HEADER, Letter, Mixture, compare_letters, digest
from scripts.verify.torture.bad_records import HUGE_BYTES, KINDS
from scripts.verify.torture.bad_records import schedule as schedule_bad
from scripts.verify.torture.cardinality import Crowd
from scripts.verify.torture.faults_operator import _expected_behind, _repeated
from scripts.verify.torture.faults_redis import SHARES
from scripts.verify.torture.faults_redis import schedule as schedule_faults
from scripts.verify.torture.outputs import Message
from scripts.verify.torture.workload import Workload

WORKLOAD = Workload(keys=30, rows=20, partitions=3, seed=7)


def mixture(count: int = 200) -> tuple[Mixture, list[tuple[int, bytes | None, bytes | None]]]:
    """Return a mixture and its records."""
    made = Mixture(WORKLOAD, schedule_bad(count, Random(1)), 1)
    return made, [*made.records(0, 100), *made.records(100, WORKLOAD.records)]


def letters_of(made: Mixture, records: list[tuple[int, bytes | None, bytes | None]]) -> list[Message]:
    """Return the dead letters that a right program writes."""
    at: Counter[int] = Counter()
    found = []
    for partition, key, value in records:
        place = partition, at[partition]
        at[partition] += 1
        if place in made.letters:
            headers = {
                "streamae-source-partition": str(partition),
                "streamae-source-offset": str(place[1]),
                "streamae-reason": made.letters[place].reason,
            }
            encoded = tuple((name, text.encode()) for name, text in headers.items())
            found.append(Message(0, len(found), key or b"", value or b"", encoded))
    return found


def test_a_mixture_holds_all_good_and_all_bad_records_at_the_places_it_says() -> None:
    """Offsets of good records and of expected dead letters are those of the stream as it is written."""
    made, records = mixture()
    assert len(records) == WORKLOAD.records + 200
    assert len(made.letters) == 200
    assert sum(made.ends.values()) == len(records)
    by_partition = {index: [record for record in records if record[0] == index] for index in range(3)}
    for number, (partition, key, _value) in enumerate(WORKLOAD.produced(0, WORKLOAD.records)):
        assert by_partition[partition][made.offsets[number]][1] == key
        assert (partition, int(made.offsets[number])) not in made.letters
    for (partition, offset), letter in made.letters.items():
        _, key, value = by_partition[partition][offset]
        assert (digest(key), digest(value)) == (letter.key, letter.value)


def test_no_bad_record_comes_before_every_key_was_seen() -> None:
    """One key more is too many only when all are there."""
    made, records = mixture()
    first = [record[1] for record in records[: WORKLOAD.keys]]
    assert set(first) == {WORKLOAD.key(index) for index in range(WORKLOAD.keys)}
    assert {letter.kind for letter in made.letters.values()} == {kind.name for kind in KINDS}


def test_outputs_of_the_clean_stream_are_found_again_in_the_mixed_one() -> None:
    """Only the offset of an output changes, and it is that of the same record."""
    made, _ = mixture()
    clean = oracle.expected_audit(WORKLOAD)
    moved = made.moved(clean)
    assert [(each.key, each.content) for each in moved] == [(each.key, each.content) for each in clean]
    assert all(after.identity[1] >= before.identity[1] for before, after in zip(clean, moved, strict=True))
    assert len({each.identity for each in moved}) == len(clean)


@pytest.mark.parametrize("damage", ["lost", "duplicated", "unexpected", "for another reason", "changed"])
def test_every_damage_to_the_dead_letters_is_noticed(damage: str) -> None:
    """One wrong letter of two hundred is one difference of its kind."""
    made, records = mixture()
    letters = letters_of(made, records)
    assert not compare_letters(made.letters, letters)
    victim = letters[17]
    if damage == "lost":
        letters.remove(victim)
    elif damage == "duplicated":
        letters.append(victim)
    elif damage == "unexpected":
        free = next(iter({(0, offset) for offset in range(made.ends[0])} - made.letters.keys()))
        letters.append(victim._replace(headers=_at(victim, *free)))
    elif damage == "for another reason":
        letters[17] = victim._replace(headers=(*victim.headers[:2], ("streamae-reason", b"other")))
    else:
        letters[17] = victim._replace(value=victim.value + b"?")
    assert compare_letters(made.letters, letters).counts == {damage: 1}


def test_a_letter_cut_to_the_limit_of_its_topic_must_say_so() -> None:
    """10 MB do not fit: a shortened value counts as untouched only with the header that tells."""
    value = b"x" * HUGE_BYTES
    expected = {(0, 0): Letter("too_large", "10 MB", digest(b"k"), digest(value))}
    headers = (
        ("streamae-source-partition", b"0"),
        ("streamae-source-offset", b"0"),
        ("streamae-reason", b"too_large"),
    )
    cut = Message(0, 0, b"k", value[:1000], headers)
    assert compare_letters(expected, [cut]).counts == {"changed": 1}
    assert not compare_letters(expected, [cut._replace(headers=(*headers, (TRUNCATED_HEADER, b"true")))])


def test_a_crowd_has_every_stranger_once_and_the_regulars_where_it_says() -> None:
    """The number of distinct keys is the number asked for."""
    crowd = Crowd(WORKLOAD, 2_000)
    records = [*crowd.records(0, 111), *crowd.records(111, WORKLOAD.records)]
    keys = Counter(key for _, key, _ in records)
    assert sum(key.startswith(b"stranger") for key in keys) == 2_000
    assert len(keys) == 2_000 + WORKLOAD.keys
    assert max(count for key, count in keys.items() if key.startswith(b"stranger")) == 1
    by_partition = {index: [record for record in records if record[0] == index] for index in range(3)}
    assert crowd.ends == {index: len(found) for index, found in by_partition.items()}
    for number, (partition, key, value) in enumerate(WORKLOAD.produced(0, WORKLOAD.records)):
        assert by_partition[partition][crowd.offsets[number]] == (partition, key, value)


@pytest.mark.parametrize("faults", [20, 125])
def test_faults_of_the_store_are_all_there_in_their_shares(faults: int) -> None:
    """Every kind at least once; the full figures are exactly those of the plan."""
    counts = Counter(schedule_faults(faults, Random(3)))
    assert sum(counts.values()) == faults
    assert set(counts) == set(SHARES)
    if faults == 125:
        assert counts == SHARES


def test_too_few_faults_of_the_store_are_refused() -> None:
    """No kind is silently left out."""
    with pytest.raises(ValueError, match="cannot hold"):
        schedule_faults(5, Random(3))


def test_outputs_behind_a_hole_are_those_of_keys_that_begin_anew() -> None:
    """Without a hole they are the oracle's; behind one the first windows are missing and the scores differ."""
    whole = oracle.expected_audit(WORKLOAD)
    assert sorted(_expected_behind(WORKLOAD, dict.fromkeys(range(3), 0))) == sorted(whole)
    hole = {0: 50, 1: 0, 2: 200}
    found = _expected_behind(WORKLOAD, hole)
    untouched = [output for output in whole if output.identity[0] == 1]
    assert [output for output in found if output.identity[0] == 1] == untouched
    assert [output for output in found if output.identity[0] == 2] == []
    first = min(output.identity[1] for output in found if output.identity[0] == 0)
    assert first >= 50 + (oracle.WINDOW - 1) * 10
    assert set(found) - set(whole)


def test_outputs_that_must_come_twice_are_counted() -> None:
    """Once too few is lost, once too often is too many."""
    one, other = oracle.expected_audit(WORKLOAD)[:2]
    assert not _repeated("audit", [one, one, other], [other, one, one])
    assert _repeated("audit", [one, one], [one]).counts == {"lost": 1}
    assert _repeated("audit", [one], [one, one]).counts == {"too many": 1}


def _at(message: Message, partition: int, offset: int) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of a dead letter as if it came from another place."""
    own = {"streamae-source-partition": str(partition), "streamae-source-offset": str(offset)}
    return tuple((name, own[name].encode() if name in own else value) for name, value in message.headers)
