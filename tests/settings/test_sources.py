"""Settings from file, environment and flags: order, sources, secrets, and every problem at once."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.errors import ConfigError
from streamae.settings.documents import describe, settings_table, with_table
from streamae.settings.sources import load_settings
from streamae.settings.tree import SETTING_NAMES, LoadedSettings, Settings, settings_schema

BEGIN, END = "<!-- old:begin -->", "<!-- old:end -->"


def toml(folder: Path, text: str) -> Path:
    """Write a settings file."""
    path = folder / "streamae.toml"
    path.write_text(text, encoding="utf-8")
    return path


def load(
    file: Path | None = None, env: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> LoadedSettings:
    """Load with nothing but what is given."""
    return load_settings(file, env or {}, flags or {})


def problems(
    file: Path | None = None, env: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> list[str]:
    """Return all complaints about these sources."""
    with pytest.raises(ConfigError) as caught:
        load(file, env, flags)
    return caught.value.problems


def test_without_sources_all_is_default() -> None:
    """An empty environment gives the documented defaults, and says so for each."""
    loaded = load()
    assert loaded.settings == Settings()
    assert loaded.sources == dict.fromkeys(SETTING_NAMES, "default")


@pytest.mark.parametrize(
    ("file", "env", "flag"), list(itertools.product([False, True], repeat=3)), ids=lambda given: "x" if given else "-"
)
def test_later_sources_win(tmp_path: Path, file: bool, env: bool, flag: bool) -> None:
    """Flags beat the environment, which beats the file, which beats the default; the source names the winner."""
    path = toml(tmp_path, '[kafka]\ngroup_id = "file"\n')
    loaded = load(
        path if file else None,
        {"STREAMAE_KAFKA__GROUP_ID": "env"} if env else {},
        {"kafka.group_id": "flag"} if flag else {},
    )
    expected = {
        (False, False, False): ("streamae", "default"),
        (True, False, False): ("file", f"file:{path}"),
    }.get((file, env, flag), ("env", "env:STREAMAE_KAFKA__GROUP_ID"))
    if flag:
        expected = ("flag", "flag:--kafka.group_id")
    assert (loaded.settings.kafka.group_id, loaded.sources["kafka.group_id"]) == expected


def test_sources_merge_field_by_field(tmp_path: Path) -> None:
    """A variable for one field leaves the file's other fields of the section alone."""
    path = toml(tmp_path, '[kafka]\ngroup_id = "a"\ninstance_id = "b"\n')
    loaded = load(path, {"STREAMAE_KAFKA__GROUP_ID": "c"})
    assert (loaded.settings.kafka.group_id, loaded.settings.kafka.instance_id) == ("c", "b")


def test_the_file_is_typed(tmp_path: Path) -> None:
    """Numbers, lists, tables and paths come out of TOML as what they are."""
    path = toml(
        tmp_path,
        "[input]\ntopics = ['a', 'b']\nfiles = ['x.csv']\n"
        "[window]\ngrid_ms = 500\nmissing_overrides = { temperature = 'constant' }\n[threshold]\nk = 6\n",
    )
    settings = load(path).settings
    assert settings.input.topics == ("a", "b")
    assert settings.input.files == (Path("x.csv"),)
    assert settings.window.grid_ms == 500
    assert settings.window.missing_overrides == {"temperature": "constant"}
    assert settings.threshold.k == 6.0


@pytest.mark.parametrize(
    ("text", "topics"),
    [
        ("a", ("a",)),
        ("a,b", ("a", "b")),
        (" a , b ,", ("a", "b")),
        ('["a", "b,c"]', ("a", "b,c")),
        (' ["a"]', ("a",)),
    ],
)
@pytest.mark.parametrize("as_flag", [False, True], ids=["env", "flag"])
def test_lists_are_comma_separated_or_json(text: str, topics: tuple[str, ...], as_flag: bool) -> None:
    """The two ways people write lists in one variable both work, and the same in a flag."""
    loaded = load(flags={"input.topics": text}) if as_flag else load(env={"STREAMAE_INPUT__TOPICS": text})
    assert loaded.settings.input.topics == topics


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=",[{"), min_size=1)))
def test_any_plain_list_survives_both_spellings(names: list[str]) -> None:
    """A list reads back the same from commas and from JSON."""
    for text in (",".join(names), json.dumps(names)):
        assert load(flags={"input.value_fields": text}).settings.input.value_fields == tuple(names)


