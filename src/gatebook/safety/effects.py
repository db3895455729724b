"""What a migration would do, as facts: statements of upgrade(), and the effects of each.

reading.py reads a file into Operations, sql.py reads SQL into Effects, judge.py holds both against levels and
acknowledgements. Nothing here opens a file or a connection.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """The class of an effect; judge.py gives each its level."""

    LOST = "rows or objects lost"  # DROP TABLE, TRUNCATE, DELETE of all rows, CASCADE
    NARROWED = "values narrowed"  # a type change that can cut or round
    CONSTRAINT = "constraint dropped"
    SECURITY = "row security switched off"
    GUARD = "guard dropped"  # index, trigger, policy, NOT NULL, default, view, function
    FILTERED = "rows changed by a filter"  # DELETE and UPDATE with an effective WHERE; UPDATE without one
    UNRESOLVED = "could not be analysed"
    DEFINED = "defined, not executed"  # the body of a function or trigger: information


@dataclass(frozen=True)
class Effect:
    """One thing that one statement would do.

    pattern  the name of the finding, as the reader knows it: 'DROP TABLE', 'TRUNCATE', 'op.drop_column'
    target   what it happens to, normalised: 'public.orders', 'orders.total'; '' when the text does not say
    detail   one sentence: what is lost, or for UNRESOLVED what would make it resolvable
    sql_line line within the SQL text, from 1; 0 when the effect is not from SQL
    """

    kind: Kind
    pattern: str
    target: str = ""
    detail: str = ""
    sql_line: int = 0


@dataclass(frozen=True)
class Reading:
    """What a text of SQL holds.

    statements  how many were seen, those inside DO blocks and EXECUTE strings included
    unresolved  how many of them could not be read (each also has an UNRESOLVED effect)
    """

    effects: tuple[Effect, ...] = ()
    statements: int = 0
    unresolved: int = 0


@dataclass(frozen=True)
class Operation:
    """One statement of upgrade() or downgrade() that reaches the database, in the order of execution.

    path, line, end_line  where the call stands; in a helper's module, where the helper's call stands
    via                   calls that led there, outermost first, as 'file.py:12 helper()'; the operation is
                          acknowledged at its own line, or at that of any call in via
    call                  what was called: 'op.drop_table', 'bind.execute'
    sql                   the SQL text when there is one
    """

    path: str
    line: int
    end_line: int
    call: str
    effects: tuple[Effect, ...] = ()
    sql: str = ""
    via: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Acknowledgement:
    """A real comment `# CI:DESTRUCTIVE_OK - reason, ADR-NNN`; never a string that looks like one.

    stands_alone  nothing else is on its line, so that it speaks of the operation below
    """

    path: str
    line: int
    reason: str
    adrs: tuple[str, ...] = ()
    stands_alone: bool = False


@dataclass(frozen=True)
class Migration:
    """A file as read. problems: what kept it from being read, each a whole sentence; then nothing else counts."""

    path: str
    revision: str = ""
    upgrade: tuple[Operation, ...] = ()
    downgrade: tuple[Operation, ...] = ()
    acknowledgements: tuple[Acknowledgement, ...] = ()
    problems: tuple[str, ...] = ()
    statements: int = 0
    unresolved: int = 0
    defined: tuple[Effect, ...] = field(default=())
