"""Where the benchmark runs: room for it, one at a time, a database that does not stay, interrupts that clean up."""

import fcntl
import os
import platform
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import LiteralString

import psycopg
from psycopg import sql

from gatebook.database import Database, open_database
from gatebook.embedded import OWNER, SUPERUSER
from gatebook.errors import ConfigurationError
from gatebook.project import Project
from table import count

GIB = 1024**3
DISK_BYTES, DISK_BYTES_A_ROW = 6 * GIB, 1_000  # write-ahead log and sorts; tables, indexes and the floor's tables
MEMORY_BYTES, MEMORY_BYTES_A_ROW, MEMORY_BYTES_AT_MOST = GIB // 2, 500, 3 * GIB  # index builds take the most
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a wish to end; as KeyboardInterrupt, which psycopg answers by cancelling its statement."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def refuse_without_room(rows: int, *, disk_bytes: int, memory_bytes: int) -> None:
    """Errors  ConfigurationError when this much free disk or available memory is too little for so many rows"""
    wanted = {
        "disk": (disk_bytes, DISK_BYTES + rows * DISK_BYTES_A_ROW),
        "memory": (memory_bytes, min(MEMORY_BYTES + rows * MEMORY_BYTES_A_ROW, MEMORY_BYTES_AT_MOST)),
    }
    for what, (have, want) in wanted.items():
        if have < want:
            raise ConfigurationError(
                f"{count(rows)} rows need {want / GIB:.1f} GB of {what}, and {have / GIB:.1f} GB are free",
                where="--rows",
                next_step=f"make room, or measure fewer rows: --rows {max(rows // 10, 1000)}",
            )


def free_disk_bytes(folder: Path) -> int:
    """Of the file system that the folder lies in, or will lie in."""
    return shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists())).free


def available_memory_bytes() -> int:
    """What processes may take without swapping, where the system tells; else what there is."""
    facts = Path("/proc/meminfo")
    if facts.exists():
        lines = dict(line.split(":", 1) for line in facts.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def machine(database: Database) -> str:
    """What a reader must know to judge figures."""
    with database.connect() as connection:
        version = connection.exec_driver_sql("SHOW server_version").scalar_one()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    return (
        f"PostgreSQL {version} as bundled, Python {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB of memory"
    )


@contextmanager
def only_one(project: Project) -> Iterator[None]:
    """Errors  ConfigurationError while another benchmark of this project runs: it would lose its database"""
    project.home.mkdir(parents=True, exist_ok=True)
    with (project.home / "bench.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                "another benchmark of this project runs", where=str(project.home), next_step="wait until it has ended"
            ) from None
        yield


@contextmanager
def scratch(name: str, project: Project, *, keep: bool = False) -> Iterator[Database]:
    """A database of the embedded server, dropped at the end.

    keep  unless the block was not left by its end
    """
    database = open_database(name, project=project, create=True)
    stays = False
    try:
        yield database
        stays = keep
    finally:
        with _uninterrupted():
            if not stays:
                _drop(database)
            database.close()


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise Interrupted within the block."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = [signal.signal(number, interrupt) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Cleaning up takes a moment; a second Ctrl-C does not end it."""
    before = [signal.signal(number, signal.SIG_IGN) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


def renew(database: Database) -> None:
    """Make a database of the embedded server anew, empty."""
    _drop(database)
    _maintain(database, "CREATE DATABASE {}", user=OWNER)


def _drop(database: Database) -> None:
    """As superuser: the owner may not end what autovacuum does in it, nor sessions of a superuser."""
    database.engine.dispose()
    _maintain(database, "DROP DATABASE IF EXISTS {} WITH (FORCE)", user=SUPERUSER)


def _maintain(database: Database, statement: LiteralString, *, user: str) -> None:
    assert database.server_process is not None, "scratch() opens databases of the embedded server"
    name = sql.Identifier(database.name.partition("/")[2])
    conninfo = database.server_process.conninfo("postgres", user=user)
    with closing(psycopg.connect(conninfo, autocommit=True)) as session:
        session.execute(sql.SQL(statement).format(name))
