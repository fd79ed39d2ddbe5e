"""Whether one type can be filled from another, as msgspec fills a command from what a saga knows.

Compared by shape and not by class, since no context knows another one's types: two structs fit when the fields do.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect


def misfits(given: type[msgspec.Struct], wanted: type[msgspec.Struct]) -> list[str]:
    """Return the fields, by path, that have the same name in both and cannot be filled from one into the other."""
    return list(_misfits(inspect.type_info(given), inspect.type_info(wanted), ""))


def _misfits(given: Any, wanted: Any, path: str) -> list[str]:
    if isinstance(wanted, inspect.AnyType):
        return []
    if isinstance(given, inspect.UnionType):
        return list(dict.fromkeys(found for one in given.types for found in _misfits(one, wanted, path)))
    if isinstance(wanted, inspect.UnionType):
        tried = [_misfits(given, one, path) for one in wanted.types]
        return [] if any(not found for found in tried) else [path]
    if isinstance(given, inspect.StructType) and isinstance(wanted, inspect.StructType):
        return _fields(given, wanted, path)
    if isinstance(given, _MANY) and isinstance(wanted, _MANY):
        return _misfits(given.item_type, wanted.item_type, f"{path}[]")
    return [] if type(given) is type(wanted) else [path]


_MANY = (inspect.ListType, inspect.VarTupleType, inspect.SetType, inspect.FrozenSetType)


def _fields(given: inspect.StructType, wanted: inspect.StructType, path: str) -> list[str]:
    known = {field.name: field for field in given.fields}
    found = []
    for field in wanted.fields:
        name = f"{path}.{field.name}".lstrip(".")
        if field.name in known:
            found += _misfits(known[field.name].type, field.type, name)
        elif field.required and path:
            # At the top the definition says itself which fields are missing.
            found.append(name)
    return found
