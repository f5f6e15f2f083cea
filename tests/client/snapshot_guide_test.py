"""docs/guides/snapshot.md: its commands, run literally, do what they say."""

import os
import unittest

from lib import images, tools
from lib.guide import GuideCase
from lib.images import KIB, MIB
from lib.qmp import QmpClient

SIZE = 64 * MIB
DISKS = ("data", "log")


class SnapshotTest(GuideCase):
    """Both disks are exported, and have something before and after the snapshot."""

    guide = "snapshot.md"
    export = "data"

    def setUp(self):
        super().setUp()
        self.shell(self.script("A disk under use"))
        self.before = {disk: bytearray(SIZE) for disk in DISKS}
        for disk in DISKS:
            self.change(self.before[disk], disk, MIB, 100 * KIB, b"b")
        self.after = {disk: bytearray(content) for disk, content in self.before.items()}

    def change(self, content, disk, offset, length, byte):
        """The disk's user writes."""
        self.write(offset, byte * length, disk)
        content[offset:offset + length] = byte * length

    def run_commands(self, title):
        """The QMP commands of a section."""
        with QmpClient(self.path("monitor.sock")) as qmp:
            for command in self.qmp_commands(title):
                qmp.execute(command["execute"], command["arguments"])

    def take(self):
        """The snapshot, while clients stay connected, and changes after it."""
        connections = {disk: self.connect(disk) for disk in DISKS}
        self.run_commands("Take the snapshot")
        for disk in DISKS:
            self.assertEqual(connections[disk].read(MIB, 4096), b"b" * 4096)
            self.change(self.after[disk], disk, MIB + 50 * KIB, 10 * MIB, b"a")
            self.assertEqual(connections[disk].read(2 * MIB, 4096), b"a" * 4096)

    def contents_of(self, name):
        """All bytes of an image, as QEMU reads it."""
        tools.run("qemu-img", "convert", "-O", "raw", name, "contents", cwd=self.workdir)
        return images.read_range(self.path("contents"), 0, SIZE)

    def end(self, script):
        """The commands that end the daemon, without those that follow."""
        self.shell("\n".join(line for line in script.splitlines() if not line.startswith("rm ")))

    def test_copy_and_go_back(self):
        """The copies have the state of the snapshot, and the disks have it again when the overlays are gone."""
        self.take()
        self.shell(self.script("Copy the state"))
        for disk in DISKS:
            self.assertTrue(self.contents_of(f"{disk}-copy.qcow2") == self.before[disk], disk)
        self.shell(self.script("Go back to the snapshot"))
        for disk in DISKS:
            self.assertFalse(os.path.exists(self.path(f"{disk}-1.qcow2")))
            self.assertTrue(self.contents_of(f"{disk}.qcow2") == self.before[disk], disk)

    def test_keep_the_changes(self):
        """The lower images have all changes, and the overlays are gone."""
        self.take()
        self.end(self.script("Go back to the snapshot"))
        self.shell(self.script("Keep the changes"))
        for disk in DISKS:
            self.assertFalse(os.path.exists(self.path(f"{disk}-1.qcow2")))
            self.assertTrue(self.contents_of(f"{disk}.qcow2") == self.after[disk], disk)

    def test_an_image_of_ones_own(self):
        """The second overlay has what changes from then on, and its image names the first one."""
        self.take()
        self.shell(self.script("Take a snapshot into an image of your own"))
        self.run_commands("Take a snapshot into an image of your own")
        middle = bytes(self.after["data"])
        self.change(self.after["data"], "data", 40 * MIB, 64 * KIB, b"c")
        self.assertEqual(self.read(40 * MIB, 4096), b"c" * 4096)
        self.end(self.script("Go back to the snapshot"))
        self.assertTrue(self.contents_of("data-1.qcow2") == middle)
        self.assertTrue(self.contents_of("data-2.qcow2") == self.after["data"])


if __name__ == "__main__":
    unittest.main()
