"""Guides on images: overlay, instant-restore, compressed-image, convert, serve. Their commands do what they say."""

import json
import os
import signal
import shutil
import unittest

from lib import images, processes, tools
from lib.daemon import free_port
from lib.guide import GuideCase
from lib.images import KIB, MIB
from lib.qmp import QmpClient
from lib.wait import until

SIZE = 64 * MIB


class OverlayTest(GuideCase):
    """A base with data."""

    guide = "overlay.md"
    export = "disk"

    def setUp(self):
        super().setUp()
        images.make_sparse(self.path("base.img"), SIZE, [(0, MIB), (20 * MIB, 100 * KIB)])
        tools.run("qemu-img", "convert", "-O", "qcow2", "base.img", "base.qcow2", cwd=self.workdir)
        self.base = images.sha256(self.path("base.qcow2"))
        self.shell(self.script("Create and export it"))

    def change(self):
        """The disk's user changes it; the disk's contents from now on."""
        self.write(512 * KIB, b"x" * (100 * KIB))
        self.write(30 * MIB, b"y" * 4096)
        content = bytearray(images.read_range(self.path("base.img"), 0, SIZE))
        content[512 * KIB:612 * KIB] = b"x" * (100 * KIB)
        content[30 * MIB:30 * MIB + 4096] = b"y" * 4096
        return bytes(content)

    def end(self):
        """The commands that end the daemon, without those that follow."""
        script = self.script("Throw it away").splitlines()
        self.shell("\n".join(line for line in script if not line.startswith("rm ")))

    def test_create_export_and_throw_away(self):
        """The disk is the base with the changes; the base does not change, and the next overlay begins there."""
        pid = self.server_pid()
        content = self.change()
        self.assertTrue(self.read(0, 32 * MIB) == content[:32 * MIB], "the disk differs")
        self.shell(self.script("Throw it away"))
        self.assertFalse(processes.alive(pid))
        self.assertFalse(os.path.exists(self.path("overlay.qcow2")))
        self.assertEqual(images.sha256(self.path("base.qcow2")), self.base)
        self.shell(self.script("Create and export it"))
        self.assertEqual(self.read(512 * KIB, 4096), images.read_range(self.path("base.img"), 512 * KIB, 4096))

    def test_writers_of_the_base_are_kept_out(self):
        """While the overlay is exported, nobody writes to the base."""
        result = tools.finish("qemu-io", "-f", "qcow2", "-c", "write 0 512", self.path("base.qcow2"))
        self.assertIn('Failed to get "write" lock', result.stderr)

    def test_the_tool_shows_the_chain(self):
        """Both images, and bytes of each."""
        connection = self.connect()
        self.assertEqual(connection.write(30 * MIB, b"y" * (64 * KIB)), 0)
        self.assertEqual(connection.call(3).error, 0)
        info, extents = (self.shell(line) for line in self.blocks("See what it has")[0])
        self.assertIn("image: overlay.qcow2", info)
        self.assertRegex(info, r"image: (\S*/)?base.qcow2")
        self.assertRegex(extents, r"(?m)^0 .*base\.qcow2$")
        self.assertRegex(extents, r"(?m)^0x1e00000 +0x10000 .*overlay\.qcow2$")

    def test_a_second_overlay_over_qmp(self):
        """It is made, exported and taken away while the first one is in use."""
        content = self.change()
        with QmpClient(self.path("monitor.sock")) as qmp:
            for command in self.qmp_commands("A second overlay while the daemon runs"):
                if command["execute"] == "job-dismiss":
                    identity = command["arguments"]["id"]
                    until(lambda: self.job(qmp, identity)["status"] == "concluded", what="the job's end")
                    self.assertNotIn("error", self.job(qmp, identity))
                if command["execute"] == "block-export-del":
                    base = images.read_range(self.path("base.img"), 0, MIB)
                    self.assertEqual(self.read(0, MIB, "second"), base)
                    self.write(0, b"z" * 4096, "second")
                    self.assertEqual(self.read(0, 4096, "second"), b"z" * 4096)
                    self.assertEqual(self.read(0, 4096), content[:4096])
                qmp.execute(command["execute"], command["arguments"])
                if command["execute"] == "block-export-del":
                    qmp.wait_event("BLOCK_EXPORT_DELETED")
        os.unlink(self.path("second.qcow2"))
        self.assertTrue(self.read(0, MIB) == content[:MIB], "the first disk differs")

    @staticmethod
    def job(qmp, identity):
        """What query-jobs tells about a job."""
        return next(one for one in qmp.execute("query-jobs") if one["id"] == identity)

    def contents_of(self, name):
        """All bytes of an image, as QEMU reads it."""
        tools.run("qemu-img", "convert", "-O", "raw", name, "contents", cwd=self.workdir)
        return images.read_range(self.path("contents"), 0, SIZE)

    def test_keep_in_the_base(self):
        """The base has the changes."""
        content = self.change()
        self.end()
        self.shell(self.script("Keep it", 0))
        self.assertTrue(self.contents_of("base.qcow2") == content, "the base differs")
        self.assertFalse(os.path.exists(self.path("overlay.qcow2")))

    def test_keep_in_an_image_of_its_own(self):
        """The new image has the contents and names no base, which is as it was."""
        content = self.change()
        self.end()
        self.shell(self.script("Keep it", 1))
        self.assertEqual(images.sha256(self.path("base.qcow2")), self.base)
        info = json.loads(tools.run("qemu-img", "info", "--output=json", self.path("alone.qcow2")))
        self.assertNotIn("backing-filename", info)
        self.assertTrue(self.contents_of("alone.qcow2") == content, "the image differs")


