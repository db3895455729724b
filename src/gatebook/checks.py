"""Judgements over rows that a catalog query or a count returned. Pure: a check never holds a connection.

has_ = it exists and is as said; have_ = each of several; lacks_ = none of them exists; is_ = a property.
No rows at all means that nothing was seen, and no wish that nothing was asked: Unknown, never a pass.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gatebook.verdicts import Check, Fail, Pass, Rows, Unknown, Verdict

ANY: Any = object()  # a property that the check leaves open


def has_table(name: str) -> Check:
    """The table exists. Rows: catalog.tables()."""
    return _found("table", name, {})


def has_column(name: str, *, type: str = ANY, nullable: bool = ANY, default: str | None = ANY) -> Check:
    """The column exists with this type, nullability and default. Rows: catalog.columns(table)."""
    return _found("column", name, {"type": type, "nullable": nullable, "default": default})


def have_columns(want: Sequence[Mapping[str, Any]]) -> Check:
    """Each wanted column exists as said; the table may have others. Rows: catalog.columns(table)."""
    return _all_found("column", want)


def columns_are(want: Sequence[Mapping[str, Any]]) -> Check:
    """The table has exactly the wanted columns, in this order. Rows: catalog.columns(table)."""

    def check(rows: Rows) -> Verdict:
        verdict = _all_found("column", want)(rows)
        extra = sorted({row["column"] for row in rows} - {row["column"] for row in want})
        if extra and verdict.is_green:
            return Fail(verdict.what, verdict.have, verdict.want, f"extra columns: {', '.join(extra)}")
        if verdict.is_green and [row["column"] for row in rows] != [row["column"] for row in want]:
            return Fail(verdict.what, verdict.have, verdict.want, "the columns are in another order")
        return verdict

    return check


def has_comment(name: str, *, invariant: str) -> Check:
    """The column's comment carries its invariant and, after it, a purpose. Rows: catalog.columns(table)."""
    return have_comments({name: invariant})


def have_comments(invariants: Mapping[str, str]) -> Check:
    """Each column's comment holds 'INVARIANT: <category>' and says what the column is for."""
    what = f"comments with their invariant on {', '.join(invariants)}"

    def check(rows: Rows) -> Verdict:
        if not rows or not invariants:
            return _nothing_seen(what) if invariants else _nothing_asked(what)
        comments = {row["column"]: row["comment"] for row in rows}
        have = tuple({"column": name, "comment": comments.get(name)} for name in invariants)
        want = tuple({"column": n, "comment": f"INVARIANT: {i}. <purpose>"} for n, i in invariants.items())
        bad = [name for name, category in invariants.items() if not _carries(comments.get(name), category)]
        if bad:
            return Fail(what, have, want, f"no such tag with a purpose in the comment of: {', '.join(bad)}")
        return Pass(what, have, want)

    return check


def has_index(
    name: str,
    *,
    columns: Sequence[str],
    included: Sequence[str] = (),
    predicate: str | None = None,
    is_unique: bool = False,
) -> Check:
    """The index exists, is valid, and has exactly these keys, payload and predicate. Rows: catalog.indexes(table)."""
    return _found(
        "index",
        name,
        {
            "columns": list(columns),
            "included": list(included),
            "predicate": predicate,
            "is_unique": is_unique,
            "is_valid": True,
        },
    )


def have_indexes(keys: Mapping[str, Sequence[str]]) -> Check:
    """Each index exists, is valid, plain (no payload, no predicate) and on these keys. Rows: catalog.indexes(table)."""
    plain: dict[str, Any] = {"included": [], "predicate": None, "is_unique": False, "is_valid": True}
    return _all_found("index", [{"index": name, "columns": list(columns), **plain} for name, columns in keys.items()])


def has_unique_index(name: str, *, columns: Sequence[str]) -> Check:
    """The index exists, is unique, valid, not partial, and on exactly these columns. Rows: catalog.indexes(table)."""
    return has_index(name, columns=columns, is_unique=True)


def lacks_indexes(*names: str) -> Check:
    """None of the indexes exists. Rows: catalog.indexes(table); a table without any index cannot tell."""
    what = f"no index {' or '.join(names)}"

    def check(rows: Rows) -> Verdict:
        if not rows or not names:
            return _nothing_seen(what) if names else _nothing_asked(what)
        left = [row["index"] for row in rows if row["index"] in names]
        have = tuple({"index": row["index"], "definition": row["definition"]} for row in rows)
        if left:
            return Fail(what, have, (), f"still there: {', '.join(left)}")
        return Pass(what, have, ())

    return check


