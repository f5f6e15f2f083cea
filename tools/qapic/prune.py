"""Pass 4: evaluates every 'if' against the list of features, and takes out what this build does not have.

After it no condition is left: C++ never sees an #if, and introspection tells just what is there.
"""

from __future__ import annotations

from .condition import Features
from .errors import SchemaError
from .model import (
    AlternateType,
    ArrayType,
    Command,
    Entity,
    Event,
    ObjectType,
    Schema,
    Type,
    UnionType,
    type_label,
)


def prune(schema: Schema, features: Features) -> Schema:
    """Changes the schema in place, and returns it."""

    def keep(thing: object) -> bool:
        condition = getattr(thing, "condition", None)
        return condition is None or condition.holds(features)

    for module in schema.modules:
        module.entities = [entity for entity in module.entities if keep(entity)]
    kept = {entity.name for entity in schema.in_order(Entity)}
    for entity in schema.in_order(Entity):
        for part in _parts(entity):
            _prune_parts(part, keep)
    for entity in schema.in_order(Entity):
        _no_missing_types(entity, kept)
    schema.entities = {
        name: entity for name, entity in schema.entities.items() if name in kept or not entity.location.line
    }
    return schema


def _parts(entity: Entity) -> list[Entity]:
    """The entity and the implicit type of its arguments."""
    data = getattr(entity, "arguments", None) or getattr(entity, "data", None)
    return [entity, data] if data is not None and data.implicit else [entity]


def _prune_parts(entity: Entity, keep) -> None:
    entity.features = [feature for feature in entity.features if keep(feature)]
    for group in ("members", "values", "branches"):
        if hasattr(entity, group):
            setattr(entity, group, [item for item in getattr(entity, group) if keep(item)])
            for item in getattr(entity, group):
                if hasattr(item, "features"):
                    item.features = [feature for feature in item.features if keep(feature)]
    if isinstance(entity, UnionType):
        values = {value.name for value in entity.discriminator_type().values}
        entity.branches = [branch for branch in entity.branches if branch.name in values]


def _no_missing_types(entity: Entity, kept: set[str]) -> None:
    for what, type_ in _references(entity):
        while isinstance(type_, ArrayType):
            type_ = type_.element
        implicit = isinstance(type_, ObjectType) and type_.implicit
        if type_.location.line and not implicit and type_.name not in kept:
            message = f"{what} is of type {type_label(type_)}, which its condition leaves out of this build"
            raise SchemaError(entity.location, message, entity.context)


def _references(entity: Entity) -> list[tuple[str, Type]]:
    found: list[tuple[str, Type]] = []
    for part in _parts(entity):
        if isinstance(part, ObjectType):
            if part.base:
                found.append(("its base", part.base))
            found += [(f"member '{member.name}'", member.type) for member in part.members]
        if isinstance(part, (UnionType, AlternateType)):
            found += [(f"branch '{branch.name}'", branch.type) for branch in part.branches if branch.type]
        if isinstance(part, Command):
            found += [("'returns'", part.returns)] if part.returns else []
            found += [("'data'", part.arguments)] if part.arguments else []
        if isinstance(part, Event) and part.data:
            found.append(("'data'", part.data))
    return found
