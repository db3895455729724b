"""Examinations over a whole audit: compliance with the canonical schema, proofs, drift, sign-off."""

from collections import Counter
from typing import Any

from gatebook import baseline, catalog, migrations
from gatebook.catalog import Rows, Snapshot
from gatebook.compliance import SEVERITIES, divergences, extras
from gatebook.errors import ConfigurationError
from gatebook.history import say_catalog, say_rows
from gatebook.subject import Examination, Subject
from gatebook.verdicts import Fail, Pass, Unknown, Verdict

SAID = 5  # differences that a reason names; the table has them all


def severities(rows: Rows) -> dict[str, int]:
    """How many divergences of each severity, zeros included."""
    counts = Counter(row["severity"] for row in rows)
    return {severity: counts[severity] for severity in SEVERITIES}


def divergence_was_measured(subject: Subject) -> Verdict:
    """Somebody looked before the first phase, and there was something to mend: the measure can see divergences."""
    what = "divergences before the first phase were measured, and there were some"
    before = _first_state(subject)
    if before is None:
        return Unknown(what, reason="the first phase was not applied by this workbook, so nobody looked before it")
    counts = severities(tuple(divergences(subject.canonical, before)))
    have: Rows = tuple({"severity": severity, "divergences": count} for severity, count in counts.items())
    if not any(counts.values()):
        return Unknown(what, have, reason="no divergence was seen before the phases: the measure proves nothing")
    return Pass(what, have)


def no_divergence(*wanted: str, until: str | None = None) -> Examination:
    """No divergence of these severities is left in the live catalog.

    until   the last phase whose objects are expected; None: the whole specification
    Errors  ConfigurationError for no severity or an unknown one
    """
    unknown = sorted(set(wanted) - set(SEVERITIES))
    if unknown or not wanted:
        raise ConfigurationError(
            f"no such severity: {', '.join(unknown) or 'none was named'}",
            where="readiness.no_divergence",
            next_step=f"use {', '.join(SEVERITIES)}",
        )

    def examination(subject: Subject) -> Verdict:
        found = divergences(subject.canonical, catalog.snapshot(subject.connection), until=until)
        what = f"no {', '.join(wanted)} divergence from the canonical schema"
        left = tuple(row for row in found if row["severity"] in wanted)
        if left:
            names = ", ".join(f"{row['table']}.{row['object']}" for row in left)
            return Fail(what, left, (), f"{len(left)} divergences: {names}")
        return Pass(what, tuple({"severity": severity, "divergences": 0} for severity in wanted), ())

    return examination


def extras_are_allowed(subject: Subject) -> Verdict:
    """Columns and tables beyond the specification are on the list of allowed ones."""
    what = "every extra column and table is allowed"
    rows = tuple(extras(subject.canonical, catalog.snapshot(subject.connection)))
    forbidden = [row["object"] for row in rows if not row["allowed"]]
    if forbidden:
        return Fail(what, rows, (), f"not on the list: {', '.join(forbidden)}")
    return Pass(what, rows, ())


def stands_at(revision: str) -> Examination:
    """The database stands at this revision or a later one."""

    def examination(subject: Subject) -> Verdict:
        what = f"the database stands at {revision} or later"
        have = ({"revision": subject.revision},)
        want = ({"revision": f"{revision} or later"},)
        here = migrations.position(subject.project, subject.revision)
        if here < migrations.position(subject.project, revision):
            return Fail(what, have, want, f"it stands at {subject.revision}")
        return Pass(what, have, want)

    return examination


def additions_are(wanted: dict[str, int], *, stated: dict[str, int], until: str) -> Examination:
    """What the phases up to one added together, counted in the catalog, beside what the documents stated.

    wanted  statistic -> number; stated  the same from the source document
    """

    def examination(subject: Subject) -> Verdict:
        what = "the number of objects that the phases added"
        before = _first_state(subject)
        if before is None:
            return Unknown(what, reason="nobody looked before the first phase")
        last = subject.store.state(until, "after")
        measured = _statistics(before, last.catalog if last else {})
        have: Rows = tuple(
            {"statistic": name, "measured": measured[name], "stated": stated.get(name)} for name in wanted
        )
        want: Rows = tuple({"statistic": name, "measured": number} for name, number in wanted.items())
        wrong = [
            f"{name}: {measured[name]}, wanted {number}" for name, number in wanted.items() if measured[name] != number
        ]
        return Fail(what, have, want, "; ".join(wrong)) if wrong else Pass(what, have, want)

    return examination


