"""Text in the language of scdoc(5), from which manual pages are made."""

from __future__ import annotations

import re


def escape(text: str) -> str:
    """Plain text, in which scdoc finds no markup; of one or several lines."""
    # At the begin of a line the last ones would begin lists, requests and literal blocks.
    return re.sub(r"^([-.'])", r"\\\1", _escape_within(text), flags=re.M)


def _escape_within(text: str) -> str:
    return re.sub(r"([\\*_`~^|\[\]#;+])", r"\\\1", text)


def bold(text: str) -> str:
    return f"*{_escape_within(text)}*"


def prose(text: str) -> str:
    """A line of text with @name and `words` in bold."""
    first, *parts = re.split(r"(`[^`\n]+`|(?<![\w@])@[A-Za-z0-9_-]*[A-Za-z0-9_])", text)
    return escape(first) + "".join(
        _escape_within(part) if number % 2 else bold(part.strip("`@")) for number, part in enumerate(parts))


def paragraphs(text: str) -> list[str]:
    """Prose and lists: lines that begin with '- ' are items, and further indented ones continue them."""
    found: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        items = [number for number, line in enumerate(lines) if line.startswith("- ")]
        head = " ".join(lines[: items[0]] if items else lines)
        if head:
            found.append(prose(head))
        ends = [*items[1:], len(lines)]
        listed = [" ".join(lines[begin:end])[2:] for begin, end in zip(items, ends)]
        if listed:
            found.append("\n".join(f"- {prose(item)}" for item in listed))
    return found


def indented(text: str) -> str:
    return "\n".join("\t" + line if line else "" for line in text.splitlines())


def entry(head: str, texts: list[str]) -> str:
    """An option: a line, and paragraphs below it, indented. They are separated by an empty line."""
    body = "\n\n".join(indented(text) for text in texts if text)
    return f"{head}\n{body}\n\n" if body else f"{head}\n\n"


def literal(text: str) -> str:
    return f"```\n{text.strip(chr(10))}\n```"
