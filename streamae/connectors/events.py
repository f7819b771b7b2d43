"""Episode changes as others see them: CloudEvents 1.0 in binary mode with a JSON value under a published schema.

The structs below are the contract; `schema` generates the JSON Schema from them, and a test holds it equal to the
file in `streamae/schemas`. Within v1 fields are only ever added. This module must not know how episodes come about.
"""

from __future__ import annotations

import base64
import math
import re
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from streamae.batches import Cause, Partition
from streamae.connectors.event_times import EARLIEST_MS, LATEST_MS
from streamae.connectors.protocols import Message
from streamae.episode_changes import EpisodeChange
from streamae.reasons import CloseReason

SCHEMA_ID = "urn:streamae:schema:anomaly-event:v1"
EVENT_TYPE = "io.streamae.anomaly.{kind}.v1"
SHARE_DIGITS = 6  # of what is left by shares in float32: the digits behind are their rounding

if TYPE_CHECKING:
    CloseWord: TypeAlias = CloseReason
else:
    CloseWord = Literal[tuple(map(str, CloseReason))]  # in the schema they are plain words

_NAMESPACE = uuid.UUID("5f1ec0de-7b5c-5a0e-9d6b-2c1a8e4f9a37")  # of all our identifiers; never changes
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = 1.7976931348623157e308
_PLANES = "".join(chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))
_NOT_IN_ATTRIBUTES = re.compile(f"[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef{_PLANES}]")  # CloudEvents 1.0, type String

Time = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC, milliseconds.",
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
        extra_json_schema={"format": "date-time"},
    ),
]
TimeMs = Annotated[int, Meta(description="The same in milliseconds since the Unix epoch.")]
Share = Annotated[float, Meta(ge=0, le=1)]
State = Literal["learning", "provisional", "ready", "resuming", "starved"]


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """The key's rolling score statistics before this window's score was learnt."""

    mean: Annotated[float, Meta(description="Mean score of the key.")]
    sd: Annotated[float, Meta(description="Standard deviation of the key's score.", ge=0)]
    count: Annotated[int, Meta(description="Scores learnt by the key so far.", ge=0)]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The window this change was decided on: event times of its oldest and newest row."""

    start_time: Time
    start_time_ms: TimeMs
    end_time: Time
    end_time_ms: TimeMs
    rows: Annotated[int, Meta(description="Rows of a window; all windows have as many.", ge=1)] | UnsetType = UNSET


class FeaturePart(msgspec.Struct, frozen=True, kw_only=True):
    """One feature's part in the episode, taken at its peak."""

    name: Annotated[str, Meta(description="Feature name as in the model bundle.")]
    share: Annotated[
        Share,
        Meta(
            description="Part of the score due to this feature; over all features, also those that are not listed, they"
            " sum to 1."
        ),
    ]
    actual: Annotated[float, Meta(description="Value of the newest row, in the feature's own unit.")]
    expected: Annotated[float, Meta(description="The model's forecast of it, in the feature's own unit.")]
    direction: Annotated[Literal["above", "below"], Meta(description="Where `actual` lies relative to `expected`.")]
    description: (
        Annotated[str, Meta(description="The same in words; only of features derived from the record's fields.")]
        | UnsetType
    ) = UNSET


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The input record that caused this change."""

    topic: Annotated[str, Meta(description="Input topic.")]
    partition: Annotated[int, Meta(description="Partition of the input topic.", ge=0)]
    offset: Annotated[int, Meta(description="Offset in the partition.", ge=0)]
    record_id: (
        Annotated[
            str, Meta(description="The record's own id, such as a transaction's; only where input.id_field is set.")
        ]
        | UnsetType
    ) = UNSET


class AnomalyEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An anomaly episode of one key was opened, goes on (updated), or was closed. Times are event time."""

    episode_id: Annotated[
        str,
        Meta(
            description="UUID shared by all events of an episode; the same when records are processed again.",
            extra_json_schema={"format": "uuid"},
        ),
    ]
    kind: Annotated[Literal["opened", "updated", "closed"], Meta(description="What happened to the episode.")]
    sequence: Annotated[int, Meta(description="0 for opened, then 1, 2, ... within the episode.", ge=0)]
    key: Annotated[str, Meta(description="Key of the stream; bytes that are not UTF-8 appear as \\xNN.")]
    key_base64: (
        Annotated[str, Meta(description="The key's bytes in base64; only where they are not UTF-8.")] | UnsetType
    ) = UNSET
    detector: Annotated[str, Meta(description="Name of the detector, its consumer group.")]
    start_time: Annotated[Time, Meta(description="First anomalous window (its newest row). RFC 3339, UTC.")]
    start_time_ms: TimeMs
    peak_time: Annotated[Time, Meta(description="Worst window so far (its newest row). RFC 3339, UTC.")]
    peak_time_ms: TimeMs
    end_time: Annotated[Time, Meta(description="Newest anomalous window (its newest row). RFC 3339, UTC.")]
    end_time_ms: TimeMs
    anomalous_windows: Annotated[int, Meta(description="Anomalous windows of the episode so far.", ge=0)]
    severity: Annotated[
        float,
        Meta(
            description="How rare the worst score so far is for this key, comparable across keys and threshold rules:"
            " 50 = once in 2,500 windows, 76 = in 25,000, 91 = in 250,000.",
            ge=0,
            le=100,
        ),
    ]
    confidence: Annotated[Share, Meta(description="Grows with the key's history, falls with imputed values.")]
    score: Annotated[float, Meta(description="Smoothed score of this window; higher is more anomalous.")]
    threshold: Annotated[
        float | None, Meta(description="Score at which the key becomes anomalous; null while it is learning.")
    ]
    peak_score: Annotated[float, Meta(description="Highest score of the episode so far.")]
    statistics: Statistics
    window: Window
    state: Annotated[
        State,
        Meta(
            description="How well the key is known: learning = its verdicts are withheld now, provisional = judged by"
            " what the training data was like, ready = by its own past, resuming = ready, first window after a gap,"
            " starved = no window can be scored, which no event is known to meet."
        ),
    ]
    state_progress: Annotated[Share, Meta(description="Scores of its own over those it needs to be ready, at most 1.")]
    state_reason: (
        Annotated[
            str,
            Meta(
                description="Why the key is not ready, for a person to read: the words may change. Empty where it is."
            ),
        ]
        | UnsetType
    ) = UNSET
    imputed_share: Annotated[Share, Meta(description="Part of this window's values that was missing and filled in.")]
    close_reason: Annotated[
        CloseWord | None,
        Meta(description=", ".join(f"{reason} = {reason.meaning}" for reason in CloseReason) + "; null while open."),
    ]
    features: Annotated[list[FeaturePart], Meta(description="Most guilty first, taken at the peak.")]
    other_features_share: (
        Annotated[
            Share,
            Meta(
                description="Part of the score due to all features that are not listed; with the listed ones it is 1."
            ),
        ]
        | UnsetType
    ) = UNSET
    cause: (
        Annotated[
            Literal["silence"],
            Meta(
                description="silence = the key says nothing: start is its last record, there is no threshold and no"
                " feature to blame, and window and statistics are those of its last window. Absent = its values are"
                " anomalous."
            ),
        ]
        | UnsetType
    ) = UNSET
    silent_keys: (
        Annotated[int, Meta(description="Only of a silence: keys of the partition that are silent now.", ge=0)]
        | UnsetType
    ) = UNSET
    partition_keys: (
        Annotated[
            int,
            Meta(description="Only of a silence: keys of the partition that are not forgotten, silent or not.", ge=0),
        ]
        | UnsetType
    ) = UNSET
    model_version: Annotated[str, Meta(description="Version of the model bundle.")]
    settings_version: Annotated[str, Meta(description="Fingerprint of the settings.")]
    source: Origin


