"""A2: one receiver is away, slow, broken; the other must not notice, and Redis killed meanwhile must cost no page.

The bad one is a webhook that is well and ill in turns; the good one is a pager. Of each opening it is measured how long
it takes from the write to the topic to the pager, while the webhook is well and while it is ill. Everything is scaled
down: an illness lasts seconds where it would last an hour. Redis is killed, comes back empty, and the process is
killed after that: what it knows then it has written there anew.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Self

import numpy as np

from scripts.services import RedisServer
from scripts.services.http_server import Asked, Behaviour, Hang, HttpServer, Raw, Reply
from scripts.verify.torture.alert_episodes import Episode, EpisodeProducer, Step, episode
from scripts.verify.torture.alert_judge import Word, judge, missing_changes
from scripts.verify.torture.alert_site import PARTITIONS, AlertProcess, AlertSite, Receivers, bodies
from scripts.verify.torture.context import Context
from scripts.verify.torture.report import Result, percentile
from scripts.verify.torture.workers import wait_until

ILL, GOOD = "ill", "pager"
SLOW_S = 3.0
PAUSE_S = 0.1  # between two openings
RECOVERY_S = 120.0
LONGEST_S = 120.0
DRAWS = 2_000  # of the bootstrap
TOLERANCE_MS = 100.0  # a difference of the 99th percentiles that is shown to be larger is one


def delays(context: Context) -> Result:
    """A2: `context.faults` seconds of each illness, three times as long without Redis."""
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        ward = stack.enter_context(_Ward())
        site = stack.enter_context(AlertSite(context, redis=redis, receivers=partial(_receivers, ward)))
        site.begin()
        process = site.start()
        wait_until(process.is_ready, "the process to be ready", LONGEST_S)
        rounds = _Rounds(site, ward, context)
        met = 0
        for name in ILLNESSES:
            rounds.play("well", context.faults)
            ward.fall_ill(name)
            rounds.play(name, context.faults)
            met += process.metric("alerts_failing", receiver=ILL) == 1.0
            ward.recover()
            wait_until(partial(_is_well, process), f"the webhook to be told again after {name}", RECOVERY_S, 0.3)
        redis.kill()
        rounds.play("without Redis", 3 * context.faults)
        redis.start()
        wait_until(lambda: not process.metric("alerts_stateless"), "Redis to be used again", RECOVERY_S, 0.3)
        process.kill()
        last = site.start()
        rounds.close_all()
        site.wait_until_all_is_told()
        last.terminate()
        result = _judge(context, site, ward, rounds, last.wait())
        result.expect(met == len(ILLNESSES), f"the webhook was seen to fail in {met} of {len(ILLNESSES)} illnesses")
        return result


class _Ward:
    """The webhook, which is well and ill in turns at the same address."""

    def __init__(self) -> None:
        self._server = HttpServer()
        self.port, self.url = self._server.port, self._server.url
        self.taken: list[Asked] = []

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
        self.taken.append(asked)
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
    """Writes openings one by one and hears when they arrive at the pager."""

    def __init__(self, site: AlertSite, ward: _Ward, context: Context) -> None:
        self._site, self._ward, self._context = site, ward, context
        self._producer = EpisodeProducer(site.servers, site.topic, PARTITIONS, context.rng, is_plain=True)
        self.written_s: dict[str, tuple[str, float]] = {}  # by key: name of the round, monotonic
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

    def play(self, name: str, seconds: int) -> None:
        """Open episodes for so long, and wait until the pager has them."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            number = len(self.episodes)
            one = episode(f"host-{number:05d}".encode(), number, 0)
            self.episodes.append(one)
            self.written_s[one.key.decode()] = (name, time.monotonic())
            self._producer.write([Step(one.key, one.changes[0])])
            time.sleep(PAUSE_S)
        wait_until(lambda: self.arrived_s.keys() >= self.written_s.keys(), f"the pages of '{name}'", LONGEST_S)

    def close_all(self) -> None:
        """End every episode."""
        self._producer.write_at_once([Step(each.key, each.changes[-1]) for each in self.episodes])

    def delays_ms(self) -> dict[str, list[float]]:
        """Return by round how long each opening took."""
        found: dict[str, list[float]] = defaultdict(list)
        for key, (name, written_s) in self.written_s.items():
            found[name].append(1_000 * (self.arrived_s[key] - written_s))
        return found


def _receivers(ward: _Ward, site: AlertSite) -> Receivers:
    return [{"name": ILL, "kind": "webhook", "url": ward.url, "timeout_ms": 2_000}, site.pager_table(GOOD)]


def _is_well(process: AlertProcess) -> bool:
    return process.metric("alerts_failing", receiver=ILL) == 0.0


def difference(well: list[float], ill: list[float], share: float, seed: int) -> tuple[float, float, float]:
    """Return by how much a percentile of `ill` is above that of `well`, and its 95 % interval by bootstrap."""
    draw = np.random.default_rng(seed)
    sides = [np.asarray(side) for side in (well, ill)]
    drawn = [np.quantile(draw.choice(side, (DRAWS, len(side))), share, axis=1) for side in sides]
    low, high = np.quantile(drawn[1] - drawn[0], (0.025, 0.975))
    return percentile(ill, share) - percentile(well, share), float(low), float(high)


def _judge(context: Context, site: AlertSite, ward: _Ward, rounds: _Rounds, code: int) -> Result:
    by_round = rounds.delays_ms()
    well = by_round["well"]
    ill = [delay for name in ILLNESSES for delay in by_round[name]]
    above, low, high = difference(well, ill, 0.99, context.seed)
    episodes = {each.key.decode(): [each.id] for each in rounds.episodes}
    verdict = judge(episodes, site.pager_words())
    hooked = [
        Word(body["subject"], body["data"]["episode_id"], body["streamaeaction"] == "resolve", body["data"]["sequence"])
        for body in bodies(ward.taken)
        if "sequence" in body["data"]
    ]
    missing, disordered, _ = missing_changes({each.id: len(each.changes) for each in rounds.episodes}, hooked)
    result = Result({
        "episodes": verdict.episodes,
        "incidents": verdict.incidents,
        "open": verdict.open,
        "lost": len(verdict.lost),
        "well_p50_ms": round(percentile(well, 0.5)),
        "well_p99_ms": round(percentile(well, 0.99)),
        **{f"{name}_p99_ms".replace(" ", "_"): round(percentile(by_round[name], 0.99)) for name in by_round if name != "well"},
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
    result.require(code == 0, f"the last process ended with {code}")
    result.complaints += site.unexpected_ends()
    return result
