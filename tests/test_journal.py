"""The record of a run: every line whole, whoever writes, and an error when it cannot be."""

import json
import os
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from gatebook import journal
from gatebook.errors import JournalFailed
from gatebook.journal import Journal

WRITER = """
import sys
from pathlib import Path
from gatebook.journal import Journal
journal = Journal(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    journal.write("test", writer=sys.argv[2], number=number, text="ü" * (number * 97 % 9000))
"""


def test_events_come_back_as_written_in_their_order(tmp_path: Path) -> None:
    record = Journal(tmp_path / "journal.jsonl")
    record.write("test", test="4.1.1", have=({"n": 1},), reason='two\nlines, "größe" \u2028 \x00', path=tmp_path)
    record.write("gate", gate="4.1")
    first, second = record.read()

    assert {key: first[key] for key in ("event", "test", "have", "reason", "path")} == {
        "event": "test",
        "test": "4.1.1",
        "have": [{"n": 1}],
        "reason": 'two\nlines, "größe" \u2028 \x00',
        "path": str(tmp_path),
    }
    assert second["event"] == "gate"
    assert datetime.fromisoformat(first["at"]).utcoffset() is not None
    assert len((tmp_path / "journal.jsonl").read_bytes().splitlines()) == 2


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    Journal(tmp_path / "journal.jsonl").write("test")

    assert (tmp_path / "journal.jsonl").stat().st_mode & 0o077 == 0


def test_lines_of_several_processes_never_mix(tmp_path: Path) -> None:
    path, writers, each = tmp_path / "journal.jsonl", 4, 60
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(writer), str(each)]) for writer in range(writers)
    ]

    assert [process.wait() for process in processes] == [0] * writers
    events = journal.read(path)
    assert Counter(event["writer"] for event in events) == {str(writer): each for writer in range(writers)}
    for writer in range(writers):
        own = [event for event in events if event["writer"] == str(writer)]
        assert [event["number"] for event in own] == list(range(each))
        assert all(event["text"] == "ü" * (event["number"] * 97 % 9000) for event in own)


@pytest.mark.parametrize(
    ("tail", "events"),
    [
        pytest.param(b"", ["a", "b"], id="whole"),
        pytest.param(b'{"event": "c', ["a", "b"], id="cut short"),
        pytest.param(b'{"event": "c"}', ["a", "b"], id="without its end of line"),
        pytest.param(b'{"event": "c\xc3', ["a", "b"], id="cut inside a letter"),
        pytest.param(b'{"event": "c\n{"event": "d"}\n', ["a", "b", "unreadable", "d"], id="unreadable in between"),
    ],
)
def test_a_line_that_was_cut_short_is_no_event(tmp_path: Path, tail: bytes, events: list[str]) -> None:
    record = Journal(tmp_path / "journal.jsonl")
    record.write("a")
    record.write("b")
    with record.path.open("ab") as file:
        file.write(tail)

    assert [event["event"] for event in record.read()] == events


def test_no_file_is_no_event(tmp_path: Path) -> None:
    assert Journal(tmp_path / "absent").read() == []


def test_a_record_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JournalFailed) as caught:
        Journal(tmp_path).write("test")

    assert str(caught.value) == (
        "the record of the run cannot be written: Is a directory\n"
        f"  where: {tmp_path}\n"
        "  next:  make room or mend the permissions of the outputs folder, then run again"
    )
    assert caught.value.exit_code == 2


def test_a_line_that_is_written_in_part_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr(os, "write", lambda handle, line: whole(handle, line[:10]))
    with pytest.raises(JournalFailed, match="no space left on device"):
        Journal(tmp_path / "journal.jsonl").write("test")
    assert Journal(tmp_path / "journal.jsonl").read() == []


def test_a_line_is_on_disk_before_the_next_thing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    path = tmp_path / "journal.jsonl"
    monkeypatch.setattr(os, "fsync", lambda _handle: synced.append(path.read_bytes()))
    Journal(path).write("test")

    assert [json.loads(line)["event"] for line in synced] == ["test"]
