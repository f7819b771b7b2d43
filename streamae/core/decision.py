"""Scores to verdicts: each key's score against its own threshold, scored first, learnt after.

The threshold rule keeps what a key remembers and computes its threshold; here a key's state is decided, and whether its
score is an alarm.
The operator's rules (`core/key_rules.py`) have their say between the two: they may move a threshold, suppress an
alarm (the verdict is NORMAL then, and the score is learnt like any other), or keep a score from being learnt.
Everything is done for all keys at once, wave by wave, which equals one score after the other. Reads no clock:
whatever forgets follows the windows' event time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from streamae.batches import Flags, Ints, KeyState, ScoreBatch, Slots, Status, VerdictBatch, WindowBatch
from streamae.core import key_rules
from streamae.core.columns import Columns
from streamae.core.key_rules import Advice, AlertRules, KeyRules
from streamae.core.scoring import ScoreHistory
from streamae.core.segments import waves
from streamae.core.thresholds.prior import initial_state
from streamae.core.thresholds.rule import ThresholdRule, Wave


class Decision:
    """Judges scores. State per key: see `columns`; survives a restart through it.

    Attributes:
        rule: judges and learns.
        min_windows: scores of its own that a key must have learnt to be ready.
        is_early: whether keys that start from a prior may alarm before they are ready.
        key_rules: of the operator; has to be told which key moves into which slot.
    """

    def __init__(
        self,
        capacity: int,
        features: int,
        rule: ThresholdRule,
        min_windows: int,
        *,
        prior: ScoreHistory | None = None,
        is_early: bool = True,
        step_ms: float = 1_000.0,
        alerts: AlertRules | None = None,
        family: str = "",
    ) -> None:
        """Prepare for `capacity` key slots of F `features`.

        Args:
            capacity, features: sizes.
            rule: judges and learns.
            min_windows: scores that a key learns before it is ready; without a prior it does not alarm before.
            prior: scores of training keys, from which a new key starts.
            is_early: whether it may alarm at once then.
            step_ms: event time between two windows of the prior.
            alerts: of the operator; None = no such rules.
            family: of rules that keep the same state: what was stored of another one is not taken for it.
        """
        self.rule, self.min_windows, self.is_early = rule, min_windows, is_early
        self.has_prior, self.key_rules = prior is not None, KeyRules(capacity, alerts)
        fields = rule.fields(features)
        if prior is not None:
            initial = initial_state(rule, prior, step_ms)
            fields |= {name: replace(fields[name], initial=value) for name, value in initial.items()}
        self.columns = Columns(capacity, fields | key_rules.fields(features), f"decision.{family}")

    def adopt(
        self,
        rule: ThresholdRule,
        min_windows: int,
        alerts: AlertRules,
        keys: Iterable[tuple[int, bytes]],
        *,
        is_early: bool,
    ) -> None:
        """Judge by these from now on; what keys have learnt stays.

        Args:
            rule: of the family of the present one.
            min_windows, alerts, is_early: as at construction.
            keys: all slots in use, with their keys.
        """
        self.rule, self.min_windows, self.is_early = rule, min_windows, is_early
        self.key_rules.adopt(alerts, keys)

    def judge(self, scores: ScoreBatch, windows: WindowBatch) -> VerdictBatch:
        """Compare each score with its key's threshold, then let the key learn it.

        Args:
            scores: of the B windows; finite.
            windows: the same B windows; those of one key in event-time order.

        Returns:
            Verdicts with the statistics as they were before each score was learnt.
        """
        verdicts = VerdictBatch.empty(len(windows))
        whole = Wave(
            windows.slots,
            scores.totals.astype(np.float64),
            scores.forecasts.astype(np.float64),
            scores.channels,
            windows.end_times_ms,
            windows.is_first,
        )
        advice = self.key_rules.advise(scores, windows)
        if advice is not None:
            verdicts.suspensions[:] = advice.suspensions
        for rows in waves(windows.slots):
            self._judge_wave(rows, whole.take(rows), verdicts, advice)
        return verdicts

    def states(self, slots: Slots) -> Ints:
        """Return the `KeyState` of `slots` (n,) between windows, (n,) int64."""
        return self._states(self.columns["count"][slots], np.zeros(len(slots), dtype=np.bool_))

    def _states(self, counts: Ints, is_resuming: Flags) -> Ints:
        young = KeyState.PROVISIONAL if self.has_prior and self.is_early else KeyState.LEARNING
        grown = np.where(is_resuming & (counts > 0), KeyState.RESUMING, KeyState.READY)
        return np.where(counts < self.min_windows, young, grown)

    def _judge_wave(self, rows: Ints, wave: Wave, verdicts: VerdictBatch, advice: Advice | None) -> None:
        """`judge` for windows of distinct keys; writes its part of `verdicts`."""
        if advice is not None:  # the first score that a key learns, also where its first window was not learnt
            wave = replace(wave, is_fresh=wave.is_fresh | (self.columns["count"][wave.slots] == 0))
        judgement = self.rule.judge(self.columns, wave)
        states = self._states(judgement.counts, wave.is_fresh)
        states[np.isinf(judgement.thresholds)] = KeyState.LEARNING  # knows too little, says the rule
        is_learning = states == KeyState.LEARNING
        thresholds = np.where(is_learning, np.inf, judgement.thresholds)
        if advice is not None:
            thresholds = advice.thresholds(rows, thresholds, judgement.means)
        alarms = judgement.scores > thresholds
        if advice is not None:
            alarms = advice.allowed(rows, alarms, wave.is_fresh, self.columns)
        verdicts.statuses[rows] = np.where(
            is_learning, Status.LEARNING, np.where(alarms, Status.ANOMALOUS, Status.NORMAL)
        )
        verdicts.scores[rows], verdicts.thresholds[rows] = judgement.scores, thresholds
        verdicts.means[rows], verdicts.sds[rows] = judgement.means, judgement.sds
        verdicts.counts[rows], verdicts.rarities[rows] = judgement.counts, judgement.rarities
        verdicts.states[rows] = states
        if advice is None or advice.is_learnt[rows].all():
            self.rule.learn(self.columns, wave, judgement, alarms)
        elif len(learnt := np.flatnonzero(advice.is_learnt[rows])):
            self.rule.learn(self.columns, wave.take(learnt), judgement.take(learnt), alarms[learnt])
