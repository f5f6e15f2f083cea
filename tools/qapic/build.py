"""Pass 3: expressions to the model. Resolves every name, in two rounds so that definitions may stand in any order."""

from __future__ import annotations

from . import verify
from .check import kind_of
from .condition import Condition, parse_condition
from .errors import Location, SchemaError
from .lexer import Mapping
from .model import (
    AlternateType,
    ArrayType,
    Branch,
    BuiltinType,
    Command,
    Entity,
    EnumType,
    EnumValue,
    Event,
    Feature,
    Member,
    ModuleInfo,
    ObjectType,
    Schema,
    Type,
    UnionType,
    builtin_entities,
)
from .parse import Expression, ParsedSchema

_CLASSES: dict[str, type[Entity]] = {
    "enum": EnumType,
    "struct": ObjectType,
    "union": UnionType,
    "alternate": AlternateType,
    "command": Command,
    "event": Event,
}


def build(parsed: ParsedSchema) -> Schema:
    """The model of a schema that passed `check`."""
    return _Builder(parsed).run()


class _Builder:
    def __init__(self, parsed: ParsedSchema):
        self.parsed = parsed
        self.schema = Schema(entities=builtin_entities())
        self.work: list[tuple[Entity, Expression]] = []

    def run(self) -> Schema:
        for module in self.parsed.modules:
            includes = [included.name for included in module.includes]
            has_commands = any("command" in expression.value for expression in module.expressions)
            info = ModuleInfo(module.name, module.path, includes, not module.expressions, has_commands)
            info.free_docs = module.free_docs
            self.schema.modules.append(info)
            for expression in module.expressions:
                info.entities.append(self._declare(expression))
        for entity, expression in self.work:
            self._define(entity, expression)
        self.schema.property_lists = list(self.parsed.pragmas.lists["property-lists"])
        for entry in self.parsed.pragmas.lists["property-order"]:
            struct, _, member = entry.partition(".")
            self.schema.property_order.setdefault(struct, []).append(member)
        verify.verify(self.schema, self.parsed.pragmas)
        return self.schema

    def _declare(self, expression: Expression) -> Entity:
        kind = kind_of(expression)
        name = str(expression.value[kind])
        entity = _CLASSES[kind](name, expression.location, expression.module.name, doc=expression.doc)
        if name in self.schema.entities:
            first = self.schema.entities[name]
            where = f" at {first.location}" if first.location.line else ""
            raise SchemaError(expression.location, f"the name is taken by a {first.kind}{where}", entity.context)
        self.schema.entities[name] = entity
        self.work.append((entity, expression))
        return entity

    def _define(self, entity: Entity, expression: Expression) -> None:
        value = expression.value
        entity.condition = self._condition(value, entity, value.line)
        entity.features = self._features(value, entity, value.line)
        if isinstance(entity, EnumType):
            entity.values = [self._enum_value(entity, item, value.line) for item in value["data"]]
        elif isinstance(entity, UnionType):
            self._define_union(entity, value)
        elif isinstance(entity, ObjectType):
            self._define_struct(entity, value)
        elif isinstance(entity, AlternateType):
            entity.branches = [self._branch(entity, key, item) for key, item in value["data"].items()]
        elif isinstance(entity, Command):
            self._define_command(entity, value)
        elif isinstance(entity, Event):
            entity.data = self._arguments(entity, value)

    def _condition(self, value: object, entity: Entity, line: int) -> Condition | None:
        if not isinstance(value, Mapping) or "if" not in value:
            return None
        return parse_condition(value["if"], Location(entity.location.path, line), entity.context)

    def _features(self, value: object, entity: Entity, line: int) -> list[Feature]:
        if not isinstance(value, Mapping):
            return []
        features = []
        for item in value.get("features", []):
            name = item["name"] if isinstance(item, Mapping) else item
            features.append(Feature(str(name), self._condition(item, entity, line)))
        return features

    def _enum_value(self, entity: Entity, item: object, line: int) -> EnumValue:
        line = getattr(item, "line", line)
        name = item["name"] if isinstance(item, Mapping) else item
        location = Location(entity.location.path, line)
        return EnumValue(str(name), location, self._condition(item, entity, line), self._features(item, entity, line))

    def _resolve(self, reference: object, entity: Entity, line: int, what: str) -> Type:
        if isinstance(reference, list):
            return ArrayType(self._resolve(reference[0], entity, line, what))
        found = self.schema.entities.get(str(reference))
        location = Location(entity.location.path, line)
        if found is None:
            raise SchemaError(location, f"{what} has unknown type '{reference}'", entity.context)
        if isinstance(found, (Command, Event)):
            raise SchemaError(location, f"{what}: '{reference}' is a {found.kind}, not a type", entity.context)
        assert isinstance(found, (BuiltinType, EnumType, ObjectType, AlternateType))
        return found

    def _member(self, entity: Entity, key: str, item: object) -> Member:
        name = str(key).removeprefix("*")
        line = getattr(key, "line", entity.location.line)
        reference = item["type"] if isinstance(item, Mapping) else item
        member_type = self._resolve(reference, entity, line, f"member '{name}'")
        return Member(
            name,
            Location(entity.location.path, line),
            member_type,
            str(key).startswith("*"),
            self._condition(item, entity, line),
            self._features(item, entity, line),
            f"{entity.name}.{name}" in self.parsed.pragmas.lists["secret-members"],
        )

    def _branch(self, entity: Entity, key: str, item: object) -> Branch:
        line = getattr(key, "line", entity.location.line)
        reference = item["type"] if isinstance(item, Mapping) else item
        branch_type = self._resolve(reference, entity, line, f"branch '{key}'")
        location = Location(entity.location.path, line)
        return Branch(str(key), location, branch_type, self._condition(item, entity, line))

    def _base(self, entity: Entity, value: Mapping) -> ObjectType:
        line = value.line_of("base")
        base = self._resolve(value["base"], entity, line, "'base'")
        if not isinstance(base, ObjectType) or isinstance(base, UnionType):
            location = Location(entity.location.path, line)
            raise SchemaError(location, f"'base' must be a struct, and '{value['base']}' is not", entity.context)
        return base

    def _define_struct(self, entity: ObjectType, value: Mapping) -> None:
        if "base" in value:
            entity.base = self._base(entity, value)
        entity.members = [self._member(entity, key, item) for key, item in value["data"].items()]

    def _define_union(self, entity: UnionType, value: Mapping) -> None:
        if isinstance(value["base"], Mapping):
            entity.members = [self._member(entity, key, item) for key, item in value["base"].items()]
        else:
            entity.base = self._base(entity, value)
        entity.discriminator = str(value["discriminator"])
        entity.branches = [self._branch(entity, key, item) for key, item in value["data"].items()]

    def _define_command(self, entity: Command, value: Mapping) -> None:
        entity.arguments = self._arguments(entity, value)
        if "returns" in value:
            entity.returns = self._resolve(value["returns"], entity, value.line_of("returns"), "'returns'")
        entity.generated = "gen" not in value
        entity.success_response = "success-response" not in value
        entity.allow_oob = "allow-oob" in value
        entity.allow_preconfig = "allow-preconfig" in value

    def _arguments(self, entity: Command | Event, value: Mapping) -> ObjectType | None:
        data = value.get("data", {})
        if isinstance(data, dict):
            if not data:
                return None
            suffix = "Arguments" if isinstance(entity, Command) else "Event"
            implicit = ObjectType(camel(entity.name) + suffix, entity.location, entity.module, implicit=True)
            implicit.doc = entity.doc
            implicit.members = [self._member(entity, key, item) for key, item in data.items()]
            return implicit
        line = value.line_of("data")
        arguments = self._resolve(data, entity, line, "'data'")
        location = Location(entity.location.path, line)
        if not isinstance(arguments, ObjectType):
            raise SchemaError(location, f"'data' must be a struct or a union, and '{data}' is not", entity.context)
        if isinstance(arguments, UnionType) and not value.get("boxed"):
            raise SchemaError(location, "'data' is a union, which needs 'boxed': true", entity.context)
        return arguments


def camel(name: str) -> str:
    """`block-export-add` and BLOCK_EXPORT_DELETED in CamelCase."""
    words = name.replace("_", "-").replace(".", "-").split("-")
    return "".join(word[:1].upper() + (word[1:].lower() if name.isupper() else word[1:]) for word in words)
