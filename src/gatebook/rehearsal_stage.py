"""Where a rehearsal plays: a throw-away database of the embedded server, and one migration run in it, watched.

The migration runs as the owner, who is no superuser, through Alembic in a transaction of its own: as from its
command line, so blocks of autocommit and CONCURRENTLY commit as they do there. After each statement the session
itself is asked which locks it holds; they are held until its transaction ends.
"""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
import sqlalchemy as sa
from alembic.runtime.environment import EnvironmentContext
from psycopg import sql

from gatebook import migrations
from gatebook.catalog import Rows
from gatebook.database import Database
from gatebook.embedded import OWNER, SUPERUSER, EmbeddedServer
from gatebook.errors import GatebookError, MigrationFailed
from gatebook.project import Project

PREFIX = "gatebook_rehearsal_"
REHEARSING = 4_142_531  # an advisory lock of the database postgres: shared by every rehearsal that is going on
SHOWN_CHARACTERS = 120

LEFTOVERS = r"SELECT datname FROM pg_catalog.pg_database WHERE datname LIKE 'gatebook\_rehearsal\_%' ORDER BY 1"

# Those that make somebody wait who only reads or writes rows, or a second migration.
STRENGTH = ("ShareUpdateExclusive", "Share", "ShareRowExclusive", "Exclusive", "AccessExclusive")

HELD = f"""
SELECT l.relation::bigint, l.mode
  FROM pg_catalog.pg_locks l
 WHERE l.pid = pg_catalog.pg_backend_pid() AND l.granted AND l.locktype = 'relation'
   AND l.mode IN ({", ".join(f"'{mode}Lock'" for mode in STRENGTH)})
 ORDER BY 1, pg_catalog.array_position(ARRAY[{", ".join(f"'{mode}Lock'" for mode in reversed(STRENGTH))}], l.mode)
"""


@dataclass(frozen=True)
class Stage:
    """A throw-away database: `owner` migrates it, `watcher` is a superuser, sees every row and changes none."""

    project: Project
    owner: Database
    watcher: Database


@contextmanager
def stage(project: Project) -> Iterator[Stage]:
    """An empty database that is gone afterwards, whatever happens; what a killed process left goes first."""
    server = EmbeddedServer(project.home).acquire()
    name = PREFIX + secrets.token_hex(4)
    owner, watcher = (Database("the rehearsal", server.conninfo(name, user=user)) for user in (OWNER, SUPERUSER))
    try:
        with psycopg.connect(server.conninfo("postgres", user=SUPERUSER), autocommit=True) as keeper:
            _sweep(keeper)
            try:
                keeper.execute(_statement("CREATE DATABASE {} OWNER {}", name, OWNER))
                yield Stage(project, owner, watcher)
            finally:
                owner.engine.dispose()
                watcher.engine.dispose()
                keeper.execute(_statement("DROP DATABASE IF EXISTS {} WITH (FORCE)", name))
    finally:
        server.release()


def _sweep(keeper: psycopg.Connection[Any]) -> None:
    """Drop what killed rehearsals left, unless another one is going on; then be one that is going on."""
    alone = keeper.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", [REHEARSING]).fetchone()
    if alone == (True,):
        for (name,) in keeper.execute(LEFTOVERS).fetchall():
            keeper.execute(_statement("DROP DATABASE IF EXISTS {} WITH (FORCE)", name))
        keeper.execute("SELECT pg_catalog.pg_advisory_unlock(%s)", [REHEARSING])
    keeper.execute("SELECT pg_catalog.pg_advisory_lock_shared(%s)", [REHEARSING])


def _statement(text: str, *names: str) -> sql.Composed:
    return sql.SQL(text).format(*map(sql.Identifier, names))


