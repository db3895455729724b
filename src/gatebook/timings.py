"""How long a client waits for a query: repeated executions, warm and cold apart, percentiles and their limits.

warm  on one connection that has run the query before, as a pool's connection has
cold  the first execution on a new connection: the session's caches of catalog and plans are empty; the server's
      buffers and the operating system's cache are not
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import psycopg

from gatebook.catalog import Query
from gatebook.errors import EmptySample, StatementRefused
from gatebook.verdicts import Fail, Pass, Rows, Unknown, Verdict

OpenSession = Callable[[], psycopg.Connection[Any]]

EXECUTIONS = 200
COLD_EXECUTIONS = 20
WARMING = 10  # psycopg prepares at the sixth execution, and PostgreSQL settles on a plan after five more
LEVELS: Mapping[int, float] = MappingProxyType({50: 50.0, 95: 500.0, 99: 1000.0})
FLOOR = "SELECT 1"
REFUSED = {
    "25006": "a statement that writes is not timed",
    "42601": "the text is not one query that only reads",
}


@dataclass(frozen=True)
class Latencies:
    """Repeated executions of one query, in the order in which they were made.

    Units  milliseconds from sending the statement to having the last row as Python values; BEGIN and ROLLBACK
           are not counted
    rows   the fewest rows that an execution returned
    """

    name: str
    warm_ms: tuple[float, ...]
    cold_ms: tuple[float, ...]
    rows: int

    @property
    def states(self) -> Mapping[str, tuple[float, ...]]:
        """The states that were measured: warm, and cold where it was."""
        return {state: ms for state, ms in (("warm", self.warm_ms), ("cold", self.cold_ms)) if ms}


def percentiles(samples_ms: Sequence[float], *, levels: Iterable[float] = (50, 95, 99)) -> dict[float, float]:
    """Percentiles of repeated timings, by nearest rank: each is a timing that was measured.

    Shape   samples_ms: n floats, n >= 1 -> dict level -> float, for levels over 0 and up to 100
    Errors  EmptySample when n = 0
    Source  Hyndman and Fan 1996, definition 1
    """
    ordered = sorted(samples_ms)
    if not ordered:
        raise EmptySample("there are no timings to take percentiles of", next_step="measure at least one execution")
    return {level: ordered[max(math.ceil(Fraction(str(level)) * len(ordered) / 100), 1) - 1] for level in levels}


def measure(
    open_session: OpenSession,
    sql: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    name: str = "query",
    executions: int = EXECUTIONS,
    cold_executions: int = COLD_EXECUTIONS,
) -> Latencies:
    """One query, executed again and again. As measure_all."""
    query = Query(sql, parameters or {})
    return measure_all(open_session, {name: query}, executions=executions, cold_executions=cold_executions)[0]


def measure_all(
    open_session: OpenSession,
    queries: Mapping[str, Query],
    *,
    executions: int = EXECUTIONS,
    cold_executions: int = COLD_EXECUTIONS,
    floor: bool = False,
) -> tuple[Latencies, ...]:
    """Several queries in turns, so that whatever slows the machine for a moment slows all of them alike.

    Every execution is in a read-only transaction of its own, and all rows are fetched. Warm timings share one
    connection and follow a few that are not counted.

    open_session  makes a new connection with its role and settings, for example Database.open_session
    floor         measure SELECT 1 too: what a statement costs that does nothing
    Errors        StatementRefused for what writes, locks rows, or is not one query; psycopg's for other failures
    """
    measured = {**queries, FLOOR: Query(FLOOR)} if floor else dict(queries)
    samples = {name: _Samples(name, query) for name, query in measured.items()}
    for each in samples.values():
        _refuse_unfit(open_session, each.query)
    turns = [each for number in range(cold_executions) for each in _turn(list(samples.values()), number)]
    for each in turns:
        with _session(open_session) as session:
            each.cold_ms.append(each.time(session))
    with _session(open_session) as session:
        for number in range(WARMING + executions):
            for each in _turn(list(samples.values()), number):
                each.warm_ms.append(each.time(session))
    return tuple(each.finished() for each in samples.values())


def meets_levels(what: str, latencies: Sequence[Latencies], *, levels: Mapping[int, float] = LEVELS) -> Verdict:
    """Every percentile of every query stays below its limit, warm and cold.

    levels   percentile -> milliseconds
    Unknown  for a query without rows, or with fewer than 200 warm executions
    """
    if not latencies or not levels:
        return Unknown(what, (), (), "nothing was measured" if not latencies else "no limit was given")
    have = tuple(row for each in latencies for row in _rows(each, levels))
    limits = {f"p{level:g}_ms": f"< {limit:g}" for level, limit in levels.items()}
    want: Rows = tuple(
        {"query": row["query"], "state": row["state"]}
        | {"executions": f"≥ {EXECUTIONS if row['state'] == 'warm' else 1}", "rows": "≥ 1", **limits}
        for row in have
    )
    slow = [text for each in latencies for text in _too_slow(each, levels)]
    unproven = [text for each in latencies for text in _unproven(each)]
    if slow:
        return Fail(what, have, want, "; ".join([*slow, *unproven]))
    return Unknown(what, have, want, "; ".join(unproven)) if unproven else Pass(what, have, want)


# -- measuring


@dataclass
class _Samples:
    """What is known of one query so far."""

    name: str
    query: Query
    warm_ms: list[float] = field(default_factory=list)
    cold_ms: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def time(self, session: psycopg.Connection[Any]) -> float:
        with session.transaction(force_rollback=True):
            started = time.perf_counter_ns()
            rows = session.execute(self.query.sql, self.query.parameters or None).fetchall()
            elapsed_ns = time.perf_counter_ns() - started
        self.rows.append(len(rows))
        return elapsed_ns / 1e6

    def finished(self) -> Latencies:
        return Latencies(self.name, tuple(self.warm_ms[WARMING:]), tuple(self.cold_ms), min(self.rows, default=0))


def _turn(samples: list[_Samples], number: int) -> list[_Samples]:
    """Each once; another one begins each time, so that none always comes after the same other."""
    start = number % max(len(samples), 1)
    return samples[start:] + samples[:start]


def _session(open_session: OpenSession) -> closing[psycopg.Connection[Any]]:
    session = open_session()
    session.commit()  # what it was opened with stays
    session.read_only = True
    return closing(session)


def _refuse_unfit(open_session: OpenSession, query: Query) -> None:
    """Run the query once by the extended protocol, in which a text holds one statement and never another after it."""
    with _session(open_session) as session:
        try:
            cursor = session.execute(query.sql, query.parameters or None, binary=True)
        except psycopg.Error as error:
            problem = REFUSED.get(error.sqlstate or "")
            if problem is None:
                raise
            raise _refusal(query, f"{problem}: {str(error).splitlines()[0]}") from error
        if cursor.description is None:
            raise _refusal(query, "a statement that returns no rows is not timed")


def _refusal(query: Query, problem: str) -> StatementRefused:
    return StatementRefused(
        problem, where=query.sql.strip().splitlines()[0], next_step="give one query that only reads"
    )


# -- judging


def _rows(each: Latencies, levels: Mapping[int, float]) -> list[dict[str, Any]]:
    return [
        {"query": each.name, "state": state, "executions": len(ms), "rows": each.rows}
        | {f"p{level:g}_ms": round(value, 3) for level, value in percentiles(ms, levels=levels).items()}
        for state, ms in each.states.items()
    ]


def _too_slow(each: Latencies, levels: Mapping[int, float]) -> list[str]:
    found = {state: percentiles(ms, levels=levels) for state, ms in each.states.items()}
    return [
        f"{each.name}, {state}: p{level:g} is {values[level]:,.6g} ms, not below {limit:,g} ms"
        for state, values in found.items()
        for level, limit in levels.items()
        if values[level] >= limit
    ]


def _unproven(each: Latencies) -> list[str]:
    few = len(each.warm_ms) < EXECUTIONS
    problems = [f"{each.name}: {len(each.warm_ms)} warm executions, of at least {EXECUTIONS}"] if few else []
    return problems + ([] if each.rows else [f"{each.name} returned no rows, so nothing is proven"])
