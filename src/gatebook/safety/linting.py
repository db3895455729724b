"""Files and folders to judgements."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from gatebook.safety.judge import Judgement, judge
from gatebook.safety.reading import defines_migration, read_migration

ROOT_MARKS = ("alembic.ini", ".git", "pyproject.toml")


def lint(paths: Sequence[Path], *, strict: bool = False) -> list[Judgement]:
    """Judge migrations: a file that is named always, in a folder every file that is a revision.

    Shape   a judgement a file, folders in the order of their files' names
    Errors  none; what could not be read is a judgement that does not pass
    """
    adrs: dict[Path, frozenset[str] | None] = {}
    found = []
    for path in files(paths):
        folder = path.parent
        if folder not in adrs:
            adrs[folder] = decisions(folder)
        found.append(judge(read_migration(path), adrs=adrs[folder], strict=strict))
    return found


def files(paths: Iterable[Path]) -> list[Path]:
    """The files to judge; a link that leads in a circle stands for itself and is then not readable."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*.py") if "__pycache__" not in each.parts)
            found += [each for each in inside if not each.is_file() or defines_migration(each)]
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def decisions(folder: Path) -> frozenset[str] | None:
    """The ADRs of the project around a folder, as 'ADR-002'; None where it has no docs/adr."""
    folder = folder.resolve()
    for parent in (folder, *folder.parents):
        if (parent / "docs" / "adr").is_dir():
            names = [each.name for each in (parent / "docs" / "adr").glob("*.md")]
            numbers = [match for name in names if (match := re.match(r"(?:ADR-)?(\d+)", name))]
            return frozenset(f"ADR-{match[1]}" for match in numbers)
        if any((parent / mark).exists() for mark in ROOT_MARKS):
            return None
    return None
