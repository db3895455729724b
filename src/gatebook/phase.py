"""What a notebook holds: a Phase that applies a revision, and Gates that prove it.

phase = Phase("4", database=database, mode=mode, run=run)
phase.apply()
with phase.gate("4.2") as gate:
    gate.test("4.2.1", catalog.indexes("tenants"), checks.has_unique_index(...))
phase.close()
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from gatebook import baseline, catalog, history, migrations, parameters, runs
from gatebook.activity import Activity
from gatebook.applying import Migration
from gatebook.asking import Asking
from gatebook.baseline import Store
from gatebook.canonical import Canonical, load_canonical
from gatebook.database import clock, open_database
from gatebook.declarations import GateDeclaration, load, load_gates
from gatebook.display import (
    SHOWN_ROWS,
    GateResult,
    Header,
    Note,
    PhaseResult,
    Table,
    TestResult,
    show,
)
from gatebook.errors import ConfigurationError, PhaseRed, PhaseRefused
from gatebook.gate import Gate
from gatebook.probes import Fixtures
from gatebook.project import Project
from gatebook.subject import Subject
from gatebook.verdicts import Unknown, worst

MODES = ("apply",)
WRITERS = ("none", "expected")


class Phase(Asking):
    """One phase of the audit in one database.

    phase_id             as in params/gates.yaml
    database             "embedded", or the name of a variable that holds a URL
    mode                 "apply": migrate, then test
    run                  the run that `gatebook run` is making; "" for a session of one's own
    lock_timeout_ms      milliseconds to wait for a lock before giving up
    statement_timeout_ms milliseconds that one statement may take
    writers              "none": rows that change between phases are an error; "expected": they are told
    Errors               ConfigurationError, ConnectionFailed, MigrationFailed (unknown revision, several heads)
    """

    def __init__(
        self,
        phase_id: str,
        *,
        database: str,
        mode: str = "apply",
        run: str = "",
        lock_timeout_ms: int = migrations.LOCK_TIMEOUT_MS,
        statement_timeout_ms: int = migrations.STATEMENT_TIMEOUT_MS,
        writers: str = "none",
        project: Project | None = None,
    ) -> None:
        parameters.refuse_unknown()
        if mode not in MODES:
            raise ConfigurationError(
                f"mode {mode!r} is not known", where="parameter mode", next_step=f"use {' or '.join(MODES)}"
            )
        if writers not in WRITERS:
            raise ConfigurationError(
                f"writers {writers!r} is not known", where="parameter writers", next_step=f"use {' or '.join(WRITERS)}"
            )
        self.writers_expected = writers == "expected"
        self.project = project or Project.find()
        self.gates = load_gates(self.project)
        self.declared = self.gates.phase(phase_id)
        self.canonical: Canonical = load_canonical(self.project)
        self.fixtures = load(Fixtures, self.project.params / "fixtures.yaml")
        self.lock_timeout_ms = lock_timeout_ms
        self.statement_timeout_ms = statement_timeout_ms
        self.database = open_database(database, project=self.project)
        self.results: dict[str, TestResult] = {}
        self._started = (time.perf_counter(), clock.seconds)
        try:
            self.server = self.database.server
            self.store = Store(self.project, self.server)
            self.folder = runs.open_run(self.project, run)
            self.journal = self.folder.journal
            with self.reading() as connection:
                history.forget_what_is_gone(connection, self.store, self.project, self.gates, self.canonical)
            self._open(mode)
        except BaseException:
            self.database.close()
            raise

    # -- the steps of a notebook

    def apply(self) -> None:
        """Migrate to the phase's revision, or say that the database has it already.

        Errors  PhaseRefused out of order or in an unfit database; LockTimeout, StatementTimeout, MigrationFailed,
                DataChanged: nothing was kept
        """
        revision = self.declared.revision
        if revision is None:
            raise ConfigurationError(f"phase {self.declared.phase} applies no revision", where="params/gates.yaml")
        if self._position(self.revision) >= self._position(revision):
            show(Note(f"Revision {revision} is in this database already; nothing was applied. Its gates follow."))
            self._record("already_applied", revision=revision)
            return
        self._refuse_out_of_order()
        applied = self._migration().apply(self.store)
        self.store.forget_proof(self.declared.phase)
        for moment, state in (("before", applied.before), ("after", applied.after)):
            runs.write_whole(self.folder.data / f"phase-{self.declared.phase}-{moment}.json", state.to_json())
        self._record(
            "applied",
            revision=revision,
            seconds=round(applied.seconds, 3),
            catalog_before=catalog.fingerprint(applied.before.catalog),
            catalog_after=catalog.fingerprint(applied.after.catalog),
            rows={table: each.rows for table, each in applied.after.data.items()},
            locks=applied.locks,
        )
        show(
            Note(f"Revision {revision} applied in {applied.seconds:.2f} s, in one transaction."),
            Table("Locks held until the commit", applied.locks),
            Table("What changed in the catalog", catalog.summarise(applied.changes)),
        )

    def play(self) -> None:
        """Let the application of a scenario work for a while; in any other database nothing is done.

        Errors  as apply()
        """
        state = self.store.state(self.declared.phase, "after")
        settings = self.store.scenario()
        if state is not None:
            show(Note("The application has worked in this database already; nothing was changed."))
        elif settings is None:
            show(Note("This database was not filled by the scenario: its own application does the work."))
        elif self._position(self.revision) > self._position(self.gates.starts_at(self.declared.phase)):
            show(Note("Later phases have been applied already: the application comes too late, nothing was changed."))
        else:
            played = Activity(**vars(self._migration()), settings=settings).apply(self.store)
            changed = baseline.data_differences(played.before.data, played.after.data)
            self._record("played", seconds=round(played.seconds, 3), rows=changed)
            show(Table("What the application did", changed, note=f"{played.seconds:.2f} s, in one transaction"))

    @contextmanager
    def gate(self, gate_id: str) -> Iterator[Gate]:
        """A gate: run its tests inside `with`; its verdict shows at the end.

        Errors  ConfigurationError for a gate or a test that params/gates.yaml does not declare
        """
        declared = self.declared.gate(gate_id)
        gate = Gate(self, declared)
        try:
            yield gate
        finally:
            gate.is_closed = True
        verdict = self.gate_verdict(declared)
        green = sum(self.results[test].verdict.is_green for test in declared.tests if test in self.results)
        self._record(
            "gate", gate=gate_id, title=declared.title, verdict=verdict, green=green, tests=len(declared.tests)
        )
        show(GateResult(gate_id, declared.title, verdict, green, len(declared.tests)))

    def close(self) -> None:
        """The verdict table. A declared test that was not evaluated is red.

        Errors  PhaseRed when a gate is red, so that a batch stops here
        """
        for gate in self.declared.gates:
            self._mark_unevaluated(gate)
        verdicts = {gate.gate: self.gate_verdict(gate) for gate in self.declared.gates}
        verdict = worst(verdicts.values())
        self._keep_proof(verdict)
        started, database_before = self._started
        self._record(
            "phase_closed",
            verdict=verdict,
            gates=verdicts,
            revision=self.revision,
            seconds=round(time.perf_counter() - started, 3),
            database_seconds=round(clock.seconds - database_before, 3),
        )
        title = f"Phase {self.declared.phase}: {self.declared.title}"
        show(PhaseResult(title, verdict, self._table(verdicts), self.declared.unblocks))
        if verdict != "PASS":
            red = ", ".join(gate for gate, each in verdicts.items() if each != "PASS")
            raise PhaseRed(
                f"phase {self.declared.phase} is red: gate {red}",
                where=f"notebook {self.declared.notebook}, database {self.database}",
                next_step="read the red tests above; the next phase may not start before they are green",
            )

    # -- what gates and helpers need

    @property
    def revision(self) -> str | None:
        with self.database.connect() as connection:
            return migrations.current(connection)

    def subject(self, connection: sa.Connection) -> Subject:
        return Subject(
            self.project, self.gates, self.canonical, self.server, self.store, connection,
            self.lock_timeout_ms, self.statement_timeout_ms,
        )  # fmt: skip

    def gate_verdict(self, gate: GateDeclaration) -> str:
        found = [self.results[test].verdict.name if test in self.results else "UNKNOWN" for test in gate.tests]
        return worst(found)

    def record_test(self, gate: str, result: TestResult, *, seconds: float) -> None:
        self.results[result.test] = result
        verdict = result.verdict
        self._record(
            "test",
            gate=gate,
            test=result.test,
            says=result.says,
            verdict=verdict.name,
            reason=verdict.reason,
            rule=verdict.rule,
            sql=result.sql,
            have=verdict.have[:SHOWN_ROWS],
            have_rows=len(verdict.have),
            want=verdict.want[:SHOWN_ROWS],
            want_rows=len(verdict.want),
            seconds=round(seconds, 4),
        )

    # -- inside

    def _migration(self) -> Migration:
        return Migration(
            self.project,
            self.database,
            self.canonical,
            self.declared,
            self.lock_timeout_ms,
            self.statement_timeout_ms,
            left=history.left_before(self.store, self.gates, self.declared.phase),
            writers_expected=self.writers_expected,
        )

    def _open(self, mode: str) -> None:
        revision = self.revision
        self._position(revision)
        server = self.server
        row = {
            "database": str(self.database),
            "server": f"PostgreSQL {server.version}",
            "role": server.role,
            "revision": revision or "none",
            "mode": mode,
        }
        self._record("phase_opened", notebook=self.declared.notebook, **row, server_key=server.key)
        show(Header(f"Phase {self.declared.phase}: {self.declared.title}", (row,)))

    def _position(self, revision: str | None) -> int:
        return migrations.position(self.project, revision)

    def _refuse_out_of_order(self) -> None:
        before = self.gates.before(self.declared.phase)
        first = migrations.script(self.project).get_revision(self.declared.revision or "").down_revision
        wanted = before.revision if before else first
        if self.revision != wanted:
            raise PhaseRefused(
                f"phase {self.declared.phase} starts from revision {wanted}; "
                f"the database stands at {self.revision or 'none'}",
                where=str(self.database),
                next_step=f"run the phases before it first, or `alembic upgrade {wanted}`",
            )
        if before is not None and not history.is_proven(self.store, before):
            raise PhaseRefused(
                f"phase {self.declared.phase} may not start before phase {before.phase} is proven in this database",
                where=str(self.database),
                next_step=f"run notebooks/{before.notebook}.ipynb to the end first",
            )

    def _mark_unevaluated(self, gate: GateDeclaration) -> None:
        for test, declared in gate.tests.items():
            if test not in self.results:
                verdict = Unknown(declared.says, reason="declared, but not evaluated")
                self.record_test(gate.gate, TestResult(test, declared.says, verdict), seconds=0)

    def _keep_proof(self, verdict: str) -> None:
        if verdict == "PASS":
            proof = {
                "run": self.folder.run_id,
                "at": datetime.now(UTC).isoformat(),
                "tests": {test: result.verdict.name for test, result in self.results.items()},
            }
            self.store.save_proof(self.declared.phase, proof)
        else:
            self.store.forget_proof(self.declared.phase)

    def _table(self, verdicts: dict[str, str]) -> tuple[dict[str, Any], ...]:
        return tuple(
            {
                "verdict": verdicts[gate.gate],
                "gate": gate.gate,
                "claim": gate.title,
                "tests": len(gate.tests),
                "green": sum(self.results[test].verdict.is_green for test in gate.tests),
                "red tests": ", ".join(t for t in gate.tests if not self.results[t].verdict.is_green) or "–",
            }
            for gate in self.declared.gates
        )

    def _record(self, event: str, **fields: Any) -> None:
        self.journal.write(event, phase=self.declared.phase, **fields)
