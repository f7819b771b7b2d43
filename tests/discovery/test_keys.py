"""Which field is the key, and whether a record holds one metric or all of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from streamae.discovery.names import parts
from tests.discovery.tables import START, asked, left_out, names, noise, proposed, settings_of, table, times

ROWS = 200


def _interleaved(keys: int) -> list[str]:
    """Return times that every key has."""
    return [stamp for stamp in times(ROWS) for _ in range(keys)]


def test_a_field_that_makes_times_increase_is_the_key_whatever_its_name() -> None:
    """Two devices in one series are learnt as one that jumps."""
    cells = table(time=_interleaved(3), what=["a", "b", "c"] * ROWS, state=["on", "off"] * 300, temp=noise(3 * ROWS))
    proposal = proposed(cells)
    assert settings_of(proposal)["input.key_field"] == "what"
    assert proposal.scene.key.count == 3
    assert "state" in left_out(proposal)


@pytest.mark.parametrize("name", ["device", "hostName", "tags.host", "sensor_id", "card"])
def test_a_name_is_enough_where_times_do_not_repeat(name: str) -> None:
    """Devices that report at different seconds are two keys all the same."""
    proposal = proposed(table(**{"time": times(ROWS), name: ["x", "y"] * 100, "temp": noise(ROWS)}))
    assert settings_of(proposal)["input.key_field"] == name


def test_text_without_need_or_name_is_no_key() -> None:
    """A state splits one device into two."""
    proposal = proposed(table(time=times(ROWS), state=["on", "off"] * 100, temp=noise(ROWS)))
    assert "input.key_field" not in settings_of(proposal)
    assert "features.category_fields" in left_out(proposal)["state"]


def test_numbers_are_keys_only_where_they_are_ids() -> None:
    """`meter_id` 17 is a key, the speed of a pump in whole numbers is none."""
    cells = {"time": _interleaved(2), "meter_id": [17, 18] * ROWS, "pump_speed": [900, 950] * ROWS}
    proposal = proposed(table(**cells, kwh=noise(2 * ROWS)))
    assert settings_of(proposal)["input.key_field"] == "meter_id"
    assert names(proposal) == ["pump_speed", "kwh"]
    assert names(proposed(table(time=times(ROWS), engine=[0, 1] * 100))) == ["engine"]


@pytest.mark.parametrize("words", [("on", "off"), ("Yes", "No"), ("OPEN", "CLOSED"), ("offen", "geschlossen")])
def test_what_a_machine_does_is_no_name_of_one(words: tuple[str, str]) -> None:
    """A pump that is on and off would become two pumps, each with a hole where the other runs."""
    states = [words[row % 40 < 25] for row in range(ROWS)]
    proposal = proposed(table(time=times(ROWS), pump=states, temp=noise(ROWS)))
    assert "input.key_field" not in settings_of(proposal)
    assert "features.category_fields" in left_out(proposal)["pump"]


def test_an_id_in_digits_is_the_key_where_times_repeat() -> None:
    """An id of no known thing tells keys apart only where nothing else does."""
    cells = {"time": _interleaved(2), "circuit_id": [101, 102] * ROWS, "amps": noise(2 * ROWS)}
    assert settings_of(proposed(table(**cells)))["input.key_field"] == "circuit_id"
    alone = proposed(table(time=times(2 * ROWS), circuit_id=[101, 102] * ROWS, amps=noise(2 * ROWS)))
    assert "input.key_field" not in settings_of(alone)


@pytest.mark.parametrize("name", ["Gerät", "Qualität"])
def test_letters_beyond_ascii_belong_to_their_word(name: str) -> None:
    """A word is not cut at them: its last letter alone would hint at a time."""
    assert parts(name) == (name.lower(),)


def test_one_record_each_is_no_key() -> None:
    """A transaction's id names records: as a key nothing could be learnt of any."""
    ids = [f"t{row}" for row in range(ROWS)]
    proposal = proposed(table(time=times(ROWS), transaction_id=ids, card=["a", "b"] * 100, amount=noise(ROWS)))
    found = settings_of(proposal)
    assert (found["input.key_field"], found["input.id_field"]) == ("card", "transaction_id")
    assert names(proposal) == ["amount"]


