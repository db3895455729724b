"""What a notebook asks a database beside its gates: counts, divergences, findings, plans, timings. Judges nothing."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import psycopg
import sqlalchemy as sa

from gatebook import catalog, compliance, contract, explain, findings, migrations, runs, timings
from gatebook import refresh as refreshes
from gatebook.baseline import Store
from gatebook.canonical import Canonical
from gatebook.catalog import Query, Rows
from gatebook.contract import Contract, Response, load_contract
from gatebook.database import Database
from gatebook.display import Finding, Note, Table, show
from gatebook.errors import ConfigurationError, PhaseRefused, QueryFailed
from gatebook.plans import Plan
from gatebook.project import Project
from gatebook.refresh import Refreshed
from gatebook.runs import RunFolder
from gatebook.timings import EXECUTIONS, Latencies

Settings = Mapping[str, str]

FIRST_ITEMS = 5


class Asking:
    """The asking half of a phase. settings, wherever they are taken: of the session, for example role or TimeZone."""

    project: Project
    database: Database
    store: Store
    folder: RunFolder
    canonical: Canonical
    lock_timeout_ms: int
    statement_timeout_ms: int

    def _record(self, event: str, **fields: Any) -> None:
        raise NotImplementedError

    def warn(self, what: str, sql: str) -> None:
        """Count what is no failure but must not be forgotten; the warning goes into the record and the report.

        sql  returns one count; nothing is said of 0
        """
        try:
            with self.reading() as connection:
                count = catalog.execute(connection, sql).scalar_one()
        except sa.exc.DBAPIError as error:  # the tests say what is missing; close() must still be reached
            show(Note(f"⚠ {what}: not counted. {str(error.orig).splitlines()[0]}"))
            return
        if count:
            self._record("warning", count=count, what=what)
            show(Note(f"⚠ {count:,} {what}"))

    def finding(self, title: str, naive: str, corrected: str, *, settings: Mapping[str, str] | None = None) -> Finding:
        """What an obvious query gives here, beside the corrected one: it goes into the record, and judges nothing.

        settings  of the transaction in which both are run, for example a role or a time zone; nothing is kept
        """
        with self.writing() as connection:
            seen = [findings.outcome(connection, text, settings or {}) for text in (naive, corrected)]
            found = Finding(title, *seen)
        self._record("finding", title=title, naive=found.naive.record(), corrected=found.corrected.record())
        show(found)
        return found

    def value(self, sql: str) -> Any:
        """The one value that a query returns, read-only; None where it returns no row."""
        with _told("phase.value"), self.reading() as connection:
            return catalog.execute(connection, sql).scalar_one_or_none()

    def request(self, endpoint: str, *, role: str, **given: Any) -> Response:
        """A response of the API, built as the role from its view and validated; the first items are shown."""
        with _told("phase.request"), self.reading() as connection:
            _set(connection, "role", role)
            response = contract.respond(connection, self.contract, endpoint, **given)
        note = f"{len(response.items)} items, {len(response.text):,} bytes of JSON"
        show(Table(self.contract.endpoint(endpoint).path, response.items[:FIRST_ITEMS], note=note))
        return response

    def refresh(self, *views: str, unless_recorded: bool = False) -> list[Refreshed]:
        """Refresh materialized views now, and keep that: what the log of refreshes says of each is shown.

        unless_recorded  leave alone what has been refreshed before: how it is now may be what somebody has to judge
        """
        with _told("phase.refresh"), self.reading() as connection:
            wanted = [view for view in views if not (unless_recorded and refreshes.last(connection, view))]
        done = refreshes.refresh(self.database, wanted, **self.limits)
        self._record("refreshed", views=[vars(each) for each in done])
        show(Table("Refreshed", tuple(vars(each) | {"seconds": each.seconds} for each in done)))
        return done

    def refresh_log(self) -> Rows:
        """The newest attempts to refresh: view, started_at, finished_at, rows, was_concurrent, requested_by, error"""
        with _told("phase.refresh_log"), self.reading() as connection:
            return tuple({"view": row["view_name"], **row} for row in refreshes.log(connection))

    def explain(self, name: str, query: Query | str, *, settings: Settings | None = None) -> Plan:
        """The executed plan of a query, as a table; kept with the run as plans/NAME.json, compared with the last run's.

        name    letters, digits, - and _; an earlier run is one of a database of the same name
        Errors  ConfigurationError for another name; StatementRefused for what is not one query that only reads
        """
        if not re.fullmatch(r"[\w-]+", name):
            raise ConfigurationError(
                f"{name!r} cannot be the name of a plan",
                where="phase.explain",
                next_step="use letters, digits, - and _",
            )
        asked = query if isinstance(query, Query) else Query(query)
        with _told("phase.explain"), self.reading() as connection:
            for setting, value in (settings or {}).items():
                _set(connection, setting, value)
            plan = explain.explain(connection, asked.sql, asked.parameters)
        before = runs.kept(self.project, f"plans/{name}.json", database=str(self.database))
        runs.write_whole(self.folder.plans / f"{name}.json", plan.to_json())
        self._record("plan", name=name, sql=asked.sql.strip(), cost=plan.total_cost, execution_ms=plan.execution_ms)
        self._asked.append((plan, asked.sql.strip()))
        changes: Rows = ()
        since = "no earlier run of this database has kept this plan"
        if before is not None:
            changes = explain.plan_changes(before[1], json.loads(plan.to_json()))
            since = (
                f"nodes, indexes and estimates {'have changed' if changes else 'are the same'} since run {before[0]}"
            )
        show(Table(f"Plan {name}", plan.table, note=since), *([Table("What changed", changes)] if changes else []))
        return plan

    def measure(
        self, queries: Mapping[str, Query | str], *, settings: Settings | None = None, executions: int = EXECUTIONS
    ) -> tuple[Latencies, ...]:
        """How long a client waits for each query: executions warm, twenty cold, in turns, and SELECT 1 as the floor.

        Errors  StatementRefused for what is not one query that only reads
        """

        def open_session() -> psycopg.Connection[Any]:
            session = self.database.open_session()
            limit = {"statement_timeout": str(self.statement_timeout_ms)}
            try:
                for name, value in (limit | dict(settings or {})).items():
                    session.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
                session.commit()
            except psycopg.Error:
                session.close()
                raise
            return session

        asked = {name: query if isinstance(query, Query) else Query(query) for name, query in queries.items()}
        with _told("phase.measure"):
            measured = timings.measure_all(open_session, asked, executions=executions, floor=True)
        for each in measured:
            self._record("latencies", name=each.name, rows=each.rows, warm_ms=each.warm_ms, cold_ms=each.cold_ms)
            self._asked.append((each, asked[each.name].sql.strip() if each.name in asked else each.name))
        return measured

    def sql_of(self, *seen: Plan | Latencies) -> str:
        """The queries behind plans and timings that this phase has taken."""
        found = [text for each in seen for known, text in self._asked if known is each]
        return ";\n\n".join(dict.fromkeys(found))

    def divergences(self, *, before: str | None = None, until: str | None = None) -> Table:
        """Where the live catalog departs from the canonical schema; before="4": as it was before that phase.

        until  the last phase whose objects are expected; None: the whole specification
        Shape  severity, table, kind, object, have, want
        """
        title = f"Divergences before phase {before}" if before else "Divergences now"
        found = compliance.divergences(self.canonical, self._snapshot(before), until=until)
        return Table(title, tuple(found), note=f"{len(found)} divergences")

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A read-only transaction, with this phase's limit on statements."""
        with self.database.connect(postgresql_readonly=True) as connection:
            self.limit(connection)
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that could write, with the same limits, and is always rolled back."""
        with self.database.connect() as connection:
            self.limit(connection)
            yield connection

    def limit(self, connection: sa.Connection) -> None:
        migrations.keep_limits(connection, **self.limits)

    @property
    def limits(self) -> dict[str, int]:
        """Milliseconds to wait for a lock, and that one statement may take."""
        return {"lock_timeout_ms": self.lock_timeout_ms, "statement_timeout_ms": self.statement_timeout_ms}

    @cached_property
    def _asked(self) -> list[tuple[Plan | Latencies, str]]:
        return []

    @cached_property
    def contract(self) -> Contract:
        """What applications may rely on: params/api_contract.yaml."""
        return load_contract(self.project)

    def _snapshot(self, before: str | None) -> catalog.Snapshot:
        if before is None:
            with self.reading() as connection:
                return catalog.snapshot(connection)
        state = self.store.state(before, "before")
        if state is None:
            raise PhaseRefused(
                f"nobody looked at this database before phase {before}",
                where=str(self.database),
                next_step=f"apply the phases with this workbook, from phase {before} on",
            )
        return state.catalog


def _set(connection: sa.Connection, name: str, value: str) -> None:
    statement = "SELECT pg_catalog.set_config(%(name)s, %(value)s, true)"
    connection.exec_driver_sql(statement, {"name": name, "value": value})


@contextmanager
def _told(where: str) -> Iterator[None]:
    """What the server refuses is a message, not a stack."""
    try:
        yield
    except (sa.exc.DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        raise QueryFailed(
            f"the database answered with an error: {str(cause).splitlines()[0]}",
            where=where,
            next_step="mend the query, or run the notebooks before this one",
        ) from error
