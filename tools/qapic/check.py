"""Pass 2: is each expression well formed by itself? Which keys it has, of what kind, and whether its names are names.

What an expression says about others (do the types exist, do members collide) is the model's business.
"""

from __future__ import annotations

from . import names
from .condition import parse_condition
from .errors import Location, SchemaError
from .lexer import Mapping
from .parse import Expression, ParsedSchema, Pragmas

# kind: (keys it must have, keys it may have); 'if' and 'features' are allowed in all.
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "enum": (("data",), ("prefix",)),
    "struct": (("data",), ("base",)),
    "union": (("base", "discriminator", "data"), ()),
    "alternate": (("data",), ()),
    "command": (
        (),
        ("data", "returns", "boxed", "gen", "success-response", "allow-oob", "allow-preconfig", "coroutine"),
    ),
    "event": ((), ("data", "boxed")),
}
ONLY_TRUE = ("boxed", "allow-oob", "allow-preconfig", "coroutine")
ONLY_FALSE = ("gen", "success-response")


def kind_of(expression: Expression) -> str:
    """Which of KINDS an expression is."""
    found = [kind for kind in KINDS if kind in expression.value]
    if len(found) != 1:
        what = "has more than one kind: " + ", ".join(found) if found else "is no definition"
        raise SchemaError(expression.location, f"this {what}; expected one of {', '.join(KINDS)}, include, pragma")
    return found[0]


def check(schema: ParsedSchema) -> None:
    """Checks every expression; raises SchemaError at the first that is wrong."""
    for module in schema.modules:
        for expression in module.expressions:
            _ExpressionCheck(expression, schema.pragmas).run()


