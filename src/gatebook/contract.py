"""params/api_contract.yaml: what applications may rely on, and the responses built from it.

A response is made inside the database as JSON text, so that its numbers are exact; it is read with Decimal, never
with float, and judged by its JSON Schema before anybody gets it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import sqlalchemy as sa
from psycopg import sql
from pydantic import Field

from gatebook.catalog import Query, Rows, columns, execute
from gatebook.compare import Comparison, of_view
from gatebook.declarations import Declared, load, near_miss
from gatebook.errors import ConfigurationError
from gatebook.project import Project
from gatebook.subject import Examination, Subject
from gatebook.verdicts import Fail, Pass, Unknown, Verdict

FILE = "params/api_contract.yaml"
FIRST_PROBLEMS = 5
Item = TypeVar("Item")


class ServiceLevels(Declared):
    """Milliseconds at the client by percentile, and the limits on a plan as the server explains it."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    plan_cost: float
    execution_ms: float

    @property
    def levels(self) -> dict[int, float]:
        return {50: self.p50_ms, 95: self.p95_ms, 99: self.p99_ms}


class ColumnContract(Declared):
    """compared: whether a comparison with the raw rows looks at it; what is true only at the refresh cannot be."""

    type: str
    source: list[str] = Field(alias="from")
    compared: bool = True


class ViewContract(Declared):
    """One materialized view."""

    revision: str | None = None
    source: str
    read_through: str
    unique_index: str | None = None
    schedule: str
    key: list[str]
    columns: dict[str, ColumnContract]
    raw: str

    @property
    def types(self) -> list[dict[str, Any]]:
        """The columns as catalog.columns() shows them: column, type."""
        return [{"column": name, "type": column.type} for name, column in self.columns.items()]

    @property
    def sources(self) -> list[dict[str, Any]]:
        """The columns of the source table that the view is computed from."""
        return [{"column": name} for name in dict.fromkeys(n for each in self.columns.values() for n in each.source)]

    @property
    def measures(self) -> list[str]:
        return [name for name, column in self.columns.items() if name not in self.key and column.compared]


class FieldContract(Declared):
    """One field of a response: the view's column, and the expression over it where it is not handed on as it is."""

    column: str
    expression: str | None = None


class Endpoint(Declared):
    """One response."""

    path: str
    view: str
    settings: dict[str, str] = Field(default_factory=dict)
    required: list[str] = Field(default_factory=list)
    filters: dict[str, str] = Field(default_factory=dict)
    items: str
    fields: dict[str, FieldContract]
    group_by: str | None = None
    order_by: str
    raw: str
    response_schema: dict[str, Any]

    @property
    def parameters(self) -> list[str]:
        return [*self.settings, *self.filters]


class Contract(Declared):
    """params/api_contract.yaml"""

    service_levels: ServiceLevels
    views: dict[str, ViewContract]
    endpoints: dict[str, Endpoint]

    def view(self, name: str) -> ViewContract:
        return _one_of(self.views, name, "view")

    def endpoint(self, name: str) -> Endpoint:
        return _one_of(self.endpoints, name, "endpoint")

    def comparison(self, name: str) -> Comparison:
        """The view beside its raw aggregation, column by column."""
        view = self.view(name)
        return of_view(name, raw=view.raw, key=tuple(view.key), measures=tuple(view.measures))

    def mapping(self) -> Rows:
        """Each field of each response and where it comes from.

        Shape  endpoint, field, view, column, type, transformation; type None where the view has no such column
        """
        contracts = {view.read_through: view for view in self.views.values()}
        return tuple(
            {
                "endpoint": name,
                "field": field,
                "view": endpoint.view,
                "column": declared.column,
                "type": _type(contracts.get(endpoint.view), declared.column),
                "transformation": declared.expression or "as it is",
            }
            for name, endpoint in self.endpoints.items()
            for field, declared in endpoint.fields.items()
        )


@dataclass(frozen=True)
class Response:
    """A response that keeps its contract: the JSON text as it would be sent, and the same with exact decimals."""

    endpoint: str
    text: str
    document: Mapping[str, Any]
    problems: tuple[str, ...]
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def items(self) -> Rows:
        return tuple(next(iter(self.document.values()), ()))


def load_contract(project: Project) -> Contract:
    return load(Contract, project.params / "api_contract.yaml")


