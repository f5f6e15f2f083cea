"""Python's libnbd against the server: synchronous and asynchronous calls, several connections, block status."""

import errno
import os
import random
import unittest

from lib import images, tools, wait
from lib.images import KIB, MIB
from lib.settings import is_qemu
from lib.testcase import DaemonTest, file_node, nbd_export, null_node

try:
    from nbd import NBD  # without libnbd's module the name would be that of the folder tests/nbd
    import nbd
except ImportError:
    raise unittest.SkipTest("python3-libnbd is not installed") from None

SIZE = 8 * MIB


class LibnbdTest(DaemonTest):
    """A writable file, seen through libnbd."""

    @classmethod
    def prepare(cls):
        cls.disk = images.make_empty(cls.path("disk.img"), SIZE)
        return [*file_node("disk", cls.disk, discard="unmap"), *nbd_export("disk", writable="on"),
                *null_node("null", 1 << 30), *nbd_export("null")]

    def connect(self, export="disk", contexts=("base:allocation",), **settings):
        """A connected handle, shut down when the test ends."""
        handle = NBD()
        for context in contexts:
            handle.add_meta_context(context)
        for name, value in settings.items():
            getattr(handle, f"set_{name}")(value)
        handle.connect_uri(self.uri(export))
        self.addCleanup(handle.shutdown)
        return handle

    def extents(self, handle, offset, length, flags=0):
        """The (length, flags) pairs of base:allocation."""
        found = []

        def collect(context, _offset, entries, _error):
            if context == "base:allocation":
                found.extend(zip(entries[::2], entries[1::2]))
        handle.block_status(length, offset, collect, flags)
        return found

    def test_write_read_back(self):
        """What pwrite stores, pread returns, and the file has it."""
        handle = self.connect()
        data = images.random_bytes(200 * KIB, 3)
        handle.pwrite(data, 12345)
        self.assertEqual(handle.pread(len(data), 12345), data)
        handle.flush()
        self.assertEqual(images.read_range(self.disk, 12345, len(data)), data)

    def test_without_structured_replies(self):
        """A client that asks for simple replies only is served as well."""
        handle = self.connect(contexts=(), request_structured_replies=False)
        self.assertFalse(handle.get_structured_replies_negotiated())
        handle.pwrite(b"simple" * 100, 0)
        self.assertEqual(handle.pread(600, 0), b"simple" * 100)

    def test_fua_write_is_in_the_file(self):
        """A write with FUA is in the file when it is answered. (durability_test.py has the rest.)"""
        handle = self.connect()
        handle.pwrite(b"durable!" * 512, 1 * MIB, nbd.CMD_FLAG_FUA)
        self.assertEqual(images.read_range(self.disk, 1 * MIB, 4096), b"durable!" * 512)

    def test_zero_and_trim(self):
        """zero reads back as zero; with NO_HOLE the space stays; a trimmed range that reports ZERO reads zero."""
        handle = self.connect()
        handle.pwrite(b"\xff" * MIB, 2 * MIB)
        handle.zero(256 * KIB, 2 * MIB, nbd.CMD_FLAG_NO_HOLE)
        handle.zero(256 * KIB, 2 * MIB + 256 * KIB)
        handle.trim(256 * KIB, 2 * MIB + 512 * KIB)
        self.assertEqual(handle.pread(512 * KIB, 2 * MIB), bytes(512 * KIB))
        self.assertEqual(handle.pread(256 * KIB, 3 * MIB - 256 * KIB), b"\xff" * 256 * KIB)
        offset = 2 * MIB
        for length, flags in self.extents(handle, offset, MIB):
            if flags & nbd.STATE_ZERO:
                self.assertEqual(handle.pread(length, offset), bytes(length))
            offset += length

    def test_cache(self):
        """cache succeeds and changes nothing."""
        handle = self.connect()
        handle.pwrite(b"cached", 77)
        handle.cache(64 * KIB, 0)
        self.assertEqual(handle.pread(6, 77), b"cached")

    def test_reads_of_structure(self):
        """pread_structured delivers data and holes that cover the range, each byte once and right."""
        handle = self.connect()
        handle.pwrite(b"\x11" * 64 * KIB, 4 * MIB)
        handle.zero(64 * KIB, 4 * MIB + 64 * KIB)
        pieces = self.pieces(handle, 128 * KIB, 4 * MIB)
        self.assertEqual(b"".join(data for _, data, _ in pieces), b"\x11" * 64 * KIB + bytes(64 * KIB))
        at = 4 * MIB
        for offset, data, status in pieces:
            self.assertEqual(offset, at)
            at += len(data)
            if status == nbd.READ_HOLE:
                self.assertEqual(data, bytes(len(data)))

    def pieces(self, handle, length, offset, flags=0):
        """(offset, bytes, kind) of the pieces of a structured read, in order."""
        found = []
        handle.pread_structured(length, offset, lambda data, at, status, _: found.append((at, bytes(data), status)),
                                flags)
        return sorted(found)

    def test_data_or_nothing_more(self):
        """pread_structured with DF gives one piece, where without it there is a hole beside the data."""
        if not images.tells_lasting_holes(self.workdir):
            self.skipTest("on this file system no holes are remembered")
        handle = self.connect()
        handle.pwrite(b"\x22" * MIB, 6 * MIB)
        handle.trim(MIB, 7 * MIB)

        def has_a_hole():
            self.assertEqual(self.extents(handle, 6 * MIB, 2 * MIB)[1], (MIB, nbd.STATE_HOLE | nbd.STATE_ZERO))
            return len(self.pieces(handle, 2 * MIB, 6 * MIB)) == 2
        # A file that was written a moment ago may still be written to, with the same time stamp.
        wait.until(has_a_hole, 10, "the hole to be remembered")
        (piece,) = self.pieces(handle, 2 * MIB, 6 * MIB, nbd.CMD_FLAG_DF)
        self.assertEqual(piece, (6 * MIB, b"\x22" * MIB + bytes(MIB), nbd.READ_DATA))

    def test_many_requests_in_flight(self):
        """400 asynchronous reads and writes, all answered, each with its own data."""
        handle = self.connect()
        block = 16 * KIB
        buffers = []
        for index in range(400):
            offset = (index % 128) * block
            handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([index % 128]) * block), offset,
                              completion=lambda error: 1)
            while handle.aio_in_flight() > 60:
                handle.poll(-1)
        while handle.aio_in_flight():
            handle.poll(-1)
        for index in range(128):
            buffers.append(nbd.Buffer(block))
            handle.aio_pread(buffers[-1], index * block, completion=lambda error: 1)
        while handle.aio_in_flight():
            handle.poll(-1)
        for index, buffer in enumerate(buffers):
            self.assertEqual(buffer.to_bytearray(), bytearray([index]) * block, index)

    def test_multi_conn(self):
        """CAN_MULTI_CONN: what one connection wrote and flushed, another reads."""
        first, second = self.connect(), self.connect()
        self.assertTrue(first.can_multi_conn())
        first.pwrite(b"seen by all", 5 * MIB)
        first.flush()
        self.assertEqual(second.pread(11, 5 * MIB), b"seen by all")

    def test_errors_are_errno(self):
        """A write to a read-only export fails with EPERM (there: EINVAL), and the handle stays usable."""
        handle = self.connect("null")
        handle.set_strict_mode(0)
        with self.assertRaises(nbd.Error) as raised:
            handle.pwrite(b"x" * 512, 0)
        self.assertEqual(raised.exception.errnum, errno.EINVAL if is_qemu() else errno.EPERM)
        self.assertEqual(len(handle.pread(512, 0)), 512)

    def test_past_the_end(self):
        """A read past the end fails with EINVAL, and the handle stays usable."""
        handle = self.connect()
        handle.set_strict_mode(0)
        with self.assertRaises(nbd.Error) as raised:
            handle.pread(512, SIZE)
        self.assertEqual(raised.exception.errnum, errno.EINVAL)
        self.assertEqual(len(handle.pread(512, SIZE - 512)), 512)

    def test_option_mode(self):
        """Option mode: list, meta contexts, info, then go."""
        handle = NBD()
        self.addCleanup(handle.shutdown)
        handle.set_opt_mode(True)
        handle.connect_uri(self.uri("disk"))
        names = []
        handle.opt_list(lambda name, description: names.append(name))
        self.assertEqual(sorted(names), ["disk", "null"])
        contexts = []
        handle.add_meta_context("base:")
        handle.opt_list_meta_context(contexts.append)
        self.assertEqual(contexts, ["base:allocation"])
        handle.opt_info()
        self.assertEqual(handle.get_size(), SIZE)
        handle.opt_go()
        self.assertEqual(len(handle.pread(512, 0)), 512)

    def test_random_operations_against_a_model(self):
        """R197: 600 random writes, zeroes, trims and reads over two connections equal a model in memory."""
        generator = random.Random(11)
        handles = [self.connect(), self.connect()]
        handles[0].zero(SIZE, 0)
        handles[0].flush()
        model = bytearray(SIZE)
        for _ in range(600):
            handle = generator.choice(handles)
            length = generator.choice([1, 511, 512, 4096, 5000, 65536])
            offset = generator.randrange(SIZE - length)
            action = generator.randrange(4)
            if action == 0:
                data = generator.randbytes(length)
                handle.pwrite(data, offset)
                model[offset:offset + length] = data
            elif action == 1:
                handle.zero(length, offset, generator.choice([0, nbd.CMD_FLAG_NO_HOLE]))
                model[offset:offset + length] = bytes(length)
            elif action == 2:
                handle.trim(length, offset)
                model[offset:offset + length] = handle.pread(length, offset)
            else:
                self.assertEqual(handle.pread(length, offset), model[offset:offset + length])
        handles[1].flush()
        self.assertEqual(images.read_range(self.disk, 0, SIZE), bytes(model))


class NbdshTest(DaemonTest):
    """nbdsh as a person would use it."""

    @classmethod
    def prepare(cls):
        images.make_random(cls.path("disk.img"), MIB)
        return [*file_node("disk", cls.path("disk.img")), *nbd_export("disk")]

    def test_one_liner(self):
        """nbdsh -u URI -c 'print(h.get_size())'."""
        output = tools.run("nbdsh", "-u", self.uri("disk"), "-c", "print(h.get_size())",
                           "-c", "print(len(h.pread(4096, 0)))")
        self.assertEqual(output.split(), [str(MIB), "4096"])

    def test_file_is_untouched(self):
        """Reading leaves the file as it was."""
        before = os.stat(self.path("disk.img")).st_mtime_ns
        tools.run("nbdsh", "-u", self.uri("disk"), "-c", "h.pread(65536, 0)")
        self.assertEqual(os.stat(self.path("disk.img")).st_mtime_ns, before)
