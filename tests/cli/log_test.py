"""The log: the server never waits for its reader, and neither unauthenticated peers nor lasting failures can fill
it."""

import fcntl
import os
import re
import resource
import socket
import subprocess
import threading
import time
import unittest

from lib import certificates, daemon, images, nbd_raw, processes, settings, wait
from lib.images import MIB
from lib.nbd_wire import CMD_READ, ENOSPC, OPT_INFO, OPT_STARTTLS, REP_ACK
from lib.nbd_raw import info_bytes, request_bytes
from lib.qmp import QmpClient
from lib.testcase import DaemonTest, file_node, nbd_export, null_node
from lib.tls import TlsTest

# The lines that one group of peers, and all of them, may write in a minute, and the lines that tell of it.
PEER_LINES_MAX = 20


class PipeLog:
    """A pipe as the standard error of a server; nobody reads it until read() is called."""

    def __init__(self):
        self.reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, 4096)
        self.text = b""

    def close_writing(self):
        """The server alone has that end."""
        os.close(self.writing)

    def read_all(self):
        """To the end: the server has to be gone, or to be ending."""
        while part := os.read(self.reading, 65536):
            self.text += part
        return self.text

    def close(self):
        """Nobody will read it."""
        os.close(self.reading)


@unittest.skipIf(settings.program() == settings.REFERENCE, "it writes to standard error from its main loop")
class StuckReaderTest(unittest.TestCase):
    """Standard error is a pipe that nobody reads."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        self.nbd_path = os.path.join(self.workdir, "nbd.sock")

    def start(self, pipe, *arguments):
        """A server that writes into the pipe."""
        process = subprocess.Popen(
            [settings.program(), *settings.extra_arguments(), "--nbd-server",
             f"addr.type=unix,addr.path={self.nbd_path}", *arguments],
            cwd=self.workdir, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=pipe.writing)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        pipe.close_writing()
        wait.until(lambda: daemon.connected_or_none(self.nbd_path), 20, "the NBD socket").close()
        return process

    def connect(self):
        """A client that has a deadline for everything."""
        client = wait.until(lambda: daemon.connected_or_none(self.nbd_path), 10, "a connection")
        client.settimeout(settings.seconds(10))
        connection = nbd_raw.Connection(client)
        self.addCleanup(connection.close)
        return connection

    def make_lines(self, count):
        """Requests that are traced: two lines each."""
        connection = self.connect()
        connection.go("disk")
        for begin in range(0, count, 100):
            cookies = range(begin, begin + 100)
            connection.send(b"".join(request_bytes("simple", CMD_READ, 0, 512, cookie=cookie) for cookie in cookies))
            connection.receive(100 * (16 + 512))
        connection.disconnect()

    def test_clients_are_served_and_the_end_comes(self):
        """Far more lines than the pipe and the server's memory for them hold: all clients served, SIGTERM ends it."""
        pipe = PipeLog()
        self.addCleanup(pipe.close)
        process = self.start(pipe, *null_node("disk", MIB), *nbd_export("disk"), "--trace", "nbd_request_*")
        self.make_lines(5000)
        connection = self.connect()
        connection.go("disk")
        self.assertEqual(connection.read(0, 512), bytes(512))
        connection.close()
        process.terminate()
        self.assertEqual(process.wait(settings.seconds(10)), 0)

    def test_what_was_dropped_is_told(self):
        """When the pipe is read again there are whole lines, then the number of those that are missing, then all."""
        pipe = PipeLog()
        self.addCleanup(pipe.close)
        process = self.start(pipe, *null_node("disk", MIB), *nbd_export("disk"), "--trace", "nbd_*")
        self.make_lines(5000)
        reader = threading.Thread(target=pipe.read_all)
        reader.start()

        def has_a_line_again():
            before = pipe.text.count(b"nbd_client_connected")
            self.connect().close()
            wait.until(lambda: b"nobody took them in time\n" in pipe.text, 10, "the number of lines")
            return pipe.text.count(b"nbd_client_connected") > before
        wait.until(has_a_line_again, 10, "a line that is not dropped")
        process.terminate()
        reader.join()
        text = pipe.text.decode()
        self.assertEqual(process.wait(settings.seconds(10)), 0)
        dropped = 0
        lines = text.splitlines()
        self.assertTrue(text.endswith("\n"))
        for line in lines:
            if found := re.search(r"warning: (\d+) lines of the log were dropped here", line):
                dropped += int(found.group(1))
            else:
                self.assertRegex(line, r"^(nbd_\w+ |\w+: (info|warning): )")
        requests = sum(line.startswith("nbd_request_") for line in lines)
        self.assertGreater(dropped, 0)
        self.assertGreaterEqual(requests + dropped, 10_000)
        self.assertLess(requests, 10_000)

    def test_flags_are_left_alone(self):
        """The pipe is somebody else's too: it stays blocking."""
        pipe = PipeLog()
        self.addCleanup(pipe.close)
        mine = os.dup(pipe.writing)
        self.addCleanup(os.close, mine)
        process = self.start(pipe)
        self.assertEqual(fcntl.fcntl(mine, fcntl.F_GETFL) & os.O_NONBLOCK, 0)
        process.terminate()
        self.assertEqual(process.wait(settings.seconds(10)), 0)

    def test_an_error_at_start_is_whole(self):
        """A start that fails says all of it, though the reader looks later."""
        pipe = PipeLog()
        self.addCleanup(pipe.close)
        with processes.running([settings.program(), "--blockdev", "driver=nonsense,node-name=" + "n" * 3000],
                               cwd=self.workdir, stdin=subprocess.DEVNULL, stderr=pipe.writing) as process:
            pipe.close_writing()
            self.assertEqual(process.wait(settings.seconds(10)), 1)
        self.assertIn(b"does not accept value 'nonsense'\n", pipe.read_all())

    def test_a_trace_file_that_is_stuck(self):
        """--trace file= of a pipe that nobody reads holds nobody up either."""
        fifo = os.path.join(self.workdir, "trace.fifo")
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        pipe = PipeLog()
        self.addCleanup(pipe.close)
        process = self.start(pipe, *null_node("disk", MIB), *nbd_export("disk"), "--trace",
                             f"nbd_request_*,file={fifo}")
        self.make_lines(5000)
        process.terminate()
        self.assertEqual(process.wait(settings.seconds(10)), 0)


