"""A proposal for people who read it once, and for programs.

Must not know: how anything was found, or where it is printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from streamae.discovery.doubts import Doubt
from streamae.discovery.features import Feature
from streamae.discovery.figures import Figures
from streamae.discovery.proposal import Proposal
from streamae.discovery.rhythm import GAP_STEPS, Rhythm
from streamae.discovery.scene import Scene
from streamae.discovery.settings_file import toml
from streamae.discovery.wording import UNIT_WORDS, instant, number, rough, span

MOST_LINES = 40  # features, and fields left out, that are named one by one
STILL = 1e-3  # spread against size below which a feature is said to move little
_WIDTH = 10  # of the first column


def report_lines(proposal: Proposal, spelling: Sequence[str] = (), proof: Sequence[str] = ()) -> list[str]:
    """Return how the data would be read, a line each.

    Args:
        proposal: to show.
        spelling: how the source is written: encoding, delimiter, decimal mark.
        proof: what came of reading it so.
    """
    scene = proposal.scene
    name = scene.sources[0] if len(scene.sources) == 1 else f"{len(scene.sources)} sources, {scene.sources[0]} first"
    parts = [
        ("text", list(spelling)),
        ("layout", [_layout(scene)]),
        ("time", list(_time(proposal))),
        ("key", [_key(scene)]),
        ("features", list(_features(scene.features, _missing(proposal)))),
        ("left out", _some([f"{left.field}: {left.why}" for left in scene.left_out])),
        ("doubts", [line for doubt in proposal.doubts for line in _doubt(doubt)]),
        ("read so", list(proof)),
        ("refused", list(proposal.refusals)),
    ]
    lines = [f"{name}: {scene.rows:,} rows"]
    for title, of_part in parts:
        lines += [f"  {title if not place else '':<{_WIDTH}}{line}" for place, line in enumerate(of_part)]
    return lines


def as_json(proposal: Proposal, spelling: Sequence[str] = (), proof: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the same for programs: names stay what they are, new ones may come. Arguments as for `report_lines`."""
    scene = proposal.scene
    time, key, rhythm = scene.time, scene.key, scene.rhythm
    return {
        "sources": list(scene.sources),
        "rows": scene.rows,
        "spelling": list(spelling),
        "layout": "wide" if scene.metrics is None else "long",
        "time": None
        if time is None
        else {
            "field": time.field,
            "date_field": time.date_field,
            "unit": time.unit,
            "format": time.format,
            "has_zone": time.has_zone,
            "is_relative": time.is_relative,
            "counts_rows": time.counts_rows,
            "looks": time.looks,
        },
        "rhythm": None if rhythm is None else asdict(rhythm),
        "key": {"field": key.field, "keys": key.count, "why": key.why},
        "features": [_feature_json(feature) for feature in scene.features],
        "left_out": [asdict(left) for left in scene.left_out],
        "doubts": [asdict(doubt) for doubt in proposal.doubts],
        "refusals": list(proposal.refusals),
        "settings": {name: asdict(decision) for name, decision in proposal.settings.items()},
        "read": proof,
    }


def _some(lines: list[str]) -> list[str]:
    rest = len(lines) - MOST_LINES
    return lines if rest <= 0 else [*lines[:MOST_LINES], f"and {rest} more: --json has all"]


def _layout(scene: Scene) -> str:
    if scene.metrics is None:
        return "wide: a record holds all features"
    name, value = scene.metrics.name_field, scene.metrics.value_field
    return f"long: a record holds one metric, its name in {name}, its value in {value}"


def _time(proposal: Proposal) -> Iterator[str]:
    scene = proposal.scene
    time, rhythm = scene.time, scene.rhythm
    if time is None or "input.row_ms" in proposal.settings:
        step = proposal.settings.get("input.row_ms")
        kafka = "no field: the Kafka timestamp" if scene.times_ms is not None else "none found"
        yield kafka if step is None else f"none: rows are {span(step.value)} apart, as you said"
    else:
        field = time.field if time.date_field is None else f"{time.date_field} and {time.field}"
        zone = proposal.settings.get("input.time_zone")
        how = time.format or ("ISO 8601" if time.unit is None else UNIT_WORDS[time.unit])
        origin = proposal.settings.get("input.time_origin")
        since = f" since {origin.value.isoformat()}" if origin is not None else ""
        if time.unit is not None and not since:
            since = "" if time.is_relative or time.counts_rows or time.looks else " since 1970"
        yield f"{field}: {how}{since}" + ("" if zone is None else f", no zone named: {zone.value}")
    if rhythm is not None and not proposal.refusals:
        yield from _rhythm(rhythm, waits="window.lateness_ms" in proposal.settings)
    if scene.key.unique < 1 and "window.grid_ms" not in proposal.settings and not proposal.refusals:
        yield f"{round((1 - scene.key.unique) * scene.rows):,} rows have the key and time of another one"


