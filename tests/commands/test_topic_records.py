"""A topic as past data: what is read, and what is said of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.services import KafkaBroker
from streamae.cli import main
from streamae.commands.past_data import TopicRange
from streamae.commands.topic_records import past_data, read_records
from streamae.connectors.past_records import PastRecords
from streamae.errors import ExitCode
from streamae.model.bundle import load_bundle
from streamae.settings.connections import KafkaSettings
from tests import kafka_io
from tests.records import noisy_waves


@pytest.mark.integration
def test_how_much_is_read_is_said_before_and_after(kafka: KafkaBroker, fresh_name: Callable[[str], str]) -> None:
    """Who starts a reading of hours learns at once what it will take, and at the end what it was."""
    topic, servers, out = fresh_name("topic"), kafka.bootstrap_servers, io.StringIO()
    kafka_io.create_topics(servers, topic, partitions=2)
    for partition in (0, 1):
        kafka_io.produce(servers, topic, [(b"key", b"x" * 1_024)] * 1_024, partition)
    settings = KafkaSettings(bootstrap_servers=servers, fetch_max_bytes=2**20)
    batches = list(read_records(TopicRange(topic, 1_740_981_600_000, 1_536), settings, out))
    assert sum(len(records) for batch in batches for records in batch.values()) == 1_536
    first, last = out.getvalue().splitlines()
    assert first == (
        f"topic {topic}: the newest 1,536 of 2,048 offsets in 2 partitions since 2025-03-03T06:00:00Z,"
        " at most 2 MiB of messages in memory at a time"
    )
    assert last == f"topic {topic}: 1,536 records, 1.5 MiB"


@pytest.mark.slow
@pytest.mark.integration
def test_train_backtest_and_bootstrap_read_a_topic(
    kafka: KafkaBroker, fresh_name: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a topic of somebody else to a bundle and to keys that know themselves: nothing is left behind in the cluster."""
    topic, servers = fresh_name("topic"), kafka.bootstrap_servers
    kafka_io.create_topics(servers, topic, partitions=2)
    kafka_io.produce(servers, topic, [(b"", b"no JSON")])
    rows = [(key.encode(), json.dumps(content).encode()) for key, content in noisy_waves(rows=300)]
    kafka_io.produce(servers, topic, rows, partition=None)
    before = kafka_io.groups(servers)
    bundle = tmp_path / "bundle"
    common = [
        *("--kafka.bootstrap_servers", servers, "--kafka.group_id", topic),
        *("--input.time_field", "when", "--input.value_fields", '["temp", "load"]'),
        *("--train.window_size", "8", "--train.hidden_size", "4", "--train.max_steps", "6", "--model.device", "cpu"),
    ]
    out = tmp_path / "out"
    for command in (
        ["train", f"kafka:{topic}", "--bundle", str(bundle)],
        ["backtest", f"kafka:{topic}", "--bundle", str(bundle), "--out", str(out), "--max-records", "500"],
        [
            "bootstrap",
            f"kafka:{topic}",
            "--out",
            str(tmp_path / "keys"),
            "--model.bundle",
            str(bundle),
            "--since",
            "1d",
        ],
    ):
        assert main([*command, *common]) == ExitCode.OK, capsys.readouterr().err
    heard = capsys.readouterr()
    assert load_bundle(bundle).features == ("temp", "load")
    assert f"topic {topic}: 1 of 601 records cannot be used and are left out" in heard.err
    assert f"topic {topic}: the newest 500 of 601 offsets in 2 partitions" in heard.err
    assert (out / "alerts.csv").is_file()
    assert "2 keys (" in heard.out
    assert kafka_io.groups(servers) == before
    assert (
        main(["train", f"kafka:{topic}", "--bundle", str(bundle), *common, "--since", "2100-01-01"]) == ExitCode.FAILURE
    )
    assert f"streamae: topic {topic} holds no record since 2100-01-01" in capsys.readouterr().err


def test_files_stay_files() -> None:
    """Only a topic is opened, and only when it is read."""
    paths, nowhere = [Path("a.csv")], KafkaSettings(bootstrap_servers="127.0.0.1:1")
    assert past_data(paths, nowhere, io.StringIO()) is paths
    assert isinstance(past_data(TopicRange("sensors"), nowhere, io.StringIO()), PastRecords)