def test_a_key_with_holes_is_no_key() -> None:
    """Records without their key are refused."""
    cells = table(time=times(ROWS), cpu=["total", None] * 100, host=["a", "b"] * 100, temp=noise(ROWS))
    assert settings_of(proposed(cells))["input.key_field"] == "host"


def test_devices_without_a_key_are_noticed() -> None:
    """Each time stands in two rows and no field tells them apart: somebody has to say it."""
    proposal = proposed(table(time=_interleaved(2), temp=noise(2 * ROWS)))
    assert "input.key_field" in asked(proposal)
    assert "input.key_field" not in asked(proposed(table(time=times(ROWS), temp=noise(ROWS))))


@pytest.mark.parametrize("keys", [2, 3, 5, 6])
def test_rows_that_take_turns_between_levels_are_noticed(keys: int) -> None:
    """Some devices at different seconds, with no field that names them; rows of every few hours may take turns so."""
    turns = np.resize(20.0 + 10.0 * np.arange(keys), ROWS) + np.cumsum(np.array(noise(ROWS, 0.0, 0.05)))
    cells = turns.round(4).tolist()
    assert "input.key_field" in asked(proposed(table(time=times(ROWS), temp=cells)))
    assert "input.key_field" not in asked(proposed(table(time=times(ROWS, 86_400 / keys), temp=cells)))


@pytest.mark.parametrize(
    "cells",
    [
        np.tile([0.066, 0.134], ROWS) + np.arange(2 * ROWS) // 70 * 0.001,  # between a few values of its own
        [0] * 1_000 + noise(ROWS),  # still at first
        [cell if row % 20 == 0 else None for row, cell in enumerate(noise(6_000))],  # told seldom
        [None] * 3_000 + noise(ROWS),  # told late
        [*(np.tile([2.0, 2.2], 2 * ROWS) + np.array(noise(4 * ROWS, 0, 0.02))), *noise(ROWS, 60, 20)],  # beats a little
    ],
)
def test_rows_of_one_key_take_no_turns(cells: list[Any]) -> None:
    """A question about keys that are none is one that nobody can answer."""
    proposal = proposed(table(time=times(len(cells)), temp=cells, other=noise(len(cells), seed=4)))
    assert "input.key_field" not in asked(proposal)
    assert "input.key_field" not in asked(proposed(table(time=times(len(cells)), temp=cells)))


def test_a_named_key_is_taken() -> None:
    """What the user says wins."""
    cells = table(time=_interleaved(2), device=["x", "y"] * ROWS, site=["s", "t"] * ROWS, temp=noise(2 * ROWS))
    proposal = proposed(cells, key_field="site")
    assert settings_of(proposal)["input.key_field"] == "site"
    assert proposal.settings["input.key_field"].is_given


@pytest.mark.parametrize(
    ("name", "value"), [("name", "value"), ("parameter", "value_hrf"), ("metric", "reading"), ("merkmal", "messwert")]
)
def test_one_metric_a_record_is_the_long_layout(name: str, value: str) -> None:
    """Read as wide, all metrics are one feature."""
    numbers = np.ravel([noise(ROWS, 40.0), noise(ROWS, 20.0, seed=2)], "F").tolist()
    cells = {"time": _interleaved(2), "node_id": ["n1"] * 2 * ROWS, name: ["humidity", "temp"] * ROWS, value: numbers}
    proposal = proposed(table(**cells))
    found = settings_of(proposal)
    assert (found["input.layout"], found["input.name_field"], found["input.value_field"]) == ("long", name, value)
    assert (found["input.key_field"], found["window.grid_ms"]) == ("node_id", 60_000)
    assert names(proposal) == ["humidity", "temp"]


