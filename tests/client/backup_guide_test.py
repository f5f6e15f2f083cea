"""docs/guides/backup.md: its commands, run literally, have the documented effect."""

import os
import shutil
import signal

from lib import images, tools
from lib.guide import GuideCase
from lib.images import KIB, MIB

SIZE = 16 * MIB


class GuideTest(GuideCase):
    """The reader has an image, which the daemon exports."""

    guide = "backup.md"
    export = "vda"

    def setUp(self):
        super().setUp()
        images.make_random(self.path("vda.img"), SIZE)
        self.shell(self.script("The daemon"))

    def test_four_commands_make_a_backup_and_restore_it(self):
        """The first three, again on the next day, add an incremental point; each point restores to its moment."""
        begin, pull, end, restore = self.blocks("Four commands")[0]
        first = images.read_range(self.path("vda.img"), 0, SIZE)
        self.assertIn("full", self.shell(begin))
        self.write(0, b"x" * (64 * KIB))
        self.assertIn("full", self.shell(pull))
        self.shell(end)
        self.shell(restore)
        self.assertEqual(images.read_range(self.path("restored.img"), 0, SIZE), first)
        self.write(5 * MIB, b"y" * (4 * KIB))
        second = images.read_range(self.path("vda.img"), 0, SIZE)
        self.assertIn("incremental", self.shell(begin))
        self.assertIn("incremental", self.shell(pull))
        self.shell(end)
        os.unlink(self.path("restored.img"))
        self.shell(restore)
        self.assertEqual(images.read_range(self.path("restored.img"), 0, SIZE), second)

    def test_the_script_makes_a_backup_after_a_crash(self):
        """The script works, and again after the daemon was killed: the point is incremental."""
        script = self.script("When something fails")
        self.shell(script)
        self.write(3 * MIB, b"z" * (4 * KIB))
        self.end_server(signal.SIGKILL)
        self.shell(self.script("The daemon"))
        before = images.read_range(self.path("vda.img"), 0, SIZE)
        self.assertIn("incremental", self.shell(script))
        self.shell(self.blocks("Four commands")[0][3])
        self.assertEqual(images.read_range(self.path("restored.img"), 0, SIZE), before)

    def test_other_clients_read_the_export(self):
        """nbdinfo shows the changed blocks, and nbdcopy copies the disk as it was."""
        for name in ("nbdinfo", "nbdcopy"):
            if shutil.which(name, path=tools.PATH) is None:
                self.skipTest(f"{name} is not installed")
        begin, pull, end, _ = self.blocks("Four commands")[0]
        for command in (begin, pull, end):
            self.shell(command)
        self.write(64 * KIB, b"x" * (4 * KIB))
        before = images.read_range(self.path("vda.img"), 0, SIZE)
        self.shell(begin)
        show, copy = self.blocks("Other clients")[0]
        self.assertRegex(self.shell(show), r"\n +65536 +65536 +1 +dirty\n")
        self.shell(copy)
        self.assertEqual(images.read_range(self.path("full-copy.img"), 0, SIZE), before)
