"""Removal of exports with connected clients: safe, hard, hide, soft; and nbd-server-stop with requests in flight."""

import contextlib
import json
import threading
import time

from lib import images, nbd_raw, settings
from lib.images import MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest, file_node, null_node

SLOW_NS = 1_000_000_000


class RemovalTest(DaemonTest):
    """A disk and a slow null node; every test exports what it needs."""

    @classmethod
    def prepare(cls):
        cls.disk = images.make_random(cls.path("disk.img"), 4 * MIB)
        return [*file_node("disk", cls.disk), *null_node("slow", 1 << 30, **{"latency-ns": SLOW_NS}),
                *null_node("null", 1 << 30)]

    def setUp(self):
        self.qmp.events.clear()
        if self._testMethodName.startswith("test_slow"):
            self.add_export("slow", writable=True)
        else:
            self.add_export("disk", writable=True)

    def slow_reads(self, count):
        """A client of the slow node, and its reads, {cookie: Request}; each of them waits there by now."""
        client = self.session("slow")
        pending = client.send_reads(count)
        if settings.qemu_version() is None:
            self.qmp.wait_for_tasks("nbd read", count)
        else:
            time.sleep(0.3)  # it does not tell; far less than a read takes
        return client, pending

    def remove(self, name, mode):
        """block-export-del; the whole reply."""
        return self.qmp.command("block-export-del", {"id": name, "mode": mode})

    def names(self):
        """What a new client sees in LIST."""
        return [name for name, _ in self.client().list()]

    def gone(self, connection):
        """True when the server has closed the connection."""
        try:
            connection.call(CMD_READ, 0, 512)
        except (nbd_raw.Closed, ConnectionError):
            return True
        return False


class SafeAndHardTest(RemovalTest):
    """The two modes that QSD has."""

    def test_safe_without_clients(self):
        """safe removes an idle export: the event comes, then the reply."""
        self.qmp.send({"execute": "block-export-del", "arguments": {"id": "disk"}})
        self.assertEqual(self.qmp.read_message().get("event"), "BLOCK_EXPORT_DELETED")
        self.assertEqual(self.qmp.read_message(), {"return": {}})
        self.assertEqual(self.names(), [])

    def test_safe_with_a_client(self):
        """safe refuses while a client is connected, and the client goes on."""
        client = self.session("disk")
        self.assertEqual(self.remove("disk", "safe")["error"]["desc"], "export 'disk' still in use")
        self.assertEqual(len(client.read(0, 512)), 512)

    def test_safe_with_a_negotiating_client(self):
        """A client that still negotiates does not count; its later GO gets ERR_UNKNOWN."""
        client = self.client()
        client.structured_reply()
        self.assertEqual(self.remove("disk", "safe"), {"return": {}})
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.assertEqual(client.information(OPT_GO, "disk"), ERR_UNKNOWN)

    def test_safe_after_the_client_left(self):
        """safe succeeds when the last client has left."""
        client = self.session("disk")
        client.disconnect()
        self.assertEqual(self.remove("disk", "safe"), {"return": {}})
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")

    def test_hard(self):
        """hard closes the clients' connections; it sends the event; the name is free at once."""
        clients = [self.session("disk") for _ in range(3)]
        self.assertEqual(self.remove("disk", "hard"), {"return": {}})
        for client in clients:
            self.assertTrue(client.at_end())
        self.assertEqual(self.qmp.wait_event("BLOCK_EXPORT_DELETED")["data"], {"id": "disk"})
        self.assertEqual(self.names(), [])
        self.add_export("disk", writable=True)
        self.assertEqual(self.names(), ["disk"])

    def test_slow_hard_removal(self):
        """hard with requests in flight: shutting-down until they end, the id is taken meanwhile, then the event."""
        began = time.monotonic()
        client, _ = self.slow_reads(4)
        self.assertEqual(self.remove("slow", "hard"), {"return": {}})
        exports = self.qmp.execute("query-block-exports")
        taken = self.qmp.command("block-export-add", {"type": "nbd", "id": "slow", "node-name": "null"})
        again = self.remove("slow", "hard")
        # Else the requests may have ended meanwhile, on a machine that is slow enough.
        if time.monotonic() - began < SLOW_NS / 1e9:
            self.assertEqual(self.qmp.events, [])
            self.assertEqual([(export["id"], export["shutting-down"]) for export in exports], [("slow", True)])
            self.assertEqual(taken["error"]["desc"], "Block export id 'slow' is already in use")
            self.assertEqual(again["error"]["desc"], "Export 'slow' is already shutting down")
        self.assertEqual(self.names(), [])
        self.assertTrue(client.at_end(), "a request was answered by an export that was removed the hard way")
        self.assertEqual(self.qmp.wait_event("BLOCK_EXPORT_DELETED")["data"], {"id": "slow"})
        self.assertGreaterEqual(time.monotonic() - began, SLOW_NS / 1e9)
        self.assertEqual(self.qmp.execute("query-block-exports"), [])
        self.add_export("slow")