def gates_are_proven(subject: Subject) -> Verdict:
    """Every gate of every phase that migrates or has a specification is green in the proof its notebook left here."""
    what = "all gates of the phases are proven"
    rows: list[dict[str, Any]] = []
    for phase in (each for each in subject.gates.phases if each.revision or each.specification):
        proof = subject.store.proof(phase.phase) or {}
        tests = proof.get("tests", {})
        listed = phase.listed or phase.gates  # a phase without a specification has its own alone
        green = [gate.gate for gate in listed if all(tests.get(test) == "PASS" for test in gate.tests)]
        passed = sum(tests.get(test) == "PASS" for gate in listed for test in gate.tests)
        rows.append(
            {
                "phase": phase.phase,
                "gates": len(listed),
                "gates_green": len(green),
                "tests": sum(len(gate.tests) for gate in listed),
                "tests_green": passed,
                "run": proof.get("run", "none"),
            }
        )
    want = tuple({**row, "gates_green": row["gates"], "tests_green": row["tests"]} for row in rows)
    unproven = [row["phase"] for row, wanted in zip(rows, want, strict=True) if row != wanted]
    if unproven:
        return Fail(what, tuple(rows), want, f"not proven in this database: phase {', '.join(unproven)}")
    return Pass(what, tuple(rows), want)


MATERIALIZED_VIEWS = """
    SELECT c.relname::text AS view, c.relispopulated AS populated, pg_catalog.pg_relation_size(c.oid) > 0 AS has_rows,
           coalesce((SELECT min(i.indexrelid::regclass::text) FROM pg_catalog.pg_index i
                      WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid), '') AS unique_index
      FROM pg_catalog.pg_class c
     WHERE c.relkind = 'm' AND c.relnamespace = 'public'::regnamespace
     ORDER BY c.relname
"""


def materialized_views_are(*names: str) -> Examination:
    """These materialized views exist, each populated, with rows, and with a valid unique index."""

    def examination(subject: Subject) -> Verdict:
        what = f"{len(names)} materialized views, populated and indexed"
        have: Rows = tuple(dict(row) for row in subject.connection.exec_driver_sql(MATERIALIZED_VIEWS).mappings())
        want: Rows = tuple({"view": name, "populated": True, "has_rows": True} for name in sorted(names))
        fit = {str(row["view"]) for row in have if row["populated"] and row["has_rows"] and row["unique_index"]}
        wrong = sorted(set(names) - fit)
        if wrong or not names:
            return Fail(what, have, want, f"missing, empty, or without a unique index: {', '.join(wrong)}")
        return Pass(what, have, want)

    return examination


def rejections_are_proven(subject: Subject) -> Verdict:
    """Every test of kind "rejected" was green, by SQLSTATE."""
    what = "every rejected write was rejected for the right reason"
    counts: Counter[str] = Counter()
    green: Counter[str] = Counter()
    unproven: list[str] = []
    for phase in subject.gates.migrating():
        tests = (subject.store.proof(phase.phase) or {}).get("tests", {})
        for test, declared in phase.tests.items():
            if declared.kind == "rejected":
                counts[declared.sqlstate or ""] += 1
                green[declared.sqlstate or ""] += tests.get(test) == "PASS"
                unproven += [test] if tests.get(test) != "PASS" else []
    have = tuple({"sqlstate": state, "probes": counts[state], "green": green[state]} for state in sorted(counts))
    want = tuple({**row, "green": row["probes"]} for row in have)
    if not have or have != want:
        return Fail(what, have, want, f"not proven: {', '.join(unproven) or 'no probe is declared'}")
    return Pass(what, have, want)


