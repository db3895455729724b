"""A gate inside a phase: runs its tests, shows them, and records them. A test that errors is never green."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import sqlalchemy as sa

from gatebook import baseline, catalog, checks, explain, probes, row_security
from gatebook.catalog import Query
from gatebook.declarations import GateDeclaration, TestDeclaration, near_miss
from gatebook.display import TestResult, show
from gatebook.errors import ConfigurationError
from gatebook.probes import Write
from gatebook.subject import Examination, examine
from gatebook.verdicts import Check, Fail, Pass, Rows, Unknown, Verdict

if TYPE_CHECKING:
    from gatebook.phase import Phase


class Gate:
    """Made by `phase.gate(id)`. Every method takes the id of a test that params/gates.yaml declares."""

    def __init__(self, phase: "Phase", declared: GateDeclaration) -> None:
        self.phase = phase
        self.declared = declared

    def test(self, test: str, query: Query, check: Check) -> TestResult:
        """Run a catalog query and judge its rows."""

        def judge(connection: sa.Connection) -> Verdict:
            return check(query.run(connection))

        return self._judged(test, judge, sql=_shown(query))

    def query(self, test: str, sql: str) -> TestResult:
        """A query of your own for the rows that offend: none is a pass."""
        return self.test(test, Query(sql), checks.is_empty(self._says(test).says))

    def rejects(
        self, test: str, write: Write, *, sqlstate: str, constraint: str | None = None, column: str | None = None
    ) -> TestResult:
        """The write must fail with this SQLSTATE on this constraint or column; the same row without the change must not."""
        self._agree(test, sqlstate=sqlstate, constraint=constraint, column=column)
        plan = probes.plan(write, self.phase.fixtures)

        def judge(connection: sa.Connection) -> Verdict:
            return probes.rejected(
                connection, plan, what=self._says(test).says, sqlstate=sqlstate, constraint=constraint, column=column
            )

        return self._judged(test, judge, sql=plan.sql, writes=True)

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
        plans = [(write, probes.plan(write, self.phase.fixtures)) for write in writes]
        what = self._says(test).says

        def judge(connection: sa.Connection) -> Verdict:
            found = [probes.accepted(connection, plan, what=what, changes=write.changes) for write, plan in plans]
            return _together(what, found)

        return self._judged(test, judge, sql="\n\n".join(plan.sql for _, plan in plans), writes=True)

    def cascades(self, test: str, write: Write) -> TestResult:
        """Deleting a row must take its children and no others; nothing is kept."""
        plan = probes.plan(write, self.phase.fixtures)

        def judge(connection: sa.Connection) -> Verdict:
            return probes.cascades(connection, plan, what=self._says(test).says)

        return self._judged(test, judge, sql=plan.sql, writes=True)

    def backfilled(self, test: str) -> TestResult:
        """Every row holds what the canonical schema declares as this phase's backfill."""
        query = backfill_query(self.phase.canonical.backfills(self.phase.declared.phase))

        def judge(connection: sa.Connection) -> Verdict:
            hidden = row_security.filtered_tables(connection)
            if hidden:
                reason = f"row security may hide rows of {', '.join(hidden)} from this role"
                return Unknown(self._says(test).says, (), (), reason)
            return checks.holds_for_all(self._says(test).says)(query.run(connection))

        return self._judged(test, judge, sql=_shown(query))

    def data_preserved(self, test: str) -> TestResult:
        """Row counts and checksums of all columns that were there before the phase are what they were."""
        return self._judged(test, lambda connection: self._data_verdict(connection, test))

    def only_declared_changes(self, test: str) -> TestResult:
        """The catalog differs from before the phase by exactly what the canonical schema declares."""
        return self._judged(test, lambda connection: self._catalog_verdict(connection, test))

    def examine(self, test: str, examination: Examination, *, all_rows: bool = False) -> TestResult:
        """Judge by a function of the subject: server, revision, schema; nothing it does is kept.

        all_rows  let it see every row, by a policy that lives as long as the transaction
        """

        def judge(connection: sa.Connection) -> Verdict:
            return examine(self.phase.subject(connection), examination, all_rows=all_rows)

        return self._judged(test, judge, writes=True)

    def serves(self, test: str, queries: Mapping[str, str], *, limit_ms: float) -> TestResult:
        """Each index can serve its query within the limit: index -> SELECT, run once under EXPLAIN ANALYZE."""

        def judge(connection: sa.Connection) -> Verdict:
            return explain.serves(connection, queries, what=self._says(test).says, limit_ms=limit_ms)

        return self._judged(test, judge, sql=";\n".join(queries.values()))

    def judge(self, test: str, verdict: Verdict, *, sql: str = "") -> TestResult:
        """Record a verdict that was reached elsewhere."""
        return self._judged(test, lambda _connection: verdict, sql=sql)

    # -- inside

    def _judged(
        self, test: str, judge: Callable[[sa.Connection], Verdict], *, sql: str = "", writes: bool = False
    ) -> TestResult:
        says = self._says(test).says
        started = time.perf_counter()
        try:
            if writes:
                with self.phase.database.connect() as connection:
                    self.phase.limit(connection)
                    verdict = judge(connection)
            else:
                with self.phase.reading() as connection:
                    verdict = judge(connection)
        except sa.exc.DBAPIError as error:
            verdict = Unknown(says, reason=f"the database answered with an error: {str(error.orig).splitlines()[0]}")
        result = TestResult(test, says, verdict, sql)
        self.phase.record_test(self.declared.gate, result, seconds=time.perf_counter() - started)
        show(result)
        return result

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

    def _data_verdict(self, connection: sa.Connection, test: str) -> Verdict:
        what = self._says(test).says
        phase = self.phase.declared.phase
        before, after = self.phase.store.state(phase, "before"), self._state_now(connection)
        if before is None:
            return Unknown(what, reason=_no_state(phase))
        if after is None:
            return Unknown(what, reason="row security may hide rows from this role")
        want = tuple(
            {"table": table, "rows": each.rows, "checksum": each.checksum} for table, each in before.wanted.items()
        )
        have = tuple({"table": table, "rows": each.rows, "checksum": each.checksum} for table, each in after.items())
        different = baseline.data_differences(before.wanted, after)
        if different:
            details = "; ".join(
                f"{row['table']}: {row['rows_before']} rows before, {row['rows_after']} now, "
                f"columns {row['columns_differing']}"
                for row in different
            )
            return Fail(what, have, want, f"rows are not what they were before the phase: {details}")
        return Pass(what, have, want) if want else Unknown(what, reason="there were no tables before the phase")

    def _state_now(self, connection: sa.Connection) -> dict[str, baseline.TableSum] | None:
        """The rows after the phase, or where the next phase has been applied, as it found them."""
        later = self._next_before()
        phase = self.phase.declared.phase
        before = self.phase.store.state(phase, "before")
        if before is None or row_security.filtered_tables(connection):
            return None
        columns = {table: list(each.columns) for table, each in before.data.items()}
        if later is None:
            return baseline.table_sums(connection, columns)
        return {
            table: _project(later.data[table], names, before=before.wanted[table])
            for table, names in columns.items()
            if table in later.data
        }

    def _next_before(self) -> baseline.State | None:
        for later in self.phase.gates.after(self.phase.declared.phase):
            return self.phase.store.state(later.phase, "before")
        return None

    def _catalog_verdict(self, connection: sa.Connection, test: str) -> Verdict:
        what = self._says(test).says
        phase = self.phase.declared.phase
        before, later = self.phase.store.state(phase, "before"), self._next_before()
        if before is None:
            return Unknown(what, reason=_no_state(phase))
        now = later.catalog if later else catalog.snapshot(connection)
        return only_declared(what, before.catalog, now, self.phase.canonical.changes(phase))


