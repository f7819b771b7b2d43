"""What is asked about, where it must be and where it must not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamae.connectors.cell_values import NumberRules
from tests.discovery.tables import asked, left_out, names, noise, proposed, settings_of, table, times

ROWS = 400
RNG = np.random.default_rng(7)
FEW_ONES = [int(row in {50, 51, 300}) for row in range(ROWS)]


def _asked(cells: list[Any], name: str = "x", **given: Any) -> dict[str, str]:
    switch = {"switch": given.pop("switch")} if "switch" in given else {}
    return asked(proposed(table(time=times(ROWS), other=noise(ROWS, 5.0, seed=9), **{name: cells}, **switch), **given))


@pytest.mark.parametrize("name", ["Class", "anomaly", "is_fraud", "isFraud", "label", "changepoint", "target"])
def test_labels_are_told_by_name_and_not_learnt(name: str) -> None:
    """A label that is learnt is the guilty feature of each alert."""
    proposal = proposed(table(**{"time": times(ROWS), "a": noise(ROWS), name: FEW_ONES}))
    assert names(proposal) == ["a"]
    assert settings_of(proposal)["input.label_field"] == name
    assert asked(proposal) == {"input.label_field": name}


def test_zeros_with_few_ones_are_asked_about_and_not_learnt() -> None:
    """Most likely a verdict; whoever knows better names the features."""
    proposal = proposed(table(time=times(ROWS), a=noise(ROWS), x=FEW_ONES))
    assert names(proposal) == ["a"]
    assert asked(proposal) == {"input.label_field": "x"}
    assert "input.label_field" not in settings_of(proposal)
    assert names(proposed(table(time=times(ROWS), a=noise(ROWS), x=FEW_ONES), value_fields=("a", "x"))) == ["a", "x"]


@pytest.mark.parametrize("usual", [1, 2])
@pytest.mark.parametrize("rare", [-1, 0])
def test_a_label_whose_usual_value_is_not_0_is_neither_learnt_nor_believed(usual: int, rare: int) -> None:
    """-1 for outliers beside 1, or 1 for good rows: not 0 would be nearly everything."""
    cells = [rare if one else usual for one in FEW_ONES]
    proposal = proposed(table(time=times(ROWS), a=noise(ROWS), label=cells))
    assert names(proposal) == ["a"]
    assert asked(proposal) == {"input.value_fields": "label"}
    assert "input.label_field" not in settings_of(proposal)
    assert names(proposed(table(time=times(ROWS), label=cells), value_fields=("label",))) == ["label"]


@pytest.mark.parametrize("words", [("Normal", "Attack"), ("no", "yes"), ("", "outlier")])
def test_a_label_in_words_is_known_to_judging(words: tuple[str, str]) -> None:
    """Labels are read in words too: as a category it would be learnt. A class that nothing calls normal is none."""
    proposal = proposed(table(time=times(ROWS), a=noise(ROWS), label=[words[one] for one in FEW_ONES]))
    assert names(proposal) == ["a"]
    assert settings_of(proposal)["input.label_field"] == "label"
    classes = proposed(table(time=times(ROWS), a=noise(ROWS), label=["gold", "silver"] * (ROWS // 2)))
    assert "features.category_fields" in left_out(classes)["label"]


def test_channels_of_commands_are_no_labels() -> None:
    """Zeros and ones that switch often, or several that are nearly always 0, are what the machine was told."""
    often = (RNG.random(ROWS) < 0.3).astype(int).tolist()
    rare = {f"cmd_{number}": np.roll(FEW_ONES, number).tolist() for number in range(5)}
    assert names(proposed(table(time=times(ROWS), telemetry=noise(ROWS), valve=often))) == ["telemetry", "valve"]
    assert len(names(proposed(table(time=times(ROWS), telemetry=noise(ROWS), **rare)))) == 6


def test_among_errors_that_never_happened_one_that_did_is_no_label() -> None:
    """Machines count dozens of errors, and nearly all of them stay 0."""
    never = {f"err_{number}": [0] * ROWS for number in range(3)}
    assert "errors_rx" in names(proposed(table(time=times(ROWS), load=noise(ROWS), errors_rx=FEW_ONES, **never)))
    few = {name: never[name] for name in list(never)[:2]}
    assert asked(proposed(table(time=times(ROWS), load=noise(ROWS), x=FEW_ONES, **few))) == {"input.label_field": "x"}


def test_a_label_without_any_mark_says_so() -> None:
    """A quiet history has nothing marked, and its label is none the less no measurement."""
    proposal = proposed(table(time=times(ROWS), a=noise(ROWS), is_anomaly=[0] * ROWS))
    assert left_out(proposal) == {"is_anomaly": "looks like a label: its name, and it is 0 in every row"}


def test_beside_a_label_rare_ones_are_a_feature() -> None:
    """Where one field is called a label, another need not look like one."""
    proposal = proposed(table(time=times(ROWS), errors=np.roll(FEW_ONES, 9).tolist(), is_anomaly=FEW_ONES))
    assert names(proposal) == ["errors"]


def test_a_target_that_is_measured_is_a_feature() -> None:
    """The target temperature of a boiler is a number like others."""
    assert names(proposed(table(time=times(ROWS), target_temperature=noise(ROWS, 60.0)))) == ["target_temperature"]


def test_where_nothing_ever_changes_it_is_asked_what_is_meant() -> None:
    """Such as the partition of a dump whose values are text: a bundle of it would look like a success."""
    data = table(time=times(ROWS), partition=[0] * ROWS, value=['{"temp": 1}'] * ROWS)
    assert asked(proposed(data)) == {"input.value_fields": "partition"}
    assert asked(proposed(data, value_fields=("partition",))) == {}
    assert asked(proposed(table(time=times(ROWS), partition=[0] * ROWS, temp=noise(ROWS)))) == {}


def test_counters_are_learnt_as_rates() -> None:
    """What only grows leaves the range that was learnt at once."""
    counter = np.cumsum(RNG.integers(900, 1_100, ROWS))
    for restart in (90, 250, 251, 333):
        counter[restart:] -= counter[restart]
    proposal = proposed(table(time=times(ROWS), bytes_total=counter.tolist(), temp=noise(ROWS)))
    assert asked(proposal) == {"features.rate_fields": "bytes_total"}
    assert settings_of(proposal)["features.rate_fields"] == ("bytes_total",)


@pytest.mark.parametrize(
    "cells",
    [
        np.linspace(20, 30, ROWS) + RNG.normal(0, 0.2, ROWS),  # a slow trend
        np.arange(ROWS) % 25,  # a saw
        np.repeat(np.arange(8), ROWS // 8),  # a set point that was raised
        np.full(ROWS, 5.0),
    ],
)
def test_what_only_looks_like_a_counter_is_none(cells: Any) -> None:
    """The rate of a temperature is noise."""
    assert "features.rate_fields" not in _asked(cells.round(3).tolist())


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("wraps", [1, 12, 25])
def test_a_counter_of_some_bits_starts_again_as_often_as_it_is_full(bits: int, wraps: int) -> None:
    """Octets of a busy port: more often than anything that is reset by people."""
    steps = RNG.integers(2**bits * wraps // ROWS * 9 // 10, 2**bits * wraps // ROWS * 11 // 10, ROWS)
    cells = (np.cumsum(steps) % 2**bits).tolist()
    assert _asked(cells) == {"features.rate_fields": "x"}
    half = (np.cumsum(steps // 2) % 2 ** (bits - 1) // 3).tolist()
    assert wraps == 1 or "features.rate_fields" not in _asked(half)


def test_counters_of_each_key_are_looked_at_by_themselves() -> None:
    """Two counters interleaved go up and down all the time."""
    both = np.ravel([np.arange(ROWS) * 7, 10_000 + np.arange(ROWS) * 9], "F").tolist()
    stamps = [stamp for stamp in times(ROWS) for _ in range(2)]
    proposal = proposed(table(time=stamps, host=["a", "b"] * ROWS, total=both, load=noise(2 * ROWS)))
    assert settings_of(proposal)["features.rate_fields"] == ("total",)


@pytest.mark.parametrize("value", [-200, -999, 9999, -9999.0, 65535])
def test_well_known_sentinels_mean_missing(value: float) -> None:
    """Learnt as a value, -200 makes the scale fifty-fold."""
    cells = [value if row % 50 == 3 else cell for row, cell in enumerate(noise(ROWS))]
    proposal = proposed(table(time=times(ROWS), co=cells))
    (doubt,) = proposal.doubts
    assert (doubt.field, doubt.setting, doubt.is_taken) == ("co", "input.missing_values", True)
    assert settings_of(proposal)["input.missing_values"] == (f"{value:.10g}",)


@pytest.mark.parametrize("value", [0, -1, 1234.5])
def test_other_values_far_outside_are_asked_about(value: float) -> None:
    """It may be an outage, or a measurement: only a person knows."""
    cells = [value if row % 50 == 3 else cell for row, cell in enumerate(noise(ROWS, 600.0, 2.0))]
    proposal = proposed(table(time=times(ROWS), co=cells))
    assert asked(proposal) == {"input.missing_values": "co"}
    assert "input.missing_values" not in settings_of(proposal)


@pytest.mark.parametrize("every", [2, 150])
def test_a_well_known_sentinel_means_missing_however_often(every: int) -> None:
    """Also in half of the rows, or in three of them."""
    cells = [-999 if row % every == 1 else cell for row, cell in enumerate(noise(ROWS))]
    assert settings_of(proposed(table(time=times(ROWS), co=cells)))["input.missing_values"] == ("-999",)


@pytest.mark.parametrize(("value", "asks"), [(-1, True), (255, True), (99, False)])
def test_what_a_byte_or_a_program_says_for_missing_is_asked_about(value: int, asks: bool) -> None:
    """-1 beside what is never negative, 255 beside percents; a little above the others is an ordinary value."""
    cells = [value if row % 40 == 1 else 30 + row * 7 % 45 for row in range(ROWS)]
    proposal = proposed(table(time=times(ROWS), humidity=cells))
    assert asked(proposal) == ({"input.missing_values": "humidity"} if asks else {})
    assert "input.missing_values" not in settings_of(proposal)
    falling = [-1 if row % 40 == 1 else row % 9 - 5 for row in range(ROWS)]
    assert asked(proposed(table(time=times(ROWS), x=falling))) == {}


def test_text_that_may_be_numbers_is_named_with_its_settings() -> None:
    """Of JSON nothing tells the marks: the way to read them stands beside the field."""
    records = {"time": times(ROWS), "a": noise(ROWS), "b": [f"{one:,.2f}" for one in noise(ROWS, 5_000.0)]}
    assert "input.thousands_mark" in left_out(proposed(table(is_text=False, **records)))["b"]
    records["b"] = [f"192.168.100.{100 + row % 99}" for row in range(ROWS)]
    assert "input.thousands_mark" not in left_out(proposed(table(is_text=False, **records)))["b"]


def test_a_sentinel_that_is_ordinary_elsewhere_is_only_asked_about() -> None:
    """`missing_values` holds for all fields: -200 may be measured in another one."""
    cells = [-200 if row % 50 == 3 else cell for row, cell in enumerate(noise(ROWS))]
    cold = [round(cell) for cell in noise(ROWS, -200.0, 2.0)]
    proposal = proposed(table(time=times(ROWS), co=cells, cold=cold))
    assert asked(proposal) == {"input.missing_values": "co"}
    assert "input.missing_values" not in settings_of(proposal)


@pytest.mark.parametrize("value", [0, -1, 1234.5])
def test_what_is_measured_elsewhere_is_no_doubt(value: float) -> None:
    """`missing_values` holds for all fields: saying yes would cost a switch all its zeros."""
    cells = [value if row % 50 == 3 else cell for row, cell in enumerate(noise(ROWS, 600.0, 2.0))]
    switch = [value if row // 30 % 2 else 7 for row in range(ROWS)]
    assert _asked(cells, switch=switch) == {}


@pytest.mark.parametrize(
    "cells",
    [
        [0.0 if row % 40 else round(900 + row / 7, 1) for row in range(ROWS)],  # 0 most of the time, with bursts
        [100.0 if row % 9 == 0 else round(80 + cell, 2) for row, cell in enumerate(noise(ROWS))],  # the end of a scale
        [500.0 if row == 7 else cell for row, cell in enumerate(noise(ROWS))],  # once
        FEW_ONES[:200] + [1 - one for one in FEW_ONES[200:]],
        noise(ROWS, 2.412e9, 6.0),
    ],
)
def test_what_is_merely_unusual_is_no_sentinel(cells: list[float]) -> None:
    """A doubt about every spike is a doubt that nobody reads."""
    assert _asked(cells) == {}


def test_a_large_offset_with_little_movement_is_no_doubt() -> None:
    """2,412,000,000 +- 6 is learnt as it is, and shown with the digits that were measured."""
    proposal = proposed(table(time=times(ROWS), hertz=np.round(noise(ROWS, 2.412e9, 6.0)).tolist()))
    assert proposal.doubts == ()
    assert names(proposal) == ["hertz"]


def test_numbers_in_text_are_read() -> None:
    """Outside CSV text is no number unless the settings say so."""
    cells = {"time": times(ROWS), "value": [f"{cell}" for cell in noise(ROWS)], "other": noise(ROWS, seed=2)}
    proposal = proposed(table(is_text=False, **cells))
    assert settings_of(proposal)["input.numbers"] == "text"
    assert names(proposal) == ["value", "other"]
    assert "input.numbers" not in settings_of(proposed(table(**cells)))


def test_quoted_numbers_with_a_decimal_comma_are_read() -> None:
    """ "20,73" is a number where the file writes numbers so."""
    cells = table(time=times(ROWS), temp=[str(cell).replace(".", ",") for cell in noise(ROWS)])
    assert names(proposed(cells, rules=NumberRules(True, ","))) == ["temp"]
    assert names(proposed(cells)) == []


def test_words_among_numbers_are_told() -> None:
    """One bad cell must not cost the column, nor be unheard of."""
    cells = ["ERR" if row % 100 == 5 else cell for row, cell in enumerate(noise(ROWS))]
    proposal = proposed(table(time=times(ROWS), temp=cells))
    assert names(proposal) == ["temp"]
    (doubt,) = proposal.doubts
    assert (doubt.setting, doubt.answer, doubt.is_taken) == ("input.missing_values", ("ERR",), False)


def test_metrics_that_speak_on_change_are_held() -> None:
    """Filled in as missing, a valve that moves once an hour starves its key."""
    rows = [(stamp, "temp", value) for stamp, value in zip(times(ROWS), noise(ROWS), strict=True)]
    rows += [(times(ROWS)[row], "valve", row // 100 % 2) for row in range(0, ROWS, 100)]
    rows.sort()
    cells = dict(zip(("time", "name", "value"), zip(*rows, strict=True), strict=True))
    proposal = proposed(table(key=["tank"] * len(rows), **cells))
    assert settings_of(proposal)["window.missing_overrides"] == {"valve": "hold"}
    assert settings_of(proposal)["window.grid_ms"] == 60_000


def test_what_is_often_missing_is_not_held() -> None:
    """A sensor that drops out now and then does not speak on change."""
    cells = [None if row % 3 == 0 else cell for row, cell in enumerate(noise(ROWS))]
    assert _asked(cells) == {}


def _told_at(told: Any, cells: Any) -> list[Any]:
    """Return cells of which only those are there that were told."""
    return [cell if there else None for cell, there in zip(cells, told, strict=True)]


DRAWN = np.random.default_rng(3)
LEVEL = 40 + np.cumsum(DRAWN.normal(0, 0.1, 4 * ROWS))
TANK = [row for row in range(4 * ROWS) if row == 0 or int(LEVEL[row] // 0.5) != int(LEVEL[row - 1] // 0.5)]


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (_told_at([row in TANK for row in range(4 * ROWS)], (LEVEL // 0.5 * 0.5).tolist()), "only when it changes"),
        (_told_at(DRAWN.random(4 * ROWS) < 0.04, [1] * 1_500 + [0] * 100), "mostly as before"),
    ],
)
def test_what_stands_until_it_is_told_again_is_held(cells: list[Any], says: str) -> None:
    """A level that is told by its dead band, and a state that is told now and then, are known in between."""
    proposal = proposed(table(time=times(4 * ROWS), flow=noise(4 * ROWS), x=cells))
    assert settings_of(proposal)["window.missing_overrides"] == {"x": "hold"}
    assert [says in doubt.text for doubt in proposal.doubts] == [True]


@pytest.mark.parametrize(
    "cells",
    [
        _told_at([not 80 <= row < 320 for row in range(ROWS)], noise(ROWS)),  # out of order for a while
        _told_at([row >= 380 for row in range(ROWS)], noise(ROWS)),  # began late
        _told_at([row < 100 for row in range(ROWS)], list(range(100)) * 4),  # died
        _told_at(DRAWN.random(ROWS) < 0.4, noise(ROWS)),  # loses records
        _told_at(DRAWN.random(ROWS) < 0.4, DRAWN.integers(0, 2, ROWS).tolist()),  # so does a switch
    ],
)
def test_what_is_missing_is_not_told_on_change(cells: list[Any]) -> None:
    """Held, an outage is a value that nobody measured."""
    proposal = proposed(table(time=times(ROWS), x=cells, **{f"s{i}": noise(ROWS, seed=20 + i) for i in range(3)}))
    assert proposal.doubts == ()
    assert "window.missing_overrides" not in settings_of(proposal)


@pytest.mark.parametrize("told", [np.arange(ROWS) % 3 == 0, np.arange(ROWS) % 20 == 0, DRAWN.random(ROWS) < 0.05])
def test_slower_sensors_are_asked_about(told: Any) -> None:
    """A value that is taken every hour may stand for it; whether it does, the numbers do not say."""
    proposal = proposed(table(time=times(ROWS), a=noise(ROWS), x=_told_at(told, noise(ROWS, seed=5))))
    (doubt,) = proposal.doubts
    assert (doubt.field, doubt.setting, doubt.answer) == ("x", "window.missing_overrides", {"x": "hold"})
    assert not doubt.is_taken
    assert "window.missing_overrides" not in settings_of(proposal)


def test_twins_are_told() -> None:
    """The same channel twice counts twice."""
    same = noise(ROWS)
    proposal = proposed(table(time=times(ROWS), a=same, b=same, c=noise(ROWS, seed=4)))
    (doubt,) = proposal.doubts
    assert (doubt.field, doubt.answer) == ("b", ("a", "c"))


def test_an_answered_doubt_is_not_asked_again() -> None:
    """Whoever has said which field is the label need not be asked about labels."""
    assert _asked(FEW_ONES, "Class", label_field="Class") == {}
    assert _asked([-200 if row % 50 == 3 else 20.5 for row in range(ROWS)], missing_values=("-200",)) == {}


def test_all_that_is_no_feature_has_a_reason() -> None:
    """Nothing is left out in silence."""
    cells = table(
        time=times(ROWS),
        a=noise(ROWS),
        empty=[""] * ROWS,
        model=["X1"] * ROWS,
        note=[f"note {row}" for row in range(ROWS)],
        row=list(range(ROWS)),
        order_nr=[row // 2 * 3 for row in range(ROWS)],
    )
    proposal = proposed(cells)
    assert names(proposal) == ["a"]
    assert set(left_out(proposal)) == {"empty", "model", "note", "row", "order_nr"}
    assert all(left_out(proposal).values())


@pytest.mark.parametrize("form", ["{:.2f} kW", "{:.0f}%", "{:.1f} °C", "{:.1f} km/h"])
def test_numbers_with_their_unit_are_refused_in_words(form: str) -> None:
    """Dashboards export what they show, and 1 kW beside 900 W is no larger number."""
    proposal = proposed(table(time=times(ROWS), power=[form.format(cell) for cell in noise(ROWS)]))
    (refusal,) = proposal.refusals
    assert "with their unit" in refusal
    words = proposed(table(time=times(ROWS), word=[f"batch {row % 7}" for row in range(ROWS)]))
    assert "unit" not in words.refusals[0]


def test_series_in_lists_are_refused_in_words() -> None:
    """The answer of a query holds each series as two lists."""
    (refusal,) = proposed(table(is_text=False, metric=["a", "b"], values=[[1, 2], [3, 4]])).refusals
    assert "values holds lists" in refusal


def test_names_within_the_rows_are_one_doubt() -> None:
    """Files put one behind the other hold their names again; five columns need not say so five times."""
    columns = {name: noise(ROWS, seed=seed) for seed, name in enumerate("abcde")}
    cells = {name: [name if row in {99, 199} else cell for row, cell in enumerate(of)] for name, of in columns.items()}
    (doubt,) = proposed(table(time=times(ROWS), **cells)).doubts
    assert (doubt.setting, doubt.answer) == ("input.missing_values", tuple("abcde"))
    assert "2 rows hold the names" in doubt.text


def test_a_place_is_no_counter() -> None:
    """A train that goes east counts no degrees."""
    east = [round(11.5 + 0.0007 * row, 6) for row in range(ROWS)]
    assert _asked(east, "longitude") == {}
    assert _asked(east, "energy") == {"features.rate_fields": "energy"}


def test_a_text_that_is_seldom_there_is_not_said_to_be_in_every_row() -> None:
    """An event now and then is another thing than a name of the device."""
    cells = table(time=times(ROWS), a=noise(ROWS), event=["brake" if row % 100 == 5 else "" for row in range(ROWS)])
    assert left_out(proposed(cells)) == {"event": "the same text in the 4 rows that have one: 'brake'"}


@pytest.mark.parametrize(
    ("amounts", "payments", "fate", "setting"),
    [
        (
            [20.0, 30.0, 40.0],
            None,
            "2.0% of the rows have the key and time of another one: each is a row",
            "equal_time",
        ),
        ([20.0, 20.0, 20.0], None, "2.0% say the same again and are dropped", "duplicate"),
        ([20.0, 20.0, 40.0], None, "1.0% say the same again and are dropped, the others are rows of", "equal_time"),
        ([20.0, 20.0, 20.0], ["p-a", "p-b", "p-c"], "another one: each is a row of its own", "equal_time"),
    ],
    ids=["others", "repeated", "both", "ids"],
)
def test_rows_of_one_time_are_told_from_repeated_ones(
    amounts: list[float], payments: list[str] | None, fate: str, setting: str
) -> None:
    """Whoever reads it knows what becomes of several payments of one second, before any is dropped."""
    rows = 100
    stamps, cells, ids = times(rows), noise(rows), [f"p-{row}" for row in range(rows)]
    stamps[50:52], cells[49:52] = [stamps[49]] * 2, amounts
    ids[49:52] = payments or ids[49:52]
    more = {"payment_id": ids} if payments else {}
    proposal = proposed(table(time=stamps, card=["c0"] * rows, amount=cells, **more), key_field="card")
    (said,) = [doubt for doubt in proposal.doubts if "time of another one" in doubt.text]
    assert fate in said.text
    assert said.setting == f"window.{setting}"
