"""Judgements as text, JSON, workflow commands of GitHub, and SARIF."""

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from gatebook.safety.effects import Kind
from gatebook.safety.judge import Finding, Judgement, Level

SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
SARIF_LEVELS = {Level.FAIL: "error", Level.WARN: "warning", Level.INFO: "note"}
WAYS_OUT = """\
This CI check prevents accidental data loss from automated deployments.

If this destructive operation is intentional:
  1. Document it in an ADR under docs/adr.
  2. Put a comment on the line of the operation: # CI:DESTRUCTIVE_OK - reason, ADR-NNN
  3. Have the pull request reviewed, and roll it out by hand.
Otherwise change the migration so that nothing is lost: keep the column and mark it as deprecated, for example."""


def as_text(judgements: Sequence[Judgement]) -> str:
    parts = [_file(each) for each in judgements]
    return "\n\n".join([*parts, coverage(judgements)])


def coverage(judgements: Sequence[Judgement]) -> str:
    """How much was seen: files, statements, those that could be resolved, those that could not."""
    statements, unresolved = sum(each.statements for each in judgements), sum(each.unresolved for each in judgements)
    failed = sum(not each.passes for each in judgements)
    return (
        f"{_count(len(judgements), 'file')}: {len(judgements) - failed} passed, {failed} failed. "
        f"{_count(statements, 'statement')} seen: {statements - unresolved} resolved, {unresolved} not resolvable."
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _file(judgement: Judgement) -> str:
    lines = [f"--- [CI Safety Validator] Analyzing: {judgement.path} ---"]
    lines += [f"⛔️ ERROR: {problem}" for problem in judgement.problems]
    for pattern in _patterns(judgement.failures):
        lines.append(f"⛔️ DANGER: Destructive pattern found: '{pattern}'")
        lines += [_line(each, judgement) for each in judgement.failures if each.effect.pattern == pattern]
    for finding in judgement.findings:
        if finding.acknowledged is not None:
            lines.append(f"☑️ ACKNOWLEDGED: '{finding.effect.pattern}' - {finding.acknowledged or 'no reason given'}")
            lines.append(_line(finding, judgement))
        elif finding.level is not Level.FAIL:
            lines.append(f"{'⚠️ WARNING' if finding.level is Level.WARN else 'INFO'}: '{finding.effect.pattern}'")
            lines.append(_line(finding, judgement))
    mark = "⛔️ ERROR" if judgement.is_strict else "⚠️ WARNING"
    lines += [f"{mark}: {_place(note.path, note.line, judgement)}: {note.text}" for note in judgement.notes]
    if judgement.rollback:
        lines.append(f"INFO: rollback drops: {'; '.join(dict.fromkeys(_said(each) for each in judgement.rollback))}")
    return "\n".join([*lines, *_verdict(judgement)])


def _verdict(judgement: Judgement) -> list[str]:
    if judgement.passes:
        what = "No destructive patterns found."
        if any(each.acknowledged is not None and each.level is Level.FAIL for each in judgement.findings):
            what = "Every destructive pattern found is acknowledged."
        return [f"✅ VALIDATION PASSED: {what}"]
    if judgement.problems:
        return ["⛔️ VALIDATION FAILED: This file could not be analysed, and what is not analysed is not passed."]
    if not judgement.failures:
        return ["⛔️ VALIDATION FAILED: The acknowledgements do not keep the strict rules."]
    patterns = [f"  - {pattern}" for pattern in _patterns(judgement.failures)]
    kinds = {each.effect.kind for each in judgement.failures}
    what = "contains destructive operations" if kinds != {Kind.UNRESOLVED} else "could not be analysed completely"
    return [f"⛔️ VALIDATION FAILED: This migration {what}.", "", "Detected patterns:", *patterns, "", WAYS_OUT]


def _patterns(findings: Sequence[Finding]) -> list[str]:
    return list(dict.fromkeys(each.effect.pattern for each in findings))


def _said(finding: Finding) -> str:
    return finding.effect.detail or f"{finding.effect.pattern} {finding.effect.target}".strip()


def _line(finding: Finding, judgement: Judgement) -> str:
    return f"     {_place(finding.path, finding.line, judgement)}: {_said(finding)}"


def _place(path: str, line: int, judgement: Judgement) -> str:
    same = os.path.realpath(path) == os.path.realpath(judgement.path)
    return f"line {line}" if same else f"{os.path.relpath(path)}, line {line}"


def as_rows(judgement: Judgement) -> list[dict[str, Any]]:
    """Every finding as a row: path, line, level, kind, pattern, target, detail, acknowledged."""
    return [
        {
            "path": judgement.path if os.path.realpath(each.path) == os.path.realpath(judgement.path) else each.path,
            "line": each.line,
            "level": str(each.level),
            "kind": str(each.effect.kind),
            "pattern": each.effect.pattern,
            "target": each.effect.target,
            "detail": each.effect.detail,
            "acknowledged": each.acknowledged,
        }
        for each in judgement.findings
    ]


def as_json(judgements: Sequence[Judgement]) -> str:
    files = [
        {
            "path": each.path,
            "revision": each.revision,
            "passes": each.passes,
            "problems": each.problems,
            "findings": as_rows(each),
            "acknowledgements": [{"line": a.line, "reason": a.reason, "adrs": a.adrs} for a in each.acknowledgements],
            "notes": [{"line": note.line, "text": note.text} for note in each.notes],
            "rollback": [_said(finding) for finding in each.rollback],
            "statements": each.statements,
            "unresolved": each.unresolved,
        }
        for each in judgements
    ]
    return json.dumps({"version": 1, "passes": all(each.passes for each in judgements), "files": files}, indent=2)


def as_github(judgements: Sequence[Judgement]) -> str:
    """Workflow commands: what fails is an error, what warns a warning, at its file and line."""
    lines = []
    for judgement in judgements:
        lines += [_command("error", judgement.path, 1, problem) for problem in judgement.problems]
        for row, finding in zip(as_rows(judgement), judgement.findings, strict=True):
            if finding.acknowledged is None and finding.level is not Level.INFO:
                level = "error" if finding.fails else "warning"
                lines.append(_command(level, row["path"], finding.line, f"{finding.effect.pattern}: {_said(finding)}"))
        level = "error" if judgement.is_strict else "warning"
        lines += [_command(level, judgement.path, note.line, note.text) for note in judgement.notes]
        lines.append(f"{'✅' if judgement.passes else '⛔️'} {judgement.path}")
    return "\n".join([*lines, coverage(judgements)])


def _command(level: str, path: str, line: int, text: str) -> str:
    def escaped(value: str) -> str:
        return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    where = escaped(path).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} file={where},line={line}::{escaped(text)}"


