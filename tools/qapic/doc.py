"""Documentation comments: a summary, what each member means, and tagged sections."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .errors import Location, SchemaError


_SYMBOL = re.compile(r"@([A-Za-z0-9_.-]+):\s*$")
_ARGUMENT = re.compile(r"@([A-Za-z0-9_.-]+):(?:\s+(.*)|\s*)$")
_SECTION = re.compile(r"(Returns|Errors|Since|Notes?|TODO|Examples?):(?:\s+(.*)|\s*)$")


@dataclass
class Section:
    """A tagged section: its tag ("Since", "Returns", ...) and its lines."""

    tag: str
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return _join(self.lines)


@dataclass
class Argument:
    """What the comment says of one member, value, branch or feature."""

    line: int
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return _join(self.lines)


@dataclass
class Doc:
    """One documentation comment. `symbol` is empty in a free-form one."""

    location: Location
    symbol: str = ""
    body: list[str] = field(default_factory=list)
    arguments: dict[str, Argument] = field(default_factory=dict)
    features: dict[str, Argument] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)

    @property
    def text(self) -> str:
        return _join(self.body)

    @property
    def summary(self) -> str:
        """The first sentence of the body, on one line."""
        paragraph = self.text.split("\n\n", 1)[0].replace("\n", " ").strip()
        end = re.search(r"\.(\s|$)", paragraph)
        return paragraph[: end.start() + 1] if end else paragraph

    def section(self, tag: str) -> str:
        return "\n\n".join(section.text for section in self.sections if section.tag == tag)


def _join(lines: list[str]) -> str:
    return "\n".join(lines).strip("\n").rstrip()


def parse_doc(path: str, line: int, lines: list[tuple[int, str]]) -> Doc:
    """Reads the lines between the two ## (without their #)."""
    doc = Doc(Location(path, line))
    rest = iter(lines)
    target = doc.body
    first = next((entry for entry in lines if entry[1].strip()), None)
    symbol = _SYMBOL.match(first[1]) if first else None
    if symbol:
        doc.symbol = symbol.group(1)
        for entry in rest:
            if entry is first:
                break
    in_features = False
    for number, text in rest:
        if not doc.symbol:
            target.append(text)
            continue
        if text.rstrip() == "Features:":
            in_features = True
            continue
        argument = _ARGUMENT.match(text)
        section = _SECTION.match(text)
        if argument:
            target = _new_argument(doc, in_features, argument, Location(path, number))
        elif section:
            in_features = False
            doc.sections.append(Section(section.group(1), [section.group(2) or ""]))
            target = doc.sections[-1].lines
        else:
            target.append(text.strip() if target is not doc.body and not doc.sections else text)
    return doc


def _new_argument(doc: Doc, in_features: bool, match: re.Match, location: Location) -> list[str]:
    name = match.group(1)
    known = doc.features if in_features else doc.arguments
    if name in known:
        raise SchemaError(location, f"'@{name}' is documented twice", f"In the documentation of '{doc.symbol}'")
    known[name] = Argument(location.line, [match.group(2) or ""])
    return known[name].lines
