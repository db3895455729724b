"""Pictures: every text is inside, none lies on another, names stay as they are, limits are drawn, words tell it."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from IPython.core.formatters import PlainTextFormatter
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from gatebook import charts
from gatebook.drawing import sheet
from gatebook.drawing.sheet import Chart
from gatebook.plans import Plan
from gatebook.timings import Latencies
from gatebook.verdicts import Rows

LONGEST = "idx_" + "n" * 59
NASTY = "$x_1^2$"
NAMES = {
    "usual": ("mv_by_day", "orders", "idx_orders_day"),
    "63 letters": ("a_long_name_that_is_cut_where_its_words_end_and_nowhere_else_ok", LONGEST, LONGEST.upper()),
    "hostile": (NASTY, "größe 東京 \x07\n'\"", r"<b>&amp; %s {x} \frac{1}{2}_$"),
}
NOW = datetime(2025, 11, 15, 17, 23, tzinfo=UTC)


# -- what is drawn


@contextmanager
def drawn_texts() -> Iterator[list[Text]]:
    """The texts that are drawn meanwhile; ticks outside of an axis are made, and never drawn."""
    texts: list[Text] = []
    draw = Text.draw

    def note(text: Text, renderer: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            texts.append(text)
        draw(text, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", note)
        yield texts


def texts_of(figure: Chart, *, dpi: int = 100) -> dict[str, Any]:
    """Each drawn text with its place in pixels: "#2 orders" -> box."""
    with drawn_texts() as texts:
        figure.set_dpi(dpi)
        FigureCanvasAgg(figure).draw()
    assert texts
    assert [text.get_text() for text in texts if text.get_parse_math()] == []
    distinct = {id(text): text for text in texts}.values()
    extent = Text.get_window_extent  # that of an annotation would have its arrow in it
    return {f"#{place} {text.get_text()}": extent(text) for place, text in enumerate(distinct)}


def problems(figure: Chart, *, dpi: int) -> list[str]:
    """Texts that leave the figure, and pairs of texts that lie on each other."""
    boxes = texts_of(figure, dpi=dpi)
    whole = figure.bbox
    outside = [
        f"outside: {name}"
        for name, box in boxes.items()
        if box.x0 < 0 or box.y0 < 0 or box.x1 > whole.x1 or box.y1 > whole.y1
    ]
    return outside + [
        f"overlap: {one} and {other}"
        for (one, first), (other, second) in combinations(boxes.items(), 2)
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 0.5
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 0.5
    ]


def written(figure: Chart) -> str:
    return "\n".join(name.partition(" ")[2] for name in texts_of(figure))


# -- what is shown


def node(kind: str, *children: dict[str, Any], **facts: Any) -> dict[str, Any]:
    plain = {
        "Node Type": kind,
        "Parent Relationship": "Outer",
        "Total Cost": 1234.5,
        "Plan Rows": 1000,
        "Actual Rows": 12345,
        "Actual Loops": 1,
        "Actual Total Time": 10.0 + sum(child["Actual Total Time"] for child in children),
        "Shared Hit Blocks": 1234,
        "Shared Read Blocks": 56,
    }
    return {**plain, **{key.replace("_", " "): value for key, value in facts.items()}, "Plans": list(children)}


def plan(top: dict[str, Any]) -> Plan:
    return Plan({"Plan": top, "Planning Time": 0.12, "Execution Time": top["Actual Total Time"] + 0.1})


def deep(count: int, names: tuple[str, str, str]) -> Plan:
    top = node("Index Scan", Relation_Name=names[1], Index_Name=names[2], Actual_Rows=0, Actual_Loops=123_456)
    for _ in range(count - 1):
        top = node("Aggregate", top, Strategy="Hashed", Partial_Mode="Finalize", Subplan_Name=f"CTE {names[0]}")
    return plan(top)


def wide(count: int, names: tuple[str, str, str]) -> Plan:
    huge = {"Actual_Rows": 10**12, "Shared_Hit_Blocks": 10**10, "Actual_Total_Time": 86_400_000.0}
    leaf = node("Seq Scan", Relation_Name=names[1], Parallel_Aware=True, **huge)
    never = node("Index Only Scan", Relation_Name=names[1], Index_Name=names[2], Actual_Loops=0, Actual_Total_Time=0)
    return plan(node("Append", *[leaf] * (count - 2), never))


PLANS = {
    "one node": lambda names: deep(1, names),
    "12 nodes deep": lambda names: deep(12, names),
    "15 nodes deep": lambda names: deep(15, names),
    "12 nodes wide": lambda names: wide(12, names),
}


def latencies(names: tuple[str, ...], *, median_ms: float = 3.0, spread: float = 0.4) -> list[Latencies]:
    chance = random.Random(7)

    def some(count: int, factor: float) -> tuple[float, ...]:
        return tuple(median_ms * factor * chance.lognormvariate(0, spread) for _ in range(count))

    return [Latencies(name, some(200, place + 1), some(20, 5 * (place + 1)), 30) for place, name in enumerate(names)]


def sizes(names: tuple[str, ...], *, factor: float = 1.0, apart: float = 1.0) -> Rows:
    return tuple(
        {
            "view": name,
            "series": name,
            "source_rows": rows,
            "seconds": factor * rows / 1e6 * (1 + apart * place),
            "aggregation_seconds": factor * rows / 1e6 * (0.8 + apart * place),
            "value": factor * rows / 1e6 * (1 + apart * place),
        }
        for place, name in enumerate(dict.fromkeys(names))
        for rows in (100_000, 1_000_000, 10_000_000)
    )


def refreshes(names: tuple[str, ...], *, count: int = 8, every_s: float = 3600, failed: tuple[int, ...] = (3,)) -> Rows:
    first = NOW - timedelta(seconds=every_s * count)
    return tuple(
        {
            "view": name,
            "started_at": (started := first + timedelta(seconds=every_s * number)),
            "finished_at": started + timedelta(seconds=2 + number % 3),
            "error": "canceling statement due to lock timeout" if number in failed else None,
        }
        for name in names
        for number in range(count)
    )


CHARTS: dict[str, Callable[[tuple[str, str, str]], Chart]] = {
    "latencies": lambda names: charts.latency_distributions(latencies(names), title=names[0]),
    "latencies far apart": lambda names: charts.latency_distributions(latencies(names, spread=4)),
    "latencies all slow": lambda names: charts.latency_distributions(latencies(names, median_ms=9e5)),
    "latencies of one query": lambda names: charts.latency_distributions(latencies(names[:1]), limits={99: 9_999_999}),
    "no limits": lambda names: charts.latency_distributions(latencies(names, spread=0.001), limits={}),
    "no latencies": lambda names: charts.latency_distributions([], title=names[0]),
    "refresh times": lambda names: charts.refresh_times(sizes(names), limit_s=60),
    "refresh times alike": lambda names: charts.refresh_times(sizes(names, apart=0.01)),
    "one refresh time": lambda names: charts.refresh_times(sizes(names)[:1], title=names[1]),
    "no refresh times": lambda names: charts.refresh_times((), title=names[1]),
    "refresh times of 0": lambda names: charts.refresh_times(sizes(names, factor=0)),
    "growth": lambda names: charts.growth(sizes(names), measure="p95", unit="ms", limit=50, title=names[0]),
    "growth of eight": lambda names: charts.growth(
        sizes(tuple(f"{name} {number}" for name in names for number in range(3))[:8]),
        measure=names[0], unit=names[1], limit=1e6, title=names[2],
    ),
    "growth far below its limit": lambda names: charts.growth(
        sizes(names), measure="p95", unit="ms", limit=1e9, title="T"
    ),
    "history": lambda names: charts.refresh_history(refreshes(names[:2]), now=NOW, max_age_s=7200, title=names[0]),
    "history of a day": lambda names: charts.refresh_history(refreshes(names, count=30, every_s=86_400), now=NOW),
    "history of seconds": lambda names: charts.refresh_history(refreshes(names, count=9, every_s=3), now=NOW),
    "history of years": lambda names: charts.refresh_history(refreshes(names, count=5, every_s=4e7), now=NOW),
    "one refresh": lambda names: charts.refresh_history(refreshes(names[:1], count=1, failed=()), now=NOW),
    "only failures": lambda names: charts.refresh_history(refreshes(names[:1], failed=tuple(range(8))), now=NOW),
    "no history": lambda names: charts.refresh_history((), title=names[0]),
    "before and after": lambda names: charts.before_and_after({"now": {"A": 3}}, stated={}, title=names[0][:40]),
    **{
        f"plan of {kind}": lambda names, make=make: charts.plan(make(names), title=names[0])
        for kind, make in PLANS.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_a_picture_is_whole(make: Callable[[tuple[str, str, str]], Chart], names: tuple[str, str, str]) -> None:
    figure = make(names)

    assert problems(figure, dpi=100) == []
    assert problems(figure, dpi=72) == []  # as notebooks show it
    assert pyplot.get_fignums() == []
    assert figure.get_size_inches()[0] == 9
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert repr(figure) == figure.alt != ""
    assert "\n" not in figure.alt


def test_the_check_itself_sees_what_is_wrong() -> None:
    with sheet.style():
        figure = sheet.new(1)
        sheet.put(figure, 1, 0.3, ["one"])
        sheet.put(figure, 1.1, 0.35, ["other"])
        sheet.put(figure, 8.9, 0.1, ["outside"])
        sheet.finished(figure, "x")

    assert problems(figure, dpi=100) == ["outside: #2 outside", "overlap: #0 one and #1 other"]


def test_a_notebook_has_the_words_beside_the_picture() -> None:
    """A cell's output holds both; pages take the text as what is read in place of the image."""
    figure = charts.latency_distributions(latencies(("a",)), title="How long")

    assert PlainTextFormatter()(figure) == figure.alt
    assert figure.alt.startswith("How long. a warm: p50 ")


