"""The driver throttle: rates that clients see, limits that change, and what does not wait for them."""

import threading
import time

from lib import settings, tools
from lib.images import KIB, MIB
from lib.testcase import DaemonTest, null_node

SIZE = 64 * MIB
# A request that would wait for hours.
HOURS = {"bps_total": 1}


class ThrottleTest(DaemonTest):
    """A disk without a medium, below two throttle nodes of one group."""

    @classmethod
    def objects(cls):
        return ["throttle-group,id=group"]

    @classmethod
    def prepare(cls):
        return null_node("disk", SIZE)

    def setUp(self):
        self.limit()
        for name in ("a", "b"):
            self.add_node(name, driver="throttle", file="disk", **{"throttle-group": "group"})
            self.add_export(name, writable=True)
        self.addCleanup(self.limit)

    def limit(self, **limits):
        """Sets the limits of the group; all others are none."""
        everything = {"iops-size": 0}
        for unit in ("iops", "bps"):
            for kind in ("total", "read", "write"):
                everything |= {f"{unit}-{kind}": 0, f"{unit}-{kind}-max": 0, f"{unit}-{kind}-max-length": 1}
        everything |= {name.replace("_", "-"): value for name, value in limits.items()}
        self.qmp.execute("qom-set", {"path": "/objects/group", "property": "limits", "value": everything})

    def send_writes(self, export, count, length=4096):
        """Requests that are under way; their replies are not read."""
        session = self.session(export)
        for number in range(count):
            session.send_request(1, offset=number * length, length=length, payload=bytes(length))
        return session

    def run_for(self, export, seconds, length=4096):
        """Number of requests of a client with several at a time that end within that time, without the first burst."""
        session = self.session(export)
        pending = session.send_reads(16, length)
        begin = time.monotonic() + 0.3
        count = 0
        while (now := time.monotonic()) < begin + seconds:
            reply = session.read_reply(pending)
            del pending[reply.cookie]
            pending |= session.send_reads(1, length)
            if now >= begin:
                count += 1
        return count

    def test_rate_of_requests(self):
        """Requests of one client go at the rate of the group, within a tenth."""
        self.limit(iops_total=500)
        count = self.run_for("a", 2)
        self.assertGreater(count, 900)
        self.assertLess(count, 1100)

    def test_limits_hold_after_a_snapshot_below(self):
        """A snapshot inside the image below lets waiting requests go, and those of later clients wait again."""
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", self.path("disk.qcow2"), "64M")
        self.add_node("image", driver="qcow2", file={"driver": "file", "filename": self.path("disk.qcow2")})
        self.add_node("c", driver="throttle", file="image", **{"throttle-group": "group"})
        self.add_export("c", writable=True)
        self.limit(**HOURS)
        session = self.send_writes("c", 4)
        self.assert_waiting(session)
        self.qmp.execute("blockdev-snapshot-internal-sync", {"device": "c", "name": "s"})
        self.assert_all_end(session, 3)
        self.limit(iops_total=500)
        count = self.run_for("c", 2)
        self.assertGreater(count, 900)
        self.assertLess(count, 1100)

    def test_rate_of_bytes(self):
        """Bytes go at the rate of the group, within a tenth."""
        self.limit(bps_read=16 * MIB)
        count = self.run_for("a", 2, 64 * KIB)
        self.assertGreater(count, 2 * 256 * 0.9)
        self.assertLess(count, 2 * 256 * 1.1)

    def test_two_nodes_share_fairly(self):
        """Two nodes of a group have the rate together, and each has half of it."""
        self.limit(iops_total=400)
        counts = {}
        clients = [threading.Thread(target=lambda name=name: counts.update({name: self.run_for(name, 2)}))
                   for name in ("a", "b")]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self.assertGreater(sum(counts.values()), 720)
        self.assertLess(sum(counts.values()), 880)
        self.assertLess(abs(counts["a"] - counts["b"]), 60, counts)

    def test_foreign_client(self):
        """A client of QEMU is limited too."""
        self.limit(bps_write=8 * MIB)
        began = time.monotonic()
        tools.run("qemu-io", "-f", "raw", "-c", "write 0 8M", "-c", "write 8M 8M", "-c", "write 16M 1M", self.uri("a"))
        self.assertGreater(time.monotonic() - began, 1.5)

    def test_limits_change_while_requests_wait(self):
        """Waiting requests go as soon as the new limits let them."""
        self.limit(**HOURS)
        session = self.send_writes("a", 8)
        self.assert_waiting(session)
        self.limit(bps_total=100 * MIB)
        self.assert_all_end(session, 7)

    def test_limits_vanish_while_requests_wait(self):
        """The same when nothing is limited any more."""
        self.limit(**HOURS)
        session = self.send_writes("a", 8)
        self.assert_waiting(session)
        self.limit()
        self.assert_all_end(session, 7)

    def test_a_drain_lets_requests_go(self):
        """A change of the graph waits for no limit: a reopen gives the node another child at once."""
        self.limit(**HOURS)
        session = self.send_writes("a", 8)
        self.assert_waiting(session)
        self.add_node("other", driver="null-co", size=SIZE)
        began = time.monotonic()
        for child in ("other", "disk"):
            options = {"driver": "throttle", "node-name": "a", "throttle-group": "group", "file": child}
            self.qmp.execute("blockdev-reopen", {"options": [options]})
        self.assertLess(time.monotonic() - began, settings.seconds(5))
        self.assert_all_end(session, 7)

    def test_reopen_changes_the_group(self):
        """A node leaves its group, with a client connected."""
        self.limit(**HOURS)
        self.qmp.execute("object-add", {"qom-type": "throttle-group", "id": "free"})
        session = self.send_writes("a", 4)
        self.assert_waiting(session)
        options = {"driver": "throttle", "node-name": "a", "throttle-group": "free", "file": "disk"}
        self.qmp.execute("blockdev-reopen", {"options": [options]})
        self.assert_all_end(session, 3)
        for number in range(20):
            self.assertEqual(session.write(number * 4096, bytes(4096)), 0)
        self.assertIn("active references", self.qmp.failure("object-del", {"id": "free"})[1])
        self.qmp.execute("blockdev-reopen", {"options": [options | {"throttle-group": "group"}]})
        self.qmp.execute("object-del", {"id": "free"})

    def test_resize_while_requests_wait(self):
        """A resize waits for no limit."""
        self.limit(**HOURS)
        session = self.send_writes("a", 4)
        self.assert_waiting(session)
        began = time.monotonic()
        self.qmp.command("block_resize", {"node-name": "a", "size": 2 * SIZE})
        self.assertLess(time.monotonic() - began, settings.seconds(5))
        self.limit()
        self.assert_all_end(session, 3)

    def test_flush_does_not_wait(self):
        """A flush goes while writes wait."""
        self.limit(**HOURS)
        waiting = self.send_writes("a", 4)
        self.assert_waiting(waiting)
        self.assertEqual(self.session("a").call(3).error, 0)
        self.limit()
        self.assert_all_end(waiting, 3)

    def test_removal_while_requests_wait(self):
        """The hard removal of an export lets its requests go, and the node can be removed."""
        self.limit(**HOURS)
        session = self.send_writes("a", 8)
        self.assert_waiting(session)
        self.qmp.execute("block-export-del", {"id": "a", "mode": "hard"})
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.qmp.execute("blockdev-del", {"node-name": "a"})
        self.add_node("a", driver="throttle", file="disk", **{"throttle-group": "group"})

    def test_group_in_use(self):
        """The object stays as long as a node is in its group."""
        self.assertEqual(self.qmp.failure("object-del", {"id": "group"})[1],
                         "Cannot delete throttle group 'group' with active references")

    def assert_waiting(self, session):
        """The first request has ended, and no other one ends."""
        self.assertEqual(session.receive(16)[4:8], bytes(4))
        session.socket.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            session.socket.recv(1)
        session.socket.settimeout(settings.seconds(10))

    def assert_all_end(self, session, count):
        """So many further requests of the session end soon, with success."""
        replies = session.receive(16 * count)
        for number in range(count):
            self.assertEqual(replies[16 * number + 4:16 * number + 8], bytes(4))


class ShutdownTest(DaemonTest):
    """A server whose requests wait for hours."""

    @classmethod
    def objects(cls):
        return ["throttle-group,id=group,limits.bps-total=1"]

    @classmethod
    def prepare(cls):
        return [*null_node("disk", SIZE), "--blockdev", "throttle,node-name=t,throttle-group=group,file=disk"]

    def test_the_server_ends(self):
        """`quit` lets the requests go; they are answered, and the process ends soon."""
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "t", "node-name": "t", "writable": True})
        session = self.session("t")
        for number in range(8):
            session.send_request(1, offset=number * 4096, length=4096, payload=bytes(4096))
        time.sleep(0.2)
        began = time.monotonic()
        self.daemon.stop()
        self.assertLess(time.monotonic() - began, settings.seconds(10))

    def tearDown(self):
        pass
