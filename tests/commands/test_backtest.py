"""`streamae backtest`: a history of one's own, the alerts it would have brought, and what other levels would change."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest

from streamae.commands.backtest import backtest
from streamae.core.scoring import ScoreHistory
from streamae.core.thresholds.budget import WEEK_MS, parameters
from streamae.core.thresholds.registry import RULES
from streamae.demo.transactions import DAY_MS, generate_transactions
from streamae.errors import ConfigError, DataError, ExitCode
from streamae.settings.alerts import AlertSettings
from streamae.settings.data import FeatureSettings, InputSettings, WindowSettings
from streamae.settings.decisions import ThresholdSettings
from streamae.settings.serving import ModelSettings
from streamae.settings.training import TrainSettings
from streamae.settings.tree import Settings
from streamae.training.options import TrainOptions
from streamae.training.run import train
from tests.engines import STEP_MS, tiny_bundle

pytestmark = pytest.mark.slow

ROWS, SPIKE, WINDOW = 400, 300, tiny_bundle().architecture.window_size
SETTINGS = Settings(input=InputSettings(key_field="key"), threshold=ThresholdSettings(rule="sigma", min_windows=40))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle, and a history of two keys, one of them with a spike."""
    random = np.random.default_rng(7)
    history = ScoreHistory(
        random.lognormal(0.0, 0.5, (1, 200, 2)).astype(np.float32),
        random.lognormal(0.0, 0.5, (1, 200)).astype(np.float32),
        np.array([200], dtype=np.int64),
    )  # new keys start from it: nothing is learnt anew, and nothing may be judged as if it were
    dataclasses.replace(tiny_bundle(), history=history).save(tmp_path / "bundle")
    values = np.random.default_rng(5).standard_normal((2, ROWS, 2))
    values[1, SPIKE : SPIKE + 5] += 30.0
    with (tmp_path / "history.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["key", "timestamp", "load", "temp", "is_anomaly"])  # not in the bundle's order
        for row in range(ROWS):
            for number, key in enumerate(("calm", "<b>wild</b>")):
                temp, load = values[number, row].tolist()
                flag = int(number == 1 and SPIKE <= row < SPIKE + 5)
                writer.writerow([key, np.datetime64("2025-01-01T23:56:40") + row, load, temp, flag])
    return tmp_path


def run(folder: Path, settings: Settings = SETTINGS, **more: bool) -> str:
    """Run it and return what it printed."""
    stream = io.StringIO()
    data = [folder / "history.csv"]
    assert backtest(settings, data, folder / "bundle", folder / "out", stream=stream, **more) == ExitCode.OK
    return stream.getvalue()


@pytest.mark.parametrize(
    ("rows", "changes", "reason"),
    [
        (WINDOW, {}, f"a window is {WINDOW} rows, the longest run of a key without a gap has {WINDOW - 1}"),
        (ROWS, {"window": WindowSettings(max_gap_ms=500)}, "most often gap, as "),
    ],
    ids=["too_few_rows", "gaps"],
)
def test_a_history_without_a_window_is_refused_with_the_reason(
    folder: Path, rows: int, changes: dict[str, WindowSettings], reason: str
) -> None:
    """No alerts because nothing was scored is another thing than no alerts."""
    lines = (folder / "history.csv").read_text(encoding="utf-8").splitlines()
    (folder / "history.csv").write_text("\n".join(lines[: 2 * rows - 1]), encoding="utf-8")
    with pytest.raises(DataError, match=r"^0 windows scored: ") as caught:
        run(folder, SETTINGS.model_copy(update=changes))
    assert reason in str(caught.value)
    assert not (folder / "out").exists()


def test_alerts_are_listed_with_place_and_guilt(folder: Path) -> None:
    """One alert, at the spike, on the key that has it."""
    printed = run(folder)
    with (folder / "out" / "alerts.csv").open(encoding="utf-8") as stream:
        alerts = [row for row in csv.DictReader(stream) if row["start"] >= "2025-01-02T00:01:40Z"]
    assert [(one["key"], one["start"]) for one in alerts][:1] == [("<b>wild</b>", "2025-01-02T00:01:40Z")]
    assert set(alerts[0]["features"].split()) == {"temp", "load"}
    assert "800 rows of 2 keys" in printed


def test_other_levels_are_judged_on_the_same_scores(folder: Path) -> None:
    """Higher levels never alarm more, and the level that is set gives what the engine published."""
    printed = run(folder)
    table = [line.split() for line in printed.splitlines() if line[:1].isdigit()][1:]
    assert [float(line[0]) for line in table] == [4.8, 6.4, 8.0, 10.4, 13.6]
    shares = [float(line[4].rstrip("%")) for line in table]
    assert shares == sorted(shares, reverse=True)
    with (folder / "out" / "alerts.csv").open(encoding="utf-8") as stream:
        published = len(list(csv.DictReader(stream)))
    assert [int(line[1]) for line in table if line[-1] == "set"] == [published]


def test_what_rules_of_the_operator_keep_quiet_is_told(folder: Path) -> None:
    """Muting all keys leaves no alert, and says how many there would be; without such rules there is nothing to say."""
    plain = run(folder)
    assert "[alerts]" not in plain
    published = len(listed(folder, "alerts.csv"))
    muted = AlertSettings.model_validate({"overrides": [{"keys": "*", "mute": True}]})
    printed = run(folder, SETTINGS.model_copy(update={"alerts": muted}))
    assert listed(folder, "alerts.csv") == []
    (line,) = (line for line in printed.splitlines() if line.startswith("without the rules of [alerts]"))
    assert int(line.split()[5]) == published > 0
    report = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert f"it would be {published} alerts" in report


def other_rules(printed: str) -> dict[str, list[str]]:
    """Return the cells behind each other rule in the summary, by name."""
    rows = re.findall(r"^(\w+), \w+ \S+ +(\d.*)$", printed, re.MULTILINE)
    return {rule: cells.split() for rule, cells in rows}


def test_other_rules_are_judged_on_the_same_scores(folder: Path) -> None:
    """All but the one that is set, each with what it would have published by itself."""
    printed = run(folder)
    assert set(other_rules(printed)) == set(RULES) - {"sigma"}
    assert "With another rule" in (folder / "out" / "report.html").read_text(encoding="utf-8")
    settings = SETTINGS.model_copy(update={"threshold": SETTINGS.threshold.model_copy(update={"rule": "mad"})})
    run(folder, settings)
    assert int(other_rules(printed)["mad"][0]) == len(listed(folder, "alerts.csv"))


def test_rules_that_cannot_meet_a_budget_are_left_out(folder: Path) -> None:
    """A fixed threshold has no rate of alarms; the others are shown at the level that the budget asks for."""
    threshold = ThresholdSettings(rule="sigma", min_windows=40, alert_budget_per_week=200)
    assert set(RULES) - set(other_rules(run(folder, SETTINGS.model_copy(update={"threshold": threshold})))) >= {
        "static"
    }


def test_a_budget_is_shown_as_the_level_it_is_solved_for(folder: Path) -> None:
    """The levels around it differ, and the one that is set gives what the engine published; rules by key count too."""
    threshold = ThresholdSettings(rule="sigma", min_windows=40, alert_budget_per_week=200)
    muted = AlertSettings.model_validate({"overrides": [{"keys": "calm", "mute": True}]})
    printed = run(folder, SETTINGS.model_copy(update={"threshold": threshold, "alerts": muted}))
    table = [line.split() for line in printed.splitlines() if line[:1].isdigit()][1:]
    values = [float(line[0]) for line in table]
    assert values == sorted(set(values))
    (level,) = parameters("sigma", 200, STEP_MS).values()
    assert values[2] == pytest.approx(level, rel=0.01)
    shares = [float(line[4].rstrip("%")) for line in table]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]
    with (folder / "out" / "alerts.csv").open(encoding="utf-8") as stream:
        published = list(csv.DictReader(stream))
    assert {one["key"] for one in published} == {"<b>wild</b>"}
    assert [int(line[1]) for line in table if line[-1] == "set"] == [len(published)]


