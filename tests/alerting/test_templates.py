"""Templates of the settings: what they may do, and that a bad one fails alone, soon and small."""

from __future__ import annotations

import pytest

from streamae.alerting.receivers.messages import harmless, is_link
from streamae.alerting.templates import Template, TemplateRefusedError
from streamae.alerting.texts import inert, one_line
from tests.alerting.made_alerts import HOSTILE

VALUES = {"key": "pump", "numbers": [1, 2, 3], "labels": {"team": "core"}}


def filled(text: str, limit: int = 10_000) -> str:
    """Return a template filled with `VALUES`."""
    return Template(text, limit).fill(VALUES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ key | upper }} {{ labels.team }} {{ numbers | sum }}", "PUMP core 6"),
        ("{% for n in numbers if n > 1 %}{{ n * 2 }} {% endfor %}", "4 6 "),
        ("{% set x = key ~ '!' %}{{ x }}{{ '%d' | length }}{{ 7 % 4 }}", "pump!23"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(key) }}", "<pump>"),
        ("{% for n in range(3) %}{{ n }}{% endfor %}", "012"),
        ("{{ missing is defined }}{{ labels.get('site', '-') }}{{ key.startswith('p') }}", "False-True"),
    ],
)
def test_what_templates_may_do(text: str, expected: str) -> None:
    """Values, loops, conditions, filters and macros are there."""
    assert filled(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{{ missing }}",
        "{{ key.__class__ }}",
        "{{ ().__class__.__base__.__subclasses__() }}",
        "{{ key.format.__globals__ }}",
        "{{ numbers.append(4) }}",
        "{{ labels.update({'a': 1}) }}",
        "{{ key() }}",
        "{{ 1 / 0 }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_what_templates_may_not_do(text: str) -> None:
    """Nothing is reached beyond the values, nothing is changed, and nothing goes on for ever; each is told as refused."""
    with pytest.raises(TemplateRefusedError):
        filled(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ 10 ** 1000000 }}",
        "{{ key * 1000000000 }}",
        "{{ [0] * 1000000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ key.ljust(1000000000) }}",
        "{{ '{:>1000000000}'.format(key) }}",
        "{% for a in range(100) %}{% for b in range(100) %}{% endfor %}{% endfor %}",
        "{% for a in range(1000000000) %}x{% endfor %}",
        "{{ range(1000000000) | list | length }}",
    ],
)
def test_little_does_not_become_much(text: str) -> None:
    """What would fill the memory is refused before it is made, not measured afterwards."""
    with pytest.raises(TemplateRefusedError, match=r"ordinary size|unsafe|not allowed|rounds of range"):
        filled(text)


@pytest.mark.parametrize(
    "text", ["{{ key", "{% for %}", "{{ key | center(1000000000) }}", "{% nonsense %}", "{{ key | nonsense }}"]
)
def test_what_is_no_template_is_noticed_at_the_start(text: str) -> None:
    """Syntax, and filters that are not there, are errors of the settings."""
    with pytest.raises(TemplateRefusedError):
        Template(text, 100)


def test_length_is_bounded() -> None:
    """The limit is inclusive."""
    assert filled("{{ key }}", 4) == "pump"
    with pytest.raises(TemplateRefusedError, match="longer than 3"):
        filled("{{ key }}", 3)


def test_rounds_are_counted_anew_for_each_filling() -> None:
    """A template that is within the bounds once is so always."""
    template = Template("{% for n in range(900) %}{% endfor %}ok", 100)
    assert [template.fill({}) for _ in range(3)] == ["ok"] * 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\tc\x1b[0m\u2028d\u202ee\ud800f\x85g", "a b c [0m d e f g"),
        ("  a   b  ", "a b"),
        ("", ""),
        ("0123456789", "01234567…"),
        ("ключ", "ключ"),
        ("a\ufffdb", "a\ufffdb"),
    ],
)
def test_one_line(text: str, expected: str) -> None:
    """What cannot be printed, or turns the direction of writing, becomes a space; too much is cut."""
    assert one_line(text, 9 if text.startswith("0") else 80) == expected


def test_hostile_text_is_inert() -> None:
    """No tag, mention or link is left; what is left can still be read."""
    text = inert(HOSTILE, 1_000)
    assert text.replace("\u200b", "") == (
        'pump ‹!channel› @everyone ‹/b›‹script›x‹/script› *_`[here](http://evil.example) " Bcc: all@example.org'
    )
    assert not any(part in text for part in ("<", ">", "@e", "://", "]("))


def test_values_are_harmless_and_bounded_all_the_way_down() -> None:
    """Also names, and what lies deep, is long or is of another kind."""
    deep: list[object] = []
    for _ in range(50):
        deep = [deep]
    found = harmless({"<a>": ["@x", {"b": b"bytes"}], "deep": deep, "long": "x" * 10_000, "many": list(range(1_000))})
    assert found["‹a›"] == ["@\u200bx", {"b": "…"}]
    assert (len(found["long"]), len(found["many"])) == (500, 50)
    assert str(found["deep"]).count("[") == 5


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("https://dash.example/a?b=1&c=%20", True),
        ("http://a/", True),
        ("javascript:alert(1)", False),
        ("", False),
        ("https://a/ b", False),
        ("https://a/<b>", False),
        ('https://a/"onclick', False),
        ("https://a/`b", False),
    ],
)
def test_links(text: str, is_one: bool) -> None:
    """Only a web address, whole and alone, may become a link."""
    assert is_link(text) is is_one