@unittest.skipIf(settings.program() == settings.REFERENCE, "it has no limit")
class PeerLimitTest(TlsTest):
    """Lines that those cause who are not let in."""

    nbd_server = "tls-creds=tls0"

    @classmethod
    def objects(cls):
        return ["authz-list,id=nobody,policy=deny", *super().objects()]

    @classmethod
    def prepare(cls):
        return [*super().prepare(), *nbd_export("private", "disk", **{"tls-authz": "nobody"})]

    def lines(self):
        """The log so far."""
        return self.daemon.stderr().decode(errors="replace").splitlines()

    def test_each_kind_of_line(self):
        """Garbage for TLS and refused exports: the first lines, then one that says that the rest is counted."""
        for _ in range(10 * PEER_LINES_MAX):
            with socket.create_connection(("127.0.0.1", self.port), settings.seconds(10)) as client:
                connection = nbd_raw.Connection(client, tls_required=True)
                self.assertEqual(connection.option_result(OPT_STARTTLS), REP_ACK)
                connection.send(b"\xff" * 100)
                connection.at_end()
        last = "further lines about 127.0.0.1 are only counted, for up to 60 s"
        wait.until(lambda: any(last in line for line in self.lines()), 10, "the last line")
        refused = [line for line in self.lines() if "nbd client 127.0.0.1:" in line]
        self.assertEqual(len(refused), PEER_LINES_MAX)
        # Another group of peers: this user, over the unix socket.
        guest = self.starttls()
        for _ in range(10 * PEER_LINES_MAX):
            guest.option(OPT_INFO, info_bytes("private"))
        last = f"further lines about user {os.getuid()} are only counted"
        wait.until(lambda: any(last in line for line in self.lines()), 10, "the last line")
        refused = [line for line in self.lines() if "nbd client unix:" in line]
        self.assertEqual(len(refused), PEER_LINES_MAX)
        self.daemon.stop()
        self.assertIn(f"{18 * PEER_LINES_MAX} more lines about peers were left out in the last 60 s: "
                      f"{9 * PEER_LINES_MAX} about ", self.daemon.stderr().decode())

    def tearDown(self):
        pass


@unittest.skipIf(settings.program() == settings.REFERENCE, "it has another text, and no monitor to see it with")
class ReconnectTest(unittest.TestCase):
    """A monitor that calls a peer that is not there, again and again."""

    def test_one_line(self):
        """A line when it begins, and none for each call."""
        workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, workdir)
        server = daemon.Daemon(workdir, ["--chardev", "socket,id=c1,path=nobody.sock,reconnect-ms=20",
                                         "--monitor", "c1"], nbd_server=None)
        self.addCleanup(server.kill)
        server.start()
        line = b"warning: chardev 'c1': Failed to connect to 'nobody.sock': No such file or directory"
        wait.until(lambda: line in server.stderr(), 10, "the line")
        began = time.monotonic()
        while time.monotonic() - began < 1.5:
            self.assertEqual(server.stderr().count(b"nobody.sock"), 1)
            time.sleep(0.1)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(workdir, "nobody.sock"))
            listener.listen()
            listener.settimeout(settings.seconds(10))
            client = QmpClient(listener.accept()[0])
            self.assertEqual(client.execute("query-block"), [])
            client.close()
        server.stop()