def listed(folder: Path, name: str) -> list[dict[str, str]]:
    """Return the lines of a table that a run wrote."""
    with (folder / "out" / name).open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_rate_that_is_reached_stands_beside_the_budget(folder: Path) -> None:
    """Published episodes a key and week of scored windows, as the budget counts; without a budget there is nothing."""
    assert "budget" not in run(folder)
    threshold = ThresholdSettings(rule="sigma", min_windows=40, alert_budget_per_week=200)
    printed = run(folder, SETTINGS.model_copy(update={"threshold": threshold}))
    weeks = 2 * (ROWS - WINDOW + 1) * STEP_MS / WEEK_MS
    reached = len(listed(folder, "alerts.csv")) / weeks
    assert reached > 0
    assert f"reached {reached:.3g} alerts a key and week, true ones included; the budget is 200 false ones" in printed


def test_several_keys_taken_for_one_are_doubted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Windows would hold rows of several devices in turn without a word, and their alerts would mean nothing."""
    printed = run(folder, SETTINGS.model_copy(update={"input": InputSettings(value_fields=("temp", "load"))}))
    assert "if the file holds several keys, name their column with --input.key_field" in capsys.readouterr().err
    assert f"{2 * ROWS} rows of 1 keys" in printed
    assert int(printed.split(" windows scored")[0].split()[-1].replace(",", "")) == 2 * ROWS - WINDOW + 1
    run(folder)
    assert "key_field" not in capsys.readouterr().err


def test_every_key_is_listed_with_its_alerts(folder: Path) -> None:
    """Most alerts first, quiet keys too, each with its rate and when its alerts began: the figures of alerts.csv."""
    run(folder)
    alerts, keys = listed(folder, "alerts.csv"), listed(folder, "keys.csv")
    assert {one["key"] for one in keys} == {"calm", "<b>wild</b>"}
    assert [int(one["alerts"]) for one in keys] == sorted((int(one["alerts"]) for one in keys), reverse=True)
    for one in keys:
        starts = sorted(alert["start"] for alert in alerts if alert["key"] == one["key"])
        assert int(one["alerts"]) == len(starts)
        rate = len(starts) / ((ROWS - WINDOW + 1) * STEP_MS / WEEK_MS)
        assert float(one["alerts_per_week"]) == pytest.approx(rate, abs=1e-4)
        assert (one["first"], one["last"]) == ((starts[0], starts[-1]) if starts else ("", ""))


def test_the_summary_names_the_noisiest_keys(tmp_path: Path, folder: Path) -> None:
    """Ten of them at most, then how many more; a key in colours cannot paint the terminal."""
    names = ["calm", *(f"k{number}" for number in range(11)), "z\x1b[31mred"]
    values = np.random.default_rng(3).standard_normal((len(names), ROWS, 2))
    values[1:, SPIKE : SPIKE + 5] += 30.0
    values[-1, SPIKE - 150 : SPIKE - 145] += 30.0  # further away than episodes are merged
    with (tmp_path / "history.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["key", "timestamp", "load", "temp"])
        for row in range(ROWS):
            for number, key in enumerate(names):
                writer.writerow([key, np.datetime64("2025-01-01T23:56:40") + row, *values[number, row].tolist()])
    threshold = SETTINGS.threshold.model_copy(update={"k": 20.0})  # nothing but the spikes
    printed = run(folder, SETTINGS.model_copy(update={"threshold": threshold})).splitlines()
    table = printed[printed.index("  alerts    a week  key") + 1 :]
    assert table[0].split() == ["2", f"{2 / ((ROWS - WINDOW + 1) * STEP_MS / WEEK_MS):.3g}", "'z\\x1b[31mred'"]
    assert [line.split()[0] for line in table[1:10]] == ["1"] * 9
    assert table[10] == "and 2 more keys with alerts"
    assert table[11].startswith("alerts: ")
    assert len(listed(folder, "keys.csv")) == len(names)


def test_the_report_escapes_names_and_asks_no_network(folder: Path) -> None:
    """Keys come from anyone's data: they are text, never markup."""
    run(folder)
    text = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;wild&lt;/b&gt;" in text
    assert "<b>wild" not in text
    assert "built-in" not in text
    assert text.count("<svg") == 3
    assert "<script" not in text


