"""Results come from the journal alone: what it does not say was not done. Pages show them and fetch nothing."""

import html
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from batch import SPECIFICATIONS
from gatebook.declarations import Gates, PhaseDeclaration, load_gates
from gatebook.display import Note, Table
from gatebook.evidence import pages, results
from gatebook.evidence.results import Results
from gatebook.journal import Event, Journal
from gatebook.project import Project
from gatebook.runs import RunFolder

NOT_EVALUATED = "declared, but not evaluated"
CUT_OFF = "the run ended while this notebook ran"


def gate(name: str, *tests: str) -> dict[str, Any]:
    return {"gate": name, "title": f"Title {name}", "tests": {test: {"kind": "data", "says": test} for test in tests}}


TWO = Gates.model_validate(
    {
        "phases": [
            {
                "phase": "4",
                "title": "Four",
                "notebook": "04",
                "specification": "the plan",
                "unblocks": ["B1"],
                "gates": [gate("4.1", "4.1.1", "4.1.2"), gate("4.D", "4.D.1")],
            },
            {
                "phase": "5",
                "title": "Five",
                "notebook": "05",
                "specification": "the sequel",
                "gates": [gate("5.1", "5.1.1")],
            },
        ]
    }
).phases
CELLS = ["open-phase", "gates", "close-phase"]
FACTS = {
    "database": "embedded (embedded server, database gatebook)",
    "server": "PostgreSQL 18.4",
    "role": "gatebook_owner",
    "parameters": {"validator": "somebody", "notes": ""},
}


def write_notebook(journal: Journal, phase: PhaseDeclaration, **verdicts: str) -> None:
    """The events of one notebook, in the order and with the keys of a real run; all green but for `verdicts`."""
    place = {"phase": phase.phase}
    journal.write("notebook_started", notebook=phase.notebook, cells=CELLS)
    for cell in CELLS:
        journal.write("cell_started", notebook=phase.notebook, cell=cell)
        if cell == "open-phase":
            journal.write("phase_opened", **place, notebook=phase.notebook, database="embedded", server_key="1-2")
        elif cell == "gates":
            for each in phase.gates:
                for test in each.tests:
                    verdict = verdicts.get(f"test_{test}", "PASS")
                    shown = {"sql": "SELECT 1", "have": [{"n": 1}], "want": [{"n": 1}], "seconds": 0.5}
                    shown |= {"have_rows": 1, "want_rows": 1}
                    reason = "" if verdict == "PASS" else "it is so"
                    journal.write("test", **place, gate=each.gate, test=test, verdict=verdict, reason=reason, **shown)
                journal.write("gate", **place, gate=each.gate, verdict="PASS", green=1, tests=len(each.tests))
        else:
            journal.write("phase_closed", **place, verdict="PASS", gates={}, seconds=2.0, database_seconds=0.25)
        journal.write("cell_finished", notebook=phase.notebook, cell=cell, status="ok")
    journal.write("notebook_finished", notebook=phase.notebook, seconds=3.0, problem="")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def whole_run(
    journal: Journal, phases: list[PhaseDeclaration], ended: str = "finished", **verdicts: str
) -> list[Event]:
    journal.write("run_started", run="r", **FACTS)
    for phase in phases:
        write_notebook(journal, phase, **verdicts)
    journal.write("run_finished", run="r", ended=ended)
    return journal.read()


def compute(events: list[Event]) -> Results:
    return results.compute("r", events, TWO)


def without(events: list[Event], **wanted: str) -> list[Event]:
    """The same journal without the events that have these values."""
    left = [event for event in events if any(event.get(key) != value for key, value in wanted.items())]
    assert len(left) < len(events)
    return left


def inside(events: list[Event], notebook: str, *more: Event) -> list[Event]:
    """The same journal with more events, just before this notebook was finished."""
    end = next(
        place
        for place, event in enumerate(events)
        if (event["event"], event.get("notebook")) == ("notebook_finished", notebook)
    )
    return [*events[:end], *more, *events[end:]]


# -- what the journal says


