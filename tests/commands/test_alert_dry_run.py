"""`streamae alert --dry-run`: the output topic is read, printed by team and receiver, and left as it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaProducer

from scripts.services import KafkaBroker
from streamae.cli import main
from streamae.errors import ExitCode
from tests import kafka_io
from tests.alerting.test_rehearsal import record

RECEIVERS = """[
    {"name": "pager", "kind": "pagerduty", "routing_key_file": "/no/such/file"},
    {"name": "mail", "kind": "apprise", "urls_file": "/no/such/file"}
]"""


@pytest.mark.slow
@pytest.mark.integration
def test_the_past_is_shown_and_nothing_is_touched(
    kafka: KafkaBroker, fresh_name: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anybody is paged: who would have been, from a real topic, without secrets, group or commit."""
    servers, topic, now_ms = kafka.bootstrap_servers, fresh_name("anomalies"), time.time_ns() // 1_000_000
    kafka_io.create_topics(servers, topic, partitions=2)
    hour_ms = 3_600_000
    changes = [
        (0, record("press-1", 0, now_ms - 30 * hour_ms)),  # before what is asked for
        (0, record("press-1", 1, now_ms - 12 * hour_ms, kind="closed")),
        (0, record("press-2", 0, now_ms - 11 * hour_ms)),
        (1, record("oven", 0, now_ms - 11 * hour_ms)),
        (1, record("oven", 1, now_ms - 10 * hour_ms, kind="closed")),
    ]
    with closing(KafkaProducer(bootstrap_servers=servers)) as producer:
        for partition, one in changes:
            producer.send(topic, one.value, one.key, partition=partition, timestamp_ms=one.timestamp)
        producer.flush(30)
    owners = tmp_path / "owners.csv"
    owners.write_text("pattern,team\npress-*,metal\n", encoding="utf-8")
    groups = kafka_io.groups(servers)
    flags = ["--kafka.bootstrap_servers", servers, "--output.topic", topic, "--alerts.owners", str(owners)]
    code = main(["alert", "--dry-run", "--from", "24h", "--alerts.receivers", RECEIVERS, *flags])
    out = capsys.readouterr().out
    assert code == ExitCode.OK
    assert out.startswith("4 changes of 3 episodes, ")
    rows = [line.split()[:5] for line in out.splitlines() if line.startswith(("pager", "mail"))]
    assert rows == [
        ["mail", "(all)", "6.0", "4.0", "1"],
        ["mail", "metal", "4.0", "2.0", "1"],
        ["pager", "(all)", "8.0", "4.0", "1"],
        ["pager", "metal", "4.0", "2.0", "1"],
    ]
    assert out.endswith("\n1 key without an owner: oven\n")
    assert kafka_io.groups(servers) == groups
