"""Whose rows can a role read? Tried out as that role, over every relation that the catalog lets it read.

A relation whose owner's column is not known is no pass: it has to be declared whose its rows are, or that they are
everybody's. What is done here is rolled back by whoever examines.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from psycopg import sql

from gatebook import migrations
from gatebook.catalog import RELATIONS, Query, execute
from gatebook.subject import Examination, Subject
from gatebook.verdicts import Fail, Pass, Rows, Unknown, Verdict

CUSTOMERS = 3  # the examination looks through the eyes of this many, those with the most rows first

READABLE = (
    RELATIONS
    + """
SELECT o.name AS relation,
       EXISTS (SELECT FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = o.oid AND a.attname = %(column)s AND NOT a.attisdropped) AS has_column
  FROM ours o
 WHERE o.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND (pg_catalog.has_table_privilege(%(role)s, o.oid, 'SELECT')
        OR pg_catalog.has_any_column_privilege(%(role)s, o.oid, 'SELECT'))
 ORDER BY o.name
"""
)

LEAK = """
CREATE FUNCTION pg_temp.gatebook_is_shown(value text) RETURNS boolean LANGUAGE plpgsql COST 0.0001
AS $$ BEGIN RAISE NOTICE '%', value; RETURN true; END $$
"""


@dataclass(frozen=True)
class Scope:
    """How a database tells whose a row is.

    setting  names the customer of a connection
    column   holds the customer in most relations
    owners   relation -> expression for it in the others
    shared   relations whose rows are everybody's
    among    SELECT of one column: customers, those with the most rows first
    """

    setting: str
    column: str
    among: str
    owners: Mapping[str, str] = field(default_factory=dict)
    shared: tuple[str, ...] = ()

    def owner(self, relation: Mapping[str, Any]) -> str | None:
        """The expression for the owner of a row, or None where nobody has said."""
        own = self.owners.get(str(relation["relation"]))
        return own or (sql.Identifier(self.column).as_string() if relation["has_column"] else None)


def only_own_rows(role: str, scope: Scope) -> Examination:
    """With a customer set, every row of every readable relation is theirs, and rows are seen."""

    def examination(subject: Subject) -> Verdict:
        what = f"as {role}, each customer reads its own rows alone"
        connection = subject.connection
        customers = _customers(connection, scope)
        relations, unknown = _relations(connection, role, scope)
        rows: list[dict[str, Any]] = []
        for customer in customers:
            _be(connection, role, scope.setting, customer)
            rows += [{"customer": customer, **_count(connection, each, customer)} for each in relations]
            execute(connection, "RESET ROLE")
        return _judge(what, rows, unknown, customers)

    return examination


def nothing_without(scope: Scope, *roles: str) -> Examination:
    """With no customer set, never or emptied, no relation shows a row; in a session that never had one."""

    def examination(subject: Subject) -> Verdict:
        what = "without a customer nothing can be read"
        rows: list[dict[str, Any]] = []
        unknown: list[str] = []
        with _fresh(subject) as connection:
            for state in ("never set", "empty"):
                for role in roles:
                    relations, unclear = _relations(connection, role, scope)
                    unknown += unclear
                    _be(connection, role, scope.setting, None if state == "never set" else "")
                    rows += [{"role": role, "customer": state, **_count(connection, each, None)} for each in relations]
                    execute(connection, "RESET ROLE")
        want: Rows = tuple({**row, "rows": 0, "of_others": 0} for row in rows)
        seen = [f"{row['relation']} ({row['rows']:,} rows)" for row in rows if row["rows"]]
        if seen or unknown:
            return Fail(what, tuple(rows), want, _say(seen, unknown, rows))
        if not rows or _unread(rows):
            return Unknown(what, tuple(rows), want, _unread(rows) or "there is nothing that could be read")
        return Pass(what, tuple(rows), want)

    return examination


def nothing_leaks(role: str, scope: Scope) -> Examination:
    """A cheap function in a WHERE clause, which the planner would like to call first, is shown own rows alone."""

    def examination(subject: Subject) -> Verdict:
        what = f"as {role}, a function of the reader's own is never shown another customer's row"
        connection = subject.connection
        customers = _customers(connection, scope)[:1]
        relations, unknown = _relations(connection, role, scope)
        execute(connection, LEAK)
        for path in ("indexscan", "indexonlyscan", "bitmapscan"):
            execute(connection, f"SET LOCAL enable_{path} = off")
        rows = []
        for customer in customers:
            _be(connection, role, scope.setting, customer)
            for relation in relations:
                rows.append(_shown_to(connection, relation, customer))
            execute(connection, "RESET ROLE")
        return _judge(what, rows, unknown, customers)

    return examination


def is_refused(role: str, *relations: str) -> Examination:
    """Reading each of the relations fails as the role, with SQLSTATE 42501."""

    def examination(subject: Subject) -> Verdict:
        what = f"{role} may not read {', '.join(relations)}"
        rows = [{"relation": name, **_attempt(subject.connection, role, name)} for name in relations]
        want: Rows = tuple({"relation": name, "sqlstate": "42501"} for name in relations)
        wrong = [f"{row['relation']}: {row['sqlstate'] or 'it was read'}" for row in rows if row["sqlstate"] != "42501"]
        if wrong or not rows:
            return Fail(what, tuple(rows), want, "; ".join(wrong) or "nothing was tried")
        return Pass(what, tuple(rows), want)

    return examination


def _customers(connection: sa.Connection, scope: Scope) -> list[str]:
    return [str(value) for value in execute(connection, scope.among).scalars()][:CUSTOMERS]


def _relations(connection: sa.Connection, role: str, scope: Scope) -> tuple[list[dict[str, Any]], list[str]]:
    """What the role may read, each with the expression for its owner; and what nobody has said the owner of."""
    found = Query(READABLE, {"column": scope.column, "role": role}).run(connection)
    asked = [{**row, "owner": scope.owner(row)} for row in found if row["relation"] not in scope.shared]
    return [row for row in asked if row["owner"]], [str(row["relation"]) for row in asked if not row["owner"]]


def _be(connection: sa.Connection, role: str, setting: str, customer: str | None) -> None:
    """Become the role, with this customer; None leaves the setting as it is."""
    if customer is not None:
        execute(
            connection,
            "SELECT pg_catalog.set_config(%(name)s, %(value)s, true)",
            {"name": setting, "value": customer},
        )
    execute(connection, f"SET LOCAL ROLE {sql.Identifier(role).as_string()}")


def _count(connection: sa.Connection, relation: Mapping[str, Any], customer: str | None) -> dict[str, Any]:
    """How many rows are seen, and how many of them are not the customer's; or why it could not be read."""
    statement = (
        f"SELECT count(*) AS rows, count(*) FILTER (WHERE ({relation['owner']})::text IS DISTINCT FROM %(customer)s) "
        f"AS of_others FROM {relation['relation']}"
    )
    try:
        with connection.begin_nested():
            return {**_named(relation), **execute(connection, statement, {"customer": customer}).mappings().one()}
    except sa.exc.DBAPIError as error:
        return {**_named(relation), **_failed(error)}


