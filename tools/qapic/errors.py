"""What the compiler says when a schema is wrong: one line, with the file and the line where it is wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Location:
    """A place in a schema file. Line 0 means the file as a whole."""

    path: str
    line: int

    def __str__(self) -> str:
        shown = os.path.relpath(self.path)
        return f"{shown}:{self.line}" if self.line else shown


class SchemaError(Exception):
    """The only exception a schema, however broken, may cause."""

    def __init__(self, location: Location, message: str, context: str = ""):
        self.location = location
        self.context = context
        self.message = message
        super().__init__(f"{location}: {context + ': ' if context else ''}{message}")
