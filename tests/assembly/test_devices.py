"""The model on its device, seen from the settings: what a failing device does to the engine, the metrics and the log."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from torch import Tensor

from streamae.assembly.build import Parts, build_engine
from streamae.assembly.devices import build_runner
from streamae.connectors.memory import MemorySink, MemorySource
from streamae.engine.stages import WindowModel
from streamae.errors import DeviceError
from streamae.model.fallback import FallbackRunner
from streamae.model.runner import Runner
from streamae.observe import logs
from streamae.observe.telemetry import Telemetry
from streamae.settings.tree import Settings
from tests.engines import TOPIC, Rig, broker_with, ids, settings, stream, tiny_bundle

RECORDS = stream(3, 80, spikes=[(1, 50), (1, 51), (2, 60)])


class FailingNetwork:
    """A network that says what it was given, so that errors are the same everywhere, until the device fails."""

    def __init__(self, passes: int) -> None:
        self.passes = passes

    def __call__(self, z: Tensor, decode_steps: int, forecast_steps: int) -> tuple[Tensor, Tensor]:
        self.passes -= 1
        if self.passes < 0:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return 0 * z[:, -decode_steps:], 0 * z[:, -forecast_steps:]


def opened(of: Settings, telemetry: Telemetry, network: FailingNetwork | None = None) -> WindowModel:
    """Return the runner of the model settings."""
    return build_runner(tiny_bundle(), of.model, telemetry, stride=1, latent=False, network=network)


def rig_with(fallback: str, passes: int) -> Rig:
    """Return an engine whose device fails after so many forward passes; the bundle's own network returns zeros too."""
    of = settings(model={"max_batch_size": 64, "max_wait_ms": 0, "fallback": fallback, "device": "cpu", "threads": 1})
    telemetry = Telemetry()
    runner = opened(of, telemetry, FailingNetwork(passes))
    rig = Rig(broker_with(RECORDS), settings=of, parts={"runner": runner})
    rig.telemetry = telemetry
    telemetry.bundle(rig.bundle.version, "Some GPU")
    return rig


def test_the_cpu_takes_over_without_a_trace_in_the_output() -> None:
    """Events and state are those of a device that never failed; the failure is counted, shown and logged once."""
    log = io.StringIO()
    logs.configure("info", "json", log)
    golden, failing = rig_with("cpu", 10_000), rig_with("cpu", 5)
    golden.run_dry()
    failing.run_dry()
    assert len(golden.events()) >= 1
    assert ids(failing.events()) == ids(golden.events())
    assert failing.state() == golden.state()
    text = failing.telemetry.render()[0].decode()
    assert "streamae_device_fallbacks_total 1.0" in text
    assert 'device="cpu"' in text
    assert "Some GPU" not in text
    assert "streamae_device_fallbacks_total 0.0" in golden.telemetry.render()[0].decode()
    (line,) = [line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == "device_fallback"]
    assert (line["level"], line["error"]) == ("error", "cpu: CUDA error: device-side assert triggered")
    assert "restart" in line["remedy"]


def test_without_a_fallback_the_engine_ends() -> None:
    """The error leaves the step as one that ends the process; nothing of the failed batch is committed."""
    rig = rig_with("none", 5)
    with pytest.raises(DeviceError, match="device-side assert"):
        rig.run_dry()
    text = rig.telemetry.render()[0].decode()
    assert "streamae_device_fallbacks_total 0.0" in text


@pytest.mark.parametrize(("fallback", "kind"), [("none", Runner), ("cpu", FallbackRunner)])
def test_the_setting_decides(fallback: str, kind: type[Any]) -> None:
    """Nobody falls back to a slower device without having asked for it."""
    of = settings(model={"fallback": fallback, "device": "cpu"})
    assert type(opened(of, Telemetry())) is kind


def test_a_device_that_fails_at_once_shows_in_the_bundles_label() -> None:
    """The engine is built on the CPU then, and the metrics say so from the start."""
    of = settings(model={"fallback": "cpu", "device": "cpu"}, state={"store": "memory"})
    telemetry = Telemetry()
    runner = opened(of, telemetry, FailingNetwork(0))
    broker = broker_with([])
    parts = Parts(
        source=MemorySource(broker, "group", (TOPIC,)), sink=MemorySink(broker), bundle=tiny_bundle(), runner=runner
    )
    build_engine(of, telemetry, parts)
    text = telemetry.render()[0].decode()
    assert 'device="cpu"' in text
    assert "streamae_device_fallbacks_total 1.0" in text
