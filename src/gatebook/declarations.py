"""What a project declares: its gates, its canonical schema, the parameters of a run. Unknown keys are errors."""

import difflib
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gatebook.errors import ConfigurationError
from gatebook.project import Project

Model = TypeVar("Model", bound=BaseModel)
Item = TypeVar("Item")


class Declared(BaseModel):
    """Base of all declarations: frozen, and a key that nobody reads is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TestDeclaration(Declared):
    __test__ = False  # the name is ours, not pytest's

    kind: Literal["catalog", "rejected", "accepted", "data"]
    says: str
    table: str | None = None
    sqlstate: str | None = None
    constraint: str | None = None
    column: str | None = None


class GateDeclaration(Declared):
    gate: str
    title: str
    tests: dict[str, TestDeclaration]


class PhaseDeclaration(Declared):
    """One phase: the notebook that proves it, what it does to the database, if anything, and its gates.

    revision       where it migrates to, over every revision after that of the phase before
    activity       folder in params/ with what an application does meanwhile, played in a scenario's database alone
    specification  the document whose numbered gates (4.1) are listed here; None: the gates are the workbook's own
    """

    phase: str
    title: str
    notebook: str
    revision: str | None = None
    activity: str | None = None
    specification: str | None = None
    unblocks: list[str] = Field(default_factory=list)
    gates: list[GateDeclaration]

    @property
    def tests(self) -> dict[str, TestDeclaration]:
        return {test: declared for gate in self.gates for test, declared in gate.tests.items()}

    @property
    def listed(self) -> list[GateDeclaration]:
        """The gates of the specification: 4.1 is one, 4.D or P.1 is the workbook's own."""
        return [gate for gate in self.gates if self.specification and gate.gate.rpartition(".")[2].isdigit()]

    def gate(self, gate_id: str) -> GateDeclaration:
        return _named(self.gates, "gate", gate_id, f"phase {self.phase} declares no gate {gate_id}")


class Gates(Declared):
    """params/gates.yaml"""

    phases: list[PhaseDeclaration]

    @model_validator(mode="after")
    def _ids_are_unique(self) -> "Gates":
        """An id names one thing, and a test's id begins with that of its gate."""
        gates = [gate for phase in self.phases for gate in phase.gates]
        ids = [phase.phase for phase in self.phases] + [phase.notebook for phase in self.phases]
        ids += [gate.gate for gate in gates] + [test for gate in gates for test in gate.tests]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        strays = sorted(test for gate in gates for test in gate.tests if not test.startswith(f"{gate.gate}."))
        if twice or strays:
            raise ValueError(
                f"ids used twice: {twice or 'none'}; tests that do not begin with their gate: {strays or 'none'}"
            )
        return self

    def phase(self, phase_id: str) -> PhaseDeclaration:
        return _named(self.phases, "phase", phase_id, f"no phase {phase_id} is declared")

    def migrating(self) -> list[PhaseDeclaration]:
        """The phases that apply a revision, in order."""
        return [phase for phase in self.phases if phase.revision is not None]

    def before(self, phase_id: str) -> PhaseDeclaration | None:
        """The migrating phase that must be proven before this one may start."""
        order = [phase.phase for phase in self.migrating()]
        place = order.index(phase_id)
        return self.migrating()[place - 1] if place else None

    def starts_at(self, phase_id: str) -> str | None:
        """The revision that the phases before this one leave."""
        names = [phase.phase for phase in self.phases]
        revisions = [phase.revision for phase in self.phases[: names.index(phase_id)] if phase.revision is not None]
        return revisions[-1] if revisions else None

    def moving(self) -> list[PhaseDeclaration]:
        """The phases that change the database, by a revision or by an activity, in order."""
        return [phase for phase in self.phases if phase.revision is not None or phase.activity is not None]


class ScenarioParameters(Declared):
    """How many legacy rows to make, and whether to make the database anew first."""

    tenants: int = Field(default=4, ge=1)
    days: int = Field(default=125, ge=1)
    events_per_day: int = Field(default=200, ge=1)
    seed: int = 20251115
    as_of: str = "today"
    reset: bool = False

    @field_validator("as_of", mode="before")
    @classmethod
    def _unquoted(cls, value: Any) -> Any:
        """YAML reads 2025-11-15 without quotes as a date."""
        return value.isoformat() if isinstance(value, date) else value


class RunParameters(Declared):
    """A params file. Timeouts are milliseconds."""

    database: str
    mode: Literal["apply"] = "apply"
    lock_timeout_ms: int = Field(default=5_000, ge=1)
    statement_timeout_ms: int = Field(default=600_000, ge=1)
    validator: str = ""
    notes: str = ""
    writers: Literal["none", "expected"] = "none"
    engine: str = "nbclient"
    scenario: ScenarioParameters | None = None

    def for_notebooks(self) -> dict[str, Any]:
        """What a notebook's parameters cell may take from here."""
        return self.model_dump(exclude={"scenario", "engine"})


def load_gates(project: Project) -> Gates:
    return load(Gates, project.params / "gates.yaml")


def load(model: type[Model], path: Path) -> Model:
    """A YAML file as a model.

    Errors  ConfigurationError naming file, key and near miss
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the file cannot be read: {error.strerror}", where=str(path), next_step="check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError("the file is not UTF-8 text", where=str(path), next_step="save it as UTF-8") from error
    try:
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f"the file is not YAML: {_problem(error)}", where=f"{path}{_line(error)}", next_step="mend that line"
        ) from error
    except (TypeError, ValueError) as error:  # a date that no calendar has, a list as a key
        raise ConfigurationError(
            f"the file holds a value that cannot be: {error}", where=str(path), next_step="mend the file"
        ) from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(
            f"{path.name} cannot be used: {_explain(model, error)}", where=str(path), next_step="mend the file"
        ) from None


class _Loader(yaml.SafeLoader):
    """A key that stands twice is an error: YAML itself would drop the first in silence, and a test with it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or str(error).partition("\n")[0])


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark else ""


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    parts = []
    for problem in error.errors():
        place = ".".join(str(step) for step in problem["loc"])
        if problem["type"] == "extra_forbidden":
            parts.append(f"unknown key {place!r}{near_miss(str(problem['loc'][-1]), _keys(model))}")
        elif not place:
            parts.append("it holds no keys and values")
        else:
            parts.append(f"{place}: {problem['msg']}")
    return "; ".join(parts)


def _keys(model: type[BaseModel]) -> list[str]:
    nested = [kind for field in model.model_fields.values() for kind in _models_in(field.annotation)]
    return [*model.model_fields, *(name for kind in nested for name in _keys(kind))]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for inner in getattr(annotation, "__args__", ()) for kind in _models_in(inner)]


def near_miss(name: str, known: list[str]) -> str:
    alike = [other for other in known if other.casefold() == name.casefold()]
    close = alike or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _named(items: list[Item], attribute: str, wanted: str, otherwise: str) -> Item:
    for item in items:
        if getattr(item, attribute) == wanted:
            return item
    names = [getattr(item, attribute) for item in items]
    raise ConfigurationError(
        f"{otherwise}{near_miss(wanted, names)}",
        where="params/gates.yaml",
        next_step=f"declare it there, or use one of: {', '.join(names)}",
    )
