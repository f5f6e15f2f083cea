"""The schema as a graph of objects: what the emitters read. Nothing here refers to C++ or to files' text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Iterator

from .condition import Condition
from .doc import Doc
from .errors import Location


@dataclass
class Feature:
    name: str
    condition: Condition | None = None


@dataclass
class Entity:
    """Anything with a name of its own in the schema."""

    name: str
    location: Location
    module: str = ""
    condition: Condition | None = None
    features: list[Feature] = field(default_factory=list)
    doc: Doc | None = None

    kind = "entity"

    @property
    def context(self) -> str:
        return f"In {self.kind} '{self.name}'"


@dataclass
class BuiltinType(Entity):
    json_kind: str = ""  # string, number, int, boolean, null, value

    kind = "built-in type"


@dataclass
class ArrayType:
    """['element']; it has no name of its own."""

    element: "Type"

    kind = "array"


@dataclass
class EnumValue:
    name: str
    location: Location
    condition: Condition | None = None
    features: list[Feature] = field(default_factory=list)


@dataclass
class EnumType(Entity):
    values: list[EnumValue] = field(default_factory=list)

    kind = "enum"

    def index(self, value: str) -> int:
        return next(i for i, known in enumerate(self.values) if known.name == value)


@dataclass
class Member:
    """A member of a struct, or of the common part of a union."""

    name: str
    location: Location
    type: "Type"
    optional: bool = False
    condition: Condition | None = None
    features: list[Feature] = field(default_factory=list)
    secret: bool = False


@dataclass
class ObjectType(Entity):
    """A struct, or the arguments of a command or event that are written in place."""

    base: "ObjectType | None" = None
    members: list[Member] = field(default_factory=list)
    implicit: bool = False

    kind = "struct"

    def all_members(self) -> Iterator[Member]:
        if self.base:
            yield from self.base.all_members()
        yield from self.members


@dataclass
class Branch:
    """A branch of a union or of an alternate. `type` is None for a union's branch without members of its own."""

    name: str
    location: Location
    type: "Type | None"
    condition: Condition | None = None


@dataclass
class UnionType(ObjectType):
    discriminator: str = ""
    branches: list[Branch] = field(default_factory=list)

    kind = "union"

    def discriminator_member(self) -> Member:
        return next(member for member in self.all_members() if member.name == self.discriminator)

    def discriminator_type(self) -> EnumType:
        enum = self.discriminator_member().type
        assert isinstance(enum, EnumType)
        return enum

    def branch_for(self, value: str) -> Branch | None:
        return next((branch for branch in self.branches if branch.name == value), None)


@dataclass
class AlternateType(Entity):
    branches: list[Branch] = field(default_factory=list)

    kind = "alternate"


Type = BuiltinType | ArrayType | EnumType | ObjectType | AlternateType


@dataclass
class Command(Entity):
    arguments: ObjectType | None = None
    returns: Type | None = None
    generated: bool = True
    success_response: bool = True
    allow_oob: bool = False
    allow_preconfig: bool = False

    kind = "command"


@dataclass
class Event(Entity):
    data: ObjectType | None = None

    kind = "event"


@dataclass
class ModuleInfo:
    """One schema file, for emitters: what it defines, in order."""

    name: str
    path: str
    includes: list[str]
    # Whether it has definitions, and commands, conditions aside: the names of the files that come out depend on it.
    empty: bool
    has_commands: bool
    entities: list[Entity] = field(default_factory=list)
    free_docs: list[tuple[int, Doc]] = field(default_factory=list)

    def of_kind(self, *kinds: type) -> list:
        return [entity for entity in self.entities if isinstance(entity, kinds)]


@dataclass
class Schema:
    """The whole schema. `modules` stand in order of definition: what is included comes first."""

    modules: list[ModuleInfo] = field(default_factory=list)
    entities: dict[str, Entity] = field(default_factory=dict)
    # The unions whose branches are lists of properties, and the structs whose own members are listed in another order
    # than that of the schema.
    property_lists: list[str] = field(default_factory=list)
    property_order: dict[str, list[str]] = field(default_factory=dict)

    def in_order(self, *kinds: type) -> list:
        return [entity for module in self.modules for entity in module.of_kind(*kinds)]


def type_label(type_: Type | None) -> str:
    """How a type is written in the schema."""
    if type_ is None:
        return "nothing"
    if isinstance(type_, ArrayType):
        return f"[{type_label(type_.element)}]"
    return type_.name


BUILTINS = {
    "str": "string",
    "number": "number",
    "int": "int",
    "int8": "int",
    "int16": "int",
    "int32": "int",
    "int64": "int",
    "uint8": "int",
    "uint16": "int",
    "uint32": "int",
    "uint64": "int",
    "size": "int",
    "bool": "boolean",
    "null": "null",
    "any": "value",
}
QTYPE_VALUES = ("none", "qnull", "qnum", "qstring", "qdict", "qlist", "qbool")


def builtin_entities() -> dict[str, Entity]:
    nowhere = Location("built-in", 0)
    builtins: dict[str, Entity] = {name: BuiltinType(name, nowhere, json_kind=kind) for name, kind in BUILTINS.items()}
    builtins["QType"] = EnumType("QType", nowhere, values=[EnumValue(value, nowhere) for value in QTYPE_VALUES])
    return builtins
