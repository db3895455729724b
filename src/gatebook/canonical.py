"""The canonical schema as declared in params/canonical_schema.yaml, and what follows from it.

Which columns a phase adds, what its catalog difference must be, and what its backfill must have written. Pure: it
knows declarations and snapshots, and no connection.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import ConfigDict, Field

from gatebook.catalog import Key, Snapshot
from gatebook.declarations import Declared, load
from gatebook.project import Project


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
    identity: Literal["always", "by default"] | None = None

    def attributes(self) -> dict[str, Any]:
        identity = {"identity": self.identity[0].replace("b", "d")} if self.identity else {}
        return {name: getattr(self, name) for name in ("type", "nullable", "default", "comment")} | identity


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
    is_log: bool = False  # rows come while the database is in use, and say nothing of what phases must keep


class ViewDeclaration(Declared):
    """A view, materialized or not. What it computes is proven from its rows, not read from its text.

    remade   the phase that drops it and makes it again with another definition
    revoked  phase -> roles that lose their rights in it
    """

    kind: Literal["view", "materialized view"]
    comment: str | None = None
    phase: str | None = None
    remade: str | None = None
    options: str | None = None
    columns: dict[str, ColumnDeclaration]
    indexes: dict[str, ObjectDeclaration] = Field(default_factory=dict)
    grants: dict[str, list[str]] = Field(default_factory=dict)
    revoked: dict[str, list[str]] = Field(default_factory=dict)

    def attributes(self) -> dict[str, Any]:
        populated = True if self.kind == "materialized view" else None
        return {"kind": self.kind, "comment": self.comment, "options": self.options, "populated": populated}


class SequenceDeclaration(Declared):
    comment: str | None = None
    phase: str | None = None

    def attributes(self) -> dict[str, Any]:
        return {"comment": self.comment}


class FunctionDeclaration(Declared):
    """A function: whose rights and settings it runs with, who but its owner may call it, and its very text.

    body_md5  md5(prosrc)
    """

    comment: str | None = None
    phase: str | None = None
    security_definer: bool
    config: list[str] = Field(default_factory=list)
    callers: list[str] = Field(default_factory=list)
    body_md5: str

    def attributes(self) -> dict[str, Any]:
        return {"comment": self.comment, **self.rights()}

    def rights(self) -> dict[str, Any]:
        return {
            "security_definer": self.security_definer,
            "config": ", ".join(self.config) or None,
            "callers": ", ".join(self.callers) or None,
            "body_md5": self.body_md5,
        }


class Canonical(Declared):
    """params/canonical_schema.yaml"""

    phase_order: list[str]
    baseline_revision: str
    severities: dict[str, str]
    tables: dict[str, TableDeclaration]
    views: dict[str, ViewDeclaration] = Field(default_factory=dict)
    functions: dict[str, FunctionDeclaration] = Field(default_factory=dict)
    sequences: dict[str, SequenceDeclaration] = Field(default_factory=dict)
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
        for view, each in self.views.items():
            wanted.update(_of_view(view, each, phase))
        wanted.update({("function", n): f.attributes() for n, f in self.functions.items() if f.phase == phase})
        wanted.update({("sequence", n): s.attributes() for n, s in self.sequences.items() if s.phase == phase})
        return wanted

    def expected(self, phase: str | None, *, until: str | None) -> bool:
        """Whether what this phase makes is there once the phase `until` is applied; None: at the end."""
        order = self.phase_order
        return phase is None or until is None or order.index(phase) <= order.index(until)

    @property
    def logs(self) -> set[str]:
        """Tables to which rows come while the database is in use."""
        return {name for name, table in self.tables.items() if table.is_log}

    def conflicts(self, snapshot: Snapshot, phase: str, *, pending: Sequence[str] = ()) -> list[str]:
        """Why the phase cannot start from this schema: what it needs and is not there, what it makes and is.

        pending  phases that come before it and will make what they make
        """
        needed = [name for name in self._needed(phase) if self.tables[name].phase not in pending]
        problems = [f"table {name} is missing" for name in needed if ("table", name) not in snapshot]
        for (kind, name), wanted in self.changes(phase).items():
            have = snapshot.get((kind, name))
            if wanted is None and have is None and kind != "grant":
                problems.append(f"{kind} {name}, which the phase removes, is not there")
            elif wanted is not None and have is not None and not self._is_altered(kind, name, phase):
                problems.append(f"{kind} {name} is there already: {say(have)}; the phase makes it as {say(wanted)}")
        return problems

    def _needed(self, phase: str) -> list[str]:
        later = self.phase_order[self.phase_order.index(phase) :]
        return [name for name, table in self.tables.items() if table.phase not in later]

    def _is_altered(self, kind: str, name: str, phase: str) -> bool:
        if kind == "table" and name in self.views:
            return self.views[name].remade == phase
        table, _, column = name.rpartition(".")
        declared = self.tables[table].columns.get(column) if kind == "column" and table in self.tables else None
        return declared is not None and declared.changed is not None and declared.changed.phase == phase


def load_canonical(project: Project) -> Canonical:
    return load(Canonical, project.params / "canonical_schema.yaml")


def _short(attributes: Mapping[str, Any]) -> str:
    if "definition" in attributes:
        return str(attributes["definition"])
    null = "" if attributes.get("nullable", True) else " NOT NULL"
    default = f" DEFAULT {attributes['default']}" if attributes.get("default") is not None else ""
    return f"{attributes['type']}{null}{default}"


def say(attributes: Mapping[str, Any]) -> str:
    """Attributes of an object as people read them: a type, a definition, or what is true of it."""
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


def _of_view(view: str, declared: ViewDeclaration, phase: str) -> dict[Key, dict[str, Any] | None]:
    wanted: dict[Key, dict[str, Any] | None] = {}
    if phase in (declared.phase, declared.remade):
        wanted["table", view] = declared.attributes()
    if phase == declared.phase:
        wanted |= {("column", f"{view}.{name}"): column.attributes() for name, column in declared.columns.items()}
        wanted |= {("index", f"{view}.{name}"): index.attributes() for name, index in declared.indexes.items()}
        wanted |= {
            ("grant", f"{view} to {role}"): {"privileges": ", ".join(sorted(rights))}
            for role, rights in declared.grants.items()
        }
    return wanted | {("grant", f"{view} to {role}"): None for role in declared.revoked.get(phase, [])}


def _kinds(declared: TableDeclaration) -> list[tuple[str, dict[str, Any]]]:
    return [("constraint", declared.constraints), ("index", declared.indexes), ("policy", declared.policies)]
