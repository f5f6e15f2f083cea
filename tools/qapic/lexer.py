"""Pass 1a: characters to tokens and tokens to values that remember their lines.

The notation is JSON's, less numbers and null, with single-quoted ASCII strings and # comments.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import Location, SchemaError

MAX_NESTING = 32
MAX_FILE_BYTES = 4 * 1024 * 1024


class Text(str):
    """A string of the schema, with the line it stands on."""

    line: int

    def __new__(cls, value: str, line: int) -> "Text":
        text = super().__new__(cls, value)
        text.line = line
        return text


class Sequence(list):
    """A [...] of the schema, with the line of its bracket."""

    def __init__(self, line: int):
        super().__init__()
        self.line = line


class Mapping(dict):
    """A {...} of the schema, with the line of its brace; its keys are Text."""

    def __init__(self, line: int):
        super().__init__()
        self.line = line

    def line_of(self, key: str) -> int:
        for found in self:
            if found == key:
                return getattr(found, "line", self.line)
        return self.line


@dataclass
class Token:
    kind: str  # one of { } [ ] : , or string, word, doc, end
    value: object
    line: int


class Lexer:
    """Turns one file's text into tokens, one call of next() each."""

    def __init__(self, path: str, text: str):
        self.path = path
        self.text = text
        self.position = 0
        self.line = 1

    def fail(self, message: str, line: int | None = None) -> SchemaError:
        return SchemaError(Location(self.path, self.line if line is None else line), message)

    def next(self) -> Token:
        while self.position < len(self.text):
            character = self.text[self.position]
            if character == "\n":
                self.line += 1
                self.position += 1
            elif character in " \t\r":
                self.position += 1
            elif character == "#":
                comment = self._comment()
                if comment is not None:
                    return comment
            elif character in "{}[]:,":
                self.position += 1
                return Token(character, character, self.line)
            elif character == "'":
                return self._string()
            elif character.isascii() and character.isalpha():
                return self._word()
            else:
                raise self.fail(f"stray character {ascii(character)}")
        return Token("end", None, self.line)

    def _rest_of_line(self) -> str:
        end = self.text.find("\n", self.position)
        end = len(self.text) if end < 0 else end
        rest = self.text[self.position : end]
        self.position = end
        return rest.rstrip("\r")

    def _comment(self) -> Token | None:
        start_line = self.line
        opening = self._rest_of_line()
        if opening.rstrip() != "##":
            if opening.startswith("##"):
                raise self.fail("a documentation comment opens with ## alone on its line")
            return None
        lines: list[tuple[int, str]] = []
        while self.position < len(self.text):
            self.position += 1  # the newline that _rest_of_line left
            self.line += 1
            line = self._rest_of_line().strip(" \t")
            if line == "##":
                return Token("doc", lines, start_line)
            if not line.startswith("#"):
                break
            body = line[1:]
            lines.append((self.line, body[1:] if body.startswith(" ") else body))
        raise self.fail("this documentation comment is not closed with ##", start_line)

    def _string(self) -> Token:
        start_line = self.line
        characters: list[str] = []
        self.position += 1
        while self.position < len(self.text):
            character = self.text[self.position]
            self.position += 1
            if character == "'":
                return Token("string", Text("".join(characters), start_line), start_line)
            if character == "\\":
                if self.text[self.position : self.position + 1] != "\\":
                    raise self.fail("the only escape in a string is \\\\")
                self.position += 1
            elif character == "\n":
                break
            elif not " " <= character <= "~":
                raise self.fail(f"a string holds printable ASCII only, not {ascii(character)}")
            characters.append(character)
        raise self.fail("this string is not closed on its line", start_line)

    def _word(self) -> Token:
        start = self.position
        while self.position < len(self.text) and self.text[self.position].isalnum():
            self.position += 1
        word = self.text[start : self.position]
        if word not in ("true", "false"):
            raise self.fail(f"unknown word '{ascii(word)[1:-1]}' (strings stand in single quotes)")
        return Token("word", word == "true", self.line)


class ValueReader:
    """Reads values from a Lexer, one token ahead."""

    def __init__(self, lexer: Lexer):
        self.lexer = lexer
        self.token = lexer.next()

    def advance(self) -> Token:
        token = self.token
        self.token = self.lexer.next()
        return token

    def expect(self, kind: str, what: str) -> Token:
        if self.token.kind != kind:
            raise self.lexer.fail(f"expected {what}", self.token.line)
        return self.advance()

    def value(self, depth: int = 0) -> object:
        if depth > MAX_NESTING:
            raise self.lexer.fail("nested too deeply", self.token.line)
        if self.token.kind == "{":
            return self.mapping(depth)
        if self.token.kind == "[":
            return self._sequence(depth)
        if self.token.kind in ("string", "word"):
            return self.advance().value
        raise self.lexer.fail("expected a value: '{', '[', a string, true or false", self.token.line)

    def mapping(self, depth: int = 0) -> Mapping:
        result = Mapping(self.expect("{", "'{'").line)
        if self.token.kind == "}":
            self.advance()
            return result
        while True:
            key = self.expect("string", "a string as key")
            if key.value in result:
                raise self.lexer.fail(f"key '{key.value}' is given twice", key.line)
            self.expect(":", "':'")
            result[key.value] = self.value(depth + 1)
            if self.token.kind == "}":
                self.advance()
                return result
            self.expect(",", "',' or '}'")

    def _sequence(self, depth: int) -> Sequence:
        result = Sequence(self.expect("[", "'['").line)
        if self.token.kind == "]":
            self.advance()
            return result
        while True:
            result.append(self.value(depth + 1))
            if self.token.kind == "]":
                self.advance()
                return result
            self.expect(",", "',' or ']'")
