"""T8: a bad network between the workers and Kafka or Redis; and answers to a commit that never arrive.

Every connection of the workers goes through a proxy; checkers and producer of the input go beside it.
After an answer to EndTxn was lost, the worker must go on with another producer: a late second EndTxn of the first one
could end the next transaction.
Must not know: how clients notice a dead connection.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from contextlib import suppress
from random import Random
from typing import NamedTuple

from scripts.services import KafkaBroker
from scripts.services.process import free_port
from scripts.verify.torture.brokers import gap_figures, gap_s
from scripts.verify.torture.context import Context
from scripts.verify.torture.proxy import END_TXN, FaultProxy
from scripts.verify.torture.report import Result
from scripts.verify.torture.trial import Trial
from scripts.verify.torture.workers import TimedOutError, wait_until

STABLE = frozenset({0, 1})
LATENCY_MS, JITTER_MS = 100.0, 100.0  # each way: a round trip takes 200 to 400
RESETS, RESET_PAUSE_S = 5, 0.5
SHORTEST_S, LONGEST_S, LONGEST_QUICK_S = 5.0, 90.0, 12.0
LOST_TIMEOUT_S = 60.0
TRAFFIC_TIMEOUT_S = 30.0
RECYCLE_TIMEOUT_S = 60.0
DOUBTFUL = ("late", "unknown", "connection")  # reasons to replace a producer when the answer to a commit is lost


class Fault(NamedTuple):
    """One kind of episode, on the link to Kafka or to Redis, and the count of the proxy that proves it."""

    link: str
    kind: str
    proof: str


FAULTS = (
    *(Fault("kafka", kind, "lost_replies") for kind in ("lose_and_cut", "lose_and_stay")),
    *(
        Fault(link, kind, proof)
        for kind, proof in (
            ("slow", "delayed"),
            ("resets", "resets"),
            ("half_open", "silenced"),
            ("black_hole", "held"),
        )
        for link in ("kafka", "redis")
    ),
)


class Network:
    """The links of one trial, and what is done to them."""

    def __init__(self, trial: Trial, links: dict[str, FaultProxy], rng: Random, longest_s: float) -> None:
        self.trial, self.links, self.rng, self.longest_s = trial, links, rng, longest_s
        self.played: Counter[str] = Counter()
        self.gaps_s: list[float] = []
        self.lost, self.recycled = 0, 0
        self.complaints: list[str] = []

    def play(self, fault: Fault) -> None:
        """Let a fault happen and pass, and wait until every partition moves again."""
        proxy = self.links[fault.link]
        before = proxy.counts[fault.proof]
        self.gaps_s.append(gap_s(self.trial, lambda: self._disturb(proxy, fault)))
        self.played[f"{fault.link}_{fault.kind}"] += 1
        if proxy.counts[fault.proof] == before:
            self.complaints.append(f"{fault.kind} on the link to {fault.link} met no traffic: no {fault.proof}")

    def _disturb(self, proxy: FaultProxy, fault: Fault) -> None:
        before = proxy.counts[fault.proof]
        with suppress(TimedOutError):  # whoever gave its connection up in the episode before comes back first
            wait_until(lambda: proxy.is_used, f"a connection to {fault.link}", TRAFFIC_TIMEOUT_S)
        if fault.kind.startswith("lose"):
            self._lose(proxy, is_cut=fault.kind == "lose_and_cut")
        elif fault.kind == "resets":
            for _ in range(RESETS):
                proxy.reset()
                time.sleep(self.rng.uniform(0, RESET_PAUSE_S))
        else:
            {"slow": self._slow, "half_open": FaultProxy.half_open, "black_hole": FaultProxy.black_hole}[fault.kind](
                proxy
            )
            time.sleep(self._duration_s())
            with suppress(TimedOutError):  # a short one may fall between two uses of the link
                wait_until(lambda: proxy.counts[fault.proof] > before, f"traffic to {fault.link}", TRAFFIC_TIMEOUT_S)
        proxy.heal()

    @staticmethod
    def _slow(proxy: FaultProxy) -> None:
        proxy.delay(LATENCY_MS, JITTER_MS)

    def _duration_s(self) -> float:
        """Return a duration, short ones more often: log-uniform."""
        return math.exp(self.rng.uniform(math.log(SHORTEST_S), math.log(self.longest_s)))

    def _lose(self, proxy: FaultProxy, *, is_cut: bool) -> None:
        """Lose the answer to one commit and wait until its producer has been replaced."""
        lost, before = proxy.counts["lost_replies"], self._recycles()
        proxy.lose_reply(END_TXN, is_cut=is_cut)
        wait_until(lambda: proxy.counts["lost_replies"] > lost, "the answer to a commit to be lost", LOST_TIMEOUT_S)
        self.lost += 1
        wait_until(lambda: self._recycles() > before, "the producer to be replaced", RECYCLE_TIMEOUT_S, 0.2)
        self.recycled += 1

    def _recycles(self) -> float:
        return sum(
            worker.metric("producer_recycles_total", reason=reason)
            for worker in self.trial.workers
            for reason in DOUBTFUL
        )


def schedule(faults: int, rng: Random) -> list[Fault]:
    """Return the faults in order: every kind as often as the others, or once more."""
    chosen = [FAULTS[number % len(FAULTS)] for number in range(faults)]
    rng.shuffle(chosen)
    return chosen


def network(context: Context) -> Result:
    """T8: episodes on both links, one at a time."""
    kafka_port, redis = free_port(), context.shared.redis
    with (
        KafkaBroker(proxy_port=kafka_port) as broker,
        FaultProxy(broker.proxied_port, kafka_port, is_kafka=True, seed=context.seed) as to_kafka,
        FaultProxy(redis.port, seed=context.seed) as to_redis,
        context.trial(
            servers=f"127.0.0.1:{kafka_port}",
            direct_servers=broker.bootstrap_servers,
            redis_url=f"redis://127.0.0.1:{to_redis.port}/0",
            direct_redis_url=redis.url,
            stable=STABLE,
        ) as trial,
    ):
        longest_s = LONGEST_QUICK_S if context.is_quick else LONGEST_S
        links = Network(trial, {"kafka": to_kafka, "redis": to_redis}, context.rng, longest_s)
        trial.begin()
        for done, fault in enumerate(schedule(context.faults, context.rng), 1):
            links.play(fault)
            trial.fault_done()
            context.show(done, trial)
        trial.finish()
        result = trial.judge()
    result.figures |= {"episodes": links.played.total(), "kinds": len(links.played)}
    result.figures |= {"lost_answers": links.lost, "recycled": links.recycled} | gap_figures(links.gaps_s)
    result.figures["swallowed_bytes"] = to_kafka.counts["swallowed_bytes"] + to_redis.counts["swallowed_bytes"]
    result.complaints += links.complaints
    result.require(len(links.played) == min(context.faults, len(FAULTS)), f"some kinds did not happen: {links.played}")
    result.expect(links.lost > 0, "no answer to a commit was lost")
    return result