class EventWriter:
    """Writes episode changes as messages. Holds no state: the same change gives the same bytes, also after a replay.

    Attributes:
        features: names in the bundle's order.
        settings_version: carried in every event.
    """

    def __init__(
        self,
        topic: str,
        source_uri: str,
        features: Sequence[str],
        *,
        top_features: int,
        bundle_version: str,
        settings_version: str,
        detector: str,
        explain: Callable[[int, float, float, int], str] | None = None,
    ) -> None:
        """Fix what all events have in common.

        Args:
            topic: output topic.
            source_uri: CloudEvents `source`.
            features: names in the bundle's order.
            top_features: most features listed in an event.
            bundle_version, settings_version: carried in every event.
            detector: name of this detector; part of every identifier.
            explain: puts number, actual, expected and event time in ms of a feature into words; None = no words.
        """
        self._topic, self._source_uri, self._detector = topic, source_uri, detector
        self.features, self._top_features = tuple(features), top_features
        self._bundle_version, self.settings_version = bundle_version, settings_version
        self._explain = explain
        self._encode = msgspec.json.Encoder().encode

    def adopt(self, settings_version: str) -> None:
        """Carry another version of the settings from now on."""
        self.settings_version = settings_version

    def message(self, change: EpisodeChange, key: bytes, partition: Partition) -> Message:
        """Return the event of `change` of the stream `key`, whose records come from `partition`.

        Numbers are always finite: infinite ones become the largest finite one, NaN becomes 0 (neither is expected),
        and a feature without a finite actual and expected value is left out of the explanation.
        """
        is_silence = change.silence is not None
        episode = episode_id(
            self._detector, partition, key, change.opened_offset, change.start_time_ms, is_silence=is_silence
        )
        text = key.decode(errors="backslashreplace")
        attributes = {
            "ce_specversion": "1.0",
            "ce_id": event_id(episode, change.kind.value, change.sequence),
            "ce_source": self._source_uri,
            "ce_type": EVENT_TYPE.format(kind=change.kind),
            "ce_time": _rfc3339(change.end_time_ms if is_silence else change.window_end_ms),
            "ce_subject": _NOT_IN_ATTRIBUTES.sub(lambda found: ascii(found[0])[1:-1], text),
            "ce_dataschema": SCHEMA_ID,
            "content-type": "application/json",
        }
        headers = tuple((name, value.encode()) for name, value in attributes.items() if value)
        event = self._event(change, key, text, str(episode), partition)
        return Message(self._topic, key, self._encode(event), headers, Cause(partition, change.offset))

    def _event(self, change: EpisodeChange, key: bytes, text: str, episode: str, partition: Partition) -> AnomalyEvent:
        parts, silence = self._parts(change), change.silence
        return AnomalyEvent(
            episode_id=episode,
            kind=change.kind.value,
            sequence=change.sequence,
            key=text,
            key_base64=base64.b64encode(key).decode() if text.encode() != key else UNSET,
            detector=self._detector,
            start_time=_rfc3339(change.start_time_ms),
            start_time_ms=change.start_time_ms,
            peak_time=_rfc3339(change.peak_time_ms),
            peak_time_ms=change.peak_time_ms,
            end_time=_rfc3339(change.end_time_ms),
            end_time_ms=change.end_time_ms,
            anomalous_windows=change.windows,
            severity=_finite(change.severity),
            confidence=_share(change.confidence),
            score=_finite(change.score),
            threshold=change.threshold if math.isfinite(change.threshold) else None,
            peak_score=_finite(change.peak_score),
            statistics=Statistics(mean=_finite(change.mean), sd=_finite(change.sd), count=change.count),
            window=Window(
                start_time=_rfc3339(change.window_start_ms),
                start_time_ms=change.window_start_ms,
                end_time=_rfc3339(change.window_end_ms),
                end_time_ms=change.window_end_ms,
                rows=change.window_rows,
            ),
            state=cast(State, change.state.name.lower()),
            state_progress=min(1.0, change.count / max(change.needed, 1)) if change.needed else 1.0,
            state_reason=change.state_reason,
            imputed_share=_share(change.imputed_share),
            close_reason=change.close_reason,
            features=parts,
            other_features_share=round(_share(1.0 - math.fsum(part.share for part in parts)), SHARE_DIGITS)
            if silence is None
            else UNSET,
            cause=UNSET if silence is None else "silence",
            silent_keys=UNSET if silence is None else silence.silent_keys,
            partition_keys=UNSET if silence is None else silence.partition_keys,
            model_version=self._bundle_version,
            settings_version=self.settings_version,
            source=Origin(
                topic=partition.topic,
                partition=partition.index,
                offset=change.offset,
                record_id=UNSET if change.record_id is None else change.record_id,
            ),
        )

    def _parts(self, change: EpisodeChange) -> list[FeaturePart]:
        return [
            FeaturePart(
                name=self.features[part.index],
                share=_share(part.share),
                actual=part.actual,
                expected=part.expected,
                direction="above" if part.actual >= part.expected else "below",
                description=self._explain(part.index, part.actual, part.expected, change.peak_time_ms)
                if self._explain
                else UNSET,
            )
            for part in change.features[: self._top_features]
            if math.isfinite(part.share) and math.isfinite(part.actual) and math.isfinite(part.expected)
        ]


