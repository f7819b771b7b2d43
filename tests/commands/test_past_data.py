"""DATA on the command line: files, or a topic and which part of it."""

from __future__ import annotations

import time
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from streamae.cli import main
from streamae.commands.past_data import MAX_RECORDS, TopicRange, age_or_time, data_of
from streamae.errors import ExitCode

DAY_MS = 86_400_000
COMMANDS = (
    ["train", "--bundle", "b"],
    ["backtest", "--bundle", "b", "--out", "o"],
    ["bootstrap", "--out", "o"],
)


def test_what_begins_with_kafka_is_a_topic_and_all_else_a_path() -> None:
    """A file of such a name can still be given, by its folder."""
    assert data_of(["a.csv", "folder"]) == [Path("a.csv"), Path("folder")]
    assert data_of(["./kafka:sensors"]) == [Path("./kafka:sensors")]
    assert data_of(["-"]) == [Path("-")]
    assert data_of(["kafka:sensors"]) == TopicRange("sensors", None, MAX_RECORDS)
    assert data_of(["kafka:a:b"], 5, 10) == TopicRange("a:b", 5, 10)


@pytest.mark.parametrize("command", COMMANDS, ids=[command[0] for command in COMMANDS])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (["a.csv", "kafka:sensors"], "kafka:sensors: give either one topic or files, nothing beside a topic"),
        (["kafka:a", "kafka:b"], "kafka:a: give either one topic or files, nothing beside a topic"),
        (["kafka:"], "kafka:TOPIC needs the name of a topic"),
        (["a.csv", "--since", "3d"], "--since and --max-records go with kafka:TOPIC"),
        (["a.csv", "--max-records", "10"], "--since and --max-records go with kafka:TOPIC"),
        (["kafka:a", "--max-records", "0"], "argument --max-records: must be a whole number, at least 1"),
        (["kafka:a", "--since", "a while"], "argument --since: must be an age such as 14d, 6h or 30m, or a time such"),
    ],
)
def test_a_range_that_makes_no_sense_is_wrong_usage(
    command: list[str], data: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of what was asked for is passed over without a word."""
    assert main([*command, *data]) == ExitCode.USAGE
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(("text", "age_ms"), [("14d", 14 * DAY_MS), ("6h", DAY_MS // 4), ("30m", DAY_MS // 48)])
def test_an_age_is_counted_from_now(text: str, age_ms: int) -> None:
    """Days, hours and minutes."""
    before = time.time_ns() // 1_000_000
    since = age_or_time(text)
    assert before - age_ms <= since <= time.time_ns() // 1_000_000 - age_ms


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("2025-03-03T06:00:00Z", 1_740_981_600_000),
        ("2025-03-03T06:00", 1_740_981_600_000),
        ("2025-03-03T07:00+01:00", 1_740_981_600_000),
        ("2025-03-03", 1_740_960_000_000),
        ("1901-01-01", 0),
        ("99999999999999d", 0),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(text: str, time_ms: int) -> None:
    """The machine's own zone has no say, and nothing lies before the epoch."""
    assert age_or_time(text) == time_ms


@pytest.mark.parametrize("text", ["", "d", "14", "14 d", "-3d", "1.5h", "2s", "yesterday", "2025-13-01"])
def test_what_is_neither_age_nor_time_is_refused(text: str) -> None:
    """With an example of both."""
    with pytest.raises(ArgumentTypeError, match=r"14d, 6h or 30m, or a time such as 2025"):
        age_or_time(text)
