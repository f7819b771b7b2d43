"""What the release before stored is gone on from as if it had been stored today."""

from __future__ import annotations

import base64

import pytest

from streamae.batches import Partition
from streamae.connectors.memory_store import MemoryStore
from streamae.connectors.protocols import Stamp
from streamae.core.layouts import former_layout_of
from tests.engines import stream
from tests.golden.made import BEFORE, RECORDS, VARIANTS, add, broker_with, line, read_json, rig

pytestmark = pytest.mark.slow

MORE = stream(3, 170, spikes=((1, 140), (2, 141), (2, 142), (2, 143)))[len(RECORDS) :]


@pytest.mark.parametrize("name", VARIANTS)
def test_state_of_each_rule_is_gone_on_from(name: str) -> None:
    """Whatever rule or settings it was stored under: nothing is replayed, the same is published, the same is known."""
    before = read_json(BEFORE / f"variant-{name}.json")
    first = rig(broker_with(RECORDS), MemoryStore(), VARIANTS[name])
    first.run_dry()
    store = MemoryStore()
    for at, stored in first.store.snapshot().items():
        assert stored.manifest is not None
        prefix = f"{at.topic}-{at.index}/"
        values = [
            (key.removeprefix(prefix).encode(), base64.b64decode(value))
            for key, value in before["state"].items()
            if key.startswith(prefix)
        ]
        stamp = Stamp(before["state_fingerprint"], stored.manifest.epoch, stored.manifest.identity)
        store.checkpoint(at, None, stored.manifest.offset, stamp, values)
    first.engine.close()
    add(first.broker, MORE)
    second = rig(first.broker, store, VARIANTS[name])
    second.run_dry()
    whole = rig(broker_with([*RECORDS, *MORE]), MemoryStore(), VARIANTS[name])
    whole.run_dry()
    assert former_layout_of(second.engine.stages.state)[1] == before["layout"]
    assert 'partition_starts_total{reason="clean"} 2.0' in second.telemetry.render()[0].decode()
    assert second.state() == whole.state()
    found, expected = (sorted(str(line(one)) for one in each.events()) for each in (second, whole))
    assert found == expected
    manifest = store.manifest(Partition("sensors", 0))
    assert manifest is not None
    assert manifest.form == (second.engine.recovery.fingerprint, (second.engine.states.layout,))