def test_a_whole_green_run(journal: Journal) -> None:
    found = compute(whole_run(journal, TWO))
    four, five = found.phases

    assert (found.verdict, found.ended, found.facts) == ("PASS", "finished", {"run": "r", **FACTS})
    assert found.started <= found.finished
    assert (four.verdict, four.reason, five.verdict) == ("PASS", "", "PASS")
    assert (four.seconds, four.database_seconds, four.unblocks) == (3.0, 0.25, ["B1"])
    assert [cell.state for cell in four.cells] == ["ran", "ran", "ran"]
    assert [(each.gate, each.verdict) for each in four.gates] == [("4.1", "PASS"), ("4.D", "PASS")]
    assert [(each.gate, each.is_listed) for each in four.gates] == [("4.1", True), ("4.D", False)]
    assert (four.specification, five.specification) == ("the plan", "the sequel")
    assert found.totals() == {
        "specifications": [
            {"name": "the plan", "gates": {"green": 1, "of": 1}, "tests": {"green": 2, "of": 2}},
            {"name": "the sequel", "gates": {"green": 1, "of": 1}, "tests": {"green": 1, "of": 1}},
        ],
        "own_gates": {"green": 1, "of": 1},
        "seconds": 6.0,
        "database_seconds": 0.5,
    }


def test_results_are_the_same_from_the_same_journal_and_plain_json(journal: Journal) -> None:
    events = whole_run(journal, TWO)
    text = json.dumps(compute(events).to_json())

    assert text == json.dumps(compute(journal.read()).to_json())
    assert json.loads(text)["version"] == 1
    assert json.loads(text)["phases"][0]["gates"][0]["tests"][0]["sql"] == "SELECT 1"


@pytest.mark.parametrize(
    ("missing", "verdict", "reason", "gates"),
    [
        pytest.param(
            {"event": "test", "test": "4.1.2"}, "UNKNOWN", "gates could not be decided", ["UNKNOWN", "PASS"], id="test"
        ),
        pytest.param(
            {"event": "phase_closed", "phase": "4"},
            "UNKNOWN",
            "the notebook ended before phase.close()",
            ["PASS", "PASS"],
            id="close",
        ),
        pytest.param(
            {"event": "notebook_finished", "notebook": "04"}, "UNKNOWN", CUT_OFF, ["PASS", "PASS"], id="end of notebook"
        ),
        pytest.param(
            {"event": "cell_finished", "notebook": "04", "cell": "gates"},
            "UNKNOWN",
            "cells did not run to their end: gates",
            ["PASS", "PASS"],
            id="end of a cell",
        ),
        pytest.param({"event": "gate", "gate": "4.1"}, "PASS", "", ["PASS", "PASS"], id="a gate's own line"),
        pytest.param(
            {"event": "notebook_started", "notebook": "04"},
            "NOT REACHED",
            "an earlier phase was not green",
            ["NOT REACHED", "NOT REACHED"],
            id="start of notebook",
        ),
    ],
)
def test_what_has_no_record_was_not_done(
    journal: Journal, missing: dict[str, str], verdict: str, reason: str, gates: list[str]
) -> None:
    found = compute(without(whole_run(journal, TWO), **missing))

    assert (found.phases[0].verdict, found.phases[0].reason) == (verdict, reason)
    assert [each.verdict for each in found.phases[0].gates] == gates
    assert found.phases[1].verdict == "PASS"
    assert found.verdict == ("PASS" if verdict == "PASS" else "UNKNOWN")


def test_a_missing_test_says_so_in_its_own_place(journal: Journal) -> None:
    found = compute(without(whole_run(journal, TWO), event="test", test="4.1.2"))
    first, second = found.phases[0].gates[0].tests

    assert (first.verdict, second.verdict, second.reason) == ("PASS", "UNKNOWN", NOT_EVALUATED)
    assert [each["tests"] for each in found.totals()["specifications"]] == [
        {"green": 1, "of": 2},
        {"green": 1, "of": 1},
    ]