class NoDescriptorsTest(unittest.TestCase):
    """Accepting fails for want of descriptors, again and again."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    @settings.unlike_qemu("it says nothing")
    def test_one_line(self):
        """A line when it begins; the next one comes after ten seconds."""
        path = os.path.join(self.workdir, "nbd.sock")
        log = open(os.path.join(self.workdir, "log"), "w+b")
        self.addCleanup(log.close)
        process = subprocess.Popen(
            [settings.program(), *settings.extra_arguments(), *null_node("disk", MIB), "--nbd-server",
             f"addr.type=unix,addr.path={path}", *nbd_export("disk")],
            cwd=self.workdir, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait.until(lambda: daemon.connected_or_none(path), 20, "the NBD socket").close()
        wait.until(lambda: len(os.listdir(f"/proc/{process.pid}/fd")) < 20, 10, "the first client's end")
        open_now = max(int(name) for name in os.listdir(f"/proc/{process.pid}/fd"))
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (open_now + 1, open_now + 1))
        clients = []
        self.addCleanup(lambda: [client.close() for client in clients])
        for _ in range(50):
            if client := daemon.connected_or_none(path):
                clients.append(client)

        def said():
            with open(log.name, "rb") as file:
                return file.read().count(b"Too many open files")
        wait.until(lambda: said() > 0, 10, "the line")
        # It happens ten times a second; what would be wrong shows soon.
        began = time.monotonic()
        while time.monotonic() - began < 2:
            self.assertEqual(said(), 1)
            time.sleep(0.1)
        process.terminate()
        self.assertEqual(process.wait(settings.seconds(10)), 0)


@unittest.skipIf(settings.program() == settings.REFERENCE, "it says nothing")
class PublicAddressTest(unittest.TestCase):
    """Addresses that other machines reach, without TLS."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    def warnings(self, *arguments):
        """What a server with these arguments warns about while it lives."""
        server = daemon.Daemon(self.workdir, arguments, nbd_server=None)
        self.addCleanup(server.kill)
        server.start()
        server.stop()
        return [line for line in server.stderr().decode().splitlines() if "without TLS" in line]

    def test_nbd(self):
        """One line for an NBD server that everybody reaches; none for loopback and unix sockets."""
        for host in ("", "0.0.0.0"):
            lines = self.warnings("--nbd-server", f"addr.type=inet,addr.host={host},addr.port=0")
            self.assertEqual(len(lines), 1, lines)
            self.assertRegex(lines[0], r"warning: NBD is served on (0\.0\.0\.0|\[::\]):\d+ without TLS: everybody who ")
        self.assertEqual(self.warnings("--nbd-server", "addr.type=inet,addr.host=127.0.0.1,addr.port=0",
                                       "--listen", "type=unix,path=nbd.sock"), [])
        lines = self.warnings("--nbd-server", "addr.type=unix,addr.path=nbd.sock",
                              "--listen", "type=inet,host=0.0.0.0,port=0")
        self.assertEqual(len(lines), 1, lines)

    def test_nbd_with_tls(self):
        """None with TLS."""
        pki = certificates.make(os.path.join(self.workdir, "pki"))
        self.assertEqual(self.warnings("--object", f"tls-creds-x509,id=tls0,endpoint=server,dir={pki.path}",
                                       "--nbd-server", "addr.type=inet,addr.host=0.0.0.0,addr.port=0,tls-creds=tls0"),
                         [])

    def test_monitor(self):
        """A monitor there is worse, and told too."""
        lines = self.warnings("--chardev", "socket,id=c0,host=0.0.0.0,port=0,server=on,wait=off", "--monitor", "c0")
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(lines[0], r"chardev 'c0' listens on 0\.0\.0\.0:\d+ without TLS")


class WriteErrorsOfTheLogTest(DaemonTest):
    """Standard error is a file that is full."""

    @classmethod
    def prepare(cls):
        images.make_empty(cls.path("disk.img"), MIB)
        return [*file_node("disk", "disk.img"), *nbd_export("disk", writable="on"), "--trace", "nbd_*"]

    def test_it_goes_on(self):
        """No line can be written, and clients are served."""
        resource.prlimit(self.daemon.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        connection = self.session("disk")
        for offset in range(0, 4096, 64):
            self.assertEqual(connection.write(offset, b"x" * 64), 0)
        self.assertEqual(connection.write(8192, b"y" * 512), ENOSPC)
        resource.prlimit(self.daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.assertEqual(connection.write(8192, b"y" * 512), 0)
        self.assertEqual(connection.read(8192, 512), b"y" * 512)


if __name__ == "__main__":
    unittest.main()
