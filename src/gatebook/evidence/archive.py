"""A finished run as it lies in its folder: written once, read again without a database and without Jupyter."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from securesystemslib.exceptions import FormatError
from securesystemslib.signer import CryptoSigner

from gatebook import journal
from gatebook.declarations import Gates, PhaseDeclaration
from gatebook.errors import ConfigurationError
from gatebook.evidence import attestation, junit, manifest
from gatebook.evidence.manifest import MANIFEST
from gatebook.evidence.results import Results, compute
from gatebook.journal import Event
from gatebook.runs import ENVELOPE, INCOMPLETE, SESSION, write_whole

GATES = "gates.yaml"
QUICK: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # declarations.load() has found it sound before the run

# What reading a damaged file may raise.
UNREADABLE = (
    ArithmeticError, AttributeError, ConfigurationError, FormatError, LookupError, OSError, RecursionError,
    StopIteration, TypeError, ValueError, yaml.YAMLError,
)  # fmt: skip


@dataclass(frozen=True)
class Archived:
    """What a run recorded, and the results computed from it once more."""

    folder: Path
    events: Sequence[Event]
    phases: Sequence[PhaseDeclaration]
    results: Results


def seal(folder: Path, results: Results, signer: CryptoSigner | None) -> None:
    """The last files of a run: the manifest of all others and, where there is a key, its signature."""
    write_whole(folder / MANIFEST, manifest.render(results.run, manifest.entries(folder)))
    if signer is not None:
        attestation.sign(folder, results, signer)


def load(folder: Path) -> Archived:
    """Read a run.

    Errors  UNREADABLE where its record was damaged
    """
    events = journal.read(folder / "journal.jsonl")
    started = next(event for event in events if event["event"] == "run_started")
    text = (folder / GATES).read_text(encoding="utf-8")
    gates = Gates.model_validate(yaml.load(text, Loader=QUICK))
    phases = [gates.phase(name) for name in started["phases"]]
    return Archived(folder, events, phases, compute(started["run"], events, phases))


def results_text(results: Results) -> str:
    return json.dumps(results.to_json(), indent=1, ensure_ascii=False, default=str)


def documents(results: Results) -> dict[str, str]:
    """File -> content of what machines read of a run's results."""
    return {"results.json": results_text(results), "junit.xml": junit.render(results)}


def finished(folder: Path) -> Path:
    """The folder of a finished run, through the link `latest` too.

    Errors  ConfigurationError for anything else
    """
    path = folder.resolve()
    problem = "there is no such run" if not path.is_dir() else ""
    if path.suffix in (INCOMPLETE, SESSION):
        problem = f"this is no evidence: the folder ends in {path.suffix}"
    elif not problem and not (path / MANIFEST).is_file() and not (path / ENVELOPE).is_file():
        problem = f"this is no evidence: the folder has no {MANIFEST}"
    if problem:
        raise ConfigurationError(problem, where=str(folder), next_step="name the folder of a finished run")
    return path
