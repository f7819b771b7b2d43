"""What the records of a JSON file are."""

from __future__ import annotations

import json

import pytest

from streamae.connectors.files.json_files import records_of
from streamae.errors import DataError

RECORDS = [{"t": 1, "a": {"b": [1, 2]}}, {"t": 2, "a": None}]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(map(json.dumps, RECORDS)),
        json.dumps(RECORDS, indent=2),
        json.dumps({"Label": "CPU", "Datapoints": RECORDS, "tags": ["x"]}, indent=4),
        json.dumps({"Datapoints": RECORDS, "Label": "CPU"}, indent=4),
    ],
)
def test_lines_an_array_and_the_list_of_an_answer_hold_the_same_records(text: str) -> None:
    """Services answer with one object, in which the records are a list."""
    assert [json.loads(record) for record in records_of(text.encode(), "x.json", 10)] == RECORDS


@pytest.mark.parametrize("answer", [{"a": RECORDS, "b": RECORDS}, {"a": {"b": 1}}, {"a": [1, 2]}])
def test_an_answer_without_one_list_of_records_is_refused(answer: object) -> None:
    """Taken by the line, a pretty object is a heap of brackets."""
    with pytest.raises(DataError, match="one JSON object over several lines"):
        records_of(json.dumps(answer, indent=2).encode(), "x.json", 10)


def test_a_line_is_a_record_whatever_it_lists() -> None:
    """A record of a topic may have a list of objects in it."""
    lines = [json.dumps({"t": 1, "list": RECORDS})]
    assert records_of(lines[0].encode(), "x.json", 10) == [lines[0].encode()]


@pytest.mark.parametrize("text", ['{\n"a": 1\n', "{\n{}\n"])
def test_a_damaged_object_is_lines_that_the_codec_refuses(text: str) -> None:
    """What is cut short is told record by record, like any other damage."""
    assert records_of(text.encode(), "x.json", 10) == text.encode().splitlines()