@dataclass
class Statements:
    """What one session sends, with the locks that each statement took.

    relations  oid -> name of the relations that were there before: nobody waits for a new one, and what is dropped
               has no name afterwards
    """

    relations: Mapping[int, str]
    texts: list[str] = field(default_factory=list)
    locks: list[dict[str, Any]] = field(default_factory=list)
    outside: int = 0  # statements outside of a transaction: their locks ended with them
    _started: float = 0.0
    _is_alembics: bool = False
    _open: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)

    @contextmanager
    def watching(self, engine: sa.Engine) -> Iterator[None]:
        listeners: Mapping[str, Any] = {
            "before_cursor_execute": self._before,
            "after_cursor_execute": self._after,
            "commit": self._end,
            "rollback": self._end,
        }
        for event, listener in listeners.items():
            sa.event.listen(engine, event, listener)
        try:
            yield
        finally:
            for event, listener in listeners.items():
                sa.event.remove(engine, event, listener)

    def _before(self, _connection: Any, _cursor: Any, text: str, values: Any, *_rest: Any) -> None:
        self._started = time.perf_counter()
        self._is_alembics = "alembic_version" in f"{text} {values}"
        if not self._is_alembics:
            self.texts.append(text)

    def _after(self, _connection: Any, cursor: Any, text: str, *_rest: Any) -> None:
        session: psycopg.Connection[Any] = cursor.connection
        if session.autocommit:
            self.outside += 1
            return
        for oid, mode in session.execute(HELD, prepare=False).fetchall():
            if oid in self.relations:
                self._note(oid, mode.removesuffix("Lock"), text)

    def _note(self, oid: int, mode: str, text: str) -> None:
        """The first statement that took this lock. A weaker one on the same relation says nothing more."""
        held = [STRENGTH.index(other) for relation, other in self._open if relation == oid]
        if STRENGTH.index(mode) <= max(held, default=-1):
            return
        self._open[oid, mode] = {
            "statement": 0 if self._is_alembics else len(self.texts),
            "sql": first_line(text),
            "relation": self.relations[oid],
            "mode": mode,
            "held_ms": self._started,
        }

    def _end(self, _connection: Any) -> None:
        """Every lock of the transaction ends here."""
        now = time.perf_counter()
        for lock in self._open.values():
            self.locks.append({**lock, "held_ms": round((now - lock["held_ms"]) * 1000, 1)})
        self._open.clear()


@dataclass(frozen=True)
class Migrated:
    """One migration as it ran. locks: statement, sql, relation, mode, held_ms"""

    statements: tuple[str, ...]
    locks: Rows
    outside: int
    seconds: float
    problem: str = ""


def migrate(place: Stage, revision: str, relations: Mapping[int, str]) -> Migrated:
    """Run one revision on the stage; what goes wrong is its problem, in PostgreSQL's words."""
    watched, problem, started = Statements(relations), "", time.perf_counter()
    with place.owner.connect() as connection:
        migrations.keep_limits(
            connection,
            lock_timeout_ms=migrations.LOCK_TIMEOUT_MS,
            statement_timeout_ms=migrations.STATEMENT_TIMEOUT_MS,
        )
        try:
            with watched.watching(place.owner.engine):
                upgrade(connection, place.project, revision)
        except MigrationFailed as error:
            problem = error.what
        seconds = time.perf_counter() - started
        with suppress(sa.exc.DBAPIError):
            connection.rollback()
    place.owner.engine.dispose()  # whatever the migration has set in its session ends with it
    return Migrated(tuple(watched.texts), tuple(watched.locks), watched.outside, seconds, problem)


def upgrade(connection: sa.Connection, project: Project, revision: str) -> None:
    """Upgrade to a revision, each one in a transaction of its own, as Alembic's command line does.

    Errors  MigrationFailed with PostgreSQL's message, or with that of the revision's own Python
    """
    scripts = migrations.script(project)
    doing = f"upgrade to {revision}"
    context = EnvironmentContext(
        migrations.config(project), scripts, fn=lambda current, _: scripts._upgrade_revs(revision, current)
    )
    try:
        with context:
            context.configure(connection=connection, transaction_per_migration=True)
            with context.begin_transaction():
                context.run_migrations()
        connection.commit()
    except sa.exc.DBAPIError as error:
        raise migrations.translate(error, doing=doing, connection=connection) from error
    except GatebookError:
        raise
    except Exception as error:  # a revision is Python: it may fail in any way
        raise MigrationFailed(
            f"{doing} failed: {type(error).__name__}: {error}", where="alembic", next_step="mend the revision"
        ) from error


def first_line(text: str) -> str:
    """A statement as one short line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"


def not_run(rendered: str, ran: tuple[str, ...]) -> tuple[str, ...]:
    """Statements that Alembic renders without a database and that were not sent: a branch was not taken."""
    sent = "\n".join(_plain(text) for text in ran)
    return tuple(first_line(text) for text in _chunks(rendered) if _plain(text) not in sent)


def _chunks(rendered: str) -> Iterator[str]:
    """The statements of Alembic's offline output, without its own."""
    for chunk in rendered.split(";\n\n"):
        lines = [line for line in chunk.splitlines() if not line.startswith("-- Running upgrade")]
        text = "\n".join(lines).strip().rstrip(";")
        if text and text not in ("BEGIN", "COMMIT") and "alembic_version" not in text:
            yield text


def _plain(text: str) -> str:
    return " ".join(text.replace("%%", "%").split()).rstrip(";")
