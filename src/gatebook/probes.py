"""Writes that must be rejected or accepted. Each is planned as statements first, and none is ever kept.

A probe inserts valid parent rows of its own, sets what row security asks for, and changes one thing. The same
row without that change must be accepted first: a write that fails for another reason proves nothing. All of it
happens in one transaction which is rolled back, so that a killed process leaves nothing behind either.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

import psycopg
import sqlalchemy as sa
from psycopg import sql
from pydantic import Field

from gatebook.catalog import execute
from gatebook.declarations import Declared
from gatebook.errors import ConfigurationError
from gatebook.verdicts import Fail, Pass, Rows, Unknown, Verdict


class Fixture(Declared):
    """How to make one valid row of a table.

    row       column -> SQL expression; {self} is the row's own fresh uuid, {TABLE} that of the parent row
    parents   tables whose rows come first
    settings  session settings the insert needs -> SQL expression
    """

    row: dict[str, str]
    parents: list[str] = Field(default_factory=list)
    settings: dict[str, str] = Field(default_factory=dict)


class Fixtures(Declared):
    """params/fixtures.yaml"""

    tables: dict[str, Fixture]

    def of(self, table: str) -> Fixture:
        if table not in self.tables:
            raise ConfigurationError(
                f"no fixture says how to make a valid row of {table}",
                where="params/fixtures.yaml",
                next_step=f"add {table} there with its row and parents",
            )
        return self.tables[table]


@dataclass(frozen=True)
class Write:
    """A write to try: a row of a table with some columns changed, or a delete and what goes with it."""

    table: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    kind: Literal["insert", "duplicate", "update", "delete", "cascade"] = "insert"
    same: str = ""
    children: str = ""
    role: str = ""

    def by(self, role: str) -> "Write":
        """The same write as another role, which ours must be a member of."""
        return replace(self, role=role)


def insert(table: str, **changes: Any) -> Write:
    """A valid row but for these columns. None stands for NULL."""
    return Write(table, changes)


def inserts(table: str, **values: list[Any]) -> tuple[Write, ...]:
    """One row for each value of one column."""
    ((column, each),) = values.items()
    return tuple(insert(table, **{column: value}) for value in each)


def duplicate(table: str, column: str) -> Write:
    """A second row that is valid by itself but has the first one's value in this column."""
    return Write(table, kind="duplicate", same=column)


def update(table: str, **changes: Any) -> Write:
    """A valid row, then these columns of it changed."""
    return Write(table, changes, kind="update")


def delete(table: str) -> Write:
    """A valid row, then deleted."""
    return Write(table, kind="delete")


def cascade(table: str, *, takes: str) -> Write:
    """Deleting one of two rows; the child table's rows of that one must go with it, and no others."""
    return Write(table, kind="cascade", children=takes)


WRITES = ("INSERT", "UPDATE", "DELETE")
RETURNING = "RETURNING *"
DEFERRED = "SET CONSTRAINTS ALL IMMEDIATE;"  # constraints that wait for the commit speak now


@dataclass(frozen=True)
class Plan:
    """The statements of a probe: what is given, the unchanged row, the one that counts, what is there then."""

    given: tuple[str, ...]
    control: tuple[str, ...]
    attempt: tuple[str, ...]
    reading: str = ""

    @property
    def to_be_rejected(self) -> "Plan":
        """Without reading anything back: a policy that hides the row must not pass for one that refuses the write."""
        control, attempt = (tuple(_unread(each) for each in steps) for steps in (self.control, self.attempt))
        return replace(self, control=control, attempt=attempt, reading="")

    @property
    def to_be_accepted(self) -> "Plan":
        """Without the control: the attempt itself shows whether such a row goes in."""
        return replace(self, control=())

    @property
    def sql(self) -> str:
        """The statements as they are run, to be pasted anywhere."""
        control = ["SAVEPOINT control;", *self.control, DEFERRED, "ROLLBACK TO SAVEPOINT control;"]
        steps = [*self.given, *(control if self.control else []), *self.attempt, DEFERRED]
        return "\n".join(["BEGIN;", *steps, *([self.reading] if self.reading else []), "ROLLBACK;"])


