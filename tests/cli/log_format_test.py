"""Levels and formats of the log, its lines about clients, systemd's journal, and syslog."""

import array
import json
import os
import re
import resource
import signal
import socket
import subprocess
import unittest

from lib import certificates, daemon, namespaces, nbd_raw, processes, settings, wait
from lib.images import MIB
from lib.nbd_raw import info_bytes
from lib.nbd_wire import OPT_ABORT, OPT_GO
from lib.testcase import nbd_export, null_node

EXPORT = [*null_node("disk", MIB), *nbd_export("disk")]
HOSTILE_NAME = 'no"\\\n\x01{}\u20ac'


@unittest.skipIf(settings.is_qemu(), "it has neither levels nor formats")
class LogFormatCase(unittest.TestCase):
    """Servers in a private directory, with clients that come, are refused and leave."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    def path(self, *names):
        """A path in the private directory."""
        return os.path.join(self.workdir, *names)

    def server(self, *arguments, **options):
        """A server that runs until the test ends."""
        server = daemon.Daemon(self.workdir, [*arguments, *EXPORT], **options)
        self.addCleanup(server.kill)
        return server.start()

    def visit(self, server):
        """One client is served, one names an export that does not exist, one only looks."""
        connection = nbd_raw.Connection(server.connect_nbd())
        connection.go("disk")
        connection.disconnect()
        connection.close()
        for send in (lambda client: client.option(OPT_GO, info_bytes(HOSTILE_NAME)),
                     lambda client: client.option(OPT_ABORT, b"")):
            connection = nbd_raw.Connection(server.connect_nbd())
            send(connection)
            connection.close()

    def lines_of_visit(self, *arguments):
        """The log of a server that has had these three clients."""
        server = self.server(*arguments)
        self.visit(server)
        # The lines of a client stand in their order.
        wait.until(lambda: "nbd connection" not in {task["name"] for task in server.qmp.execute("x-debug-tasks")}, 10,
                   "the end of the clients")
        server.stop()
        lines = server.stderr().decode().splitlines()
        return sorted(lines, key=lambda line: int((re.findall(r"#(\d+)", line) or ["0"])[0]))

    def datagrams(self, path):
        """A datagram socket at a path, from which the test reads with a deadline."""
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(receiver.close)
        receiver.bind(path)
        os.chmod(path, 0o666)
        receiver.settimeout(settings.seconds(20))
        return receiver


class LevelTest(LogFormatCase):
    """Which lines there are."""

    def test_nothing_about_clients_by_default(self):
        """As with qemu-storage-daemon: a client that comes, is refused or leaves causes no line."""
        self.assertEqual(self.lines_of_visit(), [])

    def test_info_tells_of_clients(self):
        """A line for each of the three."""
        lines = self.lines_of_visit("--log-level", "info")
        who = rf"blockexportd: info: nbd client unix:uid {os.getuid()} #\d+"
        self.assertEqual(len(lines), 3, lines)
        self.assertRegex(lines[0], f"^{who} connected to export 'disk'$")
        counts = r"\d+ ms, \d+ requests, \d+ bytes"
        self.assertRegex(lines[1], rf"^{who} left export 'disk' after {counts}: the client ended the connection$")
        self.assertRegex(lines[2], f"^{who} refused: export '.*' not present$")

    def test_debug_tells_of_handshakes(self):
        """The client that only looked, too."""
        lines = self.lines_of_visit("--log-level", "debug")
        self.assertRegex(lines[-1], "debug: nbd client .* handshake ended: client aborted$")

    def test_warning_and_error_leave_out_more(self):
        """No client, and for errors not even a warning."""
        self.assertEqual(self.lines_of_visit("--log-level", "warning"), [])
        public = ["--nbd-server", "addr.type=inet,addr.host=0.0.0.0,addr.port=0"]
        for level, count in (("warning", 1), ("error", 0)):
            server = self.server("--log-level", level, *public, nbd_server=None)
            server.stop()
            self.assertEqual(server.stderr().decode().count("without TLS"), count)

    def test_words(self):
        """A word that is none is refused with those that are."""
        for option, words in (("--log-level", "'error', 'warning', 'info' or 'debug'"),
                              ("--log-format", "'auto', 'text', 'json' or 'journal'")):
            result = subprocess.run([settings.program(), option, "loud"], capture_output=True, text=True, check=False,
                                    timeout=settings.seconds(20))
            self.assertEqual((result.returncode, result.stderr),
                             (1, f"blockexportd: {option} loud: must be {words}\n"))

    def test_many_clients_are_counted(self):
        """The lines about one group of clients have a limit, which hides no other line."""
        server = self.server("--log-level", "info")
        for _ in range(30):
            connection = nbd_raw.Connection(server.connect_nbd())
            connection.go("disk")
            connection.disconnect()
            connection.close()
        last = f"info: further lines about user {os.getuid()} are only counted"
        wait.until(lambda: last in server.stderr().decode(), 10, "the last line")
        server.stop()
        lines = server.stderr().decode().splitlines()
        self.assertEqual(sum(": info: nbd client " in line for line in lines), 20)
        self.assertRegex(lines[-1], r"info: 40 more lines about peers were left out in the last 60 s: 40 about user")


class ServersTest(LogFormatCase):
    """The lines about servers beside the default one, and about their clients."""

    def events(self, *arguments):
        """The log of a server process with a second NBD server, which a client visits before it is removed."""
        server = self.server("--log-level", "debug", *arguments)
        path = self.path("backup.sock")
        server.qmp.execute("nbd-servers-add", {"id": "backup", "listen": [f"unix:{path}"]})
        for send in (lambda client: client.go("disk"), lambda client: client.option(OPT_GO, info_bytes("none")),
                     lambda client: client.option(OPT_ABORT, b"")):
            connection = nbd_raw.Connection(daemon.connected_or_none(path))
            send(connection)
            connection.close()
        wait.until(lambda: "nbd connection" not in {task["name"] for task in server.qmp.execute("x-debug-tasks")}, 10,
                   "the end of the clients")
        server.qmp.execute("nbd-servers-remove", {"id": "backup"})
        self.visit(server)
        server.stop()
        return server.stderr().decode().splitlines()

    def test_text(self):
        """Texts name the server, but not the default one."""
        lines = self.events()
        client = rf"nbd client unix:uid {os.getuid()} #\d+"
        for pattern in (rf"info: NBD server 'backup' listens on unix:{self.path('backup.sock')}$",
                        rf"info: {client} of server 'backup' connected to export 'disk'$",
                        rf"info: {client} of server 'backup' left export 'disk' after ",
                        rf"info: {client} of server 'backup' refused: export 'none' not present$",
                        rf"debug: {client} of server 'backup': handshake ended: ",
                        r"info: NBD server 'backup' has stopped$",
                        rf"info: {client} connected to export 'disk'$"):
            self.assertEqual(len([line for line in lines if re.search(pattern, line)]), 1, (pattern, lines))
        self.assertNotIn("'default'", "".join(lines))

    def test_fields(self):
        """Each record about a server or its client has the field, that of the default one too."""
        records = [json.loads(line) for line in self.events("--log-format", "json")]
        servers = {}
        for record in records:
            if "nbd client" in record["message"] or "NBD server" in record["message"]:
                servers.setdefault(record["server"], []).append(record.get("event"))
        self.assertEqual(sorted(servers["default"], key=str),
                         [None, "client-connected", "client-left", "client-refused"])
        self.assertEqual(sorted(servers["backup"], key=str),
                         [None, None, None, "client-connected", "client-left", "client-refused"])

    def test_delayed_lines(self):
        """The line about clients that cannot be accepted has it too."""
        server = self.server("--log-format", "json")
        path = self.path("backup.sock")
        server.qmp.execute("nbd-servers-add", {"id": "backup", "listen": [f"unix:{path}"]})
        limit = max(int(name) for name in os.listdir(f"/proc/{server.pid}/fd")) + 1
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit))
        clients = [daemon.connected_or_none(path) for _ in range(50)]
        self.addCleanup(lambda: [client.close() for client in clients])
        lines = wait.until(lambda: [line for line in server.stderr().decode().splitlines() if "cannot accept" in line])
        record = json.loads(lines[0])
        self.assertEqual((record["server"], record["level"]), ("backup", "warning"))
        self.assertRegex(record["message"], r"^cannot accept NBD clients on unix:\S+ of server 'backup': ")


class JsonTest(LogFormatCase):
    """--log-format json"""

    def test_each_line_is_an_object(self):
        """Time, level and message, and fields with the words of docs/log.md."""
        objects = [json.loads(line) for line in self.lines_of_visit("--log-level", "info", "--log-format", "json")]
        self.assertEqual([one["event"] for one in objects], ["client-connected", "client-left", "client-refused"])
        for one in objects:
            self.assertRegex(one["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
            self.assertEqual(one["level"], "info")
            self.assertEqual(one["peer"], f"unix:uid {os.getuid()}")
            self.assertRegex(one["message_id"], "^[0-9a-f]{32}$")
        self.assertEqual([one["client"] - objects[0]["client"] for one in objects], [0, 0, 1])
        self.assertEqual([one.get("export") for one in objects], ["disk", "disk", None])
        self.assertGreaterEqual(objects[1]["duration_ms"], 0)
        self.assertEqual((objects[1]["requests"], objects[1]["bytes"]), (0, 0))
        self.assertEqual(objects[1]["reason"], "the client ended the connection")
        self.assertRegex(objects[2]["reason"], "^export '.*' not present$")

    def test_traces_and_the_file(self):
        """--trace and --log-file: still an object per line."""
        server = self.server("--log-format", "json", "--log-file", self.path("log"), "--trace", "nbd_client_*")
        self.visit(server)
        server.stop()
        with open(self.path("log"), encoding="utf-8") as file:
            objects = [json.loads(line) for line in file]
        self.assertEqual([one["trace_event"] for one in objects].count("nbd_client_connected"), 3)
        self.assertEqual({one["level"] for one in objects}, {"debug"})
        self.assertEqual(server.stderr(), b"")

    def test_an_error_at_start(self):
        """The reason of a start that fails is an object, with its hint."""
        result = subprocess.run([settings.program(), "--log-format", "json", "--blockdev", "driver=fil,node-name=x"],
                                capture_output=True, text=True, check=False, timeout=settings.seconds(20))
        self.assertEqual(result.returncode, 1)
        self.assertIn("does not accept value 'fil'", json.loads(result.stderr)["message"])

    def test_an_identity(self):
        """A client of TLS that is refused: a warning with identity and reason, whatever the level for clients."""
        pki = certificates.make(self.path("pki"))
        server = self.server("--log-format", "json", nbd_server="tls-creds=tls0,tls-authz=nobody",
                             objects=["authz-list,id=nobody,policy=deny",
                                      f"tls-creds-x509,id=tls0,endpoint=server,dir={pki.path}"])
        subprocess.run(["nbdinfo", "--size", f"nbds+unix:///disk?socket={server.nbd_path}&tls-certificates={pki.path}"
                        "&tls-hostname=localhost"], capture_output=True, check=False, timeout=settings.seconds(20))
        found = lambda: [json.loads(line) for line in server.stderr().splitlines() if b"client-refused" in line]
        refused = wait.until(found, 10, "the line")[0]
        self.assertEqual(refused["level"], "warning")
        self.assertIn("CN=", refused["identity"])
        self.assertIn("policy of tls-authz 'nobody'", refused["reason"])
        server.stop()


class JournalTest(LogFormatCase):
    """Native records for systemd's journal, whose place a socket of the test takes."""

    def setUp(self):
        super().setUp()
        if namespaces.unshare() is None:
            self.skipTest("the system permits no mount namespace")
        os.mkdir(self.path("journal"))
        self.journal = self.datagrams(self.path("journal", "socket"))

    def record(self):
        """The next record as a dictionary of bytes."""
        data, control, _, _ = self.journal.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        for _, _, payload in control:
            files = array.array("i", payload)
            with os.fdopen(files[0], "rb") as file:
                data = os.pread(file.fileno(), 1 << 20, 0)
        fields = {}
        while data:
            head, _, data = data.partition(b"\n")
            if b"=" in head:
                name, _, value = head.partition(b"=")
            else:
                name, size = head, int.from_bytes(data[:8], "little")
                value, data = data[8:8 + size], data[8 + size + 1:]
            fields[name.decode()] = value.decode()
        return fields

    def event(self):
        """The next record about a client."""
        record = {}
        while "EVENT" not in record:
            record = self.record()
        return record

    def start(self, *arguments, stream=None):
        """A server whose standard error is a file; `stream` is the value of JOURNAL_STREAM for its status."""
        log = open(self.path("stderr"), "wb")  # pylint: disable=consider-using-with
        self.addCleanup(log.close)
        status = os.fstat(log.fileno())
        environment = dict(os.environ, JOURNAL_STREAM=(stream or "{0.st_dev}:{0.st_ino}").format(status))
        process = subprocess.Popen(  # pylint: disable=consider-using-with
            [*namespaces.with_journal(self.path("journal")), settings.program(), "--log-level", "info", *arguments,
             "--nbd-server", "addr.type=unix,addr.path=nbd.sock", *EXPORT],
            cwd=self.workdir, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=environment)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def visit_once(self, process):
        """A client that is served; the server ends then. Returns its standard error."""
        client = wait.until(lambda: daemon.connected_or_none(self.path("nbd.sock")), 20, "the NBD socket")
        connection = nbd_raw.Connection(client)
        connection.go("disk")
        connection.disconnect()
        connection.close()
        process.terminate()
        self.assertEqual(process.wait(settings.seconds(20)), 0)
        with open(self.path("stderr"), "rb") as file:
            return file.read()

    def test_where_standard_error_is_the_journal(self):
        """Records with the fields of the event, and nothing on standard error."""
        self.assertEqual(self.visit_once(self.start()), b"")
        record = self.event()
        number = record.pop("CLIENT")
        self.assertRegex(number, r"^\d+$")
        self.assertRegex(record.pop("MESSAGE_ID"), "^[0-9a-f]{32}$")
        self.assertEqual(record, {"MESSAGE": f"nbd client unix:uid {os.getuid()} #{number} connected to export 'disk'",
                                  "PRIORITY": "6", "SYSLOG_IDENTIFIER": "blockexportd", "EVENT": "client-connected",
                                  "PEER": f"unix:uid {os.getuid()}", "EXPORT": "disk", "SERVER": "default"})
        self.assertEqual(self.event()["REASON"], "the client ended the connection")

    def test_elsewhere(self):
        """JOURNAL_STREAM of another file, as a child of a service has it that redirects its output: text."""
        text = self.visit_once(self.start(stream="{0.st_dev}:1"))
        self.assertIn(b"blockexportd: info: nbd client ", text)

    def test_when_it_is_asked_for(self):
        """--log-format journal does not need JOURNAL_STREAM; --log-format text does without the journal."""
        self.assertEqual(self.visit_once(self.start("--log-format", "journal", stream="0:1")), b"")
        self.assertEqual(self.event()["EVENT"], "client-connected")
        self.assertIn(b"blockexportd: info: nbd client ", self.visit_once(self.start("--log-format", "text")))

    def test_a_journal_that_is_not_there(self):
        """An error for those who ask for it; text for all others."""
        self.journal.close()
        os.unlink(self.path("journal", "socket"))
        self.assertIn(b"blockexportd: info: nbd client ", self.visit_once(self.start()))
        self.assertEqual(self.start("--log-format", "journal").wait(settings.seconds(20)), 1)
        with open(self.path("stderr"), "rb") as file:
            self.assertIn(b"--log-format journal: cannot reach the journal", file.read())

    def test_an_error_at_start_is_told_twice(self):
        """In the journal, and to whoever started the server."""
        process = self.start("--log-format", "journal", "--blockdev", "driver=fil,node-name=x")
        self.assertEqual(process.wait(settings.seconds(20)), 1)
        with open(self.path("stderr"), "rb") as file:
            self.assertIn(b"does not accept value 'fil'", file.read())
        self.assertEqual(self.record()["PRIORITY"], "3")


