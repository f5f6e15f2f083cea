"""The driver blklogwrites: the log of all changes, as qemu-storage-daemon writes it, and as an oracle of power cuts."""

import collections
import os
import random
import shutil
import struct

from lib import images, settings, tools
from lib.images import KIB, MIB
from lib.nbd_wire import CMD_FLUSH, CMD_TRIM, CMD_WRITE_ZEROES, ENOSPC, ENOTSUP, FLAG_FAST_ZERO, FLAG_FUA
from lib.testcase import DaemonTest

SIZE = MIB
MAGIC = 0x6a736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
Entry = collections.namedtuple("Entry", "sector sectors flags data")


def read_log(path):
    """The size of a sector, the number of entries that the super block counts, and all entries of the log."""
    with open(path, "rb") as file:
        log = file.read()
    magic, version, count, sector = struct.unpack_from("<QQQI", log)
    assert (magic, version) == (MAGIC, 1), "no log"
    entries = []
    offset = sector
    while offset + 32 <= len(log):
        number, sectors, flags, _ = struct.unpack_from("<QQQQ", log, offset)
        assert not flags & ~(FLUSH | FUA | DISCARD | MARK), f"flags {flags:#x} at {offset}"
        offset += sector
        length = 0 if flags & DISCARD else sectors * sector
        entries.append(Entry(number, sectors, flags, log[offset:offset + length]))
        offset += length
    return sector, count, entries


class LogTest(DaemonTest):
    """An image and a log, of which a test makes a node."""

    def setUp(self):
        images.make_random(self.path("disk"), SIZE)
        images.make_empty(self.path("log"), 0)

    def expose(self, file=None, log=None, **options):
        """Exports a blklogwrites node, and returns a session."""
        nodes = {"file": file or {"driver": "file", "filename": self.path("disk")},
                 "log": log or {"driver": "file", "filename": self.path("log")}}
        self.qmp.execute("blockdev-add", {"driver": "blklogwrites", "node-name": "l", **nodes, **options})
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "l", "node-name": "l", "writable": True})
        self.addCleanup(self.hide)
        return self.session("l")

    def hide(self):
        """Takes away the export and the node, if they are there."""
        self.drop_export("l")
        self.qmp.command("blockdev-del", {"node-name": "l"})

    def refusal(self, log):
        """The error of continuing a log with these bytes; empty when it can be continued."""
        images.write_file(self.path("log"), log)
        answer = self.qmp.command("blockdev-add", {
            "driver": "blklogwrites", "node-name": "l", "file": {"driver": "file", "filename": self.path("disk")},
            "log": {"driver": "file", "filename": self.path("log")}, "log-append": True})
        if "error" in answer:
            return answer["error"]["desc"]
        self.qmp.execute("blockdev-del", {"node-name": "l"})
        return ""