def test_a_killed_cell_and_what_comes_after_it(journal: Journal) -> None:
    """As a kernel leaves it that died in the second cell: papermill would call all cells completed."""
    whole_run(journal, TWO[:1])
    events = [event for event in journal.read() if event.get("cell") != "close-phase" or event["event"] == "run"]
    events = without(without(events, event="cell_finished", cell="gates"), event="phase_closed")
    died = [
        {**event, "problem": "the kernel died"} if event["event"] == "notebook_finished" else event for event in events
    ]
    found = compute(died)

    assert [(cell.cell, cell.state) for cell in found.phases[0].cells] == [
        ("open-phase", "ran"),
        ("gates", "interrupted"),
        ("close-phase", "not run"),
    ]
    assert (found.phases[0].verdict, found.phases[0].reason) == ("UNKNOWN", "the kernel died")
    assert (found.phases[1].verdict, found.verdict) == ("NOT REACHED", "UNKNOWN")


def test_a_failed_cell_is_not_green_whatever_its_tests_say(journal: Journal) -> None:
    events = [
        {**event, "status": "error"} if event["event"] == "cell_finished" and event["cell"] == "gates" else event
        for event in whole_run(journal, TWO)
    ]
    found = compute(events)

    assert found.phases[0].cells[1].state == "failed"
    assert (found.phases[0].verdict, found.phases[0].reason) == (
        "UNKNOWN",
        "cells did not run to their end: gates",
    )


def test_a_run_that_stopped_at_a_red_phase(journal: Journal) -> None:
    found = compute(whole_run(journal, TWO[:1], **{"test_4.1.2": "FAIL"}))
    four, five = found.phases

    assert (found.verdict, four.verdict, four.reason) == ("FAIL", "FAIL", "gates are red")
    assert (five.verdict, five.reason) == ("NOT REACHED", "an earlier phase was not green")
    assert [test.verdict for test in five.gates[0].tests] == ["NOT REACHED"]
    assert five.cells == []


@pytest.mark.parametrize(
    ("verdicts", "phase", "run"),
    [
        pytest.param({}, "PASS", "PASS", id="all green"),
        pytest.param({"test_4.1.1": "UNKNOWN"}, "UNKNOWN", "UNKNOWN", id="one unknown"),
        pytest.param({"test_4.1.1": "FAIL"}, "FAIL", "FAIL", id="one red"),
        pytest.param({"test_4.1.1": "UNKNOWN", "test_4.D.1": "FAIL"}, "FAIL", "FAIL", id="red outweighs unknown"),
        pytest.param({"test_4.1.1": "UNKNOWN", "test_5.1.1": "FAIL"}, "UNKNOWN", "FAIL", id="in two phases"),
        pytest.param({"test_4.1.1": "pass"}, "UNKNOWN", "UNKNOWN", id="no verdict of ours"),
        pytest.param({"test_4.1.1": ""}, "UNKNOWN", "UNKNOWN", id="no verdict"),
    ],
)
def test_which_verdict_outweighs_which(journal: Journal, verdicts: dict[str, str], phase: str, run: str) -> None:
    found = compute(whole_run(journal, TWO, **verdicts))

    assert (found.phases[0].verdict, found.verdict) == (phase, run)


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        ("PASS", "PASS", "PASS"),
        ("PASS", "FAIL", "FAIL"),
        ("FAIL", "PASS", "FAIL"),
        ("PASS", "UNKNOWN", "UNKNOWN"),
        ("UNKNOWN", "PASS", "UNKNOWN"),
        ("UNKNOWN", "FAIL", "FAIL"),
        ("FAIL", "UNKNOWN", "FAIL"),
        ("pass", "PASS", "UNKNOWN"),
    ],
)
def test_a_test_that_ran_again_counts_with_its_worst_verdict(
    journal: Journal, first: str, second: str, counts: str
) -> None:
    events = whole_run(journal, TWO, **{"test_4.1.1": first})
    again = next(event for event in events if event.get("test") == "4.1.1")
    found = compute(inside(events, "04", {**again, "verdict": second}))

    assert (found.phases[0].gates[0].verdict, found.phases[0].verdict, found.verdict) == (counts, counts, counts)


