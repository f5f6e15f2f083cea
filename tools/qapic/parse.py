"""Pass 1: files to top-level expressions, each with its place, its module and its documentation."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .doc import Doc, parse_doc
from .errors import Location, SchemaError
from .lexer import MAX_FILE_BYTES, Lexer, Mapping, ValueReader

MAX_FILES = 100

BOOLEAN_PRAGMAS = ("doc-required",)
LIST_PRAGMAS = (
    "command-name-exceptions",
    "command-returns-exceptions",
    "documentation-exceptions",
    "member-name-exceptions",
    "property-lists",
    "property-order",
    "secret-members",
)


@dataclass
class Pragmas:
    """What `pragma` directives switched on, for the whole schema."""

    doc_required: bool = False
    # Of each list its entries, and where they stand.
    lists: dict[str, dict[str, Location]] = field(default_factory=lambda: {name: {} for name in LIST_PRAGMAS})


@dataclass
class Expression:
    """One definition as it was written."""

    value: Mapping
    location: Location
    module: "Module"
    doc: Doc | None


@dataclass
class Module:
    """One schema file."""

    path: str
    name: str  # the file's name without .json
    includes: list["Module"] = field(default_factory=list)
    expressions: list[Expression] = field(default_factory=list)
    free_docs: list[tuple[int, Doc]] = field(default_factory=list)  # (index of the expression it precedes, text)


@dataclass
class ParsedSchema:
    modules: list[Module] = field(default_factory=list)
    pragmas: Pragmas = field(default_factory=Pragmas)


class Parser:
    """Reads a schema file and everything it includes, each file once."""

    def __init__(self) -> None:
        self.schema = ParsedSchema()
        self.by_path: dict[str, Module] = {}

    def parse(self, path: str) -> ParsedSchema:
        self._file(os.path.abspath(path), Location(path, 0))
        return self.schema

    def _file(self, path: str, included_from: Location) -> Module:
        path = os.path.normpath(path)
        if path in self.by_path:
            return self.by_path[path]
        if len(self.by_path) >= MAX_FILES:
            raise SchemaError(included_from, f"the schema has more than {MAX_FILES} files")
        name = os.path.splitext(os.path.basename(path))[0]
        if any(module.name == name for module in self.by_path.values()):
            raise SchemaError(included_from, f"two files of the schema are named '{name}'")
        module = Module(path, name)
        self.by_path[path] = module
        reader = ValueReader(Lexer(path, _read(path, included_from)))
        self._expressions(module, reader)
        self.schema.modules.append(module)
        return module

    def _expressions(self, module: Module, reader: ValueReader) -> None:
        doc: Doc | None = None
        while reader.token.kind != "end":
            token = reader.token
            if token.kind == "doc":
                self._require_unattached(doc)
                doc = parse_doc(module.path, token.line, token.value)
                reader.advance()
                if not doc.symbol:
                    module.free_docs.append((len(module.expressions), doc))
                    doc = None
                continue
            if token.kind != "{":
                raise reader.lexer.fail("expected a definition in { }", token.line)
            self._expression(module, reader.mapping(), doc)
            doc = None
        self._require_unattached(doc)

    def _require_unattached(self, doc: Doc | None) -> None:
        if doc:
            raise SchemaError(doc.location, f"the documentation of '{doc.symbol}' is not followed by its definition")

    def _expression(self, module: Module, value: Mapping, doc: Doc | None) -> None:
        location = Location(module.path, value.line)
        if "include" in value or "pragma" in value:
            self._require_unattached(doc)
            if len(value) != 1:
                raise SchemaError(location, "a directive stands alone in its braces")
            if "include" in value:
                self._include(module, value["include"], location)
            else:
                self._pragma(value["pragma"], location)
            return
        module.expressions.append(Expression(value, location, module, doc))

    def _include(self, module: Module, target: object, location: Location) -> None:
        if not isinstance(target, str) or not target:
            raise SchemaError(location, "'include' takes a file name")
        path = os.path.join(os.path.dirname(module.path), target)
        included = self._file(path, location)
        if included not in module.includes and included is not module:
            module.includes.append(included)

    def _pragma(self, pragma: object, location: Location) -> None:
        if not isinstance(pragma, Mapping):
            raise SchemaError(location, "'pragma' takes an object")
        for name, value in pragma.items():
            where = Location(location.path, name.line)
            if name in BOOLEAN_PRAGMAS:
                if not isinstance(value, bool):
                    raise SchemaError(where, f"pragma '{name}' is true or false")
                self.schema.pragmas.doc_required = value
            elif name in LIST_PRAGMAS:
                if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
                    raise SchemaError(where, f"pragma '{name}' takes a list of names")
                self.schema.pragmas.lists[name].update(dict.fromkeys(value, where))
            else:
                raise SchemaError(where, f"unknown pragma '{name}'")


def _read(path: str, included_from: Location) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SchemaError(included_from, f"cannot read '{os.path.relpath(path)}': {reason}") from None
    if len(data) > MAX_FILE_BYTES:
        raise SchemaError(included_from, f"'{os.path.relpath(path)}' is larger than {MAX_FILE_BYTES} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SchemaError(Location(path, line), "this is not UTF-8") from None
