"""Locks as squawk reads them: by rule, at the line of the migration, never mixed with destruction."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from conftest import ROOT
from gatebook import migrations
from gatebook.errors import ConfigurationError
from gatebook.project import Project
from gatebook.safety import locks

HEAD = '''"""One of a chain."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down}
'''  # the body starts in line 8


def make_chain(root: Path, project: Project, bodies: Sequence[str]) -> Project:
    """A project whose revisions r1, r2, … hold these lines from line 8 on."""
    versions = root / "alembic" / "versions"
    versions.mkdir(parents=True)
    shutil.copy(ROOT / "alembic.ini", root)
    shutil.copy(ROOT / "alembic" / "env.py", root / "alembic")
    for place, body in enumerate(bodies, 1):
        head = HEAD.format(revision=f"r{place}", down=repr(f"r{place - 1}") if place > 1 else None)
        (versions / f"r{place}.py").write_text(head + body, encoding="utf-8")
    return Project.at(root, home=project.home)


def body(*lines: str) -> str:
    return "\n".join(["def upgrade():", *(f"    {line}" for line in lines), ""])


CASES = {
    "an index that blocks writers": (
        body('op.execute("CREATE INDEX i ON t (a)")'),
        [(9, "require-concurrent-index-creation")],
    ),
    "the line inside of a statement, and a second one": (
        body(
            'op.execute("SELECT 1")', 'op.execute("""', "ALTER TABLE t", "ALTER COLUMN a SET NOT NULL,",
            'ADD CONSTRAINT c CHECK (a > 0)', '""")', "op.execute('ALTER TABLE u ALTER b SET NOT NULL')",
        ),
        [(12, "adding-not-nullable-field"), (13, "constraint-missing-not-valid"), (15, "adding-not-nullable-field")],
    ),
    "what Alembic writes itself has no line": (
        body('op.create_index("i", "t", ["a"])'),
        [(0, "require-concurrent-index-creation")],
    ),
    "upgrade, not the same text in downgrade": (
        "def downgrade():\n    op.execute('CREATE INDEX i ON t (a)')\n" + body("op.execute('CREATE INDEX i ON t (a)')"),
        [(11, "require-concurrent-index-creation")],
    ),
    "concurrently in a block of autocommit": (
        body("with op.get_context().autocommit_block():",
             "    op.execute('CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t(a)')"),
        [],
    ),
    "concurrently inside of a transaction": (
        body("op.execute('CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t(a)')"),
        [(9, "ban-concurrent-index-creation-in-transaction")],
    ),
    "an index of a table made in the same transaction": (
        body("op.execute('CREATE TABLE n (a bigint)')", "op.execute('CREATE INDEX i ON n (a)')"),
        [],
    ),
    "destruction is the validator's": (
        body(
            "op.execute('DROP TABLE t')", "op.execute('ALTER TABLE u DROP COLUMN a')", "op.drop_table('v')",
            "op.execute('TRUNCATE w CASCADE')", "op.execute('ALTER TABLE x DISABLE ROW LEVEL SECURITY')",
            "op.execute('ALTER TABLE x ALTER a DROP NOT NULL')", "op.execute('DROP DATABASE d')",
        ),
        [],
    ),
    "spelling is nobody's wait": (
        body("op.execute('CREATE TABLE n (a int, b char(3), c timestamp, d serial)')"),
        [],
    ),
    "a statement that squawk cannot read": (
        body("op.execute('selec 1')"),
        [(9, locks.UNREADABLE)],
    ),
    "one that needs a database": (
        body("for row in op.get_bind().execute(sa.text('SELECT 1')): op.execute(row[0])"),
        [(0, locks.NOT_RENDERED)],
    ),
    "one that says nothing": ("def upgrade():\n    pass\n", []),
}  # fmt: skip


@pytest.fixture(scope="module")
def found(project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, object]]]:
    """Case -> its findings; all cases are revisions of one chain, read by one call of squawk."""
    chain = make_chain(tmp_path_factory.mktemp("locks") / "project", project, [body for body, _ in CASES.values()])
    rows = locks.findings(chain)
    names = {f"r{place}": name for place, name in enumerate(CASES, 1)}
    return {name: [dict(row) for row in rows if names[row["revision"]] == name] for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_findings_by_rule_and_line(found: dict[str, list[dict[str, object]]], name: str) -> None:
    assert sorted({(row["line"], row["rule"]) for row in found[name]}) == CASES[name][1]


def test_what_could_not_be_read_is_unknown_and_says_why(found: dict[str, list[dict[str, object]]]) -> None:
    (unread,), (unrendered,) = ({row["level"] for row in found[name]} for name in list(CASES)[-3:-1])
    assert (unread, unrendered) == ("Unknown", "Unknown")
    row = found["one that needs a database"][0]
    assert row["path"] == "alembic/versions/r11.py"
    assert "cannot be rendered without a database, so its locks are not known: TypeError" in str(row["message"])


def test_our_limits_are_known(monkeypatch: pytest.MonkeyPatch, project: Project, tmp_path: Path) -> None:
    """Without them squawk says for every statement that waits that there is no timeout."""
    chain = make_chain(tmp_path / "project", project, [CASES["an index that blocks writers"][0]])
    rendered = locks.render(chain, "r1").sql

    assert rendered.startswith("SET lock_timeout = 5000; SET statement_timeout = 600000;\n")
    assert [row["rule"] for row in locks.findings(chain)] == ["require-concurrent-index-creation"]
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT_MS", 0)
    assert locks.render(chain, "r1").sql.startswith("SET lock_timeout = 0;")


def test_our_own_chain(project: Project) -> None:
    rows = locks.findings(project)

    assert {row["level"] for row in rows} == {"Warning"}
    assert {row["revision"] for row in rows} < set(migrations.chain(project))
    assert all(row["line"] for row in rows)
    for row in rows:
        assert not str(row["rule"]).startswith(locks.DESTRUCTION + locks.SPELLING)
        line = (project.root / row["path"]).read_text("utf-8").splitlines()[row["line"] - 1]
        assert any(word in line for word in ("TYPE", "NOT NULL", "INDEX", "CONSTRAINT", "RENAME")), (row, line)


def test_only_some_revisions(project: Project) -> None:
    assert {row["revision"] for row in locks.findings(project, ["202511151430"])} == {"202511151430"}


def test_a_missing_squawk_is_said(monkeypatch: pytest.MonkeyPatch, project: Project, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ConfigurationError, match="squawk is not installed") as refused:
        locks.findings(project)
    assert "squawk-cli" in refused.value.next_step

    program = tmp_path / "squawk"
    program.write_text("#!/bin/sh\necho no such option >&2; exit 2\n")
    program.chmod(0o755)
    assert locks.binary() == program
    with pytest.raises(ConfigurationError, match="squawk failed: no such option"):
        locks.findings(project)


def test_a_configuration_of_somebody_is_not_obeyed(
    monkeypatch: pytest.MonkeyPatch, project: Project, tmp_path: Path
) -> None:
    chain = make_chain(tmp_path / "project", project, [CASES["an index that blocks writers"][0]])
    (chain.root / ".squawk.toml").write_text('excluded_rules = ["require-concurrent-index-creation"]\n')
    monkeypatch.chdir(chain.root)

    assert len(locks.findings(chain)) == 1
