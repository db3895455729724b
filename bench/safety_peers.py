"""What other tools make of migrations, each in a project of its own: safety_peers.py TOOL FOLDER, result as JSON.

render   the SQL of `alembic upgrade --sql`, as FOLDER/NAME/upgrade.sql
lint     the codes of alembic-migration-linter

Both import and run a migration, without a database. lint runs in bench/.venv, which has no gatebook. What keeps a tool
from an answer is a problem, not a failure.
"""

import contextlib
import importlib
import io
import json
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def render(project: Path) -> list[str]:
    """Write what Alembic renders offline; nothing is found here."""
    from alembic import command
    from alembic.config import Config

    output = io.StringIO()
    command.upgrade(Config(str(project / "alembic.ini"), output_buffer=output), "head", sql=True)
    (project / "upgrade.sql").write_text(output.getvalue(), "utf-8")
    return []


def lint(project: Path) -> list[str]:
    """The codes of all errors and warnings."""
    linter = importlib.import_module("alembic_migration_linter.linter")
    results = linter.AlembicMigrationLinter(project / "alembic.ini", dialect="postgresql", no_cache=True).lint_all()
    return [issue.code for result in results for issue in (*result.errors, *result.warnings)]


TOOLS: dict[str, Callable[[Path], list[str]]] = {"render": render, "lint": lint}
LIBRARIES = {"render": "alembic.command", "lint": "alembic_migration_linter.linter"}  # imported once, before the forks


def main(tool: str, folder: Path) -> None:
    """Ask about every project of the folder, each in its own process: what a migration does to Alembic stays there."""
    projects = sorted(each.parent for each in folder.glob("*/alembic.ini"))
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        answers = pool.starmap(ask, [(tool, project) for project in projects], chunksize=1)
    print(json.dumps({project.name: answer for project, answer in zip(projects, answers, strict=True)}))


def ask(tool: str, project: Path) -> dict[str, Any]:
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # migrations print
            return {"found": TOOLS[tool](project)}
    except (Exception, SystemExit) as error:
        return {"problem": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    importlib.import_module(LIBRARIES[sys.argv[1]])
    main(sys.argv[1], Path(sys.argv[2]))
