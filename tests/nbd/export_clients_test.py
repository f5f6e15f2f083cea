"""The clients of exports: query-export-clients, export-client-disconnect, and the events of coming and going."""

import os
import socket
import struct
import time
import unittest

from lib import images, metrics, nbd_raw, settings, wait
from lib.images import MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest, file_node, nbd_export, null_node
from lib.tls import TlsTest

NOTHING = {"read": 0, "write": 0, "write-zeroes": 0, "trim": 0, "flush": 0, "cache": 0, "block-status": 0}


@unittest.skipIf(settings.is_qemu(), "qemu-storage-daemon has no commands about clients")
class ExportClientsTest(DaemonTest):
    """Two exports, one of them writable."""

    @classmethod
    def prepare(cls):
        disk = images.make_empty(cls.path("disk.img"), MIB)
        return [*file_node("disk", disk, discard="unmap"), *nbd_export("disk", writable="on"),
                *null_node("slow", MIB, **{"latency-ns": 400_000_000}), *nbd_export("slow"),
                "--object", "iothread,id=io0"]

    def tearDown(self):
        for client in self.clients():
            self.qmp.execute("export-client-disconnect", {"client": client["client"]})
        wait.until(lambda: not self.clients(), what="the end of all clients")
        super().tearDown()

    def clients(self, export=None):
        """What the server tells about the clients of an export."""
        clients = self.qmp.execute("query-export-clients")
        return [client for client in clients if export in (None, client["export"])]

    def only_client(self):
        """The same about the only client."""
        clients = self.clients()
        self.assertEqual(len(clients), 1, clients)
        return clients[0]

    def test_no_clients(self):
        """Without clients the list is empty; a client in its handshake is none."""
        self.assertEqual(self.clients(), [])
        self.client()
        self.assertEqual(self.clients(), [])

    def test_description(self):
        """A client is described by its negotiation."""
        before = int(time.time())
        self.session("disk", "structured", ["base:allocation"])
        client = self.only_client()
        number = client.pop("client")
        self.assertEqual(client.pop("peer"), f"unix:uid {os.getuid()} #{number}")
        self.assertIn(client.pop("since") - before, range(0, 60))
        self.assertIn(client.pop("phase"), ("starting", "serving"))
        self.assertTrue(client.pop("reactor"))
        self.assertEqual(client, {
            "server": "default", "export": "disk", "header-mode": "structured", "contexts": ["base:allocation"],
            "writable": True, "in-flight": 0, "operations": NOTHING, "bytes": NOTHING})

    def test_modes(self):
        """The header mode and the right to write are those of the connection."""
        for mode in ("simple", "structured", "extended"):
            session = self.session("slow", mode)
            client = self.only_client()
            self.assertEqual((client["header-mode"], client["writable"]), (mode, False))
            session.close()
            wait.until(lambda: not self.clients())

    def test_counts(self):
        """Each request is counted once, with its bytes; failed ones count no bytes."""
        session = self.session("disk", "structured", ["base:allocation"])
        for _ in range(3):
            session.read(0, 4096)
        session.read(0, 200_000)
        self.assertEqual(session.write(0, b"x" * 1000), 0)
        self.assertEqual(session.write(0, b"x" * 300_000, FLAG_FUA), 0)
        self.assertEqual(session.call(CMD_WRITE_ZEROES, 0, 8192).error, 0)
        self.assertEqual(session.call(CMD_TRIM, 0, 4096).error, 0)
        self.assertEqual(session.call(CMD_FLUSH).error, 0)
        self.assertEqual(session.call(CMD_CACHE, 0, 512).error, 0)
        session.block_status(0, MIB)
        self.assertEqual(session.call(CMD_READ, MIB, 512).error, EINVAL)
        client = self.only_client()
        self.assertEqual(client["operations"], {"read": 5, "write": 2, "write-zeroes": 1, "trim": 1, "flush": 1,
                                                "cache": 1, "block-status": 1})
        self.assertEqual(client["bytes"], {"read": 3 * 4096 + 200_000, "write": 301_000, "write-zeroes": 8192,
                                           "trim": 4096, "flush": 0, "cache": 512, "block-status": 0})

    def test_pipelined_counts(self):
        """Requests that arrive together, and writes that are merged, are counted one by one."""
        session = self.session("disk")
        for reply in session.read_replies(session.send_reads(64)):
            self.assertEqual(reply.error, 0)
        requests = [session.send_request(CMD_WRITE, index * 512, 512, payload=b"y" * 512) for index in range(50)]
        for reply in session.read_replies({request.cookie: request for request in requests}):
            self.assertEqual(reply.error, 0)
        client = self.only_client()
        self.assertEqual((client["operations"]["read"], client["bytes"]["read"]), (64, 64 * 4096))
        self.assertEqual((client["operations"]["write"], client["bytes"]["write"]), (50, 50 * 512))

    def test_requests_in_flight(self):
        """Requests that wait for storage are told with the age of the oldest, and are counted when they end."""
        session = self.session("slow")
        pending = session.send_reads(3)
        client = wait.until(lambda: next((one for one in self.clients() if one["in-flight"] == 3), None))
        self.assertIn("oldest-request-ms", client)
        self.assertGreaterEqual(client["oldest-request-ms"], 0)
        for reply in session.read_replies(pending):
            self.assertEqual(reply.error, 0)
        client = self.only_client()
        self.assertEqual((client["in-flight"], client["operations"]["read"]), (0, 3))
        self.assertNotIn("oldest-request-ms", client)

    def test_iothread(self):
        """A client of an export with an iothread is shown on it."""
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "io", "name": "io", "node-name": "slow",
                                              "iothread": "io0"})
        self.addCleanup(self.drop_export, "io")
        self.session("io")
        self.assertEqual(self.clients("io")[0]["reactor"], "iothread io0")

    def test_order(self):
        """Clients are listed by their numbers, whatever their exports."""
        for export in ("slow", "disk", "slow"):
            self.session(export)
        numbers = [client["client"] for client in self.clients()]
        self.assertEqual(numbers, sorted(numbers))
        self.assertEqual(len(set(numbers)), 3)

    def test_disconnect_one(self):
        """A client is disconnected by its number; others stay."""
        first = self.session("disk")
        number = self.only_client()["client"]
        other = self.session("disk")
        self.assertEqual(self.qmp.execute("export-client-disconnect", {"client": number}), {"disconnected": 1})
        self.assertTrue(first.at_end())
        self.assertEqual(len(other.read(0, 512)), 512)
        self.assertEqual(self.qmp.execute("export-client-disconnect", {"client": number + 1000}), {"disconnected": 0})

    def test_disconnect_all_of_an_export(self):
        """All clients of one export are disconnected, those of others are not; they may come again."""
        gone = [self.session("disk") for _ in range(3)]
        stays = self.session("slow")
        self.assertEqual(self.qmp.execute("export-client-disconnect", {"export": "disk"}), {"disconnected": 3})
        for session in gone:
            self.assertTrue(session.at_end())
        self.assertEqual(len(stays.read(0, 512)), 512)
        self.assertEqual(len(self.session("disk").read(0, 512)), 512)

    def test_disconnect_needs_all_selectors(self):
        """Of several selectors a client must match all."""
        self.session("disk")
        number = self.only_client()["client"]
        result = self.qmp.execute("export-client-disconnect", {"client": number, "export": "slow"})
        self.assertEqual(result, {"disconnected": 0})
        result = self.qmp.execute("export-client-disconnect", {"client": number, "identity": "nobody"})
        self.assertEqual(result, {"disconnected": 0})

    def test_disconnect_refusals(self):
        """Without a selector, and for an export that there is not, the command fails."""
        self.session("disk")
        self.assertIn("At least one of the parameters", self.qmp.command("export-client-disconnect")["error"]["desc"])
        answer = self.qmp.command("export-client-disconnect", {"export": "none"})
        self.assertEqual(answer["error"]["desc"], "Export 'none' is not found")
        self.assertEqual(len(self.clients()), 1)

    def test_disconnect_during_requests(self):
        """A client with requests in flight gets no more replies; its requests end, and it leaves the list."""
        session = self.session("slow")
        session.send_reads(2)
        wait.until(lambda: self.clients()[0]["in-flight"] == 2)
        self.qmp.execute("export-client-disconnect", {"export": "slow"})
        self.assertTrue(session.at_end())
        wait.until(lambda: not self.clients())

    def test_events(self):
        """A client is announced when it comes and when it has gone, then with its counts."""
        export = "events"
        self.add_export(export, "disk", name=export, writable=True)
        self.assertEqual(self.clients(export), [])
        session = self.session(export)
        came = self.qmp.wait_event("EXPORT_CLIENT_CONNECTED")
        while came["data"]["export"] != export:
            came = self.qmp.wait_event("EXPORT_CLIENT_CONNECTED")
        session.read(0, 4096)
        session.disconnect()
        left = self.qmp.wait_event("EXPORT_CLIENT_LEFT")
        while left["data"]["export"] != export:
            left = self.qmp.wait_event("EXPORT_CLIENT_LEFT")
        data = left["data"]
        self.assertEqual(data["operations"], {**NOTHING, "read": 1})
        self.assertEqual(data["bytes"], {**NOTHING, "read": 4096})
        for member in ("client", "server", "export", "peer"):
            self.assertEqual(data[member], came["data"][member])

    def test_events_are_throttled(self):
        """Many clients of one export cause few events, and the last one is told."""
        export = "crowd"
        self.add_export(export, "disk", name=export)
        self.assertEqual(self.clients(export), [])
        for _ in range(50):
            self.session(export).disconnect()
        wait.until(lambda: not self.clients(export))
        self.session(export)
        last = self.clients(export)[0]["client"]
        told = []
        while last not in told:
            event = self.qmp.wait_event("EXPORT_CLIENT_CONNECTED")
            if event["data"]["export"] == export:
                told.append(event["data"]["client"])
        self.assertLess(len(told), 51)


