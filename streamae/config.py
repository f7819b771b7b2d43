"""The settings tree: every knob of streamae with its default, unit, bounds and meaning.

One frozen tree is built from a TOML file, `STREAMAE_SECTION__FIELD` variables and command-line flags
(later wins; see `config_sources.py`). The README's table is generated from these descriptions.
Core code never sees this module: it takes plain numbers.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from streamae.config_alerts import AlertSettings
from streamae.config_decision import EpisodeSettings, ThresholdSettings
from streamae.config_section import Millis, Name, Positive, Section
from streamae.config_training import TrainSettings

# Of the input section, what can change a decision: how fields are read, not where records come from.
DECISION_INPUT_FIELDS = (
    "layout",
    "key_field",
    "time_field",
    "time_unit",
    "value_fields",
    "name_field",
    "value_field",
    "unknown_features",
    "max_future_ms",
    "min_time_ms",
)


def _redis_url(url: str) -> str:
    """Refuse what is no Redis URL, and passwords where they would be printed."""
    parts = urlsplit(url)
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("must start with redis://, rediss:// or unix://")
    if "@" in parts.netloc:
        raise ValueError("must not hold credentials: use state.redis_username and state.redis_password_file")
    return url


class KafkaSettings(Section):
    """Connection to the cluster, and the consumer group."""

    bootstrap_servers: Name = Field("127.0.0.1:9092", description="Comma-separated host:port list of the cluster.")
    group_id: Name = Field("streamae", description="Consumer group; partitions are shared by its members.")
    instance_id: str | None = Field(
        None, description="Stable name of this process: makes transactional.id and group membership survive a restart."
    )
    assignor: Literal["cooperative_sticky", "range"] = Field(
        "cooperative_sticky",
        description="How members share partitions, the same for all: moving only what must move, or all anew each time.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="As in Kafka."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(None, description="As in Kafka.")
    sasl_username: str | None = Field(None, description="User name for SASL.")
    sasl_password: SecretStr | None = Field(None, description="Password for SASL; prefer the file.")
    sasl_password_file: Path | None = Field(None, description="File holding the SASL password.")
    ssl_ca_file: Path | None = Field(None, description="PEM file of trusted authorities.")
    ssl_cert_file: Path | None = Field(None, description="PEM client certificate.")
    ssl_key_file: Path | None = Field(None, description="PEM client key.")
    session_timeout_ms: Millis = Field(10_000, description="Silence after which the group gives our partitions away.")
    max_poll_interval_ms: Millis = Field(120_000, description="Longest time between polls before the group drops us.")
    request_timeout_ms: Millis = Field(15_000, description="Longest wait for one answer of a broker.")
    transaction_timeout_ms: Millis = Field(10_000, description="Age at which the broker aborts an open transaction.")
    retry_backoff_ms: Millis = Field(20, description="Pause between client retries; small keeps transactions fast.")
    fetch_max_bytes: Positive = Field(16_777_216, description="Most compressed bytes of one fetch.")

    def checks(self) -> list[tuple[bool, str]]:
        """Return what no single field can see: whether it is wrong, and what to say then."""
        is_sasl = self.security_protocol.startswith("SASL")
        return [
            (
                self.transaction_timeout_ms > self.max_poll_interval_ms,
                "kafka.transaction_timeout_ms: must not exceed kafka.max_poll_interval_ms",
            ),
            (is_sasl and self.sasl_mechanism is None, "kafka.sasl_mechanism: needed by kafka.security_protocol"),
            (is_sasl and self.sasl_username is None, "kafka.sasl_username: needed by kafka.security_protocol"),
            (is_sasl and self.sasl_password is None, "kafka.sasl_password_file: needed by kafka.security_protocol"),
            (
                (self.ssl_cert_file is None) != (self.ssl_key_file is None),
                "kafka.ssl_cert_file: goes together with kafka.ssl_key_file",
            ),
        ]


class InputSettings(Section):
    """Where records come from and how to read them."""

    source: Literal["kafka", "files"] = Field("kafka", description="Kafka topics, or CSV/Parquet files replayed once.")
    topics: tuple[Name, ...] = Field(("sensors",), description="Input topics.", min_length=1)
    files: tuple[Path, ...] = Field((), description="Files to replay when source is `files`.")
    start: Literal["earliest", "latest"] = Field("earliest", description="Where a group without offsets begins.")
    bootstrap_records: Annotated[int, Field(ge=0)] = Field(
        0,
        description="A group without offsets that starts at the latest first reads so many records a partition before it,"
        " silently: its keys have learnt when it goes live.",
    )
    on_lost_offsets: Literal["resume", "start"] = Field(
        "resume", description="The group's offset is gone but state is stored: resume there, or start as a new group."
    )
    layout: Literal["wide", "long"] = Field(
        "wide", description="wide: all features a record; long: one metric a record."
    )
    key_field: str | None = Field(None, description="Field (dotted path) holding the key; unset = the Kafka key.")
    time_field: str | None = Field(None, description="Field (dotted path) holding event time; unset = Kafka timestamp.")
    time_unit: Literal["auto", "s", "ms", "us", "ns"] = Field(
        "auto", description="Unit of numeric times; auto goes by size. Text is read as ISO 8601, UTC if no zone."
    )
    value_fields: tuple[Name, ...] = Field(
        (),
        description="Feature fields (dotted paths), in order, or the one array field; unset = the bundle's features.",
    )
    name_field: str = Field("name", description="long layout: field holding the metric name.")
    value_field: str = Field("value", description="long layout: field holding the metric value.")
    unknown_features: Literal["dead_letter", "ignore"] = Field(
        "dead_letter", description="long layout: what to do with names that are no feature."
    )
    max_record_bytes: Positive = Field(262_144, description="Larger values become dead letters undecoded.")
    max_key_bytes: Positive = Field(256, description="Longer keys become dead letters.")
    max_future_ms: Millis = Field(86_400_000, description="Event times further ahead of the Kafka timestamp are bad.")
    min_time_ms: int = Field(0, description="Event times before this (ms since the epoch) are bad.")
    max_poll_records: Positive = Field(5_000, description="Most records of one poll.")
    poll_timeout_ms: Millis = Field(50, description="Longest wait of one poll for records.")


class OutputSettings(Section):
    """Where events and dead letters go."""

    sink: Literal["kafka", "files"] = Field("kafka", description="Kafka topics, or JSON lines in `directory`.")
    delivery: Literal["exactly_once", "at_least_once"] = Field(
        "exactly_once",
        description="at_least_once does without transactions: after a crash events may come twice, with the same id.",
    )
    topic: Name = Field("anomalies", description="Topic of anomaly events.")
    dead_letter_topic: Name = Field("anomalies-dead-letters", description="Topic of records that could not be used.")
    scores_topic: Name | None = Field(
        None, description="Topic of one score per window, for the curve; unset = off: it is as much as the input."
    )
    latent: bool = Field(
        default=False, description="Add the network's code of the window to each score, for models further on."
    )
    directory: Path = Field(Path("out"), description="Folder for the `files` sink.")
    source_uri: Name = Field("urn:streamae", description="CloudEvents `ce_source` of our events.")
    top_features: Positive = Field(5, description="Most features explained in an event.")
    commit_interval_ms: Millis = Field(200, description="Longest time outputs wait for their transaction.")


class WindowSettings(Section):
    """How records become rows and rows become windows. Size and features come from the bundle."""

    stride: Positive = Field(1, description="Rows between two windows of a key.")
    grid_ms: Millis | None = Field(
        None, description="Merge a key's records of one time bucket into one row; unset = off."
    )
    grid_merge: Literal["last", "mean"] = Field("last", description="How a bucket merges several values of a feature.")
    max_gap_ms: Millis = Field(3_600_000, description="A longer gap in event time restarts the key's window.")
    missing: Literal["previous", "constant", "reject"] = Field("previous", description="Policy for missing features.")
    missing_overrides: dict[str, Literal["previous", "constant", "reject"]] = Field(
        default_factory=dict, description="Policy by feature name."
    )
    missing_constant: float | None = Field(
        None, description="Constant to fill in; unset = the feature's training mean."
    )
    max_imputed_share: float = Field(0.5, ge=0, le=1, description="Windows with more imputed cells are not scored.")
    late: Literal["drop", "dead_letter"] = Field("dead_letter", description="Records older than the key's newest.")
    duplicate: Literal["drop", "dead_letter"] = Field(
        "drop", description="Records of the same event time as the newest."
    )


class FeatureSettings(Section):
    """What is derived from the fields of a record. Learnt by `streamae train` and frozen in the bundle."""

    log_fields: tuple[Name, ...] = Field((), description="Numeric fields to take the signed logarithm of: amounts.")
    category_fields: tuple[Name, ...] = Field((), description="Fields of text, integers or truth values.")
    category_cap: Annotated[int, Field(ge=1, le=1_024)] = Field(32, description="Most values a category field knows.")
    hash_buckets: Annotated[int, Field(ge=1, le=256)] = Field(1, description="Columns shared by all other values.")
    time_features: tuple[Literal["hour", "weekday"], ...] = Field((), description="As sine and cosine of event time.")
    utc_offset_minutes: Annotated[int, Field(ge=-1_080, le=1_080)] = Field(0, description="Of hour and weekday.")
    since_previous: bool = Field(default=False, description="Add the log of seconds since the key's previous record.")
    scaling: Literal["global", "key"] = Field(
        "global",
        description="Standardise by all training rows, or each key by its own running level: for keys that differ widely"
        " in size; a key is then not scored before its 129th row.",
    )


class ModelSettings(Section):
    """Which bundle to serve and where it runs."""

    bundle: Path = Field(Path("bundle"), description="Directory written by `streamae train`.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto = cuda where there is one.")
    fallback: Literal["none", "cpu"] = Field(
        "none", description="When the device fails: none ends the process, to be restarted; cpu scores on there."
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="CPU threads that score chunks side by side; 0 = one a core."
    )
    max_batch_size: Positive = Field(1_024, description="Most windows of one micro-batch.")
    max_wait_ms: Annotated[int, Field(ge=0)] = Field(
        50, description="Longest time a window waits for its batch to fill."
    )
    step_budget_ms: Millis = Field(
        250, description="Model time after which a step leaves further windows to the next, to answer the group."
    )
    cpu_chunk_size: Positive = Field(256, le=256, description="Windows per forward pass on the CPU (cache-bound).")


class StateSettings(Section):
    """Where key state survives."""

    store: Literal["redis", "memory"] = Field("redis", description="memory: state is lost with the process.")
    redis_url: Annotated[str, AfterValidator(_redis_url)] = Field(
        "redis://127.0.0.1:6379/0", description="redis:// or rediss:// URL without a password."
    )
    redis_username: str | None = Field(None, description="ACL user.")
    redis_password: SecretStr | None = Field(None, description="Password; prefer the file.")
    redis_password_file: Path | None = Field(None, description="File holding the Redis password.")
    redis_timeout_ms: Millis = Field(1_000, description="Longest wait for one answer of Redis.")
    key_prefix: Name = Field("sae", description="First part of every Redis key.")
    checkpoint_interval_ms: Millis = Field(5_000, description="Longest time between two checkpoints.")
    checkpoint_max_dirty_keys: Positive = Field(2_000, description="Changed keys that trigger a checkpoint early.")
    on_loss: Literal["rebuild", "warm_up", "halt"] = Field(
        "rebuild", description="Stored state is lost: replay records, let keys learn anew, or stop the partition."
    )
    rebuild_max_records: Annotated[int, Field(ge=0)] = Field(
        100_000, description="Records before the committed offset replayed silently when stored state is lost."
    )
    bootstrap_file: Path | None = Field(
        None, description="Written by `streamae bootstrap`: what keys begin with of which nothing is stored."
    )


class LimitSettings(Section):
    """Bounds that keep memory finite."""

    max_keys: Positive = Field(100_000, description="Keys with state in this process.")
    key_idle_ms: Millis = Field(86_400_000, description="A key idle this long (event time) may be evicted at the cap.")


class ServiceSettings(Section):
    """The process itself."""

    http_host: str = Field("127.0.0.1", description="Address of /livez, /readyz, /metrics and /status.")
    http_port: Annotated[int, Field(ge=0, le=65_535)] = Field(9_464, description="Port; 0 = any free one.")
    drain_timeout_ms: Millis = Field(20_000, description="After SIGTERM: time to commit, checkpoint and leave.")
    stall_timeout_ms: Millis = Field(60_000, description="No progress of the loop for this long = not alive.")
    store_grace_ms: Millis = Field(60_000, description="Checkpoints may fail this long before we are not ready.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level logged.")
    log_format: Literal["auto", "json", "pretty"] = Field("auto", description="auto = pretty on a terminal, else JSON.")


class Settings(Section):
    """All settings."""

    kafka: KafkaSettings = KafkaSettings()
    input: InputSettings = InputSettings()
    output: OutputSettings = OutputSettings()
    window: WindowSettings = WindowSettings()
    features: FeatureSettings = FeatureSettings()
    model: ModelSettings = ModelSettings()
    threshold: ThresholdSettings = ThresholdSettings()
    episode: EpisodeSettings = EpisodeSettings()
    alerts: AlertSettings = AlertSettings()
    state: StateSettings = StateSettings()
    limits: LimitSettings = LimitSettings()
    service: ServiceSettings = ServiceSettings()
    train: TrainSettings = TrainSettings()

    def conflicts(self) -> list[str]:
        """Return what no single field can see, one line each: `section.field: what is wrong`."""
        window, features = self.window, self.features
        categories = set(features.category_fields)
        policies = {window.missing, *window.missing_overrides.values()}
        checks = [
            (
                self.input.layout == "long" and window.grid_ms is None,
                "input.layout: long needs window.grid_ms: the metrics of one time bucket form a row",
            ),
            (
                self.input.layout == "long" and (bool(categories) or features.since_previous),
                "features: category_fields and since_previous need input.layout = wide: a record is no row",
            ),
            (
                bool(categories & {*self.input.value_fields, *features.log_fields}),
                "features.category_fields: must not name fields of input.value_fields or features.log_fields",
            ),
            (
                window.grid_ms is not None and "reject" in policies,
                "window.missing: reject cannot be used with window.grid_ms: use previous or constant",
            ),
            (
                self.input.bootstrap_records > 0 and self.input.start == "earliest",
                "input.bootstrap_records: needs input.start = latest: before the earliest record there is none",
            ),
            (self.input.source == "files" and not self.input.files, "input.files: needed when input.source = files"),
            *self.kafka.checks(),
            (
                self.output.latent and self.output.scores_topic is None,
                "output.latent: needs output.scores_topic, whose messages carry the code",
            ),
            (
                0 < self.episode.out_of_windows < self.episode.min_duration_windows,
                "episode.out_of_windows: must not be below episode.min_duration_windows; 0 = in a row",
            ),
        ]
        return [line for is_wrong, line in checks if is_wrong] + self.train.conflicts()

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        if conflicts := self.conflicts():
            raise ValueError("\n".join(conflicts))
        return self


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Valid settings and the origin of each.

    Attributes:
        settings: the tree; secrets given as files are already read into their plain field.
        sources: by `section.field`: `default`, `file:PATH`, `env:NAME`, `flag:--section.field` or `secret file PATH`.
    """

    settings: Settings
    sources: dict[str, str]


def fingerprint(settings: Settings) -> str:
    """Return 12 hex digits that change whenever a setting that can change a decision does.

    Those are the window, threshold, episode and alerts sections and how input fields are read; not where records come
    from, how fast they are processed or where results go.
    """
    sections = dict.fromkeys(("window", "threshold", "episode", "alerts"), True)
    parts = settings.model_dump(mode="json", include={**sections, "input": set(DECISION_INPUT_FIELDS)})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
