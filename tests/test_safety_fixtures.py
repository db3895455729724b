"""Every labelled migration gets its verdict, for the reason that its label gives."""

from operator import attrgetter
from pathlib import Path

import pytest

from gatebook.safety.judge import Judgement, Level
from gatebook.safety.linting import lint
from migration_fixtures import Fixture, fixtures
from test_migration_fixtures import DISPUTED

FIXTURES = fixtures()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that holds ADR-002."""
    root = tmp_path_factory.mktemp("project")
    (root / "docs" / "adr").mkdir(parents=True)
    (root / "docs" / "adr" / "002-migration-discipline.md").write_text("# ADR-002\n")
    return root / "alembic" / "versions"


def kind_of(judgement: Judgement) -> set[str]:
    if not judgement.passes:
        return {finding.effect.kind.name for finding in judgement.failures}
    if any(finding.acknowledged is not None for finding in judgement.findings):
        return {"acknowledged"}
    is_warned = any(finding.level is Level.WARN for finding in judgement.findings)
    return {"warned" if is_warned else "clean"}


@pytest.mark.parametrize("fixture", [each for each in FIXTURES if each.name not in DISPUTED], ids=attrgetter("name"))
def test_verdict_and_reason(fixture: Fixture, folder: Path) -> None:
    (judgement,) = lint([fixture.write(folder)])

    assert judgement.problems == ()
    assert judgement.passes == (fixture.verdict == "pass"), judgement.findings
    assert fixture.kinds & kind_of(judgement), judgement.findings


def test_there_are_enough_of_both() -> None:
    counts = {verdict: sum(each.verdict == verdict for each in FIXTURES) for verdict in ("fail", "pass")}

    assert counts["fail"] >= 60
    assert counts["pass"] >= 60
