"""Fills the benchmark's tables: rows made inside the server, by two sessions, indexes and keys built afterwards."""

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from tqdm import tqdm

from gatebook import catalog, migrations
from gatebook.database import Database
from gatebook.errors import GatebookError
from gatebook.project import Project
from schema import dismantling

SQL = Path(__file__).with_name("load.sql")
TABLES = ("attribution_allocations", "revenue_ledger", "attribution_events")
ALLOCATIONS_AN_EVENT = 10
CUSTOMERS = 25
DAYS = 89  # whole days before today: the view keeps 90, and a run may last past midnight
SESSIONS = 2
EVENTS_A_CHUNK = 20_000

SETTINGS = "SET synchronous_commit = off; SET maintenance_work_mem = '768MB'; SET max_parallel_maintenance_workers = 0"
MAKE_CUSTOMERS = """
INSERT INTO tenants (id, name, api_key_hash, notification_email)
SELECT md5('customer ' || number)::uuid, 'Customer ' || number, md5('key ' || number),
       'customer-' || number || '@bench.invalid'
  FROM generate_series(1, %(customers)s) AS number
"""

Session = psycopg.Connection[Any]
Job = TypeVar("Job")


@dataclass(frozen=True)
class Loaded:
    """Seconds of a load by its parts; they add up to all of it but the analysis."""

    rows: int
    making_s: float
    indexing_s: float
    keys_s: float

    @property
    def seconds(self) -> float:
        return self.making_s + self.indexing_s + self.keys_s


