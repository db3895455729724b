"""Operations and acknowledgements to findings, each with its level. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from gatebook.safety.effects import Acknowledgement, Effect, Kind, Migration, Operation


class Level(StrEnum):
    FAIL = "fail"
    WARN = "warn"
    INFO = "info"


LEVELS: Mapping[Kind, Level] = {
    Kind.LOST: Level.FAIL,
    Kind.NARROWED: Level.FAIL,
    Kind.CONSTRAINT: Level.FAIL,
    Kind.SECURITY: Level.FAIL,
    Kind.UNRESOLVED: Level.FAIL,
    Kind.GUARD: Level.WARN,
    Kind.FILTERED: Level.WARN,
    Kind.DEFINED: Level.INFO,
}


@dataclass(frozen=True)
class Finding:
    """One effect at one place. acknowledged: the reason that a comment gives, which may be ''; None without one."""

    path: str
    line: int
    level: Level
    effect: Effect
    call: str = ""
    acknowledged: str | None = None

    @property
    def fails(self) -> bool:
        return self.level is Level.FAIL and self.acknowledged is None


@dataclass(frozen=True)
class Note:
    """Something about an acknowledgement: a warning, or an error under the strict rules."""

    path: str
    line: int
    text: str


@dataclass(frozen=True)
class Judgement:
    """A file, judged. problems: why it could not be; rollback: what downgrade() would take away."""

    path: str
    revision: str = ""
    findings: tuple[Finding, ...] = ()
    notes: tuple[Note, ...] = ()
    rollback: tuple[Finding, ...] = ()
    problems: tuple[str, ...] = ()
    acknowledgements: tuple[Acknowledgement, ...] = ()
    statements: int = 0
    unresolved: int = 0
    is_strict: bool = field(default=False)

    @property
    def passes(self) -> bool:
        return not self.problems and not self.failures and not (self.is_strict and self.notes)

    @property
    def failures(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.fails]


def judge(migration: Migration, *, adrs: Collection[str] | None = None, strict: bool = False) -> Judgement:
    """Hold a migration against the levels and its acknowledgements.

    adrs    the decisions that docs/adr holds, as 'ADR-002'; None where there is no such folder
    strict  a blemish of an acknowledgement fails, instead of being told
    """
    used: set[Acknowledgement] = set()
    findings = _findings(migration.upgrade, migration.acknowledgements, used)
    rollback = _findings(migration.downgrade, migration.acknowledgements, set())
    covered = {each for each in migration.acknowledgements if _covers_any(each, migration.downgrade)}
    notes = [
        note
        for each in migration.acknowledgements
        for note in _blemishes(each, adrs, is_used=each in used or each in covered)
    ]
    return Judgement(
        migration.path,
        migration.revision,
        tuple(findings),
        tuple(notes),
        tuple(finding for finding in rollback if finding.level is Level.FAIL),
        migration.problems,
        migration.acknowledgements,
        migration.statements,
        migration.unresolved,
        strict,
    )


def _findings(
    operations: Sequence[Operation], acknowledgements: Sequence[Acknowledgement], used: set[Acknowledgement]
) -> list[Finding]:
    found: dict[tuple[object, ...], Finding] = {}
    for operation in operations:
        acknowledgement = next((each for each in acknowledgements if covers(each, operation)), None)
        for effect in operation.effects:
            level = LEVELS[effect.kind]
            reason = acknowledgement.reason if acknowledgement is not None and level is not Level.INFO else None
            if acknowledgement is not None and level is not Level.INFO:
                used.add(acknowledgement)
            path, line = operation.path, operation.line
            found.setdefault((path, line, effect), Finding(path, line, level, effect, operation.call, reason))
    return list(found.values())


def covers(acknowledgement: Acknowledgement, operation: Operation) -> bool:
    """On a line of the operation, or alone on the line above it; in a helper also where the helper is called."""
    places = [
        (operation.path, operation.line, operation.end_line),
        *((path, line, line) for path, line in operation.via),
    ]
    return any(
        acknowledgement.path == path
        and (
            first <= acknowledgement.line <= last
            or (acknowledgement.stands_alone and acknowledgement.line == first - 1)
        )
        for path, first, last in places
    )


def _covers_any(acknowledgement: Acknowledgement, operations: Sequence[Operation]) -> bool:
    return any(covers(acknowledgement, each) for each in operations if each.effects)


def _blemishes(acknowledgement: Acknowledgement, adrs: Collection[str] | None, *, is_used: bool) -> list[Note]:
    texts = []
    if not is_used:
        texts.append("this acknowledgement covers no operation that needs one")
    if not re.sub(r"ADR-\d+|[\W_]", "", acknowledgement.reason):
        texts.append("this acknowledgement gives no reason")
    if not acknowledgement.adrs:
        texts.append("this acknowledgement names no ADR")
    texts += [f"{each} is not in docs/adr" for each in acknowledgement.adrs if adrs is not None and each not in adrs]
    return [Note(acknowledgement.path, acknowledgement.line, text) for text in texts]
