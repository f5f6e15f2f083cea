"""Calls that do not do what they say, each with what to write instead."""

import re

from . import cpp

BANNED = {
    # libstdc++ does nothing in it when exceptions are off.
    "shrink_to_fit": "release_memory() of base/release_memory.h",
    # It throws when the text cannot be written, which ends a program that has no exceptions. A benchmark may end so.
    "fmt::print": "print() of base/print.h",
}
ONLY_IN = {"fmt::print": "src/"}
CALL = re.compile(rf"\b({'|'.join(BANNED)})\s*\(")


def check(files, settings):
    del settings
    return [
        f"{file.path}:{cpp.line_of(file.code, match.start())}: {match.group(1)}(): "
        f"write {BANNED[match.group(1)]} instead"
        for file in files
        if file.is_cpp
        for match in CALL.finditer(file.code)
        if str(file.path).startswith(ONLY_IN.get(match.group(1), ""))
    ]