@pytest.mark.parametrize("place", ["before the start", "after the end", "in another notebook", "after the run"])
@pytest.mark.parametrize(
    ("moved", "reason"),
    [
        pytest.param({"event": "test", "test": "4.1.2"}, "gates could not be decided", id="test"),
        pytest.param({"event": "phase_closed", "phase": "4"}, "the notebook ended before phase.close()", id="close"),
        pytest.param(
            {"event": "cell_finished", "notebook": "04", "cell": "gates"},
            "cells did not run to their end: gates",
            id="end of a cell",
        ),
    ],
)
def test_what_was_written_outside_the_notebook_proves_nothing(
    journal: Journal, moved: dict[str, str], reason: str, place: str
) -> None:
    events = whole_run(journal, TWO)
    stray = next(event for event in events if all(event.get(key) == value for key, value in moved.items()))
    left = without(events, **moved)
    names = [(event["event"], event.get("notebook")) for event in left]
    where = {
        "before the start": names.index(("notebook_started", "04")),
        "after the end": names.index(("notebook_finished", "04")) + 1,
        "in another notebook": names.index(("notebook_finished", "05")),
        "after the run": len(left),
    }[place]
    found = compute([*left[:where], stray, *left[where:]])

    assert (found.phases[0].verdict, found.phases[0].reason) == ("UNKNOWN", reason)
    assert (found.phases[1].verdict, found.verdict) == ("PASS", "UNKNOWN")


@pytest.mark.parametrize(
    ("ended", "red", "verdict"),
    [
        pytest.param("interrupted by SIGTERM", {}, "UNKNOWN", id="interrupted when all was green"),
        pytest.param("interrupted by SIGINT", {"test_4.1.1": "FAIL"}, "FAIL", id="interrupted when something was red"),
    ],
)
def test_an_interrupted_run_is_never_green(journal: Journal, ended: str, red: dict[str, str], verdict: str) -> None:
    found = compute(whole_run(journal, TWO, ended, **red))

    assert (found.ended, found.verdict) == (ended, verdict)


def test_a_run_without_an_end_is_incomplete(journal: Journal) -> None:
    found = compute(without(whole_run(journal, TWO), event="run_finished"))

    assert (found.ended, found.verdict, found.finished) == ("incomplete", "UNKNOWN", "")


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([], id="empty"),
        pytest.param([{"event": "unreadable", "line": "{"}], id="unreadable"),
        pytest.param([{"event": "run_finished", "ended": "finished"}], id="an end alone"),
    ],
)
def test_an_empty_journal_proves_nothing(events: list[Event]) -> None:
    found = compute(events)

    assert found.verdict == "UNKNOWN"
    assert {phase.verdict for phase in found.phases} == {"NOT REACHED"}
    assert results.compute("r", events, []).verdict == "UNKNOWN"


def test_warnings_are_counted_once_each(journal: Journal) -> None:
    events = whole_run(journal, TWO)
    warning = {"event": "warning", "phase": "4", "count": 1200, "what": "tenants are locked"}
    found = compute(inside(events, "04", warning, warning, {**warning, "phase": "5"}))

    assert [phase.warnings for phase in found.phases] == [["1,200 tenants are locked"], []]
    assert [phase.warnings for phase in compute([*events, warning]).phases] == [[], []]


def test_totals_of_the_audit_are_those_of_both_specifications(journal: Journal, project: Project) -> None:
    phases = load_gates(project).phases
    found = results.compute("r", whole_run(journal, phases), phases)
    totals = found.totals()

    assert found.verdict == "PASS"
    assert {each["name"]: (each["gates"], each["tests"]) for each in totals["specifications"]} == {
        name: ({"green": gates, "of": gates}, {"green": tests, "of": tests})
        for name, (gates, tests) in SPECIFICATIONS.items()
    }
    listed = sum(gates for gates, _ in SPECIFICATIONS.values())
    assert totals["own_gates"]["green"] == totals["own_gates"]["of"] == sum(len(p.gates) for p in phases) - listed