def test_tables_are_json() -> None:
    """A table in a variable is a JSON object; the case of its keys is kept."""
    loaded = load(env={"STREAMAE_WINDOW__MISSING_OVERRIDES": '{"Temp C": "constant"}'})
    assert loaded.settings.window.missing_overrides == {"Temp C": "constant"}


@pytest.mark.parametrize(
    ("text", "fields"),
    [("a,b", ("a", "b")), ('["a"]', ("a",)), ('{"load": "cpu.load"}', {"load": "cpu.load"}), ("", ())],
)
def test_a_list_or_table_is_told_apart(text: str, fields: object) -> None:
    """A setting that may be either reads as what it looks like; nothing is neither."""
    for loaded in (load(flags={"input.value_fields": text}), load(env={"STREAMAE_INPUT__VALUE_FIELDS": text})):
        assert loaded.settings.input.value_fields == fields
    for wrong, where in (('{"a": 3}', "[table][a]"), ("[1]", "[list][0]")):
        (problem,) = problems(flags={"input.value_fields": wrong})
        assert problem.startswith(f"input.value_fields: {where} Input should be a valid string")


def test_what_a_bundle_may_say_can_wait_for_it() -> None:
    """A layout that needs a grid is no error before the bundle is read; everything else is."""
    flags = {"input.layout": "long"}
    assert load_settings(None, {}, flags, awaits_bundle=True).settings.input.layout == "long"
    assert [line.partition(":")[0] for line in problems(flags=flags)] == ["input.layout"]
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {}, flags | {"input.source": "files"}, awaits_bundle=True)
    assert [line.partition(":")[0] for line in caught.value.problems] == ["input.files"]


def test_a_conflict_of_two_features_names_its_setting() -> None:
    """What is derived from records in a layout without rows is a line like any other, with its source."""
    flags = {"input.layout": "long", "window.grid_ms": "5", "features.since_previous": "true"}
    (problem,) = problems(flags=flags)
    assert problem.startswith("features.category_fields: these, and since_previous, need input.layout = wide")


@pytest.mark.parametrize(
    ("name", "value"),
    [("window.grid_ms", None), ("kafka.instance_id", None), ("input.files", ()), ("window.missing_overrides", {})],
)
def test_empty_text_unsets(tmp_path: Path, name: str, value: object) -> None:
    """A flag with no text takes back what a file has set, where there is such a thing as unset."""
    path = toml(
        tmp_path,
        "[window]\ngrid_ms = 5\nmissing_overrides = { a = 'constant' }\n"
        "[kafka]\ninstance_id = 'x'\n[input]\nfiles = ['f']\n",
    )
    section, field = name.split(".")
    assert getattr(getattr(load(path).settings, section), field) != value
    assert getattr(getattr(load(path, flags={name: ""}).settings, section), field) == value


@pytest.mark.parametrize("name", ["kafka.group_id", "train.seed", "input.topics"])
def test_empty_text_is_refused_where_a_value_is_needed(name: str) -> None:
    """Emptiness never silently means the default."""
    assert [line.partition(":")[0] for line in problems(flags={name: ""})] == [name]


def test_variables_may_be_written_in_any_case() -> None:
    """After the prefix only the letters count, as everywhere with environment variables."""
    loaded = load(env={"STREAMAE_kafka__Group_Id": "x"})
    assert loaded.settings.kafka.group_id == "x"
    assert loaded.sources["kafka.group_id"] == "env:STREAMAE_kafka__Group_Id"


