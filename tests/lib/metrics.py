"""A small HTTP client, and a parser of metrics that checks the grammar of the text formats.

It accepts the text format 0.0.4 of Prometheus and OpenMetrics 1.0, as far as blockexportd writes them, and refuses all
else: each line of a family stands behind its HELP and TYPE, no series occurs twice, and histograms are consistent.
"""

import re
import socket

from lib import settings

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\d+(?:\.\d+)?)")
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


class Reply:
    """One reply: code, fields (names in lower case), and body."""

    def __init__(self, code, fields, body):
        self.code, self.fields, self.body = code, fields, body

    @property
    def text(self):
        """The body as text."""
        return self.body.decode()


class Http:
    """A connection to an HTTP server at a unix path, or at (host, port)."""

    def __init__(self, address, timeout=10.0):
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.socket.settimeout(settings.seconds(timeout))
        self.socket.connect(address)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes the connection; harmless when repeated."""
        self.socket.close()

    def send(self, data):
        """Sends bytes as they are."""
        self.socket.sendall(data)

    def _more(self):
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError("the server closed the connection")
        self.buffer += data

    def read_reply(self, has_body=True):
        """The next reply; EOFError when the server has closed the connection."""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        assert re.fullmatch(r"HTTP/1\.1 \d{3} [A-Za-z ]+", first), first
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(fields["content-length"]) if has_body else 0
        while len(self.buffer) < length:
            self._more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Reply(int(first.split()[1]), fields, body)

    def get(self, path, host="localhost", method="GET", **fields):
        """Sends one request and returns its reply."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        return self.read_reply(has_body=method != "HEAD")

    def at_end(self):
        """Waits for the end of the connection; False when bytes come instead."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True


def parse_labels(text):
    """{name: value} of the labels between braces."""
    found = re.findall(r'([a-zA-Z0-9_]+)="((?:[^"\\\n]|\\[\\"n])*)"', text or "")
    labels = {name: re.sub(r'\\[\\"n]', lambda match: ESCAPES[match.group()], value) for name, value in found}
    assert len(labels) == len(found), f"a label stands twice in {text}"
    return labels


class Page:
    """The samples of a page of metrics, which is checked while it is parsed."""

    def __init__(self, text, is_open=False):
        self.samples = {}  # {(name, frozenset of labels): number}
        self.types = {}
        assert text.endswith("\n"), "the last line has no end"
        lines = text.split("\n")[:-1]
        if is_open:
            assert lines.pop() == "# EOF", "an OpenMetrics page ends with # EOF"
        family = None
        described = None
        for line in lines:
            if line.startswith("# HELP "):
                described = re.fullmatch(rf"# HELP ({NAME}) (.+)", line).group(1)
                assert described not in self.types, f"the family {described} stands twice"
            elif line.startswith("# TYPE "):
                family, kind = re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram)", line).groups()
                assert family == described, f"TYPE of {family} without HELP"
                self.types[family] = kind
            else:
                self._take(line, family, is_open)
        self._check_histograms()

    def _take(self, line, family, is_open):
        match = SAMPLE.fullmatch(line)
        assert match, f"no sample: {line!r}"
        name, labels, number = match.groups()
        kind = self.types[family]
        if kind == "histogram":
            allowed = {f"{family}_bucket", f"{family}_sum", f"{family}_count"}
        elif kind == "counter" and is_open:
            allowed = {f"{family}_total"}
        else:
            allowed = {family}
        assert name in allowed, f"{name} in the family {family} of type {kind}"
        key = (name, frozenset(parse_labels(labels).items()))
        assert key not in self.samples, f"the series {line!r} stands twice"
        self.samples[key] = float(number)

    def _check_histograms(self):
        for family in (name for name, kind in self.types.items() if kind == "histogram"):
            buckets = {}
            for (name, labels), number in self.samples.items():
                if name == f"{family}_bucket":
                    rest = frozenset(item for item in labels if item[0] != "le")
                    buckets.setdefault(rest, []).append((float(dict(labels)["le"].replace("+Inf", "inf")), number))
            for labels, counts in buckets.items():
                numbers = [number for _, number in sorted(counts)]
                assert numbers == sorted(numbers), f"the buckets of {family} {labels} decrease"
                assert sorted(counts)[-1] == (float("inf"), self.samples[f"{family}_count", labels])
                assert (f"{family}_sum", labels) in self.samples

    def value(self, name, **labels):
        """The number of one series; None when there is none. The name is without the prefix."""
        return self.samples.get((f"blockexport_{name}", frozenset(labels.items())))

    def series(self, name):
        """[(labels, number)] of all series of that name."""
        return [(dict(labels), number) for (full, labels), number in self.samples.items()
                if full == f"blockexport_{name}"]

    def families(self):
        """The names of all families, without the prefix and without _total."""
        return {name.removeprefix("blockexport_").removesuffix("_total") for name in self.types}


def scrape(address, accept=None):
    """The page of metrics of the server at this address."""
    with Http(address) as client:
        fields = {"Accept": accept} if accept else {}
        reply = client.get("/metrics", **fields)
    assert reply.code == 200, reply.body
    is_open = reply.fields["content-type"].startswith("application/openmetrics-text")
    return Page(reply.text, is_open)
