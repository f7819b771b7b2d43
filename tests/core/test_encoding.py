"""Fields become features by formulas that are checked one by one, the same for any way a stream is cut."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import Doubles
from streamae.core.categories import Vocabulary
from streamae.core.derivations import DAY_MS, TIMED
from streamae.core.encoding import TIME_FEATURES, Encoder, Encoding
from streamae.core.grid import RowGrid
from streamae.core.scaling import Scaling
from streamae.core.zones import Zone
from streamae.settings.data import FeatureSettings
from tests.core_batches import CUTS, NAN, START_MS, Arrival, cleared, pieces, quick, record_batch, state_of, streams

SHOP = Vocabulary("shop", ("bakery", "fuel"), 1)
ALL = Encoding(("amount", "age"), ("amount",), (SHOP,), ("interval", "hour", "weekday"), 60)
ROWS = np.array([[1_000.0, 30.0, 0.0], [-5.0, NAN, 2.0], [NAN, 1e30, NAN]])
TIMES = np.array([START_MS, START_MS + 1, START_MS - DAY_MS], dtype=np.int64)
WORDS = np.array([["fuel"], ["bakery"], ["fuel"]], dtype=object)


def applied(rows: Doubles = ROWS) -> dict[str, list[float]]:
    """Return the columns of all features of `ROWS` by name."""
    found = ALL.apply(rows, TIMES, np.array([NAN, 0.0, 59_000.0]))
    assert found.dtype == np.float64
    return {name: found[:, i].tolist() for i, name in enumerate(ALL.features)}


def test_features_are_named_after_their_fields() -> None:
    """Names are what bundle, metrics and events show: each tells where it comes from."""
    assert ALL.inputs == ("amount", "age", "shop")
    assert ALL.features == (
        "amount.log",
        "age",
        "shop=bakery",
        "shop=fuel",
        "shop~other",
        "interval.log",
        "hour.sin",
        "hour.cos",
        "weekday.sin",
        "weekday.cos",
    )
    assert ALL.sources == ("amount", "age", "shop", "shop", "shop", "interval", "hour", "hour", "weekday", "weekday")


def test_amounts_become_signed_logarithms() -> None:
    """A refund mirrors a purchase, zero stays zero, and the largest value that is let in stays small."""
    assert applied()["amount.log"][:2] == pytest.approx([math.log(1_001), -math.log(6)])
    zero = Encoding(("a",), ("a",)).apply(np.array([[0.0], [1e30], [-1e30]]), TIMES, TIMES * NAN)
    assert zero[:, 0].tolist() == pytest.approx([0.0, 69.0776, -69.0776], rel=1e-5)


def test_categories_become_one_column_each() -> None:
    """Exactly one of a field's columns is one."""
    found = applied()
    assert found["shop=bakery"][:2] == [1.0, 0.0]
    assert found["shop~other"][:2] == [0.0, 1.0]
    assert [found[name][1] for name in SHOP.names] == [0.0, 0.0, 1.0]


def test_what_is_missing_stays_missing_in_all_that_is_derived() -> None:
    """The missing-value policy decides further on; a made-up zero would look like a measurement."""
    found = applied()
    missing = {name for name, column in found.items() if math.isnan(column[2])}
    assert missing == {"amount.log", "shop=bakery", "shop=fuel", "shop~other"}
    assert math.isnan(found["age"][1])


@quick
@given(time_ms=st.integers(0, 4_102_444_800_000), offset=st.integers(-1_080, 1_080))
def test_hour_and_weekday_are_those_of_the_calendar(time_ms: int, offset: int) -> None:
    """Held against the standard library's calendar, at any offset, midnight and leap days included."""
    encoding = Encoding(("a",), timed=("hour", "weekday"), utc_offset_minutes=offset)
    times = np.array([time_ms], dtype=np.int64)
    _, *found = encoding.apply(np.zeros((1, 1)), times, np.array([NAN]))[0].tolist()
    local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms, minutes=offset)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    hour = 2 * math.pi * ((local - midnight) / timedelta(days=1))
    day = 2 * math.pi * local.weekday() / 7
    assert found == pytest.approx([math.sin(hour), math.cos(hour), math.sin(day), math.cos(day)], abs=1e-6)


