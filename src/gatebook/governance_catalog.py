"""Phase validators 2 and 3: the live catalog against style guide and contract. Judges are pure over a snapshot."""

import contextlib
import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from gatebook import catalog, contract, migrations
from gatebook.baseline import Store
from gatebook.canonical import load_canonical
from gatebook.catalog import Snapshot
from gatebook.database import open_database
from gatebook.declarations import Declared, load, load_gates
from gatebook.project import Project
from gatebook.subject import Examination, Subject, examine
from gatebook.verdicts import Fail, Pass, Rows, Unknown, Verdict

Offence = tuple[str, str]  # what is wrong with which object: 'column t.c', 'its type is text; …'


class TypeRule(Declared):
    columns: str
    types: list[str]
    why: str


class Names(Declared):
    pattern: str
    longest_bytes: int


class StyleGuide(Declared):
    """params/style_guide.yaml; patterns are those of a shell, names that of a regular expression."""

    names: Names
    types: list[TypeRule]
    indexes: list[str]
    constraints: dict[str, str | list[str]]
    isolated_by: str
    comments: list[str]
    exceptions: dict[str, str] = Field(default_factory=dict)


class Rulebook(Declared):
    """params/contract_mapping.yaml

    types  type of a field in a response -> types of the column it may come from
    money  columns that hold cents, as a pattern: a field from one of them divides by 100
    """

    types: dict[str, list[str]]
    money: str


Judge = Callable[[Snapshot, StyleGuide], Iterator[Offence]]


def load_style_guide(project: Project) -> StyleGuide:
    return load(StyleGuide, project.params / "style_guide.yaml")


def load_rulebook(project: Project) -> Rulebook:
    return load(Rulebook, project.params / "contract_mapping.yaml")


# -- phase 2: the style guide


def bad_names(snapshot: Snapshot, guide: StyleGuide) -> Iterator[Offence]:
    """Tables, columns, indexes and constraints are named in small letters, digits and underscores."""
    for kind, name in _objects(snapshot, "table", "column", "index", "constraint"):
        own = name.rpartition(".")[2]
        if not re.fullmatch(guide.names.pattern, own):
            yield f"{kind} {name}", f"its name is not {guide.names.pattern}"
        if len(own.encode()) > guide.names.longest_bytes:
            yield f"{kind} {name}", f"its name has more than {guide.names.longest_bytes} bytes"


def bad_types(snapshot: Snapshot, guide: StyleGuide) -> Iterator[Offence]:
    """A column has one of the types that its name promises."""
    for kind, name in _objects(snapshot, "column"):
        own = name.rpartition(".")[2]
        rule = next((each for each in guide.types if fnmatch.fnmatchcase(own, each.columns)), None)
        have = snapshot["column", name]["type"]
        if rule is not None and have not in rule.types:
            yield f"{kind} {name}", f"its type is {have}; {rule.columns} is {' or '.join(rule.types)}: {rule.why}"


def bad_prefixes(snapshot: Snapshot, guide: StyleGuide) -> Iterator[Offence]:
    """Indexes and constraints say by their names what they are."""
    for _, name in _objects(snapshot, "index"):
        if not _fits(name.rpartition(".")[2], guide.indexes):
            yield f"index {name}", f"its name is not {' or '.join(guide.indexes)}"
    for _, name in _objects(snapshot, "constraint"):
        wanted = guide.constraints.get(_kind_of(snapshot["constraint", name]), [])
        patterns = [wanted] if isinstance(wanted, str) else wanted
        if patterns and not _fits(name.rpartition(".")[2], patterns):
            yield f"constraint {name}", f"its name is not {' or '.join(patterns)}"


def _kind_of(constraint: Mapping[str, Any]) -> str:
    """As PostgreSQL writes it: 'CHECK (…)', 'FOREIGN KEY (…)'"""
    words = str(constraint.get("definition", "")).upper()
    return next(
        (kind for kind in ("foreign key", "primary key", "unique", "check") if words.startswith(kind.upper())), ""
    )


def open_tables(snapshot: Snapshot, guide: StyleGuide) -> Iterator[Offence]:
    """A table that holds rows of several customers keeps them apart."""
    for _, name in _objects(snapshot, "column"):
        table, _, column = name.rpartition(".")
        owner = snapshot.get(("table", table), {})
        if column != guide.isolated_by or owner.get("kind") != "table":
            continue
        if snapshot["column", name]["nullable"]:
            yield f"column {name}", "it may be NULL, and a row without it belongs to nobody"
        if not (owner.get("row_security") and owner.get("forced")):
            yield f"table {table}", "row security is not on and forced"


def without_comment(snapshot: Snapshot, guide: StyleGuide) -> Iterator[Offence]:
    """Tables, views and indexes say what they are for."""
    for _, name in _objects(snapshot, "table"):
        kind = str(snapshot["table", name]["kind"])
        if kind in guide.comments and not snapshot["table", name].get("comment"):
            yield f"{kind} {name}", "it has no comment"


def _objects(snapshot: Snapshot, *kinds: str) -> Iterator[tuple[str, str]]:
    yield from (key for key in sorted(snapshot) if key[0] in kinds)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def follows(what: str, *judges: Judge) -> Examination:
    """The live catalog keeps these rules, but for the declared exceptions."""

    def examination(subject: Subject) -> Verdict:
        snapshot = catalog.snapshot(subject.connection)
        return judge_style(what, snapshot, load_style_guide(subject.project), judges)

    return examination


