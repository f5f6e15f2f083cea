"""The command line of the schema compiler."""

from __future__ import annotations

import argparse
import json
import os
import sys

from .build import build
from .check import check
from .condition import Features
from .emit.commands import emit_commands
from .emit.cpp import module_file
from .emit.docs import emit_docs
from .emit.introspect import emit_introspection, introspection
from .emit.layout import plan
from .emit.types import emit_types
from .emit.visits import emit_visits
from .errors import SchemaError
from .model import Schema
from .parse import ParsedSchema, Parser
from .prune import prune


def parse(path: str) -> ParsedSchema:
    return Parser().parse(path)


def compile_schema(path: str, features: Features | None = None) -> Schema:
    """Passes 1 to 4: the model of the schema that `path` leads to, without what this build lacks."""
    parsed = parse(path)
    check(parsed)
    return prune(build(parsed), features or Features())


def generate(schema: Schema, prefix: str) -> dict[str, str]:
    """Pass 5: every C++ file, by name."""
    layout = plan(schema)
    files: dict[str, str] = {}
    for emitted in (
        emit_types(schema, layout, prefix),
        emit_visits(schema, layout, prefix),
        emit_commands(schema, prefix),
        emit_introspection(schema, prefix),
    ):
        files |= emitted
    return files


def list_files(path: str) -> dict[str, list[str]]:
    """What a build needs to know before it runs the compiler: the schema's files, and those that come out."""
    parsed = parse(path)
    outputs = {"types": ["introspection.h", "introspection.cc"], "commands": ["command_table.h", "command_table.cc"]}
    for module in parsed.modules:
        stem = module_file(module.name)
        if not module.expressions:
            continue
        outputs["types"] += [stem + ".h", stem + ".cc"]
        if any("command" in expression.value for expression in module.expressions):
            outputs["commands"] += [stem + "_commands.h", stem + "_commands.cc"]
    return {"inputs": [module.path for module in parsed.modules], **outputs}


def write_files(directory: str, files: dict[str, str]) -> None:
    """Writes what has changed, and leaves alone what has not, so that only that is compiled again."""
    os.makedirs(directory, exist_ok=True)
    for name, text in files.items():
        path = os.path.join(directory, name)
        try:
            with open(path, encoding="utf-8") as file:
                if file.read() == text:
                    continue
        except FileNotFoundError:
            pass
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="qapic", description="Compiles the control schema to C++ and documents it.")
    parser.add_argument("schema", help="the schema file that includes the others")
    parser.add_argument("--features", help="JSON object: which conditions hold in this build")
    parser.add_argument("--output", help="folder for the C++ files")
    parser.add_argument("--prefix", default="schema", help="how #include lines name that folder")
    parser.add_argument("--docs", help="folder for the reference pages")
    parser.add_argument("--introspection", help="file for the answer of query-qmp-schema")
    parser.add_argument("--list", action="store_true", help="only tell the files read and written, as CMake lists")
    options = parser.parse_args(arguments)
    try:
        if options.list:
            for name, files in list_files(options.schema).items():
                print(f"{name}={';'.join(files)}")
            return 0
        schema = compile_schema(options.schema, Features.load(options.features) if options.features else None)
        if options.output:
            write_files(options.output, generate(schema, options.prefix))
        if options.docs:
            write_files(options.docs, emit_docs(schema))
        if options.introspection:
            with open(options.introspection, "w", encoding="utf-8") as file:
                json.dump(introspection(schema), file, indent=1)
    except SchemaError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