@pytest.mark.parametrize(
    ("name", "listed"),
    [("4.1", True), ("8a.3", True), ("8b.10", True), ("MV-4.5", True), ("4.D", False), ("MV-2.C", False)],
)
@pytest.mark.parametrize("specification", ["the plan", None])
def test_gates_of_a_specification_end_in_a_number(
    journal: Journal, name: str, specification: str | None, *, listed: bool
) -> None:
    """Where a phase follows no document, every gate is the workbook's own, numbered or not."""
    phase = PhaseDeclaration.model_validate(
        {
            "phase": "x",
            "title": "X",
            "notebook": "x",
            "specification": specification,
            "gates": [gate(name, f"{name}.1")],
        }
    )
    found = results.compute("r", whole_run(journal, [phase]), [phase])
    is_listed = listed and specification is not None

    assert found.phases[0].gates[0].is_listed is is_listed
    assert found.totals()["own_gates"]["of"] == (0 if is_listed else 1)
    assert [each["gates"]["of"] for each in found.totals()["specifications"]] == ([1] if is_listed else [])


def test_findings_are_those_of_their_own_phase(journal: Journal) -> None:
    seen = {"sql": "SELECT 1", "rows": [{"n": 1}], "rows_seen": 1, "error": ""}
    finding = {"event": "finding", "at": "now", "title": "one is one", "naive": seen, "corrected": seen}
    found = compute(
        inside(whole_run(journal, TWO), "04", {**finding, "phase": "4"}, {**finding, "phase": "5"}),
    )

    assert [phase.findings for phase in found.phases] == [
        [{"title": "one is one", "naive": seen, "corrected": seen}],
        [],
    ]
    assert found.verdict == "PASS"  # a finding judges nothing


# -- pages

NASTY = "<script>alert('x')</script> & \"größe\" 100%"


NASTY_FINDING = {
    **{"event": "finding", "phase": "4", "title": NASTY},
    "naive": {"sql": NASTY, "rows": [], "rows_seen": 0, "error": f"ERROR {NASTY}"},
    "corrected": {"sql": NASTY, "rows": [{NASTY: NASTY}], "rows_seen": 60, "error": ""},
}