class SyslogTest(LogFormatCase):
    """--daemonize without another destination."""

    def setUp(self):
        super().setUp()
        if namespaces.unshare() is None:
            self.skipTest("the system permits no mount namespace")
        self.syslog = self.datagrams(self.path("log"))

    def daemonize(self, *arguments, stderr):
        """The pid of a server in the background."""
        subprocess.run([*namespaces.with_syslog(self.workdir), settings.program(), "--daemonize", "--pidfile",
                        "server.pid", "--log-level", "info", *arguments,
                        "--nbd-server", "addr.type=unix,addr.path=nbd.sock", *EXPORT],
                       cwd=self.workdir, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                       check=True, timeout=settings.seconds(20))
        with open(self.path("server.pid"), encoding="ascii") as file:
            pid = int(file.read())
        self.addCleanup(processes.kill, pid)
        return pid

    def visit_once(self):
        """A client that is served."""
        connection = nbd_raw.Connection(wait.until(lambda: daemon.connected_or_none(self.path("nbd.sock")), 20, "NBD"))
        connection.go("disk")
        connection.disconnect()
        connection.close()

    def test_lines_go_to_syslog(self):
        """With the facility daemon, the priority of the line, the name of the program, and its process id."""
        pid = self.daemonize(stderr=subprocess.PIPE)
        self.visit_once()
        message = self.syslog.recv(4096).decode()
        self.assertRegex(message, rf"^<30>.* blockexportd\[{pid}\]: nbd client unix:uid \d+ #\d+ connected to export")
        os.kill(pid, signal.SIGTERM)
        wait.until(lambda: not processes.alive(pid), 10, "the end")

    def test_a_file_stays(self):
        """Standard error that is a file keeps the log."""
        with open(self.path("stderr"), "wb") as log:
            pid = self.daemonize(stderr=log)
        self.visit_once()
        wait.until(lambda: re.search("left export", open(self.path("stderr"), encoding="utf-8").read()), 10, "the line")
        os.kill(pid, signal.SIGTERM)
        wait.until(lambda: not processes.alive(pid), 10, "the end")
        self.syslog.setblocking(False)
        with self.assertRaises(BlockingIOError):
            self.syslog.recv(4096)

    def test_a_syslog_that_does_not_read_delays_nobody(self):
        """More lines than its queue takes: clients are served, and the end comes."""
        pid = self.daemonize("--trace", "nbd_*", stderr=subprocess.PIPE)
        for _ in range(300):
            self.visit_once()
        os.kill(pid, signal.SIGTERM)
        wait.until(lambda: not processes.alive(pid), 10, "the end")


if __name__ == "__main__":
    unittest.main()
