"""The text of functions in plugins, by which a change of them changes the fingerprints of their tasks."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any


def source_of(function: Callable[..., Any]) -> str:
    """The source of a function and of all that it uses of its own module: functions, classes and values.

    Values are those in the module, in closures and of default arguments. Of objects whose content cannot be told, and
    of functions and classes of other modules, only the name counts.

    Args:
        function: a plain one, or a lambda.
    """
    found: dict[str, str] = {}
    todo: list[tuple[str, Any]] = [(function.__qualname__, function)]
    while todo:
        name, value = todo.pop()
        if name in found:
            continue
        inner: list[Any] = []
        if isinstance(value, types.FunctionType | type) and value.__module__ == function.__module__:
            found[name] = inspect.getsource(value)
            functions = [value] if isinstance(value, types.FunctionType) else vars(value).values()
            todo += [used for f in functions if isinstance(f, types.FunctionType) for used in _used(f)]
        else:
            found[name] = _text(value, inner)
        todo += [(code.__qualname__, code) for code in inner if code.__module__ == function.__module__]
    return "\n".join(f"# {name}\n{found[name]}" for name in sorted(found))


def _used(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Names and values that a function reads from outside."""
    for name in sorted(_names(function.__code__) & function.__globals__.keys()):
        value = function.__globals__[name]
        yield (value.__qualname__ if isinstance(value, types.FunctionType | type) else name), value
    own = function.__qualname__
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield f"{own} {name}", cell.cell_contents
    yield f"{own} defaults", (function.__defaults__, function.__kwdefaults__)


def _names(code: types.CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*(_names(c) for c in inner))


def _text(value: Any, code: list[Any]) -> str:
    """A value as text that is the same in every process; functions and classes in it go to ``code``."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_text(key, code)}: {_text(item, code)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_text(item, code) for item in value)}]"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(_text(item, code) for item in value))}}}"
    if isinstance(value, re.Pattern):
        return f"{value.pattern!r} {value.flags}"
    if value is None or isinstance(value, str | bytes | int | float | complex):
        return repr(value)
    if isinstance(value, types.FunctionType | type):
        code.append(value)
        return value.__qualname__
    code.append(type(value))
    if dataclasses.is_dataclass(value):
        return f"{type(value).__qualname__}{_text(vars(value), code)}"
    return type(value).__qualname__
