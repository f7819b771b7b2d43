"""What people and programs read of a proposal."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamae.discovery.doubts import Doubt
from streamae.discovery.proposal import Proposal
from streamae.discovery.report import as_json, report_lines
from streamae.discovery.settings_file import settings_text, toml
from streamae.settings.sources import load_settings
from tests.discovery.tables import START, noise, proposed, settings_of, table, times

ROWS = 200


def _text(proposal: Proposal) -> str:
    return "\n".join(report_lines(proposal, ["utf-8  delimiter ;"], ["200 rows"]))


def _example() -> Proposal:
    """Return a proposal with a bit of everything."""
    return proposed(
        table(
            **{
                "time": times(ROWS, form="%Y-%m-%d %H:%M:%S"),
                "device": ["a", "b"] * 100,
                'note "x"': [f"n{row}" for row in range(ROWS)],
                "co": [
                    -200 if row % 40 == 3 else 50.1 if row == 4 else cell for row, cell in enumerate(noise(ROWS, 50.0))
                ],
                "state": [row % 3 for row in range(ROWS)],
                "fault": [int(row == 9) for row in range(ROWS)],
            }
        )
    )


def test_each_part_has_its_line() -> None:
    """Whoever looks once must see what was taken for time, key and features, what was not, and what is doubtful."""
    text = _text(_example())
    for part in ("text", "layout", "time", "key", "features", "left out", "doubts", "read so"):
        assert f"\n  {part:<10}" in text
    assert "device: 2 keys, about 100 rows each" in text
    assert "no zone named: UTC" in text
    assert "usually 2 min apart" in text
    assert "is set: input.missing_values" in text
    assert "answer: input.label_field" in text


def test_values_are_shown_as_they_were_measured() -> None:
    """50.1 is 50.1, and a sentinel is not part of the range."""
    cells = table(
        time=times(ROWS), temp=[50.1, *noise(ROWS - 1, 45.0)], co=[-200 if row % 40 else 1 for row in range(ROWS)]
    )
    text = _text(proposed(cells))
    assert " to 50.1" in text
    cells = table(time=times(ROWS), co=[-200 if row % 40 == 3 else cell for row, cell in enumerate(noise(ROWS))])
    assert ", and -200" in _text(proposed(cells))


def test_small_movement_on_a_large_offset_is_said_in_its_own_digits() -> None:
    """The digits that move are the last ones."""
    text = _text(proposed(table(time=times(ROWS), hertz=[round(one) for one in noise(ROWS, 2.412e9, 6.0)])))
    assert "moves little" in text
    assert "24119999" in text or "24120000" in text


def test_many_features_do_not_scroll_away_what_matters() -> None:
    """A thousand lines of features hide the doubts."""
    cells = {f"c{number}": noise(ROWS, seed=number) for number in range(100)}
    lines = report_lines(proposed(table(time=times(ROWS), **cells)))
    assert len(lines) < 60
    assert any("60 more" in line for line in lines)


def test_programs_get_stable_names() -> None:
    """A program that reads them must go on working; it is valid JSON whatever the data."""
    found = json.loads(json.dumps(as_json(_example(), [], {"rows": 1}), allow_nan=False))
    assert set(found) == {
        *("sources", "rows", "spelling", "layout", "time", "rhythm", "key", "features", "left_out", "doubts"),
        *("refusals", "settings", "read"),
    }
    assert found["key"] == {"field": "device", "keys": 2, "why": "by its name"}
    assert found["settings"]["input.time_field"] == {"value": "time", "why": "holds times in order", "is_given": False}
    assert {"field", "text", "setting", "answer", "is_taken"} == set(found["doubts"][0])
    assert json.dumps(as_json(proposed(table(a=[""] * 3, b=[1, 2, 3]))), allow_nan=False)


def test_a_settings_file_says_exactly_what_was_decided(tmp_path: Path) -> None:
    """What was shown is what `train` and `run` then do."""
    proposal = _example()
    path = tmp_path / "streamae.toml"
    path.write_text(settings_text(proposal, {"kafka.instance_id": "me"}, "data.csv"), encoding="utf-8")
    loaded = load_settings(path, {}, {})
    for name, value in settings_of(proposal).items():
        section, _, field = name.partition(".")
        assert getattr(getattr(loaded.settings, section), field) == value
    written = {name for name, source in loaded.sources.items() if source != "default"}
    assert written == {*settings_of(proposal), "kafka.instance_id"}


def test_silence_is_proposed_where_keys_could_miss_each_other() -> None:
    """One line switches it on; with one key there is no time to tell its silence by, and what was said stays."""
    text = settings_text(_example(), {}, "data.csv")
    assert "# after_gaps = 10.0" in text
    assert "after_gaps" not in settings_text(
        proposed(table(t=range(1_700_000_000, 1_700_000_040), v=range(40))), {}, "-"
    )
    assert "# after_gaps" not in settings_text(_example(), {"silence.after_ms": 5_000}, "data.csv")


def test_open_doubts_wait_as_comments() -> None:
    """A person switches them on; a machine must not."""
    text = settings_text(_example(), {}, "data.csv")
    assert '# label_field = "fault"' in text
    assert '\nmissing_values = ["-200"]' in text


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ('say "x"\\', '"say \\"x\\"\\\\"'),
        (True, "true"),
        (("a", "b"), '["a", "b"]'),
        ({"a.b": "hold"}, '{"a.b" = "hold"}'),
        (datetime(2025, 3, 3, tzinfo=UTC), "2025-03-03T00:00:00+00:00"),
        (Path("x"), '"x"'),
        (0.25, "0.25"),
    ],
)
def test_values_are_written_as_toml(value: Any, written: str) -> None:
    """A name with a quote in it must not break the file."""
    assert toml(value) == written


def test_a_name_with_line_breaks_stays_in_its_comment(tmp_path: Path) -> None:
    """A comment that ends early becomes a setting."""
    cells = {"time": times(ROWS), "a\nlayout = 1": noise(ROWS), "fault\n[x]": [int(row == 3) for row in range(ROWS)]}
    path = tmp_path / "streamae.toml"
    path.write_text(settings_text(proposed(table(**cells)), {}, "a\nb"), encoding="utf-8")
    assert load_settings(path, {}, {}).settings.input.value_fields == ("a\nlayout = 1",)


def test_what_was_given_is_marked() -> None:
    """The file says which lines are the user's own."""
    given = proposed(table(t=times(ROWS), a=noise(ROWS)), time_field="t", settings={"window.max_gap_ms": 7})
    text = settings_text(given, {}, "x")
    assert 'time_field = "t"  # as you said' in text
    assert "window]\nmax_gap_ms = 7  # as you said" in text


