"""One function per type that shows its members to a visitor, in the order of the schema."""

from __future__ import annotations

from ..model import AlternateType, Event, Member, ModuleInfo, ObjectType, Schema, UnionType
from ..verify import json_kind
from . import cpp
from .events import event_definition
from .layout import Layout
from .types import UNION_NAMES, member_name


def emit_visits(schema: Schema, layout: Layout, prefix: str) -> dict[str, str]:
    return {
        f"{cpp.module_file(module.name)}.cc": _source(module, layout, prefix)
        for module in schema.modules
        if not module.empty
    }


def _source(module: ModuleInfo, layout: Layout, prefix: str) -> str:
    parts = [cpp.banner(module.name + ".json"), f'#include "{prefix}/{cpp.module_file(module.name)}.h"\n']
    parts.append('\n#include "schema/event.h"\n#include "schema/visitor.h"\n\nnamespace blockexport::schema {\n')
    for type_ in layout.order[module.name]:
        parts.append(_visit_alternate(type_) if isinstance(type_, AlternateType) else _visit_object(type_))
    parts += [event_definition(event) for event in module.of_kind(Event)]
    parts.append("\n}  // namespace blockexport::schema\n")
    return "".join(parts)


def _visit_member(member: Member, target: str) -> str:
    target = f"as_size({target})" if cpp.is_size(cpp.innermost(member.type)) else target
    return f'visit(visitor, "{member.name}", {target})'


def _visit_object(type_: ObjectType) -> str:
    name = cpp.type_name(type_.name)
    calls = []
    lines = []
    tag = type_.discriminator if isinstance(type_, UnionType) else ""
    for member in type_.all_members():
        target = "tag" if member.name == tag else "value." + member_name(type_, member)
        calls.append(_visit_member(member, target))
    if isinstance(type_, UnionType):
        lines.append(_visit_branch(type_))
        accessor = cpp.snake(type_.discriminator, UNION_NAMES)
        calls.append("visit_branch(visitor, tag, value)")
    if not calls:
        return f"\nbool visit_members(Visitor& /*visitor*/, {name}& /*value*/) {{ return true; }}\n"
    lines.append(f"\nbool visit_members(Visitor& visitor, {name}& value) {{\n")
    if tag:
        lines.append(f"  auto tag = value.{accessor}();\n")
    lines.append("  return " + " &&\n         ".join(calls) + ";\n}\n")
    return "".join(lines)


def _visit_branch(union: UnionType) -> str:
    enum = union.discriminator_type()
    tag = cpp.type_name(enum.name)
    cases = []
    for index, (value, constant) in enumerate(zip(enum.values, cpp.constants(enum))):
        branch = union.branch_for(value.name)
        held = f"hold<{index}>(value.branch)"
        call = f"visit_members(visitor, {held})" if branch else f"visit_nothing({held})"
        cases.append(f"    case {tag}::{constant}:\n      return {call};\n")
    visitor = "visitor" if union.branches else "/*visitor*/"
    return f"""
static bool visit_branch(Visitor& {visitor}, {tag} tag, {cpp.type_name(union.name)}& value) {{
  switch (tag) {{
{"".join(cases)}  }}
  return false;
}}
"""


def _visit_alternate(alternate: AlternateType) -> str:
    name = cpp.type_name(alternate.name)
    kinds = ", ".join("JsonKind::k" + json_kind(branch.type).capitalize() for branch in alternate.branches)
    cases = []
    for index, branch in enumerate(alternate.branches):
        target = f"hold<{index}>(value.value)"
        target = f"as_size({target})" if cpp.is_size(cpp.innermost(branch.type)) else target
        cases.append(f"    case {index}:\n      return visit(visitor, name, {target});\n")
    return f"""
bool visit(Visitor& visitor, Name name, {name}& value) {{
  static constexpr std::array<JsonKind, {len(alternate.branches)}> kKinds{{{kinds}}};
  std::size_t which = value.value.index();
  if (!visitor.alternate(name, "{alternate.name}", kKinds, which)) return false;
  switch (which) {{
{"".join(cases)}  }}
  return false;
}}
"""