class _ExpressionCheck:
    def __init__(self, expression: Expression, pragmas: Pragmas):
        self.expression = expression
        self.value = expression.value
        self.pragmas = pragmas
        self.kind = kind_of(expression)
        self.name = self.value[self.kind]
        self.context = f"In {self.kind} '{self.name}'" if isinstance(self.name, str) else f"In a {self.kind}"

    def fail(self, message: str, line: int | None = None) -> SchemaError:
        location = self.expression.location
        return SchemaError(Location(location.path, line or location.line), message, self.context)

    def require(self, problem: str | None, line: int | None = None) -> None:
        if problem:
            raise self.fail(problem, line)

    def run(self) -> None:
        self._keys(self.value, KINDS[self.kind][0], KINDS[self.kind][1] + (self.kind, "if", "features"), "definition")
        self._own_name()
        self._flags()
        self._condition_and_features(self.value)
        getattr(self, f"_{self.kind}")()
        doc = self.expression.doc
        if doc and doc.symbol != self.name:
            raise SchemaError(doc.location, f"this documents '{doc.symbol}', not '{self.name}'", self.context)

    def _keys(self, value: Mapping, must: tuple[str, ...], may: tuple[str, ...], what: str) -> None:
        for key in must:
            if key not in value:
                raise self.fail(f"'{key}' is missing", value.line)
        for key in value:
            if key not in must and key not in may:
                raise self.fail(f"'{key}' has no place in this {what}", key.line)

    def _own_name(self) -> None:
        self.require(names.name_error(self.name, f"the name of this {self.kind}"))
        if self.kind == "event":
            self.require(names.event_name_error(self.name))
        elif self.kind == "command":
            exempt = self.name in self.pragmas.lists["command-name-exceptions"]
            self.require(names.lower_name_error(self.name, "command", exempt))
        else:
            self.require(names.type_name_error(self.name))

    def _flags(self) -> None:
        for keys, expected in ((ONLY_TRUE, True), (ONLY_FALSE, False)):
            for key in keys:
                if key in self.value and self.value[key] is not expected:
                    word = "true" if expected else "false"
                    raise self.fail(f"'{key}' can only be {word}, and is left out otherwise", self.value.line_of(key))
        if self.value.get("coroutine") and self.value.get("allow-oob"):
            raise self.fail("'coroutine' and 'allow-oob' exclude each other")

    def _condition_and_features(self, value: Mapping) -> None:
        location = self.expression.location
        if "if" in value:
            parse_condition(value["if"], Location(location.path, value.line_of("if")), self.context)
        features = value.get("features", [])
        if not isinstance(features, list):
            raise self.fail("'features' takes a list", value.line_of("features"))
        seen: set[str] = set()
        for feature in features:
            line = getattr(feature, "line", value.line)
            name = feature
            if isinstance(feature, Mapping):
                self._keys(feature, ("name",), ("if",), "feature")
                self._condition_and_features(feature)
                name = feature["name"]
            self.require(names.name_error(name, "a feature's name"), line)
            self.require(names.lower_name_error(name, "feature", False), line)
            if name in seen:
                raise self.fail(f"feature '{name}' is given twice", line)
            seen.add(name)

    def _enum(self) -> None:
        values = self.value["data"]
        if not isinstance(values, list):
            raise self.fail("'data' of an enum takes a list")
        if "prefix" in self.value and not isinstance(self.value["prefix"], str):
            raise self.fail("'prefix' must be a string")
        exempt = self.name in self.pragmas.lists["member-name-exceptions"]
        seen: dict[str, str] = {}
        for value in values:
            line = getattr(value, "line", self.value.line)
            name = value
            if isinstance(value, Mapping):
                self._keys(value, ("name",), ("if", "features"), "enum value")
                self._condition_and_features(value)
                name = value["name"]
            self.require(names.name_error(name, "a value", enum_value=True), line)
            self.require(names.lower_name_error(name, "value", exempt), line)
            self._distinct(seen, name, "value", line)

    def _distinct(self, seen: dict[str, str], name: str, what: str, line: int) -> None:
        folded = names.fold(name)
        if folded in seen:
            twin = seen[folded]
            how = "is given twice" if twin == name else f"collides with '{twin}'"
            raise self.fail(f"{what} '{name}' {how}", line)
        seen[folded] = name

    def _members(self, members: object, what: str, allowed: tuple[str, ...], arrays: bool = True) -> None:
        """`what` is "member" or "branch"; `allowed` are the keys besides 'type' in the long form."""
        if not isinstance(members, Mapping):
            raise self.fail("'data' takes an object")
        exempt = self.name in self.pragmas.lists["member-name-exceptions"]
        seen: dict[str, str] = {}
        for key, value in members.items():
            name = str(key)
            if what == "member":
                name = name.removeprefix("*")
            self.require(names.name_error(name, f"a {what}'s name", enum_value=what == "branch"), key.line)
            if what == "member":
                self.require(names.member_name_error(name), key.line)
            any_case = exempt or self.kind == "union" and what == "branch"
            self.require(names.lower_name_error(name, what, any_case), key.line)
            self._distinct(seen, name, what, key.line)
            if isinstance(value, Mapping):
                self._keys(value, ("type",), allowed, what)
                self._condition_and_features(value)
                value = value["type"]
            self._type_reference(value, f"{what} '{name}'", key.line, arrays)

    def _type_reference(self, value: object, what: str, line: int, arrays: bool = True) -> None:
        if isinstance(value, list):
            if not arrays:
                raise self.fail(f"{what} cannot be an array", line)
            if len(value) != 1 or not isinstance(value[0], str):
                raise self.fail(f"{what}: an array type is a list with one type's name", line)
        elif not isinstance(value, str):
            raise self.fail(f"{what} needs the name of a type", line)

    def _struct(self) -> None:
        self._members(self.value["data"], "member", ("if", "features"))
        if "base" in self.value:
            self._type_reference(self.value["base"], "'base'", self.value.line_of("base"), arrays=False)

    def _union(self) -> None:
        base = self.value["base"]
        if isinstance(base, Mapping):
            self._members(base, "member", ("if", "features"))
        else:
            self._type_reference(base, "'base'", self.value.line_of("base"), arrays=False)
        if not isinstance(self.value["discriminator"], str):
            raise self.fail("'discriminator' names a member", self.value.line_of("discriminator"))
        self._members(self.value["data"], "branch", ("if",), arrays=False)
        if not self.value["data"]:
            raise self.fail("a union has at least one branch")

    def _alternate(self) -> None:
        self._members(self.value["data"], "branch", ("if",))
        if not self.value["data"]:
            raise self.fail("an alternate has at least one branch")

    def _arguments(self) -> None:
        data = self.value.get("data")
        if self.value.get("boxed") and not isinstance(data, str):
            raise self.fail("'boxed' needs the name of a type as 'data'")
        if isinstance(data, str) or data is None and "data" not in self.value:
            return
        self._members(data, "member", ("if", "features"))

    def _command(self) -> None:
        self._arguments()
        if "returns" in self.value:
            self._type_reference(self.value["returns"], "'returns'", self.value.line_of("returns"))

    def _event(self) -> None:
        self._arguments()
