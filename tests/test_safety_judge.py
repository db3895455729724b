"""Levels, acknowledgements and their blemishes: what a file's operations come to."""

from pathlib import Path

import pytest

from gatebook.safety.effects import Kind
from gatebook.safety.judge import LEVELS, Judgement, Level
from gatebook.safety.linting import decisions, files, lint

HEAD = 'from alembic import op\nrevision = "r"\ndown_revision = None\n\n\ndef upgrade():\n'
DROP = "    op.drop_table('t')"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with ADR-002 alone."""
    (tmp_path / "docs" / "adr").mkdir(parents=True)
    (tmp_path / "docs" / "adr" / "002-discipline.md").write_text("# ADR-002: Discipline\n")
    (tmp_path / "versions").mkdir()
    return tmp_path / "versions"


def judged(folder: Path, body: str, *, strict: bool = False) -> Judgement:
    path = folder / "r.py"
    path.write_text(f"{HEAD}{body}\n\n\ndef downgrade():\n    op.create_table('t')\n")
    (judgement,) = lint([path], strict=strict)
    return judgement


def test_every_kind_has_a_level() -> None:
    assert set(LEVELS) == set(Kind)
    assert {kind for kind, level in LEVELS.items() if level is Level.FAIL} == {
        Kind.LOST, Kind.NARROWED, Kind.CONSTRAINT, Kind.SECURITY, Kind.UNRESOLVED,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("comment", "notes"),
    [
        pytest.param("moved before, ADR-002", [], id="reason and ADR"),
        pytest.param("ADR-002", ["this acknowledgement gives no reason"], id="no reason"),
        pytest.param("moved before", ["this acknowledgement names no ADR"], id="no ADR"),
        pytest.param("moved before, ADR-099", ["ADR-099 is not in docs/adr"], id="no such ADR"),
        pytest.param(
            "", ["this acknowledgement gives no reason", "this acknowledgement names no ADR"], id="nothing at all"
        ),
    ],
)
def test_a_blemish_warns_and_fails_under_the_strict_rules(folder: Path, comment: str, notes: list[str]) -> None:
    body = f"{DROP}  # CI:DESTRUCTIVE_OK - {comment}"

    lenient, strict = judged(folder, body), judged(folder, body, strict=True)

    assert [note.text for note in lenient.notes] == [note.text for note in strict.notes] == notes
    assert lenient.passes
    assert strict.passes is not bool(notes)
    assert lenient.findings[0].acknowledged == comment


def test_an_acknowledgement_that_covers_nothing_is_told(folder: Path) -> None:
    judgement = judged(folder, "    pass  # CI:DESTRUCTIVE_OK - nothing here, ADR-002", strict=True)

    assert [note.text for note in judgement.notes] == ["this acknowledgement covers no operation that needs one"]
    assert not judgement.passes


def test_a_project_without_decisions_is_not_asked_for_them(tmp_path: Path) -> None:
    (tmp_path / "alembic.ini").touch()

    assert decisions(tmp_path) is None
    assert judged(tmp_path, f"{DROP}  # CI:DESTRUCTIVE_OK - moved, ADR-099", strict=True).passes


def test_what_downgrade_drops_is_information(folder: Path) -> None:
    path = folder / "r.py"
    path.write_text(f"{HEAD}    op.create_table('t')\n\n\ndef downgrade():\n{DROP}\n")
    (judgement,) = lint([path], strict=True)

    assert judgement.passes
    assert [finding.effect.pattern for finding in judgement.rollback] == ["op.drop_table"]


def test_statements_are_counted(folder: Path) -> None:
    body = "    op.execute('SELECT 1; SELECT 2')\n    op.drop_index('i')\n    op.execute('SELEC')"
    judgement = judged(folder, body)

    assert (judgement.statements, judgement.unresolved) == (4, 1)


def test_a_folder_gives_its_revisions_and_leaves_the_rest(folder: Path) -> None:
    for name, text in {"b.py": HEAD + DROP, "a.py": HEAD + DROP, "helper.py": "X = 1\n", "notes.txt": ""}.items():
        (folder / name).write_text(text)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "c.py").write_text(HEAD + DROP)

    assert [path.name for path in files([folder])] == ["a.py", "b.py"]
    assert [path.name for path in files([folder / "helper.py", folder, folder / "b.py"])] == [
        "helper.py",
        "a.py",
        "b.py",
    ]


def test_helpers_that_are_called_twice_are_one_finding(folder: Path) -> None:
    body = "    for _ in range(3):\n        op.drop_table('t')"

    assert len(judged(folder, body).findings) == 1
