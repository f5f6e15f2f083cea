"""The commands of `blockexport` as sections of its page: from the tree that `blockexport __describe` prints."""

from __future__ import annotations

from collections.abc import Iterator

from qapic.emit.scdoc import bold, entry, escape, prose


def leaves(tree: dict, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict]]:
    """The commands without commands below them, each with its words."""
    for command in tree["commands"]:
        words = (*path, command["name"])
        if command["commands"]:
            yield from leaves(command, words)
        else:
            yield words, command


def synopsis(words: tuple[str, ...], command: dict) -> str:
    """Its words and arguments."""
    parts = [bold(" ".join(("blockexport", *words))), "[_options_]"]
    for argument in command["arguments"]:
        text = f"_{escape(argument['name'])}_" + ("..." if argument["repeatable"] else "")
        parts.append(text if argument["required"] else f"[{text}]")
    return " ".join(parts)


def option_head(option: dict) -> str:
    """Its names, and a word for its value: "*-f*, *--format* _raw|qcow2_"."""
    head = ", ".join(bold(name) for name in option["names"])
    if "value" in option:
        word = "|".join(option["choices"]) if "choices" in option else value_word(option)
        head += f" _{escape(word)}_"
    return head


def value_word(option: dict) -> str:
    """A word for the value of an option, after its name."""
    if option["value"] in ("UINT", "INT"):
        return "NUMBER"
    return option["names"][-1].lstrip("-").upper().replace("-", "_")


def sections(tree: dict) -> str:
    """A section for each command; those below `tls`, `image` and `backup` follow each other."""
    parts = []
    for words, command in leaves(tree):
        parts.append(f"## {escape(' '.join(words))}\n\n{synopsis(words, command)}\n\n{prose(sentence(command))}\n\n")
        for argument in command["arguments"]:
            parts.append(entry(f"_{escape(argument['name'])}_", [_text(argument)]))
        for option in command["options"]:
            if "--help" not in option["names"]:
                parts.append(entry(option_head(option), [_text(option)]))
    return "".join(parts)


def global_options(tree: dict) -> str:
    """Those before the command."""
    return "".join(entry(option_head(option), [_text(option)]) for option in tree["options"])


def _text(option: dict) -> str:
    return prose(sentence(option))


def sentence(described: dict) -> str:
    """Its description, with a full stop."""
    text = " ".join(described["description"].split())
    return text if text.endswith((".", "?")) else text + "."
