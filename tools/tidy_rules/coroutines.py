"""A coroutine is never a lambda with captures: they die with the lambda, while the coroutine goes on."""

import re

from . import cpp

# `[` that opens a lambda: not an index (behind a name, `)` or `]`) and not an attribute.
LAMBDA = re.compile(r"(?<![\w)\]\[])\[(?!\[)([^\[\]]*)\]\s*(?=[({]|mutable\b|->|<)")
COROUTINE_WORD = re.compile(r"\bco_(?:await|return|yield)\b")


def capturing_lambdas(code):
    """(offset, body) of each lambda with captures, in order."""
    for match in LAMBDA.finditer(code):
        opening = body_opening(code, match.end())
        if match.group(1).strip() and opening is not None:
            yield match.start(), code[opening : cpp.closing_brace(code, opening) + 1]


def body_opening(code, position):
    """The offset of the brace that opens the body of the lambda whose captures end at `position`, or None."""
    while position < len(code):
        character = code[position]
        if character == "(":
            position = closing_parenthesis(code, position)
        elif character == "{":
            return position
        elif character in ";,)]":
            return None
        position += 1
    return None


def closing_parenthesis(code, opening):
    depth = 0
    for match in re.compile(r"[()]").finditer(code, opening):
        depth += 1 if match.group() == "(" else -1
        if depth == 0:
            return match.start()
    return len(code)


def own_part(body):
    """The body of a lambda without the bodies of the lambdas in it, which are coroutines or not on their own."""
    position = 0
    while match := LAMBDA.search(body, position):
        opening = body_opening(body, match.end())
        position = match.end()
        if opening is not None:
            position = cpp.closing_brace(body, opening) + 1
            body = body[:opening] + cpp.spaces(body[opening:position]) + body[position:]
    return body


def check(files, settings):
    del settings
    return [
        f"{file.path}:{cpp.line_of(file.code, offset)}: a coroutine that is a lambda with captures: "
        "make it a member or a function with parameters"
        for file in files
        if file.is_cpp
        for offset, body in capturing_lambdas(file.code)
        if COROUTINE_WORD.search(own_part(body))
    ]