def judge_style(what: str, snapshot: Snapshot, guide: StyleGuide, judges: Sequence[Judge]) -> Verdict:
    """Pass when every offence is a declared exception."""
    offences = [offence for judge in judges for offence in judge(snapshot, guide)]
    if not snapshot:
        return Unknown(what, reason="the catalog is empty")
    bad = tuple({"object": name, "offence": said} for name, said in offences if name not in guide.exceptions)
    excused = tuple(
        {"object": name, "offence": said, "excused": guide.exceptions[name]}
        for name, said in offences
        if name in guide.exceptions
    )
    if bad:
        return Fail(what, bad, (), "; ".join(f"{row['object']}: {row['offence']}" for row in bad))
    return Pass(what, excused or ({"objects looked at": len(snapshot), "offences": 0},))


def exceptions_are_needed(subject: Subject) -> Verdict:
    """Every declared exception excuses something that is there; one for a table that is still to come may wait."""
    return judge_exceptions(catalog.snapshot(subject.connection), load_style_guide(subject.project))


def judge_exceptions(snapshot: Snapshot, guide: StyleGuide) -> Verdict:
    what = "every exception excuses something"
    offending = {name for judge in STYLE for name, _ in judge(snapshot, guide)}
    have: Rows = tuple(
        {"exception": name, "reason": why, "used": name in offending} for name, why in guide.exceptions.items()
    )
    idle = [name for name in guide.exceptions if name not in offending and _is_there(name, snapshot)]
    idle += [name for name, why in guide.exceptions.items() if not why.strip()]
    return Fail(what, have, (), f"nothing to excuse, or no reason: {', '.join(idle)}") if idle else Pass(what, have)


def _is_there(exception: str, snapshot: Snapshot) -> bool:
    kind, _, name = exception.rpartition(" ")
    return ("table" if kind.endswith("view") else kind, name) in snapshot


# -- phase 3: contract to schema


def fields_have_allowed_types(subject: Subject) -> Verdict:
    """Each field of each response comes from a live column of a type that the rulebook allows for it.

    A view whose revision is still to come is told, and is no failure yet.
    """
    declared, rulebook = contract.load_contract(subject.project), load_rulebook(subject.project)
    snapshot = catalog.snapshot(subject.connection)
    rows = []
    for row in declared.mapping():
        endpoint, view = declared.endpoints[str(row["endpoint"])], str(row["view"])
        mapped = {
            "endpoint": row["endpoint"],
            "field": row["field"],
            "field type": field_type(endpoint.response_schema, endpoint.items, str(row["field"])),
            "column": f"{view}.{row['column']}",
            "column type": snapshot.get(("column", f"{view}.{row['column']}"), {}).get("type", "not there"),
            "transformation": row["transformation"],
        }
        is_coming = ("table", view) not in snapshot and _is_coming(subject, declared, view)
        rows.append({**mapped, "mapping": "still to come" if is_coming else mapping_of(mapped, rulebook)})
    return judge_mapping(tuple(rows))


def mapping_of(row: Mapping[str, Any], rulebook: Rulebook) -> str:
    """'allowed', or what is wrong with a field's source."""
    if row["column type"] not in rulebook.types.get(str(row["field type"]), []):
        return f"{row['field type']} may not come from {row['column type']}"
    is_money = row["field type"] == "number" and fnmatch.fnmatchcase(str(row["column"]), rulebook.money)
    return "cents are handed on as they are" if is_money and "0.01" not in str(row["transformation"]) else "allowed"


def judge_mapping(rows: Rows) -> Verdict:
    what = "every field of each response comes from a live column of an allowed type"
    bad = [
        f"{row['endpoint']}.{row['field']} from {row['column']}: {row['mapping']}"
        for row in rows
        if row["mapping"] not in ("allowed", "still to come")
    ]
    if not rows:
        return Unknown(what, reason="the contract has no responses")
    return Fail(what, rows, (), "; ".join(bad)) if bad else Pass(what, rows)


def _is_coming(subject: Subject, declared: contract.Contract, view: str) -> bool:
    """Whether the database has not had every revision yet, and the contract says that the view belongs to one."""
    here = migrations.position(subject.project, subject.revision)
    return here < len(migrations.chain(subject.project)) and any(
        each.read_through == view for each in declared.views.values()
    )


def field_type(schema: Mapping[str, Any], items: str, field: str) -> str:
    """Type and format of a field as JSON Schema states them: 'string(date)', 'integer'."""
    stated = schema["properties"][items]["items"]["properties"].get(field, {})
    kind = stated.get("type", "")
    names = [each for each in ([kind] if isinstance(kind, str) else kind) if each != "null"]
    form = stated.get("format")
    return f"{'|'.join(names)}({form})" if form else "|".join(names)


def examined(project: Project, database: str, phase: str) -> list[Verdict]:
    """The verdicts of phase 2 or 3 about a database, read-only."""
    with contextlib.closing(open_database(database, project=project)) as opened:
        store = Store(project, opened.server)
        gates, canonical = load_gates(project), load_canonical(project)
        with opened.connect(postgresql_readonly=True) as connection:
            subject = Subject(project, gates, canonical, opened.server, store, connection)
            return [examine(subject, each) for each in CHECKS[phase]]


STYLE: tuple[Judge, ...] = (bad_names, bad_types, bad_prefixes, open_tables, without_comment)

names_and_prefixes = follows("names follow the style guide", bad_names, bad_prefixes)
types_follow_names = follows("types are what the names promise", bad_types)
rows_are_kept_apart = follows("tables of several customers keep their rows apart", open_tables)
purposes_are_told = follows("tables and views say what they are for", without_comment)
whole_style_guide = follows("the schema follows the style guide", *STYLE)
fields_are_mapped = contract.fields_are_mapped

CHECKS: Mapping[str, Sequence[Examination]] = {
    "2": (names_and_prefixes, types_follow_names, rows_are_kept_apart, purposes_are_told, exceptions_are_needed),
    "3": (fields_are_mapped, fields_have_allowed_types),
}
