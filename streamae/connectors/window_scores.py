"""Scores as others see them: one compact JSON record a scored window, for people who want the curve.

Off unless `output.scores_topic` is set: it is as much output as there is input. A record travels in the transaction
of its events and offsets, so the topic is also the audit of the stream: with stride 1 every record from a key's W-th
on has exactly one. Must not know how scores come about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from streamae.batches import Cause, Floats, Partition, Status, VerdictBatch, WindowBatch
from streamae.connectors.protocols import Message

LATENT_DECIMALS = 5  # codes are of the order of one; more digits are rounding of the device


class WindowScore(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One window's verdict. Topic, partition, offset and time tell it from all others, also when it is repeated.

    Attributes:
        topic, partition, offset: input record that completed the window.
        time_ms: event time of the window's newest row, ms since the Unix epoch.
        score: smoothed score that was compared; higher is more anomalous.
        threshold: entry threshold of the key; null while it is learning.
        anomalous: whether the window was judged anomalous.
        latent: the network's code of the window, `LATENT_DECIMALS` decimals; the field is there only if it was asked for.
    """

    topic: str
    partition: int
    offset: int
    time_ms: int
    score: float
    threshold: float | None
    anomalous: bool
    latent: list[float] | None = None


class ScoreWriter:
    """Writes verdicts as messages. Holds no state: the same verdict gives the same bytes, also after a replay."""

    def __init__(self, topic: str) -> None:
        """Fix the output topic."""
        self._topic = topic
        self._encode = msgspec.json.Encoder().encode

    def messages(
        self,
        verdicts: VerdictBatch,
        batch: WindowBatch,
        keys: Sequence[bytes],
        owners: Sequence[Partition],
        latent: Floats | None = None,
    ) -> list[Message]:
        """Return one message a window.

        Args:
            verdicts, batch: B windows.
            keys, owners: key and input partition of each.
            latent: (B, L) codes of the windows; None = they are not published.
        """
        codes: list[list[float] | None] = [None] * len(batch)
        if latent is not None:
            codes = np.round(latent.astype(np.float64), LATENT_DECIMALS).tolist()
        columns = zip(
            owners,
            keys,
            batch.offsets.tolist(),
            batch.end_times_ms.tolist(),
            verdicts.scores.tolist(),
            verdicts.thresholds.tolist(),
            (verdicts.statuses == Status.ANOMALOUS).tolist(),
            codes,
            strict=True,
        )
        return [
            Message(
                self._topic,
                key,
                self._value(owner, offset, time_ms, score, threshold, anomalous, code),
                (),
                Cause(owner, offset),
            )
            for owner, key, offset, time_ms, score, threshold, anomalous, code in columns
        ]

    def _value(
        self,
        owner: Partition,
        offset: int,
        time_ms: int,
        score: float,
        threshold: float,
        anomalous: bool,
        code: list[float] | None,
    ) -> bytes:
        return self._encode(
            WindowScore(
                topic=owner.topic,
                partition=owner.index,
                offset=offset,
                time_ms=time_ms,
                score=score,
                threshold=threshold if math.isfinite(threshold) else None,
                anomalous=anomalous,
                latent=code,
            )
        )
