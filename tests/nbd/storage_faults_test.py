"""Storage faults: a full file system, a truncated file, a failing device."""

import contextlib
import os
import select
import shutil
import subprocess
import time
import unittest

from lib import images, settings, tools, wait
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest, file_node, nbd_export

MODES = ("simple", "structured")


class FullFileSystemTest(DaemonTest):
    """A sparse file larger than its tmpfs."""

    @classmethod
    def prepare(cls):
        cls.mount = cls.path("small")
        os.mkdir(cls.mount)
        if os.geteuid() != 0:
            raise unittest.SkipTest("mounting a small tmpfs needs root")
        result = tools.finish("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", cls.mount)
        if result.returncode:
            raise unittest.SkipTest(f"cannot mount a tmpfs here: {result.stderr.strip()}")
        cls.addClassCleanup(tools.run, "umount", "-l", cls.mount)
        cls.disk = images.make_empty(f"{cls.mount}/disk.img", 16 * MIB)
        return [*file_node("disk", cls.disk, discard="unmap"), *nbd_export("disk", writable="on")]

    def fill(self, connection):
        """Writes until there is no more space; returns {offset: data} of what was acknowledged."""
        stored = {}
        for offset in range(0, 16 * MIB, 256 * KIB):
            data = images.random_bytes(256 * KIB, offset)
            error = connection.write(offset, data)
            if error:
                self.assertEqual(error, ENOSPC)
                return stored
            stored[offset] = data
        self.fail("the file system never got full")

    def test_no_space(self):
        """ENOSPC is told, the connection lives, what was acknowledged reads back, and trim makes room again."""
        for mode in MODES:
            connection = self.session("disk", mode)
            stored = self.fill(connection)
            self.assertGreater(len(stored), 8)
            for offset, data in stored.items():
                self.assertEqual(connection.read(offset, len(data)), data)
            self.assertEqual(connection.call(CMD_FLUSH).error, 0)
            self.assertEqual(connection.call(CMD_TRIM, 0, MIB).error, 0)
            data = images.random_bytes(512 * KIB, 3)
            self.assertEqual(connection.write(8 * MIB, data), 0)
            self.assertEqual(connection.read(8 * MIB, len(data)), data)
            self.assertEqual(connection.call(CMD_TRIM, 0, 16 * MIB).error, 0)
            connection.close()

    def test_no_space_for_zeroes(self):
        """WRITE_ZEROES with NO_HOLE needs space and tells ENOSPC when there is none; without it needs none."""
        connection = self.session("disk")
        self.assertEqual(connection.call(CMD_WRITE_ZEROES, 0, 16 * MIB, FLAG_NO_HOLE).error, ENOSPC)
        self.assertEqual(connection.read(0, 4096), bytes(4096))
        self.assertEqual(connection.call(CMD_WRITE_ZEROES, 0, 16 * MIB).error, 0)
        self.assertEqual(connection.write(8 * MIB, b"x" * MIB), 0)
        self.assertEqual(connection.call(CMD_TRIM, 0, 16 * MIB).error, 0)

    def test_other_clients_read_on(self):
        """R196: a client that fills the disk does not disturb one that reads."""
        writer, reader = self.session("disk"), self.session("disk", "structured")
        stored = self.fill(writer)
        first = next(iter(stored))
        self.assertEqual(reader.read(first, 4096), stored[first][:4096])
        self.assertEqual(writer.call(CMD_TRIM, 0, 16 * MIB).error, 0)


