"""Block maxima: how far above the usual worst of a block of windows a score is, in spreads of that worst.

Every channel, the total and the low side of the forecast error are smoothed, taken to logarithms and compared with
the mean and spread of their own maxima over blocks of `BLOCK_WINDOWS`. A block is learnt one block late, so that an
episode does not shield itself. To that comes how many standard deviations the total stands out of its own usual
level: peaks that come again and again become the usual worst of a block, but never the usual level.
The evidence E of all keys is on one scale, whatever the model or the features.

Source of the form and of every constant: our own study on 56 labelled series, half of the constants' reasons being
that anything within 30 % does as well. The idea of learning from maxima of blocks is Gumbel 1958, "Statistics of
Extremes", section 6; mean and spread of the maxima are used, not their fitted distribution.

Must not know settings, or what an episode is beyond how long one lasts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Doubles, Flags, Floats, Ints, Slots
from streamae.core.columns import Columns, Field
from streamae.core.moments import MAX_WEIGHT, PRIOR_COUNT, learn
from streamae.core.scoring import ScoreHistory
from streamae.core.thresholds.learning import floored
from streamae.core.thresholds.rule import Judgement, Wave, mean_state
from streamae.core.thresholds.spec import Knob, RuleSpec, RuleWords

BLOCK_WINDOWS = 80  # 64 to 96 do as well, 128 loses .03 of the F1
TRACKED = 2  # beside the channels: total, low side of the forecast
CHANNEL, TOTAL, LOW = (0.3, 1.5, 0.3), (0.5, 1.0, 0.5), (0.04, 0.005, 0.5)  # weight of the newest, offset, floor
SLOW_WINDOWS = 25  # how many the slow one of them averages
START_SDS = 2.0  # a first guess of the usual worst: mean + 2 sd of the windows
FORGETTING = 1.0 - 2.0 ** (-1.0 / 7.0)  # half-life of 7 blocks
FREE_BLOCKS, CAP_SDS = 4, 3.0  # the first blocks count in full, later ones move by 3 sd at most
CHANNEL_DEPTH, CHANNEL_POWER, CHANNEL_GAIN = 1.0, 0.8, 4.0  # what of a channel counts, and how channels add up
TOTAL_GAIN = 0.8
STANDOUT_GAIN, LEAST_SDS, MOST_SDS = 0.5, 0.5, 64.0  # gains of 0.25 to 0.75 do as well, with the level to match
LEVEL_FORGETTING = 1.0 - 2.0 ** (-1.0 / 500.0)  # half-life of 500 windows
LOW_GAIN = 1.6  # a low forecast cannot stand out: 1.9 spreads of it are enough by themselves at the default level
RATE_MEMORY, RATE_GAIN = 0.999, 1.0  # alarms of the last 1,000 windows raise the threshold; 0.8 to 1.2 do as well
POOLED_BLOCKS = 1  # of several training keys for another one: with its first guess 2 blocks, 160 windows of its own
MIN_START_WINDOWS = 16  # a mean and an sd of fewer are no guess
EVIDENCE_LEVEL, EVIDENCE_RATE, EVIDENCE_SLOPE = 3.0, 4.7e-4, 0.50  # measured false episodes a window, see `rarity`
LEAST_LEVEL = 1.5  # the line is measured from 2.2 on; no further: a larger budget is left unspent


def rarity(evidence: Doubles) -> Doubles:
    """Return the logarithm of the windows that pass until usual behaviour brings this much evidence.

    False episodes per 10,000 normal windows were 7.0, 5.5, 4.5, 4.1, 3.4, 2.7, 2.1 and 1.7 at thresholds from 2.2 to
    5.0 (mean of seven groups of series): nearly a straight line in logarithms, carried on beyond them.

    Example:
        >>> np.exp(rarity(np.array([3.0]))).round().tolist()
        [2128.0]
    """
    found: Doubles = -np.log(EVIDENCE_RATE) + EVIDENCE_SLOPE * (evidence - EVIDENCE_LEVEL)
    return found


def level_of_share(share: float) -> dict[str, float]:
    """Return the `block_level` at which so large a share of windows is in alarm: `rarity`, solved for the threshold.

    Example:
        >>> level_of_share(4.7e-4)
        {'block_level': 3.0}
    """
    return {"block_level": max(EVIDENCE_LEVEL + float(np.log(EVIDENCE_RATE / share)) / EVIDENCE_SLOPE, LEAST_LEVEL)}


@dataclass(frozen=True, slots=True)
class BlockMaximaRule:
    """Evidence above `level` is anomalous.

    Attributes:
        level: evidence that a quiet key needs for an alarm: 2.4 sensitive, 3.0 default, 3.8 quiet.
        hold: windows without alarm after which an alarm is over, >= 1; as long as an episode lasts.
        start_windows: scores from which a key without prior makes its first guess.
    """

    level: float
    hold: int = 64
    start_windows: int = 64

    def fields(self, features: int) -> dict[str, Field]:
        """Return 5 (F + 2) + 8 numbers of 4 bytes."""
        shape = (features + TRACKED,)
        return {
            "count": Field("<i4"),
            "block_place": Field("<i4"),  # windows of the current block so far
            "blocks": Field("<i4", (), -1),  # learnt; -1 = no first guess yet
            "hold": Field("<i4"),  # windows without alarm until the alarm is over; 0 = none
            "rate": Field("<f4"),
            "threshold": Field("<f4", (), self.level),
            "usual": Field("<f4"),  # level of the smoothed total
            "usual_variance": Field("<f4"),
            "smoothed": Field("<f4", shape),
            "worst": Field("<f4", shape),  # usual worst of a block; before the first guess: mean
            "worst_variance": Field("<f4", shape),
            "current": Field("<f4", shape, -np.inf),
            "previous": Field("<f4", shape, -np.inf),
        }

    def begin(self, states: Columns, history: ScoreHistory) -> None:
        """Guess the usual worst of each training key from all its scores: mean + 2 sd of the logarithms."""
        weights, offsets, floors = _constants(history.channels.shape[2])
        for key, length in enumerate(history.lengths.tolist()):
            scores = history.of(key)
            values = _joined(scores.channels, scores.totals.astype(np.float64), scores.forecasts.astype(np.float64))
            smoothed = np.empty_like(values)
            last = values[0].copy()
            last[-1] = values[:SLOW_WINDOWS, -1].mean()
            states["smoothed"][key] = last
            for number in range(length):  # an exponential mean has no closed form; ten numbers each
                smoothed[number] = last = last + weights * (values[number] - last)
            logs = _logarithms(smoothed, offsets)
            states["worst"][key] = logs.mean(axis=0) + START_SDS * logs.std(axis=0)
            totals = np.expm1(logs[:, -2])
            states["usual"][key], states["usual_variance"][key] = totals.mean(), totals.var()
        states["worst_variance"][:] = floors**2
        states["blocks"][:] = 0

    def judge(self, states: Columns, wave: Wave) -> Judgement:
        """Compare each tracked score with the usual worst of a block and add up what lies above.

        z = (smoothed logarithm - worst) / spread; S = sum of max(z_c - 1, 0) over the F channels / F^0.8;
        E = max(log(1 + 4 S) + 0.8 z_total + 0.5 log(sds that the total stands out, 0.5 to 64), 1.6 z_low).
        """
        slots, features = wave.slots, wave.channels.shape[1]
        _, offsets, floors = _constants(features)
        counts, blocks = states["count"][slots].astype(np.int64), states["blocks"][slots]
        has_guess = blocks >= 0
        smoothed = _smooth(states, wave, counts, has_guess)
        logs = _logarithms(smoothed, offsets)
        depths = _depths(
            logs, states["worst"].take(slots, axis=0), states["worst_variance"].take(slots, axis=0), floors
        )
        excess = depths[:, :features] - CHANNEL_DEPTH
        np.maximum(excess, 0.0, out=excess)
        # Row by row in one order, wherever a row stands in the batch; numpy does so up to 8,192 features, a bundle has half.
        above = np.einsum("kf->k", excess) / features**CHANNEL_POWER
        spreads = _spreads(states, slots)
        standout = (smoothed[:, -2] - states["usual"][slots]) / spreads
        standing = STANDOUT_GAIN * np.log(np.clip(standout, LEAST_SDS, MOST_SDS))
        high = np.log1p(CHANNEL_GAIN * above) + TOTAL_GAIN * depths[:, -2] + standing
        evidence = np.maximum(high, LOW_GAIN * depths[:, -1])
        evidence = np.where(has_guess, evidence, 0.0)
        is_closed = (states["hold"][slots] == 0) | wave.is_fresh
        rates = RATE_MEMORY * states["rate"][slots].astype(np.float64)
        thresholds = np.where(is_closed, self.level + RATE_GAIN * rates, states["threshold"][slots]).astype(np.float32)
        zeros = np.zeros(len(slots))
        return Judgement(
            evidence,
            np.where(has_guess, thresholds.astype(np.float64), np.inf),
            zeros,  # evidence is made to be 0 at the usual worst of a block,
            zeros + 1.0,  # and is counted in spreads of that worst
            rarity(evidence),
            counts,
            (smoothed, logs, rates, thresholds.astype(np.float64), spreads),
        )

    def learn(self, states: Columns, wave: Wave, judgement: Judgement, alarms: Flags) -> None:
        """Take the wave into the current block; learn the block before it when it is full."""
        slots, fresh = wave.slots, wave.is_fresh
        smoothed, logs, rates, thresholds, spreads = judgement.workings
        states["smoothed"][slots] = smoothed
        _learn_usual(states, slots, smoothed[:, -2], judgement.counts, spreads)
        current = np.maximum(states["current"].take(slots, axis=0), logs)
        current[fresh] = logs[fresh]
        states["current"][slots] = current
        places = np.where(fresh, 0, states["block_place"][slots]) + 1
        guessing = np.flatnonzero(states["blocks"][slots] < 0)
        if len(guessing):
            self._guess(states, slots[guessing], logs[guessing], judgement.counts[guessing])
        full = np.flatnonzero(places >= BLOCK_WINDOWS)
        if len(full):
            _learn_block(states, slots[full])
            places[full] = 0
        states["block_place"][slots] = places
        states["count"][slots] = judgement.counts + 1
        hold = np.where(fresh, 0, states["hold"][slots])
        opens = alarms & (hold == 0)
        states["rate"][slots] = rates + opens
        states["threshold"][slots] = thresholds
        states["hold"][slots] = np.where(alarms, self.hold, np.maximum(hold - 1, 0))

    def pooled(self, states: Columns) -> Mapping[str, NDArray[Any]]:
        """One training key is taken as it is; of several the mean, with the spread between them."""
        found = mean_state(states, {"worst": "worst_variance", "usual": "usual_variance"}, ("smoothed",))
        if len(states["count"]) == 1:
            return found | {name: states[name][0].copy() for name in ("blocks", "previous")}
        return found | {"blocks": np.minimum(states["blocks"].min(), POOLED_BLOCKS)}

    def _guess(self, states: Columns, slots: Slots, logs: Doubles, counts: Ints) -> None:
        """Follow mean and variance of the first scores; with enough of them make the first guess."""
        weights = (1.0 / (counts + 1))[:, None]
        means, variances = states["worst"][slots].astype(np.float64), states["worst_variance"][slots]
        steps = logs - means
        means, variances = means + weights * steps, (1.0 - weights) * (variances + weights * steps**2)
        is_due = counts + 1 >= max(self.start_windows, MIN_START_WINDOWS)
        floors = _constants(logs.shape[1] - TRACKED)[2]
        guesses = means + START_SDS * np.sqrt(variances)
        states["worst"][slots] = np.where(is_due[:, None], guesses, means)
        states["worst_variance"][slots] = np.where(is_due[:, None], floors**2, variances)
        states["blocks"][slots[is_due]] = 0


@cache
def _constants(features: int) -> tuple[Doubles, Doubles, Doubles]:
    """Return weights, offsets and floors of all tracked scores, (F + 2,) each."""
    weights, offsets, floors = (np.array([a] * features + [b, c]) for a, b, c in zip(CHANNEL, TOTAL, LOW, strict=True))
    for array in (weights, offsets, floors):
        array.setflags(write=False)  # they are shared
    return weights, offsets, floors


def _joined(channels: NDArray[Any], totals: Doubles, forecasts: Doubles) -> Doubles:
    """Return all tracked scores side by side, (n, F + 2): channels, total, forecast."""
    values = np.empty((len(totals), channels.shape[1] + TRACKED))
    values[:, :-2], values[:, -2], values[:, -1] = channels, totals, forecasts
    return values


def _logarithms(smoothed: Doubles, offsets: Doubles) -> Doubles:
    """Return what is compared, (n, F + 2): logarithms, that of the forecast negated, since it must not be too good.

    Here and below in place: with many features every copy is memory that the system has to hand out anew.
    """
    found = smoothed + offsets
    np.log(found, out=found)
    np.negative(found[:, -1], out=found[:, -1])  # a sensor that froze is forecast well
    return found


def _depths(logs: Doubles, worst: Floats, variances: Floats, floors: Doubles) -> Doubles:
    """Return how many spreads, not below their floor, each logarithm lies above the usual worst, (n, F + 2)."""
    spreads = variances.astype(np.float64)
    np.sqrt(spreads, out=spreads)
    np.maximum(spreads, floors, out=spreads)
    found: Doubles = logs - worst
    found /= spreads
    return found


def _smooth(states: Columns, wave: Wave, counts: Ints, has_guess: Flags) -> Doubles:
    """Return the smoothed scores, (n, F + 2).

    After a gap the quick ones start from the new value. The slow one, a mean of 25 windows, goes on: begun with one
    value it would now and then look frozen. A key without a guess starts it as a plain mean.
    """
    weights = _constants(wave.channels.shape[1])[0][None, :]
    begins = wave.is_fresh | (counts == 0)
    if begins.any() or not has_guess.all():  # rare, and costs as much as the rest
        weights = np.repeat(weights, len(wave.slots), axis=0)
        weights[begins, :-1] = 1.0
        weights[:, -1] = np.where(has_guess, LOW[0], np.maximum(LOW[0], 1.0 / (counts + 1)))
    last = states["smoothed"].take(wave.slots, axis=0)
    found = _joined(wave.channels, wave.totals, wave.forecasts)
    found -= last
    found *= weights
    found += last
    return found


def _spreads(states: Columns, slots: Slots) -> Doubles:
    """Return standard deviations of the smoothed total, with their floor, (n,)."""
    return floored(np.sqrt(states["usual_variance"][slots].astype(np.float64)), states["usual"][slots])


def _learn_usual(states: Columns, slots: Slots, totals: Doubles, counts: Ints, spreads: Doubles) -> None:
    """Move the usual level of the smoothed total, in steps of 3 sd at most: an anomaly hardly counts."""
    weights = np.minimum(np.maximum(LEVEL_FORGETTING, 1.0 / (counts + 1 + PRIOR_COUNT)), MAX_WEIGHT)
    states["usual"][slots], states["usual_variance"][slots] = learn(
        states["usual"][slots].astype(np.float64),
        states["usual_variance"][slots].astype(np.float64),
        totals,
        weights,
        CAP_SDS * spreads,
    )


def _learn_block(states: Columns, slots: Slots) -> None:
    """Learn the block before the one that is full now, and keep this one for the next time.

    k += 1, a = max(1 - 2^(-1/7), 1 / (k + 1)), d = maximum - mean, cut to 3 sd once k > 4; mean += a d,
    variance = (1 - a)(variance + a d^2).
    """
    known = slots[np.isfinite(states["previous"][slots, 0]) & (states["blocks"][slots] >= 0)]
    blocks = states["blocks"][known] + 1
    weights = np.maximum(FORGETTING, 1.0 / (blocks + 1))[:, None]
    means, variances = states["worst"][known].astype(np.float64), states["worst_variance"][known].astype(np.float64)
    floors = _constants(means.shape[1] - TRACKED)[2]
    caps = np.where((blocks > FREE_BLOCKS)[:, None], CAP_SDS * np.maximum(np.sqrt(variances), floors), np.inf)
    steps = np.clip(states["previous"][known] - means, -caps, caps)
    states["worst"][known] = means + weights * steps
    states["worst_variance"][known] = (1.0 - weights) * (variances + weights * steps**2)
    states["blocks"][known] = blocks
    states["previous"][slots] = states["current"][slots]
    states["current"][slots] = -np.inf


BLOCK_MAXIMA = RuleSpec(
    "block_maxima",
    "block_maxima",
    RuleWords(
        phrase="evidence against the usual worst of 80 windows",
        alarm_when="the evidence exceeds `threshold.block_level` + the alarms of the last 1,000 windows: how far the score,"
        " its features and the low side of the forecast lie above the usual worst of 80 windows, and how far the score"
        " stands out of its usual level",
        formula="E > `block_level` + r. Of each feature's score, of T and of minus the forecast error, all in logarithms,"
        " mean and spread of the maxima over blocks of 80 windows are followed, half-life 7 blocks, one block late; z ="
        " how many spreads above that mean; S = sum of max(z - 1, 0) over the F features / F^0.8; E = max(log(1 + 4 S) +"
        " 0.8 z_T + 0.5 log((T - m) / s, from 0.5 to 64), 1.6 z_low); r = alarms, each fading by a thousandth a window",
        source="maxima of blocks: Gumbel 1958; the evidence is ours",
    ),
    parameters=(Knob("block_level", 3.0, "block_maxima: 2.4 sensitive, 3.0 usual, 3.8 quiet.", gt=0),),
    level="block_level",
    build=lambda knobs, shared: BlockMaximaRule(knobs["block_level"], max(shared.hold, 1), shared.start_windows),
    from_budget=level_of_share,
)
