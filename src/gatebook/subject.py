"""What an examination may look at: a project and one database, through a connection that keeps nothing."""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from gatebook import migrations, row_security
from gatebook.baseline import Store
from gatebook.canonical import Canonical
from gatebook.database import Server
from gatebook.declarations import Gates
from gatebook.project import Project
from gatebook.verdicts import Verdict


@dataclass(frozen=True)
class Subject:
    """The database under audit. The connection's transaction is rolled back after each examination.

    lock_timeout_ms, statement_timeout_ms  hold for each examination
    """

    project: Project
    gates: Gates
    canonical: Canonical
    server: Server
    store: Store
    connection: sa.Connection
    lock_timeout_ms: int = migrations.LOCK_TIMEOUT_MS
    statement_timeout_ms: int = migrations.STATEMENT_TIMEOUT_MS

    @property
    def revision(self) -> str | None:
        return migrations.current(self.connection)

    def pending(self) -> list[str]:
        """The phases that this database has not had yet."""
        here = migrations.position(self.project, self.revision)
        return [
            phase.phase for phase in self.gates.migrating() if migrations.position(self.project, phase.revision) > here
        ]


Examination = Callable[[Subject], Verdict]


def examine(subject: Subject, examination: Examination, *, all_rows: bool = False) -> Verdict:
    """Run one examination, with every row in sight where it counts rows, and leave nothing behind."""
    subject.connection.rollback()
    migrations.set_limits(
        subject.connection,
        lock_timeout_ms=subject.lock_timeout_ms,
        statement_timeout_ms=subject.statement_timeout_ms,
    )
    try:
        if all_rows:
            with row_security.all_rows(subject.connection):
                return examination(subject)
        return examination(subject)
    finally:
        subject.connection.rollback()
