"""The tools that judge migrations, and how each is asked: gatebook, and what else is there.

Each is asked as its documentation says. A file is caught when a rule fires that speaks of rows, objects, values,
constraints or row security that would be lost; other rules (locks, names, a missing way back) count neither for nor
against.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatebook.errors import ConfigurationError, GatebookError
from gatebook.safety.effects import Kind
from gatebook.safety.linting import lint
from migration_fixtures import Fixture

HERE = Path(__file__).resolve().parent
OURS, THEIRS = Path(sys.executable).parent, HERE / ".venv" / "bin"  # Alembic and squawk come with gatebook
TIMEOUT_S = 900

# The script of the source document: these patterns, one grep each, over the lines without an acknowledgement.
PATTERNS = (
    "DROP TABLE",
    "DROP COLUMN",
    "DROP DATABASE",
    "DROP SCHEMA",
    "TRUNCATE",
    "DELETE FROM.*WHERE.*1.*=.*1",
    "ALTER TABLE.*DROP CONSTRAINT",
    "op.drop_table",
    "op.drop_column",
)
SCRIPT = """
status=0
for file in "$@"; do
    {text} | grep -v '# CI:DESTRUCTIVE_OK' > "$LINES"
    for pattern in {patterns}; do
        if grep -qiE "$pattern" "$LINES"; then echo "$file"; status=1; break; fi
    done
done
exit $status
"""
WHOLE = 'cat "$file"'
UPGRADE = """awk '/^(async )?def /{inside = /def upgrade/} inside' "$file" """

SQUAWK = frozenset(
    {
        "ban-drop-table", "ban-drop-column", "ban-drop-schema", "ban-drop-database", "ban-drop-type", "ban-drop-view",
        "ban-drop-domain", "ban-drop-sequence", "ban-drop-extension", "ban-drop-constraint", "ban-truncate-cascade",
        "ban-alter-row-level-security", "changing-column-type",
    }
)  # fmt: skip
UNREAD = "syntax-error"
LINTER = frozenset({"DROP_TABLE", "DROP_COLUMN", "ALTER_COLUMN"})
# Columns, tables, TRUNCATE, foreign keys, batches; types; constraints; --check-compat: columns, tables, types.
MRT = frozenset(f"MRT{number}" for number in (201, 202, 203, 205, 206, 208, 303, 409, 410, 701, 703, 705))

LOSSES = (Kind.LOST, Kind.NARROWED, Kind.CONSTRAINT, Kind.SECURITY)


@dataclass(frozen=True)
class Answer:
    """What a tool says of one file. problem: why it could not read it; then nothing else counts."""

    found: bool = False
    problem: str = ""


Answers = Mapping[str, Answer]  # name of a fixture -> what the tool says


@dataclass(frozen=True)
class Tool:
    """One that judges migrations.

    ask        judges every fixture by itself
    command    judges a project's chain of revisions as a user would, from the start of the process to its end
    runs_them  it imports and runs the migrations
    """

    name: str
    ask: Callable[[Sequence[Fixture], Path], Answers]
    command: Callable[[Path], object]
    runs_them: bool = False


def gatebook(fixtures: Sequence[Fixture], folder: Path) -> Answers:
    """A file that fails only for what could not be resolved was not read."""
    answers = {}
    for fixture in fixtures:
        (judgement,) = lint([fixture.write(folder / "versions")])
        found = any(finding.effect.kind in LOSSES for finding in judgement.failures)
        answers[fixture.name] = Answer(found, "" if found or judgement.passes else "not resolvable")
    return answers


def grep(text: str) -> Callable[[Sequence[Fixture], Path], Answers]:
    def ask(fixtures: Sequence[Fixture], folder: Path) -> Answers:
        paths = [fixture.write(folder) for fixture in fixtures]
        flagged = {Path(line).stem for line in _grep(text, paths).splitlines()}
        return {fixture.name: Answer(fixture.name in flagged) for fixture in fixtures}

    return ask


def squawk(fixtures: Sequence[Fixture], folder: Path) -> Answers:
    """Alembic renders, squawk reads; what cannot be rendered, or whose SQL cannot be parsed, is not read."""
    rendered = _asked("render", fixtures, folder, OURS)
    paths = {folder / name / "upgrade.sql": name for name, answer in rendered.items() if "problem" not in answer}
    rules: dict[str, set[str]] = {name: set() for name in paths.values()}
    for finding in json.loads(_squawk(list(paths))):
        rules[paths[Path(finding["file"])]].add(finding["rule_name"])
    return {
        fixture.name: _answer(rendered[fixture.name], rules.get(fixture.name, set()), SQUAWK, unread=UNREAD)
        for fixture in fixtures
    }


def linter(fixtures: Sequence[Fixture], folder: Path) -> Answers:
    asked = _asked("lint", fixtures, folder, THEIRS)
    return {name: _answer(answer, set(answer.get("found", ())), LINTER) for name, answer in asked.items()}


def mrt(fixtures: Sequence[Fixture], folder: Path) -> Answers:
    """Its static half; the other half runs migrations there and back on a database, and judges the way back."""
    for fixture in fixtures:
        fixture.write(folder)
    rules: dict[str, set[str]] = {}
    for finding in _mrt(folder):
        rules.setdefault(Path(finding["file"]).stem, set()).add(finding["rule"])
    return {fixture.name: _answer({}, rules.get(fixture.name, set()), MRT) for fixture in fixtures}


def _answer(asked: Mapping[str, Any], rules: set[str], losses: frozenset[str], unread: str = "") -> Answer:
    if rules & losses:
        return Answer(found=True)
    return Answer(problem=asked.get("problem", "") or (unread if unread in rules else ""))


def _asked(tool: str, fixtures: Sequence[Fixture], folder: Path, programs: Path) -> dict[str, dict[str, Any]]:
    for fixture in fixtures:
        made = project(folder / fixture.name)
        fixture.write(made / "versions")
        for helper in fixture.helpers:  # Alembic takes every file in versions/ for a revision
            (made / "versions" / helper).rename(made / helper)
    answers: dict[str, dict[str, Any]] = json.loads(
        run([str(programs / "python"), str(HERE / "safety_peers.py"), tool, str(folder)])
    )
    return answers


def project(folder: Path) -> Path:
    """A project of Alembic's that needs no database, as its own template sets one up."""
    (folder / "versions").mkdir(parents=True)
    options = "script_location = %(here)s\nprepend_sys_path = %(here)s\npath_separator = os\n"
    (folder / "alembic.ini").write_text(f"[alembic]\n{options}", "utf-8")
    (folder / "env.py").write_text(
        "from alembic import context\n\n"
        'options = {"paramstyle": "named"}\n'
        'context.configure(dialect_name="postgresql", literal_binds=True, dialect_opts=options)\n'
        "with context.begin_transaction():\n    context.run_migrations()\n",
        "utf-8",
    )
    return folder


