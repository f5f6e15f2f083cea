"""The option --metrics: the pages /metrics, /healthz and /readyz, their numbers, and hostile HTTP."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

from lib import certificates, daemon, images, metrics, nbd_raw, settings, tools, wait
from lib.images import MIB
from lib.metrics import Http
from lib.nbd_wire import *
from lib.qmp import QmpError
from lib.testcase import DaemonTest, file_node, nbd_export, null_node
from lib.tls import TlsTest

OPEN_METRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
HEAD_MAX = 8192
CONNECTIONS_MAX = 16
# Becomes the program of its further arguments, with the descriptor of the first one as a socket named "http".
AS_SYSTEMD = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")
os.execv(sys.argv[2], sys.argv[2:])
"""
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class MetricsTest(DaemonTest):
    """A server with metrics on a unix socket and on TCP, and an export of a file and one of a slow node."""

    options = ",per-client=on"

    @classmethod
    def setUpClass(cls):
        if settings.is_qemu():
            raise unittest.SkipTest("qemu-storage-daemon has no metrics")
        super().setUpClass()
        cls.http_path = cls.path("metrics.sock")
        shown = re.search(r"metrics are served on 127\.0\.0\.1:(\d+)", cls.daemon.stderr().decode())
        cls.tcp = ("127.0.0.1", int(shown.group(1)))

    @classmethod
    def prepare(cls):
        disk = images.make_empty(cls.path("disk.img"), MIB)
        return [*file_node("disk", disk, discard="unmap"), *nbd_export("disk", writable="on"),
                *null_node("slow", MIB, **{"latency-ns": 400_000_000}), *nbd_export("slow"),
                "--metrics", f"unix:{cls.path('metrics.sock')}{cls.options}", "--metrics", "127.0.0.1:0,host=storage1"]

    def setUp(self):
        super().setUp()
        # Those of the test before may still be leaving.
        wait.until(lambda: not self.qmp.execute("query-export-clients"))
        wait.until(lambda: not self.page().value("handshakes_in_progress"))

    def page(self, accept=None):
        """The page of metrics, checked."""
        return metrics.scrape(self.http_path, accept)

    def http(self, address=None):
        """A connection, closed when the test ends."""
        connection = Http(address or self.http_path)
        self.addCleanup(connection.close)
        return connection


