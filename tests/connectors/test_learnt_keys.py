"""The file of a bootstrap comes back as it was written, or is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.connectors.learnt_keys import DIGEST_BYTES, MAGIC, LearntKeys
from streamae.errors import DataError

STATES = {b"pump-1": b"\x00\x01\x02", b"\xff\x00": b"abc", b"": b"xyz"}


@given(states=st.dictionaries(st.binary(max_size=9), st.binary(min_size=4, max_size=4), max_size=9))
def test_a_file_holds_what_was_learnt(states: dict[bytes, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any bytes may be a key, and none gets the state of another."""
    path = tmp_path_factory.mktemp("learnt") / "new folder" / "keys"
    LearntKeys("f1", states, "a(b:<i8[])").write(path)
    found = LearntKeys.read(path)
    assert dict(found) == states
    assert (found.fingerprint, found.layout) == ("f1", "a(b:<i8[])")
    assert [one.name for one in path.parent.iterdir()] == ["keys"]


def test_a_file_replaces_the_one_before(tmp_path: Path) -> None:
    """Who bootstraps again gets the new state only."""
    path = tmp_path / "keys"
    LearntKeys("f1", STATES, "x").write(path)
    LearntKeys("f2", {b"pump-2": b"1"}, "x").write(path)
    assert dict(LearntKeys.read(path)) == {b"pump-2": b"1"}


def test_states_of_several_sizes_are_a_mistake() -> None:
    """They are told apart by their place only."""
    with pytest.raises(ValueError, match=r"several sizes: \[1, 2\]"):
        LearntKeys("f1", {b"a": b"1", b"b": b"22"}, "x")


@pytest.mark.parametrize("place", [len(MAGIC) + 1, len(MAGIC) + DIGEST_BYTES + 2, -1])
def test_a_changed_byte_is_found(tmp_path: Path, place: int) -> None:
    """Keys never begin with damaged state: they would alarm for reasons that nobody finds."""
    path = tmp_path / "keys"
    LearntKeys("f1", STATES, "x").write(path)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"keys: is damaged \(checksum differs\): write it again"):
        LearntKeys.read(path)


def test_what_is_no_such_file_is_named(tmp_path: Path) -> None:
    """A folder, nothing, something else: each is told with its path."""
    (tmp_path / "table.csv").write_text("key,value\n")
    with pytest.raises(DataError, match=r"table.csv: was not written by this version"):
        LearntKeys.read(tmp_path / "table.csv")
    with pytest.raises(DataError, match=r"none: cannot be read: No such file"):
        LearntKeys.read(tmp_path / "none")
    with pytest.raises(DataError, match=r"cannot be read: Is a directory"):
        LearntKeys.read(tmp_path)
    with pytest.raises(DataError, match=r"x: cannot be written: .*table.csv is no folder"):
        LearntKeys("f1", STATES, "x").write(tmp_path / "table.csv" / "x")
    with pytest.raises(DataError, match=r": is a folder: name a file"):
        LearntKeys("f1", STATES, "x").write(tmp_path)
