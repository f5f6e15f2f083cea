"""The server in the background: missing standard streams, its log, and relative paths after the change to /."""

import os
import pty
import shutil
import signal
import socket
import stat
import subprocess
import unittest

from lib import client_tool, daemon, images, nbd_raw, processes, settings, wait
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

    def written(self, name, pid):
        """What the server has logged so far, in its file."""
        processes.settle_log(pid)
        return self.read(name)

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
        self.addCleanup(processes.kill, pid)
        return pid

    def end(self, pid):
        """Ends the server with SIGTERM."""
        os.kill(pid, signal.SIGTERM)
        wait.until(lambda: not processes.alive(pid), what="the server's end")

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
        with processes.running([settings.program(), *self.arguments("--pidfile", "server.pid")], cwd=self.workdir,
                               stdin=self.listener()) as process:
            pid = self.pid()
            self.serves()
            with QmpClient(self.path("qmp.sock")) as client:
                client.execute("nbd-server-stop")
                self.assertEqual(self.target(pid, 0), "/dev/null")
            process.terminate()
            self.assertEqual(process.wait(settings.seconds(10)), 0)


class LogTest(BackgroundTest):
    """Where the log goes."""

    @settings.unlike_qemu("it has no --log-file, and lets go of standard error")
    def setUp(self):
        super().setUp()

    # A start that has something to say: somebody listens where it wants to.
    def talkative(self):
        """Arguments with which the server logs a line while it starts."""
        taken = socket.socket(socket.AF_UNIX)
        self.addCleanup(taken.close)
        taken.bind(self.path("nbd.sock"))
        taken.listen()
        return NULL_SERVER

    def test_standard_error_stays_where_it_is_a_file(self):
        """--daemonize with `2>file`: the server goes on writing there."""
        with open(self.path("log"), "wb") as log:
            pid = self.daemonize(*self.talkative(), stderr=log)
        self.assertEqual(self.target(pid, 2), self.path("log"))
        self.assertEqual({self.target(pid, number) for number in range(2)}, {"/dev/null"})
        self.assertIn(b"warning: ", self.written("log", pid))
        self.end(pid)

    def test_a_terminal_is_let_go(self):
        """--daemonize on a terminal: standard error is /dev/null afterwards."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        pid = self.daemonize(*NULL_SERVER, stderr=theirs)
        os.close(theirs)
        self.assertEqual(self.target(pid, 2), "/dev/null")
        self.end(pid)

    def test_a_pipe_is_let_go(self):
        """--daemonize in `log=$(...)`: whoever reads the pipe sees its end, which is what run_server() waits for."""
        pid = self.daemonize(*NULL_SERVER)
        self.assertEqual(self.target(pid, 2), "/dev/null")
        self.end(pid)

    def test_log_file(self):
        """--log-file: created with mode 0640, appended to, and standard error belongs to it."""
        pid = self.daemonize("--log-file", "server.log", *self.talkative(), umask=0o022)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("server.log")).st_mode), 0o640)
        self.assertEqual(self.target(pid, 2), self.path("server.log"))
        first = self.written("server.log", pid)
        self.assertIn(b"warning: ", first)
        self.end(pid)
        with open(self.path("server.log"), "r+b") as file:
            file.truncate(len(first))
        self.end(self.daemonize("--log-file", "server.log", *NULL_SERVER, "--trace", "daemon_serving"))
        self.assertTrue(self.read("server.log").startswith(first))
        self.assertIn(b"daemon_serving", self.read("server.log")[len(first):])

    def test_log_file_in_the_foreground(self):
        """Without --daemonize: nothing more goes to where standard error was."""
        with processes.running([settings.program(), "--log-file", "server.log", "--pidfile", "server.pid",
                                *self.talkative()], cwd=self.workdir, stdin=subprocess.DEVNULL,
                               stderr=subprocess.PIPE) as process:
            pid = self.pid()
            self.assertEqual(process.stderr.read(), b"")
            self.assertIn(b"warning: ", self.written("server.log", pid))
            self.end(pid)

    def test_an_error_at_start_is_told_twice(self):
        """In the file, and to whoever started the server."""
        for more in ([], ["--daemonize"]):
            result = self.run_server("--log-file", "server.log", "--blockdev", "driver=nonsense,node-name=n0", *more)
            self.assertEqual(result.returncode, 1)
            self.assertIn(b"does not accept value 'nonsense'", result.stderr)
            self.assertIn(result.stderr, self.read("server.log"))

    def test_a_file_that_cannot_be_opened(self):
        """An error that names the file; the server does not start, and does not wait for a pipe's reader."""
        os.mkfifo(self.path("pipe"))
        for name in ("nowhere/server.log", ".", "pipe"):
            result = self.run_server("--log-file", name, "--daemonize")
            self.assertEqual(result.returncode, 1)
            self.assertIn(f"Could not open log file '{name}': ".encode(), result.stderr)


