"""Manual pages, for scdoc: the commands, events and types of the schema, and the options of one struct."""

from __future__ import annotations

from ..doc import Doc
from ..model import (
    AlternateType,
    ArrayType,
    BuiltinType,
    Command,
    Entity,
    EnumType,
    Event,
    Member,
    ObjectType,
    Schema,
    Type,
    UnionType,
    type_label,
)
from .scdoc import bold, entry, escape, literal, paragraphs, prose

# Levels of structs within each other that an options page shows; deeper ones are named.
_DEPTH_MAX = 4


def emit_manual(schema: Schema) -> str:
    """The sections COMMANDS, EVENTS and TYPES, by name."""
    parts = []
    sections = {"COMMANDS": (Command,), "EVENTS": (Event,), "TYPES": (ObjectType, EnumType, AlternateType)}
    for title, kinds in sections.items():
        entities = [entity for entity in schema.in_order(*kinds) if not getattr(entity, "implicit", False)]
        parts.append(f"# {title}\n\n")
        parts += [_entity(entity) for entity in sorted(entities, key=lambda one: one.name.lower())]
    return "".join(parts)


def emit_options(schema: Schema, name: str) -> str:
    """The members of a struct with those of the structs in it, as keys with dots: the options page of a file.

    The struct itself is the whole file: its lists are tables by ID, NAME.ID. A union that occurs twice is described
    once.
    """
    struct = schema.entities[name]
    assert isinstance(struct, ObjectType)
    return "".join(_options(struct, "", 0, {name: ""}))


def _entity(entity: Entity) -> str:
    doc = entity.doc or Doc(entity.location)
    # A heading is plain text.
    parts = [f"## {entity.name}\n\n"]
    parts += [f"{text}\n\n" for text in paragraphs(doc.text)]
    if isinstance(entity, EnumType):
        parts += [_described(bold(value.name), "", doc, value.name) for value in entity.values]
    elif isinstance(entity, ObjectType):
        parts += _object(entity, doc)
    elif isinstance(entity, AlternateType):
        parts += [_described(escape(type_label(one.type)), "", doc, one.name) for one in entity.branches]
    elif isinstance(entity, (Command, Event)):
        data = entity.arguments if isinstance(entity, Command) else entity.data
        if data and data.implicit:
            parts += _object(data, doc)
        elif data:
            word = "Arguments" if isinstance(entity, Command) else "Data"
            parts.append(f"{word}: the members of {bold(data.name)}.\n\n")
        if isinstance(entity, Command) and entity.returns and not doc.section("Returns"):
            parts.append(f"Returns {escape(type_label(entity.returns))}.\n\n")
    parts += [entry(f"Feature {bold(name)}", paragraphs(one.text)) for name, one in doc.features.items()]
    for section in doc.sections:
        if section.tag == "TODO":
            continue
        if section.tag == "Returns" and isinstance(entity, Command) and entity.returns:
            parts.append(f"Returns {escape(type_label(entity.returns))}: {prose(' '.join(section.text.split()))}\n\n")
            continue
        parts.append(f"{escape(section.tag)}:\n\n")
        is_example = section.tag.startswith("Example")
        parts += [f"{text}\n\n" for text in ([literal(section.text)] if is_example else paragraphs(section.text))]
    return "".join(parts)


def _object(entity: ObjectType, doc: Doc) -> list[str]:
    parts = [_member(member, member.name, doc) for member in entity.members]
    if entity.base:
        if entity.base.implicit:
            parts += [_member(member, member.name, doc) for member in entity.base.members]
        else:
            parts.append(f"And the members of {bold(entity.base.name)}.\n\n")
    if isinstance(entity, UnionType):
        for branch in entity.branches:
            if branch.type is not None:
                parts.append(f"With {bold(entity.discriminator)} {bold(branch.name)}: the members of "
                             f"{bold(type_label(branch.type))}.\n\n")
    return parts


def _member(member: Member, key: str, doc: Doc) -> str:
    type_text = f"{'optional ' if member.optional else ''}{type_label(member.type)}"
    return _described(bold(key), type_text, doc, member.name)


def _described(head: str, type_text: str, doc: Doc, name: str) -> str:
    argument = doc.arguments.get(name)
    return entry(f"{head} ({escape(type_text)})" if type_text else head, paragraphs(argument.text) if argument else [])


def _options(struct: ObjectType, prefix: str, depth: int, shown: dict[str, str]) -> list[str]:
    """The options of a struct: those that are scalars first, then the structs in it."""
    doc = struct.doc or Doc(struct.location)
    parts: list[str] = []
    nested: list[tuple[str, ObjectType]] = []
    if struct.base:
        base_doc = doc if struct.base.implicit else struct.base.doc or doc
        parts += _options_of_members(struct.base.all_members(), prefix, base_doc, nested, depth)
    parts += _options_of_members(struct.members, prefix, doc, nested, depth)
    if isinstance(struct, UnionType):
        for branch in struct.branches:
            if isinstance(branch.type, ObjectType):
                parts.append(f"With {bold(struct.discriminator)} = {bold(branch.name)}:\n\n")
                parts += _options(branch.type, prefix, depth + 1, shown)
    for key, inner in nested:
        parts.append(f"## {key}\n\n")
        parts += [f"{text}\n\n" for text in paragraphs(inner.doc.text if inner.doc else "")]
        if inner.name in shown:
            parts.append(f"The keys are those below {bold(shown[inner.name])}.\n\n")
            continue
        if isinstance(inner, UnionType):
            shown[inner.name] = key
        parts += _options(inner, key, depth + 1, shown)
    return parts


def _options_of_members(members, prefix: str, doc: Doc, nested: list, depth: int) -> list[str]:
    parts = []
    for member in members:
        key = f"{prefix}.{member.name}" if prefix else member.name
        inner, inner_key = _innermost(member.type, key, ".ID" if depth == 0 else "[]")
        is_shown = isinstance(inner, ObjectType) and depth < _DEPTH_MAX
        if is_shown:
            nested.append((inner_key, inner))
        parts.append(_option(member, key, doc, is_shown, _note(member, prefix, depth)))
    return parts


def _innermost(type_: Type, key: str, mark: str = "") -> tuple[Type, str]:
    """The type of the elements of a list, and their key."""
    while isinstance(type_, ArrayType):
        type_, key = type_.element, key + mark
    return type_, key


def _note(member: Member, prefix: str, depth: int) -> str:
    """A sentence on a member that has to be there. The tables of a file need not; an ID is the name of its table."""
    if member.optional or depth == 0:
        return ""
    return "It is the name of the table." if prefix.endswith(".ID") and member.name == "id" else "It is required."


def _option(member: Member, key: str, doc: Doc, is_shown: bool, note: str) -> str:
    words = _values(member.type)
    if not words and not isinstance(_innermost(member.type, key)[0], BuiltinType) and not is_shown:
        words = f"{type_label(member.type)} of *blockexport-qmp*(7)"
    argument = doc.arguments.get(member.name)
    head = f"{bold(key)} ({escape(type_label(member.type)) if not words else words})"
    texts = paragraphs(argument.text) if argument else []
    return entry(head, [*texts, *([prose(note)] if note else [])])


def _values(type_: Type) -> str:
    return ", ".join(bold(value.name) for value in type_.values) if isinstance(type_, EnumType) else ""