def _squawk(paths: Sequence[Path]) -> str:
    options = ["--include=ban-alter-row-level-security", "--reporter=json"]
    return run([str(OURS / "squawk"), *options, *map(str, paths)], accepts=(0, 1))


def _mrt(folder: Path) -> list[dict[str, Any]]:
    said = run([str(THEIRS / "mrt"), "check", str(folder), "--check-compat", "--format=json"], accepts=(0, 1, 2))
    if not said:  # it also ends with 1 when it breaks off
        raise GatebookError("pytest-mrt broke off", where=str(folder))
    findings: list[dict[str, Any]] = json.loads(said)["findings"]
    return findings


def _grep(text: str, paths: Sequence[Path]) -> str:
    script = SCRIPT.format(text=text, patterns=" ".join(f"'{each}'" for each in PATTERNS))
    with tempfile.NamedTemporaryFile() as lines:
        return run(["bash", "-c", script, "bash", *map(str, paths)], accepts=(0, 1), LINES=lines.name)


def _rendered_and_read(folder: Path) -> None:
    sql = run([str(OURS / "alembic"), "-c", str(folder / "alembic.ini"), "upgrade", "head", "--sql"])
    (folder / "upgrade.sql").write_text(sql, "utf-8")
    if UNREAD in _squawk([folder / "upgrade.sql"]):  # then it looks for nothing else
        raise GatebookError("squawk could not read what Alembic renders", where=str(folder))


def _linted(folder: Path) -> None:
    options = ["--config", str(folder / "alembic.ini"), "--dialect=postgresql", "--no-cache"]
    said = run([str(THEIRS / "alembic-lint"), *options], accepts=(0, 1))
    if "*** Summary ***" not in said:  # it also ends with 1 when it breaks off
        raise GatebookError("alembic-migration-linter broke off", where=str(folder))


def _files(folder: Path) -> list[Path]:
    return sorted((folder / "versions").glob("*.py"))


def _gatebook(folder: Path) -> None:
    run([sys.executable, "-m", "gatebook", "lint-migration", str(folder / "versions")], accepts=(0, 1))


def grepped_at_once(folder: Path) -> None:
    """The floor: one process, one pattern, no acknowledgements."""
    run(["grep", "-rliE", "|".join(PATTERNS), str(folder / "versions")], accepts=(0, 1))


TOOLS: Sequence[Tool] = (
    Tool("gatebook", gatebook, _gatebook),
    Tool("grep, whole file", grep(WHOLE), lambda folder: _grep(WHOLE, _files(folder))),
    Tool("grep, upgrade() alone", grep(UPGRADE), lambda folder: _grep(UPGRADE, _files(folder))),
    Tool("alembic --sql, squawk", squawk, _rendered_and_read, runs_them=True),
    Tool("alembic-migration-linter", linter, _linted, runs_them=True),
    Tool("pytest-mrt, static", mrt, lambda folder: _mrt(folder / "versions")),
)


def run(command: Sequence[str], *, accepts: Sequence[int] = (0,), **variables: str) -> str:
    """What a command prints.

    It sees no database: some tools run the migrations, and one of those calls psql.
    Errors  GatebookError for any exit code but those that mean found or not found
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PG") and name != "DATABASE_URL"
    }
    environment |= {"PGHOST": "/nowhere", "NO_COLOR": "1", "COLUMNS": "200", **variables}
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode not in accepts:
        raise GatebookError(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def require() -> None:
    """Errors  ConfigurationError where a tool is not installed"""
    wanted = [OURS / "squawk", OURS / "alembic", THEIRS / "alembic-lint", THEIRS / "mrt"]
    missing = [path.name for path in wanted if not path.exists()]
    missing += [name for name in ("bash", "grep", "awk") if shutil.which(name) is None]
    if missing:
        raise ConfigurationError(
            f"not installed: {', '.join(missing)}", where=str(THEIRS), next_step="run it by make bench-safety"
        )
