"""Examinations of the revisions that make views: their place, their way back, and what a refresh does.

Views are named as in SQL: quoted where they must be.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from psycopg import sql

from gatebook import catalog, migrations
from gatebook.catalog import Query, Rows, execute
from gatebook.compare import Comparison, contents_checksum
from gatebook.contract import Contract
from gatebook.errors import MigrationFailed
from gatebook.history import say_catalog
from gatebook.subject import Examination, Subject
from gatebook.verdicts import Fail, Pass, Unknown, Verdict

SAID = 5


def follows(revision: str, *, after: str) -> Examination:
    """The revision exists, comes next after another one, and the database has it."""

    def examination(subject: Subject) -> Verdict:
        what = f"{revision} follows {after} and is in this database"
        chain = migrations.chain(subject.project)
        before = chain[chain.index(revision) - 1] if revision in chain[1:] else None
        applied = migrations.position(subject.project, subject.revision)
        is_applied = revision in chain and applied > chain.index(revision)
        have: Rows = ({"revision": revision, "exists": revision in chain, "after": before, "applied": is_applied},)
        want: Rows = ({"revision": revision, "exists": True, "after": after, "applied": True},)
        return Pass(what, have, want) if have == want else Fail(what, have, want, _differing(have[0], want[0]))

    return examination


def docstring_names(revision: str, *words: str) -> Examination:
    """The docstring of the revision's file names each of the words."""

    def examination(subject: Subject) -> Verdict:
        what = f"the docstring of {revision} names {', '.join(words)}"
        text = migrations.script(subject.project).get_revision(revision).module.__doc__ or ""
        have: Rows = tuple({"word": word, "named": word in text} for word in words)
        want: Rows = tuple({"word": word, "named": True} for word in words)
        missing = [word for word in words if word not in text]
        if missing or not words:
            return Fail(what, have, want, f"it does not name {', '.join(missing) or 'anything'}")
        return Pass(what, have, want)

    return examination


def states(relation: str, *words: str) -> Examination:
    """The comment of a relation has each of the words, whatever their case."""

    def examination(subject: Subject) -> Verdict:
        what = f"the comment of {relation} states {', '.join(words)}"
        query = Query(
            "SELECT pg_catalog.obj_description(pg_catalog.to_regclass(%(name)s), 'pg_class') AS comment",
            {"name": relation},
        )
        have = query.run(subject.connection)
        text = str(have[0]["comment"] or "")
        missing = [word for word in words if word.casefold() not in text.casefold()]
        want: Rows = ({"comment": " … ".join(words)},)
        return Fail(what, have, want, f"nothing of {', '.join(missing)}") if missing else Pass(what, have, want)

    return examination


def makes(contract: Contract, revision: str, *views: str) -> Examination:
    """The migrations up to a revision, run in this database and rolled back, make the views as the contract says."""

    def examination(subject: Subject) -> Verdict:
        what = f"the migrations up to {revision} make {', '.join(views)} as the contract says"
        here = migrations.position(subject.project, subject.revision)
        if here < migrations.position(subject.project, revision):
            try:
                migrations.upgrade(subject.connection, subject.project, revision)
            except MigrationFailed as error:
                return Fail(what, reason=error.what)
        have, want = [], []
        for view in views:
            live = {row["column"]: row["type"] for row in catalog.columns(view).run(subject.connection)}
            have += [{"view": view, "column": name, "type": type_} for name, type_ in live.items()]
            want += [{"view": view, **column} for column in contract.view(view).types]
        if have != want:
            return Fail(what, tuple(have), tuple(want), "columns, their types or their order differ")
        return Pass(what, tuple(have), tuple(want)) if want else Unknown(what, reason="no view was named")

    return examination


def every_key(view: str, source: str, *, key: str) -> Comparison:
    """The view has rows for exactly the keys that its source has; source: a table, and WHERE if it is not all of it."""
    column = sql.Identifier(key).as_string()
    raw = f"SELECT {column}, true AS has_rows FROM {source} GROUP BY {column}"
    seen = f"SELECT {column}, true AS has_rows FROM {view} GROUP BY {column}"
    return Comparison(raw, seen, key=(key,), measures=("has_rows",), view=view)


