"""Data that nobody prepared, from the first look to events by the printed commands: how they are read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamae.batches import Series
from streamae.connectors.files.series import read_series
from streamae.errors import ExitCode
from streamae.settings.sources import load_settings
from tests.commands.foreign_data import (
    ROWS,
    START,
    comma,
    csv,
    json_lines,
    moments,
    saved,
    seconds,
    stamps,
    wave,
)
from tests.commands.shell import FirstContact, Shell

pytestmark = pytest.mark.slow

TEMP, LOAD = wave(), wave(centre=50, size=5, seed=2)
POWER = wave(centre=120_000, size=20_000, seed=3, digits=1)
START_MS = int(START.timestamp() * 1_000)
FINE = (ExitCode.OK, ExitCode.OK, ExitCode.OK)


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    """A process for commands."""
    one = Shell()
    yield one
    one.close()


def rows_of(found: FirstContact, data: Path) -> Series:
    """Return the one series that the written settings read from a file."""
    settings = load_settings(found.folder / "streamae.toml", {}, {}).settings
    (series,) = read_series([data], settings.input)
    return series


def assert_served(found: FirstContact, features: Sequence[str]) -> None:
    """Hold that all went well: these features were learnt, windows were scored, and no record was refused."""
    assert found.codes == FINE, (found.inspected.err, found.trained and found.trained.err, found.ran)
    assert found.features == list(features)
    assert found.dead_letters == []


@pytest.mark.parametrize("label", ["Class", "is_fraud", "ground_truth", "flag"])
def test_seconds_since_the_first_row_and_a_label(label: str, shell: Shell, tmp_path: Path) -> None:
    """Case 1: such a table is refused until its beginning is known, and a verdict is asked about, never learnt."""
    verdicts = np.zeros(ROWS, int)
    verdicts[[90, 200, 333]] = 1
    since = np.cumsum(np.random.default_rng(4).integers(1, 90, ROWS))
    columns = {"Time": since, "V1": wave(centre=0), "V2": wave(centre=0, seed=5), "Amount": POWER, label: verdicts}
    data = saved(tmp_path / "card.csv", csv(columns))
    refused = shell.first_contact(tmp_path, data)
    assert refused.codes == (ExitCode.FAILURE, None, None)
    assert "--input.time_origin" in refused.inspected.refusal
    assert f"{label}: looks like a label" in refused.inspected.out
    assert not (tmp_path / "streamae.toml").exists()
    found = shell.first_contact(tmp_path, data, flags=["--input.time_origin", "2025-03-03T00:00:00Z"])
    assert_served(found, ["V1", "V2", "Amount"])
    assert found.settings.get("input.label_field") == (None if label == "flag" else label)
    assert rows_of(found, data).event_times_ms.tolist() == (START_MS + since * 1_000).tolist()


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("Date", "%Y-%m-%dT%H:%M:%SZ"),
        ("utc_timestamp", "%Y-%m-%d %H:%M:%S"),
        ("MESS_DATUM", "%d.%m.%Y %H:%M"),
        ("x", "%m/%d/%Y %I:%M:%S %p"),
        ("horodatage", "%Y%m%d%H%M%S"),
    ],
)
def test_the_time_is_found_by_what_it_holds(name: str, form: str, shell: Shell, tmp_path: Path) -> None:
    """Case 2: whatever its name, it is no feature, and a silence of eight hours stays one."""
    start = START + timedelta(days=12)
    times = [*moments(200, 600, start), *moments(200, 600, start + timedelta(hours=8 + 200 / 6))]
    data = saved(tmp_path / "grid.csv", csv({name: [one.strftime(form) for one in times], "temp": TEMP, "load": LOAD}))
    found = shell.first_contact(tmp_path, data)
    assert_served(found, ["temp", "load"])
    assert rows_of(found, data).event_times_ms.tolist() == [int(one.timestamp() * 1_000) for one in times]
    assert found.settings["input.time_field"] == name
    assert found.settings["window.max_gap_ms"] < 8 * 3_600_000
    assert "1 gaps of 5 steps or more" in found.inspected.out


def test_without_any_time_rows_are_asked_for(shell: Shell, tmp_path: Path) -> None:
    """Case 2: nothing is made up; whoever says how far rows are apart is served."""
    data = saved(tmp_path / "grid.csv", csv({"cycle": range(1, ROWS + 1), "temp": TEMP, "load": LOAD}))
    refused = shell.first_contact(tmp_path, data)
    assert refused.codes == (ExitCode.FAILURE, None, None)
    assert "--input.row_ms" in refused.inspected.refusal
    found = shell.first_contact(tmp_path, data, flags=["--input.row_ms", "1000"])
    assert_served(found, ["temp", "load"])
    assert rows_of(found, data).event_times_ms.tolist() == list(range(0, ROWS * 1_000, 1_000))


@pytest.mark.parametrize("names", [("parameter", "value_hrf"), ("TagName", "Value"), ("merkmal", "messwert")])
def test_one_metric_a_record(names: tuple[str, str], shell: Shell, tmp_path: Path) -> None:
    """Case 3: training pivots on the grid that `run` uses, also where some values are NA."""
    humidity = ["NA" if row % 50 == 7 else str(load) for row, load in enumerate(LOAD)]
    columns = {
        "timestamp": np.repeat(stamps(form="%Y/%m/%d %H:%M:%S"), 2),
        "node_id": ["n1"] * 2 * ROWS,
        names[0]: ["temperature", "humidity"] * ROWS,
        names[1]: np.column_stack([TEMP.astype(str), humidity]).ravel(),
    }
    found = shell.first_contact(tmp_path, saved(tmp_path / "nodes.csv", csv(columns)))
    assert_served(found, ["temperature", "humidity"])
    assert "no number" not in found.inspected.out
    assert found.settings["input.layout"] == "long"
    assert found.settings["window.grid_ms"] == found.bundle["contract"]["meaning"]["window.grid_ms"] == 60_000
    assert f"from {2 * ROWS} rows of 1 keys" in str(found.trained and found.trained.out)


@pytest.mark.parametrize(
    ("mark", "cells", "values"),
    [
        (",", comma(TEMP), TEMP),
        (",", [f"{one:,.1f}" for one in POWER], POWER),
        (";", comma(POWER, "{:,.1f}"), POWER),
        (";", [f"{one:,.1f}".replace(",", "'") for one in POWER], POWER),
        (";", [f"{one:,.1f}".replace(",", "\u2019") for one in POWER], POWER),
        (";", [one.replace(".", "\u202f") for one in comma(POWER, "{:,.1f}")], POWER),
    ],
    ids=["20,73", "1,203.4", "1.203,4", "1'203.4", "typographic apostrophe", "narrow blank"],
)
def test_numbers_of_other_countries(mark: str, cells: list[str], values: Any, shell: Shell, tmp_path: Path) -> None:
    """Case 4: decimal commas and thousands are read for what they are."""
    data = saved(tmp_path / "meter.csv", csv({"Date": stamps(), "reading": cells, "n": range(ROWS, 0, -1)}, mark))
    found = shell.first_contact(tmp_path, data)
    assert_served(found, ["reading", "n"])
    assert rows_of(found, data).values[:, 0].tolist() == values.tolist()


def test_a_column_of_another_country_than_the_rest_is_named(shell: Shell, tmp_path: Path) -> None:
    """Case 4: `20,73` beside `1,203.4` is a contradiction: one of them is read, the other named with its setting."""
    columns = {"Date": stamps(), "temp": comma(TEMP), "power": [f"{one:,.1f}" for one in POWER]}
    found = shell.first_contact(tmp_path, saved(tmp_path / "meter.csv", csv(columns)))
    assert_served(found, ["temp"])
    assert "power: text such as" in found.inspected.out
    assert "column 'power' holds numbers like 1" in found.inspected.out
    assert "answer: input.decimal_mark" in found.inspected.out


@pytest.mark.parametrize("quotes", [True, False])
def test_truth_values_and_devices_that_take_turns(quotes: bool, shell: Shell, tmp_path: Path) -> None:
    """Case 6: true and false are 1 and 0 in training and in `run`, and each device is a key."""
    columns = {
        "ts": [f"{moment.timestamp():.2f}" for moment in moments(2 * ROWS, 13.7)],
        "device": ["b8:27:eb", "00:0f:00"] * ROWS,
        "light": ["true" if row % 18 < 8 else "false" for row in range(2 * ROWS)],
        "temp": np.column_stack([TEMP, LOAD]).ravel(),
    }
    found = shell.first_contact(tmp_path, saved(tmp_path / "iot.csv", csv(columns, quotes=quotes)))
    assert_served(found, ["light", "temp"])
    assert found.settings["input.key_field"] == "device"
    assert f"from {2 * ROWS} rows of 2 keys" in str(found.trained and found.trained.out)


@pytest.mark.parametrize("devices", [2, 3, 5])
def test_devices_without_a_field_that_names_them(devices: int, shell: Shell, tmp_path: Path) -> None:
    """Case 6: rows that take turns between levels are noticed, and the setting named, before two devices are one."""
    mixed = np.column_stack([wave(centre=20 * (number + 1), seed=number) for number in range(devices)]).ravel()
    data = saved(tmp_path / "iot.csv", csv({"ts": stamps(len(mixed), 7), "temp": mixed}))
    answer = shell.say("inspect", data)
    assert f"rows of {devices} keys that no field tells apart?" in answer.out
    assert "answer: input.key_field" in answer.out


@pytest.mark.parametrize("words", [("on", "off"), ("Yes", "No"), ("open", "closed"), ("auf", "zu")])
def test_a_state_in_words_is_no_key(words: tuple[str, str], shell: Shell, tmp_path: Path) -> None:
    """Case 6: a pump that is on and off is one pump, not two: its words are left out by name."""
    states = [words[row % 40 < 25] for row in range(ROWS)]
    found = shell.first_contact(
        tmp_path, saved(tmp_path / "iot.csv", csv({"ts": stamps(), "temp": TEMP, "pump": states}))
    )
    assert_served(found, ["temp"])
    assert "input.key_field" not in found.settings
    assert "pump: text such as" in found.inspected.out


def test_numbers_as_text(shell: Shell, tmp_path: Path) -> None:
    """Case 7: JSON with numbers in text is read, with NaN and empty text as missing, and no record is lost."""
    odd = {5: "NaN", 9: "", 12: None}
    records = [
        {"timestamp": time, "labels": {"instance": "web-0"}, "value": odd.get(row, str(temp)), "load": load}
        for row, (time, temp, load) in enumerate(zip(stamps(), TEMP, LOAD.tolist(), strict=True))
    ]
    data = saved(tmp_path / "prom.jsonl", json_lines(records))
    found = shell.first_contact(tmp_path, data)
    assert_served(found, ["value", "load"])
    assert "no number" not in found.inspected.out
    assert found.settings["input.numbers"] == "text"
    read = rows_of(found, data).values[:, 0]
    assert np.flatnonzero(np.isnan(read)).tolist() == sorted(odd)
    assert np.nanmax(np.abs(read - TEMP)) == 0


def test_a_european_file_with_everything(shell: Shell, tmp_path: Path) -> None:
    """Case 11: a preamble, Latin-1, semicolons, decimal commas, date and time in two columns, empty columns."""
    columns = {
        "Datum": stamps(form="%d.%m.%Y", start=START + timedelta(days=20)),
        "Uhrzeit": stamps(form="%H:%M:%S", start=START + timedelta(days=20)),
        "T [°C]": comma(TEMP),
        "Druck": comma(POWER, "{:.1f}"),
        "": [""] * ROWS,
    }
    text = "Station Zürich\nLogger 7\n\n" + csv(columns, ";").replace("\n", ";\r\n")
    data = saved(tmp_path / "luft.csv", text.encode("latin-1"))
    found = shell.first_contact(tmp_path, data)
    assert_served(found, ["T [°C]", "Druck"])
    read = rows_of(found, data)
    assert read.values.tolist() == np.column_stack([TEMP, POWER]).tolist()
    assert int(read.event_times_ms[0]) == START_MS + 20 * 86_400_000
    assert {"input.delimiter", "input.decimal_mark", "input.skip_lines", "input.date_field"} <= found.settings.keys()


def test_a_warehouse_table(shell: Shell, tmp_path: Path) -> None:
    """Case 22: of Parquet, everything that is a number is read, also in structs; the rest is named as left out."""
    table = pa.table(
        {
            "event_time": pa.array(moments(), pa.timestamp("us", tz="UTC")),
            "site": pa.array(["north"] * ROWS).dictionary_encode(),
            "price": pa.array([Decimal(str(one)) for one in TEMP], pa.decimal128(12, 4)),
            "running": [row % 9 < 4 for row in range(ROWS)],
            "loc": [{"lat": lat, "lon": lon} for lat, lon in zip(TEMP, LOAD, strict=True)],
            "spectrum": [[1.0, 2.0]] * ROWS,
            "took": pa.array([timedelta(milliseconds=row) for row in range(ROWS)], pa.duration("ms")),
            "text_num": list(map(str, LOAD)),
        }
    )
    pq.write_table(table, tmp_path / "lake.parquet")
    found = shell.first_contact(tmp_path, tmp_path / "lake.parquet")
    assert_served(found, ["price", "running", "loc.lat", "loc.lon", "text_num"])
    assert found.settings["input.key_field"] == "site"
    assert "spectrum: a list or an object" in found.inspected.out
    assert "took: text such as" in found.inspected.out
    read = rows_of(found, tmp_path / "lake.parquet").values
    assert read[:, [0, 4]].tolist() == np.column_stack([TEMP, LOAD]).tolist()


@pytest.mark.parametrize(
    ("name", "cell", "words", "form"),
    [
        ("SampleTime", lambda second: (second + 11_644_473_600) * 10_000_000, "Windows FILETIME", "filetime"),
        ("c0", lambda second: (second + 11_644_473_600) * 10_000_000, "Windows FILETIME", "filetime"),
        ("Ticks", lambda second: (second + 62_135_596_800) * 10_000_000, "ticks of .NET", "ticks"),
        ("Date", lambda second: f"{second / 86_400 + 25_569:.8f}", "days of Excel", "excel"),
    ],
)
def test_clocks_of_other_systems(name: str, cell: Any, words: str, form: str, shell: Shell, tmp_path: Path) -> None:
    """Case 24: counts since 1601, 0001 or 1899 are refused by their name, and read with the setting that is named."""
    data = saved(tmp_path / "log.csv", csv({name: [cell(one) for one in seconds()], "temp": TEMP, "load": LOAD}))
    refused = shell.first_contact(tmp_path, data)
    assert refused.codes == (ExitCode.FAILURE, None, None)
    assert f"{name}: looks like {words}" in refused.inspected.refusal
    assert f"input.time_format = {form}" in refused.inspected.refusal
    found = shell.first_contact(tmp_path, data, flags=["--input.time_format", form])
    assert_served(found, ["temp", "load"])
    assert np.abs(rows_of(found, data).event_times_ms - 1_000 * np.array(seconds())).max() <= 1


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("name", ["dump.jsonl", "dump.jsonl.gz", "dump.ndjson", "dump.json"])
def test_a_dump_of_a_topic(name: str, unit: int, shell: Shell, tmp_path: Path) -> None:
    """Case 26: JSON lines, packed or with a byte order mark, are data like any other, in any unit of time."""
    records = [
        {"meta": {"device": {"id": "d1"}}, "ts": time * unit, "m": {"temp": temp, "load": load}}
        for time, temp, load in zip(seconds(), TEMP.tolist(), LOAD.tolist(), strict=True)
    ]
    text = ("\ufeff" + (json.dumps(records, indent=1) if name == "dump.json" else json_lines(records))).encode()
    data = saved(tmp_path / name, gzip.compress(text) if name.endswith(".gz") else text)
    found = shell.first_contact(tmp_path, data)
    assert_served(found, ["m.temp", "m.load"])
    assert found.settings["input.key_field"] == "meta.device.id"
    assert rows_of(found, data).event_times_ms.tolist() == [1_000 * one for one in seconds()]


def test_avro_among_json_is_named_for_what_it_is(shell: Shell, tmp_path: Path) -> None:
    """Case 26: a message in the framing of a schema registry is a dead letter whose reason says so."""
    records = json_lines({"ts": time, "temp": temp} for time, temp in zip(seconds(), TEMP.tolist(), strict=True))
    data = saved(tmp_path / "dump.jsonl", records)
    live = saved(tmp_path / "live.jsonl", b"\0\0\0\0\x2a\x06dev\x02\n" + records.encode())
    found = shell.first_contact(tmp_path, data, live=live)
    assert found.codes == FINE
    (letter,) = found.dead_letters
    assert letter["streamae-reason"] == "not_json"
    assert "Avro" in letter["streamae-detail"]
