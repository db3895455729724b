"""One phase applied in one transaction: look, migrate, look again, and keep it only when no row was lost.

The tables that the phase changes are locked against writers first, then everything is read in one REPEATABLE
READ snapshot: what others write meanwhile to other tables is in neither look, so before = after is exact.
"""

import time
from dataclasses import dataclass

import sqlalchemy as sa
from psycopg import sql

from gatebook import baseline, catalog, history, migrations, preservation, row_security
from gatebook.baseline import State, Store
from gatebook.canonical import Canonical
from gatebook.catalog import Query, Rows
from gatebook.database import Database
from gatebook.declarations import PhaseDeclaration
from gatebook.errors import DataChanged, PhaseRefused
from gatebook.project import Project

LOCKS = """
SELECT l.relation::pg_catalog.regclass::text AS relation,
       pg_catalog.string_agg(l.mode, ', ' ORDER BY l.mode) AS modes
  FROM pg_catalog.pg_locks l
  JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p', 'm')
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_'
 WHERE l.pid = pg_catalog.pg_backend_pid() AND l.granted
   AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
 GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True)
class Applied:
    """What one phase did to a database."""

    before: State
    after: State
    locks: Rows
    seconds: float

    @property
    def changes(self) -> Rows:
        return catalog.diff(self.before.catalog, self.after.catalog)


@dataclass(frozen=True)
class Migration:
    """All that is needed to apply one phase."""

    project: Project
    database: Database
    canonical: Canonical
    phase: PhaseDeclaration
    lock_timeout_ms: int
    statement_timeout_ms: int
    left: State | None = None  # what the phase before left, where this workbook applied it
    writers_expected: bool = False

    def apply(self, store: Store) -> Applied:
        """Upgrade to the phase's revision and commit.

        Errors  LockTimeout, StatementTimeout, MigrationFailed, DataChanged, PhaseRefused: nothing was kept
        """
        started = time.perf_counter()
        with self.database.connect(isolation_level="REPEATABLE READ") as connection:
            try:
                self._begin(connection)
                before, columns = self._before(connection)
                self._act(connection)
                after = self._after(connection, columns)
                self._refuse_loss(before, after)
                locks = Query(LOCKS).run(connection)
                store.save_state(self.phase.phase, "before", before)
                store.save_state(self.phase.phase, "after", after)
                connection.commit()
            except sa.exc.DBAPIError as error:
                doing = f"phase {self.phase.phase}"
                raise migrations.translate(error, doing=doing, connection=connection) from error
        return Applied(before, after, locks, time.perf_counter() - started)

    def _act(self, connection: sa.Connection) -> None:
        migrations.upgrade(connection, self.project, self.phase.revision or "")

    def _begin(self, connection: sa.Connection) -> None:
        """Limits and locks before the first snapshot is taken."""
        migrations.set_limits(
            connection, lock_timeout_ms=self.lock_timeout_ms, statement_timeout_ms=self.statement_timeout_ms
        )
        tables = [sql.Identifier(table) for table in self.canonical.touched(self.phase.phase)]
        if tables:
            statement = sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(sql.SQL(", ").join(tables))
            catalog.execute(connection, statement.as_string())

    def _before(self, connection: sa.Connection) -> tuple[State, baseline.Columns]:
        snapshot = catalog.snapshot(connection)
        self._refuse_conflicts(snapshot)
        self._refuse_drift(snapshot)
        columns = baseline.table_columns(connection)
        with row_security.all_rows(connection):
            sums = baseline.table_sums(connection, columns)
            filled = self._filled(connection, columns)
        self._refuse_writes(sums)
        return State(migrations.current(connection), snapshot, sums, filled), columns

    def _refuse_conflicts(self, snapshot: catalog.Snapshot) -> None:
        conflicts = self.canonical.conflicts(snapshot, self.phase.phase)
        if conflicts:
            raise PhaseRefused(
                f"phase {self.phase.phase} would fail: {'; '.join(conflicts)}",
                where=str(self.database),
                next_step="bring the schema to what the revision before this phase makes; nothing was changed",
            )

    def _refuse_drift(self, snapshot: catalog.Snapshot) -> None:
        drift = history.drift(self.left.catalog, snapshot) if self.left else ()
        if drift:
            raise PhaseRefused(
                f"the schema was changed since the phase before {self.phase.phase}, outside the migrations",
                where=history.say_catalog(drift),
                next_step="undo that change, or make it a revision; nothing was changed",
            )

    def _refuse_writes(self, sums: dict[str, baseline.TableSum]) -> None:
        written = baseline.data_differences(self.left.data, sums) if self.left else ()
        if written and not self.writers_expected:
            raise DataChanged(
                f"rows were changed since the phase before {self.phase.phase}; nothing was applied",
                where=history.say_rows(written),
                next_step='find out who writes; if the application does and may, set writers to "expected"',
            )

    def _after(self, connection: sa.Connection, columns: baseline.Columns) -> State:
        """Sums over the columns from before, and over all that are there now where these are others."""
        now = baseline.table_columns(connection)
        changed = {table: names for table, names in now.items() if columns.get(table) != names}
        with row_security.all_rows(connection):
            preserved = baseline.table_sums(connection, columns)
            data = {table: each for table, each in preserved.items() if table not in changed}
            data |= baseline.table_sums(connection, changed)
            backfilled = preservation.backfill_query(self.canonical.backfills(self.phase.phase)).run(connection)
        data = {table: each for table, each in data.items() if table not in self.canonical.logs}
        return State(
            migrations.current(connection),
            catalog.snapshot(connection),
            data,
            preserved=preserved,
            marks=history.marks(connection, self.canonical, self.phase.phase),
            backfilled=backfilled,
        )

    def _filled(self, connection: sa.Connection, columns: baseline.Columns) -> dict[str, baseline.TableSum]:
        fills = self.canonical.fills(self.phase.phase)
        tables = {table: columns[table] for table, _ in fills if table in columns}
        return baseline.table_sums(connection, tables, fills=fills)

    def _refuse_loss(self, before: State, after: State) -> None:
        hidden = baseline.data_differences(before.wanted, after.preserved)
        if hidden:
            details = "; ".join(
                f"{row['table']}: {row['rows_before']} rows before, {row['rows_after']} after, "
                f"differing: {row['columns_differing']}"
                for row in hidden
            )
            raise DataChanged(
                f"phase {self.phase.phase} would have changed rows that were there before; it was rolled back",
                where=details,
                next_step="mend the migration: it may add values, never lose or change them",
            )
