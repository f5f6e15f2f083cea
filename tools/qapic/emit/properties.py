"""Tables of the members of structs as the properties of objects, which qom-list shows."""

from __future__ import annotations

from ..model import BuiltinType, Member, ObjectType, Schema, UnionType
from . import cpp

# How properties name the built-in types that the schema names otherwise.
PROPERTY_TYPES = {"str": "string"}


def structs_with_properties(schema: Schema) -> set[str]:
    """The names of the structs that have a table: the branches of the unions that a pragma lists, and their bases."""
    found = set()
    for name in schema.property_lists:
        union = schema.entities.get(name)
        for branch in union.branches if isinstance(union, UnionType) else []:
            struct = branch.type
            while isinstance(struct, ObjectType):
                found.add(struct.name)
                struct = struct.base
    return found


def _listed_members(schema: Schema, type_: ObjectType) -> list[Member]:
    """The members in the order of the table, those of the base first."""
    own = {member.name: member for member in type_.members}
    order = [name for name in schema.property_order.get(type_.name, own) if name in own]
    return (_listed_members(schema, type_.base) if type_.base else []) + [own[name] for name in order]


def _property(member: Member) -> str:
    held = cpp.innermost(member.type)
    name = PROPERTY_TYPES.get(held.name, held.name) if isinstance(held, BuiltinType) else held.name
    return f'{{"{member.name}", "{name}"{", true" if member.secret else ""}}}'


def property_table(schema: Schema, type_: ObjectType) -> str:
    """The specialisation of Properties for a struct."""
    rows = [_property(member) for member in _listed_members(schema, type_)]
    table = "".join(f"      {row},\n" for row in rows)
    held = f"{{{{\n{table}  }}}}" if rows else "{}"
    return f"""
template <>
struct Properties<{cpp.type_name(type_.name)}> {{
  static constexpr std::array<Property, {len(rows)}> kAll{held};
}};
"""