def test_other_variables_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only our prefix is looked at, and only in the environment that was passed in."""
    monkeypatch.setenv("STREAMAE_KAFKA__GROUP_ID", "from the process")
    loaded = load(env={"PATH": "/bin", "KAFKA__GROUP_ID": "x", "streamae_kafka__group_id": "y", "STREAMAEX": "z"})
    assert loaded.settings == Settings()


@pytest.mark.parametrize(
    "variable",
    [
        "STREAMAE_PORT",
        "STREAMAE_SERVICE_HOST",
        "STREAMAE_SERVICE_PORT",
        "STREAMAE_SERVICE_PORT_METRICS",
        "STREAMAE_PORT_9464_TCP",
        "STREAMAE_PORT_9464_TCP_ADDR",
        "STREAMAE_METRICS_SERVICE_HOST",
        "STREAMAE_METRICS_PORT_80_UDP_PROTO",
    ],
)
def test_variables_that_kubernetes_adds_are_ignored(variable: str) -> None:
    """A Service called streamae in the same namespace must not stop the pods from starting."""
    assert load(env={variable: "tcp://10.0.0.1:9464"}).settings == Settings()


@pytest.mark.parametrize(
    "variable",
    [
        "STREAMAE_KAFKA",
        "STREAMAE_KAFKA_GROUP_ID",
        "STREAMAE_",
        "STREAMAE_WINDOW__MISSING_OVERRIDES__TEMP",
        "STREAMAE_X",
    ],
)
def test_variables_of_another_form_are_refused(variable: str) -> None:
    """A mistyped variable is an error, not a setting that quietly never arrives."""
    assert problems(env={variable: "v"}) == [
        f"{variable}: not of the form STREAMAE_SECTION__FIELD (env:{variable})",
    ]


@pytest.mark.parametrize("source", ["file", "env", "flag"])
def test_unknown_settings_are_refused_with_the_nearest_name(tmp_path: Path, source: str) -> None:
    """A typo is named with its source and what was probably meant."""
    if source == "file":
        path = toml(tmp_path, "[kafka]\ngroupid = 'x'\n")
        found, origin = problems(path), f"file:{path}"
    elif source == "env":
        found, origin = problems(env={"STREAMAE_KAFKA__GROUPID": "x"}), "env:STREAMAE_KAFKA__GROUPID"
    else:
        found, origin = problems(flags={"kafka.groupid": "x"}), "flag:--kafka.groupid"
    assert found == [f"kafka.groupid: unknown setting, did you mean kafka.group_id? ({origin})"]


def test_unknown_sections_are_refused(tmp_path: Path) -> None:
    """A mistyped table name is found too, also one without fields."""
    path = toml(tmp_path, "[kafak]\n[zzzzzz]\n")
    assert problems(path) == [
        f"kafak: unknown setting, did you mean kafka? (file:{path})",
        f"zzzzzz: unknown setting (file:{path})",
    ]


def test_a_section_must_be_a_table(tmp_path: Path) -> None:
    """A section given as one value is explained, not crashed on."""
    path = toml(tmp_path, "kafka = 3\n")
    assert problems(path) == [f"kafka: must be a table: [kafka] (file:{path})"]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A wrong path never means running with defaults; a folder is no file."""
    assert problems(tmp_path / "none.toml") == [f"--config: no such file (file:{tmp_path / 'none.toml'})"]
    assert problems(tmp_path) == [f"--config: no such file (file:{tmp_path})"]


@pytest.mark.parametrize("content", [b"[kafka\n", b"a = \n", b"a = 1\na = 2\n", b"x = '\xff\xfe'\n"])
def test_a_broken_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    """TOML that cannot be read says so with its file; the other sources are still checked."""
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    first, second = problems(path, flags={"train.seed": "-1"})
    assert first.startswith("--config: not valid TOML: ")
    assert first.endswith(f"(file:{path})")
    assert second.startswith("train.seed: ")


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    """One run shows everything that is wrong, in every source, so that nobody mends one error a restart."""
    path = toml(tmp_path, "[kafka]\nsession_timeout_ms = 'soon'\n[nope]\n[input]\nlayout = 'long'\n")
    env = {"STREAMAE_THRESHOLD__K": "-1", "STREAMAE_STATE__REDIS_PASSWORD_FILE": str(tmp_path / "none")}
    found = problems(path, env, {"train.seed": "x", "model.devise": "cpu", "input.source": "files"})
    assert {line.partition(":")[0] for line in found} == {
        "kafka.session_timeout_ms",
        "nope",
        "input.layout",
        "input.files",
        "threshold.k",
        "state.redis_password_file",
        "train.seed",
        "model.devise",
    }
    assert len(found) == 8