def test_a_history_of_another_step_is_told_as_by_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Seconds read as milliseconds give windows and alerts like any other: figures without this line would be believed."""
    run(folder)
    assert "apart, in training" not in capsys.readouterr().err
    path = folder / "history.csv"
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    slower = [
        f"{key},{np.datetime64(1_000 * i, 's')},{rest}"
        for i, line in enumerate(lines)
        for key, _, rest in [line.split(",", 2)]
    ]
    path.write_text("\n".join([head, *slower]), encoding="utf-8")
    run(folder)
    assert "rows of a key are usually" in capsys.readouterr().err


def test_labels_are_compared_where_asked_for(folder: Path) -> None:
    """With the column there are events to find; without it, asking for them is an error."""
    assert "1 of 1 labelled events found" in run(folder, has_labels=True)
    assert "labelled" not in run(folder)
    path = folder / "history.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("is_anomaly", "flag"), encoding="utf-8")
    with pytest.raises(DataError, match=r"no column is_anomaly.*input\.label_field"):
        run(folder, has_labels=True)
    reading = SETTINGS.input.model_copy(update={"label_field": "flag"})
    named = SETTINGS.model_copy(update={"input": reading})
    assert "1 of 1 labelled events found" in run(folder, named, has_labels=True)
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([head, *(f"{line.rpartition(',')[0]},-1" for line in lines)]), encoding="utf-8")
    with pytest.raises(DataError, match="every row is labelled as an anomaly"):
        run(folder, named, has_labels=True)


def test_a_column_of_the_bundle_must_be_there(folder: Path) -> None:
    """The message names the column; as many fields as features are needed."""
    path = folder / "history.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("temp", "heat"), encoding="utf-8")
    with pytest.raises(DataError, match="no column 'temp'"):
        run(folder)
    renamed = Settings(input=InputSettings(key_field="key", value_fields=("heat", "load")))
    assert "800 rows" in run(folder, renamed)
    with pytest.raises(ConfigError, match="1 names for 2 features; give 2: temp, load"):
        run(folder, Settings(input=InputSettings(key_field="key", value_fields=("heat",))))


def test_a_history_of_transactions_is_encoded_as_in_training(tmp_path: Path) -> None:
    """A bundle that derives its features asks the files for the fields they come from, not for what comes of them."""
    stream = generate_transactions(cards=3, rows=150, train_rows=100, frauds_per_card=0.0)
    options = TrainOptions(
        TrainSettings(window_size=8, recent_steps=2, hidden_size=4, max_steps=3, memory_windows=0),
        WindowSettings(max_gap_ms=30 * DAY_MS),
        FeatureSettings(log_fields=("amount",), category_cap=8, time_features=("hour",), since_previous=True),
        ModelSettings(threads=1),
    )
    train(stream.series, options).save(tmp_path / "bundle")
    with (tmp_path / "history.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["card", "timestamp", "amount", "merchant"])
        for one in stream.series:
            assert one.words is not None
            for time_ms, value, word in zip(one.event_times_ms, one.values[:, 0], one.words[:, 0], strict=True):
                writer.writerow([one.key, np.datetime64(int(time_ms), "ms"), repr(float(value)), word])
    settings = Settings(
        input=InputSettings(key_field="card"),
        window=WindowSettings(max_gap_ms=30 * DAY_MS),
        threshold=SETTINGS.threshold,
    )
    assert "450 rows of 3 keys" in run(tmp_path, settings)
