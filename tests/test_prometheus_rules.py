"""Rules for Prometheus fire when they should and not before, by Prometheus' own tool: what is called, says what.

What metrics and label values there are, `test_deploy.py` holds against the program.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.conftest import run_tool

RULES = Path(__file__).resolve().parents[1] / "deploy" / "prometheus" / "alerts.yaml"
GROUPS = {group["name"]: group["rules"] for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]}
ALERTING = {rule["alert"]: rule for rule in GROUPS["streamae-alert"]}
UP = 'up{job="streamae-alert", instance="host:9465"}'
LABELS = 'instance="host:9465", receiver="pager"'
FAILING, LAG, OLDEST = (
    f"streamae_alerts_{name}{{{LABELS}}}" for name in ("failing", "lag_seconds", "oldest_undelivered_seconds")
)
LETTERS = f"streamae_alerts_dead_letters_total{{{LABELS}}}"
STATELESS = 'streamae_alerts_stateless{instance="host:9465"}'
OTHERS = {  # what is well beside it never fires
    'up{job="streamae-alert", instance="well:9465"}': "1x400",
    'streamae_alerts_failing{instance="well:9465", receiver="pager"}': "0x400",
    'streamae_alerts_lag_seconds{instance="well:9465", receiver="pager"}': "1x400",
    'streamae_alerts_oldest_undelivered_seconds{instance="well:9465", receiver="pager"}': "1x400",
    'streamae_alerts_dead_letters_total{instance="well:9465", receiver="pager"}': "7x400",
    'streamae_alerts_stateless{instance="well:9465"}': "0x400",
}


class Firing(NamedTuple):
    """A series, four samples a minute as promtool writes them, and what comes of it.

    Attributes:
        alert: name of the rule.
        series, values: of one metric.
        quiet_at: just before it fires.
        fires_at: when it fires.
        summary: what is said then.
    """

    alert: str
    series: str
    values: str
    quiet_at: str
    fires_at: str
    summary: str


FIRES = [
    Firing(
        "StreamaeAlerterDown",
        UP,
        "1x10 0x40",
        "4m40s",
        "5m",
        "host:9465 does not answer: nobody is told of anomalies.",
    ),
    Firing(
        "StreamaeAlertsLate", LAG, "0x3 301x60", "5m50s", "6m", "pager is told of anomalies 5m 1s late by host:9465."
    ),
    Firing(
        "StreamaeAlertsLate",
        OLDEST,
        "0x3 901x60",
        "5m50s",
        "6m",
        "pager is told of anomalies 15m 1s late by host:9465.",
    ),
    Firing("StreamaeAlertDeliveryFails", FAILING, "0x3 1x60", "5m50s", "6m", "pager takes no alerts from host:9465."),
    Firing(
        "StreamaeAlertDeadLetters",
        LETTERS,
        "0x79 1x60",
        "19m50s",
        "20m10s",
        "Changes that pager will never be told of: 1.",
    ),
    Firing(
        "StreamaeAlertDeadLetters",
        LETTERS,
        "5x79 47x60",
        "19m50s",
        "25m10s",
        "Changes that pager will never be told of: 42.",
    ),
    Firing(
        "StreamaeAlertsForget", STATELESS, "0x3 1x80", "15m50s", "16m", "host:9465 cannot keep in Redis what was told."
    ),
]
QUIET = [
    ("StreamaeAlerterDown", UP, "1x10 0x6 1x60"),  # a restart
    ("StreamaeAlertsLate", LAG, "300x80"),
    ("StreamaeAlertsLate", LAG, "0x3 2000x16 0x60"),  # a start after an outage
    ("StreamaeAlertsLate", OLDEST, "900x80"),
    ("StreamaeAlertDeliveryFails", FAILING, "0x3 1x16 0x60"),
    ("StreamaeAlertDeadLetters", LETTERS, "5x80"),
    ("StreamaeAlertDeadLetters", LETTERS, "5x20 0x60"),  # a restart
    ("StreamaeAlertsForget", STATELESS, "0x3 1x56 0x20"),
]


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    """Run Prometheus' own tool."""
    return run_tool("promtool", "prometheus", *words)


def expected(rule: dict[str, Any], series: str, summary: str) -> dict[str, Any]:
    """Return the alert of a rule over one series: its labels are those of the series, and the rule's own."""
    pairs = [pair.split("=") for pair in series.partition("{")[2].rstrip("}").split(", ")]
    labels = {name: value.strip('"') for name, value in pairs}
    annotations = {**rule["annotations"], "summary": summary}
    return {"exp_labels": labels | rule["labels"], "exp_annotations": annotations}


def judged(folder: Path, alert: str, series: dict[str, str], at: dict[str, list[dict[str, Any]]]) -> str:
    """Return what promtool finds wrong, "" = at each of these times exactly these alerts fire."""
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": time, "alertname": alert, "exp_alerts": alerts} for time, alerts in at.items()
        ],
    }
    path = folder / "test.yaml"
    content = {"rule_files": [str(RULES)], "evaluation_interval": "10s", "tests": [test]}  # between samples, as it is
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0 or "FAILED" in done.stderr, done.stderr
    return done.stderr if done.returncode else ""


def test_prometheus_takes_the_rules() -> None:
    """Its own tool finds nothing wrong with the file: names, expressions, templates."""
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stderr
    assert f"{sum(map(len, GROUPS.values()))} rules found" in done.stdout


@pytest.mark.parametrize("case", FIRES, ids=lambda case: f"{case.alert}-{case.values}")
def test_a_rule_of_alerting_fires_in_time_and_says_what(case: Firing, tmp_path: Path) -> None:
    """It waits as long as its `for` says, concerns only what is ill, and its summary reads well."""
    fires = [expected(ALERTING[case.alert], case.series, case.summary)]
    found = judged(tmp_path, case.alert, OTHERS | {case.series: case.values}, {case.quiet_at: [], case.fires_at: fires})
    assert found == ""


@pytest.mark.parametrize(("alert", "series", "values"), QUIET)
def test_a_rule_of_alerting_is_quiet_otherwise(alert: str, series: str, values: str, tmp_path: Path) -> None:
    """A limit that is only reached, a restart and what passes by itself wake nobody."""
    times = {f"{minutes}m": list[dict[str, Any]]() for minutes in range(1, 21)}
    assert judged(tmp_path, alert, OTHERS | {series: values}, times) == ""


def test_every_rule_of_alerting_is_tried() -> None:
    """Who adds a rule shows when it fires, and when it does not."""
    assert {case.alert for case in FIRES} == {alert for alert, *_ in QUIET} == set(ALERTING)


def test_a_rule_that_fires_unexpectedly_is_noticed(tmp_path: Path) -> None:
    """The judge is no rubber stamp: an alert that is not expected is told."""
    assert "StreamaeAlerterDown" in judged(tmp_path, "StreamaeAlerterDown", {UP: "0x40"}, {"5m": []})
