"""Durability, on a disk that loses unflushed writes (lib/forgetful_disk.py)."""

import unittest

from lib import daemon, images, nbd_raw, settings
from lib.forgetful_disk import ForgetfulDisk
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest, file_node, nbd_export

DISK_BYTES = 8 * MIB


class WitnessedTest(DaemonTest):
    """A server whose disk forgets what was not flushed."""

    node_options = {}

    @classmethod
    def prepare(cls):
        cls.disk = ForgetfulDisk(cls.workdir, DISK_BYTES)
        cls.addClassCleanup(cls.disk.close)
        return [*file_node("disk", cls.disk.path, locking="off", **cls.node_options),
                *nbd_export("disk", writable="on"),
                "--export", "type=nbd,id=through,node-name=disk,name=through,writable=on,writethrough=on"]

    def setUp(self):
        self.seed = 0

    def data(self, length):
        """Bytes that were never written before in this test."""
        self.seed += 1
        return images.random_bytes(length, hash(self.id()) % 100_000 + self.seed)

    def sessions(self, export="disk"):
        """A session in each mode."""
        return [self.session(export, mode) for mode in settings.modes()]

    def assert_stable(self, offset, data):
        """A power cut now would leave it."""
        self.assertTrue(self.disk.is_stable(offset, data), f"{len(data)} bytes at {offset} would be lost")


class DurabilityTest(WitnessedTest):
    """What an acknowledgement promises is on the disk when it comes."""

    def test_a_write_without_fua_is_not_flushed(self):
        """The witness works: what nobody asked to be durable is forgotten."""
        for connection in self.sessions():
            data = self.data(4 * KIB)
            self.assertEqual(connection.write(0, data), 0)
            self.assertFalse(self.disk.is_stable(0, data))

    def test_flush_covers_the_writes_of_all_clients(self):
        """After a flush every write is durable that any client had an answer to."""
        for connection in self.sessions():
            first, second = self.data(4 * KIB), self.data(MIB)
            self.assertEqual(connection.write(4 * KIB, first), 0)
            self.assertEqual(self.session("disk").write(MIB, second), 0)
            self.assertEqual(connection.call(CMD_FLUSH, 0, 0).error, 0)
            self.assert_stable(4 * KIB, first)
            self.assert_stable(MIB, second)

    def test_flush_covers_zeroes(self):
        """After a flush the zeroes are durable."""
        for connection in self.sessions():
            self.assertEqual(connection.write(0, self.data(64 * KIB), FLAG_FUA), 0)
            self.assertEqual(connection.call(CMD_WRITE_ZEROES, 4 * KIB, 32 * KIB).error, 0)
            self.assertEqual(connection.call(CMD_FLUSH, 0, 0).error, 0)
            self.assert_stable(4 * KIB, bytes(32 * KIB))

    @settings.unlike_qemu("it answers some writes before a flush that covers them")
    def test_fua_writes(self):
        """A write with FUA is durable when it is answered, of any length and alignment."""
        for connection in self.sessions():
            for offset, length in ((0, 512), (4096, 4096), (1234, 3), (65536, 262144), (MIB, 4 * MIB), (1, 70001)):
                data = self.data(length)
                self.assertEqual(connection.write(offset, data, FLAG_FUA), 0)
                self.assert_stable(offset, data)

    def test_fua_writes_at_a_time(self):
        """Of many writes with FUA that share a flush each is durable when it is answered."""
        for connection in self.sessions():
            requests = [connection.send_request(CMD_WRITE, index * 8 * KIB, 4 * KIB, FLAG_FUA, self.data(4 * KIB))
                        for index in range(32)]
            written = {request.cookie: request for request in requests}
            for reply in connection.read_replies(dict(written)):
                self.assertEqual(reply.error, 0)
                self.assert_stable(written[reply.cookie].offset, written[reply.cookie].filter)

    def test_fua_zeroes(self):
        """Write-zeroes with FUA is durable when it is answered, with and without holes."""
        for connection in self.sessions():
            for flags in (FLAG_FUA, FLAG_FUA | FLAG_NO_HOLE):
                for offset, length in ((0, 64 * KIB), (4096, 4096), (777, 5000), (MIB, 2 * MIB)):
                    self.assertEqual(connection.write(offset, self.data(length), FLAG_FUA), 0)
                    self.assertEqual(connection.call(CMD_WRITE_ZEROES, offset, length, flags).error, 0)
                    self.assert_stable(offset, bytes(length))

    def test_fua_trim(self):
        """A trim with FUA is followed by a flush before it is answered."""
        for connection in self.sessions():
            self.assertEqual(connection.write(0, self.data(64 * KIB)), 0)
            before = self.disk.flushes
            self.assertEqual(connection.call(CMD_TRIM, 0, 64 * KIB, FLAG_FUA).error, 0)
            self.assertGreater(self.disk.flushes, before)

    @settings.unlike_qemu("it answers some writes before a flush that covers them")
    def test_writethrough(self):
        """On an export with writethrough=on every write, zeroing and trim is durable when it is answered."""
        for connection in self.sessions("through"):
            for offset, length in ((0, 512), (5000, 4096), (MIB, 2 * MIB)):
                data = self.data(length)
                self.assertEqual(connection.write(offset, data), 0)
                self.assert_stable(offset, data)
                self.assertEqual(connection.call(CMD_WRITE_ZEROES, offset, length).error, 0)
                self.assert_stable(offset, bytes(length))
                self.assertEqual(connection.write(offset, data), 0)
                before = self.disk.flushes
                self.assertEqual(connection.call(CMD_TRIM, offset, length).error, 0)
                self.assertGreater(self.disk.flushes, before)

    def test_a_flush_with_nothing_to_flush_succeeds(self):
        """Flushes that follow each other are all answered."""
        connection = self.session("disk")
        for _ in range(3):
            self.assertEqual(connection.call(CMD_FLUSH, 0, 0).error, 0)


