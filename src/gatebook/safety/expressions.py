"""Expressions to values: constants computed, texts in all their variants, what cannot be known as DATA or FOREIGN."""

import ast
import operator
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from gatebook.safety import calls
from gatebook.safety.files import File
from gatebook.safety.texts import formatted, joined, modulo
from gatebook.safety.things import (
    DATA,
    MISSING,
    REST,
    Bound,
    Class,
    Clause,
    Data,
    Foreign,
    Function,
    Instance,
    Module,
    Name,
    OneOf,
    Scope,
    Sql,
    Table,
    Write,
    alternatives,
    any_of,
    either,
    is_constant,
    is_known,
)
from gatebook.safety.walk import UNROLLED, Walk

BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv, ast.BitOr: operator.or_,
}  # fmt: skip
COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
    ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip


ALWAYS = (ast.Eq, ast.LtE, ast.GtE, ast.Is)  # between one thing and itself


class Expressions(Walk):
    """Evaluates what can be evaluated without running anything."""

    def value(self, node: ast.expr, scope: Scope) -> Any:
        self.step()
        self.seen.add(node)
        handler = VALUES.get(type(node))
        if handler is None:
            self.parts(node, scope)
            return DATA
        return handler(self, node, scope)

    def parts(self, node: ast.AST, scope: Scope) -> None:
        """An expression that is not computed still has parts that run."""
        for each in ast.iter_child_nodes(node):
            if isinstance(each, ast.expr):
                self.value(each, scope)

    def named(self, node: ast.Name, scope: Scope) -> Any:
        value = scope.find(node.id, self)
        return Name(f"builtins.{node.id}") if value is MISSING else value

    def attribute(self, node: ast.Attribute, scope: Scope) -> Any:
        return self.attribute_of(self.value(node.value, scope), node.attr)

    def attribute_of(self, owner: Any, name: str) -> Any:
        if isinstance(owner, OneOf):
            return OneOf(tuple(self.attribute_of(each, name) for each in owner.values))
        if isinstance(owner, Name):
            return calls.known_name(f"{owner.path}.{name}")
        if isinstance(owner, Foreign):
            return Foreign(f"{owner.name}.{name}")
        if isinstance(owner, Module):
            value = owner.scope.find(name, self)
            return Foreign(f"{owner.path}.{name}") if value is MISSING else value
        if isinstance(owner, Class | Instance):
            return self.member(owner, name)
        if isinstance(owner, Data | Clause) or owner is None:
            return Bound(owner, name)
        return calls.attribute(owner, name)

    def member(self, owner: Class | Instance, name: str) -> Any:
        of = owner.of if isinstance(owner, Instance) else owner
        for names in (owner.names, of.names):
            if name in names:
                return names[name]
        for statement in of.node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name == name:
                is_static = any(getattr(each, "id", "") == "staticmethod" for each in statement.decorator_list)
                return Function(statement, of.scope, () if is_static else (owner,))
        if name in ("__table__", "__mapper__"):
            return calls.table_of(self, owner)
        if name == "query":
            return Write("QUERY", calls.table_of(self, owner).name)
        for base in of.node.bases:
            found = self.value(base, of.scope)
            if isinstance(found, Class):
                return self.member(found, name)
        return Bound(owner, name)

    def subscript(self, node: ast.Subscript, scope: Scope) -> Any:
        owner, key = self.value(node.value, scope), self.value(node.slice, scope)
        return self.item(owner, key)

    def item(self, owner: Any, key: Any) -> Any:
        if isinstance(owner, OneOf):
            return any_of([self.item(each, key) for each in owner.values])
        if isinstance(owner, list | tuple | str | dict):
            try:
                if isinstance(owner, str) or not (REST in owner or (isinstance(owner, dict) and DATA in owner)):
                    return owner[key]
            except (LookupError, TypeError):
                pass
            return any_of([*(owner.values() if isinstance(owner, dict) else owner)])
        if isinstance(owner, Foreign):
            return Foreign(f"{owner.name}[…]")
        return calls.item(owner, key)

    def binary(self, node: ast.BinOp, scope: Scope) -> Any:
        left, right = self.value(node.left, scope), self.value(node.right, scope)
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            return modulo(left, right)
        function = BINARY.get(type(node.op))
        if function is None:
            return DATA
        return _combined(function, left, right)

    def unary(self, node: ast.UnaryOp, scope: Scope) -> Any:
        value = self.value(node.operand, scope)
        if not is_known(value):
            return DATA
        return (not value) if isinstance(node.op, ast.Not) else -value if isinstance(value, int | float) else DATA

    def compared(self, node: ast.Compare, scope: Scope) -> Any:
        values = [self.value(each, scope) for each in (node.left, *node.comparators)]
        function = COMPARED.get(type(node.ops[0]))
        if (
            len(values) == 2
            and isinstance(node.ops[0], ALWAYS)
            and ast.dump(node.left) == ast.dump(node.comparators[0])
        ):
            return True
        if len(values) != 2 or function is None or not all(is_known(each) for each in values):
            return DATA
        try:
            return bool(function(*values))
        except TypeError:
            return DATA

    def logical(self, node: ast.BoolOp, scope: Scope) -> Any:
        result: Any = None
        is_open = False
        for each in node.values:
            with self.known.maybe() if is_open else nullcontext():
                value = self.value(each, scope)
            if not is_known(value):
                result = DATA if is_open else value
                is_open = True
            elif bool(value) == isinstance(node.op, ast.Or) and not is_open:
                return value
            elif not is_open:
                result = value
        return result

    def chosen(self, node: ast.IfExp, scope: Scope) -> Any:
        test = self.value(node.test, scope)
        if is_known(test):
            return self.value(node.body if test else node.orelse, scope)
        with self.known.maybe():
            return either(self.value(node.body, scope), self.value(node.orelse, scope))

    def text(self, node: ast.JoinedStr, scope: Scope) -> Any:
        parts: list[Any] = []
        for each in node.values:
            if isinstance(each, ast.FormattedValue):
                value = self.value(each.value, scope)
                if each.format_spec is not None:
                    self.value(each.format_spec, scope)
                parts.append(formatted(value, each))
            else:
                parts.append(self.value(each, scope))
        return joined(parts)

    def listed(self, node: ast.List | ast.Tuple | ast.Set, scope: Scope) -> Any:
        found: list[Any] = []
        for each in node.elts:
            if isinstance(each, ast.Starred):
                items = self.items(self.value(each.value, scope))
                found += [REST] if items is None else items
            else:
                found.append(self.value(each, scope))
        return tuple(found) if isinstance(node, ast.Tuple) else found

    def mapped(self, node: ast.Dict, scope: Scope) -> Any:
        found: dict[Any, Any] = {}
        for key, item in zip(node.keys, node.values, strict=True):
            value = self.value(item, scope)
            if key is None:
                found |= value if isinstance(value, dict) else {REST: value}
                continue
            name = self.value(key, scope)
            place = name if is_constant(name) else DATA
            found[place] = either(found[place], value) if place is DATA and DATA in found else value
        return found

    def comprehended(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, scope: Scope) -> Any:
        inner = Scope({}, scope.path, scope)
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        found: list[Any] = []
        is_counted = not isinstance(node, ast.GeneratorExp)
        with self.known.perhaps_in_part(is_whole=is_counted):
            is_whole = self.generate(list(node.generators), parts, inner, found)
        rest = [] if is_whole else [REST]
        if isinstance(node, ast.DictComp):
            return {key if is_constant(key) else DATA: value for key, value in found} | dict.fromkeys(rest, DATA)
        return [*(each[0] for each in found), *rest]

    def generate(self, rest: list[ast.comprehension], parts: list[ast.expr], scope: Scope, found: list[Any]) -> bool:
        """Every round of a comprehension; whether they are all that there are."""
        if not rest:
            found.append([self.value(each, scope) for each in parts])
            return True
        iterable = self.value(rest[0].iter, scope)
        items = self.items(iterable)
        is_whole = items is not None and len(items) <= UNROLLED
        with nullcontext() if is_whole and not rest[0].ifs else self.known.maybe():
            rounds = items if items is not None and is_whole else [self.element(iterable)]
            are_whole = [self.round(item, rest, parts, scope, found) for item in rounds]
            return is_whole and all(are_whole)

    def round(
        self, item: Any, rest: list[ast.comprehension], parts: list[ast.expr], scope: Scope, found: list[Any]
    ) -> bool:
        self.bind(rest[0].target, item, scope)
        tests = [self.value(each, scope) for each in rest[0].ifs]
        if any(is_known(each) and not each for each in tests):
            return True
        return self.generate(rest[1:], parts, scope, found) and all(is_known(each) for each in tests)

    def items(self, value: Any) -> list[Any] | None:
        """The elements of something that can be counted, or None."""
        if isinstance(value, list | tuple | dict) and REST in value:
            return None
        return list(value) if isinstance(value, list | tuple | set | frozenset | str | dict) else None

    @staticmethod
    def element(iterable: Any) -> Any:
        """Any one of the elements of something that cannot be counted."""
        if isinstance(iterable, list | tuple | dict):
            return any_of([*iterable, DATA])
        return iterable if isinstance(iterable, Foreign) else DATA

    def lambda_(self, node: ast.Lambda, scope: Scope) -> Any:
        return Function(node, scope)

    def awaited(self, node: ast.Await, scope: Scope) -> Any:
        return self.value(node.value, scope)

    def yields(self, node: ast.Yield | ast.YieldFrom, scope: Scope) -> Any:
        value = self.value(node.value, scope) if node.value is not None else None
        if self.yielded:
            self.yielded[-1].append(self.element(value) if isinstance(node, ast.YieldFrom) else value)
        return DATA

    def walrus(self, node: ast.NamedExpr, scope: Scope) -> Any:
        return self.assign(node, scope)


