"""Pass 3, second half: what definitions say about each other. Collisions, ambiguity, endless types, documentation."""

from __future__ import annotations

from .errors import Location, SchemaError
from .model import (
    AlternateType,
    ArrayType,
    BuiltinType,
    Command,
    Entity,
    EnumType,
    Event,
    Feature,
    Member,
    ObjectType,
    Schema,
    Type,
    UnionType,
    type_label,
)
from .names import fold
from .parse import Pragmas

MAX_BASES = 30
MAX_NESTED_UNIONS = 30
SPECIAL_FEATURES = ("deprecated", "unstable")


def verify(schema: Schema, pragmas: Pragmas) -> None:
    """Raises SchemaError at the first thing that is wrong."""
    entities = schema.in_order(Entity)
    for entity in entities:
        if isinstance(entity, ObjectType):
            _base_cycle(entity)
    for entity in entities:
        _verify_entity(entity, pragmas)
    _implicit_names(schema)
    _secret_members(entities, pragmas)
    _properties(schema, pragmas)
    for entity in entities:
        _documentation(entity, pragmas)


def _fail(entity: Entity, message: str, location: Location | None = None) -> SchemaError:
    return SchemaError(location or entity.location, message, entity.context)


def _verify_entity(entity: Entity, pragmas: Pragmas) -> None:
    if not isinstance(entity, (Command, Event)):
        _no_special_features(entity, entity.features)
    if isinstance(entity, ObjectType):
        _members(entity, list(entity.all_members()))
    if isinstance(entity, UnionType):
        _union(entity)
    elif isinstance(entity, AlternateType):
        _alternate(entity)
    elif isinstance(entity, Command):
        _returns(entity, pragmas)
        _members(entity, list(entity.arguments.all_members()) if entity.arguments else [])


def _secret_members(entities: list[Entity], pragmas: Pragmas) -> None:
    found = set()
    for entity in entities:
        for member in entity.members if isinstance(entity, ObjectType) else []:
            if not member.secret:
                continue
            if not isinstance(member.type, BuiltinType) or member.type.name != "str":
                raise _fail(entity, f"member '{member.name}' is secret, so it must be a 'str'", member.location)
            found.add(f"{entity.name}.{member.name}")
    # What is misspelled there would be left lying about.
    for name, location in pragmas.lists["secret-members"].items():
        if name not in found:
            raise SchemaError(location, f"pragma 'secret-members': there is no member '{name}'")


def _properties(schema: Schema, pragmas: Pragmas) -> None:
    for name, location in pragmas.lists["property-lists"].items():
        if not isinstance(schema.entities.get(name), UnionType):
            raise SchemaError(location, f"pragma 'property-lists': there is no union '{name}'")
    locations = pragmas.lists["property-order"]
    for struct, members in schema.property_order.items():
        location = locations[f"{struct}.{members[0]}" if members[0] else struct]
        entity = schema.entities.get(struct)
        if not isinstance(entity, ObjectType):
            raise SchemaError(location, f"pragma 'property-order': there is no struct '{struct}'")
        own = [member.name for member in entity.members]
        if sorted(members) != sorted(own):
            expected = ", ".join(own)
            raise SchemaError(location, f"pragma 'property-order': '{struct}' has just the members {expected}")


def _no_special_features(entity: Entity, features: list[Feature]) -> None:
    for feature in features:
        if feature.name in SPECIAL_FEATURES:
            raise _fail(entity, f"feature '{feature.name}' is for commands, events, members and values")


def _base_cycle(entity: ObjectType) -> None:
    seen = {entity.name}
    base = entity.base
    while base:
        if base.name in seen:
            raise _fail(entity, f"its base '{base.name}' leads back to itself")
        seen.add(base.name)
        if len(seen) > MAX_BASES:
            raise _fail(entity, f"it stands on more than {MAX_BASES} bases")
        base = base.base


def _members(entity: Entity, members: list[Member]) -> dict[str, Member]:
    seen: dict[str, Member] = {}
    for member in members:
        twin = seen.get(fold(member.name))
        if twin:
            raise _fail(entity, f"member '{member.name}' collides with '{twin.name}' of its base", member.location)
        seen[fold(member.name)] = member
    return seen


def _union(union: UnionType) -> None:
    common = _members(union, list(union.all_members()))
    tag = next((member for member in union.all_members() if member.name == union.discriminator), None)
    if tag is None:
        raise _fail(union, f"the discriminator '{union.discriminator}' is no member of the base")
    if not isinstance(tag.type, EnumType):
        raise _fail(union, f"the discriminator '{tag.name}' must be of an enum type, not {type_label(tag.type)}")
    if tag.optional:
        raise _fail(union, f"the discriminator '{tag.name}' may not be optional")
    if tag.condition:
        raise _fail(union, f"the discriminator '{tag.name}' may not be conditional")
    values = {value.name for value in tag.type.values}
    for branch in union.branches:
        if branch.name not in values:
            raise _fail(union, f"branch '{branch.name}' is no value of enum '{tag.type.name}'", branch.location)
        if not isinstance(branch.type, ObjectType):
            raise _fail(union, f"branch '{branch.name}' must be a struct or a union", branch.location)
        for member in branch.type.all_members():
            if fold(member.name) in common:
                message = f"member '{member.name}' of branch '{branch.name}' collides with a common member"
                raise _fail(union, message, branch.location)
    _nested_unions(union, set(common))