def test_every_problem_names_field_reason_and_source(tmp_path: Path) -> None:
    """Each line has the same form, whatever found it."""
    path = toml(tmp_path, "[kafka]\nsession_timeout_ms = 'soon'\n")
    for line in problems(path, {"STREAMAE_THRESHOLD__K": "-1", "STREAMAE_FOO": "1"}, {"input.source": "files"}):
        assert re.fullmatch(r"[\w.-]+: .+ \((file|env|flag|default)\b.*\)", line), line


def test_conflicts_with_a_refused_value_are_not_reported() -> None:
    """A combination is only judged when its parts were readable: no second complaint about one mistake."""
    found = problems(flags={"window.grid_ms": "-3", "input.layout": "long"})
    assert [line.partition(":")[0] for line in found] == ["window.grid_ms"]


def test_items_of_a_list_are_named(tmp_path: Path) -> None:
    """Which entry of a list is wrong is part of the message."""
    path = toml(tmp_path, "[input]\ntopics = ['a', '', 3]\n")
    first, second = problems(path)
    assert first.startswith("input.topics: [1] ")
    assert second.startswith("input.topics: [2] ")


@pytest.mark.parametrize("text", ["{", "plain", "[1"])
def test_text_that_is_no_table_is_refused(text: str) -> None:
    """Broken JSON is reported as the wrong type of that field, never as a crash."""
    assert problems(flags={"window.missing_overrides": text})[0].startswith("window.missing_overrides: ")


@pytest.mark.parametrize(
    ("secret", "variable"),
    [
        ("state.redis_password", "STREAMAE_STATE__REDIS_PASSWORD"),
        ("kafka.sasl_password", "STREAMAE_KAFKA__SASL_PASSWORD"),
    ],
)
@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_secrets_come_from_files(tmp_path: Path, secret: str, variable: str, ending: str) -> None:
    """A secret file's content arrives in the plain field, without the newline that editors add."""
    path = tmp_path / "secret"
    path.write_text(f" s3cret {ending}", encoding="utf-8", newline="")
    loaded = load(env={f"{variable}_FILE": str(path)})
    section, field = secret.split(".")
    assert getattr(getattr(loaded.settings, section), field).get_secret_value() == " s3cret "
    assert loaded.sources[secret] == f"secret file {path}"
    assert loaded.sources[f"{secret}_file"] == f"env:{variable}_FILE"


def test_a_secret_given_twice_is_an_error(tmp_path: Path) -> None:
    """Value and file together are ambiguous, also across sources; neither is shown."""
    path = tmp_path / "secret"
    path.write_text("from-file", encoding="utf-8")
    file = toml(tmp_path, f"[state]\nredis_password_file = '{path}'\n")
    (line,) = problems(file, {"STREAMAE_STATE__REDIS_PASSWORD": "from-env"})
    assert line.startswith("state.redis_password: given twice")
    assert str(file) in line
    assert "env:STREAMAE_STATE__REDIS_PASSWORD" in line
    assert "from-env" not in line
    assert "from-file" not in line


