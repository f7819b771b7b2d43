"""Episodes that are open of keys that no roster lists, since none was kept when their partition was stored.

They are looked for once, when a partition is taken over from a release, or from settings, that waited for nobody: else
an episode of a key that never comes back would stay open for ever. Must not know what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Partition
from streamae.connectors.protocols import Form, Manifest, StateStore
from streamae.core.columns import Columns
from streamae.core.layouts import Migration
from streamae.core.marks import OpenEpisode
from streamae.engine.key_forms import BARE, KeyForms

FIELDS = ("open", "opened_offset", "sequence", "start_ms", "end_ms")


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A key with an open episode.

    Attributes:
        key: its name.
        episode: what is open.
        heard_ms: event time at which it was heard, as far as the episode tells: that of its newest anomalous window.
    """

    key: bytes
    episode: OpenEpisode
    heard_ms: int


class UnlistedEpisodes:
    """Finds them in the stored states of a partition."""

    def __init__(self, store: StateStore, forms: KeyForms, episodes: Columns) -> None:
        """Read what `store` holds in any of `forms`; `episodes` are the fields of an episode."""
        self._store, self._forms = store, forms
        self._name, self._fields = episodes.name, {name: episodes.fields[name] for name in FIELDS}

    def find(self, partition: Partition, manifest: Manifest) -> list[Unlisted]:
        """Return the keys with an open episode, sorted by key; values that cannot be read tell nothing.

        Raises:
            RetryableError: the store is away, or has moved on from `manifest`.
        """
        found = [
            one
            for portion in self._store.states(partition, manifest.offset)
            for one in self._open_of(partition, portion, manifest.form)
        ]
        return sorted(found, key=lambda one: one.key)

    def _open_of(self, partition: Partition, portion: Sequence[tuple[bytes, bytes]], form: Form) -> Iterator[Unlisted]:
        layouts = self._forms.readable(form)
        by_layout: dict[str, list[tuple[bytes, bytes]]] = {}
        for key, value in portion:
            opened = self._forms.open(partition, key, value, layouts)
            if opened is not None:
                by_layout.setdefault(opened[0], []).append((key, opened[1]))
        for layout, states in by_layout.items():
            columns = Columns(len(states), self._fields, self._name)
            migration = Migration.of(layout.removeprefix(BARE), (columns,))
            assert migration is not None  # nothing else is opened
            packed = np.frombuffer(b"".join(state for _, state in states), dtype=np.uint8)
            slots = np.arange(len(states), dtype=np.int32)
            migration.restore((columns,), slots, packed.reshape(len(states), migration.size_bytes))
            for slot in np.flatnonzero(columns["open"]).tolist():
                opened_offset, sequence, start_ms, end_ms = (int(columns[name][slot]) for name in FIELDS[1:])
                yield Unlisted(states[slot][0], OpenEpisode(opened_offset, sequence, start_ms), end_ms)
