"""What still waits when data ends: rows that nothing newer will release.

Of a partition that ends, the last record releases them: they are published with its offset or not at all, so that a
run that is broken off and begun again brings them once. Only sources that have an end are asked; a stream has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from streamae.batches import Partition, RawRecord, RowBatch, WindowBatch
from streamae.connectors.protocols import Finite, Source
from streamae.core.grid import join_rows
from streamae.core.key_table import KeyTable
from streamae.core.windowing import join
from streamae.engine.stages import Stages


def with_last_rows(
    windows: WindowBatch,
    rows: RowBatch,
    stages: Stages,
    table: KeyTable,
    source: Source,
    polled: Mapping[Partition, Sequence[RawRecord]],
) -> tuple[WindowBatch, RowBatch]:
    """Return windows and rows of a step with those that waited in partitions of which it had the last records.

    Args:
        windows, rows: of the step.
        stages: have taken its records.
        table: who has which slot.
        source: where the records come from.
        polled: all records of the step, those too that became no row.
    """
    if stages.lateness is None or not isinstance(source, Finite):
        return windows, rows
    left = source.lag()
    for partition, found in polled.items():
        if left.get(partition) == 0:
            slots = table.owned(partition)
            rest = stages.rest(slots, np.full(len(slots), found[-1].offset))
            windows, rows = join([windows, stages.windows.push(rest)]), join_rows([rows, rest])
    return windows, rows