class FormatTest(LogTest):
    """The log of requests."""

    def test_requests(self):
        """Each change has an entry with its data, and a durable write has a flush behind it."""
        session = self.expose()
        self.assertEqual(session.write(512, b"x" * 1024), 0)
        self.assertEqual(session.write(0, b"y" * 512, FLAG_FUA), 0)
        self.assertEqual(session.call(CMD_WRITE_ZEROES, 4096, 8192).error, 0)
        self.assertEqual(session.call(CMD_FLUSH).error, 0)
        self.assertEqual(session.call(CMD_FLUSH).error, 0)
        sector, count, entries = read_log(self.path("log"))
        self.assertEqual((sector, count), (512, 5))
        self.assertEqual(entries, [Entry(1, 2, 0, b"x" * 1024), Entry(0, 1, 0, b"y" * 512), Entry(0, 0, FLUSH, b""),
                                   Entry(8, 16, 0, bytes(8192)), Entry(0, 0, FLUSH, b"")])

    def test_unaligned(self):
        """A write is logged in whole sectors."""
        session = self.expose(**{"log-sector-size": 4096})
        self.assertEqual(session.write(5000, b"x" * 100), 0)
        self.assertEqual(session.call(CMD_FLUSH).error, 0)
        sector, _, entries = read_log(self.path("log"))
        self.assertEqual(sector, 4096)
        self.assertEqual(entries[0], Entry(1, 1, 0, images.read_range(self.path("disk"), 4096, 4096)))

    def test_discard(self):
        """A discard has an entry without data, if the node passes it on."""
        session = self.expose(discard="unmap")
        self.assertEqual(session.call(CMD_TRIM, 8192, 4096).error, 0)
        self.assertEqual(session.call(CMD_FLUSH).error, 0)
        self.assertEqual(read_log(self.path("log"))[2], [Entry(16, 8, DISCARD, b""), Entry(0, 0, FLUSH, b"")])

    def test_discards_that_are_ignored(self):
        """A discard that the node does not pass on is not logged."""
        session = self.expose()
        self.assertEqual(session.call(CMD_TRIM, 8192, 4096).error, 0)
        self.assertEqual(session.write(0, b"x" * 512), 0)
        self.assertEqual(session.call(CMD_FLUSH).error, 0)
        self.assertEqual(len(read_log(self.path("log"))[2]), 2)

    def test_fast_zeroes(self):
        """Zeroes that have to be fast are refused."""
        session = self.expose()
        self.assertEqual(session.call(CMD_WRITE_ZEROES, 0, 4096, FLAG_FAST_ZERO).error, ENOTSUP)

    def test_interval(self):
        """The super block is written after so many entries, and at each flush."""
        session = self.expose(**{"log-super-update-interval": 2})
        counts = []
        for index in range(3):
            self.assertEqual(session.write(index * 512, b"x" * 512), 0)
            log = images.read_range(self.path("log"), 16, 8)
            counts.append(struct.unpack("<Q", log)[0])
        self.assertEqual(counts, [0, 2, 2])

    def test_append(self):
        """A log is continued after its last entry, in the sectors that it has."""
        session = self.expose(**{"log-sector-size": 1024})
        self.assertEqual(session.write(0, b"x" * 1024), 0)
        self.assertEqual(session.call(CMD_FLUSH).error, 0)
        self.hide()
        session = self.expose(**{"log-append": True})
        self.assertEqual(session.write(1024, b"y" * 1024), 0)
        self.assertEqual(session.call(CMD_FLUSH).error, 0)
        sector, count, entries = read_log(self.path("log"))
        self.assertEqual((sector, count), (1024, 4))
        self.assertEqual([entry.data[:1] for entry in entries], [b"x", b"", b"y", b""])

    def test_failing_log(self):
        """A write fails when the log cannot be written."""
        images.make_empty(self.path("log"), 4096)
        log = {"driver": "blkdebug", "image": {"driver": "file", "filename": self.path("log")},
               "inject-error": [{"event": "none", "iotype": "write", "errno": 28, "once": True}]}
        session = self.expose(log=log)
        self.assertEqual(session.write(0, b"x" * 512), ENOSPC)
        self.assertEqual(session.write(512, b"x" * 512), 0)


def super_block(entries, sector=512, magic=MAGIC, version=1):
    """A super block in a sector of its own."""
    return struct.pack("<QQQI", magic, version, entries, sector).ljust(512, b"\0")


def entry(sectors, flags=0):
    """An entry in a sector of its own."""
    return struct.pack("<QQQQ", 0, sectors, flags, 0).ljust(512, b"\0")


class WrongLogsTest(LogTest):
    """Logs that cannot be continued."""

    def test_super_blocks(self):
        """A super block has a magic number, a version and a size of sectors."""
        self.assertEqual(self.refusal(bytes(512)), "Invalid log superblock magic")
        self.assertEqual(self.refusal(super_block(0, magic=MAGIC + 1)), "Invalid log superblock magic")
        self.assertEqual(self.refusal(super_block(0, version=2)), "Unsupported log version 2")
        self.assertEqual(self.refusal(super_block(0, sector=513)), "Invalid log sector size 513")
        self.assertEqual(self.refusal(super_block(0)[:20]), "Invalid log sector size 0")
        self.assertEqual(self.refusal(super_block(0)[:28]), "")
        self.assertEqual(self.refusal(b""), "")

    def test_flags(self):
        """An entry has no unknown flags."""
        log = super_block(2) + entry(1) + bytes(512) + entry(0, 0x10)
        self.assertEqual(self.refusal(log), "Invalid flags 0x10 in log entry 1")

    @settings.unlike_qemu("it reads zeros after the end, and lets sizes of entries overflow")
    def test_ends(self):
        """An entry and its data end before the log does."""
        self.assertEqual(self.refusal(super_block(2) + entry(0)), "Failed to read log entry 1")
        for sectors in (2, 1 << 55, 1 << 63, (1 << 64) - 1):
            self.assertEqual(self.refusal(super_block(1) + entry(sectors) + bytes(512)), "Invalid size of log entry 0")
        self.assertEqual(self.refusal(super_block(1) + entry(1) + bytes(512)), "")

    @settings.unlike_qemu("it reads them all, which may take hours")
    def test_many_entries(self):
        """The number of entries is limited."""
        self.assertEqual(self.refusal(super_block((64 << 20) + 1)), "Log has too many entries: 67108865")
        self.assertEqual(self.refusal(super_block((1 << 64) - 1)), "Log has too many entries: 18446744073709551615")


