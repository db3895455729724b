"""What people see: escaped, NULL visible, bounded with the true count, a word for every verdict; charts unclipped."""

import base64
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from gatebook import charts
from gatebook.display import (
    GateResult,
    Header,
    Note,
    PhaseResult,
    Shown,
    Table,
    TestResult,
    badge,
    frame,
    show,
    table_html,
    table_text,
)
from gatebook.verdicts import Fail, Pass, Rows, Unknown, Verdict

NASTY = "<script>alert('x')</script>"
ESCAPED = "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;"
RED = Fail("a claim", ({"n": 1},), ({"n": 2},), "1 is not 2")


# -- tables


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        pytest.param(None, "<td>NULL</td>", id="NULL"),
        pytest.param("", "<td></td>", id="empty text"),
        pytest.param("NULL", "<td>NULL</td>", id="the word"),
        pytest.param(True, "<td>yes</td>", id="true"),
        pytest.param(False, "<td>no</td>", id="false"),
        pytest.param(0, "<td class='num'>0</td>", id="zero"),
        pytest.param(1234567, "<td class='num'>1,234,567</td>", id="large"),
        pytest.param(1.5, "<td class='num'>1.5</td>", id="float"),
        pytest.param(Decimal("0.500"), "<td class='num'>0.500</td>", id="numeric"),
        pytest.param(["a DESC", "b"], "<td>a DESC, b</td>", id="list"),
        pytest.param([], "<td>–</td>", id="empty list"),
        pytest.param([NASTY], f"<td>{ESCAPED}</td>", id="markup in a list"),
        pytest.param(NASTY, f"<td>{ESCAPED}</td>", id="markup"),
        pytest.param("a & b \"c\" 'd'", "<td>a &amp; b &quot;c&quot; &#x27;d&#x27;</td>", id="quotes"),
        pytest.param("two\nlines, größe 東京", "<td>two\nlines, größe 東京</td>", id="lines and letters"),
    ],
)
def test_a_cell(value: Any, cell: str) -> None:
    assert cell in table_html(({"a": value},))


def test_names_of_columns_are_escaped_too() -> None:
    assert f"<th scope='col'>{ESCAPED}</th>" in table_html(({NASTY: 1},))


def test_a_value_that_a_row_lacks_is_not_null() -> None:
    rows: Rows = ({"a": 1}, {"b": None})

    assert "<tr><td class='num'>1</td><td></td></tr><tr><td></td><td>NULL</td></tr>" in table_html(rows)
    assert frame(rows).to_dict("list") == {"a": ["1", ""], "b": ["", "NULL"]}


@pytest.mark.parametrize(
    ("count", "shown", "note"),
    [
        pytest.param(0, 0, "no rows", id="none"),
        pytest.param(50, 50, None, id="all"),
        pytest.param(51, 50, "50 of 51 rows", id="one more"),
        pytest.param(12_345, 50, "50 of 12,345 rows", id="many"),
    ],
)
def test_a_large_table_is_bounded_and_says_how_large_it_is(count: int, shown: int, note: str | None) -> None:
    text = table_html(tuple({"a": number} for number in range(count)))

    assert text.count("<td") == shown
    assert text.endswith(f"<div class='label'>{note}</div>" if note else "</table></div>")


def test_a_table_as_text() -> None:
    assert table_text(()) == "no rows"
    assert table_text(({"a": None, "b": 1200}, {"a": "x", "b": 3})).split() == ["a", "b", "NULL", "1,200", "x", "3"]


# -- each object in both forms


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        pytest.param(Note(f"Note {NASTY}"), f"Note {NASTY}", id="note"),
        pytest.param(Table("T", ({"a": NASTY},), note="n"), f"T\n{'a':>27}\n{NASTY}\nn", id="table"),
        pytest.param(Header("Phase 4", ({"role": NASTY},)), f"Phase 4\n{'role':>27}\n{NASTY}", id="header"),
        pytest.param(
            TestResult("4.1.1", "says", Fail("w", reason=NASTY)), f"✗ FAIL 4.1.1 says – {NASTY}", id="red test"
        ),
        pytest.param(TestResult("4.1.1", NASTY, Pass("w")), f"✓ PASS 4.1.1 {NASTY}", id="green test"),
        pytest.param(
            GateResult("4.1", NASTY, "UNKNOWN", 1, 2), f"? UNKNOWN gate 4.1 {NASTY} (1 of 2 tests green)", id="gate"
        ),
        pytest.param(
            PhaseResult("Phase 4", "PASS", ({"verdict": "PASS", "claim": NASTY},), unblocks=["B1"]),
            f"✓ PASS Phase 4\nverdict{'claim':>28}\n   PASS {NASTY}",
            id="phase",
        ),
    ],
)
def test_text_is_plain_and_html_is_escaped(thing: Shown, text: str) -> None:
    shown = thing._repr_html_()

    assert str(thing) == repr(thing) == text
    assert shown.startswith("<div class='gb'>")
    assert "<script" not in shown
    assert ESCAPED in shown
    assert "http" not in shown


def test_sql_and_names_of_a_test_are_escaped() -> None:
    result = TestResult(NASTY, "says", Pass("w", ({NASTY: 1},)), sql=f"SELECT '{NASTY}'")

    assert result._repr_html_().count(ESCAPED.partition("alert")[0]) == 3
    assert "<script" not in result._repr_html_()


