"""The settings of connections: the Kafka cluster, where results go, and where key state survives.

Must not know: other sections.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from streamae.settings.section import Millis, Name, Positive, Section


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

    def conflicts(self) -> list[str]:
        """Return what no single field can see, one line each: `kafka.field: what is wrong`."""
        is_sasl = self.security_protocol.startswith("SASL")
        checks = [
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
        return [line for is_wrong, line in checks if is_wrong]


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

    def at(self, url: str | None, username: str | None, password: str | None, key_prefix: str) -> Self:
        """Return how another part of streamae reaches Redis: as here, except for what is given.

        Raises:
            ValueError: the URL is none.
        """
        given = {"redis_url": None if url is None else _redis_url(url), "redis_username": username}
        secret = {} if password is None else {"redis_password": SecretStr(password)}
        known = {name: value for name, value in given.items() if value is not None}
        return self.model_copy(update={**known, **secret, "key_prefix": key_prefix})
