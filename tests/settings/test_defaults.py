"""The default of a setting stands once, in the settings; who needs the value is given it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamae.settings.tree import SETTING_NAMES
from tests.architecture import Module, defaults_again

ROOT = Path(__file__).resolve().parents[2]
NAMES = {name.partition(".")[2] for name in SETTING_NAMES}
MODULES = {
    module.name: module
    for module in (Module.read(path, ROOT) for path in sorted((ROOT / "streamae").rglob("*.py")))
    if not module.name.startswith("streamae.settings.")
}

# Parameters that are called like a setting, with a default that is not the setting's but their own. One reason each.
OWN_DEFAULTS = {
    "streamae.core.encoding": "what a bundle describes: a clock of UTC is the one of an encoding without a clock",
    "streamae.demo.sensor_demo": "the size of the demo, which is none of the shipped model",
    "streamae.demo.sensors": "the seed of made-up streams",
    "streamae.demo.transaction_demo": "as streamae.demo.sensor_demo",
    "streamae.demo.transactions": "as streamae.demo.sensors",
    "streamae.engine.partitions": "tests of one rule of recovery give that one; the assembly gives all of them",
    "streamae.model.architecture": "0 = the network has no such part; training gives what the settings ask for",
    "streamae.model.autoencoder": "a network that is served drops nothing",
    "streamae.model.convolutional": "as streamae.model.autoencoder",
    "streamae.model.dense": "as streamae.model.autoencoder",
    "streamae.model.networks": "as streamae.model.autoencoder",
    "streamae.model.runner": "the plain runner of a bundle; the assembly and training give what the settings ask for",
}


@pytest.mark.parametrize("name", sorted(MODULES.keys() - OWN_DEFAULTS.keys()))
def test_no_default_of_a_setting_is_written_twice(name: str) -> None:
    """Of two defaults one is changed and the other forgotten: then a test, a demo or a replay runs something else."""
    assert defaults_again(MODULES[name], NAMES) == []


def test_every_exception_is_needed() -> None:
    """An exception for a module that needs none would let the next default in."""
    assert [name for name in OWN_DEFAULTS if not defaults_again(MODULES[name], NAMES)] == []


@pytest.mark.parametrize(
    ("text", "is_wrong"),
    [
        ("def f(retry_backoff_ms: int = 20): ...", True),
        ("def f(*, retry_backoff_ms=20): ...", True),
        ("class C:\n    def f(self, patience=5, other=1): ...", True),
        ("class C:\n    retry_backoff_ms: int = 20", True),
        ("class C:\n    missing: str = field(default='previous')", True),
        ("late = lambda patience=5: patience", True),
        ("def f(retry_backoff_ms: int): ...", False),
        ("def f(key_field: str | None = None, value_fields=()): ...", False),
        ("def f(patience=PATIENCE): ...", False),
        ("class C:\n    train: TrainSettings = field(default_factory=TrainSettings)", False),
        ("def f(size=5): ...", False),
    ],
)
def test_a_second_default_is_noticed(text: str, is_wrong: bool) -> None:
    """In parameters of all kinds and in fields; what is no setting may have any default."""
    assert bool(defaults_again(Module("streamae.x", text), NAMES)) is is_wrong