class ConnectingTest(RemovalTest):
    """hard while clients connect: when it is answered it is done."""

    def connect_until(self, end):
        """Chooses the export again and again, and leaves it."""
        while not end.is_set():
            with contextlib.suppress(AssertionError, OSError):
                connection = nbd_raw.Connection(self.daemon.connect_nbd())
                try:
                    connection.go("disk")
                finally:
                    connection.close()

    @settings.unlike_qemu("hard is answered before the clients have ended")
    def test_asked_twice(self):
        """The second removal finds nothing, whatever the client is just doing."""
        end = threading.Event()
        clients = [threading.Thread(target=self.connect_until, args=(end,), daemon=True) for _ in range(4)]
        for client in clients:
            client.start()
        self.addCleanup(lambda: [client.join() for client in clients])
        self.addCleanup(end.set)
        for number in range(60):
            time.sleep(number % 5 * 0.002)
            command, member = (("block-export-del", "id"), ("nbd-server-remove", "name"))[number % 2]
            removal = {"execute": command, "arguments": {member: "disk", "mode": "hard"}}
            self.qmp.send_raw(2 * (json.dumps(removal).encode() + b"\n"))
            self.assertEqual(self.qmp.read_reply(), {"return": {}})
            self.assertEqual(self.qmp.read_reply()["error"]["desc"], "Export 'disk' is not found")
            self.qmp.wait_event("BLOCK_EXPORT_DELETED")
            self.qmp.execute("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk",
                                                  "writable": number % 2 == 0})

    def test_node_is_free(self):
        """The node of an export that was removed the hard way can be removed at once."""
        self.qmp.execute("blockdev-add", {"driver": "null-co", "node-name": "short"})
        self.add_export("short")
        clients = [self.session("short") for _ in range(4)]
        self.assertEqual(self.remove("short", "hard"), {"return": {}})
        self.qmp.execute("blockdev-del", {"node-name": "short"})
        for client in clients:
            self.assertTrue(client.at_end())