def has_foreign_key(*, references: str, definition: str, on_delete: str) -> Check:
    """A validated foreign key to a table, with this definition and rule. Rows: catalog.constraints(table)."""
    what = f"foreign key to {references} ON DELETE {on_delete}"
    want = ({"references": references, "on_delete": on_delete, "definition": definition, "is_validated": True},)

    def check(rows: Rows) -> Verdict:
        if not rows:
            return _nothing_seen(what)
        keys = [row for row in rows if row["type"] == "foreign key"]
        have = tuple({key: row[key] for key in ("constraint", *want[0])} for row in keys)
        if any(all(row[key] == value for key, value in want[0].items()) for row in keys):
            return Pass(what, have, want, rule="includes")
        return Fail(what, have, want, "no foreign key of the table is as wanted", rule="includes")

    return check


def holds_for_all(what: str, *, empty_before: Collection[str] = ()) -> Check:
    """A predicate holds for every row. Rows: one row for each predicate with table, rows_seen and rows_wrong.

    empty_before  tables that are known to have had no rows: there, none is what must be seen
    """

    def check(rows: Rows) -> Verdict:
        want = tuple({**row, "rows_wrong": 0} for row in rows)
        wrong = [row for row in rows if row["rows_wrong"]]
        if wrong:
            counts = ", ".join(f"{row['column']}: {row['rows_wrong']:,} of {row['rows_seen']:,} rows" for row in wrong)
            reason = f"rows that are not as the backfill should have left them: {counts}"
            return Fail(what, rows, want, reason, rule="equal")
        seen = [row for row in rows if row["rows_seen"] or row["table"] not in empty_before]
        if not rows or not all(row["rows_seen"] and row["rows_wrong"] == 0 for row in seen):
            return Unknown(what, rows, want, "there were no rows to look at, so nothing is proven")
        empty = sorted({str(row["table"]) for row in rows} - {str(row["table"]) for row in seen})
        reason = f"no rows before the phase in {', '.join(empty)}" if empty else ""
        return Pass(what, rows, want, reason, rule="equal")

    return check


def is_empty(what: str) -> Check:
    """A query for offending rows found none. For queries that cannot be empty for want of input."""

    def check(rows: Rows) -> Verdict:
        if rows:
            return Fail(what, rows[:20], (), f"{len(rows):,} offending rows", rule="empty")
        return Pass(what, (), (), rule="empty")

    return check


def _found(kind: str, name: str, wanted: Mapping[str, Any]) -> Check:
    asked = {key: value for key, value in wanted.items() if value is not ANY}
    return _all_found(kind, [{kind: name, **asked}])


def _all_found(kind: str, want: Sequence[Mapping[str, Any]]) -> Check:
    names = [row[kind] for row in want]
    what = f"{kind} {', '.join(names)} as specified"

    def check(rows: Rows) -> Verdict:
        if not rows or not want:
            return _nothing_seen(what) if want else _nothing_asked(what)
        seen = {row[kind]: row for row in rows}
        have = tuple({key: seen[row[kind]][key] for key in row} for row in want if row[kind] in seen)
        missing = sorted(name for name in names if name not in seen)
        different = sorted(_differences(seen[row[kind]], row, kind) for row in want if row[kind] in seen)
        problems = [f"missing: {', '.join(missing)}"] if missing else []
        problems += [text for text in different if text]
        kind_of_verdict = Fail if problems else Pass
        return kind_of_verdict(what, have, tuple(want), "; ".join(problems), rule="equal")

    return check


def _differences(have: Mapping[str, Any], want: Mapping[str, Any], kind: str) -> str:
    texts = [f"{key} is {have[key]!r}, wanted {value!r}" for key, value in want.items() if have[key] != value]
    return f"{want[kind]}: {', '.join(texts)}" if texts else ""


def _carries(comment: str | None, category: str) -> bool:
    """The tag as a whole word, and then a word that says what the column is for."""
    return re.search(rf"INVARIANT: {re.escape(category)}\W+\w", comment or "") is not None


def _nothing_seen(what: str) -> Verdict:
    return Unknown(what, (), (), "nothing was seen: the table does not exist, or the query found nothing")


def _nothing_asked(what: str) -> Verdict:
    return Unknown(what, (), (), "nothing was asked for, so nothing is proven")
