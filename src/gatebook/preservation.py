"""Did a phase do what it declares and nothing else? Rows, catalog and backfill, judged from states and sums."""

from collections.abc import Mapping

import sqlalchemy as sa

from gatebook import baseline, catalog, row_security
from gatebook.baseline import State, TableSum
from gatebook.catalog import Key, Query, Snapshot
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


def sums_after(connection: sa.Connection, before: State, later: State | None) -> dict[str, TableSum] | None:
    """The rows after a phase over the columns from before it: as the next phase found them, else as they are now.

    Shape  table -> sums; None where row security may hide rows
    """
    columns = {table: list(each.columns) for table, each in before.data.items()}
    if later is not None:
        return {
            table: _reduce(later.data[table], names, before.wanted[table])
            for table, names in columns.items()
            if table in later.data
        }
    if row_security.filtered_tables(connection):
        return None
    return baseline.table_sums(connection, columns)


def data_verdict(what: str, phase: str, before: State | None, now: dict[str, TableSum] | None) -> Verdict:
    """Row counts and checksums over all columns from before the phase are what they were, NULLs filled as declared."""
    if before is None:
        return Unknown(what, reason=_nobody_looked(phase))
    if now is None:
        return Unknown(what, reason="row security may hide rows from this role")
    want, have = _shown(before.wanted), _shown(now)
    different = baseline.data_differences(before.wanted, now)
    if different:
        details = "; ".join(
            f"{row['table']}: {row['rows_before']} rows before, {row['rows_after']} now, "
            f"columns {row['columns_differing']}"
            for row in different
        )
        return Fail(what, have, want, f"rows are not what they were before the phase: {details}")
    return Pass(what, have, want) if want else Unknown(what, reason="there were no tables before the phase")


def catalog_verdict(what: str, phase: str, before: State | None, now: Snapshot, declared: Declared) -> Verdict:
    """Every declared object is now as declared, and nothing else differs from before."""
    if before is None:
        return Unknown(what, reason=_nobody_looked(phase))
    if not declared:
        return Unknown(what, reason="the phase declares no change")
    difference = catalog.diff(before.catalog, now)
    problems = [
        text
        for key, wanted in declared.items()
        for text in (*_departures(key, wanted, now.get(key)), *_unusual(key, before.catalog.get(key), now.get(key)))
    ]
    problems += [
        f"{row['kind']} {row['object']} {row['change']}{_of(row['attribute'])}, not declared"
        for row in difference
        if not _is_declared(row["kind"], row["object"], declared)
    ]
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


def _unusual(key: Key, old: dict[str, object] | None, have: dict[str, object] | None) -> list[str]:
    kind, name = key
    return [
        f"{kind} {name}: {attribute} is {have[attribute]!r}, not declared"
        for attribute, usual in ORDINARY.get(kind, {}).items()
        if have and attribute in have and have[attribute] not in (*usual, (old or {}).get(attribute))
    ]


def _is_declared(kind: str, name: str, declared: Declared) -> bool:
    """An object that is declared, or the owner's own rights on a table that is."""
    table = name.removesuffix(" to <owner>")
    return (kind, name) in declared or (kind == "grant" and table != name and ("table", table) in declared)


def _of(attribute: str) -> str:
    return f" ({attribute})" if attribute else ""


def _shown(sums: dict[str, TableSum]) -> Rows:
    return tuple({"table": table, "rows": each.rows, "checksum": each.checksum} for table, each in sums.items())


def _reduce(later: TableSum, names: list[str], before: TableSum) -> TableSum:
    """A later sum over more columns, reduced to these. Whole-row checksums compare only over the same columns."""
    columns = {name: later.columns.get(name, "") for name in names}
    if list(later.columns) == names:
        return TableSum(later.rows, later.checksum, columns)
    unchanged = columns == before.columns and later.rows == before.rows
    return TableSum(later.rows, before.checksum if unchanged else "differs", columns)


def _nobody_looked(phase: str) -> str:
    return (
        f"phase {phase} was not applied by this workbook, so nobody looked before it; "
        "downgrade to the revision before it and run the notebook again"
    )