def plan(write: Write, fixtures: Fixtures) -> Plan:
    """The statements of a write.

    Errors  ConfigurationError when a fixture is missing or names an unknown column
    """
    if write.kind == "cascade":
        return _plan_cascade(write, fixtures)
    if write.kind == "duplicate":
        return _plan_duplicate(write, fixtures)
    given, keys = _parents(write.table, fixtures, {})
    valid = (*_role(write), *_insert(write.table, fixtures, keys, {}))
    if write.kind == "insert":
        attempt = (*_role(write), *_insert(write.table, fixtures, keys, write.changes))
        return Plan(tuple(given), valid, attempt, _reading(write, fixtures, keys))
    reading = _reading(write, fixtures, keys) if write.kind == "update" else ""
    return Plan(tuple(given), valid, (*valid, _change(write, keys["self"])), reading)


def _role(write: Write) -> tuple[str, ...]:
    return (f"SET LOCAL ROLE {sql.Identifier(write.role).as_string()};",) if write.role else ()


def _reading(write: Write, fixtures: Fixtures, keys: Mapping[str, str]) -> str:
    """The row as it lies in the table, after all triggers; "" where it cannot be found again by its id."""
    if "id" not in fixtures.of(write.table).row or "id" in write.changes:
        return ""
    table, key = sql.Identifier(write.table).as_string(), sql.Literal(keys["self"]).as_string()
    return f"SELECT * FROM {table} WHERE id = {key};"


def _change(write: Write, key: str) -> str:
    """UPDATE or DELETE of the row that was just inserted."""
    where = f"WHERE id = {sql.Literal(key).as_string()}\n{RETURNING};"
    table = sql.Identifier(write.table).as_string()
    if write.kind == "delete":
        return f"DELETE FROM {table} {where}"
    values = ", ".join(
        f"{sql.Identifier(column).as_string()} = {sql.Literal(value).as_string()}"
        for column, value in write.changes.items()
    )
    return f"UPDATE {table} SET {values} {where}"


def _plan_duplicate(write: Write, fixtures: Fixtures) -> Plan:
    first_parents, keys = _parents(write.table, fixtures, {})
    first = _insert(write.table, fixtures, keys, {})
    shared = {table: key for table, key in _roots(keys, fixtures).items() if table != write.table}
    second_parents, second_keys = _parents(write.table, fixtures, shared)
    same = {write.same: _Expression(_expression(fixtures.of(write.table), write.same, keys))}
    return Plan(
        given=(*first_parents, *first, *second_parents),
        control=(*_role(write), *_insert(write.table, fixtures, second_keys, {})),
        attempt=(*_role(write), *_insert(write.table, fixtures, second_keys, same)),
    )


def _plan_cascade(write: Write, fixtures: Fixtures) -> Plan:
    child = write.children
    given: list[str] = []
    keys: list[dict[str, str]] = []
    shared: dict[str, str] = {}
    for _ in range(2):
        parents, row_keys = _parents(child, fixtures, shared)
        given += [*parents, *_insert(child, fixtures, row_keys, {})]
        keys.append(row_keys)
        shared = {table: key for table, key in _roots(row_keys, fixtures).items() if table != write.table}
    gone, kept = (sql.Literal(each["self"]).as_string() for each in keys)
    victim = sql.Literal(keys[0][write.table]).as_string()
    table, children = (sql.Identifier(name).as_string() for name in (write.table, child))
    return Plan(
        # append-only guards are no part of the claim; like everything here this is rolled back
        given=(*given, f"ALTER TABLE {table} DISABLE TRIGGER USER;"),
        control=(),
        attempt=(*_role(write), f"DELETE FROM {table} WHERE id = {victim};"),
        reading=(
            f"SELECT count(*) FILTER (WHERE id = {gone}) AS of_the_deleted, "
            f"count(*) FILTER (WHERE id = {kept}) AS of_the_other FROM {children};"
        ),
    )


