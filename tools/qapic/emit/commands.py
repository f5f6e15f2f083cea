"""Declarations of the handlers, the functions that decode, run and encode, and the table of all commands."""

from __future__ import annotations

from ..model import Command, Schema
from . import cpp


def emit_commands(schema: Schema, prefix: str) -> dict[str, str]:
    files: dict[str, str] = {}
    includes: list[str] = []
    for module in schema.modules:
        if not module.has_commands:
            continue
        commands = module.of_kind(Command)
        stem = cpp.module_file(module.name) + "_commands"
        includes.append(f'#include "{prefix}/{stem}.h"\n')
        files[stem + ".h"] = _header(module.name, commands, prefix)
        files[stem + ".cc"] = _source(module.name, stem, commands, prefix)
    files["command_table.h"] = TABLE_HEADER
    files["command_table.cc"] = _table(schema.in_order(Command), includes, prefix)
    return files


def _handler(command: Command) -> str:
    if not command.generated:
        function = cpp.function(command.name)
        return f"aio::Task<Result<json::Value>> {function}(Control& control, const json::Value* arguments)"
    returned = _qualified(command.returns) if command.returns else ""
    parameters = "Control& control"
    if command.arguments:
        parameters += f", schema::{cpp.type_name(command.arguments.name)} arguments"
    return f"aio::Task<Result<{returned}>> {cpp.function(command.name)}({parameters})"


def _qualified(type_) -> str:
    inner = cpp.innermost(type_)
    name = cpp.cpp_type(inner)
    text = name if name.startswith(("std::", "json::")) or name in ("bool", "double") else f"schema::{name}"
    while type_ is not inner:
        text = f"std::vector<{text}>"
        type_ = type_.element
    return text


def _modules_of(commands: list[Command]) -> list[str]:
    modules = {command.module for command in commands}
    for command in commands:
        for type_ in (command.arguments, command.returns):
            if type_ is not None:
                modules.add(getattr(cpp.innermost(type_), "module", ""))
    return sorted(modules - {""})


def _header(module: str, commands: list[Command], prefix: str) -> str:
    parts = [cpp.banner(module + ".json"), "#pragma once\n\n#include <string>\n#include <vector>\n\n"]
    parts.append('#include "aio/task/task.h"\n#include "base/error.h"\n#include "json/value.h"\n')
    parts += [f'#include "{prefix}/{cpp.module_file(name)}.h"\n' for name in _modules_of(commands)]
    parts.append("\n// Defined in src/control.\nnamespace blockexport::control {\n\nclass Control;\n")
    for command in commands:
        parts.append("\n" + cpp.comment(command.doc.summary if command.doc else "") + _handler(command) + ";\n")
    parts.append("\n}  // namespace blockexport::control\n\nnamespace blockexport::schema {\n\n")
    parts += [_thunk(command) + ";\n" for command in commands]
    parts.append("\n}  // namespace blockexport::schema\n")
    return "".join(parts)


def _thunk(command: Command) -> str:
    name = f"run_{cpp.function(command.name)}"
    return f"aio::Task<Result<json::Value>> {name}(control::Control& control, const json::Value* arguments)"


def _source(module: str, stem: str, commands: list[Command], prefix: str) -> str:
    parts = [cpp.banner(module + ".json"), f'#include "{prefix}/{stem}.h"\n\n#include "schema/run_command.h"\n']
    parts.append("\nnamespace blockexport::schema {\n")
    for command in commands:
        function = f"control::{cpp.function(command.name)}"
        call = f"run_command<&{function}>" if command.generated else function
        parts.append(f"\n{_thunk(command)} {{\n  return {call}(control, arguments);\n}}\n")
    parts.append("\n}  // namespace blockexport::schema\n")
    return "".join(parts)


TABLE_HEADER = (
    cpp.banner("the commands of the whole schema")
    + """#pragma once

#include <span>

#include "schema/command_entry.h"

namespace blockexport::schema {

// Every command of the schema, sorted by name.
std::span<const CommandEntry> command_table();

}  // namespace blockexport::schema
"""
)


def _table(commands: list[Command], includes: list[str], prefix: str) -> str:
    rows = []
    for command in sorted(commands, key=lambda command: command.name):
        preconfig = str(command.allow_preconfig).lower()
        oob = str(command.allow_oob).lower()
        thunk = f"&run_{cpp.function(command.name)}"
        rows.append(
            f'    {{.name = "{command.name}", .allow_preconfig = {preconfig}, .allow_oob = {oob}, .run = {thunk}}},\n'
        )
    return f"""{cpp.banner("the commands of the whole schema")}#include "{prefix}/command_table.h"

#include <array>

{"".join(includes)}
namespace blockexport::schema {{

static constexpr std::array<CommandEntry, {len(rows)}> kCommands{{{{
{"".join(rows)}}}}};

std::span<const CommandEntry> command_table() {{ return kCommands; }}

}}  // namespace blockexport::schema
"""