@pytest.mark.parametrize("words", [["temp", "hum"], [11, 12]])
def test_rows_that_nothing_else_tells_apart_hold_a_metric_each(words: list[Any]) -> None:
    """Whatever the fields are called: read as wide, half of the rows would be dropped as repeated."""
    names_of = "x" if isinstance(words[0], str) else "x_id"
    cells: dict[str, Any] = {
        "time": _interleaved(4),
        "maschine": ["a", "a", "b", "b"] * ROWS,
        names_of: words * 2 * ROWS,
        "y": noise(4 * ROWS),
    }
    found = settings_of(proposed(table(**cells)))
    assert (found["input.layout"], found["input.name_field"], found["input.value_field"]) == ("long", names_of, "y")
    assert (found["input.key_field"], found["window.grid_ms"]) == ("maschine", 60_000)
    assert settings_of(proposed(table(**cells), layout="wide"))["input.layout"] == "wide"
    assert settings_of(proposed(table(**cells, z=noise(4 * ROWS, seed=2))))["input.layout"] == "wide"


def test_the_unit_of_a_metric_is_no_key() -> None:
    """Each metric would have a key of its own, and every row half of its features."""
    numbers = np.ravel([noise(ROWS, 40.0), noise(ROWS, 20.0, seed=2)], "F").tolist()
    cells = {"time": _interleaved(2), "tag": ["hum", "temp"] * ROWS, "unit": ["%", "C"] * ROWS, "value": numbers}
    assert "input.key_field" not in settings_of(proposed(table(**cells)))
    assert settings_of(proposed(table(**cells, host=["h"] * 2 * ROWS)))["input.key_field"] == "host"


def test_of_two_values_the_one_that_is_there_is_taken() -> None:
    """Raw values that are missing for a metric are no values of it."""
    numbers = np.ravel([noise(ROWS, 40.0), noise(ROWS, 20.0, seed=2)], "F").tolist()
    cells = {"time": _interleaved(2), "parameter": ["humidity", "temp"] * ROWS, "value_hrf": numbers}
    proposal = proposed(table(**cells, value_raw=["NA", "800"] * ROWS))
    assert settings_of(proposal)["input.value_field"] == "value_hrf"
    assert "value_raw" in left_out(proposal)


@pytest.mark.parametrize("other", ["sensor", "type"])
def test_one_number_beside_text_is_not_always_a_metric(other: str) -> None:
    """A sensor's name is a key, and a transaction's type says nothing of its amount's meaning."""
    value = "value" if other == "sensor" else "amount"
    cells = {"time": times(ROWS), other: ["a", "b"] * 100, value: noise(ROWS)}
    assert settings_of(proposed(table(**cells)))["input.layout"] == "wide"


def test_records_that_complete_each_other_share_a_row_of_a_grid() -> None:
    """Measurements of one host at one time, each with fields of its own."""
    cells = {
        "fields.usage": [cell for number in noise(ROWS) for cell in (number, None)],
        "fields.used": [cell for number in noise(ROWS, 40.0) for cell in (None, number)],
        "name": ["cpu", "mem"] * ROWS,
        "tags.host": ["a"] * 2 * ROWS,
        "timestamp": _interleaved(2),
    }
    proposal = proposed(table(is_text=False, **cells))
    found = settings_of(proposal)
    assert (found["input.key_field"], found["window.grid_ms"]) == ("tags.host", 60_000)
    assert [doubt.answer for doubt in proposal.doubts] == [{"name": "cpu"}]
    assert settings_of(proposed(table(is_text=False, **cells), only={"name": "cpu"})).get("window.grid_ms") is None


def test_several_files_without_a_key_are_a_key_each() -> None:
    """The file's name tells them apart, as it does in training."""
    files = [table(source=name, time=times(ROWS), temp=noise(ROWS)) for name in ("a.csv", "b.csv")]
    scene = proposed(*files).scene
    assert (scene.key.field, scene.key.count, scene.rows) == (None, 2, 2 * ROWS)
    assert scene.rhythm is not None
    assert scene.rhythm.late == 0


