"""Pictures: every text is inside, none lies on another, names stay as they are, limits are drawn, words say the same."""

import io
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
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
    "63 letters": (LONGEST, LONGEST, LONGEST),
    "words of 63": ("a_long_name_that_is_cut_where_its_words_end_and_nowhere_else_ok", LONGEST, LONGEST),
    "mathematics": (NASTY, f"{NASTY}{NASTY}", r"\frac{1}{2}_$"),
    "letters": ("größe 東京 \x07\n'\"", "<b>&amp;", "%s %(x)s {x}"),
}
NOW = datetime(2025, 11, 15, 17, 23, tzinfo=UTC)
named = pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)


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
    distinct = {id(text): text for text in texts}.values()
    return {f"#{place} {text.get_text()}": text.get_window_extent() for place, text in enumerate(distinct)}


def problems(figure: Chart, *, dpi: int = 100) -> list[str]:
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
    **{f"plan of {kind}": lambda names, make=make: charts.plan(make(names), title=names[0]) for kind, make in PLANS.items()},
}  # fmt: skip


@named
@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_every_text_is_inside_and_none_lies_on_another(
    make: Callable[[tuple[str, str, str]], Chart], names: tuple[str, str, str]
) -> None:
    assert problems(make(names)) == []


@pytest.mark.parametrize("dpi", [72, 200])
@pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS)
def test_it_is_so_at_other_resolutions(make: Callable[[tuple[str, str, str]], Chart], dpi: int) -> None:
    assert problems(make(NAMES["words of 63"]), dpi=dpi) == []
