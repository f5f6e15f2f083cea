"""What a server makes of standard streams that are missing, or that are sockets."""

import contextlib
import os
import signal
import socket
import subprocess
import unittest

from lib import client_tool, daemon, images, nbd_raw, settings, wait
from lib.images import MIB
from lib.qmp import QmpClient
from lib.testcase import file_node, nbd_export, null_node


class BackgroundTest(unittest.TestCase):
    """Servers in a private directory, whose pid is told by their pid file."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    def path(self, *names):
        """A path in the private directory."""
        return os.path.join(self.workdir, *names)

    def read(self, name):
        """What a file in the private directory holds; empty while it is not there."""
        try:
            with open(self.path(name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def run_server(self, *arguments, **streams):
        """Runs the server to its end, which is that of the parent when it goes to the background."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **streams}
        return subprocess.run([settings.program(), *arguments], cwd=self.workdir, check=False,
                              timeout=settings.seconds(20), **streams)

    def daemonize(self, *arguments, **streams):
        """The pid of a server in the background, which is killed when the test ends."""
        result = self.run_server("--daemonize", "--pidfile", "server.pid", *arguments, **streams)
        self.assertEqual((result.returncode, result.stderr or b""), (0, b""))
        return self.pid()

    def pid(self):
        """The pid of the server that is up."""
        pid = int(wait.until(lambda: self.read("server.pid"), what="the pid file"))
        self.addCleanup(self.kill, pid)
        return pid

    def kill(self, pid):
        """Ends a process if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def alive(self, pid):
        """True while the process runs (a zombie does not)."""
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                return file.read().rsplit(")", 1)[1].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def end(self, pid):
        """Ends the server with SIGTERM."""
        os.kill(pid, signal.SIGTERM)
        wait.until(lambda: not self.alive(pid), what="the server's end")

    def target(self, pid, descriptor):
        """What a descriptor of the process has open."""
        return os.readlink(f"/proc/{pid}/fd/{descriptor}")

    def access_mode(self, pid, descriptor):
        """How a descriptor of the process is open: os.O_RDONLY, os.O_WRONLY or os.O_RDWR."""
        with open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="ascii") as file:
            flags = next(line.split()[1] for line in file if line.startswith("flags:"))
        return int(flags, 8) & os.O_ACCMODE

    def serves(self, name="null", path="nbd.sock"):
        """A client of the export is served."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(settings.seconds(10))
        client.connect(self.path(path))
        connection = nbd_raw.Connection(client)
        self.assertEqual(connection.go(name).size, MIB)
        self.assertEqual(len(connection.read(0, 512)), 512)
        connection.close()


NULL_SERVER = [*null_node("null", MIB), "--nbd-server", "addr.type=unix,addr.path=nbd.sock", *nbd_export("null")]


class MissingStreamsTest(BackgroundTest):
    """Started with standard descriptors closed, as cron, supervisors and `<&-` do."""

    @settings.unlike_qemu("what it opens next lands on the numbers of standard streams")
    def setUp(self):
        super().setUp()

    CLOSINGS = ("<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-")

    def shell(self, closing, *arguments):
        """Starts the server by a shell that closes descriptors; the process."""
        process = subprocess.Popen(  # pylint: disable=consider-using-with
            ["/bin/sh", "-c", f'exec "$0" "$@" {closing}', settings.program(), *arguments, "--pidfile", "server.pid"],
            cwd=self.workdir, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def check_streams(self, pid):
        """The three descriptors are /dev/null, for reading or for writing."""
        self.assertEqual({self.target(pid, number) for number in range(3)}, {"/dev/null"})
        for number in range(3):
            self.assertIn(self.access_mode(pid, number), (os.O_RDWR, os.O_WRONLY if number else os.O_RDONLY))

    def test_in_the_foreground(self):
        """The server serves, has its streams, and ends on SIGTERM."""
        for closing in self.CLOSINGS:
            with self.subTest(closing=closing):
                process = self.shell(closing, *NULL_SERVER)
                pid = self.pid()
                self.check_streams(pid)
                self.serves()
                process.terminate()
                self.assertEqual(process.wait(settings.seconds(10)), 0)
                self.assertEqual(self.read("server.pid"), b"")

    def test_in_the_background(self):
        """The same with --daemonize, whose own pipe must not land there either."""
        for closing in self.CLOSINGS:
            with self.subTest(closing=closing):
                process = self.shell(closing, *NULL_SERVER, "--daemonize")
                self.assertEqual(process.wait(settings.seconds(20)), 0)
                pid = self.pid()
                self.check_streams(pid)
                self.serves()
                self.end(pid)
                self.assertEqual(self.read("server.pid"), b"")

    def test_a_monitor_on_streams_that_are_missing(self):
        """--chardev stdio: nobody is there, and nothing else is taken for it."""
        disk = images.make_empty(self.path("disk.img"), MIB)
        process = self.shell("<&- >&-", "--chardev", "stdio,id=c0", "--monitor", "c0", *file_node("f0", disk),
                             "--nbd-server", "addr.type=unix,addr.path=nbd.sock", *nbd_export("f0", writable="on"))
        self.pid()
        self.serves("f0")
        with open(disk, "rb") as file:
            self.assertEqual(file.read(512), bytes(512))
        process.terminate()
        self.assertEqual(process.wait(settings.seconds(10)), 0)

    def test_the_client_tool(self):
        """`blockexport` makes its files although all three are missing."""
        result = subprocess.run(["/bin/sh", "-c", 'exec "$0" tls init pki <&- >&- 2>&-', client_tool.program()],
                                cwd=self.workdir, timeout=settings.seconds(30), check=False)
        self.assertEqual(result.returncode, 0)
        for name in os.listdir(self.path("pki")):
            self.assertTrue(self.read(os.path.join("pki", name)).startswith(b"-----BEGIN"), name)


class SocketOnStandardInputTest(BackgroundTest):
    """addr.type=fd with the number of a standard stream, as inetd hands sockets down."""

    @settings.unlike_qemu("it closes the socket with the standard streams")
    def setUp(self):
        super().setUp()

    def listener(self):
        """A listening unix socket."""
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path("nbd.sock"))
        listener.listen()
        return listener

    def arguments(self, *more):
        """A server on descriptor 0, and a monitor."""
        return [*null_node("null", MIB), "--nbd-server", "addr.type=fd,addr.str=0", *nbd_export("null"),
                "--chardev", "socket,id=c0,path=qmp.sock,server=on,wait=off", "--monitor", "c0", *more]

    def test_in_the_background(self):
        """The socket is served, and is not mistaken for the stream that goes to /dev/null."""
        pid = self.daemonize(*self.arguments(), stdin=self.listener())
        self.assertEqual(self.target(pid, 0), "/dev/null")
        self.serves()
        self.end(pid)
        # It was not ours.
        self.assertTrue(os.path.exists(self.path("nbd.sock")))

    def test_its_number_is_not_given_to_others(self):
        """After nbd-server-stop descriptor 0 is still there, so that nothing that is opened next becomes it."""
        with subprocess.Popen([settings.program(), *self.arguments("--pidfile", "server.pid")], cwd=self.workdir,
                              stdin=self.listener()) as process:
            self.addCleanup(process.kill)
            pid = self.pid()
            self.serves()
            with QmpClient(self.path("qmp.sock")) as client:
                client.execute("nbd-server-stop")
                self.assertEqual(self.target(pid, 0), "/dev/null")
            process.terminate()
            self.assertEqual(process.wait(settings.seconds(10)), 0)