def test_a_name_is_never_taken_for_mathematics() -> None:
    lines = written(charts.growth(sizes((NASTY,)), measure=NASTY, unit=NASTY, limit=1, title=NASTY)).splitlines()

    assert {NASTY, f"{NASTY} ({NASTY}), log scale", f"limit: 1 {NASTY}"} <= set(lines)
    assert lines.count(NASTY) == 2  # the title and the key


# -- what is said


def test_a_plan_says_what_each_node_reads_and_takes() -> None:
    leaf = node("Index Scan", Relation_Name="orders", Index_Name="by_day", Actual_Rows=2.5, Actual_Loops=4, Plan_Rows=3)
    figure = charts.plan(plan(node("Limit", leaf, Actual_Rows=10, Actual_Total_Time=50.0)), title="Ten orders")
    lines = written(figure).splitlines()

    for line in ("Ten orders", "Index Scan", "on orders", "using by_day", "10 rows", "expected 12", "in 4 loops"):
        assert line in lines
    assert {"80% · 40 ms itself", "40 ms in all", "20% · 10 ms itself", "50 ms in all"} <= set(lines)
    assert {"1,234 hit", "56 read"} <= set(lines)
    assert "shade: share of the time that is spent in the node itself, from none to all of it" in lines
    assert "10 rows returned in 50.1 ms, planned in 0.12 ms; cost 1,234.50" in lines
    assert figure.alt == (
        "Ten orders. 10 rows returned in 50.1 ms, planned in 0.12 ms; cost 1,234.50. "
        "From the top: Limit, Index Scan on orders using by_day. Most of the time, 80%, is spent in Index Scan."
    )


