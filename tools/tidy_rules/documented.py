"""What the documentation names exists: QMP's events and commands in schema/, the daemon's options in its source."""

import re

OPTIONS = "src/daemon/command_line.cc"
DEFINED = re.compile(r"^\{\s*'(event|command)':\s*'([^']+)'", re.MULTILINE)
OPTION = re.compile(r'\{"([a-z][a-z-]*)", (?:required|no)_argument,')
# Documents that name missing features.
ABSENT = re.compile(r"\bnot there\b|\bnot built\b")

# In backticks: the families of events and commands that the protocol has. In JSON: whatever stands there.
EVENT = re.compile(r'`((?:BLOCK|JOB|BLOCK_JOB|DEVICE|QUORUM|VSERPORT)_[A-Z_]+)`|"event": "([A-Z_]+)"')
COMMAND = re.compile(r"`((?:block|blockdev|chardev|job|nbd-server|object|qom|query|x-debug)-[a-z-]+|block_[a-z]+)`"
                     r'|"execute": "([a-z_-]+)"')
# The options of a line that starts the daemon, in a block of code.
START = re.compile(r"^\s*(?:\$ |sudo )?\S*blockexportd\s+(.*)")
LONG = re.compile(r"(?:^|\s)--([a-z][a-z-]*)")


def is_page(file):
    return file.suffix == ".md" and (file.path == "README.md" or file.path.startswith("docs/"))


def defined(files):
    """The names of the schema's events and commands."""
    found = {"event": set(), "command": set()}
    for file in files:
        if file.path.startswith("schema/") and file.suffix == ".json":
            for kind, name in DEFINED.findall(file.text):
                found[kind].add(name)
    return found


def started_options(lines):
    """(line number, option) of each option of the lines that start the daemon, and of those that go on."""
    goes_on = False
    for number, line in enumerate(lines, start=1):
        match = START.match(line)
        if match or goes_on:
            yield from ((number, name) for name in LONG.findall(match.group(1) if match else line))
        goes_on = (bool(match) or goes_on) and line.endswith("\\")


def check(files, settings):
    del settings
    names = defined(files)
    commands = next((file for file in files if file.path == OPTIONS), None)
    options = set(OPTION.findall(commands.text)) if commands else None
    findings = []
    for file in filter(is_page, files):
        for number, line in enumerate(file.lines, start=1):
            for kind, pattern in (("event", EVENT), ("command", COMMAND)):
                for match in pattern.finditer(line):
                    name = match.group(1) or match.group(2)
                    if names[kind] and name not in names[kind] and not ABSENT.search(line):
                        findings.append(f"{file.path}:{number}: there is no {kind} {name} in schema/")
        if options is not None:
            findings += [f"{file.path}:{number}: the daemon has no option --{name}"
                         for number, name in started_options(file.lines) if name not in options]
    return findings
