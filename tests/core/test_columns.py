"""Packed key state: what is written at a checkpoint is what comes back, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.columns import Columns, Field
from tests.core_batches import every_slot, quick, slots_of

FIELDS = {
    "count": Field("<i8"),
    "open": Field("|u1"),
    "ring": Field("<f4", (3, 2), float("nan")),
    "mean": Field("<f8", (), 1.5),
    "imputed": Field("<u2", (5,), 7),
}


def filled(seed: int = 0, capacity: int = 6) -> Columns:
    """Columns with random bits in every field: also numbers no stage would write."""
    columns = Columns(capacity, FIELDS)
    rng = np.random.default_rng(seed)
    packed = rng.integers(0, 256, size=(capacity, columns.size_bytes), dtype=np.uint8)
    columns.restore(every_slot(capacity), packed)
    return columns


@quick
@given(st.integers(0, 2**32), st.lists(st.integers(0, 5), unique=True, min_size=1))
def test_export_and_restore_are_inverse_to_the_bit(seed: int, chosen: list[int]) -> None:
    """Any bit pattern, NaN payloads included, survives a checkpoint in any order of slots."""
    source, target = filled(seed), Columns(6, FIELDS)
    slots = slots_of(*chosen)
    target.restore(slots, source.export(slots))
    assert target.export(slots).tobytes() == source.export(slots).tobytes()


def test_restore_into_other_slots_moves_the_state() -> None:
    """After a restart a key may live in another slot: state follows the key, not the slot."""
    source, target = filled(), Columns(6, FIELDS)
    target.restore(slots_of(5, 0), source.export(slots_of(1, 2)))
    assert target["count"][5] == source["count"][1]
    assert target["imputed"][0].tolist() == source["imputed"][2].tolist()


def test_restore_touches_only_its_slots() -> None:
    """Loading one key leaves all others as they were."""
    columns = filled()
    before = columns.export(slots_of(0, 1, 3, 4, 5)).tobytes()
    columns.restore(slots_of(2), filled(1).export(slots_of(2)))
    assert columns.export(slots_of(0, 1, 3, 4, 5)).tobytes() == before


def test_restore_leaves_the_packed_bytes_alone() -> None:
    """The store's answer may be kept and compared."""
    packed = filled().export(slots_of(0, 1))
    copy = packed.copy()
    target = Columns(2, FIELDS)
    target.restore(slots_of(0, 1), packed)
    target["mean"][:] = 0.0
    assert packed.tobytes() == copy.tobytes()


def test_restore_reads_read_only_memory() -> None:
    """Bytes from the store come as read-only buffers."""
    packed = filled().export(slots_of(0, 1))
    borrowed = np.frombuffer(packed.tobytes(), dtype=np.uint8).reshape(packed.shape)
    target = Columns(2, FIELDS)
    target.restore(slots_of(0, 1), borrowed)
    assert target.export(slots_of(0, 1)).tobytes() == packed.tobytes()


def test_export_is_a_copy() -> None:
    """A checkpoint in flight does not change while the next batch is being judged."""
    columns = filled()
    packed = columns.export(slots_of(0))
    before = packed.tobytes()
    columns["count"][0] += 1
    assert packed.tobytes() == before


def test_export_of_no_slots_is_empty() -> None:
    """A partition without changed keys packs to no rows of the right width."""
    columns = filled()
    assert columns.export(slots_of()).shape == (0, columns.size_bytes)


def test_restore_of_no_slots_changes_nothing() -> None:
    """A load that found nothing is no special case."""
    columns = filled()
    before = columns.export(every_slot(6)).tobytes()
    columns.restore(slots_of(), np.zeros((0, columns.size_bytes), dtype=np.uint8))
    assert columns.export(every_slot(6)).tobytes() == before


def test_size_is_that_of_the_packed_row() -> None:
    """Memory and store estimates multiply this number by keys."""
    columns = filled()
    assert columns.size_bytes == 8 + 1 + 24 + 8 + 10
    assert columns.export(slots_of(0)).shape == (1, columns.size_bytes)


def test_packed_form_is_little_endian_in_field_order() -> None:
    """State written on one machine is read on any other."""
    columns = Columns(1, {"a": Field("<i2"), "b": Field("<i4")})
    columns["a"][0], columns["b"][0] = 0x0102, 0x03040506
    assert columns.export(slots_of(0)).tobytes() == bytes([2, 1, 6, 5, 4, 3])


def test_reset_gives_a_slot_the_state_of_a_new_key() -> None:
    """An evicted key's slot tells its next owner nothing."""
    columns = filled()
    columns.reset(slots_of(1, 4))
    assert columns["mean"][[1, 4]].tolist() == [1.5, 1.5]
    assert columns["imputed"][4].tolist() == [7] * 5
    assert np.isnan(columns["ring"][1]).all()
    assert columns["count"][1] == 0


def test_reset_spares_the_other_slots() -> None:
    """A new key costs no other key its memory."""
    columns = filled()
    before = columns.export(slots_of(0, 2, 3, 5)).tobytes()
    columns.reset(slots_of(1, 4))
    assert columns.export(slots_of(0, 2, 3, 5)).tobytes() == before


@pytest.mark.parametrize(
    "other",
    [
        {"mean": Field("<f4"), "count": Field("<i8")},  # type
        {"count": Field("<i8"), "mean": Field("<f8")},  # order
        {"mean": Field("<f8", (1,)), "count": Field("<i8")},  # shape
        {"average": Field("<f8"), "count": Field("<i8")},  # name
        {"mean": Field("<f8")},  # number
    ],
)
def test_layout_changes_with_every_change_of_the_packed_form(other: dict[str, Field]) -> None:
    """State of another version is recognised before its bytes are misread."""
    columns = Columns(1, {"mean": Field("<f8"), "count": Field("<i8")})
    assert Columns(1, other).layout != columns.layout


def test_layout_does_not_depend_on_capacity_or_initial_values() -> None:
    """A larger table, or another prior, goes on with stored state."""
    first = Columns(1, {"mean": Field("<f8", (), 1.0)})
    assert Columns(9, {"mean": Field("<f8", (), 2.0)}).layout == first.layout


def test_what_is_not_stored_is_no_part_of_packed_state() -> None:
    """Notes for people change neither layout nor size, go with their key, and are not there after a restart."""
    columns = Columns(2, FIELDS | {"note": Field("|u1", (2,), 1, is_stored=False)})
    assert (columns.layout, columns.size_bytes) == (filled().layout, filled().size_bytes)
    columns.reset(every_slot(2))
    columns["note"][:] = 7
    columns.restore(slots_of(1), filled().export(slots_of(3)))
    assert columns.export(slots_of(1)).tobytes() == filled().export(slots_of(3)).tobytes()
    columns.reset(slots_of(1))
    assert columns["note"].tolist() == [[7, 7], [1, 1]]
