"""Which field of a record is which feature: by name, never by place where a name says otherwise.

Must not know: what a record looks like, or what a feature means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from streamae.connectors.record_type import split_path
from streamae.errors import ConfigError

ByPosition = Callable[[str], object] | None


def map_fields(
    features: Sequence[str],
    given: Sequence[str] | Mapping[str, str],
    by_position: ByPosition = None,
    *,
    setting: str = "input.value_fields",
    takes_array: bool = False,
) -> tuple[str, ...]:
    """Return the path of each feature, in the order of the features.

    Args:
        features: F names.
        given: path by name, where features that are not named have their own name as path; or a list of F paths, each
            the feature that it is called like, by the whole path or else by its last part where only one is; a single
            one for a single feature may have any name; empty = the features' own names.
        by_position: told in words where only the order of a list says which path is which; None = refused.
        setting: where it was given, for messages.
        takes_array: a single path for several features is the field of one array, and returned as it is.

    Raises:
        ConfigError: another number of paths than features, a name that is no feature, or a list that names features in
            another order than its other paths would need.

    Example:
        >>> map_fields(("temp", "load"), ("host.load", "room.temp"))
        ('room.temp', 'host.load')
    """
    if isinstance(given, Mapping):
        if unknown := [name for name in given if name not in features]:
            raise ConfigError([f"{setting}: {unknown[0]!r} is no feature; there are {', '.join(features)}"])
        return tuple(given.get(name, name) for name in features)
    if not given:
        return tuple(features)
    if len(given) == 1 and (takes_array or len(features) == 1):
        return tuple(given)
    if len(given) != len(features):
        array = ", or one name for an array" if takes_array else ""
        problem = f"{len(given)} names for {len(features)} features; give {len(features)}{array}"
        raise ConfigError([f"{setting}: {problem}: {', '.join(features)}"])
    found = _by_name(features, given)
    if len(found) == len(features):
        return tuple(found[name] for name in features)
    lists = f"[{', '.join(given)}] for the features [{', '.join(features)}]"
    remedy = f'write {setting} = {{"{features[0]}" = "{given[0]}", ...}}'
    is_in_order = all(found.get(name, path) == path for name, path in zip(features, given, strict=True))
    if by_position is None or not is_in_order:
        raise ConfigError([f"{setting}: {lists}: which is which is not told by their names: {remedy}"])
    by_position(f"{setting}: {lists}: taken in this order, because their names do not tell: {remedy}")
    return tuple(given)


def _by_name(features: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """Return the path of each feature that is called like one path: like the whole of it, or like its last part only."""
    whole = {name: path for path in given for name in {path, ".".join(split_path(path))} if name in features}
    paths = [path for path in given if path not in whole.values()]
    names = [name for name in features if name not in whole]
    of_paths, of_names = (Counter(split_path(one)[-1] for one in ones) for ones in (paths, names))
    by_last = {split_path(path)[-1]: path for path in paths if of_paths[split_path(path)[-1]] == 1}
    last = {name: split_path(name)[-1] for name in names}
    return whole | {name: by_last[end] for name, end in last.items() if of_names[end] == 1 and end in by_last}