def test_an_answer_is_added_to_what_is_decided(tmp_path: Path) -> None:
    """Whoever takes it in place of the line that stands there must not lose what that said."""
    cells = ["off" if row % 50 == 4 else -200 if row % 20 == 3 else cell for row, cell in enumerate(noise(ROWS))]
    text = settings_text(proposed(table(time=times(ROWS), co=cells)), {}, "data.csv")
    assert 'missing_values = ["-200"]' in text
    (line,) = [line for line in text.splitlines() if line.startswith("# missing_values")]
    assert line == '# missing_values = ["-200", "off"]'
    assert "In place of the line above" in text


def test_an_answer_that_replaces_a_line_says_so() -> None:
    """TOML takes no name twice: whoever only takes the `#` away has a file that no command reads."""
    days = [f"{1 + row % 12:02d}/{1 + row % 12:02d}/2025 10:{row % 60:02d}" for row in range(12)]
    text = settings_text(proposed(table(time=sorted(days), a=noise(12))), {}, "data.csv")
    first, second = (line for line in text.splitlines() if line.startswith(("time_format", "# time_format")))
    assert first.startswith("time_format = ")
    assert second.startswith("# time_format = ")
    assert text.splitlines()[text.splitlines().index(second) - 1].endswith("In place of the line above:")