def test_hour_and_weekday_follow_the_clock_of_a_place() -> None:
    """The hour people live by: from one instant on it is another one, in numbers and in words."""
    zone = Zone("there", np.array([10 * 3_600_000]), np.array([0, -12 * 3_600_000]))
    encoding = Encoding(("a",), timed=("hour", "weekday"), zone=zone)
    times = np.array([10 * 3_600_000 - 1, 10 * 3_600_000, 16 * 3_600_000], dtype=np.int64)
    shown = Encoding(("a",), timed=("hour", "weekday")).apply(np.zeros((3, 1)), zone.local(times), np.full(3, NAN))
    assert encoding.apply(np.zeros((3, 1)), times, np.full(3, NAN)).tobytes() == shown.tobytes()
    assert encoding.explain(1, 0.0, 1.0, 10 * 3_600_000) == "at 22:00 there, unusual here"
    assert encoding.explain(3, 0.0, 1.0, 10 * 3_600_000) == "on a Wednesday, unusual here"


# The time since the key's previous record.


def encoder(*timed: str) -> Encoder:
    """Return an encoder of two plain fields with the interval, its state that of new keys."""
    found: Encoder = cleared(Encoder(4, Encoding(("a", "b"), timed=("interval", *timed))))
    return found


def intervals(stream: list[Arrival], of: Encoder | None = None, start: int = 0, stop: int | None = None) -> list[float]:
    """Return the seconds before each record of a stream as its feature says, NaN for none."""
    batch, slots = record_batch(stream, start, stop)
    encoded = (of or encoder()).encode(batch, slots)
    return [float(x) for x in np.expm1(encoded.values[:, -1].astype(np.float64))]


def test_the_interval_is_since_the_same_keys_newest_record() -> None:
    """Other keys between two records change nothing, and a first record has no interval."""
    stream = [
        Arrival(0, 1_000, (1, 1)),
        Arrival(1, 1_500, (1, 1)),
        Arrival(0, 3_000, (1, 1)),
        Arrival(1, 1_500, (1, 1)),
    ]
    assert intervals(stream) == pytest.approx([NAN, NAN, 2.0, 0.0], abs=1e-6, nan_ok=True)


def test_a_late_record_does_not_turn_time_back() -> None:
    """The record after it is measured from the newest one, as if the late one, which the grid refuses, had not come."""
    stream = [Arrival(0, 5_000, (1, 1)), Arrival(0, 1_000, (1, 1)), Arrival(0, 6_000, (1, 1))]
    assert intervals(stream) == pytest.approx([NAN, 0.0, 1.0], abs=1e-6, nan_ok=True)


@quick
@given(stream=streams(), cuts=CUTS)
def test_cutting_a_stream_changes_no_bit(stream: list[Arrival], cuts: list[int]) -> None:
    """A replay polls other batches than the first time; features and state must be the same to the bit."""
    whole, cut = encoder("hour"), encoder("hour")
    batch, slots = record_batch(stream)
    expected = whole.encode(batch, slots).values
    found = [cut.encode(*record_batch(stream, *piece)).values for piece in pieces(len(stream), cuts)]
    assert np.concatenate(found).tobytes() == expected.tobytes()
    assert state_of(cut) == state_of(whole)


@quick
@given(stream=streams())
def test_intervals_are_those_of_a_loop_over_records(stream: list[Arrival]) -> None:
    """The vectorised form is held against the plain one."""
    newest: dict[int, int] = {}
    expected = []
    for arrival in stream:
        before = newest.get(arrival.slot)
        expected.append(NAN if before is None else max(arrival.time_ms - before, 0) / 1_000)
        newest[arrival.slot] = max(arrival.time_ms, before or 0)
    assert intervals(stream) == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)


