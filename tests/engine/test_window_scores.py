"""The curve as the engine publishes it: every window once, in the transaction of its offsets."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from streamae.assembly.devices import build_runner
from streamae.connectors.memory import MemoryBroker
from streamae.errors import ConfigError
from streamae.model.architecture import Architecture
from streamae.model.networks import network_of
from streamae.observe.telemetry import Telemetry
from streamae.settings.tree import Settings
from tests.engines import FEATURES, WINDOW, Rig, broker_with, settings, stream, tiny_bundle

SCORES = "scores"
KEYS, ROWS = 3, 60


def rig() -> Rig:
    """Return a rig that publishes scores."""
    broker: MemoryBroker = broker_with(stream(KEYS, ROWS, spikes=[(1, 40)]))
    broker.create_topic(SCORES, 2)
    return Rig(broker, settings=settings(output={"scores_topic": SCORES}))


def points(of: Rig) -> Counter[tuple[int, int]]:
    """Return how often each input record appears on the curve."""
    found = [json.loads(record.value or b"") for record in of.broker.records(SCORES)]
    return Counter((each["partition"], each["offset"]) for each in found)


def expected(of: Rig) -> Counter[tuple[int, int]]:
    """Return each record from its key's W-th on, counted by hand from the input topic."""
    seen: Counter[bytes | None] = Counter()
    due: Counter[tuple[int, int]] = Counter()
    for record in of.broker.records("sensors"):
        seen[record.key] += 1
        if seen[record.key] >= WINDOW:
            due[record.partition, record.offset] += 1
    return due


def test_every_window_is_on_the_curve_once() -> None:
    """A lost or repeated record would show, also where nothing is anomalous."""
    whole = rig()
    whole.run_dry()
    assert points(whole) == expected(whole)
    assert sum(points(whole).values()) == KEYS * (ROWS - WINDOW + 1)


def test_a_restart_repeats_nothing_on_the_curve() -> None:
    """What a silent replay scores again was published before."""
    crashed = rig()
    crashed.step(4)
    crashed.engine.source.close()
    crashed.engine = crashed.build()
    crashed.run_dry()
    assert points(crashed) == expected(crashed)


def test_the_anomaly_stands_out() -> None:
    """The reader sees which point crossed the threshold."""
    whole = rig()
    whole.run_dry()
    found = [json.loads(record.value or b"") for record in whole.broker.records(SCORES)]
    assert {each["anomalous"] for each in found} == {True, False}
    assert all(each["score"] > each["threshold"] for each in found if each["anomalous"])


def coded() -> Rig:
    """Return a rig on a real network that publishes codes with its scores."""
    of = settings(
        output={"scores_topic": SCORES, "latent": True}, model={"device": "cpu", "threads": 1, "max_batch_size": 64}
    )
    weights = {name: tensor.numpy() for name, tensor in network_of(tiny_bundle().architecture).state_dict().items()}
    bundle = replace(tiny_bundle(), weights=weights)
    broker = broker_with(stream(KEYS, ROWS, spikes=()))
    broker.create_topic(SCORES, 2)
    return Rig(
        broker,
        settings=of,
        bundle=bundle,
        parts={"runner": build_runner(bundle, of.model, Telemetry(), stride=1, latent=True)},
    )


def test_every_score_carries_its_code() -> None:
    """As many numbers as the code has, different ones for different windows, once each."""
    whole = coded()
    whole.run_dry()
    assert points(whole) == expected(whole)
    codes = [json.loads(record.value or b"")["latent"] for record in whole.broker.records(SCORES)]
    assert {len(code) for code in codes} == {whole.bundle.architecture.code_size}
    assert len({tuple(code) for code in codes}) > len(codes) // 2


def test_codes_need_a_topic() -> None:
    """There is nowhere else to put them: said with the settings, before anything starts."""
    with pytest.raises(ValueError, match=r"output\.latent: needs output\.scores_topic"):
        Settings.model_validate({"output": {"latent": True}})


@pytest.mark.parametrize("fallback", ["none", "cpu"])
def test_codes_need_a_network_that_has_one(fallback: str) -> None:
    """A bundle of a baseline is refused at the start; that is no failure of a device to fall back from."""
    of = settings(output={"scores_topic": SCORES, "latent": True}, model={"device": "cpu", "fallback": fallback})
    shapes = Architecture("zscore", WINDOW, len(FEATURES), 1, 1, 2)
    telemetry = Telemetry()
    with pytest.raises(ConfigError, match=r"output\.latent: the bundle's kind is zscore, which has no code"):
        bundle = replace(tiny_bundle(), architecture=shapes, weights={})
        build_runner(bundle, of.model, telemetry, stride=1, latent=True)
    assert "streamae_device_fallbacks_total 0.0" in telemetry.render()[0].decode()