def test_what_only_a_person_knows_leaves_no_second_line_of_a_setting() -> None:
    """`# key_field = ...` below the key that was found would ask for another one."""
    asked = Doubt("device", "stand in several partitions: let the producer partition by the key", "input.key_field")
    proposal = _example().with_more({}, [asked])
    text = settings_text(proposal, {}, "data.csv")
    assert "# device: stand in several partitions" in text
    assert "# key_field" not in text


def test_rows_out_of_order_are_said_to_be_late_when_they_are_served() -> None:
    """Learning sorts them, the daemon refuses them, but in a file that has its newest rows first."""
    mixed = times(ROWS)[50:] + times(ROWS)[:50]
    assert "50 rows are older" in _text(proposed(table(time=mixed, a=noise(ROWS))))
    assert "late for `run`" in _text(proposed(table(time=mixed, a=noise(ROWS))))
    assert "read from the last row on by `run`" in _text(proposed(table(time=times(ROWS)[::-1], a=noise(ROWS))))
    assert "late" not in _text(proposed(table(time=times(ROWS), a=noise(ROWS))))


def test_json_inside_of_text_is_named() -> None:
    """Messages wrapped as text hold the measurements: whoever reads only *text* looks for the fault elsewhere."""
    cells = table(time=times(ROWS), temp=noise(ROWS), payload=[f'{{"t": {row}}}' for row in range(ROWS)])
    same = table(time=times(ROWS), temp=noise(ROWS), payload=["[1, 2]"] * ROWS)
    for one in (cells, same):
        assert "payload: JSON inside of text, which is not looked into" in _text(proposed(one))
    braces = table(time=times(ROWS), temp=noise(ROWS), note=["{see manual}"] * ROWS)
    assert "JSON" not in _text(proposed(braces))


def _with_jump(rows: int, *jumps: int) -> Proposal:
    """Return what is proposed for a sensor of which these rows are 20 h ahead."""
    cells = times(rows)
    for row in jumps:
        cells[row] = (START + timedelta(hours=20, minutes=row)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return proposed(table(time=cells, a=noise(rows)))


@pytest.mark.parametrize(("jumps", "says"), [((), None), ((90,), "1 time lies"), ((50, 90), "2 times lie")])
def test_single_times_far_ahead_are_counted_and_change_nothing_else(jumps: tuple[int, ...], says: str | None) -> None:
    """Who looks at data with a wild time is told so, and sees step, range and order of all other rows."""
    proposal = _with_jump(ROWS, *jumps)
    text = _text(proposal)
    assert ("far ahead of the rows around" in text) == bool(says)
    assert says is None or says in text
    assert "usually 1 min apart, no gaps" in text
    assert "in order" in text
    assert "to 2025-03-03 03:19:00Z" in text
    assert proposal.settings["window.max_jump_ms"].value == 3_600_000


def test_how_far_ahead_a_time_may_be_follows_the_longest_silence() -> None:
    """Three times what the key was silent, and never less than an hour, so that usual pauses are no jumps."""
    cells = [*times(100), *times(100, start=START + timedelta(hours=5))]
    assert proposed(table(time=cells, a=noise(200))).settings["window.max_jump_ms"].value == 12 * 3_600_000
    cells = [*times(100), *times(100, start=START + timedelta(days=5))]
    assert proposed(table(time=cells, a=noise(200))).settings["window.max_jump_ms"].value == 15 * 86_400_000


@pytest.mark.parametrize("seed", [3, 5])
def test_rows_in_no_order_say_nothing_of_clocks(seed: int) -> None:
    """A shuffled file has neither wild times nor a proposal for them: live, nearly every record would be a jump."""
    cells = times(ROWS, step_s=7_200)
    np.random.default_rng(seed).shuffle(cells)
    proposal = proposed(table(time=cells, a=noise(ROWS)))
    assert "far ahead" not in _text(proposal)
    assert "window.max_jump_ms" not in proposal.settings
