"""The reference, in Markdown: one page per module and an index."""

from __future__ import annotations

import re

from ..doc import Doc
from ..model import (
    AlternateType,
    Command,
    Entity,
    EnumType,
    Event,
    Feature,
    Member,
    ModuleInfo,
    ObjectType,
    Schema,
    Type,
    UnionType,
    type_label,
)
from .cpp import innermost

_HEADINGS = {"command": "Command", "event": "Event", "enum": "Enumeration", "struct": "Structure"}


def emit_docs(schema: Schema) -> dict[str, str]:
    where = {entity.name: entity.module for entity in schema.in_order(Entity)}
    files = {f"{module.name}.md": _page(module, where) for module in schema.modules if module.entities}
    files["README.md"] = _index(schema)
    return files


def _index(schema: Schema) -> str:
    lines = ["# Reference of the control interface\n", "\nCommands and events, by file of the schema.\n"]
    for module in schema.modules:
        entities = module.of_kind(Command, Event)
        if not module.entities:
            continue
        lines.append(f"\n## [{module.name}]({module.name}.md)\n\n")
        for entity in entities:
            summary = entity.doc.summary if entity.doc else ""
            lines.append(f"- [`{entity.name}`]({module.name}.md#{_anchor(entity)}) {_text(summary)}\n")
        if not entities:
            lines.append("Types only.\n")
    return "".join(lines)


def _anchor(entity: Entity) -> str:
    return re.sub(r"[^a-z0-9_-]", "", f"{_heading(entity)}-{entity.name}".lower())


def _heading(entity: Entity) -> str:
    return _HEADINGS.get(entity.kind, entity.kind.capitalize())


def _page(module: ModuleInfo, where: dict[str, str]) -> str:
    parts = [f"# {module.name}\n"]
    for index, entity in enumerate(module.entities):
        parts += [_free(doc) for position, doc in module.free_docs if position == index]
        parts.append(_entity(entity, where))
    return "".join(parts)


def _free(doc: Doc) -> str:
    text = re.sub(r"^(=+) ", lambda match: "#" * (len(match.group(1)) + 1) + " ", doc.text, flags=re.M)
    return f"\n{_text(text)}\n" if text else ""


def _text(text: str) -> str:
    """@name becomes `name`."""
    return re.sub(r"(?<![\w`])@([A-Za-z0-9_-]*[A-Za-z0-9_])", r"`\1`", text)


def _link(type_: Type | None, where: dict[str, str]) -> str:
    if type_ is None:
        return "nothing"
    inner = innermost(type_)
    label = type_label(type_)
    module = where.get(inner.name)
    return f"[`{label}`]({module}.md#{_anchor(inner)})" if module else f"`{label}`"


def _tags(features: list[Feature]) -> str:
    return "".join(f" **{feature.name}**" for feature in features)


def _entity(entity: Entity, where: dict[str, str]) -> str:
    doc = entity.doc or Doc(entity.location)
    parts = [f"\n## {_heading(entity)} {entity.name}\n"]
    if entity.features:
        parts.append(f"\nFeatures:{_tags(entity.features)}\n")
    if doc.text:
        parts.append(f"\n{_text(doc.text)}\n")
    parts += _contents(entity, doc, where)
    for name, argument in doc.features.items():
        parts.append(f"\n**{name}**: {_text(_flat(argument.text))}\n")
    for section in doc.sections:
        if section.tag == "TODO":
            continue
        body = f"\n\n```\n{section.text}\n```\n" if section.tag.startswith("Example") else f" {_text(section.text)}\n"
        parts.append(f"\n{section.tag}:{body}")
    return "".join(parts)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _row(label: str, type_text: str, doc: Doc, name: str, suffix: str = "") -> str:
    argument = doc.arguments.get(name)
    explained = _text(_flat(argument.text)) if argument else ""
    middle = f" ({type_text})" if type_text else ""
    return f"- `{label}`{middle}{suffix}{': ' if explained else ''}{explained}\n"


def _members(members: list[Member], doc: Doc, where: dict[str, str]) -> list[str]:
    rows = []
    for member in members:
        type_text = ("optional " if member.optional else "") + _link(member.type, where)
        rows.append(_row(member.name, type_text, doc, member.name, _tags(member.features)))
    return rows


def _contents(entity: Entity, doc: Doc, where: dict[str, str]) -> list[str]:
    parts: list[str] = []
    if isinstance(entity, EnumType):
        parts.append("\nValues:\n\n")
        parts += [_row(value.name, "", doc, value.name, _tags(value.features)) for value in entity.values]
    elif isinstance(entity, ObjectType):
        parts += _object(entity, doc, where)
    elif isinstance(entity, AlternateType):
        parts.append("\nOne of:\n\n")
        parts += [_row(branch.name, _link(branch.type, where), doc, branch.name) for branch in entity.branches]
    elif isinstance(entity, (Command, Event)):
        data = entity.arguments if isinstance(entity, Command) else entity.data
        word = "Arguments" if isinstance(entity, Command) else "Data"
        if data and data.implicit:
            parts += [f"\n{word}:\n\n", *_members(data.members, doc, where)]
        elif data:
            parts.append(f"\n{word}: the members of {_link(data, where)}.\n")
        if isinstance(entity, Command) and entity.returns:
            parts.append(f"\nReturn type: {_link(entity.returns, where)}.\n")
    return parts


def _object(entity: ObjectType, doc: Doc, where: dict[str, str]) -> list[str]:
    parts: list[str] = []
    if entity.members:
        parts += ["\nMembers:\n\n", *_members(entity.members, doc, where)]
    if entity.base:
        parts.append(f"\nAnd the members of {_link(entity.base, where)}.\n")
    if isinstance(entity, UnionType):
        for branch in entity.branches:
            tag = f"`{entity.discriminator}` is `{branch.name}`"
            parts.append(f"\nWhen {tag}, also the members of {_link(branch.type, where)}.\n")
    return parts