class TruncatedTest(DaemonTest):
    """A file that somebody cuts short while it is exported: what is gone is an error, and never zeroes."""

    @classmethod
    def prepare(cls):
        cls.disk = images.make_random(cls.path("disk.img"), 8 * MIB)
        return [*file_node("disk", cls.disk), *nbd_export("disk", writable="on")]

    def setUp(self):
        images.make_random(self.disk, 8 * MIB)

    @settings.unlike_qemu("what is gone reads as zeroes")
    def test_truncated_under_the_daemon(self):
        """What is left reads right; the lost part fails with EIO, small or large; the connection lives."""
        for mode in MODES:
            images.make_random(self.disk, 8 * MIB)
            connection = self.session("disk", mode)
            before = connection.read(0, 4096)
            os.truncate(self.disk, 1 * MIB)
            self.assertEqual(connection.read(0, 4096), before)
            for length in (512, 65536, 2 * MIB):
                self.assertEqual(connection.call(CMD_READ, 4 * MIB, length).error, EIO, length)
            self.assertEqual(connection.read(0, 4096), before)

    @settings.unlike_qemu("what is gone reads as zeroes")
    def test_across_the_new_end(self):
        """A read across the new end of the file fails with EIO as a whole; up to that end it succeeds."""
        for mode in MODES:
            images.make_random(self.disk, 8 * MIB)
            connection = self.session("disk", mode)
            expected = connection.read(0, MIB)
            os.truncate(self.disk, 1 * MIB)
            for length in (4096, 65536, 512 * KIB):
                self.assertEqual(connection.call(CMD_READ, MIB - length, 2 * length).error, EIO, length)
                self.assertEqual(connection.read(MIB - length, length), expected[-length:])

    def test_write_after_the_cut(self):
        """A write to the lost part makes the file long again."""
        connection = self.session("disk")
        os.truncate(self.disk, 1 * MIB)
        self.assertEqual(connection.write(4 * MIB, b"again" * 1000), 0)
        self.assertEqual(connection.read(4 * MIB, 5000), b"again" * 1000)
        self.assertEqual(images.read_range(self.disk, 4 * MIB, 5000), b"again" * 1000)

    @settings.unlike_qemu("what is gone reads as zeroes")
    def test_truncated_to_nothing(self):
        """Of a file of no bytes every read is EIO, block status is answered, and what is written can be read."""
        connection = self.session("disk", "structured", ["base:allocation"])
        os.truncate(self.disk, 0)
        self.assertEqual(connection.call(CMD_READ, 0, 65536).error, EIO)
        self.assertEqual(sum(length for length, _ in connection.block_status(0, MIB)), MIB)
        self.assertEqual(connection.write(0, b"x" * 512), 0)
        self.assertEqual(connection.read(0, 512), b"x" * 512)
        self.assertEqual(connection.call(CMD_READ, 4096, 65536).error, EIO)

    def test_unlinked_file(self):
        """An unlinked file is served as long as the node lives."""
        path = images.make_random(self.path("gone.img"), MIB)
        content = images.read_range(path, 0, MIB)
        self.add_node("gone", driver="file", filename=path)
        self.add_export("gone")
        os.unlink(path)
        self.assertEqual(self.session("gone").read(0, MIB), content)


class NoHolesTest(DaemonTest):
    """A file system that neither makes holes nor takes space, as the kernel's answers say."""

    @classmethod
    def prepare(cls):
        cls.prefix = tools.injecting("fallocate:error=EOPNOTSUPP", cls.path("trace"))
        cls.disk = images.make_random(cls.path("disk.img"), MIB)
        # The calls of io_uring are not seen by who injects.
        backend = [] if settings.is_qemu() else ["--aio-backend", "epoll"]
        return [*backend, *file_node("disk", cls.disk, discard="unmap"), *nbd_export("disk", writable="on")]

    def test_fast_zero(self):
        """R166: FAST_ZERO is ENOTSUP, the first time and later, with nothing changed."""
        before = images.sha256(self.disk)
        for mode in MODES:
            connection = self.session("disk", mode)
            for flags in (FLAG_FAST_ZERO, FLAG_FAST_ZERO | FLAG_NO_HOLE, FLAG_FAST_ZERO | FLAG_FUA):
                for offset, length in ((0, 64 * KIB), (100, 5000), (0, MIB)):
                    self.assertEqual(connection.call(CMD_WRITE_ZEROES, offset, length, flags).error, ENOTSUP)
        self.assertEqual(images.sha256(self.disk), before)

    def test_zeroes(self):
        """R164 R167: without FAST_ZERO zeroes are written, and not a byte around them."""
        connection = self.session("disk")
        for flags in (0, FLAG_NO_HOLE, FLAG_FUA):
            model = bytearray(images.random_bytes(256 * KIB, flags))
            self.assertEqual(connection.write(0, bytes(model)), 0)
            for offset, length in ((0, 512), (1001, 100_003), (200 * KIB, 56 * KIB)):
                self.assertEqual(connection.call(CMD_WRITE_ZEROES, offset, length, flags).error, 0)
                model[offset:offset + length] = bytes(length)
            self.assertEqual(images.read_range(self.disk, 0, 256 * KIB), bytes(model))

    def test_trim(self):
        """R163: a trim that cannot be followed succeeds, and changes nothing."""
        before = images.sha256(self.disk)
        self.assertEqual(self.session("disk").call(CMD_TRIM, 0, MIB).error, 0)
        self.assertEqual(images.sha256(self.disk), before)