def refreshes_concurrently(*views: str) -> Examination:
    """REFRESH MATERIALIZED VIEW CONCURRENTLY succeeds and leaves rows; rolled back."""

    def examination(subject: Subject) -> Verdict:
        what = f"REFRESH MATERIALIZED VIEW CONCURRENTLY {', '.join(views)}"
        return _refreshed(subject.connection, what, views)

    return examination


def refreshes_after(*views: str, statements: Sequence[str]) -> Examination:
    """After these writes the views can still be refreshed concurrently; all of it is rolled back."""

    def examination(subject: Subject) -> Verdict:
        what = f"{', '.join(views)} can be refreshed after the writes"
        written = [execute(subject.connection, statement).rowcount for statement in statements]
        if not all(written):
            return Unknown(what, reason="a statement wrote no row, so nothing is proven")
        return _refreshed(subject.connection, what, views)

    return examination


def answers_after(query: str, want: Sequence[Mapping[str, Any]], *, statements: Sequence[str]) -> Examination:
    """After these statements, in the same transaction, the query gives exactly these rows; rolled back."""

    def examination(subject: Subject) -> Verdict:
        what = "the query answers as it must after the statements"
        for statement in statements:
            if execute(subject.connection, statement).rowcount == 0:
                return Unknown(what, reason="a statement reached no row, so nothing is proven")
        have = Query(query).run(subject.connection)
        if have != tuple(dict(row) for row in want):
            return Fail(what, have, tuple(want), "the query answers otherwise")
        return Pass(what, have, tuple(want))

    return examination


def are_the_same_everywhere(views: Sequence[str], zones: Sequence[str]) -> Examination:
    """Refreshed under each TimeZone, each view holds the same rows; readers go on meanwhile, and it is rolled back."""

    def examination(subject: Subject) -> Verdict:
        what = f"refreshed under {', '.join(zones)}, each view holds the same"
        rows: list[dict[str, Any]] = []
        for view in views:
            for zone in zones:
                execute(subject.connection, f"SET LOCAL TimeZone = {sql.Literal(zone).as_string()}")
                execute(subject.connection, f"REFRESH MATERIALIZED VIEW CONCURRENTLY {view}")
                execute(subject.connection, "SET LOCAL TimeZone = 'UTC'")
                number, checksum = contents_checksum(subject.connection, view)
                rows.append({"view": view, "refreshed_under": zone, "rows": number, "checksum": checksum})
        first = {row["view"]: row for row in reversed(rows)}
        differing = [
            f"{row['view']} under {row['refreshed_under']}"
            for row in rows
            if row["checksum"] != first[row["view"]]["checksum"]
        ]
        if differing:
            return Fail(what, tuple(rows), (), f"other contents: {', '.join(differing)}")
        if not rows or not all(row["rows"] for row in rows):
            return Unknown(what, tuple(rows), (), "a view without rows proves nothing")
        return Pass(what, tuple(rows))

    return examination