class RelativePathsTest(BackgroundTest):
    """With --daemonize, paths of the command line mean the directory where it was given for as long as it runs."""

    def monitor(self):
        """Arguments for a monitor."""
        return ["--chardev", "socket,id=c0,path=qmp.sock,server=on,wait=off", "--monitor", "c0"]

    def client(self):
        """A client of the monitor."""
        client = QmpClient(self.path("qmp.sock"))
        self.addCleanup(client.close)
        return client

    @settings.unlike_qemu("it does not follow the files")
    def test_tls_directory(self):
        """Renewed certificates are found, and the log says so; the property is what was written."""
        for name in ("pki", "renewed"):
            subprocess.run([client_tool.program(), "tls", "init", name], cwd=self.workdir, check=True,
                           stdout=subprocess.DEVNULL, timeout=settings.seconds(30))
        with open(self.path("log"), "wb") as log:
            pid = self.daemonize("--object", "tls-creds-x509,id=tls,dir=pki,endpoint=server", *self.monitor(),
                                 stderr=log)
        client = self.client()
        self.assertEqual(client.execute("qom-get", {"path": "/objects/tls", "property": "dir"}), "pki")
        for name in os.listdir(self.path("renewed")):
            shutil.move(self.path("renewed", name), self.path("pki", name))
        wait.until(lambda: b"its files have changed and were loaded" in self.read("log"), what="the new certificates")
        self.assertNotIn(b"cannot be used", self.read("log").rsplit(b"were loaded", 1)[1])
        self.end(pid)

    @settings.unlike_qemu("it has no such object")
    def test_list_file(self):
        """A list file that changes is read again; the property is what was written."""
        rules = b'{"rules": [{"match": "%s", "policy": "allow"}]}'
        images.write_file(self.path("list"), rules % b"one")
        with open(self.path("log"), "wb") as log:
            pid = self.daemonize("--object", "authz-list-file,id=auth0,filename=./list", *self.monitor(), stderr=log)
        shown = self.client().execute("qom-get", {"path": "/objects/auth0", "property": "filename"})
        self.assertEqual(shown, "./list")
        images.write_file(self.path("list.new"), rules % b"two")
        os.rename(self.path("list.new"), self.path("list"))
        wait.until(lambda: b"authorization list './list': 1 rules in use" in self.read("log"), what="the new rules")
        self.end(pid)

    @settings.unlike_qemu("it looks for the file in the root directory")
    def test_an_image_that_is_opened_again(self):
        """blockdev-reopen opens the same file; queries show the name that was written."""
        images.make_empty(self.path("disk.img"), MIB)
        pid = self.daemonize(*file_node("f0", "./disk.img", **{"read-only": "on"}), *self.monitor())
        client = self.client()
        options = {"driver": "file", "node-name": "f0", "filename": "./disk.img", "read-only": False}
        client.execute("blockdev-reopen", {"options": [options]})
        (node,) = client.execute("query-named-block-nodes")
        self.assertEqual((node["file"], node["ro"]), ("./disk.img", False))
        self.assertEqual(node["image"]["filename"], "./disk.img")
        self.end(pid)

    def test_paths_of_commands(self):
        """What a QMP command names is looked for where the server stands, which is the root directory."""
        images.make_empty(self.path("disk.img"), MIB)
        pid = self.daemonize(*self.monitor())
        client = self.client()
        options = {"driver": "file", "node-name": "f0"}
        _, text = client.failure("blockdev-add", {**options, "filename": "disk.img"})
        self.assertEqual(text, "Could not open 'disk.img': No such file or directory")
        client.execute("blockdev-add", {**options, "filename": os.path.relpath(self.path("disk.img"), "/")})
        (listed,) = client.execute("query-chardev")
        self.assertEqual(listed["filename"], "unix:qmp.sock,server=on")
        stdio = {"id": "s0", "backend": {"type": "stdio", "data": {}}}
        _, text = client.failure("chardev-add", stdio)
        self.assertEqual(text, "Failed to add chardev 's0': cannot use stdio with -daemonize")
        self.end(pid)

    @settings.unlike_qemu("it calls in the root directory")
    def test_a_peer_that_is_called_again(self):
        """A chardev that calls a relative path calls the same one when the connection was lost."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path("peer.sock"))
            listener.listen()
            listener.settimeout(settings.seconds(10))
            pid = self.daemonize("--chardev", "socket,id=c0,path=peer.sock,reconnect-ms=1", "--monitor", "c0")
            for _ in range(2):
                with QmpClient(listener.accept()[0]) as client:
                    (listed,) = client.execute("query-chardev")
                    self.assertEqual(listed["filename"], "unix:peer.sock")
            self.end(pid)
