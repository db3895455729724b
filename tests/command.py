"""The command line as its users meet it, in a process of its own or in this one, and what a refusal must keep."""

import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from gatebook import baseline, catalog, cli
from gatebook.database import Database

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def run_process(*words: str) -> Outcome:
    """`python -m …` from the project's folder, as from a shell."""
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


class Command:
    """`gatebook …` in this process: all from the arguments to the exit code, without a start of Python."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *words: str) -> Outcome:
        self.monkeypatch.setattr(sys, "argv", ["gatebook", *words])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = self.capsys.readouterr()
        return Outcome(int(ended.value.code or 0), said.out, said.err)


def params_file(folder: Path, **keys: Any) -> str:
    """A params file with these keys; its path."""
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump({"validator": "a test", **keys}), encoding="utf-8")
    return str(path)


def assert_refused(outcome: Outcome, *words: str, hidden: Collection[str] = ()) -> None:
    """Exit code 2 and one message that says what, where and what next: no stack, no secret, no verdict.

    words   must stand in the message
    hidden  secrets that may stand nowhere, neither plain nor percent-encoded
    """
    said = outcome.out + outcome.err
    assert outcome.code == 2, outcome
    assert "Traceback" not in said
    assert outcome.err.startswith("gatebook: "), outcome
    assert not outcome.out.strip(), outcome.out
    for part in ("gatebook: ", "\n  where: ", "\n  next:  "):
        assert outcome.err.count(part) == 1, outcome.err
    for word in words:
        assert word in outcome.err, outcome.err
    for secret in hidden:
        assert secret not in said
        assert quote(secret, safe="") not in said


@contextmanager
def unchanged(database: Database) -> Iterator[None]:
    """What the block does to this database of the embedded server, it does not keep."""
    server = database.server_process
    assert server is not None
    name = database.name.removeprefix("embedded/")
    with unchanged_behind("superuser", server.conninfo(name, user="postgres")):
        yield


@contextmanager
def unchanged_behind(name: str, conninfo: str) -> Iterator[None]:
    """The same for any server, by the connection of a superuser."""
    before = everything_of(Database(name, conninfo))
    yield
    assert everything_of(Database(name, conninfo)) == before


def everything_of(superuser: Database) -> dict[str, Any]:
    """Catalog, rows, owners and revision of a database, seen past row security."""
    with superuser.connect() as connection:
        found = {
            "catalog": catalog.snapshot(connection),
            "rows": baseline.table_sums(connection, baseline.table_columns(connection)),
            "owners": catalog.execute(connection, catalog.RELATIONS + "SELECT name, owner FROM ours ORDER BY 1").all(),
        }
        if catalog.execute(connection, "SELECT pg_catalog.to_regclass('alembic_version')").scalar_one() is not None:
            revisions = "SELECT version_num FROM alembic_version ORDER BY 1"
            found["revision"] = catalog.execute(connection, revisions).all()
    superuser.engine.dispose()
    return found


@contextmanager
def nothing_new(folder: Path) -> Iterator[None]:
    """The block leaves no file and no folder behind in this one."""
    before = sorted(folder.rglob("*"))
    yield
    assert sorted(folder.rglob("*")) == before
