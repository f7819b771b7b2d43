"""From what sources hold to a proposed reading: settings with the reason of each, doubts, refusals.

What the user set stays as it is and is marked so. Must not know: files, Kafka, or how a proposal is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from streamae.batches import Ints
from streamae.connectors.cell_values import NumberRules
from streamae.connectors.event_times import plausible_range
from streamae.core.contents import contents_of
from streamae.discovery import doubts as ask
from streamae.discovery.columns import Kind
from streamae.discovery.disorder import disorder_of, most_waiting
from streamae.discovery.doubts import Doubt
from streamae.discovery.features import UNITS_IN_CELLS
from streamae.discovery.keys import MERGED, UNIQUE, evener_by, kinds_of, unique_share
from streamae.discovery.rhythm import HOUR_MS, NEAT_MS, Rhythm
from streamae.discovery.scene import Sample, Scene, Wish, look
from streamae.discovery.telling import tellings_of
from streamae.discovery.wording import UNIT_WORDS, instant, span
from streamae.settings.data import WindowSettings

MOST_OF_ONE_TIME = 10  # rows a key that may all have the same time
GAP_STEPS = 10  # usual steps without a row after which a window starts anew
MOST_WAITING = 1_024  # rows of a key, in proposed settings: each costs memory for every key
JUMP_GAPS = 3  # longest silences
DAY_MS = 86_400_000
AHEAD_MS = HOUR_MS  # how far a record's time may be past the Kafka timestamp, in proposed settings


@dataclass(frozen=True, slots=True)
class Decision:
    """The value of a setting.

    Attributes:
        value: as it stands in a settings file.
        why: in a few words.
        is_given: the user said so.
    """

    value: Any
    why: str
    is_given: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """How data would be read.

    Attributes:
        scene: what was found.
        settings: by name, what the settings should say.
        doubts: what a person should be asked.
        refusals: why it cannot be learnt from as it is, each with what to do.
    """

    scene: Scene
    settings: dict[str, Decision]
    doubts: tuple[Doubt, ...]
    refusals: tuple[str, ...]

    def with_more(self, settings: Mapping[str, Decision], doubts: Sequence[Doubt]) -> Proposal:
        """Return it with settings and doubts that its cells do not show."""
        return replace(self, settings={**self.settings, **settings}, doubts=(*doubts, *self.doubts))

    def section(self, name: str) -> dict[str, Any]:
        """Return the proposed values of one section of the settings by field: `input`, `window` or `features`."""
        return {
            setting.partition(".")[2]: decision.value
            for setting, decision in self.settings.items()
            if setting.startswith(f"{name}.")
        }


@dataclass(slots=True)
class _Draft:
    """What is decided so far; one a call of `propose`."""

    wish: Wish
    settings: dict[str, Decision] = field(default_factory=dict)
    doubts: list[Doubt] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def decide(self, name: str, value: Any, why: str) -> None:
        """Take a value, unless the user gave one."""
        is_given = name in self.wish.given
        if is_given:
            section, _, of = name.partition(".")
            value, why = getattr(getattr(self.wish, section), of), "as you said"
        self.settings[name] = Decision(value, why, is_given)

    def ask(self, doubts: Sequence[Doubt], why: str = "") -> None:
        """Keep the doubts that the user has not answered already; take what is as good as certain."""
        for doubt in doubts:
            if doubt.setting in self.wish.given:
                continue
            self.doubts.append(doubt)
            if doubt.is_taken and doubt.answer is not None:
                known = self.settings[doubt.setting].value if doubt.setting in self.settings else None
                self.settings[doubt.setting] = Decision(added(known, doubt.answer), why or doubt.text)


def propose(samples: Sequence[Sample], wish: Wish, now_ms: int, rules: NumberRules | None = None) -> Proposal:
    """Return how data would be read; see `scene.look` for arguments and errors."""
    scene = look(samples, wish, now_ms, rules)
    draft = _Draft(wish)
    _decide_layout(draft, scene)
    _decide_time(draft, scene, now_ms)
    _decide_key(draft, scene)
    _decide_values(draft, scene)
    _decide_rows(draft, scene)
    _decide_bounds(draft, scene)
    for name in sorted(wish.given - draft.settings.keys()):
        if name.startswith(("input.", "window.", "features.")):
            draft.decide(name, None, "")
    return Proposal(scene, draft.settings, tuple(draft.doubts), tuple(draft.refusals))


def added(known: Any, more: Any) -> Any:
    """Return two answers to one setting as one: names after names, tables together."""
    if isinstance(known, dict):
        return known | more
    return (*known, *(one for one in more if one not in known)) if isinstance(known, tuple) else more


def _decide_layout(draft: _Draft, scene: Scene) -> None:
    metrics = scene.metrics
    if metrics is None:
        draft.decide("input.layout", "wide", "a record holds all features")
        return
    draft.decide("input.layout", "long", "a record holds one metric")
    draft.decide("input.name_field", metrics.name_field, f"{len(scene.columns[metrics.name_field].places)} metrics")
    draft.decide("input.value_field", metrics.value_field, "the metric's value")
    draft.decide("input.unknown_features", "ignore", "other metrics may come with them")


def _decide_time(draft: _Draft, scene: Scene, now_ms: int) -> None:
    time, given = scene.time, draft.wish.given
    if draft.wish.input.row_ms is not None and (time is None or not time.is_known):
        draft.decide("input.row_ms", None, "")
        return
    if time is None:
        if scene.times_ms is None and (scene.features or not _lists(scene)):
            draft.refusals.append(
                "no field holds a time: name it with --input.time_field, or say with --input.row_ms how many"
                " milliseconds lie between two rows"
            )
        return
    draft.decide("input.time_field", time.field, "holds times in order" if time.looks is None else time.looks)
    if time.date_field is not None:
        draft.decide("input.date_field", time.date_field, f"the date of {time.field}")
    if time.unit is not None and not scene.is_text and scene.columns[time.field].kind is Kind.TEXT_NUMBER:
        draft.decide("input.numbers", "text", f"the numbers of {time.field} are written as text")
    if time.unit is not None:
        draft.decide("input.time_unit", time.unit, "the unit in which the times are plausible")
    if time.format is not None:
        draft.decide("input.time_format", time.format, "how the times are written")
    if time.has_zone is False and not time.is_relative:
        draft.decide("input.time_zone", "UTC", "the times name no zone: say where their clock stands, if not in UTC")
    if time.others:
        text = f"{time.format} and {time.others[0]} both read every time: the first gives the more regular rows"
        draft.ask([Doubt(time.field, text, "input.time_format", time.others[0])])
    if scene.rhythm is not None and scene.rhythm.falls_back_hour and time.has_zone is False:
        text = "the clock falls back by one hour: local time with summer time, of a zone such as Europe/Rome?"
        draft.ask([Doubt(time.field, text, "input.time_zone")])
    if time.counts_rows:
        draft.refusals.append(
            f"{time.field} counts the rows and no field holds a time: say with --input.row_ms how many milliseconds"
            " lie between two rows, or with --input.time_origin when the first one was"
        )
    elif time.is_relative:
        what = UNIT_WORDS[time.unit] if time.unit else "the time of day"
        draft.refusals.append(
            f"{time.field} holds {what} without saying from when on: give --input.time_origin, such as"
            " 2025-03-03T00:00:00Z"
        )
    elif not given & {"input.min_time_ms", "input.time_unit"}:
        _refuse_implausible(draft, scene, now_ms)


def _refuse_implausible(draft: _Draft, scene: Scene, now_ms: int) -> None:
    """Refuse times of which most are too old or lie ahead; a few are only mentioned."""
    time, rhythm = scene.time, scene.rhythm
    if time is None or rhythm is None:
        return
    if time.looks is not None:
        draft.refusals.append(f"{time.field}: {time.looks}")
        return
    if rhythm.step_ms is None and scene.rows > MOST_OF_ONE_TIME * scene.key.count:
        draft.refusals.append(
            f"{time.field}: all rows of a key have one time: name another field with --input.time_field, with"
            " --input.date_field where it holds the date only"
        )
        return
    earliest, latest = plausible_range(now_ms)
    if rhythm.first_ms < earliest or rhythm.last_ms > latest:
        draft.refusals.append(
            f"{time.field}: times from {instant(rhythm.first_ms)} to {instant(rhythm.last_ms)} are implausible: say how"
            " to read them with --input.time_format or --input.time_unit, or allow them with --input.min_time_ms"
        )
    elif strange := int(np.count_nonzero(~scene.is_usable)):
        text = f"{strange:,} of {scene.rows:,} rows have no time, or one that is implausible: they are refused"
        draft.ask([Doubt(time.field, text, "input.time_format")])


def _decide_key(draft: _Draft, scene: Scene) -> None:
    key = scene.key
    if key.field is not None:
        keys = "1 key" if key.count == 1 else f"{key.count:,} keys"
        draft.decide("input.key_field", key.field, f"{keys}, {key.why}".rstrip(", "))
    elif key.codes.min() < 0:
        draft.refusals.append("records have no Kafka key and no field is one: name it with --input.key_field")
    elif scene.times_ms is not None and key.unique < MERGED and not _merges(scene):
        share = 1 / max(key.unique, 1e-9)
        text = f"each time stands in about {share:.3g} rows: several keys that no field tells apart?"
        draft.ask([Doubt("", text, "input.key_field")])
    elif scene.times_ms is not None and scene.metrics is None and not (key.unique < MERGED and _merges(scene)):
        draft.ask(_device_doubts(scene, scene.times_ms))
    if scene.spread_keys:
        text = f"{scene.spread_keys:,} of {key.count:,} keys stand in several partitions, and each keeps a state of its own"
        draft.ask([Doubt(key.field or "", f"{text}: let the producer partition by the key", "")])
    if key.field is not None and key.count > 0.5 * scene.rows:
        text = "nearly every record has a key of its own: nothing can be learnt of any"
        draft.ask([Doubt(key.field, text, "input.key_field")])


def _device_doubts(scene: Scene, times_ms: Ints) -> list[Doubt]:
    """Return a doubt where rows are more evenly spaced within the texts of a field: those of several keys."""
    field = evener_by(scene.columns, scene.key, times_ms, scene.is_usable)
    if field is None:
        return []
    text = f"rows are much more evenly spaced within each of its {scene.columns[field].distinct} texts: one key each?"
    return [Doubt(field, text, "input.key_field", field)]


def _decide_values(draft: _Draft, scene: Scene) -> None:
    features, roles, of = scene.features, scene.roles, draft.wish.input
    if not features:
        draft.refusals.append(_why_no_features(scene))
    for one in features:
        if not one.figures.count:
            draft.refusals.append(f"{one.name} holds no numbers: leave it out of --input.value_fields")
    if features and all(one.figures.is_constant for one in features):
        text = "always the same: any other value will stand out, and nothing else is learnt"
        draft.ask([Doubt(ask.named([one.name for one in features]), text, "input.value_fields")])
    draft.decide("input.value_fields", tuple(feature.name for feature in features), "the features")
    draft.ask(ask.label_doubts(roles, scene.columns))
    if of.label_field is not None:
        draft.decide("input.label_field", of.label_field, "")
    if roles.record_id is not None:
        draft.decide("input.id_field", roles.record_id, "a record's own id")
    draft.ask(ask.spelling_doubts(features, is_text=scene.is_text))
    draft.ask(ask.sentinel_doubts(features))
    draft.ask(ask.counter_doubts(features))
    draft.ask(ask.twin_doubts(features))
    if scene.key.field is None and scene.key.unique >= MERGED and scene.metrics is None:
        draft.ask(ask.interleaved_doubts(features))
    draft.decide("input.bad_value", "missing", "one bad field need not cost its record")


def _lists(scene: Scene) -> list[str]:
    """Return the fields that hold lists."""
    return [name for name, column in scene.columns.items() if column.kind is Kind.NESTED]


def _why_no_features(scene: Scene) -> str:
    """Return why nothing can be learnt, and what helps where the cells show it."""
    texts = [left for left in scene.left_out if left.why.startswith(UNITS_IN_CELLS)]
    if texts:
        return f"no field holds numbers to learn from: {texts[0].field} holds {texts[0].why}"
    lists = _lists(scene)
    if lists:
        return (
            f"no field holds numbers to learn from: {lists[0]} holds lists: write a record for each of their elements"
        )
    return "no field holds numbers to learn from: name them with --input.value_fields"


def _decide_rows(draft: _Draft, scene: Scene) -> None:
    """Decide about the grid, and which features are held."""
    rhythm, times = scene.rhythm, scene.times_ms
    if rhythm is None or times is None:
        return
    step = rhythm.step_ms or 1_000
    is_merged = scene.metrics is not None or (scene.key.unique < MERGED and _merges(scene))
    if is_merged:
        why = "a row takes all metrics of its time" if scene.metrics is not None else "several records make one row"
        draft.decide("window.grid_ms", step, f"{why}; their usual step is {span(step)}")
        draft.ask(_kind_doubts(scene))
    elif scene.key.unique < UNIQUE and (scene.key.field is not None or scene.key.unique >= MERGED):
        draft.ask([_equal_times(scene, times)])
    usable = scene.is_usable
    if not (rhythm.is_newest_first or rhythm.falls_back_hour):
        _decide_lateness(draft, times[usable], scene.key.codes[usable], step if is_merged else 1)
    tellings = tellings_of(scene.features, scene.key.codes[usable], times[usable], step if is_merged else None)
    draft.ask(ask.hold_doubts(tellings, is_long=scene.metrics is not None))


def _decide_lateness(draft: _Draft, times_ms: Ints, keys: Ints, grid_ms: int) -> None:
    """Decide how long `run` waits for older records, where some of these came late."""
    found = disorder_of(times_ms, keys, grid_ms)
    if found is None:
        return
    wait = _neat(found.lateness_ms)
    why = f"{found.share:.1%} of the rows come late, nearly all by {span(found.lateness_ms)} or less"
    draft.decide("window.lateness_ms", wait, f"{why}: rows wait so long, and events with them")
    rows = most_waiting(times_ms, keys, wait)
    if rows > WindowSettings().lateness_rows:
        draft.decide("window.lateness_rows", min(rows, MOST_WAITING), f"rows of a key that come within {span(wait)}")


def _equal_times(scene: Scene, times_ms: Ints) -> Doubt:
    """Return what becomes of rows that have the key and time of another one: it depends on what they say."""
    columns, usable = scene.columns, scene.is_usable
    numbers = [columns[feature.name].numbers for feature in scene.features if feature.name in columns]
    numbers += [columns[scene.roles.record_id].codes.astype(np.float64)] if scene.roles.record_id is not None else []
    said = contents_of(np.column_stack(numbers)[usable]) if numbers else np.zeros(usable.sum(), np.uint64)
    keys, times = scene.key.codes[usable], times_ms[usable]
    share = 1 - unique_share(times, keys)
    repeated = 1 - unique_share(times, keys, said.view(np.int64))
    fate = "each is a row of its own"
    if repeated:
        fate = f"{repeated:.1%} say the same again and are dropped"
        fate += ", the others are rows of their own" if repeated < share else ""
    text = f"{share:.1%} of the rows have the key and time of another one: {fate}"
    return Doubt(scene.key.field or "", text, "window.equal_time" if repeated < share else "window.duplicate")


def _decide_bounds(draft: _Draft, scene: Scene) -> None:
    """Decide when a window starts anew, and which times are taken."""
    rhythm = scene.rhythm
    if rhythm is None:
        return
    if rhythm.step_ms is not None:
        gap = _gap(rhythm)
        draft.decide("window.max_gap_ms", gap, f"after {span(gap)} without a row a window starts anew")
        if rhythm.is_ordered:
            jump = _jump(rhythm)
            draft.decide(
                "window.max_jump_ms", jump, f"a time more than {span(jump)} ahead counts when another confirms it"
            )
    if not draft.refusals and draft.wish.input.row_ms is None:
        year = datetime.fromtimestamp(rhythm.first_ms / 1_000, UTC).year - 1
        earliest = int(datetime(max(year, 1970), 1, 1, tzinfo=UTC).timestamp() * 1_000)
        draft.decide("input.min_time_ms", earliest, f"{instant(earliest)[:10]}: older times are refused")
        draft.decide("input.max_future_ms", AHEAD_MS, "times further ahead of Kafka's are refused")


def _gap(rhythm: Rhythm) -> int:
    """Return the longest step across which a window goes on: some usual ones, and more where rows come irregularly."""
    step = rhythm.step_ms or 1_000
    gap = GAP_STEPS * step if rhythm.is_regular else max(GAP_STEPS * step, 2 * (rhythm.long_step_ms or step))
    return _neat(gap)


def _neat(time_ms: int) -> int:
    """Return a time that reads well and is as long or a little longer, else the time itself."""
    return next((neat for neat in NEAT_MS if time_ms <= neat <= 1.5 * time_ms), time_ms)


def _jump(rhythm: Rhythm) -> int:
    """Return how far ahead a time may be unconfirmed: several times the longest silence seen, an hour at least."""
    wanted = max(HOUR_MS, JUMP_GAPS * rhythm.longest_gap_ms)
    return next((neat for neat in NEAT_MS if neat >= wanted), DAY_MS * -(-wanted // DAY_MS))


def _merges(scene: Scene) -> bool:
    """Tell whether rows of one key and time complete each other: no feature has two values there."""
    return bool(scene.features) and all(
        unique_share(one.times_ms[there], one.keys[there]) >= UNIQUE
        for one in scene.features
        for there in [~np.isnan(one.numbers)]
    )


def _kind_doubts(scene: Scene) -> list[Doubt]:
    """Return a doubt where a field of text tells which features a record has."""
    if scene.metrics is not None:
        return []
    for left in scene.left_out:
        column = scene.columns.get(left.field)
        has = {} if column is None else kinds_of(column, scene.columns)
        if has:
            kinds = "; ".join(f"{word} has {ask.named(names) or 'none'}" for word, names in has.items())
            text = f"records of several kinds, {kinds}: those of one time are merged into one row"
            return [Doubt(left.field, text, "input.only", {left.field: next(iter(has))})]
    return []
