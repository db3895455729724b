"""The whole chain of migrations, judged and rehearsed: what notebooks show and gates examine."""

from collections.abc import Sequence
from pathlib import Path

from gatebook import migrations, rehearsal
from gatebook.display import Table, show
from gatebook.project import Project
from gatebook.rehearsal import Rehearsal
from gatebook.safety import locks
from gatebook.safety.judge import Judgement, Level
from gatebook.safety.linting import lint
from gatebook.subject import Examination, Subject
from gatebook.verdicts import Fail, Pass, Rows, Unknown, Verdict


def judged(project: Project) -> list[Judgement]:
    """Every revision of the chain, judged under the strict rules, from the first to the head."""
    script = migrations.script(project)
    paths = [Path(script.get_revision(revision).path) for revision in migrations.chain(project)]
    return lint(
        [Path(path).relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path for path in paths], strict=True
    )


def show_judgements(judgements: Sequence[Judgement]) -> None:
    """A table with one row a revision, and one of the operations that somebody answers for."""
    note = f"{len(judgements)} revisions, strict rules"
    show(Table("The chain, judged", _judged_rows(judgements), note=note), _acknowledgements(judgements))


def _judged_rows(judgements: Sequence[Judgement]) -> Rows:
    return tuple(
        {
            "verdict": "PASS" if each.passes else "FAIL",
            "revision": each.revision,
            "statements": each.statements,
            "not resolvable": each.unresolved,
            "fails": len(each.failures),
            "acknowledged": sum(found.acknowledged is not None for found in each.findings),
            "warns": sum(found.level is Level.WARN for found in each.findings),
            "rollback drops": len(each.rollback),
        }
        for each in judgements
    )


def _acknowledgements(judgements: Sequence[Judgement]) -> Table:
    rows = tuple(
        {"revision": each.revision, "line": found.line, "pattern": found.effect.pattern, "reason": found.acknowledged}
        for each in judgements
        for found in each.findings
        if found.acknowledged is not None
    )
    return Table("Acknowledged operations", rows)


def show_locks(project: Project) -> None:
    """What squawk says of the locks that each revision takes, by rule."""
    found = locks.findings(project)
    rules = sorted({str(row["rule"]) for row in found})
    rows = tuple(
        {
            "rule": rule,
            "findings": sum(row["rule"] == rule for row in found),
            "revisions": ", ".join(sorted({str(row["revision"]) for row in found if row["rule"] == rule})),
        }
        for rule in rules
    )
    show(Table("Locks, as squawk reads them", rows, note="advice for busy systems; none of it is a loss of rows"))


def rehearsed(project: Project) -> list[Rehearsal]:
    """Every revision, run on a throw-away copy of the embedded server, and held against what was foretold."""
    return rehearsal.rehearse_chain(project, predict=rehearsal.foretold(project))


def show_rehearsals(rehearsals: Sequence[Rehearsal]) -> None:
    """A table with one row a revision, and one of all that really went."""
    losses = tuple(row for each in rehearsals for row in each.as_rows())
    notes = [f"{each.revision}: {note}" for each in rehearsals for note in each.notes]
    show(
        Table("The chain, rehearsed", tuple(each.summary() for each in rehearsals)),
        Table("What really went, and whether it was foretold", losses),
        Table("What limits the proof", tuple({"note": note} for note in notes)),
    )


def all_pass(judgements: Sequence[Judgement]) -> Examination:
    """Every revision passes the strict rules, and every statement of every one could be read."""

    def examination(subject: Subject) -> Verdict:
        what = "every revision of the chain passes the strict rules"
        rows = _judged_rows(judgements)
        missing = sorted(set(migrations.chain(subject.project)) - {each.revision for each in judgements})
        if missing or not judgements:
            return Unknown(what, rows, (), f"not judged: {', '.join(missing) or 'any revision'}")
        bad = [each.revision for each in judgements if not each.passes]
        return Fail(what, rows, (), f"these fail: {', '.join(bad)}") if bad else Pass(what, rows)

    return examination


def nothing_unforeseen(rehearsals: Sequence[Rehearsal]) -> Examination:
    """No rehearsal lost or changed what the validator had not foretold, and every revision was rehearsed."""

    def examination(subject: Subject) -> Verdict:
        what = "no rehearsal lost or changed anything that was not foretold"
        rows: Rows = tuple(each.summary() for each in rehearsals)
        missing = sorted(set(migrations.chain(subject.project)) - {each.revision for each in rehearsals})
        problems = [f"{each.revision}: {each.problem}" for each in rehearsals if each.problem]
        if missing or problems:
            return Unknown(what, rows, (), "; ".join(problems) or f"not rehearsed: {', '.join(missing)}")
        silent = tuple({"revision": each.revision, **row} for each in rehearsals for row in each.unpredicted)
        if silent:
            return Fail(what, silent, (), f"{len(silent)} losses that nobody foretold")
        return Pass(what, rows)

    return examination


def rows_were_at_stake(rehearsals: Sequence[Rehearsal], *, since: str) -> Examination:
    """From one revision on there were rows to lose, so that a rehearsal could have seen a loss."""

    def examination(subject: Subject) -> Verdict:
        what = f"every rehearsal from {since} on had rows to lose"
        chain = migrations.chain(subject.project)
        later = set(chain[chain.index(since) :])
        rows: Rows = tuple({"revision": e.revision, "rows": e.rows_seen} for e in rehearsals if e.revision in later)
        empty = [str(row["revision"]) for row in rows if not row["rows"]]
        if len(rows) < len(later) or empty:
            return Unknown(what, rows, (), f"no rows to lose: {', '.join(empty) or 'not every revision was rehearsed'}")
        return Pass(what, rows)

    return examination
