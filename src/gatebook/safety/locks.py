"""Locks, as squawk reads them: the SQL that Alembic renders for each revision, with the limits that hold for it.

Findings are never mixed with destruction: rules about what is dropped or switched off are the validator's own. The
transactions are those that Alembic renders, so an index built concurrently in a block of autocommit is no finding.
"""

import ast
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatebook import migrations
from gatebook.catalog import Row, Rows
from gatebook.errors import ConfigurationError
from gatebook.project import Project

OLDEST_SERVER = "14.0"
NOT_RENDERED = "could-not-render"
UNREADABLE = "syntax-error"  # squawk's own: it could not read a statement

# What is lost or switched off is judged elsewhere (rows or objects lost, guards dropped).
DESTRUCTION = (
    "ban-drop-",
    "ban-truncate-",
    "ban-alter-row-level-security",
    "ban-disable-trigger",
    "ban-revoke",
)
# How a schema is spelled, not what waits for whom.
SPELLING = (
    "prefer-",
    "ban-char-field",
    "identifier-too-long",
    "require-table-schema",
    "require-enum-value-ordering",
    "unused-ignore",
)


@dataclass(frozen=True)
class Rendered:
    """A revision's SQL as its session would send it. problem: why it could not be rendered"""

    revision: str
    path: Path
    sql: str = ""
    problem: str = ""


def findings(project: Project, revisions: Sequence[str] = (), *, pg_version: str = OLDEST_SERVER) -> Rows:
    """Locks and rewrites that squawk finds, revision by revision; all revisions of the chain unless named.

    Shape   revision, path, line (in the migration; 0 when its text is not there as a literal), rule, level,
            message, help; one of the rule could-not-render for each revision that needs a database
    Errors  ConfigurationError where squawk is missing or fails
    """
    texts = [render(project, revision) for revision in revisions or migrations.chain(project)]
    found = _ask([text for text in texts if not text.problem], pg_version)
    rows = [row for text in texts for row in _rows(project, text, found.get(text.revision, []))]
    return tuple(rows)


def render(project: Project, revision: str) -> Rendered:
    """The SQL of one revision behind the limits that env.py sets."""
    path = Path(migrations.script(project).get_revision(revision).path)
    try:
        text = migrations.statements(project, revision)
    except Exception as error:  # a revision is Python: it may want a database, or fail in any other way
        return Rendered(revision, path, problem=f"{type(error).__name__}: {error}")
    limits = (
        f"SET lock_timeout = {migrations.LOCK_TIMEOUT_MS}; SET statement_timeout = {migrations.STATEMENT_TIMEOUT_MS};"
    )
    return Rendered(revision, path, f"{limits}\n{text}")


def binary() -> Path:
    """squawk, as installed beside this Python or found on the PATH.

    Errors  ConfigurationError when it is nowhere
    """
    beside = Path(sys.executable).parent / "squawk"
    found = str(beside) if beside.exists() else shutil.which("squawk")
    if found is None:
        raise ConfigurationError(
            "squawk is not installed, so nothing is known of locks",
            where=f"{beside.parent} and the folders of PATH",
            next_step="install this project with its dependencies; the package is called squawk-cli",
        )
    return Path(found)


def _ask(texts: Sequence[Rendered], pg_version: str) -> dict[str, list[dict[str, Any]]]:
    """One call for all files, in a folder where no configuration of anybody's lies."""
    program = binary()
    if not texts:
        return {}
    with tempfile.TemporaryDirectory(prefix="gatebook-locks-") as folder:
        names = [f"{place:05}.sql" for place in range(len(texts))]
        for name, text in zip(names, texts, strict=True):
            (Path(folder) / name).write_text(text.sql, encoding="utf-8")
        command = [str(program), "--reporter", "json", "--pg-version", pg_version, *names]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False)
    try:
        rows = json.loads(done.stdout)
    except ValueError:
        raise ConfigurationError(
            f"squawk failed: {done.stderr.strip() or done.stdout.strip() or 'it said nothing'}",
            where=str(program),
            next_step="check its version: `squawk --version` must be 2.70 or later",
        ) from None
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(texts[names.index(Path(row["file"]).name)].revision, []).append(row)
    return found


def _rows(project: Project, text: Rendered, found: list[dict[str, Any]]) -> Iterator[Row]:
    path = text.path.relative_to(project.root) if text.path.is_relative_to(project.root) else text.path
    head = {"revision": text.revision, "path": str(path)}
    if text.problem:
        message = f"the SQL cannot be rendered without a database, so its locks are not known: {text.problem}"
        yield {**head, "line": 0, "rule": NOT_RENDERED, "level": "Unknown", "message": message, "help": ""}
        return
    source = Source(text.path)
    for row in found:
        rule = row["rule_name"]
        if not rule.startswith(DESTRUCTION + SPELLING):
            yield {
                **head,
                "line": source.line_of(text.sql, row["line"]),
                "rule": rule,
                "level": "Unknown" if rule == UNREADABLE else row["level"],
                "message": row["message"],
                "help": row["help"] or "",
            }


class Source:
    """A migration's file: where the literals stand whose text is sent."""

    def __init__(self, path: Path) -> None:
        tree = ast.parse(path.read_bytes())
        tree.body = [node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == "downgrade")]
        self.lines = path.read_text(encoding="utf-8").splitlines()
        self.literals = [
            (node.lineno, node.end_lineno or node.lineno, _plain(node.value))
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]

    def line_of(self, sql: str, line: int) -> int:
        """The line in the file of a line of the rendered SQL (from 0); 0 when no literal holds its statement."""
        statement, wanted = _statement_at(sql, line)
        for first, last, text in sorted(self.literals):
            if statement and statement in text:
                within = range(first, last + 1)
                return next((number for number in within if wanted in _plain(self.lines[number - 1])), first)
        return 0


def _statement_at(sql: str, line: int) -> tuple[str, str]:
    """The statement that a line belongs to and the line itself, in plain form. Alembic parts them by empty lines."""
    lines = sql.splitlines()
    ends = [number for number, text in enumerate(lines) if text.rstrip().endswith(";") and _is_end(lines, number)]
    first = max((number + 1 for number in ends if number < line), default=0)
    last = min((number for number in ends if number >= line), default=len(lines) - 1)
    chosen = [text for text in lines[first : last + 1] if not text.startswith("-- Running ")]
    return _plain("\n".join(chosen)), _plain(lines[line])


def _is_end(lines: list[str], number: int) -> bool:
    return number == 0 or number + 1 == len(lines) or not lines[number + 1].strip()


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip("; ")