def comes_back(phase: str) -> Examination:
    """Downgrading takes away what the phase declares and nothing else; upgrading restores catalog and contents.

    Where later revisions are applied too they go first, and what they made is not looked at. All is rolled back;
    until then, readers of the views wait.
    """

    def examination(subject: Subject) -> Verdict:
        what = f"phase {phase} can be taken back and comes back"
        connection, project = subject.connection, subject.project
        declared = subject.gates.phase(phase)
        before = subject.gates.before(phase)
        revision, down = declared.revision or "", before.revision if before else "base"
        execute(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # others may write meanwhile
        if migrations.position(project, subject.revision) < migrations.position(project, revision):
            return Unknown(what, reason=f"revision {revision} is not in this database")
        made = [name for name, view in subject.canonical.views.items() if phase in (view.phase, view.remade)]
        views = [name for name in made if subject.canonical.views[name].kind == "materialized view"]
        try:
            migrations.downgrade(connection, project, revision)
            there, contents = catalog.snapshot(connection), _contents(connection, views)
            migrations.downgrade(connection, project, down or "base")
            gone = catalog.snapshot(connection)
            migrations.upgrade(connection, project, revision)
            back, refilled = catalog.snapshot(connection), _contents(connection, views)
        except MigrationFailed as error:
            return Fail(what, reason=error.what)
        taken, lost = catalog.diff(there, gone), catalog.diff(there, back)
        problems = _wrongly_taken(subject, phase, taken, gone)
        problems += [f"upgrade did not restore: {say_catalog(lost[:SAID])}"] if lost else []
        problems += ["the contents of a view are not what they were"] if contents != refilled else []
        have: Rows = tuple({key: row[key] for key in ("change", "kind", "object", "attribute")} for row in taken)
        if not taken:
            return Unknown(what, reason="the downgrade took nothing away")
        return Fail(what, have, (), "; ".join(problems)) if problems else Pass(what, have)

    return examination


def _wrongly_taken(subject: Subject, phase: str, taken: Rows, gone: catalog.Snapshot) -> list[str]:
    """Where a downgrade did too much, too little, or other than what was there before the phase."""
    wanted, made = set(subject.canonical.changes(phase)), _made(subject, phase)
    stray = tuple(row for row in taken if not _is_of(row, wanted))
    kept = sorted(f"{kind} {name}" for kind, name in made if (kind, name) in gone)
    past = subject.store.state(phase, "before")
    other = tuple(
        row
        for row in (catalog.diff(past.catalog, gone) if past else ())
        if _is_of(row, wanted - made) and row["attribute"] != "populated"  # some contents cannot be made again
    )
    problems = [f"downgrade changed what the phase did not make: {say_catalog(stray[:SAID])}"] if stray else []
    problems += [f"downgrade left {', '.join(kept)}"] if kept else []
    problems += [f"downgrade made other than it was before the phase: {say_catalog(other[:SAID])}"] if other else []
    return problems


def _made(subject: Subject, phase: str) -> set[catalog.Key]:
    """Objects that the phase makes anew, without those that it only changes."""
    remade = {("table", name) for name, view in subject.canonical.views.items() if view.remade == phase}
    changes = subject.canonical.changes(phase)
    return {key for key, wanted in changes.items() if wanted is not None and key not in remade}


def _is_of(row: catalog.Row, wanted: set[catalog.Key]) -> bool:
    """A difference in an object that the phase declares, or in the owner's own rights in one."""
    kind, name = str(row["kind"]), str(row["object"])
    owned = name.removesuffix(" to <owner>")
    return (kind, name) in wanted or (owned != name and any((each, owned) in wanted for each in ("table", "sequence")))


def _contents(connection: sa.Connection, views: Sequence[str]) -> dict[str, tuple[int, str]]:
    """The checksum of each view, refreshed first: what it holds now must not depend on who wrote since."""
    for view in views:
        execute(connection, f"REFRESH MATERIALIZED VIEW {view}")
    return {view: contents_checksum(connection, view) for view in views}


def _refreshed(connection: sa.Connection, what: str, views: Sequence[str]) -> Verdict:
    rows: list[dict[str, Any]] = []
    for view in views:
        savepoint = connection.begin_nested()
        try:
            execute(connection, f"REFRESH MATERIALIZED VIEW CONCURRENTLY {view}")
        except sa.exc.DBAPIError as error:
            savepoint.rollback()
            reason = f"{view}: {str(error.orig).splitlines()[0]}"
            return Fail(what, tuple(rows), (), reason)
        rows.append({"view": view, "rows": execute(connection, f"SELECT count(*) FROM {view}").scalar_one()})
    if not rows or not all(row["rows"] for row in rows):
        return Unknown(what, tuple(rows), (), "a view without rows proves nothing")
    return Pass(what, tuple(rows))


def _differing(have: Mapping[str, Any], want: Mapping[str, Any]) -> str:
    return "; ".join(f"{key} is {have[key]}, wanted {value}" for key, value in want.items() if have[key] != value)