def as_sarif(judgements: Sequence[Judgement]) -> str:
    kinds = {kind.name: str(kind) for kind in Kind}
    rules = [{"id": name, "shortDescription": {"text": text}} for name, text in kinds.items()]
    rules += [
        {"id": "ACKNOWLEDGEMENT", "shortDescription": {"text": "an acknowledgement that keeps a rule not"}},
        {"id": "UNREADABLE", "shortDescription": {"text": "a file that could not be analysed"}},
    ]
    results = [result for judgement in judgements for result in _sarif_results(judgement)]
    tool = {"driver": {"name": "gatebook", "informationUri": "https://gatebook.invalid/", "rules": rules}}
    return json.dumps({"$schema": SARIF, "version": "2.1.0", "runs": [{"tool": tool, "results": results}]}, indent=2)


def _sarif_results(judgement: Judgement) -> list[dict[str, Any]]:
    results = [_sarif_result("UNREADABLE", "error", problem, judgement.path, 1) for problem in judgement.problems]
    for row, finding in zip(as_rows(judgement), judgement.findings, strict=True):
        text = f"{finding.effect.pattern}: {_said(finding)}"
        result = _sarif_result(
            finding.effect.kind.name, SARIF_LEVELS[finding.level], text, row["path"], max(1, finding.line)
        )
        if finding.acknowledged is not None:
            result["suppressions"] = [{"kind": "inSource", "justification": finding.acknowledged}]
        results.append(result)
    level = "error" if judgement.is_strict else "warning"
    return results + [
        _sarif_result("ACKNOWLEDGEMENT", level, note.text, judgement.path, note.line) for note in judgement.notes
    ]


def _sarif_result(rule: str, level: str, text: str, path: str, line: int) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": path}, "region": {"startLine": line}}
    return {"ruleId": rule, "level": level, "message": {"text": text}, "locations": [{"physicalLocation": place}]}


FORMATS: dict[str, Callable[[Sequence[Judgement]], str]] = {
    "text": as_text,
    "json": as_json,
    "github": as_github,
    "sarif": as_sarif,
}
