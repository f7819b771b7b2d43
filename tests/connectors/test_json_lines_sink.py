"""JSON lines on disk: all or nothing, also when the machine stops in between, and lines that lose no byte."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamae.batches import Cause, Partition
from streamae.connectors.files.source import FileMembership
from streamae.connectors.json_lines_sink import (
    OFFSETS_FILE,
    JsonLinesSink,
    _value,
    file_name,
    read_ledger,
)
from streamae.connectors.protocols import Message, Sink
from streamae.errors import ConfigError, FatalError, RetryableError

P0, P1 = Partition("in", 0), Partition("in", 1)


def message(value: bytes | None = b'{"a":1}', topic: str = "out", key: bytes | None = b"k", **more: Any) -> Message:
    """Return a message caused by offset 7 of partition 0."""
    return Message(topic, key, value, more.get("headers", ()), Cause(P0, 7))


def commit(sink: JsonLinesSink, messages: list[Message], offsets: dict[Partition, int] | None = None) -> None:
    """Run one transaction."""
    with sink.transaction() as transaction:
        transaction.send(messages)
        if offsets is not None:
            transaction.send_offsets(offsets, None)


def lines(directory: Path, topic: str = "out") -> list[Any]:
    """Return the decoded lines of a topic."""
    path = directory / file_name(topic)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def values(directory: Path, topic: str = "out") -> list[Any]:
    """Return the values of a topic's lines."""
    return [line["value"] for line in lines(directory, topic)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the sink writes."""
    return tmp_path / "out"


def test_it_is_a_sink(directory: Path) -> None:
    """The engine takes it for any other."""
    sink: Sink = JsonLinesSink(directory)
    sink.close()


def test_messages_and_offsets_appear_together(directory: Path) -> None:
    """Nothing is visible before the end of the block; then all of it is."""
    sink = JsonLinesSink(directory)
    with sink.transaction() as transaction:
        transaction.send([message(b'{"n":1}')])
        transaction.send([message(b'{"n":2}'), message(b'{"n":3}', "dead")])
        transaction.send_offsets({P0: 7, P1: 9}, None)
        assert (values(directory), sink.offsets) == ([], {})
    assert (values(directory), values(directory, "dead")) == ([{"n": 1}, {"n": 2}], [{"n": 3}])
    assert sink.offsets == {P0: 7, P1: 9} == read_ledger(directory).by_partition()


def test_an_error_in_the_block_leaves_nothing(directory: Path) -> None:
    """The same batch can be processed again."""
    sink = JsonLinesSink(directory)
    with pytest.raises(ZeroDivisionError), sink.transaction() as transaction:
        transaction.send([message()])
        transaction.send_offsets({P0: 7}, None)
        raise ZeroDivisionError
    assert (values(directory), sink.offsets) == ([], {})
    commit(sink, [message(b'{"kept":1}')], {P0: 8})
    assert values(directory) == [{"kept": 1}]


def test_offsets_alone_are_committed(directory: Path) -> None:
    """Most batches have no anomaly; their progress counts all the same, and other partitions stay."""
    sink = JsonLinesSink(directory)
    commit(sink, [], {P0: 3, P1: 1})
    commit(sink, [], {P0: 4})
    assert sink.offsets == {P0: 4, P1: 1}


def test_an_empty_transaction_writes_nothing(directory: Path) -> None:
    """Nothing to say is no error and no disk."""
    commit(JsonLinesSink(directory), [])
    assert not (directory / OFFSETS_FILE).exists()


def test_a_restart_goes_on(directory: Path) -> None:
    """Lines are appended, offsets remembered."""
    first = JsonLinesSink(directory)
    commit(first, [message(b'{"n":1}')], {P0: 1})
    first.close()
    second = JsonLinesSink(directory)
    assert second.offsets == {P0: 1}
    commit(second, [message(b'{"n":2}')], {P0: 2})
    assert values(directory) == [{"n": 1}, {"n": 2}]


def test_the_source_hears_of_commits(directory: Path) -> None:
    """A file source has no broker to remember what is committed; a failed block says nothing."""
    sink, committed = JsonLinesSink(directory), dict[Partition, int]()
    proof = FileMembership(committed)
    with pytest.raises(ZeroDivisionError), sink.transaction() as transaction:
        transaction.send_offsets({P0: 1}, proof)
        raise ZeroDivisionError
    assert committed == {}
    with sink.transaction() as transaction:
        transaction.send_offsets({P0: 2}, proof)
        assert committed == {}
    assert committed == {P0: 2}


# Crashes.


def snapshots(directory: Path, monkeypatch: pytest.MonkeyPatch, into: Path) -> list[Path]:
    """Copy the directory before each call that reaches the disk, as it would look after a crash there."""
    taken: list[Path] = []

    def photographed(call: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            taken.append(into / str(len(taken)))
            shutil.copytree(directory, taken[-1])
            return call(*args, **kwargs)

        return run

    for owner, name in ((os, "fsync"), (Path, "replace")):
        monkeypatch.setattr(owner, name, photographed(getattr(owner, name)))
    return taken


def test_a_crash_anywhere_leaves_one_commit_or_the_next(
    directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Stopped at any write, the next start shows lines and offsets that belong together, and goes on without a gap."""
    sink = JsonLinesSink(directory)
    commit(sink, [message(b'{"n":0}')], {P0: 1})
    with monkeypatch.context() as patch:
        taken = snapshots(directory, patch, tmp_path)
        commit(sink, [message(b'{"n":1}'), message(b'{"n":1}', "dead")], {P0: 2})
    assert len(taken) >= 6
    seen = set()
    for crashed in [*taken, directory]:
        if crashed == directory:
            sink.close()
        restarted = JsonLinesSink(crashed)
        done = restarted.offsets[P0]
        seen.add(done)
        assert values(crashed) == [{"n": n} for n in range(done)]
        assert values(crashed, "dead") == [{"n": 1}] * (done - 1)
        for n in range(done, 3):
            commit(restarted, [message(b'{"n":%d}' % n)], {P0: n + 1})
        assert values(crashed) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert seen == {1, 2}


def test_half_a_line_is_cut_off(directory: Path) -> None:
    """A power cut may leave any prefix of what was written."""
    sink = JsonLinesSink(directory)
    commit(sink, [message(b'{"n":1}')], {P0: 1})
    sink.close()
    with (directory / "out.jsonl").open("ab") as file:
        file.write(b'{"key":"k","val')
    JsonLinesSink(directory)
    assert values(directory) == [{"n": 1}]


def test_a_failed_write_can_be_tried_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk means "not committed": nothing is visible, and the same messages go through later."""
    sink = JsonLinesSink(directory)
    commit(sink, [message(b'{"n":0}')], {P0: 1})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for owner, name in ((os, "fsync"), (Path, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, full)
            with pytest.raises(RetryableError, match="No space left"):
                commit(sink, [message(b'{"n":1}')], {P0: 2})
        assert (values(directory), sink.offsets) == ([{"n": 0}], {P0: 1})
        assert read_ledger(directory).by_partition() == {P0: 1}
    commit(sink, [message(b'{"n":1}')], {P0: 2})
    assert values(directory) == [{"n": 0}, {"n": 1}]


def test_an_unknown_outcome_is_fatal(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new offsets are in place but perhaps not on disk: neither repeating nor going on would be right."""
    sink = JsonLinesSink(directory)
    real = os.fsync

    def broken(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112 - a link into the process
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(FatalError, match="unknown"):
        commit(sink, [], {P0: 2})


def test_lines_that_cannot_be_taken_back_are_fatal(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retrying behind half a line would write it twice; the next start cuts it off."""
    sink = JsonLinesSink(directory)
    commit(sink, [message(b'{"n":0}')], {P0: 1})

    def broken(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", broken)
        patch.setattr(os, "truncate", broken)
        with pytest.raises(FatalError, match="Input/output"):
            commit(sink, [message(b'{"n":1}')], {P0: 2})
    sink.close()
    JsonLinesSink(directory)
    assert values(directory) == [{"n": 0}]


# What others do to the directory.


def test_files_of_others_are_left_alone(directory: Path) -> None:
    """Only what we wrote is ever cut, and an existing file of a topic's name is appended to."""
    directory.mkdir()
    (directory / "notes.jsonl").write_text("mine\n")
    (directory / "out.jsonl").write_text('{"value":"before"}\n')
    sink = JsonLinesSink(directory)
    commit(sink, [message(b'{"n":1}')], {P0: 1})
    sink.close()
    JsonLinesSink(directory)
    assert (directory / "notes.jsonl").read_text() == "mine\n"
    assert values(directory) == ["before", {"n": 1}]


@pytest.mark.parametrize("is_removed", [True, False])
def test_lost_lines_are_noticed(directory: Path, is_removed: bool) -> None:
    """Offsets that point past lines that are gone would hide the loss for ever."""
    sink = JsonLinesSink(directory)
    commit(sink, [message(), message()], {P0: 2})
    sink.close()
    path = directory / "out.jsonl"
    path.unlink() if is_removed else os.truncate(path, 10)
    with pytest.raises(ConfigError, match=r"out\.jsonl lost \d+ committed bytes: restore it, or remove"):
        JsonLinesSink(directory)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"lengths": {}}', '{"lengths": {"a": "1"}, "offsets": []}', '{"lengths":{},"offsets":[],"x":1}'],
)
def test_unreadable_offsets_are_refused(directory: Path, text: str) -> None:
    """Starting from the beginning instead would repeat every event."""
    directory.mkdir()
    (directory / OFFSETS_FILE).write_text(text)
    with pytest.raises(ConfigError, match="not readable"):
        JsonLinesSink(directory)


@pytest.mark.parametrize("name", ["../victim", "/etc/passwd", "a/b", "..", "offsets.json"])
def test_offsets_name_no_file_elsewhere(directory: Path, tmp_path: Path, name: str) -> None:
    """The file decides what is truncated: never anything outside."""
    (tmp_path / "victim").write_text("text")
    directory.mkdir()
    content: dict[str, Any] = {"lengths": {name: 0}, "offsets": []}
    (directory / OFFSETS_FILE).write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="not ours"):
        JsonLinesSink(directory)
    assert (tmp_path / "victim").read_text() == "text"


