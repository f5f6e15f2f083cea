"""page-cache=drop: reads and writes of a complete image do not fill the host's page cache."""

import ctypes
import os
from contextlib import contextmanager

from lib import images, settings, wait
from lib.images import KIB, MIB
from lib.nbd_wire import *
from lib.testcase import DaemonTest

SIZE = 32 * MIB
CACHESTAT = 451  # the system call, of Linux 6.5
RWF_DONTCACHE = 0x80  # of Linux 6.14
RIGHT_AFTER_READING = SIZE // 8  # what may be left of what the kernel read ahead


@contextmanager
def opened(path):
    fd = os.open(path, os.O_RDWR)
    try:
        yield fd
    finally:
        os.close(fd)


def cached_bytes(path):
    """How much of a file is in the page cache; None where the kernel does not tell."""
    with opened(path) as fd:
        whole_file, found = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
        if ctypes.CDLL(None).syscall(CACHESTAT, fd, whole_file, found, 0) != 0:
            return None
        return found[0] * os.sysconf("SC_PAGESIZE")


class PageCacheTest(DaemonTest):
    """An image that is not in the page cache when a test begins."""

    def setUp(self):
        if settings.is_qemu():
            self.skipTest("qemu-storage-daemon has no such option")
        self.disk = images.make_random(self.path("disk.img"), SIZE)
        with opened(self.disk) as fd:
            os.fsync(fd)
            try:
                os.preadv(fd, [bytearray(4096)], 0, RWF_DONTCACHE)
            except OSError as error:
                self.skipTest(f"the kernel or the file system has no RWF_DONTCACHE: {error}")
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if cached_bytes(self.disk) != 0:
            self.skipTest("the page cache of the file cannot be looked at, or emptied")

    def export(self, **options):
        self.add_node("disk", driver="file", filename=self.disk, **options)
        self.add_export("disk", writable=True)
        return self.session("disk")

    def read_all(self, client, block):
        """Reads the whole export in requests of `block` bytes; how much of it is in the page cache then."""
        pieces = [client.read(offset, block) for offset in range(0, SIZE, block)]
        left = cached_bytes(self.disk)
        self.assertEqual(b"".join(pieces), images.read_range(self.disk, 0, SIZE))
        return left

    def test_reading_keeps_pages_by_default(self):
        """What was read is in the page cache; so the tests below measure something."""
        self.assertGreaterEqual(self.read_all(self.export(), MIB), SIZE)

    def test_reading_large_pieces(self):
        """Reads that would leave straight from the page cache leave nothing in it."""
        self.assertLessEqual(self.read_all(self.export(**{"page-cache": "drop"}), MIB), RIGHT_AFTER_READING)

    def test_reading_small_pieces(self):
        """Reads that find in the cache what was read ahead take it out again."""
        self.assertLessEqual(self.read_all(self.export(**{"page-cache": "drop"}), 64 * KIB), RIGHT_AFTER_READING)

    def test_pages_of_others_stay(self):
        """What somebody else had read before is there afterwards."""
        # The kernel may reclaim some pages by itself, but hardly in each of several tries.
        left = 0
        client = self.export(**{"page-cache": "drop"})
        for _ in range(5):
            images.read_range(self.disk, 0, SIZE)
            left = max(left, self.read_all(client, MIB))
            if left >= SIZE:
                break
        self.assertGreaterEqual(left, SIZE)

    def test_writing_a_new_image(self):
        """What was written to fresh space leaves when the disk has it."""
        os.truncate(self.disk, 0)
        os.truncate(self.disk, SIZE)
        client = self.export(**{"page-cache": "drop"})
        for offset in range(0, SIZE, MIB):
            self.assertEqual(client.call(CMD_WRITE, offset, MIB, payload=b"x" * MIB).error, 0)
        self.assertEqual(client.call(CMD_FLUSH, 0, 0).error, 0)
        wait.until(lambda: cached_bytes(self.disk) <= RIGHT_AFTER_READING, 10, "what was written to leave the cache")
        self.assertEqual(images.read_range(self.disk, 0, SIZE), b"x" * SIZE)

    def test_wrong_value(self):
        """Neither keep nor drop is an error."""
        reply = self.qmp.command("blockdev-add", {"driver": "file", "node-name": "disk", "filename": self.disk,
                                              "page-cache": "some"})
        self.assertIn("some", reply["error"]["desc"])