def _rhythm(rhythm: Rhythm, *, waits: bool) -> Iterator[str]:
    yield f"{instant(rhythm.first_ms)} to {instant(rhythm.last_ms)}"
    if rhythm.step_ms is not None:
        usual = "usually" if rhythm.is_regular else "irregular, about"
        gaps = f"{rhythm.gaps:,} gaps of {GAP_STEPS} steps or more, the longest {span(rhythm.longest_gap_ms)}"
        yield f"{usual} {span(rhythm.step_ms)} apart, {gaps if rhythm.gaps else 'no gaps'}"
    if rhythm.ahead:
        times = f"{rhythm.ahead:,} times lie" if rhythm.ahead > 1 else "1 time lies"
        yield f"{times} far ahead of the rows around it: with window.max_jump_ms that costs `run` no other record"
    if rhythm.is_newest_first:
        yield "newest rows first: sorted by time for learning, read from the last row on by `run`"
    elif rhythm.late:
        live = "and `run` waits for nearly all: window.lateness_ms" if waits else "but late for `run`"
        yield f"{rhythm.late:,} rows are older than an earlier row of their key: sorted by time for learning, {live}"
    else:
        yield "in order"


def _key(scene: Scene) -> str:
    key = scene.key
    if key.field is None:
        what = "the file's name, or the Kafka key"
        return f"no field: {what if key.count == 1 else f'{key.count:,} files or Kafka keys'}"
    keys = "1 key" if key.count == 1 else f"{key.count:,} keys"
    each = f", about {scene.rows // max(key.count, 1):,} rows each" if key.count > 1 else ""
    return f"{key.field}: {keys}{each}" + (f"; {key.why}" if key.why else "")


def _missing(proposal: Proposal) -> frozenset[str]:
    """Return the numbers that are to mean missing, as they are shown."""
    decision = proposal.settings.get("input.missing_values")
    return frozenset() if decision is None else frozenset(decision.value)


def _features(features: Sequence[Feature], missing: frozenset[str]) -> Iterator[str]:
    yield f"{len(features)}"
    width = min(max((len(feature.name) for feature in features), default=0), 40)
    yield from _some([f"  {feature.name:<{width}}  {_facts(feature, missing)}" for feature in features])


def _facts(feature: Feature, missing: frozenset[str]) -> str:
    figures = feature.figures
    facts = [_range(figures, missing)]
    if figures.missing:
        facts.append(f"{figures.missing:,} missing ({figures.missing / (figures.count + figures.missing):.1%})")
    if feature.odd:
        facts.append(f"{feature.odd:,} no number, such as {feature.example!r}")
    if figures.quantum is not None:
        facts.append(f"in steps of {number(figures.quantum)}")
    if not figures.is_constant and 0 < figures.spread < STILL * abs(figures.middle):
        facts.append(f"moves little: spread {rough(figures.spread)} around {number(figures.middle)}")
    if feature.kind not in {"number", "truth value"}:
        facts.append(str(feature.kind))
    return ", ".join(facts)


def _range(figures: Figures, missing: frozenset[str]) -> str:
    if not figures.count:
        return "no value"
    if figures.is_constant:
        return f"always {number(figures.low)}"
    if figures.is_binary:
        return f"0 and 1, {figures.counts[1] / figures.count:.2%} are 1"
    ends = figures.values
    aside = [number(value) for value in (ends[0], ends[-1]) if number(value) in missing]
    ends = ends[number(ends[0]) in missing : len(ends) - (number(ends[-1]) in missing)]
    return f"{number(ends[0])} to {number(ends[-1])}" + (f", and {' and '.join(aside)}" if aside else "")


def _doubt(doubt: Doubt) -> Iterator[str]:
    yield f"{doubt.field}: {doubt.text}" if doubt.field else doubt.text
    answer = "" if doubt.answer is None else f" = {toml(doubt.answer)}"
    shown = answer if len(answer) < 100 else " = ..."
    if doubt.setting:
        yield f"  {'is set' if doubt.is_taken else 'answer'}: {doubt.setting}{shown}"


def _feature_json(feature: Feature) -> dict[str, Any]:
    figures = feature.figures
    return {
        "name": feature.name,
        "kind": str(feature.kind),
        "values": figures.count,
        "missing": figures.missing,
        "no_number": feature.odd,
        "low": figures.low if figures.count else None,
        "high": figures.high if figures.count else None,
        "spread": figures.spread if figures.count else None,
        "distinct": figures.distinct,
        "is_constant": figures.is_constant,
        "step": figures.quantum,
    }