def _combined(function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    if isinstance(left, OneOf) or isinstance(right, OneOf):
        results = [_combined(function, a, b) for a in alternatives(left) for b in alternatives(right)]
        return OneOf(tuple(results)) if len(results) <= 64 else DATA
    if isinstance(left, File) and isinstance(right, str) and function is operator.truediv:
        return File(left.path / right)
    if isinstance(left, Sql | Clause | Table) or isinstance(right, Sql | Clause | Table):
        return Clause()
    if not all(is_constant(each) or isinstance(each, list | tuple | dict) for each in (left, right)):
        return DATA
    try:
        result = function(left, right)
    except (TypeError, ArithmeticError, OverflowError, MemoryError):
        return DATA
    return DATA if isinstance(result, str | list) and len(result) > 1_000_000 else result


VALUES: dict[type[ast.expr], Callable[..., Any]] = {
    ast.Constant: lambda _interpreter, node, _scope: node.value,
    ast.Name: Expressions.named,
    ast.Attribute: Expressions.attribute,
    ast.Subscript: Expressions.subscript,
    ast.BinOp: Expressions.binary,
    ast.UnaryOp: Expressions.unary,
    ast.Compare: Expressions.compared,
    ast.BoolOp: Expressions.logical,
    ast.IfExp: Expressions.chosen,
    ast.JoinedStr: Expressions.text,
    ast.List: Expressions.listed,
    ast.Tuple: Expressions.listed,
    ast.Set: Expressions.listed,
    ast.Dict: Expressions.mapped,
    ast.ListComp: Expressions.comprehended,
    ast.SetComp: Expressions.comprehended,
    ast.GeneratorExp: Expressions.comprehended,
    ast.DictComp: Expressions.comprehended,
    ast.Lambda: Expressions.lambda_,
    ast.Await: Expressions.awaited,
    ast.NamedExpr: Expressions.walrus,
    ast.Yield: Expressions.yields,
    ast.YieldFrom: Expressions.yields,
}
