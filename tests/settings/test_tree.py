"""The settings tree itself: every field is documented, bounded and consistent with the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import SecretStr, ValidationError

from streamae.settings.data import InputSettings
from streamae.settings.section import Section
from streamae.settings.tree import DECISION_INPUT_FIELDS, LoadedSettings, Settings, fingerprint

SECTIONS = {name: field.annotation for name, field in Settings.model_fields.items()}
FIELDS = [
    (section, name, field)
    for section, kind in SECTIONS.items()
    if isinstance(kind, type) and issubclass(kind, Section)
    for name, field in kind.model_fields.items()
]
SASL = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "u", "sasl_password": "p"}


def settings(**sections: dict[str, Any]) -> Settings:
    """Validate a tree with some sections changed."""
    return Settings.model_validate(sections)


def test_the_defaults_are_valid() -> None:
    """Nothing has to be set to start: the defaults pass their own checks."""
    assert Settings() == Settings.model_validate({})


@pytest.mark.parametrize(("section", "name", "field"), FIELDS, ids=[f"{s}.{n}" for s, n, _ in FIELDS])
def test_every_setting_is_described(section: str, name: str, field: Any) -> None:
    """The table of docs/settings.md is generated, so a setting without a sentence would be an empty cell."""
    assert field.description is not None
    assert field.description.endswith(".")
    assert "\n" not in field.description


def test_names_follow_the_rules() -> None:
    """Settings do not repeat their section, do not end in _config, and durations carry their unit."""
    for section, name, field in FIELDS:
        assert not name.startswith(f"{section}_"), name
        assert not name.endswith("_config"), name
        if "timeout" in name or "interval" in name or "backoff" in name:
            assert name.endswith("_ms"), name
            assert int in {field.annotation, *get_args(field.annotation)}, name


def test_the_tree_is_two_levels_deep() -> None:
    """`section.field` names every setting; flags and variables rely on it."""
    assert all(isinstance(kind, type) and issubclass(kind, Section) for kind in SECTIONS.values())
    assert not any(isinstance(field.annotation, type) and issubclass(field.annotation, Section) for *_, field in FIELDS)


def test_settings_are_frozen() -> None:
    """Nobody changes settings behind another's back."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings().kafka.group_id = "other"


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("kafka", "group_id", ""),
        ("kafka", "security_protocol", "TLS"),
        ("input", "topics", []),
        ("input", "max_record_bytes", 0),
        ("window", "stride", 0),
        ("window", "max_imputed_share", 1.1),
        ("window", "missing_overrides", {"a": "guess"}),
        ("window", "missing_constant", float("nan")),
        ("threshold", "k", float("inf")),
        ("threshold", "quantile", 0.5),
        ("episode", "exit_ratio", 0),
        ("model", "cpu_chunk_size", 257),
        ("service", "http_port", 65_536),
        ("service", "log_level", "loud"),
        ("train", "window_size", 3),
        ("train", "dropout", 1.0),
        ("state", "redis_url", "http://127.0.0.1"),
        ("limits", "max_keys", -1),
        ("limits", "no_such_field", 1),
    ],
)
def test_values_out_of_bounds_are_refused(section: str, name: str, value: Any) -> None:
    """A wrong value stops the start; it never becomes a surprise at run time."""
    with pytest.raises(ValidationError) as caught:
        settings(**{section: {name: value}})
    assert caught.value.errors()[0]["loc"][:2] == (section, name)


@pytest.mark.parametrize("url", ["redis://:secret@h:1/0", "redis://user@h:1/0", "rediss://u:p@h"])
def test_credentials_in_the_redis_url_are_refused_unseen(url: str) -> None:
    """URLs are printed and logged, so a password must not be in one, nor in the complaint about it."""
    with pytest.raises(ValidationError) as caught:
        settings(state={"redis_url": url})
    assert "redis_password_file" in caught.value.errors()[0]["msg"]
    assert "secret" not in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/0", "rediss://host:1/3", "unix:///run/redis.sock"])
