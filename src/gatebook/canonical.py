"""The canonical schema as declared in params/canonical_schema.yaml, and what follows from it.

Which columns a phase adds, what its catalog difference must be, what its backfill must have written, and how
far a live catalog is from the specification. Pure: it knows declarations and snapshots, and no connection.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, Field

from gatebook.catalog import Key, Snapshot
from gatebook.declarations import Declared, load
from gatebook.project import Project

SEVERITIES = ("BLOCKING", "HIGH", "LOW")


class ColumnChange(Declared):
    """How a phase alters a column that was there before; fill: what its NULLs are replaced with."""

    phase: str
    was: dict[str, Any]
    fill: str | None = None


class ColumnDeclaration(Declared):
    type: str
    nullable: bool
    default: str | None = None
    invariant: str = "none"
    comment: str | None = None
    phase: str | None = None
    backfill: str | None = None
    backfill_check: str | None = None
    changed: ColumnChange | None = None

    def attributes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("type", "nullable", "default", "comment")}


class ObjectDeclaration(Declared):
    definition: str
    comment: str | None = None
    phase: str | None = None

    def attributes(self) -> dict[str, Any]:
        return {"definition": self.definition, "comment": self.comment}


class PolicyDeclaration(Declared):
    command: str
    roles: list[str]
    using: str | None = None
    check: str | None = None
    comment: str | None = None
    phase: str | None = None

    def attributes(self) -> dict[str, Any]:
        return {
            "command": self.command,
            "roles": ", ".join(self.roles),
            "using": self.using,
            "check": self.check,
            "comment": self.comment,
        }


class TableDeclaration(Declared):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    phase: str | None = None
    comment: str | None = None
    columns: dict[str, ColumnDeclaration]
    constraints: dict[str, ObjectDeclaration] = Field(default_factory=dict)
    indexes: dict[str, ObjectDeclaration] = Field(default_factory=dict)
    removed_indexes: dict[str, ObjectDeclaration] = Field(default_factory=dict)
    policies: dict[str, PolicyDeclaration] = Field(default_factory=dict)
    row_security: dict[str, bool] = Field(default_factory=dict)
    grants: dict[str, list[str]] = Field(default_factory=dict)


class ViewDeclaration(Declared):
    comment: str | None = None
    columns: dict[str, Any] = Field(default_factory=dict)
    indexes: dict[str, ObjectDeclaration] = Field(default_factory=dict)
    grants: dict[str, list[str]] = Field(default_factory=dict)


class Canonical(Declared):
    """params/canonical_schema.yaml"""

    phase_order: list[str]
    baseline_revision: str
    severities: dict[str, str]
    tables: dict[str, TableDeclaration]
    materialized_views: dict[str, ViewDeclaration] = Field(default_factory=dict)
    allowed_extra: dict[str, list[str]] = Field(default_factory=dict)

    def columns(self, table: str, *, phase: str | None = None) -> list[dict[str, Any]]:
        """The declared columns of a table, or those that one phase adds: name, type, nullable, default."""
        return [
            {"column": name, "type": column.type, "nullable": column.nullable, "default": column.default}
            for name, column in self.tables[table].columns.items()
            if phase is None or column.phase == phase
        ]

    def invariants(self, table: str, *, phase: str) -> dict[str, str]:
        """The invariant of each column that one phase adds."""
        return {name: column.invariant for name, column in self.tables[table].columns.items() if column.phase == phase}

    def touched(self, phase: str) -> list[str]:
        """Tables that exist before the phase and that it changes, sorted."""
        return sorted(name for name, table in self.tables.items() if table.phase != phase and _mentions(table, phase))

    def fills(self, phase: str) -> dict[tuple[str, str], str]:
        """(table, column) -> expression that replaces NULL in a column which was there before."""
        return {
            (table, name): column.changed.fill
            for table, declared in self.tables.items()
            for name, column in declared.columns.items()
            if column.changed and column.changed.phase == phase and column.changed.fill
        }

    def backfills(self, phase: str) -> dict[str, dict[str, str]]:
        """table -> column -> SQL predicate that holds for every row the backfill has reached."""
        found: dict[str, dict[str, str]] = {}
        for table, declared in self.tables.items():
            for name, column in declared.columns.items():
                if column.phase == phase and (column.backfill_check or column.backfill):
                    predicate = column.backfill_check or f'"{name}" IS NOT DISTINCT FROM ({column.backfill})'
                    found.setdefault(table, {})[name] = predicate
        return found

    def changes(self, phase: str) -> dict[Key, dict[str, Any] | None]:
        """What the phase may change, exactly: object -> wanted attributes, or None where it must be gone."""
        wanted: dict[Key, dict[str, Any] | None] = {}
        for table, declared in self.tables.items():
            wanted.update(_new_table(table, declared) if declared.phase == phase else _changes(table, declared, phase))
        return wanted

    def conflicts(self, snapshot: Snapshot, phase: str) -> list[str]:
        """Why the phase cannot start from this schema: what it needs and is not there, what it makes and is."""
        problems = [f"table {name} is missing" for name in self._needed(phase) if ("table", name) not in snapshot]
        for (kind, name), wanted in self.changes(phase).items():
            have = snapshot.get((kind, name))
            if wanted is None and have is None:
                problems.append(f"{kind} {name}, which the phase removes, is not there")
            elif wanted is not None and have is not None and not self._is_altered(kind, name, phase):
                problems.append(f"{kind} {name} is there already: {_say(have)}; the phase makes it as {_say(wanted)}")
        return problems

    def _needed(self, phase: str) -> list[str]:
        later = self.phase_order[self.phase_order.index(phase) :]
        return [name for name, table in self.tables.items() if table.phase not in later]

    def _is_altered(self, kind: str, name: str, phase: str) -> bool:
        table, _, column = name.rpartition(".")
        declared = self.tables[table].columns.get(column) if kind == "column" else None
        return declared is not None and declared.changed is not None and declared.changed.phase == phase

    def divergences(self, snapshot: Snapshot) -> list[dict[str, Any]]:
        """Where a live catalog departs from the specification: one row for each object, worst first.

        Shape  severity, table, kind, object, have, want
        Source the severity is that of the invariant of the column, or of the worst column an index or constraint names
        """
        rows = [row for table, declared in self.tables.items() for row in self._of_table(table, declared, snapshot)]
        rows += [row for table, declared in self.tables.items() for row in self._of_access(table, declared, snapshot)]
        rows += self._of_views(snapshot)
        return sorted(rows, key=lambda row: (SEVERITIES.index(row["severity"]), row["table"], row["object"]))

    def _of_views(self, snapshot: Snapshot) -> list[dict[str, Any]]:
        return [
            self._divergence("HIGH", view, "column", column, snapshot.get(("column", f"{view}.{column}")), want)
            for view, declared in self.materialized_views.items()
            for column, want in ((name, {"type": each["type"]}) for name, each in declared.columns.items())
            if not _matches(snapshot.get(("column", f"{view}.{column}")), want)
        ]

    def extras(self, snapshot: Snapshot) -> list[dict[str, Any]]:
        """Columns and tables of the live schema that the specification does not have, allowed or not."""
        rows = []
        for (kind, name), _attributes in sorted(snapshot.items()):
            table, _, column = name.rpartition(".")
            if kind == "table":
                is_specified = name in self.tables or name in self.materialized_views
                allowed = name in self.allowed_extra.get("tables", [])
            elif kind == "column" and table in self.tables:
                is_specified = column in self.tables[table].columns
                allowed = column in self.allowed_extra.get(table, [])
            else:
                continue
            if allowed or not is_specified:
                rows.append({"kind": kind, "object": name, "allowed": allowed})
        return rows

    def _of_table(self, table: str, declared: TableDeclaration, snapshot: Snapshot) -> Iterator[dict[str, Any]]:
        for name, column in declared.columns.items():
            have = snapshot.get(("column", f"{table}.{name}"))
            want = {key: value for key, value in column.attributes().items() if key != "comment"}
            if not _matches(have, want):
                yield self._divergence(self.severities[column.invariant], table, "column", name, have, want)
        for kind, objects in (("constraint", declared.constraints), ("index", declared.indexes)):
            for name, thing in objects.items():
                have = snapshot.get((kind, f"{table}.{name}"))
                want = {"definition": thing.definition}
                if not _matches(have, want):
                    yield self._divergence(self._severity(declared, thing), table, kind, name, have, want)

    def _of_access(self, table: str, declared: TableDeclaration, snapshot: Snapshot) -> Iterator[dict[str, Any]]:
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
                yield self._access("row security", table, "row security", have, want)
        policies = {name: {"command": p.command, "roles": ", ".join(p.roles)} for name, p in declared.policies.items()}
        yield from self._rights("policy", table, f"{table}.", policies, snapshot)
        grants = {role: {"privileges": ", ".join(sorted(rights))} for role, rights in declared.grants.items()}
        yield from self._rights("grant", table, f"{table} to ", grants, snapshot)

    def _rights(
        self, kind: str, table: str, prefix: str, declared: Mapping[str, dict[str, Any]], snapshot: Snapshot
    ) -> Iterator[dict[str, Any]]:
        live = {name.removeprefix(prefix) for k, name in snapshot if k == kind and name.startswith(prefix)}
        for name in sorted((live | declared.keys()) - {"<owner>"}):
            have, want = snapshot.get((kind, f"{prefix}{name}")), declared.get(name)
            if want is None or not _matches(have, want):
                yield self._access(kind, table, name, have, want)

    @staticmethod
    def _access(
        kind: str, table: str, name: str, have: Mapping[str, Any] | None, want: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        keys = want or ("command", "roles", "privileges")
        seen = "absent" if have is None else ", ".join(f"{key} {have[key]}" for key in keys if key in have)
        wanted = "absent" if want is None else ", ".join(f"{key} {value}" for key, value in want.items())
        return {"severity": "BLOCKING", "table": table, "kind": kind, "object": name, "have": seen, "want": wanted}

    def _severity(self, table: TableDeclaration, thing: ObjectDeclaration) -> str:
        own = thing.definition.partition(" REFERENCES ")[0]  # what follows are columns of another table
        words = set(re.findall(r"\w+", own))
        named = {self.severities[column.invariant] for name, column in table.columns.items() if name in words}
        return min(named or {"LOW"}, key=SEVERITIES.index)

    @staticmethod
    def _divergence(
        severity: str, table: str, kind: str, name: str, have: Mapping[str, Any] | None, want: dict[str, Any]
    ) -> dict[str, Any]:
        seen = "absent" if have is None else _short({key: have.get(key) for key in want})
        return {
            "severity": severity, "table": table, "kind": kind, "object": name, "have": seen, "want": _short(want),
        }  # fmt: skip


def load_canonical(project: Project) -> Canonical:
    return load(Canonical, project.params / "canonical_schema.yaml")


def _matches(have: Mapping[str, Any] | None, want: Mapping[str, Any]) -> bool:
    return have is not None and all(have.get(key) == value for key, value in want.items())


def _short(attributes: Mapping[str, Any]) -> str:
    if "definition" in attributes:
        return str(attributes["definition"])
    null = "" if attributes.get("nullable", True) else " NOT NULL"
    default = f" DEFAULT {attributes['default']}" if attributes.get("default") is not None else ""
    return f"{attributes['type']}{null}{default}"


def _say(attributes: Mapping[str, Any]) -> str:
    if "type" in attributes or "definition" in attributes:
        return _short(attributes)
    said = {key: value for key, value in attributes.items() if key != "comment" and value not in (None, "", False)}
    return ", ".join(key if value is True else f"{key} {value}" for key, value in said.items())


def _mentions(table: TableDeclaration, phase: str) -> bool:
    things: list[Any] = [*table.columns.values(), *table.constraints.values(), *table.indexes.values()]
    things += [*table.removed_indexes.values(), *table.policies.values()]
    return any(thing.phase == phase for thing in things) or any(
        column.changed and column.changed.phase == phase for column in table.columns.values()
    )


def _changes(table: str, declared: TableDeclaration, phase: str) -> dict[Key, dict[str, Any] | None]:
    wanted: dict[Key, dict[str, Any] | None] = {}
    for name, column in declared.columns.items():
        if column.phase == phase or (column.changed and column.changed.phase == phase):
            wanted["column", f"{table}.{name}"] = column.attributes()
    for kind, objects in _kinds(declared):
        for name, thing in objects.items():
            if thing.phase == phase:
                wanted[kind, f"{table}.{name}"] = thing.attributes()
    for name, thing in declared.removed_indexes.items():
        if thing.phase == phase:
            wanted["index", f"{table}.{name}"] = None
    return wanted


def _new_table(table: str, declared: TableDeclaration) -> dict[Key, dict[str, Any] | None]:
    wanted: dict[Key, dict[str, Any] | None] = {
        ("table", table): {
            "comment": declared.comment,
            "row_security": declared.row_security.get("enabled", False),
            "forced": declared.row_security.get("forced", False),
        }
    }
    for name, column in declared.columns.items():
        wanted["column", f"{table}.{name}"] = column.attributes()
    for kind, objects in _kinds(declared):
        for name, thing in objects.items():
            wanted[kind, f"{table}.{name}"] = thing.attributes()
    for role, privileges in declared.grants.items():
        wanted["grant", f"{table} to {role}"] = {"privileges": ", ".join(sorted(privileges))}
    return wanted


def _kinds(declared: TableDeclaration) -> list[tuple[str, dict[str, Any]]]:
    return [("constraint", declared.constraints), ("index", declared.indexes), ("policy", declared.policies)]