def test_one_process_a_directory(directory: Path) -> None:
    """Two writers would cut each other's lines."""
    sink = JsonLinesSink(directory)
    with pytest.raises(ConfigError, match="in use by another process"):
        JsonLinesSink(directory)
    sink.close()
    JsonLinesSink(directory)


def test_a_killed_process_leaves_no_lock(directory: Path) -> None:
    """The lock is the kernel's: it goes with its owner, however that ends."""
    program = (
        "import os, sys, pathlib; from streamae.connectors.json_lines_sink import JsonLinesSink; "
        "JsonLinesSink(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", program, directory], cwd=root).returncode == -9
    JsonLinesSink(directory)


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """At the start, with the setting's name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"output\.directory: .* cannot be used"):
        JsonLinesSink(tmp_path / "file" / "out")


def test_a_closed_sink_writes_nothing(directory: Path) -> None:
    """Another process may own the directory by then; closing twice is fine."""
    sink = JsonLinesSink(directory)
    sink.close()
    sink.close()
    with pytest.raises(FatalError, match="closed"):
        commit(sink, [message()])


# Lines.


def test_a_line_is_readable(directory: Path) -> None:
    """People read it with `jq`: the event is an object, key and headers are text, and its cause is named."""
    event = message(b'{"score":12.5}', headers=(("ce_type", b"opened"), ("x", None), ("x", b"2")))
    commit(JsonLinesSink(directory), [event])
    assert lines(directory) == [
        {
            "key": "k",
            "value": {"score": 12.5},
            "headers": [["ce_type", "opened"], ["x", None], ["x", "2"]],
            "partition": "in/0",
            "offset": 7,
        }
    ]


def test_bytes_that_are_no_text_are_base64(directory: Path) -> None:
    """A dead letter keeps its original bytes, whatever they were."""
    commit(
        JsonLinesSink(directory),
        [message(b"\xff\x00", key=b"\xfe", headers=(("h", b"\xfd"),)), message(None, key=None)],
    )
    first, second = lines(directory)
    assert base64.b64decode(first["value"]["base64"]) == b"\xff\x00"
    assert base64.b64decode(first["key"]["base64"]) == b"\xfe"
    assert base64.b64decode(first["headers"][0][1]["base64"]) == b"\xfd"
    assert (second["key"], second["value"]) == (None, None)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.one_of(
        st.binary(max_size=40),
        st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.floats(), st.text(max_size=5))).map(
            lambda content: json.dumps(content).encode()
        ),
        st.sampled_from(
            [b'{"a":1,"a":2}', b'{ "a":1}', b'{"a":1.50}', b'{"a":1e400}', b'{"a":\n1}', b"{", b"{}", b'{"base64":""}']
        ),
    )
)
def test_no_value_loses_a_byte(value: bytes) -> None:
    """Duplicate keys, odd spacing and broken JSON come back exactly; each value is one line."""
    line = msgspec.json.encode(_value(value))
    assert b"\n" not in line
    found = msgspec.json.decode(line)
    if isinstance(found, str):
        assert found.encode() == value
    elif list(found) == ["base64"]:
        assert base64.b64decode(found["base64"]) == value
    else:
        assert msgspec.json.encode(found) == value


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(topic=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_topic_has_a_file_of_its_own(topic: str) -> None:
    """A topic cannot name a file elsewhere, nor the offsets."""
    name = file_name(topic)
    assert name == Path(name).name
    assert name not in {OFFSETS_FILE, ".", ".."}
    assert file_name(f"{topic}x") != name
