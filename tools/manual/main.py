"""Writes the manual pages and the completion of shells: python3 tools/manual --programs BUILD --output FOLDER.

The pages in docs/manual are templates in scdoc's language. @DAEMON_OPTIONS@, @GLOBAL_OPTIONS@ and @COMMANDS@ stand for
what the programs tell, @QMP@ for the schema, @STRUCT:NAME@ for the options page of one of its structs, @VERSION@ for
the version. scdoc makes a page of each, unless --source is given: then the pages stay in its language.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys

from qapic.condition import Features
from qapic.emit.manual import emit_manual, emit_options
from qapic.main import compile_schema, write_files

from .command_page import global_options, sections
from .completion import bash, fish, zsh
from .daemon_page import options

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TEMPLATES = os.path.join(ROOT, "docs", "manual")


def ask(*words: str) -> str:
    """What a program prints."""
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def fill(template: str, values: dict[str, str], schema) -> str:
    """The template with what its marks stand for; @STRUCT:NAME@ is the options page of a struct."""
    text = re.sub(r"^@STRUCT:(\w+)@$", lambda match: emit_options(schema, match.group(1)), template, flags=re.M)
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    # Two empty lines are an error for scdoc.
    return re.sub(r"\n{3,}", "\n\n", text)


def pages(programs: str) -> dict[str, str]:
    """The source of each page, by its name such as blockexport.1."""
    tree = json.loads(ask(os.path.join(programs, "blockexport"), "__describe"))
    help_text = ask(os.path.join(programs, "blockexportd"), "--help")
    version = ask(os.path.join(programs, "blockexport"), "--version").split()[-1]
    os.chdir(ROOT)
    schema = compile_schema("schema/blockexport.json", Features.load("schema/features.json"))
    values = {"VERSION": version, "DAEMON_OPTIONS": options(help_text), "GLOBAL_OPTIONS": global_options(tree),
              "COMMANDS": sections(tree), "QMP": emit_manual(schema)}
    found = {}
    for name in sorted(os.listdir(TEMPLATES)):
        if name.endswith(".scd"):
            with open(os.path.join(TEMPLATES, name), encoding="utf-8") as file:
                found[name.removesuffix(".scd")] = fill(file.read(), values, schema)
    return found


def completions(programs: str) -> dict[str, str]:
    """The completion scripts, by the names under which the shells look for them."""
    tree = json.loads(ask(os.path.join(programs, "blockexport"), "__describe"))
    return {"blockexport.bash": bash(tree), "_blockexport": zsh(tree), "blockexport.fish": fish(tree)}


def render(source: str) -> str:
    """The page in the language of man."""
    done = subprocess.run(["scdoc"], input=source, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0 or done.stderr:
        raise SystemExit(f"scdoc: {done.stderr}")
    return done.stdout


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="manual", description="Writes the manual pages and the shell completion.")
    parser.add_argument("--programs", required=True, help="folder of blockexportd and blockexport")
    parser.add_argument("--output", required=True, help="folder for the files")
    parser.add_argument("--source", action="store_true", help="leave the pages in scdoc's language")
    parser.add_argument("--completion", action="store_true", help="only the completion, for which scdoc is not needed")
    options_given = parser.parse_args(arguments)
    programs = os.path.abspath(options_given.programs)
    output = os.path.abspath(options_given.output)
    write_files(output, completions(programs))
    if options_given.completion:
        return 0
    for name, source in pages(programs).items():
        if options_given.source:
            write_files(output, {f"{name}.scd": source})
        else:
            write_files(output, {name: render(source)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
