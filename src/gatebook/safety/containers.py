"""Lists and dicts while they grow and shrink. Sets are lists here."""

from collections.abc import Callable
from typing import Any

from gatebook.safety.things import DATA, REST, any_of, either, is_constant

ADDING = ("append", "extend", "insert", "add", "appendleft", "extendleft", "union")
TAKING = ("pop", "remove", "clear", "popitem", "discard", "popleft", "difference_update", "intersection_update")
ORDERING = ("sort", "reverse")


def opened(container: Any) -> None:
    """It may hold less, and other things, than is seen."""
    if isinstance(container, list) and REST not in container:
        container.append(REST)
    elif isinstance(container, dict):
        container[REST] = DATA


def placed(owner: dict[Any, Any], key: Any, value: Any, *, is_certain: bool) -> None:
    """`owner[key] = value`, where the key may be unknown and the line may not run."""
    place = key if is_constant(key) else DATA
    owner[place] = value if place not in owner or (is_certain and place is not DATA) else either(owner[place], value)


def container_method(owner: Any, name: str, arguments: list[Any], named: dict[str, Any], *, is_certain: bool) -> Any:
    """A method of a container that is known. is_certain: not in a branch that may not be taken."""
    if name in TAKING:
        found = any_of(list(owner.values() if isinstance(owner, dict) else owner))
        opened(owner)
        return either(found, arguments[1]) if isinstance(owner, dict) and len(arguments) > 1 else found
    if isinstance(owner, dict):
        return _of_dict(owner, name, arguments, named, is_certain=is_certain)
    if isinstance(owner, list) and (name in ADDING or name == "update"):
        return _added(owner, name, arguments)
    if isinstance(owner, list) and name in ORDERING:
        return _ordered(owner, named)
    return list(owner) if name == "copy" and isinstance(owner, list) else DATA


def _added(owner: list[Any], name: str, arguments: list[Any]) -> None:
    new = arguments[-1] if arguments else DATA
    is_many = name in ("extend", "update", "extendleft", "union")
    many = list(new) if isinstance(new, list | tuple | dict | str) else [REST]
    found = many if is_many else [new]
    if name == "insert" and arguments[:1] == [0]:
        owner[:0] = found
    else:
        owner.extend(found)


def _ordered(owner: list[Any], named: dict[str, Any]) -> None:
    if named or not all(isinstance(each, str) for each in owner):
        opened(owner)
    else:
        owner.sort()


def _of_dict(owner: dict[Any, Any], name: str, arguments: list[Any], named: dict[str, Any], *, is_certain: bool) -> Any:
    handler = OF_DICT.get(name)
    if handler is not None:
        return handler(owner)
    if name in ("get", "setdefault"):
        key, default = (*arguments, None, None)[:2]
        is_there = is_constant(key) and key in owner and DATA not in owner and REST not in owner
        found = owner[key] if is_there else any_of([*owner.values(), default]) if _is_open(owner, key) else default
        if name == "setdefault" and not is_there:
            placed(owner, key, default, is_certain=is_certain)
        return found
    if name == "update":
        _updated(owner, [*arguments, named], is_certain=is_certain)
        return None
    return DATA


def _is_open(owner: dict[Any, Any], key: Any) -> bool:
    return not is_constant(key) or DATA in owner or REST in owner


def _updated(owner: dict[Any, Any], sources: list[Any], *, is_certain: bool) -> None:
    for source in sources:
        pairs = list(source.items()) if isinstance(source, dict) else source
        if not isinstance(pairs, list) or not all(isinstance(each, list | tuple) and len(each) == 2 for each in pairs):
            opened(owner)
            continue
        for key, value in pairs:
            placed(owner, key, value, is_certain=is_certain)


def _entries(owner: dict[Any, Any], of: Callable[[Any, Any], Any]) -> list[Any]:
    """What a view of a dict holds."""
    found = [of(key, value) for key, value in owner.items() if key is not REST]
    return [*found, REST] if REST in owner else found


OF_DICT: dict[str, Callable[[dict[Any, Any]], Any]] = {
    "items": lambda owner: _entries(owner, lambda key, value: (key, value)),
    "keys": lambda owner: _entries(owner, lambda key, _: key),
    "values": lambda owner: _entries(owner, lambda _, value: value),
    "copy": lambda owner: dict(owner),
}
