"""bench/safety.py: what counts for which column, the chain that is timed, and two of the tools asked for real."""

from pathlib import Path

import pytest

import safety
import safety_tools
import table
from gatebook.errors import ConfigurationError
from gatebook.safety.linting import lint
from migration_fixtures import fixtures
from safety import Labels, Score, labels, score
from safety_tools import Answer
from test_migration_fixtures import DISPUTED

FIXTURES = fixtures()


def test_each_answer_counts_once() -> None:
    answers = {
        "caught": Answer(found=True),
        "missed": Answer(),
        "unread": Answer(problem="not SQL"),
        "flagged": Answer(found=True),
        "fine": Answer(),
        "ended": Answer(problem="TypeError"),
        "passed": Answer(),
        "stopped": Answer(problem="KeyError"),
        "warned": Answer(found=True),
    }
    labelled = Labels(
        frozenset({"caught", "missed", "unread"}),
        frozenset({"flagged", "fine", "ended"}),
        frozenset({"passed", "stopped"}),
    )

    assert score(answers, labelled) == Score(caught=1, missed=1, unread=1, flagged=1, clean_unread=1, passed=1)


def test_gatebook_misses_and_flags_only_what_is_disputed(tmp_path: Path) -> None:
    made = score(safety_tools.gatebook(FIXTURES, tmp_path), labels(FIXTURES))

    assert made.missed + made.flagged + made.clean_unread == len(DISPUTED)
    assert made.passed == 0


@pytest.mark.parametrize(
    ("name", "whole", "upgrade"),
    [
        ("drop_table", True, True),
        ("create_table", False, False),
        ("text_lines", False, False),  # a statement over several lines
        ("comment_sql", True, True),
        ("helper", True, False),
        ("downgrade_drops", True, False),
        ("acknowledged", False, False),
    ],
)
def test_grep_finds_what_patterns_find(name: str, whole: bool, upgrade: bool, tmp_path: Path) -> None:
    (fixture,) = (each for each in FIXTURES if each.name == name)

    assert safety_tools.grep(safety_tools.WHOLE)([fixture], tmp_path) == {name: Answer(whole)}
    assert safety_tools.grep(safety_tools.UPGRADE)([fixture], tmp_path) == {name: Answer(upgrade)}


def test_chain_is_one_of_real_revisions(tmp_path: Path) -> None:
    project = safety.chain(tmp_path / "chain", safety.readable(FIXTURES, {}), 300)
    files = sorted((project / "versions").glob("*.py"))

    judgements = lint(files)
    assert [judgement.revision for judgement in judgements] == [f"r{number:05}" for number in range(300)]
    assert 'down_revision = "r00298"' in files[-1].read_text("utf-8")


def test_what_one_tool_cannot_read_is_not_timed() -> None:
    every = {each.name: Answer() for each in FIXTURES}
    one = every | {"drop_table": Answer(problem="could not be rendered")}

    chosen = {each.name for each in safety.readable(FIXTURES, {"a": every, "b": one})}

    assert "drop_table" not in chosen
    assert {"drop_column", "create_table"} <= chosen
    assert "helper_beside" not in chosen


def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety_tools, "THEIRS", tmp_path)

    with pytest.raises(ConfigurationError, match="not installed: alembic-lint, mrt"):
        safety_tools.require()


def test_page_has_a_place_for_the_table() -> None:
    before, after = table.around(safety.PAGE, safety.BEGIN)

    assert before.rstrip().endswith("against the label.")
    assert after.lstrip().startswith("| column | what it counts |")