@pytest.mark.parametrize(
    ("verdict", "tables", "labels"),
    [
        pytest.param(RED, 2, ["have", "want"], id="differ"),
        pytest.param(Pass("w", ({"n": 1},), ({"n": 1},)), 1, ["have = want"], id="same"),
        pytest.param(Pass("w", ({"n": 1},)), 1, ["have"], id="nothing wanted"),
        pytest.param(Unknown("w", (), ({"n": 1},), "unseen"), 1, ["have", "no rows", "want"], id="nothing seen"),
    ],
)
def test_have_and_want_stand_apart_unless_they_are_the_same(verdict: Verdict, tables: int, labels: list[str]) -> None:
    text = TestResult("4.1.1", "says", verdict)._repr_html_()

    assert text.count("<table>") == tables
    assert [part.partition("<")[0] for part in text.split("class='label'>")[1:]] == labels


def test_have_and_want_are_data_frames() -> None:
    result = TestResult("4.1.1", "says", RED)

    assert (result.have.to_dict("list"), result.want.to_dict("list")) == ({"n": ["1"]}, {"n": ["2"]})


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        pytest.param("PASS", "<b class='pass'>✓ PASS</b>", id="green"),
        pytest.param("FAIL", "<b class='fail'>✗ FAIL</b>", id="red"),
        pytest.param("UNKNOWN", "<b class='unknown'>? UNKNOWN</b>", id="unknown"),
        pytest.param("NOT REACHED", "<b class='not reached'>· NOT REACHED</b>", id="not reached"),
        pytest.param("<i>", "<b class='&lt;i&gt;'>· &lt;i&gt;</b>", id="markup"),
    ],
)
def test_a_verdict_is_a_word_not_a_colour_alone(verdict: str, text: str) -> None:
    assert badge(verdict) == text


@pytest.mark.parametrize(
    ("verdict", "said"),
    [("PASS", "unblocked: B1, B2"), ("FAIL", "still blocked: B1, B2"), ("UNKNOWN", "still blocked: B1, B2")],
)
def test_a_phase_says_what_it_unblocks_only_when_green(verdict: str, said: str) -> None:
    assert f"<div>{said}</div>" in PhaseResult("T", verdict, (), unblocks=["B1", "B2"])._repr_html_()


def test_outside_of_a_notebook_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    show(Note("x"))

    assert capsys.readouterr() == ("", "")


# -- charts

BEFORE = {"BLOCKING": 48, "HIGH": 11, "LOW": 5}
AFTER = {"BLOCKING": 0, "HIGH": 0, "LOW": 0}


def chart(measured: dict[str, int] = BEFORE, stated: dict[str, int] | None = None) -> Figure:
    return charts.before_and_after(
        {"before phase 4": measured, "now": AFTER},
        stated={"before phase 4": {"BLOCKING": 37, "HIGH": 12} if stated is None else stated},
        title="Divergences from the canonical schema",
    )


def test_a_chart_has_title_labels_and_a_legend() -> None:
    figure = chart()
    left, right = figure.axes

    assert figure.get_suptitle() == "Divergences from the canonical schema"
    assert [axis.get_title() for axis in (left, right)] == ["before phase 4", "now"]
    assert left.get_ylabel() == "divergences (count)"
    assert [label.get_text() for label in left.get_xticklabels()] == ["BLOCKING", "HIGH", "LOW"]
    assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == [
        "measured",
        "stated in the source document",
    ]
    assert left.get_ylim() == right.get_ylim()


@pytest.mark.parametrize(
    "stated", [{"BLOCKING": 37, "HIGH": 12}, {"HIGH": 12, "BLOCKING": 37}, {"LOW": 3}, {}], ids=str
)
def test_every_bar_stands_over_its_own_category(stated: dict[str, int]) -> None:
    figure = chart(stated=stated)
    heights: dict[str, dict[str, float]] = {}
    for container in figure.axes[0].containers:
        for bar in container:
            name = list(BEFORE)[round(bar.get_x() + bar.get_width() / 2)]
            heights.setdefault(container.get_label(), {})[name] = bar.get_height()

    assert heights.get("measured") == BEFORE
    assert heights.get("stated in the source document", {}) == stated


@pytest.mark.parametrize(
    "measured", [BEFORE, AFTER, {"BLOCKING": 1_000_000, "HIGH": 1, "LOW": 0}], ids=["usual", "nothing", "large"]
)
def test_nothing_of_a_chart_is_clipped(measured: dict[str, int], tmp_path: Path) -> None:
    figure = chart(measured)
    path = tmp_path / "chart.png"
    figure.savefig(path, dpi=100)
    inner, outer = figure.get_tightbbox(), figure.bbox_inches

    assert (inner.x0 >= 0, inner.y0 >= 0) == (True, True)
    assert (inner.x1 <= outer.x1, inner.y1 <= outer.y1) == (True, True)
    for axis in figure.axes:
        for text in axis.texts:
            assert axis.get_window_extent().y1 >= text.get_window_extent().y1
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 5_000


def test_a_chart_is_not_shown_twice_in_a_notebook() -> None:
    """It is closed, so that only the cell's value displays it."""
    import matplotlib.pyplot as plt

    figure = chart()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")

    assert plt.get_fignums() == []
    assert len(base64.b64encode(buffer.getvalue())) > 5_000
