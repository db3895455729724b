"""The picture of the benchmark: growth against the limits, latency, and the same comparison by others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from table import LINES, Figures, Limit, count

INK, LIMIT, GREY = "#24292f", "#cf222e", "#6e7781"
BLUE, TEAL, VIOLET, ORANGE = "#0969da", "#1b7c83", "#8250df", "#bc4c00"

Measured = Mapping[int, Figures]
Points = Sequence[tuple[int, float]]  # rows, what was measured


@dataclass(frozen=True)
class Series:
    """One line of a panel."""

    label: str
    points: Points
    colour: str
    style: str = "-"
    marker: str = "o"


def draw(measured: Measured, path: Path) -> None:
    """Three panels side by side as a PNG.

    measured  rows -> figures
    """
    with plt.style.context("default"):
        figure, axes = plt.subplots(1, 3, figsize=(15, 5.6), layout="constrained")
        for axis, panel in zip(axes, (_growth, _latency, _others), strict=True):
            panel(axis, measured)
            _finish(axis, sorted(measured))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    plt.close(figure)


def _growth(axis: Axes, measured: Measured) -> None:
    series = [
        Series("refresh, channels", _ratios(measured, "refresh channel"), BLUE),
        Series("refresh, revenue", _ratios(measured, "refresh revenue"), BLUE, "--", "s"),
        Series("comparison, channels", _ratios(measured, "comparison channel"), ORANGE),
        Series("comparison, revenue", _ratios(measured, "comparison revenue"), ORANGE, "--", "s"),
    ]
    _plot(axis, series)
    for key, what in (("refresh channel", "refresh"), ("comparison channel", "comparison")):
        _bound(axis, _limit(key).ratio_at_most, what)
    axis.axhline(1, color=GREY, linewidth=1)
    axis.set_yscale("log")
    axis.set_yticks([0.5, 1, 2, 4, 8])
    axis.set_ylabel("times the bare aggregation")
    axis.set_title("Refresh and comparison")


def _latency(axis: Axes, measured: Measured) -> None:
    series = []
    for key, colour, marker in (("channel", TEAL, "o"), ("revenue", VIOLET, "s")):
        series.append(Series(f"{key}, source rows", _values(measured, f"{key} raw"), colour, ":", marker))
        series.append(Series(f"{key}, view: p95", _values(measured, f"{key} p95"), colour, "-", marker))
        _band(axis, _values(measured, f"{key} p50"), _values(measured, f"{key} p99"), colour)
    series.append(Series("SELECT 1: p50", _quotients(measured, "channel copy"), GREY, "-.", ""))
    _plot(axis, series)
    _bound(axis, _limit("channel p95").value_at_most, "p95")
    axis.set_yscale("log")
    axis.set_ylabel("milliseconds at the client (band: p50 to p99)")
    axis.set_title("A request of one customer")


def _others(axis: Axes, measured: Measured) -> None:
    ours = _quotients(measured, "pandas")  # as measured in turns with the others
    times = _limit("pandas").ratio_at_least or 1
    series = [
        Series("datacompy", _values(measured, "datacompy"), VIOLET),
        Series("pandas", _values(measured, "pandas"), TEAL),
        Series("pandas, ids as text", _values(measured, "pandas_text"), TEAL, "--", "s"),
        Series("gatebook", ours, ORANGE),
        Series("psql, same statement", _quotients(measured, "psql channel"), GREY, "-.", ""),
    ]
    _plot(axis, series)
    wanted = [(rows, seconds * times) for rows, seconds in ours]
    axis.plot(*_columns(wanted), color=LIMIT, linewidth=1, linestyle=(0, (4, 3)), label=f"target: {times:g} × gatebook")
    axis.set_yscale("log")
    axis.set_ylabel("seconds")
    axis.set_title("Comparison of the channel view")


def _plot(axis: Axes, series: Sequence[Series]) -> None:
    for each in series:
        axis.plot(*_columns(each.points), label=each.label, color=each.colour, linestyle=each.style, marker=each.marker)


def _band(axis: Axes, low: Points, high: Points, colour: str) -> None:
    axis.fill_between([x for x, _ in low], [y for _, y in low], [y for _, y in high], color=colour, alpha=0.2, lw=0)


def _bound(axis: Axes, bound: float | None, what: str) -> None:
    """A limit, named beside the panel, where no line runs through the name."""
    if bound is not None:
        axis.axhline(bound, color=LIMIT, linewidth=1, linestyle=(0, (4, 3)))
        transform = axis.get_yaxis_transform()  # x: share of the panel; y: as measured
        axis.text(1.01, bound, f"{what} ≤ {bound:g}", color=LIMIT, fontsize=8, va="center", transform=transform)


def _finish(axis: Axes, rows: Sequence[int]) -> None:
    axis.set_xscale("log")
    axis.set_xlim(rows[0] / 1.6, rows[-1] * 1.6)
    axis.set_xticks(rows)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: count(round(value))))
    axis.xaxis.set_minor_formatter(NullFormatter())
    if axis.get_yscale() == "log":
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("allocations")
    axis.title.set(color=INK, fontweight="bold", fontsize=11)
    axis.grid(axis="y", color="#d0d7de", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False, fontsize=9)


def _limit(key: str) -> Limit:
    return LINES[key].limit or Limit()


def _columns(points: Points) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _values(measured: Measured, key: str) -> Points:
    found = ((rows, figures[key].value) for rows, figures in sorted(measured.items()) if key in figures)
    return [(rows, value) for rows, value in found if value is not None]


def _ratios(measured: Measured, key: str) -> Points:
    found = ((rows, figures[key].ratio) for rows, figures in sorted(measured.items()) if key in figures)
    return [(rows, ratio) for rows, ratio in found if ratio is not None]


def _quotients(measured: Measured, key: str) -> Points:
    """What stands on the other side of a ratio."""
    ratios = dict(_ratios(measured, key))
    return [(rows, value / ratios[rows]) for rows, value in _values(measured, key) if ratios.get(rows)]