def test_a_plan_says_what_was_never_executed_and_what_is_rounded() -> None:
    never = node("Seq Scan", Relation_Name="orders", Actual_Loops=0)
    rounded = node("Index Scan", Index_Name="by_day", Actual_Rows=0, Actual_Loops=9)
    lines = written(charts.plan(plan(node("Append", never, rounded)), title="T")).splitlines()

    assert (lines.count("never executed"), lines.count("≈ 0 rows")) == (2, 2)  # in the box and beside the arrow


def test_more_time_is_a_darker_shade() -> None:
    slow, fast = node("Seq Scan", Actual_Total_Time=80.0), node("Seq Scan", Actual_Total_Time=10.0)
    figure = charts.plan(plan(node("Append", slow, fast)), title="T")
    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    blue = [box.get_facecolor()[2] for box in boxes]

    assert blue[1] < blue[2] == blue[0] <= 1


def test_more_rows_are_a_wider_arrow() -> None:
    many, few = node("Seq Scan", Actual_Rows=10**6), node("Seq Scan", Actual_Rows=10)
    figure = charts.plan(plan(node("Append", many, few)), title="T")
    widths = [line.get_linewidth() for line in figure.axes[0].lines if len(line.get_xdata()) == 3]

    assert widths[0] > 2 * widths[1]


