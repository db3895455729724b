"""Other tools over a folder of migrations, one at a time: safety_peers.py TOOL FOLDER prints {name: flagged} as JSON.

flagged is null where the tool could not read the file. Run with the interpreter that has the tool.
"""

import contextlib
import io
import json
import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

INI = "[alembic]\nscript_location = %(here)s/alembic\n"
ENV = """
from alembic import context
context.configure(dialect_name="postgresql", as_sql=True, literal_binds=True)
with context.begin_transaction():
    context.run_migrations()
"""
SQUAWK_RULES = (
    "ban-drop-column", "ban-drop-database", "ban-drop-table", "ban-truncate-cascade", "changing-column-type",
)  # fmt: skip
ABOUT_DOWNGRADE = ("MRT101", "MRT102")
Flagged = dict[str, bool | None]


@contextlib.contextmanager
def project_of(path: Path) -> Iterator[Path]:
    """A project with this one revision, and with what lies next to it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        versions = root / "alembic" / "versions"
        versions.mkdir(parents=True)
        (root / "alembic.ini").write_text(INI)
        (root / "alembic" / "env.py").write_text(ENV)
        (versions / path.name).write_bytes(path.read_bytes())
        yield root


def rendered(root: Path, revision: str) -> str:
    """The SQL that `alembic upgrade REVISION --sql` prints."""
    from alembic import command
    from alembic.config import Config

    output = io.StringIO()
    config = Config(str(root / "alembic.ini"), output_buffer=output, stdout=io.StringIO())
    command.upgrade(config, revision, sql=True)
    return output.getvalue()


def squawk(files: list[Path]) -> Flagged:
    """alembic --sql, and squawk's rules about what is lost."""
    found: Flagged = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in files:
            found[path.stem] = None
            with contextlib.suppress(Exception, SystemExit), project_of(path) as root:
                (Path(folder) / f"{path.stem}.sql").write_text(rendered(root, revision_of(path)))
                found[path.stem] = False
        texts = sorted(Path(folder).glob("*.sql"))
        binary = str(Path(sys.executable).with_name("squawk"))
        done = subprocess.run(
            [binary, "--reporter", "json", *map(str, texts)], capture_output=True, text=True, check=False
        )
        for each in json.loads(done.stdout or "[]"):
            if each["rule_name"] in SQUAWK_RULES:
                found[Path(each["file"]).stem] = True
    return found


def revision_of(path: Path) -> str:
    said = re.search(r"""^revision = ["'](\w+)""", path.read_text(), re.MULTILINE)
    return said[1] if said else path.stem


def alembic_migration_linter(files: list[Path]) -> Flagged:
    from alembic_migration_linter import AlembicMigrationLinter

    found: Flagged = {}
    for path in files:
        found[path.stem] = None
        with contextlib.suppress(Exception, SystemExit), project_of(path) as root:
            linter = AlembicMigrationLinter(root / "alembic.ini", no_cache=True)
            (result,) = linter.lint_all()
            found[path.stem] = bool(result.errors)
    return found


def pytest_mrt(files: list[Path]) -> Flagged:
    """Its static analysis, but for what it says of downgrade()."""
    from pytest_mrt.core.detector import analyze_migrations

    found: Flagged = {}
    for path in files:
        found[path.stem] = None
        with contextlib.suppress(Exception, SystemExit), project_of(path) as root:
            warnings = analyze_migrations(str(root / "alembic" / "versions"))
            errors = [each for each in warnings if each.severity == "error" and each.code not in ABOUT_DOWNGRADE]
            found[path.stem] = bool(errors)
    return found


TOOLS: dict[str, Callable[[list[Path]], Flagged]] = {
    "squawk": squawk,
    "alembic-migration-linter": alembic_migration_linter,
    "pytest-mrt": pytest_mrt,
}

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    tool, folder = sys.argv[1:]
    sys.path.insert(0, folder)
    with contextlib.redirect_stdout(sys.stderr):
        names = set(Path(folder, "names.txt").read_text().split())
        seen = TOOLS[tool]([path for path in sorted(Path(folder).glob("*.py")) if path.stem in names])
    print(json.dumps(seen))
