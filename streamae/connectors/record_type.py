"""From field paths to the type that a JSON parser fills: what is looked for in a record, and where it is put.

Must not know: what the fields mean.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from streamae.errors import ConfigError


class Leaf(NamedTuple):
    """One field to parse.

    Attributes:
        path: dotted path in the record.
        attribute: that it becomes.
        type: that it has to have.
        default: its value when absent.
        lenient_type: what it may be where a bad value costs no more than itself.
    """

    path: Any  # str; None where a field is not set and so no leaf
    attribute: str
    type: Any
    default: Any
    lenient_type: Any = Any


def split_path(path: str) -> tuple[str, ...]:
    r"""Return the names of a dotted path.

    Example:
        >>> split_path(r"body.cpu\.load")
        ('body', 'cpu.load')
    """
    return tuple(name.replace("\\.", ".") for name in re.split(r"(?<!\\)\.", path))


def dotted(path: str) -> str:
    """Return a path as the parser's messages write it."""
    return ".".join(split_path(path))


def record_type(leaves: list[tuple[tuple[str, ...], Leaf]]) -> tuple[type[msgspec.Struct], dict[str, str]]:
    """Generate the type of a record (or of an object inside it), and the attribute path of each leaf.

    An absent or null inner object stands for one without any of its fields.

    Raises:
        ConfigError: two leaves share a path, or one lies inside the other.
    """
    branches: dict[str, list[tuple[tuple[str, ...], Leaf]]] = {}
    fields: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}  # attribute -> name in the JSON, which need not be a Python identifier
    places: dict[str, str] = {}
    empties: list[tuple[str, msgspec.Struct]] = []
    for (name, *rest), leaf in leaves:
        if rest:
            branches.setdefault(name, []).append((tuple(rest), leaf))
        else:
            fields.append((leaf.attribute, leaf.type, leaf.default))
            names[leaf.attribute] = name
            places[leaf.attribute] = leaf.attribute
    for number, (name, inner) in enumerate(branches.items()):
        inner_type, inner_places = record_type(inner)
        attribute = f"inner_{number}"
        fields.append((attribute, inner_type | None, None))
        names[attribute] = name
        places |= {leaf: f"{attribute}.{place}" for leaf, place in inner_places.items()}
        empties.append((attribute, inner_type()))

    def fill(record: msgspec.Struct) -> None:
        for attribute, empty in empties:
            if getattr(record, attribute) is None:
                setattr(record, attribute, empty)

    namespace = {"__post_init__": fill} if empties else {}
    try:
        return msgspec.defstruct("Record", fields, rename=names, namespace=namespace, gc=False), places
    except ValueError as error:  # two of one name, or a quote, backslash or control character in one
        raise ConfigError([f"input: {error} (fields: {', '.join(names.values())})"]) from error