class Read(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.parts: list[str] = []
        self.feed(text)
        self.text = "".join(self.parts)
        self.words = " ".join(" ".join(self.parts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def executed() -> nbformat.NotebookNode:
    outputs = [
        new_output("stream", text=NASTY),
        new_output("error", ename="PhaseRed", evalue="red", traceback=[f"\x1b[31m{NASTY}\x1b[0m"]),
        new_output("display_data", {"text/plain": "ours", "text/html": Note(NASTY)._repr_html_()}),
        new_output("execute_result", {"text/plain": "t", "text/html": Table("T", ({"a": NASTY},)).frame._repr_html_()}),
        new_output("display_data", {"text/plain": f"plain {NASTY}", "text/html": f"<div>{NASTY}</div>"}),
        new_output("display_data", {"text/plain": f"Words of a picture. {NASTY}", "image/png": "iVBORw0KGgo="}),
        new_output("display_data", {"text/html": "<iframe src='https://example.org'></iframe>"}),
    ]
    state = {"gatebook": {"state": "interrupted"}, "papermill": {}}
    return new_notebook(
        cells=[
            new_markdown_cell("# Title of *it*", id="title"),
            new_code_cell(f"x = {NASTY!r}", id="gates", metadata=state, outputs=outputs),
        ]
    )


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A run's folder with pages, in which every text is nasty."""
    folder = RunFolder("20251115T000000Z-abcdef", tmp_path)
    folder.notebooks.mkdir()
    folder.html.mkdir()
    nbformat.write(executed(), folder.notebooks / "04.ipynb")
    journal = folder.journal
    nasty = {"database": NASTY, "parameters": {"validator": NASTY, "notes": NASTY}}
    journal.write("run_started", **(FACTS | nasty))
    write_notebook(journal, TWO[0], **{"test_4.1.2": "FAIL"})
    shown = {"have": [{NASTY: NASTY}], "want": [{NASTY: None}], "seconds": 0.1, "sql": NASTY, "reason": NASTY}
    shown |= {"have_rows": 60, "want_rows": 1}
    events = [event | shown if event.get("test") == "4.1.2" else event for event in journal.read()]
    events = inside(events, "04", {"event": "cell_started", "notebook": "04", "cell": "gates"}, NASTY_FINDING)
    pages.write(folder, results.compute(folder.run_id, events, TWO))
    return tmp_path


@pytest.mark.parametrize("page", ["index.html", "html/04.html"])
def test_pages_are_whole_in_themselves_and_escape_everything(written: Path, page: str) -> None:
    text = (written / page).read_text("utf-8")
    read = Read(text)

    assert {"script", "iframe", "link", "object", "embed"} & set(read.tags) == set()
    assert [each for each in read.fetched if "//" in each or each.startswith("javascript")] == []
    assert "url(" not in text
    assert NASTY in read.text
    assert text.startswith('<!doctype html>\n<html lang="en">')


def test_links_of_the_index_lead_somewhere(written: Path) -> None:
    text = (written / "index.html").read_text("utf-8")
    for name in ("results.json", "junit.xml", "manifest.json"):
        (written / name).touch()
    for target in Read(text).fetched:
        if target.startswith("#"):
            assert f'id="{target[1:]}"' in text
        else:
            assert (written / target).exists()


def test_the_index_says_what_happened(written: Path) -> None:
    read = Read((written / "index.html").read_text("utf-8"))
    words = read.words

    assert "✗ FAIL" in words
    assert (
        "0 of 1 gates of the plan green, 1 of 2 tests 0 of 1 gates of the sequel green, 0 of 1 tests "
        "1 of 1 gates of the workbook itself green"
    ) in words
    assert "This run is incomplete: it proves only what is listed as green." in words
    assert "Still blocked: B1" in words
    assert "Cells that did not run to their end: gates (interrupted)" in words
    assert "· NOT REACHED Phase 5: Five" in words
    assert f"Finding: {NASTY} as documented {NASTY} ✗ ERROR {NASTY} corrected {NASTY}" in words
    assert "1 of 60 rows" in words
    assert "05.html" not in str(read.fetched)


def test_the_index_begins_with_what_is_red(written: Path) -> None:
    text = (written / "index.html").read_text("utf-8")
    top, _, rest = text.partition("<h2>Phases</h2>")
    red = Read(top.partition("<h2>What is red</h2>")[2])

    assert red.words == "✗ FAIL 4.1 Title 4.1"
    assert red.fetched == ["#gate-4.1"]
    assert "What is red" not in rest


@pytest.mark.parametrize(
    ("verdicts", "listed"),
    [
        pytest.param({}, None, id="all green"),
        pytest.param(
            {"test_4.D.1": "UNKNOWN", "test_5.1.1": "FAIL"},
            "What is red ? UNKNOWN 4.D Title 4.D ✗ FAIL 5.1 Title 5.1 Phases",
            id="unknown and red",
        ),
    ],
)
def test_unknown_is_listed_as_red_and_a_green_run_has_no_list(
    tmp_path: Path, verdicts: dict[str, str], listed: str | None
) -> None:
    folder = RunFolder("20251115T000000Z-abcdef", tmp_path)
    folder.html.mkdir()
    pages.write(folder, compute(whole_run(folder.journal, TWO, **verdicts)))
    words = Read((tmp_path / "index.html").read_text("utf-8")).words

    assert listed in words if listed else "What is red" not in words


def test_a_notebook_page_shows_prose_code_outputs_and_the_state_of_cells(written: Path) -> None:
    text = (written / "html" / "04.html").read_text("utf-8")
    read = Read(text)

    assert "<em>it</em>" in text
    assert "this cell: interrupted" in read.text
    assert 'src="data:image/png;base64,iVBORw0KGgo="' in text
    assert f'alt="Words of a picture. {html.escape(NASTY)}"' in text
    assert f"plain {NASTY}" in read.text
    assert "\x1b" not in text
    assert read.tags.count("table") == 1