def rejected(
    connection: sa.Connection, plan: Plan, *, what: str, sqlstate: str, constraint: str | None, column: str | None
) -> Verdict:
    """Pass only when the unchanged row is accepted, and the changed one fails for exactly the named reason."""
    want_row = {"sqlstate": sqlstate, "constraint": constraint, "column": column}
    want: Rows = ({key: value for key, value in want_row.items() if value is not None},)
    with _never_kept(connection) as session:
        for statement in plan.given:
            execute(session, statement)
        error = _attempt(session, plan.control)
        if error is not None:
            reason = f"the same row without the change was rejected too: {_message(error)}"
            return Unknown(what, (_diagnosis(error),), want, reason)
        error = _attempt(session, plan.attempt)
    if error is None:
        return Fail(what, ({"outcome": "accepted"},), want, "the write was accepted", rule="includes")
    have = _diagnosis(error)
    if any(have.get(key) != value for key, value in want[0].items()):
        return Fail(what, (have,), want, f"rejected, but for another reason: {_message(error)}", rule="includes")
    return Pass(what, (have,), want, rule="includes")


def accepted(connection: sa.Connection, plan: Plan, *, what: str, changes: Mapping[str, Any]) -> Verdict:
    """Pass only when the row was written, deferred constraints included, and holds the values that were sent."""
    want: Rows = ({"outcome": "accepted", **changes},)
    with _never_kept(connection) as session:
        try:
            for statement in (*plan.given, *plan.attempt):
                result = execute(session, statement)
            rows = [dict(row) for row in result.mappings()] if result.returns_rows else []
            execute(session, DEFERRED)
            if rows and plan.reading:
                rows = [dict(row) for row in execute(session, plan.reading).mappings()]
        except sa.exc.DBAPIError as error:
            return Fail(what, (_diagnosis(error),), want, f"the write was rejected: {_message(error)}")
    if len(rows) != 1:
        return Fail(what, ({"outcome": f"{len(rows)} rows written"},), want, "the write was swallowed in silence")
    have = {"outcome": "accepted", **{name: rows[0].get(name) for name in changes}}
    if any(not _same(have[name], value) for name, value in changes.items()):
        return Fail(what, (have,), want, "the row was written with other values")
    return Pass(what, (have,), want)


def cascades(connection: sa.Connection, plan: Plan, *, what: str) -> Verdict:
    """Pass only when the deleted row's children are gone and the other row's child is still there."""
    want: Rows = ({"of_the_deleted": 0, "of_the_other": 1},)
    reading = plan.reading
    with _never_kept(connection) as session:
        try:
            for statement in plan.given:
                execute(session, statement)
            before = dict(execute(session, reading).mappings().one())
            if before != {"of_the_deleted": 1, "of_the_other": 1}:
                return Unknown(what, (before,), want, "the rows to delete from could not be made")
            for statement in plan.attempt:
                execute(session, statement)
            execute(session, DEFERRED)
            have = dict(execute(session, reading).mappings().one())
        except sa.exc.DBAPIError as error:
            return Fail(what, (_diagnosis(error),), want, f"the delete was rejected: {_message(error)}")
    if have != want[0]:
        return Fail(what, (have,), want, "other rows went, or stayed, than should", rule="equal")
    return Pass(what, (have,), want, rule="equal")


def _same(have: Any, sent: Any) -> bool:
    """Equal after the column's type: 0.5 sent is Decimal("0.500") read."""
    if have is None or sent is None:
        return have is sent
    if isinstance(have, Decimal):
        return have == Decimal(str(sent))  # not Decimal(0.1), which is a little more than 0.1
    return bool(have == sent) or str(have) == str(sent)


