"""A small QMP client: one connection, requests with ids, events in a queue, raw lines where a test needs them."""

import itertools
import json
import socket
import time

from lib import settings, wait


class QmpError(AssertionError):
    """The server answered a command with an error: kind is its class, text its description."""

    def __init__(self, error):
        super().__init__(f"{error.get('class')}: {error.get('desc')}")
        self.kind = error.get("class")
        self.text = error.get("desc")


class QmpClosed(AssertionError):
    """The server closed the connection."""


class QmpClient:
    """A client of one monitor. It reads the greeting when it is made, and negotiates unless told not to.

    `may_greet_twice`: the server is qemu-storage-daemon, which does so to a client that connects while it is starting.
    """

    def __init__(self, address, negotiate=True, timeout=10.0, greeting=True, may_greet_twice=False):
        self.may_greet_twice = may_greet_twice
        family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
        self.socket = address if isinstance(address, socket.socket) else socket.socket(family)
        self.socket.settimeout(settings.seconds(timeout))
        if self.socket is not address:
            self.socket.connect(address)
        self.buffer = b""
        self.events = []
        self.ids = itertools.count(1)
        self.greeting = self.read_message() if greeting else None
        if negotiate:
            self.execute("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes the connection; harmless when repeated."""
        self.socket.close()

    def send_raw(self, data):
        """Sends bytes as they are."""
        self.socket.sendall(data)

    def send(self, message):
        """Sends one message without waiting for its answer."""
        self.send_raw(json.dumps(message).encode() + b"\n")

    def read_line(self):
        """One line as it came, without its end; QmpClosed at the end of the stream."""
        while b"\n" not in self.buffer:
            data = self.socket.recv(65536)
            if not data:
                raise QmpClosed("the server closed the QMP connection")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line

    def read_message(self):
        """The next message, event or reply."""
        return json.loads(self.read_line())

    def read_reply(self):
        """The next reply; events that come before it are kept in `events`."""
        while True:
            message = self.read_message()
            if "event" in message:
                self.events.append(message)
            elif "QMP" not in message or not self.may_greet_twice:
                return message

    def command(self, name, arguments=None, **members):
        """Sends a command and returns the whole reply, error or not."""
        message = {"execute": name, **members}
        if arguments is not None:
            message["arguments"] = arguments
        self.send(message)
        return self.read_reply()

    def execute(self, name, arguments=None):
        """Runs a command and returns its result; QmpError when it fails."""
        identity = f"t{next(self.ids)}"
        reply = self.command(name, arguments, id=identity)
        if reply.get("id") != identity:
            raise AssertionError(f"the reply to {name} has id {reply.get('id')!r}, expected {identity!r}")
        if "error" in reply:
            raise QmpError(reply["error"])
        return reply["return"]

    def failure(self, name, arguments=None):
        """Runs a command that has to fail and returns (class, description)."""
        try:
            result = self.execute(name, arguments)
        except QmpError as error:
            return error.kind, error.text
        raise AssertionError(f"{name} succeeded: {result!r}")

    def wait_for_tasks(self, name, count):
        """Waits until so many tasks of that name are at work, as x-debug-tasks of blockexportd tells."""
        wait.until(lambda: sum(task["name"] == name for task in self.execute("x-debug-tasks")) >= count, 10,
                   f"{count} tasks '{name}'")

    def wait_event(self, name, timeout=10.0):
        """Removes and returns the first event of that name, waiting for it if it has not come yet."""
        deadline = time.monotonic() + settings.seconds(timeout)
        while True:
            for index, event in enumerate(self.events):
                if event["event"] == name:
                    return self.events.pop(index)
            if time.monotonic() > deadline:
                raise AssertionError(f"no event {name}")
            message = self.read_message()
            if "event" not in message:
                raise AssertionError(f"a reply where an event was awaited: {message}")
            self.events.append(message)
