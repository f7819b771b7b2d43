"""What still waits when data ends: rows that nothing newer will release.

Of a partition that ends, the last record releases them: they are published with its offset or not at all, so that a
run that is broken off and begun again brings them once. Only sources that have an end are asked; a stream has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from streamae.batches import Partition, RawRecord, RowBatch
from streamae.connectors.protocols import Finite, Source
from streamae.core.key_table import KeyTable
from streamae.engine.stages import Stages


def with_last_rows(
    rows: RowBatch,
    stages: Stages,
    table: KeyTable,
    source: Source,
    polled: Mapping[Partition, Sequence[RawRecord]],
) -> RowBatch:
    """Return the rows of a step with those that waited in partitions of which it had the last records.

    Args:
        rows: of the step.
        stages: have taken its records.
        table: who has which slot.
        source: where the records come from.
        polled: all records of the step, those too that became no row.
    """
    if stages.lateness is None or not isinstance(source, Finite):
        return rows
    left = source.lag()
    for partition, found in polled.items():
        if left.get(partition) == 0:
            slots = table.owned(partition)
            rows = _joined(rows, stages.rest(slots, np.full(len(slots), found[-1].offset)))
    return rows


def _joined(rows: RowBatch, more: RowBatch) -> RowBatch:
    return RowBatch(*(np.concatenate([getattr(rows, name), getattr(more, name)]) for name in RowBatch.__slots__))
