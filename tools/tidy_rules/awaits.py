"""The control plane holds no raw pointer or reference to a node, edge or export over a co_await: it may be gone."""

import re

from . import cpp

HELD = re.compile(r"\b(?:block::|exports::|nbd::)?(Node|Edge|Export|NbdExport)\s*[*&]\s*(?:const\s+)?(\w+)\b")
AWAIT = re.compile(r"\bco_await\b")


def end_of_statement(body, position):
    """The offset behind the statement that contains `position`: its `;`, or the brace that a head opens."""
    depth = 0
    for match in re.compile(r"[(){};]").finditer(body, position):
        character = match.group()
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == ";" and depth <= 0 or character in "{}":
            return match.end()
    return len(body)


def held_over_await(body):
    """(offset, type, name) of each declaration whose name is used at or after a co_await that follows it."""
    for declaration in HELD.finditer(body):
        awaited = AWAIT.search(body, end_of_statement(body, declaration.end()))
        if awaited is None:
            continue
        if re.compile(rf"\b{declaration.group(2)}\b").search(body, awaited.end()):
            yield declaration.start(), declaration.group(1), declaration.group(2)


def check(files, settings):
    folders = settings.get("awaits", {}).get("folders", [])
    findings = []
    for file in files:
        if not file.is_cpp or file.is_test or file.source_folder not in folders:
            continue
        for function in cpp.functions(file.code):
            for offset, kind, name in held_over_await(function.body):
                line = function.last_line - function.body.count("\n", offset)
                findings.append(f"{file.path}:{line}: {function.name} holds {kind} '{name}' over a co_await: "
                                "look it up again by its name afterwards, or own it")
    return findings
