"""Looking at the store: told once while it lasts, told again when it ends, silent about a store that is away."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest

from streamae.connectors.memory_store import MemoryStore
from streamae.engine.store_watch import INTERVAL_S, StoreWatch
from streamae.errors import ConfigError, RetryableError
from streamae.observe import logs
from streamae.observe.telemetry import Telemetry
from streamae.reasons import Problem

EVICTS = {Problem.EVICTS: "set it to noeviction"}


class TalkingStore(MemoryStore):
    """A store with a script of answers; the last one stays."""

    def __init__(self, *answers: Mapping[Problem, str] | Exception) -> None:
        super().__init__()
        self.answers, self.asked = list(answers), 0

    def problems(self) -> Mapping[Problem, str]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Round:
    """A watch, its clock, and what it said."""

    def __init__(self, store: MemoryStore) -> None:
        self.log = io.StringIO()
        logs.configure("info", "json", self.log)
        self.now = 50.0
        self.telemetry = Telemetry()
        self.watch = StoreWatch(store, lambda: self.now)
        self.watch.attach(self.telemetry)

    def look(self, times: int = 1) -> None:
        """Look that often, an interval apart."""
        for _ in range(times):
            self.watch()
            self.now += INTERVAL_S

    def said(self) -> list[tuple[str, str]]:
        """Return name and problem of each log line."""
        return [(line["event"], line["problem"]) for line in self.lines()]

    def lines(self) -> list[dict[str, Any]]:
        """Return the log."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def gauge(self) -> bool:
        """Tell whether the metrics show an evicting store."""
        return b'streamae_store_problems{problem="evicts"} 1.0' in self.telemetry.render()[0]


def test_a_problem_is_told_once_and_so_is_its_end() -> None:
    """The line has the remedy; the gauge follows, for the alert."""
    round_ = Round(TalkingStore({}, EVICTS, EVICTS, EVICTS, {}))
    round_.look()
    assert (round_.said(), round_.gauge()) == ([], False)
    round_.look(3)
    assert (round_.said(), round_.gauge()) == ([("store_problem", "evicts")], True)
    assert round_.lines()[0]["level"] == "warning"
    assert round_.lines()[0]["remedy"] == "set it to noeviction"
    round_.look(2)
    assert (round_.said()[1:], round_.gauge()) == ([("store_problem_gone", "evicts")], False)


def test_the_store_is_not_asked_all_the_time() -> None:
    """Once an interval, however often the engine reports."""
    store = TalkingStore({})
    round_ = Round(store)
    for _ in range(10):
        round_.watch()
        round_.now += INTERVAL_S / 5
    assert store.asked == 2


def test_a_store_that_is_away_changes_nothing() -> None:
    """Its absence is told elsewhere, and what was known of it stays."""
    round_ = Round(TalkingStore(EVICTS, RetryableError("no answer"), EVICTS))
    round_.look(3)
    assert (round_.said(), round_.gauge()) == ([("store_problem", "evicts")], True)


def test_what_is_no_store_at_all_ends_the_start() -> None:
    """Settings that name the wrong port cannot work later either."""
    with pytest.raises(ConfigError, match=r"state\.redis_url"):
        Round(TalkingStore(ConfigError(["state.redis_url: no Redis"]))).look()


def test_a_store_without_a_word_for_itself_is_fine() -> None:
    """The embedded one has nothing to say."""
    round_ = Round(MemoryStore())
    round_.look()
    assert round_.said() == []