class InstantRestoreTest(GuideCase):
    """The backup is a filesystem."""

    guide = "instant-restore.md"
    export = "vda"

    def setUp(self):
        super().setUp()
        os.makedirs(self.path("content"))
        for number in range(8):
            images.make_random(self.path("content", f"file{number}"), 200 * KIB * number + 17, number)
        images.make_empty(self.path("backup.img"), SIZE)
        tools.run("mkfs.ext4", "-q", "-F", "-d", self.path("content"), self.path("backup.img"))
        self.backup = images.read_range(self.path("backup.img"), 0, SIZE)
        if shutil.which("nbdcopy", path=tools.PATH) is None:
            self.skipTest("nbdcopy is not installed")
        self.shell(self.script("Start"))

    def uri(self):
        """The URI in the text of the guide."""
        uri = "nbd+unix:///vda?socket=nbd.sock"
        self.assertIn(f"`{uri}`", self.section("Start"))
        return uri

    def copy(self, name):
        """A copy of the disk."""
        self.shell(f"nbdcopy '{self.uri()}' {name}")
        return images.read_range(self.path(name), 0, SIZE)

    def test_the_disk_is_there_at_once(self):
        """Nothing was copied; the disk is the backup, its filesystem is whole, and writes do not change the backup."""
        self.assertLess(images.allocated(self.path("vda.qcow2")), MIB)
        self.assertTrue(self.copy("copy") == self.backup, "the disk differs from the backup")
        self.assertIn("files", tools.run("e2fsck", "-fn", self.path("copy")))
        self.write(40 * MIB, b"x" * 5000)
        self.assertEqual(self.read(40 * MIB, 5000), b"x" * 5000)
        self.assertTrue(images.read_range(self.path("backup.img"), 0, SIZE) == self.backup, "the backup changed")

    def test_become_independent(self):
        """The new disk has what the machine wrote, and needs neither overlay nor backup."""
        self.write(40 * MIB, b"x" * 5000)
        self.shell(self.script("Become independent of the backup"))
        self.assertFalse(os.path.exists(self.path("vda.qcow2")))
        os.unlink(self.path("backup.img"))
        expected = self.backup[:40 * MIB] + b"x" * 5000 + self.backup[40 * MIB + 5000:]
        self.assertTrue(self.copy("copy") == expected, "the new disk differs")
        self.write(0, b"z" * 512)
        self.assertEqual(self.read(0, 512), b"z" * 512)

    def test_a_crash(self):
        """After a kill the daemon starts again, with what was flushed."""
        connection = self.connect()
        self.assertEqual(connection.write(40 * MIB, b"x" * 5000), 0)
        self.assertEqual(connection.call(3).error, 0)
        self.end_server(signal.SIGKILL)
        start = self.script("Start").splitlines()
        self.shell("\n".join(line for line in start if not line.startswith(("chmod", "blockexport image"))))
        self.assertEqual(self.read(40 * MIB, 5000), b"x" * 5000)
        self.assertEqual(self.read(0, 4096), self.backup[:4096])


