"""Category fields of records and tables: the same words and codes on both ways, and a reason where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamae.connectors.codec import Codec
from streamae.connectors.files.series import read_series
from streamae.connectors.files.source import FileSource
from streamae.core.categories import Vocabulary
from streamae.errors import ConfigError, DataError
from streamae.reasons import Reason
from streamae.settings.data import InputSettings
from tests.connectors.tables import write_csv, write_parquet
from tests.records import PARTITION, Record, codec, record

SHOP = Vocabulary("shop", ("007", "7", "bakery"), 1)
CARD = Vocabulary("card.kind", ("credit",), 1)
TABLE = "key,timestamp,amount,shop\na,2024-01-01,1.5,007\na,2024-01-02,2,bakery\nb,2024-01-03,3,\nb,2024-01-04,4,x\n"


def shopping(**overrides: Any) -> Codec:
    """Return a codec of an amount and two categories, one of them nested."""
    return codec(("amount",), vocabularies=(SHOP, CARD), **overrides)


def codes(*contents: Any, **overrides: Any) -> list[list[float]]:
    """Return amount and codes of records that must all be usable."""
    batch, rejected = shopping(**overrides).decode({PARTITION: [record(content) for content in contents]})
    assert rejected == []
    assert batch.values.dtype == np.float64
    return batch.values.tolist()  # type: ignore[no-any-return]


def test_words_become_codes_behind_the_numbers() -> None:
    """Known, unknown and missing words, at the top and inside an object."""
    found = codes(
        {"amount": 1, "shop": "bakery", "card": {"kind": "credit"}},
        {"amount": 2, "shop": "casino", "card": {"kind": "debit"}},
        {"amount": 3, "shop": 7, "card": None},
        {"shop": "007", "card": {"kind": ""}, "amount": None},
    )
    np.testing.assert_array_equal(found, [[1, 2, 0], [2, 3, 1], [3, 1, np.nan], [np.nan, 0, np.nan]])


@pytest.mark.parametrize("value", ["1.5", "[]", "{}", '["bakery"]', "-" + "9" * 5_000])
def test_what_is_no_word_is_a_dead_letter_of_its_own(value: str) -> None:
    """A fraction, a list or an endless number is a broken producer, not a new category; its neighbours are read."""
    bad = Record(f'{{"amount": 1, "shop": {value}}}'.encode())
    batch, rejected = shopping().decode({PARTITION: [record({"amount": 1}), bad, record({"amount": 2})]})
    assert batch.values[:, 0].tolist() == [1.0, 2.0]
    assert [each.reason for each in rejected] == [Reason.WRONG_TYPE]


def test_a_missing_category_can_be_required() -> None:
    """With policy reject the detail names the field."""
    batch, rejected = shopping(required=(False, True, False)).decode({PARTITION: [record({"amount": 1})]})
    assert len(batch) == 0
    assert (rejected[0].reason, rejected[0].detail) == (
        Reason.MISSING_FEATURE,
        "absent or null, with policy reject: shop",
    )


def test_fields_can_be_read_from_elsewhere() -> None:
    """A live topic may spell a category in another way than the training data."""
    assert codes({"amount": 1, "s": "7", "c": "credit"}, category_fields=("s", "c")) == [[1.0, 1.0, 0.0]]
    with pytest.raises(ConfigError, match=r"1 fields where the bundle has 2: shop, card\.kind"):
        shopping(category_fields=("s",))
    with pytest.raises(ConfigError, match="1 fields where the bundle has 0: none"):
        codec(("amount",), category_fields=("s",))


def test_an_array_of_numbers_goes_with_categories() -> None:
    """The layout of numbers decides nothing about categories."""
    of = codec(("a", "b"), value_fields=("v",), vocabularies=(SHOP,), required=(False,) * 3)
    batch, _ = of.decode({PARTITION: [record({"v": [1, 2], "shop": "bakery"})]})
    assert batch.values.tolist() == [[1.0, 2.0, 2.0]]


json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists)


@settings(deadline=None, derandomize=True)
@given(values=st.lists(json_values, max_size=6))
def test_any_json_value_is_a_code_or_a_dead_letter(values: list[Any]) -> None:
    """Nothing a producer writes makes decoding raise, or gives a code that is no column."""
    records = [record({"amount": 1, "shop": value}) for value in values]
    batch, rejected = shopping().decode({PARTITION: records})
    assert len(batch) + len(rejected) == len(values)
    found = batch.values[:, 1]
    assert (np.isnan(found) | np.isin(found, np.arange(len(SHOP)))).all()
    assert {each.reason for each in rejected} <= {Reason.WRONG_TYPE}
    words = [value for value in values if value is None or isinstance(value, str | int)]
    np.testing.assert_array_equal(found, SHOP.codes(words))


# Tables.


def test_tables_give_words_as_they_are_written(tmp_path: Path) -> None:
    """Codes with leading zeros stay what they are, empty cells are missing, and keys keep their own rows."""
    first, second = read_series([write_csv(tmp_path / "a.csv", TABLE)], InputSettings(key_field="key"), ("shop",))
    assert (first.features, first.categories) == (("amount",), ("shop",))
    assert first.words is not None
    assert second.words is not None
    assert (first.words.tolist(), second.words.tolist()) == ([["007"], ["bakery"]], [[None], ["x"]])


def test_several_files_of_a_key_are_joined(tmp_path: Path) -> None:
    """Words follow their rows."""
    for name in ("a", "b"):
        write_csv(tmp_path / f"{name}.csv", f"key,timestamp,amount,shop\nk,2024-01-01,1,{name}\n")
    (found,) = read_series([tmp_path], InputSettings(key_field="key"), ("shop",))
    assert found.words is not None
    assert found.words.tolist() == [["a"], ["b"]]


def test_parquet_columns_of_any_word_like_type_are_read(tmp_path: Path) -> None:
    """Integers, truth values and dictionary-encoded text read as the JSON text of the same value."""
    columns = {
        "x": pa.array([1.0, 2.0]),
        "code": pa.array([7, None], pa.int32()),
        "flag": pa.array([True, False]),
        "kind": pa.array(["a", "b"]).dictionary_encode(),
    }
    path = write_parquet(tmp_path / "a.parquet", columns)
    (found,) = read_series([path], InputSettings(row_ms=1_000), ("code", "flag", "kind"))
    assert found.features == ("x",)
    assert found.words is not None
    assert found.words.tolist() == [["7", "true", "a"], [None, "false", "b"]]


def test_what_live_records_could_not_hold_is_refused(tmp_path: Path) -> None:
    """The codec refuses fractions as categories, so training must not learn them."""
    path = write_parquet(tmp_path / "a.parquet", {"x": pa.array([1.0, 2.0]), "kind": pa.array([1.5, 2.5])})
    with pytest.raises(DataError, match=r"2 of 2 records .*wrong_type.*`\$\.kind`"):
        read_series([path], InputSettings(row_ms=1_000), ("kind",))
    with pytest.raises(DataError, match="no column 'kin'"):
        read_series([path], InputSettings(row_ms=1_000), ("kin",))


def test_live_and_training_see_the_same_words(tmp_path: Path) -> None:
    """A table replayed through the codec gives the codes that training computed from it."""
    path = write_csv(tmp_path / "a.csv", TABLE)
    series = read_series([path], InputSettings(key_field="key"), ("shop",))
    source = FileSource(InputSettings(files=(path,), key_field="key"))
    (partition,) = source.poll(0).assigned
    source.start_at(partition, 0)
    of = codec(("amount",), vocabularies=(SHOP,), required=(False, False), numbers="text")
    batch, rejected = of.decode({partition: source.poll(0).records[partition]})
    assert rejected == []
    expected = np.concatenate([SHOP.codes(one.words[:, 0].tolist()) for one in series if one.words is not None])
    np.testing.assert_array_equal(batch.values[:, 1], expected)
    assert json.loads(batch.raw[0].value or b"")["shop"] == "007"