def test_a_secret_file_can_be_taken_back(tmp_path: Path) -> None:
    """An empty flag unsets the file of an earlier source, and the plain secret is used."""
    file = toml(tmp_path, "[state]\nredis_password_file = '/none'\n")
    loaded = load(file, {"STREAMAE_STATE__REDIS_PASSWORD": "plain"}, {"state.redis_password_file": ""})
    assert loaded.settings.state.redis_password is not None
    assert loaded.settings.state.redis_password.get_secret_value() == "plain"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_unusable_secret_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    """A missing, empty or binary secret file stops the start instead of failing at the first login."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    (line,) = problems(flags={"state.redis_password_file": str(path)})
    assert line.startswith("state.redis_password_file: ")
    assert line.endswith("(flag:--state.redis_password_file)")


def test_problems_never_show_a_secret(tmp_path: Path) -> None:
    """Neither a wrong secret nor a right one beside another mistake appears in any message."""
    path = toml(tmp_path, "[kafka]\nsasl_password = 12345678\n[train]\nseed = -1\n")
    found = problems(path, {"STREAMAE_STATE__REDIS_PASSWORD": "hunter2", "STREAMAE_KAFKA__SASL_PASWORD": "hunter3"})
    assert len(found) == 3
    assert not re.search("12345678|hunter", "\n".join(found))


def test_describe_lists_every_setting_once_in_order() -> None:
    """`streamae config` shows the whole tree."""
    assert tuple(row.name for row in describe(load())) == SETTING_NAMES


def test_describe_shows_values_as_they_are_written(tmp_path: Path) -> None:
    """Effective values read like TOML; unset is a dash."""
    loaded = load(
        env={"STREAMAE_WINDOW__MISSING_OVERRIDES": '{"a": "constant"}'},
        flags={"input.topics": "a,b", "threshold.k": "6", "model.bundle": "b/c", "kafka.group_id": 'x"ü'},
    )
    rows = {row.name: row for row in describe(loaded)}
    assert rows["input.topics"].value == '["a", "b"]'
    assert rows["input.topics"].source == "flag:--input.topics"
    assert rows["threshold.k"].value == "6.0"
    assert rows["model.bundle"].value == '"b/c"'
    assert rows["kafka.group_id"].value == '"x\\"ü"'
    assert rows["window.missing_overrides"].value == '{a = "constant"}'
    assert rows["window.grid_ms"] == ("window.grid_ms", "-", "default")


def test_describe_masks_secrets(tmp_path: Path) -> None:
    """A secret shows that it is set and where from, never itself."""
    path = tmp_path / "secret"
    path.write_text("hunter2", encoding="utf-8")
    rows = {row.name: row for row in describe(load(flags={"state.redis_password_file": str(path)}))}
    assert rows["state.redis_password"] == ("state.redis_password", "********", f"secret file {path}")
    assert rows["kafka.sasl_password"].value == "-"
    assert not any("hunter2" in part for row in rows.values() for part in row)


def test_the_table_has_a_line_for_each_setting() -> None:
    """Every setting is documented with default, meaning and choices."""
    lines = settings_table().splitlines()
    assert lines[0] == "| Setting | Default | Meaning |"
    assert [line.split("`")[1] for line in lines[2:]] == list(SETTING_NAMES)
    assert all(line.count(" | ") == 2 for line in lines[2:])
    assert (
        '| `window.late` | `"dead_letter"` | Records older than the key\'s newest. One of `drop`, `dead_letter`. |'
        in lines
    )


def test_only_the_part_between_the_markers_is_rewritten() -> None:
    """The generator leaves the rest of the document alone, and doing it twice changes nothing."""
    text = f"# title\n{BEGIN}\nold\n{END}\nend\n"
    written = with_table(text, "old", "new")
    assert written == f"# title\n{BEGIN}\nnew\n{END}\nend\n"
    assert with_table(written, "old", "new") == written


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_document_without_markers_is_refused(text: str) -> None:
    """A lost marker is an error, not a table that silently ages."""
    with pytest.raises(ValueError, match="old:begin"):
        with_table(text, "old", "new")


def test_the_schema_describes_the_file() -> None:
    """Editors can check a settings file: valid ones pass, unknown fields and bad values do not."""
    schema = settings_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    assert check.is_valid({"kafka": {"group_id": "x"}, "input": {"topics": ["a"]}})
    assert not check.is_valid({"kafka": {"groupid": "x"}})
    assert not check.is_valid({"kafak": {}})
    assert not check.is_valid({"threshold": {"k": -1}})
    json.dumps(schema)