def load(database: Database, project: Project, rows: int) -> Loaded:
    """Fill an empty database at the newest revision, whose schema is the same afterwards.

    rows    allocations, a multiple of ten; there are a tenth as many events and a fifth as many ledger entries
    Errors  GatebookError when the schema differs afterwards
    """
    with database.connect() as connection:
        migrations.upgrade(connection, project, migrations.head(project))
        connection.commit()
        before = catalog.snapshot(connection)
    with _sessions(database, rows // ALLOCATIONS_AN_EVENT) as sessions:
        loaded = _load(sessions, rows)
    with database.connect() as connection:
        _refuse_difference(catalog.diff(before, catalog.snapshot(connection)))
    return loaded


def floor(database: Database, rows: int) -> float:
    """Seconds to make the same rows by bare CREATE TABLE AS, by as many sessions, each its part; dropped again."""
    events = rows // ALLOCATIONS_AN_EVENT
    parts = list(_chunks(events, -(-events // SESSIONS)))
    with _sessions(database, events) as sessions:

        def make(session: Session, part: tuple[int, int]) -> None:
            _set_range(session, part)
            for table in TABLES:
                run(session, f"CREATE TABLE bench_floor_{part[0]}_{table} AS {_select(table)}")

        seconds = timed(lambda: share(sessions, make, parts))
        for first, _ in parts:
            for table in TABLES:
                run(sessions[0], f"DROP TABLE bench_floor_{first}_{table}")
    return seconds


def settle(database: Database) -> float:
    """Statistics and visibility for the planner, as autovacuum makes them in time; seconds."""
    with closing(open_session(database)) as session:
        return timed(lambda: run(session, f"VACUUM (ANALYZE) {', '.join(TABLES)}"))


def share(sessions: Sequence[Session], act: Callable[[Session, Job], object], jobs: Iterable[Job]) -> None:
    """Each job by the next free session. After a failure, or Ctrl-C, nobody goes on."""
    left = deque(jobs)
    stopping = threading.Event()

    def work(session: Session) -> None:
        while left and not stopping.is_set():
            try:
                job = left.popleft()
            except IndexError:  # another session took the last one
                return
            act(session, job)

    with ThreadPoolExecutor(len(sessions)) as pool:
        running = [pool.submit(work, session) for session in sessions]
        try:
            done, _ = wait(running, return_when=FIRST_EXCEPTION)
            for each in done:
                each.result()
        finally:
            stopping.set()
            while wait(running, timeout=0.2).not_done:
                for session in sessions:
                    session.cancel_safe()


def _load(sessions: Sequence[Session], rows: int) -> Loaded:
    first = sessions[0]
    plan = dismantling(first, TABLES)
    chunks = _chunks(rows // ALLOCATIONS_AN_EVENT, EVENTS_A_CHUNK)

    def make() -> None:
        first.execute(MAKE_CUSTOMERS, {"customers": CUSTOMERS})
        run(first, *plan.drop)
        inserts = [_insert(first, table) for table in TABLES]
        with tqdm(total=rows, desc="rows", unit=" allocations", unit_scale=True, leave=False, disable=None) as bar:
            share(sessions, lambda session, part: bar.update(_fill(session, part, inserts)), chunks)

    def index() -> None:
        with tqdm(total=len(plan.indexes), desc="indexes", unit=" indexes", leave=False, disable=None) as bar:
            share(sessions, lambda session, statement: bar.update(run(session, statement)), plan.indexes)

    def add_keys() -> None:
        run(first, *plan.keys)
        share(sessions, lambda session, statements: run(session, *statements), plan.validations)
        run(first, *plan.comments)

    return Loaded(rows, timed(make), timed(index), timed(add_keys))


def _fill(session: Session, part: tuple[int, int], inserts: Sequence[str]) -> int:
    """One chunk of all three tables in one transaction; how many allocations it had."""
    with session.transaction():
        _set_range(session, part)
        run(session, *inserts)
    return (part[1] - part[0] + 1) * ALLOCATIONS_AN_EVENT


@contextmanager
def _sessions(database: Database, events: int) -> Iterator[list[Session]]:
    """Connections that know how many events there are and when."""
    ends_at = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    settings = {"events": events, "starts_at": ends_at - timedelta(days=DAYS), "ends_at": ends_at}
    with ExitStack() as stack:
        sessions = [stack.enter_context(closing(open_session(database))) for _ in range(SESSIONS)]
        for session in sessions:
            session.execute(SETTINGS)
            for name, value in settings.items():
                _set(session, name, value)
        yield sessions


def open_session(database: Database) -> Session:
    """A connection in autocommit."""
    session = database.open_session()
    session.autocommit = True
    return session


def _chunks(events: int, size: int) -> Iterator[tuple[int, int]]:
    """(first, last) event, both included."""
    for first in range(0, events, size):
        yield first, min(first + size, events) - 1


def _set_range(session: Session, part: tuple[int, int]) -> None:
    for name, value in zip(("first", "last"), part, strict=True):
        _set(session, name, value)


def _set(session: Session, name: str, value: object) -> None:
    session.execute("SELECT pg_catalog.set_config(%s, %s, false)", [f"bench.{name}", str(value)])


@cache
def _parts() -> dict[str, str]:
    """The SELECTs of load.sql by name."""
    found = re.findall(r"^-- (\w+)\n(SELECT .*?)(?=^-- \w+$|\Z)", SQL.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return {name: text.strip() for name, text in found}


def _select(table: str) -> str:
    return f"WITH event AS (\n{_parts()['event']}\n)\n{_parts()[table]}"


def _insert(session: Session, table: str) -> str:
    """The statement that fills a table, with the columns that its SELECT names."""
    _set_range(session, (0, 0))
    description = session.execute(f"{_select(table)} LIMIT 0".encode()).description or ()
    columns = sql.SQL(", ").join(sql.Identifier(each.name) for each in description)
    return f"INSERT INTO {table} ({columns.as_string()}) {_select(table)}"


def run(session: Session, *statements: str) -> int:
    """Statements as they stand, none of them with parameters; how many there were."""
    for statement in statements:
        session.execute(statement.encode())
    return len(statements)


def timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _refuse_difference(difference: catalog.Rows) -> None:
    if difference:
        raise GatebookError(
            f"the load left another schema than the migrations make: {catalog.summarise(difference)[0]}",
            where="bench/schema.py",
            next_step="let it put back what the newest revision has",
        )
