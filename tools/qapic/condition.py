"""The 'if' of a schema: its syntax, and its truth under a list of features."""

from __future__ import annotations

import json
from dataclasses import dataclass

from .errors import Location, SchemaError
from .lexer import Mapping
from .names import condition_name_error

MAX_DEPTH = 16


@dataclass(frozen=True)
class Condition:
    """A parsed 'if': a name, or all / any / not of others."""

    operation: str  # "name", "all", "any", "not"
    name: str
    parts: tuple["Condition", ...]
    location: Location
    context: str

    def holds(self, features: "Features") -> bool:
        if self.operation == "name":
            return features.enabled(self)
        truths = [part.holds(features) for part in self.parts]
        if self.operation == "not":
            return not truths[0]
        return all(truths) if self.operation == "all" else any(truths)


class Features:
    """What this build has: the names that conditions may use, each true or false."""

    def __init__(self, values: dict[str, bool] | None = None):
        self.values = values or {}

    @staticmethod
    def load(path: str) -> "Features":
        location = Location(path, 0)
        try:
            with open(path, encoding="utf-8") as file:
                values = json.load(file)
        except (OSError, ValueError, RecursionError) as error:
            raise SchemaError(location, f"cannot read the list of features: {error}") from None
        if not isinstance(values, dict) or not all(isinstance(value, bool) for value in values.values()):
            raise SchemaError(location, "the list of features is a JSON object of names with true or false")
        return Features(values)

    def enabled(self, condition: Condition) -> bool:
        if condition.name not in self.values:
            message = f"condition '{condition.name}' is not in the list of features"
            raise SchemaError(condition.location, message, condition.context)
        return self.values[condition.name]


def parse_condition(value: object, location: Location, context: str, depth: int = 0) -> Condition:
    """Reads the value of an 'if'."""

    def fail(message: str) -> SchemaError:
        return SchemaError(location, message, context)

    if depth > MAX_DEPTH:
        raise fail("'if' is nested too deeply")
    if isinstance(value, str):
        if problem := condition_name_error(value):
            raise fail(problem)
        return Condition("name", value, (), location, context)
    if not isinstance(value, Mapping) or len(value) != 1:
        raise fail("'if' takes a name or an object with one of 'all', 'any', 'not'")
    operation, operands = next(iter(value.items()))
    if operation == "not":
        part = parse_condition(operands, location, context, depth + 1)
        return Condition("not", "", (part,), location, context)
    if operation not in ("all", "any"):
        raise fail(f"'if' does not know '{operation}', only 'all', 'any' and 'not'")
    if not isinstance(operands, list) or not operands:
        raise fail(f"'{operation}' in 'if' takes a list that is not empty")
    parts = tuple(parse_condition(operand, location, context, depth + 1) for operand in operands)
    return Condition(operation, "", parts, location, context)
