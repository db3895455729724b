"""What can go wrong, as types. Every message says what, where and what to do next.

GatebookError               exit code 2: could not tell, or wrong use
├── ConfigurationError      a parameter, params file, declaration or project that cannot be used
├── ConnectionFailed        the named database cannot be reached or opened
├── ServerFailed            the embedded server cannot be made, started or stopped
├── MigrationFailed         Alembic or PostgreSQL refused a revision; nothing of it was kept
│   ├── LockTimeout         another session held a table for longer than lock_timeout_ms
│   └── StatementTimeout    one statement ran for longer than statement_timeout_ms
├── ScenarioRefused         the scenario cannot be loaded into this database
├── QueryFailed             a query of a notebook, or of a command, that the server answered with an error
├── StatementRefused        a statement that may not be explained or timed: it writes, or is not one query
├── EmptySample             percentiles of no measurement at all
├── PhaseRefused            a phase may not start: out of order, unproven predecessor, unfit database
├── DataChanged             a migration would have lost or changed rows; it was rolled back
├── JournalFailed           the record of the run cannot be written
└── PhaseRed                exit code 1: the phase ran, and at least one gate is red
"""


class GatebookError(Exception):
    """Root of all errors that are meant for the reader of a terminal or a notebook."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.next_step = next_step

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.next_step:
            lines.append(f"  next:  {self.next_step}")
        return "\n".join(lines)

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: an analyst reads the message, not our stack."""
        return [f"{type(self).__name__}: {self}"]


class ConfigurationError(GatebookError):
    """A parameter, params file, declaration or project that cannot be used."""


class ConnectionFailed(GatebookError):
    """The named database cannot be reached or opened."""


class ServerFailed(GatebookError):
    """The embedded server cannot be made, started or stopped."""


class MigrationFailed(GatebookError):
    """Alembic or PostgreSQL refused a revision; nothing of it was kept."""


class LockTimeout(MigrationFailed):
    """Another session held a table for longer than lock_timeout_ms."""


class StatementTimeout(MigrationFailed):
    """One statement ran for longer than statement_timeout_ms."""


class ScenarioRefused(GatebookError):
    """The scenario cannot be loaded into this database."""


class QueryFailed(GatebookError):
    """A query of a notebook, or of a command, that the server answered with an error."""


class StatementRefused(GatebookError):
    """A statement that may not be explained or timed: it writes, or is not one query."""


class EmptySample(GatebookError):
    """Percentiles of no measurement at all."""


class PhaseRefused(GatebookError):
    """A phase may not start: out of order, unproven predecessor, unfit database."""


class DataChanged(GatebookError):
    """A migration would have lost or changed rows; it was rolled back."""


class JournalFailed(GatebookError):
    """The record of the run cannot be written."""


class PhaseRed(GatebookError):
    """The phase ran, and at least one gate is red."""

    exit_code = 1
