"""A2: one receiver is away, slow, broken; the other must not notice, and Redis killed meanwhile must cost no page.

The bad one is a webhook that is well and ill in turns; the good one is a pager. Of each opening it is measured how long
it takes from the write to the topic to the pager, while the webhook is well, while it is ill, and while it is told what
it missed. An illness lasts at least until the process says that the webhook fails, and at most a few minutes: what is
longer comes in several turns among the others. In one of them Redis is killed, comes back empty, and the process is
killed after that: what it knows then it has written there anew.
"""

from __future__ import annotations

import csv
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from scripts.services import RedisServer
from scripts.services.http_server import Asked, Behaviour, Hang, HttpServer, Raw, Reply
from scripts.verify.torture.alert_episodes import Episode, EpisodeProducer, Step, episode
from scripts.verify.torture.alert_judge import Word, judge, missing_changes
from scripts.verify.torture.alert_site import PARTITIONS, AlertProcess, AlertSite, Receivers
from scripts.verify.torture.context import Context
from scripts.verify.torture.report import Result, percentile
from scripts.verify.torture.workers import TimedOutError, wait_until

ILL, GOOD = "ill", "pager"
WELL, CATCHING_UP, RESTARTED = "well", "catching up", "restarted"
SLOW_S = 3.0
PAUSE_S = 0.1  # between two openings
OPEN_AT_ONCE = 100  # episodes; each ends when so many others have begun
MOST_ILL_S = 240  # at a stretch
MOST_WELL_S = 30  # between two illnesses
MOST_WITHOUT_REDIS_S = 60
LONGEST_S = 300.0
DRAWS = 1_000  # of the bootstrap
TOLERANCE_MS = 100.0  # a difference of percentiles that is shown to be larger is one

Pair = tuple[Sequence[float], Sequence[float]]


def delays(context: Context) -> Result:
    """A2: `context.faults` seconds of each illness; once, for three times as long or a minute, Redis is away as well."""
    turns, ill_s, well_s = schedule(context.faults)
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        ward = stack.enter_context(_Ward())
        site = stack.enter_context(AlertSite(context, redis=redis, receivers=partial(_receivers, ward)))
        site.begin()
        process = site.start()
        wait_until(process.is_ready, "the process to be ready", LONGEST_S)
        rounds = _Rounds(site, ward, context)
        for number, name in enumerate(turns):
            rounds.play(WELL, well_s)
            ward.fall_ill(name)
            rounds.play(name, ill_s, partial(_is_failing, process))
            if number == len(turns) // 2:
                process = _lose_redis(context, redis, site, rounds, process)
            owed = frozenset(rounds.written_s)
            ward.recover()
            rounds.play(CATCHING_UP, 0, lambda owed=owed: owed <= ward.heard)
        rounds.close_all()
        site.wait_until_all_is_told()
        process.terminate()
        rounds.save(context.folder / "delays.csv")
        return _judge(context, site, ward, rounds, process.wait())


def schedule(seconds: int) -> tuple[list[str], float, float]:
    """Return the illnesses in their order, for how long each lasts, and for how long the webhook is well before it."""
    times = max(1, math.ceil(seconds / MOST_ILL_S))
    ill_s = seconds / times
    return times * list(ILLNESSES), ill_s, min(ill_s, float(MOST_WELL_S))


def _lose_redis(
    context: Context, redis: RedisServer, site: AlertSite, rounds: _Rounds, process: AlertProcess
) -> AlertProcess:
    """Kill Redis for a while, then the process; return the one that goes on."""
    redis.kill()
    seconds = min(3 * context.faults, MOST_WITHOUT_REDIS_S)
    rounds.play("without Redis", seconds, lambda: process.metric("alerts_stateless") == 1.0)
    redis.start()
    wait_until(lambda: process.metric("alerts_stateless") == 0.0, "Redis to be used again", LONGEST_S, 0.3)
    process.kill()
    following = site.start()
    rounds.play(RESTARTED, 0, partial(_is_failing, following))
    return following