def test_the_number_of_a_series_is_no_second_value() -> None:
    """Exports of time-series databases number their series: this is no feature beside the value."""
    cells = {"time": _interleaved(2), "host": ["a"] * 2 * ROWS, "_field": ["user", "system"] * ROWS}
    numbers = np.ravel([noise(ROWS), noise(ROWS, 5.0, seed=2)], "F").tolist()
    proposal = proposed(table(**cells, table=[0, 1] * ROWS, _value=numbers))
    assert names(proposal) == ["user", "system"]
    assert "table" in left_out(proposal)
    wide = proposed(table(**cells, second=noise(2 * ROWS, seed=7), _value=numbers))
    assert wide.scene.metrics is None


def test_an_id_that_tells_nothing_apart_is_no_key() -> None:
    """`id` is idle time in the tables of some programs."""
    idle = np.random.default_rng(1).integers(85, 90, 2 * ROWS).tolist()
    assert proposed(table(time=["2025-03-03"] * 2 * ROWS, id=idle, us=noise(2 * ROWS))).scene.key.field is None


def test_a_unit_of_measurement_is_no_key() -> None:
    """Percent is no machine; unit 7 is one."""
    cells = {"time": times(ROWS), "temp": noise(ROWS)}
    assert proposed(table(**cells, Unit=["Percent"] * ROWS)).scene.key.field is None
    assert proposed(table(**cells, Unit=["U7"] * ROWS)).scene.key.field == "Unit"


def test_what_makes_rows_even_is_a_key_whatever_its_name() -> None:
    """Vehicles that report in turn have no time twice, and are none the less several."""
    stamps = sorted(at for n in range(4) for at in times(ROWS, 30, start=START + timedelta(seconds=n)))
    cells = {"time": stamps, "speed": noise(4 * ROWS), "state": ["on", "on", "off"] * 266 + ["on", "off"]}
    assert proposed(table(**cells, fleet_member=["a", "b", "c", "d"] * ROWS)).scene.key.field == "fleet_member"
    assert proposed(table(**cells)).scene.key.field is None


def test_a_state_that_comes_and_goes_is_no_key() -> None:
    """Evenly spaced as they are, rows need nothing that tells them apart."""
    quality = ["Bad" if row % 50 == 7 else "Good" for row in range(ROWS)]
    assert proposed(table(time=times(ROWS), temp=noise(ROWS), quality=quality)).scene.key.field is None


def test_a_field_that_makes_rows_much_more_even_is_asked_about() -> None:
    """Sensors behind a bridge report each on its own, with holes and other messages between: one series of all is none."""
    rng = np.random.default_rng(5)
    rows = [
        (START + timedelta(minutes=row, seconds=float(rng.uniform(0, 2))), sensor)
        for row in range(ROWS)
        for sensor in ("home/attic", "home/cellar", "home/kitchen")
        if rng.random() < 0.9
    ]
    stamps, topics = zip(*sorted(rows), strict=True)
    cells = table(time=[stamp.isoformat() for stamp in stamps], topic=list(topics), temp=noise(len(rows)))
    assert asked(proposed(cells)) == {"input.key_field": "topic"}
    said = proposed(cells, key_field="topic")
    assert "input.key_field" not in asked(said)


def test_of_kinds_of_records_and_of_one_device_nothing_is_asked() -> None:
    """A name that says which fields a record has names no device, nor does what a single one tells irregularly."""
    rng = np.random.default_rng(6)
    late = sorted(START + timedelta(seconds=60 * row + float(rng.uniform(0, 50))) for row in range(2 * ROWS))
    cells = {"time": [stamp.isoformat() for stamp in late], "what": ["p", "q"] * ROWS}
    assert "input.key_field" not in asked(proposed(table(**cells, temp=noise(2 * ROWS))))
    half = [START + timedelta(seconds=60 * row + shift) for row in range(ROWS) for shift in (0, 11)]
    kinds = {"time": [stamp.isoformat() for stamp in half], "what": ["p", "q"] * ROWS}
    one = [cell for value in noise(ROWS) for cell in (value, None)]
    other = [cell for value in noise(ROWS, seed=4) for cell in (None, value)]
    assert "input.key_field" not in asked(proposed(table(**kinds, a=one, b=other)))
