"""junit.xml: a suite for each phase, a case for each gate; red is a failure, what could not be told an error."""

import re

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from gatebook.evidence.results import GateOutcome, PhaseOutcome, Results

NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def render(results: Results) -> str:
    """The file's text; the same results give the same bytes."""
    document = JUnitXml(f"gatebook run {results.run}")
    for phase in results.phases:
        document.add_testsuite(_suite(phase, results.started))
    document.update_statistics()
    return str(document.tostring().decode()) + "\n"


def _suite(phase: PhaseOutcome, started: str) -> TestSuite:
    suite = TestSuite(f"{phase.phase} {phase.title}")
    suite.timestamp = started.partition(".")[0].partition("+")[0]
    suite.add_testcases([_case(phase, gate) for gate in phase.gates])
    suite.update_statistics()
    return suite


def _case(phase: PhaseOutcome, gate: GateOutcome) -> TestCase:
    seconds = round(sum(test.seconds for test in gate.tests), 3)
    case = TestCase(f"{gate.gate} {gate.title}", f"gatebook.{phase.notebook}", seconds)
    red = [f"{test.test} {test.says}: {test.reason}" for test in gate.tests if test.verdict in ("FAIL", "UNKNOWN")]
    kind = {"FAIL": Failure, "UNKNOWN": Error, "NOT REACHED": Skipped}.get(gate.verdict)
    if kind is not None:
        outcome = kind(_text("; ".join(red) or phase.reason), gate.verdict)
        if red:
            outcome.text = _text("\n".join(red))
        case.result = [outcome]
    return case


def _text(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