def has_not_drifted(subject: Subject) -> Verdict:
    """The catalog is object for object what the last phase left behind."""
    what = "the catalog is what the last phase left"
    last = subject.gates.migrating()[-1].phase
    state = subject.store.state(last, "after")
    if state is None:
        return Unknown(what, reason=f"phase {last} was not applied by this workbook, so what it left is not known")
    drift = catalog.diff(state.catalog, catalog.snapshot(subject.connection))
    have: Rows = ({"objects": len(state.catalog), "differences": len(drift)},)
    if drift:
        gravest = tuple(sorted(drift, key=lambda row: row["change"] == "added"))  # what is gone or changed comes first
        more = f"; and {len(drift) - SAID:,} more" if len(drift) > SAID else ""
        return Fail(what, gravest, (), f"{len(drift):,} differences: {say_catalog(gravest[:SAID])}{more}")
    return Pass(what, have, ({**have[0], "differences": 0},))


def rows_are_unchanged(subject: Subject) -> Verdict:
    """Every row of every table, backfilled columns included, is what the last phase left. Needs all rows in sight."""
    what = "the rows are what the last phase left"
    last = subject.gates.migrating()[-1].phase
    state = subject.store.state(last, "after")
    if state is None:
        return Unknown(what, reason=f"phase {last} was not applied by this workbook, so what it left is not known")
    columns = {table: list(each.columns) for table, each in state.data.items()}
    now = baseline.table_sums(subject.connection, columns)
    want: Rows = tuple(
        {"table": table, "rows": each.rows, "checksum": each.checksum} for table, each in state.data.items()
    )
    have: Rows = tuple({"table": table, "rows": each.rows, "checksum": each.checksum} for table, each in now.items())
    changed = baseline.data_differences(state.data, now)
    if changed:
        return Fail(what, have, want, say_rows(changed))
    return Pass(what, have, want) if want else Unknown(what, reason="the last phase left no tables")


def comments_are_complete(subject: Subject) -> Verdict:
    """Every table, column, constraint, index and policy that a phase adds carries a comment."""
    what = "every added object carries a comment"
    snapshot = catalog.snapshot(subject.connection)
    wanted = [
        key
        for phase in subject.gates.migrating()
        for key, attributes in subject.canonical.changes(phase.phase).items()
        if attributes is not None and "comment" in attributes
    ]
    bare = [f"{kind} {name}" for kind, name in wanted if not (snapshot.get((kind, name)) or {}).get("comment")]
    kinds = Counter(kind for kind, _ in wanted)
    have: Rows = tuple({"kind": kind, "objects": number} for kind, number in sorted(kinds.items()))
    if bare or not wanted:
        return Fail(what, have, (), f"without a comment: {', '.join(bare) or 'nothing was added'}")
    return Pass(what, have, ())


def is_signed_off(validator: str, notes: str) -> Examination:
    """Somebody put their name to the run."""

    def examination(_subject: Subject) -> Verdict:
        what = "a validator has signed off"
        have = ({"validator": validator or None, "notes": notes or None},)
        if not validator.strip():
            return Unknown(what, have, (), "nobody has: set validator in the params file or the parameters cell")
        return Pass(what, have, ())

    return examination


def _first_state(subject: Subject) -> Snapshot | None:
    state = subject.store.state(subject.gates.migrating()[0].phase, "before")
    return state.catalog if state else None


def _statistics(before: Snapshot, after: Snapshot) -> dict[str, int]:
    new = {key: value for key, value in after.items() if key not in before}
    old_tables = {name for kind, name in before if kind == "table"}
    definitions = [str(value["definition"]) for (kind, _), value in new.items() if kind == "constraint"]
    indexes = [value["definition"] for (kind, _), value in new.items() if kind == "index"]
    columns = [name for kind, name in new if kind == "column" and name.rpartition(".")[0] in old_tables]
    return {
        "columns added": len(columns),
        "tables created": sum(kind == "table" for kind, _ in new),
        "indexes added": len(indexes),
        "of these unique": sum(str(text).startswith("CREATE UNIQUE") for text in indexes),
        "indexes dropped": sum(kind == "index" and (kind, name) not in after for kind, name in before),
        "check constraints added": sum(text.startswith("CHECK") for text in definitions),
        "foreign keys added": sum(text.startswith("FOREIGN KEY") for text in definitions),
        "primary keys added": sum(text.startswith("PRIMARY KEY") for text in definitions),
        "policies added": sum(kind == "policy" for kind, _ in new),
        "comments added": sum(bool(value.get("comment")) for value in new.values()),
    }