def only_declared(
    what: str, before: catalog.Snapshot, now: catalog.Snapshot, declared: dict[catalog.Key, dict[str, object] | None]
) -> Verdict:
    """Every declared object is now as declared, and nothing else differs from before."""
    difference = catalog.diff(before, now)
    problems = []
    for (kind, name), wanted in declared.items():
        have = now.get((kind, name))
        if wanted is None and have is not None:
            problems.append(f"{kind} {name} is still there")
        elif wanted is not None and have is None:
            problems.append(f"{kind} {name} is missing")
        elif wanted is not None and have is not None:
            problems += [
                f"{kind} {name}: {key} is {have.get(key)!r}, declared {value!r}"
                for key, value in wanted.items()
                if have.get(key) != value
            ]
    problems += [
        f"{row['kind']} {row['object']} {row['change']}{' (' + row['attribute'] + ')' if row['attribute'] else ''}, not declared"
        for row in difference
        if not _is_declared(row["kind"], row["object"], declared)
    ]
    want: Rows = tuple({"kind": kind, "object": name} for kind, name in declared)
    have_rows: Rows = tuple({key: row[key] for key in ("change", "kind", "object", "attribute")} for row in difference)
    if problems:
        return Fail(what, have_rows, want, "; ".join(problems))
    return Pass(what, have_rows, want) if declared else Unknown(what, reason="the phase declares no change")