class DirectDurabilityTest(DurabilityTest):
    """The same past the page cache, where a disk has a cache of its own all the same."""

    node_options = {"cache.direct": "on"}


class ZeroDetectionDurabilityTest(DurabilityTest):
    """The same where writes of zeroes become write-zeroes."""

    node_options = {"detect-zeroes": "on"}

    def test_detected_zeroes_with_fua(self):
        """A write of zeroes with FUA is durable when it is answered."""
        for connection in self.sessions():
            self.assertEqual(connection.write(0, self.data(64 * KIB), FLAG_FUA), 0)
            self.assertEqual(connection.write(0, bytes(64 * KIB), FLAG_FUA), 0)
            self.assert_stable(0, bytes(64 * KIB))


class NoFlushTest(WitnessedTest):
    """cache.no-flush=on: nobody asks the disk for durability, whatever clients ask for."""

    node_options = {"cache.no-flush": "on"}

    def test_nothing_is_flushed(self):
        """FLUSH, FUA and writethrough=on are answered, and no flush reaches the disk."""
        for export in ("disk", "through"):
            for connection in self.sessions(export):
                data = self.data(64 * KIB)
                self.assertEqual(connection.write(0, data, FLAG_FUA), 0)
                self.assertEqual(connection.call(CMD_WRITE_ZEROES, MIB, 64 * KIB, FLAG_FUA).error, 0)
                self.assertEqual(connection.call(CMD_TRIM, 2 * MIB, 64 * KIB, FLAG_FUA).error, 0)
                self.assertEqual(connection.call(CMD_FLUSH).error, 0)
                self.assertEqual(connection.read(0, 64 * KIB), data)
        self.assertEqual(self.disk.flushes, 0)


class EndTest(unittest.TestCase):
    """The server's end makes durable what it has answered."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        self.disk = ForgetfulDisk(self.workdir, DISK_BYTES)
        self.addCleanup(self.disk.close)

    def check(self, end):
        """A write that was answered is durable after end()."""
        arguments = [*file_node("disk", self.disk.path, locking="off"), *nbd_export("disk", writable="on")]
        server = daemon.Daemon(self.workdir, arguments)
        self.addCleanup(server.kill)
        server.start()
        connection = nbd_raw.Connection(server.connect_nbd())
        self.addCleanup(connection.close)
        connection.negotiate("disk", "simple", ())
        data = images.random_bytes(4 * KIB, 1)
        self.assertEqual(connection.write(MIB, data), 0)
        end(server)
        self.assertTrue(self.disk.is_stable(MIB, data))
        server.stop()

    def test_signal(self):
        """SIGTERM."""
        self.check(lambda server: server.stop())

    def test_blockdev_del(self):
        """The node is removed."""

        def remove(server):
            server.qmp.execute("block-export-del", {"id": "disk", "mode": "hard"})
            server.qmp.wait_event("BLOCK_EXPORT_DELETED")
            server.qmp.execute("blockdev-del", {"node-name": "disk"})

        self.check(remove)


if __name__ == "__main__":
    unittest.main()