class _Ward:
    """The webhook, which is well and ill in turns at the same address."""

    def __init__(self) -> None:
        self._server = HttpServer()
        self.port, self.url = self._server.port, self._server.url
        self.words: list[Word] = []
        self.heard: set[str] = set()  # keys

    def __enter__(self) -> Self:
        self._open(self._take)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._server.__exit__()

    def fall_ill(self, name: str) -> None:
        """Behave so from now on."""
        self._server.usual = ILLNESSES[name]
        if name == AWAY:
            self._server.__exit__()

    def recover(self) -> None:
        """Be well again; who hangs is let go."""
        self._server.__exit__()
        self._server = HttpServer(port=self.port)
        self._open(self._take)

    def _open(self, usual: Callable[[Asked], Reply]) -> None:
        self._server.usual = usual
        self._server.__enter__()

    def _take(self, asked: Asked) -> Reply:
        body = json.loads(asked.body)
        if "sequence" in body["data"]:
            is_end = body["streamaeaction"] == "resolve"
            self.words.append(Word(body["subject"], body["data"]["episode_id"], is_end, body["data"]["sequence"]))
            self.heard.add(body["subject"])
        return Reply()


def _slowly(_asked: Asked) -> Reply:
    time.sleep(SLOW_S)
    return Reply(503)


AWAY = "away"
ILLNESSES: dict[str, Behaviour] = {
    AWAY: Raw(b""),  # what is connected is cut off, and nobody listens
    "slow": _slowly,
    "500": Reply(500, b"no"),
    "garbage": Raw(b"\x16\x03\x01 what is this\r\n\r\n\xff\xfe"),
    "hangs": Hang(),
}


