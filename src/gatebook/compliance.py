"""How far a live catalog is from the canonical schema: divergences, and what is there beyond it. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gatebook.canonical import Canonical, ObjectDeclaration, TableDeclaration, ViewDeclaration, say
from gatebook.catalog import Snapshot

SEVERITIES = ("BLOCKING", "HIGH", "LOW")
Divergence = dict[str, Any]


def divergences(canonical: Canonical, snapshot: Snapshot, *, until: str | None = None) -> list[Divergence]:
    """Where a live catalog departs from the specification: one row for each object, worst first.

    until   the last phase whose objects are expected; None: the whole specification
    Shape   severity, table, kind, object, have, want
    Source  the severity is that of the invariant of the column, or of the worst column an index or constraint names
    """
    rows: list[Divergence] = []
    for name, table in canonical.tables.items():
        if canonical.expected(table.phase, until=until):
            due = _until(canonical, table, until)
            rows += [*_of_table(canonical, name, due, snapshot), *_of_access(name, due, snapshot)]
    for name, view in canonical.views.items():
        if canonical.expected(view.phase, until=until):
            rows += _of_view(canonical, name, view, snapshot)
            if all(canonical.expected(phase, until=until) for phase in view.revoked):
                rows += _of_grants(name, view.grants, snapshot)
    for name, function in canonical.functions.items():
        have, want = snapshot.get(("function", name)), function.rights()
        if canonical.expected(function.phase, until=until) and not _matches(have, want):
            rows.append(_access("function", name, name, have, want))
    return sorted(rows, key=lambda row: (SEVERITIES.index(row["severity"]), row["table"], row["object"]))


def extras(canonical: Canonical, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Columns and tables of the live schema that the specification does not have, allowed or not."""
    rows = []
    for (kind, name), _attributes in sorted(snapshot.items()):
        table, _, column = name.rpartition(".")
        if kind == "table":
            is_specified = name in canonical.tables or name in canonical.views
            allowed = name in canonical.allowed_extra.get("tables", [])
        elif kind == "column" and table in canonical.tables:
            is_specified = column in canonical.tables[table].columns
            allowed = column in canonical.allowed_extra.get(table, [])
        else:
            continue
        if allowed or not is_specified:
            rows.append({"kind": kind, "object": name, "allowed": allowed})
    return rows


def _until(canonical: Canonical, table: TableDeclaration, until: str | None) -> TableDeclaration:
    """The table as declared after a phase: without what later ones add, and what they change as it was before."""

    def due(things: Mapping[str, Any]) -> dict[str, Any]:
        return {name: each for name, each in things.items() if canonical.expected(each.phase, until=until)}

    columns = {
        name: column.model_copy(update=column.changed.was)
        if column.changed and not canonical.expected(column.changed.phase, until=until)
        else column
        for name, column in due(table.columns).items()
    }
    others = {kind: due(getattr(table, kind)) for kind in ("constraints", "indexes", "policies")}
    return table.model_copy(update={"columns": columns, **others})


def _of_table(canonical: Canonical, table: str, declared: TableDeclaration, snapshot: Snapshot) -> Iterator[Divergence]:
    for name, column in declared.columns.items():
        have = snapshot.get(("column", f"{table}.{name}"))
        want = {key: value for key, value in column.attributes().items() if key != "comment"}
        if not _matches(have, want):
            yield _divergence(canonical.severities[column.invariant], table, "column", name, have, want)
    for kind, objects in (("constraint", declared.constraints), ("index", declared.indexes)):
        for name, thing in objects.items():
            have = snapshot.get((kind, f"{table}.{name}"))
            want = {"definition": thing.definition}
            if not _matches(have, want):
                yield _divergence(_severity(canonical, declared, thing), table, kind, name, have, want)