def _shown_to(connection: sa.Connection, relation: Mapping[str, Any], customer: str) -> dict[str, Any]:
    """How many rows the function in the WHERE clause was called with, and how many of them are not the customer's."""
    try:
        with connection.begin_nested():
            shown = _shown(connection, relation)
    except sa.exc.DBAPIError as error:
        return {**_named(relation), **_failed(error)}
    return {**_named(relation), "rows": len(shown), "of_others": sum(value != customer for value in shown)}


def _shown(connection: sa.Connection, relation: Mapping[str, Any]) -> list[str]:
    """Every owner that the function in the WHERE clause was called with."""
    session = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    seen: list[str] = []

    def note(diagnostic: psycopg.errors.Diagnostic) -> None:
        seen.append(diagnostic.message_primary or "")

    session.add_notice_handler(note)
    try:
        execute(connection, "SET LOCAL client_min_messages = notice")
        owner = relation["owner"]
        execute(
            connection, f"SELECT count(*) FROM {relation['relation']} WHERE pg_temp.gatebook_is_shown(({owner})::text)"
        )
    finally:
        session.remove_notice_handler(note)
    return seen


def _attempt(connection: sa.Connection, role: str, relation: str) -> dict[str, Any]:
    savepoint = connection.begin_nested()
    try:
        execute(connection, f"SET LOCAL ROLE {sql.Identifier(role).as_string()}")
        execute(connection, f"SELECT FROM {sql.Identifier(relation).as_string()} LIMIT 1")
    except sa.exc.DBAPIError as error:
        return {"sqlstate": getattr(error.orig, "sqlstate", None), "message": str(error.orig).splitlines()[0]}
    finally:
        savepoint.rollback()
    return {"sqlstate": None, "message": "it was read"}


@contextmanager
def _fresh(subject: Subject) -> Iterator[sa.Connection]:
    """A session in which no setting was ever made: one that was reset holds '' instead of nothing."""
    with subject.connection.engine.connect() as connection:
        connection.invalidate()
        migrations.set_limits(
            connection,
            lock_timeout_ms=subject.lock_timeout_ms,
            statement_timeout_ms=subject.statement_timeout_ms,
        )
        yield connection
        connection.rollback()


def _judge(what: str, rows: Sequence[Mapping[str, Any]], unknown: list[str], customers: list[str]) -> Verdict:
    want: Rows = tuple({**row, "of_others": 0} for row in rows)
    seen = [f"{row['relation']} ({row['of_others']:,} rows)" for row in rows if row["of_others"]]
    if seen or unknown:
        return Fail(what, tuple(rows), want, _say(seen, unknown, rows))
    if _unread(rows) or not customers or not any(row["rows"] for row in rows):
        return Unknown(what, tuple(rows), want, _unread(rows) or "no customer saw any row, so nothing is proven")
    return Pass(what, tuple(rows), want)


def _say(seen: list[str], unknown: list[str], rows: Sequence[Mapping[str, Any]]) -> str:
    parts = [f"rows of others are shown by {', '.join(dict.fromkeys(seen))}"] if seen else []
    if unknown:
        parts.append(f"whose the rows of {', '.join(dict.fromkeys(unknown))} are is not declared")
    return "; ".join(filter(None, [*parts, _unread(rows)]))


def _failed(error: sa.exc.DBAPIError) -> dict[str, Any]:
    return {"rows": None, "of_others": None, "error": str(error.orig).splitlines()[0]}


def _unread(rows: Sequence[Mapping[str, Any]]) -> str:
    """The relations that could not be read, and why; a relation that nobody could look into is no pass."""
    failed = dict.fromkeys(f"{row['relation']} ({row['error']})" for row in rows if row.get("error"))
    return f"could not be read: {', '.join(failed)}" if failed else ""


def _named(relation: Mapping[str, Any]) -> dict[str, Any]:
    return {"relation": relation["relation"]}