@quick
@given(stream=streams(), poison=st.sampled_from([NAN, 1e30, -1e30]), at=st.integers(0, 59))
def test_no_feature_depends_on_later_records(stream: list[Arrival], poison: float, at: int) -> None:
    """Training sees whole files at once: what comes later must not leak into a feature."""
    batch, slots = record_batch(stream)
    expected = encoder().encode(batch, slots).values[:at]
    for later in range(at, len(stream)):
        stream[later] = Arrival(stream[later].slot, stream[later].time_ms + 7 * DAY_MS, (poison, poison))
    batch, slots = record_batch(stream)
    assert encoder().encode(batch, slots).values[:at].tobytes() == expected.tobytes()


def test_state_survives_and_is_kept_only_where_it_is_needed() -> None:
    """A restart in mid-stream must not make the next record look like the key's first."""
    stream = [Arrival(0, 1_000, (1, 1)), Arrival(0, 3_000, (1, 1))]
    before, after = encoder(), encoder()
    intervals(stream, before, 0, 1)
    slots = np.arange(4, dtype=np.int32)
    after.columns.restore(slots, before.columns.export(slots))
    assert intervals(stream, after, 1) == pytest.approx([2.0])
    assert Encoder(4, Encoding(("a",), ("a",))).columns.fields == {}


def test_encoding_leaves_all_else_of_a_record_and_its_input_alone() -> None:
    """Dead letters need the originals, and frozen batches are never written into."""
    batch, slots = record_batch([Arrival(0, 1_000, (1, 2)), Arrival(0, 900, (3, 4))])
    before = batch.values.tobytes()
    found = encoder().encode(batch, slots)
    assert batch.values.tobytes() == before
    assert (found.raw, found.keys, found.offsets.tolist()) == (batch.raw, batch.keys, [0, 1])
    assert found.values[:, :2].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_the_grid_takes_the_records_it_would_have_taken() -> None:
    """Lateness is the grid's business: encoding in front of it decides nothing about which rows there are."""
    stream = [Arrival(0, t, (1, 1)) for t in (1_000, 900, 1_000, 2_000)]
    batch, slots = record_batch(stream)
    plain, encoded = (cleared(RowGrid(4, width, max_gap_ms=9_999)) for width in (2, 3))
    rows, strays = encoded.push(encoder().encode(batch, slots), slots)
    expected, expected_strays = plain.push(batch, slots)
    assert rows.event_times_ms.tolist() == expected.event_times_ms.tolist()
    assert strays.indices.tolist() == expected_strays.indices.tolist()


# What is asked for, and what stands for missing values.


def learn(**options: Any) -> Encoding | None:
    """Return what is learnt from `WORDS` with these options."""
    return Encoding.learn(("amount", "age"), ("shop",), WORDS, FeatureSettings(**options))


def test_learning_freezes_what_was_asked_for() -> None:
    """The bundle holds the values seen and the options used, in an order that options cannot change."""
    found = learn(log_fields=("amount",), since_previous=True, time_features=("weekday", "hour"), hash_buckets=2)
    assert found is not None
    assert found.categories[0].known == ("bakery", "fuel")
    assert (found.timed, len(found.features)) == (("interval", "hour", "weekday"), 11)


def test_settings_name_every_kind_that_is_made_of_time() -> None:
    """A kind that cannot be asked for, or a name that means nothing, would be half an addition."""
    (named, _) = get_args(FeatureSettings.model_fields["time_features"].annotation)
    assert get_args(named) == TIME_FEATURES
    assert {*TIME_FEATURES, "interval"} == set(TIMED)


