"""What query-qmp-schema answers: JSON text, with the types' names replaced by numbers.

Only what a command or an event leads to is told. The numbers follow the order in which types are first used.
"""

from __future__ import annotations

import json

from ..model import (
    AlternateType,
    ArrayType,
    BuiltinType,
    Command,
    EnumType,
    Event,
    Feature,
    Member,
    ObjectType,
    Schema,
    Type,
    UnionType,
)
from . import cpp

_EMPTY = "q_empty"
_LINE_BYTES = 100


def introspection(schema: Schema) -> list[dict]:
    """The list of SchemaInfo objects."""
    return _Introspection().run(schema)


class _Introspection:
    def __init__(self) -> None:
        self.numbers: dict[str, str] = {}
        self.queue: list[tuple[str, Type | None]] = []
        self.entries: list[dict] = []

    def run(self, schema: Schema) -> list[dict]:
        for entity in schema.in_order(Command, Event):
            entry = {"name": entity.name, "meta-type": "command" if isinstance(entity, Command) else "event"}
            if isinstance(entity, Command):
                entry["arg-type"] = self._use(entity.arguments)
                entry["ret-type"] = self._use(entity.returns)
                if entity.allow_oob:
                    entry["allow-oob"] = True
            else:
                entry["arg-type"] = self._use(entity.data)
            self._add(entry, entity.features)
        position = 0
        while position < len(self.queue):
            self._describe(*self.queue[position])
            position += 1
        return self.entries

    def _add(self, entry: dict, features: list[Feature]) -> None:
        self.entries.append(_with_features(entry, features))

    def _use(self, type_: Type | None) -> str:
        """The name a type has on the wire; the first use queues it to be described."""
        if isinstance(type_, ArrayType):
            key = name = f"[{self._use(type_.element)}]"
        elif isinstance(type_, BuiltinType):
            key = name = "int" if type_.json_kind == "int" else type_.name
        else:
            if isinstance(type_, ObjectType) and not isinstance(type_, UnionType) and not list(type_.all_members()):
                type_ = type_ if type_.features else None
            key = type_.name if type_ else _EMPTY
            name = self.numbers.setdefault(key, str(len(self.numbers)))
        if all(known != name for known, _ in self.queue):
            self.queue.append((name, type_))
        return name

    def _describe(self, name: str, type_: Type | None) -> None:
        entry: dict = {"name": name}
        features: list[Feature] = [] if type_ is None or isinstance(type_, ArrayType) else type_.features
        if type_ is None:
            entry |= {"meta-type": "object", "members": []}
        elif isinstance(type_, ArrayType):
            entry |= {"meta-type": "array", "element-type": self._use(type_.element)}
        elif isinstance(type_, BuiltinType):
            entry |= {"meta-type": "builtin", "json-type": type_.json_kind}
        elif isinstance(type_, EnumType):
            values = [_with_features({"name": value.name}, value.features) for value in type_.values]
            entry |= {"meta-type": "enum", "members": values, "values": [value.name for value in type_.values]}
        elif isinstance(type_, AlternateType):
            entry |= {"meta-type": "alternate", "members": [{"type": self._use(b.type)} for b in type_.branches]}
        else:
            entry |= {"meta-type": "object", "members": [self._member(member) for member in type_.all_members()]}
            if isinstance(type_, UnionType):
                entry |= {"tag": type_.discriminator, "variants": self._variants(type_)}
        self._add(entry, features)

    def _member(self, member: Member) -> dict:
        entry: dict = {"name": member.name}
        if member.optional:
            entry["default"] = None
        entry["type"] = self._use(member.type)
        return _with_features(entry, member.features)

    def _variants(self, union: UnionType) -> list[dict]:
        named = [{"case": branch.name, "type": self._use(branch.type)} for branch in union.branches]
        known = {branch.name for branch in union.branches}
        values = [value.name for value in union.discriminator_type().values]
        return named + [{"case": value, "type": self._use(None)} for value in values if value not in known]


def _with_features(entry: dict, features: list[Feature]) -> dict:
    if features:
        entry["features"] = [feature.name for feature in features]
    return entry


def emit_introspection(schema: Schema, prefix: str) -> dict[str, str]:
    text = json.dumps(introspection(schema), separators=(",", ":"))
    lines = []
    while text:
        lines.append(f'    R"({text[:_LINE_BYTES]})"\n')
        text = text[_LINE_BYTES:]
    header = f"""{cpp.banner("the whole schema")}#pragma once

#include <string_view>

namespace blockexport::schema {{

// What query-qmp-schema returns, as JSON text: an array of SchemaInfo. Parsed only when somebody asks.
std::string_view introspection_text();

}}  // namespace blockexport::schema
"""
    source = f"""{cpp.banner("the whole schema")}#include "{prefix}/introspection.h"

// The text is longer than the 64 KiB that every compiler has to accept.
#pragma clang diagnostic ignored "-Woverlength-strings"

namespace blockexport::schema {{

std::string_view introspection_text() {{
  static constexpr std::string_view kText =
{"".join(lines).rstrip()};
  return kText;
}}

}}  // namespace blockexport::schema
"""
    return {"introspection.h": header, "introspection.cc": source}