def test_latencies_show_each_execution_each_percentile_and_each_limit() -> None:
    found = Latencies("q", tuple(float(number) for number in range(1, 201)), (700.0,) * 20, 5)
    figure = charts.latency_distributions([found], limits={95: 500, 50: 50}, title="T")
    (axis,) = figure.axes
    lines = written(figure).splitlines()
    limits = [line.get_xdata()[0] for line in axis.lines if line.get_linestyle() == "--"]

    assert [len(line.get_xdata()) for line in axis.lines if line.get_marker() == "."] == [200, 20]
    assert sorted(limits) == [50, 500]
    assert {"q", "warm", "cold", "p50 ms", "p95 ms", "limit of p50: 50 ms", "limit of p95: 500 ms"} <= set(lines)
    assert [line for line in lines if line in ("100", "190", "700")][-4:] == ["100", "190", "700", "700"]
    assert axis.get_xlabel() == "milliseconds from sending the query to the last row, log scale"
    assert figure.alt == "T. q warm: p50 100 ms, p95 190 ms; q cold: p50 700 ms, p95 700 ms."


def test_a_percentile_that_is_not_below_its_limit_is_red() -> None:
    found = Latencies("q", (50.0,) * 200, (49.9,) * 20, 5)
    figure = charts.latency_distributions([found], limits={50: 50})

    colours = {text.get_text(): text.get_color() for text in figure.texts}
    assert (colours["50"], colours["49.9"]) == (sheet.LIMIT, sheet.INK)


def test_refresh_times_label_every_point_and_draw_the_limit() -> None:
    rows = (
        {"view": "v", "source_rows": 100_000, "seconds": 0.123, "aggregation_seconds": 0.1},
        {"view": "v", "source_rows": 1_000_000, "seconds": 1.5, "aggregation_seconds": None},
    )
    figure = charts.refresh_times(rows, limit_s=60)
    (axis,) = figure.axes
    lines = written(figure).splitlines()

    assert sorted(text.get_text() for text in axis.texts) == ["0.1", "0.123", "1.5"]
    assert {"v, refresh", "v, bare aggregation", "limit: 60 s", "refresh (s), log scale"} <= set(lines)
    assert [line.get_ydata()[0] for line in axis.lines if line.get_color() == sheet.LIMIT] == [60]
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    assert figure.alt == (
        "Time of a refresh against source rows. v, refresh: 0.123 s at 100,000 rows, 1.5 s at 1,000,000 rows; "
        "v, bare aggregation: 0.1 s at 100,000 rows. The limit is 60 s."
    )


def test_growth_draws_each_series_by_rows() -> None:
    rows = tuple({"series": "a", "source_rows": rows, "value": rows / 1e5} for rows in (10**7, 10**5, 10**6))
    figure = charts.growth(rows, measure="p95", unit="ms", limit=50, title="T")
    (axis,) = figure.axes

    assert axis.lines[0].get_xydata().tolist() == [[1e5, 1], [1e6, 10], [1e7, 100]]
    assert axis.get_ylabel() == "p95 (ms), log scale"
    assert figure.alt.endswith("The limit is 50 ms.")


def test_a_history_says_how_old_the_contents_are() -> None:
    log = refreshes(("v",), count=3, every_s=3600, failed=(2,))
    figure = charts.refresh_history(log, now=NOW, max_age_s=7200)
    status = "2 succeeded, 1 failed; contents of 2025-11-15 15:23:00 UTC, 2 h old, limit 2 h"
    (axis,) = figure.axes

    assert {text.get_text(): text.get_color() for text in figure.texts}[status] == sheet.LIMIT
    assert [line.get_xdata()[0] for line in axis.lines if line.get_linestyle() == "--"] == [NOW.timestamp()]
    assert [len(line.get_xdata()) for line in axis.lines[:3]] == [2, 1, 0]
    assert figure.alt == f"Refreshes, and how old the contents are. v: {status}."


