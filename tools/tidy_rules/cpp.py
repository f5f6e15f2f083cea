"""Just enough of C++'s grammar to find comments, literals and function bodies without a compiler."""

import re
from dataclasses import dataclass

# In this order: a raw string may hold comment marks, a comment may hold quotes, a digit separator is no quote.
LEXEME = re.compile(
    r"""
      (?P<raw>\b(?:u8|[uUL])?R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)")
    | (?P<comment>//(?:\\\n|[^\n])*|/\*.*?\*/)
    | (?P<number>\b[0-9](?:'?[0-9a-zA-Z_.])*)
    | (?P<string>"(?:\\.|[^"\\\n])*")
    | (?P<character>'(?:\\.|[^'\\\n])*')
    """,
    re.VERBOSE | re.DOTALL,
)
DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.MULTILINE)


def spaces(text):
    return re.sub(r"[^\n]", " ", text)


def blank(text):
    """The text with comments and the insides of literals replaced by blanks; offsets and lines stay what they were."""

    def replace(match):
        kind = match.lastgroup if match.lastgroup != "mark" else "raw"
        found = match.group()
        if kind == "number":
            return found
        if kind in ("string", "character"):
            return found[0] + spaces(found[1:-1]) + found[-1]
        return spaces(found)

    return LEXEME.sub(replace, text)


def only_comments(text):
    """The text with all but its comments replaced by blanks."""
    result = []
    end = 0
    for match in LEXEME.finditer(text):
        if match.lastgroup == "comment":
            result += [spaces(text[end : match.start()]), match.group()]
            end = match.end()
    return "".join(result) + spaces(text[end:])


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


@dataclass(frozen=True)
class Function:
    """A function with a body: the name as written, and its first and last line (signature and closing brace)."""

    name: str
    first_line: int
    last_line: int
    body: str

    @property
    def line_count(self):
        return self.last_line - self.first_line + 1


def closing_brace(code, opening):
    """The offset of the brace that closes the one at `opening`, or the end of the text."""
    depth = 0
    for match in re.compile(r"[{}]").finditer(code, opening):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return match.start()
    return len(code) - 1


def without_groups(head):
    """The head of a declaration without what stands in parentheses, brackets or template lists."""
    head = re.sub(r"\boperator\s*(\(\)|\[\]|[^\s\w(]+)", "operator_", head)
    while True:
        shorter = re.sub(r"\([^()]*\)", "@", re.sub(r"\[[^\[\]]*\]", "", head))
        if shorter == head:
            break
        head = shorter
    while True:
        shorter = re.sub(r"<[^<>]*>", "", head)
        if shorter == head:
            return head
        head = shorter


GROUPED_WORD = r"\b(?:alignas|__attribute__|requires|explicit|decltype)\s*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
SCOPE_WORD = re.compile(r"\b(namespace|class|struct|union|enum|extern)\b")
INITIALISER_LIST = re.compile(r"@[\w\s]*:(?!:)")


def classify(head):
    """What a `{` after this head opens, outside of functions: "scope", "function", "initialiser" or "value"."""
    plain = without_groups(re.sub(GROUPED_WORD, "", head))
    if "@" in plain:
        if re.search(r"(?<![=!<>])=(?!=)", plain):
            return "value"
        if INITIALISER_LIST.search(plain) and re.search(r"[\w>]\s*$", plain) and not plain.rstrip().endswith("@"):
            return "initialiser"
        return "function"
    if SCOPE_WORD.search(plain) and "=" not in plain:
        return "scope"
    return "value"


NAME = re.compile(
    r"((?:~?\w+(?:<[^<>]*>)?\s*::\s*)*(?:operator\s*(?:\(\)|\[\]|[^\s\w(]+|[\w:]+)|~?\w+))\s*\("
)

# GoogleTest's macros that begin a test, and our own that do: TASK_TEST_F, TASK_TEST_P, TEST_IN_EVERY_MODE.
TEST = re.compile(r"(?:(?:TYPED_|TASK_)?TEST(?:_F|_P)?|TEST_IN_[A-Z_]+)")


def function_name(head):
    """`block::Node::read` of `Task<IoResult> block::Node::read(Range range) const`."""
    before = re.sub(r"\[\[[^\]]*\]\]|" + GROUPED_WORD, "", head)
    match = NAME.search(before)
    name = re.sub(r"\s+", "", match.group(1)) if match else "?"
    if TEST.fullmatch(name):
        parts = re.search(r"\(([^()]*)\)", before)
        return f"{name}({' '.join(parts.group(1).split())})" if parts else name
    return name


def functions(code):
    """Every function body at namespace or class scope of blanked code, in order; lambdas are part of their function."""
    code = DIRECTIVE.sub(lambda match: spaces(match.group()), code)
    found = []
    head_start = 0
    position = 0
    marks = re.compile(r"[;{}]|\b(?:public|private|protected)\s*:(?!:)")
    while match := marks.search(code, position):
        position = match.end()
        if match.group() != "{":
            head_start = position
            continue
        head = code[head_start : match.start()]
        kind = classify(head)
        if kind == "scope":
            head_start = position
            continue
        end = closing_brace(code, match.start())
        position = end + 1
        if kind == "function":
            first_line = line_of(code, head_start + len(head) - len(head.lstrip()))
            body = code[match.start() : end + 1]
            found.append(Function(function_name(head), first_line, line_of(code, end), body))
            head_start = position
        elif kind == "initialiser":
            # A member's value: the head goes on behind it, and must not read its inside.
            code = code[: match.start()] + "()" + spaces(code[match.start() + 2 : end + 1]) + code[end + 1 :]
    return found
