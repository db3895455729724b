"""A database is named, never spelled out: "embedded", "embedded/NAME", or a variable that holds a URL.

The URL may be anything libpq takes (postgresql://…, key=value words, a service) and SQLAlchemy's
postgresql+psycopg:// too. It stays inside this module: repr, errors and logs show user, host and database.
"""

import contextlib
import difflib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote

import psycopg
import sqlalchemy as sa
from psycopg import conninfo as libpq
from psycopg import sql

from gatebook.embedded import DEFAULT_DATABASE, EmbeddedServer
from gatebook.errors import ConfigurationError, ConnectionFailed
from gatebook.project import Project

EMBEDDED = "embedded"
CONNECT_TIMEOUT_S = 10
LONGEST_NAME_BYTES = 63
LIMITS = ("SET LOCAL lock_timeout", "SET LOCAL statement_timeout")

# One text form for every value on every server and client, so that checksums and evidence are comparable.
SESSION = (
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; "
    "SET extra_float_digits = 1; SET bytea_output = 'hex'; SET client_min_messages = 'warning'; "
    "SET application_name = 'gatebook'"
)
# The server notices within this time that a client was killed in the middle of a statement (PostgreSQL 14+, Linux).
NOTICE_DEAD_CLIENT = "SET client_connection_check_interval = '500ms'"


@dataclass
class DatabaseClock:
    """Seconds that this process has spent waiting for statements, over all connections."""

    seconds: float = 0.0


clock = DatabaseClock()


@dataclass(frozen=True)
class Server:
    """What the server says of itself and of us."""

    version_num: int
    version: str
    database: str
    database_oid: int
    system_identifier: str
    role: str
    is_superuser: bool
    bypasses_row_security: bool
    is_replica: bool

    @property
    def major(self) -> int:
        return self.version_num // 10000

    @property
    def key(self) -> str:
        """A name for this very database: another one of the same name, made later, has another key."""
        return f"{self.system_identifier}-{self.database_oid}"


SERVER_FACTS = """
    SELECT pg_catalog.current_setting('server_version_num')::int AS version_num,
           pg_catalog.current_setting('server_version') AS version,
           d.datname::text AS database,
           d.oid::bigint AS database_oid,
           (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system_identifier,
           r.rolname::text AS role,
           r.rolsuper AS is_superuser,
           r.rolbypassrls AS bypasses_row_security,
           pg_catalog.pg_is_in_recovery() AS is_replica
      FROM pg_catalog.pg_database d, pg_catalog.pg_roles r
     WHERE d.datname = pg_catalog.current_database() AND r.rolname = current_user
"""


@dataclass(frozen=True)
class Database:
    """One database by name. `connect` hands out SQLAlchemy connections; nothing shows the password."""

    name: str
    conninfo: str = field(repr=False)
    server_process: EmbeddedServer | None = field(default=None, repr=False, compare=False)

    @property
    def target(self) -> str:
        """Where it is, fit for any log: user@host:port/database."""
        words = _words(self.conninfo)
        if "service" in words:
            return f"service {words['service']}"
        host = words.get("host", "localhost")
        if self.server_process is not None:
            return f"embedded server, database {words['dbname']}"
        port = f":{words['port']}" if "port" in words else ""
        return f"{words.get('user', '')}@{host}{port}/{words.get('dbname', '')}"

    def __str__(self) -> str:
        return f"{self.name} ({self.target})"

    @cached_property
    def engine(self) -> sa.Engine:
        engine = sa.create_engine("postgresql+psycopg://", creator=self.open_session, pool_size=2, pool_pre_ping=True)
        _keep_time(engine)
        return engine

    @cached_property
    def server(self) -> Server:
        with self.connect() as connection:
            row = connection.exec_driver_sql(SERVER_FACTS).mappings().one()
        return Server(**row)

    @contextmanager
    def connect(self, **options: Any) -> Iterator[sa.Connection]:
        """A connection in a transaction of its own, rolled back at the end unless committed before.

        options  SQLAlchemy execution options, for example isolation_level or postgresql_readonly
        """
        with self.engine.connect() as connection:
            yield connection.execution_options(**options) if options else connection

    def open_session(self) -> psycopg.Connection[Any]:
        """A plain psycopg connection with the session settings that all our results rest on."""
        wanted = self.conninfo
        if "connect_timeout" not in _words(wanted):
            wanted = libpq.make_conninfo(wanted, connect_timeout=CONNECT_TIMEOUT_S)
        try:
            session = psycopg.connect(wanted)
        except psycopg.Error as error:
            raise ConnectionFailed(
                f"cannot open the database {self.name!r}: {mask(str(error), self.conninfo)}",
                where=self.target,
                next_step=f"check that the server runs and that {self.name} names the right host, user and password",
            ) from None
        session.autocommit = True
        session.execute(SESSION)
        with contextlib.suppress(psycopg.Error):
            session.execute(NOTICE_DEAD_CLIENT)
        session.autocommit = False
        return session

    def close(self) -> None:
        """Close all connections and, for the embedded server, stop being its user."""
        self.engine.dispose()
        if self.server_process is not None:
            self.server_process.release()


def open_database(name: str, *, project: Project | None = None, create: bool = False) -> Database:
    """The database of a name; the embedded server is started when it is asked for.

    create  make a database of the embedded server that is not there yet
    Errors  ConfigurationError for a name that is a URL, an unset variable or an unknown embedded database
    """
    if name == EMBEDDED or name.startswith(f"{EMBEDDED}/"):
        _, _, wanted = name.partition("/")
        return _open_embedded(name, wanted or DEFAULT_DATABASE, project or Project.find(), create=create)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ConfigurationError(
            "a database is given by name, never by its URL",
            where="parameter database",
            next_step=f"put the URL into an environment variable and name that, or use {EMBEDDED!r}",
        )
    url = os.environ.get(name, "")
    if not url.strip():
        raise ConfigurationError(
            f"the environment variable {name} is {'empty' if name in os.environ else 'not set'}, "
            f"so there is no database of that name{_near_miss(name)}",
            where="parameter database",
            next_step=f"set {name} to a PostgreSQL URL, or use {EMBEDDED!r}",
        )
    return Database(name=name, conninfo=_to_conninfo(name, url.strip()))


