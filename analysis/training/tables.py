"""Frozen values from the tables of a TOML file, each key and each value checked, each refusal saying what would do."""

import difflib
import types
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from analysis.errors import AnalysisError

_Value = TypeVar("_Value")


class UnusableRecipe(AnalysisError, ValueError):
    """The recipe cannot be used."""


def from_table(kind: type[_Value], where: str, content: object) -> _Value:
    """The dataclass of a table; ``where`` names the table in an error. Keys that are left out keep their default.

    Raises:
        UnusableRecipe: an unknown key, a value of another type, or a value that the dataclass refuses.
    """
    if not isinstance(content, Mapping):
        raise UnusableRecipe(f"{where} is a table, not {content!r}.")
    hints = get_type_hints(kind)
    for key in content:
        if key not in hints:
            raise UnusableRecipe(f"{where} has no key {key!r}. {nearest(str(key), hints)}.")
    values = {str(key): _checked(f"{where} {key}", hints[str(key)], value) for key, value in content.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise UnusableRecipe(f"{where}: {error}.") from error


def nearest(word: str, known: Iterable[str]) -> str:
    """What may have been meant, and everything that there is."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    meant = f"{close[0]!r} was meant? " if close else ""
    return f"{meant}There are {', '.join(names)}"


def _checked(where: str, kind: Any, value: object) -> Any:
    """The value as its type has it: whole numbers serve as numbers, lists as tuples."""
    if get_origin(kind) is types.UnionType:
        return value if value is None else _checked(where, get_args(kind)[0], value)
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        if not isinstance(value, list | tuple) or len(value) != len(kinds):
            raise UnusableRecipe(f"{where} is a list of {len(kinds)} values, not {value!r}.")
        return tuple(_checked(where, k, v) for k, v in zip(kinds, value, strict=True))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UnusableRecipe(f"{where} is {_NAMES[kind]}, not {value!r}.")
    return value


_NAMES: dict[object, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes"}
