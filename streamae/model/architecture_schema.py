"""The `architecture` section of `bundle.json`: how it is written, and how it is read from anyone."""

from __future__ import annotations

from typing import Any

from streamae.errors import BundleError
from streamae.model.architecture import Architecture
from streamae.model.bundle_schema import Fields

LATER = ("bottleneck_size", "companion_components")  # where they are 0, bundles are as before there were any


def describe_architecture(architecture: Architecture) -> dict[str, Any]:
    """Return the section as plain values; features stand beside it."""
    return {
        "kind": architecture.kind,
        "window_size": architecture.window_size,
        "hidden_size": architecture.hidden_size,
        "layers": architecture.layers,
        "recent_steps": architecture.recent_steps,
        "memory_windows": architecture.memory_windows,
        "components": architecture.components,
    } | {name: value for name in LATER if (value := getattr(architecture, name))}


def read_architecture(fields: Fields) -> Architecture:
    """Read the section of a description, and count its features.

    Raises:
        BundleError: a part is missing, of the wrong type, or does not fit the others.
    """
    shape = fields.section("architecture")
    try:
        return Architecture(
            shape.text("kind"),  # type: ignore[arg-type]  # Architecture checks it
            shape.integer("window_size"),
            len(fields.texts("features")),
            shape.integer("hidden_size"),
            shape.integer("layers"),
            shape.integer("recent_steps"),
            shape.integer("memory_windows"),
            shape.integer("components"),
            *(shape.integer(name) if shape.has(name) else 0 for name in LATER),
        )
    except ValueError as error:
        raise BundleError(f"architecture: {error}") from None
