"""The options of `blockexportd` as a section of its page: from what --help prints, in which the compiler finds each
option (see command_line.cc)."""

from __future__ import annotations

import re

from qapic.emit.scdoc import bold, entry, prose

_TEXT_COLUMN = 25


def parse_help(text: str) -> list[tuple[list[str], str]]:
    """The entries of the help: the lines of each synopsis, and what is said about them."""
    entries: list[tuple[list[str], list[str]]] = []
    is_open = False
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip(" "))
        if not line.strip() or indent == 0:
            is_open = False
        elif indent == 2 and line.lstrip().startswith("-"):
            head, described = _split(line)
            # Several forms of an option share their text.
            if is_open and not entries[-1][1]:
                entries[-1][0].append(head)
            else:
                entries.append(([head], []))
            if described:
                entries[-1][1].append(described)
            is_open = True
        elif is_open and indent == _TEXT_COLUMN:
            entries[-1][1].append(line.strip())
        elif is_open:
            entries[-1][0][-1] += line.strip()
    return [(heads, " ".join(lines)) for heads, lines in entries]


def _split(line: str) -> tuple[str, str]:
    """The synopsis and the text beside it."""
    if len(line) > _TEXT_COLUMN and line[_TEXT_COLUMN - 2:_TEXT_COLUMN] == "  ":
        return line[:_TEXT_COLUMN].strip(), line[_TEXT_COLUMN:].strip()
    return line.strip(), ""


def options(help_text: str) -> str:
    """An entry for each option."""
    parts = []
    for heads, text in parse_help(help_text):
        *first, last = [bold(head) for head in heads]
        described = prose(text[:1].upper() + text[1:])
        parts.append("".join(f"{head}++\n" for head in first) + entry(last, [described + "."]))
    return "".join(parts)


def option_names(help_text: str) -> set[str]:
    """The long options that have an entry."""
    heads = [head for entry_heads, _ in parse_help(help_text) for head in entry_heads]
    return {name for head in heads for name in re.findall(r"--[a-z][a-z-]*", head)}
