"""What may be called what."""

from __future__ import annotations

import re

_DOWNSTREAM = r"(?:__[a-zA-Z0-9.-]+_)?"
_ANY = re.compile(_DOWNSTREAM + r"[A-Za-z][A-Za-z0-9_-]*$")
_ENUM_VALUE = re.compile(_DOWNSTREAM + r"[A-Za-z0-9][A-Za-z0-9_-]*$")
_CAMEL = re.compile(_DOWNSTREAM + r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*$")
_UPPER = re.compile(_DOWNSTREAM + r"[A-Z][A-Z0-9_]*$")
_CONDITION = re.compile(r"[A-Z][A-Z0-9_]*$")

MAX_NAME_LENGTH = 200


def name_error(name: object, what: str, enum_value: bool = False) -> str | None:
    """Why `name` cannot name a `what` at all, or None."""
    if not isinstance(name, str):
        return f"{what} must be a string"
    if len(name) > MAX_NAME_LENGTH:
        return f"{what} is longer than {MAX_NAME_LENGTH} characters"
    if not (_ENUM_VALUE if enum_value else _ANY).match(name):
        return f"{what} '{name}' is not a name"
    if name.startswith(("q_", "q-")):
        return f"{what} '{name}' begins with 'q_', which is reserved"
    return None


def type_name_error(name: str) -> str | None:
    if not _CAMEL.match(name):
        return f"a type's name is in CamelCase, which '{name}' is not"
    if name.endswith("List"):
        return f"'{name}' ends with 'List', which is reserved for array types"
    return None


def event_name_error(name: str) -> str | None:
    if not _UPPER.match(name):
        return f"an event's name is in capitals with underscores, which '{name}' is not"
    return None


def lower_name_error(name: str, what: str, underscores: bool) -> str | None:
    """Commands, members and features: lower case and hyphens, or underscores where a pragma says so."""
    bare = re.sub(r"^__[a-zA-Z0-9.-]+_", "", name)
    if not underscores and ("_" in bare or bare != bare.lower()):
        return f"{what} '{name}' should be in lower case with hyphens (a pragma can make an exception)"
    return None


def member_name_error(name: str) -> str | None:
    if name == "u" or name.startswith(("has-", "has_")):
        return f"member name '{name}' is reserved"
    return None


def condition_name_error(name: str) -> str | None:
    return None if _CONDITION.match(name) else f"condition '{name}' is not a name in capitals"


def fold(name: str) -> str:
    """Two names with the same fold would be the same word in C++."""
    return re.sub(r"[^a-z0-9]", "_", name.lower())
