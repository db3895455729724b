"""A gate inside a phase: runs its tests, shows them, and records them. A test that errors is never green."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from psycopg.sql import Identifier, Literal

from gatebook import (
    baseline,
    catalog,
    checks,
    compare,
    contract,
    explain,
    history,
    preservation,
    probes,
    refresh,
    row_security,
    timings,
)
from gatebook.catalog import Query, execute
from gatebook.compare import Comparison
from gatebook.database import statements
from gatebook.declarations import GateDeclaration, TestDeclaration, near_miss
from gatebook.display import TestResult, show
from gatebook.errors import ConfigurationError, PhaseRefused, StatementRefused
from gatebook.history import History
from gatebook.plans import Plan
from gatebook.probes import Write
from gatebook.refreshing import Trial
from gatebook.subject import Examination, examine
from gatebook.timings import Latencies
from gatebook.verdicts import Check, Pass, Unknown, Verdict

if TYPE_CHECKING:
    from gatebook.phase import Phase


class Gate:
    """Made by `phase.gate(id)`. Every method takes the id of a test that params/gates.yaml declares."""

    def __init__(self, phase: "Phase", declared: GateDeclaration) -> None:
        self.phase = phase
        self.declared = declared
        self.is_closed = False
        self._seen: set[str] = set()

    def test(self, test: str, query: Query, check: Check) -> TestResult:
        """Run a catalog query and judge its rows."""

        def judge(connection: sa.Connection) -> Verdict:
            return check(query.run(connection))

        return self._judged(test, judge, kinds=("catalog", "data"), sql=_shown(query))

    def query(self, test: str, sql: str) -> TestResult:
        """A query of your own for the rows that offend: none is a pass."""
        query = Query(f"SELECT * FROM (\n{sql.strip().rstrip(';')}\n) AS offending")
        return self.test(test, query, checks.is_empty(self._says(test).says))

    def rejects(
        self, test: str, write: Write, *, sqlstate: str, constraint: str | None = None, column: str | None = None
    ) -> TestResult:
        """The write must fail with this SQLSTATE on this constraint or column, and not without the change."""
        self._agree(test, table=write.table, sqlstate=sqlstate, constraint=constraint, column=column)
        plan = probes.plan(write, self.phase.fixtures).to_be_rejected

        def judge(connection: sa.Connection) -> Verdict:
            return probes.rejected(
                connection, plan, what=self._says(test).says, sqlstate=sqlstate, constraint=constraint, column=column
            )

        return self._judged(test, judge, kinds=("rejected",), sql=plan.sql, writes=True)

    def rejects_null(self, test: str, table: str, column: str) -> TestResult:
        """NULL in this column must fail with 23502 on exactly this column."""
        return self.rejects(test, probes.insert(table, **{column: None}), sqlstate="23502", column=column)

    def rejects_duplicate(self, test: str, table: str, column: str, *, index: str) -> TestResult:
        """A second row with the same value must fail with 23505 on this unique index."""
        return self.rejects(test, probes.duplicate(table, column), sqlstate="23505", constraint=index)

    def rejects_check(self, test: str, write: Write, *, check: str) -> TestResult:
        """The write must fail with 23514 on this check constraint."""
        return self.rejects(test, write, sqlstate="23514", constraint=check)

    def accepts(self, test: str, *writes: Write) -> TestResult:
        """Every write must be accepted and hold what was sent; none is kept."""
        plans = [(write, probes.plan(write, self.phase.fixtures).to_be_accepted) for write in writes]
        what = self._says(test).says

        def judge(connection: sa.Connection) -> Verdict:
            found = [probes.accepted(connection, plan, what=what, changes=write.changes) for write, plan in plans]
            return _together(what, found)

        return self._judged(
            test, judge, kinds=("accepted",), sql="\n\n".join(plan.sql for _, plan in plans), writes=True
        )

    def cascades(self, test: str, write: Write) -> TestResult:
        """Deleting a row must take its children and no others; nothing is kept."""
        plan = probes.plan(write, self.phase.fixtures)

        def judge(connection: sa.Connection) -> Verdict:
            return probes.cascades(connection, plan, what=self._says(test).says)

        return self._judged(test, judge, kinds=("accepted",), sql=plan.sql, writes=True)

    def backfilled(self, test: str) -> TestResult:
        """Every row holds what the canonical schema declares as this phase's backfill."""
        query = preservation.backfill_query(self.phase.canonical.backfills(self.phase.declared.phase))

        def judge(connection: sa.Connection) -> Verdict:
            hidden = row_security.filtered_tables(connection)
            if hidden:
                reason = f"row security may hide rows of {', '.join(hidden)} from this role"
                return Unknown(self._says(test).says, (), (), reason)
            past = self._past()
            empty = [t for t, each in past.first.before.data.items() if each.rows == 0] if past.steps else []
            verdict = checks.holds_for_all(self._says(test).says, empty_before=empty)(query.run(connection))
            if not verdict.is_green and past.steps and self._rows_are_as_left(connection, past):
                # an activity after the phase may change what the phase filled: then its own transaction tells
                return checks.holds_for_all(self._says(test).says, empty_before=empty)(past.first.after.backfilled)
            return verdict

        return self._judged(test, judge, kinds=("data",), sql=_shown(query))

    def data_preserved(self, test: str) -> TestResult:
        """Row counts and checksums of all columns that were there before the phase are what they were."""

        def judge(connection: sa.Connection) -> Verdict:
            past = self._past()
            columns = {table: list(each.columns) for table, each in past.last.after.data.items()} if past.steps else {}
            with row_security.all_rows(connection):
                now = baseline.table_sums(connection, columns)
            phase, expected = self.phase.declared.phase, self.phase.writers_expected
            return preservation.data_verdict(self._says(test).says, phase, past, now, writers_expected=expected)

        return self._judged(test, judge, kinds=("data",), writes=True)

    def only_declared_changes(self, test: str) -> TestResult:
        """The catalog differs from before the phase by exactly what the canonical schema declares."""

        def judge(connection: sa.Connection) -> Verdict:
            phase, now = self.phase.declared.phase, catalog.snapshot(connection)
            declared = self.phase.canonical.changes(phase)
            return preservation.catalog_verdict(self._says(test).says, phase, self._past(), now, declared)

        return self._judged(test, judge, kinds=("catalog",))

    def compares(self, test: str, *comparisons: Comparison, refresh: bool = False) -> TestResult:
        """What each view holds, or a query over it answers, is what the raw rows add up to.

        refresh  refresh the view first, in the same snapshot: exact while others write; nothing is kept
        """
        what = self._says(test).says

        def judge(connection: sa.Connection) -> Verdict:
            return _together(what, [self._compared(connection, each, refresh=refresh) for each in comparisons])

        return self._judged(test, judge, kinds=("data",), writes=True)

    def holds_refresh(self, test: str, *views: str) -> TestResult:
        """Each view is what its last refresh on record left: stale at worst, and neither wrong nor tampered with."""
        what = self._says(test).says

        def judge(connection: sa.Connection) -> Verdict:
            found = []
            for view in views:
                connection.rollback()
                execute(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                recorded = refresh.last(connection, view)
                comparison = self.phase.contract.comparison(view)
                judged = compare.compare_as_is(connection, comparison, recorded=recorded, accept_stale=True)
                found.append(_of(view, judged))
            return _together(what, found)

        return self._judged(test, judge, kinds=("data",))

    def tries(self, test: str, trial: Trial) -> TestResult:
        """A trial in sessions of its own, for what must be committed to be proven."""

        def judge(_connection: sa.Connection) -> Verdict:
            return trial(self.phase.database, self.phase.limits)

        return self._judged(test, judge, kinds=("accepted",))

    def responds(self, test: str, endpoint: str, *requests: Mapping[str, Any], role: str) -> TestResult:
        """The response to each request, built as the role, keeps its schema and holds what the raw query gives."""

        def judge(connection: sa.Connection) -> Verdict:
            execute(connection, f"SET LOCAL ROLE {Identifier(role).as_string()}")
            made = [contract.respond(connection, self.phase.contract, endpoint, **each) for each in requests]
            execute(connection, "RESET ROLE")
            wrong = [contract.is_raw(connection, self.phase.contract, each) for each in made]
            return contract.judge(self._says(test).says, made, wrong=[text for text in wrong if text])

        return self._judged(test, judge, kinds=("data",))

    def examine(self, test: str, examination: Examination, *, all_rows: bool = False) -> TestResult:
        """Judge by a function of the subject: server, revision, schema; nothing it does is kept.

        all_rows  let it see every row, by a policy that lives as long as the transaction
        """

        def judge(connection: sa.Connection) -> Verdict:
            return examine(self.phase.subject(connection), examination, all_rows=all_rows)

        return self._judged(test, judge, kinds=("catalog", "data", "accepted"), writes=True)

    def takes_path(self, test: str, plan: Plan, **wanted: Any) -> TestResult:
        """The query of a plan goes the wanted way: index, index_only, no_sequential_scan_of, max_cost, max_ms."""

        def judge(_connection: sa.Connection) -> Verdict:
            return explain.access_path(self._says(test).says, plan, **wanted)

        return self._judged(test, judge, kinds=("data",), sql=self.phase.sql_of(plan))

    def meets_levels(self, test: str, *latencies: Latencies, levels: Mapping[int, float]) -> TestResult:
        """Every percentile of every query stays below its limit: percentile -> milliseconds at the client."""

        def judge(_connection: sa.Connection) -> Verdict:
            return timings.meets_levels(self._says(test).says, latencies, levels=levels)

        return self._judged(test, judge, kinds=("data",), sql=self.phase.sql_of(*latencies))

    def serves(self, test: str, queries: Mapping[str, str], *, limit_ms: float) -> TestResult:
        """Each index can serve its query within the limit: index -> SELECT, run once under EXPLAIN ANALYZE."""

        def judge(connection: sa.Connection) -> Verdict:
            return explain.serves(connection, queries, what=self._says(test).says, limit_ms=limit_ms)

        return self._judged(test, judge, kinds=("data",), sql=";\n".join(queries.values()))

    # -- inside

    def _compared(self, connection: sa.Connection, comparison: Comparison, *, refresh: bool) -> Verdict:
        what, limits = comparison.view or "the query", self.phase.limits
        if refresh:
            return _of(what, compare.refresh_and_compare(connection, comparison, what=what, **limits))
        connection.rollback()
        execute(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return _of(what, compare.verdict(what, comparison, compare.compare(connection, comparison)))

    def _rows_are_as_left(self, connection: sa.Connection, past: History) -> bool:
        """Every change since the phase is one that a later phase or activity made and recorded."""
        columns = {table: list(each.columns) for table, each in past.last.after.data.items()}
        return len(past.steps) > 1 and not past.changed_rows(baseline.table_sums(connection, columns))

    def _judged(
        self,
        test: str,
        judge: Callable[[sa.Connection], Verdict],
        *,
        kinds: tuple[str, ...],
        sql: str = "",
        writes: bool = False,
    ) -> TestResult:
        """Run one test, show it and record it.

        kinds   the kinds that params/gates.yaml may declare for what is done here
        sql     as shown; "" for the statements as they are sent
        writes  in a transaction that could write; it is rolled back all the same
        """
        self._refuse_misuse(test, kinds)
        says = self._says(test).says
        started = time.perf_counter()
        sent: list[str] = []
        try:
            with self.phase.writing() if writes else self.phase.reading() as connection, statements(connection, sent):
                verdict = judge(connection)
        except sa.exc.DBAPIError as error:
            verdict = Unknown(says, reason=f"the database answered with an error: {str(error.orig).splitlines()[0]}")
        except sa.exc.SQLAlchemyError as error:
            verdict = Unknown(says, reason=f"the query cannot be judged: {str(error).splitlines()[0]}")
        except psycopg.Error as error:
            verdict = Unknown(says, reason=f"the database answered with an error: {str(error).splitlines()[0]}")
        except (ConfigurationError, PhaseRefused, StatementRefused) as error:
            verdict = Unknown(says, reason=f"{error.what} ({error.where})" if error.where else error.what)
        result = TestResult(test, says, verdict, sql or ";\n\n".join(dict.fromkeys(sent)))
        self.phase.record_test(self.declared.gate, result, seconds=time.perf_counter() - started)
        self._seen.add(test)
        show(result)
        return result

    def _refuse_misuse(self, test: str, kinds: tuple[str, ...]) -> None:
        declared, problem = self._says(test), ""
        if self.is_closed:
            problem = f"gate {self.declared.gate} is closed: its tests run inside `with phase.gate(…)`"
        elif test in self._seen:
            problem = f"test {test} was run already in this gate; a second result would hide the first"
        elif declared.kind not in kinds:
            problem = f"test {test} is declared as {declared.kind!r}, and this proves {' or '.join(kinds)}"
        if problem:
            raise ConfigurationError(
                problem,
                where=f"notebook {self.phase.declared.notebook} and params/gates.yaml",
                next_step="run each declared test once, by the method for its kind",
            )

    def _says(self, test: str) -> TestDeclaration:
        if test not in self.declared.tests:
            known = list(self.declared.tests)
            raise ConfigurationError(
                f"gate {self.declared.gate} declares no test {test}{near_miss(test, known)}",
                where="params/gates.yaml",
                next_step="declare it there, or use " + ", ".join(known),
            )
        return self.declared.tests[test]

    def _agree(self, test: str, **want: str | None) -> None:
        """What a notebook expects and what is declared must be the same."""
        declared = self._says(test)
        differing = [f"{key} {value!r}" for key, value in want.items() if getattr(declared, key) != value]
        if differing:
            raise ConfigurationError(
                f"test {test} expects {', '.join(differing)}, which is not what is declared",
                where=f"notebook {self.phase.declared.notebook} and params/gates.yaml",
                next_step="make the two agree",
            )

    def _past(self) -> History:
        return history.since(self.phase.store, self.phase.gates, self.phase.declared.phase)


def _of(view: str, verdict: Verdict) -> Verdict:
    """The same verdict, with rows and reason that say which view is meant."""
    have = tuple({"of": view, **row} for row in verdict.have)
    return type(verdict)(verdict.what, have, verdict.want, f"{view}: {verdict.reason}" if verdict.reason else "")


def _together(what: str, verdicts: list[Verdict]) -> Verdict:
    have = tuple(row for verdict in verdicts for row in verdict.have)
    want = tuple(row for verdict in verdicts for row in verdict.want)
    for verdict in verdicts:
        if not verdict.is_green:
            return type(verdict)(what, have, want, verdict.reason)
    said = "; ".join(verdict.reason for verdict in verdicts if verdict.reason)
    return Pass(what, have, want, said) if verdicts else Unknown(what, reason="nothing was tried")


def _shown(query: Query) -> str:
    """The SQL as an analyst can paste it: parameters in place."""
    text = query.sql.strip()
    for name, value in query.parameters.items():
        text = text.replace(f"%({name})s", Literal(value).as_string())
    return text
