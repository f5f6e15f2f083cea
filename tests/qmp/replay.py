#!/usr/bin/python3
"""Replays the scripts of tests/qmp/scripts and compares the answers with those that the scripts record.

    replay.py [--program PATH] [SCRIPT ...]             plays against the server under test and against
                                                        qemu-storage-daemon, prints every difference that
                                                        differences.toml does not allow; exit code 1 if there is one
    replay.py --record [--program PATH] SCRIPT ...      writes what the program answers into the scripts

The answers in a script are those of our server. Where qemu-storage-daemon answers otherwise, differences.toml says so.
"""

import argparse
import glob
import json
import os
import re
import sys
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import normalise
from lib import daemon, settings
from player import Player, StartFailed
from script import Script


def all_scripts():
    """The paths of all scripts."""
    return sorted(glob.glob(os.path.join(HERE, "scripts", "*.txt")))


def play(script, program):
    """Plays a script in a private directory; {step number: [(client, line)]}."""
    # Once in some hundred starts qemu-storage-daemon greets a client twice that comes while it starts.
    for _ in range(3 if settings.qemu_version(program) else 1):
        workdir = daemon.make_workdir()
        try:
            return Player(script, program, workdir).play()
        except StartFailed as error:
            failure = error
        finally:
            daemon.remove_workdir(workdir)
    raise failure


class Differences:
    """What differences.toml allows qemu-storage-daemon to answer otherwise."""

    def __init__(self, path=os.path.join(HERE, "differences.toml")):
        with open(path, "rb") as file:
            data = tomllib.load(file)
        self.entries = data.get("difference", [])
        self.added = data.get("added", [])
        self.worded = data.get("worded", [])
        self.hints = data.get("hint", [])

    def without_hints(self, answers):
        """Answers of ours without the lines that only ours writes."""
        return [(client, line) for client, line in answers
                if not line.startswith("err ")
                or not any(re.fullmatch(entry["ours"], line.removeprefix("err ")) for entry in self.hints)]

    def complete_line(self, line):
        """The same for a line, which may be no message at all."""
        whole = line.startswith("{") and line.endswith("}")
        return json.dumps(self.complete(json.loads(line))) if whole else line

    def complete(self, value):
        """Adds to a message of the reference the members that its version has not yet."""
        if isinstance(value, list):
            items = [self.complete(item) for item in value]
            missing = [entry["element"] for entry in self.added if entry["beside"] in items
                       and "element" in entry and entry["element"] not in items]
            return normalise.in_order(items + missing) if missing else items
        if not isinstance(value, dict):
            return value
        # The extents of a VMDK image look like images.
        value = {key: item if key == "extents" else self.complete(item) for key, item in value.items()}
        for entry in self.added:
            if "member" in entry and entry["beside"] in value and entry.get("where", {}).items() <= value.items():
                names = [entry["member"]] if isinstance(entry["member"], str) else entry["member"]
                value = {**dict.fromkeys(names, entry.get("value", normalise.NOT_TOLD)), **value}
        return value

    def reworded(self, line, version):
        """An expected line in the words of that version."""
        for entry in self.worded:
            if holds(entry, version):
                line = re.sub(entry["ours"], entry["theirs"], line)
        return line

    def skipped(self, script, version):
        """Why qemu-storage-daemon of that version cannot play this script at all, None when it can."""
        entries = [entry for entry in self.entries
                   if entry["script"] == script.name and entry.get("skip") and holds(entry, version)]
        return entries[0]["reason"] if entries else None

    def allowed(self, script, step, version):
        """The answers that are allowed instead of the recorded ones (a list of lists of lines)."""
        found = []
        for entry in self.entries:
            if entry["script"] != script.name or entry.get("step") != str(step):
                continue
            if holds(entry, version):
                found.append(entry["answer"])
        return found


def holds(entry, version):
    """True when an entry is about that version: `before` one, `since` one, between two, or always."""
    before, since = (tuple(map(int, entry[key].split("."))) if key in entry else None for key in ("before", "since"))
    return (before is None or version < before) and (since is None or version >= since)


def same(expected, found):
    """Compares the recorded lines of a step with those that came."""
    if len(expected) != len(found):
        return False
    return all(one[0] == other[0] and normalise.fits(one[1], other[1]) for one, other in zip(expected, found))


def show(lines):
    """Lines for a person."""
    return "".join(f"    {line if line.startswith(('out', 'err', 'exit')) else client + '< ' + line}\n"
                   for client, line in lines) or "    nothing\n"


def compare(script, answers, version=None, differences=None):
    """The unexpected answers, as text; empty when all is well. version: that of qemu-storage-daemon, None for ours."""
    problems = []
    for step in script.steps:
        found = answers.get(step.number, [])
        expected = step.expected
        if version:
            found = [(client, differences.complete_line(line)) for client, line in found]
            expected = [(client, differences.reworded(line, version)) for client, line in expected]
        else:
            found = (differences or Differences()).without_hints(found)
        if same(expected, found):
            continue
        allowed = differences.allowed(script, step, version) if version else []
        if any(same([line_of(text) for text in answer], found) for answer in allowed):
            continue
        problems.append(f"{script.name}:{step.number}: {step}\n  expected\n{show(expected)}  found\n{show(found)}")
    return "\n".join(problems)


def line_of(text):
    """A line of differences.toml: `NAME< JSON`, `< JSON`, or a line as it is."""
    client, mark, rest = text.partition("< ")
    return (client, rest) if mark and client.isalnum() | (client == "") else ("", text)


def record(script, program):
    """Writes what the program answers into the script."""
    differences = Differences()
    answers = {number: differences.without_hints(lines) for number, lines in play(script, program).items()}
    numbers = {step.number for step in script.steps if step.verb != "begin"}
    lines = []
    begin = next((step for step in script.steps if step.verb == "begin"), None)
    dropped = {number for number, line in enumerate(script.lines, 1) if is_expected(line)}
    for number, line in enumerate(script.lines, 1):
        if begin and number == begin.number:
            lines += written(answers[begin.number])
        if number not in dropped:
            lines.append(line)
        if number in numbers:
            lines += written(answers.get(number, []))
    with open(script.path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


def is_expected(line):
    """True for a line that tells an answer."""
    return line.split("<")[0].isalnum() and "<" in line.split(" ")[0] or line.startswith(("<", "out", "err", "exit"))


def written(answers):
    """Answers as lines of a script."""
    return [line if line.startswith(("out", "err", "exit")) else f"{client}< {line}" for client, line in answers]


def main():
    """The command."""
    parser = argparse.ArgumentParser(description="Replay QMP and command-line scripts.")
    parser.add_argument("--record", action="store_true", help="write the answers into the scripts")
    parser.add_argument("--program", help="the server (default: BLOCKEXPORTD)")
    parser.add_argument("scripts", nargs="*")
    arguments = parser.parse_args()
    program = arguments.program or settings.program()
    failed = False
    for path in arguments.scripts or all_scripts():
        script = Script(path)
        if arguments.record:
            record(script, program)
            continue
        for server in dict.fromkeys([program, settings.REFERENCE]):
            version = os.access(server, os.X_OK) and settings.qemu_version(server)
            if version is False or version and Differences().skipped(script, version):
                continue
            problems = compare(script, play(script, server), version, Differences())
            if problems:
                failed = True
                print(f"{server}\n{problems}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
