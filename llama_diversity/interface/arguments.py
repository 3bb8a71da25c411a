"""What a call is given, held against the types that its function names: a slip is one sentence, before any work.

Numbers of numpy become Python's, and a whole number where any number may stand a float: so a call has the recipe that
the command line has.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import operator
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from llama_diversity.errors import BadValue
from llama_diversity.interface.wording import in_python

Function = TypeVar("Function", bound=Callable[..., Any])


def public(function: Function) -> Function:
    """A function that users call: its arguments are of the types it names, its errors name parameters.

    >>> @public
    ... def drawn(n: int = 1, *, temperature: float = 1.0) -> str:
    ...     return f"{n} at {temperature}"
    >>> drawn(np.int64(3), temperature=2)
    '3 at 2.0'
    >>> drawn("3")
    Traceback (most recent call last):
    llama_diversity.errors.BadValue: n is '3'; it must be a whole number.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with in_python():
            try:
                given = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # Python's own words for what is missing or unknown
            types_of = _types_of(function)
            for name, value in given.arguments.items():
                if name in types_of:
                    given.arguments[name] = fitting(name, value, types_of[name])
            return function(*given.args, **given.kwargs)

    return cast(Function, called)


def fitting(name: str, value: Any, wanted: Any) -> Any:
    """`value` as one of the type `wanted`. Raises BadValue."""
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        return _one_of(name, value, typing.get_args(wanted))
    if not _looks_like(value, wanted):
        raise BadValue(name, value, f"it must be {_called(wanted)}")
    return _as_it_is(name, value, wanted)


@functools.cache
def _types_of(function: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(function)


def _one_of(name: str, value: Any, wanted: Sequence[Any]) -> Any:
    for one in wanted:
        if _looks_like(value, one):
            return _as_it_is(name, value, one)
    *others, last = map(_called, wanted)
    raise BadValue(name, value, f"it must be {', '.join(others)} or {last}")


def _looks_like(value: Any, wanted: Any) -> bool:
    """Whether a value is of a type, whatever it holds."""
    kind = typing.get_origin(wanted) or wanted
    if kind is typing.Literal:
        return any(type(value) is type(one) and value == one for one in typing.get_args(wanted))
    if kind in _LOOKS:
        return _LOOKS[kind](value)
    return kind is Any or isinstance(value, kind)


def _as_it_is(name: str, value: Any, wanted: Any) -> Any:
    """A value of that type in Python's own form, and so what it holds."""
    kind, of = typing.get_origin(wanted) or wanted, typing.get_args(wanted)
    if kind in _MADE:
        return _MADE[kind](value)
    if kind is Sequence:
        return tuple(fitting(f"{name}[{at}]", one, of[0]) for at, one in enumerate(value))
    if kind is tuple:
        if len(value) != len(of):
            raise BadValue(name, value, f"it must be {_called(wanted)}")
        return tuple(fitting(f"{name}[{at}]", one, of[at]) for at, one in enumerate(value))
    if kind is Mapping:
        return {
            fitting(f"a key of {name}", key, of[0]): fitting(f"{name}[{key!r}]", value[key], of[1]) for key in value
        }
    return value


def _called(wanted: Any) -> str:
    kind, of = typing.get_origin(wanted) or wanted, typing.get_args(wanted)
    if kind is typing.Literal:
        *others, last = map(repr, of)
        return f"{', '.join(others)} or {last}" if others else last
    if kind is tuple:
        return f"a tuple of {len(of)}"
    return _NAMES.get(kind) or f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"


def _is_list(value: Any) -> bool:
    """An order of things; a text is one thing, and a set or mapping has no order that is meant."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping | set | frozenset)


_LOOKS: dict[Any, Callable[[Any], bool]] = {
    int: lambda value: isinstance(value, numbers.Integral) and not isinstance(value, bool),
    float: lambda value: isinstance(value, numbers.Real) and not isinstance(value, bool),
    bool: lambda value: isinstance(value, bool | np.bool_),
    Path: lambda value: isinstance(value, os.PathLike),
    tuple: lambda value: isinstance(value, tuple | list),
    Sequence: _is_list,
    types.NoneType: lambda value: value is None,
    Callable: callable,
}
_MADE: dict[Any, Callable[[Any], Any]] = {
    int: operator.index,
    float: float,
    bool: bool,
    str: str,
    Path: Path,
}
_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    Path: "a pathlib.Path",
    Sequence: "a list",
    Mapping: "a dict",
    types.NoneType: "None",
    Callable: "a function",
}