def episode_id(
    detector: str, partition: Partition, key: bytes, opened_offset: int, start_time_ms: int, *, is_silence: bool = False
) -> uuid.UUID:
    """Return the identifier of the episode that the record at `opened_offset` opened; the same after a replay.

    The start belongs to it because with a grid one record can complete several rows; a silence may open at the record
    that opened an episode of its values before.
    """
    name = f"{detector}|{partition.topic}|{partition.index}|{key.hex()}|{opened_offset}|{start_time_ms}"
    if is_silence:
        name += "|silence"
    return uuid.uuid5(_NAMESPACE, name)


def read_event(value: bytes) -> dict[str, Any]:
    """Return the value of an event of any release as its JSON object, unchecked.

    Raises:
        ValueError: not a JSON object, or one with NaN, numbers out of range, broken text or a bomb of nested brackets.
    """
    try:
        content = msgspec.json.decode(value)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(content, dict):
        raise ValueError(f"JSON, but no object: {type(content).__name__}")  # noqa: TRY004 - the bytes are wrong
    return content


def event_id(episode: uuid.UUID, kind: str, sequence: int) -> str:
    """Return the identifier of one event of an episode; the same after a replay."""
    return str(uuid.uuid5(episode, f"{kind}|{sequence}"))


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the event value."""
    (_,), components = msgspec.json.schema_components([AnomalyEvent], ref_template="#/$defs/{name}")
    top: dict[str, Any] = components.pop(AnomalyEvent.__name__)
    head: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID}
    tail: dict[str, Any] = {"title": "streamae anomaly event, version 1", "$defs": components}
    return head | top | tail


def _rfc3339(time_ms: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=min(max(time_ms, EARLIEST_MS), LATEST_MS))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _finite(number: float) -> float:
    return 0.0 if math.isnan(number) else min(max(number, -_LARGEST), _LARGEST)


def _share(number: float) -> float:
    return min(max(_finite(number), 0.0), 1.0)
