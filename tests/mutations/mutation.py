"""One thing done to a database, or to the project, and the tests that have to notice; words to write it with."""

from dataclasses import dataclass

from psycopg import sql

from conftest import ROOT
from gatebook.canonical import load_canonical
from gatebook.contract import load_contract
from gatebook.declarations import load_gates
from gatebook.project import Project

CANONICAL = load_canonical(Project.find(ROOT))
CONTRACT = load_contract(Project.find(ROOT))
GATES = load_gates(Project.find(ROOT))

EVENTS, ALLOCATIONS, LEDGER = "attribution_events", "attribution_allocations", "revenue_ledger"
TRANSITIONS = "revenue_state_transitions"


@dataclass(frozen=True)
class Edit:
    """A file of the project that says something else; path is relative to the project."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    """One thing done to a database by its superuser, or by migrations that say something else.

    red     ids of the tests that must not be green afterwards, separated by blanks
    reason  what the first of them has to say, in part
    at      phase after which it happens; "" for a database that has had all
    edits   what the project's files say instead, from then on
    undo    for what is done to the whole server, as to a role
    since   major version of the first server that knows such a thing
    """

    name: str
    sql: str
    red: str
    reason: str = ""
    at: str = ""
    edits: tuple[Edit, ...] = ()
    undo: str = ""
    since: int = 0

    @property
    def tests(self) -> list[str]:
        return self.red.split()


def replaced_constraint(table: str, name: str, definition: str) -> str:
    """Put another definition in the place of a constraint, and its comment back."""
    comment = literal(CANONICAL.tables[table].constraints[name].comment)
    return (
        f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {definition}; "
        f"COMMENT ON CONSTRAINT {name} ON {table} IS {comment}"
    )


def replaced_index(name: str, definition: str) -> str:
    """Put another definition in the place of an index, and its comment back."""
    tables = [*CANONICAL.tables.values(), *CANONICAL.views.values()]
    (comment,) = [literal(table.indexes[name].comment) for table in tables if name in table.indexes]
    return f"DROP INDEX {name}; {definition}; COMMENT ON INDEX {name} IS {comment}"


ALONE = "SET session_replication_role = replica; "


def first_of(table: str) -> str:
    return f"ctid = (SELECT min(ctid) FROM {table})"


def literal(text: str | None) -> str:
    return sql.Literal(text).as_string()


def trigger(table: str, body: str, *, when: str = "BEFORE INSERT") -> str:
    return (
        f"CREATE FUNCTION mutant() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$; "
        f"CREATE TRIGGER mutant {when} ON {table} FOR EACH ROW EXECUTE FUNCTION mutant()"
    )


def one_of(column: str, *values: str) -> str:
    return f"CHECK ({column} IN ({', '.join(map(literal, values))}))"