class CompressedImageTest(GuideCase):
    """A disk with text, noise and holes."""

    guide = "compressed-image.md"
    export = "template"

    def setUp(self):
        super().setUp()
        if shutil.which("nbdcopy", path=tools.PATH) is None:
            self.skipTest("nbdcopy is not installed")
        images.make_sparse(self.path("disk.img"), SIZE, [(30 * MIB, MIB)])
        with open(self.path("disk.img"), "rb+") as file:
            file.write(b"".join(b"line %d of a text\n" % number for number in range(500_000)))
        self.disk = images.read_range(self.path("disk.img"), 0, SIZE)

    def test_write_check_and_use(self):
        """The image is clean, much smaller, and has the disk's contents."""
        self.shell(self.script("Write it"))
        self.assertTrue(self.read(0, 32 * MIB) == self.disk[:32 * MIB], "the export differs")
        self.shell(self.script("Check and use it"))
        self.assertLess(images.allocated(self.path("template.qcow2")), images.allocated(self.path("disk.img")) // 2)
        tools.run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", "disk.img", "template.qcow2", cwd=self.workdir)
        tools.run("qemu-img", "check", "-q", "template.qcow2", cwd=self.workdir)



class ConvertTest(GuideCase):
    """A raw image with data and holes."""

    guide = "convert.md"

    def test_all(self):
        """Each section, in order: the copies are equal, and as small as the guide says."""
        images.make_sparse(self.path("disk.img"), SIZE, [(0, MIB), (20 * MIB, 100 * KIB)])
        equal = "Images are identical.\n"
        self.assertEqual(self.shell(self.script("From raw to qcow2")), equal)
        self.assertIn("(100.00/100%)", self.shell(self.script("From raw to qcow2", 1)))
        self.assertEqual(self.shell(self.script("One image from a chain")).splitlines()[-1] + "\n", equal)
        self.assertEqual(self.shell(self.script("Only the differences")), equal)
        self.assertLess(os.stat(self.path("differences.qcow2")).st_blocks * 512, MIB)
        self.assertEqual(self.shell(self.script("To a block device, or over an existing image")), equal)
        self.assertIn("backup-1", self.shell(self.script("With bitmaps")))
        for name in ("disk", "small", "whole", "differences", "copy"):
            tools.run("qemu-img", "check", "-q", f"{name}.qcow2", cwd=self.workdir)
            tools.run("qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", "disk.img", f"{name}.qcow2",
                      cwd=self.workdir)



class ServeTest(GuideCase):
    """An image as a raw file and as qcow2."""

    guide = "serve.md"

    def setUp(self):
        super().setUp()
        images.make_sparse(self.path("disk.img"), SIZE, [(0, MIB)])
        tools.run("qemu-img", "convert", "-O", "qcow2", "disk.img", "disk.qcow2", cwd=self.workdir)

    def test_a_file_until_a_signal(self):
        """The first line prints a URI that a client takes, and a signal ends it."""
        line = self.script("A file on this machine")
        said = self.shell(f"{line} >uri & while ! [ -s uri ]; do sleep 0.1; done; nbdinfo --size \"$(cat uri)\"; "
                          "kill -INT $!; wait $!")
        self.assertEqual(said, f"{SIZE}\n")

    def test_commands(self):
        """The commands of --run get the disk."""
        self.shell(self.script("For the time of a command"))
        self.assertEqual(images.sha256(self.path("copy.img")), images.sha256(self.path("disk.img")))
        self.assertEqual(self.shell(self.script("An image in another format")), f"{SIZE}\n")
        port = str(free_port())
        self.assertIn(f"{SIZE}\n", self.shell(self.script("Over the network").replace("10809", port)))


if __name__ == "__main__":
    unittest.main()