def _nested_unions(union: UnionType, outer: set[str], depth: int = 0) -> None:
    """A branch may be a union itself: its members share one object with ours, all the way down.

    A union that leads back to itself meets its own discriminator there, so this ends.
    """
    if depth > MAX_NESTED_UNIONS:
        raise _fail(union, f"unions are nested more than {MAX_NESTED_UNIONS} deep")
    for branch in union.branches:
        if not isinstance(branch.type, UnionType):
            continue
        for inner in branch.type.branches:
            if not isinstance(inner.type, ObjectType):
                continue
            for member in inner.type.all_members():
                if fold(member.name) in outer:
                    message = f"member '{member.name}' of branches '{branch.name}', '{inner.name}' collides"
                    raise _fail(union, message, branch.location)
        _nested_unions(branch.type, outer | {fold(member.name) for member in branch.type.all_members()}, depth + 1)


def json_kind(type_: Type) -> str:
    """What a type looks like in JSON: string, number, boolean, null, array, object; or "" for any and alternates."""
    if isinstance(type_, ArrayType):
        return "array"
    if isinstance(type_, EnumType):
        return "string"
    if isinstance(type_, ObjectType):
        return "object"
    if isinstance(type_, BuiltinType):
        return {"int": "number", "value": ""}.get(type_.json_kind, type_.json_kind)
    return ""


def _alternate(alternate: AlternateType) -> None:
    by_kind: dict[str, str] = {}
    for branch in alternate.branches:
        assert branch.type is not None
        kind = json_kind(branch.type)
        if not kind:
            message = f"branch '{branch.name}' cannot be of type {type_label(branch.type)}"
            raise _fail(alternate, message, branch.location)
        conflicts = {kind}
        if kind == "string":
            conflicts |= _string_conflicts(branch.type)
        for other in conflicts & set(by_kind):
            message = f"branch '{branch.name}' cannot be told apart from '{by_kind[other]}'"
            raise _fail(alternate, message, branch.location)
        for other in conflicts:
            by_kind[other] = branch.name


def _string_conflicts(type_: Type) -> set[str]:
    """On a command line all is text: what a string branch could be mistaken for there."""
    if not isinstance(type_, EnumType):
        return {"number", "boolean"}
    conflicts: set[str] = set()
    for value in type_.values:
        if value.name in ("on", "off"):
            conflicts.add("boolean")
        if value.name[:1].isdigit():
            conflicts.add("number")
    return conflicts


def _returns(command: Command, pragmas: Pragmas) -> None:
    returned = command.returns
    if isinstance(returned, ArrayType):
        returned = returned.element
    if returned is None or isinstance(returned, ObjectType):
        return
    if command.name not in pragmas.lists["command-returns-exceptions"]:
        message = f"it returns {type_label(command.returns)}, which is no object nor list of objects"
        raise _fail(command, message + " (a pragma can make an exception)")


def _implicit_names(schema: Schema) -> None:
    """Types that the generator names itself must not meet those of the schema, nor names that differ by case only."""
    seen: dict[str, Entity] = {}
    for entity in schema.in_order(Entity):
        implicit = None
        if isinstance(entity, (Command, Event)):
            data = entity.arguments if isinstance(entity, Command) else entity.data
            implicit = data if data and data.implicit else None
            key = entity.kind + fold(entity.name)
        else:
            key = entity.name
        for name in (key, implicit.name if implicit else None):
            if name is None:
                continue
            if name in seen:
                raise _fail(entity, f"its name in C++ collides with that of {seen[name].kind} '{seen[name].name}'")
            seen[name] = entity


def _documented_names(entity: Entity) -> list[str]:
    if isinstance(entity, EnumType):
        return [value.name for value in entity.values]
    if isinstance(entity, ObjectType):
        return [member.name for member in entity.members]
    if isinstance(entity, AlternateType):
        return [branch.name for branch in entity.branches]
    data = entity.arguments if isinstance(entity, Command) else entity.data if isinstance(entity, Event) else None
    return [member.name for member in data.members] if data and data.implicit else []


def _documentation(entity: Entity, pragmas: Pragmas) -> None:
    names = _documented_names(entity)
    features = {feature.name for feature in entity.features}
    for group in (getattr(entity, "members", []), getattr(entity, "values", [])):
        features |= {feature.name for item in group for feature in item.features}
    doc = entity.doc
    if doc:
        branches = [branch.name for branch in entity.branches] if isinstance(entity, UnionType) else []
        for name, argument in doc.arguments.items():
            if name not in names and name not in branches:
                location = Location(doc.location.path, argument.line)
                raise _fail(entity, f"'@{name}' is documented but does not exist", location)
    if not pragmas.doc_required:
        return
    if doc is None:
        raise _fail(entity, "it has no documentation")
    if entity.name in pragmas.lists["documentation-exceptions"]:
        return
    if not doc.text and not names:
        raise _fail(entity, "its documentation says nothing", doc.location)
    for name in names:
        if name not in doc.arguments or not doc.arguments[name].text:
            raise _fail(entity, f"'{name}' has no documentation")
    for feature in entity.features:
        if feature.name not in doc.features:
            raise _fail(entity, f"feature '{feature.name}' has no documentation")