class HideTest(RemovalTest):
    """hide: a mode that QSD does not have."""

    @settings.unlike_qemu("only planned there")
    def test_hide_under_a_live_client(self):
        """New clients do not see the export; the old one goes on; the export goes when it leaves."""
        client = self.session("disk")
        self.assertEqual(self.remove("disk", "hide"), {"return": {}})
        self.assertEqual(self.names(), [])
        self.assertEqual(self.client().information(OPT_GO, "disk"), ERR_UNKNOWN)
        data = images.random_bytes(4096, 5)
        self.assertEqual(client.write(MIB, data, FLAG_FUA), 0)
        self.assertEqual(client.read(MIB, 4096), data)
        self.assertEqual(images.read_range(self.disk, MIB, 4096), data)
        exports = self.qmp.execute("query-block-exports")
        self.assertEqual([(export["id"], export["shutting-down"]) for export in exports], [("disk", True)])
        self.assertEqual(self.qmp.events, [])
        client.disconnect()
        self.assertEqual(self.qmp.wait_event("BLOCK_EXPORT_DELETED")["data"], {"id": "disk"})
        self.assertEqual(self.qmp.execute("query-block-exports"), [])

    @settings.unlike_qemu("only planned there")
    def test_hide_without_clients(self):
        """hide of an idle export removes it at once."""
        self.assertEqual(self.remove("disk", "hide"), {"return": {}})
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")

    @settings.unlike_qemu("only planned there")
    def test_name_is_free_while_hidden(self):
        """The NBD name of a hidden export can be taken by another, and each client keeps its own."""
        client = self.session("disk")
        self.remove("disk", "hide")
        self.add_export("other", "null", name="disk")
        self.assertEqual(self.client().go("disk").size, 1 << 30)
        self.assertEqual(client.info.size, 4 * MIB)
        self.assertEqual(len(client.read(0, 512)), 512)
        client.disconnect()
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")

    @settings.unlike_qemu("only planned there")
    def test_two_clients(self):
        """The export stays until the last of its clients has left."""
        first, second = self.session("disk"), self.session("disk")
        self.remove("disk", "hide")
        first.disconnect()
        self.assertEqual(len(second.read(0, 512)), 512)
        self.assertEqual(len(self.qmp.execute("query-block-exports")), 1)
        second.disconnect()
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")

    @settings.unlike_qemu("only planned there")
    def test_hidden_then_hard(self):
        """A hidden export can still be removed the hard way: its clients are cut, and it is gone."""
        client = self.session("disk")
        self.remove("disk", "hide")
        self.assertEqual(self.remove("disk", "hard"), {"return": {}})
        self.assertTrue(client.at_end())
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.assertEqual(self.qmp.execute("query-block-exports"), [])

    @settings.unlike_qemu("only planned there")
    def test_by_the_old_command(self):
        """nbd-server-remove knows the mode too."""
        client = self.session("disk")
        self.assertEqual(self.qmp.command("nbd-server-remove", {"name": "disk", "mode": "hide"}), {"return": {}})
        self.assertEqual(len(client.read(0, 512)), 512)
        client.disconnect()
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")


class SoftTest(RemovalTest):
    """soft: hidden, and every further request is answered ESHUTDOWN."""

    @settings.unlike_qemu("only planned there")
    def test_soft_under_a_live_client(self):
        """Every command gets ESHUTDOWN in every mode; nothing is written; the connection lives on."""
        clients = [self.session("disk", mode) for mode in ("simple", "structured", "extended")]
        before = images.sha256(self.disk)
        self.assertEqual(self.remove("disk", "soft"), {"return": {}})
        self.assertEqual(self.names(), [])
        self.assertEqual(self.client().information(OPT_GO, "disk"), ERR_UNKNOWN)
        for client in clients:
            for command in (CMD_READ, CMD_WRITE, CMD_FLUSH, CMD_TRIM, CMD_CACHE, CMD_WRITE_ZEROES):
                length = 0 if command == CMD_FLUSH else 512
                payload = b"x" * length if command == CMD_WRITE else b""
                self.assertEqual(client.call(command, 0, length, 0, payload).error, ESHUTDOWN, f"command {command}")
        self.assertEqual(images.sha256(self.disk), before)
        for client in clients:
            client.disconnect()
        self.assertEqual(self.qmp.wait_event("BLOCK_EXPORT_DELETED")["data"], {"id": "disk"})

    @settings.unlike_qemu("only planned there")
    def test_slow_requests_in_flight_are_answered(self):
        """Requests that were in flight when the removal came are answered with their result."""
        client, pending = self.slow_reads(8)
        self.assertEqual(self.remove("slow", "soft"), {"return": {}})
        for reply in client.read_replies(pending):
            self.assertEqual(reply.error, 0)
        self.assertEqual(client.call(CMD_READ, 0, 512).error, ESHUTDOWN)
        client.disconnect()
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")

    @settings.unlike_qemu("only planned there")
    def test_soft_without_clients(self):
        """soft of an idle export removes it at once."""
        self.assertEqual(self.remove("disk", "soft"), {"return": {}})
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")


