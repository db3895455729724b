"""What a walk through a migration knows and finds; statements.py, expressions.py and python.py say how it goes."""

import ast
import enum
from collections.abc import Iterable, Sequence
from typing import Any

from gatebook.safety.effects import Effect, Kind, Operation
from gatebook.safety.known import Known
from gatebook.safety.modules import Neighbours
from gatebook.safety.things import Class, Instance, Scope

STEPS = 30_000
UNROLLED = 2_000


class TooMuch(Exception):
    """More steps than a migration may take."""


class End(enum.IntEnum):
    """How a block certainly ends before its last line, the least certain first."""

    GOES_ON = 0
    CONTINUES = 1
    BREAKS = 2
    LEAVES = 3


class Walk:
    """State of one walk through upgrade() or downgrade().

    stack     the calls that are being followed, outermost first: path and node of the call, node of the function
    returned  for each of them, the values that it may return
    yielded   the same for what it yields
    seen      expressions that were evaluated, and functions that were followed
    """

    def __init__(self, neighbours: Neighbours) -> None:
        self.neighbours = neighbours
        self.known = Known()
        self.operations: list[Operation] = []
        self.statements = 0
        self.unresolved = 0
        self.steps = 0
        self.is_cut = False
        self.stack: list[tuple[str, ast.AST, Any]] = []
        self.returned: list[list[Any]] = []
        self.yielded: list[list[Any]] = []
        self.seen: set[ast.AST] = set()

    def emit(self, scope: Scope, node: ast.AST, call: str, effects: Iterable[Effect], *, sql: str = "") -> None:
        via = tuple((path, getattr(at, "lineno", 0)) for path, at, _ in self.stack)
        line, end = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0) or 0
        self.operations.append(Operation(scope.path, line, end, call, tuple(effects), sql, via))

    def unclear(self, scope: Scope, node: ast.AST, call: str, detail: str) -> None:
        self.statements += 1
        self.unresolved += 1
        self.emit(scope, node, call, [Effect(Kind.UNRESOLVED, call, "", detail)])

    def step(self) -> None:
        self.steps += 1
        if self.steps > STEPS:
            raise TooMuch

    # -- said by those who extend it

    def block(self, body: Sequence[ast.stmt], scope: Scope) -> End:
        raise NotImplementedError

    def define(self, scope: Scope, node: ast.stmt) -> None:
        raise NotImplementedError

    def value(self, node: ast.expr, scope: Scope) -> Any:
        raise NotImplementedError

    def member(self, owner: Class | Instance, name: str) -> Any:
        raise NotImplementedError

    def items(self, value: Any) -> list[Any] | None:
        raise NotImplementedError

    def element(self, iterable: Any) -> Any:
        raise NotImplementedError

    def bind(self, target: ast.expr, value: Any, scope: Scope) -> None:
        raise NotImplementedError

    def assign(self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr, scope: Scope) -> Any:
        raise NotImplementedError

    def call(self, function: Any, arguments: list[Any], named: dict[str, Any], node: ast.expr, scope: Scope) -> Any:
        raise NotImplementedError
