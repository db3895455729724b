"""Alembic from Python: where a database stands, where it could go, and taking it there.

The caller owns the connection and its transaction, so a phase can look, migrate, look again and only then
commit. The limits on locks and statements are set here, for the command line of Alembic too (see env.py).
"""

import contextlib
import io
from collections.abc import Callable
from typing import Any

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from gatebook.errors import LockTimeout, MigrationFailed, StatementTimeout
from gatebook.project import Project

LOCK_TIMEOUT_MS = 5_000
STATEMENT_TIMEOUT_MS = 600_000

LOCK_HOLDERS = """
    SELECT DISTINCT a.pid, a.usename::text AS role, a.application_name AS application, a.state,
           c.relname::text AS relation
      FROM pg_catalog.pg_locks l
      JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p', 'm') AND c.oid >= 16384
      JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
     WHERE l.granted AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
       AND l.pid <> pg_catalog.pg_backend_pid()
     ORDER BY a.pid, relation
"""


def config(project: Project, connection: sa.Connection | None = None, output: Any = None) -> Config:
    """Alembic's configuration of the project, bound to a connection when one is given."""
    made = Config(str(project.alembic_ini), output_buffer=output or io.StringIO(), stdout=io.StringIO())
    made.attributes["connection"] = connection
    return made


def script(project: Project) -> ScriptDirectory:
    return ScriptDirectory.from_config(config(project))


def head(project: Project) -> str:
    """The one newest revision.

    Errors  MigrationFailed when there are none or several, naming them, or when they cannot be read
    """
    try:
        heads = sorted(script(project).get_heads())
    except Exception as error:  # a revision is Python: it may fail in any way
        raise MigrationFailed(
            f"the migrations cannot be read: {type(error).__name__}: {error}",
            where=str(project.root / "alembic" / "versions"),
            next_step="mend the revision that is named; `alembic history` lists them",
        ) from error
    if len(heads) != 1:
        raise MigrationFailed(
            f"the migrations have {len(heads)} heads: {', '.join(heads) or 'none'}",
            where=str(project.root / "alembic" / "versions"),
            next_step="give one of them the other as down_revision, or join them with `alembic merge`",
        )
    return heads[0]


def chain(project: Project) -> list[str]:
    """All revisions from the first to the head."""
    head(project)
    return [revision.revision for revision in reversed(list(script(project).walk_revisions()))]


def current(connection: sa.Connection) -> str | None:
    """The revision that the database carries, or None before the first.

    Errors  MigrationFailed when it carries several
    """
    found = MigrationContext.configure(connection).get_current_heads()
    if len(found) > 1:
        raise MigrationFailed(
            f"the database stands at {len(found)} revisions at once: {', '.join(sorted(found))}",
            where="table alembic_version",
            next_step="bring the branches together with `alembic upgrade heads` or remove the row that is wrong",
        )
    return found[0] if found else None


def position(project: Project, revision: str | None) -> int:
    """Place of a revision in the chain: 0 for none, 1 for the first.

    Errors  MigrationFailed for a revision that this project does not have
    """
    if revision is None:
        return 0
    revisions = chain(project)
    if revision not in revisions:
        raise MigrationFailed(
            f"the database stands at revision {revision}, which this project does not have",
            where="table alembic_version",
            next_step="check that the database is the one you mean; it seems to belong to another project",
        )
    return revisions.index(revision) + 1


def set_limits(connection: sa.Connection, *, lock_timeout_ms: int, statement_timeout_ms: int) -> None:
    """Limits for this transaction. SET takes no snapshot, so a lock may still be taken before the first one."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(lock_timeout_ms)}")
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(statement_timeout_ms)}")


def keep_limits(connection: sa.Connection, *, lock_timeout_ms: int, statement_timeout_ms: int) -> None:
    """Limits for whatever this connection does, also after a rollback. Ends the transaction it is in."""
    connection.exec_driver_sql(f"SET lock_timeout = {int(lock_timeout_ms)}")
    connection.exec_driver_sql(f"SET statement_timeout = {int(statement_timeout_ms)}")
    connection.commit()


def upgrade(connection: sa.Connection, project: Project, to: str) -> None:
    """Run the upgrades up to a revision inside the caller's transaction.

    Errors  LockTimeout, StatementTimeout, MigrationFailed; the transaction is then unusable
    """
    _run(connection, lambda bound: command.upgrade(bound, to), project, f"upgrade to {to}")


def downgrade(connection: sa.Connection, project: Project, to: str) -> None:
    """Run the downgrades down to a revision ("base" for none) inside the caller's transaction."""
    _run(connection, lambda bound: command.downgrade(bound, to), project, f"downgrade to {to}")


def statements(project: Project, revision: str) -> str:
    """The SQL of one revision as Alembic would send it, rendered without a database."""
    output = io.StringIO()
    wanted = script(project).get_revision(revision)
    command.upgrade(config(project, output=output), f"{wanted.down_revision or 'base'}:{revision}", sql=True)
    return output.getvalue()


def _run(connection: sa.Connection, act: Callable[[Config], None], project: Project, doing: str) -> None:
    try:
        act(config(project, connection))
    except sa.exc.DBAPIError as error:
        raise translate(error, doing=doing, connection=connection) from error
    except CommandError as error:
        raise MigrationFailed(
            f"{doing} failed: {error}", where="alembic", next_step="see `alembic history` and `alembic current`"
        ) from error


def translate(error: sa.exc.DBAPIError, *, doing: str, connection: sa.Connection | None = None) -> MigrationFailed:
    """Our error for the server's, decided by SQLSTATE; nothing of the transaction was kept."""
    cause = error.orig
    kept = "nothing of it was kept"
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        return LockTimeout(
            f"{doing} gave up waiting for a lock; {kept}",
            where=_holders(connection),
            next_step="wait for or end that session, then run again; lock_timeout_ms sets how long to wait",
        )
    if isinstance(cause, psycopg.errors.QueryCanceled):
        return StatementTimeout(
            f"{doing}: a statement ran for longer than allowed or was cancelled; {kept}",
            where=_first_line(error.statement),
            next_step="raise statement_timeout_ms, or run when the table is smaller or the server less busy",
        )
    message = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    hint = cause.diag.message_hint if isinstance(cause, psycopg.Error) else None
    state = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    return MigrationFailed(
        f"{doing} failed; {kept}: {message or cause} (SQLSTATE {state or 'none: the connection was lost'})",
        where=_first_line(error.statement),
        next_step=hint or "mend the cause that PostgreSQL names, then run again",
    )


def _first_line(statement: str | None) -> str:
    lines = [line.strip() for line in (statement or "").splitlines() if line.strip()]
    return f"statement starting {lines[0][:120]!r}" if lines else "connection"


def _holders(connection: sa.Connection | None) -> str:
    """Who holds locks now, asked on a connection of its own; best effort, for the message only."""
    if connection is None:
        return "lock"
    with contextlib.suppress(sa.exc.SQLAlchemyError), connection.engine.connect() as other:
        rows = other.exec_driver_sql(LOCK_HOLDERS).mappings().all()
        return (
            "; ".join(
                f"{row['relation']} is held by pid {row['pid']} "
                f"({row['role']}, {row['application'] or 'no name'}, {row['state'] or 'state not shown to us'})"
                for row in rows
            )
            or "the holder has gone meanwhile"
        )
    return "the holder could not be asked for"
