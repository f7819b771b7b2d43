"""What kind of data a file holds, by the end of its name.

Must not know: what a file of a kind looks like.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["csv", "parquet", "json_lines"]
KINDS: dict[str, Kind] = {  # by suffix; CSV and JSON lines may also be gzipped
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".jsonl": "json_lines",
    ".ndjson": "json_lines",
    ".json": "json_lines",
}
