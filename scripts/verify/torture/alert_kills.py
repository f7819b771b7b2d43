"""A1: `kill -9` of the alert process at its named points, while episodes begin, go on and end.

Each life of the process is armed with the next point and kills itself there; meanwhile changes are written, half of
them before it has started. At the end an undisturbed life tells the rest. Then Alertmanager and a server with
PagerDuty's rule must have as many incidents as there were episodes, none open, none lost, everything in order; the
webhook each change.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from random import Random

from scripts.verify.torture.alert_episodes import Episode, EpisodeProducer, Step, names_of, planned
from scripts.verify.torture.alert_judge import Word, judge, missing_changes
from scripts.verify.torture.alert_site import PARTITIONS, AlertSite
from scripts.verify.torture.context import Context
from scripts.verify.torture.report import Result
from scripts.verify.torture.workers import wait_until
from streamae.fail_points import ALERT_POINTS

EPISODES_A_KILL = 4
MOST_PASSAGES = {
    "after_alert_send": 15,
    "after_alert_record": 15,
    "before_alert_offsets": 9,
}  # of all receivers together
LIFE_TIMEOUT_S = 90.0
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.3  # between two changes
LONG_PAUSE_S = 0.7  # once a life has had its share of them
KILLED = -9


def kills(context: Context) -> Result:
    """A1: `context.faults` kills during four times as many episodes."""
    by_key, steps = planned(EPISODES_A_KILL * context.faults, context.rng)
    with AlertSite(context) as site:
        site.begin()
        producer = EpisodeProducer(site.servers, site.topic, PARTITIONS, context.rng)
        killer = _Killer(site, producer, deque(steps), context.rng)
        share = max(1, len(steps) // (context.faults + 1))
        for number in range(context.faults):
            killer.live_and_die(ALERT_POINTS[number % len(ALERT_POINTS)], share)
            context.show(number + 1)
        last = site.start()
        producer.write(killer.left)
        seconds = site.wait_until_all_is_told()
        wait_until(lambda: not site.firing(), "Alertmanager to show nothing as firing", LIFE_TIMEOUT_S, 0.3)
        wait_until(
            lambda: not _shown({}, site.hook_words())[1], "Alertmanager to tell people of all ends", LIFE_TIMEOUT_S
        )
        last.terminate()
        code = last.wait()
        return _judge(site, killer, by_key, code, seconds)


class _Killer:
    """Lets the process live and die over one stream of changes."""

    def __init__(self, site: AlertSite, producer: EpisodeProducer, left: deque[Step], rng: Random) -> None:
        self._site, self.producer, self.left, self._rng = site, producer, left, rng
        self.deaths: Counter[str] = Counter()
        self.complaints: list[str] = []

    def live_and_die(self, point: str, share: int) -> None:
        """Start the process armed with a point and write until it is dead: about `share` changes."""
        passage = self._rng.randint(1, MOST_PASSAGES[point])
        before = share // 2
        self.producer.write(self._taken(before))
        process = self._site.start(f"{point}:{passage}")
        deadline_s = time.monotonic() + LIFE_TIMEOUT_S
        written = before
        while process.is_alive() and time.monotonic() < deadline_s:
            if written < share and process.logged("starting"):
                self.producer.write(self._taken(1))
                written += 1
            time.sleep(self._rng.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S))
            if written >= share:  # it needs more to pass; others need theirs
                share += 1
                time.sleep(LONG_PAUSE_S)
        self.producer.write(self._taken(share - written))  # lies there when the next life begins
        if process.is_alive():
            self.complaints.append(f"{process.name} did not die at {point}:{passage}")
            process.kill()
        elif (code := process.wait()) != KILLED:
            self.complaints.append(f"{process.name} ended with {code} at {point}: {process.lines()[-2:]}")
        else:
            self.deaths[point] += 1

    def _taken(self, count: int) -> Sequence[Step]:
        return [self.left.popleft() for _ in range(min(count, len(self.left)))]


def _judge(
    site: AlertSite, killer: _Killer, by_key: Mapping[str, Sequence[Episode]], code: int, seconds: float
) -> Result:
    episodes = names_of(by_key)
    pager, sent = judge(episodes, site.pager_words()), judge(episodes, site.record_words())
    unseen, unended = _shown(episodes, site.hook_words())
    changes = {each.id: len(each.changes) for of_key in by_key.values() for each in of_key}
    missing, disordered, again = missing_changes(changes, site.webhook_words())
    result = Result({
        "episodes": pager.episodes,
        "changes": killer.producer.written,
        "kills": sum(killer.deaths.values()),
        **killer.deaths,
        "pager_incidents": pager.incidents,
        "pager_open": len(site.pager.open_incidents),
        "pager_lost": len(pager.lost),
        "pager_words": pager.words,
        "alertmanager_incidents": sent.incidents,
        "alertmanager_firing": len(site.firing()),
        "alertmanager_lost": len(sent.lost),
        "alertmanager_told_people": pager.episodes - len(unseen),
        "webhook_missing": missing,
        "webhook_again": again,
        "aborted_transactions": killer.producer.aborted,
        "last_life_s": round(seconds, 1),
    })  # fmt: skip
    result.complaints += [*killer.complaints, *pager.complaints("pager"), *sent.complaints("Alertmanager")]
    incidents = len(site.pager.incidents)
    result.require(incidents == pager.episodes, f"the pager's own count: {incidents} of {pager.episodes} episodes")
    result.require(not site.firing(), "Alertmanager shows alerts as firing")
    result.require(not unended, f"of {len(unended)} keys Alertmanager told people no end: {sorted(unended)[:3]}")
    result.require(not missing and not disordered, f"webhook: {missing} changes missing, {disordered} out of order")
    result.require(not site.own_alerts(), "the pager was told of streamae itself")
    result.require(code == 0, f"the last process ended with {code}")
    result.complaints += site.unexpected_ends()
    return result


def _shown(episodes: Mapping[str, Sequence[str]], words: Sequence[Word]) -> tuple[set[str], set[str]]:
    """Return the episodes that people were never told of by Alertmanager, and the keys that it told as firing last.

    What begins and ends within its `group_wait` it tells nobody, and the end of an episode is told together with that
    of the next one of its key, where this begins within its `group_interval`.
    """
    begun = {word.episode for word in words if not word.is_end}
    is_ended = {word.key: word.is_end for word in words}
    every = {name for of_key in episodes.values() for name in of_key}
    return every - begun, {key for key, is_over in is_ended.items() if not is_over}