def _of_view(canonical: Canonical, view: str, declared: ViewDeclaration, snapshot: Snapshot) -> Iterator[Divergence]:
    """A view that is there as what it must be; security_barrier among its options is no matter of taste."""
    have, want = snapshot.get(("table", view)), {"kind": declared.kind, "options": declared.options}
    if not _matches(have, want):
        yield _access(declared.kind, view, view, have, want)
    for name, column in declared.columns.items():
        live = snapshot.get(("column", f"{view}.{name}"))
        if not _matches(live, {"type": column.type}):
            severity = canonical.severities[column.invariant]
            yield _divergence(severity, view, "column", name, live, {"type": column.type})
    for name, index in declared.indexes.items():
        live = snapshot.get(("index", f"{view}.{name}"))
        if not _matches(live, {"definition": index.definition}):
            severity = _severity(canonical, declared, index)
            yield _divergence(severity, view, "index", name, live, {"definition": index.definition})


def _of_access(table: str, declared: TableDeclaration, snapshot: Snapshot) -> Iterator[Divergence]:
    """Row security, policies and grants: whatever is wrong with them is BLOCKING, more rights than declared too.

    Policies are compared by name, command and roles. Their expressions may be written in several ways; what
    they let through is tried out, not read.
    """
    if declared.row_security:
        want = {
            "row_security": declared.row_security.get("enabled", False),
            "forced": declared.row_security.get("forced", False),
        }
        have = snapshot.get(("table", table))
        if not _matches(have, want):
            yield _access("row security", table, "row security", have, want)
    policies = {name: {"command": p.command, "roles": ", ".join(p.roles)} for name, p in declared.policies.items()}
    yield from _rights("policy", table, f"{table}.", policies, snapshot)
    yield from _of_grants(table, declared.grants, snapshot)


def _of_grants(table: str, declared: Mapping[str, list[str]], snapshot: Snapshot) -> Iterator[Divergence]:
    grants = {role: {"privileges": ", ".join(sorted(rights))} for role, rights in declared.items()}
    yield from _rights("grant", table, f"{table} to ", grants, snapshot)


def _rights(
    kind: str, table: str, prefix: str, declared: Mapping[str, dict[str, Any]], snapshot: Snapshot
) -> Iterator[Divergence]:
    live = {name.removeprefix(prefix) for k, name in snapshot if k == kind and name.startswith(prefix)}
    for name in sorted((live | declared.keys()) - {"<owner>"}):
        have, want = snapshot.get((kind, f"{prefix}{name}")), declared.get(name)
        if want is None or not _matches(have, want):
            yield _access(kind, table, name, have, want)


def _access(
    kind: str, table: str, name: str, have: Mapping[str, Any] | None, want: Mapping[str, Any] | None
) -> Divergence:
    keys = want or ("command", "roles", "privileges")
    seen = "absent" if have is None else ", ".join(f"{key} {have[key]}" for key in keys if key in have)
    wanted = "absent" if want is None else ", ".join(f"{key} {value}" for key, value in want.items())
    return {"severity": "BLOCKING", "table": table, "kind": kind, "object": name, "have": seen, "want": wanted}


def _severity(canonical: Canonical, table: TableDeclaration | ViewDeclaration, thing: ObjectDeclaration) -> str:
    own = thing.definition.partition(" REFERENCES ")[0]  # what follows are columns of another table
    words = set(re.findall(r"\w+", own))
    named = {canonical.severities[column.invariant] for name, column in table.columns.items() if name in words}
    return min(named or {"LOW"}, key=SEVERITIES.index)


def _divergence(
    severity: str, table: str, kind: str, name: str, have: Mapping[str, Any] | None, want: dict[str, Any]
) -> Divergence:
    seen = "absent" if have is None else say({key: have.get(key) for key in want})
    return {"severity": severity, "table": table, "kind": kind, "object": name, "have": seen, "want": say(want)}


def _matches(have: Mapping[str, Any] | None, want: Mapping[str, Any]) -> bool:
    return have is not None and all(have.get(key) == value for key, value in want.items())