class FailingDeviceTest(DaemonTest):
    """A file on a FUSE mount whose reads or writes fail on command (nbdkit's error filter behind nbdfuse)."""

    @classmethod
    def prepare(cls):
        for program in ("nbdkit", "nbdfuse"):
            if not shutil.which(program):
                raise unittest.SkipTest(f"{program} is not installed")
        if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK):
            raise unittest.SkipTest("mounting with FUSE needs root and /dev/fuse")
        cls.file = cls.path("failing/disk.img")
        os.mkdir(os.path.dirname(cls.file))
        with open(cls.file, "wb"):
            pass
        triggers = [f"error-{kind}-file={cls.path('fail-' + kind)}" for kind in ("pread", "pwrite")]
        cls.fuse = subprocess.Popen(
            ["nbdfuse", cls.file, "[", "nbdkit", "--exit-with-parent", "--filter=error", "memory", "size=4M",
             *triggers, "error-pread=EIO", "error-pread-rate=1", "error-pwrite=EIO", "error-pwrite-rate=1", "]"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cls.addClassCleanup(cls.unmount)
        with contextlib.suppress(AssertionError):
            wait.until(lambda: cls.fuse.poll() is not None or os.path.getsize(cls.file) == 4 * MIB, 5, "the FUSE mount")
        if os.path.getsize(cls.file) != 4 * MIB:
            raise unittest.SkipTest("nbdfuse cannot mount here")
        # cache.direct keeps the page cache, which would hide the device's errors, out of the way.
        return [*file_node("disk", cls.file, **{"cache.direct": "on", "locking": "off"}),
                *nbd_export("disk", writable="on")]

    @classmethod
    def unmount(cls):
        """Takes the FUSE mount away."""
        tools.finish("umount", "-l", cls.file)
        with contextlib.suppress(subprocess.TimeoutExpired):
            cls.fuse.wait(5)
        cls.fuse.kill()
        cls.fuse.wait()

    @contextlib.contextmanager
    def failing(self, kind):
        """Reads or writes of the device fail inside of this context."""
        path = self.path("fail-" + kind)
        with open(path, "wb"):
            pass
        try:
            yield
        finally:
            os.unlink(path)

    def test_read_error_in_simple_mode(self):
        """R124: a failing read is answered EIO and the connection lives."""
        connection = self.session("disk")
        with self.failing("pread"):
            self.assertEqual(connection.call(CMD_READ, 0, 65536).error, EIO)
        self.assertEqual(len(connection.read(0, 65536)), 65536)

    @settings.unlike_qemu("the connection is dropped on a structured read error")
    def test_read_error_in_structured_mode(self):
        """R126 R127 R144: a failing read becomes an error chunk and the connection lives."""
        connection = self.session("disk", "structured")
        with self.failing("pread"):
            self.assertEqual(connection.call(CMD_READ, 0, 65536).error, EIO)
            self.assertEqual(connection.call(CMD_READ, 0, 65536, FLAG_DF).error, EIO)
        self.assertEqual(len(connection.read(0, 65536)), 65536)

    def test_write_error(self):
        """R130 R162: a failing write is answered EIO, the payload is consumed, the connection lives."""
        for mode in MODES:
            connection = self.session("disk", mode)
            with self.failing("pwrite"):
                self.assertEqual(connection.write(0, b"x" * 65536), EIO)
            self.assertEqual(connection.write(0, b"y" * 65536), 0)
            self.assertEqual(connection.read(0, 65536), b"y" * 65536)

    def test_errors_among_many_requests(self):
        """Each of 64 requests in flight on a failing device gets its own error."""
        connection = self.session("disk")
        with self.failing("pread"):
            for reply in connection.read_replies(connection.send_reads(64)):
                self.assertEqual(reply.error, EIO)
        self.assertEqual(len(connection.read(0, 4096)), 4096)


class SlowDeviceTest(DaemonTest):
    """A node that takes its time: 1.5 s for each request."""

    @classmethod
    def prepare(cls):
        return ["--blockdev", "driver=null-aio,node-name=slow,size=1073741824,latency-ns=1500000000",
                *nbd_export("slow"),
                *file_node("disk", images.make_random(cls.path("disk.img"), MIB)), *nbd_export("disk")]

    def test_requests_run_side_by_side(self):
        """Sixteen reads take less than half of what they would take one after the other, which is 24 s."""
        connection = self.session("slow")
        started = time.monotonic()
        self.assertEqual(len(list(connection.read_replies(connection.send_reads(16)))), 16)
        self.assertLess(time.monotonic() - started, 12)

    def test_fast_export_is_not_held_up(self):
        """R196: another export answers while the slow one waits, also on the same thread."""
        slow, others = self.session("slow"), [self.session("disk") for _ in range(4)]
        requests = {}
        for offset in range(0, 16 * 4096, 4096):
            request = slow.send_request(CMD_READ, offset, 4096)
            requests[request.cookie] = request
        for fast in others:
            self.assertEqual(len(fast.read(0, 4096)), 4096)
        self.assertEqual(select.select([slow.socket], [], [], 0)[0], [], "the slow one was answered first")
        for reply in slow.read_replies(requests):
            self.assertEqual(reply.error, 0)
