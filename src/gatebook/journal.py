"""The append-only record of what really ran: one JSON object a line, on disk before the next thing happens.

The runner and the kernels write into the same file, each line with one write to a file opened for appending,
so that lines never mix and a killed process loses at most the line it was about to write.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gatebook.errors import JournalFailed

Event = Mapping[str, Any]


class Journal:
    """Appends events to a file.

    Errors  JournalFailed when a line cannot be written whole: a run without a record is no run
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, event: str, **fields: Any) -> None:
        record = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
        line = json.dumps(record, default=str, ensure_ascii=False).encode() + b"\n"
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                if os.write(handle, line) != len(line):
                    raise OSError(28, "the line was cut short: no space left on device")
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise JournalFailed(
                f"the record of the run cannot be written: {error.strerror}",
                where=str(self.path),
                next_step="make room or mend the permissions of the outputs folder, then run again",
            ) from error

    def read(self) -> list[Event]:
        """All complete events so far; a last line that was cut short is left out."""
        return read(self.path)


def read(path: Path) -> list[Event]:
    """The events of a journal, in the order in which they were written."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    events = []
    for line in lines[:-1]:  # what follows the last newline is not complete
        try:
            events.append(json.loads(line))
        except ValueError:
            events.append({"event": "unreadable", "line": line.decode(errors="replace")})
    return events
