"""C++ types: one header per module. Aggregates with the members of their base in them, variants, enum classes."""

from __future__ import annotations

from ..model import AlternateType, EnumType, Event, Member, ModuleInfo, ObjectType, Schema, Type, UnionType
from . import cpp
from .events import event_declaration
from .layout import Layout
from .properties import property_table, structs_with_properties

HEADER = """#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/wiped_text.h"
#include "json/value.h"
#include "schema/box.h"
#include "schema/enum_names.h"
"""


def emit_types(schema: Schema, layout: Layout, prefix: str) -> dict[str, str]:
    return {
        f"{cpp.module_file(module.name)}.h": _header(schema, module, layout, prefix)
        for module in schema.modules
        if not module.empty
    }


def _header(schema: Schema, module: ModuleInfo, layout: Layout, prefix: str) -> str:
    parts = [cpp.banner(module.name + ".json"), HEADER]
    listed = structs_with_properties(schema)
    types = layout.order[module.name]
    if any(type_.name in listed for type_ in types):
        parts.append('#include "schema/property.h"\n')
    parts += [f'#include "{prefix}/{cpp.module_file(used)}.h"\n' for used in layout.uses[module.name]]
    parts.append("\nnamespace blockexport::schema {\n\nclass Visitor;\nusing Name = const char*;\n")
    parts += [_enum(enum) for enum in module.of_kind(EnumType)]
    parts.append("\n" + "".join(f"struct {cpp.type_name(type_.name)};\n" for type_ in types))
    for type_ in types:
        parts.append(_alternate(type_, layout) if isinstance(type_, AlternateType) else _object(type_, layout))
        if type_.name in listed:
            parts.append(property_table(schema, type_))
    parts.append("\n" + "".join(_visit_declaration(type_) for type_ in types))
    events = module.of_kind(Event)
    if events:
        parts.append("\n" + "".join(event_declaration(event) for event in events))
    parts.append("\n}  // namespace blockexport::schema\n")
    return "".join(parts)


def _visit_declaration(type_) -> str:
    name = cpp.type_name(type_.name)
    if isinstance(type_, AlternateType):
        return f"bool visit(Visitor& visitor, Name name, {name}& value);\n"
    return f"bool visit_members(Visitor& visitor, {name}& value);\n"


def _enum(enum: EnumType) -> str:
    name = cpp.type_name(enum.name)
    lines = ["\n", cpp.comment(enum.doc.summary if enum.doc else ""), f"enum class {name} {{\n"]
    lines += [f"  {constant},\n" for constant in cpp.constants(enum)]
    lines.append("};\n")
    quoted = ", ".join(f'"{value.name}"' for value in enum.values)
    lines += [
        f"template <>\nstruct EnumNames<{name}> {{\n",
        f"  static constexpr std::array<std::string_view, {len(enum.values)}> kNames{{{quoted}}};\n",
        "};\n",
    ]
    return "".join(lines)


def _member(owner: ObjectType, member: Member, layout: Layout) -> str:
    boxed = layout.is_boxed(owner, member.name)
    text = "WipedText" if member.secret else cpp.cpp_type(member.type, boxed)
    if member.optional:
        text = f"std::optional<{text}>"
    # A default initialiser would ask for the complete type of a list that leads back here.
    initial = "" if (owner.name, member.name) in layout.circular_lists else "{}"
    doc = owner.doc.arguments.get(member.name) if owner.doc else None
    return cpp.comment(doc.text if doc else "", "  ") + f"  {text} {member_name(owner, member)}{initial};\n"


# What a union's struct has besides its members.
UNION_NAMES = ("branch", "as", "as_if")


def member_name(owner: ObjectType, member: Member) -> str:
    return cpp.snake(member.name, UNION_NAMES if isinstance(owner, UnionType) else ())


def _object(type_: ObjectType, layout: Layout) -> str:
    name = cpp.type_name(type_.name)
    lines = ["\n", cpp.comment(type_.doc.summary if type_.doc else ""), f"struct {name} {{\n"]
    tag = type_.discriminator if isinstance(type_, UnionType) else ""
    lines += [_member(type_, member, layout) for member in type_.all_members() if member.name != tag]
    if isinstance(type_, UnionType):
        lines.append(_union_part(type_, layout))
    elif any(type_.all_members()):
        lines.append(_typed_visit(type_))
    lines.append(f"\n  friend bool operator==(const {name}&, const {name}&) = default;\n}};\n")
    return "".join(lines)


def _typed_visit(type_: ObjectType) -> str:
    calls = "".join(f'    see("{member.name}", self.{member_name(type_, member)});\n' for member in type_.all_members())
    return (
        "\n  // Calls see(name, member) for each member, with the member's own type.\n"
        f"  void for_each_member(this auto& self, auto&& see) {{\n{calls}  }}\n"
    )


def _union_part(union: UnionType, layout: Layout) -> str:
    enum = union.discriminator_type()
    alternatives = []
    for value in enum.values:
        branch = union.branch_for(value.name)
        if branch is None or branch.type is None:
            alternatives.append("std::monostate")
        else:
            alternatives.append(cpp.cpp_type(branch.type, layout.is_boxed(union, "branch " + branch.name)))
    tag = cpp.type_name(enum.name)
    accessor = cpp.snake(union.discriminator, UNION_NAMES)
    return f"""  // Its index is the member '{union.discriminator}'.
  std::variant<{", ".join(alternatives) or "std::monostate"}> branch{{}};

  {tag} {accessor}() const {{ return static_cast<{tag}>(branch.index()); }}
  // The branch of that value, which must be the one held; as_if gives null when it is not.
  template <{tag} kWhich>
  auto& as(this auto& self) {{
    return std::get<static_cast<std::size_t>(kWhich)>(self.branch);
  }}
  template <{tag} kWhich>
  auto* as_if(this auto& self) {{
    return std::get_if<static_cast<std::size_t>(kWhich)>(&self.branch);
  }}
"""


def _alternative(alternate: AlternateType, index: int, layout: Layout) -> tuple[Type, bool]:
    branch = alternate.branches[index]
    assert branch.type is not None
    return branch.type, layout.is_boxed(alternate, "branch " + branch.name)


def _alternate(alternate: AlternateType, layout: Layout) -> str:
    name = cpp.type_name(alternate.name)
    held = [_alternative(alternate, index, layout) for index in range(len(alternate.branches))]
    alternatives = ", ".join(cpp.cpp_type(type_, boxed) for type_, boxed in held) or "std::monostate"
    lines = ["\n", cpp.comment(alternate.doc.summary if alternate.doc else ""), f"struct {name} {{\n"]
    lines.append(f"  std::variant<{alternatives}> value{{}};\n\n  // Null when another branch is held.\n")
    for index, (branch, (type_, boxed)) in enumerate(zip(alternate.branches, held)):
        accessor = cpp.snake(branch.name, ("value",))
        if boxed:
            body = f"const auto* box = std::get_if<{index}>(&value);\n    return box == nullptr ? nullptr : &**box;"
            lines.append(f"  const {cpp.cpp_type(type_)}* {accessor}() const {{\n    {body}\n  }}\n")
        else:
            body = f"return std::get_if<{index}>(&value);"
            lines.append(f"  const {cpp.cpp_type(type_)}* {accessor}() const {{ {body} }}\n")
    lines.append(f"\n  friend bool operator==(const {name}&, const {name}&) = default;\n}};\n")
    return "".join(lines)
