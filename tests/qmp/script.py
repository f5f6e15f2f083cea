"""The scripts of tests/qmp/scripts: text files with commands for a server and its expected replies.

    # words                     a comment; the first ones say what the script shows
    file NAME SIZE              an image file of that many bytes is made before the server starts
    text NAME WORDS             a file with these words
    bytes NAME OFFSET HEX       these bytes are put into that file, at an offset
    image ARGUMENTS             an image that `qemu-img create` makes
    env NAME=VALUE              an environment variable of the server
    arg --blockdev ...          arguments of the server, after those that make the monitor qmp.sock
    raw                         the main client reads no greeting and does not negotiate by itself
    connect NAME                a further client NAME of the monitor socket NAME.sock (`main2`: of qmp.sock)
    close NAME                  that client leaves
    > LINE      NAME> LINE      the (named) client sends a line
    >> BYTES    NAME>> BYTES    the client sends bytes, with Python's escapes
    < JSON      NAME< JSON      what the client is sent next: every message in order, until it sends again
    wait                        the exit of the server is awaited (after `quit`)
    run ARGUMENTS               a server with just these arguments is run to its end; then what it left:
    out LINE                    a line of its standard output
    err LINE                    a line of its standard error
    exit CODE                   its exit code

In an expected JSON value "*" stands for anything, and a member (or element) "..." for any further ones.
"""

import re
import shlex

EXPECTED = ("<", "out", "err", "exit")


class Step:
    """One thing that is done, and what is expected after it (a list of lines, or [] when nothing is)."""

    def __init__(self, number, verb, client, text):
        self.number, self.verb, self.client, self.text = number, verb, client, text
        self.expected = []

    def __str__(self):
        return f"{self.client}{self.verb} {self.text}"


class Script:
    """A parsed script. `steps` are in order; `setup` are the lines that come before the server starts."""

    def __init__(self, path):
        self.path = path
        self.name = re.sub(r".*/|\.txt$", "", path)
        self.lines = []
        self.setup = []
        self.steps = []
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file.read().split("\n"), 1):
                self.lines.append(line)
                self._line(number, line)

    def _line(self, number, line):
        if not line.strip() or line.startswith("#"):
            return
        match = re.match(r"(\w*)(>>|>|<) ?(.*)", line)
        if match:
            client, verb, text = match.groups()
            if verb == "<":
                self._expect(number, client, text)
            else:
                self.steps.append(Step(number, verb, client, text))
            return
        verb, _, text = line.partition(" ")
        if verb in EXPECTED:
            self.steps[-1].expected.append(("", line))
        elif verb in ("file", "text", "bytes", "image", "env", "arg", "raw"):
            self.setup.append((verb, text))
        elif verb in ("connect", "close", "run", "wait"):
            self.steps.append(Step(number, verb, "", text))
        else:
            raise ValueError(f"{self.path}:{number}: what is {verb!r}?")

    def _expect(self, number, client, text):
        if not self.steps:
            self.steps.append(Step(number, "begin", "", ""))
        self.steps[-1].expected.append((client, text))

    def arguments(self):
        """The server's arguments."""
        return [word for verb, text in self.setup if verb == "arg" for word in shlex.split(text)]

    def has(self, verb):
        """True when the setup says so."""
        return any(found == verb for found, _ in self.setup)

    def starts_server(self):
        """False when the script consists of `run` alone."""
        return any(step.verb != "run" for step in self.steps)