class _never_kept:  # noqa: N801 - reads as a phrase: with _never_kept(connection)
    """A transaction that ends in ROLLBACK whatever happens."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def __enter__(self) -> sa.Connection:
        self.connection.rollback()
        return self.connection

    def __exit__(self, *_error: object) -> None:
        self.connection.rollback()


def _attempt(session: sa.Connection, statements: tuple[str, ...]) -> sa.exc.DBAPIError | None:
    """Run in a savepoint with deferred constraints checked; the error, or None when all was accepted."""
    savepoint = session.begin_nested()
    try:
        for statement in statements:
            result = execute(session, statement)
            if statement.startswith(WRITES) and result.rowcount == 0:
                raise _swallowed(statement)
        execute(session, DEFERRED)
    except sa.exc.DBAPIError as error:
        return error
    finally:
        savepoint.rollback()
        execute(session, "SET CONSTRAINTS ALL DEFERRED")
    return None


def _unread(statement: str) -> str:
    return statement.replace(f"\n{RETURNING};", ";")


def _swallowed(statement: str) -> sa.exc.DBAPIError:
    """A trigger that returns NULL drops a write without an error; for us that is one."""
    return sa.exc.DBAPIError(statement, None, psycopg.DatabaseError("the write was swallowed by a trigger"))


def _diagnosis(error: sa.exc.DBAPIError) -> dict[str, Any]:
    cause = error.orig
    if not isinstance(cause, psycopg.Error):
        return {"outcome": "error", "message": str(cause)}
    return {
        "outcome": "rejected",
        "sqlstate": cause.sqlstate,
        "constraint": cause.diag.constraint_name,
        "column": cause.diag.column_name,
        "message": cause.diag.message_primary or str(cause),
    }


def _message(error: sa.exc.DBAPIError) -> str:
    found = _diagnosis(error)
    return f"{found['message']} (SQLSTATE {found.get('sqlstate')})"


@dataclass(frozen=True)
class _Expression:
    """SQL text among the changed values, which are otherwise literals."""

    text: str


def _parents(table: str, fixtures: Fixtures, shared: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Inserts for all ancestors that are not shared, and the keys: one for each table, "self" for the row itself."""
    keys = dict(shared)
    statements: list[str] = []
    for parent in _ancestors(table, fixtures):
        if parent not in keys:
            keys[parent] = str(uuid.uuid4())
            statements += _insert(parent, fixtures, {**keys, "self": keys[parent]}, {})
    keys["self"] = str(uuid.uuid4())
    return statements, keys


def _roots(keys: Mapping[str, str], fixtures: Fixtures) -> dict[str, str]:
    """The keys of rows without parents: two probe rows share them (the tenant), and nothing else."""
    return {table: key for table, key in keys.items() if table != "self" and not fixtures.of(table).parents}


def _ancestors(table: str, fixtures: Fixtures) -> list[str]:
    found: list[str] = []
    for parent in fixtures.of(table).parents:
        found += [name for name in (*_ancestors(parent, fixtures), parent) if name not in found]
    return found


def _insert(table: str, fixtures: Fixtures, keys: Mapping[str, str], changes: Mapping[str, Any]) -> list[str]:
    fixture = fixtures.of(table)
    values = {column: _expression(fixture, column, keys) for column in fixture.row} | {
        column: value.text if isinstance(value, _Expression) else sql.Literal(value).as_string()
        for column, value in changes.items()
    }
    names = ", ".join(sql.Identifier(column).as_string() for column in values)
    settings = [
        f"SELECT set_config({sql.Literal(name).as_string()}, {expression.format(**keys)}, true);"
        for name, expression in fixture.settings.items()
    ]
    target = sql.Identifier(table).as_string()
    return [*settings, f"INSERT INTO {target} ({names})\nVALUES ({', '.join(values.values())})\nRETURNING *;"]


def _expression(fixture: Fixture, column: str, keys: Mapping[str, str]) -> str:
    if column not in fixture.row:
        raise ConfigurationError(
            f"the fixture has no column {column}", where="params/fixtures.yaml", next_step="add it to the row"
        )
    return fixture.row[column].format(**keys)
