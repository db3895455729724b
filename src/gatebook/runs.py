"""Folders of runs: built under a temporary name, renamed when complete, never written again.

outputs/<UTC time>-<short id>.incomplete/   being made, or left by a crash: no evidence
outputs/<UTC time>-<short id>.session/      notebooks run one by one, outside a batch
outputs/<UTC time>-<short id>/              a finished run
outputs/latest                              a link to the newest finished one
"""

import contextlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gatebook.errors import ConfigurationError, JournalFailed
from gatebook.journal import Journal
from gatebook.project import Project

INCOMPLETE = ".incomplete"
SESSION = ".session"
LATEST = "latest"
ENVELOPE = "attestation.dsse.json"


@dataclass(frozen=True)
class RunFolder:
    """One run's folder while it is being made."""

    run_id: str
    path: Path

    @property
    def journal(self) -> Journal:
        return Journal(self.path / "journal.jsonl")

    @property
    def notebooks(self) -> Path:
        return self.path / "notebooks"

    @property
    def html(self) -> Path:
        return self.path / "html"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def plans(self) -> Path:
        return self.path / "plans"

    def finish(self) -> Path:
        """Give the folder its final name and let outputs/latest point to it."""
        final = self.path.with_name(self.run_id)
        self.path.rename(final)
        link = final.parent / f".{LATEST}-{self.run_id}"
        link.symlink_to(self.run_id)
        link.replace(final.parent / LATEST)
        return final


def create(project: Project) -> RunFolder:
    """A new folder for a batch.

    Errors  ConfigurationError when the outputs folder cannot be written
    """
    return _make(project, INCOMPLETE, ("notebooks", "html", "data", "plans"))


def probe_outputs(project: Project) -> None:
    """Find out that the outputs folder can be written before anything else is done.

    Errors  ConfigurationError when it cannot
    """
    try:
        project.outputs.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=project.outputs, prefix=".probe-") as file:
            file.write(b"gatebook\n" * 1024)
            file.flush()
    except OSError as error:
        raise _unwritable(project, error) from error


@contextlib.contextmanager
def writing(folder: RunFolder) -> Iterator[None]:
    """What the file system refuses becomes a message; the folder stays incomplete, so it is no evidence.

    Errors  JournalFailed
    """
    try:
        yield
    except OSError as error:
        raise JournalFailed(
            f"the run cannot be recorded: {error.strerror or error}",
            where=str(error.filename or folder.path),
            next_step="make room or mend the permissions of the outputs folder, then run again; "
            "a phase that is in the database already is tested again, not applied again",
        ) from error


def open_run(project: Project, run_id: str) -> RunFolder:
    """The folder that a batch has made for this run; for "" a new session folder.

    Errors  ConfigurationError when there is no such unfinished run
    """
    if not run_id:
        return _make(project, SESSION, ("data", "plans"))
    folder = project.outputs / f"{run_id}{INCOMPLETE}"
    if not folder.is_dir():
        raise ConfigurationError(
            f"there is no unfinished run {run_id!r}",
            where=str(project.outputs),
            next_step="leave the parameter run empty, unless `gatebook run` sets it",
        )
    return RunFolder(run_id, folder)


def latest(project: Project) -> Path | None:
    """The newest finished run, or None."""
    link = project.outputs / LATEST
    return link.resolve() if link.exists() else None


def finished(project: Project) -> list[Path]:
    """The finished runs, oldest first."""
    found = project.outputs.glob("*Z-*")
    return sorted(path for path in found if path.is_dir() and not path.is_symlink() and not path.suffix)


def is_signed(folder: Path) -> bool:
    """Whether a signature lies in a run; whether it is good, only `gatebook evidence verify` tells."""
    return (folder / ENVELOPE).is_file()


def prune(project: Project, *, keep: int, with_signed: bool = False) -> list[Path]:
    """Remove all but the newest finished runs, and never the one that `latest` names; which ones.

    with_signed  signed runs too; otherwise they stay, and do not count
    Errors       ConfigurationError when a folder cannot be removed
    """
    there = [path for path in finished(project) if with_signed or not is_signed(path)]
    old = [path for path in there[: max(len(there) - keep, 0)] if path != latest(project)]
    for path in old:
        try:
            doomed = path.rename(path.with_name(f"{path.name}.removed{INCOMPLETE}"))  # half removed is no evidence
            shutil.rmtree(doomed)
        except OSError as error:
            raise ConfigurationError(
                f"a run cannot be removed: {error.strerror}",
                where=str(path),
                next_step="mend the permissions of the outputs folder, then prune again",
            ) from error
    return old


def kept(project: Project, name: str, *, database: str) -> tuple[str, Any] | None:
    """What the newest finished run of a database kept under a name, with the run's id; None where none has kept it.

    name      path of a JSON file within the run's folder
    database  as the record of a run says it
    """
    for kept_file in sorted(project.outputs.glob(f"*Z-*/{name}"), reverse=True):
        folder = project.outputs / kept_file.relative_to(project.outputs).parts[0]
        try:
            results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            if not folder.suffix and results["facts"]["database"] == database:
                return folder.name, json.loads(kept_file.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError):
            continue
    return None


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _make(project: Project, ending: str, folders: tuple[str, ...]) -> RunFolder:
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    path = project.outputs / f"{run_id}{ending}"
    try:
        path.mkdir(parents=True, mode=0o700)
        for name in folders:
            (path / name).mkdir()
    except OSError as error:
        raise _unwritable(project, error) from error
    return RunFolder(run_id, path)


def _unwritable(project: Project, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the outputs folder cannot be written: {error.strerror}",
        where=str(project.outputs),
        next_step="make it writable for you, or set GATEBOOK_OUTPUTS to a folder that is",
    )
