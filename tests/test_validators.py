"""The examinations of scripts, CI job and documents: green on the project, red where one thing is taken away."""

from pathlib import Path

import pytest
import yaml

from conftest import ROOT
from gatebook.validators import (
    EVERY_MIGRATION_SCRIPT,
    JOB,
    PHASE_SCRIPTS,
    WORKFLOW,
    Printed,
    job_problems,
    judge_printed,
    samples,
    sections,
    with_samples,
)  # fmt: skip

SCRIPTS = (*PHASE_SCRIPTS, EVERY_MIGRATION_SCRIPT)
TEXT = (ROOT / WORKFLOW).read_text("utf-8")


def test_the_workflow_runs_all_validators() -> None:
    assert job_problems(TEXT, SCRIPTS) == {}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        pytest.param(f"  {JOB}:", "  other:", f"there is no job {JOB}", id="another name"),
        pytest.param("  pull_request:\n", "", "it does not run on pull_request", id="no pull requests"),
        pytest.param(
            "      - run: scripts/validate-phase-2.sh\n", "", "no step runs scripts/validate-phase-2.sh", id="no step"
        ),
        pytest.param(
            "scripts/validate-migrations.sh --format github",
            "scripts/validate-migrations.sh || true",
            "the exit code of scripts/validate-migrations.sh is not that of its step",
            id="forgiven by the shell",
        ),
        pytest.param(
            "      - run: scripts/validate-phase-0.sh\n",
            "      - run: scripts/validate-phase-0.sh\n        continue-on-error: true\n",
            "`continue-on-error` lets it pass without a verdict",
            id="forgiven by the workflow",
        ),
        pytest.param(
            "      - run: scripts/validate-phase-0.sh\n",
            "      - run: scripts/validate-phase-0.sh\n        if: false\n",
            "`if` lets it pass without a verdict",
            id="skipped",
        ),
        pytest.param(
            "      - run: scripts/validate-phase-1.sh\n",
            "      - run: echo # scripts/validate-phase-1.sh\n",
            "no step runs scripts/validate-phase-1.sh",
            id="in a comment",
        ),
    ],
)
def test_a_job_that_is_no_hard_gate(old: str, new: str, problem: str) -> None:
    assert old in TEXT
    assert problem in job_problems(TEXT.replace(old, new, 1), SCRIPTS).values()


def test_ci_here_runs_the_commands_of_the_job() -> None:
    steps = yaml.safe_load(TEXT)["jobs"][JOB]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    ours = [line.strip() for line in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()]

    assert len(commands) >= 6
    assert [command for command in commands if command not in ours] == []


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (Printed(1, "a\nb"), ""),
        (Printed(0, "a\nb"), "it ended with 0, not 1"),
        (Printed(1, "a"), "it did not say: b"),
    ],
)
def test_words_and_exit_code(printed: Printed, reason: str) -> None:
    verdict = judge_printed("x", printed, exit_code=1, says=["a", "b"])

    assert (verdict.is_green, verdict.reason) == (not reason, reason)


def test_sections_are_headings_and_not_code() -> None:
    text = "# One\nwords\n```\n# no heading\n```\n## Two\n\n## Three\nmore words\n"

    assert {name: body.split() for name, body in sections(text).items()} == {
        "One": ["words", "```", "#", "no", "heading", "```"],
        "Two": [],
        "Three": ["more", "words"],
    }


def test_samples_are_found_and_renewed(tmp_path: Path) -> None:
    text = "Before\n<!-- sample: echo a b -->\n```text\nold\n```\nAfter\n"

    assert samples(text) == {"echo a b": "old"}
    renewed = with_samples(text, tmp_path)
    assert renewed == "Before\n<!-- sample: echo a b -->\n```text\na b\n```\nAfter\n"
    assert with_samples(renewed, tmp_path) == renewed
