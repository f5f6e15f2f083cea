"""Each limit stands in docs/limits.md: a constant whose name ends with Max; and what stands there is in the code."""

import re

from . import cpp

PAGE = "docs/limits.md"
# One that is computed from others is no limit of its own.
LIMIT = re.compile(r"\bconstexpr\b[^;={}()]*\b(k\w+Max)\s*(?:=(?P<value>[^;]*);|\{)")
COMPUTED = re.compile(r"\bk[A-Z]")
NAMED = re.compile(r"`(?:\w+::)*(k[A-Z]\w*)`")
# The capacity of a simulated world is no limit of the daemon.
SIMULATION = "src/aio/sim/"


def is_checked(file):
    return file.is_cpp and file.source_folder is not None and not file.is_test \
        and not file.path.startswith(SIMULATION)


def check(files, settings):
    del settings
    page = next((file for file in files if file.path == PAGE), None)
    if page is None:
        return []
    told = set(NAMED.findall(page.text))
    findings = []
    known = set()
    for file in filter(is_checked, files):
        known.update(re.findall(r"\bk[A-Z]\w*", file.code))
        for match in LIMIT.finditer(file.code):
            name = match.group(1)
            if name not in told and not COMPUTED.search(match.group("value") or ""):
                findings.append(f"{file.path}:{cpp.line_of(file.code, match.start(1))}: {name} is not in {PAGE}")
    for number, line in enumerate(page.lines, start=1):
        findings += [f"{PAGE}:{number}: {name} is not in src/" for name in NAMED.findall(line) if name not in known]
    return findings