def fields_are_mapped(subject: Subject) -> Verdict:
    """Every field that a response must have comes from a column of its view, and nothing else is in it."""
    what = "every field of each response comes from a column of its view"
    contract = load_contract(subject.project)
    rows = contract.mapping()
    problems = [f"{row['endpoint']}: {row['view']} has no column {row['column']}" for row in rows if not row["type"]]
    for name, endpoint in contract.endpoints.items():
        stated, made = set(_required_fields(endpoint)), set(endpoint.fields)
        problems += [f"{name}: no source is stated for {field}" for field in sorted(stated - made)]
        problems += [f"{name}: {field} is not in the schema of the response" for field in sorted(made - stated)]
    if not rows:
        return Unknown(what, reason="the contract has no responses")
    return Fail(what, rows, (), "; ".join(problems)) if problems else Pass(what, rows)


def fields_resolve(subject: Subject) -> Verdict:
    """Every field comes from a column that its view has in the live catalog, with the type of the contract."""
    what = "every field of each response resolves to a live column"
    want = load_contract(subject.project).mapping()
    live = {
        (view, row["column"]): row["type"]
        for view in {row["view"] for row in want}
        for row in columns(view).run(subject.connection)
    }
    have: Rows = tuple({**row, "type": live.get((row["view"], row["column"]))} for row in want)
    wrong = [
        f"{row['endpoint']}.{row['field']}: {row['view']}.{row['column']} is {row['type'] or 'not there'}"
        for row, wanted in zip(have, want, strict=True)
        if row != wanted or row["type"] is None
    ]
    if not want:
        return Unknown(what, reason="the contract has no responses")
    return Fail(what, have, want, "; ".join(wrong)) if wrong else Pass(what, have, want)


def levels_are(**wanted: float) -> Examination:
    """The contract states exactly these service levels: name -> limit."""

    def examination(subject: Subject) -> Verdict:
        what = f"the service levels are {', '.join(f'{name} {limit:g}' for name, limit in wanted.items())}"
        stated = load_contract(subject.project).service_levels.model_dump()
        have: Rows = tuple({"level": name, "limit": limit} for name, limit in stated.items())
        want: Rows = tuple({"level": name, "limit": float(limit)} for name, limit in wanted.items())
        return Pass(what, have, want) if have == want else Fail(what, have, want, "the contract states other limits")

    return examination


def sources_have_rows(*views: str) -> Examination:
    """The raw aggregation of each view runs in this database and finds rows."""

    def examination(subject: Subject) -> Verdict:
        what = f"the raw aggregations of {', '.join(views)} find rows"
        contract = load_contract(subject.project)
        counts = {
            view: execute(subject.connection, f"SELECT count(*) FROM (\n{contract.view(view).raw}\n) q").scalar_one()
            for view in views
        }
        have: Rows = tuple({"view": view, "rows": rows} for view, rows in counts.items())
        empty = [view for view, rows in counts.items() if not rows]
        if empty or not views:
            return Unknown(what, have, (), f"no rows for {', '.join(empty) or 'any view'}: nothing could be compared")
        return Pass(what, have)

    return examination


def query(contract: Contract, endpoint: str, given: Mapping[str, Any]) -> Query:
    """The rows of a response.

    given   parameter -> value; those of the settings are not part of it
    Errors  ConfigurationError for an unknown or a missing parameter
    """
    declared = contract.endpoint(endpoint)
    for name in given:
        if name not in declared.parameters:
            raise ConfigurationError(
                f"{endpoint} takes no parameter {name}{near_miss(name, declared.parameters)}",
                where=declared.path,
                next_step=f"use {', '.join(declared.parameters)}",
            )
    missing = [name for name in declared.required if given.get(name) is None]
    if missing:
        raise ConfigurationError(
            f"{endpoint} needs {', '.join(missing)}", where=declared.path, next_step="give a value for each"
        )
    fields = ", ".join(
        f"{field.expression or sql.Identifier(field.column).as_string()} AS {sql.Identifier(name).as_string()}"
        for name, field in declared.fields.items()
    )
    used = {name: str(value) for name, value in given.items() if name in declared.filters and value is not None}
    view = sql.Identifier(declared.view).as_string()
    group = f"\n GROUP BY {declared.group_by}" if declared.group_by else ""
    tail = f"{group}\n ORDER BY {declared.order_by}"
    head = f"SELECT {fields}\n  FROM {view}\n WHERE "
    if not used:
        return Query(f"{head}true{tail}")
    filters = " AND ".join(_escaped(declared.filters[name]).replace("{value}", f"%({name})s") for name in used)
    return Query(f"{_escaped(head)}{filters}{_escaped(tail)}", used)


def _escaped(text: str) -> str:
    """Where there are parameters, the driver looks for their placeholders: a % of ours is none."""
    return text.replace("%", "%%")