class PowerCutTest(LogTest):
    """The log of an image's file, replayed up to a point at which the power may go."""

    def replay(self, entries, count, path):
        """Makes the state of the file after so many entries."""
        shutil.copyfile(self.path("before.qcow2"), path)
        with open(path, "r+b") as file:
            for item in entries[:count]:
                if item.flags & DISCARD:
                    continue
                file.seek(item.sector * 512)
                file.write(item.data)

    def run_requests(self, session, course):
        """Random requests; a list of the content of the disk as it was at each flush."""
        content = bytearray(SIZE)
        flushed = []
        for _ in range(course.randint(30, 60)):
            offset = course.randrange(0, SIZE - 70 * KIB)
            length = course.choice([512, 4096, course.randrange(1, 70 * KIB)])
            kind = course.random()
            if kind < 0.55:
                data = course.randbytes(16) * (length // 16 + 1)
                self.assertEqual(session.write(offset, data[:length]), 0)
                content[offset:offset + length] = data[:length]
            elif kind < 0.75:
                self.assertEqual(session.call(CMD_WRITE_ZEROES, offset, length).error, 0)
                content[offset:offset + length] = bytes(length)
            else:
                self.assertEqual(session.call(CMD_FLUSH).error, 0)
                flushed.append(bytes(content))
        return flushed

    def check_state(self, path):
        """The image is in order, as qemu-img sees it."""
        result = tools.finish("qemu-img", "check", "-f", "qcow2", path)
        # Leaks, which 3 stands for, are allowed after a power cut.
        self.assertIn(result.returncode, (0, 3), result.stdout + result.stderr)

    def course(self, seed):
        """One course of requests, and the states of the image at each flush and between."""
        course = random.Random(seed)
        for name in ("image.qcow2", "log"):
            if os.path.exists(self.path(name)):
                os.unlink(self.path(name))
        images.make_empty(self.path("log"), 0)
        cluster = course.choice(["512", "4096", "65536"])
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"cluster_size={cluster}", self.path("image.qcow2"),
                  str(SIZE))
        shutil.copyfile(self.path("image.qcow2"), self.path("before.qcow2"))
        self.qmp.execute("blockdev-add", {
            "driver": "blklogwrites", "node-name": "l", "log": {"driver": "file", "filename": self.path("log")},
            "file": {"driver": "file", "filename": self.path("image.qcow2")}})
        self.qmp.execute("blockdev-add", {"driver": "qcow2", "node-name": "image", "file": "l"})
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "image", "node-name": "image", "writable": True})
        session = self.session("image")
        flushed = self.run_requests(session, course)
        session.disconnect()
        self.drop_export("image")
        self.qmp.execute("blockdev-del", {"node-name": "image"})
        self.qmp.execute("blockdev-del", {"node-name": "l"})
        return course, flushed

    def test_courses(self):
        """After a power cut at any entry, the image is in order; with all entries it is the file itself."""
        for seed in range(settings.repetitions(4, 40)):
            with self.subTest(seed=seed):
                course, flushed = self.course(seed)
                _, count, entries = read_log(self.path("log"))
                self.assertEqual(count, len(entries))
                flushes = [index for index, item in enumerate(entries) if item.flags & FLUSH]
                self.assertGreaterEqual(len(flushes), len(set(flushed)))
                state = self.path("state.qcow2")
                for cut in sorted(set(flushes[:8]) | set(course.sample(range(len(entries)), min(8, len(entries))))):
                    self.replay(entries, cut, state)
                    self.check_state(state)
                self.replay(entries, len(entries), state)
                self.check_state(state)
                self.compare(state)
                # The last state that a client has flushed is among those of the flushes.
                if flushed:
                    self.assertTrue(any(self.content_at(entries, cut) == flushed[-1] for cut in reversed(flushes)))

    def compare(self, state):
        """The replayed log has the bytes of the image's file."""
        with open(state, "rb") as file, open(self.path("image.qcow2"), "rb") as image:
            replayed, written = file.read(), image.read()
        length = max(len(replayed), len(written))
        self.assertEqual(replayed.ljust(length, b"\0"), written.ljust(length, b"\0"))

    def content_at(self, entries, cut):
        """The bytes of the disk with so many entries."""
        state = self.path("content.qcow2")
        self.replay(entries, cut, state)
        tools.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", state, state + ".raw")
        with open(state + ".raw", "rb") as file:
            return file.read()
