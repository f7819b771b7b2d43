"""What came out of a `TimeStream`, compared with its oracle and with an undisturbed run; damaged keys are judged apart.

Must not know: which faults there were.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from scripts.verify.torture import outputs
from scripts.verify.torture.bad_input import Letter, compare_letters, digest
from scripts.verify.torture.checkers import Output, compare, compare_state
from scripts.verify.torture.outputs import Message
from scripts.verify.torture.report import Result
from scripts.verify.torture.time_oracle import Expected, Record, Rules, expected
from scripts.verify.torture.time_stream import TimeStream
from scripts.verify.torture.trial import Trial

LOST_WINDOWS = 16  # at most for one damage of a key: until its window is full again, and what waited to be sorted in


@dataclass(frozen=True)
class Right:
    """What must come of a stream by the oracle.

    Attributes:
        windows: their scores are not known here.
        silences: what opens them and closes them.
        letters: by partition and offset.
    """

    windows: Sequence[Output]
    silences: Sequence[Output]
    letters: Mapping[tuple[int, int], Letter]

    @classmethod
    def of(cls, stream: TimeStream, rules: Rules) -> Self:
        """Ask the oracle for every partition."""
        records: dict[int, list[Record]] = {index: [] for index in range(stream.partitions)}
        for one in stream.sent:
            records[one.key % stream.partitions].append(Record(stream.key(one.key), one.time_ms, one.values))
        found = {index: expected(mine, rules) for index, mine in records.items()}
        windows = [
            Output((index, each.offset, each.time_ms), each.key, ())
            for index, one in found.items()
            for each in one.windows
        ]
        silences = [
            Output((index, each.offset, each.key.decode(), each.what), each.key, ())
            for index, one in found.items()
            for each in one.silences
        ]
        return cls(_numbered(windows), silences, _letters(stream, found))


@dataclass(frozen=True)
class TimeLeft:
    """What a run left behind.

    Attributes:
        scores: an output a scored window.
        events, ids, episodes: an output an event, its id, and that of its episode.
        letters: dead letters.
        state, rosters: by partition and key.
    """

    scores: Sequence[Output]
    events: Sequence[Output]
    ids: Sequence[str]
    episodes: Sequence[str]
    letters: Sequence[Message]
    state: Mapping[tuple[int, bytes], bytes]
    rosters: Mapping[tuple[int, bytes], bytes]

    @classmethod
    def of(cls, trial: Trial) -> Self:
        """Read topics and store."""
        servers, setup = trial.setup.checked_servers, trial.setup
        events = outputs.read(servers, setup.events_topic)
        return cls(
            _scores(outputs.read(servers, setup.scores_topic)),
            _events(events),
            [dict(message.headers)["ce_id"].decode() for message in events],
            [json.loads(message.value)["episode_id"] for message in events],
            outputs.read(servers, setup.dead_topic),
            _digests(trial.state.keys()),
            _digests(trial.state.rosters()),
        )

    @property
    def silences(self) -> list[Output]:
        """What opened silences, and what closed them."""
        found = []
        for event in self.events:
            fields = _fields(event)
            if fields.get(".cause") == "silence":
                what = str(fields[".close_reason"] or event.identity[2])
                found.append(Output((*event.identity[:2], event.key.decode(), what), event.key, ()))
        return found

    def only(self, keys: Collection[bytes], *, inside: bool) -> TimeLeft:
        """Return what is there of these keys, or of all others."""
        chosen = [number for number, event in enumerate(self.events) if (event.key in keys) == inside]
        return TimeLeft(
            [output for output in self.scores if (output.key in keys) == inside],
            [self.events[number] for number in chosen],
            [self.ids[number] for number in chosen],
            [self.episodes[number] for number in chosen],
            self.letters,
            {place: value for place, value in self.state.items() if (place[1] in keys) == inside},
            {place: value for place, value in self.rosters.items() if (place[1] in keys) == inside},
        )


def judge_by_oracle(result: Result, right: Right, left: TimeLeft, damaged: Collection[bytes] = ()) -> None:
    """Complain of windows, silences and dead letters that the records do not account for."""
    windows = [output for output in right.windows if output.key not in damaged]
    plain = [output._replace(content=()) for output in left.scores if output.key not in damaged]
    for differences in (
        compare("windows", windows, plain),
        compare("silences", right.silences, left.silences),
        compare_letters(dict(right.letters), list(left.letters)),
    ):
        result.complaints += differences.complaints()


def judge_by_golden(result: Result, golden: TimeLeft, left: TimeLeft, damaged: Mapping[bytes, int]) -> None:
    """Complain of any difference from the undisturbed run; `damaged` = how often the state of a key was damaged."""
    right, found = golden.only(damaged, inside=False), left.only(damaged, inside=False)
    for differences in (
        compare("audit", right.scores, found.scores),
        compare("events", right.events, found.events),
        compare_state(right.state, found.state),
    ):
        result.complaints += differences.complaints()
    rosters = compare_state(right.rosters, found.rosters).complaints()
    result.complaints += [complaint.replace("state", "roster", 1) for complaint in rosters]
    twice = _repeated(found.ids)
    result.require(not twice, f"event ids occur twice: {twice[:3]}")
    _judge_damaged(result, golden.only(damaged, inside=True), left.only(damaged, inside=True), damaged)


def _judge_damaged(result: Result, golden: TimeLeft, left: TimeLeft, damaged: Mapping[bytes, int]) -> None:
    """Complain of damaged keys: they may have missed windows, but invented none, and all their episodes have an end."""
    wanted = {output.identity for output in golden.scores}
    found = Counter(output.identity for output in left.scores)
    strange = sorted(map(str, (identity for identity, count in found.items() if identity not in wanted or count > 1)))
    result.require(not strange, f"windows of damaged keys: {len(strange)} unexpected or twice, e.g. {strange[:3]}")
    lost = Counter(dict.fromkeys(damaged, 0))
    lost.update(output.key for output in golden.scores if output.identity not in found)
    many = {key: count for key, count in lost.items() if count > LOST_WINDOWS * damaged[key]}
    result.require(not many, f"windows of damaged keys: more are missing than a new beginning costs: {many}")
    unended = sorted(_open_episodes(left) - _open_episodes(golden))
    result.require(not unended, f"episodes of damaged keys without an end: {len(unended)}, e.g. {unended[:3]}")
    lost_ids = [number for number, event in zip(left.ids, left.events, strict=True) if not _is_lost(event)]
    twice = _repeated(lost_ids)
    result.require(not twice, f"event ids of damaged keys occur twice: {twice[:3]}")


def state_lost(left: TimeLeft) -> list[bytes]:
    """Return whose episodes were closed because their state could not be read."""
    return [event.key for event in left.events if _is_lost(event)]


def _open_episodes(left: TimeLeft) -> set[str]:
    kinds: dict[str, set[Any]] = {}
    for episode, event in zip(left.episodes, left.events, strict=True):
        kinds.setdefault(episode, set()).add(event.identity[2])
    return {episode for episode, found in kinds.items() if "closed" not in found}


def _is_lost(event: Output) -> bool:
    return _fields(event).get(".close_reason") == "state_lost"


def _repeated(ids: Iterable[str]) -> list[str]:
    return sorted(each for each, count in Counter(ids).items() if count > 1)


def _fields(event: Output) -> dict[Any, Any]:
    return dict(zip(event.content[::2], event.content[1::2], strict=True))


def _letters(stream: TimeStream, found: Mapping[int, Expected]) -> dict[tuple[int, int], Letter]:
    letters = {}
    for (partition, key, value), offset in zip(
        stream.produced(0, stream.records), stream.offsets.tolist(), strict=True
    ):
        reason = found[partition].letters.get(offset)
        if reason is not None:
            letters[partition, offset] = Letter(reason, reason, digest(key), digest(value))
    return letters


def _scores(messages: Iterable[Message]) -> list[Output]:
    """Reduce messages of the scores topic: one record can complete several windows, so that their time tells them apart."""
    found = []
    for message in messages:
        value = json.loads(message.value)
        identity = value["partition"], value["offset"], value["time_ms"]
        found.append(Output(identity, message.key, (value["score"], value["threshold"], value["anomalous"])))
    return _numbered(found)


def _numbered(found: Iterable[Output]) -> list[Output]:
    """Tell windows of one key, record and time apart by their order."""
    seen: Counter[tuple[Any, ...]] = Counter()
    numbered = []
    for output in found:
        place = (*output.identity, output.key.decode())
        numbered.append(output._replace(identity=(*place, seen[place])))
        seen[place] += 1
    return numbered


def _events(messages: Iterable[Message]) -> list[Output]:
    """Reduce events: one record can bring several keys something, and one key an end of two episodes."""
    found = []
    for message, output in zip(messages, outputs.events(messages), strict=True):
        cause = json.loads(message.value).get("cause", "")
        found.append(output._replace(identity=(*output.identity, message.key.decode(), cause)))
    return found


def _digests(found: Mapping[tuple[int, bytes], bytes]) -> dict[tuple[int, bytes], bytes]:
    return {place: hashlib.sha256(packed).digest() for place, packed in found.items()}