@pytest.mark.parametrize(
    ("log", "status", "colour"),
    [
        pytest.param(
            refreshes(("v",), count=1, failed=()),
            "1 succeeded; contents of 2025-11-15 16:23:00 UTC, 1 h old, limit 2 h",
            sheet.FAINT,
            id="fresh",
        ),
        pytest.param(
            refreshes(("v",), count=1, failed=(0,)), "1 failed; never refreshed with success", sheet.LIMIT, id="never"
        ),
        pytest.param(
            ({"view": "v", "started_at": NOW, "finished_at": None, "error": None},),
            "1 not finished; never refreshed with success",
            sheet.LIMIT,
            id="under way",
        ),
    ],
)
def test_the_status_of_a_view(log: Rows, status: str, colour: str) -> None:
    figure = charts.refresh_history(log, now=NOW, max_age_s=7200)

    assert {text.get_text(): text.get_color() for text in figure.texts}[status] == colour


# -- numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (0.0712, "0.0712"), (0.5, "0.5"), (1, "1"), (9.999, "10"), (12.34, "12.3"), (99.96, "100")),
        *((123.4, "123"), (1234.5, "1,234"), (1e7, "10,000,000"), (0.00001234, "0.000012")),
    ],
)
def test_a_number_has_three_digits_or_all_before_the_point(value: float, text: str) -> None:
    assert sheet.number(value) == text


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        pytest.param([3, 4], [2, 5], id="between two"),
        pytest.param([1, 100], [1, 2, 5, 10, 20, 50, 100], id="two decades"),
        pytest.param([5, 5], [5], id="one value"),
        pytest.param([0.02, 900], [0.01, 0.1, 1, 10, 100, 1000], id="five decades"),
        pytest.param([1e-6, 1e6], [1e-6, 1e-3, 1, 1e3, 1e6], id="twelve"),
        pytest.param([0, 0], [1], id="nothing above 0"),
    ],
)
def test_ticks_of_a_log_scale(values: list[float], ticks: list[float]) -> None:
    assert sheet.log_ticks(values, room_in=4, across=True) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param("", [""], id="nothing"),
        pytest.param("a_b", ["a_b"], id="short"),
        pytest.param("one_word_and another_one_of_several", ["one_word_and", "another_one_of_", "several"], id="words"),
        pytest.param("n" * 40, ["n" * 15, "n" * 15, "n" * 10], id="one word"),
    ],
)
def test_long_names_are_broken_where_they_can_be(text: str, lines: list[str]) -> None:
    assert sheet.wrapped(text, within_in=1.3, size=9) == lines


# -- rehearsals


def rehearsals(count: int, *, held_ms: float = 31.25, rewritten_bytes: int = 1_056_768) -> Rows:
    return tuple(
        {"revision": f"2025111514{number:02}", "held_ms": held_ms * number, "rewritten_bytes": rewritten_bytes * number}
        for number in range(count)
    )


@pytest.mark.parametrize("count", [1, 2, 40])
@pytest.mark.parametrize("held_ms", [0.0, 0.4, 31.25, 120_000.0])
def test_every_revision_is_named_and_no_text_of_rehearsals_is_cut(count: int, held_ms: float) -> None:
    chart = charts.rehearsals(rehearsals(count, held_ms=held_ms), limit_ms=5_000)
    names = written(chart)

    assert problems(chart, dpi=100) == []
    assert all(str(row["revision"]) in names for row in rehearsals(count))


def test_the_words_of_rehearsals() -> None:
    chart = charts.rehearsals(rehearsals(2), limit_ms=5_000, title="Locks")

    assert chart.alt == (
        "Locks. 202511151400: 0 ms, 0 kB rewritten; 202511151401: 31.2 ms, 1,032 kB rewritten. "
        "Who waits for a lock gives up after 5,000 ms."
    )
    assert charts.rehearsals(()).alt == "Locks and rewrites, rehearsed: nothing was rehearsed"