def respond(connection: sa.Connection, contract: Contract, endpoint: str, **given: Any) -> Response:
    """Build a response from its view, in the caller's transaction and role, and validate it.

    given   the endpoint's parameters: who asks, and what for
    Errors  ConfigurationError for parameters that are unknown, missing or no values of their type
    """
    rows = query(contract, endpoint, given)
    declared = contract.endpoint(endpoint)
    for name, setting in declared.settings.items():
        statement = "SELECT pg_catalog.set_config(%(name)s, %(value)s, true)"
        connection.exec_driver_sql(statement, {"name": setting, "value": str(given[name])})
    made = (
        f"SELECT pg_catalog.json_build_object({sql.Literal(declared.items).as_string()}, "
        f"coalesce(pg_catalog.json_agg(item), '[]'))::text\n  FROM (\n{rows.sql}\n) AS item"
    )
    try:
        text = execute(connection, made, rows.parameters).scalar_one()
    except sa.exc.DataError as error:
        raise ConfigurationError(
            f"{endpoint} cannot be asked for {dict(given)}: {str(error.orig).splitlines()[0]}",
            where=declared.path,
            next_step="give dates as YYYY-MM-DD and ids as UUIDs",
        ) from None
    document = json.loads(text, parse_float=Decimal)
    return Response(endpoint, text, document, tuple(_problems(document, declared)), given)


def is_raw(connection: sa.Connection, contract: Contract, response: Response) -> str:
    """Where the items are not those of the endpoint's raw query, asked by a role that sees all rows; or nothing."""
    declared = contract.endpoint(response.endpoint)
    parameters = {name: str(value) for name, value in response.given.items()}
    asked = (
        f"SELECT coalesce(pg_catalog.json_agg(item), '[]')::text FROM (\n{declared.raw.rstrip().rstrip(';')}\n) AS item"
    )
    wanted = json.loads(execute(connection, asked, parameters).scalar_one(), parse_float=Decimal)
    have, want = (sorted(map(_exact, rows)) for rows in (response.items, wanted))
    if have == want:
        return ""
    first = next((f"{a} instead of {b}" for a, b in zip(have, want, strict=False) if a != b), "")
    return f"{len(have):,} items, {len(want):,} by the raw query; first difference: {first or 'their number'}"


def _exact(item: Mapping[str, Any]) -> str:
    """An item as text in which equal numbers are equal, however many zeros they end in."""
    values = {name: value.normalize() if isinstance(value, Decimal) else value for name, value in item.items()}
    return ", ".join(
        f"{name} {format(Decimal(value), 'f') if isinstance(value, int | Decimal) else value}"
        for name, value in sorted(values.items())
    )


def judge(what: str, responses: list[Response], *, wrong: Sequence[str] = ()) -> Verdict:
    """Every response keeps its schema and holds something; the rows are a summary, the items stay with the caller.

    wrong  what is_raw() said of them
    """
    have: Rows = tuple(
        {"endpoint": each.endpoint, "items": len(each.items), "valid": not each.problems, "bytes": len(each.text)}
        for each in responses
    )
    problems = [f"{each.endpoint}: {problem}" for each in responses for problem in each.problems]
    problems += [f"other than the raw query: {text}" for text in wrong]
    if problems:
        return Fail(what, have, (), "; ".join(problems[:FIRST_PROBLEMS]))
    empty = [each.endpoint for each in responses if not each.items]
    if empty or not responses:
        return Unknown(what, have, (), f"no items in the response of {', '.join(empty) or 'any endpoint'}")
    return Pass(what, have)


def last_days(days: int) -> dict[str, date]:
    """The range of a request: today in UTC, and as many days before it."""
    today = datetime.now(UTC).date()
    return {"start": today - timedelta(days=days), "end": today}


def _problems(document: Any, endpoint: Endpoint) -> Iterator[str]:
    from jsonschema import Draft202012Validator

    for error in Draft202012Validator(endpoint.response_schema).iter_errors(document):
        yield f"{error.json_path}: {error.message}"


def _required_fields(endpoint: Endpoint) -> list[str]:
    items = endpoint.response_schema.get("properties", {}).get(endpoint.items, {}).get("items", {})
    return list(items.get("properties", {}))


def _type(view: ViewContract | None, column: str) -> str | None:
    return view.columns[column].type if view is not None and column in view.columns else None


def _one_of(known: Mapping[str, Item], name: str, kind: str) -> Item:
    if name not in known:
        raise ConfigurationError(
            f"the contract has no {kind} {name}{near_miss(name, list(known))}",
            where=FILE,
            next_step=f"declare it there, or use {', '.join(known)}",
        )
    return known[name]
