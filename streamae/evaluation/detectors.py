"""The detectors that can be compared: a name, and what it changes in the settings.

`NETWORK+DECISION` takes a network from the first table and a decision from the second; detectors that share a
network share its training. This module must not know how anything is trained or scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streamae.core.thresholds.registry import RULES
from streamae.errors import ConfigError

if TYPE_CHECKING:
    from streamae.settings.tree import Settings

NETWORKS: Mapping[str, Mapping[str, Any]] = {  # changes to the train section
    "default": {},
    "lstm": {"kind": "lstm"},
    "gru": {"kind": "gru"},
    "dense": {"kind": "dense"},
    "conv": {"kind": "conv"},
    "lstm_bottleneck": {"kind": "lstm", "bottleneck_size": 16},
    "variational": {"kind": "dense", "variational_weight": 0.05},
    "denoising": {"noise_sd": 0.2, "mask_share": 0.1},
    "sparse": {"kind": "dense", "sparsity": 0.01},
    "trimmed": {"trim_share": 0.05},
    # The textbook's: mean squared error of the whole window, no feature weighed, nothing remembered.
    "pca": {"kind": "pca", "window_size": 32, "recent_steps": 32, "whitening": "overall", "memory_windows": 0},
    "pca_whitened": {"kind": "pca"},
    "pca_row": {"kind": "pca_row"},
    "ridge": {"kind": "ridge"},
    "nearest_windows": {"kind": "nearest_windows"},
    # The same as it is usually published: distance of whole windows, long enough for most periods.
    "knn": {
        "kind": "nearest_windows",
        "window_size": 64,
        "recent_steps": 64,
        "whitening": "overall",
        "memory_windows": 0,
    },
    "zscore": {"kind": "zscore"},
    # The textbook's too: rows by themselves, the forest's own score and nothing beside.
    "iforest": {"kind": "iforest", "recent_steps": 1, "whitening": "overall", "memory_windows": 0},
    "auto": {"kind": "auto"},
}
DECISIONS: Mapping[str, Mapping[str, Any]] = {  # changes to the threshold section
    "sigma8": {"rule": "sigma", "k": 8.0},
    "sigma3": {"rule": "sigma", "k": 3.0},
    **{rule: {"rule": rule} for rule in RULES if rule != "sigma"},  # which is compared at the two k above
}
SHIPPED = ("default", "pca")  # compared when nothing is asked for


def split(name: str) -> tuple[str, str | None]:
    """Return the network and the decision (None = as set) of a detector.

    Raises:
        ValueError: it names something that is not in the tables.
    """
    network, plus, decision = name.partition("+")
    if network not in NETWORKS or (plus and decision not in DECISIONS):
        raise ValueError(
            f"unknown detector {name!r}: one of {', '.join(NETWORKS)}, alone or with +{', +'.join(DECISIONS)}"
        )
    return network, decision if plus else None


def by_network(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Group detectors by their network, both in order of appearance, repeated names once."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(split(name)[0], []).append(name)
    return {network: tuple(members) for network, members in found.items()}


def settings_of(name: str, settings: Settings, seed: int) -> Settings:
    """Return the settings of a detector: those given, with its own changes and the seed.

    Raises:
        ConfigError: the changes do not fit the other settings.
    """
    network, decision = split(name)
    train = settings.train.model_dump() | dict(NETWORKS[network]) | {"seed": seed}
    threshold = settings.threshold.model_dump() | (dict(DECISIONS[decision]) if decision else {})
    try:
        return settings.model_copy(
            update={
                "train": type(settings.train).model_validate(train),
                "threshold": type(settings.threshold).model_validate(threshold),
            }
        )
    except ValueError as error:
        raise ConfigError([f"detector {name}: {' '.join(str(error).split())}"]) from error