def test_nothing_asked_for_is_no_encoding() -> None:
    """Sensors without any of this keep their bundles as they were."""
    assert Encoding.learn(("a", "b"), (), np.empty((3, 0), dtype=object), FeatureSettings()) is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"fields": ()}, "at least one numeric field"),
        ({"log_fields": ("x",)}, "log_fields: 'x' is none of"),
        ({"rate_fields": ("x",)}, "rate_fields: 'x' is none of"),
        ({"log_fields": ("a",), "rate_fields": ("a",)}, "rate_fields: 'a' is one of log_fields too"),
        ({"timed": ("month",)}, "'month' is none of"),
        ({"timed": ("hour", "hour")}, "'hour' stands twice"),
        ({"utc_offset_minutes": 1_081}, "utc_offset_minutes is 1081"),
        ({"utc_offset_minutes": 60, "zone": Zone.fixed(60)}, "time_zone UTC.01:00 are two clocks"),
        ({"fields": ("a", "a")}, "'a' stands twice"),
        ({"fields": ("a", "hour"), "timed": ("hour",)}, "'hour' stands twice"),
        ({"fields": ("interval", "a"), "timed": ("interval",)}, "'interval' stands twice"),
        ({"fields": ("a", "shop"), "categories": (SHOP,)}, "'shop' stands twice"),
        ({"fields": ("a", "shop=fuel"), "categories": (SHOP,)}, "'shop=fuel' stands twice"),
    ],
)
def test_contradictions_are_refused(arguments: dict[str, Any], complaint: str) -> None:
    """Two columns of one name, or a column of nothing, would be served without anybody noticing."""
    with pytest.raises(ValueError, match=complaint):
        Encoding(**({"fields": ("a", "b")} | arguments))


def test_unknown_log_fields_are_refused_by_name() -> None:
    """A misspelt field must not silently stay linear."""
    with pytest.raises(ValueError, match="log_fields: 'amout' is none of the numeric fields amount, age"):
        learn(log_fields=("amout",))


def test_counters_are_named_as_rates_and_wait_for_the_rows() -> None:
    """What a counter grew by is known between rows only: until then its feature holds the counter itself."""
    found = Encoding.learn(("a", "net.bytes"), (), WORDS[:, :0], FeatureSettings(rate_fields=("net\\.bytes",)))
    assert found is not None
    assert (found.features, found.sources, found.counters) == (("a", "net.bytes.rate"), ("a", "net.bytes"), (1,))
    assert found.apply(np.array([[1.0, 7.0]]), TIMES[:1], TIMES[:1] * NAN).tolist() == [[1.0, 7.0]]
    assert found.constants(5.0) == {"a": 5.0}  # in the unit of a counter, which says nothing of its rate
    with pytest.raises(ValueError, match="rate_fields: 'shop' is none of the numeric fields amount, age"):
        learn(rate_fields=("shop",))


def test_constants_are_in_the_units_of_the_fields() -> None:
    """Who fills in 0 dollars means log(1 + 0); a constant says nothing about categories and times."""
    assert ALL.constants(9.0) == pytest.approx({"amount.log": math.log(10), "age": 9.0})
    assert ALL.constants(-9.0)["amount.log"] == pytest.approx(-math.log(10))


def test_a_rare_category_stays_within_the_linear_part() -> None:
    """Seen once in 1,000 rows, a value must not lie 30 deviations away and drown the amounts beside it."""
    rows = np.zeros((1_000, 3))
    rows[:, 0], rows[0, 2] = np.linspace(1, 2, 1_000), 1.0
    features = ALL.apply(rows, np.full(1_000, START_MS), np.zeros(1_000))
    scaling = Scaling.fit(features, ALL.least_scales)
    z = scaling.apply(features)[:, list(ALL.features).index("shop=fuel")]
    assert 4.9 < z.max() <= 5.0
    assert Scaling.fit(features).apply(features)[:, list(ALL.features).index("shop=fuel")].max() > 10
    assert ALL.least_scales.tolist() == [0.0, 0.0, 0.2, 0.2, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0]
