"""Image locks: QEMU's tools and our server conflict in the same cases."""

import fcntl
import os
import re
import unittest

from lib import daemon, images, settings, tools
from lib.images import MIB
from lib.testcase import file_node, nbd_export


class ImageLocksTest(unittest.TestCase):
    """The byte locks that a server holds on its image."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        self.disk = images.make_empty(os.path.join(self.workdir, "disk.img"), MIB)

    def locks(self, arguments, program=None):
        """The (kind, first byte, last byte) of all locks on the image while a server with these arguments runs."""
        server = daemon.Daemon(self.workdir, arguments, program=program)
        self.addCleanup(server.kill)
        server.start()
        inode = os.stat(self.disk).st_ino
        with open("/proc/locks", encoding="ascii") as file:
            found = re.findall(rf"(READ|WRITE)\s+-?\d+ [0-9a-f]+:[0-9a-f]+:{inode} (\d+) (\d+)", file.read())
        server.stop()
        return sorted((kind, int(first), int(last)) for kind, first, last in found)

    CASES = {
        "a node alone": [],
        "a reader": nbd_export("f0"),
        "a writer": nbd_export("f0", writable="on"),
    }
    NODES = {
        "writable": {},
        "read-only": {"read-only": "on"},
        "auto-read-only": {"auto-read-only": "on", "read-only": "on"},
        "locking off": {"locking": "off"},
        "locking on": {"locking": "on"},
        "force-share": {"read-only": "on", "force-share": "on"},
    }

    def expand(self, ranges):
        """Single bytes instead of ranges: neighbouring locks may be told as one or as several."""
        return {(kind, byte) for kind, first, last in ranges for byte in range(first, last + 1)}

    def test_same_locks_as_the_reference(self):
        """Node by node and user by user, the locked bytes are those of qemu-storage-daemon."""
        if not os.access(settings.REFERENCE, os.X_OK):
            self.skipTest("qemu-storage-daemon is not installed")
        for node, options in self.NODES.items():
            for case, export in self.CASES.items():
                if case == "a writer" and options.get("read-only"):
                    continue
                for raw in ([], ["--blockdev", "raw,node-name=r0,file=f0"]):
                    with self.subTest(node=node, case=case, raw=bool(raw)):
                        users = [part.replace("node-name=f0", "node-name=r0") for part in export] if raw else export
                        arguments = [*file_node("f0", self.disk, **options), *raw, *users]
                        theirs = self.expand(self.locks(arguments, settings.REFERENCE))
                        self.assertEqual(self.expand(self.locks(arguments)), theirs)
                        self.assertTrue(theirs or node in ("locking off", "force-share") or case == "a node alone")

    def start(self, *arguments):
        """A server."""
        server = daemon.Daemon(self.workdir, arguments)
        self.addCleanup(server.kill)
        return server.start()

    def test_who_changes_the_size_is_kept_out(self):
        """While an export writes, QEMU's tools may write as well, and not resize; so it is beside the reference."""
        arguments = [*file_node("f0", self.disk), "--blockdev", "raw,node-name=r0,file=f0",
                     "--export", "nbd,id=e0,node-name=r0,writable=on"]
        for program in dict.fromkeys([settings.program(), settings.REFERENCE]):
            if not os.access(program, os.X_OK):
                continue
            server = daemon.Daemon(self.workdir, arguments, program=program)
            self.addCleanup(server.kill)
            server.start()
            tools.run("qemu-io", "-f", "raw", "-c", "write -P 0x5a 0 512", self.disk)
            self.assertEqual(images.read_range(self.disk, 0, 512), b"\x5a" * 512)
            for command in (("qemu-io", "-f", "raw", "-c", "truncate 2M", self.disk),
                            ("qemu-img", "resize", "-f", "raw", self.disk, "2M")):
                result = tools.finish(*command)
                self.assertEqual(result.returncode, 1, f"{program}: {command}")
                self.assertIn('Failed to get "resize" lock', result.stdout + result.stderr)
            self.assertEqual(os.path.getsize(self.disk), MIB)
            server.stop()
        tools.run("qemu-img", "resize", "-f", "raw", self.disk, "2M")

    def test_we_are_kept_out(self):
        """An image whose write permission somebody has and does not share cannot be opened for writing."""
        with open(self.disk, "r+b") as holder:
            for byte in (101, 201):  # Has `write`, and does not share it.
                fcntl.fcntl(holder, fcntl.F_OFD_SETLK, self.lock(fcntl.F_RDLCK, byte))
            server = self.start()
            server.qmp.execute("blockdev-add", {"driver": "file", "node-name": "f0", "filename": self.disk})
            kind, text = server.qmp.failure("block-export-add", {"type": "nbd", "id": "e0", "node-name": "f0",
                                                                 "writable": True})
            self.assertEqual((kind, text), ("GenericError", 'Failed to get "write" lock'))
            server.stop()

    def lock(self, kind, byte):
        """A struct flock for one byte."""
        import struct
        return struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0)

    def test_locks_are_given_back(self):
        """blockdev-del gives the locks back."""
        server = self.start()
        for _ in range(3):
            server.qmp.execute("blockdev-add", {"driver": "file", "node-name": "f0", "filename": self.disk})
            server.qmp.execute("block-export-add", {"type": "nbd", "id": "e0", "node-name": "f0", "writable": True})
            server.qmp.execute("block-export-del", {"id": "e0"})
            server.qmp.execute("blockdev-del", {"node-name": "f0"})
        with open(self.disk, "r+b") as file:
            for byte in range(100, 204):
                fcntl.fcntl(file, fcntl.F_OFD_SETLK, self.lock(fcntl.F_WRLCK, byte))
        server.stop()