class PagesTest(MetricsTest):
    """What an ordinary client gets."""

    def test_health_and_readiness(self):
        """Both pages answer 200, over the unix socket and over TCP, one request after the other."""
        for address in (self.http_path, self.tcp):
            client = self.http(address)
            for path, body in (("/healthz", "ok\n"), ("/readyz", "ready\n"), ("/healthz?verbose", "ok\n")):
                reply = client.get(path)
                self.assertEqual((reply.code, reply.text), (200, body))

    def test_other_paths_and_methods(self):
        """There is nothing else, and nothing can be changed."""
        client = self.http()
        for path in ("/", "/metrics/", "/metricsx", "/../metrics", "/healthz/.."):
            self.assertEqual(client.get(path).code, 404, path)
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            reply = client.get("/metrics", method=method)
            self.assertEqual((reply.code, reply.fields["allow"]), (405, "GET, HEAD"))

    def test_head(self):
        """HEAD tells the length and sends no body."""
        client = self.http()
        reply = client.get("/healthz", method="HEAD")
        self.assertEqual((reply.code, reply.fields["content-length"]), (200, "3"))
        self.assertEqual(client.get("/healthz").text, "ok\n")

    def test_formats(self):
        """The format is that of Prometheus 0.0.4, or OpenMetrics for a client that prefers it; both have the same."""
        client = self.http()
        plain = client.get("/metrics")
        self.assertEqual(plain.fields["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        opened = client.get("/metrics", Accept=OPEN_METRICS)
        self.assertEqual(opened.fields["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8")
        families = metrics.Page(plain.text).families()
        self.assertEqual(families, metrics.Page(opened.text, is_open=True).families())
        self.assertIn("build_info", families)

    def test_documented(self):
        """docs/metrics.md has a row for each family of the page with its type and labels, and for no other."""
        session = self.session("disk", "structured", ["base:allocation"])
        session.read(0, 512)
        session.write(0, b"x" * 512)
        session.call(CMD_READ, MIB, 512)
        page = self.page()
        with open(os.path.join(ROOT, "docs", "metrics.md"), encoding="utf-8") as file:
            rows = re.findall(r"^\| `blockexport_(\w+)` \| (counter|gauge|histogram) \|([^|]*)\|", file.read(), re.M)
        documented = {name.removesuffix("_total"): (kind, set(re.findall(r"`(\w+)`", labels)))
                      for name, kind, labels in rows}
        for (name, labels) in page.samples:
            family = re.sub(r"_(bucket|sum|count|total)$", "", name.removeprefix("blockexport_"))
            self.assertIn(family, documented)
            self.assertEqual(set(dict(labels)) - {"le"}, documented[family][1], name)
        for family, kind in page.types.items():
            self.assertEqual(kind, documented[family.removeprefix("blockexport_").removesuffix("_total")][0])

    def test_promtool(self):
        """promtool finds no fault in the page."""
        session = self.session("disk")
        session.read(0, 512)
        session.call(CMD_READ, MIB, 512)
        text = self.http().get("/metrics").text
        self.assertEqual(tools.run("promtool", "check", "metrics", stdin=text), "")

    def test_build(self):
        """The version is that of the program."""
        version = tools.run(settings.program(), "--version", timeout=20).split()
        ((labels, value),) = self.page().series("build_info")
        self.assertEqual(value, 1)
        self.assertIn(labels["version"], " ".join(version))


class NumbersTest(MetricsTest):
    """The numbers are what clients did."""

    def deltas(self, before, name):
        """{op: growth} of an export's counter since an earlier page."""
        now = self.page()
        return {labels["op"]: value - (before.value(name, **labels) or 0) for labels, value in now.series(name)
                if labels["export"] == "disk" and value != (before.value(name, **labels) or 0)}

    def test_operations(self):
        """Each request is counted with its bytes; failures are counted with their errno."""
        before = self.page()
        session = self.session("disk", "structured", ["base:allocation"])
        for _ in range(7):
            session.read(0, 4096)
        session.write(0, b"x" * 5000)
        session.call(CMD_WRITE_ZEROES, 0, 8192)
        session.call(CMD_TRIM, 0, 4096)
        session.call(CMD_FLUSH)
        session.call(CMD_CACHE, 0, 512)
        session.block_status(0, MIB)
        self.assertEqual(session.call(CMD_READ, MIB, 512).error, EINVAL)
        session.disconnect()
        self.assertEqual(self.deltas(before, "export_operations_total"),
                         {"read": 8, "write": 1, "write_zeroes": 1, "trim": 1, "flush": 1, "cache": 1,
                          "block_status": 1})
        self.assertEqual(self.deltas(before, "export_bytes_total"),
                         {"read": 7 * 4096, "write": 5000, "write_zeroes": 8192, "trim": 4096, "cache": 512})
        self.assertEqual(self.deltas(before, "export_errors_total"), {"read": 1})
        self.assertEqual(self.page().value("export_errors_total", export="disk", op="read", errno="EINVAL"),
                         (before.value("export_errors_total", export="disk", op="read", errno="EINVAL") or 0) + 1)

    def test_read_only(self):
        """A write to a read-only export is a failed write."""
        session = self.session("slow")
        session.call(CMD_WRITE, 0, 4, payload=b"1234")
        self.assertEqual(self.page().value("export_errors_total", export="slow", op="write", errno="EPERM"), 1)

    def test_latencies(self):
        """Requests that take 400 ms are in the bucket up to 1.048576 s, and their time is counted."""
        before = self.page()
        session = self.session("slow")
        pending = session.send_reads(4)
        wait.until(lambda: self.page().value("export_in_flight", export="slow") == 4)
        for reply in session.read_replies(pending):
            self.assertEqual(reply.error, 0)
        page = self.page()
        name = "export_operation_latency_seconds_bucket"

        def growth(limit):
            labels = {"export": "slow", "op": "read", "le": limit}
            return page.value(name, **labels) - (before.value(name, **labels) or 0)
        self.assertEqual(growth("0.262144"), 0)
        self.assertEqual(growth("+Inf"), 4)
        self.assertEqual(page.value("export_in_flight", export="slow"), 0)
        seconds = page.value("export_operation_seconds_total", export="slow", op="read")
        self.assertGreaterEqual(seconds, 1.6)

    def test_clients(self):
        """Clients are counted for their export and their server, and have series of their own."""
        session = self.session("disk")
        session.read(0, 1024)
        page = self.page()
        self.assertEqual(page.value("export_clients", export="disk"), 1)
        self.assertEqual(page.value("server_clients", server="default"), 1)
        ((labels, value),) = page.series("client_bytes_total")
        self.assertEqual((labels["export"], labels["op"], value), ("disk", "read", 1024))
        number = self.qmp.execute("query-export-clients")[0]["client"]
        self.assertEqual(labels["client"], str(number))
        self.assertEqual(page.value("dropped_series"), 0)
        session.disconnect()
        wait.until(lambda: self.page().value("export_clients", export="disk") == 0)
        self.assertEqual(self.page().series("client_bytes_total"), [])

    def test_client_series_are_limited(self):
        """Above 1,000 series of clients the rest is left out and counted."""
        sessions = [self.session("slow") for _ in range(70)]
        page = self.page()
        self.assertEqual(len(page.series("client_in_flight")), 66)
        self.assertEqual(page.value("dropped_series"), 4 * 15)
        for session in sessions:
            session.close()

    def test_nodes(self):
        """The nodes that a user has named are counted, others are not."""
        before = self.page()
        self.session("disk").read(0, 4096)
        page = self.page()
        labels = {"node": "disk", "op": "read"}
        self.assertEqual(page.value("node_operations_total", **labels),
                         (before.value("node_operations_total", **labels) or 0) + 1)
        self.assertFalse([one for one, _ in page.series("node_operations_total") if one["node"].startswith("#")])

    def test_handshakes(self):
        """Handshakes under way are counted, and those that failed with their reason; NBD_OPT_ABORT is no failure."""
        def failures(reason):
            return self.page().value("handshake_failures_total", server="default", reason=reason)
        accepted = self.page().value("server_accepted_total", server="default")
        gone, wrong, polite = failures("disconnected"), failures("protocol"), self.client()
        wait.until(lambda: self.page().value("handshakes_in_progress") == 1)
        self.assertEqual(polite.option_result(OPT_ABORT), REP_ACK)
        wait.until(lambda: self.page().value("handshakes_in_progress") == 0)
        self.assertEqual((failures("disconnected"), failures("protocol")), (gone, wrong))
        self.client().close()
        wait.until(lambda: failures("disconnected") == gone + 1)
        self.client().send(b"x" * 16)
        wait.until(lambda: failures("protocol") == wrong + 1)
        self.assertEqual(self.page().value("server_accepted_total", server="default"), accepted + 3)

    def test_load(self):
        """Each reactor tells how busy it was: that of an iothread exists as long as the object."""
        def loads():
            return {labels["reactor"]: value for labels, value in self.page().series("reactor_busy_ratio")}
        self.qmp.execute("object-add", {"qom-type": "iothread", "id": "io9"})
        found = loads()
        self.assertIn("main", found)
        self.assertIn("iothread io9", found)
        for name, value in found.items():
            self.assertTrue(0 <= value <= 1, (name, value))
        self.qmp.execute("object-del", {"id": "io9"})
        self.assertNotIn("iothread io9", loads())

    def test_load_of_a_busy_reactor(self):
        """A client that always has requests makes its reactor busier than a reactor that has nothing to do."""
        self.qmp.execute("object-add", {"qom-type": "iothread", "id": "idle"})
        self.addCleanup(self.qmp.command, "object-del", {"id": "idle"})
        session = self.session("disk")
        self.page()
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            for reply in session.read_replies(session.send_reads(64)):
                self.assertEqual(reply.error, 0)
        loads = {labels["reactor"]: value for labels, value in self.page().series("reactor_busy_ratio")}
        served = [one["reactor"] for one in self.qmp.execute("query-export-clients") if one["export"] == "disk"]
        self.assertGreater(loads[served[0]], loads["iothread idle"])

    def test_labels_are_escaped(self):
        """Whatever the name of an export is, the page stays valid."""
        self.add_node("other", driver="null-co", size=MIB)
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "e-1.x_y", "node-name": "other",
                                              "name": "n\"a\\m\ne"})
        self.addCleanup(self.drop_export, "e-1.x_y")
        self.assertEqual(self.page().value("export_clients", export="e-1.x_y"), 0)

    def test_counters_outlive_the_server(self):
        """The counters of the NBD server continue when it is stopped and started again."""
        before = self.page().value("server_accepted_total", server="default")
        self.qmp.execute("nbd-server-stop")
        self.assertEqual(self.page().value("server_accepted_total", server="default"), before)
        self.qmp.execute("nbd-server-start", {"addr": {"type": "unix", "data": {"path": self.daemon.nbd_path}}})
        for name in ("disk", "slow"):
            self.qmp.execute("block-export-add", {"type": "nbd", "id": name, "node-name": name,
                                                  "writable": name == "disk"})
        self.session("disk")
        wait.until(lambda: self.page().value("server_accepted_total", server="default") == before + 1)


class HostileTest(MetricsTest):
    """Clients that are slow, wrong, or too many."""

    def refused(self, text, code, address=None):
        """The server answers so, and closes the connection when the client does."""
        client = self.http(address)
        client.send(text if isinstance(text, bytes) else text.encode())
        self.assertEqual(client.read_reply().code, code)
        client.socket.shutdown(socket.SHUT_WR)
        self.assertTrue(client.at_end())

    def test_wrong_host(self):
        """Over TCP a request for another host's name is refused; addresses and names of this host are not."""
        for host in ("evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", ""):
            client = self.http(self.tcp)
            self.assertEqual(client.get("/metrics", host=host).code, 421, host)
        client = self.http(self.tcp)
        for host in (f"127.0.0.1:{self.tcp[1]}", "localhost", "[::1]:9809", "storage1", "STORAGE1:80"):
            self.assertEqual(client.get("/healthz", host=host).code, 200, host)
        client.send(b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(client.read_reply().code, 421)
        self.assertEqual(self.http().get("/healthz", host="any.example").code, 200)
        self.assertGreaterEqual(self.page().value("http_refused_hosts_total"), 6)

    def test_no_request(self):
        """What is no request is answered with a code of its own, and the connection ends."""
        for text, code in (("GARBAGE\r\n\r\n", 400), ("GET / HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/3.0\r\n\r\n", 505),
                           ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
                           ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
                           ("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n", 413),
                           ("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
                           (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
                           (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400)):
            self.refused(text, code)

    def test_huge_heads(self):
        """A head of more than 8 KiB is refused, in one field or in many; one of 8 KiB is not."""
        self.refused("GET / HTTP/1.1\r\nX: " + "x" * (1 << 20), 431)
        self.refused("GET / HTTP/1.1\r\n" + "A: b\r\n" * 4000, 431)
        start = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "
        client = self.http()
        client.send((start + "x" * (HEAD_MAX - len(start) - 4) + "\r\n\r\n").encode())
        self.assertEqual(client.read_reply().code, 200)

    def test_pipelined_requests(self):
        """Requests that come together are answered in their order, also behind a large page."""
        client = self.http()
        one = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        client.send("".join(one.format(path) for path in ("/metrics", "/healthz", "/readyz") * 30).encode())
        for _ in range(30):
            metrics.Page(client.read_reply().text)
            self.assertEqual(client.read_reply().text, "ok\n")
            self.assertEqual(client.read_reply().text, "ready\n")

    def test_byte_by_byte(self):
        """A request may come in pieces."""
        client = self.http()
        for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n":
            client.send(bytes([byte]))
        self.assertEqual(client.read_reply().text, "ok\n")

    def test_slow_clients_are_cut(self):
        """A client that has not sent its request after 5 s is cut, however often it sends a byte."""
        idle, slow = self.http(), self.http()
        start = time.monotonic()
        slow.socket.settimeout(0.1)
        ended = False
        while not ended and time.monotonic() - start < settings.seconds(20):
            try:
                slow.send(b"G")
                ended = slow.socket.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionError:
                ended = True
        self.assertTrue(ended)
        self.assertGreater(time.monotonic() - start, 4)
        self.assertTrue(idle.at_end())
        self.assertGreaterEqual(self.page().value("limit_hits_total", limit="http::kExchangeMaxNs"), 2)

    def test_too_many_connections(self):
        """Idle connections do not keep others out: the one that waits longest is cut."""
        idle = [self.http() for _ in range(CONNECTIONS_MAX)]
        for client in idle:
            self.assertEqual(client.get("/healthz").code, 200)
        sockets = self.daemon.open_sockets()
        for _ in range(3 * CONNECTIONS_MAX):
            self.assertEqual(self.http().get("/healthz").code, 200)
        self.assertLessEqual(self.daemon.open_sockets(), sockets)
        self.assertTrue(idle[0].at_end())

    def test_clients_that_do_not_read(self):
        """Clients that ask for many pages and read none cost little memory, and others are served."""
        self.measure_memory()
        before = self.daemon.rss()
        one = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for _ in range(CONNECTIONS_MAX - 1):
            client = self.http()
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.send(one * 150)
        self.assertEqual(self.http().get("/healthz").code, 200)
        self.assertLess(self.daemon.rss() - before, 32 * MIB)


class TlsMetricsTest(TlsTest):
    """Metrics of TLS."""

    @classmethod
    def prepare(cls):
        if settings.is_qemu():
            raise unittest.SkipTest("qemu-storage-daemon has no metrics")
        return [*super().prepare(), "--metrics", f"unix:{cls.path('metrics.sock')}"]

    def test_tls(self):
        """Handshakes are counted by version and cipher, failures apart; certificates show when they expire."""
        self.connect().pread(512, 0)
        page = metrics.scrape(self.path("metrics.sock"))
        ((labels, value),) = page.series("tls_handshakes_total")
        self.assertEqual((labels["creds"], value), ("tls0", 1))
        self.assertRegex(labels["version"], r"^TLS1\.[23]$")
        expiries = {os.path.basename(one["file"]): seconds
                    for one, seconds in page.series("tls_certificate_not_after_seconds")}
        self.assertEqual(set(expiries), {"ca-cert.pem", "server-cert.pem"})
        self.assertGreater(min(expiries.values()), time.time())
        strangers = certificates.make(self.path("strangers"))
        tools.finish("nbdinfo", self.tls_uri(strangers))
        failed = {"server": "default", "reason": "tls"}
        wait.until(lambda: metrics.scrape(self.path("metrics.sock")).value("handshake_failures_total", **failed))


@unittest.skipIf(settings.is_qemu(), "qemu-storage-daemon has no metrics")
class StartTest(unittest.TestCase):
    """The option itself, and the end of the process."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    def refused(self, *arguments):
        """The error of a start that fails."""
        result = subprocess.run([settings.program(), *settings.extra_arguments(), *arguments], cwd=self.workdir,
                                capture_output=True, text=True, timeout=settings.seconds(20), check=False)
        self.assertEqual(result.returncode, 1, result.stderr)
        return result.stderr

    def test_off_by_default(self):
        """Without the option nothing listens besides what was asked for."""
        server = daemon.Daemon(self.workdir).start()
        self.addCleanup(server.kill)
        self.assertNotIn(b"metrics", server.stderr())
        server.stop()

    def test_malformed(self):
        """A malformed address or option is refused with the forms that there are."""
        for address in ("nonsense", "unix:", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:a b", "::1:9809", "host:",
                        "fd:5"):
            self.assertIn("[IPV6]:PORT", self.refused("--metrics", address), address)
        self.assertIn("per-clients", self.refused("--metrics", "127.0.0.1:0,per-clients=on"))
        self.assertIn("listen", self.refused("--metrics", "per-client=on"))

    def test_address_in_use(self):
        """An address that another process has is refused."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            address = f"127.0.0.1:{other.getsockname()[1]}"
            self.assertIn("Address already in use", self.refused("--metrics", address))

    def test_public_address(self):
        """An address that others can reach is logged with a warning."""
        server = daemon.Daemon(self.workdir, ["--metrics", "0.0.0.0:0"]).start()
        self.addCleanup(server.kill)
        self.assertIn(b"everybody who can reach that address", server.stderr())
        server.stop()

    def test_socket_is_removed(self):
        """The unix socket goes with the process."""
        path = os.path.join(self.workdir, "metrics.sock")
        server = daemon.Daemon(self.workdir, ["--metrics", "unix:metrics.sock"]).start()
        self.addCleanup(server.kill)
        self.assertTrue(os.path.exists(path))
        server.stop()
        self.assertFalse(os.path.exists(path))

    def test_socket_of_a_killed_process(self):
        """A unix socket that nobody listens on any more is replaced."""
        path = os.path.join(self.workdir, "metrics.sock")
        killed = daemon.Daemon(self.workdir, ["--metrics", f"unix:{path}"]).start()
        killed.kill()
        self.assertTrue(os.path.exists(path))
        server = daemon.Daemon(self.workdir, ["--metrics", f"unix:{path}"]).start()
        self.addCleanup(server.kill)
        self.assertEqual(metrics.scrape(path).series("build_info")[0][1], 1)
        server.stop()
        self.assertFalse(os.path.exists(path))

    def test_path_in_use(self):
        """A unix path at which a process listens is refused, and so is a file that is no socket; both stay."""
        path = os.path.join(self.workdir, "metrics.sock")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(path)
            other.listen()
            self.assertRegex(self.refused("--metrics", f"unix:{path}"), r"in use: process \d+ \(.+\) listens on it")
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
        file = os.path.join(self.workdir, "file")
        with open(file, "w", encoding="utf-8") as plain:
            plain.write("content")
        self.assertIn("it is not a socket", self.refused("--metrics", f"unix:{file}"))
        with open(file, encoding="utf-8") as plain:
            self.assertEqual(plain.read(), "content")

    def test_sockets_of_systemd(self):
        """Sockets that systemd passes under a name serve metrics, or NBD, but not both."""
        with socket.create_server(("127.0.0.1", 0)) as passed:
            number = passed.fileno()
            server = daemon.Daemon(self.workdir, ["--metrics", "systemd:http"], pass_fds=[number],
                                   prefix=[sys.executable, "-c", AS_SYSTEMD, str(number)]).start()
            self.addCleanup(server.kill)
            self.assertEqual(metrics.scrape(passed.getsockname()).series("build_info")[0][1], 1)
            with self.assertRaisesRegex(QmpError, "are those of metrics"):
                server.qmp.execute("nbd-servers-add", {"id": "more", "listen": ["systemd:http"]})
            server.stop()
        self.assertIn("systemd passed no socket with the name 'http'", self.refused("--metrics", "systemd:http"))

    def test_readiness_at_the_end(self):
        """While the process ends, /readyz answers 503 and /healthz 200."""
        path = os.path.join(self.workdir, "metrics.sock")
        server = daemon.Daemon(
            self.workdir, [*null_node("slow", MIB, **{"latency-ns": 2_000_000_000}), *nbd_export("slow"),
                           "--metrics", f"unix:{path}", "--shutdown-grace-seconds", "20"]).start()
        self.addCleanup(server.kill)
        session = nbd_raw.Connection(server.connect_nbd())
        self.addCleanup(session.close)
        session.negotiate("slow")
        request = session.send_request(CMD_READ, 0, 512)
        wait.until(lambda: metrics.scrape(path).value("export_in_flight", export="slow") == 1)
        server.signal(signal.SIGTERM)
        with Http(path) as client:
            reply = wait.until(lambda: next((one for one in [client.get("/readyz")] if one.code == 503), None))
            self.assertEqual(reply.text, "shutting down\n")
            self.assertEqual(client.get("/healthz").code, 200)
        self.assertEqual(session.read_reply(request).error, 0)
        self.assertEqual(server.wait_exit(), 0)
