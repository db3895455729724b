"""Statements: branches, loops, definitions and imports. Both sides of an undecided branch are followed."""

import ast
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from gatebook.safety.binding import Binding
from gatebook.safety.containers import opened
from gatebook.safety.texts import written
from gatebook.safety.things import (
    DATA,
    REST,
    Bound,
    Class,
    Foreign,
    Function,
    Instance,
    Name,
    Scope,
    Write,
    any_of,
    either,
    is_constant,
    is_known,
    reaches,
)
from gatebook.safety.walk import UNROLLED, End

SUPPRESSES = Name("contextlib.suppress()")
LEAVING = (ast.Return, ast.Break, ast.Continue, ast.Yield, ast.YieldFrom)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Statements(Binding):
    """Follows blocks; how one certainly ends is what its methods return."""

    def block(self, body: Sequence[ast.stmt], scope: Scope) -> End:
        for statement in body:
            self.step()
            if end := self.statement(statement, scope):
                return end
        return End.GOES_ON

    def statement(self, node: ast.stmt, scope: Scope) -> End:
        handler = STATEMENTS.get(type(node))
        return (handler(self, node, scope) if handler else None) or End.GOES_ON

    def expression_statement(self, node: ast.Expr, scope: Scope) -> None:
        value = self.value(node.value, scope)
        if isinstance(value, Foreign) and isinstance(node.value, ast.Call | ast.Await):
            self.foreign_call(node.value, scope, value.name)
        if isinstance(value, Write) and value.verb == "DELETE" and not value.table:
            what = "if it deletes rows, which ones is not known; write it as a statement that is executed"
            self.unclear(scope, node, written(node), what)

    def branch(self, node: ast.If, scope: Scope) -> End:
        test = self.value(node.test, scope)
        if is_known(test):
            return self.block(node.body if test else node.orelse, scope)
        return self.both([node.body, node.orelse], scope)

    def both(self, bodies: Sequence[Sequence[ast.stmt]], scope: Scope) -> End:
        """Each may be the one that runs; afterwards a name has the value that one of them gave it."""
        before = dict(scope.names)
        after: list[dict[str, Any]] = []
        ends = []
        for body in bodies:
            scope.names = dict(before)
            with self.known.maybe():
                ends.append(self.block(body, scope))
            after.append(scope.names)
        going_on = [names for names, end in zip(after, ends, strict=True) if not end] or after
        scope.names = merged(going_on)
        return min(ends)

    def loop(self, node: ast.For | ast.AsyncFor, scope: Scope) -> None:
        iterable = self.value(node.iter, scope)
        items = self.items(iterable)
        if items is not None and len(items) <= UNROLLED:
            for item in items:
                self.bind(node.target, item, scope)
                with self.known.perhaps_in_part(is_whole=not leaves_early(node)):
                    end = self.block(node.body, scope)
                if end in (End.BREAKS, End.LEAVES):
                    break
        else:
            self.bind(node.target, self.element(iterable), scope)
            self.once(node.body, scope)
        self.block(node.orelse, scope)

    def once(self, body: Sequence[ast.stmt], scope: Scope) -> None:
        """A body that runs nobody knows how often: what it changes is not known while it runs, nor afterwards."""
        changed = [name for name in _assigned(body) if name in scope.names]
        for name in changed:
            if is_constant(scope.names[name]):
                scope.names[name] = DATA
        before = dict(scope.names)
        with self.known.maybe():
            self.block(body, scope)
            scope.names = merged([before, scope.names])
            if any(scope.names[name] is not before[name] and before[name] != DATA for name in changed):
                self.block(body, scope)
        scope.names = merged([before, scope.names])

    def repeat(self, node: ast.While, scope: Scope) -> None:
        self.value(node.test, scope)
        self.once(node.body, scope)
        self.block(node.orelse, scope)

    def attempt(self, node: ast.Try, scope: Scope) -> End:
        if not node.handlers:
            end = self.block(node.body, scope)
        else:
            before = dict(scope.names)
            with self.known.maybe():
                end = self.block([*node.body, *node.orelse], scope)
            after = scope.names
            scope.names = merged([before, after])
            handled = self.both([each.body for each in node.handlers], scope)
            going_on = [names for names, each in ((after, end), (scope.names, handled)) if not each]
            scope.names = merged(going_on or [after, scope.names])
            end = min(end, handled)
        return self.block(node.finalbody, scope) or end

    def within(self, node: ast.With | ast.AsyncWith, scope: Scope) -> End:
        opened, contexts = [], []
        for item in node.items:
            value = self.value(item.context_expr, scope)
            contexts.append(value)
            if isinstance(value, Instance):
                opened.append((value, item.context_expr))
                value = self.method(value, "__enter__", [], item.context_expr, scope)
            if isinstance(value, list):
                value = any_of([each for each in value if each is not REST])
            if item.optional_vars is not None:
                self.bind(item.optional_vars, value, scope)
        with self.known.perhaps_in_part(is_whole=not opened and SUPPRESSES not in contexts):
            end = self.block(node.body, scope)
        for value, at in reversed(opened):
            self.method(value, "__exit__", [DATA, DATA, DATA], at, scope)
        return end

    def method(self, owner: Instance, name: str, arguments: list[Any], node: ast.expr, scope: Scope) -> Any:
        """A method that Python itself calls, where the class has one."""
        function = self.member(owner, name)
        return self.call(function, arguments, {}, node, scope) if isinstance(function, Function) else DATA

    def match(self, node: ast.Match, scope: Scope) -> End:
        subject = self.value(node.subject, scope)
        for case in node.cases:
            for name in [each.name for each in ast.walk(case.pattern) if isinstance(each, ast.MatchAs) and each.name]:
                is_whole = isinstance(case.pattern, ast.MatchAs) or reaches(subject)
                scope.names[name] = subject if is_whole else DATA
        return self.both([*(case.body for case in node.cases), []], scope)

    def give_back(self, node: ast.Return, scope: Scope) -> End:
        value = self.value(node.value, scope) if node.value is not None else None
        if self.returned:
            self.returned[-1].append(value)
        return End.LEAVES

    def define(self, scope: Scope, node: ast.stmt) -> None:
        """A function, class, import or constant."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            scope.names[node.name] = self.decorated(Function(node, scope), node, scope)
        elif isinstance(node, ast.ClassDef):
            scope.names[node.name] = self.defined_class(node, scope)
        else:
            self.statement(node, scope)

    def defined_class(self, node: ast.ClassDef, scope: Scope) -> Class:
        """What stands in a class's body runs when it is defined."""
        inner = Scope({}, scope.path, scope)
        self.block([each for each in node.body if not isinstance(each, FUNCTIONS)], inner)
        made = Class(node, scope, inner.names)
        for decorator in node.decorator_list:
            value = self.value(decorator, scope)
            if isinstance(value, Function | Bound):
                self.call(value, [made], {}, decorator, scope)
        return made

    def decorated(self, function: Function, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> Any:
        """A decorator that is followed may call the function or leave it out; others are taken to call it."""
        value: Any = function
        for decorator in reversed(node.decorator_list):
            made = self.value(decorator, scope)
            if isinstance(made, Function | Class | Instance):
                result = self.call(made, [value], {}, decorator, scope)
                value = either(value, result) if isinstance(result, Function | Instance) else value
        return value

    def imported(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        for name, value in self.neighbours.imported(node, scope.path, self).items():
            scope.names[name] = value


def merged(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Names after one of several ways: each may have the value that any of them gave it."""
    found = dict(results[0])
    for names in results[1:]:
        for name, value in names.items():
            found[name] = either(found[name], value) if name in found else value
    return found


@lru_cache(maxsize=4096)
def leaves_early(node: ast.AST) -> bool:
    """Whether a function or a loop may end before its last line, or is run only as far as it is asked to."""
    body = getattr(node, "body", None)
    last = body[-1] if isinstance(body, list) and body else None
    return any(isinstance(each, LEAVING) and each is not last for each in ast.walk(node))


def _assigned(body: Sequence[ast.stmt]) -> set[str]:
    return {
        each.id
        for statement in body
        for each in ast.walk(statement)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    }


def _gives(interpreter: Statements, node: ast.Assign | ast.AnnAssign, scope: Scope) -> None:
    interpreter.assign(node, scope)


def _raises(interpreter: Statements, node: ast.Raise, scope: Scope) -> End:
    if node.exc is not None:
        interpreter.value(node.exc, scope)
    return End.LEAVES


def _checks(interpreter: Statements, node: ast.Assert, scope: Scope) -> None:
    interpreter.value(node.test, scope)


def _deletes(interpreter: Statements, node: ast.Delete, scope: Scope) -> None:
    for target in node.targets:
        if isinstance(target, ast.Name):
            scope.names.pop(target.id, None)
        elif isinstance(target, ast.Subscript):
            opened(interpreter.value(target.value, scope))
            interpreter.value(target.slice, scope)


def _declares(_interpreter: Statements, node: ast.Global | ast.Nonlocal, scope: Scope) -> None:
    scope.declare(node)


def _makes(interpreter: Statements, node: ast.stmt, scope: Scope) -> None:
    interpreter.define(scope, node)


STATEMENTS: dict[type[ast.stmt], Callable[..., Any]] = {
    ast.Expr: Statements.expression_statement,
    ast.Assign: _gives,
    ast.AnnAssign: _gives,
    ast.AugAssign: Statements.augmented,
    ast.If: Statements.branch,
    ast.For: Statements.loop,
    ast.AsyncFor: Statements.loop,
    ast.While: Statements.repeat,
    ast.Try: Statements.attempt,
    ast.TryStar: Statements.attempt,
    ast.With: Statements.within,
    ast.AsyncWith: Statements.within,
    ast.Match: Statements.match,
    ast.Return: Statements.give_back,
    ast.Raise: _raises,
    ast.Break: lambda *_: End.BREAKS,
    ast.Continue: lambda *_: End.CONTINUES,
    ast.Global: _declares,
    ast.Nonlocal: _declares,
    ast.Assert: _checks,
    ast.Delete: _deletes,
    ast.FunctionDef: _makes,
    ast.AsyncFunctionDef: _makes,
    ast.ClassDef: _makes,
    ast.Import: Statements.imported,
    ast.ImportFrom: Statements.imported,
}
