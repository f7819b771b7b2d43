"""The words in which the packed form of a key's state is written down, and what two forms have in common.

A layout is the parts of the state in the order in which they are packed, each with its fields:
`part(field:type[shape];...)|part(...)`. It is stored beside the state, so that a program with other fields finds its own
in there. Must not know keys, stores or what the fields mean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Bytes, Slots
from streamae.core.columns import Columns

PART = re.compile(r"([\w.]*)\(([^()]*)\)")
PARTS = re.compile(rf"{PART.pattern}(?:\|{PART.pattern})*")
FIELD = re.compile(r"\w+:([<|][biuf][1248])\[((?:\d+(?:, \d+)*)?)\]")


def layout_of(parts: Sequence[Columns]) -> str:
    """Return the layout of these parts, packed in this order.

    Example:
        >>> from streamae.core.columns import Field
        >>> layout_of([Columns(1, {"newest": Field("<i8")}, "grid"), Columns(1, {"sums": Field("<f4", (2,))}, "rates")])
        'grid(newest:<i8[])|rates(sums:<f4[2])'
    """
    return "|".join(f"{part.name}({part.layout})" for part in parts)


def former_layout_of(parts: Sequence[Columns]) -> tuple[str, str]:
    """Return the layout that the release before gave these parts, and how it wrote it: without the parts' names."""
    texts = [(part.name, text) for part in parts if (text := ";".join(part.words(until=1).values()))]
    return "|".join(f"{name}({text})" for name, text in texts), "|".join(text for _, text in texts)


def places_in(layout: str) -> tuple[dict[tuple[str, str], int], int] | None:
    """Return where each field begins, by part and words of the field, and how many bytes there are in all.

    None where the text is no layout: it may be damaged as anything that is stored.

    Example:
        >>> places_in("grid(newest:<i8[])|rates(sums:<f4[2])")
        ({('grid', 'newest:<i8[]'): 0, ('rates', 'sums:<f4[2]'): 8}, 16)
    """
    places: dict[tuple[str, str], int] = {}
    start = 0
    if not PARTS.fullmatch(layout):
        return None
    for part, fields in PART.findall(layout):
        for text in fields.split(";") if fields else ():
            field = FIELD.fullmatch(text)
            if field is None:
                return None
            places[part, text] = start
            start += np.dtype(field[1]).itemsize * math.prod(map(int, field[2].split(", ") if field[2] else ()))
    return places, start


@dataclass(frozen=True, slots=True, eq=False)
class Migration:
    """How packed state of a layout becomes that of some parts: fields of equal part, name, type and shape are taken over.

    Attributes:
        size_bytes: of packed state.
        starts: of each part, where its fields begin, by name; fields that are not there keep their initial values.
        new: fields that the layout does not have, `part.field`.
        gone: fields that only the layout has.
    """

    size_bytes: int
    starts: tuple[Mapping[str, int], ...]
    new: tuple[str, ...]
    gone: tuple[str, ...]

    @classmethod
    def of(cls, layout: str, parts: Sequence[Columns]) -> Migration | None:
        """Compare a layout with the parts; None where it is none."""
        found = places_in(layout)
        if found is None:
            return None
        places, size = found
        starts: list[dict[str, int]] = []
        new: list[str] = []
        for part in parts:
            words = part.words()
            starts.append(
                {name: places.pop((part.name, text)) for name, text in words.items() if (part.name, text) in places}
            )
            new += [f"{part.name}.{name}" for name in words if name not in starts[-1]]
        gone = tuple(f"{part}.{text.partition(':')[0]}" for part, text in places)
        return cls(size, tuple(starts), tuple(new), gone)

    def restore(self, parts: Sequence[Columns], slots: Slots, packed: Bytes) -> None:
        """Give `slots` (n,), which were reset, what is packed (n, size_bytes) of them."""
        for part, starts in zip(parts, self.starts, strict=True):
            part.restore(slots, packed, starts)
