"""What is written down of the packed form of state finds every field again, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.columns import Columns, Field
from streamae.core.layouts import Migration, former_layout_of, layout_of, places_in
from tests.core_batches import every_slot, quick

KINDS = st.sampled_from(["|u1", "|b1", "<u2", "<i4", "<f4", "<f8", "<i8", "<u8"])
SHAPES = st.lists(st.integers(0, 3), max_size=2).map(tuple)
FIELDS = st.dictionaries(st.sampled_from("abcdef"), st.builds(Field, KINDS, SHAPES, st.just(1)), min_size=1)
FORMS = st.dictionaries(st.sampled_from(["grid", "decision.sigma", "decision.pot"]), FIELDS, min_size=1)


def parts_of(form: dict[str, dict[str, Field]]) -> list[Columns]:
    """Return columns of three keys."""
    return [Columns(3, fields, name) for name, fields in form.items()]


@quick
@given(FORMS, FORMS, st.integers(0, 2**32))
def test_equal_fields_are_taken_over_to_the_bit_and_all_others_begin_anew(
    before: dict[str, dict[str, Field]], after: dict[str, dict[str, Field]], seed: int
) -> None:
    """Whatever parts and fields two releases have, in whatever order: each field gets its own bytes or none."""
    old, new = parts_of(before), parts_of(after)
    for number, part in enumerate(old):
        bits = np.random.default_rng([seed, number]).integers(0, 2, size=(3, part.size_bytes), dtype=np.uint8)
        part.restore(every_slot(3), bits)
    for part in new:
        part.reset(every_slot(3))
    migration = Migration.of(layout_of(old), new)
    assert migration is not None
    packed = np.concatenate([part.export(every_slot(3)) for part in old], axis=1)
    assert migration.size_bytes == packed.shape[1]
    migration.restore(new, every_slot(3), packed)
    for part in new:
        for name, field in part.fields.items():
            same = before.get(part.name, {}).get(name)
            is_taken = same is not None and (same.dtype, same.shape) == (field.dtype, field.shape)
            expected = next(one for one in old if one.name == part.name)[name] if is_taken else np.ones_like(part[name])
            assert part[name].tobytes() == expected.tobytes(), (part.name, name)
            assert (f"{part.name}.{name}" in migration.new) is not is_taken


def test_the_release_before_is_known_by_what_it_wrote() -> None:
    """Its words named no part, and what came since is in neither of the two texts."""
    parts = [
        Columns(1, {"newest": Field("<i8"), "held": Field("|u1", (2,), since=2)}, "grid"),
        Columns(1, {"rows": Field("<f4", since=2)}, "late"),
        Columns(1, {"open": Field("|u1"), "note": Field("|u1", is_stored=False)}, "episodes"),
    ]
    assert former_layout_of(parts) == ("grid(newest:<i8[])|episodes(open:|u1[])", "newest:<i8[]|open:|u1[]")
    assert layout_of(parts) == "grid(newest:<i8[];held:|u1[2])|late(rows:<f4[])|episodes(open:|u1[])"


@pytest.mark.parametrize(
    "text", ["", "grid", "grid(", "grid(a)", "grid(a:<i8)", "grid(a:<i8[x])", "grid(a:<q8[])", "a()b()"]
)
def test_what_is_no_layout_is_refused(text: str) -> None:
    """Nothing is guessed from damaged words."""
    assert places_in(text) is None
    assert Migration.of(text, []) is None
