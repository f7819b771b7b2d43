"""From sections of the settings to the connectors: codec, source, sink, store. Client libraries load when used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from streamae.connectors.codec import Codec
from streamae.connectors.field_names import map_fields
from streamae.connectors.protocols import Sink, Source, StateStore
from streamae.connectors.value_layouts import CategoryValues
from streamae.errors import ConfigError, DataError
from streamae.model.bundle import Bundle
from streamae.observe.logs import get_logger
from streamae.settings.connections import KafkaSettings, OutputSettings, StateSettings
from streamae.settings.data import FeatureSettings, InputSettings, MissingPolicy, WindowSettings

if TYPE_CHECKING:
    from streamae.connectors.learnt_keys import LearntKeys


def policies_by_input(window: WindowSettings, inputs: tuple[str, ...]) -> list[MissingPolicy]:
    """Return the missing-value policy of each input of the bundle: its features, or the fields they are derived from.

    Raises:
        ConfigError: an override names no input.
    """
    overrides = window.missing_overrides
    unknown = sorted(set(overrides) - set(inputs))
    if unknown:
        raise ConfigError(
            [f"window.missing_overrides: {name!r} is no feature of the bundle: {', '.join(inputs)}" for name in unknown]
        )
    return [overrides.get(name, window.missing) for name in inputs]


def required_inputs(window: WindowSettings, inputs: Sequence[str]) -> list[bool]:
    """Return for each input whether a record without it is refused; raises as `policies_by_input`."""
    return [policy == "reject" for policy in policies_by_input(window, tuple(inputs))]


def build_codec(reading: InputSettings, window: WindowSettings, features: FeatureSettings, bundle: Bundle) -> Codec:
    """Build the decoder of the input topic.

    Raises:
        ConfigError: the field mapping does not fit the inputs of the bundle.
    """
    vocabularies = bundle.encoding.categories if bundle.encoding else ()
    required = required_inputs(window, bundle.inputs)
    log = get_logger()
    numbers, words = mapped_inputs(
        reading, features, bundle, lambda text: log.warning("fields_taken_in_order", text=text)
    )
    reading = reading.model_copy(update={"value_fields": numbers})
    if reading.source == "files" and reading.files:
        from streamae.connectors.files.source import reading_of

        reading = reading_of(reading)
    return Codec(reading, bundle.numbers, required, CategoryValues(vocabularies, words))


def mapped_inputs(
    reading: InputSettings, features: FeatureSettings, bundle: Bundle, tell: Callable[[str], object]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the paths of the bundle's numeric and of its category fields, in its order; see `map_fields`.

    Args:
        reading, features: name the fields.
        bundle: whose inputs are wanted; one that knows how its rows were made is given no list that fits by order only.
        tell: hears in words of such a list.

    Raises:
        ConfigError: the fields do not fit the bundle.
    """
    by_position = tell if bundle.contract is None else None
    words = features.category_fields
    return (
        map_fields(bundle.numbers, reading.value_fields, by_position, takes_array=reading.layout == "wide"),
        map_fields(bundle.words, words, by_position, setting="features.category_fields"),
    )


def build_source(reading: InputSettings, kafka: KafkaSettings, output: OutputSettings) -> Source:
    """Connect the input; files go on where the ledger of output files ends.

    Raises:
        RetryableError: the cluster does not answer.
        ConfigError: the client refuses the settings.
    """
    if reading.source == "files":
        from streamae.connectors.files.source import FileSource
        from streamae.connectors.json_lines_sink import read_ledger

        committed = read_ledger(output.directory).by_partition() if output.sink == "files" else None
        return FileSource(reading, committed)
    from streamae.connectors.kafka import KafkaSource

    return KafkaSource(reading.topics, kafka, reading.max_poll_records)


def build_sink(output: OutputSettings, kafka: KafkaSettings, recycled: Callable[[str], object]) -> Sink:
    """Connect the output.

    Args:
        output, kafka: which sink, and how to reach it.
        recycled: told why, each time a producer is replaced.

    Raises:
        RetryableError: the cluster does not answer.
        ConfigError: the client refuses the settings, or the cluster refuses `output.delivery`.
    """
    if output.sink == "files":
        from streamae.connectors.json_lines_sink import JsonLinesSink

        return JsonLinesSink(output.directory)
    from streamae.connectors.kafka import AtLeastOnceSink, KafkaSink

    sink = KafkaSink if output.delivery == "exactly_once" else AtLeastOnceSink
    return sink(kafka, recycled)


def build_store(state: StateSettings, group: str) -> StateStore:
    """Connect the state store of a consumer group."""
    if state.store == "memory":
        from streamae.connectors.memory_store import MemoryStore

        return MemoryStore()
    from streamae.connectors.redis_store import RedisStore

    return RedisStore(state, group)


def read_learnt_keys(path: Path | None, fingerprint: str, former: str) -> LearntKeys | None:
    """Read what a bootstrap has learnt; None where there is none.

    Args:
        path: `state.bootstrap_file`.
        fingerprint: what key state depends on.
        former: the same as the release before has digested it, for a file that it wrote.

    Raises:
        ConfigError: the file cannot be used, or its state depends on other things.
    """
    if path is None:
        return None
    from streamae.connectors.learnt_keys import LearntKeys

    try:
        found = LearntKeys.read(path)
    except DataError as error:
        raise ConfigError([f"state.bootstrap_file: {error}"]) from None
    if found.fingerprint != (fingerprint if found.layout else former):
        problem = "learnt with another bundle, stride, grid or missing-value policy"
        raise ConfigError([f"state.bootstrap_file: {path}: {problem}: run `streamae bootstrap` with these settings"])
    get_logger().info("bootstrap_read", keys=len(found), file=str(path))
    return found