@unittest.skipIf(settings.is_qemu(), "qemu-storage-daemon has no commands about clients")
class ManyConnectionsTest(DaemonTest):
    """Thousands of connections, or a million (BLOCKEXPORT_THOROUGH=1, ten minutes), one after the other."""

    WARM_UP = 500
    GROWTH_MAX = MIB

    @classmethod
    def prepare(cls):
        # A second reactor would open descriptors of its own when it gets its first client.
        return ["--reactors", "1", *null_node("disk", MIB), *nbd_export("disk", writable="on"),
                "--metrics", f"unix:{cls.path('metrics.sock')}"]

    def connect(self, number):
        """One connection, which ends in one of several ways."""
        name = b"disk"
        choice = struct.pack(">IQII", 3, IHAVEOPT, OPT_EXPORT_NAME, len(name)) + name
        requests = (nbd_raw.request_bytes("simple", CMD_READ, 0, 512, cookie=1),
                    nbd_raw.request_bytes("simple", CMD_DISC))
        with self.daemon.connect_nbd() as client:
            client.recv(18, socket.MSG_WAITALL)
            end = number % 8
            if end == 0:  # goes away in its handshake
                return
            if end == 1:
                client.sendall(struct.pack(">I", 3) + nbd_raw.option_bytes(OPT_ABORT))
                client.recv(20, socket.MSG_WAITALL)
                return
            client.sendall(choice)
            client.recv(10, socket.MSG_WAITALL)
            if end == 2:  # goes away with a request under way
                client.sendall(requests[0])
                return
            client.sendall(b"".join(requests))
            self.assertEqual(len(client.recv(16 + 512, socket.MSG_WAITALL)), 16 + 512)
            self.assertEqual(client.recv(1), b"")

    def settle(self):
        """Waits until no client is left; the number of accepted connections, and resident bytes."""
        page = wait.until(lambda: next((one for one in [metrics.scrape(self.path("metrics.sock"))]
                                        if not one.value("handshakes_in_progress")
                                        and not one.value("server_clients", server="default")), None))
        return page.value("server_accepted_total", server="default"), self.daemon.rss()

    def test_nothing_is_left(self):
        """After all of them there are as many descriptors as before, and less than 1 MiB more memory."""
        count = settings.repetitions(3000, 1_000_000)
        for number in range(self.WARM_UP):
            self.connect(number)
        accepted, before = self.settle()
        descriptors = self.daemon.open_fds()
        for number in range(count):
            self.connect(number)
        accepted_in_the_end, after = self.settle()
        self.assertEqual(accepted_in_the_end - accepted, count)
        # The connection of the scrape, and those of the last clients, are closed a moment after they are counted out.
        wait.until(lambda: self.daemon.open_fds() <= descriptors, 10, f"at most {descriptors} descriptors again")
        self.assertEqual(self.qmp.execute("query-export-clients"), [])
        if not settings.sanitized():
            self.assertLess(after - before, self.GROWTH_MAX)


@unittest.skipIf(settings.is_qemu(), "qemu-storage-daemon has no commands about clients")
class IdentityTest(TlsTest):
    """Clients that prove an identity over TLS."""

    def test_identity(self):
        """A client with a certificate is shown with its subject and the protection, and is disconnected by it."""
        handle = self.connect()
        handle.pread(4096, 0)
        client = self.qmp.execute("query-export-clients")[0]
        self.assertIn("CN=", client["identity"])
        self.assertRegex(client["tls"]["version"], r"^TLS1\.[23]$")
        self.assertRegex(client["tls"]["cipher"], r"^(AES|CHACHA)")
        nobody = self.qmp.execute("export-client-disconnect", {"identity": client["identity"] + "x"})
        self.assertEqual(nobody, {"disconnected": 0})
        gone = self.qmp.execute("export-client-disconnect", {"identity": client["identity"]})
        self.assertEqual(gone, {"disconnected": 1})
        wait.until(lambda: not self.qmp.execute("query-export-clients"))
