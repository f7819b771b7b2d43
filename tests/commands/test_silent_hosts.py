"""A host that stops sending, through the commands that people type: its silence is an event, and its episode ends."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamae.errors import ExitCode
from tests.commands.foreign_data import csv, saved, stamps, wave
from tests.commands.shell import SERVED, FirstContact, Shell

pytestmark = pytest.mark.slow

ROWS, FAULT, STOP, BACK = 500, 300, 312, 400  # a row a minute; the host is odd from a minute on, stops, comes back
HOSTS = ("srv-1", "srv-2", "srv-3", "srv-4")
TIMES = stamps(ROWS)
PROPOSED = "# after_gaps = 10.0"


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    """A process for commands."""
    one = Shell()
    yield one
    one.close()


def metrics(
    path: Path, *, odd: bool = False, silent: Collection[int] = (), hosts: Collection[str] = ("srv-3",)
) -> Path:
    """Write what four hosts send; srv-3 is `odd` before it stops, and some hosts send nothing in `silent` minutes."""
    waves = {host: (wave(ROWS, 30, seed=at), wave(ROWS, 60, 3, seed=at + 9)) for at, host in enumerate(HOSTS)}
    if odd:
        waves["srv-3"][0][FAULT:STOP] += 8
    rows = [
        (TIMES[row], host, waves[host][0][row], waves[host][1][row])
        for row in range(ROWS)
        for host in HOSTS
        if not (host in hosts and row in silent)
    ]
    return saved(path, csv(dict(zip(("timestamp", "host", "cpu", "memory"), zip(*rows, strict=True), strict=True))))


@pytest.fixture(scope="module")
def learnt(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> FirstContact:
    """What was learnt from hosts that never stop, with the settings that `inspect` proposes."""
    folder = tmp_path_factory.mktemp("learnt")
    found = shell.first_contact(folder, metrics(folder / "train.csv"))
    assert found.codes == (ExitCode.OK,) * 3, (found.inspected.err, found.trained, found.ran)
    assert found.events == []
    return found


def run_on(learnt: FirstContact, shell: Shell, live: Path, *, waits: bool = True) -> FirstContact:
    """Run on a file; `waits` switches on the line about silence that `inspect` wrote."""
    text = (learnt.folder / "streamae.toml").read_text(encoding="utf-8")
    assert text.count(PROPOSED) == 1
    settings = saved(live.with_suffix(".toml"), text.replace(PROPOSED, PROPOSED[2:]) if waits else text)
    folder = live.with_suffix("")
    run = ["run", "--config", settings, "--input.source", "files", "--input.files", live, "--state.store", "memory"]
    out = ["--output.sink", "files", "--output.directory", folder / "streamae-events"]
    found = FirstContact(folder, learnt.inspected, learnt.trained, shell.say(*run, *out, *SERVED))
    assert found.codes == (ExitCode.OK,) * 3, found.ran
    assert found.dead_letters == []
    return found


def story(found: FirstContact) -> list[tuple[str, str, str, str | None]]:
    """Return what was opened and closed, in order."""
    return [
        (event["key"], event.get("cause", "values"), event["kind"], event["close_reason"])
        for event in found.events
        if event["kind"] != "updated"
    ]


def at(event: dict[str, Any], name: str) -> str:
    """Return a time of an event as it stands in the files."""
    return str(event[name]).replace(".000Z", "Z")


def test_a_host_that_stops_in_an_episode_is_told_of(learnt: FirstContact, shell: Shell, tmp_path: Path) -> None:
    """Case 16: its episode closes, its silence opens at the same record, and is over with its first record after that."""
    live = metrics(tmp_path / "live.csv", odd=True, silent=range(STOP, BACK))
    found = run_on(learnt, shell, live)
    assert story(found)[:4] == [
        ("srv-3", "values", "opened", None),
        ("srv-3", "values", "closed", "silent"),
        ("srv-3", "silence", "opened", None),
        ("srv-3", "silence", "closed", "returned"),
    ]
    closed, opened, returned = [event for event in found.events if event["kind"] != "updated"][1:4]
    assert closed["source"] == opened["source"] != returned["source"]
    assert (opened["silent_keys"], opened["partition_keys"]) == (1, 4)
    assert at(opened, "start_time") == TIMES[STOP - 1]
    assert TIMES[STOP + 9] <= at(opened, "end_time") <= TIMES[STOP + 11]
    assert at(returned, "end_time") == TIMES[BACK]
    assert returned["severity"] > opened["severity"]


def test_a_host_that_never_comes_back_keeps_no_episode_open(learnt: FirstContact, shell: Shell, tmp_path: Path) -> None:
    """Case 16, also with nothing set: an episode does not stay open for ever."""
    live = metrics(tmp_path / "live.csv", odd=True, silent=range(STOP, ROWS))
    found = run_on(learnt, shell, live, waits=False)
    assert story(found) == [("srv-3", "values", "opened", None), ("srv-3", "values", "closed", "silent")]


def test_hosts_that_are_silent_together_are_told_from_one(learnt: FirstContact, shell: Shell, tmp_path: Path) -> None:
    """A dead rack says of how many it is one; a pause of the whole stream is nobody's silence."""
    minutes = range(STOP, STOP + 40)
    rack = run_on(learnt, shell, metrics(tmp_path / "rack.csv", silent=minutes, hosts=HOSTS[2:]))
    told = [event for event in rack.events if event.get("cause") == "silence" and event["kind"] == "opened"]
    assert [(event["key"], event["silent_keys"], event["partition_keys"]) for event in told] == [
        ("srv-3", 2, 4),
        ("srv-4", 2, 4),
    ]
    pause = run_on(learnt, shell, metrics(tmp_path / "pause.csv", silent=minutes, hosts=HOSTS))
    assert [event for event in pause.events if event.get("cause") == "silence"] == []