def test_plain_redis_urls_are_accepted(url: str) -> None:
    """All three schemes of Redis work."""
    assert settings(state={"redis_url": url}).state.redis_url == url


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"input": {"layout": "long"}}, "input.layout"),
        ({"window": {"grid_ms": 1_000, "missing": "reject"}}, "window.missing"),
        ({"window": {"grid_ms": 1_000, "missing_overrides": {"a": "reject"}}}, "window.missing"),
        ({"input": {"source": "files"}}, "input.files"),
        (
            {"kafka": {"transaction_timeout_ms": 60_000, "max_poll_interval_ms": 59_999}},
            "kafka.transaction_timeout_ms",
        ),
        ({"kafka": {**SASL, "sasl_mechanism": None}}, "kafka.sasl_mechanism"),
        ({"kafka": {**SASL, "sasl_username": None}}, "kafka.sasl_username"),
        ({"kafka": {**SASL, "sasl_password": None}}, "kafka.sasl_password_file"),
        ({"kafka": {"ssl_cert_file": "c.pem"}}, "kafka.ssl_cert_file"),
        ({"kafka": {"ssl_key_file": "k.pem"}}, "kafka.ssl_cert_file"),
        ({"episode": {"min_duration_windows": 3, "out_of_windows": 2}}, "episode.out_of_windows"),
        ({"train": {"window_size": 4, "recent_steps": 5}}, "train.recent_steps"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(sections: dict[str, dict[str, Any]], field: str) -> None:
    """What only shows in the combination is found at the start too, and named by a field."""
    with pytest.raises(ValidationError) as caught:
        settings(**sections)
    assert caught.value.errors()[0]["loc"] == ()
    assert caught.value.errors()[0]["msg"].removeprefix("Value error, ").startswith(f"{field}: ")


@pytest.mark.parametrize(
    "sections",
    [
        {"input": {"layout": "long"}, "window": {"grid_ms": 1_000}},
        {"window": {"grid_ms": 1_000, "missing": "constant"}},
        {"window": {"missing": "reject"}},
        {"input": {"source": "files", "files": ["a.csv"]}},
        {"kafka": {"transaction_timeout_ms": 60_000, "max_poll_interval_ms": 60_000}},
        {"kafka": SASL},
        {"kafka": {"ssl_cert_file": "c.pem", "ssl_key_file": "k.pem"}},
        {"episode": {"min_duration_windows": 3, "out_of_windows": 3}},
        {"episode": {"min_duration_windows": 3}},
        {"train": {"window_size": 8, "recent_steps": 8}},
    ],
)
def test_fields_that_fit_together_are_accepted(sections: dict[str, dict[str, Any]]) -> None:
    """Each cross-check lets the neighbouring valid combination through."""
    assert settings(**sections).conflicts() == []


def test_every_conflict_is_listed_and_names_real_fields() -> None:
    """Conflicts come all at once, and each begins with a setting that exists."""
    wrong = Settings.model_construct(
        input=InputSettings(layout="long", source="files"),
        train=Settings().train.model_copy(update={"recent_steps": 99}),
    )
    fields = [line.partition(": ")[0] for line in wrong.conflicts()]
    assert fields == ["input.layout", "input.files", "train.recent_steps"]
    assert set(fields) <= {f"{section}.{name}" for section, name, _ in FIELDS}


def test_secrets_do_not_show() -> None:
    """Printing settings, by accident or in a traceback, shows no password."""
    tree = settings(kafka={"sasl_password": "hunter2"}, state={"redis_password": "hunter3"})
    shown = f"{tree!r} {tree} {tree.model_dump_json()} {LoadedSettings(tree, {})!r}"
    assert "hunter" not in shown
    assert isinstance(tree.kafka.sasl_password, SecretStr)
    assert tree.kafka.sasl_password.get_secret_value() == "hunter2"


def test_loaded_settings_are_frozen() -> None:
    """What was loaded stays what was logged."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        LoadedSettings(Settings(), {}).settings = Settings()  # type: ignore[misc]


@pytest.mark.parametrize(
    "sections",
    [
        {"window": {"stride": 2}},
        {"window": {"missing_overrides": {"a": "constant"}}},
        {"threshold": {"k": 8.5}},
        {"episode": {"merge_gap_windows": 7}},
        {"input": {"value_fields": ["a", "b"]}},
        {"input": {"key_field": "id"}},
        {"input": {"time_unit": "ms"}},
    ],
)
def test_the_fingerprint_follows_what_changes_decisions(sections: dict[str, dict[str, Any]]) -> None:
    """Two events with the same settings version were decided under the same rules."""
    assert fingerprint(settings(**sections)) != fingerprint(Settings())


def test_the_fingerprint_ignores_what_cannot_change_decisions() -> None:
    """Moving to another cluster, a bigger batch or a new port is no new version of the rules."""
    moved = settings(
        kafka={"bootstrap_servers": "elsewhere:1", "sasl_password": "x"},
        input={"topics": ["other"], "poll_timeout_ms": 7},
        model={"max_batch_size": 3, "bundle": Path("b2")},
        service={"http_port": 1},
    )
    assert fingerprint(moved) == fingerprint(Settings())


def test_the_fingerprint_is_short_and_stable() -> None:
    """It is the same in every process: twelve hexadecimal digits, whatever the order of a table."""
    ab = settings(window={"missing_overrides": {"a": "constant", "b": "previous"}})
    ba = settings(window={"missing_overrides": {"b": "previous", "a": "constant"}})
    assert fingerprint(ab) == fingerprint(ba)
    assert len(fingerprint(ab)) == 12
    assert int(fingerprint(ab), 16) >= 0


def test_the_order_of_features_is_part_of_the_fingerprint() -> None:
    """Feature order decides which column a value lands in."""
    ab, ba = (settings(input={"value_fields": names}) for names in (["a", "b"], ["b", "a"]))
    assert fingerprint(ab) != fingerprint(ba)


def test_decision_fields_exist() -> None:
    """A renamed input field cannot silently drop out of the fingerprint."""
    assert set(DECISION_INPUT_FIELDS) <= set(InputSettings.model_fields)


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({"input": {"layout": "long"}, "window": {"grid_ms": 1}, "features": {"since_previous": True}}, "input.layout"),
        (
            {"input": {"layout": "long"}, "window": {"grid_ms": 1}, "features": {"category_fields": ["a"]}},
            "input.layout",
        ),
        ({"input": {"value_fields": ["a"]}, "features": {"category_fields": ["a"]}}, "features.category_fields"),
        ({"input": {"value_fields": {"x": "a"}}, "features": {"category_fields": ["a"]}}, "features.category_fields"),
        ({"input": {"value_fields": {"a": "x"}}, "features": {"category_fields": ["a"]}}, "features.category_fields"),
        ({"features": {"log_fields": ["a"], "category_fields": ["a"]}}, "features.category_fields"),
        ({"features": {"time_features": ["month"]}}, "time_features"),
        ({"features": {"hash_buckets": 0}}, "hash_buckets"),
        ({"features": {"utc_offset_minutes": 2_000}}, "utc_offset_minutes"),
        ({"features": {"time_zone": "Europe/Rom"}}, "did you mean Europe/Rome"),
        ({"features": {"time_zone": "Europe/Rome", "utc_offset_minutes": 60}}, "features.time_zone: .* two clocks"),
    ],
)
def test_contradicting_features_are_refused(sections: dict[str, Any], complaint: str) -> None:
    """A field is a number or a category, and what is derived from records needs a record to be a row."""
    with pytest.raises(ValidationError, match=complaint):
        Settings.model_validate(sections)
