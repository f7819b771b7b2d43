"""Says once of each key that starves which features starve it, and once when it is over: in the log, never flooding it.

Records come, but too much of each window is filled in for it to be scored. Must not know how that is found out.
"""

from __future__ import annotations

import numpy as np

from streamae.batches import Slots
from streamae.core.key_table import KeyTable
from streamae.engine.stages import Stages
from streamae.observe.logs import get_logger, shown

MOST_KEYS, MOST_FEATURES = 5, 5  # that are named at once; the rest is counted
REMEDY = (
    "window.missing = hold, or window.missing_overrides by feature, for tags that speak on change; else ask whoever sends"
    " them, or raise window.max_imputed_share"
)


def starving_features(stages: Stages, slots: Slots) -> tuple[str, ...]:
    """Return the names of features that starve keys in `slots` (n,), those of most keys first."""
    counts = stages.windows.starving(slots).sum(axis=0)
    order = np.argsort(-counts, kind="stable")[:MOST_FEATURES]
    return tuple(stages.events.features[number] for number in order[counts[order] > 0])


def tell_starved(stages: Stages, table: KeyTable) -> None:
    """Log the keys that began to starve since the last call, and those that are over it."""
    log = get_logger()
    began, ended = stages.windows.starvation(table.resident())
    for slot in began[:MOST_KEYS]:
        features = starving_features(stages, slot[None])
        log.warning("key_starved", key=shown(table.keys[slot]), features=features, remedy=REMEDY)
    for slot in ended[:MOST_KEYS]:
        log.info("key_no_longer_starved", key=shown(table.keys[slot]))
    if len(began) > MOST_KEYS:
        log.warning("more_keys_starved", keys=len(began) - MOST_KEYS, features=starving_features(stages, began))
    if len(ended) > MOST_KEYS:
        log.info("more_keys_no_longer_starved", keys=len(ended) - MOST_KEYS)