def _near_miss(name: str) -> str:
    close = difflib.get_close_matches(name, [EMBEDDED, *os.environ], n=1)
    return f" (did you mean {close[0]}?)" if close and close[0] != name else ""


def _to_conninfo(name: str, url: str) -> str:
    """The URL as libpq takes it. The parser's own message may quote the password, so it is not shown."""
    url = re.sub(r"^postgres(ql)?\+psycopg(2|_async)?://", "postgresql://", url)
    try:
        conninfo = libpq.make_conninfo(url)
    except psycopg.ProgrammingError:
        conninfo = ""
    if not conninfo or ("://" in url and _is_cut_wrongly(conninfo)):
        raise ConfigurationError(
            f"the environment variable {name} does not hold a PostgreSQL URL",
            where=f"variable {name} (its text is not shown: it may hold a password)",
            next_step="give it the form postgresql://user:<password>@host:port/database?sslmode=require; "
            "special characters in the password are percent-encoded",
        )
    return conninfo


def _is_cut_wrongly(conninfo: str) -> bool:
    """An @ or / of a password that is not percent-encoded ends it early: its rest would show as host, port or name."""
    words = _words(conninfo)
    return "@" in words.get("host", "") + words.get("dbname", "") or not re.fullmatch(r"[0-9,]*", words.get("port", ""))


def _words(conninfo: str) -> dict[str, str]:
    return {key: str(value) for key, value in libpq.conninfo_to_dict(conninfo).items() if value is not None}


def mask(text: str, conninfo: str) -> str:
    """The text without the password of the connection, plain or percent-encoded."""
    password = _words(conninfo).get("password", "")
    for form in {password, quote(password, safe="")} - {""}:
        text = text.replace(form, "***")
    return text.strip()


def _open_embedded(name: str, wanted: str, project: Project, *, create: bool) -> Database:
    if len(wanted.encode()) > LONGEST_NAME_BYTES:
        raise ConfigurationError(
            f"the name {wanted!r} is longer than {LONGEST_NAME_BYTES} bytes, and PostgreSQL would cut it",
            where="parameter database",
            next_step="use a shorter name",
        )
    server = EmbeddedServer(project.home).acquire()
    try:
        _find_or_create(server, wanted, create=create)
    except ConfigurationError:
        server.release()
        raise
    return Database(name=name, conninfo=server.conninfo(wanted), server_process=server)


def _find_or_create(server: EmbeddedServer, wanted: str, *, create: bool) -> None:
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        rows = connection.execute("SELECT datname FROM pg_catalog.pg_database WHERE NOT datistemplate ORDER BY 1")
        names = [str(row[0]) for row in rows]
        if wanted in names:
            return
        if not create:
            close = difflib.get_close_matches(wanted, names, n=1)
            raise ConfigurationError(
                f"the embedded server has no database {wanted!r}{f' (did you mean {close[0]}?)' if close else ''}",
                where="parameter database",
                next_step=f"make it with `gatebook scenario --database {EMBEDDED}/{wanted}`",
            )
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(wanted)))


def recreate(database: Database) -> None:
    """Drop and make a database of the embedded server again; other servers' databases are never dropped.

    Errors  ConfigurationError for a database that is not embedded
    """
    server = database.server_process
    if server is None:
        raise ConfigurationError(
            "only a database of the embedded server can be made anew",
            where=str(database),
            next_step="set `reset: false`, or make an empty database yourself",
        )
    database.engine.dispose()
    database.__dict__.pop("server", None)
    wanted = sql.Identifier(_words(database.conninfo)["dbname"])
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        try:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(wanted))
        except psycopg.errors.InsufficientPrivilege:  # a worker of autovacuum is there: without FORCE it is sent away
            connection.execute(sql.SQL("DROP DATABASE {}").format(wanted))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(wanted))


@contextmanager
def statements(connection: sa.Connection, into: list[str]) -> Iterator[None]:
    """Add each statement that is sent meanwhile, parameters in place, as an analyst can paste it.

    Also those of other connections of its engine, since some things are tried in a session of their own. Limits on
    locks and statements are left out: they are the same for every test.
    """

    def note(_connection: Any, cursor: Any, text: str, parameters: Any, _context: Any, _many: bool) -> None:
        shown = text.strip()
        if shown.startswith(LIMITS):
            return
        for name, value in (parameters or {}).items() if isinstance(parameters, dict) else ():
            shown = shown.replace(f"%({name})s", sql.Literal(value).as_string(cursor))
        into.append(shown)

    sa.event.listen(connection.engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        sa.event.remove(connection.engine, "before_cursor_execute", note)


def _keep_time(engine: sa.Engine) -> None:
    """Add the time of each statement to the clock, so that a run can tell database from notebook."""

    @sa.event.listens_for(engine, "before_cursor_execute")
    def start(_connection: Any, _cursor: Any, _sql: str, _params: Any, context: Any, _many: bool) -> None:
        context._gatebook_started = time.perf_counter()

    @sa.event.listens_for(engine, "after_cursor_execute")
    def stop(_connection: Any, _cursor: Any, _sql: str, _params: Any, context: Any, _many: bool) -> None:
        clock.seconds += time.perf_counter() - context._gatebook_started
