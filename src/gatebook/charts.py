"""Pictures for notebooks: titled, with units, the limit drawn in, nothing clipped.

Each is as wide as a notebook, reads on white, and carries in words what it shows, as its text form.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from matplotlib.axes import Axes

from gatebook.drawing import growth as growth_drawing
from gatebook.drawing import latencies as latency_drawing
from gatebook.drawing import plan as plan_drawing
from gatebook.drawing import refreshes, sheet
from gatebook.drawing import rehearsals as rehearsal_drawing
from gatebook.drawing.sheet import INK, Chart
from gatebook.plans import Plan
from gatebook.timings import LEVELS, Latencies
from gatebook.verdicts import Rows

MEASURED, STATED = "#0969da", "#8c959f"


def before_and_after(
    measured: Mapping[str, Mapping[str, int]], *, stated: Mapping[str, Mapping[str, int]], title: str
) -> Chart:
    """Counts at two moments as paired bars, measured beside stated.

    Shape  moment -> category -> count, for both
    """
    moments = list(measured)
    categories = list(next(iter(measured.values())))
    with sheet.style():
        figure = sheet.new(3.4)
        figure.set_layout_engine("constrained")
        panels = figure.subplots(1, len(moments), sharey=True, squeeze=False)[0]
        for axis, moment in zip(panels, moments, strict=True):
            _bars(axis, categories, measured[moment], -0.2, MEASURED, "measured")
            _bars(axis, categories, stated.get(moment, {}), 0.2, STATED, "stated in the source document")
            axis.set_title(moment, fontsize=11, color=INK)
            axis.set_xticks(range(len(categories)), categories)
            axis.axhline(0, color=INK, linewidth=0.8)
            axis.spines[["top", "right", "left"]].set_visible(False)
            axis.set_xlim(-0.6, len(categories) - 0.4)
            axis.margins(y=0.15)
        panels[0].set_ylabel("divergences (count)")
        figure.suptitle(sheet.plain(title), fontsize=12, fontweight="bold")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
        counts = (f"{moment}: {', '.join(f'{n} {name}' for name, n in measured[moment].items())}" for moment in moments)
        return sheet.finished(figure, f"{title}. {'; '.join(counts)}.")


def plan(plan: Plan, *, title: str) -> Chart:
    """The tree of an executed plan: what each node reads, its rows, time and buffers; darker where time was spent."""
    return plan_drawing.draw(plan, title=title)


def latency_distributions(
    latencies: Sequence[Latencies],
    *,
    limits: Mapping[int, float] = LEVELS,
    title: str = "How long a client waits",
) -> Chart:
    """Every execution as a point on a log scale of milliseconds, a row each for warm and cold, with percentiles.

    limits  percentile -> milliseconds: a vertical line each; a number that is not below its limit is red
    """
    return latency_drawing.draw(latencies, limits=limits, title=title)


def refresh_times(
    rows: Rows, *, limit_s: float | None = None, title: str = "Time of a refresh against source rows"
) -> Chart:
    """Seconds of a refresh against source rows, both on log scales; the bare aggregation dashed beside it.

    Shape  view, source_rows, seconds, and aggregation_seconds where it was measured
    """
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        series[f"{row['view']}, refresh"].append((row["source_rows"], row["seconds"]))
        if row.get("aggregation_seconds") is not None:
            series[f"{row['view']}{growth_drawing.BARE}"].append((row["source_rows"], row["aggregation_seconds"]))
    return growth_drawing.draw(series, measure="refresh", unit="s", limit=limit_s, title=title)


def growth(rows: Rows, *, measure: str, unit: str, title: str, limit: float | None = None) -> Chart:
    """One measure of several series as the source rows grow, both on log scales, with its limit.

    Shape  series, source_rows, value
    """
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        series[str(row["series"])].append((row["source_rows"], row["value"]))
    return growth_drawing.draw(series, measure=measure, unit=unit, limit=limit, title=title)


def refresh_history(
    log_rows: Rows,
    *,
    now: datetime | None = None,
    max_age_s: float | None = None,
    title: str = "Refreshes, and how old the contents are",
) -> Chart:
    """How long each refresh of each view took, which ones failed, and the age of what the view shows now.

    Shape      view, started_at, finished_at, error; moments with a time zone, None where there is none
    now        the moment to which the age is counted, from the start of the last refresh that succeeded
    max_age_s  the limit of that age in seconds, drawn in as the moment from which the contents are too old
    """
    return refreshes.draw(log_rows, now=now or datetime.now(UTC), max_age_s=max_age_s, title=title)


def rehearsals(rows: Rows, *, limit_ms: float | None = None, title: str = "Locks and rewrites, rehearsed") -> Chart:
    """The longest lock and the kilobytes rewritten of each revision, side by side.

    Shape     revision, held_ms (milliseconds), rewritten_bytes
    limit_ms  how long another session waits for a lock before it gives up
    """
    return rehearsal_drawing.draw(rows, limit_ms=limit_ms, title=title)


def _bars(axis: Axes, categories: list[str], counts: Mapping[str, int], offset: float, colour: str, label: str) -> None:
    places = [categories.index(name) + offset for name in counts]
    bars = axis.bar(places, list(counts.values()), width=0.38, color=colour, label=label)
    axis.bar_label(bars, padding=2, fontsize=9)
