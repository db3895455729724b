"""Did a phase do what it declares and nothing else? Rows, catalog and backfill, judged from states and sums."""

from collections.abc import Mapping

from gatebook import baseline, catalog
from gatebook.baseline import TableSum
from gatebook.catalog import Key, Query, Snapshot
from gatebook.history import History, say_rows
from gatebook.verdicts import Fail, Pass, Rows, Unknown, Verdict

Declared = dict[Key, dict[str, object] | None]

# What no declaration says of an object because it is so unless somebody asked for something else.
ORDINARY: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    "table": {"kind": ("table",), "persistence": ("p",)},
    "column": {"identity": ("",), "generated": ("",), "collation": ("-", '"default"')},
    "constraint": {"validated": (True,), "enforced": (True,)},
    "index": {"valid": (True,)},
    "policy": {"permissive": (True,)},
}


def data_verdict(what: str, phase: str, past: History, now: dict[str, TableSum], *, writers_expected: bool) -> Verdict:
    """The phase kept every row and value, and nobody changed any since, between the phases or after the last.

    now              sums over the columns of the last applied phase
    writers_expected changes after the phase are told, and are no failure
    """
    if not past.steps:
        return Unknown(what, reason=_nobody_looked(phase))
    want, have = _shown(past.first.before.wanted), _shown(past.first.after.preserved)
    if not want:
        return Unknown(what, reason="there were no tables before the phase")
    lost = baseline.data_differences(past.first.before.wanted, past.first.after.preserved)
    if lost:
        return Fail(what, have, want, f"rows are not what they were before the phase: {say_rows(lost)}")
    since = past.changed_rows(now)
    if since and not writers_expected:
        return Fail(what, _shown(now), _shown(past.last.after.data), "; ".join(since))
    return Pass(what, have, want, "; ".join(f"writers are expected; {text}" for text in since))


def catalog_verdict(what: str, phase: str, past: History, now: Snapshot, declared: Declared) -> Verdict:
    """The phase changed what is declared and nothing else, and nobody changed anything since outside a phase."""
    if not past.steps:
        return Unknown(what, reason=_nobody_looked(phase))
    if not declared:
        return Unknown(what, reason="the phase declares no change")
    before, after = past.first.before.catalog, past.first.after.catalog
    difference = catalog.diff(before, after)
    problems = [
        text
        for key, wanted in declared.items()
        for text in (
            *_departures(key, wanted, after.get(key)),
            *_unusual(key, wanted, before.get(key), after.get(key)),
        )
    ]
    problems += [
        f"{row['kind']} {row['object']} {row['change']}{_of(row['attribute'])}, not declared"
        for row in difference
        if not _is_declared(row["kind"], row["object"], declared)
    ]
    problems += past.changed_catalog(now)
    want: Rows = tuple({"kind": kind, "object": name} for kind, name in declared)
    have: Rows = tuple({key: row[key] for key in ("change", "kind", "object", "attribute")} for row in difference)
    return Fail(what, have, want, "; ".join(problems)) if problems else Pass(what, have, want)


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
    return Query("\nUNION ALL\n".join(parts) or "SELECT WHERE false -- the phase declares no backfill")


def _departures(key: Key, wanted: dict[str, object] | None, have: dict[str, object] | None) -> list[str]:
    kind, name = key
    if wanted is None:
        return [f"{kind} {name} is still there"] if have is not None else []
    if have is None:
        return [f"{kind} {name} is missing"]
    return [
        f"{kind} {name}: {attribute} is {have.get(attribute)!r}, declared {value!r}"
        for attribute, value in wanted.items()
        if have.get(attribute) != value
    ]


def _unusual(
    key: Key, wanted: dict[str, object] | None, old: dict[str, object] | None, have: dict[str, object] | None
) -> list[str]:
    kind, name = key
    return [
        f"{kind} {name}: {attribute} is {have[attribute]!r}, not declared"
        for attribute, usual in ORDINARY.get(kind, {}).items()
        if have and attribute in have and attribute not in (wanted or {})
        if have[attribute] not in (*usual, (old or {}).get(attribute))
    ]


def _is_declared(kind: str, name: str, declared: Declared) -> bool:
    """An object that is declared, or the owner's own rights on a table that is."""
    table = name.removesuffix(" to <owner>")
    is_owners = kind == "grant" and table != name
    return (kind, name) in declared or (is_owners and any((made, table) in declared for made in ("table", "sequence")))


def _of(attribute: str) -> str:
    return f" ({attribute})" if attribute else ""


def _shown(sums: dict[str, TableSum]) -> Rows:
    return tuple({"table": table, "rows": each.rows, "checksum": each.checksum} for table, each in sums.items())


def _nobody_looked(phase: str) -> str:
    return (
        f"phase {phase} was not applied by this workbook, so nobody looked before it; "
        "downgrade to the revision before it and run the notebook again"
    )
