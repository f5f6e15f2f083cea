"""Plays one script against a server program and records its replies, step by step."""

import contextlib
import glob
import json
import os
import select
import shlex
import signal
import subprocess
import time

import normalise
from lib import daemon, settings, wait

QUIET_SECONDS = 0.1
AFTER_REPLY_SECONDS = 2


class StartFailed(AssertionError):
    """The server did not greet and negotiate as it should."""


class Client:
    """A QMP connection of a script."""

    def __init__(self, path, alive):
        self.socket = wait.until(lambda: self._connect(path, alive), 15, f"the monitor {os.path.basename(path)}")
        self.buffer = b""

    @staticmethod
    def _connect(path, alive):
        client = daemon.connected_or_none(path)
        if client is None:
            alive()
        return client

    def read(self, seconds):
        """The next message as an object, a string when it is not JSON, None when none comes in time or at the end."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return None
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                return None
            if not data:
                return None
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        try:
            return json.loads(line)
        except ValueError:
            return line.decode(errors="replace").rstrip("\r")


class Player:
    """One run of one script. play() returns {step number: [(client, line)]}."""

    def __init__(self, script, program, workdir):
        self.script, self.program, self.workdir = script, program, workdir
        self.process = None
        self.clients = {}
        self.answers = {}

    def play(self):
        """Plays all steps and ends the server; AssertionError when that goes wrong in a way no script can expect."""
        self.prepare()
        try:
            if self.script.starts_server():
                self.start()
            for step in self.script.steps:
                getattr(self, {">": "send", ">>": "send_bytes"}.get(step.verb, step.verb))(step)
            self.finish()
        finally:
            for client in self.clients.values():
                client.socket.close()
            self.kill_strays()
            if self.process and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        return self.answers

    def kill_strays(self):
        """Ends servers that went to the background though the script says that they end: they have a pidfile."""
        for path in glob.glob(os.path.join(self.workdir, "*.pid")):
            with open(path, encoding="ascii") as file, contextlib.suppress(ValueError, ProcessLookupError):
                os.kill(int(file.read()), signal.SIGKILL)

    def prepare(self):
        """Makes the files of the script."""
        for verb, text in self.script.setup:
            name, _, rest = text.partition(" ")
            if verb == "file":
                with open(os.path.join(self.workdir, name), "wb") as file:
                    file.truncate(int(rest))
            elif verb == "text":
                with open(os.path.join(self.workdir, name), "w", encoding="utf-8") as file:
                    file.write(rest)
            elif verb == "bytes":
                offset, _, digits = rest.partition(" ")
                with open(os.path.join(self.workdir, name), "r+b") as file:
                    file.seek(int(offset, 0))
                    file.write(bytes.fromhex(digits))
            elif verb == "image":
                self._make_image(shlex.split(text))

    def _make_image(self, words):
        """An image by qemu-img. Some versions measure too short a time for an encrypted one now and then, and fail."""
        for _ in range(20):
            result = subprocess.run(["qemu-img", "create", "-q", *words], cwd=self.workdir, text=True,
                                    capture_output=True, check=False)
            if "accurate CPU usage" not in result.stderr:
                break
        if result.returncode != 0:
            raise AssertionError(f"qemu-img create {' '.join(words)}: {result.stderr}")

    def environment(self):
        """The server's environment."""
        extra = dict(text.split("=", 1) for verb, text in self.script.setup if verb == "env")
        return {**os.environ, **extra}

    def start(self):
        """Starts the server, and connects and negotiates the main client unless the script does that."""
        arguments = ["--chardev", "socket,id=qmp0,path=qmp.sock,server=on,wait=off", "--monitor", "chardev=qmp0"]
        self.stderr = open(os.path.join(self.workdir, "server-stderr"), "w+b")  # closed with the process's end
        self.process = subprocess.Popen([self.program, *arguments, *self.script.arguments()], cwd=self.workdir,
                                        stdin=subprocess.DEVNULL, stdout=self.stderr, stderr=self.stderr,
                                        env=self.environment())
        self.clients[""] = Client(os.path.join(self.workdir, "qmp.sock"), self.check_alive)
        if not self.script.has("raw"):
            greeting = self.clients[""].read(settings.seconds(10))
            if not greeting or "QMP" not in greeting:
                raise StartFailed(f"no greeting but {greeting}: {self.output()}")
            self.clients[""].socket.sendall(b'{"execute": "qmp_capabilities"}\n')
            reply = self.clients[""].read(settings.seconds(10))
            if reply != {"return": {}}:
                raise StartFailed(f"negotiation failed: {reply}, {self.process.poll()}: {self.output()}")

    def output(self):
        """What the server wrote so far."""
        with open(self.stderr.name, "rb") as file:
            return file.read().decode(errors="replace")[-2000:]

    def check_alive(self):
        """Fails when the server has ended."""
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}: {self.output()}")

    def collect(self, step):
        """Reads what the step brings: as many messages as are expected, and what else is there at once."""
        found = self.answers.setdefault(step.number, [])
        waiting = [client for client, _ in step.expected]
        patience = settings.seconds(10)
        for client in waiting:
            message = self.clients[client].read(patience)
            if message is None:
                break
            found.append(self.line(client, message))
            if client == step.client and isinstance(message, dict) and "event" not in message:
                patience = settings.seconds(AFTER_REPLY_SECONDS)
        quiet = 0 if waiting else QUIET_SECONDS
        for client in list(self.clients):
            while (message := self.clients[client].read(quiet)) is not None:
                found.append(self.line(client, message))

    def line(self, client, message):
        """A message as a line to compare."""
        if isinstance(message, str):
            return client, normalise.text(message, self.workdir)
        return client, normalise.dump(normalise.message(message, self.workdir))

    def begin(self, step):
        """What comes before anything is sent."""
        self.collect(step)

    def send(self, step):
        """Sends a line."""
        self.transmit(step, step.text.encode() + b"\n")

    def send_bytes(self, step):
        """Sends bytes."""
        data = step.text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")
        self.transmit(step, data)

    def transmit(self, step, data):
        """Sends bytes and collects what comes."""
        try:
            self.clients[step.client].socket.sendall(data)
        except OSError as error:
            self.check_alive()
            raise AssertionError(f"{step}: {error}: {self.output()}") from None
        self.collect(step)

    def connect(self, step):
        """Adds a client."""
        path = "qmp.sock" if step.text == "main2" else f"{step.text}.sock"
        self.clients[step.text] = Client(os.path.join(self.workdir, path), self.check_alive)
        self.collect(step)

    def close(self, step):
        """Takes a client away."""
        name = "" if step.text == "main" else step.text
        self.clients.pop(name).socket.close()
        self.collect(step)

    def wait(self, step):
        """The end of the server."""
        code = self.process.wait(settings.seconds(10))
        self.answers[step.number] = [("", f"exit {code}")]

    def run(self, step):
        """Runs a server of its own to its end."""
        try:
            result = subprocess.run([self.program, *shlex.split(step.text)], cwd=self.workdir, stdin=subprocess.DEVNULL,
                                    capture_output=True, timeout=settings.seconds(8), check=False,
                                    env=self.environment())
        except subprocess.TimeoutExpired:
            self.answers[step.number] = [("", "exit none: the server went on running")]
            return
        found = []
        for verb, data in (("out", result.stdout), ("err", result.stderr)):
            for line in data.decode(errors="replace").splitlines():
                if line.startswith("Copyright"):
                    continue
                found.append(("", f"{verb} {normalise.text(line, self.workdir)}".rstrip()))
        self.answers[step.number] = found + [("", f"exit {result.returncode}")]

    def finish(self):
        """Ends the server with SIGTERM unless it has ended, and checks how it ended."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(settings.seconds(10))
        self.stderr.close()
        assert code == 0, f"the server ended with {code}: {self.output()}"
        assert not daemon.SANITIZER.search(self.output().encode()), self.output()