def backfill_query(predicates: dict[str, dict[str, str]]) -> Query:
    """Shape  table, column, rows_seen, rows_wrong; one scan a table"""
    parts = []
    for table, columns in predicates.items():
        counts = ", ".join(f"count(*) FILTER (WHERE ({predicate}) IS NOT TRUE)" for predicate in columns.values())
        names = ", ".join(f"'{name}'" for name in columns)
        parts.append(
            f'SELECT \'{table}\' AS "table", u."column", s.rows_seen, u.rows_wrong\n'
            f"  FROM (SELECT count(*) AS rows_seen, ARRAY[{counts}] AS wrong FROM {table}) s,\n"
            f'       unnest(ARRAY[{names}], s.wrong) AS u("column", rows_wrong)'
        )
    return Query("\nUNION ALL\n".join(parts))


def _is_declared(kind: str, name: str, declared: dict[catalog.Key, dict[str, object] | None]) -> bool:
    """An object that is declared, or the owner's own rights on a table that is."""
    if (kind, name) in declared:
        return True
    return kind == "grant" and name.endswith(" to <owner>") and ("table", name.removesuffix(" to <owner>")) in declared


def _project(later: baseline.TableSum, names: list[str], *, before: baseline.TableSum) -> baseline.TableSum:
    """A later sum over more columns, reduced to these; whole-row checksums compare only over the same columns."""
    same = list(later.columns) == names
    columns = {name: later.columns.get(name, "") for name in names}
    unchanged = columns == before.columns and later.rows == before.rows
    checksum = later.checksum if same else before.checksum if unchanged else "differs"
    return baseline.TableSum(later.rows, checksum, columns)


def _together(what: str, verdicts: list[Verdict]) -> Verdict:
    have = tuple(row for verdict in verdicts for row in verdict.have)
    want = tuple(row for verdict in verdicts for row in verdict.want)
    for verdict in verdicts:
        if not verdict.is_green:
            return type(verdict)(what, have, want, verdict.reason)
    return Pass(what, have, want) if verdicts else Unknown(what, reason="nothing was tried")


def _no_state(phase: str) -> str:
    return (
        f"phase {phase} was not applied by this workbook, so nobody looked before it; "
        "downgrade to the revision before it and run the notebook again"
    )


def _shown(query: Query) -> str:
    """The SQL as an analyst can paste it: parameters in place."""
    text = query.sql.strip()
    for name, value in query.parameters.items():
        text = text.replace(f"%({name})s", f"'{value}'")
    return text
