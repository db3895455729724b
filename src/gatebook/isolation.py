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

from gatebook import compare, migrations
from gatebook.catalog import RELATIONS, Query, execute
from gatebook.compare import Comparison
from gatebook.contract import ViewContract, load_contract
from gatebook.subject import Examination, Subject
from gatebook.verdicts import Fail, Pass, Rows, Unknown, Verdict

FEWEST = 2
TOO_FEW = "fewer than two customers have rows, so nothing is proven"
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
   AND (SELECT pg_catalog.has_schema_privilege(%(role)s, c.relnamespace, 'USAGE')
          FROM pg_catalog.pg_class c WHERE c.oid = o.oid)
 ORDER BY o.name
"""
)

# What a role could use beside its own rights. Membership that is only for administering (16+) is no way.
WAYS = """
SELECT 'attribute' AS kind, 'superuser' AS way FROM pg_catalog.pg_roles WHERE rolname = %(role)s AND rolsuper
UNION ALL
SELECT 'attribute', 'bypasses row security' FROM pg_catalog.pg_roles WHERE rolname = %(role)s AND rolbypassrls
UNION ALL
SELECT 'member of', r.rolname::text FROM pg_catalog.pg_roles r
 WHERE r.rolname <> %(role)s AND pg_catalog.pg_has_role(%(role)s, r.oid, 'MEMBER')
UNION ALL
SELECT 'function', p.oid::pg_catalog.regprocedure::text
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE p.prosecdef AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND pg_catalog.has_function_privilege(%(role)s, p.oid, 'EXECUTE')
   AND pg_catalog.has_schema_privilege(%(role)s, n.oid, 'USAGE')
 ORDER BY 1, 2
"""

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


def nothing_leaks(scope: Scope, *roles: str) -> Examination:
    """A cheap function in a WHERE clause, which the planner would like to call first, is shown own rows alone."""

    def examination(subject: Subject) -> Verdict:
        what = "a function of the reader's own is never shown another customer's row"
        connection = subject.connection
        customers = _customers(connection, scope)
        execute(connection, LEAK)
        for path in ("indexscan", "indexonlyscan", "bitmapscan"):
            execute(connection, f"SET LOCAL enable_{path} = off")
        rows: list[dict[str, Any]] = []
        unknown: list[str] = []
        for role in roles:
            relations, unclear = _relations(connection, role, scope)
            unknown += unclear
            for customer in customers:
                _be(connection, role, scope.setting, customer)
                rows += [
                    {"role": role, "customer": customer, **_shown_to(connection, each, customer)} for each in relations
                ]
                execute(connection, "RESET ROLE")
        return _judge(what, rows, unknown, customers)

    return examination


def has_no_other_way(*roles: str) -> Examination:
    """The roles can become no other role, bypass nothing, and call no undeclared function with its owner's rights."""

    def examination(subject: Subject) -> Verdict:
        what = f"{', '.join(roles)} have no way around their own rights"
        declared = subject.canonical.functions
        rows: list[dict[str, Any]] = []
        for role in roles:
            found = Query(WAYS, {"role": role}).run(subject.connection)
            rows += [{"role": role, **row} for row in found if row["way"] not in {*declared, *roles}]
        if not Query("SELECT FROM pg_catalog.pg_roles WHERE rolname = ANY(%(roles)s)", {"roles": list(roles)}).run(
            subject.connection
        ):
            return Unknown(what, reason="none of the roles is there")
        problems = [f"{row['role']}: {row['kind']} {row['way']}" for row in rows]
        return Fail(what, tuple(rows), (), "; ".join(problems)) if problems else Pass(what, tuple(rows), ())

    return examination


def scoped_views_agree(scope: Scope) -> Examination:
    """Each view that applications read shows, for each customer, exactly what the materialized view has of them."""

    def examination(subject: Subject) -> Verdict:
        what = "each scoped view shows what its materialized view holds of the customer"
        connection = subject.connection
        customers = _customers(connection, scope)
        rows: list[dict[str, Any]] = []
        problems: list[str] = []
        for customer in customers:
            setting = {"name": scope.setting, "value": customer}
            execute(connection, "SELECT pg_catalog.set_config(%(name)s, %(value)s, true)", setting)
            for name, view in load_contract(subject.project).views.items():
                found = compare.compare(connection, _scoped(name, view, scope, customer))
                judged = compare.verdict(what, _scoped(name, view, scope, customer), found)
                rows.append({"view": view.read_through, "customer": customer, "rows": found.rows_view, "of": name})
                if found.rows_raw or found.rows_view or found.problem:  # not every customer has rows in every view
                    problems += [] if judged.is_green else [f"{view.read_through}: {judged.reason}"]
        if problems:
            return Fail(what, tuple(rows), (), "; ".join(dict.fromkeys(problems)))
        empty = {row["view"] for row in rows} - {row["view"] for row in rows if row["rows"]}
        if empty or len(customers) < FEWEST:
            return Unknown(what, tuple(rows), (), f"no rows in {', '.join(sorted(empty))}" if empty else TOO_FEW)
        return Pass(what, tuple(rows))

    return examination


def is_denied(role: str, *statements: str) -> Examination:
    """Each of the statements fails as the role, with SQLSTATE 42501."""

    def examination(subject: Subject) -> Verdict:
        what = f"{role} may not do that"
        rows = [{"statement": text, **_attempted(subject.connection, role, text)} for text in statements]
        want: Rows = tuple({"statement": text, "sqlstate": "42501"} for text in statements)
        wrong = [
            f"{row['statement']}: {row['sqlstate'] or 'it was done'}" for row in rows if row["sqlstate"] != "42501"
        ]
        if wrong or not rows:
            return Fail(what, tuple(rows), want, "; ".join(wrong) or "nothing was tried")
        return Pass(what, tuple(rows), want)

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


def _scoped(name: str, view: ViewContract, scope: Scope, customer: str) -> Comparison:
    names = [*view.key, *view.measures]
    listed = ", ".join(sql.Identifier(column).as_string() for column in names)
    own = f"{sql.Identifier(scope.column).as_string()}::text = {sql.Literal(customer).as_string()}"
    raw = f"SELECT {listed} FROM {sql.Identifier(name).as_string()} WHERE {own}"
    seen = f"SELECT {listed} FROM {sql.Identifier(view.read_through).as_string()}"
    return Comparison(raw, seen, key=tuple(view.key), measures=tuple(view.measures), view=name)


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
    name, owner = (str(relation[key]).replace("%", "%%") for key in ("relation", "owner"))
    statement = (
        f"SELECT count(*) AS rows, count(*) FILTER (WHERE ({owner})::text IS DISTINCT FROM %(customer)s) AS of_others "
        f"FROM {name}"
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
    return _attempted(connection, role, f"SELECT FROM {sql.Identifier(relation).as_string()} LIMIT 1")


def _attempted(connection: sa.Connection, role: str, statement: str) -> dict[str, Any]:
    savepoint = connection.begin_nested()
    try:
        execute(connection, f"SET LOCAL ROLE {sql.Identifier(role).as_string()}")
        execute(connection, statement)
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
    if _unread(rows) or len(customers) < FEWEST or not any(row["rows"] for row in rows):
        nothing = TOO_FEW if len(customers) < FEWEST else "no customer saw any row, so nothing is proven"
        return Unknown(what, tuple(rows), want, _unread(rows) or nothing)
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
