"""The `scaling` section of `bundle.json`: how features are scaled, by whom, and what their stored rows count from."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from streamae.core.origins import Origins
from streamae.core.scaling import Scaling
from streamae.errors import BundleError
from streamae.model.bundle_schema import Fields

BY_KEY = "first value of the key"  # what rows count from where keys have levels of their own

ScaledBy = Literal["global", "key"]


def describe_scaling(scaling: Scaling, by: ScaledBy, origins: Origins | None) -> dict[str, Any]:
    """Return the section as plain values; where `origins` is None, it is as it was before there were any."""
    section: dict[str, Any] = {"means": scaling.means.tolist(), "scales": scaling.scales.tolist()}
    if by != "global":
        section["by"] = by
    if origins is not None:
        levels = np.broadcast_to(origins.levels, len(scaling.means)).tolist()
        section["origins"] = BY_KEY if origins.is_by_key else levels
    return section


def read_scaling(section: Fields, features: int) -> tuple[Scaling, ScaledBy, Origins | None]:
    """Read the section back; origins are None where it has none.

    Raises:
        BundleError: a part is missing, of the wrong type or size, or means what this program does not know.
    """
    scaling = Scaling(section.numbers("means", features), section.numbers("scales", features, above=0.0))
    by = section.text("by") if section.has("by") else "global"
    if by not in {"global", "key"}:
        raise BundleError(f"scaling.by is {by!r}, this program knows global and key: train again")
    origins = _origins(section, features, by) if section.has("origins") else None
    return scaling, "key" if by == "key" else "global", origins


def _origins(section: Fields, features: int, by: str) -> Origins:
    if by == "global":
        return Origins(section.numbers("origins", features))
    if (found := section.text("origins")) != BY_KEY:
        raise BundleError(f"scaling.origins is {found!r}, this program knows {BY_KEY!r}: train again")
    return Origins(is_by_key=True)