class _Rounds:
    """Writes openings one by one, ends them later, and hears when they arrive at the pager."""

    def __init__(self, site: AlertSite, ward: _Ward, context: Context) -> None:
        self._site, self._ward, self._context = site, ward, context
        self._producer = EpisodeProducer(site.servers, site.topic, PARTITIONS, context.rng, is_plain=True)
        self._began_s = time.monotonic()
        self._count = 0
        self.written_s: dict[str, tuple[int, str, float]] = {}  # by key: number and name of the round, monotonic
        self.arrived_s: dict[str, float] = {}
        self.episodes: list[Episode] = []
        answer = site.pager.usual

        def arrive(asked: Asked) -> Reply:
            now_s = time.monotonic()
            event = json.loads(asked.body)
            if event["event_action"] == "trigger":
                self.arrived_s.setdefault(event["payload"]["source"], now_s)
            return answer(asked)  # type: ignore[operator, return-value]  # the pager's own rule

        site.pager.usual = arrive

    def play(self, name: str, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Open episodes for so long, and on until something is so; then wait until the pager has them.

        Raises:
            TimedOutError: it never is.
        """
        self._count += 1
        began_s = time.monotonic()
        first = len(self.episodes)
        while (past_s := time.monotonic() - began_s) < seconds or (until is not None and not until()):
            if past_s > seconds + LONGEST_S:
                raise TimedOutError(f"'{name}': still waiting for what ends it after {past_s:.0f} s")
            self._open_one(name)
            time.sleep(PAUSE_S)
        keys = [each.key.decode() for each in self.episodes[first:]]
        wait_until(lambda: all(key in self.arrived_s for key in keys), f"the pages of '{name}'", LONGEST_S)
        found = [self._delay_ms(key) for key in keys]
        print(
            f"{self._context.id}: {time.monotonic() - self._began_s:.0f} s: {name}, {past_s:.0f} s,"
            f" {len(found)} pages, p50 {percentile(found, 0.5):.0f} ms, p99 {percentile(found, 0.99):.0f} ms",
            file=sys.stderr,
            flush=True,
        )

    def _open_one(self, name: str) -> None:
        number = len(self.episodes)
        one = episode(f"host-{number:05d}".encode(), number, 0)
        self.episodes.append(one)
        self.written_s[one.key.decode()] = (self._count, name, time.monotonic())
        self._producer.write([Step(one.key, one.changes[0])])
        if number >= OPEN_AT_ONCE:
            old = self.episodes[number - OPEN_AT_ONCE]
            self._producer.write([Step(old.key, old.changes[-1])])

    def close_all(self) -> None:
        """End the episodes that are open."""
        self._producer.write_at_once([Step(each.key, each.changes[-1]) for each in self.episodes[-OPEN_AT_ONCE:]])

    def _delay_ms(self, key: str) -> float:
        return 1_000 * (self.arrived_s[key] - self.written_s[key][-1])

    def delays_ms(self) -> dict[str, list[float]]:
        """Return by name of the round how long each opening took."""
        found: dict[str, list[float]] = defaultdict(list)
        for key, (_, name, _) in self.written_s.items():
            found[name].append(self._delay_ms(key))
        return found

    def pairs(self) -> list[Pair]:
        """Return how long each opening took in the rounds in which the webhook was well, and in the ill ones after each."""
        found: dict[int, tuple[str, list[float]]] = {}
        for key, (number, name, _) in self.written_s.items():
            found.setdefault(number, (name, []))[1].append(self._delay_ms(key))
        well = [delays for name, delays in found.values() if name == WELL]
        ill = [delays for name, delays in found.values() if name in ILLNESSES]
        return list(zip(well, ill, strict=True))

    def save(self, path: Path) -> None:
        """Write how long each opening took, one a line, for whoever wants to look closer."""
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(("round", "name", "written_s", "delay_ms"))
            for key, (number, name, at_s) in self.written_s.items():
                lines.writerow((number, name, f"{at_s - self._began_s:.3f}", f"{self._delay_ms(key):.1f}"))


def _receivers(ward: _Ward, site: AlertSite) -> Receivers:
    return [{"name": ILL, "kind": "webhook", "url": ward.url, "timeout_ms": 2_000}, site.pager_table(GOOD)]


def _is_failing(process: AlertProcess) -> bool:
    return process.metric("alerts_failing", receiver=ILL) == 1.0


def difference(rounds: Sequence[Pair], share: float, seed: int) -> tuple[float, float, float]:
    """Return by how much a percentile is higher while the webhook is ill, and its 95 % interval.

    The interval is by bootstrap of whole rounds: a machine that is busy for a while delays many in a row.

    Args:
        rounds: delays while it was well, and while it was ill after that.
        share: of the percentile.
        seed: of the draws.
    """
    draw = np.random.default_rng(seed)
    drawn = [_above([rounds[each] for each in draw.integers(0, len(rounds), len(rounds))], share) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return _above(rounds, share), float(low), float(high)


def _above(rounds: Sequence[Pair], share: float) -> float:
    well, ill = (np.concatenate(side) for side in zip(*rounds, strict=True))
    return float(np.quantile(ill, share) - np.quantile(well, share))


def _judge(context: Context, site: AlertSite, ward: _Ward, rounds: _Rounds, code: int) -> Result:
    by_round = rounds.delays_ms()
    well = by_round[WELL]
    ill = [delay for name in ILLNESSES for delay in by_round[name]]
    above, low, high = difference(rounds.pairs(), 0.99, context.seed)
    episodes = {each.key.decode(): [each.id] for each in rounds.episodes}
    verdict = judge(episodes, site.pager_words())
    missing, disordered, _ = missing_changes({each.id: len(each.changes) for each in rounds.episodes}, ward.words)
    result = Result({
        "episodes": verdict.episodes,
        "incidents": verdict.incidents,
        "open": verdict.open,
        "lost": len(verdict.lost),
        "well_p50_ms": round(percentile(well, 0.5)),
        "well_p99_ms": round(percentile(well, 0.99)),
        **{f"{name}_p99_ms".replace(" ", "_"): round(percentile(by_round[name], 0.99)) for name in by_round if name != WELL},
        "ill_pages": len(ill),
        "ill_p50_ms": round(percentile(ill, 0.5)),
        "ill_p99_ms": round(percentile(ill, 0.99)),
        "p99_above_ms": round(above),
        "p99_above_from_ms": round(low),
        "p99_above_to_ms": round(high),
        "webhook_missing": missing,
    })  # fmt: skip
    result.complaints += verdict.complaints("pager")
    result.require(not missing and not disordered, f"webhook: {missing} changes missing, {disordered} out of order")
    if not context.is_quick:
        result.expect(low < TOLERANCE_MS, f"the pager is told later by {above:.0f} ms while the webhook is ill")
        for name in ILLNESSES:  # what only one of them does is hardly seen above
            later_ms = percentile(by_round[name], 0.5) - percentile(well, 0.5)
            result.expect(later_ms < TOLERANCE_MS, f"{name}: every second page comes {later_ms:.0f} ms later")
    result.require(code == 0, f"the last process ended with {code}")
    result.complaints += site.unexpected_ends()
    return result
