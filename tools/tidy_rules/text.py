"""Rules about lines and words: width, blanks, unfinished work, banned constructs, header form."""

import io
import re
import tokenize

# Spelled in pieces, so that this file keeps its own rule.
UNFINISHED_WORDS = "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"))
UNFINISHED = re.compile(rf"\b({UNFINISHED_WORDS})\b")
MACHINE_PATH = re.compile(r"(?<![\w./{}$-])/(work|root|home)(?=/|\b)(?![\w-])")
DICTIONARY = re.compile(r"\bjson::")
STD_FUNCTION = re.compile(r"\bstd::function\b")
# Inside a function a using-directive reaches no further; literals have no other way in.
USING_NAMESPACE = re.compile(r"^using\s+namespace\s+(?!std::[\w:]*literals\b)|\busing\s+namespace\s+std\s*;")
USING_NAMESPACE_IN_HEADER = re.compile(r"\busing\s+namespace\b")


def check(files, settings):
    findings = []
    for file in files:
        findings += check_every(file)
        if file.is_code:
            findings += check_lines(file, settings["limits"]["line_columns"])
        if file.is_cpp:
            findings += check_constructs(file, settings)
        if file.is_header:
            findings += check_header(file)
    return findings


def check_every(file):
    """What holds for prose too."""
    findings = []
    for number, line in enumerate(file.lines, start=1):
        if MACHINE_PATH.search(line):
            findings.append(f"{file.path}:{number}: names a path of one machine")
    return findings


def comments_of(file):
    """line -> the comment on it; of files that are neither C++ nor Python, what follows a `#`."""
    if file.is_cpp:
        return {number: line for number, line in enumerate(file.comments.split("\n"), start=1) if line.strip()}
    if file.is_python:
        try:
            tokens = list(tokenize.generate_tokens(io.StringIO(file.text).readline))
        except (tokenize.TokenError, SyntaxError):
            return {}
        return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
    return {number: line.partition("#")[2] for number, line in enumerate(file.lines, start=1) if "#" in line}


def check_lines(file, columns):
    findings = []
    comments = comments_of(file)
    for number, line in enumerate(file.lines, start=1):
        where = f"{file.path}:{number}: "
        if len(line) > columns:
            findings.append(where + f"{len(line)} columns (limit {columns})")
        if line != line.rstrip():
            findings.append(where + "trailing blank")
        if "\t" in line and file.name != "Makefile":
            findings.append(where + "tab")
        if number in comments and UNFINISHED.search(comments[number]):
            findings.append(where + "unfinished work: finish it, or refuse it by name and open an issue")
    if file.text and not file.text.endswith("\n"):
        findings.append(f"{file.path}:{len(file.lines)}: no newline at the end")
    if file.text.endswith("\n\n"):
        findings.append(f"{file.path}:{len(file.lines)}: blank lines at the end")
    return findings


def check_constructs(file, settings):
    findings = []
    folder = file.source_folder
    for number, line in enumerate(file.code.split("\n"), start=1):
        where = f"{file.path}:{number}: "
        if (USING_NAMESPACE_IN_HEADER if file.is_header else USING_NAMESPACE).search(line):
            findings.append(where + "using namespace")
        if folder is None or file.is_test:
            continue
        if STD_FUNCTION.search(line) and folder not in settings["std_function"]["folders"]:
            findings.append(where + "std::function below control/")
        if DICTIONARY.search(line) and folder not in settings["dictionaries"]["folders"]:
            findings.append(where + "a dictionary below control/: take a typed struct")
    return findings


def check_header(file):
    """A header begins with a comment (what it is, who owns it, which thread, what it never does), then #pragma once."""
    findings = []
    if not file.text.startswith("//"):
        findings.append(f"{file.path}:1: a header begins with a comment that says what it is")
    if file.text.count("#pragma once") != 1:
        findings.append(f"{file.path}:1: #pragma once, one time")
    return findings