class StopTest(RemovalTest):
    """nbd-server-stop."""

    def setUp(self):
        self.qmp.events.clear()
        if not self._testMethodName.startswith("test_stop_twice"):
            self.qmp.command("nbd-server-start", {"addr": {"type": "unix", "data": {"path": self.daemon.nbd_path}}})
        super().setUp()
        self.addCleanup(self.qmp.command, "nbd-server-start",
                        {"addr": {"type": "unix", "data": {"path": self.daemon.nbd_path}}})

    @settings.unlike_qemu("in-flight requests get no reply")
    def test_slow_requests_in_flight_are_answered(self):
        """Each request in flight is answered with its result before the connection is closed."""
        client, pending = self.slow_reads(16)
        self.qmp.send({"execute": "nbd-server-stop"})
        for reply in client.read_replies(pending):
            self.assertEqual(reply.error, 0)
        self.assertTrue(client.at_end())
        self.assertEqual(self.qmp.read_reply(), {"return": {}})

    def test_slow_stop(self):
        """The stop waits for requests in flight, and all events precede its reply."""
        began = time.monotonic()
        self.slow_reads(1)
        self.assertEqual(self.qmp.execute("nbd-server-stop"), {})
        self.assertGreaterEqual(time.monotonic() - began, SLOW_NS / 1e9)
        self.assertEqual([event["event"] for event in self.qmp.events], ["BLOCK_EXPORT_DELETED"])
        self.qmp.events.clear()

    def test_acknowledged_writes_survive_the_stop(self):
        """Writers under full load lose no acknowledged write when the server stops."""
        writers = [Writer(self.daemon.connect_nbd(), "disk", index * MIB) for index in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.warm.wait(settings.seconds(10))
        self.qmp.execute("nbd-server-stop")
        for writer in writers:
            writer.join(settings.seconds(10))
            writer.check(self, self.disk)


class Writer(threading.Thread):
    """A client that writes its range again and again, 8 requests in flight, and remembers what was acknowledged."""

    BLOCKS, SIZE = 16, 4096

    def __init__(self, sock, export, base):
        super().__init__(daemon=True)
        self.connection = nbd_raw.Connection(sock)
        self.connection.go(export)
        self.base = base
        self.sent = [0] * self.BLOCKS
        self.acknowledged = [0] * self.BLOCKS
        self.warm = threading.Event()
        self.errors = []

    def run(self):
        pending, count = {}, 0
        deadline = time.monotonic() + settings.seconds(30)
        try:
            while time.monotonic() < deadline:
                while len(pending) < 8:
                    block = count % self.BLOCKS
                    count += 1
                    self.sent[block] = count
                    data = count.to_bytes(8, "big") * (self.SIZE // 8)
                    request = self.connection.send_request(CMD_WRITE, self.base + block * self.SIZE, self.SIZE, 0, data)
                    pending[request.cookie] = (request, block, count)
                reply = self.connection.read_reply({cookie: entry[0] for cookie, entry in pending.items()})
                _, block, number = pending.pop(reply.cookie)
                if reply.error:
                    self.errors.append(reply.error)
                else:
                    self.acknowledged[block] = max(number, self.acknowledged[block])
                if count > 200:
                    self.warm.set()
        except (nbd_raw.Closed, OSError):
            pass
        finally:
            self.connection.close()

    def check(self, test, path):
        """Every block of the file is whole and as new as the last acknowledgement, or newer."""
        test.assertFalse(self.is_alive(), "the server did not close a writer's connection")
        test.assertTrue(self.warm.is_set(), "the writer never got going")
        test.assertLessEqual(set(self.errors), {ESHUTDOWN})
        for block in range(self.BLOCKS):
            data = images.read_range(path, self.base + block * self.SIZE, self.SIZE)
            number = int.from_bytes(data[:8], "big")
            test.assertEqual(data, data[:8] * (self.SIZE // 8), "a torn block")
            test.assertGreaterEqual(number, self.acknowledged[block], "an acknowledged write was lost")
            test.assertLessEqual(number, self.sent[block])
