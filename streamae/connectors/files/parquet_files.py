"""Parquet as rows of plain Python values; must not know what is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute, parquet

from streamae.errors import DataError

CHUNK_ROWS = 16_384  # rows that are Arrow columns at a time


def read_parquet_rows(path: Path, max_rows: int) -> Iterator[dict[str, Any]]:
    """Yield the rows: numbers, text, truth values, decimals, times, lists and objects as Python has them.

    Raises:
        DataError: not readable as Parquet, a column stands twice, or more than `max_rows` rows; names the file.
    """
    try:
        rows = parquet.read_metadata(path).num_rows
        if rows > max_rows:
            raise DataError(f"{path}: {rows:,} rows, input.max_rows is {max_rows:,}")
        table = parquet.read_table(path, partitioning=None)
        names = table.column_names
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise DataError(f"{path}: column {twice[0]!r} stands twice")
        plain = _with_plain_types(table)
        for start in range(0, plain.num_rows, CHUNK_ROWS):
            yield from plain.slice(start, CHUNK_ROWS).to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: not readable as Parquet: {error}") from error


def _with_plain_types(table: Any) -> Any:
    """Return the table as JSON can hold it: times in microseconds, the finest Python knows, and bytes that are text as text.

    Bytes that are no text stay what they are, and come out as base64.
    """
    for i, column in enumerate(table.schema):
        cells, plain = table.column(i), _plain(column.type)
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            try:
                table = table.set_column(i, column.name, compute.cast(cells, pa.large_string()))
            except pa.ArrowInvalid:
                continue
        elif plain != column.type:
            table = table.set_column(i, column.name, compute.cast(cells, plain, safe=False))
    return table


def _plain(kind: Any) -> Any:
    """Return the type that Python reads without loss but of nanoseconds, also within structs and lists."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if pa.types.is_time64(kind):
        return pa.time64("us")
    if pa.types.is_duration(kind):
        return pa.duration("us")
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    return kind
