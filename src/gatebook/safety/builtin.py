"""Python's builtins over values that are known in part."""

from collections.abc import Callable
from typing import Any

from gatebook.safety import files
from gatebook.safety.calls import Call
from gatebook.safety.things import DATA, Bound, Data, Foreign, Name, OneOf, Sql, is_constant, reaches

HARMLESS = {
    "print", "len", "int", "float", "bool", "dict", "bytes", "isinstance", "issubclass", "hasattr", "any", "all",
    "sum", "min", "max", "abs", "round", "repr", "type", "super", "iter", "next", "id", "hash", "filter", "callable",
    "chr", "ord", "hex", "format", "slice", "object", "divmod", "pow", "input", "staticmethod", "classmethod",
    "property",
}  # fmt: skip
LOOKING = ("print", "len", "bool", "isinstance", "issubclass", "hasattr", "repr", "type", "id", "hash", "callable")
RAISED = ("Error", "Exception", "Warning", "Interrupt", "Exit", "StopIteration")


def builtin(name: str, made: Call) -> Any:
    """A builtin function, or a name that nobody has defined."""
    if name in KNOWN:
        if reaches(list(made.named.values())):
            made.unclear(name, "it is given the database; call it plainly")
        return KNOWN[name](made)
    if name in ("globals", "locals", "vars"):
        return Name(f"builtins.{name}()")
    if name in ("setattr", "delattr") and reaches(made.arguments[:1]):
        made.unclear(name, "an operation is replaced; what is called later cannot be seen")
        return None
    if name == "open":
        return files.opened(made.arguments) or DATA
    if name in HARMLESS or name.endswith(RAISED):
        if made.reaches and name not in LOOKING:
            made.unclear(name, "it is given the database; call it plainly")
        return DATA
    star = made.scope.find("*", made.interpreter)
    if isinstance(star, Name | Foreign):
        return made.again(made.interpreter.attribute_of(star, name), *made.arguments)
    return Foreign(f"{name}()")


def _getattr(made: Call) -> Any:
    owner, name = (*made.arguments, DATA, DATA)[:2]
    if isinstance(name, str):
        return made.interpreter.attribute_of(owner, name)
    if isinstance(name, OneOf):
        return OneOf(tuple(made.interpreter.attribute_of(owner, str(each)) for each in name.values))
    return Bound(owner, "an unknown operation") if reaches(owner) else DATA


def _map(made: Call) -> Any:
    function, values = (*made.arguments, DATA, DATA)[:2]
    items = made.interpreter.items(values)
    if items is None:
        made.again(function, DATA)
        return DATA
    return [made.again(function, each) for each in items]


def _text(made: Call) -> Any:
    value = made.first if made.arguments else ""
    return value.text if isinstance(value, Sql) else str(value) if is_constant(value) else DATA


def _counted(function: Callable[..., Any]) -> Callable[[Call], Any]:
    """A builtin over values that can be counted."""

    def handler(made: Call) -> Any:
        values = [each if is_constant(each) else made.interpreter.items(each) for each in made.arguments]
        if any(found is None and given is not None for found, given in zip(values, made.arguments, strict=True)):
            return DATA
        try:
            return function(*values)
        except (TypeError, ValueError, OverflowError, MemoryError):
            return DATA

    return handler


def _range(*arguments: Any) -> list[int] | Data:
    numbers = range(*arguments)
    return list(numbers) if len(numbers) <= 10_000 else DATA


def _reversed(value: Any) -> list[Any]:
    return list(reversed(list(value)))


def _enumerated(value: Any, start: int = 0) -> list[Any]:
    return list(enumerate(value, start))


def _zipped(*values: Any) -> list[Any]:
    return list(zip(*values, strict=False))


KNOWN: dict[str, Callable[[Call], Any]] = {
    "getattr": _getattr,
    "map": _map,
    "str": _text,
    "list": _counted(list),
    "tuple": _counted(tuple),
    "set": _counted(list),
    "frozenset": _counted(list),
    "sorted": _counted(sorted),
    "reversed": _counted(_reversed),
    "enumerate": _counted(_enumerated),
    "zip": _counted(_zipped),
    "range": _counted(_range),
}
