"""From settings to the edges: codec, source, sink and store. Client libraries load only when they are used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from streamae.connectors.codec import Codec
from streamae.connectors.protocols import Sink, Source, StateStore
from streamae.core.categories import Vocabulary
from streamae.errors import ConfigError, DataError
from streamae.observe.logs import get_logger
from streamae.settings.tree import Settings

if TYPE_CHECKING:
    from streamae.connectors.kafka import KafkaOptions
    from streamae.connectors.learnt_keys import LearntKeys


def policies_by_input(settings: Settings, inputs: tuple[str, ...]) -> list[str]:
    """Return the missing-value policy of each input of the bundle: its features, or the fields they are derived from.

    Raises:
        ConfigError: an override names no input.
    """
    overrides = settings.window.missing_overrides
    unknown = sorted(set(overrides) - set(inputs))
    if unknown:
        raise ConfigError(
            [f"window.missing_overrides: {name!r} is no feature of the bundle: {', '.join(inputs)}" for name in unknown]
        )
    return [overrides.get(name, settings.window.missing) for name in inputs]


def build_codec(settings: Settings, inputs: tuple[str, ...], vocabularies: Sequence[Vocabulary] = ()) -> Codec:
    """Build the decoder of the input topic.

    Args:
        settings: validated settings.
        inputs: of the bundle: numeric fields, then those of the vocabularies.
        vocabularies: of the category fields.

    Raises:
        ConfigError: the field mapping does not fit the inputs.
    """
    of = settings.input
    return Codec(
        inputs[: len(inputs) - len(vocabularies)],
        layout=of.layout,
        key_field=of.key_field,
        time_field=of.time_field,
        time_unit=of.time_unit,
        value_fields=of.value_fields,
        name_field=of.name_field,
        value_field=of.value_field,
        unknown_features=of.unknown_features,
        max_record_bytes=of.max_record_bytes,
        max_key_bytes=of.max_key_bytes,
        max_future_ms=of.max_future_ms,
        min_time_ms=of.min_time_ms,
        reject_missing=tuple(policy == "reject" for policy in policies_by_input(settings, inputs)),
        vocabularies=vocabularies,
        category_fields=settings.features.category_fields,
    )


def build_source(settings: Settings) -> Source:
    """Connect the input.

    Raises:
        RetryableError: the cluster does not answer.
        ConfigError: the client refuses the settings.
    """
    if settings.input.source == "files":
        from streamae.connectors.file_source import FileSource
        from streamae.connectors.json_lines_sink import read_ledger

        of, output = settings.input, settings.output
        committed = read_ledger(output.directory).by_partition() if output.sink == "files" else None
        texts = settings.features.category_fields
        return FileSource(of.files, of.key_field, of.time_field, committed, of.max_poll_records, texts)
    from streamae.connectors.kafka import KafkaSource

    return KafkaSource(settings.input.topics, _kafka_options(settings))


def build_sink(settings: Settings, recycled: Callable[[str], object]) -> Sink:
    """Connect the output.

    Args:
        settings: validated settings.
        recycled: told why, each time a producer is replaced.

    Raises:
        RetryableError: the cluster does not answer.
        ConfigError: the client refuses the settings, or the cluster refuses `output.delivery`.
    """
    if settings.output.sink == "files":
        from streamae.connectors.json_lines_sink import JsonLinesSink

        return JsonLinesSink(settings.output.directory)
    from streamae.connectors.kafka import AtLeastOnceSink, KafkaSink

    sink = KafkaSink if settings.output.delivery == "exactly_once" else AtLeastOnceSink
    return sink(_kafka_options(settings), recycled)


def build_store(settings: Settings) -> StateStore:
    """Connect the state store."""
    of = settings.state
    if of.store == "memory":
        from streamae.connectors.memory_store import MemoryStore

        return MemoryStore()
    from streamae.connectors.redis_store import RedisOptions, RedisStore

    return RedisStore(
        RedisOptions(
            url=of.redis_url,
            username=of.redis_username,
            password=of.redis_password.get_secret_value() if of.redis_password else None,
            timeout_ms=of.redis_timeout_ms,
        ),
        prefix=of.key_prefix,
        group=settings.kafka.group_id,
    )


def read_learnt_keys(settings: Settings, fingerprint: str) -> LearntKeys | None:
    """Read what a bootstrap has learnt; None where there is none.

    Args:
        settings: validated settings.
        fingerprint: what key state depends on.

    Raises:
        ConfigError: the file cannot be used, or its state depends on other things.
    """
    path = settings.state.bootstrap_file
    if path is None:
        return None
    from streamae.connectors.learnt_keys import LearntKeys

    try:
        found = LearntKeys.read(path)
    except DataError as error:
        raise ConfigError([f"state.bootstrap_file: {error}"]) from None
    if found.fingerprint != fingerprint:
        problem = "learnt with another bundle, stride, grid, missing-value policy or family of threshold rules"
        raise ConfigError([f"state.bootstrap_file: {path}: {problem}: run `streamae bootstrap` with these settings"])
    get_logger().info("bootstrap_read", keys=len(found), file=str(path))
    return found


def _kafka_options(settings: Settings) -> KafkaOptions:
    from streamae.connectors.kafka import KafkaOptions

    of = settings.kafka
    return KafkaOptions(
        bootstrap_servers=of.bootstrap_servers,
        group_id=of.group_id,
        instance_id=of.instance_id,
        assignor=of.assignor,
        security_protocol=of.security_protocol,
        sasl_mechanism=of.sasl_mechanism,
        sasl_username=of.sasl_username,
        sasl_password=of.sasl_password.get_secret_value() if of.sasl_password else None,
        ssl_ca_file=_text(of.ssl_ca_file),
        ssl_cert_file=_text(of.ssl_cert_file),
        ssl_key_file=_text(of.ssl_key_file),
        session_timeout_ms=of.session_timeout_ms,
        max_poll_interval_ms=of.max_poll_interval_ms,
        request_timeout_ms=of.request_timeout_ms,
        transaction_timeout_ms=of.transaction_timeout_ms,
        retry_backoff_ms=of.retry_backoff_ms,
        fetch_max_bytes=of.fetch_max_bytes,
        max_poll_records=settings.input.max_poll_records,
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
